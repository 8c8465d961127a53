-- One-time codes sent by e-mail. `hash` is that of the attempt's secret in the browser's session, `code` and
-- `address` are HMACs under the master key: neither can be guessed from a copy of the database.
CREATE TABLE email_codes (
    hash TEXT NOT NULL PRIMARY KEY,
    connection TEXT NOT NULL,
    address TEXT NOT NULL,
    code TEXT NOT NULL,
    tries BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    redeemed_at BIGINT
);
CREATE INDEX email_codes_by_address ON email_codes (connection, address, created_at);

-- What is behind a session at the provider: its own name for it, and the sealed id token as a hint for signing
-- out there.
CREATE TABLE upstream_sessions (
    session TEXT NOT NULL PRIMARY KEY,
    connection TEXT NOT NULL,
    sid TEXT,
    id_token TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX upstream_sessions_by_sid ON upstream_sessions (connection, sid);

-- Logout tokens that were used, until they would be too old anyway. `hash` is that of connection and `jti`.
CREATE TABLE logout_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
