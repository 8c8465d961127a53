//! Transactions, opened and ended by statements of our own. What sqlx offers leaves a connection in disorder whose commit,
//! or whose statement, failed by a fault (a full disk): SQLite has rolled back by itself, and sqlx believes for ever that a
//! transaction is open. Here such a connection is closed.

use super::load::{self, Meter};
use super::{On, Purpose, Stale, Written, acquire, explain, within};
use crate::Result;
use crate::sql::{Arg, Row, Run, Sql};
use sqlx::pool::{Pool, PoolConnection};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{AssertSqlSafe, Database, Executor as _, Postgres, Sqlite};
use std::fmt::Write as _;
use std::sync::Arc;

/// Rows of one statement at the most.
const CHUNK: usize = 64;
/// PostgreSQL's connections are many, and each keeps its own few prepared statements: few sizes.
const CHUNKS: [usize; 12] = [CHUNK, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// An open transaction of either engine.
pub(crate) enum DbTx {
    Sqlite(Open<Sqlite>),
    Postgres(Open<Postgres>),
}

/// An engine whose transactions begin and end by a word.
pub(crate) trait Words: Database {
    fn say(
        connection: &mut Self::Connection,
        word: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Words for Sqlite {
    async fn say(connection: &mut SqliteConnection, word: &'static str) -> Result<(), sqlx::Error> {
        connection.execute(word).await.map(drop)
    }
}

impl Words for Postgres {
    async fn say(connection: &mut PgConnection, word: &'static str) -> Result<(), sqlx::Error> {
        connection.execute(word).await.map(drop)
    }
}

/// A connection in a transaction.
pub(crate) struct Open<DB: Words> {
    /// `None` once it was given back.
    connection: Option<PoolConnection<DB>>,
    purpose: Purpose,
    stale: Stale,
    meter: Arc<Meter>,
    /// Whether a statement failed by a fault.
    faulty: bool,
    written: Written,
}

impl<DB: Words> Open<DB> {
    async fn begin(
        pool: &Pool<DB>,
        how: &'static str,
        On { db, purpose }: On<'_>,
    ) -> Result<Self, sqlx::Error> {
        let stale = &db.stale;
        let mut connection = acquire(pool).await?;
        let begun = within(purpose, DB::say(&mut connection, how)).await;
        if let Err(error) = begun {
            connection.close_on_drop();
            // The server was started anew, most likely: another connection is new, too.
            stale.survives(&error);
            drop(connection);
            connection = acquire(pool).await?;
            let again = within(purpose, DB::say(&mut connection, how)).await;
            if let Err(error) = again {
                stale.survives(&error);
                connection.close_on_drop();
                return Err(error);
            }
        }
        Ok(Self {
            connection: Some(connection),
            purpose,
            stale: stale.clone(),
            meter: Arc::clone(&db.meter),
            faulty: false,
            written: Written::default(),
        })
    }

    /// The connection: there is one until the transaction ends.
    fn connection(&mut self) -> Result<&mut DB::Connection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    async fn commit(mut self) -> Result<(), sqlx::Error> {
        if self.faulty {
            let words = "a statement of this transaction failed before";
            return Err(sqlx::Error::Io(std::io::Error::other(words)));
        }
        let purpose = self.purpose;
        let done = within(purpose, DB::say(self.connection()?, "COMMIT")).await;
        match done {
            Ok(()) => {
                self.connection = None;
                Ok(())
            }
            Err(error) => {
                self.stale.survives(&error);
                self.faulty = true;
                Err(error)
            }
        }
    }

    /// `rows` says how many there are in what was done.
    fn settle<T>(&mut self, done: Result<T, sqlx::Error>, rows: impl FnOnce(&T) -> u64) -> Result<T> {
        if let Err(error) = &done
            && !self.stale.survives(error)
        {
            self.faulty = true;
        }
        let done = done?;
        self.meter.add(self.purpose, rows(&done));
        Ok(done)
    }
}

/// What was not committed is taken back before somebody else gets the connection.
impl<DB: Words> Drop for Open<DB> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let purpose = self.purpose;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.faulty => {
                runtime.spawn(async move {
                    let done = within(purpose, DB::say(&mut connection, "ROLLBACK")).await;
                    if done.is_err() {
                        connection.close_on_drop();
                    }
                });
            }
            _ => connection.close_on_drop(),
        }
    }
}

impl DbTx {
    pub(super) async fn sqlite(pool: &SqlitePool, on: On<'_>) -> Result<Self> {
        // IMMEDIATE: a deferred transaction that reads before it writes fails when another one wrote in between,
        // without waiting.
        let open = Open::begin(pool, "BEGIN IMMEDIATE", on).await?;
        Ok(Self::Sqlite(open))
    }

