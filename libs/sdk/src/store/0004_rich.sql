-- What a message is: 0 a text, 1 of a kind that this client does not understand, 2 deleted for all, 3 gone by its timer.
ALTER TABLE messages ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
-- What belongs to a text beside it, as a `Saying`; of an unknown kind, the whole content.
ALTER TABLE messages ADD COLUMN extra BLOB NOT NULL DEFAULT x'';
-- Whether this account is named in it, or answered by it.
ALTER TABLE messages ADD COLUMN for_us INTEGER NOT NULL DEFAULT 0;
-- What proves to the server that it was said: an `Evidence`. Empty for own messages.
ALTER TABLE messages ADD COLUMN evidence BLOB NOT NULL DEFAULT x'';
-- It goes so long after it was read, 0 for never; and when, once that is known.
ALTER TABLE messages ADD COLUMN expires_after_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN expires_at_ms INTEGER;
CREATE INDEX messages_expiry ON messages (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

-- Reactions (1), edits (2) and deletions (3), whether or not the message that they are about is here. Which of several counts is
-- decided when a message is shown, by the order in which the server accepted them.
CREATE TABLE changes (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation BLOB NOT NULL,
    kind INTEGER NOT NULL,
    target_account BLOB NOT NULL,
    target BLOB NOT NULL,
    id BLOB NOT NULL,
    sender_account BLOB NOT NULL,
    sender_device BLOB NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    group_id BLOB,
    chain INTEGER NOT NULL DEFAULT 0,
    -- a `Saying`
    body BLOB NOT NULL,
    -- as that of messages
    evidence BLOB NOT NULL DEFAULT x'',
    UNIQUE (conversation, sender_device, id)
);
CREATE INDEX changes_target ON changes (conversation, target);
CREATE INDEX changes_chain ON changes (group_id, chain);

-- 0 this account takes part, 1 a stranger has begun it and waits, 2 declined.
ALTER TABLE conversations ADD COLUMN standing INTEGER NOT NULL DEFAULT 0;

-- How long what is written from now on stays after it was read, 0 for ever, and when that was said.
ALTER TABLE conversations ADD COLUMN expires_after_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN timer_at_ms INTEGER NOT NULL DEFAULT 0;
