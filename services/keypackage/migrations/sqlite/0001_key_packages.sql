-- Single-use packages. A row is handed out by deleting it.
CREATE TABLE key_packages (
    -- order of upload
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id BYTEA NOT NULL,
    suite BIGINT NOT NULL,
    -- SHA-256 of the package
    hash BYTEA NOT NULL UNIQUE,
    package BYTEA NOT NULL,
    uploaded_ms BIGINT NOT NULL
);
CREATE INDEX key_packages_device ON key_packages (device_id, suite, id);
CREATE INDEX key_packages_uploaded ON key_packages (uploaded_ms);

-- One package a device and suite that may be handed out again and again.
CREATE TABLE last_resorts (
    device_id BYTEA NOT NULL,
    suite BIGINT NOT NULL,
    package BYTEA NOT NULL,
    uploaded_ms BIGINT NOT NULL,
    PRIMARY KEY (device_id, suite)
);

-- Public keys to which mailboxes are sealed.
CREATE TABLE queue_keys (
    device_id BYTEA NOT NULL PRIMARY KEY,
    public_key BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    uploaded_ms BIGINT NOT NULL
);
