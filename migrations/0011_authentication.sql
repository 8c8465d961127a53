-- How somebody proved who they are belongs to the session of that proof, and goes with it: into sessions at apps
-- and into grants. JSON; absent for what began before this was kept, which then proves nothing to rules that ask.
ALTER TABLE sessions ADD COLUMN authentication TEXT;
ALTER TABLE handoffs ADD COLUMN authentication TEXT;
ALTER TABLE grants ADD COLUMN authentication TEXT;
-- When the person's connection last vouched for them.
ALTER TABLE users ADD COLUMN vouched_at BIGINT;
UPDATE users SET vouched_at = last_login_at;
