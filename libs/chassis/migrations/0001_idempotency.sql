-- What a mutating call answered, by who called (16 bytes) and its key (16 bytes), for 24 hours.
CREATE TABLE idempotency (
    id BYTEA NOT NULL PRIMARY KEY,
    request_hash BYTEA NOT NULL,
    response BYTEA,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX idempotency_expires ON idempotency (expires_ms);
