-- Codes by which accounts may be registered. The code itself is nowhere: lookup is a keyed hash of it.
CREATE TABLE account_invites (
    invite_id BYTEA NOT NULL PRIMARY KEY,
    lookup BYTEA NOT NULL UNIQUE,
    uses BIGINT NOT NULL,
    -- how many of them are used up
    used BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    -- of admins, for admins
    note TEXT NOT NULL
);
CREATE INDEX account_invites_created ON account_invites (created_ms);
CREATE INDEX account_invites_expires ON account_invites (expires_ms);
