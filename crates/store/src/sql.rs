//! One SQL text on two engines. Statements are text with `$n` placeholders and arguments of the three
//! column types that both engines share; rows are read by column name. Everything that differs between
//! the engines is in this file.

use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Arguments as _, AssertSqlSafe, Postgres, Row as _, Sqlite, Transaction,
    postgres::{PgArguments, PgPool, PgPoolOptions, PgRow},
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};
use std::{
    fmt::Write as _,
    fs::{DirBuilder, OpenOptions},
    future::Future,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use wire::{Id, Timestamp};

/// An argument: one of the three column types, or NULL of it.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
    Flag(bool),
}

impl From<&str> for Arg {
    fn from(v: &str) -> Self {
        Self::Text(Some(v.to_owned()))
    }
}
impl From<String> for Arg {
    fn from(v: String) -> Self {
        Self::Text(Some(v))
    }
}
impl From<Option<&str>> for Arg {
    fn from(v: Option<&str>) -> Self {
        Self::Text(v.map(ToOwned::to_owned))
    }
}
impl From<Option<String>> for Arg {
    fn from(v: Option<String>) -> Self {
        Self::Text(v)
    }
}
impl From<i64> for Arg {
    fn from(v: i64) -> Self {
        Self::Int(Some(v))
    }
}
impl From<bool> for Arg {
    fn from(v: bool) -> Self {
        Self::Flag(v)
    }
}
impl From<Timestamp> for Arg {
    fn from(v: Timestamp) -> Self {
        Self::Int(Some(v.0))
    }
}
impl From<Option<Timestamp>> for Arg {
    fn from(v: Option<Timestamp>) -> Self {
        Self::Int(v.map(|t| t.0))
    }
}
impl<T: Id> From<&T> for Arg {
    fn from(v: &T) -> Self {
        Self::Text(Some(v.as_str().to_owned()))
    }
}
impl<T: Id> From<Option<&T>> for Arg {
    fn from(v: Option<&T>) -> Self {
        Self::Text(v.map(|id| id.as_str().to_owned()))
    }
}

/// A value as JSON text, for a column that holds JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Arg> {
    Ok(Arg::Text(Some(
        serde_json::to_string(value).map_err(Error::internal)?,
    )))
}

/// A fieldless enum by its wire name.
pub(crate) fn word<T: Serialize>(value: T) -> Result<String> {
    match serde_json::to_value(value).map_err(Error::internal)? {
        serde_json::Value::String(text) => Ok(text),
        other => Err(Error::internal(format!("not a word: {other}"))),
    }
}

/// A statement with its arguments. The text is assembled from literals of this crate only; everything
/// that comes from outside is an argument.
#[derive(Debug, Clone)]
pub struct Sql {
    text: String,
    args: Vec<Arg>,
}

