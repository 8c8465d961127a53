//! Reading the log.

use super::GATEWAY_REQUEST;
use crate::sql::{Row, Run, Sql, opt};
use crate::{Error, Result};
use wire::{
    AccountId, AppId, AuditEvent, AuditResponse, ClientId, EventId, GrantId, OrgId, Outcome, Timestamp,
    UserId,
};

/// How long after a request its answer may still become part of its event, in seconds.
pub const ANSWERED_WITHIN: i64 = 60;
/// How long after a request its answer may at last have been written, in seconds; clocks of instances differ.
const SETTLED_AFTER: i64 = ANSWERED_WITHIN + 10;

/// Whether nothing of the event changes any more.
pub(crate) fn is_final(event: &AuditEvent, now: Timestamp) -> bool {
    !event.outcome_unknown || event.time.plus_seconds(SETTLED_AFTER) < now
}

/// Which events are wanted. Absent means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these accounts (`None`: all, and events of no account).
    pub accounts: Option<Vec<AccountId>>,
    /// The person who acted, or on whose behalf, or whose the target is.
    pub user: Option<UserId>,
    /// The agent.
    pub client: Option<ClientId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// The app.
    pub app: Option<AppId>,
    /// The action, or a prefix of it that ends in `.`.
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The MCP tool.
    pub tool: Option<String>,
    /// The peer's address.
    pub ip: Option<String>,
    /// The request's id.
    pub request: Option<String>,
    /// From this moment.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    /// Text that occurs anywhere in the event, ignoring ASCII case.
    pub text: Option<String>,
    /// Oldest first, only those before the first that may still change, at this moment.
    pub settled_at: Option<Timestamp>,
}

/// From which end a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first, after the position.
    Oldest,
    /// Newest first, before the position.
    Newest,
}

/// Events of one organisation beside the position `at` (exclusive), at most `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    filter: &Filter,
    (order, at): (Order, Option<i64>),
    limit: u32,
) -> Result<Vec<AuditEvent>> {
    let exact = filter.action.as_deref().filter(|a| !a.ends_with('.'));
    let prefix = filter.action.as_deref().filter(|a| a.ends_with('.'));
    // The body is JSON, and what is looked for has to be spelled as it is there.
    let text = match &filter.text {
        Some(text) => serde_json::to_string(text).map_err(Error::internal)?,
        None => String::new(),
    };
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    // These have no column of their own.
    let member = |name: &str, value: Option<&str>| {
        value.map(|value| format!("\"{name}\":{}", serde_json::Value::from(value)))
    };
    let sql = Sql::new(
        "SELECT e.body, r.status, r.micros FROM audit_events e \
         LEFT JOIN audit_responses r ON r.event = e.id WHERE e.org = $1",
    )
    .bind(org)
    .and_in("e.account", filter.accounts.as_deref())
    .and_either(("e.user_id", "e.target_user"), filter.user.as_ref())
    .and("e.client =", filter.client.as_ref())
    .and("e.grant_id =", filter.grant.as_ref())
    .and("e.app =", filter.app.as_ref())
    .and("e.action =", exact)
    .and_begins("e.action", prefix)
    .and("e.outcome =", filter.outcome.map(Outcome::as_str))
    .and("e.tool =", filter.tool.as_deref())
    .and("e.time >=", filter.from)
    .and("e.time <", filter.to)
    .and_contains("e.body", text)
    .and_contains("e.body", member("ip", filter.ip.as_deref()).as_deref())
    .and_contains(
        "e.body",
        member("request\":{\"id", filter.request.as_deref()).as_deref(),
    );
    let sql = match order {
        Order::Oldest => sql.and("e.seq >", at).then(" ORDER BY e.seq"),
        Order::Newest => sql.and("e.seq <", at).then(" ORDER BY e.seq DESC"),
    };
    let mut events = Vec::new();
    for row in db.rows(sql.limit(limit)).await? {
        let event = read(&row)?;
        let is_settled = filter.settled_at.is_none_or(|now| is_final(&event, now));
        if order == Order::Oldest && !is_settled {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

pub(crate) fn read(row: &Row) -> Result<AuditEvent> {
    let mut event: AuditEvent = row.json("body")?;
    if let Some(status) = row.opt_time("status")? {
        let micros = row.opt_time("micros")?.map_or(0, |t| t.0);
        event.response = Some(AuditResponse {
            status: u16::try_from(status.0).unwrap_or(0),
            micros,
        });
    } else {
        event.outcome_unknown = event.action == GATEWAY_REQUEST && event.outcome == Outcome::Allowed;
    }
    Ok(event)
}

/// One event.
///
/// # Errors
/// `NotFound` when the organisation's log has none of that id.
pub async fn get(db: impl Run, org: &OrgId, id: &EventId) -> Result<AuditEvent> {
    let sql = Sql::new(
        "SELECT e.body, r.status, r.micros FROM audit_events e \
         LEFT JOIN audit_responses r ON r.event = e.id WHERE e.id = $1 AND e.org = $2",
    );
    let row = opt(db, sql.bind(id).bind(org)).await?;
    read(&row.ok_or(Error::NotFound("audit event"))?)
}
