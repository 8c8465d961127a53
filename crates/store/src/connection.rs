//! Connections: upstream identity providers. Their client secrets are sealed and never leave this module
//! but through [`secret`].

use crate::ending::{self, Switched};
use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Change, Error, Result, Store, Tx};
use wire::{
    AccountId, Callback, Connection, ConnectionId, ConnectionKind, ConnectionSpec, ConnectionWarning,
    ConnectionWarningCode, OrgId, Timestamp,
};
use zeroize::Zeroizing;

/// Where the provider of a connection sends people back to, once that is the connection's own.
#[must_use]
pub fn redirect_uri(control_url: &str, id: &ConnectionId) -> String {
    format!("{control_url}/login/callback/{id}")
}

/// Where providers send people back to whose connections have no redirect URI of their own yet.
#[must_use]
pub fn shared_redirect_uri(control_url: &str) -> String {
    format!("{control_url}/login/callback")
}

/// Where providers send people back to who signed out there because they signed out here.
#[must_use]
pub fn post_logout_redirect_uri(control_url: &str) -> String {
    format!("{control_url}/login/signed-out")
}

/// Where the provider tells us of sign-outs, and where it sends people back to after one.
fn logout_uris(
    id: &ConnectionId,
    spec: &ConnectionSpec,
    control_url: &str,
) -> (Option<String>, Option<String>) {
    if spec.kind != ConnectionKind::Oidc {
        return (None, None);
    }
    let back_channel = format!("{control_url}/login/backchannel/{id}");
    (Some(back_channel), Some(post_logout_redirect_uri(control_url)))
}

/// How many days before its end a client secret is worth a warning.
const SECRET_WARNING_DAYS: i64 = 30;

