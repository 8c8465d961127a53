//! Invitations: a secret link, stored as SHA-256, that gives a role to whoever redeems it, once.

use crate::power::{self, Maker};
use crate::sql::{Paging, Row, Run, Sql, opt, word};
use crate::{Error, Result, Store, Tx, ended, org};
use wire::{
    AccountId, Id as _, Invitation, InvitationId, InvitationState, Member, NewMember, OrgId, Role, Timestamp,
    UserId,
};

/// What an invitation is about.
#[derive(Debug, Clone)]
pub struct New {
    /// Where it goes.
    pub email: String,
    /// Where the role is: absent for a role of the organisation.
    pub account: Option<AccountId>,
    /// The role.
    pub role: Role,
    /// Whether the person gets a local password.
    pub local: bool,
    /// Who invites; absent for a token of an account.
    pub created_by: Option<UserId>,
    /// When the link ends.
    pub expires_at: Timestamp,
}

fn read(row: &Row, now: Timestamp) -> Result<Invitation> {
    let (accepted_at, expires_at) = (row.opt_time("accepted_at")?, row.time("expires_at")?);
    let state = if accepted_at.is_some() {
        InvitationState::Accepted
    } else if row.opt_time("revoked_at")?.is_some() {
        InvitationState::Revoked
    } else if expires_at <= now {
        InvitationState::Expired
    } else {
        InvitationState::Pending
    };
    Ok(Invitation {
        id: row.id("id")?,
        email: row.text("email")?,
        account: row.opt_id("account")?,
        role: row.word("role")?,
        local: row.flag("local")?,
        state,
        created_by: row.opt_id("created_by")?,
        created_at: row.time("created_at")?,
        sent_at: row.time("sent_at")?,
        expires_at,
        accepted_at,
        accepted_by: row.opt_id("accepted_by")?,
    })
}

/// Pending invitations of an address to a role at its place: one, or several where those who made them could not know
/// of each other's.
///
/// # Errors
/// When the database does not answer.
pub async fn pending_like(
    mut db: impl Run,
    org: &OrgId,
    new: &New,
    now: Timestamp,
) -> Result<Vec<Invitation>> {
    let account = new.account.as_ref().map_or("", |id| id.as_str());
    let sql = Sql::new(select!(
        invitations,
        "WHERE org = $1 AND lower(email) = lower($2) AND account = $3 AND role = $4 \
         AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $5"
    ));
    let sql = sql.bind(org).bind(new.email.as_str()).bind(account);
    let rows = db.rows(sql.bind(word(new.role)?).bind(now)).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

/// Stores an invitation by the hash of its secret.
///
/// # Errors
/// `Invalid` when role and account do not fit.
pub async fn create(tx: &mut Tx, org: &OrgId, new: New, hash: &str) -> Result<Invitation> {
    org::fits(new.role, new.account.as_ref())?;
    let now = tx.now();
    let invitation = Invitation {
        id: InvitationId::fresh(),
        email: new.email,
        account: new.account,
        role: new.role,
        local: new.local,
        state: InvitationState::Pending,
        created_by: new.created_by,
        created_at: now,
        sent_at: now,
        expires_at: new.expires_at,
        accepted_at: None,
        accepted_by: None,
    };
    let maker = tx
        .maker()
        .or_else(|| invitation.created_by.as_ref().map(ToString::to_string));
    let values = [
        ("id", (&invitation.id).into()),
        ("org", org.into()),
        ("email", invitation.email.as_str().into()),
        (
            "account",
            invitation.account.as_ref().map_or("", |id| id.as_str()).into(),
        ),
        ("role", word(invitation.role)?.into()),
        ("local", invitation.local.into()),
        ("hash", hash.into()),
        ("created_by", invitation.created_by.as_ref().into()),
        ("maker", maker.into()),
        ("created_at", now.into()),
        ("sent_at", now.into()),
        ("expires_at", invitation.expires_at.into()),
    ];
    tx.run(Sql::insert("invitations", values)).await?;
    Ok(invitation)
}

/// Which invitations are asked for.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    /// Only to roles in these accounts; `None` for all.
    pub accounts: Option<&'a [AccountId]>,
    /// Only in this state.
    pub state: Option<InvitationState>,
}

/// Invitations of an organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    filter: &Filter<'_>,
    now: Timestamp,
    page: &Paging<InvitationId>,
) -> Result<Vec<Invitation>> {
    let sql = Sql::new(select!(invitations, "WHERE org = $1"))
        .bind(org)
        .and_in("account", filter.accounts);
    let sql = match filter.state {
        None => sql,
        Some(InvitationState::Accepted) => sql.then(" AND accepted_at IS NOT NULL"),
        Some(InvitationState::Revoked) => sql.then(" AND accepted_at IS NULL AND revoked_at IS NOT NULL"),
        Some(InvitationState::Expired) => sql
            .then(" AND accepted_at IS NULL AND revoked_at IS NULL")
            .and("expires_at <=", Some(now)),
        Some(InvitationState::Pending) => sql
            .then(" AND accepted_at IS NULL AND revoked_at IS NULL")
            .and("expires_at >", Some(now)),
    };
    let rows = db.rows(sql.page(page)).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

/// One invitation.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &InvitationId, now: Timestamp) -> Result<Invitation> {
    let sql = Sql::new(select!(invitations, "WHERE id = $1 AND org = $2"))
        .bind(id)
        .bind(org);
    let row = opt(db, sql).await?.ok_or(Error::NotFound("invitation"))?;
    read(&row, now)
}

