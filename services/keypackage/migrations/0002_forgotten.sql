-- Revoked devices, whose packages and keys are refused for ever.
CREATE TABLE forgotten_devices (
    device_id BYTEA NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL
);
