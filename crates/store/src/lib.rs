//! What the system remembers, on SQLite or PostgreSQL from one SQL text.
//!
//! - [`Store`] reads; [`Store::begin`] opens a [`Tx`], and the only way to commit one is with its audit
//!   event ([`Tx::commit`]), or by saying that it is housekeeping which no auditor asks about.
//! - One module per entity; their functions take `&Store` (each statement on its own) or `&mut Tx`.
//! - [`Directory`] is the configuration compiled for the hot paths; [`Change`] is how everything that is
//!   remembered elsewhere gets forgotten, on every instance.
//!
//! It knows nothing of HTTP.

#[macro_use]
mod columns;

pub mod access;
pub mod agent_attempt;
pub mod agent_document;
pub mod api_token;
pub mod app;
pub mod attempt;
pub mod audit;
pub mod backup;
mod behind;
pub mod binding;
mod change;
pub mod client;
mod clock;
pub mod connection;
mod db;
pub mod deep_link;
mod directory;
pub mod email_code;
mod ended;
mod ending;
mod error;
pub mod expiry;
pub mod factor;
mod fold;
pub mod form;
pub mod grant;
pub mod health;
pub mod host;
pub mod idempotency;
pub mod impact;
pub mod invitation;
pub mod key;
mod lease;
pub mod migration;
pub mod notice;
pub mod org;
pub mod overview;
pub mod pending_login;
pub mod power;
mod quiet;
pub mod readiness;
pub mod recorder;
pub mod refresh;
pub mod rekey;
pub mod release;
pub mod retention;
pub mod role_mapping;
pub mod rule;
mod secret_form;
pub mod service_token;
pub mod session;
mod sql;
mod tasks;
pub mod trial;
pub mod upstream_session;
pub mod upstream_token;
pub mod user;
mod vault;
pub mod webhook;

pub use change::Change;
pub use clock::Clock;
pub use db::{Load, Pools, Purpose, Upgrade, Upgraded, explain_statements, sqlite_file, upgrade};
pub use directory::{
    AccountView, AppView, BoundConnection, Directory, Snapshot, Unreadable, split_public_url,
};
pub use error::{Error, Result};
pub use release::{Release, Released, Shown, Viewer};
pub use secret_form::{MintedSecret, SecretForm};
pub use sql::{Paging, Run};
pub use tasks::Tasks;
pub use vault::{MasterKey, Vault, random_secret, sha256};

use db::{Db, DbTx};
use sql::{Row, Sql};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::{AuditEvent, AuditResponse};

/// The store. Cheap to clone; all clones are one, and each asks the database for one purpose.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    purpose: Purpose,
}

struct Inner {
    db: Db,
    clock: Clock,
    vault: Vault,
    feed: change::Feed,
    directory: Directory,
    audit: mpsc::Sender<audit::Entry>,
    folds: fold::Folds,
    recorder: recorder::Recorder,
    seal: audit::Seal,
    noted: client::Noted,
    collector: webhook::Collector,
    tasks: Arc<Tasks>,
    probe: readiness::Probe,
    behind: behind::Behind,
    /// Where the database lies, if it is a file here.
    file: Option<std::path::PathBuf>,
    closed: CancellationToken,
    /// Why nothing may be allowed any more, whatever the database says.
    denied: std::sync::OnceLock<String>,
}

/// What is needed to open a store.
pub struct Options<'a> {
    /// `sqlite:PATH` or `postgres://…`.
    pub database_url: &'a str,
    /// The key under which secrets are sealed; it must be the one that the database began with.
    pub master_key: &'a MasterKey,
    /// Where time comes from.
    pub clock: Clock,
    /// The control plane's public URL, without a trailing slash: issuers begin with it.
    pub control_url: &'a str,
    /// How many connections there may be.
    pub pools: Pools,
}

/// In which circumstances a store is opened, beside the common ones.
#[derive(Default, Clone, Copy)]
pub struct Opening<'a> {
    /// The master key that comes after the one there is, while it is being changed.
    pub next_key: Option<&'a MasterKey>,
    /// A restore of the database has not been finished, and is about to be.
    pub restored: bool,
    /// What may be done to the schema.
    pub schema: Upgrade,
}

/// So many changes at once are announced one by one; more are one [`Change::All`], because every receiver
/// has to hear each.
const ANNOUNCED: usize = 4096;

impl Store {
    /// Opens the database, brings its schema up to date, and begins to follow the change feed.
    ///
    /// # Errors
    /// `Unavailable` when the database does not answer, `Invalid` at `/master_key` when the key is not the
    /// one that the database began with.
    pub async fn open(options: Options<'_>) -> Result<Self> {
        let opening = Opening {
            schema: Upgrade::Always,
            ..Opening::default()
        };
        Self::open_with(options, opening).await
    }

