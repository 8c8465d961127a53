-- What origins answered is chained as events are: `n` counts the answers of an organisation, `hash` covers the one
-- before. Answers from before this have neither.
ALTER TABLE audit_responses ADD COLUMN n BIGINT;
ALTER TABLE audit_responses ADD COLUMN hash TEXT;

-- `mac` is an HMAC over the rest of the row under a key that is not in the database; '' until the server that runs
-- this migration has computed it. Answers to events up to `answers_after` may be without a chain.
ALTER TABLE audit_heads ADD COLUMN answers BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN answers_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_heads ADD COLUMN answers_after BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit_heads ADD COLUMN mac TEXT NOT NULL DEFAULT '';
UPDATE audit_heads SET answers_after = seq;

-- Whose the target is, for those who search by person.
ALTER TABLE audit_events ADD COLUMN target_user TEXT;
