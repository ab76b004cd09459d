-- Every statement of what is remembered of primaries (store_file.py).
-- A line `-- name: x` begins the query x. Hosts are lines like "10 mail.example.com".

-- The schema also brings a file of an older version up to date.
-- name: schema
CREATE TABLE IF NOT EXISTS mx_set (
    domain TEXT PRIMARY KEY,
    hosts TEXT NOT NULL,
    own INTEGER,
    others INTEGER NOT NULL,
    serial INTEGER,
    seen_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mx_route (
    domain TEXT PRIMARY KEY,
    found BLOB NOT NULL,
    good_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mx_change (
    number INTEGER PRIMARY KEY,
    domain TEXT NOT NULL,
    at REAL NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    serial INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS mx_change_domain ON mx_change (domain, number);
CREATE INDEX IF NOT EXISTS mx_change_at ON mx_change (at);
CREATE TABLE IF NOT EXISTS discovered (
    domain TEXT PRIMARY KEY,
    found_at REAL NOT NULL,
    good_at REAL NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offers (
    route TEXT PRIMARY KEY,
    offered BLOB NOT NULL,
    seen_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- name: get_set
SELECT hosts, own, others, serial, seen_at FROM mx_set WHERE domain = ?

-- name: get_route
SELECT found, good_at FROM mx_route WHERE domain = ?

-- name: put_set
INSERT OR REPLACE INTO mx_set (domain, hosts, own, others, serial, seen_at)
VALUES (?, ?, ?, ?, ?, ?)

-- name: put_route
INSERT OR REPLACE INTO mx_route (domain, found, good_at) VALUES (?, ?, ?)

-- name: null_mx
SELECT domain, seen_at FROM mx_set WHERE hosts = '0 .' AND seen_at > ?

-- name: add_change
INSERT INTO mx_change (domain, at, before, after, serial) VALUES (?, ?, ?, ?, ?)

-- name: trim_changes
DELETE FROM mx_change WHERE domain = :domain AND number <= (
    SELECT number FROM mx_change WHERE domain = :domain
    ORDER BY number DESC LIMIT 1 OFFSET :most
)

-- name: history
SELECT at, before, after, serial FROM mx_change WHERE domain = ? ORDER BY number DESC LIMIT ?

-- name: discovered
SELECT domain, found_at, good_at, used FROM discovered ORDER BY found_at LIMIT ?

-- name: put_discovered
INSERT OR REPLACE INTO discovered (domain, found_at, good_at, used) VALUES (?, ?, ?, ?)

-- name: remove_discovered
DELETE FROM discovered WHERE domain = ?

-- name: sweep_changes
DELETE FROM mx_change WHERE at < ?

-- name: sweep_sets
DELETE FROM mx_set WHERE seen_at < :before AND NOT EXISTS (
    SELECT 1 FROM mx_route WHERE mx_route.domain = mx_set.domain AND good_at >= :before
)

-- name: sweep_routes
DELETE FROM mx_route WHERE good_at < ?

-- name: offers
SELECT route, offered FROM offers ORDER BY seen_at DESC LIMIT ?

-- name: put_offers
INSERT OR REPLACE INTO offers (route, offered, seen_at) VALUES (?, ?, ?)

-- name: sweep_offers
DELETE FROM offers WHERE seen_at < ?
