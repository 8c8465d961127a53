//! How long what is over is kept. [`RETENTIONS`] says it of everything that grows, but for the audit log, which nobody
//! takes anything from; docs/OPERATIONS.md repeats it.
//!
//! [`sweep`] takes away what has had its time: a few rows at once, each batch in a transaction of its own, so that
//! nobody waits for it, found by an index. One instance does it at a time; that several do at once is no fault.

use crate::{Error, Result, Store, Tx, attempt, idempotency, lease, recorder};
use std::time::Duration;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// So many rows go in one transaction.
const BATCH: u64 = 500;
/// Between two batches, for whoever waits to write.
const PAUSE: Duration = Duration::from_millis(10);
const LEASE: &str = "retention";
/// How long nobody sweeps when the instance that did has died, in seconds.
const LEASE_LIFE: i64 = 60;

/// How long one kind of thing is kept.
#[derive(Debug)]
pub struct Retention {
    /// What.
    pub what: &'static str,
    /// For so many seconds,
    pub kept: i64,
    /// from then on.
    pub after: &'static str,
    table: &'static str,
    /// The columns that tell its rows apart.
    key: &'static str,
    /// The rows that have had their time, which is over for what happened until `$1`; `$2` is now. What hangs on one
    /// is asked for in a way that PostgreSQL does not make a join of, because the join reads all that hang on any.
    rows: &'static str,
}

/// Agents that made themselves known, that no administrator said anything of, and that hold nothing. A consent under
/// way is something: its grant keeps them until nobody can redeem it.
macro_rules! idle_clients {
    () => {
        "clients WHERE source IN ('dynamic', 'metadata_document') AND tier <> 'approved' \
         AND state <> 'blocked' AND (SELECT 1 FROM grants g WHERE g.client = clients.id LIMIT 1) IS NULL"
    };
}

