-- Accounts that are out of service.
CREATE TABLE bans (
    account_id BYTEA NOT NULL PRIMARY KEY REFERENCES accounts (account_id),
    reason TEXT NOT NULL,
    banned_ms BIGINT NOT NULL
);

-- Accounts that are to be deleted; each is banned as well.
CREATE TABLE deletion_requests (
    account_id BYTEA NOT NULL PRIMARY KEY REFERENCES accounts (account_id),
    requested_ms BIGINT NOT NULL
);

-- Devices whose sessions ended though they are not revoked. In the feed of revocations, numbered with them.
CREATE TABLE ended_sessions (
    seq BIGINT NOT NULL PRIMARY KEY,
    device_id BYTEA NOT NULL
);

-- Limits of one account that differ from the settings, under the names that services give them.
CREATE TABLE quotas (
    account_id BYTEA NOT NULL REFERENCES accounts (account_id),
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (account_id, name)
);

CREATE TABLE reports (
    report_id BYTEA NOT NULL PRIMARY KEY,
    reporter BYTEA NOT NULL,
    accused BYTEA NOT NULL,
    group_id BYTEA NOT NULL,
    evidence BYTEA NOT NULL,
    verdict TEXT NOT NULL,
    reported_ms BIGINT NOT NULL,
    -- 0 while it is open
    resolved_ms BIGINT NOT NULL,
    resolution TEXT NOT NULL
);
CREATE INDEX reports_time ON reports (reported_ms);

-- What gateways say of themselves every few seconds.
CREATE TABLE gateways (
    gateway_id TEXT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    connections BIGINT NOT NULL,
    sessions BIGINT NOT NULL,
    draining BIGINT NOT NULL,
    heard_ms BIGINT NOT NULL,
    drain_asked BIGINT NOT NULL
);

-- What admins did. Only added to, and cut at its old end. `mac` covers the row and the mac before it.
CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    code BIGINT NOT NULL,
    mac TEXT NOT NULL
);

-- One row: the last entry, and the last that was removed for its age.
CREATE TABLE audit_head (
    seq BIGINT NOT NULL,
    mac TEXT NOT NULL,
    cut_seq BIGINT NOT NULL,
    cut_mac TEXT NOT NULL
);
INSERT INTO audit_head (seq, mac, cut_seq, cut_mac) VALUES (0, '', 0, '');
