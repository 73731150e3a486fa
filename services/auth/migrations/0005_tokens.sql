-- Tokens for sealed messages that an account was given on a day: how many, and nothing else of them.
CREATE TABLE tokens_issued (
    account_id BYTEA NOT NULL,
    -- days since 1970
    day BIGINT NOT NULL,
    issued BIGINT NOT NULL,
    PRIMARY KEY (account_id, day)
);
CREATE INDEX tokens_issued_day ON tokens_issued (day);
