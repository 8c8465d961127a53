//! The connections to one database. Each kind of work has its own ([`Purpose`]), so that none waits for another: an
//! administrator's slow question must not keep the gate from learning what ended. Everything that differs between the
//! engines, but for arguments and rows, is in this module.
//!
//! What fails heals by itself: a transaction that ended in a fault takes its connection with it, and a connection to a
//! server that went away, or takes no writes any more, is not used again.

mod explain;
mod files;
mod load;
pub(crate) mod raw;
pub(crate) mod schema;
mod transaction;
mod written;

pub use explain::explain_statements;
pub(crate) use explain::is_on as plans_are_judged;
pub use files::sqlite_file;
pub use load::Load;
pub use schema::{Upgrade, Upgraded, upgrade};
pub(crate) use transaction::DbTx;
pub(crate) use written::Written;

use crate::sql::{Row, Run, Sql};
use crate::{Error, Result, quiet};
use futures_util::TryStreamExt as _;
use sqlx::error::DatabaseError;
use sqlx::pool::{Pool, PoolConnection, PoolConnectionMetadata, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgPool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Database, Executor as _, Row as _, Sqlite};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Following what other instances end, and proving that the database takes writes.
    Feed,
    /// The writer of the audit log.
    Audit,
    /// Proving credentials, tokens, sign-in: what somebody waits for at the gate.
    Hot,
    /// Administration.
    #[default]
    Control,
    /// Searches, exports, overviews and previews, which may read much.
    Report,
}

impl Purpose {
    const ALL: [Self; 5] = [Self::Feed, Self::Audit, Self::Hot, Self::Control, Self::Report];

    /// What it is called in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Feed => "feed",
            Self::Audit => "audit",
            Self::Hot => "hot",
            Self::Control => "control",
            Self::Report => "report",
        }
    }

    /// How long one statement may take.
    const fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Feed => 3,
            Self::Hot | Self::Audit => 5,
            Self::Control => 15,
            Self::Report => 30,
        })
    }

    /// How long to wait for a connection.
    const fn wait(self) -> Duration {
        Duration::from_secs(match self {
            Self::Feed | Self::Hot => 2,
            Self::Audit | Self::Control => 5,
            Self::Report => 10,
        })
    }
}

/// How many connections there may be for each purpose. Two more follow the change feed, and on PostgreSQL two write the
/// audit log; SQLite has one more, for all writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pools {
    /// For [`Purpose::Hot`].
    pub hot: u32,
    /// For [`Purpose::Control`].
    pub control: u32,
    /// For [`Purpose::Report`].
    pub report: u32,
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            hot: 8,
            control: 4,
            report: 3,
        }
    }
}

impl Pools {
    const fn of(self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Feed | Purpose::Audit => 2,
            Purpose::Hot => self.hot,
            Purpose::Control => self.control,
            Purpose::Report => self.report,
        }
    }
}

/// The connections to one database.
pub(crate) struct Db {
    engine: Engine,
    stale: Stale,
    meter: Arc<load::Meter>,
}

enum Engine {
    Sqlite {
        /// One connection: SQLite has one writer, and waiting here is fairer than its busy handler.
        write: SqlitePool,
        read: [SqlitePool; 5],
    },
    Postgres([PgPool; 5]),
}

/// Connections that are older than this are not used again: their server went away, or takes no writes any more.
#[derive(Clone)]
pub(crate) struct Stale {
    began: Instant,
    /// Milliseconds after `began`.
    until: Arc<AtomicU64>,
}

impl Stale {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            until: Arc::default(),
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Gives up all connections that there are.
    fn give_up(&self) {
        self.until.fetch_max(self.millis(), Ordering::Relaxed);
    }

    fn allows(&self, meta: &PoolConnectionMetadata) -> bool {
        let age = u64::try_from(meta.age.as_millis()).unwrap_or(u64::MAX);
        let until = self.until.load(Ordering::Relaxed);
        until == 0 || self.millis().saturating_sub(age) > until
    }

    /// Looks at a fault of one connection: what it says about the others. Whether this one is good for anything yet.
    fn survives(&self, error: &sqlx::Error) -> bool {
        if is_gone(error) {
            self.give_up();
            return false;
        }
        match error {
            sqlx::Error::Database(error) => {
                error.is_unique_violation()
                    || error.is_foreign_key_violation()
                    || error.is_check_violation()
                    // Took too long.
                    || error.code().as_deref() == Some("57014")
            }
            sqlx::Error::RowNotFound | sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } => {
                true
            }
            _ => false,
        }
    }
}

