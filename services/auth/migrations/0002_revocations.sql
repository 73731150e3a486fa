-- What its owner calls the device, sealed by a client. NULL: nothing.
ALTER TABLE devices ADD COLUMN name BYTEA;

-- Every revocation, in the order in which they became visible, without holes.
CREATE TABLE revocations (
    seq BIGINT NOT NULL PRIMARY KEY,
    device_id BYTEA NOT NULL UNIQUE REFERENCES devices (device_id),
    account_id BYTEA NOT NULL,
    at_ms BIGINT NOT NULL,
    -- Which services have forgotten the device: 1 keypackage, 2 delivery, 3 both.
    told BIGINT NOT NULL
);
CREATE INDEX revocations_untold ON revocations (seq) WHERE told <> 3;

-- One row. Whoever revokes holds it until the commit, so that no revocation becomes visible after a later one.
CREATE TABLE revocation_head (
    seq BIGINT NOT NULL
);

INSERT INTO revocations (seq, device_id, account_id, at_ms, told)
SELECT ROW_NUMBER() OVER (ORDER BY revoked_ms, device_id), device_id, account_id, revoked_ms, 0
FROM devices WHERE revoked_ms > 0;
INSERT INTO revocation_head (seq) SELECT COUNT(*) FROM revocations;
