//! Agent attempts as they are read: what [`crate::recorder`] joined, and where each of them is by now.

use crate::recorder::words;
use crate::sql::{Paging, Row, Run, Sql, opt};
use crate::{Error, Result, Store};
use wire::{
    AccountId, AgentAttempt, AgentAttemptId, AgentAttemptState, AgentStep, AppId, OrgId, Timestamp, UserId,
};

/// Which attempts.
#[derive(Debug, Default, Clone, Copy)]
pub struct Filter<'a> {
    /// Only of these accounts.
    pub accounts: Option<&'a [AccountId]>,
    /// Only at this app.
    pub app: Option<&'a AppId>,
    /// Only of this client, by its identifier or by what it sends as `client_id`.
    pub client: Option<&'a str>,
    /// Only of this person.
    pub user: Option<&'a UserId>,
    /// Only where this is so now.
    pub state: Option<AgentAttemptState>,
    /// Only with a step since then.
    pub since: Option<Timestamp>,
    /// Only the one with this request.
    pub request: Option<&'a str>,
}

/// An attempt, with what a setting that mends it has to name.
#[derive(Debug, Clone)]
pub struct Found {
    /// The attempt.
    pub attempt: AgentAttempt,
    /// A redirect URI, a tier.
    pub subject: Option<String>,
}

fn read(row: &Row, now: Timestamp) -> Result<Found> {
    let state = match row.word("state")? {
        AgentAttemptState::GoingOn if row.time("stops_at")? <= now => AgentAttemptState::Stopped,
        state => state,
    };
    let (step, reason) = (row.word("step")?, row.opt_text("reason")?);
    let received = row.opt_text("received")?;
    let (summary, fix) = words::tell((state, step), reason.as_deref(), received.as_deref());
    let attempt = AgentAttempt {
        id: row.id("id")?,
        app: row.id("app")?,
        account: row.id("account")?,
        state,
        step,
        summary,
        fix,
        reason,
        client_name: row.opt_text("client_name")?,
        software: row.opt_text("user_agent")?.as_deref().and_then(software),
        client_id: row.opt_text("client_id")?,
        client: row.opt_id("client")?,
        user: row.opt_id("user_id")?,
        grant: row.opt_id("grant_id")?,
        ambiguous: row.flag("ambiguous")?,
        started_at: row.time("started_at")?,
        last_at: row.time("last_at")?,
    };
    Ok(Found {
        attempt,
        subject: row.opt_text("subject")?,
    })
}

/// The first product that a user agent names.
fn software(user_agent: &str) -> Option<String> {
    let product = user_agent.split([' ', '(']).next().unwrap_or_default();
    (!product.is_empty()).then(|| product.chars().take(60).collect())
}

/// Attempts, the newest first.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut store: &Store,
    org: &OrgId,
    filter: Filter<'_>,
    page: &Paging<AgentAttemptId>,
) -> Result<Vec<AgentAttempt>> {
    let now = store.clock().now();
    let mut sql = Sql::new(select!(agent_attempts, "WHERE org = $1"))
        .bind(org)
        .and_in("account", filter.accounts)
        .and("app =", filter.app)
        .and_either(("client", "client_id"), filter.client)
        .and("user_id =", filter.user)
        .and("last_at >=", filter.since)
        .and("id <", page.after.as_ref());
    sql = match filter.state {
        None => sql,
        Some(AgentAttemptState::GoingOn) => sql.then(" AND state = 'going_on'").and("stops_at >", Some(now)),
        Some(AgentAttemptState::Stopped) => sql.then(" AND state = 'going_on'").and("stops_at <=", Some(now)),
        Some(state) => sql.and("state =", Some(state.as_str())),
    };
    if let Some(request) = filter.request {
        let steps = Sql::new("SELECT attempt FROM agent_steps WHERE org = $1 AND request = $2");
        let steps = store.rows(steps.bind(org).bind(request).limit(20)).await?;
        let ids = steps
            .iter()
            .map(|row| row.text("attempt"))
            .collect::<Result<Vec<_>>>()?;
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        sql = sql.and_among("id", &ids);
    }
    let rows = store
        .rows(sql.then(" ORDER BY id DESC").limit(page.limit + 1))
        .await?;
    rows.iter().map(|row| Ok(read(row, now)?.attempt)).collect()
}

/// One attempt.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &Store, org: &OrgId, id: &AgentAttemptId) -> Result<Found> {
    let sql = Sql::new(select!(agent_attempts, "WHERE id = $1 AND org = $2"));
    let row = opt(store, sql.bind(id).bind(org)).await?;
    read(&row.ok_or(Error::NotFound("agent attempt"))?, store.clock().now())
}

/// Its steps, in order.
///
/// # Errors
/// When the database does not answer.
pub async fn steps(mut store: &Store, id: &AgentAttemptId) -> Result<Vec<AgentStep>> {
    let sql = Sql::new(select!(agent_steps, "WHERE attempt = $1 ORDER BY at, id"));
    let rows = store.rows(sql.bind(id)).await?;
    rows.iter()
        .map(|row| {
            Ok(AgentStep {
                at: row.time("at")?,
                kind: row.word("kind")?,
                outcome: row.word("outcome")?,
                reason: row.opt_text("reason")?,
                expected: row.opt_text("expected")?,
                received: row.opt_text("received")?,
                request: row.text("request")?,
                ip: row.opt_text("ip")?,
                user_agent: row.opt_text("user_agent")?,
                count: row.int("count")?,
            })
        })
        .collect()
}
