//! The change feed: what every instance must forget when something ends or changes. A change is written
//! in the transaction that makes it, reaches this process at its commit and other processes by polling.

use crate::db::{DbTx, On};
use crate::sql::{Run, Sql};
use crate::{Clock, Error, Result};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use wire::{AccountId, ClientId, ConnectionId, GrantId, Id as _, OrgId, ServiceTokenId, SessionId, UserId};

/// How often other processes' changes are looked for.
pub(crate) const POLL: Duration = Duration::from_millis(500);
/// How long an instance may go on without having read the feed and followed it, in seconds; then it denies.
const STALE_AFTER: i64 = 4;
/// Who did not read for so long, in seconds, may have missed changes that the sweep took away after a day.
const MISSED_AFTER: i64 = 43_200;
/// How many changes somebody may be behind before all is unknown to them; more than are announced one by one at once.
const BEHIND: usize = 8192;

/// What must be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// Anything of the configuration: the whole [`crate::Directory`]. Say one of the next three if possible,
    /// because this one costs what the whole server costs.
    Config,
    /// An account with its apps, policies, groups, bindings and own connections.
    Account(AccountId),
    /// What holds for all accounts of an organisation: floor, primary connection.
    Organisation(OrgId),
    /// A shared connection: concerns the accounts that it is bound to.
    Connection(ConnectionId),
    /// Signing keys.
    Keys,
    /// A grant ended.
    Grant(GrantId),
    /// A person was disabled, or what policies ask about them changed.
    User(UserId),
    /// A browser session ended.
    Session(SessionId),
    /// A client changed: blocked, approved, other metadata.
    Client(ClientId),
    /// An access token was revoked by itself (its `jti`).
    Token(String),
    /// A service token changed: disabled, rotated, deleted.
    ServiceToken(ServiceTokenId),
    /// Changes were missed: forget everything.
    All,
}

impl Change {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Config => ("config", ""),
            Self::Account(id) => ("account", id.as_str()),
            Self::Organisation(id) => ("organisation", id.as_str()),
            Self::Connection(id) => ("connection", id.as_str()),
            Self::Keys => ("keys", ""),
            Self::Grant(id) => ("grant", id.as_str()),
            Self::User(id) => ("user", id.as_str()),
            Self::Session(id) => ("session", id.as_str()),
            Self::Client(id) => ("client", id.as_str()),
            Self::Token(jti) => ("token", jti),
            Self::ServiceToken(id) => ("service_token", id.as_str()),
            Self::All => ("all", ""),
        }
    }

    fn read(topic: &str, subject: &str) -> Self {
        match topic {
            "config" => Some(Self::Config),
            "account" => subject.parse().ok().map(Self::Account),
            "organisation" => subject.parse().ok().map(Self::Organisation),
            "connection" => subject.parse().ok().map(Self::Connection),
            "keys" => Some(Self::Keys),
            "grant" => subject.parse().ok().map(Self::Grant),
            "user" => subject.parse().ok().map(Self::User),
            "session" => subject.parse().ok().map(Self::Session),
            "client" => subject.parse().ok().map(Self::Client),
            "token" => Some(Self::Token(subject.to_owned())),
            "service_token" => subject.parse().ok().map(Self::ServiceToken),
            _ => None,
        }
        // Unknown topics come from a newer version beside us: forget everything, to be safe.
        .unwrap_or(Self::All)
    }
}

/// This process's end of the feed.
pub(crate) struct Feed {
    sender: broadcast::Sender<Change>,
    /// How many changes were announced here. Counted before anybody hears of them, under `order`.
    announced: AtomicU64,
    /// Whoever begins to listen knows how many came before.
    order: Mutex<()>,
    /// The last position that was read.
    seen: AtomicI64,
    /// From where to where this process wrote and announced by itself, of what was not read yet.
    own: Mutex<Vec<(i64, i64)>>,
    /// When the reading began of which everything is followed.
    current: Mutex<Moment>,
}

/// A moment by two clocks. The one that only goes forward is right while the machine runs; the wall's knows of the time
/// that a machine slept, and may be set.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    steady: Instant,
    /// In seconds.
    wall: i64,
}

impl Moment {
    pub(crate) fn now(clock: &Clock) -> Self {
        Self {
            steady: Instant::now(),
            wall: clock.now().seconds(),
        }
    }

    /// How long ago it was, in seconds, by the clock that says more.
    pub(crate) fn age(self, clock: &Clock) -> i64 {
        let steady = i64::try_from(self.steady.elapsed().as_secs()).unwrap_or(i64::MAX);
        steady.max(clock.now().seconds() - self.wall)
    }
}

