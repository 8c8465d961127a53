//! Webhooks and their deliveries. A webhook reads its organisation's log from a position of its own; each
//! event that it wants becomes one delivery, in the transaction that moves the position. Each attempt is
//! claimed by a lease, so that of several instances one makes it.

mod collect;

pub(crate) use collect::Collector;
pub use collect::collect;

use crate::release::{Release, Released, Viewer};
use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Error, Result, Store, Tx};
use serde_json::{Value, json};
use wire::{
    AccountId, AuditEvent, DeliveryState, EventId, Id as _, OrgId, Timestamp, Webhook, WebhookDelivery,
    WebhookDeliveryDetail, WebhookDeliveryId, WebhookId, WebhookSpec,
};
use zeroize::Zeroizing;

/// How long an attempt may take before somebody else makes it, in seconds; far longer than one may.
const LEASE: i64 = 30;

/// A webhook as the server works with it.
pub struct Stored {
    /// What is shown.
    pub webhook: Webhook,
    /// Whose.
    pub org: OrgId,
    position: i64,
    secret: String,
    previous_secret: Option<String>,
}

fn read(row: &Row, now: Timestamp) -> Result<Stored> {
    let mut spec: WebhookSpec = row.json("spec")?;
    spec.enabled = row.flag("enabled")?;
    let previous_valid_until = row.opt_time("previous_until")?.filter(|until| now < *until);
    Ok(Stored {
        org: row.id("org")?,
        position: row.int("position")?,
        secret: row.text("secret")?,
        previous_secret: row
            .opt_text("previous_secret")?
            .filter(|_| previous_valid_until.is_some()),
        webhook: Webhook {
            id: row.id("id")?,
            account: row.opt_id("account")?,
            spec,
            previous_valid_until,
            disabled_reason: row.opt_text("disabled_reason")?,
            failing_since: row.opt_time("failing_since")?,
            last_success_at: row.opt_time("last_success_at")?,
            created_at: row.time("created_at")?,
            version: row.int("version")?,
        },
    })
}

impl Stored {
    /// What its receiver gets to see: that of an account as much as the account does.
    fn release(&self, store: &Store) -> Release {
        release(store, &self.org, self.webhook.account.clone())
    }

    /// The signing secrets (`whsec_…`), the current one first.
    ///
    /// # Errors
    /// When they do not open under the master key.
    pub fn secrets(&self, store: &Store) -> Result<Vec<Zeroizing<String>>> {
        let sealed = [Some(&self.secret), self.previous_secret.as_ref()];
        let open = |sealed: &String| {
            let bytes = store.vault().open(self.webhook.id.as_str(), sealed)?;
            String::from_utf8(bytes.to_vec())
                .map(Zeroizing::new)
                .map_err(Error::internal)
        };
        sealed.into_iter().flatten().map(open).collect()
    }
}

fn release(store: &Store, org: &OrgId, account: Option<AccountId>) -> Release {
    let viewer = account.map_or(Viewer::Organisation, |id| Viewer::Accounts(vec![id], None));
    Release::new(store, org, viewer)
}

/// Makes one that begins with the next event.
///
/// # Errors
/// `Conflict` when the name is taken in the organisation.
pub async fn create(
    tx: &mut Tx,
    (org, account): (&OrgId, Option<&AccountId>),
    spec: WebhookSpec,
    secret: &str,
) -> Result<Webhook> {
    let id = WebhookId::fresh();
    let sealed = tx.vault().seal(id.as_str(), secret.as_bytes())?;
    let position = head(&mut *tx, org).await?;
    let values = [
        ("id", (&id).into()),
        ("org", org.into()),
        ("account", account.into()),
        ("name", spec.name.as_str().into()),
        ("enabled", spec.enabled.into()),
        ("spec", json(&spec)?),
        ("secret", sealed.into()),
        ("position", position.into()),
        ("created_at", tx.now().into()),
        ("version", 1.into()),
    ];
    tx.run(Sql::insert("webhooks", values)).await?;
    let now = tx.now();
    Ok(load(tx, org, &id, now).await?.webhook)
}

/// The position of the last event of a log.
async fn head(db: impl Run, org: &OrgId) -> Result<i64> {
    let row = opt(
        db,
        Sql::new("SELECT seq FROM audit_heads WHERE org = $1").bind(org),
    )
    .await?;
    row.ok_or(Error::NotFound("organisation"))?.int("seq")
}

async fn load(db: impl Run, org: &OrgId, id: &WebhookId, now: Timestamp) -> Result<Stored> {
    let sql = Sql::new(select!(webhooks, "WHERE org = $1 AND id = $2"));
    let row = opt(db, sql.bind(org).bind(id)).await?;
    read(&row.ok_or(Error::NotFound("webhook"))?, now)
}

