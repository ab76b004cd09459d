-- Every statement of the SQLite spool but for multi-row inserts and filters (statements.py).
-- A line `-- name: x` begins the query x. Parameters named *_json are JSON arrays.

-- name: chunk_ids_of_range
SELECT id FROM chunk WHERE id BETWEEN :first AND :last ORDER BY id

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
SET state = 'leased', lease_until = :until, changed_at = :now
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
    changed_at = :now
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

-- name: message_exists
SELECT 1 FROM message WHERE id = ?

-- name: lease_extend
UPDATE recipient SET lease_until = :until
WHERE state = 'leased' AND message_id IN (SELECT value FROM json_each(:ids_json))

-- name: recover_pick
SELECT json_group_array(json_array(message_id, domain, address))
FROM recipient
WHERE state = 'leased' AND (:all OR lease_until <= :now)

-- name: recover
UPDATE recipient SET state = 'queued', changed_at = :now
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

-- name: quarantine_recipients
DELETE FROM recipient WHERE message_id = :id

-- name: quarantine_message
DELETE FROM message WHERE id = :id
