-- A conversation outlives its group: after a reset, or a change of suite, another group carries it on.
CREATE TABLE conversations_2 (
    -- id of its first group
    id BLOB PRIMARY KEY,
    -- 1 direct, 2 group, 3 own devices, 4 notes
    kind INTEGER NOT NULL,
    -- the other account of a direct one
    peer BLOB,
    name TEXT,
    name_at_ms INTEGER NOT NULL DEFAULT 0,
    -- the group that carries it; none for notes, and before a history from a sibling device has its group
    group_id BLOB,
    -- 0: not yet created at the server, 1: active, 2: this device was removed, 3: left
    state INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
);
-- Groups from before policies have no members that could go on in them.
INSERT INTO conversations_2 (id, kind, peer, group_id, state, created_at_ms)
    SELECT id, 1, peer, id, 2, created_at_ms FROM conversations WHERE state <> 0;

CREATE TABLE groups (
    id BLOB PRIMARY KEY,
    conversation BLOB NOT NULL,
    suite INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    -- epoch in which this device came in; what is older was never meant for it
    since_epoch INTEGER NOT NULL,
    -- epoch in which it came in again, after it could not follow; what is older cannot be read
    first_epoch INTEGER NOT NULL,
    -- 1: what comes cannot be followed; to be joined again
    stuck INTEGER NOT NULL DEFAULT 0,
    -- receipts above this place of the chain are expected; 0 before the first is known
    chain_first INTEGER NOT NULL DEFAULT 0,
    -- highest place that came through the mailbox
    chain_seen INTEGER NOT NULL DEFAULT 0,
    -- epoch whose tag the server has compared
    tag_told INTEGER NOT NULL DEFAULT 0,
    -- when this device last renewed its leaf
    renewed_at_ms INTEGER NOT NULL DEFAULT 0
);
INSERT INTO groups (id, conversation, suite, epoch, since_epoch, first_epoch)
    SELECT id, id, suite, epoch, first_epoch, first_epoch FROM conversations WHERE state <> 0;
DROP TABLE conversations;
ALTER TABLE conversations_2 RENAME TO conversations;
CREATE INDEX conversations_peer ON conversations (peer);
CREATE INDEX conversations_group ON conversations (group_id);

-- Who else was in an epoch: devices for checking receipts, accounts for what is delivered.
DROP TABLE epochs;
CREATE TABLE epochs (
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    devices BLOB NOT NULL,
    accounts BLOB NOT NULL,
    -- devices that said in this epoch that they leave, in that order
    leavers BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (group_id, epoch)
) WITHOUT ROWID;

-- When the server accepted it, 0 before: the same on all devices, and with the place in the chain of its group the order
-- in which it is shown. `seen`: 1 once a person has read it.
ALTER TABLE messages ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN group_id BLOB;
ALTER TABLE messages ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_chain ON messages (group_id, chain);
CREATE INDEX messages_id ON messages (conversation, id);
UPDATE messages SET seen = 1, at_ms = sent_at_ms;
CREATE INDEX messages_order ON messages (conversation, at_ms, chain);

-- Which other accounts have an own message: 1 delivered, 2 read.
CREATE TABLE deliveries (
    conversation BLOB NOT NULL,
    message BLOB NOT NULL,
    account BLOB NOT NULL,
    state INTEGER NOT NULL,
    PRIMARY KEY (conversation, message, account)
) WITHOUT ROWID;

-- Others' messages whose arrival (1) or reading (2) is to be told.
CREATE TABLE acks (
    conversation BLOB NOT NULL,
    message BLOB NOT NULL,
    state INTEGER NOT NULL,
    PRIMARY KEY (conversation, message)
) WITHOUT ROWID;

-- `content` is what is encrypted; the payload is empty while it is not, and stays the same once it was sent.
DROP TABLE outbox;
CREATE TABLE outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation BLOB NOT NULL,
    -- none for what nobody sees
    message BLOB,
    content BLOB NOT NULL,
    idempotency_key BLOB NOT NULL,
    group_id BLOB,
    epoch INTEGER NOT NULL DEFAULT 0,
    tag BLOB NOT NULL DEFAULT x'',
    payload BLOB NOT NULL DEFAULT x'',
    attempts INTEGER NOT NULL DEFAULT 0
);
UPDATE messages SET state = 2 WHERE state = 0;

DROP TABLE pending;
CREATE TABLE pending (
    group_id BLOB PRIMARY KEY,
    conversation BLOB NOT NULL,
    -- 0 CreateGroup, 1 CommitGroup, 2 CommitGroup with an external commit, 3 LeaveGroup
    kind INTEGER NOT NULL,
    request BLOB NOT NULL
);

-- The server's receipts, of messages of this device and of others: the group's chain.
CREATE TABLE receipts (
    group_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    -- 1: for something that this device sent
    own INTEGER NOT NULL,
    receipt BLOB NOT NULL,
    resent_at_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (group_id, seq)
) WITHOUT ROWID;

-- Places of a chain whose message is not here. `state`: 0 asked for, 1 given up.
CREATE TABLE holes (
    group_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (group_id, seq)
) WITHOUT ROWID;

-- What is to be done, and when: see the module `chores`.
CREATE TABLE chores (
    conversation BLOB NOT NULL,
    kind INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    -- how often it was wanted
    wish INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation, kind)
) WITHOUT ROWID;

-- Devices that the server says are revoked.
CREATE TABLE revoked (device BLOB PRIMARY KEY) WITHOUT ROWID;

-- Invites made here; their secrets are the links.
CREATE TABLE invites (
    conversation BLOB NOT NULL,
    key BLOB NOT NULL,
    secret BLOB NOT NULL,
    PRIMARY KEY (conversation, key)
) WITHOUT ROWID;

ALTER TABLE mailbox ADD COLUMN undecryptable_told INTEGER NOT NULL DEFAULT 0;

-- What the devices of an account tell each other. The latest value of a name counts.
CREATE TABLE synced (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    at_ms INTEGER NOT NULL
);
