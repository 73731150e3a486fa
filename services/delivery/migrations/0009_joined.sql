-- Epoch in which a device came that was not there before: what is of an earlier one it cannot read.
ALTER TABLE mls_group ADD COLUMN joined_epoch BIGINT NOT NULL DEFAULT 0;
