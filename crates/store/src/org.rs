//! Organisations, accounts, members.

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Change, Error, Result, Tx};
use wire::{
    Account, AccountId, AccountSpec, Member, MemberId, NewMember, OrgId, Organisation, OrganisationSpec,
    Role, UserId,
};

/// Makes an organisation and the head of its audit log.
///
/// # Errors
/// `Conflict` when the slug is taken.
pub async fn create(tx: &mut Tx, slug: &str, spec: OrganisationSpec) -> Result<Organisation> {
    let org = Organisation {
        id: OrgId::fresh(),
        slug: slug.to_owned(),
        spec,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&org.id).into()),
        ("slug", slug.into()),
        ("spec", json(&org.spec)?),
        ("created_at", org.created_at.into()),
        ("version", org.version.into()),
    ];
    tx.run(Sql::insert("organisations", values)).await?;
    let head = [("org", (&org.id).into()), ("seq", 0.into()), ("hash", "".into())];
    tx.run(Sql::insert("audit_heads", head)).await?;
    tx.changed(Change::Config);
    Ok(org)
}

fn read(row: &Row) -> Result<Organisation> {
    Ok(Organisation {
        id: row.id("id")?,
        slug: row.text("slug")?,
        spec: row.json("spec")?,
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// All organisations of this server, by age.
///
/// # Errors
/// When the database does not answer.
pub async fn all(mut db: impl Run) -> Result<Vec<Organisation>> {
    db.rows(Sql::new("SELECT * FROM organisations ORDER BY id"))
        .await?
        .iter()
        .map(read)
        .collect()
}

/// One organisation.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, id: &OrgId) -> Result<Organisation> {
    let row = opt(db, Sql::new("SELECT * FROM organisations WHERE id = $1").bind(id)).await?;
    read(&row.ok_or(Error::NotFound("organisation"))?)
}

/// Writes a changed organisation.
///
/// # Errors
/// `Stale` when `org.version` is not the stored one.
pub async fn update(tx: &mut Tx, org: &Organisation, spec: OrganisationSpec) -> Result<Organisation> {
    let sql =
        Sql::new("UPDATE organisations SET spec = $1, version = version + 1 WHERE id = $2 AND version = $3");
    tx.run_fresh(sql.bind(json(&spec)?).bind(&org.id).bind(org.version))
        .await?;
    tx.changed(Change::Config);
    Ok(Organisation {
        spec,
        version: org.version + 1,
        ..org.clone()
    })
}

/// Makes an account.
///
/// # Errors
/// `Conflict` when the name is taken.
pub async fn create_account(tx: &mut Tx, org: &OrgId, spec: AccountSpec) -> Result<Account> {
    let account = Account {
        id: AccountId::fresh(),
        spec,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&account.id).into()),
        ("org", org.into()),
        ("name", account.spec.name.as_str().into()),
        ("enabled", account.spec.enabled.into()),
        ("created_at", account.created_at.into()),
        ("version", account.version.into()),
    ];
    tx.run(Sql::insert("accounts", values)).await?;
    tx.changed(Change::Config);
    Ok(account)
}

