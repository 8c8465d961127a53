//! Looks for events that webhooks want: one instance at a time, and once for all webhooks that have read as far.

use super::{Stored, insert, read};
use crate::sql::{Row, Run, Sql, opt};
use crate::{Result, Store, audit, lease};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::Mutex;
use wire::{AuditEvent, OrgId, Timestamp, WebhookId};

/// Events that are looked for at once.
const BATCH: u32 = 200;
/// So often in a row, while there are more.
const ROUNDS: usize = 10;
/// Positions of the log that are looked at in one step at the most.
const STRIDE: i64 = 20_000;
/// Patterns of one statement at the most; one webhook has up to 100.
const PATTERNS: usize = 200;

const LEASE: &str = "webhooks";
/// How long nobody looks when the instance that did has died, in seconds.
const LIFE: i64 = 20;
/// How often it says that it lives, and the others ask whether it does.
const RENEWED: i64 = 5;

/// What this instance knows of whose turn it is.
pub(crate) struct Collector(Mutex<Turn>);

struct Turn {
    holder: String,
    /// What was found out last, and when.
    is_mine: bool,
    asked: Option<Timestamp>,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Turn {
            holder: wire::EventId::fresh().to_string(),
            is_mine: false,
            asked: None,
        }))
    }

    /// Lets another instance go on at once.
    pub(crate) async fn give_back(&self, store: &Store) -> Result<()> {
        let mut turn = self.0.lock().await;
        if std::mem::take(&mut turn.is_mine) {
            let mut tx = store.begin().await?;
            lease::give_back(&mut tx, LEASE, &turn.holder).await?;
            tx.commit_housekeeping().await?;
        }
        Ok(())
    }
}

impl Turn {
    async fn is_mine(&mut self, store: &Store) -> Result<bool> {
        let now = store.clock().now();
        let is_fresh = |asked: &Timestamp| *asked <= now && now < asked.plus_seconds(RENEWED);
        if !self.asked.as_ref().is_some_and(is_fresh) {
            self.is_mine = false;
            let mut tx = store.begin().await?;
            let is_mine = lease::hold(&mut tx, (LEASE, LIFE), &self.holder).await?;
            tx.commit_housekeeping().await?;
            (self.is_mine, self.asked) = (is_mine, Some(now));
        }
        Ok(self.is_mine)
    }
}

/// Makes deliveries of the events that came since the last time, and says how many; none where another instance does.
///
/// # Errors
/// When the database does not answer; what was not made is made next time.
pub async fn collect(store: &Store) -> Result<usize> {
    let mut turn = store.inner.collector.0.lock().await;
    let mut made = 0;
    if !turn.is_mine(store).await? {
        return Ok(made);
    }
    for _ in 0..ROUNDS {
        let mut more = false;
        for readers in behind(store).await? {
            match readers.collect(store).await {
                Ok(collected) => {
                    made += collected.made;
                    more |= collected.more;
                }
                Err(error) => {
                    let org = &readers.org;
                    tracing::error!(%error, source = ?error, %org, "events could not be collected");
                }
            }
        }
        if !more {
            break;
        }
    }
    Ok(made)
}

/// Webhooks of one organisation that have read its log up to the same position.
struct Readers {
    org: OrgId,
    position: i64,
    /// The end of the log.
    head: i64,
    patterns: BTreeSet<String>,
    webhooks: Vec<Stored>,
}

struct Collected {
    made: usize,
    /// Whether there is more of the log to be read now.
    more: bool,
}

/// Webhooks that have not read all of their log.
async fn behind(store: &Store) -> Result<Vec<Readers>> {
    let sql = Sql::new(concat!(
        "SELECT ",
        webhooks!("w"),
        ", h.seq AS head FROM webhooks w JOIN audit_heads h ON h.org = w.org \
         WHERE w.enabled = $1 AND w.position < h.seq"
    ));
    let mut db = store;
    let mut alike: BTreeMap<(OrgId, i64), Vec<Readers>> = BTreeMap::new();
    for row in db.rows(sql.bind(true)).await? {
        let stored = read(&row, store.clock().now())?;
        let place = (stored.org.clone(), stored.position);
        let readers = alike.entry(place).or_default();
        let wants = &stored.webhook.spec.events;
        match readers
            .last_mut()
            .filter(|readers| readers.patterns.len() + wants.len() <= PATTERNS)
        {
            Some(readers) => {
                readers.patterns.extend(wants.iter().cloned());
                readers.webhooks.push(stored);
            }
            None => readers.push(Readers {
                org: stored.org.clone(),
                position: stored.position,
                head: row.int("head")?,
                patterns: wants.iter().cloned().collect(),
                webhooks: vec![stored],
            }),
        }
    }
    Ok(alike.into_values().flatten().collect())
}

