-- Who still needs what is shared. In SQLite an empty blob is not an empty text, so the length decides.
CREATE INDEX payload_shared ON payload (shared_id) WHERE LENGTH(shared_id) > 0;

-- Tags were said by whoever committed; now they are reckoned from the commit, by another rule.
DELETE FROM group_epoch;