    /// The same, in other circumstances; the schema stays as it is unless they say otherwise.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(options: Options<'_>, opening: Opening<'_>) -> Result<Self> {
        let db = Db::open(options.database_url, options.pools, opening.schema).await?;
        let vault = Vault::of_both(options.master_key, opening.next_key)?;
        let control = db.on(Purpose::Control);
        rekey::check_key(control, &vault).await?;
        if !opening.restored {
            backup::is_finished(control).await?;
        }
        let seal = audit::Seal::new(&vault)?;
        audit::seal_heads(control, &seal).await?;
        let feed = change::Feed::start(control, &options.clock).await?;
        let directory = Directory::new(options.control_url);
        let (audit, entries) = mpsc::channel(8192);
        let inner = Inner {
            db,
            clock: options.clock,
            vault,
            feed,
            directory,
            audit,
            folds: fold::Folds::default(),
            recorder: recorder::Recorder::default(),
            seal,
            noted: client::Noted::default(),
            collector: webhook::Collector::new(),
            tasks: Arc::default(),
            probe: readiness::Probe::default(),
            behind: behind::Behind::default(),
            file: sqlite_file(options.database_url),
            closed: CancellationToken::new(),
            denied: std::sync::OnceLock::new(),
        };
        let store = Self {
            inner: Arc::new(inner),
            purpose: Purpose::Control,
        };
        store.reload().await?;
        let entries = Arc::new(tokio::sync::Mutex::new(entries));
        store.keep(readiness::AUDIT_WRITER, move |store| {
            audit::write_loop(store, Arc::clone(&entries))
        });
        store.keep(readiness::CHANGE_FEED, follow);
        store.keep("audit_counts", fold::follow);
        store.keep("flight_recorder", recorder::follow);
        Ok(store)
    }

    /// Keeps a task going until the store is closed; what is made then is not waited for.
    pub fn keep<F>(&self, name: &'static str, mut task: impl FnMut(Self) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let store = self.clone();
        let stop = self.inner.closed.clone();
        self.tasks().run(name, stop, move || task(store.clone()));
    }

    /// What goes on in the background of this instance.
    #[must_use]
    pub fn tasks(&self) -> &Arc<Tasks> {
        &self.inner.tasks
    }

    /// The same store for another purpose: what asks through it waits for nobody who asks for another one.
    #[must_use]
    pub fn on(&self, purpose: Purpose) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            purpose,
        }
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Seals secrets and derives keys.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// The configuration, compiled, as of the last change that this instance knows of.
    #[must_use]
    pub fn directory(&self) -> Arc<Snapshot> {
        self.inner.directory.snapshot()
    }

    /// Everything that must be forgotten from now on. A receiver that lags must forget everything.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.feed.subscribe()
    }

    /// As [`Store::changes`], with how many changes came before: whoever has heard fewer than [`Store::announced`]
    /// may not rely on what they remember.
    #[must_use]
    pub fn follow(&self) -> (u64, broadcast::Receiver<Change>) {
        self.inner.feed.follow()
    }

    /// How many changes were announced here so far. One that was committed here counts before the commit returns.
    #[must_use]
    pub fn announced(&self) -> u64 {
        self.inner.feed.announced()
    }

    /// Whether this instance has lately heard what the others ended; if not, it must deny.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.inner.denied.get().is_none()
            && self.inner.feed.is_current(&self.inner.clock)
            && self.inner.behind.late().is_none()
    }

    /// Something was heard that everybody relies on, and has to be applied: if that takes more than four seconds, this instance
    /// denies until [`Store::has_caught_up`].
    pub fn falls_behind(&self, what: &'static str) {
        self.inner.behind.falls(what);
    }

    /// What was heard is applied.
    pub fn has_caught_up(&self, what: &'static str) {
        self.inner.behind.has_caught_up(what);
    }

    /// Denies from now on, until the process ends: what the database says cannot be relied on.
    pub fn deny(&self, why: &str) {
        let _ = self.inner.denied.set(why.to_owned());
    }

    /// Why it denies, if it does.
    #[must_use]
    pub fn denied(&self) -> Option<&str> {
        self.inner.denied.get().map(String::as_str)
    }

    /// Reads the change feed now: for tests that move the clock.
    #[doc(hidden)]
    pub async fn catch_up(&self) {
        follow_once(&self.on(Purpose::Feed), &mut Owed::default()).await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `Unavailable` when it does not.
    pub async fn ping(&self) -> Result<()> {
        sql::opt(self, Sql::new("SELECT seq FROM change_counter WHERE id = 1"))
            .await
            .map(drop)
    }

    /// Opens a transaction for writing.
    ///
    /// # Errors
    /// `Unavailable` when the database does not answer.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(Tx {
            store: self.clone(),
            db: self.db().on(self.purpose).begin().await?,
            changes: Vec::new(),
            said: std::collections::HashSet::new(),
            noted: Vec::new(),
            ended: Vec::new(),
            maker: None,
        })
    }

    /// Appends one event to the log and returns when it is durable. Many callers share one commit.
    ///
    /// # Errors
    /// When it could not be written: the caller must refuse what the event would have allowed.
    pub async fn record(&self, event: AuditEvent) -> Result<()> {
        let (done, written) = oneshot::channel();
        let entry = audit::Entry::Event(Box::new(event), done);
        self.inner
            .audit
            .send(entry)
            .await
            .map_err(|_| Error::internal("the audit writer is gone"))?;
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::internal(error)),
            Err(_) => Err(Error::internal("the audit writer is gone")),
        }
    }

    /// As [`Store::record`], for a request that somebody is about to answer.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub async fn record_request(&self, event: AuditEvent) -> Result<audit::Unanswered> {
        let request = audit::Unanswered::of(&event, self.clock().now());
        self.record(event).await?;
        Ok(request)
    }

    /// Notes what was answered to a request; written along with the next events. An answer that comes later than
    /// [`audit::ANSWERED_WITHIN`] is left out: the log has said by then that nothing is known of it.
    pub fn record_response(&self, request: audit::Unanswered, response: AuditResponse) {
        // When the queue is full the answer stays unknown, which the log says.
        let _ = self
            .inner
            .audit
            .try_send(audit::Entry::Response(request, response));
    }

    /// What this instance asked the database for a purpose so far.
    #[must_use]
    pub fn load(&self, purpose: Purpose) -> Load {
        self.db().load(purpose)
    }

    /// Compiles the configuration anew.
    ///
    /// # Errors
    /// When the database does not answer; the old one stays.
    pub async fn reload(&self) -> Result<()> {
        self.inner.directory.reload(self).await
    }

    /// How many account views the directory compiled since the store was opened: what changes cost.
    #[must_use]
    pub fn compiled_accounts(&self) -> u64 {
        self.inner.directory.compiled()
    }

    async fn refresh(&self, changes: &[Change]) -> Result<()> {
        self.inner.directory.refresh(self, changes).await
    }

    /// Tells everybody here what must be forgotten; of very many things at once, that it is everything.
    fn announce(&self, changes: Vec<Change>) {
        if changes.len() > ANNOUNCED {
            return self.inner.feed.announce(Change::All);
        }
        for change in changes {
            self.inner.feed.announce(change);
        }
    }

    /// Writes what is still counted, and closes all connections; statements after it fail.
    pub async fn close(&self) {
        if let Err(error) = self.write_all_folds().await {
            tracing::error!(%error, source = ?error, "counts of the audit log were lost");
        }
        if let Err(error) = self.write_agent_steps().await {
            tracing::warn!(%error, source = ?error, "steps of agents were lost");
        }
        // If it cannot be given back, its time is over soon.
        let _ = self.inner.collector.give_back(self).await;
        self.inner.closed.cancel();
        self.db().close().await;
    }

    /// Notes what agents do on their way in.
    #[must_use]
    pub fn recorder(&self) -> &recorder::Recorder {
        &self.inner.recorder
    }

    pub(crate) fn folds(&self) -> &fold::Folds {
        &self.inner.folds
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn seal(&self) -> &audit::Seal {
        &self.inner.seal
    }
}

