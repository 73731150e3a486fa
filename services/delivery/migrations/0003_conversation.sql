-- Groups from before have no policy, by which everybody decides who may do what in them, and cannot go on.
DROP TABLE mls_group;
DROP TABLE group_member;
DELETE FROM direct_pair;

-- What moves with every message; the state, which is large, has a row of its own. `revision` counts the changes of the
-- state. `seq`, `chain` and `chain_ms` are the place of the last receipt, its hash and its time. `successor` is empty until
-- there is one;
-- `shared_id` is what joiners of `shared_epoch` are pointed to.
CREATE TABLE mls_group (
    id BYTEA NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    chain BYTEA NOT NULL,
    chain_ms BIGINT NOT NULL,
    successor BYTEA NOT NULL,
    shared_id BYTEA NOT NULL,
    shared_epoch BIGINT NOT NULL
);

-- The public MLS group and the GroupInfo of its epoch, sealed under a key that is not in the database.
CREATE TABLE group_state (
    group_id BYTEA NOT NULL PRIMARY KEY,
    state BYTEA NOT NULL
);

-- Devices that get messages: the leaves of the group without those that are leaving and those that were revoked.
CREATE TABLE group_member (
    group_id BYTEA NOT NULL,
    device BYTEA NOT NULL,
    account BYTEA NOT NULL,
    role BIGINT NOT NULL,
    PRIMARY KEY (group_id, device)
);
CREATE INDEX group_member_device ON group_member (device);

-- Tags of the last epochs, to notice a fork.
CREATE TABLE group_epoch (
    group_id BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    tag BYTEA NOT NULL,
    PRIMARY KEY (group_id, epoch)
);

-- One group of an account's own devices.
CREATE TABLE own_group (
    account BYTEA NOT NULL PRIMARY KEY,
    group_id BYTEA NOT NULL
);

CREATE TABLE invite_use (
    group_id BYTEA NOT NULL,
    invite_key BYTEA NOT NULL,
    uses BIGINT NOT NULL,
    PRIMARY KEY (group_id, invite_key)
);

CREATE TABLE revoked_device (
    device BYTEA NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL
);

-- What several devices fetch in pieces. Ciphertext: Postgres gives up compressing it after the first KiB and stores it as
-- it is, so that a piece is read without the rest.
CREATE TABLE shared (
    id BYTEA NOT NULL PRIMARY KEY,
    body BYTEA NOT NULL,
    size BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX shared_expires ON shared (expires_ms);

-- Parts of commits that are too large for a frame, sealed under a key that is not in the database.
CREATE TABLE staged (
    device BYTEA NOT NULL,
    staged_id BYTEA NOT NULL,
    part BIGINT NOT NULL,
    total BIGINT NOT NULL,
    body BYTEA NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (device, staged_id, part)
);
CREATE INDEX staged_at ON staged (at_ms);

-- `shared_id` is empty where the body is all there is.
ALTER TABLE payload ADD COLUMN shared_id BYTEA NOT NULL DEFAULT '';
ALTER TABLE payload ADD COLUMN shared_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE payload ADD COLUMN receipt BYTEA NOT NULL DEFAULT '';
