-- One text for SQLite and PostgreSQL: TEXT, BIGINT and BOOLEAN only. Times are microseconds since the
-- epoch, JSON and ciphertext are TEXT, hashes base64url of SHA-256.

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- The change feed: what other instances must forget. The counter row is locked until commit, so the
-- order of `seq` is the order of commits and a poller never misses a late row.
CREATE TABLE change_counter (
    id BIGINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO change_counter (id, seq) VALUES (1, 0);
CREATE TABLE changes (
    seq BIGINT NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE organisations (
    id TEXT NOT NULL PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (org, name)
);

CREATE TABLE connections (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT REFERENCES accounts (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    secret TEXT,
    last_success_at BIGINT,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (org, name)
);

CREATE TABLE bindings (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    connection TEXT NOT NULL REFERENCES connections (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    drain_until BIGINT,
    claims TEXT,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (connection, account)
);
CREATE INDEX bindings_by_account ON bindings (account);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    connection TEXT NOT NULL REFERENCES connections (id),
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    email TEXT,
    email_verified BOOLEAN NOT NULL,
    name TEXT,
    claims TEXT NOT NULL,
    idp_groups TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT,
    version BIGINT NOT NULL,
    UNIQUE (org, connection, issuer, subject)
);
CREATE INDEX users_by_email ON users (org, email);

CREATE TABLE passwords (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
    phc TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    locked_until BIGINT NOT NULL
);

-- `account` is '' for roles of the organisation, so that UNIQUE works alike on both engines.
CREATE TABLE members (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, account, role)
);
CREATE INDEX members_by_org ON members (org);

CREATE TABLE user_groups (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (account, name)
);

CREATE TABLE policies (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (account, name)
);

-- `authority` and `path` repeat what `spec.public_url` says, so that two apps cannot claim one place.
CREATE TABLE apps (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    name TEXT NOT NULL,
    authority TEXT NOT NULL,
    path TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (account, name),
    UNIQUE (authority, path)
);

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    app TEXT NOT NULL REFERENCES apps (id),
    client_id TEXT NOT NULL,
    name TEXT NOT NULL,
    verified_host TEXT,
    source TEXT NOT NULL,
    tier TEXT NOT NULL,
    state TEXT NOT NULL,
    redirect_uris TEXT NOT NULL,
    auth_method TEXT NOT NULL,
    secret_hash TEXT,
    registration_hash TEXT,
    metadata TEXT NOT NULL,
    first_user TEXT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    version BIGINT NOT NULL,
    UNIQUE (app, client_id)
);

CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    app TEXT NOT NULL REFERENCES apps (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    client TEXT NOT NULL REFERENCES clients (id),
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at BIGINT,
    revoked_reason TEXT
);
CREATE INDEX grants_by_user ON grants (user_id);
CREATE INDEX grants_by_client ON grants (client);
CREATE INDEX grants_by_app ON grants (app);

CREATE TABLE codes (
    hash TEXT NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES grants (id),
    client TEXT NOT NULL REFERENCES clients (id),
    redirect_uri TEXT NOT NULL,
    challenge TEXT NOT NULL,
    resource TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    redeemed_at BIGINT
);

-- A family is one redemption of one code; the successor of a token is derived, never stored in clear.
CREATE TABLE refresh_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES grants (id),
    client TEXT NOT NULL REFERENCES clients (id),
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_by_grant ON refresh_tokens (grant_id);

CREATE TABLE revoked_tokens (
    jti TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    org TEXT,
    user_id TEXT REFERENCES users (id),
    app TEXT REFERENCES apps (id),
    parent TEXT,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ip TEXT,
    user_agent TEXT
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_parent ON sessions (parent);

CREATE TABLE handoffs (
    hash TEXT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL REFERENCES apps (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    session TEXT NOT NULL,
    state_hash TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    redeemed_at BIGINT
);

CREATE TABLE api_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    owner TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);

CREATE TABLE signing_keys (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    algorithm TEXT NOT NULL,
    state TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    private_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_after BIGINT
);

-- `hash` of the last event; the row is locked while events are appended, which gives every event a
-- position without gaps in the order of commits.
CREATE TABLE audit_heads (
    org TEXT NOT NULL PRIMARY KEY REFERENCES organisations (id),
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);

CREATE TABLE audit_events (
    org TEXT NOT NULL,
    seq BIGINT NOT NULL,
    id TEXT NOT NULL,
    time BIGINT NOT NULL,
    account TEXT,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    user_id TEXT,
    client TEXT,
    grant_id TEXT,
    app TEXT,
    tool TEXT,
    body TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (org, seq)
);
CREATE INDEX audit_events_by_id ON audit_events (id);
CREATE INDEX audit_events_by_time ON audit_events (org, time);

-- What the origin answered, known only after the event was made durable.
CREATE TABLE audit_responses (
    event TEXT NOT NULL PRIMARY KEY,
    status BIGINT NOT NULL,
    micros BIGINT NOT NULL
);

CREATE TABLE jobs (
    kind TEXT NOT NULL PRIMARY KEY,
    run_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);
