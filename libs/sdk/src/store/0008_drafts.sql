-- What was begun to be written in a conversation, and which message it answers. It stays on this device.
CREATE TABLE drafts (
    conversation BLOB PRIMARY KEY,
    text TEXT NOT NULL,
    reply_author BLOB,
    reply_id BLOB
) WITHOUT ROWID;
