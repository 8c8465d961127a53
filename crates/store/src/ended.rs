//! Whatever ends because of something else leaves an event of its own: a grant whose client was deleted, a session of
//! somebody who was disabled, a token of an account that is gone. The statements that end such things stand in this
//! file and nowhere else (a test looks), so that nobody can end something without saying so: what ended waits in the
//! transaction, and its commit appends the events, attributed to who did what else was done there.

use crate::sql::{Row, Run, Sql};
use crate::{Change, Result, Tx, audit};
use std::collections::HashMap;
use wire::{
    AccountId, ActorKind, AppId, AuditActor, AuditEvent, AuditTarget, ClientId, GrantId, OrgId, SessionId,
    UserId,
};

/// Something that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    org: OrgId,
    account: Option<AccountId>,
    action: &'static str,
    target: AuditTarget,
    /// For a grant: to which agent it was given.
    agent: Option<(ClientId, Option<String>, GrantId)>,
    reason: &'static str,
}

impl Ended {
    /// What it is, if it ended by an action.
    pub(crate) fn by(&self, action: &str) -> Option<&str> {
        (self.action == action).then_some(self.target.id.as_str())
    }
}

/// Puts what ended into the events of a commit. Where one of them says already that it ended, that one stays, and gets
/// what it lacks.
pub(crate) fn tell(ended: Vec<Ended>, events: &mut Vec<AuditEvent>) {
    if ended.is_empty() {
        return;
    }
    let mut told: HashMap<(&'static str, String), usize> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        if let Some(target) = &event.target
            && let Some(action) = ACTIONS.into_iter().find(|action| *action == event.action)
        {
            told.insert((action, target.id.clone()), at);
        }
    }
    // Who did the first thing did it all.
    let cause = events
        .first()
        .map(|event| (event.actor.clone(), event.source.clone(), event.request.clone()));
    let (actor, source, request) =
        cause.unwrap_or_else(|| (AuditActor::of(ActorKind::System), "system".to_owned(), None));
    for item in ended {
        if let Some(at) = told.get(&(item.action, item.target.id.clone())) {
            let event = &mut events[*at];
            if let Some(target) = &mut event.target {
                target.user = item.target.user;
            }
            continue;
        }
        let mut actor = actor.clone();
        if let Some((client, name, grant)) = item.agent {
            // Which agent it was is what an auditor looks for.
            actor.client = Some(client);
            actor.client_name = name;
            actor.grant = Some(grant);
        }
        let mut event = audit::event(&item.org, &source, item.action, actor);
        event.account = item.account;
        event.target = Some(item.target);
        event.reason = Some(item.reason.to_owned());
        event.request.clone_from(&request);
        events.push(event);
    }
}

const ACTIONS: [&str; 7] = [
    "grant.revoke",
    "session.end",
    "api_token.delete",
    "invitation.revoke",
    "member.delete",
    "role_mapping.delete",
    "binding.delete",
];

/// Ends grants that are in force, at every gateway; says which. `which` appends its conditions.
pub(crate) async fn grants(
    tx: &mut Tx,
    reason: &'static str,
    which: impl FnOnce(Sql) -> Sql,
) -> Result<Vec<GrantId>> {
    let sql = Sql::new("UPDATE grants SET revoked_at = $1, revoked_reason = $2 WHERE revoked_at IS NULL");
    let sql = which(sql.bind(tx.now()).bind(reason)).then(
        " RETURNING id, org, account, app, user_id, client, expires_at, \
         (SELECT c.name FROM clients c WHERE c.id = grants.client) AS client_name",
    );
    let now = tx.now();
    let mut ended = Vec::new();
    for row in (&mut *tx).rows(sql).await? {
        let id: GrantId = row.id("id")?;
        tx.changed(Change::Grant(id.clone()));
        // What is over by itself does not end once more.
        if row.time("expires_at")? > now {
            let name = row.opt_text("client_name")?;
            let mut target = audit::target("grant", &id, name.as_deref());
            target.app = Some(row.id("app")?);
            target.user = Some(row.id("user_id")?);
            tx.ended.push(Ended {
                org: row.id("org")?,
                account: Some(row.id("account")?),
                action: "grant.revoke",
                target,
                agent: Some((row.id("client")?, name, id.clone())),
                reason,
            });
        }
        ended.push(id);
    }
    Ok(ended)
}

