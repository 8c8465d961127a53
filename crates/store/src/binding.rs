//! Bindings: which connection signs people in to which account.

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Change, Error, Result, Tx};
use wire::{AccountId, Binding, BindingId, BindingSpec, ConnectionId, OrgId};

pub(crate) fn read(row: &Row) -> Result<Binding> {
    let claims = row.opt_text("claims")?;
    let claims = claims
        .map(|text| serde_json::from_str(&text).map_err(Error::internal))
        .transpose()?;
    Ok(Binding {
        id: row.id("id")?,
        connection: row.id("connection")?,
        account: row.id("account")?,
        spec: BindingSpec {
            mode: row.word("mode")?,
            state: row.word("state")?,
            drain_until: row.opt_time("drain_until")?,
            claims,
        },
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

fn claims(spec: &BindingSpec) -> Result<crate::sql::Arg> {
    spec.claims.as_ref().map_or(Ok(None::<&str>.into()), json)
}

/// Binds a connection to an account.
///
/// # Errors
/// `Conflict` when it is bound there already.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    (connection, account): (&ConnectionId, &AccountId),
    spec: BindingSpec,
) -> Result<Binding> {
    let binding = Binding {
        id: BindingId::fresh(),
        connection: connection.clone(),
        account: account.clone(),
        spec,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&binding.id).into()),
        ("org", org.into()),
        ("connection", connection.into()),
        ("account", account.into()),
        ("mode", word(binding.spec.mode)?.into()),
        ("state", word(binding.spec.state)?.into()),
        ("drain_until", binding.spec.drain_until.into()),
        ("claims", claims(&binding.spec)?),
        ("created_at", binding.created_at.into()),
        ("version", binding.version.into()),
    ];
    tx.run(Sql::insert("bindings", values)).await?;
    tx.changed(Change::Account(account.clone()));
    Ok(binding)
}

/// Bindings of an organisation, of one connection or one account if given; `only` narrows them to
/// accounts that the caller may see.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    (connection, account): (Option<&ConnectionId>, Option<&AccountId>),
    only: Option<&[AccountId]>,
    page: &Paging<BindingId>,
) -> Result<Vec<Binding>> {
    let sql = Sql::new("SELECT * FROM bindings WHERE org = $1")
        .bind(org)
        .and("connection =", connection)
        .and("account =", account)
        .and_in("account", only);
    db.rows(sql.page(page)).await?.iter().map(read).collect()
}

/// One binding.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &BindingId) -> Result<Binding> {
    let row = opt(
        db,
        Sql::new("SELECT * FROM bindings WHERE id = $1 AND org = $2")
            .bind(id)
            .bind(org),
    )
    .await?;
    read(&row.ok_or(Error::NotFound("binding"))?)
}

/// Writes a changed binding.
///
/// # Errors
/// `Stale` when `binding.version` is not the stored one.
pub async fn update(tx: &mut Tx, binding: &Binding, spec: BindingSpec) -> Result<Binding> {
    let sql = Sql::new(
        "UPDATE bindings SET mode = $1, state = $2, drain_until = $3, claims = $4, version = version + 1 \
         WHERE id = $5 AND version = $6",
    );
    let sql = sql
        .bind(word(spec.mode)?)
        .bind(word(spec.state)?)
        .bind(spec.drain_until)
        .bind(claims(&spec)?);
    tx.run_fresh(sql.bind(&binding.id).bind(binding.version)).await?;
    tx.changed(Change::Account(binding.account.clone()));
    Ok(Binding {
        spec,
        version: binding.version + 1,
        ..binding.clone()
    })
}

/// Takes a binding away at once.
///
/// # Errors
/// `Stale` when `binding.version` is not the stored one.
pub async fn delete(tx: &mut Tx, binding: &Binding) -> Result<()> {
    let sql = Sql::new("DELETE FROM bindings WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&binding.id).bind(binding.version)).await?;
    tx.changed(Change::Account(binding.account.clone()));
    Ok(())
}
