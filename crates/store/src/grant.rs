//! Grants and what hangs on them: authorization codes, and by their generation refresh tokens ([`crate::refresh`]).
//!
//! ```text
//! consent ── issue() ──> grant (+ code, ≤ 60 s)
//!                          │ redeem(): once; a second time revokes the grant
//!                          ▼
//!                     refresh token ── rotate(): one successor; again within the window: the same one,
//!                          │                     later: the grant is revoked
//!                          ▼
//!             revoke() ── by person, administrator, client, policy, replay ──> nothing works any more
//! ```

use crate::sql::{Paging, Row, Run, Sql, json, opt};
use crate::{Change, Error, Result, Store, Tx, ended};
use wire::{
    AccountId, AppId, Authentication, ClientId, ConnectionId, Grant, GrantId, GrantState, OrgId, Timestamp,
    UserId,
};

/// Life of an authorization code, in seconds.
pub const CODE_LIFE: i64 = 60;

pub(crate) const SELECT: &str = concat!(
    "SELECT ",
    grants!("g"),
    ", u.email AS user_email, c.name AS client_name, a.name AS app_name \
     FROM grants g JOIN users u ON u.id = g.user_id JOIN clients c ON c.id = g.client \
     JOIN apps a ON a.id = g.app WHERE 1 = 1"
);

pub(crate) fn read(row: &Row, now: Timestamp) -> Result<Grant> {
    let (expires_at, revoked_at) = (row.time("expires_at")?, row.opt_time("revoked_at")?);
    let state = if revoked_at.is_some() {
        GrantState::Revoked
    } else if expires_at <= now {
        GrantState::Expired
    } else {
        GrantState::Active
    };
    Ok(Grant {
        id: row.id("id")?,
        user: row.id("user_id")?,
        user_email: row.opt_text("user_email")?,
        client: row.id("client")?,
        client_name: row.text("client_name")?,
        app: row.id("app")?,
        app_name: row.text("app_name")?,
        account: row.id("account")?,
        scopes: row.json("scopes")?,
        redirect_uri: row.opt_text("redirect_uri")?,
        state,
        created_at: row.time("created_at")?,
        expires_at,
        last_used_at: row.opt_time("last_used_at")?,
        revoked_at,
        revoked_reason: row.opt_text("revoked_reason")?,
        authentication: crate::session::read_authentication(row)?,
    })
}

/// What a person consented to.
#[derive(Debug, Clone)]
pub struct Consent<'a> {
    /// Whose.
    pub org: &'a OrgId,
    /// The app's account.
    pub account: &'a AccountId,
    /// The app.
    pub app: &'a AppId,
    /// Who consented.
    pub user: &'a UserId,
    /// To which client.
    pub client: &'a ClientId,
    /// To what.
    pub scopes: &'a [String],
    /// How they had proved who they are in the session in which they consented.
    pub authentication: &'a Authentication,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What an authorization code is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The grant that it stands for.
    pub grant: GrantId,
    /// Only this client may redeem it.
    pub client: ClientId,
    /// Only with this redirect URI.
    pub redirect_uri: String,
    /// Only with the verifier of this S256 challenge.
    pub challenge: String,
    /// For this resource.
    pub resource: String,
    /// Until then.
    pub expires_at: Timestamp,
    /// When it was redeemed.
    pub redeemed_at: Option<Timestamp>,
    /// What the client wants to find in the ID token.
    pub nonce: Option<String>,
}