/// What an administrator should look at, as far as the stored connection tells.
fn warnings(
    (id, spec): (&ConnectionId, &ConnectionSpec),
    control_url: &str,
    last_error: Option<&str>,
    now: Timestamp,
) -> Vec<ConnectionWarning> {
    let mut warnings = Vec::new();
    let mut warn = |code, detail: String| warnings.push(ConnectionWarning { code, detail });
    if spec.callback == Callback::Shared {
        let detail = format!(
            "People come back to {}, which all connections shared. Only answers that name their issuer (iss) count \
             there: whoever signs in through a provider without it is refused. Register {} at the provider, then \
             set callback to own.",
            shared_redirect_uri(control_url),
            redirect_uri(control_url, id),
        );
        warn(ConnectionWarningCode::SharedCallback, detail);
    }
    if !spec.enabled {
        let detail = "It is switched off: nobody signs in through it.";
        warn(ConnectionWarningCode::Disabled, detail.to_owned());
    }
    if let Some(end) = spec.client_secret_expires_at {
        let seconds = end.seconds() - now.seconds();
        let days = seconds / 86_400;
        if seconds <= 0 {
            let detail = "The client secret has expired: make a new one at the provider and enter it.";
            warn(ConnectionWarningCode::SecretExpired, detail.to_owned());
        } else if days < SECRET_WARNING_DAYS {
            let when = match days {
                0 => "within a day".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            let detail = format!("The client secret expires {when}.");
            warn(ConnectionWarningCode::SecretExpiring, detail);
        }
    }
    if let Some(error) = last_error {
        let detail = format!("The last sign-in failed: {error}.");
        warn(ConnectionWarningCode::LastSignInFailed, detail);
    }
    warnings
}

fn read(row: &Row, store: &Store) -> Result<Connection> {
    let spec: ConnectionSpec = row.json("spec")?;
    let last_error = row.opt_text("last_error")?;
    let control_url = store.inner.directory.control_url();
    let id = row.id("id")?;
    let (backchannel_logout_uri, post_logout_redirect_uri) = logout_uris(&id, &spec, control_url);
    Ok(Connection {
        account: row.opt_id("account")?,
        backchannel_logout_uri,
        post_logout_redirect_uri,
        redirect_uri: redirect_uri(control_url, &id),
        warnings: warnings(
            (&id, &spec),
            control_url,
            last_error.as_deref(),
            store.clock().now(),
        ),
        id,
        spec,
        has_client_secret: row.opt_text("secret")?.is_some(),
        last_success_at: row.opt_time("last_success_at")?,
        last_error,
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// What a change of the connection concerns.
fn of(connection: &Connection) -> Change {
    match &connection.account {
        Some(account) => Change::Account(account.clone()),
        None => Change::Connection(connection.id.clone()),
    }
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
    let (backchannel_logout_uri, post_logout_redirect_uri) = logout_uris(&id, &spec, &control_url);
    let connection = Connection {
        account: account.cloned(),
        backchannel_logout_uri,
        post_logout_redirect_uri,
        has_client_secret: secret.is_some(),
        redirect_uri: redirect_uri(&control_url, &id),
        warnings: warnings((&id, &spec), &control_url, None, tx.now()),
        id,
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
        (
            "secret_expires_at",
            connection.spec.client_secret_expires_at.into(),
        ),
        ("created_at", connection.created_at.into()),
        ("version", connection.version.into()),
    ];
    tx.run(Sql::insert("connections", values)).await?;
    tx.changed(of(&connection));
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
    let sql = Sql::new(select!(connections, "WHERE org = $1")).bind(org);
    let sql = match only {
        Some(accounts) => sql
            .then(" AND (account IS NULL OR (1 = 1")
            .and_in("account", Some(accounts))
            .then("))"),
        None => sql,
    };
    let mut db = store;
    let rows = db.rows(sql.page(page)).await?;
    rows.iter().map(|row| read(row, store)).collect()
}

/// Connections of an organisation that some accounts know: their own, and those that count there.
///
/// # Errors
/// When the database does not answer.
pub async fn list_known(
    store: &Store,
    org: &OrgId,
    accounts: &[AccountId],
    page: &Paging<ConnectionId>,
) -> Result<Vec<Connection>> {
    let counting: Vec<ConnectionId> = store.directory().counting(accounts).into_iter().collect();
    let sql = Sql::new(select!(connections, "WHERE org = $1 AND ((1 = 1"))
        .bind(org)
        .and_in("account", Some(accounts))
        .then(") OR (account IS NULL")
        .and_in("id", Some(&counting))
        .then("))");
    let mut db = store;
    let rows = db.rows(sql.page(page)).await?;
    rows.iter().map(|row| read(row, store)).collect()
}

/// One connection.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &Store, org: &OrgId, id: &ConnectionId) -> Result<Connection> {
    let sql = Sql::new(select!(connections, "WHERE id = $1 AND org = $2"))
        .bind(id)
        .bind(org);
    let row = opt(store, sql).await?;
    read(&row.ok_or(Error::NotFound("connection"))?, store)
}

/// One connection of any organisation: for sign-in pages, which know nobody yet.
///
/// # Errors
/// When the database does not answer.
pub async fn by_id(store: &Store, id: &ConnectionId) -> Result<Option<(OrgId, Connection)>> {
    let row = opt(store, Sql::new(select!(connections, "WHERE id = $1")).bind(id)).await?;
    row.map(|row| {
        let connection = read(&row, store)?;
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

/// Writes a changed connection; a secret in `spec` replaces the stored one, none keeps it. Switching it off ends
/// the sessions and grants of its people for good.
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
        "UPDATE connections SET name = $1, spec = $2, secret_expires_at = $3, version = version + 1 \
         WHERE id = $4 AND version = $5",
    );
    let sql = sql
        .bind(spec.name.as_str())
        .bind(json(&spec)?)
        .bind(spec.client_secret_expires_at)
        .bind(id)
        .bind(connection.version);
    tx.run_fresh(sql).await?;
    if spec.enabled != connection.spec.enabled {
        ending::end(tx, Switched::Connection(id)).await?;
    }
    // What only accounts to come will see concerns none that is there.
    let of_today = ConnectionSpec {
        bind_new_accounts: connection.spec.bind_new_accounts,
        new_account_mode: connection.spec.new_account_mode,
        new_account_claims: connection.spec.new_account_claims.clone(),
        ..spec.clone()
    };
    if of_today != connection.spec {
        tx.changed(of(connection));
    }
    Ok(Connection {
        warnings: warnings(
            (id, &spec),
            tx.store.inner.directory.control_url(),
            connection.last_error.as_deref(),
            tx.now(),
        ),
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
    for sql in [
        "DELETE FROM connection_health WHERE connection = $1",
        "DELETE FROM connection_trials WHERE connection = $1",
    ] {
        tx.run(Sql::new(sql).bind(&connection.id)).await?;
    }
    let sql = Sql::new("DELETE FROM connections WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&connection.id).bind(connection.version))
        .await?;
    tx.changed(of(connection));
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
