//! Connections: upstream identity providers. Their client secrets are sealed and never leave this module
//! but through [`secret`].

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Change, Error, Result, Store, Tx};
use wire::{AccountId, Connection, ConnectionId, ConnectionSpec, OrgId};
use zeroize::Zeroizing;

/// Where upstream providers send people back to: the same for all connections.
#[must_use]
pub fn redirect_uri(control_url: &str) -> String {
    format!("{control_url}/login/callback")
}

fn read(row: &Row, control_url: &str) -> Result<Connection> {
    Ok(Connection {
        id: row.id("id")?,
        account: row.opt_id("account")?,
        spec: row.json("spec")?,
        has_client_secret: row.opt_text("secret")?.is_some(),
        redirect_uri: redirect_uri(control_url),
        last_success_at: row.opt_time("last_success_at")?,
        last_error: row.opt_text("last_error")?,
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Makes a connection, of the organisation or of one account.
///
/// # Errors
/// `Conflict` when the name is taken.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    account: Option<&AccountId>,
    mut spec: ConnectionSpec,
) -> Result<Connection> {
    let id = ConnectionId::fresh();
    let secret = spec
        .client_secret
        .take()
        .map(|s| tx.vault().seal(id.as_ref(), s.as_bytes()))
        .transpose()?;
    let control_url = tx.store.inner.directory.control_url().to_owned();
    let connection = Connection {
        id,
        account: account.cloned(),
        has_client_secret: secret.is_some(),
        redirect_uri: redirect_uri(&control_url),
        spec,
        last_success_at: None,
        last_error: None,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&connection.id).into()),
        ("org", org.into()),
        ("account", account.into()),
        ("name", connection.spec.name.as_str().into()),
        ("kind", word(connection.spec.kind)?.into()),
        ("spec", json(&connection.spec)?),
        ("secret", secret.into()),
        ("created_at", connection.created_at.into()),
        ("version", connection.version.into()),
    ];
    tx.run(Sql::insert("connections", values)).await?;
    tx.changed(Change::Config);
    Ok(connection)
}

/// Connections of an organisation; `only` narrows them to shared ones and those of these accounts.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    store: &Store,
    org: &OrgId,
    only: Option<&[AccountId]>,
    page: &Paging<ConnectionId>,
) -> Result<Vec<Connection>> {
    let sql = Sql::new("SELECT * FROM connections WHERE org = $1").bind(org);
    let sql = match only {
        Some(accounts) => sql
            .then(" AND (account IS NULL OR (1 = 1")
            .and_in("account", Some(accounts))
            .then("))"),
        None => sql,
    };
    let mut db = store;
    let control_url = store.inner.directory.control_url();
    db.rows(sql.page(page))
        .await?
        .iter()
        .map(|row| read(row, control_url))
        .collect()
}

/// One connection.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &Store, org: &OrgId, id: &ConnectionId) -> Result<Connection> {
    let sql = Sql::new("SELECT * FROM connections WHERE id = $1 AND org = $2")
        .bind(id)
        .bind(org);
    let row = opt(store, sql).await?;
    read(
        &row.ok_or(Error::NotFound("connection"))?,
        store.inner.directory.control_url(),
    )
}

/// One connection of any organisation: for sign-in pages, which know nobody yet.
///
/// # Errors
/// When the database does not answer.
pub async fn by_id(store: &Store, id: &ConnectionId) -> Result<Option<(OrgId, Connection)>> {
    let row = opt(
        store,
        Sql::new("SELECT * FROM connections WHERE id = $1").bind(id),
    )
    .await?;
    row.map(|row| {
        let connection = read(&row, store.inner.directory.control_url())?;
        Ok((row.id("org")?, connection))
    })
    .transpose()
}

/// The client secret in clear.
///
/// # Errors
/// `Internal` when it does not open.
pub async fn secret(store: &Store, id: &ConnectionId) -> Result<Option<Zeroizing<String>>> {
    let row = opt(
        store,
        Sql::new("SELECT secret FROM connections WHERE id = $1").bind(id),
    )
    .await?;
    let Some(sealed) = row.ok_or(Error::NotFound("connection"))?.opt_text("secret")? else {
        return Ok(None);
    };
    let bytes = store.vault().open(id.as_ref(), &sealed)?;
    let text = std::str::from_utf8(&bytes).map_err(Error::internal)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Writes a changed connection; a secret in `spec` replaces the stored one, none keeps it.
///
/// # Errors
/// `Stale` when `connection.version` is not the stored one, `Conflict` when the name is taken.
pub async fn update(tx: &mut Tx, connection: &Connection, mut spec: ConnectionSpec) -> Result<Connection> {
    let id = &connection.id;
    let mut has_client_secret = connection.has_client_secret;
    if let Some(secret) = spec.client_secret.take() {
        let sealed = tx.vault().seal(id.as_ref(), secret.as_bytes())?;
        tx.run(
            Sql::new("UPDATE connections SET secret = $1 WHERE id = $2")
                .bind(sealed)
                .bind(id),
        )
        .await?;
        has_client_secret = true;
    }
    let sql = Sql::new(
        "UPDATE connections SET name = $1, spec = $2, version = version + 1 WHERE id = $3 AND version = $4",
    );
    let sql = sql
        .bind(spec.name.as_str())
        .bind(json(&spec)?)
        .bind(id)
        .bind(connection.version);
    tx.run_fresh(sql).await?;
    tx.changed(Change::Config);
    Ok(Connection {
        spec,
        has_client_secret,
        version: connection.version + 1,
        ..connection.clone()
    })
}

/// Deletes a connection that nobody ever signed in with and that is bound nowhere.
///
/// # Errors
/// `Conflict` while people or bindings hang on it: disable it instead.
pub async fn delete(tx: &mut Tx, connection: &Connection) -> Result<()> {
    let sql = Sql::new("DELETE FROM connections WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&connection.id).bind(connection.version))
        .await?;
    tx.changed(Change::Config);
    Ok(())
}

/// Notes how a sign-in through the connection went.
///
/// # Errors
/// When the database does not answer.
pub async fn note_health(tx: &mut Tx, id: &ConnectionId, error: Option<&str>) -> Result<()> {
    let sql = match error {
        None => Sql::new("UPDATE connections SET last_error = NULL, last_success_at = $1 WHERE id = $2")
            .bind(tx.now()),
        Some(error) => Sql::new("UPDATE connections SET last_error = $1 WHERE id = $2").bind(error),
    };
    tx.run(sql.bind(id)).await.map(drop)
}
