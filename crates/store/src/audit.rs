//! The audit log: one way to append, durable before anything is allowed, chained per organisation.
//!
//! Each event's `hash` is SHA-256 over the hash before it and the event's body, base64url. Events come
//! from two sides: a transaction that changes something carries its own ([`crate::Tx::commit`]), and
//! decisions that change nothing go through [`crate::Store::record`], where many requests share one
//! commit (group commit).

use crate::sql::{Arg, DbTx, Row, Run, Sql, opt};
use crate::{Error, Result, Store};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use wire::{
    AccountId, AppId, AuditActor, AuditEvent, AuditResponse, AuditTarget, ClientId, EventId, GrantId, OrgId,
    Outcome, Timestamp, UserId,
};

/// An event that is not yet in the log: identity is given, position and time come with the append.
#[must_use]
pub fn event(org: &OrgId, source: &str, action: &str, actor: AuditActor) -> AuditEvent {
    AuditEvent {
        id: EventId::fresh(),
        seq: 0,
        time: Timestamp::default(),
        org: org.clone(),
        account: None,
        actor,
        action: action.to_owned(),
        target: None,
        outcome: Outcome::Success,
        reason: None,
        rule: None,
        request: None,
        mcp: None,
        change: None,
        impact: None,
        source: source.to_owned(),
        response: None,
        outcome_unknown: false,
        repeated: None,
    }
}

/// The action of a request at the gateway, the only one that an origin answers.
pub const GATEWAY_REQUEST: &str = "gateway.request";

/// The target of an event.
#[must_use]
pub fn target(kind: &str, id: &impl wire::Id, name: Option<&str>) -> AuditTarget {
    AuditTarget {
        kind: kind.to_owned(),
        id: id.to_string(),
        name: name.map(ToOwned::to_owned),
        app: None,
    }
}

const COLUMNS: &[&str] = &[
    "org", "seq", "id", "time", "account", "action", "outcome", "user_id", "client", "grant_id", "app",
    "tool", "body", "hash",
];

/// Appends events of any organisations inside a transaction.
pub(crate) async fn append(tx: &mut DbTx, events: &mut [AuditEvent], now: Timestamp) -> Result<()> {
    let mut by_org: BTreeMap<OrgId, Vec<&mut AuditEvent>> = BTreeMap::new();
    for event in events {
        by_org.entry(event.org.clone()).or_default().push(event);
    }
    // A BTreeMap, because rows locked in one order cannot deadlock.
    for (org, events) in by_org {
        let count = i64::try_from(events.len()).map_err(Error::internal)?;
        let sql = Sql::new("UPDATE audit_heads SET seq = seq + $1 WHERE org = $2 RETURNING seq, hash");
        let head = opt(&mut *tx, sql.bind(count).bind(&org)).await?;
        let head = head.ok_or_else(|| Error::internal("organisation without audit head"))?;
        let mut hash = head.text("hash")?;
        let first = head.int("seq")? - count + 1;
        let mut rows = Vec::with_capacity(events.len());
        for (event, seq) in events.into_iter().zip(first..) {
            event.seq = seq;
            event.time = now;
            let body = serde_json::to_string(&*event).map_err(Error::internal)?;
            hash = chain(&hash, &body);
            rows.push(columns(event, body, hash.clone()));
        }
        tx.insert_many(("audit_events", ""), COLUMNS, rows).await?;
        tx.run(
            Sql::new("UPDATE audit_heads SET hash = $1 WHERE org = $2")
                .bind(hash)
                .bind(&org),
        )
        .await?;
    }
    Ok(())
}

fn columns(event: &AuditEvent, body: String, hash: String) -> Vec<Arg> {
    let app = event.target.as_ref().and_then(|t| t.app.as_ref());
    vec![
        (&event.org).into(),
        event.seq.into(),
        (&event.id).into(),
        event.time.into(),
        event.account.as_ref().into(),
        event.action.as_str().into(),
        event.outcome.as_str().into(),
        event.actor.user.as_ref().into(),
        event.actor.client.as_ref().into(),
        event.actor.grant.as_ref().into(),
        app.into(),
        event.mcp.as_ref().and_then(|m| m.tool.as_deref()).into(),
        body.into(),
        hash.into(),
    ]
}

/// The hash of an event, given the hash before it and the event's body as stored.
#[must_use]
pub fn chain(before: &str, body: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before.as_bytes());
    context.update(b"\n");
    context.update(body.as_bytes());
    URL_SAFE_NO_PAD.encode(context.finish())
}

pub(crate) enum Entry {
    Event(Box<AuditEvent>, oneshot::Sender<Result<(), Arc<Error>>>),
    Response(EventId, AuditResponse),
}

/// Events of one commit at the most.
const BATCH: usize = 512;

/// How often nobody may have come, after which a commit begins.
const QUIET: usize = 2;
/// From so many events in a commit on, what origins answered waits for company.
const BUSY: usize = 4;
/// So many answers are worth a statement of their own.
const RESPONSES: usize = 64;
/// How long they may wait for that.
const RESPONSES_WAIT: Duration = Duration::from_millis(250);

