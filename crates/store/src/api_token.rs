//! API tokens: credentials for automation, of a person or of an account, stored as SHA-256.

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Error, Result, Tx};
use wire::{AccountId, ApiToken, ApiTokenId, ApiTokenSpec, NewApiToken, OrgId, Role, Timestamp, UserId};

fn read(row: &Row) -> Result<ApiToken> {
    let role = match row.opt_text("role")? {
        Some(_) => Some(row.word::<Role>("role")?),
        None => None,
    };
    Ok(ApiToken {
        id: row.id("id")?,
        spec: ApiTokenSpec {
            name: row.text("name")?,
            expires_at: row.opt_time("expires_at")?,
            allowed_ips: row.json("allowed_ips")?,
        },
        owner: row.opt_id("owner")?,
        account: row.opt_id("account")?,
        role,
        scopes: row.json("scopes")?,
        prefix: row.text("prefix")?,
        created_by: row.opt_id("created_by")?,
        created_at: row.time("created_at")?,
        previous_until: row.opt_time("previous_until")?,
        last_used_at: row.opt_time("last_used_at")?,
        last_used_ip: row.opt_text("last_used_ip")?,
        version: row.int("version")?,
    })
}

/// Stores a token by its hash: of the account that `new` names, otherwise of `maker`.
///
/// # Errors
/// `Invalid` when account and role do not fit, or when there is neither account nor maker.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    maker: Option<&UserId>,
    new: NewApiToken,
    (prefix, hash): (&str, &str),
) -> Result<ApiToken> {
    match (&new.account, new.role) {
        (Some(_), Some(role)) if role.is_account_role() => {}
        (Some(_), _) => return Err(Error::invalid("/role", "a role in the account is needed")),
        (None, Some(_)) => {
            let detail = "only for a token of an account; others have their person's roles";
            return Err(Error::invalid("/role", detail));
        }
        (None, None) if maker.is_none() => return Err(Error::invalid("/account", "needed here")),
        (None, None) => {}
    }
    let token = ApiToken {
        id: ApiTokenId::fresh(),
        owner: maker.filter(|_| new.account.is_none()).cloned(),
        account: new.account,
        role: new.role,
        scopes: new.scopes,
        prefix: prefix.to_owned(),
        created_by: maker.cloned(),
        created_at: tx.now(),
        previous_until: None,
        last_used_at: None,
        last_used_ip: None,
        version: 1,
        spec: ApiTokenSpec {
            name: new.name,
            expires_at: new.expires_at,
            allowed_ips: new.allowed_ips,
        },
    };
    let values = [
        ("id", (&token.id).into()),
        ("org", org.into()),
        ("owner", token.owner.as_ref().into()),
        ("account", token.account.as_ref().into()),
        ("role", token.role.map(word).transpose()?.into()),
        ("name", token.spec.name.as_str().into()),
        ("scopes", json(&token.scopes)?),
        ("allowed_ips", json(&token.spec.allowed_ips)?),
        ("prefix", prefix.into()),
        ("hash", hash.into()),
        ("created_by", token.created_by.as_ref().into()),
        ("created_at", token.created_at.into()),
        ("expires_at", token.spec.expires_at.into()),
        ("version", token.version.into()),
    ];
    tx.run(Sql::insert("api_tokens", values)).await?;
    Ok(token)
}

/// Of a connection's settings, what its people's tokens depend on.
#[derive(serde::Deserialize)]
struct OfOwner {
    enabled: bool,
}

/// The live token of a hash and its organisation; neither its owner nor their connection is disabled, its account
/// is enabled.
///
/// # Errors
/// When the database does not answer.
pub async fn by_hash(db: impl Run, hash: &str, now: Timestamp) -> Result<Option<(OrgId, ApiToken)>> {
    let sql = Sql::new(concat!(
        "SELECT ",
        api_tokens!("t"),
        ", c.spec AS connection_spec FROM api_tokens t LEFT JOIN users u ON u.id = t.owner \
         LEFT JOIN connections c ON c.id = u.connection LEFT JOIN accounts a ON a.id = t.account \
         WHERE (t.hash = $1 OR (t.previous_hash = $1 AND t.previous_until > $2)) \
         AND (t.expires_at IS NULL OR t.expires_at > $2) AND (u.disabled = $3 OR a.enabled = $4)"
    ));
    let row = opt(db, sql.bind(hash).bind(now).bind(false).bind(true)).await?;
    let Some(row) = row else { return Ok(None) };
    let token = read(&row)?;
    if token.owner.is_some() && !row.json::<OfOwner>("connection_spec")?.enabled {
        return Ok(None);
    }
    Ok(Some((row.id("org")?, token)))
}