/// Whether PostgreSQL had planned a statement before a migration changed what it answers: new connections plan anew.
fn is_another_plan(error: &dyn DatabaseError) -> bool {
    let error = error.try_downcast_ref::<PgDatabaseError>();
    error.is_some_and(|error| error.code() == "0A000" && error.routine() == Some("RevalidateCachedQuery"))
}

/// Whether the server at the other end went away, shuts down, takes no writes any more (25006), or plans for a schema
/// from before.
fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            matches!(
                error.code().as_deref(),
                Some("25006" | "57P01" | "57P02" | "57P03")
            ) || is_another_plan(&**error)
        }
        // What is slow may yet answer.
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
        sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

fn options<DB: Database>(purpose: Purpose, size: u32, stale: &Stale) -> PoolOptions<DB> {
    let stale = stale.clone();
    PoolOptions::new()
        .max_connections(size.max(1))
        .acquire_timeout(purpose.wait())
        // It would ask the server before each use; what is broken is found out by using it.
        .test_before_acquire(false)
        .before_acquire(move |_, meta| {
            let allowed = stale.allows(&meta);
            Box::pin(async move { Ok(allowed) })
        })
}

/// A server that takes no writes is not ours: a standby, or a primary that was replaced.
async fn takes_writes(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = connection
        .fetch_one("SELECT current_setting('transaction_read_only')")
        .await?;
    if row.try_get::<String, _>(0)? == "on" {
        let words = "the PostgreSQL server takes no writes (a standby, or set to read only)";
        return Err(sqlx::Error::Configuration(words.into()));
    }
    Ok(())
}

/// Makes a connection fit for its purpose. By statements, because not every pooler in between takes them at the start.
async fn prepare(connection: &mut PgConnection, purpose: Purpose) -> Result<(), sqlx::Error> {
    takes_writes(connection).await?;
    let millis = purpose.patience().as_millis();
    // Whoever died in a transaction must not keep others waiting.
    let limits = format!("SET statement_timeout = {millis}; SET idle_in_transaction_session_timeout = 60000");
    connection.execute(AssertSqlSafe(limits)).await?;
    if explain::is_on() {
        // As if there were so much that only indexes help: no table is read as a whole to be joined.
        let large = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";
        connection.execute(large).await?;
    }
    Ok(())
}

impl Db {
    /// Opens `sqlite:PATH` or `postgres://…`, with a schema that this version can use.
    pub(crate) async fn open(url: &str, pools: Pools, schema: Upgrade) -> Result<Self> {
        schema::prepare(url, schema).await?;
        let stale = Stale::new();
        let engine = if is_postgres(url) {
            open_postgres(url, pools, &stale)?
        } else {
            open_sqlite(url, pools, &stale)?
        };
        Ok(Self {
            engine,
            stale,
            meter: Arc::new(load::Meter::new()),
        })
    }

    /// The statements of one kind of work.
    pub(crate) const fn on(&self, purpose: Purpose) -> On<'_> {
        On { db: self, purpose }
    }

    /// Lets SQLite look at a few rows of each table that grew, so that plans go on to fit. PostgreSQL does so by itself. Not
    /// where plans are to be as if tables were large.
    pub(crate) async fn optimize(&self) -> Result<()> {
        if let (Engine::Sqlite { write, .. }, false) = (&self.engine, explain::is_on()) {
            let mut connection = acquire(write).await.map_err(Error::Unavailable)?;
            // All tables, and not only those that this connection asked about.
            let look = "PRAGMA analysis_limit = 400; PRAGMA optimize = 0x10002";
            connection.execute(look).await?;
        }
        Ok(())
    }

    /// What was asked for a purpose so far.
    pub(crate) fn load(&self, purpose: Purpose) -> Load {
        self.meter.of(purpose)
    }

    pub(crate) async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { write, read } => {
                for pool in read {
                    pool.close().await;
                }
                write.close().await;
            }
            Engine::Postgres(pools) => {
                for pool in pools {
                    pool.close().await;
                }
            }
        }
    }
}

pub(crate) fn postgres(url: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url).map_err(Error::Unavailable)?;
    Ok(options.disable_statement_logging())
}

fn open_postgres(url: &str, pools: Pools, stale: &Stale) -> Result<Engine> {
    let connect = postgres(url)?;
    Ok(Engine::Postgres(Purpose::ALL.map(|purpose| {
        options(purpose, pools.of(purpose), stale)
            .after_connect(move |connection, _| Box::pin(prepare(connection, purpose)))
            .connect_lazy_with(connect.clone())
    })))
}

