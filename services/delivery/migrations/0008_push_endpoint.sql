-- How a device is woken. `endpoint` is sealed under a key that is not in the database, and empty once a push service wants no more.
-- `woken_seq` is the head of the mailbox when the device was woken last: it is not woken again before it has acknowledged that.
CREATE TABLE push_endpoint (
    device BYTEA NOT NULL PRIMARY KEY,
    endpoint BYTEA NOT NULL,
    state BIGINT NOT NULL,
    since_day BIGINT NOT NULL,
    woken_seq BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    refusals BIGINT NOT NULL,
    next_ms BIGINT NOT NULL
);
