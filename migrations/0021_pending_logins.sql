-- Browsers that are out at a provider: one row for each tab, under the hash of its state, sealed. `holder` is the hash of
-- what only that browser has, in a cookie of the attempt's own.
CREATE TABLE pending_logins (
    hash TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    data TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX pending_logins_by_expires ON pending_logins (expires_at);