/// How a database in SQLite is opened, wherever it is.
pub(crate) fn sqlite(url: &str) -> Result<SqliteConnectOptions> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| Error::invalid("/database_url", "neither sqlite: nor postgres://"))?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Pages: a checkpoint waits for the disk twice, so not after every few commits.
        .pragma("wal_autocheckpoint", "4000")
        .statement_cache_capacity(256)
        // Rows pass from one thread to another: of very many, many at a time.
        .row_buffer_size(1000)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    Ok(options)
}

/// Makes the file of a database that is one, unless it is there.
pub(crate) fn make_file(url: &str) -> Result<()> {
    sqlite_file(url).map_or(Ok(()), |file| {
        files::make_private(&file).map_err(|error| Error::Unavailable(error.into()))
    })
}

fn open_sqlite(url: &str, pools: Pools, stale: &Stale) -> Result<Engine> {
    let connect = sqlite(url)?;
    let write = options(Purpose::Control, 1, stale).connect_lazy_with(connect.clone());
    let connect = connect.read_only(true);
    let read = Purpose::ALL.map(|purpose| {
        // Nobody reads for the audit log.
        options(purpose, pools.of(purpose), stale).connect_lazy_with(connect.clone())
    });
    Ok(Engine::Sqlite { write, read })
}

/// The statements of one kind of work, each on its own.
#[derive(Clone, Copy)]
pub(crate) struct On<'a> {
    db: &'a Db,
    purpose: Purpose,
}

impl On<'_> {
    /// Opens a transaction for writing.
    pub(crate) async fn begin(self) -> Result<DbTx> {
        match &self.db.engine {
            Engine::Sqlite { write, .. } => Box::pin(DbTx::sqlite(write, self)).await,
            Engine::Postgres(pools) => {
                let pool = &pools[self.purpose as usize];
                Box::pin(DbTx::postgres(pool, self)).await
            }
        }
    }

    async fn sqlite(self, pool: &SqlitePool, sql: Sql) -> Result<Vec<Row>> {
        let mut connection = acquire(pool).await?;
        explain::sqlite(&mut connection, &sql).await;
        let (text, args) = sql.for_sqlite()?;
        let _stop = self.oversee(&mut connection).await?;
        let query = sqlx::query_with(AssertSqlSafe(text), args).fetch_all(&mut *connection);
        let rows = within(self.purpose, query).await;
        self.settle(&mut connection, &rows);
        let rows = rows?;
        self.db.meter.add(self.purpose, rows.len() as u64);
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    async fn postgres(self, pool: &PgPool, sql: Sql) -> Result<Vec<Row>> {
        let mut connection = pool.acquire().await?;
        explain::postgres(&mut connection, &sql).await;
        let (text, args) = sql.for_postgres()?;
        let query = sqlx::query_with(AssertSqlSafe(text), args).fetch_all(&mut *connection);
        let rows = within(self.purpose, query).await;
        self.settle(&mut connection, &rows);
        let rows = rows?;
        self.db.meter.add(self.purpose, rows.len() as u64);
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    /// Has SQLite stop the next statement of a report after a while, or as soon as nobody waits for it; in tests, count
    /// the steps of all.
    async fn oversee(self, connection: &mut PoolConnection<Sqlite>) -> Result<Option<Stop>, sqlx::Error> {
        let counter = explain::is_on().then(|| (Arc::clone(&self.db.meter), self.purpose));
        match (self.purpose, counter) {
            (Purpose::Report, counter) => {
                let stop = interrupt_after(connection, self.purpose.patience(), counter);
                stop.await.map(Some)
            }
            (_, Some(counter)) => load::count_steps(connection, counter).await.map(|()| None),
            (_, None) => Ok(None),
        }
    }

    /// Rows one by one as they come, of what would be too many to hold at once. Whoever takes them does not wait for
    /// anything meanwhile.
    pub(crate) async fn each(self, sql: Sql, mut take: impl FnMut(&Row) -> Result<()> + Send) -> Result<()> {
        // The first that cannot be taken.
        let mut taken = Ok(());
        let mut count = 0;
        let mut put = |row: Row| {
            count += 1;
            if taken.is_ok() {
                taken = take(&row);
            }
        };
        match &self.db.engine {
            Engine::Sqlite { read, .. } => {
                let mut connection = acquire(&read[self.purpose as usize]).await?;
                explain::sqlite(&mut connection, &sql).await;
                let (text, args) = sql.for_sqlite()?;
                let _stop = self.oversee(&mut connection).await?;
                let mut rows = sqlx::query_with(AssertSqlSafe(text), args).fetch(&mut *connection);
                let reading = async {
                    while let Some(row) = rows.try_next().await? {
                        put(Row::Sqlite(row));
                    }
                    Ok(())
                };
                let done = within(self.purpose, reading).await;
                drop(rows);
                self.settle(&mut connection, &done);
                done?;
            }
            Engine::Postgres(pools) => {
                let mut connection = pools[self.purpose as usize].acquire().await?;
                explain::postgres(&mut connection, &sql).await;
                let (text, args) = sql.for_postgres()?;
                let mut rows = sqlx::query_with(AssertSqlSafe(text), args).fetch(&mut *connection);
                let reading = async {
                    while let Some(row) = rows.try_next().await? {
                        put(Row::Postgres(row));
                    }
                    Ok(())
                };
                let done = within(self.purpose, reading).await;
                drop(rows);
                self.settle(&mut connection, &done);
                done?;
            }
        }
        self.db.meter.add(self.purpose, count);
        taken
    }

    /// A connection with a fault is not used again.
    fn settle<DB: Database, T>(self, connection: &mut PoolConnection<DB>, done: &Result<T, sqlx::Error>) {
        if let Err(error) = done
            && !self.db.stale.survives(error)
        {
            connection.close_on_drop();
        }
    }
}

impl Run for On<'_> {
    async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        // Boxed, because all that wait for a statement hold its future.
        match &self.db.engine {
            Engine::Sqlite { read, .. } => {
                let pool = &read[self.purpose as usize];
                Box::pin(self.sqlite(pool, sql)).await
            }
            Engine::Postgres(pools) => {
                let pool = &pools[self.purpose as usize];
                match Box::pin(self.postgres(pool, sql.clone())).await {
                    // The server was started anew, most likely: what is only read may be asked again.
                    Err(Error::Unavailable(error)) if is_gone(&error) => {
                        Box::pin(self.postgres(pool, sql)).await
                    }
                    done => done,
                }
            }
        }
    }
}

