-- A proof names the connection that gave it. Of people whose identities were exchanged by a migration of connections
-- nobody knows which one it was: what they hold proves nothing to rules that ask, until they sign in again.
UPDATE grants SET authentication =
    (SELECT '{"connection":"' || u.connection || '"' || CASE WHEN grants.authentication = '{}' THEN '' ELSE ',' END
     FROM users u WHERE u.id = grants.user_id) || substr(authentication, 2)
    WHERE authentication IS NOT NULL AND user_id NOT IN
    (SELECT from_user FROM connection_links WHERE state = 'linked'
     UNION SELECT to_user FROM connection_links WHERE state = 'linked');
UPDATE sessions SET authentication =
    (SELECT '{"connection":"' || u.connection || '"' || CASE WHEN sessions.authentication = '{}' THEN '' ELSE ',' END
     FROM users u WHERE u.id = sessions.user_id) || substr(authentication, 2)
    WHERE authentication IS NOT NULL AND user_id IS NOT NULL AND user_id NOT IN
    (SELECT from_user FROM connection_links WHERE state = 'linked'
     UNION SELECT to_user FROM connection_links WHERE state = 'linked');
-- At the control plane the session's own data say it once more. Within texts, quotes are escaped.
UPDATE sessions SET data = replace(replace(data,
    '"authentication":{"', '"authentication":{"connection":"' || (SELECT u.connection FROM users u WHERE u.id = sessions.user_id) || '","'),
    '"authentication":{}', '"authentication":{"connection":"' || (SELECT u.connection FROM users u WHERE u.id = sessions.user_id) || '"}')
    WHERE app IS NULL AND user_id IS NOT NULL AND user_id NOT IN
    (SELECT from_user FROM connection_links WHERE state = 'linked'
     UNION SELECT to_user FROM connection_links WHERE state = 'linked');
-- Whether somebody has a second factor here is asked by every decision about people with a local password.
ALTER TABLE users ADD COLUMN has_second_factor BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE users SET has_second_factor = TRUE WHERE id IN (SELECT user_id FROM second_factors);
-- Nothing is approved and waits for approval. How far such a client is trusted is worked out from what it has proven.
UPDATE clients SET tier = 'unverified' WHERE tier = 'approved' AND state = 'pending';
