-- Messages, the state of each recipient, and bodies in chunks.
-- Times are Unix time in seconds. States are the texts of tideover.spool.interface.State.

CREATE TABLE message (
    id          INTEGER PRIMARY KEY,   -- the number of the queue id: sorts by arrival
    received_at REAL    NOT NULL,
    size        INTEGER NOT NULL,      -- octets of the body
    sender      TEXT    NOT NULL,      -- envelope sender, here for filters
    meta        BLOB    NOT NULL,      -- JSON: envelope, client, evidence
    trace       BLOB    NOT NULL,      -- header lines that we prepend
    crc         INTEGER NOT NULL       -- CRC-32 over size, received_at, meta and trace
) STRICT;

-- `address` is here for filters; what is sent comes from message.meta, which has a checksum.
-- `size` repeats message.size so that counting needs no second table.
CREATE TABLE recipient (
    message_id     INTEGER NOT NULL,
    idx            INTEGER NOT NULL,   -- place in the envelope, from 0
    address        TEXT    NOT NULL,
    domain         TEXT    NOT NULL,
    size           INTEGER NOT NULL,
    state          TEXT    NOT NULL,
    changed_at     REAL    NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    not_before     REAL    NOT NULL DEFAULT 0,
    lease_until    REAL    NOT NULL DEFAULT 0,
    delay_notified INTEGER NOT NULL DEFAULT 0,
    last_reply     TEXT,
    last_host      TEXT,
    reason         TEXT,
    PRIMARY KEY (message_id, idx)
) STRICT, WITHOUT ROWID;

-- A row is in at most one of these, but for the deferred ones. Only the first two are written on
-- the way of an ordinary message. All that `counts` and `due` ask of queued ones is in the index.
CREATE INDEX recipient_queued ON recipient (domain, message_id, size, delay_notified)
    WHERE state = 'queued';
CREATE INDEX recipient_leased ON recipient (lease_until)
    WHERE state = 'leased';
CREATE INDEX recipient_parked ON recipient (state, domain, message_id, size, delay_notified)
    WHERE state IN ('deferred', 'held', 'dead');
CREATE INDEX recipient_deferred ON recipient (not_before)
    WHERE state = 'deferred';

-- id = message id * 16384 + number of the chunk: one message is one range.
CREATE TABLE chunk (
    id   INTEGER PRIMARY KEY,
    crc  INTEGER NOT NULL,             -- CRC-32 of data
    data BLOB    NOT NULL              -- 65536 octets, the last one of a body fewer
) STRICT;

-- Bodies longer than a chunk that are still coming in. At start: what a crash has cut off.
CREATE TABLE staging (
    id INTEGER PRIMARY KEY             -- as message.id
) STRICT;

CREATE TABLE domain_hold (
    domain TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    by     TEXT NOT NULL,
    since  REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Damaged messages: out of the queue, never deleted by ourselves. What is left of the body stays
-- in `chunk`. The columns are as they were found, so nothing is asked of them.
CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY,
    since       REAL NOT NULL,
    damage      TEXT NOT NULL,
    received_at REAL,
    size        INTEGER,
    sender      TEXT,
    meta        BLOB,
    trace       BLOB,
    recipients  TEXT NOT NULL          -- JSON rows: what the queue knew of each recipient
) STRICT;