impl Sql {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            args: Vec::new(),
        }
    }

    /// Text put together from literals of this crate.
    pub(crate) fn assembled(text: String) -> Self {
        Self {
            text,
            args: Vec::new(),
        }
    }

    /// Binds the next placeholder.
    pub(crate) fn bind(mut self, arg: impl Into<Arg>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Appends text without arguments.
    pub(crate) fn then(mut self, text: &'static str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Appends ` AND {condition} $n` when there is a value.
    pub(crate) fn and<A: Into<Arg>>(mut self, condition: &'static str, value: Option<A>) -> Self {
        if let Some(value) = value {
            self.args.push(value.into());
            let n = self.args.len();
            // Writing to a String cannot fail.
            let _ = write!(self.text, " AND {condition} ${n}");
        }
        self
    }

    /// Appends ` AND (a = $n OR b = $n)` when there is a value.
    pub(crate) fn and_either<A: Into<Arg>>(
        mut self,
        (a, b): (&'static str, &'static str),
        value: Option<A>,
    ) -> Self {
        if let Some(value) = value {
            self.args.push(value.into());
            let n = self.args.len();
            let _ = write!(self.text, " AND ({a} = ${n} OR {b} = ${n})");
        }
        self
    }

    /// Appends a condition that `column` contains a text, ignoring ASCII case, when there is one. What is
    /// case beyond ASCII depends on the engine, so that both sides go through its `lower`.
    pub(crate) fn and_contains(self, column: &'static str, text: Option<&str>) -> Self {
        let Some(text) = text else { return self };
        let mut sql = self.bind(format!("%{}%", escape_like(text)));
        let n = sql.args.len();
        let _ = write!(sql.text, " AND lower({column}) LIKE lower(${n}) ESCAPE '\\'");
        sql
    }

    /// Appends a condition that `column` begins with a text, when there is one.
    pub(crate) fn and_begins(self, column: &'static str, text: Option<&str>) -> Self {
        let Some(text) = text else { return self };
        let mut sql = self.bind(format!("{}%", escape_like(text)));
        let n = sql.args.len();
        let _ = write!(sql.text, " AND {column} LIKE ${n} ESCAPE '\\'");
        sql
    }

    /// Appends ` AND {column} IN (…)` when there is a list; an empty list matches nothing.
    pub(crate) fn and_in<T: Id>(mut self, column: &'static str, values: Option<&[T]>) -> Self {
        let Some(values) = values else { return self };
        if values.is_empty() {
            self.text.push_str(" AND 1 = 0");
            return self;
        }
        let _ = write!(self.text, " AND {column} IN (");
        for (i, value) in values.iter().enumerate() {
            self.args.push(value.into());
            let n = self.args.len();
            let _ = write!(self.text, "{}${n}", if i == 0 { "" } else { ", " });
        }
        self.text.push(')');
        self
    }

    /// Appends ` AND {column} IN (…)` for texts; none match nothing.
    pub(crate) fn and_among(mut self, column: &'static str, texts: &[&str]) -> Self {
        if texts.is_empty() {
            return self.then(" AND 1 = 0");
        }
        let _ = write!(self.text, " AND {column} IN (");
        for (i, text) in texts.iter().enumerate() {
            self.args.push((*text).into());
            let n = self.args.len();
            let _ = write!(self.text, "{}${n}", if i == 0 { "" } else { ", " });
        }
        self.then(")")
    }

    /// `ORDER BY id LIMIT` for one page after a cursor. One row more than the page is asked for, so that
    /// the caller knows whether there is a next one.
    pub(crate) fn page<T: Id>(self, page: &Paging<T>) -> Self {
        let mut sql = self.and("id >", page.after.as_ref());
        let _ = write!(sql.text, " ORDER BY id LIMIT {}", i64::from(page.limit) + 1);
        sql
    }

    /// `LIMIT n`.
    pub(crate) fn limit(mut self, n: u32) -> Self {
        let _ = write!(self.text, " LIMIT {n}");
        self
    }

    /// `INSERT INTO table (…) VALUES (…)`.
    pub(crate) fn insert(table: &'static str, values: impl IntoIterator<Item = (&'static str, Arg)>) -> Self {
        let (columns, args): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let mut text = format!("INSERT INTO {table} ({}) VALUES (", columns.join(", "));
        for n in 1..=columns.len() {
            let _ = write!(text, "{}${n}", if n == 1 { "" } else { ", " });
        }
        text.push(')');
        Self { text, args }
    }

    fn for_sqlite(self) -> Result<(String, SqliteArguments)> {
        let mut args = SqliteArguments::default();
        for arg in self.args {
            match arg {
                Arg::Text(v) => args.add(v.map(without_nul)),
                Arg::Int(v) => args.add(v),
                Arg::Flag(v) => args.add(v),
            }
            .map_err(Error::Internal)?;
        }
        Ok((self.text, args))
    }

    fn for_postgres(self) -> Result<(String, PgArguments)> {
        let mut args = PgArguments::default();
        for arg in self.args {
            match arg {
                Arg::Text(v) => args.add(v.map(without_nul)),
                Arg::Int(v) => args.add(v),
                Arg::Flag(v) => args.add(v),
            }
            .map_err(Error::Internal)?;
        }
        Ok((self.text, args))
    }
}

/// Text for `LIKE … ESCAPE '\'` that stands for itself only.
pub(crate) fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// PostgreSQL refuses NUL in text, and one stranger's NUL must not fail a batch of others' events.
pub(crate) fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct Paging<T> {
    /// Items on a page, 1 to 200.
    pub limit: u32,
    /// The last item of the page before.
    pub after: Option<T>,
}

impl<T> Default for Paging<T> {
    fn default() -> Self {
        Self {
            limit: 200,
            after: None,
        }
    }
}

/// A row of either engine, read by column name.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($row:expr, $name:expr) => {
        match $row {
            Row::Sqlite(row) => row.try_get($name),
            Row::Postgres(row) => row.try_get($name),
        }
        .map_err(Error::from)
    };
}

impl Row {
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        column!(self, name)
    }
    pub(crate) fn opt_text(&self, name: &str) -> Result<Option<String>> {
        column!(self, name)
    }
    pub(crate) fn int(&self, name: &str) -> Result<i64> {
        column!(self, name)
    }
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        column!(self, name)
    }
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp> {
        self.int(name).map(Timestamp)
    }
    pub(crate) fn opt_time(&self, name: &str) -> Result<Option<Timestamp>> {
        let micros: Option<i64> = column!(self, name)?;
        Ok(micros.map(Timestamp))
    }
    pub(crate) fn id<T: Id>(&self, name: &str) -> Result<T> {
        self.text(name)?.parse().map_err(Error::internal)
    }
    /// An identifier, or nothing for NULL and ''.
    pub(crate) fn opt_id<T: Id>(&self, name: &str) -> Result<Option<T>> {
        self.opt_text(name)?
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(Error::internal))
            .transpose()
    }
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_str(&self.text(name)?).map_err(Error::internal)
    }
    pub(crate) fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_value(serde_json::Value::String(self.text(name)?)).map_err(Error::internal)
    }
}

