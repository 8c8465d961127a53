//! Organisations, accounts, members.

use crate::ending::{self, Switched};
use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Change, Error, Result, Store, Tx, ended, host};
use wire::{
    Account, AccountId, AccountSpec, EffectiveRole, Id as _, Member, MemberId, NewMember, OrgId,
    Organisation, OrganisationSpec, Role, UserId,
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
    let mac = tx
        .store
        .seal()
        .mac(&crate::audit::Head::of_nothing(org.id.clone()));
    let head = [
        ("org", (&org.id).into()),
        ("seq", 0.into()),
        ("hash", "".into()),
        ("mac", mac.into()),
    ];
    tx.run(Sql::insert("audit_heads", head)).await?;
    tx.changed(Change::Organisation(org.id.clone()));
    Ok(org)
}

pub(crate) fn read(row: &Row) -> Result<Organisation> {
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
    db.rows(Sql::new(select!(organisations, "ORDER BY id")))
        .await?
        .iter()
        .map(read)
        .collect()
}

/// The organisation, where there is one: what nobody can be told from is in its log.
///
/// # Errors
/// When the database does not answer.
pub async fn only(mut db: impl Run) -> Result<Option<OrgId>> {
    let rows = db.rows(Sql::new("SELECT id FROM organisations LIMIT 2")).await?;
    match rows.as_slice() {
        [only] => only.id("id").map(Some),
        _ => Ok(None),
    }
}

/// One organisation.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, id: &OrgId) -> Result<Organisation> {
    let row = opt(db, Sql::new(select!(organisations, "WHERE id = $1")).bind(id)).await?;
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
    // Whatever but its name changes may decide about somebody.
    let renamed = OrganisationSpec {
        name: spec.name.clone(),
        ..org.spec.clone()
    };
    if spec != renamed {
        tx.changed(Change::Organisation(org.id.clone()));
    }
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
    tx.changed(Change::Account(account.id.clone()));
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
    db: impl Run,
    org: &OrgId,
    only: Option<&[AccountId]>,
    page: &Paging<AccountId>,
) -> Result<Vec<Account>> {
    accounts_named(db, org, (only, None), page).await
}

/// The same, of those in whose names a text occurs.
///
/// # Errors
/// When the database does not answer.
pub async fn accounts_named(
    mut db: impl Run,
    org: &OrgId,
    (only, q): (Option<&[AccountId]>, Option<&str>),
    page: &Paging<AccountId>,
) -> Result<Vec<Account>> {
    let sql = Sql::new(select!(accounts, "WHERE org = $1"))
        .bind(org)
        .and_in("id", only)
        .and_contains("name", q)
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
        Sql::new(select!(accounts, "WHERE id = $1 AND org = $2"))
            .bind(id)
            .bind(org),
    )
    .await?;
    read_account(&row.ok_or(Error::NotFound("account"))?)
}

/// Writes a changed account. Switching it off ends the sessions and grants at its apps for good.
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
    if spec.enabled != account.spec.enabled {
        ending::end(tx, Switched::Account(&account.id)).await?;
    }
    tx.changed(Change::Account(account.id.clone()));
    Ok(Account {
        spec,
        version: account.version + 1,
        ..account.clone()
    })
}

