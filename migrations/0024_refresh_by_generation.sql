-- Refresh tokens count: a grant knows the generation of its last one (0: none yet, or one of the old form) and when
-- it gave that one out. No token has a row of its own any more.
ALTER TABLE grants ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN rotated_at BIGINT;

-- The table of the old form, refresh_tokens, stays as it is: its tokens are good for their remaining life. It gets no
-- new rows, and can be dropped once it is empty and no older version runs beside this one.

-- Who does at this moment what one instance at a time does.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);

-- What is over is found by the moment from which its time counts.
CREATE INDEX grants_by_revocation ON grants (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX grants_unused ON grants (created_at) WHERE last_used_at IS NULL;
CREATE INDEX clients_by_use ON clients (last_used_at);
CREATE INDEX attempts_steady ON attempts (open_at) WHERE act = 'code' OR place = '';
CREATE INDEX connection_health_by_age ON connection_health (bucket);