/// One.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &Store, org: &OrgId, id: &WebhookId) -> Result<Stored> {
    load(store, org, id, store.clock().now()).await
}

/// Those of an organisation; of some accounts if given, then without the organisation's own.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut store: &Store,
    org: &OrgId,
    accounts: Option<&[AccountId]>,
    page: &Paging<WebhookId>,
) -> Result<Vec<Webhook>> {
    let sql = Sql::new(select!(webhooks, "WHERE org = $1"))
        .bind(org)
        .and_in("account", accounts)
        .page(page);
    let now = store.clock().now();
    let rows = store.rows(sql).await?;
    rows.iter().map(|row| Ok(read(row, now)?.webhook)).collect()
}

/// Writes a changed one. When it is enabled anew, it begins with the next event.
///
/// # Errors
/// `Stale` when its version is not the stored one, `Conflict` when the name is taken.
pub async fn update(tx: &mut Tx, org: &OrgId, webhook: &Webhook, spec: WebhookSpec) -> Result<Webhook> {
    let begins = spec.enabled && !webhook.spec.enabled;
    let sql = Sql::new(concat!(
        "UPDATE webhooks SET name = $1, enabled = $2, spec = $3, \
         position = CASE WHEN $4 THEN (SELECT seq FROM audit_heads WHERE org = $5) ELSE position END, \
         disabled_reason = CASE WHEN $4 THEN NULL ELSE disabled_reason END, \
         failing_since = CASE WHEN $4 THEN NULL ELSE failing_since END, \
         version = version + 1 WHERE id = $6 AND version = $7 RETURNING ",
        webhooks!()
    ))
    .bind(spec.name.as_str())
    .bind(spec.enabled)
    .bind(json(&spec)?)
    .bind(begins)
    .bind(org)
    .bind(&webhook.id)
    .bind(webhook.version);
    let row = opt(&mut *tx, sql).await?.ok_or(Error::Stale)?;
    Ok(read(&row, tx.now())?.webhook)
}

/// Gives it another secret; deliveries are signed with the one of until now, too, for `overlap` seconds.
///
/// # Errors
/// `Stale` when its version is not the stored one.
pub async fn rotate(tx: &mut Tx, webhook: &Webhook, secret: &str, overlap: u32) -> Result<Webhook> {
    let sealed = tx.vault().seal(webhook.id.as_str(), secret.as_bytes())?;
    let until = (overlap > 0).then(|| tx.now().plus_seconds(overlap.into()));
    let sql = Sql::new(concat!(
        "UPDATE webhooks SET previous_secret = CASE WHEN $1 IS NULL THEN NULL ELSE secret END, \
         previous_until = $1, secret = $2, version = version + 1 WHERE id = $3 AND version = $4 RETURNING ",
        webhooks!()
    ))
    .bind(until)
    .bind(sealed)
    .bind(&webhook.id)
    .bind(webhook.version);
    let row = opt(&mut *tx, sql).await?.ok_or(Error::Stale)?;
    Ok(read(&row, tx.now())?.webhook)
}

