//! Putting a backup into an empty place: all of it in one transaction.

use super::UNFINISHED;
use super::file::{Header, Line, Reader};
use crate::db;
use crate::db::raw::{Raw, Table};
use crate::sql::Sql;
use crate::{Error, Options, Result, Vault};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Postgres, Sqlite, Transaction};
use std::fmt::Write as _;
use std::path::Path;

/// Values of one statement at the most: both engines take 32,000.
const VALUES: usize = 2000;

/// What [`load`] found.
#[derive(Debug)]
pub enum Loaded {
    /// The place holds the backup now.
    Now,
    /// The place holds a backup from an attempt before, of which only what follows was not done.
    Before,
}

/// Reads a backup from end to end, and says what it is: whole, and under this master key, or an error.
///
/// # Errors
/// `Invalid` when it is no backup, damaged, from a newer version or another master key.
pub fn look(options: &Options<'_>, file: &Path) -> Result<Header> {
    let (mut reader, header) = Reader::open(file)?;
    reader.check(&header, &Vault::new(options.master_key)?)?;
    is_known(&header)?;
    Ok(header)
}

/// Whether this version knows the schema of a backup.
fn is_known(header: &Header) -> Result<()> {
    let (known, newest) = db::schema::knows(header.schema);
    if !known {
        return Err(Error::invalid(
            "",
            format!(
                "the backup is from version {} with schema {}, and this binary knows schemas up to {newest}: restore it \
                 with the binary that took it, or a newer one",
                header.version, header.schema
            ),
        ));
    }
    Ok(())
}

/// Puts a backup into an empty database, and brings its schema up to date. The database cannot be opened by a server
/// before [`crate::Store::forget_what_lived`] was done.
///
/// # Errors
/// `Invalid` when the backup is no good, from a newer version or another master key, or when the place is not empty.
pub async fn load(options: &Options<'_>, file: &Path) -> Result<Loaded> {
    let vault = Vault::new(options.master_key)?;
    let (mut reader, header) = Reader::open(file)?;
    reader.check(&header, &vault)?;
    is_known(&header)?;
    let mut tx = Alone::begin(options.database_url).await?;
    let loaded = into(&mut tx, (&mut reader, &header, &vault)).await?;
    if matches!(loaded, Loaded::Now) {
        tx.commit().await?;
    }
    Ok(loaded)
}

async fn into(tx: &mut Alone, (reader, header, vault): (&mut Reader, &Header, &Vault)) -> Result<Loaded> {
    if !tx.raw().schema().await?.is_empty() {
        let sql = Sql::new("SELECT key FROM meta WHERE key = $1").bind(UNFINISHED);
        return match tx.raw().rows(sql).await?.is_empty() {
            true => Err(not_empty()),
            false => Ok(Loaded::Before),
        };
    }
    if !tx.raw().tables().await?.is_empty() {
        return Err(not_empty());
    }
    tx.migrate(Some(header.schema)).await?;
    let there = tx.raw().tables().await?;
    for table in &header.tables {
        if !there.contains(table) {
            let words = format!("the schema {} has no such table {}", header.schema, table.name);
            return Err(Error::invalid("", words));
        }
    }
    // What migrations begin a new database with.
    for table in there.iter().rev() {
        let text = format!("DELETE FROM \"{}\"", table.name);
        tx.raw().run(Sql::assembled(text)).await?;
    }
    rows(&mut tx.raw(), reader, header).await?;
    reader.is_whole(vault)?;
    let sql = Sql::insert(
        "meta",
        [
            ("key", UNFINISHED.into()),
            ("value", header.taken_at.to_string().into()),
        ],
    );
    tx.raw().run(sql).await?;
    tx.migrate(None).await?;
    Ok(Loaded::Now)
}

fn not_empty() -> Error {
    Error::invalid(
        "/database_url",
        "the database is not empty, and a backup is restored into an empty place only: name a new file, or a new \
         database, in database_url",
    )
}

async fn rows(raw: &mut Raw<'_>, reader: &mut Reader, header: &Header) -> Result<()> {
    let mut table: Option<&Table> = None;
    let mut waiting: Vec<Vec<Value>> = Vec::new();
    while let Some(line) = reader.line()? {
        match line {
            Line::Table(name) => {
                insert(raw, table, &mut waiting).await?;
                table = header.tables.iter().find(|table| table.name == name);
                if table.is_none() {
                    return Err(Error::invalid("", format!("the backup names no table {name}")));
                }
            }
            Line::Row(row) => {
                waiting.push(row);
                let columns = table.map_or(1, |table| table.columns.len());
                if waiting.len() * columns >= VALUES {
                    insert(raw, table, &mut waiting).await?;
                }
            }
        }
    }
    insert(raw, table, &mut waiting).await
}

async fn insert(raw: &mut Raw<'_>, table: Option<&Table>, waiting: &mut Vec<Vec<Value>>) -> Result<()> {
    let rows = std::mem::take(waiting);
    let Some(table) = table.filter(|_| !rows.is_empty()) else {
        return Ok(());
    };
    let unfit = || Error::invalid("", format!("a row of {} does not fit its table", table.name));
    let mut text = format!("INSERT INTO \"{}\" ({}) VALUES ", table.name, table.list());
    let mut args = Vec::with_capacity(rows.len() * table.columns.len());
    for row in rows {
        if row.len() != table.columns.len() {
            return Err(unfit());
        }
        text.push_str(if args.is_empty() { "(" } else { ", (" });
        for (at, (value, (_, kind))) in row.into_iter().zip(&table.columns).enumerate() {
            args.push(kind.arg(value).ok_or_else(unfit)?);
            let comma = if at == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}${}", args.len());
        }
        text.push(')');
    }
    raw.run(Sql { text, args }).await
}

/// A transaction of which migrations are a part, on a connection without limits of time.
enum Alone {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Alone {
    async fn begin(url: &str) -> Result<Self> {
        let begun = if db::is_postgres(url) {
            let pool = PgPoolOptions::new().max_connections(1);
            let pool = pool.connect_lazy_with(db::postgres(url)?);
            pool.begin().await.map(Self::Postgres)
        } else {
            db::make_file(url)?;
            let pool = SqlitePoolOptions::new().max_connections(1);
            let pool = pool.connect_lazy_with(db::sqlite(url)?);
            pool.begin_with("BEGIN IMMEDIATE").await.map(Self::Sqlite)
        };
        begun.map_err(Error::Unavailable)
    }

    fn raw(&mut self) -> Raw<'_> {
        match self {
            Self::Sqlite(tx) => Raw::Sqlite(tx),
            Self::Postgres(tx) => Raw::Postgres(tx),
        }
    }

    /// Brings the schema to a version; to the newest without one.
    async fn migrate(&mut self, target: Option<i64>) -> Result<()> {
        let done = match self {
            Self::Sqlite(tx) => db::schema::MIGRATIONS.run_direct(target, &mut **tx, false).await,
            Self::Postgres(tx) => db::schema::MIGRATIONS.run_direct(target, &mut **tx, false).await,
        };
        done.map_err(Error::internal)
    }

    async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
