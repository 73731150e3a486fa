-- `state` is the public MLS group, sealed under a key that is not in the database.
CREATE TABLE mls_group (
    id BYTEA NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    state BYTEA NOT NULL
);

CREATE TABLE group_member (
    group_id BYTEA NOT NULL,
    device BYTEA NOT NULL,
    PRIMARY KEY (group_id, device)
);

-- One direct conversation for a pair of accounts, the smaller id first.
CREATE TABLE direct_pair (
    low BYTEA NOT NULL,
    high BYTEA NOT NULL,
    group_id BYTEA NOT NULL,
    PRIMARY KEY (low, high)
);