impl Run for &Store {
    async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        self.db().on(self.purpose).rows(sql).await
    }
}

/// A transaction. Dropped without commit, it never happened.
pub struct Tx {
    store: Store,
    db: DbTx,
    changes: Vec<Change>,
    /// The same, to find what was said already.
    said: std::collections::HashSet<Change>,
    /// What happened along the way, beside what the caller is about to say.
    noted: Vec<AuditEvent>,
    /// What ended by what is done here: each becomes an event.
    ended: Vec<ended::Ended>,
    /// On whose word.
    maker: Option<power::Maker>,
}

impl Run for &mut Tx {
    async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        (&mut self.db).rows(sql).await
    }
}

impl Tx {
    /// Now.
    #[must_use]
    pub fn now(&self) -> wire::Timestamp {
        self.store.clock().now()
    }

    /// Says on whose word it writes what happens later, so that this can be judged again then.
    pub fn on_word_of(&mut self, maker: power::Maker) {
        self.maker = Some(maker);
    }

    /// On whose word, as it is stored.
    pub(crate) fn maker(&self) -> Option<String> {
        self.maker.as_ref().map(ToString::to_string)
    }

    /// Seals secrets.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        self.store.vault()
    }

    /// Says what must be forgotten everywhere once this is committed.
    pub fn changed(&mut self, change: Change) {
        if self.said.insert(change.clone()) {
            self.changes.push(change);
        }
    }

    /// Says that everything must be forgotten everywhere once this is committed.
    pub(crate) fn changed_all(&mut self) {
        self.changes.clear();
        self.said.clear();
        self.changed(Change::All);
    }

    /// An event that is written together with those of the commit.
    pub(crate) fn note(&mut self, event: AuditEvent) {
        self.noted.push(event);
    }

    /// Commits the writes together with the event that describes them, and one for each thing that ended by them
    /// (grants, sessions, tokens, …), attributed to who did it.
    ///
    /// # Errors
    /// When the database refuses; nothing is written then.
    pub async fn commit(self, event: AuditEvent) -> Result<()> {
        self.commit_all(vec![event]).await
    }

    /// Commits the writes together with several events.
    ///
    /// # Errors
    /// When the database refuses; nothing is written then.
    pub async fn commit_all(mut self, mut events: Vec<AuditEvent>) -> Result<()> {
        let now = self.now();
        ended::tell(std::mem::take(&mut self.ended), &mut events);
        events.append(&mut self.noted);
        let written = change::append(&mut self.db, &self.changes, self.store.clock()).await?;
        audit::append(&mut self.db, self.store.seal(), &mut events, Vec::new(), now).await?;
        self.finish(written).await
    }

    /// Commits writes that no auditor asks about: session data, counters, last-use times, clean-up.
    ///
    /// # Errors
    /// When the database refuses; nothing is written then.
    pub async fn commit_housekeeping(mut self) -> Result<()> {
        if !(self.noted.is_empty() && self.ended.is_empty()) {
            return self.commit_all(Vec::new()).await;
        }
        let written = change::append(&mut self.db, &self.changes, self.store.clock()).await?;
        self.finish(written).await
    }

    async fn finish(self, written: change::Written) -> Result<()> {
        self.db.commit().await?;
        match self.store.refresh(&self.changes).await {
            Ok(()) => self.store.inner.feed.wrote(written),
            // What was written is there; that this instance could not read it back is mended by the feed.
            Err(error) => tracing::error!(%error, "the configuration could not be read back"),
        }
        self.store.announce(self.changes);
        Ok(())
    }

    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64> {
        self.db.run(sql).await
    }

    /// Runs an `UPDATE … WHERE version = …` or `DELETE`; no row touched means somebody was faster.
    pub(crate) async fn run_fresh(&mut self, sql: Sql) -> Result<()> {
        if self.run(sql).await? == 0 {
            Err(Error::Stale)
        } else {
            Ok(())
        }
    }
}

