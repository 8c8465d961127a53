-- Somebody is found by their address, whatever its case, without a look at everybody else.
CREATE INDEX users_by_address ON users (org, lower(email));
DROP INDEX users_by_email;
-- The people of one connection, and what one account has, page by page.
CREATE INDEX users_by_place ON users (org, connection, id);
CREATE INDEX apps_by_place ON apps (org, account, id);
CREATE INDEX policies_by_place ON policies (org, account, id);
CREATE INDEX user_groups_by_place ON user_groups (org, account, id);
CREATE INDEX clients_by_place ON clients (org, account, id);
CREATE INDEX grants_by_place ON grants (org, account, id);
CREATE INDEX bindings_by_place ON bindings (org, account, id);

-- One link among many.
CREATE INDEX connection_links_by_state ON connection_links (migration, state);
CREATE INDEX connection_links_by_other ON connection_links (migration, to_user);

-- Deliveries of one webhook, newest first; and those that are to be made, however many were.
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook, id);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook, id) WHERE state = 'pending';
