-- Files on their way to the server. A key is of one content of a file.
CREATE TABLE file_uploads (
    path BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    -- when the file was last written to, nanoseconds since 1970
    modified_ns INTEGER NOT NULL,
    key BLOB NOT NULL,
    idempotency_key BLOB NOT NULL,
    -- none before the server has agreed
    upload_id BLOB,
    part_size INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What was encrypted of them, noted before it is sent: other bytes of the same place are never encrypted under the key.
CREATE TABLE file_parts (
    path BLOB NOT NULL REFERENCES file_uploads (path) ON DELETE CASCADE,
    part INTEGER NOT NULL,
    -- SHA-256 of the tags of its chunks
    seal BLOB NOT NULL,
    PRIMARY KEY (path, part)
) WITHOUT ROWID;