/// Whether SQLite says that the file is in use: the low byte of its number is 5, the others say why.
fn is_busy(error: &dyn DatabaseError) -> bool {
    let code = error.code().and_then(|c| c.parse::<u32>().ok());
    error.try_downcast_ref::<SqliteError>().is_some() && code.is_some_and(|c| c & 0xff == 5)
}

/// A connection of a pool. Another process that is just opening the same file makes SQLite refuse at once, without the
/// patience that it has for statements: what changes the journal takes the whole file.
async fn acquire<DB: Database>(pool: &Pool<DB>) -> Result<PoolConnection<DB>, sqlx::Error> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let began = Instant::now();
    loop {
        match pool.acquire().await {
            Err(sqlx::Error::Database(error)) if is_busy(error.as_ref()) && began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

/// Waits for a statement, for as long as its purpose allows.
async fn within<T>(
    purpose: Purpose,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    // The server's own limit comes first, where it answers at all.
    let patience = purpose.patience() + Duration::from_millis(500);
    tokio::time::timeout(patience, statement)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Stops the statement of a connection when it is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has SQLite stop the connection's next statement after a while, or as soon as nobody waits for it.
async fn interrupt_after(
    connection: &mut PoolConnection<Sqlite>,
    patience: Duration,
    counter: Option<load::Counter>,
) -> Result<Stop, sqlx::Error> {
    /// Instructions of SQLite's machine between two looks: some tens of microseconds.
    const STEPS: i32 = 10_000;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, deadline) = (Arc::clone(&stop), Instant::now() + patience);
    let steps = if counter.is_some() { load::STEPS } else { STEPS };
    let mut handle = connection.lock_handle().await?;
    handle.set_progress_handler(steps, move || {
        // The thread is this connection's, and does nothing but reports.
        quiet::give_way();
        if let Some((meter, purpose)) = &counter {
            meter.step(*purpose);
        }
        !stopped.load(Ordering::Relaxed) && Instant::now() < deadline
    });
    Ok(Stop(stop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_report_that_nobody_waits_for_any_more_is_stopped() {
        let folder = std::env::temp_dir().join(format!("report_{}", uuid()));
        let url = format!("sqlite:{}", folder.join("t.db").display());
        let pools = Pools {
            report: 1,
            ..Pools::default()
        };
        let db = Db::open(&url, pools, Upgrade::Always).await.unwrap();
        let endless = || {
            let text =
                "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT COUNT(*) FROM c";
            Sql::new(text)
        };
        let mut report = db.on(Purpose::Report);
        let patience = Duration::from_millis(200);
        assert!(
            tokio::time::timeout(patience, report.rows(endless()))
                .await
                .is_err()
        );
        // There is one connection, and it is free again.
        let soon = Duration::from_secs(3);
        let short = report.rows(Sql::new("SELECT seq FROM change_counter"));
        tokio::time::timeout(soon, short).await.unwrap().unwrap();
        db.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    fn uuid() -> String {
        wire::EventId::fresh().to_string()
    }
}
