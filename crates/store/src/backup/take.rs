//! Taking a backup, beside servers that go on.

use super::file::{Header, LogHead, Writer};
use crate::db;
use crate::db::raw::{Raw, Table};
use crate::sql::Sql;
use crate::{Error, Options, Result, Vault, rekey};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use std::path::Path;

/// A backup that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What it says of itself.
    pub header: Header,
    /// How many rows it holds.
    pub rows: u64,
    /// How long it is.
    pub bytes: u64,
}

/// Writes everything that the database holds into a new file, as of one moment. `version` is that of the binary.
///
/// # Errors
/// `Invalid` when the file is there already, when there is no database, or when it has another master key; else when the
/// database does not answer.
pub async fn take(options: &Options<'_>, to: &Path, version: &str) -> Result<Taken> {
    let vault = Vault::new(options.master_key)?;
    let writer = Writer::create(to)?;
    let now = options.clock.now();
    let begin = |engine| (writer, &vault, (version, engine, now));
    if db::is_postgres(options.database_url) {
        let connect = db::postgres(options.database_url)?;
        let mut connection = connect.connect().await.map_err(Error::Unavailable)?;
        connection
            .execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        let taken = write(Raw::Postgres(&mut connection), begin("PostgreSQL")).await;
        connection.close().await?;
        taken
    } else {
        let connect = db::sqlite(options.database_url)?;
        let mut connection = connect.connect().await.map_err(Error::Unavailable)?;
        connection.execute("PRAGMA query_only = ON").await?;
        // The first statement decides which moment it is.
        connection.execute("BEGIN").await?;
        let taken = write(Raw::Sqlite(&mut connection), begin("SQLite")).await;
        connection.close().await?;
        taken
    }
}

type What<'a> = (&'a str, &'a str, wire::Timestamp);

async fn write(mut raw: Raw<'_>, (mut writer, vault, what): (Writer, &Vault, What<'_>)) -> Result<Taken> {
    let (version, engine, now) = what;
    let schema = raw.schema().await?.last().copied();
    let schema = schema.ok_or_else(|| Error::invalid("", "there is nothing in the database yet"))?;
    let tables = raw.tables().await?;
    is_ours(&mut raw, vault).await?;
    let mut header = Header::new(version, engine, (schema, tables));
    header.taken_at = now;
    header.key = vault.fingerprint();
    for row in raw
        .rows(Sql::new("SELECT seq FROM change_counter WHERE id = 1"))
        .await?
    {
        header.changes = row.int("seq")?;
    }
    let heads = "SELECT org, seq, hash, answers, answers_hash FROM audit_heads ORDER BY org";
    for row in raw.rows(Sql::new(heads)).await? {
        header.logs.push(LogHead {
            org: row.id("org")?,
            seq: row.int("seq")?,
            hash: row.text("hash")?,
            answers: row.int("answers")?,
            answers_hash: row.text("answers_hash")?,
        });
    }
    writer.header(&header)?;
    for table in &header.tables {
        rows_of(&mut raw, table, &mut writer).await?;
    }
    let (rows, bytes) = writer.finish(vault)?;
    Ok(Taken { header, rows, bytes })
}

/// A backup that nobody could restore is none.
async fn is_ours(raw: &mut Raw<'_>, vault: &Vault) -> Result<()> {
    let known = raw.rows(rekey::key_check()).await?;
    let sealed = known.first().map(|row| row.text("value")).transpose()?;
    if sealed.is_none_or(|sealed| !rekey::fits_key(vault, &sealed)) {
        return Err(Error::invalid("/master_key", rekey::OTHER_KEY));
    }
    let sql = Sql::new("SELECT key FROM meta WHERE key = $1").bind(rekey::UNDER_WAY);
    if !raw.rows(sql).await?.is_empty() {
        return Err(Error::invalid(
            "/master_key",
            "the master key is being changed: finish that first (`chatelaine rekey`)",
        ));
    }
    let sql = Sql::new("SELECT key FROM meta WHERE key = $1").bind(super::UNFINISHED);
    if !raw.rows(sql).await?.is_empty() {
        return Err(Error::invalid(
            "/database_url",
            super::aftermath::UNFINISHED_WORDS,
        ));
    }
    Ok(())
}

async fn rows_of(raw: &mut Raw<'_>, table: &Table, writer: &mut Writer) -> Result<()> {
    writer.table(&table.name)?;
    let text = format!("SELECT {} FROM \"{}\"", table.list(), table.name);
    raw.each(text, |row| {
        let values = table.columns.iter().map(|(name, kind)| kind.value(&row, name));
        writer.row(&values.collect::<Result<Vec<_>>>()?)
    })
    .await
}
