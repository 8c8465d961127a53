-- On whose word something happens that happens later: a person (`usr_…`) or a token of an account (`tok_…`). It is
-- judged again then. Of an invitation that a token made before, nobody knows which token it was: it has to be sent
-- again.
ALTER TABLE invitations ADD COLUMN maker TEXT;
UPDATE invitations SET maker = created_by;
CREATE INDEX invitations_by_maker ON invitations (maker);

-- Who let a binding drain. `drain_held` says that they might not have detached it any more when its time came: it
-- carries nobody since, and what hangs on it is ended by somebody who may.
ALTER TABLE bindings ADD COLUMN drain_maker TEXT;
ALTER TABLE bindings ADD COLUMN drain_held BIGINT;
