-- Another account key that was shown under a pinned name, and when. Nothing is sent to that person until somebody decides;
-- `other_refused` is 1 once the decision was that the pinned key stays.
ALTER TABLE peers ADD COLUMN other_key BLOB;
ALTER TABLE peers ADD COLUMN other_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE peers ADD COLUMN other_refused INTEGER NOT NULL DEFAULT 0;

-- Accounts that had a name before a person accepted another key under it: their conversations stay.
CREATE TABLE former_peers (
    account BLOB PRIMARY KEY,
    username TEXT NOT NULL
) WITHOUT ROWID;

-- 1: this device was restored by a recovery code, and the server is still to be given the new password.
ALTER TABLE identity ADD COLUMN resetting INTEGER NOT NULL DEFAULT 0;

-- SHA-256 of set and content of the recovery bundle that this device has brought last.
CREATE TABLE recovery (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    brought BLOB NOT NULL
);
