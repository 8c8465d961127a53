-- Members get a version, API tokens may belong to an account, invitations, roles that follow from groups.

ALTER TABLE members ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- A token has an owner, or an account and a role in it. While `previous_until` lasts, the secret before
-- the last roll is good as well.
ALTER TABLE api_tokens RENAME TO api_tokens_before;
CREATE TABLE api_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    owner TEXT REFERENCES users (id),
    account TEXT REFERENCES accounts (id),
    role TEXT,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    allowed_ips TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    previous_hash TEXT UNIQUE,
    previous_until BIGINT,
    created_by TEXT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    last_used_ip TEXT,
    version BIGINT NOT NULL
);
INSERT INTO api_tokens
    (id, org, owner, name, scopes, allowed_ips, prefix, hash, created_by, created_at, expires_at, last_used_at, version)
    SELECT id, org, owner, name, scopes, '[]', prefix, hash, owner, created_at, expires_at, last_used_at, 1
    FROM api_tokens_before;
DROP TABLE api_tokens_before;
CREATE INDEX api_tokens_by_org ON api_tokens (org);

-- `account` is '' for roles of the organisation, as in `members`.
CREATE TABLE invitations (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    email TEXT NOT NULL,
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    local BOOLEAN NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    created_by TEXT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    accepted_at BIGINT,
    accepted_by TEXT REFERENCES users (id),
    revoked_at BIGINT
);
CREATE INDEX invitations_by_org ON invitations (org);
CREATE INDEX invitations_by_creator ON invitations (created_by);

CREATE TABLE role_mappings (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    connection TEXT NOT NULL REFERENCES connections (id),
    idp_group TEXT NOT NULL,
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (connection, idp_group, account, role)
);
CREATE INDEX role_mappings_by_org ON role_mappings (org);
