//! Service tokens: machines' credentials. Secrets are stored as SHA-256; after a rotation the one before
//! stays good for a while.

use crate::sql::{Paging, Row, Run, Sql, opt};
use crate::{Change, Error, MintedSecret, Result, SecretForm, Tx};
use aws_lc_rs::constant_time;
use std::collections::HashSet;
use wire::{
    AccountId, AppId, OrgId, ServiceToken, ServiceTokenId, ServiceTokenSpec, ServiceTokenWarning, Timestamp,
};

/// The form of secrets.
pub const SECRET: SecretForm = SecretForm::new("chs_");
/// For so long before the end the resource says so, in seconds.
const SOON: i64 = 30 * 86_400;
/// At most one use in so many seconds is written.
const USE_EVERY: i64 = 60;

fn read(row: &Row, now: Timestamp) -> Result<ServiceToken> {
    let spec = ServiceTokenSpec {
        name: row.text("name")?,
        expires_at: row.opt_time("expires_at")?,
        enabled: row.flag("enabled")?,
    };
    let warning = match spec.expires_at {
        None => Some(ServiceTokenWarning::NeverExpires),
        Some(at) if at <= now => Some(ServiceTokenWarning::Expired),
        Some(at) if at <= now.plus_seconds(SOON) => Some(ServiceTokenWarning::ExpiresSoon),
        Some(_) => None,
    };
    Ok(ServiceToken {
        id: row.id("id")?,
        account: row.id("account")?,
        secret_prefix: row.text("prefix")?,
        rotated_at: row.time("rotated_at")?,
        previous_valid_until: row.opt_time("previous_until")?.filter(|until| now < *until),
        last_used_at: row.opt_time("last_used_at")?,
        last_used_ip: row.opt_text("last_used_ip")?,
        last_used_app: row.opt_id("last_used_app")?,
        warnings: warning.into_iter().collect(),
        created_at: row.time("created_at")?,
        version: row.int("version")?,
        spec,
    })
}

/// Makes one.
///
/// # Errors
/// `Conflict` when the name is taken in the account.
pub async fn create(
    tx: &mut Tx,
    (org, account): (&OrgId, &AccountId),
    spec: ServiceTokenSpec,
    secret: &MintedSecret,
) -> Result<ServiceToken> {
    let id = ServiceTokenId::fresh();
    let values = [
        ("id", (&id).into()),
        ("org", org.into()),
        ("account", account.into()),
        ("name", spec.name.as_str().into()),
        ("enabled", spec.enabled.into()),
        ("expires_at", spec.expires_at.into()),
        ("hash", secret.hash.as_str().into()),
        ("prefix", secret.prefix.as_str().into()),
        ("rotated_at", tx.now().into()),
        ("created_at", tx.now().into()),
        ("version", 1.into()),
    ];
    tx.run(Sql::insert("service_tokens", values)).await?;
    let now = tx.now();
    load(tx, org, &id, now).await
}

async fn load(db: impl Run, org: &OrgId, id: &ServiceTokenId, now: Timestamp) -> Result<ServiceToken> {
    let sql = Sql::new(select!(service_tokens, "WHERE org = $1 AND id = $2"));
    let row = opt(db, sql.bind(org).bind(id)).await?;
    read(&row.ok_or(Error::NotFound("service token"))?, now)
}

/// One.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &crate::Store, org: &OrgId, id: &ServiceTokenId) -> Result<ServiceToken> {
    load(store, org, id, store.clock().now()).await
}

