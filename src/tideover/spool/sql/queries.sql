-- Every statement of the SQLite spool but for multi-row inserts and filters (statements.py).
-- A line `-- name: x` begins the query x. Parameters named *_json are JSON arrays.

-- name: claim_pick
SELECT json_group_array(json_array(message_id, idx))
FROM recipient
WHERE state = 'queued' AND domain = :domain AND message_id IN (
    SELECT DISTINCT message_id FROM recipient INDEXED BY recipient_queued
    WHERE state = 'queued' AND domain = :domain
    ORDER BY message_id LIMIT :limit
)

-- name: claim_lease
UPDATE recipient
SET state = 'leased', lease_until = :until
WHERE state = 'queued' AND domain = :domain
  AND message_id IN (SELECT value FROM json_each(:ids_json))

-- name: claim_messages
SELECT m.id, m.received_at, m.size, m.meta, m.trace, m.crc,
    (SELECT json_group_array(json_array(
        r.idx, r.state, r.attempts, r.not_before, r.last_reply, r.last_host, r.reason,
        r.delay_notified, r.changed_at))
     FROM recipient r WHERE r.message_id = m.id),
    c.crc, c.data
FROM json_each(:ids_json) AS wanted
CROSS JOIN message m ON m.id = wanted.value
LEFT JOIN chunk c ON c.id = m.id << 14

-- name: settle_states
SELECT json_group_array(json_array(message_id, idx, state, size))
FROM recipient
WHERE message_id IN (SELECT value FROM json_each(:ids_json))

-- name: settle_change
-- Each change: [message, index, state, counted, not_before, reply, host, reason]
UPDATE recipient
SET state = json_extract(c.value, '$[2]'),
    attempts = attempts + json_extract(c.value, '$[3]'),
    not_before = json_extract(c.value, '$[4]'),
    last_reply = coalesce(json_extract(c.value, '$[5]'), last_reply),
    last_host = coalesce(json_extract(c.value, '$[6]'), last_host),
    reason = json_extract(c.value, '$[7]'),
    changed_at = iif(state = 'leased' AND json_extract(c.value, '$[2]') = 'queued'
        AND NOT json_extract(c.value, '$[3]'), changed_at, :now)  -- given back untried
FROM json_each(:changes_json) AS c
WHERE message_id = json_extract(c.value, '$[0]') AND idx = json_extract(c.value, '$[1]')

-- name: settle_delay_notified
UPDATE recipient
SET delay_notified = json_extract(c.value, '$[2]')
FROM json_each(:changes_json) AS c
WHERE message_id = json_extract(c.value, '$[0]') AND idx = json_extract(c.value, '$[1]')

-- name: delete_recipients
DELETE FROM recipient WHERE message_id IN (SELECT value FROM json_each(:ids_json))

-- name: delete_messages
DELETE FROM message WHERE id IN (SELECT value FROM json_each(:ids_json))

-- name: delete_chunks
DELETE FROM chunk WHERE id IN (SELECT value FROM json_each(:ids_json))

-- name: delete_chunk_range
DELETE FROM chunk WHERE id BETWEEN :first AND :last

-- name: lease_extend
UPDATE recipient SET lease_until = :until
WHERE state = 'leased' AND message_id IN (SELECT value FROM json_each(:ids_json))

-- name: lost
SELECT json_group_array(json_array(message_id, domain, idx, address))
FROM recipient
WHERE state = 'leased' AND (:all OR lease_until <= :now)

-- name: recover
UPDATE recipient SET state = 'queued'
WHERE state = 'leased' AND (:all OR lease_until <= :now)

-- name: wake
UPDATE recipient SET state = 'queued', not_before = 0, changed_at = :now
WHERE state = 'deferred' AND (message_id, idx) IN (
    SELECT message_id, idx FROM recipient INDEXED BY recipient_deferred
    WHERE state = 'deferred' AND not_before <= :now
    ORDER BY not_before LIMIT :limit
)

-- name: wake_next
SELECT min(not_before) FROM recipient WHERE state = 'deferred'