/// Takes what waits, writes it in one transaction, answers everybody, and goes on. What origins answered
/// costs no commit of its own: many go along with the next events, or the rest after a while without any.
pub(crate) async fn write_loop(store: Store, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut responses = Vec::new();
    let mut oldest = Instant::now();
    loop {
        let received = entries.recv_many(&mut batch, BATCH);
        let (received, idle) = if responses.is_empty() {
            (received.await, false)
        } else {
            match tokio::time::timeout(RESPONSES_WAIT, received).await {
                Ok(received) => (received, false),
                Err(_) => (0, true),
            }
        };
        if received == 0 && !idle {
            return;
        }
        // Whoever is ready to run, or has just been read from a socket, may have an event for this commit;
        // each yield lets them, and costs nothing to speak of when there is nobody.
        let mut quiet = 0;
        while quiet < QUIET && batch.len() < BATCH {
            tokio::task::yield_now().await;
            let before = batch.len();
            while batch.len() < BATCH
                && let Ok(entry) = entries.try_recv()
            {
                batch.push(entry);
            }
            quiet = if batch.len() == before { quiet + 1 } else { 0 };
        }
        let (mut events, mut waiting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for entry in batch.drain(..) {
            match entry {
                Entry::Event(event, done) => {
                    events.push(*event);
                    waiting.push(done);
                }
                Entry::Response(id, response) => {
                    if responses.is_empty() {
                        oldest = Instant::now();
                    }
                    responses.push(vec![
                        (&id).into(),
                        i64::from(response.status).into(),
                        response.micros.into(),
                    ]);
                }
            }
        }
        let due = idle
            || events.len() < BUSY
            || responses.len() >= RESPONSES
            || (!responses.is_empty() && oldest.elapsed() >= RESPONSES_WAIT);
        if events.is_empty() && !idle && responses.len() < RESPONSES {
            continue;
        }
        let answered = if due {
            std::mem::take(&mut responses)
        } else {
            Vec::new()
        };
        let mut result = write_batch(&store, &mut events, answered).await.map_err(Arc::new);
        if let Err(error) = &result {
            tracing::error!(%error, source = ?error, events = waiting.len(), "audit events could not be written");
        }
        // One event that cannot be written must not refuse everybody else's requests.
        let one_by_one = events.len() > 1
            && result
                .as_ref()
                .is_err_and(|e| !matches!(**e, Error::Unavailable(_)));
        for (event, done) in events.iter_mut().zip(waiting) {
            if one_by_one {
                let event = std::slice::from_mut(event);
                result = write_batch(&store, event, Vec::new()).await.map_err(Arc::new);
            }
            // A request that went away does not wait for its answer; its event stays.
            let _ = done.send(result.clone());
        }
    }
}

async fn write_batch(store: &Store, events: &mut [AuditEvent], responses: Vec<Vec<Arg>>) -> Result<()> {
    let mut tx = store.db().begin().await?;
    if !events.is_empty() {
        append(&mut tx, events, store.clock().now()).await?;
    }
    let into = ("audit_responses", " ON CONFLICT (event) DO NOTHING");
    tx.insert_many(into, &["event", "status", "micros"], responses)
        .await?;
    tx.commit().await
}

/// Which events are wanted. Absent means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these accounts (`None`: all, and events of no account).
    pub accounts: Option<Vec<AccountId>>,
    /// The person who acted, or on whose behalf.
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
    .and("e.user_id =", filter.user.as_ref())
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
    db.rows(sql.limit(limit)).await?.iter().map(read).collect()
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

/// Walks the chain of an organisation and names the first event whose hash is not what it should be.
/// Events that are appended meanwhile are left to the next walk.
///
/// # Errors
/// `NotFound` for no organisation, else when the database does not answer.
pub async fn verify(mut db: impl Run, org: &OrgId) -> Result<Verified> {
    let sql = Sql::new("SELECT seq, hash FROM audit_heads WHERE org = $1").bind(org);
    let head = db.rows(sql).await?.pop().ok_or(Error::NotFound("organisation"))?;
    let (end, end_hash) = (head.int("seq")?, head.text("hash")?);
    let (mut at, mut hash, mut checked) = (0, String::new(), 0);
    while at < end {
        let sql = Sql::new("SELECT seq, body, hash FROM audit_events WHERE org = $1").bind(org);
        let sql = sql.and("seq >", Some(at)).and("seq <=", Some(end));
        let rows = db.rows(sql.then(" ORDER BY seq").limit(1000)).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let seq = row.int("seq")?;
            hash = chain(&hash, &row.text("body")?);
            if seq != at + 1 || hash != row.text("hash")? {
                return Ok(Verified {
                    checked,
                    broken_at: Some(at + 1),
                });
            }
            at = seq;
            checked += 1;
        }
    }
    let cut = at != end || hash != end_hash;
    Ok(Verified {
        checked,
        broken_at: cut.then_some(at + 1),
    })
}

/// What [`verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Events whose hash is right.
    pub checked: u64,
    /// The first position that is missing or changed.
    pub broken_at: Option<i64>,
}