/// Those of an organisation, of some accounts if given.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut store: &crate::Store,
    org: &OrgId,
    accounts: Option<&[AccountId]>,
    page: &Paging<ServiceTokenId>,
) -> Result<Vec<ServiceToken>> {
    let sql = Sql::new(select!(service_tokens, "WHERE org = $1"))
        .bind(org)
        .and_in("account", accounts)
        .page(page);
    let now = store.clock().now();
    let rows = store.rows(sql).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

/// Which of some an account has.
///
/// # Errors
/// When the database does not answer.
pub async fn some_of(
    mut db: impl Run,
    org: &OrgId,
    account: &AccountId,
    ids: &[ServiceTokenId],
) -> Result<HashSet<ServiceTokenId>> {
    let mut found = HashSet::new();
    for ids in ids.chunks(500) {
        let sql = Sql::new("SELECT id FROM service_tokens WHERE org = $1 AND account = $2");
        let sql = sql.bind(org).bind(account).and_in("id", Some(ids));
        for row in db.rows(sql).await? {
            found.insert(row.id("id")?);
        }
    }
    Ok(found)
}

/// Writes a changed one.
///
/// # Errors
/// `Stale` when its version is not the stored one, `Conflict` when the name is taken.
pub async fn update(tx: &mut Tx, token: &ServiceToken, spec: ServiceTokenSpec) -> Result<ServiceToken> {
    let sql = Sql::new(concat!(
        "UPDATE service_tokens SET name = $1, enabled = $2, expires_at = $3, version = version + 1 \
         WHERE id = $4 AND version = $5 RETURNING ",
        service_tokens!()
    ))
    .bind(spec.name)
    .bind(spec.enabled)
    .bind(spec.expires_at)
    .bind(&token.id)
    .bind(token.version);
    changed(tx, &token.id, sql).await
}

/// Gives it another secret; the one of until now is good for `overlap` more seconds.
///
/// # Errors
/// `Stale` when its version is not the stored one.
pub async fn rotate(
    tx: &mut Tx,
    token: &ServiceToken,
    secret: &MintedSecret,
    overlap: u32,
) -> Result<ServiceToken> {
    let now = tx.now();
    let until = (overlap > 0).then(|| now.plus_seconds(overlap.into()));
    let sql = Sql::new(concat!(
        "UPDATE service_tokens SET previous_hash = CASE WHEN $1 IS NULL THEN NULL ELSE hash END, \
         previous_until = $1, hash = $2, prefix = $3, rotated_at = $4, version = version + 1 \
         WHERE id = $5 AND version = $6 RETURNING ",
        service_tokens!()
    ))
    .bind(until)
    .bind(secret.hash.as_str())
    .bind(secret.prefix.as_str())
    .bind(now)
    .bind(&token.id)
    .bind(token.version);
    changed(tx, &token.id, sql).await
}

async fn changed(tx: &mut Tx, id: &ServiceTokenId, sql: Sql) -> Result<ServiceToken> {
    let row = opt(&mut *tx, sql).await?.ok_or(Error::Stale)?;
    tx.changed(Change::ServiceToken(id.clone()));
    read(&row, tx.now())
}

/// Ends it.
///
/// # Errors
/// `Stale` when its version is not the stored one.
pub async fn delete(tx: &mut Tx, token: &ServiceToken) -> Result<()> {
    let sql = Sql::new("DELETE FROM service_tokens WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&token.id).bind(token.version)).await?;
    tx.changed(Change::ServiceToken(token.id.clone()));
    Ok(())
}

/// Takes all secrets away: each needs a new one. Says of which tokens.
pub(crate) async fn void(tx: &mut Tx) -> Result<Vec<Row>> {
    let ids = (&mut *tx)
        .rows(Sql::new("SELECT id FROM service_tokens ORDER BY id"))
        .await?;
    let mut voided = Vec::with_capacity(ids.len());
    for id in ids {
        // What nobody has ever seen.
        let secret = SECRET.mint()?;
        let sql = Sql::new(
            "UPDATE service_tokens SET hash = $1, prefix = $2, previous_hash = NULL, previous_until = NULL, \
             rotated_at = $3, version = version + 1 WHERE id = $4 RETURNING id, org, account, name",
        );
        let sql = sql.bind(secret.hash.as_str()).bind(secret.prefix.as_str());
        let sql = sql.bind(tx.now()).bind(id.text("id")?);
        voided.extend((&mut *tx).rows(sql).await?);
    }
    Ok(voided)
}

/// A token that a secret proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Which.
    pub id: ServiceTokenId,
    /// Whose.
    pub org: OrgId,
    /// For whose apps.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// When this secret ends by itself.
    pub until: Option<Timestamp>,
}

/// What became of an attempt to prove a token.
#[derive(Debug)]
pub enum Attempt {
    /// It is good.
    Proven(Proven),
    /// There is such a token, but it is disabled, over, or has another secret.
    Wrong,
    /// There is none of that identifier.
    Unknown,
}

/// Tries a secret, given by its hash.
///
/// # Errors
/// When the database does not answer.
pub async fn prove(db: impl Run, id: &ServiceTokenId, hash: &str, now: Timestamp) -> Result<Attempt> {
    let row = opt(db, Sql::new(select!(service_tokens, "WHERE id = $1")).bind(id)).await?;
    let Some(row) = row else {
        return Ok(Attempt::Unknown);
    };
    let same =
        |stored: &str| constant_time::verify_slices_are_equal(stored.as_bytes(), hash.as_bytes()).is_ok();
    let ends = row.opt_time("expires_at")?;
    let previous = row
        .opt_text("previous_hash")?
        .zip(row.opt_time("previous_until")?);
    // Both are compared, whatever comes of the first.
    let is_current = same(&row.text("hash")?);
    let is_previous = previous.as_ref().is_some_and(|(stored, _)| same(stored));
    let until = match previous {
        _ if is_current => ends,
        Some((_, until)) if is_previous => Some(ends.map_or(until, |ends| ends.min(until))),
        _ => return Ok(Attempt::Wrong),
    };
    if !row.flag("enabled")? || until.is_some_and(|until| until <= now) {
        return Ok(Attempt::Wrong);
    }
    Ok(Attempt::Proven(Proven {
        id: row.id("id")?,
        org: row.id("org")?,
        account: row.id("account")?,
        name: row.text("name")?,
        until,
    }))
}

/// Notes a use, at most once a minute over all instances.
///
/// # Errors
/// When the database does not answer.
pub async fn note_use(tx: &mut Tx, id: &ServiceTokenId, ip: Option<&str>, app: &AppId) -> Result<()> {
    let now = tx.now();
    let sql = Sql::new(
        "UPDATE service_tokens SET last_used_at = $1, last_used_ip = $2, last_used_app = $3 \
         WHERE id = $4 AND (last_used_at IS NULL OR last_used_at <= $5)",
    )
    .bind(now)
    .bind(ip)
    .bind(app)
    .bind(id)
    .bind(now.plus_seconds(-USE_EVERY));
    tx.run(sql).await.map(drop)
}
