//! Roles that follow from groups of an identity provider. They are not copied: what somebody may do is
//! computed from their connection and the groups of their last sign-in, whenever it is asked.

use crate::sql::{Paging, Row, Run, Sql, opt, word};
use crate::{Error, Result, Store, Tx, org};
use wire::{
    AccountId, ConnectionId, ConnectionSpec, EffectiveRole, Id as _, OrgId, Role, RoleMapping, RoleMappingId,
    RoleMappingSpec, UserId,
};

fn read(row: &Row) -> Result<RoleMapping> {
    Ok(RoleMapping {
        id: row.id("id")?,
        spec: RoleMappingSpec {
            connection: row.id("connection")?,
            group: row.text("idp_group")?,
            account: row.opt_id("account")?,
            role: row.word("role")?,
        },
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Owners are made by hand only: an identity provider must not be able to make one.
fn fits(spec: &RoleMappingSpec) -> Result<()> {
    if spec.role == Role::OrgOwner {
        let detail = "owners are made directly, never by a group";
        return Err(Error::invalid("/role", detail));
    }
    org::fits(spec.role, spec.account.as_ref())
}

fn account(spec: &RoleMappingSpec) -> &str {
    spec.account.as_ref().map_or("", |id| id.as_str())
}

/// Makes a mapping.
///
/// # Errors
/// `Invalid` when role and account do not fit, `Conflict` when there is the same already.
pub async fn create(tx: &mut Tx, org: &OrgId, spec: RoleMappingSpec) -> Result<RoleMapping> {
    fits(&spec)?;
    let mapping = RoleMapping {
        id: RoleMappingId::fresh(),
        spec,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&mapping.id).into()),
        ("org", org.into()),
        ("connection", (&mapping.spec.connection).into()),
        ("idp_group", mapping.spec.group.as_str().into()),
        ("account", account(&mapping.spec).into()),
        ("role", word(mapping.spec.role)?.into()),
        ("created_at", mapping.created_at.into()),
        ("version", mapping.version.into()),
    ];
    tx.run(Sql::insert("role_mappings", values)).await?;
    Ok(mapping)
}

/// Mappings of an organisation; `only` narrows them to roles in accounts that the caller may see.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    (only, connection): (Option<&[AccountId]>, Option<&ConnectionId>),
    page: &Paging<RoleMappingId>,
) -> Result<Vec<RoleMapping>> {
    let sql = Sql::new(select!(role_mappings, "WHERE org = $1"))
        .bind(org)
        .and_in("account", only)
        .and("connection =", connection)
        .page(page);
    db.rows(sql).await?.iter().map(read).collect()
}

/// One mapping.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &RoleMappingId) -> Result<RoleMapping> {
    let sql = Sql::new(select!(role_mappings, "WHERE id = $1 AND org = $2"))
        .bind(id)
        .bind(org);
    read(&opt(db, sql).await?.ok_or(Error::NotFound("role mapping"))?)
}

/// Writes a changed mapping.
///
/// # Errors
/// `Invalid` and `Conflict` as [`create`], `Stale` when `mapping.version` is not the stored one.
pub async fn update(tx: &mut Tx, mapping: &RoleMapping, spec: RoleMappingSpec) -> Result<RoleMapping> {
    fits(&spec)?;
    let sql = Sql::new(
        "UPDATE role_mappings SET connection = $1, idp_group = $2, account = $3, role = $4, \
         version = version + 1 WHERE id = $5 AND version = $6",
    );
    let sql = sql
        .bind(&spec.connection)
        .bind(spec.group.as_str())
        .bind(account(&spec))
        .bind(word(spec.role)?)
        .bind(&mapping.id)
        .bind(mapping.version);
    tx.run_fresh(sql).await?;
    Ok(RoleMapping {
        spec,
        version: mapping.version + 1,
        ..mapping.clone()
    })
}

/// Deletes a mapping; whoever had their role from it has it no more.
///
/// # Errors
/// `Stale` when `mapping.version` is not the stored one.
pub async fn delete(tx: &mut Tx, mapping: &RoleMapping) -> Result<()> {
    let sql = Sql::new("DELETE FROM role_mappings WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&mapping.id).bind(mapping.version)).await
}

/// The roles that somebody has from their groups. A connection gives roles while it is enabled, and in an
/// account while it counts there; one that belongs to an account gives roles nowhere else.
pub(crate) async fn of(store: &Store, user: &UserId) -> Result<Vec<EffectiveRole>> {
    let sql = Sql::new(concat!(
        "SELECT ",
        role_mappings!("r"),
        ", u.idp_groups, c.spec AS connection_spec, c.account AS connection_account \
         FROM users u JOIN role_mappings r ON r.connection = u.connection \
         JOIN connections c ON c.id = r.connection WHERE u.id = $1 ORDER BY r.id"
    ));
    let mut db = store;
    let rows = db.rows(sql.bind(user)).await?;
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let groups: Vec<String> = first.json("idp_groups")?;
    let connection: ConnectionSpec = first.json("connection_spec")?;
    let owner: Option<AccountId> = first.opt_id("connection_account")?;
    if groups.is_empty() || !connection.enabled {
        return Ok(Vec::new());
    }
    let (snapshot, now) = (store.directory(), store.clock().now());
    let counts = |spec: &RoleMappingSpec| match &spec.account {
        None => owner.is_none(),
        Some(account) => snapshot.account(account).is_some_and(|view| {
            let mut here = view.connections.iter().filter(|c| c.id == spec.connection);
            // Groups that an account does not get to see give nobody power there: that would tell who is in them.
            here.any(|c| c.until.is_none_or(|until| now < until) && c.shown().groups)
        }),
    };
    let mut roles = Vec::new();
    for row in &rows {
        let mapping = read(row)?;
        if groups.contains(&mapping.spec.group) && counts(&mapping.spec) {
            roles.push(EffectiveRole {
                role: mapping.spec.role,
                account: mapping.spec.account,
                member: None,
                mapping: Some(mapping.id),
            });
        }
    }
    Ok(roles)
}
