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

CREATE TABLE mailbox_head (
    device BYTEA NOT NULL PRIMARY KEY,
    last_seq BIGINT NOT NULL,
    acked BIGINT NOT NULL
);

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
);
