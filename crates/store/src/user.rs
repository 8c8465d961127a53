//! People. The identity key is (organisation, connection, issuer, subject): never an e-mail address.

use crate::access::Standing;
use crate::release::Shown;
use crate::sql::{Paging, Row, Run, Sql, json, opt};
use crate::{Change, Error, Result, Store, Tx};
use serde_json::{Map, Value};
use wire::{ConnectionId, OrgId, Timestamp, User, UserId};

/// A person with everything that policies may ask about.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// What the API shows.
    pub user: User,
    /// Whose.
    pub org: OrgId,
    /// The provider's claims as of the last sign-in; about the person, not about how they signed in.
    pub claims: Map<String, Value>,
    /// Whether they have a second factor here, beside a local password.
    pub has_second_factor: bool,
}

impl Person {
    /// What rules may ask about the person.
    #[must_use]
    pub fn facts(&self) -> policy::UserFacts<'_> {
        policy::UserFacts {
            id: &self.user.id,
            email: self.user.email.as_deref(),
            email_verified: self.user.email_verified,
            connection: &self.user.connection,
            claims: &self.claims,
            groups: &self.user.groups,
        }
    }
}

/// What an upstream provider said about somebody who just signed in.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The connection that they came through.
    pub connection: ConnectionId,
    /// The provider's issuer.
    pub issuer: String,
    /// The provider's subject.
    pub subject: String,
    /// E-mail address, if any.
    pub email: Option<String>,
    /// Whether the provider vouches for it.
    pub email_verified: bool,
    /// Display name, if any.
    pub name: Option<String>,
    /// Groups, if any.
    pub groups: Vec<String>,
    /// All claims about the person. How they signed in is the session's ([`wire::Authentication`]).
    pub claims: Map<String, Value>,
}

/// Claims about one sign-in, which were once kept with the person.
const OF_A_SIGN_IN: [&str; 3] = ["acr", "amr", "auth_time"];

pub(crate) fn read(row: &Row) -> Result<Person> {
    let mut claims: Map<String, Value> = row.json("claims")?;
    claims.retain(|name, _| !OF_A_SIGN_IN.contains(&name.as_str()));
    Ok(Person {
        user: User {
            id: row.id("id")?,
            connection: row.id("connection")?,
            issuer: row.text("issuer")?,
            subject: row.text("subject")?,
            email: row.opt_text("email")?,
            email_verified: row.flag("email_verified")?,
            name: row.opt_text("name")?,
            groups: row.json("idp_groups")?,
            disabled: row.flag("disabled")?,
            created_at: row.time("created_at")?,
            last_login_at: row.opt_time("last_login_at")?,
            vouched_at: row.opt_time("vouched_at")?,
            version: row.int("version")?,
        },
        org: row.id("org")?,
        claims,
        has_second_factor: row.flag("has_second_factor")?,
    })
}

/// Remembers a sign-in: makes the person at the first, refreshes what the provider says afterwards.
/// When something that policies ask about changed, everything cached about the person is forgotten.
///
/// # Errors
/// When the database does not answer.
pub async fn sign_in(tx: &mut Tx, org: &OrgId, mut identity: Identity) -> Result<Person> {
    identity
        .claims
        .retain(|name, _| !OF_A_SIGN_IN.contains(&name.as_str()));
    let find = Sql::new(select!(
        users,
        "WHERE org = $1 AND connection = $2 AND issuer = $3 AND subject = $4"
    ))
    .bind(org)
    .bind(&identity.connection)
    .bind(identity.issuer.as_str())
    .bind(identity.subject.as_str());
    let now = tx.now();
    let Some(row) = opt(&mut *tx, find).await? else {
        if let Some(person) = crate::migration::link_on_sign_in(tx, org, &identity).await? {
            return Ok(person);
        }
        return match create(tx, org, identity.clone(), Some(now)).await? {
            Some(person) => Ok(person),
            // Somebody else's first sign-in was faster, and is committed now.
            None => Box::pin(sign_in(tx, org, identity)).await,
        };
    };
    let before = read(&row)?;
    let same = before.user.email == identity.email
        && before.user.email_verified == identity.email_verified
        && before.user.groups == identity.groups
        && before.claims == identity.claims;
    let id = before.user.id.clone();
    let sql = Sql::new(
        "UPDATE users SET email = $1, email_verified = $2, name = $3, claims = $4, idp_groups = $5, \
         last_login_at = $6, vouched_at = $6 WHERE id = $7",
    );
    let sql = sql
        .bind(identity.email.clone())
        .bind(identity.email_verified)
        .bind(identity.name.clone())
        .bind(json(&identity.claims)?)
        .bind(json(&identity.groups)?)
        .bind(now)
        .bind(&id);
    tx.run(sql).await?;
    if !same {
        tx.changed(Change::User(id));
    }
    let user = User {
        email: identity.email,
        email_verified: identity.email_verified,
        name: identity.name,
        groups: identity.groups,
        last_login_at: Some(now),
        vouched_at: Some(now),
        ..before.user
    };
    Ok(Person {
        user,
        org: before.org,
        claims: identity.claims,
        has_second_factor: before.has_second_factor,
    })
}

