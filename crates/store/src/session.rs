//! Browser sessions: at the control plane (a tower-sessions record in `data`) and at apps (opaque cookie,
//! redeemed from a handoff). Cookies are stored as SHA-256 only.

use crate::sql::{Paging, Row, Run, Sql, json, opt};
use crate::{Error, Result, Store, Tx, ended};
use std::collections::HashMap;
use wire::{AppId, Authentication, BrowserSession, OrgId, SessionId, Timestamp, UserId};

/// A session as its owner surface needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its identifier.
    pub id: SessionId,
    /// The organisation, once somebody is signed in.
    pub org: Option<OrgId>,
    /// Who is signed in, if anybody; without an organisation somebody of whom more is asked first, which makes them nobody
    /// yet, and ends with their sessions.
    pub user: Option<UserId>,
    /// The app, for app sessions.
    pub app: Option<AppId>,
    /// The control-plane session that an app session came from; it ends with it.
    pub parent: Option<SessionId>,
    /// What the control plane keeps in it (JSON).
    pub data: String,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// The address it began at.
    pub ip: Option<String>,
    /// The browser it began in.
    pub user_agent: Option<String>,
    /// How the person proved who they are in it. A session at an app has it from its parent.
    pub authentication: Authentication,
}

fn read(row: &Row) -> Result<Record> {
    Ok(Record {
        id: row.id("id")?,
        org: row.opt_id("org")?,
        user: row.opt_id("user_id")?,
        app: row.opt_id("app")?,
        parent: row.opt_id("parent")?,
        data: row.text("data")?,
        expires_at: row.time("expires_at")?,
        ip: row.opt_text("ip")?,
        user_agent: row.opt_text("user_agent")?,
        authentication: read_authentication(row)?,
    })
}

/// What was not kept proves nothing.
pub(crate) fn read_authentication(row: &Row) -> Result<Authentication> {
    let text = row.opt_text("authentication")?;
    text.map_or_else(
        || Ok(Authentication::default()),
        |text| serde_json::from_str(&text).map_err(Error::internal),
    )
}

/// Writes over the session of a cookie. Says `false`, and writes nothing, when it has ended meanwhile.
///
/// # Errors
/// When the database does not answer.
pub async fn update(tx: &mut Tx, hash: &str, session: &Record) -> Result<bool> {
    let sql = Sql::new(
        "UPDATE sessions SET org = $1, user_id = $2, data = $3, expires_at = $4, ip = $5, user_agent = $6, \
         authentication = $7 WHERE hash = $8",
    );
    let sql = sql
        .bind(session.org.as_ref())
        .bind(session.user.as_ref())
        .bind(session.data.as_str())
        .bind(session.expires_at)
        .bind(session.ip.clone())
        .bind(session.user_agent.clone())
        .bind(json(&session.authentication)?)
        .bind(hash);
    Ok(tx.run(sql).await? > 0)
}

/// Stores a session under the hash of its cookie; the same hash is written over.
///
/// # Errors
/// When the database does not answer.
pub async fn save(tx: &mut Tx, hash: &str, session: &Record) -> Result<()> {
    if update(tx, hash, session).await? {
        return Ok(());
    }
    let values = [
        ("id", (&session.id).into()),
        ("hash", hash.into()),
        ("org", session.org.as_ref().into()),
        ("user_id", session.user.as_ref().into()),
        ("app", session.app.as_ref().into()),
        ("parent", session.parent.as_ref().into()),
        ("data", session.data.as_str().into()),
        ("created_at", tx.now().into()),
        ("expires_at", session.expires_at.into()),
        ("ip", session.ip.clone().into()),
        ("user_agent", session.user_agent.clone().into()),
        ("authentication", json(&session.authentication)?),
    ];
    tx.run(Sql::insert("sessions", values)).await.map(drop)
}

/// The session of a cookie, unless its time is over.
///
/// # Errors
/// When the database does not answer.
pub async fn by_hash(db: impl Run, hash: &str, now: Timestamp) -> Result<Option<Record>> {
    let sql = Sql::new(select!(sessions, "WHERE hash = $1 AND expires_at > $2"))
        .bind(hash)
        .bind(now);
    opt(db, sql).await?.as_ref().map(read).transpose()
}

/// Forgets the session of a cookie.
///
/// # Errors
/// When the database does not answer.
pub async fn delete_by_hash(tx: &mut Tx, hash: &str) -> Result<()> {
    if let Some(row) = opt(
        &mut *tx,
        Sql::new("SELECT id FROM sessions WHERE hash = $1").bind(hash),
    )
    .await?
    {
        end(tx, &row.id("id")?).await?;
    }
    Ok(())
}

/// Ends a session and the app sessions that came from it; whoever does so says so in the event of the commit.
///
/// # Errors
/// When the database does not answer.
pub async fn end(tx: &mut Tx, id: &SessionId) -> Result<()> {
    ended::session(tx, id).await
}