/// Follows the change feed of the other instances for as long as the process runs.
async fn follow(store: Store) {
    let store = store.on(Purpose::Feed);
    let mut tick = tokio::time::interval(change::POLL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What could not be read back at its time.
    let mut owed = Owed::default();
    loop {
        if store
            .inner
            .closed
            .run_until_cancelled(tick.tick())
            .await
            .is_none()
        {
            return;
        }
        follow_once(&store, &mut owed).await;
    }
}

/// What was read of the feed and is not applied yet.
#[derive(Default)]
struct Owed {
    changes: Vec<Change>,
    /// Whether another master key may seal by now. Who does not know must not go on.
    unsettled: bool,
}

async fn follow_once(store: &Store, owed: &mut Owed) {
    let feed = &store.inner.feed;
    let heard = match feed.poll(store.db().on(Purpose::Feed), store.clock()).await {
        Ok(heard) => heard,
        Err(error) => {
            tracing::warn!(%error, source = ?error, "the change feed could not be read");
            return;
        }
    };
    let change::Heard {
        reading,
        changes,
        unsettles,
    } = heard;
    owed.changes.extend(changes.iter().cloned());
    owed.unsettled |= unsettles;
    let followed = async {
        if owed.unsettled {
            rekey::settle(store.db().on(Purpose::Feed), store.vault()).await?;
        }
        store.refresh(&owed.changes).await
    };
    let followed = followed.await;
    match followed {
        Ok(()) => {
            owed.unsettled = false;
            owed.changes.clear();
            store.announce(changes);
            feed.followed(reading);
        }
        Err(error) => {
            tracing::error!(%error, source = ?error, "what changed could not be read back");
            if owed.changes.len() > ANNOUNCED {
                owed.changes = vec![Change::All];
            }
            store.announce(changes);
        }
    }
}