/// Makes a person before their first sign-in, so that they can be given a role.
///
/// # Errors
/// `Conflict` when they exist already.
pub async fn provision(tx: &mut Tx, org: &OrgId, identity: Identity) -> Result<Person> {
    let person = create(tx, org, identity, None).await?;
    person.ok_or_else(|| Error::Conflict("they exist already".into()))
}

/// `None` when they exist already.
pub(crate) async fn create(
    tx: &mut Tx,
    org: &OrgId,
    identity: Identity,
    last_login_at: Option<Timestamp>,
) -> Result<Option<Person>> {
    let user = User {
        id: UserId::fresh(),
        connection: identity.connection,
        issuer: identity.issuer,
        subject: identity.subject,
        email: identity.email,
        email_verified: identity.email_verified,
        name: identity.name,
        groups: identity.groups,
        disabled: false,
        created_at: tx.now(),
        last_login_at,
        vouched_at: last_login_at,
        version: 1,
    };
    let values = [
        ("id", (&user.id).into()),
        ("org", org.into()),
        ("connection", (&user.connection).into()),
        ("issuer", user.issuer.as_str().into()),
        ("subject", user.subject.as_str().into()),
        ("email", user.email.clone().into()),
        ("email_verified", user.email_verified.into()),
        ("name", user.name.clone().into()),
        ("claims", json(&identity.claims)?),
        ("idp_groups", json(&user.groups)?),
        ("disabled", false.into()),
        ("created_at", user.created_at.into()),
        ("last_login_at", user.last_login_at.into()),
        ("vouched_at", user.vouched_at.into()),
        ("version", user.version.into()),
    ];
    let sql = Sql::insert("users", values).then(" ON CONFLICT (org, connection, issuer, subject) DO NOTHING");
    let made = tx.run(sql).await? > 0;
    Ok(made.then(|| Person {
        user,
        org: org.clone(),
        claims: identity.claims,
        has_second_factor: false,
    }))
}

/// People of an organisation; `q` is text that occurs in name or e-mail address.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    (q, connection): (Option<&str>, Option<&ConnectionId>),
    page: &Paging<UserId>,
) -> Result<Vec<User>> {
    let sql = Sql::new(select!(users, "WHERE org = $1"))
        .bind(org)
        .and("connection =", connection)
        .and_contains("coalesce(name, '') || ' ' || coalesce(email, '')", q);
    db.rows(sql.page(page))
        .await?
        .iter()
        .map(|row| read(row).map(|p| p.user))
        .collect()
}

