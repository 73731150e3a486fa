-- When the bucket of bytes that others may send to this mailbox is full again, Unix microseconds.
ALTER TABLE mailbox_head ADD COLUMN inbound_us BIGINT NOT NULL DEFAULT 0;