impl Feed {
    pub(crate) async fn start(db: On<'_>, clock: &Clock) -> Result<Self> {
        let feed = Self {
            sender: broadcast::channel(BEHIND).0,
            announced: AtomicU64::new(0),
            order: Mutex::default(),
            seen: AtomicI64::new(0),
            own: Mutex::default(),
            current: Mutex::new(Moment::now(clock)),
        };
        feed.seen.store(position(db).await?, Ordering::SeqCst);
        Ok(feed)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    /// The changes from now on, and how many came before.
    pub(crate) fn follow(&self) -> (u64, broadcast::Receiver<Change>) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        (self.announced(), self.sender.subscribe())
    }

    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }

    pub(crate) fn announce(&self, change: Change) {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.announced.fetch_add(1, Ordering::SeqCst);
        // No receiver is no error: nobody caches anything then.
        let _ = self.sender.send(change);
    }

    /// Whether this process has followed what the others ended.
    pub(crate) fn is_current(&self, clock: &Clock) -> bool {
        let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.age(clock) <= STALE_AFTER
    }

    /// Everything that a reading found is followed. One that began earlier than the last says nothing new.
    pub(crate) fn followed(&self, reading: Moment) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.steady >= current.steady {
            *current = reading;
        }
    }

    /// Says that this process follows by itself what it wrote.
    pub(crate) fn wrote(&self, written: Written) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.extend(written.0);
    }

    /// Reads what came since the last time, but for what this process wrote and follows by itself. What was read is
    /// followed by whoever asked, who says so with [`Feed::followed`].
    pub(crate) async fn poll(&self, mut db: On<'_>, clock: &Clock) -> Result<Heard> {
        let started = Moment::now(clock);
        let seen = self.seen.load(Ordering::SeqCst);
        let sql = Sql::new("SELECT seq, topic, subject FROM changes WHERE seq > $1 ORDER BY seq").bind(seen);
        let mut read = Vec::new();
        for row in db.rows(sql).await? {
            let change = Change::read(&row.text("topic")?, &row.text("subject")?);
            read.push((row.int("seq")?, change));
        }
        let last = read.last().map_or(seen, |(seq, _)| *seq);
        self.seen.fetch_max(last, Ordering::SeqCst);
        let unsettles = read
            .iter()
            .any(|(_, change)| matches!(change, Change::Keys | Change::All));
        {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            read.retain(|(seq, _)| !own.iter().any(|(from, to)| (from..=to).contains(&seq)));
            own.retain(|(_, to)| *to > last);
        }
        let mut changes: Vec<Change> = read.into_iter().map(|(_, change)| change).collect();
        let before = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = before.age(clock) > MISSED_AFTER;
        if missed {
            changes.push(Change::All);
        }
        Ok(Heard {
            reading: started,
            changes,
            unsettles: unsettles || missed,
        })
    }
}

/// What one reading of the feed found.
pub(crate) struct Heard {
    pub(crate) reading: Moment,
    pub(crate) changes: Vec<Change>,
    /// Whether another master key may seal by now.
    pub(crate) unsettles: bool,
}

/// Where a transaction wrote changes.
pub(crate) struct Written(Option<(i64, i64)>);

/// How far the feed is.
pub(crate) async fn position(db: impl Run) -> Result<i64> {
    let row = crate::sql::opt(db, Sql::new("SELECT seq FROM change_counter WHERE id = 1")).await?;
    row.ok_or_else(|| Error::internal("no change counter"))?
        .int("seq")
}

/// What was changed after a position.
pub(crate) async fn since(mut db: impl Run, position: i64) -> Result<Vec<Change>> {
    let sql = Sql::new("SELECT topic, subject FROM changes WHERE seq > $1 ORDER BY seq").bind(position);
    let rows = db.rows(sql).await?;
    let read = |row: &crate::sql::Row| Ok(Change::read(&row.text("topic")?, &row.text("subject")?));
    rows.iter().map(read).collect()
}

/// Writes changes in the transaction that makes them.
pub(crate) async fn append(tx: &mut DbTx, changes: &[Change], clock: &Clock) -> Result<Written> {
    if changes.is_empty() {
        return Ok(Written(None));
    }
    let count = i64::try_from(changes.len()).map_err(Error::internal)?;
    let sql = Sql::new("UPDATE change_counter SET seq = seq + $1 WHERE id = 1 RETURNING seq").bind(count);
    let row = crate::sql::opt(&mut *tx, sql)
        .await?
        .ok_or_else(|| Error::internal("no change counter"))?;
    let last = row.int("seq")?;
    let first = last - count + 1;
    let now = clock.now();
    let rows = changes.iter().zip(first..).map(|(change, seq)| {
        let (topic, subject) = change.columns();
        vec![seq.into(), topic.into(), subject.into(), now.into()]
    });
    tx.insert_many(
        ("changes", ""),
        &["seq", "topic", "subject", "at"],
        rows.collect(),
    )
    .await?;
    Ok(Written(Some((first, last))))
}