/// Codes and tokens of the old form name grants, grants name clients: what names others goes before them.
pub const RETENTIONS: &[Retention] = &[
    Retention {
        what: "authorization codes",
        kept: DAY,
        after: "they expire, so that a replay is noticed",
        table: "codes",
        key: "hash",
        rows: "codes WHERE expires_at <= $1",
    },
    Retention {
        what: "refresh tokens that an earlier version stored",
        kept: 0,
        after: "they expire",
        table: "refresh_tokens",
        key: "hash",
        rows: "refresh_tokens WHERE expires_at <= $1",
    },
    Retention {
        what: "refresh tokens that an earlier version stored, of a revoked grant",
        kept: 90 * DAY,
        after: "it was revoked",
        table: "refresh_tokens",
        key: "hash",
        rows: "grants g JOIN refresh_tokens r ON r.grant_id = g.id WHERE g.revoked_at <= $1",
    },
    Retention {
        what: "consents whose code nobody redeemed",
        kept: 2 * DAY,
        after: "they were given",
        table: "grants",
        key: "id",
        rows: "grants WHERE last_used_at IS NULL AND created_at <= $1 \
               AND (SELECT 1 FROM codes c WHERE c.grant_id = grants.id LIMIT 1) IS NULL",
    },
    Retention {
        what: "revoked grants",
        kept: 90 * DAY,
        after: "they were revoked",
        table: "grants",
        key: "id",
        rows: "grants WHERE revoked_at <= $1 \
               AND (SELECT 1 FROM refresh_tokens r WHERE r.grant_id = grants.id LIMIT 1) IS NULL",
    },
    Retention {
        what: "expired grants",
        kept: 90 * DAY,
        after: "they expire",
        table: "grants",
        key: "id",
        rows: "grants WHERE expires_at <= $1",
    },
    Retention {
        what: "agents that made themselves known and never got a token",
        kept: 7 * DAY,
        after: "they did",
        table: "clients",
        key: "id",
        rows: concat!(idle_clients!(), " AND last_used_at IS NULL AND created_at <= $1"),
    },
    Retention {
        // Who registers again and again displaces itself.
        what: "the same, but for the latest 1,000 of each app",
        kept: HOUR,
        after: "they did",
        table: "clients",
        key: "id",
        rows: concat!(
            "(SELECT id, created_at, ROW_NUMBER() OVER (PARTITION BY app ORDER BY created_at DESC, id DESC) AS place FROM ",
            idle_clients!(),
            " AND last_used_at IS NULL) crowd WHERE place > 1000 AND created_at <= $1"
        ),
    },
    Retention {
        what: "agents that made themselves known and have no grant any more, not even a closed one",
        kept: 90 * DAY,
        after: "they last got a token",
        table: "clients",
        key: "id",
        rows: concat!(idle_clients!(), " AND last_used_at <= $1"),
    },
    Retention {
        what: "metadata documents of agents as they were published",
        kept: 90 * DAY,
        after: "somebody last allowed the agent something",
        table: "fetched_documents",
        key: "client_id",
        rows: "fetched_documents WHERE used_at <= $1",
    },
    Retention {
        what: "access tokens that were revoked by themselves",
        kept: DAY,
        after: "they expire",
        table: "revoked_tokens",
        key: "jti",
        rows: "revoked_tokens WHERE expires_at <= $1",
    },
    Retention {
        what: "browser sessions",
        kept: 0,
        after: "they expire; one that is ended goes at once",
        table: "sessions",
        key: "id",
        rows: "sessions WHERE expires_at <= $1",
    },
    Retention {
        what: "what a provider calls its session behind one of ours",
        kept: 10 * MINUTE,
        after: "it began, if ours is gone",
        table: "upstream_sessions",
        key: "session",
        rows: "upstream_sessions WHERE created_at <= $1 \
               AND (SELECT 1 FROM sessions s WHERE s.id = upstream_sessions.session LIMIT 1) IS NULL \
               AND (SELECT 1 FROM sessions s WHERE s.parent = upstream_sessions.session LIMIT 1) IS NULL",
    },
    Retention {
        what: "providers' refresh tokens",
        kept: 30 * DAY,
        after: "the provider last said yes to one",
        table: "upstream_tokens",
        key: "user_id",
        rows: "upstream_tokens WHERE used_at <= $1",
    },
    Retention {
        what: "providers' logout tokens that were used",
        kept: 0,
        after: "they expire",
        table: "logout_tokens",
        key: "hash",
        rows: "logout_tokens WHERE expires_at <= $1",
    },
    Retention {
        what: "handoffs from the sign-in page to an app",
        kept: DAY,
        after: "they expire",
        table: "handoffs",
        key: "hash",
        rows: "handoffs WHERE expires_at <= $1",
    },
    Retention {
        what: "attempts to sign in that are out at a provider",
        kept: 0,
        after: "they expire",
        table: "pending_logins",
        key: "hash",
        rows: "pending_logins WHERE expires_at <= $1",
    },
    Retention {
        what: "long links of people who have to sign in first",
        kept: 0,
        after: "they expire",
        table: "deep_links",
        key: "hash",
        rows: "deep_links WHERE expires_at <= $1",
    },
    Retention {
        what: "codes by e-mail",
        kept: 25 * MINUTE,
        after: "they were sent",
        table: "email_codes",
        key: "hash",
        rows: "email_codes WHERE created_at <= $1",
    },
    Retention {
        what: "forms that were answered",
        kept: 0,
        after: "they expire",
        table: "spent_forms",
        key: "hash",
        rows: "spent_forms WHERE expires_at <= $1",
    },
    Retention {
        what: "failures to sign in",
        kept: DAY,
        after: "the last one, unless it still makes the next one wait",
        table: "attempts",
        key: "subject, act, place",
        rows: "attempts WHERE touched_at <= $1 AND open_at <= $2",
    },
    Retention {
        what: "turns to try a code, or from a place that nobody knows",
        kept: 0,
        after: "the next one is open",
        table: "attempts",
        key: "subject, act, place",
        // Such a lane says nothing once it is open; of the others the row tells how many failed in a row.
        rows: "attempts WHERE (act = 'code' OR place = '') AND open_at <= $1",
    },
    Retention {
        what: "places from which somebody signed in",
        kept: attempt::KNOWN,
        after: "they last did",
        table: "known_places",
        key: "subject, place",
        rows: "known_places WHERE seen_at <= $1",
    },
    Retention {
        what: "answers to requests with an `Idempotency-Key`",
        kept: idempotency::KEPT,
        after: "the request",
        table: "idempotency_keys",
        key: "hash",
        rows: "idempotency_keys WHERE created_at <= $1",
    },
    Retention {
        // They hold claims of people.
        what: "trials of connections",
        kept: 30 * DAY,
        after: "they were begun",
        table: "connection_trials",
        key: "id",
        rows: "connection_trials WHERE created_at <= $1",
    },
    Retention {
        what: "counts of a connection's sign-ins",
        kept: 7 * DAY,
        after: "they were made",
        table: "connection_health",
        key: "connection, bucket, outcome",
        rows: "connection_health WHERE bucket <= $1",
    },
    Retention {
        what: "deliveries of webhooks",
        kept: 30 * DAY,
        after: "the event",
        table: "webhook_deliveries",
        key: "id",
        rows: "webhook_deliveries WHERE created_at <= $1",
    },
    Retention {
        what: "agents' attempts to get in of which nobody is known",
        kept: recorder::KEPT_OF_STRANGERS,
        after: "their last step",
        table: "agent_attempts",
        key: "id",
        rows: "agent_attempts WHERE known = FALSE AND last_at <= $1",
    },
    Retention {
        what: "agents' other attempts to get in",
        kept: recorder::KEPT,
        after: "their last step",
        table: "agent_attempts",
        key: "id",
        rows: "agent_attempts WHERE known = TRUE AND last_at <= $1",
    },
    Retention {
        what: "steps of agents of which nobody is known",
        kept: recorder::KEPT_OF_STRANGERS,
        after: "they were made",
        table: "agent_steps",
        key: "id",
        rows: "agent_steps WHERE known = FALSE AND at <= $1",
    },
    Retention {
        what: "other steps of agents",
        kept: recorder::KEPT,
        after: "they were made",
        table: "agent_steps",
        key: "id",
        rows: "agent_steps WHERE known = TRUE AND at <= $1",
    },
    Retention {
        what: "that somebody was warned of an end",
        kept: 0,
        after: "it came",
        table: "expiry_warnings",
        key: "subject, expires_at, days",
        rows: "expiry_warnings WHERE expires_at <= $1",
    },
    Retention {
        what: "what instances tell each other to forget",
        kept: DAY,
        after: "it was said",
        table: "changes",
        key: "seq",
        rows: "changes WHERE at <= $1",
    },
];