/// People of some connections of an organisation, as [`list`]; `q` is looked for in what is shown of each
/// connection's people only, so that nobody is found by what is withheld.
///
/// # Errors
/// When the database does not answer.
pub async fn list_shown(
    mut db: impl Run,
    org: &OrgId,
    (q, connection): (Option<&str>, Option<&ConnectionId>),
    connections: &[(ConnectionId, Shown)],
    page: &Paging<UserId>,
) -> Result<Vec<User>> {
    // One connection after the other, each by its index: those of everybody else's are not looked at.
    let mut found = Vec::new();
    for (id, shown) in connections {
        if connection.is_some_and(|only| only != id) {
            continue;
        }
        let sql = Sql::new(select!(users, "WHERE org = $1")).bind(org);
        let sql = sql.and("connection =", Some(id));
        let sql = match (shown.name, shown.email) {
            (true, true) => sql.and_contains("coalesce(name, '') || ' ' || coalesce(email, '')", q),
            (true, false) => sql.and_contains("coalesce(name, '')", q),
            (false, true) => sql.and_contains("coalesce(email, '')", q),
            (false, false) => sql.and_contains("''", q),
        };
        for row in db.rows(sql.page(page)).await? {
            found.push(read(&row)?.user);
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.truncate(page.limit as usize + 1);
    Ok(found)
}

/// People of some connections of an organisation, with their claims, in the order of their identifiers.
///
/// # Errors
/// When the database does not answer.
pub async fn people(
    mut db: impl Run,
    org: &OrgId,
    connections: &[ConnectionId],
    page: &Paging<UserId>,
) -> Result<Vec<Person>> {
    let mut found = Vec::new();
    for connection in connections {
        let sql = Sql::new(select!(users, "WHERE org = $1")).bind(org);
        let sql = sql.and("connection =", Some(connection)).page(page);
        for row in db.rows(sql).await? {
            found.push(read(&row)?);
        }
    }
    found.sort_by(|a, b| a.user.id.cmp(&b.user.id));
    found.truncate(page.limit as usize + 1);
    Ok(found)
}

/// Some people of an organisation, with their claims; those who are not there are left out.
///
/// # Errors
/// When the database does not answer.
pub async fn some(mut db: impl Run, org: &OrgId, ids: &[UserId]) -> Result<Vec<Person>> {
    let mut found = Vec::with_capacity(ids.len());
    for ids in ids.chunks(500) {
        let sql = Sql::new(select!(users, "WHERE org = $1")).bind(org);
        for row in db.rows(sql.and_in("id", Some(ids))).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// One person of an organisation.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &UserId) -> Result<Person> {
    by_id(db, id)
        .await?
        .filter(|p| p.org == *org)
        .ok_or(Error::NotFound("user"))
}

/// One person of any organisation: for credentials of ours that name them.
///
/// # Errors
/// When the database does not answer.
pub async fn by_id(db: impl Run, id: &UserId) -> Result<Option<Person>> {
    opt(db, Sql::new(select!(users, "WHERE id = $1")).bind(id))
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// What is asked of whoever acts as a person; `None` when nobody may, because the person or their connection is
/// disabled.
///
/// # Errors
/// When the database does not answer.
pub async fn standing(store: &Store, person: &Person) -> Result<Option<Standing>> {
    if person.user.disabled {
        return Ok(None);
    }
    let connection = crate::connection::get(store, &person.org, &person.user.connection).await?;
    if !connection.spec.enabled {
        return Ok(None);
    }
    let org = crate::org::get(store, &person.org).await?;
    Ok(Some(Standing::of(&org.spec, connection.spec.kind)))
}

/// Lets a person in again, or ends everything of theirs: sessions, grants, API tokens stop at once.
///
/// # Errors
/// `Stale` when `user.version` is not the stored one, `Conflict` for the last owner.
pub async fn set_disabled(tx: &mut Tx, org: &OrgId, user: &User, disabled: bool) -> Result<User> {
    let sql =
        Sql::new("UPDATE users SET disabled = $1, version = version + 1 WHERE id = $2 AND version = $3");
    tx.run_fresh(sql.bind(disabled).bind(&user.id).bind(user.version))
        .await?;
    if disabled {
        let roles = crate::org::given_to(&mut *tx, &user.id).await?;
        if roles.iter().any(|member| member.role == wire::Role::OrgOwner) {
            crate::org::keeps_owner(tx, org, &user.id).await?;
        }
        crate::invitation::revoke_of(tx, &user.id).await?;
        crate::upstream_token::drop_of(tx, &user.id).await?;
        crate::session::end_all_of(tx, &user.id, "user_disabled").await?;
        crate::grant::revoke_where(tx, crate::grant::Which::User(&user.id), "user_disabled").await?;
    }
    tx.changed(Change::User(user.id.clone()));
    Ok(User {
        disabled,
        version: user.version + 1,
        ..user.clone()
    })
}

/// A local password, as the broker needs it to decide.
#[derive(Debug, Clone)]
pub struct Password {
    /// The person.
    pub user: UserId,
    /// argon2id in PHC form.
    pub phc: String,
}

/// Sets a local password (PHC form), and forgets failures and where the person was known.
///
/// # Errors
/// When the database does not answer.
pub async fn set_password(tx: &mut Tx, user: &UserId, phc: &str) -> Result<()> {
    tx.run(Sql::new("DELETE FROM passwords WHERE user_id = $1").bind(user))
        .await?;
    crate::attempt::forget_all(tx, user.as_ref()).await?;
    let values = [
        ("user_id", user.into()),
        ("phc", phc.into()),
        ("changed_at", tx.now().into()),
        ("failures", 0.into()),
        ("locked_until", 0.into()),
    ];
    tx.run(Sql::insert("passwords", values)).await.map(drop)
}

/// The password of the local person with this e-mail address.
///
/// # Errors
/// When the database does not answer.
pub async fn password_by_email(mut db: impl Run, org: &OrgId, email: &str) -> Result<Option<Password>> {
    let sql = Sql::new(concat!(
        "SELECT ",
        passwords!("p"),
        ", u.email FROM passwords p JOIN users u ON u.id = p.user_id \
         JOIN connections c ON c.id = u.connection \
         WHERE u.org = $1 AND lower(u.email) = lower($2) AND c.kind = 'password' AND u.disabled = $3"
    ));
    let rows = db.rows(sql.bind(org).bind(email).bind(false)).await?;
    let mut found = None;
    for row in &rows {
        // The database may fold letters that are not ASCII, into letters of somebody else's address.
        if row.text("email")?.eq_ignore_ascii_case(email) && found.replace(read_password(row)?).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}

/// The password of a person, if they have one.
///
/// # Errors
/// When the database does not answer.
pub async fn password_of(db: impl Run, user: &UserId) -> Result<Option<Password>> {
    let row = opt(db, Sql::new(select!(passwords, "WHERE user_id = $1")).bind(user)).await?;
    row.as_ref().map(read_password).transpose()
}

fn read_password(row: &Row) -> Result<Password> {
    Ok(Password {
        user: row.id("user_id")?,
        phc: row.text("phc")?,
    })
}
