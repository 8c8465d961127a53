-- `position` is that of the last event of the organisation's log that was looked at. The secrets are sealed.
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT REFERENCES accounts (id),
    name TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    spec TEXT NOT NULL,
    secret TEXT NOT NULL,
    previous_secret TEXT,
    previous_until BIGINT,
    position BIGINT NOT NULL,
    disabled_reason TEXT,
    failing_since BIGINT,
    last_success_at BIGINT,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (org, name)
);

-- Whoever sets `leased_until` from the past to the future makes the next attempt.
CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    webhook TEXT NOT NULL REFERENCES webhooks (id),
    event TEXT NOT NULL,
    action TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    last_at BIGINT,
    status BIGINT,
    millis BIGINT,
    error TEXT,
    response TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (webhook, event)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (state, next_at);
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at);
