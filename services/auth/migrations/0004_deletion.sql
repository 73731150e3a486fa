-- Revocations outlive the devices that they are of, so that gateways and services hear of them when an account is deleted. Of such
-- an account they keep no id: account_id is empty then.
CREATE TABLE revocations_2 (
    seq BIGINT NOT NULL PRIMARY KEY,
    device_id BYTEA NOT NULL UNIQUE,
    account_id BYTEA NOT NULL,
    at_ms BIGINT NOT NULL,
    -- Which services have forgotten the device: 1 keypackage, 2 delivery, 3 both.
    told BIGINT NOT NULL
);
INSERT INTO revocations_2 (seq, device_id, account_id, at_ms, told)
SELECT seq, device_id, account_id, at_ms, told FROM revocations;
DROP TABLE revocations;
ALTER TABLE revocations_2 RENAME TO revocations;
CREATE INDEX revocations_untold ON revocations (seq) WHERE told <> 3;

-- Accounts that were deleted and that delivery or blob has not forgotten yet, with the ids of all their devices, joined. A row goes
-- when it has.
CREATE TABLE deletions (
    account_id BYTEA NOT NULL PRIMARY KEY,
    devices BYTEA NOT NULL,
    at_ms BIGINT NOT NULL
);

-- Names of deleted accounts, as keyed hashes: whoever knew the account by its name must not meet somebody else under it.
CREATE TABLE deleted_names (
    name_tag BYTEA NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL
);
