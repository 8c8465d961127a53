-- What organisations decided about the metadata documents of agents.
CREATE TABLE agent_documents (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL REFERENCES organisations (id),
    client_id TEXT NOT NULL,
    decision TEXT NOT NULL,
    document TEXT,
    fetched_at BIGINT,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (org, client_id)
);

-- Documents of agents that somebody allowed something, as they were last published. They are nobody's: whoever fetches
-- one gets the same.
CREATE TABLE fetched_documents (
    client_id TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL,
    fetched_at BIGINT NOT NULL,
    tried_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
CREATE INDEX fetched_documents_by_try ON fetched_documents (tried_at);
CREATE INDEX fetched_documents_by_use ON fetched_documents (used_at);

-- The agents of a document, at all apps of an organisation.
CREATE INDEX clients_by_client_id ON clients (org, client_id);
