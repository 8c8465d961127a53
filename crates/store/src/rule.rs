//! Groups and policies: both belong to one account, have a unique name there and a spec in JSON.

use crate::sql::{Paging, Row, Run, Sql, json, opt};
use crate::{Change, Error, Result, Tx};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use wire::{AccountId, Group, GroupId, GroupSpec, Id, OrgId, Policy, PolicyId, PolicySpec, Timestamp};

/// A policy or a group.
pub trait Rule: Clone + Send + Sync {
    /// Its identifier.
    type Id: Id + Eq + std::hash::Hash + Send + Sync;
    /// Its writable part.
    type Spec: Serialize + DeserializeOwned + Clone + Send + Sync;
    #[doc(hidden)]
    const SQL: Statements;
    /// Puts the parts together.
    fn assemble(
        id: Self::Id,
        account: AccountId,
        spec: Self::Spec,
        created_at: Timestamp,
        version: i64,
    ) -> Self;
    /// A fresh identifier.
    fn fresh_id() -> Self::Id;
    /// Its identifier.
    fn id(&self) -> &Self::Id;
    /// Its account.
    fn account(&self) -> &AccountId;
    /// Its version.
    fn version(&self) -> i64;
    /// The name in a spec.
    fn name(spec: &Self::Spec) -> &str;
}

#[doc(hidden)]
pub struct Statements {
    noun: &'static str,
    table: &'static str,
    list: &'static str,
    get: &'static str,
    update: &'static str,
    delete: &'static str,
}

macro_rules! rule {
    ($kind:ty, $id:ty, $spec:ty, $noun:literal, $table:ident) => {
        impl Rule for $kind {
            type Id = $id;
            type Spec = $spec;
            const SQL: Statements = Statements {
                noun: $noun,
                table: stringify!($table),
                list: select!($table, "WHERE org = $1"),
                get: select!($table, "WHERE org = $1 AND id = $2"),
                update: concat!(
                    "UPDATE ",
                    stringify!($table),
                    " SET name = $1, spec = $2, version = version + 1 WHERE id = $3 AND version = $4"
                ),
                delete: concat!(
                    "DELETE FROM ",
                    stringify!($table),
                    " WHERE id = $1 AND version = $2"
                ),
            };
            fn assemble(
                id: $id,
                account: AccountId,
                spec: $spec,
                created_at: Timestamp,
                version: i64,
            ) -> Self {
                Self {
                    id,
                    account,
                    spec,
                    created_at,
                    version,
                }
            }
            fn fresh_id() -> $id {
                <$id>::fresh()
            }
            fn id(&self) -> &$id {
                &self.id
            }
            fn account(&self) -> &AccountId {
                &self.account
            }
            fn version(&self) -> i64 {
                self.version
            }
            fn name(spec: &$spec) -> &str {
                &spec.name
            }
        }
    };
}

rule!(Policy, PolicyId, PolicySpec, "policy", policies);
rule!(Group, GroupId, GroupSpec, "group", user_groups);

pub(crate) fn read<R: Rule>(row: &Row) -> Result<R> {
    let (id, account) = (row.id("id")?, row.id("account")?);
    Ok(R::assemble(
        id,
        account,
        row.json("spec")?,
        row.time("created_at")?,
        row.int("version")?,
    ))
}

/// Makes one.
///
/// # Errors
/// `Conflict` when the name is taken in the account.
pub async fn create<R: Rule>(tx: &mut Tx, org: &OrgId, account: &AccountId, spec: R::Spec) -> Result<R> {
    let id = R::fresh_id();
    let values = [
        ("id", (&id).into()),
        ("org", org.into()),
        ("account", account.into()),
        ("name", R::name(&spec).into()),
        ("spec", json(&spec)?),
        ("created_at", tx.now().into()),
        ("version", 1.into()),
    ];
    tx.run(Sql::insert(R::SQL.table, values)).await?;
    tx.changed(Change::Account(account.clone()));
    Ok(R::assemble(id, account.clone(), spec, tx.now(), 1))
}

/// Those of an organisation, of some accounts if given.
///
/// # Errors
/// When the database does not answer.
pub async fn list<R: Rule>(
    db: impl Run,
    org: &OrgId,
    accounts: Option<&[AccountId]>,
    page: &Paging<R::Id>,
) -> Result<Vec<R>> {
    named(db, org, (accounts, None), page).await
}

/// The same, of those in whose names a text occurs.
///
/// # Errors
/// When the database does not answer.
pub async fn named<R: Rule>(
    mut db: impl Run,
    org: &OrgId,
    (accounts, q): (Option<&[AccountId]>, Option<&str>),
    page: &Paging<R::Id>,
) -> Result<Vec<R>> {
    let sql = Sql::new(R::SQL.list)
        .bind(org)
        .and_in("account", accounts)
        .and_contains("name", q)
        .page(page);
    db.rows(sql).await?.iter().map(read).collect()
}

/// Some, by their identifiers; those that are not there are left out.
///
/// # Errors
/// When the database does not answer.
pub async fn some<R: Rule>(mut db: impl Run, org: &OrgId, ids: &[R::Id]) -> Result<HashMap<R::Id, R>> {
    let mut found = HashMap::new();
    for ids in ids.chunks(500) {
        for row in db
            .rows(Sql::new(R::SQL.list).bind(org).and_in("id", Some(ids)))
            .await?
        {
            let rule: R = read(&row)?;
            found.insert(rule.id().clone(), rule);
        }
    }
    Ok(found)
}

/// One.
///
/// # Errors
/// `NotFound`.
pub async fn get<R: Rule>(db: impl Run, org: &OrgId, id: &R::Id) -> Result<R> {
    let row = opt(db, Sql::new(R::SQL.get).bind(org).bind(id)).await?;
    read(&row.ok_or(Error::NotFound(R::SQL.noun))?)
}

/// Writes a changed one.
///
/// # Errors
/// `Stale` when its version is not the stored one, `Conflict` when the name is taken.
pub async fn update<R: Rule>(tx: &mut Tx, rule: &R, spec: R::Spec) -> Result<R> {
    let sql = Sql::new(R::SQL.update).bind(R::name(&spec)).bind(json(&spec)?);
    let created_at = {
        let sql = sql
            .bind(rule.id())
            .bind(rule.version())
            .then(" RETURNING created_at");
        opt(&mut *tx, sql)
            .await?
            .ok_or(Error::Stale)?
            .time("created_at")?
    };
    tx.changed(Change::Account(rule.account().clone()));
    Ok(R::assemble(
        rule.id().clone(),
        rule.account().clone(),
        spec,
        created_at,
        rule.version() + 1,
    ))
}

/// Deletes one. The caller has made sure that nothing refers to it.
///
/// # Errors
/// `Stale` when its version is not the stored one.
pub async fn delete<R: Rule>(tx: &mut Tx, rule: &R) -> Result<()> {
    tx.run_fresh(Sql::new(R::SQL.delete).bind(rule.id()).bind(rule.version()))
        .await?;
    tx.changed(Change::Account(rule.account().clone()));
    Ok(())
}
