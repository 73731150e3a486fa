-- Everything here is inside SQLCipher. Integers are 64 bits, times Unix milliseconds, ids 16 bytes.

CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    username TEXT NOT NULL,
    account_key BLOB NOT NULL,
    device_key BLOB NOT NULL,
    queue_key BLOB NOT NULL,
    certificate BLOB NOT NULL,
    registered INTEGER NOT NULL DEFAULT 0
);

-- The token is sealed once more, so that a copy of the open database does not carry it in clear.
CREATE TABLE session (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    sealed_token BLOB NOT NULL,
    expires_at_ms INTEGER NOT NULL
);

CREATE TABLE server (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    receipt_key BLOB NOT NULL
);

-- Accounts whose key was seen first under this name; another key under the name is refused.
CREATE TABLE peers (
    username TEXT PRIMARY KEY,
    account BLOB NOT NULL,
    account_key BLOB NOT NULL,
    pinned_at_ms INTEGER NOT NULL
);
CREATE INDEX peers_account ON peers (account);

CREATE TABLE conversations (
    id BLOB PRIMARY KEY,
    peer BLOB NOT NULL,
    suite INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    -- epoch in which this device came in; what is older was never meant for it
    first_epoch INTEGER NOT NULL,
    -- 0: not yet created at the server, 1: active, 2: this device was removed
    state INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
);
CREATE INDEX conversations_peer ON conversations (peer);

-- Who the other devices were, for checking receipts.
CREATE TABLE epochs (
    conversation BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    devices BLOB NOT NULL,
    PRIMARY KEY (conversation, epoch)
) WITHOUT ROWID;

CREATE TABLE messages (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation BLOB NOT NULL,
    id BLOB NOT NULL,
    sender_account BLOB NOT NULL,
    sender_device BLOB NOT NULL,
    text TEXT NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    -- place in the mailbox; none for messages written here
    seq INTEGER,
    epoch INTEGER NOT NULL,
    -- 0 queued, 1 accepted, 2 failed, 3 received, 4 receipt refused
    state INTEGER NOT NULL,
    receipt BLOB,
    UNIQUE (conversation, sender_device, id)
);
CREATE INDEX messages_conversation ON messages (conversation, n);

-- In the order of writing. The payload is what was encrypted in the transaction that made the row.
CREATE TABLE outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation BLOB NOT NULL,
    message BLOB NOT NULL,
    idempotency_key BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    payload BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
);

-- Commits sent, or about to be, whose answer is not known: the request as it went out.
CREATE TABLE pending (
    conversation BLOB PRIMARY KEY,
    -- 0 CreateGroup, 1 CommitGroup
    kind INTEGER NOT NULL,
    request BLOB NOT NULL
);

-- KeyPackages whose upload is not confirmed.
CREATE TABLE uploads (
    suite INTEGER PRIMARY KEY,
    request BLOB NOT NULL
);

-- When something of ours was last published, or last looked after at the server.
CREATE TABLE published (
    what TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL
);

CREATE TABLE mailbox (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    cursor INTEGER NOT NULL,
    receipts_verified INTEGER NOT NULL,
    undecryptable INTEGER NOT NULL
);
INSERT INTO mailbox (one, cursor, receipts_verified, undecryptable) VALUES (1, 0, 0, 0);

-- Entries that could not be read. Without their payload: nothing will ever open it.
CREATE TABLE undecryptable (
    seq INTEGER PRIMARY KEY,
    conversation BLOB,
    epoch INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    reason TEXT NOT NULL,
    received_at_ms INTEGER NOT NULL
);
