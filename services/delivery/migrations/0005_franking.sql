-- The commitment that came with a message, and our tag on it; empty where none came.
ALTER TABLE payload ADD COLUMN franking BYTEA NOT NULL DEFAULT '';
