-- A redirect URI per connection. Those that are there keep the shared one until an administrator switches them,
-- because their providers know no other. The spec is a JSON object, and never an empty one.
UPDATE connections SET spec = '{"callback":"shared",' || substr(spec, 2) WHERE kind IN ('oidc', 'github');

-- SHA-256 of the state of the attempt whose answer a trial waits for.
ALTER TABLE connection_trials ADD COLUMN attempt TEXT;

-- Where somebody wanted to go who had to sign in first, when that is too long for a cookie. `hash` is that of the
-- browser's state.
CREATE TABLE deep_links (
    hash TEXT NOT NULL PRIMARY KEY,
    network TEXT NOT NULL,
    target TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX deep_links_by_network ON deep_links (network);
