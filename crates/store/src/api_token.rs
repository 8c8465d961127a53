//! API tokens: credentials for automation, stored as SHA-256.

use crate::sql::{Paging, Row, Run, Sql, json, opt};
use crate::{Error, Result, Tx};
use wire::{ApiToken, ApiTokenId, NewApiToken, OrgId, Timestamp, UserId};

fn read(row: &Row) -> Result<ApiToken> {
    Ok(ApiToken {
        id: row.id("id")?,
        name: row.text("name")?,
        owner: row.id("owner")?,
        scopes: row.json("scopes")?,
        prefix: row.text("prefix")?,
        created_at: row.time("created_at")?,
        expires_at: row.opt_time("expires_at")?,
        last_used_at: row.opt_time("last_used_at")?,
    })
}

/// Stores a token by its hash.
///
/// # Errors
/// When the database does not answer.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    owner: &UserId,
    new: NewApiToken,
    (prefix, hash): (&str, &str),
) -> Result<ApiToken> {
    let token = ApiToken {
        id: ApiTokenId::fresh(),
        name: new.name,
        owner: owner.clone(),
        scopes: new.scopes,
        prefix: prefix.to_owned(),
        created_at: tx.now(),
        expires_at: new.expires_at,
        last_used_at: None,
    };
    let values = [
        ("id", (&token.id).into()),
        ("org", org.into()),
        ("owner", owner.into()),
        ("name", token.name.as_str().into()),
        ("scopes", json(&token.scopes)?),
        ("prefix", prefix.into()),
        ("hash", hash.into()),
        ("created_at", token.created_at.into()),
        ("expires_at", token.expires_at.into()),
    ];
    tx.run(Sql::insert("api_tokens", values)).await?;
    Ok(token)
}

/// The live token of a hash and its organisation; its owner is not disabled.
///
/// # Errors
/// When the database does not answer.
pub async fn by_hash(db: impl Run, hash: &str, now: Timestamp) -> Result<Option<(OrgId, ApiToken)>> {
    let sql = Sql::new(
        "SELECT t.* FROM api_tokens t JOIN users u ON u.id = t.owner \
         WHERE t.hash = $1 AND (t.expires_at IS NULL OR t.expires_at > $2) AND u.disabled = $3",
    );
    let row = opt(db, sql.bind(hash).bind(now).bind(false)).await?;
    row.map(|row| Ok((row.id("org")?, read(&row)?))).transpose()
}

/// Tokens of an organisation, of one owner if given.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    owner: Option<&UserId>,
    page: &Paging<ApiTokenId>,
) -> Result<Vec<ApiToken>> {
    let sql = Sql::new("SELECT * FROM api_tokens WHERE org = $1")
        .bind(org)
        .and("owner =", owner)
        .page(page);
    db.rows(sql).await?.iter().map(read).collect()
}

/// One token.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &ApiTokenId) -> Result<ApiToken> {
    let row = opt(
        db,
        Sql::new("SELECT * FROM api_tokens WHERE id = $1 AND org = $2")
            .bind(id)
            .bind(org),
    )
    .await?;
    read(&row.ok_or(Error::NotFound("API token"))?)
}

/// Notes a use, at most once a minute.
///
/// # Errors
/// When the database does not answer.
pub async fn note_use(tx: &mut Tx, id: &ApiTokenId) -> Result<()> {
    let sql = Sql::new("UPDATE api_tokens SET last_used_at = $1 WHERE id = $2")
        .bind(tx.now())
        .bind(id);
    tx.run(sql).await.map(drop)
}

/// Ends a token.
///
/// # Errors
/// `Stale` when it is gone already.
pub async fn delete(tx: &mut Tx, token: &ApiToken) -> Result<()> {
    tx.run_fresh(Sql::new("DELETE FROM api_tokens WHERE id = $1").bind(&token.id))
        .await
}
