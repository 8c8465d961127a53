-- Refresh tokens count: a grant knows the generation of its last one (0: none yet, or one of the old form) and when
-- it gave that one out. No token has a row of its own any more.
ALTER TABLE grants ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN rotated_at BIGINT;

-- The table of the old form, refresh_tokens, stays as it is: its tokens are good for their remaining life. It gets no
-- new rows, and can be dropped once it is empty and no older version runs beside this one.

-- Who does at this moment what one instance at a time does.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);

-- What is over is found by the moment from which its time counts.
CREATE INDEX IF NOT EXISTS grants_by_end ON grants (expires_at);
CREATE INDEX IF NOT EXISTS grants_by_revocation ON grants (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS grants_never_used ON grants (created_at) WHERE last_used_at IS NULL;
CREATE INDEX IF NOT EXISTS clients_by_use ON clients (last_used_at, created_at);
CREATE INDEX IF NOT EXISTS clients_never_used ON clients (app, created_at) WHERE last_used_at IS NULL;
CREATE INDEX IF NOT EXISTS codes_by_end ON codes (expires_at);
CREATE INDEX IF NOT EXISTS refresh_tokens_by_end ON refresh_tokens (expires_at);
CREATE INDEX IF NOT EXISTS revoked_tokens_by_end ON revoked_tokens (expires_at);
CREATE INDEX IF NOT EXISTS sessions_by_end ON sessions (expires_at);
CREATE INDEX IF NOT EXISTS handoffs_by_end ON handoffs (expires_at);
CREATE INDEX IF NOT EXISTS upstream_sessions_by_age ON upstream_sessions (created_at);
CREATE INDEX IF NOT EXISTS logout_tokens_by_end ON logout_tokens (expires_at);
CREATE INDEX IF NOT EXISTS deep_links_by_end ON deep_links (expires_at);
CREATE INDEX IF NOT EXISTS email_codes_by_age ON email_codes (created_at);
CREATE INDEX IF NOT EXISTS attempts_steady ON attempts (open_at) WHERE act = 'code' OR place = '';
CREATE INDEX IF NOT EXISTS connection_trials_by_age ON connection_trials (created_at);
CREATE INDEX IF NOT EXISTS connection_health_by_age ON connection_health (bucket);
CREATE INDEX IF NOT EXISTS expiry_warnings_by_end ON expiry_warnings (expires_at);
CREATE INDEX IF NOT EXISTS changes_by_age ON changes (at);

-- What hangs on something is looked for when that leaves.
CREATE INDEX IF NOT EXISTS codes_by_grant ON codes (grant_id);
CREATE INDEX IF NOT EXISTS codes_by_client ON codes (client);
CREATE INDEX IF NOT EXISTS refresh_tokens_by_client ON refresh_tokens (client);
