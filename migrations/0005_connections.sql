-- How sign-ins went, by connection and ten minutes; `outcome` is 'success' or the reason of a failure.
CREATE TABLE connection_health (
    connection TEXT NOT NULL REFERENCES connections (id),
    bucket BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    sign_ins BIGINT NOT NULL,
    millis BIGINT NOT NULL,
    PRIMARY KEY (connection, bucket, outcome)
);

-- Trials of connections. The token in a trial's URL is stored as its hash only.
CREATE TABLE connection_trials (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    connection TEXT NOT NULL REFERENCES connections (id),
    token_hash TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    trace TEXT NOT NULL,
    identity TEXT,
    claims TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX connection_trials_by_connection ON connection_trials (connection);

-- Repeats what the spec says, so that warnings are found by it.
ALTER TABLE connections ADD COLUMN secret_expires_at BIGINT;
