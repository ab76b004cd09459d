-- Every statement of the memory of clients (memory_file.py).
-- A line `-- name: x` begins the query x. A mark's `at` is when it was made or renewed.

-- name: schema
CREATE TABLE mark (
    kind TEXT NOT NULL,
    key BLOB NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX mark_at ON mark (kind, at);
CREATE INDEX mark_until ON mark (until);

-- name: newest
SELECT key, at, until FROM mark WHERE kind = ? ORDER BY at DESC LIMIT ?

-- name: count
SELECT count(*) FROM mark WHERE kind = ?

-- name: get
SELECT at, until FROM mark WHERE kind = ? AND key = ?

-- name: counting
SELECT key, at, until FROM mark WHERE kind = ? AND until > ? ORDER BY at

-- name: put
REPLACE INTO mark (kind, key, at, until) VALUES (?, ?, ?, ?)

-- name: youngest_of_oldest
SELECT max(at) FROM (SELECT at FROM mark WHERE kind = ? ORDER BY at LIMIT ?)

-- name: shrink
DELETE FROM mark WHERE (kind, key) IN (
    SELECT kind, key FROM mark WHERE kind = ? ORDER BY at LIMIT ?
)

-- name: sweep
DELETE FROM mark WHERE (kind, key) IN (SELECT kind, key FROM mark WHERE until <= ? LIMIT ?)
