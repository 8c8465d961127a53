//! Which schema a database has, and whether this version may use it. Versions run side by side while a newer one is
//! rolled out: a migration adds, and what it made superfluous goes one version later. Which versions a schema still
//! serves is written in it (`schema_readers`).

use super::raw::Raw;
use super::{acquire, explain, is_postgres, make_file, postgres, sqlite, sqlite_file, takes_writes};
use crate::sql::Sql;
use crate::{Error, Result};
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{ConnectOptions as _, Connection as _};

pub(crate) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// Whether this binary knows a version of the schema, and the newest that it knows.
pub(crate) fn knows(version: i64) -> (bool, i64) {
    (MIGRATIONS.version_exists(version), newest())
}

/// The newest version of the schema that this binary knows.
fn newest() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or_default()
}

/// What may be done to the schema when a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// Nothing: it is one that this version can use, or the database is not opened.
    #[default]
    Never,
    /// It is made where there is nothing yet.
    IfEmpty,
    /// It is made, or brought up to date.
    Always,
}

/// What became of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgraded {
    /// Its version before; `None` where there was nothing.
    pub from: Option<i64>,
    /// Its version now. It is newer than any that this binary knows when a newer version made it that runs beside.
    pub to: i64,
    /// The newest that this binary knows.
    pub newest: i64,
}

/// Makes the schema, or brings it up to date; that of a newer version stays as it is.
///
/// # Errors
/// `Invalid` when this version cannot use it, `Unavailable` when the database does not answer.
pub async fn upgrade(database_url: &str) -> Result<Upgraded> {
    prepare(database_url, Upgrade::Always).await
}

/// Makes sure that the schema is one that this version can use. Errors are words for whoever operates the server.
pub(super) async fn prepare(url: &str, upgrade: Upgrade) -> Result<Upgraded> {
    if is_postgres(url) {
        // A connection without limits: what a migration does to a large table takes its time, and so does waiting for
        // another instance that migrates.
        let mut connection = postgres(url)?.connect().await.map_err(not_connected)?;
        takes_writes(&mut connection).await.map_err(Error::Unavailable)?;
        let from = look(&mut Raw::Postgres(&mut connection)).await?;
        if needs(from, upgrade)? {
            MIGRATIONS.run(&mut connection).await.map_err(in_words)?;
            if from.is_none() {
                explain::keep_plans(&mut connection).await?;
            }
        }
        connection.close().await?;
        return Ok(done(from));
    }
    if upgrade == Upgrade::Never && sqlite_file(url).is_some_and(|file| !file.exists()) {
        return Err(nothing());
    }
    make_file(url)?;
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_lazy_with(sqlite(url)?.create_if_missing(true));
    let mut connection = acquire(&pool).await.map_err(Error::Unavailable)?;
    let from = look(&mut Raw::Sqlite(&mut connection)).await?;
    if needs(from, upgrade)? {
        // In one transaction, because nothing else keeps another process from migrating, too.
        let begun = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut tx = begun.map_err(Error::Unavailable)?;
        MIGRATIONS.run(&mut *tx).await.map_err(in_words)?;
        tx.commit().await?;
    }
    connection.close().await?;
    Ok(done(from))
}

/// Why there is no connection, where it is not that nobody answers.
fn not_connected(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|refused| refused.code());
    let words = match code.as_deref() {
        // SQLSTATE invalid_catalog_name
        Some("3D000") => {
            "there is no such database at the server: make it (CREATE DATABASE), or check its name"
        }
        // SQLSTATE invalid_password and invalid_authorization_specification
        Some("28P01" | "28000") => "the database server refuses the user or the password",
        _ => return Error::Unavailable(error),
    };
    Error::invalid("/database_url", format!("{words}, in database_url"))
}

fn done(from: Option<Known>) -> Upgraded {
    let version = from.map(|known| known.version);
    Upgraded {
        from: version,
        to: version.unwrap_or_default().max(newest()),
        newest: newest(),
    }
}

/// A schema that this version can use, or make one that it can.
#[derive(Clone, Copy)]
struct Known {
    version: i64,
    /// Whether all was done to it that this version would do.
    is_complete: bool,
}

/// What there is; `None` is nothing.
async fn look(db: &mut Raw<'_>) -> Result<Option<Known>> {
    let went_through = db.schema().await?;
    let Some(&version) = went_through.last() else {
        if let Some(table) = db.foreign_table().await? {
            let words = format!(
                "the database holds tables of something else ({table}): name a new file, or a database of its own, in database_url"
            );
            return Err(Error::invalid("/database_url", words));
        }
        return Ok(None);
    };
    let mine = MIGRATIONS.iter();
    let is_complete = mine
        .map(|m| m.version)
        .all(|version| went_through.contains(&version));
    let is_newer = went_through
        .iter()
        .any(|version| !MIGRATIONS.version_exists(*version));
    if is_newer && !(is_complete && oldest_reader(db, version).await? <= newest()) {
        let words = format!(
            "the database has schema {version}, made by a newer version of Chatelaine, and this one can use schemas up to {}: \
             start the newer version, or restore a backup from before",
            newest()
        );
        return Err(Error::invalid("/database_url", words));
    }
    Ok(Some(Known { version, is_complete }))
}

/// The oldest version of the schema that those must know who use this one.
async fn oldest_reader(db: &mut Raw<'_>, version: i64) -> Result<i64> {
    let rows = db.rows(Sql::new("SELECT oldest FROM schema_readers WHERE id = 1"));
    let rows = rows.await?;
    rows.first().map_or(Ok(version), |row| row.int("oldest"))
}

/// Whether there is something to do, and it may be done.
fn needs(found: Option<Known>, upgrade: Upgrade) -> Result<bool> {
    match (found, upgrade) {
        (Some(known), _) if known.is_complete => Ok(false),
        (_, Upgrade::Always) | (None, Upgrade::IfEmpty) => Ok(true),
        (None, Upgrade::Never) => Err(nothing()),
        (Some(known), Upgrade::Never | Upgrade::IfEmpty) => {
            let words = format!(
                "the database has schema {}, and this version of Chatelaine needs schema {}: `chatelaine migrate` brings it up \
                 to date, and so does `chatelaine serve`. Take a backup with the version that runs now first",
                known.version,
                newest()
            );
            Err(Error::invalid("/database_url", words))
        }
    }
}

fn nothing() -> Error {
    let words =
        "there is nothing in the database yet: check database_url, or run `chatelaine setup` for a new one";
    Error::invalid("/database_url", words)
}

fn in_words(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMismatch(version) => Error::invalid(
            "/database_url",
            format!(
                "the database went through a migration {version} that is not the one of this version: another build made it"
            ),
        ),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Error::Unavailable(error),
        other => Error::internal(other),
    }
}
