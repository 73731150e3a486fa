-- What brings an account back whose devices are lost. The server can open none of it.
CREATE TABLE recovery_sets (
    account_id BYTEA NOT NULL PRIMARY KEY REFERENCES accounts (account_id),
    set_id BYTEA NOT NULL,
    bundle BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);

-- One row a code that was not used; a row is used by deleting it. What finds it is not in the database, only its hash.
CREATE TABLE recovery_codes (
    lookup BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL REFERENCES accounts (account_id),
    wrapped BYTEA NOT NULL
);
CREATE INDEX recovery_codes_account ON recovery_codes (account_id);
