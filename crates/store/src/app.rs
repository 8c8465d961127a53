//! Apps.

use crate::ending::{self, Switched};
use crate::grant::{self, Which};
use crate::sql::{Paging, Row, Run, Sql, json, opt};
use crate::{Change, Error, Result, Store, Tx, ended, host, split_public_url};
use wire::{AccountId, App, AppId, AppSpec, OrgId};

/// The issuer of an app: its own, so that a client which names no resource still means one app.
#[must_use]
pub fn issuer(control_url: &str, id: &AppId) -> String {
    format!("{control_url}/oauth/{id}")
}

pub(crate) fn read(row: &Row, control_url: &str) -> Result<App> {
    let id: AppId = row.id("id")?;
    Ok(App {
        issuer: issuer(control_url, &id),
        id,
        account: row.id("account")?,
        spec: row.json("spec")?,
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Makes an app.
///
/// # Errors
/// `Conflict` when its name is taken in the account or its public URL anywhere, or when its host is another
/// account's; `Invalid` for a bad URL.
pub async fn create(tx: &mut Tx, org: &OrgId, account: &AccountId, spec: AppSpec) -> Result<App> {
    let (authority, path) = split_public_url(&spec.public_url)?;
    let host = host::claim(tx, org, account, &authority).await?;
    let id = AppId::fresh();
    let app = App {
        issuer: issuer(tx.store.inner.directory.control_url(), &id),
        id,
        account: account.clone(),
        spec,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&app.id).into()),
        ("org", org.into()),
        ("account", account.into()),
        ("name", app.spec.name.as_str().into()),
        ("authority", authority.into()),
        ("path", path.into()),
        ("host", host.into()),
        ("spec", json(&app.spec)?),
        ("created_at", app.created_at.into()),
        ("version", app.version.into()),
    ];
    tx.run(Sql::insert("apps", values)).await?;
    tx.changed(Change::Account(account.clone()));
    Ok(app)
}

/// Apps of an organisation, of some accounts if given.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    store: &Store,
    org: &OrgId,
    accounts: Option<&[AccountId]>,
    page: &Paging<AppId>,
) -> Result<Vec<App>> {
    named(store, org, (accounts, None), page).await
}

/// The same, of those in whose names a text occurs.
///
/// # Errors
/// When the database does not answer.
pub async fn named(
    store: &Store,
    org: &OrgId,
    (accounts, q): (Option<&[AccountId]>, Option<&str>),
    page: &Paging<AppId>,
) -> Result<Vec<App>> {
    let sql = Sql::new(select!(apps, "WHERE org = $1"))
        .bind(org)
        .and_in("account", accounts)
        .and_contains("name", q)
        .page(page);
    let mut db = store;
    let control_url = store.inner.directory.control_url();
    db.rows(sql)
        .await?
        .iter()
        .map(|row| read(row, control_url))
        .collect()
}

/// One app.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &Store, org: &OrgId, id: &AppId) -> Result<App> {
    let row = opt(
        store,
        Sql::new(select!(apps, "WHERE id = $1 AND org = $2"))
            .bind(id)
            .bind(org),
    )
    .await?;
    read(
        &row.ok_or(Error::NotFound("app"))?,
        store.inner.directory.control_url(),
    )
}

/// Writes a changed app. What it was switched off for, or what agents can no longer sign in to, has ended for
/// good: sessions and grants, or grants.
///
/// # Errors
/// `Stale` when `app.version` is not the stored one, `Conflict` and `Invalid` as for [`create`].
pub async fn update(tx: &mut Tx, app: &App, spec: AppSpec) -> Result<App> {
    let (authority, path) = split_public_url(&spec.public_url)?;
    if spec.public_url != app.spec.public_url {
        let sql = Sql::new("SELECT org FROM apps WHERE id = $1").bind(&app.id);
        let org: OrgId = opt(&mut *tx, sql).await?.ok_or(Error::Stale)?.id("org")?;
        let host = host::claim(tx, &org, &app.account, &authority).await?;
        let sql = Sql::new("UPDATE apps SET host = $1 WHERE id = $2");
        tx.run(sql.bind(host).bind(&app.id)).await?;
    }
    let sql = Sql::new(
        "UPDATE apps SET name = $1, authority = $2, path = $3, spec = $4, version = version + 1 \
         WHERE id = $5 AND version = $6",
    );
    let sql = sql
        .bind(spec.name.as_str())
        .bind(authority)
        .bind(path)
        .bind(json(&spec)?)
        .bind(&app.id)
        .bind(app.version);
    tx.run_fresh(sql).await?;
    if spec.enabled != app.spec.enabled {
        ending::end(tx, Switched::App(&app.id)).await?;
    } else if app.spec.managed_oauth && !spec.managed_oauth {
        grant::revoke_where(tx, Which::App(&app.id), "managed_oauth_off").await?;
    }
    tx.changed(Change::Account(app.account.clone()));
    Ok(App {
        spec,
        version: app.version + 1,
        ..app.clone()
    })
}

/// Deletes an app with everything that hangs on it: grants, clients, sessions.
///
/// # Errors
/// `Stale` when `app.version` is not the stored one.
pub async fn delete(tx: &mut Tx, app: &App) -> Result<()> {
    const REASON: &str = "app_deleted";
    let id = &app.id;
    ended::grants(tx, REASON, |sql| sql.and("app =", Some(id))).await?;
    ended::sessions(tx, REASON, |sql| sql.and("app =", Some(id))).await?;
    for sql in [
        "DELETE FROM codes WHERE grant_id IN (SELECT id FROM grants WHERE app = $1)",
        "DELETE FROM refresh_tokens WHERE grant_id IN (SELECT id FROM grants WHERE app = $1)",
        "DELETE FROM grants WHERE app = $1",
        "DELETE FROM clients WHERE app = $1",
        "DELETE FROM handoffs WHERE app = $1",
    ] {
        tx.run(Sql::new(sql).bind(id)).await?;
    }
    tx.run_fresh(
        Sql::new("DELETE FROM apps WHERE id = $1 AND version = $2")
            .bind(id)
            .bind(app.version),
    )
    .await?;
    tx.changed(Change::Account(app.account.clone()));
    Ok(())
}