/// Deletes it, with its deliveries.
///
/// # Errors
/// `Stale` when its version is not the stored one.
pub async fn delete(tx: &mut Tx, webhook: &Webhook) -> Result<()> {
    tx.run(Sql::new("DELETE FROM webhook_deliveries WHERE webhook = $1").bind(&webhook.id))
        .await?;
    let sql = Sql::new("DELETE FROM webhooks WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&webhook.id).bind(webhook.version)).await
}

/// Whether `pattern` is an action, a prefix of actions that ends in `.`, or `*`.
#[must_use]
pub fn is_pattern(pattern: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.');
    pattern == "*"
        || (pattern.len() <= 100
            && pattern.bytes().all(plain)
            && !pattern.starts_with('.')
            && !pattern.contains("..")
            && !pattern.is_empty())
}

/// What is signed and sent about an event.
pub(crate) fn body(event: &Released<AuditEvent>) -> String {
    json!({ "type": event.action, "timestamp": event.time, "data": event }).to_string()
}

/// The event in what is signed and sent.
pub(crate) fn event_of(body: &str) -> Option<AuditEvent> {
    let mut body: Value = serde_json::from_str(body).ok()?;
    serde_json::from_value(body.get_mut("data")?.take()).ok()
}

async fn insert(
    tx: &mut Tx,
    webhook: &WebhookId,
    event: &Released<AuditEvent>,
    leased_until: Timestamp,
) -> Result<WebhookDeliveryId> {
    let id = WebhookDeliveryId::fresh();
    let now = tx.now();
    let values = [
        ("id", (&id).into()),
        ("webhook", webhook.into()),
        ("event", (&event.id).into()),
        ("action", event.action.as_str().into()),
        ("body", body(event).into()),
        ("state", word(DeliveryState::Pending)?.into()),
        ("attempts", 0.into()),
        ("next_at", now.into()),
        ("leased_until", leased_until.into()),
        ("created_at", now.into()),
    ];
    let once = Sql::insert("webhook_deliveries", values).then(" ON CONFLICT (webhook, event) DO NOTHING");
    tx.run(once).await?;
    Ok(id)
}

/// An attempt that this instance, and no other, makes.
pub struct Claimed {
    /// What to send where.
    pub delivery: WebhookDelivery,
    /// The body.
    pub body: String,
    lease: Timestamp,
}

fn read_claimed(row: &Row) -> Result<Claimed> {
    Ok(Claimed {
        delivery: read_delivery(row)?,
        body: row.text("body")?,
        lease: row.time("leased_until")?,
    })
}

/// Makes a delivery of one event right away, claimed by the caller: for test events.
///
/// # Errors
/// When the database does not answer.
pub async fn deliver_now(store: &Store, webhook: &WebhookId, event: &AuditEvent) -> Result<Claimed> {
    let event = receiver(store, webhook).await?.one(event.clone()).await?;
    let mut tx = store.begin().await?;
    let lease = tx.now().plus_seconds(LEASE);
    let id = insert(&mut tx, webhook, &event, lease).await?;
    let sql = Sql::new(select!(webhook_deliveries, "WHERE id = $1")).bind(&id);
    let row = opt(&mut tx, sql).await?.ok_or(Error::NotFound("delivery"))?;
    let claimed = read_claimed(&row)?;
    tx.commit_housekeeping().await?;
    Ok(claimed)
}

/// Webhooks that have something to send now.
///
/// # Errors
/// When the database does not answer.
pub async fn due(mut store: &Store) -> Result<Vec<Stored>> {
    let now = store.clock().now();
    let sql = Sql::new(select!(
        webhooks,
        "w WHERE w.enabled = $1 AND w.id IN (SELECT d.webhook FROM webhook_deliveries d \
         WHERE d.state = 'pending' AND d.next_at <= $2 AND d.leased_until <= $2)"
    ));
    let rows = store.rows(sql.bind(true).bind(now)).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

/// What a webhook's receiver gets to see.
async fn receiver(store: &Store, webhook: &WebhookId) -> Result<Release> {
    let sql = Sql::new("SELECT org, account FROM webhooks WHERE id = $1").bind(webhook);
    let row = opt(store, sql).await?.ok_or(Error::NotFound("webhook"))?;
    Ok(release(store, &row.id("org")?, row.opt_id("account")?))
}

/// Claims the oldest due delivery of a webhook. What may not be let out any more since it was made is not sent.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(store: &Store, webhook: &WebhookId) -> Result<Option<Claimed>> {
    let mut tx = store.begin().await?;
    let now = tx.now();
    // The conditions are asked again outside: on PostgreSQL another instance may hold the same row.
    let sql = Sql::new(concat!(
        "UPDATE webhook_deliveries SET leased_until = $1 WHERE id = (SELECT d.id FROM webhook_deliveries d \
         WHERE d.webhook = $2 AND d.state = 'pending' AND d.next_at <= $3 AND d.leased_until <= $3 \
         ORDER BY d.id LIMIT 1) AND state = 'pending' AND leased_until <= $3 RETURNING ",
        webhook_deliveries!()
    ))
    .bind(now.plus_seconds(LEASE))
    .bind(webhook)
    .bind(now);
    let row = opt(&mut tx, sql).await?;
    let claimed = row.as_ref().map(read_claimed).transpose()?;
    tx.commit_housekeeping().await?;
    let Some(mut claimed) = claimed else {
        return Ok(None);
    };
    let event = event_of(&claimed.body).ok_or_else(|| Error::internal("a delivery without its event"))?;
    claimed.body = body(&receiver(store, webhook).await?.one(event).await?);
    Ok(Some(claimed))
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where the delivery is now.
    pub state: DeliveryState,
    /// When to try again, if it is pending.
    pub next_at: Timestamp,
    /// The status of the answer.
    pub status: Option<u16>,
    /// How long it took.
    pub millis: u32,
    /// Why there was no answer.
    pub error: Option<String>,
    /// The beginning of the answer, cleaned.
    pub response: Option<String>,
}

/// Writes down what came of an attempt, unless its lease ran out and somebody else made it, too; says which.
///
/// # Errors
/// When the database does not answer.
pub async fn finish(tx: &mut Tx, claimed: &Claimed, outcome: &Outcome) -> Result<bool> {
    let now = tx.now();
    let id = &claimed.delivery.id;
    let sql = Sql::new(
        "UPDATE webhook_deliveries SET state = $1, attempts = attempts + 1, next_at = $2, leased_until = 0, \
         last_at = $3, status = $4, millis = $5, error = $6, response = $7 \
         WHERE id = $8 AND leased_until = $9",
    )
    .bind(word(outcome.state)?)
    .bind(outcome.next_at)
    .bind(now)
    .bind(outcome.status.map(|s| Timestamp(s.into())))
    .bind(i64::from(outcome.millis))
    .bind(outcome.error.as_deref())
    .bind(outcome.response.as_deref())
    .bind(id)
    .bind(claimed.lease);
    Ok(tx.run(sql).await? > 0)
}

/// Notes whether an attempt arrived; says since when nothing does.
///
/// # Errors
/// When the database does not answer.
pub async fn note(tx: &mut Tx, id: &WebhookId, arrived: bool) -> Result<Option<Timestamp>> {
    let sql = if arrived {
        Sql::new(concat!(
            "UPDATE webhooks SET failing_since = NULL, last_success_at = $1 WHERE id = $2 RETURNING ",
            webhooks!()
        ))
    } else {
        Sql::new(concat!(
            "UPDATE webhooks SET failing_since = COALESCE(failing_since, $1) WHERE id = $2 RETURNING ",
            webhooks!()
        ))
    };
    let now = tx.now();
    let row = opt(&mut *tx, sql.bind(now).bind(id)).await?;
    Ok(row
        .map(|row| row.opt_time("failing_since"))
        .transpose()?
        .flatten())
}

/// Switches a webhook off because of what its receiver does; says whether it was on.
///
/// # Errors
/// When the database does not answer.
pub async fn disable(tx: &mut Tx, id: &WebhookId, reason: &str) -> Result<bool> {
    let sql = Sql::new(
        "UPDATE webhooks SET enabled = $1, disabled_reason = $2, version = version + 1 \
         WHERE id = $3 AND enabled = $4",
    );
    let touched = tx.run(sql.bind(false).bind(reason).bind(id).bind(true)).await?;
    Ok(touched > 0)
}

fn read_delivery(row: &Row) -> Result<WebhookDelivery> {
    let state = row.word("state")?;
    let small = |column: &str| -> Result<Option<i64>> { Ok(row.opt_time(column)?.map(|t| t.0)) };
    Ok(WebhookDelivery {
        id: row.id("id")?,
        webhook: row.id("webhook")?,
        event: row.id::<EventId>("event")?,
        action: row.text("action")?,
        state,
        attempts: u32::try_from(row.int("attempts")?).unwrap_or(0),
        next_attempt_at: (state == DeliveryState::Pending)
            .then(|| row.time("next_at"))
            .transpose()?,
        last_attempt_at: row.opt_time("last_at")?,
        status: small("status")?.and_then(|s| u16::try_from(s).ok()),
        millis: small("millis")?.and_then(|s| u32::try_from(s).ok()),
        error: row.opt_text("error")?,
        created_at: row.time("created_at")?,
    })
}

/// Deliveries of a webhook, newest first: the page after `after`, one more than `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn deliveries(
    mut db: impl Run,
    webhook: &WebhookId,
    state: Option<DeliveryState>,
    page: &Paging<WebhookDeliveryId>,
) -> Result<Vec<WebhookDelivery>> {
    let state = state.map(word).transpose()?;
    let sql = Sql::new(select!(webhook_deliveries, "WHERE webhook = $1"))
        .bind(webhook)
        .and("state =", state)
        .and("id <", page.after.as_ref())
        .then(" ORDER BY id DESC")
        .limit(page.limit + 1);
    db.rows(sql).await?.iter().map(read_delivery).collect()
}

/// One delivery of a webhook.
///
/// # Errors
/// `NotFound`.
pub async fn delivery(
    db: impl Run,
    webhook: &WebhookId,
    id: &WebhookDeliveryId,
) -> Result<WebhookDeliveryDetail> {
    let sql = Sql::new(select!(webhook_deliveries, "WHERE webhook = $1 AND id = $2"));
    let row = opt(db, sql.bind(webhook).bind(id)).await?;
    let row = row.ok_or(Error::NotFound("delivery"))?;
    Ok(WebhookDeliveryDetail {
        delivery: read_delivery(&row)?,
        request_body: row.text("body")?,
        response_excerpt: row.opt_text("response")?,
    })
}

/// Sends a delivery again, from the first attempt on.
///
/// # Errors
/// `NotFound`.
pub async fn replay(
    tx: &mut Tx,
    webhook: &WebhookId,
    id: &WebhookDeliveryId,
) -> Result<WebhookDeliveryDetail> {
    let sql = Sql::new(
        "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_at = $1 \
         WHERE webhook = $2 AND id = $3",
    );
    let now = tx.now();
    tx.run(sql.bind(now).bind(webhook).bind(id)).await?;
    delivery(tx, webhook, id).await
}
