-- An account has one active exclusive binding at the most.
CREATE UNIQUE INDEX bindings_one_exclusive ON bindings (account) WHERE mode = 'exclusive' AND state = 'active';
-- What drains is looked for every few seconds.
CREATE INDEX bindings_draining ON bindings (drain_until) WHERE state = 'draining';
-- Who holds what in an account, and who comes through a connection.
CREATE INDEX grants_by_account ON grants (account);
CREATE INDEX sessions_by_app ON sessions (app);
CREATE INDEX users_by_connection ON users (connection, id);
