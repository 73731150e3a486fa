-- Secrets of OPAQUE, sealed under a key that the database does not hold. Never changed once written.
CREATE TABLE opaque_setups (
    setup_id BIGINT NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);

-- One row a person, with what the login by password needs.
CREATE TABLE accounts (
    account_id BYTEA NOT NULL PRIMARY KEY,
    account_key BYTEA NOT NULL,
    username TEXT NOT NULL UNIQUE,
    setup_id BIGINT NOT NULL REFERENCES opaque_setups (setup_id),
    -- Identifier under which OPAQUE derived the record, random.
    credential_id BYTEA NOT NULL,
    opaque_record BYTEA NOT NULL,
    ksf_memory_kib BIGINT NOT NULL,
    ksf_iterations BIGINT NOT NULL,
    ksf_parallelism BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- Revoked devices stay, so that they can be refused for ever.
CREATE TABLE devices (
    device_id BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL REFERENCES accounts (account_id),
    device_key BYTEA NOT NULL,
    certificate BYTEA NOT NULL,
    added_ms BIGINT NOT NULL,
    -- 0 while the device is good
    revoked_ms BIGINT NOT NULL
);
CREATE INDEX devices_account ON devices (account_id);

-- The token itself is nowhere: token_hash is its SHA-256.
CREATE TABLE sessions (
    token_hash BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL REFERENCES accounts (account_id),
    device_id BYTEA NOT NULL REFERENCES devices (device_id),
    expires_ms BIGINT NOT NULL
);
CREATE INDEX sessions_device ON sessions (device_id);
CREATE INDEX sessions_expires ON sessions (expires_ms);
