-- `previous_hash` is the secret before the last rotation, good until `previous_until`.
CREATE TABLE service_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    expires_at BIGINT,
    hash TEXT NOT NULL,
    prefix TEXT NOT NULL,
    rotated_at BIGINT NOT NULL,
    previous_hash TEXT,
    previous_until BIGINT,
    last_used_at BIGINT,
    last_used_ip TEXT,
    last_used_app TEXT,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (account, name)
);
CREATE INDEX service_tokens_by_org ON service_tokens (org);

-- Which warnings about the end of a credential were given. Another end is warned of anew.
CREATE TABLE expiry_warnings (
    subject TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    days BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    PRIMARY KEY (subject, expires_at, days)
);