/// Whether a session is there and its time is not over.
///
/// # Errors
/// When the database does not answer.
pub async fn is_live(db: impl Run, id: &SessionId, now: Timestamp) -> Result<bool> {
    let sql = Sql::new("SELECT id FROM sessions WHERE id = $1 AND expires_at > $2");
    Ok(opt(db, sql.bind(id).bind(now)).await?.is_some())
}

/// Ends all sessions of a person. The commit leaves a `session.end` for each.
///
/// # Errors
/// When the database does not answer.
pub async fn end_all_of(tx: &mut Tx, user: &UserId, reason: &'static str) -> Result<()> {
    ended::sessions(tx, reason, |sql| sql.and("user_id =", Some(user))).await
}

/// Sessions of signed-in people that are not over, of one person if given.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    user: Option<&UserId>,
    now: Timestamp,
    page: &Paging<SessionId>,
) -> Result<Vec<BrowserSession>> {
    let sql = Sql::new(select!(
        sessions,
        "WHERE user_id IS NOT NULL AND org = $1 AND expires_at > $2"
    ))
    .bind(org)
    .bind(now)
    .and("user_id =", user);
    db.rows(sql.page(page)).await?.iter().map(read_public).collect()
}

fn read_public(row: &Row) -> Result<BrowserSession> {
    Ok(BrowserSession {
        id: row.id("id")?,
        user: row.id("user_id")?,
        app: row.opt_id("app")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        ip: row.opt_text("ip")?,
        user_agent: row.opt_text("user_agent")?,
        authentication: read_authentication(row)?,
    })
}

/// How each of some people proved who they are in their newest session that is not over; without those who have none.
///
/// # Errors
/// When the database does not answer.
pub async fn newest_authentications(
    store: &Store,
    users: &[UserId],
) -> Result<HashMap<UserId, Authentication>> {
    let now = store.clock().now();
    let mut db = store;
    let mut newest = HashMap::new();
    for some in users.chunks(500) {
        // Identifiers grow with time, so the last one of a person is the newest.
        let sql = Sql::new(
            "SELECT id, user_id, authentication FROM sessions WHERE expires_at > $1 AND org IS NOT NULL",
        )
        .bind(now);
        let sql = sql.and_in("user_id", Some(some)).then(" ORDER BY id");
        for row in db.rows(sql).await? {
            newest.insert(row.id("user_id")?, read_authentication(&row)?);
        }
    }
    Ok(newest)
}

/// One session of a signed-in person.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &SessionId) -> Result<BrowserSession> {
    let sql = Sql::new(select!(
        sessions,
        "WHERE id = $1 AND org = $2 AND user_id IS NOT NULL"
    ));
    let row = opt(db, sql.bind(id).bind(org)).await?;
    read_public(&row.ok_or(Error::NotFound("session"))?)
}

/// Proof, good once and for a minute, that a person may begin a session at an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    /// At which app.
    pub app: AppId,
    /// Who.
    pub user: UserId,
    /// The control-plane session behind it.
    pub session: SessionId,
    /// SHA-256 of the state that the browser got from the gateway.
    pub state_hash: String,
    /// How they proved who they are in that session.
    pub authentication: Authentication,
    /// When it is worthless.
    pub expires_at: Timestamp,
}

/// Stores a handoff under the hash of its code.
///
/// # Errors
/// When the database does not answer.
pub async fn offer_handoff(tx: &mut Tx, hash: &str, handoff: &Handoff) -> Result<()> {
    let values = [
        ("hash", hash.into()),
        ("app", (&handoff.app).into()),
        ("user_id", (&handoff.user).into()),
        ("session", (&handoff.session).into()),
        ("state_hash", handoff.state_hash.as_str().into()),
        ("authentication", json(&handoff.authentication)?),
        ("expires_at", handoff.expires_at.into()),
    ];
    tx.run(Sql::insert("handoffs", values)).await.map(drop)
}

/// Redeems a handoff: one of any number of attempts succeeds, and only with app and state right.
///
/// # Errors
/// When the database does not answer.
pub async fn redeem_handoff(
    tx: &mut Tx,
    hash: &str,
    app: &AppId,
    state_hash: &str,
) -> Result<Option<Handoff>> {
    let now = tx.now();
    let sql = Sql::new(
        "UPDATE handoffs SET redeemed_at = $1 WHERE hash = $2 AND app = $3 AND state_hash = $4 \
         AND redeemed_at IS NULL AND expires_at > $1 \
         AND EXISTS (SELECT 1 FROM sessions s WHERE s.id = handoffs.session) \
         RETURNING app, user_id, session, state_hash, authentication, expires_at",
    );
    let row = opt(&mut *tx, sql.bind(now).bind(hash).bind(app).bind(state_hash)).await?;
    row.map(|row| {
        Ok(Handoff {
            app: row.id("app")?,
            user: row.id("user_id")?,
            session: row.id("session")?,
            state_hash: row.text("state_hash")?,
            authentication: read_authentication(&row)?,
            expires_at: row.time("expires_at")?,
        })
    })
    .transpose()
}