pub(crate) fn read_account(row: &Row) -> Result<Account> {
    Ok(Account {
        id: row.id("id")?,
        spec: AccountSpec {
            name: row.text("name")?,
            enabled: row.flag("enabled")?,
        },
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Accounts of an organisation; `only` narrows them to those that the caller may see.
///
/// # Errors
/// When the database does not answer.
pub async fn accounts(
    mut db: impl Run,
    org: &OrgId,
    only: Option<&[AccountId]>,
    page: &Paging<AccountId>,
) -> Result<Vec<Account>> {
    let sql = Sql::new("SELECT * FROM accounts WHERE org = $1")
        .bind(org)
        .and_in("id", only)
        .page(page);
    db.rows(sql).await?.iter().map(read_account).collect()
}

/// One account.
///
/// # Errors
/// `NotFound`.
pub async fn account(db: impl Run, org: &OrgId, id: &AccountId) -> Result<Account> {
    let row = opt(
        db,
        Sql::new("SELECT * FROM accounts WHERE id = $1 AND org = $2")
            .bind(id)
            .bind(org),
    )
    .await?;
    read_account(&row.ok_or(Error::NotFound("account"))?)
}

/// Writes a changed account.
///
/// # Errors
/// `Stale` when `account.version` is not the stored one, `Conflict` when the name is taken.
pub async fn update_account(tx: &mut Tx, account: &Account, spec: AccountSpec) -> Result<Account> {
    let sql = Sql::new(
        "UPDATE accounts SET name = $1, enabled = $2, version = version + 1 WHERE id = $3 AND version = $4",
    );
    let sql = sql
        .bind(spec.name.as_str())
        .bind(spec.enabled)
        .bind(&account.id)
        .bind(account.version);
    tx.run_fresh(sql).await?;
    tx.changed(Change::Config);
    Ok(Account {
        spec,
        version: account.version + 1,
        ..account.clone()
    })
}

/// Deletes an empty account; its bindings and account roles go with it.
///
/// # Errors
/// `Conflict` while it owns apps, policies, groups or connections.
pub async fn delete_account(tx: &mut Tx, account: &Account) -> Result<()> {
    tx.run(Sql::new("DELETE FROM bindings WHERE account = $1").bind(&account.id))
        .await?;
    tx.run(Sql::new("DELETE FROM members WHERE account = $1").bind(&account.id))
        .await?;
    let sql = Sql::new("DELETE FROM accounts WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&account.id).bind(account.version)).await?;
    tx.changed(Change::Config);
    Ok(())
}

fn read_member(row: &Row) -> Result<Member> {
    Ok(Member {
        id: row.id("id")?,
        user: row.id("user_id")?,
        account: row.opt_id("account")?,
        role: row.word("role")?,
        created_at: row.time("created_at")?,
    })
}

/// Gives a person a role.
///
/// # Errors
/// `Invalid` when role and account do not fit, `Conflict` when the person has it already.
pub async fn add_member(tx: &mut Tx, org: &OrgId, new: NewMember) -> Result<Member> {
    if new.role.is_account_role() != new.account.is_some() {
        let detail = "account roles need an account, organisation roles have none";
        return Err(Error::invalid("/account", detail));
    }
    let member = Member {
        id: MemberId::fresh(),
        user: new.user,
        account: new.account,
        role: new.role,
        created_at: tx.now(),
    };
    let values = [
        ("id", (&member.id).into()),
        ("org", org.into()),
        ("user_id", (&member.user).into()),
        (
            "account",
            member
                .account
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
                .into(),
        ),
        ("role", word(member.role)?.into()),
        ("created_at", member.created_at.into()),
    ];
    tx.run(Sql::insert("members", values)).await?;
    Ok(member)
}

/// Members of an organisation; `only` narrows them to roles in accounts that the caller may see.
///
/// # Errors
/// When the database does not answer.
pub async fn members(
    mut db: impl Run,
    org: &OrgId,
    only: Option<&[AccountId]>,
    page: &Paging<MemberId>,
) -> Result<Vec<Member>> {
    let sql = Sql::new("SELECT * FROM members WHERE org = $1")
        .bind(org)
        .and_in("account", only)
        .page(page);
    db.rows(sql).await?.iter().map(read_member).collect()
}

/// One member.
///
/// # Errors
/// `NotFound`.
pub async fn member(db: impl Run, org: &OrgId, id: &MemberId) -> Result<Member> {
    let row = opt(
        db,
        Sql::new("SELECT * FROM members WHERE id = $1 AND org = $2")
            .bind(id)
            .bind(org),
    )
    .await?;
    read_member(&row.ok_or(Error::NotFound("member"))?)
}

/// All roles of a person.
///
/// # Errors
/// When the database does not answer.
pub async fn roles_of(mut db: impl Run, user: &UserId) -> Result<Vec<Member>> {
    let sql = Sql::new("SELECT * FROM members WHERE user_id = $1 ORDER BY id").bind(user);
    db.rows(sql).await?.iter().map(read_member).collect()
}

/// Makes those who may leave an organisation without owner wait for each other: each sees the others
/// still there until they commit.
pub(crate) async fn lock(tx: &mut Tx, org: &OrgId) -> Result<()> {
    let sql = Sql::new("UPDATE organisations SET version = version WHERE id = $1").bind(org);
    tx.run(sql).await.map(drop)
}

/// Takes a role away.
///
/// # Errors
/// `Conflict` when it is the last owner's, `Stale` when it is gone already.
pub async fn remove_member(tx: &mut Tx, org: &OrgId, member: &Member) -> Result<()> {
    tx.run_fresh(Sql::new("DELETE FROM members WHERE id = $1").bind(&member.id))
        .await?;
    if member.role == Role::OrgOwner {
        lock(tx, org).await?;
        let sql = Sql::new(
            "SELECT COUNT(*) AS n FROM members m JOIN users u ON u.id = m.user_id \
             WHERE m.org = $1 AND m.role = 'org_owner' AND u.disabled = $2",
        );
        let row = opt(&mut *tx, sql.bind(org).bind(false)).await?;
        if row.map_or(Ok(0), |r| r.int("n"))? == 0 {
            return Err(Error::Conflict("the last owner cannot leave".into()));
        }
    }
    Ok(())
}
