-- The signature that stands behind the content in what is encrypted, of what is to leave sealed; empty: none.
ALTER TABLE outbox ADD COLUMN signature BLOB NOT NULL DEFAULT x'';
