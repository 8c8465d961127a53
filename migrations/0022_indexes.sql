-- Lists are read by organisation in the order of their identifiers, page by page; what belongs to an account, an app, a
-- person or a client goes with it; what expires leaves by its time. Without these each would read its table as a whole.

-- Lists of an organisation.
CREATE INDEX accounts_by_org ON accounts (org, id);
CREATE INDEX apps_by_org ON apps (org, id);
CREATE INDEX policies_by_org ON policies (org, id);
CREATE INDEX user_groups_by_org ON user_groups (org, id);
CREATE INDEX connections_by_org ON connections (org, id);
CREATE INDEX bindings_by_org ON bindings (org, id);
CREATE INDEX clients_by_org ON clients (org, id);
CREATE INDEX grants_by_org ON grants (org, id);
CREATE INDEX sessions_by_org ON sessions (org, id);
CREATE INDEX users_by_org ON users (org, id);
CREATE INDEX hosts_by_org ON hosts (org, id);
CREATE INDEX webhooks_by_org ON webhooks (org, id);
CREATE INDEX signing_keys_by_org ON signing_keys (org, id);
CREATE INDEX second_factors_by_org ON second_factors (org);
CREATE INDEX connection_trials_by_org ON connection_trials (org);
DROP INDEX members_by_org;
CREATE INDEX members_by_org ON members (org, id);
DROP INDEX api_tokens_by_org;
CREATE INDEX api_tokens_by_org ON api_tokens (org, id);
DROP INDEX invitations_by_org;
CREATE INDEX invitations_by_org ON invitations (org, id);
DROP INDEX role_mappings_by_org;
CREATE INDEX role_mappings_by_org ON role_mappings (org, id);
DROP INDEX service_tokens_by_org;
CREATE INDEX service_tokens_by_org ON service_tokens (org, id);
CREATE INDEX connection_migrations_by_org ON connection_migrations (org, id);

-- What goes with something else.
CREATE INDEX connections_by_account ON connections (account);
CREATE INDEX members_by_account ON members (account);
CREATE INDEX role_mappings_by_account ON role_mappings (account);
CREATE INDEX invitations_by_account ON invitations (account);
CREATE INDEX invitations_by_guest ON invitations (accepted_by);
CREATE INDEX api_tokens_by_account ON api_tokens (account);
CREATE INDEX api_tokens_by_maker ON api_tokens (created_by);
CREATE INDEX webhooks_by_account ON webhooks (account);
CREATE INDEX clients_by_account ON clients (account);
CREATE INDEX clients_by_first_user ON clients (first_user);
CREATE INDEX codes_by_grant ON codes (grant_id);
CREATE INDEX codes_by_client ON codes (client);
CREATE INDEX refresh_tokens_by_client ON refresh_tokens (client);
CREATE INDEX handoffs_by_app ON handoffs (app);
CREATE INDEX handoffs_by_user ON handoffs (user_id);
CREATE INDEX connection_migrations_by_source ON connection_migrations (from_connection);
CREATE INDEX connection_migrations_by_target ON connection_migrations (to_connection);

-- What leaves by its time.
CREATE INDEX codes_by_expiry ON codes (expires_at);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX handoffs_by_expiry ON handoffs (expires_at);
CREATE INDEX grants_by_expiry ON grants (expires_at);
CREATE INDEX email_codes_by_age ON email_codes (created_at);
CREATE INDEX connection_trials_by_age ON connection_trials (created_at);
CREATE INDEX changes_by_age ON changes (at);
CREATE INDEX logout_tokens_by_expiry ON logout_tokens (expires_at);
CREATE INDEX deep_links_by_expiry ON deep_links (expires_at);
CREATE INDEX invitations_by_expiry ON invitations (expires_at);
CREATE INDEX upstream_sessions_by_age ON upstream_sessions (created_at);
CREATE INDEX expiry_warnings_by_expiry ON expiry_warnings (expires_at);
CREATE INDEX api_tokens_by_expiry ON api_tokens (expires_at);
CREATE INDEX service_tokens_by_expiry ON service_tokens (expires_at);
CREATE INDEX connections_by_secret_expiry ON connections (secret_expires_at);
CREATE INDEX clients_unused ON clients (created_at) WHERE last_used_at IS NULL;