/// Ends browser sessions. `which` appends its conditions.
pub(crate) async fn sessions(
    tx: &mut Tx,
    reason: &'static str,
    which: impl FnOnce(Sql) -> Sql,
) -> Result<()> {
    let sql = which(Sql::new("DELETE FROM sessions WHERE 1 = 1")).then(
        " RETURNING id, org, user_id, app, expires_at, \
         (SELECT a.account FROM apps a WHERE a.id = sessions.app) AS account",
    );
    let now = tx.now();
    for row in (&mut *tx).rows(sql).await? {
        let id: SessionId = row.id("id")?;
        tx.changed(Change::Session(id.clone()));
        let (org, user) = (row.opt_id("org")?, row.opt_id::<UserId>("user_id")?);
        // Nobody was signed in, or not any more.
        let (Some(org), Some(user), true) = (org, user, row.time("expires_at")? > now) else {
            continue;
        };
        let mut target = audit::target("session", &id, None);
        target.app = row.opt_id::<AppId>("app")?;
        target.user = Some(user);
        tx.ended.push(Ended {
            org,
            account: row.opt_id("account")?,
            action: "session.end",
            target,
            agent: None,
            reason,
        });
    }
    Ok(())
}

/// Ends one session of a browser with the app sessions that came from it. Whoever ends it says so: a person who signs
/// out, an administrator, a provider.
pub(crate) async fn session(tx: &mut Tx, id: &SessionId) -> Result<()> {
    let sql = Sql::new("DELETE FROM sessions WHERE id = $1 OR parent = $1 RETURNING id").bind(id);
    for row in (&mut *tx).rows(sql).await? {
        tx.changed(Change::Session(row.id("id")?));
    }
    Ok(())
}

/// Deletes API tokens. `which` appends its conditions.
pub(crate) async fn api_tokens(
    tx: &mut Tx,
    reason: &'static str,
    which: impl FnOnce(Sql) -> Sql,
) -> Result<()> {
    let sql = which(Sql::new("DELETE FROM api_tokens WHERE 1 = 1"));
    let rows = (&mut *tx)
        .rows(sql.then(concat!(" RETURNING ", api_tokens!())))
        .await?;
    for row in rows {
        let name = row.text("name")?;
        let mut target = audit::target("api_token", &row.id::<wire::ApiTokenId>("id")?, Some(&name));
        target.user = row.opt_id("owner")?;
        push(tx, &row, ("api_token.delete", reason), target)?;
    }
    Ok(())
}

/// Takes invitations back that nobody accepted, of those that `which` leaves.
pub(crate) async fn invitations(
    tx: &mut Tx,
    reason: &'static str,
    which: impl FnOnce(Sql) -> Sql,
) -> Result<()> {
    let sql =
        Sql::new("UPDATE invitations SET revoked_at = $1 WHERE accepted_at IS NULL AND revoked_at IS NULL");
    let sql = which(sql.bind(tx.now())).then(concat!(" RETURNING ", invitations!()));
    let now = tx.now();
    for row in (&mut *tx).rows(sql).await? {
        if row.time("expires_at")? <= now {
            continue;
        }
        let name = row.text("email")?;
        let target = audit::target("invitation", &row.id::<wire::InvitationId>("id")?, Some(&name));
        push(tx, &row, ("invitation.revoke", reason), target)?;
    }
    Ok(())
}

/// Deletes what an account gave and was given: bindings, roles, role mappings.
pub(crate) async fn of_account(tx: &mut Tx, account: &AccountId, reason: &'static str) -> Result<()> {
    for (sql, kind, action) in [
        (
            "DELETE FROM bindings WHERE account = $1 RETURNING id, org, account",
            "binding",
            "binding.delete",
        ),
        (
            "DELETE FROM members WHERE account = $1 RETURNING id, org, account, user_id",
            "member",
            "member.delete",
        ),
        (
            "DELETE FROM role_mappings WHERE account = $1 RETURNING id, org, account",
            "role_mapping",
            "role_mapping.delete",
        ),
    ] {
        for row in (&mut *tx).rows(Sql::new(sql).bind(account)).await? {
            let target = AuditTarget {
                kind: kind.to_owned(),
                id: row.text("id")?,
                name: None,
                app: None,
                user: if kind == "member" {
                    row.opt_id("user_id")?
                } else {
                    None
                },
            };
            push(tx, &row, (action, reason), target)?;
        }
    }
    Ok(())
}

fn push(
    tx: &mut Tx,
    row: &Row,
    (action, reason): (&'static str, &'static str),
    target: AuditTarget,
) -> Result<()> {
    tx.ended.push(Ended {
        org: row.id("org")?,
        account: row.opt_id("account")?,
        action,
        target,
        agent: None,
        reason,
    });
    Ok(())
}