/// Something that runs statements: the store itself (each on its own), or a transaction.
pub trait Run: Send {
    #[doc(hidden)]
    fn rows(&mut self, sql: Sql) -> impl Future<Output = Result<Vec<Row>>> + Send;
}

/// One row or nothing.
pub(crate) async fn opt(mut db: impl Run, sql: Sql) -> Result<Option<Row>> {
    Ok(db.rows(sql).await?.into_iter().next())
}

/// The connections to one database.
pub(crate) enum Db {
    Sqlite {
        /// One connection: SQLite has one writer, and waiting here is fairer than its busy handler.
        write: SqlitePool,
        read: SqlitePool,
    },
    Postgres(PgPool),
}

/// An open transaction of either engine.
pub(crate) enum DbTx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Rows of one statement at the most.
const CHUNK: usize = 64;
/// PostgreSQL's connections are many, and each keeps its own few prepared statements: few sizes.
const CHUNKS: [usize; 12] = [CHUNK, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// The file of a database in SQLite; none for others, and for one in memory.
#[must_use]
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") || url.contains(":memory:") {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    let file = options.get_filename();
    (!url.contains("mode=memory")).then(|| file.to_owned())
}

/// Makes the file of a database that is not there yet, for its owner only; SQLite makes the files beside it alike. A
/// folder that is not there is made so, too.
fn make_private(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.exists() && *folder != Path::new(""))
    {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    match options.open(file) {
        // What cannot be written is for SQLite to tell.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened.map(drop),
    }
}

impl Db {
    /// Opens `sqlite:PATH` or `postgres://…` and brings the schema up to date.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let db = if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let pool = PgPoolOptions::new()
                .max_connections(16)
                .acquire_timeout(Duration::from_secs(5))
                .connect(url)
                .await
                .map_err(Error::Unavailable)?;
            Self::Postgres(pool)
        } else {
            let options = SqliteConnectOptions::from_str(url)
                .map_err(|_| Error::invalid("/database_url", "neither sqlite: nor postgres://"))?
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                // Pages: a checkpoint waits for the disk twice, so not after every few commits.
                .pragma("wal_autocheckpoint", "4000")
                .statement_cache_capacity(256)
                .busy_timeout(Duration::from_secs(5));
            if let Some(file) = sqlite_file(url) {
                make_private(&file).map_err(|error| Error::Unavailable(error.into()))?;
            }
            let pool = |n: u32| {
                SqlitePoolOptions::new()
                    .max_connections(n)
                    .acquire_timeout(Duration::from_secs(5))
            };
            let write = pool(1)
                .connect_with(options.clone())
                .await
                .map_err(Error::Unavailable)?;
            let read = pool(4)
                .connect_with(options.read_only(true))
                .await
                .map_err(Error::Unavailable)?;
            Self::Sqlite { write, read }
        };
        match &db {
            Self::Sqlite { write, .. } => {
                // In one transaction, because nothing else keeps another process from migrating, too.
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                MIGRATIONS.run(&mut *tx).await.map_err(Error::internal)?;
                tx.commit().await?;
            }
            Self::Postgres(pool) => MIGRATIONS.run(pool).await.map_err(Error::internal)?,
        }
        Ok(db)
    }

    pub(crate) async fn begin(&self) -> Result<DbTx> {
        Ok(match self {
            // IMMEDIATE: a deferred transaction that reads before it writes fails when another one wrote
            // in between, without waiting.
            Self::Sqlite { write, .. } => DbTx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => DbTx::Postgres(pool.begin().await?),
        })
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Run for &Db {
    async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        match self {
            Db::Sqlite { read, .. } => {
                let (text, args) = sql.for_sqlite()?;
                let rows = sqlx::query_with(AssertSqlSafe(text), args)
                    .fetch_all(read)
                    .await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Db::Postgres(pool) => {
                let (text, args) = sql.for_postgres()?;
                let rows = sqlx::query_with(AssertSqlSafe(text), args)
                    .fetch_all(pool)
                    .await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}

impl DbTx {
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
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
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64> {
        Ok(match self {
            Self::Sqlite(tx) => {
                let (text, args) = sql.for_sqlite()?;
                sqlx::query_with(AssertSqlSafe(text), args)
                    .execute(&mut **tx)
                    .await?
                    .rows_affected()
            }
            Self::Postgres(tx) => {
                let (text, args) = sql.for_postgres()?;
                sqlx::query_with(AssertSqlSafe(text), args)
                    .execute(&mut **tx)
                    .await?
                    .rows_affected()
            }
        })
    }
}

impl Run for &mut DbTx {
    async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        match self {
            DbTx::Sqlite(tx) => {
                let (text, args) = sql.for_sqlite()?;
                let rows = sqlx::query_with(AssertSqlSafe(text), args)
                    .fetch_all(&mut **tx)
                    .await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            DbTx::Postgres(tx) => {
                let (text, args) = sql.for_postgres()?;
                let rows = sqlx::query_with(AssertSqlSafe(text), args)
                    .fetch_all(&mut **tx)
                    .await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}
