//! What follows from going back in time: nobody knows what was ended since, or given out, so that whatever gives access
//! ends, and nothing that names a position is given out twice.

use super::mark::Mark;
use super::{FATES, Fate};
use crate::audit::{self, RESTORED, given_out};
use crate::db::On;
use crate::sql::{Row, Sql, opt};
use crate::{Error, Result, Store, Tx, client, ended, factor, key, service_token, trial};
use serde_json::json;
use wire::{ActorKind, AuditActor, AuditChange, AuditEvent, Timestamp};

/// The row of a database that was restored and not dealt with.
pub(crate) const UNFINISHED: &str = "restore_unfinished";
pub(super) const UNFINISHED_WORDS: &str = "a restore of this database was not finished, and what it brought back would be \
     alive: run the same `chatelaine restore` again";

/// Refuses a database of which a restore was not finished.
pub(crate) async fn is_finished(db: On<'_>) -> Result<()> {
    let sql = Sql::new("SELECT key FROM meta WHERE key = $1").bind(UNFINISHED);
    match opt(db, sql).await? {
        None => Ok(()),
        Some(_) => Err(Error::invalid("/database_url", UNFINISHED_WORDS)),
    }
}

/// How the database came to be an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A backup was restored.
    Backup,
    /// Somebody put an older database back, and means it.
    Accepted,
}

impl Cause {
    const fn reason(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Accepted => "accepted",
        }
    }
}

/// What ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Agents' grants, with their codes and refresh tokens.
    pub grants: u64,
    /// Browser sessions.
    pub sessions: u64,
    /// API tokens.
    pub api_tokens: u64,
    /// Service tokens: they need a new secret.
    pub service_tokens: Vec<String>,
    /// Invitations that nobody had accepted.
    pub invitations: u64,
    /// People whose recovery codes are gone.
    pub recovery: u64,
    /// Signing keys.
    pub signing_keys: u64,
    /// Where the log of each organisation goes on.
    pub logs: Vec<(String, i64)>,
}

/// The reason of whatever ends.
const REASON: &str = "restored";

impl Store {
    /// Ends whatever gives access, and moves logs and change feed behind every position that may have been given out since
    /// the newest thing that the database knows of, and behind the mark. Each organisation's log says so, and what ended.
    ///
    /// # Errors
    /// When the database does not answer; nothing has changed then.
    pub async fn forget_what_lived(&self, cause: Cause, mark: Option<&Mark>) -> Result<Ended> {
        let mut tx = self.begin().await?;
        let now = tx.now();
        let mut events = Vec::new();
        let mut logs = Vec::new();
        let since = newest(&mut tx).await?;
        for org in crate::org::all(&mut tx).await? {
            let known = mark.map_or(0, |mark| mark.position(&org.id));
            let jump = audit::leap(&mut tx, &org.id, known).await?;
            let mut event = said(&org.id, RESTORED);
            event.target = Some(audit::target("organisation", &org.id, Some(&org.spec.name)));
            event.reason = Some(cause.reason().to_owned());
            event.change = Some(AuditChange {
                before: serde_json::Value::Null,
                after: jump.shown(),
            });
            logs.push((org.slug.clone(), jump.to + 1));
            let sql = Sql::new("UPDATE webhooks SET position = $1 WHERE org = $2 AND position = $3");
            tx.run(sql.bind(jump.to).bind(&org.id).bind(jump.from - 1))
                .await?;
            events.push(event);
        }
        let mut ended = end(&mut tx, &mut events).await?;
        ended.logs = logs;
        for (table, _) in FATES.iter().filter(|(_, fate)| *fate == Fate::Goes) {
            tx.run(Sql::assembled(format!("DELETE FROM {table} WHERE 1 = 1")))
                .await?;
        }
        let known = mark.map_or(0, |mark| mark.changes);
        let ahead = given_out(since.unwrap_or(now), now);
        let sql = Sql::new(
            "UPDATE change_counter SET seq = CASE WHEN seq < $1 THEN $1 ELSE seq END + $2 WHERE id = 1",
        );
        tx.run(sql.bind(known).bind(ahead)).await?;
        tx.run(Sql::new("DELETE FROM meta WHERE key = $1").bind(UNFINISHED))
            .await?;
        tx.changed_all();
        tx.commit_all(events).await?;
        Ok(ended)
    }
}

fn said(org: &wire::OrgId, action: &str) -> AuditEvent {
    audit::event(org, "system", action, AuditActor::of(ActorKind::System))
}

/// When the database last heard of anything.
async fn newest(tx: &mut Tx) -> Result<Option<Timestamp>> {
    let sql = Sql::new(
        "SELECT MAX(e.time) AS at FROM audit_heads h JOIN audit_events e ON e.org = h.org AND e.seq = h.seq",
    );
    let row = opt(&mut *tx, sql).await?;
    Ok(row.map(|row| row.opt_time("at")).transpose()?.flatten())
}

/// Ends what is of [`Fate::Ends`].
async fn end(tx: &mut Tx, events: &mut Vec<AuditEvent>) -> Result<Ended> {
    let recovery = "SELECT COUNT(DISTINCT user_id) AS n FROM recovery_codes WHERE used_at IS NULL";
    let mut ended = Ended {
        recovery: count(tx, recovery).await?,
        grants: count(tx, "SELECT COUNT(*) AS n FROM grants WHERE revoked_at IS NULL").await?,
        sessions: count(
            tx,
            "SELECT COUNT(*) AS n FROM sessions WHERE user_id IS NOT NULL AND org IS NOT NULL",
        )
        .await?,
        api_tokens: count(tx, "SELECT COUNT(*) AS n FROM api_tokens").await?,
        ..Ended::default()
    };
    ended::grants(tx, REASON, |sql| sql).await?;
    ended::sessions(tx, REASON, |sql| sql).await?;
    ended::api_tokens(tx, REASON, |sql| sql).await?;
    let before = tx.ended.len();
    ended::invitations(tx, REASON, |sql| sql).await?;
    ended.invitations = (tx.ended.len() - before) as u64;
    for row in service_token::void(tx).await? {
        let name = row.text("name")?;
        let mut event = said(&row.id("org")?, "service_token.rotate");
        event.account = row.opt_id("account")?;
        let id: wire::ServiceTokenId = row.id("id")?;
        event.target = Some(audit::target("service_token", &id, Some(&name)));
        event.reason = Some(REASON.to_owned());
        events.push(event);
        ended.service_tokens.push(name);
    }
    for row in key::end_all(tx).await? {
        let mut event = said(&row.id("org")?, "signing_key.update");
        let id: wire::KeyId = row.id("id")?;
        event.target = Some(audit::target("signing_key", &id, None));
        event.reason = Some("compromised".to_owned());
        event.change = Some(AuditChange {
            before: json!({ "not_after": row.opt_time("before")? }),
            after: json!({ "not_after": tx.now() }),
        });
        events.push(event);
        ended.signing_keys += 1;
    }
    client::end_registrations(tx).await?;
    trial::end_all(tx).await?;
    factor::spend_steps(tx).await?;
    Ok(ended)
}

async fn count(tx: &mut Tx, sql: &'static str) -> Result<u64> {
    let row: Option<Row> = opt(&mut *tx, Sql::new(sql)).await?;
    let n = row.map_or(Ok(0), |row| row.int("n"))?;
    u64::try_from(n).map_err(Error::internal)
}
