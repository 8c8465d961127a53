//! Where a log goes on after its database went back in time: behind every position that may have been given out since. The
//! gap is stated in the event that follows it, so that nobody has to take it for tampering, and nobody can make one: the
//! event is part of the chain, and the head behind it carries its MAC.

use super::seal::Head;
use crate::sql::{Run, Sql, opt};
use crate::{Error, Result, Store, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use wire::{AuditEvent, OrgId, Timestamp};

/// The event that follows a gap.
pub(crate) const RESTORED: &str = "system.restored";
/// Positions that one log gives out in a second, at the very most.
const A_SECOND: i64 = 100_000;
/// Positions that are skipped however short it was: clocks differ.
const AT_LEAST: i64 = 1_000_000;

/// Positions of a log that were given out in a time that is gone, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jump {
    /// The first of them.
    pub from: i64,
    /// The last.
    pub to: i64,
    /// How many answers of origins there were before it.
    pub answers: i64,
    /// When the log went on.
    #[serde(skip)]
    pub time: Timestamp,
}

impl Jump {
    /// What an event says about the gap before it, if it is such an event.
    pub(super) fn of(event: &AuditEvent) -> Option<Self> {
        if event.action != RESTORED || event.source != "system" {
            return None;
        }
        let skipped = event.change.as_ref()?.after.get("skipped")?;
        let jump = serde_json::from_value::<Self>(skipped.clone()).ok()?;
        let follows = jump.to + 1 == event.seq && jump.from <= jump.to;
        follows.then_some(Self {
            time: event.time,
            ..jump
        })
    }

    pub(super) fn read(body: &str) -> Option<Self> {
        Self::of(&serde_json::from_str(body).ok()?)
    }

    /// How it stands in the event.
    pub(crate) fn shown(self) -> serde_json::Value {
        json!({ "skipped": self })
    }

    /// How many positions.
    #[must_use]
    pub const fn skipped(self) -> i64 {
        self.to - self.from + 1
    }

    /// Whether a log that was seen so far was seen in the time that is gone.
    #[must_use]
    pub const fn lost(self, (seq, answers): (i64, i64)) -> bool {
        (self.from <= seq && seq <= self.to) || (seq == self.from - 1 && answers > self.answers)
    }
}

/// How many positions may have been given out since a moment.
pub(crate) fn given_out(since: Timestamp, now: Timestamp) -> i64 {
    let seconds = (now.seconds() - since.seconds()).max(0) + 1;
    seconds.saturating_mul(A_SECOND).saturating_add(AT_LEAST)
}

/// Moves the head of a log behind every position that may have been given out since its last event, and behind those that
/// are `known`. The next event has to state the gap. A head that is not this server's stays one that is not.
pub(crate) async fn leap(tx: &mut Tx, org: &OrgId, known: i64) -> Result<Jump> {
    // It is locked by this until the commit.
    let sql = Sql::new(
        "UPDATE audit_heads SET seq = seq WHERE org = $1 \
         RETURNING org, seq, hash, answers, answers_hash, answers_after, mac",
    );
    let row = opt(&mut *tx, sql.bind(org)).await?;
    let row = row.ok_or_else(|| Error::internal("organisation without audit head"))?;
    let mut head = Head::read(&row)?;
    let mac = row.text("mac")?;
    let is_ours = tx.store.seal().fits(&head, &mac);
    let sql = Sql::new(
        "SELECT o.created_at, e.time FROM organisations o \
         LEFT JOIN audit_events e ON e.org = o.id AND e.seq = $2 WHERE o.id = $1",
    );
    let since = match opt(&mut *tx, sql.bind(org).bind(head.seq)).await? {
        Some(row) => row.opt_time("time")?.or(row.opt_time("created_at")?),
        None => None,
    };
    let now = tx.now();
    let jump = Jump {
        from: head.seq + 1,
        to: (head.seq + given_out(since.unwrap_or(now), now)).max(known),
        answers: head.answers,
        time: now,
    };
    head.seq = jump.to;
    let mac = if is_ours {
        tx.store.seal().mac(&head)
    } else {
        tx.store.seal().foreign(&head, mac)
    };
    let sql = Sql::new("UPDATE audit_heads SET seq = $1, mac = $2 WHERE org = $3");
    tx.run(sql.bind(head.seq).bind(mac).bind(org)).await?;
    Ok(jump)
}

/// All gaps of a log, by their beginning.
pub(super) async fn jumps(mut store: &Store, org: &OrgId) -> Result<Vec<Jump>> {
    let sql = Sql::new("SELECT body FROM audit_events WHERE org = $1 AND action = $2 ORDER BY seq");
    let rows = store.rows(sql.bind(org).bind(RESTORED)).await?;
    let bodies = rows.iter().map(|row| row.text("body"));
    let bodies = bodies.collect::<Result<Vec<_>>>()?;
    Ok(bodies.iter().filter_map(|body| Jump::read(body)).collect())
}

/// Where a log was seen to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) seq: i64,
    pub(crate) hash: String,
    pub(crate) answers: i64,
}

/// Where all logs are.
pub(crate) async fn seen(mut store: &Store) -> Result<BTreeMap<OrgId, Seen>> {
    let sql = Sql::new("SELECT org, seq, hash, answers FROM audit_heads ORDER BY org");
    let rows = store.rows(sql).await?;
    let read = |row: &crate::sql::Row| {
        let seen = Seen {
            seq: row.int("seq")?,
            hash: row.text("hash")?,
            answers: row.int("answers")?,
        };
        Ok((row.id("org")?, seen))
    };
    rows.iter().map(read).collect()
}

/// Whether a log, which ends at `now`, goes on from where it was seen, or says why it does not.
pub(crate) async fn holds(store: &Store, (org, then): (&OrgId, &Seen), now: (i64, i64)) -> Result<bool> {
    if now.0 >= then.seq && now.1 >= then.answers {
        let sql = Sql::new("SELECT hash FROM audit_events WHERE org = $1 AND seq = $2");
        let row = opt(store, sql.bind(org).bind(then.seq)).await?;
        if then.seq == 0 || row.is_some_and(|row| row.text("hash").is_ok_and(|hash| hash == then.hash)) {
            return Ok(true);
        }
    }
    // Only now, because it reads the whole log.
    let jumps = jumps(store, org).await?;
    Ok(jumps.iter().any(|jump| jump.lost((then.seq, then.answers))))
}

/// Whether a log says that its database went back in time at a moment, or after it, and that this was dealt with.
pub(crate) async fn dealt_with(store: &Store, org: &OrgId, since: Timestamp) -> Result<bool> {
    Ok(jumps(store, org).await?.iter().any(|jump| jump.time >= since))
}