-- name: quarantine_store
INSERT INTO quarantine (id, since, damage, received_at, size, sender, meta, trace, recipients)
SELECT :id, :now, :damage, m.received_at, m.size, m.sender, m.meta, m.trace,
    (SELECT json_group_array(json_array(
        r.idx, r.state, r.attempts, r.not_before, r.last_reply, r.last_host, r.reason,
        r.delay_notified, r.changed_at, r.address, r.domain))
     FROM recipient r WHERE r.message_id = :id)
FROM (SELECT 1) LEFT JOIN message m ON m.id = :id
WHERE m.id IS NOT NULL OR EXISTS (SELECT 1 FROM recipient WHERE message_id = :id)

-- name: quarantine_recipients
DELETE FROM recipient WHERE message_id = :id

-- name: quarantine_message
DELETE FROM message WHERE id = :id

-- name: counts
-- A row a domain and state, from the indexes alone: a third of a second for a million recipients.
WITH found (domain, state, n, octets, first_id) AS (
    SELECT domain, state, count(*), sum(size), min(message_id)
    FROM recipient INDEXED BY recipient_queued WHERE state = 'queued'
    GROUP BY domain
    UNION ALL
    SELECT domain, state, count(*), sum(size), min(message_id)
    FROM recipient INDEXED BY recipient_leased WHERE state = 'leased'
    GROUP BY domain
    UNION ALL
    SELECT domain, state, count(*), sum(size), min(message_id)
    FROM recipient INDEXED BY recipient_parked WHERE state IN ('deferred', 'held', 'dead')
    GROUP BY state, domain
)
SELECT f.domain, f.state, f.n, f.octets, m.received_at
FROM found f LEFT JOIN message m ON m.id = f.first_id

-- name: messages_by_id
SELECT m.id, m.received_at, m.size, m.meta, m.trace, m.crc,
    (SELECT json_group_array(json_array(
        r.idx, r.state, r.attempts, r.not_before, r.last_reply, r.last_host, r.reason,
        r.delay_notified, r.changed_at))
     FROM recipient r WHERE r.message_id = m.id)
FROM message m
WHERE m.id IN (SELECT value FROM json_each(:ids_json))
ORDER BY m.id

-- name: message_size
SELECT size FROM message WHERE id = ?

-- name: read_chunks
SELECT id, crc, data FROM chunk WHERE id BETWEEN ? AND ? ORDER BY id

-- name: message_at_or_after
SELECT id, received_at FROM message WHERE id >= ? ORDER BY id LIMIT 1

-- name: greatest_ids
SELECT coalesce(max(id), 0) FROM message
UNION ALL SELECT coalesce(max(id) >> 14, 0) FROM chunk
UNION ALL SELECT coalesce(max(id), 0) FROM quarantine

-- name: queued_domains
-- Jumps from domain to domain in the index.
WITH RECURSIVE domains (domain) AS (
    SELECT min(domain) FROM recipient INDEXED BY recipient_queued WHERE state = 'queued'
    UNION ALL
    SELECT (SELECT min(r.domain) FROM recipient r INDEXED BY recipient_queued
            WHERE r.state = 'queued' AND r.domain > domains.domain)
    FROM domains WHERE domains.domain IS NOT NULL
)
SELECT json_group_array(domain) FROM domains WHERE domain IS NOT NULL

-- name: due_queued
SELECT json_group_array(message_id) FROM (
    SELECT DISTINCT message_id FROM recipient INDEXED BY recipient_queued
    WHERE state = 'queued' AND domain = :domain AND message_id <= :last_id
        AND (NOT :delay OR delay_notified = 0)
    ORDER BY message_id LIMIT :limit
)

-- name: due_others
SELECT json_group_array(message_id) FROM (
    SELECT message_id FROM recipient INDEXED BY recipient_leased
    WHERE state = 'leased' AND message_id <= :last_id AND (NOT :delay OR delay_notified = 0)
    UNION
    SELECT message_id FROM recipient INDEXED BY recipient_parked
    WHERE state IN ('deferred', 'held', 'dead') AND state = 'deferred'
        AND message_id <= :last_id AND (NOT :delay OR delay_notified = 0)
    ORDER BY message_id LIMIT :limit
)

