-- Uploads under way.
CREATE TABLE uploads (
    -- names the bodies of its parts, later those of the blob
    id BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL,
    device_id BYTEA NOT NULL,
    size BIGINT NOT NULL,
    part_size BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX uploads_expires ON uploads (expires_ms);

-- Parts whose bodies are there.
CREATE TABLE parts (
    upload_id BYTEA NOT NULL,
    part BIGINT NOT NULL,
    PRIMARY KEY (upload_id, part)
);

CREATE TABLE blobs (
    -- SHA-256 of the whole
    id BYTEA NOT NULL PRIMARY KEY,
    upload_id BYTEA NOT NULL,
    account_id BYTEA NOT NULL,
    size BIGINT NOT NULL,
    part_size BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX blobs_expires ON blobs (expires_ms);

-- What accounts have announced on a day.
CREATE TABLE announced (
    account_id BYTEA NOT NULL,
    -- since 1970
    day BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (account_id, day)
);
CREATE INDEX announced_day ON announced (day);

-- Bodies that nothing refers to any more.
CREATE TABLE remains (
    upload_id BYTEA NOT NULL PRIMARY KEY,
    parts BIGINT NOT NULL,
    due_ms BIGINT NOT NULL
);
CREATE INDEX remains_due ON remains (due_ms);
