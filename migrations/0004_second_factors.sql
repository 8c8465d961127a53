-- What local people show besides their password. `secret` is sealed: the key of a TOTP, or a passkey's public
-- credential as JSON. `counter` only ever grows: the newest time step of a TOTP, a passkey's signature counter.
CREATE TABLE second_factors (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    secret TEXT NOT NULL,
    credential TEXT UNIQUE,
    counter BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX second_factors_by_user ON second_factors (user_id);

-- `hash` is an HMAC over person and code.
CREATE TABLE recovery_codes (
    hash TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX recovery_codes_by_user ON recovery_codes (user_id);
