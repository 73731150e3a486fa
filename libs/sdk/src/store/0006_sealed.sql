-- How a message leaves: 0 not decided, 1 from this device, 2 sealed. And what it showed the server last, that it may: an encoded
-- SealedEnqueueRequest with a permit and nothing else.
ALTER TABLE outbox ADD COLUMN way INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN permit BLOB NOT NULL DEFAULT x'';
-- What may have been sent before was sent from this device.
UPDATE outbox SET way = 1;

-- Keys of tokens as they were seen first. Another one under the same number is refused.
CREATE TABLE token_keys (
    key_epoch INTEGER PRIMARY KEY,
    public_key BLOB NOT NULL
);

-- Tokens that can be spent.
CREATE TABLE tokens (
    nonce BLOB PRIMARY KEY,
    key_epoch INTEGER NOT NULL,
    token BLOB NOT NULL
) WITHOUT ROWID;

-- Tokens that were asked for and have not come: what they are blinded with, and the key under which they are asked for.
CREATE TABLE token_request (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    idempotency_key BLOB NOT NULL,
    request BLOB NOT NULL
);
