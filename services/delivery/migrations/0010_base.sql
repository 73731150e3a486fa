-- One row: the number after which mailboxes begin.
CREATE TABLE mailbox_base (
    last_seq BIGINT NOT NULL
);
INSERT INTO mailbox_base (last_seq) VALUES (0);
