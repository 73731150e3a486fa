-- Payload once per message; `refs` mailbox entries point to it, the last acknowledgement removes it.
CREATE TABLE payload (
    id BYTEA NOT NULL PRIMARY KEY,
    group_id BYTEA NOT NULL,
    kind BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    accepted_ms BIGINT NOT NULL,
    refs BIGINT NOT NULL,
    body BYTEA NOT NULL
);
-- Ciphertext does not compress.
ALTER TABLE payload ALTER COLUMN body SET STORAGE EXTERNAL;

-- The lock that makes a mailbox gapless. Only `last_seq` and `acked` change, so updates stay on the page.
CREATE TABLE mailbox_head (
    device BYTEA NOT NULL PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    acked BIGINT NOT NULL
) WITH (fillfactor = 70);

-- `payload_id` is empty in a gap, which then stands for the sequences `gap_from` to `seq`.
CREATE TABLE mailbox_entry (
    device BYTEA NOT NULL,
    seq BIGINT NOT NULL,
    payload_id BYTEA NOT NULL,
    sealed_key BYTEA NOT NULL,
    size BIGINT NOT NULL,
    gap_from BIGINT NOT NULL,
    gap_reason BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (device, seq)
) PARTITION BY HASH (device);
CREATE TABLE mailbox_entry_0 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE mailbox_entry_1 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE mailbox_entry_2 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE mailbox_entry_3 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE mailbox_entry_4 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE mailbox_entry_5 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE mailbox_entry_6 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE mailbox_entry_7 PARTITION OF mailbox_entry FOR VALUES WITH (MODULUS 8, REMAINDER 7);
CREATE INDEX mailbox_entry_expires ON mailbox_entry USING brin (expires_ms);
