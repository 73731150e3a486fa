-- What the delivery key of an epoch is known by; empty where the commit has not said.
ALTER TABLE group_epoch ADD COLUMN key_hash BYTEA NOT NULL DEFAULT '';

-- Tokens that have paid for a message, until they would not be taken any more.
CREATE TABLE spent_token (
    nonce BYTEA NOT NULL PRIMARY KEY,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX spent_token_expires ON spent_token (expires_ms);
