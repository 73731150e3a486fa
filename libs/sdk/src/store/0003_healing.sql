-- Devices that are still to be added to a group, with their KeyPackages: more than one commit adds.
CREATE TABLE admissions (
    conversation BLOB NOT NULL,
    device BLOB NOT NULL,
    package BLOB NOT NULL,
    PRIMARY KEY (conversation, device)
) WITHOUT ROWID;

-- Times that the server had no verdict on a change, and none to come.
ALTER TABLE pending ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;

-- What people wrote goes before what clients tell each other.
CREATE INDEX outbox_shown ON outbox (n) WHERE message IS NOT NULL;

-- Receipts of places for which the server has signed another one since: it was restored from an older state, or lies.
CREATE TABLE lost_receipts (
    group_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    own INTEGER NOT NULL,
    receipt BLOB NOT NULL,
    breaks INTEGER NOT NULL,
    PRIMARY KEY (group_id, seq, receipt)
) WITHOUT ROWID;

-- What stands in the chain between the receipt before and this one was not for this device (1), or is gone from the mailbox, as
-- the server said (2). And whether the next hole in the chain of a group is one of the second kind.
ALTER TABLE receipts ADD COLUMN breaks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
