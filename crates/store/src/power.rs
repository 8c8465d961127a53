//! What roles are good for, and whether somebody still has them. The admin API asks before it writes; what was
//! begun on somebody's word and happens later (an invitation, the end of a drain) asks again when it happens.

use crate::access::Means;
use crate::sql::{Run, Sql, opt, word};
use crate::{Error, Result, Store, org, user};
use serde::{Deserialize, Serialize};
use std::fmt;
use wire::{AccountId, ApiTokenId, EffectiveRole, OrgId, Reason, Role, UserId};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Look at it.
    Read,
    /// Look at its part of the audit log.
    ReadAudit,
    /// Change apps, policies, groups.
    Edit,
    /// Change everything else.
    Administer,
    /// Change who owns the organisation, and what decides who its owners are.
    Own,
}

/// Whether a role, where it counts, is good for something.
#[must_use]
pub const fn grants(role: Role, permission: Permission) -> bool {
    use Permission::{Administer, Edit, Own, Read, ReadAudit};
    match role {
        Role::OrgOwner => true,
        Role::OrgAdmin => !matches!(permission, Own),
        Role::AccountAdmin => matches!(permission, Read | ReadAudit | Edit | Administer),
        Role::AccountEditor => matches!(permission, Read | Edit),
        Role::OrgAuditor | Role::AccountAuditor => matches!(permission, Read | ReadAudit),
    }
}

/// What somebody with some roles is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They may.
    Yes,
    /// They may not.
    No,
    /// They have nothing to do there: to them, the place does not exist.
    Stranger,
}

/// Whether roles are good for something in an account, or in the whole organisation (`None`).
#[must_use]
pub fn judge(roles: &[EffectiveRole], permission: Permission, place: Option<&AccountId>) -> Verdict {
    let counts = |role: &&EffectiveRole| match (&role.account, place) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(mine), Some(account)) => mine == account,
    };
    let mut here = roles.iter().filter(counts).peekable();
    if here.peek().is_none() && place.is_some() {
        return Verdict::Stranger;
    }
    match here.any(|role| grants(role.role, permission)) {
        true => Verdict::Yes,
        false => Verdict::No,
    }
}

/// What it takes to give or take a role, and where. A `local` one comes with a password of the organisation's own
/// connection, which is nothing that an account's administrators decide.
#[must_use]
pub const fn to_give(
    role: Role,
    account: Option<&AccountId>,
    local: bool,
) -> (Permission, Option<&AccountId>) {
    match (role, account) {
        (Role::OrgOwner, _) => (Permission::Own, None),
        (_, Some(account)) if !local => (Permission::Administer, Some(account)),
        _ => (Permission::Administer, None),
    }
}

/// On whose word something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// A person's, by whatever credential.
    Person(UserId),
    /// A token's that belongs to an account, and so to nobody.
    Token(ApiTokenId),
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => id.fmt(f),
            Self::Token(id) => id.fmt(f),
        }
    }
}

impl Maker {
    /// As it was stored.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let person = text.parse().map(Self::Person);
        let maker = person.or_else(|_| text.parse().map(Self::Token));
        maker.map_err(Error::internal)
    }

    /// The roles that they have now: none if they are gone, disabled, expired, or their way in is closed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn roles_now(&self, store: &Store, org: &OrgId) -> Result<Vec<EffectiveRole>> {
        match self {
            Self::Person(id) => of_person(store, org, id).await,
            Self::Token(id) => of_token(store, org, id).await,
        }
    }

    /// Whether the identity provider's word about them is recent enough for what is done in their name: somebody who
    /// is not vouched for any more may have left. Our own word does not age, and an account's token is nobody's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_vouched_for(&self, store: &Store, org: &OrgId) -> Result<bool> {
        let Self::Person(id) = self else {
            return Ok(true);
        };
        let person = user::get(store, org, id).await?;
        let standing = user::standing(store, &person).await?;
        let lacks = standing.and_then(|it| it.lacks(&person, Means::Token, store.clock().now()));
        Ok(lacks != Some(Reason::ProofTooOld))
    }

    /// Whether they may do something now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn may(
        &self,
        store: &Store,
        org: &OrgId,
        (permission, place): (Permission, Option<&AccountId>),
    ) -> Result<bool> {
        let roles = self.roles_now(store, org).await?;
        Ok(judge(&roles, permission, place) == Verdict::Yes)
    }
}

