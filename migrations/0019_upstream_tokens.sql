-- The refresh token with which a provider is asked whether it still vouches for a person. It is sealed. `client` says
-- with which client of which provider it was got: it goes nowhere else. `asked_at` is when the provider was asked last,
-- and the lease of whoever asks now; `used_at` when it last said yes.
CREATE TABLE upstream_tokens (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
    connection TEXT NOT NULL,
    client TEXT NOT NULL,
    token TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
CREATE INDEX upstream_tokens_by_asked ON upstream_tokens (asked_at);
CREATE INDEX upstream_tokens_by_used ON upstream_tokens (used_at);
CREATE INDEX api_tokens_by_owner ON api_tokens (owner);