    pub(super) async fn postgres(pool: &PgPool, on: On<'_>) -> Result<Self> {
        Ok(Self::Postgres(Open::begin(pool, "BEGIN", on).await?))
    }

    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    /// To which tables it may have written so far.
    pub(crate) const fn written(&self) -> &Written {
        match self {
            Self::Sqlite(tx) => &tx.written,
            Self::Postgres(tx) => &tx.written,
        }
    }

    /// `INSERT INTO table (…) VALUES (…), (…), …` for many rows, with `suffix` after it.
    pub(crate) async fn insert_many(
        &mut self,
        (table, suffix): (&'static str, &'static str),
        columns: &[&'static str],
        rows: Vec<Vec<Arg>>,
    ) -> Result<()> {
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let size = match self {
                Self::Sqlite(_) => rows.len().min(CHUNK),
                Self::Postgres(_) => CHUNKS.into_iter().find(|n| *n <= rows.len()).unwrap_or(1),
            };
            let mut text = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
            let mut n = 0;
            for row in 0..size {
                for column in 0..columns.len() {
                    n += 1;
                    text.push_str(match (row, column) {
                        (0, 0) => "(",
                        (_, 0) => "), (",
                        _ => ", ",
                    });
                    match self {
                        // Nameless, because the name of each of many is searched for among all of them.
                        Self::Sqlite(_) => text.push('?'),
                        Self::Postgres(_) => {
                            let _ = write!(text, "${n}");
                        }
                    }
                }
            }
            text.push(')');
            text.push_str(suffix);
            let args = rows.by_ref().take(size).flatten().collect();
            self.run(Sql { text, args }).await?;
        }
        Ok(())
    }

    /// Runs a statement and says how many rows it touched.
    /// The statement that deletes `most` rows of a table, told apart by the columns of `key`, of those that a `SELECT` from
    /// `rows` finds. PostgreSQL would rather read the whole table than go by the index of its key, unless it is given
    /// a list.
    pub(crate) fn delete_some(&self, (table, key): (&str, &str), (rows, most): (&str, u64)) -> Sql {
        let which = |key: &str| format!("SELECT {key} FROM {rows} LIMIT {most}");
        Sql::assembled(match self {
            Self::Sqlite(_) => format!("DELETE FROM {table} WHERE ({key}) IN ({})", which(key)),
            // Where a row lies is a key in one column.
            Self::Postgres(_) => {
                let key = if key.contains(',') { "ctid" } else { key };
                format!("DELETE FROM {table} WHERE {key} = ANY (ARRAY ({}))", which(key))
            }
        })
    }

    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64> {
        match self {
            Self::Sqlite(tx) => {
                tx.written.note(&sql.text);
                explain::sqlite(tx.connection()?, &sql).await;
                if explain::is_on() {
                    let counter = (Arc::clone(&tx.meter), tx.purpose);
                    load::count_steps(tx.connection()?, counter).await?;
                }
                let ((text, args), purpose) = (sql.for_sqlite()?, tx.purpose);
                let query = sqlx::query_with(AssertSqlSafe(text), args).execute(tx.connection()?);
                let done = within(purpose, query).await;
                tx.settle(done.map(|done| done.rows_affected()), |rows| *rows)
            }
            Self::Postgres(tx) => {
                tx.written.note(&sql.text);
                explain::postgres(tx.connection()?, &sql).await;
                let ((text, args), purpose) = (sql.for_postgres()?, tx.purpose);
                let query = sqlx::query_with(AssertSqlSafe(text), args).execute(tx.connection()?);
                let done = within(purpose, query).await;
                tx.settle(done.map(|done| done.rows_affected()), |rows| *rows)
            }
        }
    }
}

impl Run for &mut DbTx {
    async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        match self {
            DbTx::Sqlite(tx) => {
                tx.written.note(&sql.text);
                explain::sqlite(tx.connection()?, &sql).await;
                if explain::is_on() {
                    let counter = (Arc::clone(&tx.meter), tx.purpose);
                    load::count_steps(tx.connection()?, counter).await?;
                }
                let ((text, args), purpose) = (sql.for_sqlite()?, tx.purpose);
                let query = sqlx::query_with(AssertSqlSafe(text), args).fetch_all(tx.connection()?);
                let rows = within(purpose, query).await;
                let rows = tx.settle(rows, |rows| rows.len() as u64)?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            DbTx::Postgres(tx) => {
                tx.written.note(&sql.text);
                explain::postgres(tx.connection()?, &sql).await;
                let ((text, args), purpose) = (sql.for_postgres()?, tx.purpose);
                let query = sqlx::query_with(AssertSqlSafe(text), args).fetch_all(tx.connection()?);
                let rows = within(purpose, query).await;
                let rows = tx.settle(rows, |rows| rows.len() as u64)?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}