/// Makes the grant of a consent and the code (by its hash) that the client gets to redeem.
///
/// # Errors
/// When the database does not answer.
pub async fn issue(
    tx: &mut Tx,
    consent: &Consent<'_>,
    code_hash: &str,
    (redirect_uri, challenge, resource): (&str, &str, &str),
) -> Result<GrantId> {
    let id = GrantId::fresh();
    let now = tx.now();
    let values = [
        ("id", (&id).into()),
        ("org", consent.org.into()),
        ("account", consent.account.into()),
        ("app", consent.app.into()),
        ("user_id", consent.user.into()),
        ("client", consent.client.into()),
        ("scopes", json(&consent.scopes)?),
        ("authentication", json(consent.authentication)?),
        ("redirect_uri", redirect_uri.into()),
        ("created_at", now.into()),
        ("expires_at", consent.expires_at.into()),
    ];
    tx.run(Sql::insert("grants", values)).await?;
    let values = [
        ("hash", code_hash.into()),
        ("grant_id", (&id).into()),
        ("client", consent.client.into()),
        ("redirect_uri", redirect_uri.into()),
        ("challenge", challenge.into()),
        ("resource", resource.into()),
        ("expires_at", now.plus_seconds(CODE_LIFE).into()),
    ];
    tx.run(Sql::insert("codes", values)).await?;
    Ok(id)
}

/// Keeps beside a code what the client wants to find in the ID token.
///
/// # Errors
/// When the database does not answer.
pub async fn keep_nonce(tx: &mut Tx, code_hash: &str, nonce: &str) -> Result<()> {
    let sql = Sql::new("UPDATE codes SET nonce = $1 WHERE hash = $2");
    tx.run(sql.bind(nonce).bind(code_hash)).await?;
    Ok(())
}

/// Where the codes of a person's grants to a client went, of those that are in force.
///
/// # Errors
/// When the database does not answer.
pub async fn redirects(
    mut db: impl Run,
    user: &UserId,
    client: &ClientId,
    now: Timestamp,
) -> Result<Vec<String>> {
    let sql = Sql::new(
        "SELECT DISTINCT redirect_uri FROM grants WHERE user_id = $1 AND client = $2 \
         AND redirect_uri IS NOT NULL AND revoked_at IS NULL AND expires_at > $3",
    );
    let rows = db.rows(sql.bind(user).bind(client).bind(now)).await?;
    rows.iter().map(|row| row.text("redirect_uri")).collect()
}

/// Looks at a code without redeeming it, so that a bad request is refused before the code is spent.
///
/// # Errors
/// When the database does not answer.
pub async fn code(db: impl Run, hash: &str) -> Result<Option<Code>> {
    let row = opt(db, Sql::new(select!(codes, "WHERE hash = $1")).bind(hash)).await?;
    row.map(|row| {
        Ok(Code {
            grant: row.id("grant_id")?,
            client: row.id("client")?,
            redirect_uri: row.text("redirect_uri")?,
            challenge: row.text("challenge")?,
            resource: row.text("resource")?,
            expires_at: row.time("expires_at")?,
            redeemed_at: row.opt_time("redeemed_at")?,
            nonce: row.opt_text("nonce")?,
        })
    })
    .transpose()
}

/// Redeems a code: of any number of attempts exactly one gets `true`.
///
/// # Errors
/// When the database does not answer.
pub async fn redeem(tx: &mut Tx, hash: &str) -> Result<bool> {
    let sql = Sql::new(
        "UPDATE codes SET redeemed_at = $1 WHERE hash = $2 AND redeemed_at IS NULL AND expires_at > $1 \
         RETURNING grant_id",
    );
    let sql = sql.bind(tx.now()).bind(hash);
    Ok(opt(&mut *tx, sql).await?.is_some())
}

/// Which grants are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// Of apps in these accounts.
    pub accounts: Option<&'a [AccountId]>,
    /// Of this person.
    pub user: Option<&'a UserId>,
    /// Of this client.
    pub client: Option<&'a ClientId>,
    /// For this app.
    pub app: Option<&'a AppId>,
    /// In this state.
    pub state: Option<GrantState>,
}