impl Readers {
    /// The events after their position that some of them want, oldest first.
    fn wanted(&self, upto: i64) -> Sql {
        let mut text = "SELECT e.seq, e.body, r.status, r.micros FROM audit_events e \
             LEFT JOIN audit_responses r ON r.event = e.id \
             WHERE e.org = $1 AND e.seq > $2 AND e.seq <= $3"
            .to_owned();
        let mut args: Vec<String> = Vec::new();
        let mut place = |arg: String| {
            args.push(arg);
            args.len() + 3
        };
        let mut any = vec!["1 = 0".to_owned()];
        for pattern in &self.patterns {
            if pattern == "*" {
                // There may be thousands a second: only who asks for them gets them.
                any.push("e.action NOT LIKE 'gateway.%'".into());
            } else if pattern.ends_with('.') {
                let escaped = pattern.replace('_', "\\_");
                any.push(format!(
                    "e.action LIKE ${} ESCAPE '\\'",
                    place(format!("{escaped}%"))
                ));
            } else {
                any.push(format!("e.action = ${}", place(pattern.clone())));
            }
        }
        text.push_str(&format!(" AND ({})", any.join(" OR ")));
        let account = self
            .webhooks
            .first()
            .and_then(|first| first.webhook.account.as_ref());
        if let Some(account) = account
            && self
                .webhooks
                .iter()
                .all(|stored| stored.webhook.account.as_ref() == Some(account))
        {
            text.push_str(&format!(" AND e.account = ${}", place(account.to_string())));
        }
        text.push_str(&format!(" ORDER BY e.seq LIMIT {BATCH}"));
        let sql = Sql::assembled(text)
            .bind(&self.org)
            .bind(self.position)
            .bind(upto);
        args.into_iter().fold(sql, Sql::bind)
    }

    async fn collect(&self, store: &Store) -> Result<Collected> {
        let upto = self.head.min(self.position + STRIDE);
        let mut db = store;
        let rows = db.rows(self.wanted(upto)).await?;
        let (events, to, stopped) = self.read(store, &rows, upto).await?;
        let mut made = 0;
        let mut idle = Vec::new();
        for stored in &self.webhooks {
            let mine: Vec<AuditEvent> = events.iter().filter(|e| stored.wants(e)).cloned().collect();
            if mine.is_empty() {
                idle.push(stored.webhook.id.clone());
                continue;
            }
            match self.deliver(store, stored, (mine, to)).await {
                Ok(count) => made += count,
                // One that cannot be served must not keep the others from it.
                Err(error) => {
                    let id = &stored.webhook.id;
                    tracing::error!(%error, source = ?error, webhook = %id, "events could not be collected");
                }
            }
        }
        if to > self.position {
            self.go_on(store, &idle, to).await?;
        }
        Ok(Collected {
            made,
            more: !stopped && self.position < to && to < self.head,
        })
    }

    /// The events that are final, up to where that is all there is, and whether one that is not ended it.
    async fn read(&self, store: &Store, rows: &[Row], upto: i64) -> Result<(Vec<AuditEvent>, i64, bool)> {
        let to = match rows.last() {
            Some(last) if rows.len() == BATCH as usize => last.int("seq")?,
            None if upto < self.head => behind_gap(store, &self.org, upto).await?,
            _ => upto,
        };
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let event = audit::read(row)?;
            if !audit::is_final(&event, store.clock().now()) {
                // What was answered comes with it, or it is known that nothing is.
                let to = event.seq - 1;
                return Ok((events, to, true));
            }
            events.push(event);
        }
        Ok((events, to, false))
    }

    async fn deliver(
        &self,
        store: &Store,
        stored: &Stored,
        (events, to): (Vec<AuditEvent>, i64),
    ) -> Result<usize> {
        let events = stored.release(store).all(events).await?;
        let mut tx = store.begin().await?;
        let sql = Sql::new("UPDATE webhooks SET position = $1 WHERE id = $2 AND position = $3");
        let sql = sql.bind(to).bind(&stored.webhook.id).bind(self.position);
        if tx.run(sql).await? == 0 {
            // Another instance was faster.
            return Ok(0);
        }
        for event in &events {
            insert(&mut tx, &stored.webhook.id, event, Timestamp::default()).await?;
        }
        tx.commit_housekeeping().await?;
        Ok(events.len())
    }

    /// For whom nothing came, they have read as far all the same.
    async fn go_on(&self, store: &Store, webhooks: &[WebhookId], to: i64) -> Result<()> {
        for some in webhooks.chunks(500) {
            let mut tx = store.begin().await?;
            let sql = Sql::new("UPDATE webhooks SET position = $1 WHERE position = $2");
            let sql = sql.bind(to).bind(self.position).and_in("id", Some(some));
            tx.run(sql).await?;
            tx.commit_housekeeping().await?;
        }
        Ok(())
    }
}

impl Stored {
    /// Whether an event is one of those that it asks for.
    fn wants(&self, event: &AuditEvent) -> bool {
        let webhook = &self.webhook;
        let action = event.action.as_str();
        let mut patterns = webhook.spec.events.iter();
        let asked = patterns.any(|pattern| match pattern.as_str() {
            "*" => !action.starts_with("gateway."),
            prefix if prefix.ends_with('.') => action.starts_with(prefix),
            exact => action == exact,
        });
        // What is said about a webhook does not set it going.
        let itself = action.starts_with("webhook.")
            && event
                .target
                .as_ref()
                .is_some_and(|target| target.id == webhook.id.to_string());
        asked
            && !itself
            && webhook
                .account
                .as_ref()
                .is_none_or(|mine| event.account.as_ref() == Some(mine))
    }
}

/// The position before the next event behind one: a log that went back in time goes on far away.
async fn behind_gap(store: &Store, org: &OrgId, at: i64) -> Result<i64> {
    let sql =
        Sql::new("SELECT COALESCE(MIN(seq) - 1, $2) AS at FROM audit_events WHERE org = $1 AND seq > $2");
    let row = opt(store, sql.bind(org).bind(at)).await?;
    row.map_or(Ok(at), |row| row.int("at"))
}
