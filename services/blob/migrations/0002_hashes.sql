-- SHA-256 is made part by part: the chaining value that a part begins with, and the one, or the hash, that it ends with.
ALTER TABLE parts ADD COLUMN hash_before BYTEA NOT NULL DEFAULT '';
ALTER TABLE parts ADD COLUMN hash_after BYTEA NOT NULL DEFAULT '';