/// Which tokens are asked for.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    /// Only those of this person, and of these accounts; `None` for all.
    pub visible: Option<(Option<&'a UserId>, &'a [AccountId])>,
    /// Only of this account.
    pub account: Option<&'a AccountId>,
    /// Only of this person.
    pub owner: Option<&'a UserId>,
}

/// Tokens of an organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    filter: &Filter<'_>,
    page: &Paging<ApiTokenId>,
) -> Result<Vec<ApiToken>> {
    let mut sql = Sql::new(select!(api_tokens, "WHERE org = $1")).bind(org);
    if let Some((owner, accounts)) = filter.visible {
        let places: Vec<String> = (0..accounts.len()).map(|i| format!("${}", i + 3)).collect();
        let accounts_too = if places.is_empty() {
            String::new()
        } else {
            format!(" OR account IN ({})", places.join(", "))
        };
        sql = Sql::assembled(format!(
            "{}{accounts_too})",
            select!(api_tokens, "WHERE org = $1 AND (owner = $2")
        ));
        sql = sql.bind(org).bind(owner);
        for account in accounts {
            sql = sql.bind(account);
        }
    }
    let sql = sql
        .and("account =", filter.account)
        .and("owner =", filter.owner)
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
        Sql::new(select!(api_tokens, "WHERE id = $1 AND org = $2"))
            .bind(id)
            .bind(org),
    )
    .await?;
    read(&row.ok_or(Error::NotFound("API token"))?)
}

/// Writes a changed token.
///
/// # Errors
/// `Stale` when `token.version` is not the stored one.
pub async fn update(tx: &mut Tx, token: &ApiToken, spec: ApiTokenSpec) -> Result<ApiToken> {
    let sql = Sql::new(
        "UPDATE api_tokens SET name = $1, expires_at = $2, allowed_ips = $3, version = version + 1 \
         WHERE id = $4 AND version = $5",
    );
    let sql = sql
        .bind(spec.name.as_str())
        .bind(spec.expires_at)
        .bind(json(&spec.allowed_ips)?)
        .bind(&token.id)
        .bind(token.version);
    tx.run_fresh(sql).await?;
    Ok(ApiToken {
        spec,
        version: token.version + 1,
        ..token.clone()
    })
}

/// Gives a token a new secret. The old one goes on until `until`, if that is given; the one before the old
/// one ends at once.
///
/// # Errors
/// `Stale` when `token.version` is not the stored one.
pub async fn roll(
    tx: &mut Tx,
    token: &ApiToken,
    (prefix, hash): (&str, &str),
    until: Option<Timestamp>,
) -> Result<ApiToken> {
    let sql = Sql::new(
        "UPDATE api_tokens SET previous_hash = CASE WHEN $1 IS NULL THEN NULL ELSE hash END, \
         previous_until = $1, hash = $2, prefix = $3, version = version + 1 WHERE id = $4 AND version = $5",
    );
    let sql = sql
        .bind(until)
        .bind(hash)
        .bind(prefix)
        .bind(&token.id)
        .bind(token.version);
    tx.run_fresh(sql).await?;
    Ok(ApiToken {
        prefix: prefix.to_owned(),
        previous_until: until,
        version: token.version + 1,
        ..token.clone()
    })
}

/// Notes a use and where it came from; to be called at most once a minute.
///
/// # Errors
/// When the database does not answer.
pub async fn note_use(tx: &mut Tx, id: &ApiTokenId, ip: Option<&str>) -> Result<()> {
    let sql = Sql::new("UPDATE api_tokens SET last_used_at = $1, last_used_ip = $2 WHERE id = $3")
        .bind(tx.now())
        .bind(ip)
        .bind(id);
    tx.run(sql).await.map(drop)
}

/// Ends a token.
///
/// # Errors
/// `Stale` when `token.version` is not the stored one.
pub async fn delete(tx: &mut Tx, token: &ApiToken) -> Result<()> {
    let sql = Sql::new("DELETE FROM api_tokens WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&token.id).bind(token.version)).await
}
