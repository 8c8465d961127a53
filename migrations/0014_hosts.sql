-- Whose public hosts are. A host is what browsers keep cookies by: a name or address without port. On loopback
-- addresses the port belongs to it (`store/src/host.rs`).

-- Repeats what `authority` says, in the spelling of `hosts.name`.
ALTER TABLE apps ADD COLUMN host TEXT NOT NULL DEFAULT '';
UPDATE apps SET host = CASE
    WHEN authority = 'localhost' OR authority LIKE 'localhost:%' OR authority LIKE '[::1]%'
        OR (authority LIKE '127.%' AND rtrim(authority, '0123456789.:') = '') THEN authority
    WHEN rtrim(authority, '0123456789') LIKE '%:'
        THEN rtrim(rtrim(rtrim(authority, '0123456789'), ':'), '.')
    ELSE rtrim(authority, '.')
END;
CREATE INDEX apps_by_host ON apps (host);

CREATE TABLE hosts (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX hosts_by_account ON hosts (account);

-- Other accounts that may publish under a host.
CREATE TABLE host_shares (
    host TEXT NOT NULL REFERENCES hosts (id),
    account TEXT NOT NULL REFERENCES accounts (id),
    PRIMARY KEY (host, account)
);
CREATE INDEX host_shares_by_account ON host_shares (account);

-- A host belongs to the account of its oldest app.
INSERT INTO hosts (id, org, name, account, created_at, version)
    SELECT 'hst_' || substr(a.id, 5), a.org, a.host, a.account, a.created_at, 1
    FROM apps a
    WHERE NOT EXISTS (
        SELECT 1 FROM apps b WHERE b.host = a.host
            AND (b.created_at < a.created_at OR (b.created_at = a.created_at AND b.id < a.id))
    );
