-- What an administrator approved of a client (JSON), so that a later change can be told from it.
ALTER TABLE clients ADD COLUMN approval TEXT;
-- Where the code of a grant went: how far the agent is trusted depends on it.
ALTER TABLE grants ADD COLUMN redirect_uri TEXT;
UPDATE grants SET redirect_uri = (SELECT MAX(codes.redirect_uri) FROM codes WHERE codes.grant_id = grants.id);

-- A host with its port; what was stored without one is proven anew when the document is read the next time.
UPDATE clients SET tier = 'unverified'
    WHERE source = 'metadata_document' AND tier = 'domain_verified'
    AND client_id NOT LIKE 'https://' || verified_host || '/%';
UPDATE clients SET verified_host = NULL
    WHERE source = 'metadata_document' AND client_id NOT LIKE 'https://' || verified_host || '/%';
-- A document proves who published it, not who receives at an address that is not of its host.
UPDATE clients SET tier = 'localhost' WHERE tier = 'domain_verified' AND redirect_uris LIKE '%"http://%';
UPDATE clients SET tier = 'unverified'
    WHERE tier = 'domain_verified' AND redirect_uris NOT LIKE '%"https://' || verified_host || '/%';

-- Forms that were answered.
CREATE TABLE spent_forms (
    hash TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX spent_forms_by_end ON spent_forms (expires_at);
