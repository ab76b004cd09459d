-- Every statement of the memory of addresses (facts_file.py).
-- A line `-- name: x` begins the query x.

-- name: schema
-- `at`: when it was last said, `until`: from when it counts no more, `due`: when to ask again.
CREATE TABLE fact (
    domain TEXT NOT NULL,
    source TEXT NOT NULL,
    local TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('good', 'refused', 'seed')),
    at REAL NOT NULL,
    until REAL NOT NULL,
    due REAL,
    uses INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (domain, source, local)
) STRICT, WITHOUT ROWID;
CREATE INDEX fact_until ON fact (until);
CREATE INDEX fact_due ON fact (source, domain, due) WHERE due IS NOT NULL;

-- name: get
SELECT state, at, until, due, uses, text FROM fact
WHERE domain = ? AND source = ? AND local = ?

-- name: put
REPLACE INTO fact (domain, source, local, state, at, until, due, uses, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: rows_of
SELECT count(*) FROM fact WHERE domain = ?

-- name: count
SELECT state, count(*) FROM fact WHERE domain = ? AND source = ? AND until > ? GROUP BY state

-- name: page
SELECT local, state, at, until, due, uses, text FROM fact
WHERE domain = ? AND source = ? AND local > ? ORDER BY local LIMIT ?

-- name: shrink
-- Refusals first: any stranger can make them.
DELETE FROM fact WHERE (domain, source, local) IN (
    SELECT domain, source, local FROM fact WHERE domain = ?
    ORDER BY CASE state WHEN 'refused' THEN 0 WHEN 'seed' THEN 1 ELSE 2 END, at
    LIMIT ?
)

-- name: due_domains
SELECT DISTINCT domain FROM fact WHERE source = ? AND domain > ? AND due <= ?
ORDER BY domain LIMIT ?

-- name: due
SELECT local FROM fact WHERE source = ? AND domain = ? AND due <= ? ORDER BY due LIMIT ?

-- name: postpone
UPDATE fact SET due = ? WHERE domain = ? AND source = ? AND local = ? AND due IS NOT NULL

-- name: sweep
DELETE FROM fact WHERE (domain, source, local) IN (
    SELECT domain, source, local FROM fact WHERE until <= ? LIMIT ?
)
