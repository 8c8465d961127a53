-- Answers to requests with an `Idempotency-Key`, kept for a day. `hash` covers credential and key; the
-- answer is sealed, because it may show a credential. NULL while the first request is being answered.
CREATE TABLE idempotency_keys (
    hash TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    answer TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);