-- name: hold
UPDATE recipient SET state = 'held', reason = :reason, changed_at = :now
FROM json_each(:pairs_json) AS p
WHERE message_id = json_extract(p.value, '$[0]') AND idx = json_extract(p.value, '$[1]')
  AND state IN ('queued', 'deferred')

-- name: message_hold
-- A message that is held from its arrival on.
UPDATE recipient SET state = 'held', reason = :reason WHERE message_id = :message

-- name: release
UPDATE recipient SET state = 'queued', reason = NULL, not_before = 0, changed_at = :now
FROM json_each(:pairs_json) AS p
WHERE message_id = json_extract(p.value, '$[0]') AND idx = json_extract(p.value, '$[1]')
  AND state IN ('held', 'deferred', 'dead')

-- name: remove_recipients
DELETE FROM recipient
WHERE (message_id, idx) IN (
    SELECT json_extract(p.value, '$[0]'), json_extract(p.value, '$[1]')
    FROM json_each(:pairs_json) AS p
) AND state IN (SELECT value FROM json_each(:states_json))
RETURNING message_id

-- name: finished_messages
-- Which of these have no recipient left that is not closed.
SELECT json_group_array(json_array(m.id, m.size))
FROM message m
WHERE m.id IN (SELECT value FROM json_each(:ids_json)) AND NOT EXISTS (
    SELECT 1 FROM recipient r
    WHERE r.message_id = m.id AND r.state NOT IN ('delivered', 'bounced')
)

-- name: domain_hold_store
INSERT INTO domain_hold (domain, reason, by, since) VALUES (:domain, :reason, :by, :since)
ON CONFLICT (domain) DO UPDATE SET reason = :reason, by = :by, since = :since

-- name: domain_hold_delete
DELETE FROM domain_hold WHERE domain = ?

-- name: domain_holds
SELECT domain, reason, by, since FROM domain_hold ORDER BY domain

-- name: quarantine_list
SELECT id, since, damage, received_at, size, sender FROM quarantine ORDER BY id

-- name: quarantine_show
SELECT received_at, meta, trace, recipients FROM quarantine WHERE id = ?

-- name: quarantine_take
DELETE FROM quarantine WHERE id = ?

-- name: staging_numbers
SELECT json_group_array(id) FROM staging

-- name: staging_insert
INSERT OR IGNORE INTO staging (id) SELECT value FROM json_each(?)

-- name: staging_delete
DELETE FROM staging WHERE id IN (SELECT value FROM json_each(?))

-- name: checkpoint_all
PRAGMA wal_checkpoint(TRUNCATE)

-- name: quick_check
PRAGMA quick_check(1)

-- name: whole_check
PRAGMA integrity_check(1)

-- name: reseal_chunk
UPDATE chunk SET crc = :crc WHERE id = :id

-- name: chunk_after
SELECT 1 FROM chunk WHERE id BETWEEN ? AND ?

-- name: restored_states
UPDATE recipient
SET state = CASE WHEN idx IN (SELECT value FROM json_each(:closed_json))
        THEN 'delivered' ELSE 'held' END,
    reason = 'restored from quarantine', changed_at = :now
WHERE message_id = :id

-- name: salvage_ids_of_messages_up
SELECT id FROM message ORDER BY id

-- name: salvage_ids_of_messages_down
SELECT id FROM message ORDER BY id DESC

-- name: salvage_ids_of_recipients_up
SELECT message_id FROM recipient ORDER BY message_id

-- name: salvage_ids_of_recipients_down
SELECT message_id FROM recipient ORDER BY message_id DESC

-- name: salvage_message
SELECT id, received_at, size, sender, meta, trace, crc FROM message WHERE id = ?

-- name: salvage_recipients
SELECT message_id, idx, address, domain, size, state, changed_at, attempts, not_before,
    lease_until, delay_notified, last_reply, last_host, reason
FROM recipient WHERE message_id = ? ORDER BY idx

-- name: is_known
SELECT 1 FROM recipient WHERE message_id = ?

-- name: salvage_chunk
SELECT id, crc, data FROM chunk WHERE id = ?

-- name: salvage_quarantine
SELECT id, since, damage, received_at, size, sender, meta, trace, recipients FROM quarantine
