-- What the writing connection has for itself, in its memory: a small message with one recipient goes
-- into its three tables by one INSERT of one row, and many of them by one statement.

CREATE TEMP VIEW small_message AS
SELECT m.id, m.received_at, m.size, m.sender, m.meta, m.trace, m.crc, r.address, r.domain,
    c.crc AS chunk_crc, c.data
FROM message m JOIN recipient r ON r.message_id = m.id JOIN chunk c ON c.id = m.id << 14;

CREATE TEMP TRIGGER small_message_insert INSTEAD OF INSERT ON small_message
BEGIN
    INSERT INTO message (id, received_at, size, sender, meta, trace, crc)
    VALUES (new.id, new.received_at, new.size, new.sender, new.meta, new.trace, new.crc);
    INSERT INTO recipient (message_id, idx, address, domain, size, changed_at, state)
    VALUES (new.id, 0, new.address, new.domain, new.size, new.received_at, 'queued');
    INSERT INTO chunk (id, crc, data) VALUES (new.id << 14, new.chunk_crc, new.data);
END;
