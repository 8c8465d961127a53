-- What agents did on their way in, and what of it belongs together.
CREATE TABLE agent_attempts (
    id TEXT NOT NULL PRIMARY KEY,
    org TEXT NOT NULL,
    account TEXT NOT NULL,
    app TEXT NOT NULL,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT,
    received TEXT,
    subject TEXT,
    -- Whether somebody who is known had to do with it; what strangers did goes earlier.
    known BOOLEAN NOT NULL,
    ambiguous BOOLEAN NOT NULL,
    -- Digest of the agent's network and user agent; empty while only a browser was seen.
    place TEXT NOT NULL,
    network TEXT NOT NULL,
    user_agent TEXT,
    client_id TEXT,
    client TEXT,
    client_name TEXT,
    -- Digest of the authorization request.
    asked TEXT,
    user_id TEXT,
    grant_id TEXT,
    steps BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    -- When it counts as stopped unless something more comes.
    stops_at BIGINT NOT NULL
);
CREATE INDEX agent_attempts_by_org ON agent_attempts (org, id);
CREATE INDEX agent_attempts_by_account ON agent_attempts (org, account, id);
CREATE INDEX agent_attempts_by_app ON agent_attempts (app, id);
CREATE INDEX agent_attempts_by_place ON agent_attempts (app, place, last_at);
CREATE INDEX agent_attempts_by_network ON agent_attempts (app, network, last_at);
CREATE INDEX agent_attempts_by_client ON agent_attempts (app, client_id, last_at);
CREATE INDEX agent_attempts_by_asked ON agent_attempts (app, asked);
CREATE INDEX agent_attempts_by_grant ON agent_attempts (app, grant_id);
CREATE INDEX agent_attempts_by_user ON agent_attempts (org, user_id, id);
CREATE INDEX agent_attempts_by_age ON agent_attempts (known, last_at);
CREATE INDEX agent_attempts_by_crowd ON agent_attempts (app, known, last_at);

CREATE TABLE agent_steps (
    id TEXT NOT NULL PRIMARY KEY,
    -- Empty until it was found out which attempt it belongs to.
    attempt TEXT NOT NULL,
    org TEXT NOT NULL,
    account TEXT NOT NULL,
    app TEXT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    expected TEXT,
    received TEXT,
    subject TEXT,
    known BOOLEAN NOT NULL,
    request TEXT NOT NULL,
    network TEXT NOT NULL,
    ip TEXT,
    user_agent TEXT,
    client_id TEXT,
    client TEXT,
    client_name TEXT,
    asked TEXT,
    user_id TEXT,
    grant_id TEXT,
    count BIGINT NOT NULL
);
CREATE INDEX agent_steps_by_attempt ON agent_steps (attempt, at, id);
CREATE INDEX agent_steps_by_request ON agent_steps (org, request);
CREATE INDEX agent_steps_by_age ON agent_steps (known, at);