/// Deletes an empty account; its bindings, roles, role mappings, invitations, API tokens and hosts go with it.
///
/// # Errors
/// `Conflict` while it owns apps, policies, groups, connections, or a host under which others publish.
pub async fn delete_account(tx: &mut Tx, account: &Account) -> Result<()> {
    const REASON: &str = "account_deleted";
    host::release(tx, &account.id).await?;
    ended::of_account(tx, &account.id, REASON).await?;
    ended::invitations(tx, REASON, |sql| sql.and("account =", Some(&account.id))).await?;
    ended::api_tokens(tx, REASON, |sql| sql.and("account =", Some(&account.id))).await?;
    let invitations = Sql::new("DELETE FROM invitations WHERE account = $1");
    tx.run(invitations.bind(&account.id)).await?;
    let sql = Sql::new("DELETE FROM accounts WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&account.id).bind(account.version)).await?;
    tx.changed(Change::Account(account.id.clone()));
    Ok(())
}

fn read_member(row: &Row) -> Result<Member> {
    Ok(Member {
        id: row.id("id")?,
        user: row.id("user_id")?,
        user_name: row.opt_text("user_name")?,
        email: row.opt_text("email")?,
        account: row.opt_id("account")?,
        role: row.word("role")?,
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Members with their people's names, as something to select from.
const MEMBERS: &str = concat!(
    "SELECT ",
    members!(),
    ", user_name, email FROM (SELECT ",
    members!("m"),
    ", u.name AS user_name, u.email AS email \
     FROM members m JOIN users u ON u.id = m.user_id) AS named"
);

/// Refuses roles of an account without account, and roles of the organisation with one.
pub(crate) fn fits(role: Role, account: Option<&AccountId>) -> Result<()> {
    if role.is_account_role() == account.is_some() {
        return Ok(());
    }
    let detail = "account roles need an account, organisation roles have none";
    Err(Error::invalid("/account", detail))
}

/// Gives a person a role.
///
/// # Errors
/// `Invalid` when role and account do not fit, `Conflict` when the person has it already.
pub async fn add_member(tx: &mut Tx, org: &OrgId, new: NewMember) -> Result<Member> {
    fits(new.role, new.account.as_ref())?;
    let id = MemberId::fresh();
    let values = [
        ("id", (&id).into()),
        ("org", org.into()),
        ("user_id", (&new.user).into()),
        (
            "account",
            new.account.as_ref().map_or("", |account| account.as_str()).into(),
        ),
        ("role", word(new.role)?.into()),
        ("created_at", tx.now().into()),
        ("version", 1.into()),
    ];
    tx.run(Sql::insert("members", values)).await?;
    member(tx, org, &id).await
}

/// Which members are asked for.
#[derive(Debug, Default)]
pub struct MemberFilter<'a> {
    /// Only roles in these accounts; `None` for all.
    pub accounts: Option<&'a [AccountId]>,
    /// Only roles of this person.
    pub user: Option<&'a UserId>,
    /// Only this role.
    pub role: Option<Role>,
}

/// Members of an organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn members(
    mut db: impl Run,
    org: &OrgId,
    filter: &MemberFilter<'_>,
    page: &Paging<MemberId>,
) -> Result<Vec<Member>> {
    let sql = Sql::new(MEMBERS)
        .then(" WHERE org = $1")
        .bind(org)
        .and_in("account", filter.accounts)
        .and("user_id =", filter.user)
        .and("role =", filter.role.map(word).transpose()?)
        .page(page);
    db.rows(sql).await?.iter().map(read_member).collect()
}

/// One member.
///
/// # Errors
/// `NotFound`.
pub async fn member(db: impl Run, org: &OrgId, id: &MemberId) -> Result<Member> {
    let sql = Sql::new(MEMBERS).then(" WHERE id = $1 AND org = $2");
    let row = opt(db, sql.bind(id).bind(org)).await?;
    read_member(&row.ok_or(Error::NotFound("member"))?)
}

/// The roles that were given to a person directly.
///
/// # Errors
/// When the database does not answer.
pub async fn given_to(mut db: impl Run, user: &UserId) -> Result<Vec<Member>> {
    let sql = Sql::new(MEMBERS)
        .then(" WHERE user_id = $1 ORDER BY id")
        .bind(user);
    db.rows(sql).await?.iter().map(read_member).collect()
}

/// All roles of a person that count: given directly, and those that follow from the groups of their last
/// sign-in; but none in accounts that an exclusive binding keeps their connection out of.
///
/// # Errors
/// When the database does not answer.
pub async fn roles_of(store: &Store, user: &UserId) -> Result<Vec<EffectiveRole>> {
    let direct = given_to(store, user).await?.into_iter().map(|m| EffectiveRole {
        role: m.role,
        account: m.account,
        member: Some(m.id),
        mapping: None,
    });
    let mut roles: Vec<EffectiveRole> = direct.collect();
    roles.extend(crate::role_mapping::of(store, user).await?);
    let directory = store.directory();
    let account = |role: &EffectiveRole| role.account.as_ref().and_then(|id| directory.account(id));
    if roles
        .iter()
        .any(|role| account(role).is_some_and(|a| !a.exclusive.is_empty()))
    {
        let sql = Sql::new("SELECT connection FROM users WHERE id = $1").bind(user);
        let row = opt(store, sql).await?.ok_or(Error::NotFound("user"))?;
        let connection = row.id("connection")?;
        roles.retain(|role| account(role).is_none_or(|a| !a.excludes(&connection)));
    }
    Ok(roles)
}

/// Changes a role into another one at the same place.
///
/// # Errors
/// `Invalid` when the role does not fit the place, `Conflict` when the person has it already or is the last
/// owner, `Stale` when `member.version` is not the stored one.
pub async fn update_member(tx: &mut Tx, org: &OrgId, member: &Member, role: Role) -> Result<Member> {
    fits(role, member.account.as_ref())?;
    let sql = Sql::new("UPDATE members SET role = $1, version = version + 1 WHERE id = $2 AND version = $3");
    tx.run_fresh(sql.bind(word(role)?).bind(&member.id).bind(member.version))
        .await?;
    if member.role == Role::OrgOwner && role != Role::OrgOwner {
        keeps_owner(tx, org, &member.user).await?;
    }
    Ok(Member {
        role,
        version: member.version + 1,
        ..member.clone()
    })
}

/// Takes a role away.
///
/// # Errors
/// `Conflict` when it is the last owner's, `Stale` when `member.version` is not the stored one.
pub async fn remove_member(tx: &mut Tx, org: &OrgId, member: &Member) -> Result<()> {
    let sql = Sql::new("DELETE FROM members WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&member.id).bind(member.version)).await?;
    if member.role == Role::OrgOwner {
        keeps_owner(tx, org, &member.user).await?;
    }
    Ok(())
}

/// Makes those who may leave an organisation without owner wait for each other: each sees the others
/// still there until they commit.
pub(crate) async fn lock(tx: &mut Tx, org: &OrgId) -> Result<()> {
    let sql = Sql::new("UPDATE organisations SET version = version WHERE id = $1").bind(org);
    tx.run(sql).await.map(drop)
}

/// To be called when `user` has just stopped being an owner who can sign in: goes on if another one is left,
/// and, when they had a local password, another one with a local password. That one is the way in which no
/// failure of an identity provider can close.
///
/// # Errors
/// `Conflict` when nobody is left.
pub async fn keeps_owner(tx: &mut Tx, org: &OrgId, user: &UserId) -> Result<()> {
    lock(tx, org).await?;
    let sql = Sql::new(
        "SELECT COUNT(*) AS owners, COUNT(p.user_id) AS with_password, \
         (SELECT COUNT(*) FROM passwords q JOIN users v ON v.id = q.user_id \
          JOIN connections d ON d.id = v.connection WHERE q.user_id = $1 AND d.kind = 'password') AS had_password \
         FROM members m JOIN users u ON u.id = m.user_id JOIN connections c ON c.id = u.connection \
         LEFT JOIN passwords p ON p.user_id = u.id AND c.kind = 'password' \
         WHERE m.org = $2 AND m.role = 'org_owner' AND u.disabled = $3 AND u.id <> $1",
    );
    let row = opt(&mut *tx, sql.bind(user).bind(org).bind(false)).await?;
    let row = row.ok_or_else(|| Error::internal("COUNT without a row"))?;
    if row.int("owners")? == 0 {
        let detail = "the last owner cannot leave or be disabled";
        return Err(Error::Conflict(detail.into()));
    }
    if row.int("had_password")? > 0 && row.int("with_password")? == 0 {
        let detail = "the last owner with a local password cannot leave or be disabled: \
                      it is the way in when an identity provider fails";
        return Err(Error::Conflict(detail.into()));
    }
    Ok(())
}