/// Grants of an organisation that yielded a token.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    filter: Filter<'_>,
    now: Timestamp,
    page: &Paging<GrantId>,
) -> Result<Vec<Grant>> {
    let sql = Sql::new(SELECT)
        .then(" AND g.last_used_at IS NOT NULL")
        .and("g.org =", Some(org))
        .and_in("g.account", filter.accounts)
        .and("g.user_id =", filter.user)
        .and("g.client =", filter.client)
        .and("g.app =", filter.app);
    let sql = match filter.state {
        None => sql,
        Some(GrantState::Active) => sql
            .then(" AND g.revoked_at IS NULL")
            .and("g.expires_at >", Some(now)),
        Some(GrantState::Expired) => sql
            .then(" AND g.revoked_at IS NULL")
            .and("g.expires_at <=", Some(now)),
        Some(GrantState::Revoked) => sql.then(" AND g.revoked_at IS NOT NULL"),
    };
    let sql = sql
        .and("g.id >", page.after.as_ref())
        .then(" ORDER BY g.id")
        .limit(page.limit + 1);
    db.rows(sql).await?.iter().map(|row| read(row, now)).collect()
}

/// How a person had proved who they are when they gave a client their newest grant that is in force.
///
/// # Errors
/// When the database does not answer.
pub async fn newest_authentication(
    store: &Store,
    user: &UserId,
    client: &ClientId,
) -> Result<Option<Authentication>> {
    let sql = Sql::new("SELECT authentication FROM grants WHERE revoked_at IS NULL AND expires_at > $1");
    let sql = sql
        .bind(store.clock().now())
        .and("user_id =", Some(user))
        .and("client =", Some(client))
        .then(" ORDER BY id DESC")
        .limit(1);
    let row = opt(store, sql).await?;
    row.as_ref().map(crate::session::read_authentication).transpose()
}

/// One grant of an organisation.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &GrantId, now: Timestamp) -> Result<Grant> {
    let sql = Sql::new(SELECT).and("g.id =", Some(id)).and("g.org =", Some(org));
    read(&opt(db, sql).await?.ok_or(Error::NotFound("grant"))?, now)
}

/// One grant of an app: for tokens that name it.
///
/// # Errors
/// When the database does not answer.
pub async fn of_app(db: impl Run, app: &AppId, id: &GrantId, now: Timestamp) -> Result<Option<Grant>> {
    let sql = Sql::new(SELECT).and("g.id =", Some(id)).and("g.app =", Some(app));
    opt(db, sql).await?.as_ref().map(|row| read(row, now)).transpose()
}

/// Which grants to revoke.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// This one.
    One(&'a GrantId),
    /// All of a person.
    User(&'a UserId),
    /// All of a client.
    Client(&'a ClientId),
    /// All for an app.
    App(&'a AppId),
    /// All for the apps of an account.
    Account(&'a AccountId),
    /// All of the people of a connection.
    Connection(&'a ConnectionId),
}

/// Ends grants that are in force, at every gateway; says which. The commit leaves a `grant.revoke` for each.
///
/// # Errors
/// When the database does not answer.
pub async fn revoke_where(tx: &mut Tx, which: Which<'_>, reason: &'static str) -> Result<Vec<GrantId>> {
    ended::grants(tx, reason, |sql| match which {
        Which::One(id) => sql.and("id =", Some(id)),
        Which::User(id) => sql.and("user_id =", Some(id)),
        Which::Client(id) => sql.and("client =", Some(id)),
        Which::App(id) => sql.and("app =", Some(id)),
        Which::Account(id) => sql.and("account =", Some(id)),
        Which::Connection(id) => sql
            .and("user_id IN (SELECT id FROM users WHERE connection =", Some(id))
            .then(")"),
    })
    .await
}

/// Refuses an access token by its `jti` from now on.
///
/// # Errors
/// When the database does not answer.
pub async fn revoke_access_token(tx: &mut Tx, jti: &str, expires_at: Timestamp) -> Result<()> {
    let values = [("jti", jti.into()), ("expires_at", expires_at.into())];
    tx.run(Sql::insert("revoked_tokens", values).then(" ON CONFLICT (jti) DO NOTHING"))
        .await?;
    tx.changed(Change::Token(jti.to_owned()));
    Ok(())
}

/// Whether an access token was revoked by itself.
///
/// # Errors
/// When the database does not answer.
pub async fn is_access_token_revoked(db: impl Run, jti: &str) -> Result<bool> {
    Ok(opt(
        db,
        Sql::new("SELECT jti FROM revoked_tokens WHERE jti = $1").bind(jti),
    )
    .await?
    .is_some())
}