/// Of a connection's settings, what its people depend on.
#[derive(Deserialize)]
struct WayIn {
    enabled: bool,
}

async fn of_person(store: &Store, org: &OrgId, id: &UserId) -> Result<Vec<EffectiveRole>> {
    let sql = Sql::new(
        "SELECT c.spec AS connection_spec FROM users u JOIN connections c ON c.id = u.connection \
         WHERE u.id = $1 AND u.org = $2 AND u.disabled = $3",
    );
    let row = opt(store, sql.bind(id).bind(org).bind(false)).await?;
    match row {
        Some(row) if row.json::<WayIn>("connection_spec")?.enabled => org::roles_of(store, id).await,
        _ => Ok(Vec::new()),
    }
}

async fn of_token(store: &Store, org: &OrgId, id: &ApiTokenId) -> Result<Vec<EffectiveRole>> {
    let sql = Sql::new(
        "SELECT t.account, t.role FROM api_tokens t JOIN accounts a ON a.id = t.account \
         WHERE t.id = $1 AND t.org = $2 AND (t.expires_at IS NULL OR t.expires_at > $3) AND a.enabled = $4",
    );
    let sql = sql.bind(id).bind(org).bind(store.clock().now()).bind(true);
    let Some(row) = opt(store, sql).await? else {
        return Ok(Vec::new());
    };
    let account: Option<AccountId> = row.opt_id("account")?;
    Ok(vec![EffectiveRole {
        role: row.word("role")?,
        account,
        member: None,
        mapping: None,
    }])
}

/// Whether an owner of the organisation signs in through a connection: whoever decides what it says decides who is
/// an owner, and whoever closes it locks one out.
///
/// # Errors
/// When the database does not answer.
pub async fn owner_comes_through(db: impl Run, connection: &wire::ConnectionId) -> Result<bool> {
    let sql = Sql::new(
        "SELECT m.id FROM members m JOIN users u ON u.id = m.user_id WHERE m.role = $1 AND u.connection = $2 LIMIT 1",
    );
    let row = opt(db, sql.bind(word(Role::OrgOwner)?).bind(connection)).await?;
    Ok(row.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(role: Role, account: Option<&AccountId>) -> EffectiveRole {
        EffectiveRole {
            role,
            account: account.cloned(),
            member: None,
            mapping: None,
        }
    }

    #[test]
    fn a_role_counts_where_it_is() {
        let (here, there) = (AccountId::fresh(), AccountId::fresh());
        let admin = [role(Role::AccountAdmin, Some(&here))];
        let ask = |roles: &[EffectiveRole], place| judge(roles, Permission::Administer, place);
        assert_eq!(ask(&admin, Some(&here)), Verdict::Yes);
        assert_eq!(ask(&admin, Some(&there)), Verdict::Stranger);
        assert_eq!(ask(&admin, None), Verdict::No);
        assert_eq!(ask(&[role(Role::OrgAdmin, None)], Some(&there)), Verdict::Yes);
        assert_eq!(ask(&[role(Role::OrgAuditor, None)], Some(&there)), Verdict::No);
        assert_eq!(ask(&[], None), Verdict::No);
    }

    #[test]
    fn what_gives_a_role_is_what_could_take_it() {
        let account = AccountId::fresh();
        let at = Some(&account);
        assert_eq!(to_give(Role::OrgOwner, None, false), (Permission::Own, None));
        assert_eq!(to_give(Role::OrgOwner, None, true), (Permission::Own, None));
        assert_eq!(
            to_give(Role::OrgAdmin, None, false),
            (Permission::Administer, None)
        );
        assert_eq!(
            to_give(Role::AccountEditor, at, false),
            (Permission::Administer, at)
        );
        assert_eq!(
            to_give(Role::AccountEditor, at, true),
            (Permission::Administer, None)
        );
    }

    #[test]
    fn a_maker_reads_as_it_was_written() {
        for maker in [Maker::Person(UserId::fresh()), Maker::Token(ApiTokenId::fresh())] {
            assert_eq!(Maker::read(&maker.to_string()).unwrap(), maker);
        }
        assert!(Maker::read("somebody").is_err());
    }
}