impl Retention {
    /// How long, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let (n, unit) = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")]
            .into_iter()
            .find(|(seconds, _)| self.kept % seconds == 0 && self.kept > 0)
            .map_or((0, ""), |(seconds, unit)| (self.kept / seconds, unit));
        match n {
            0 => format!("until {}", self.after),
            1 => format!("1 {unit} after {}", self.after),
            n => format!("{n} {unit}s after {}", self.after),
        }
    }

    /// Takes away the next few that have had their time.
    async fn take(&self, tx: &mut Tx) -> Result<u64> {
        let now = tx.now();
        let sql = tx.db.delete_some((self.table, self.key), (self.rows, BATCH));
        let sql = sql.bind(now.plus_seconds(-self.kept));
        let sql = if self.rows.contains("$2") {
            sql.bind(now)
        } else {
            sql
        };
        tx.run(sql).await
    }
}

/// Takes away what has had its time, unless another instance is at it; says how many rows. What fails of one kind
/// keeps nothing from the others.
///
/// # Errors
/// The first fault; what was not taken away is next time.
pub async fn sweep(store: &Store) -> Result<u64> {
    let holder = crate::random_secret("")?;
    let (mut gone, mut fault) = (0, None);
    for retention in RETENTIONS {
        match sweep_one(store, &holder, retention).await {
            Ok(Some(n)) => gone += n,
            Ok(None) => return Ok(gone),
            // Somebody writes to the same rows; there is another time.
            Err(error) if error.is_deadlock() => {}
            Err(error) => {
                tracing::warn!(what = retention.what, %error, source = ?error, "what is over could not be deleted");
                fault.get_or_insert(error);
            }
        }
    }
    let mut tx = store.begin().await?;
    lease::give_back(&mut tx, LEASE, &holder).await?;
    tx.commit_housekeeping().await?;
    store.inner.db.optimize().await?;
    fault.map_or(Ok(gone), Err::<u64, Error>)
}

/// `None` when another instance is at it.
async fn sweep_one(store: &Store, holder: &str, retention: &Retention) -> Result<Option<u64>> {
    let mut gone = 0;
    loop {
        let mut tx = store.begin().await?;
        if !lease::hold(&mut tx, (LEASE, LEASE_LIFE), holder).await? {
            return Ok(None);
        }
        let n = retention.take(&mut tx).await?;
        tx.commit_housekeeping().await?;
        gone += n;
        if n < BATCH {
            return Ok(Some(gone));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