/// The pending invitation of a secret, and its organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn by_token_hash(store: &Store, hash: &str, now: Timestamp) -> Result<Option<(OrgId, Invitation)>> {
    let sql = Sql::new(select!(
        invitations,
        "WHERE hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL \
         AND expires_at > $2"
    ));
    let Some(row) = opt(store, sql.bind(hash).bind(now)).await? else {
        return Ok(None);
    };
    let (org, invitation) = (row.id("org")?, read(&row, now)?);
    let good = is_worth_something(store, &org, (&row, &invitation)).await?;
    Ok(good.then_some((org, invitation)))
}

/// The invitation that had a secret, whatever became of it: to say in whose log a link was tried.
///
/// # Errors
/// When the database does not answer.
pub async fn ever_by_token_hash(
    db: impl Run,
    hash: &str,
    now: Timestamp,
) -> Result<Option<(OrgId, Invitation)>> {
    let row = opt(db, Sql::new(select!(invitations, "WHERE hash = $1")).bind(hash)).await?;
    row.map(|row| Ok((row.id("org")?, read(&row, now)?))).transpose()
}

/// Whether whoever gave an invitation could give it now, too.
async fn is_worth_something(
    store: &Store,
    org: &OrgId,
    (row, invitation): (&Row, &Invitation),
) -> Result<bool> {
    let Some(maker) = row.opt_text("maker")? else {
        return Ok(false);
    };
    let demand = power::to_give(invitation.role, invitation.account.as_ref(), invitation.local);
    let maker = Maker::read(&maker)?;
    Ok(maker.may(store, org, demand).await? && maker.is_vouched_for(store, org).await?)
}

/// Redeems an invitation: one of any number of attempts succeeds. Who redeems it belongs to its organisation
/// and is not disabled; what is for a local password goes to somebody who has one, and people of an account's own
/// connection get roles in that account only. Whoever has the role already keeps it. On whose word it was made or
/// last sent, must still be somebody who could give the role.
///
/// # Errors
/// `NotFound` when the link cannot be used, by this person or any more.
pub async fn accept(tx: &mut Tx, org: &OrgId, hash: &str, user: &UserId) -> Result<(Invitation, Member)> {
    let now = tx.now();
    let sql = Sql::new(concat!(
        "UPDATE invitations SET accepted_at = $1, accepted_by = $2 WHERE hash = $3 AND org = $4 \
         AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > $1 \
         AND EXISTS (SELECT 1 FROM users u JOIN connections c ON c.id = u.connection \
          WHERE u.id = $2 AND u.org = $4 AND u.disabled = $5 AND (invitations.local = $5 OR c.kind = 'password') \
          AND (c.account IS NULL OR c.account = invitations.account)) \
         RETURNING ",
        invitations!()
    ));
    let sql = sql.bind(now).bind(user).bind(hash).bind(org).bind(false);
    let row = opt(&mut *tx, sql).await?.ok_or(Error::NotFound("invitation"))?;
    let invitation = read(&row, now)?;
    let store = tx.store.clone();
    if !is_worth_something(&store, org, (&row, &invitation)).await? {
        return Err(Error::NotFound("invitation"));
    }
    let roles = org::given_to(&mut *tx, user).await?;
    let has = |m: &Member| m.role == invitation.role && m.account == invitation.account;
    let member = match roles.into_iter().find(has) {
        Some(member) => member,
        None => {
            let new = NewMember {
                user: user.clone(),
                account: invitation.account.clone(),
                role: invitation.role,
            };
            org::add_member(tx, org, new).await?
        }
    };
    Ok((invitation, member))
}

/// Gives an invitation that nobody accepted a new secret; the old one is worthless from now on. It is good on the
/// word of whoever sends it now.
///
/// # Errors
/// `Conflict` when it was accepted or revoked.
pub async fn renew(
    tx: &mut Tx,
    invitation: &Invitation,
    hash: &str,
    expires_at: Timestamp,
) -> Result<Invitation> {
    let now = tx.now();
    let sql = Sql::new(concat!(
        "UPDATE invitations SET hash = $1, sent_at = $2, expires_at = $3, maker = COALESCE($5, maker) \
         WHERE id = $4 AND accepted_at IS NULL AND revoked_at IS NULL RETURNING ",
        invitations!()
    ));
    let sql = sql
        .bind(hash)
        .bind(now)
        .bind(expires_at)
        .bind(&invitation.id)
        .bind(tx.maker());
    let row = opt(&mut *tx, sql).await?;
    let row = row.ok_or_else(|| Error::Conflict("it was accepted or revoked".into()))?;
    read(&row, now)
}

/// Takes an invitation back.
///
/// # Errors
/// `Conflict` when it was accepted or revoked.
pub async fn revoke(tx: &mut Tx, invitation: &Invitation) -> Result<Invitation> {
    let now = tx.now();
    let sql = Sql::new(concat!(
        "UPDATE invitations SET revoked_at = $1 \
         WHERE id = $2 AND accepted_at IS NULL AND revoked_at IS NULL RETURNING ",
        invitations!()
    ));
    let row = opt(&mut *tx, sql.bind(now).bind(&invitation.id)).await?;
    let row = row.ok_or_else(|| Error::Conflict("it was accepted or revoked".into()))?;
    read(&row, now)
}

/// Takes back all that is good on somebody's word and nobody accepted.
pub(crate) async fn revoke_of(tx: &mut Tx, maker: &UserId) -> Result<()> {
    ended::invitations(tx, "user_disabled", |sql| sql.and("maker =", Some(maker))).await
}
