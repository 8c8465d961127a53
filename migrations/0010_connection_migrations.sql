-- Switching the identity provider. `undo` is what a roll-back needs: bindings and primary connection as they
-- were before each step.
CREATE TABLE connection_migrations (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    from_connection TEXT NOT NULL REFERENCES connections (id),
    to_connection TEXT NOT NULL REFERENCES connections (id),
    domains TEXT NOT NULL,
    link_on_sign_in BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    undo TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    cut_over_at BIGINT,
    version BIGINT NOT NULL
);
-- An organisation has one that is not over at the most.
CREATE UNIQUE INDEX connection_migrations_open ON connection_migrations (org)
    WHERE state IN ('side_by_side', 'cut_over');

-- What was decided about pairs of people; what only the rule proposes is worked out when asked for.
CREATE TABLE connection_links (
    migration TEXT NOT NULL REFERENCES connection_migrations (id),
    from_user TEXT NOT NULL REFERENCES users (id),
    to_user TEXT NOT NULL REFERENCES users (id),
    state TEXT NOT NULL,
    manual BOOLEAN NOT NULL,
    PRIMARY KEY (migration, from_user, to_user)
);
CREATE INDEX connection_links_by_from ON connection_links (from_user);
CREATE INDEX connection_links_by_to ON connection_links (to_user);
