-- Somebody is found by their address, whatever its case, without a look at everybody else.
CREATE INDEX users_by_address ON users (org, lower(email));
DROP INDEX users_by_email;
-- The people of one connection, page by page.
CREATE INDEX users_by_place ON users (org, connection, id);

-- Deliveries of one webhook, newest first; and those that are to be made, however many were.
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook, id);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook, id) WHERE state = 'pending';
