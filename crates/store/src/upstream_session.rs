//! What is behind a session at the provider: enough to end it when the provider says so, and to sign out there.

use crate::sql::{Run, Sql, opt};
use crate::{Result, Store, Tx, session};
use std::collections::HashSet;
use wire::{ConnectionId, SessionId, Timestamp, UserId};
use zeroize::Zeroizing;

/// What the provider said about its session when somebody signed in.
#[derive(Clone, Copy)]
pub struct Upstream<'a> {
    /// Its own name for the session.
    pub sid: Option<&'a str>,
    /// The id token, where it is wanted as a hint for signing out. It is sealed at rest.
    pub id_token: Option<&'a str>,
}

/// Remembers what is behind a session that is about to begin.
///
/// # Errors
/// When the database does not answer.
pub async fn begin(
    tx: &mut Tx,
    session: &SessionId,
    connection: &ConnectionId,
    upstream: Upstream<'_>,
) -> Result<()> {
    let sealed = upstream
        .id_token
        .map(|token| tx.vault().seal(session.as_ref(), token.as_bytes()))
        .transpose()?;
    let values = [
        ("session", session.into()),
        ("connection", connection.into()),
        ("sid", upstream.sid.into()),
        ("id_token", sealed.into()),
        ("created_at", tx.now().into()),
    ];
    tx.run(Sql::insert("upstream_sessions", values)).await.map(drop)
}

/// The id token behind a session in clear, if it was kept.
///
/// # Errors
/// `Internal` when it does not open.
pub async fn id_token(store: &Store, session: &SessionId) -> Result<Option<Zeroizing<String>>> {
    let sql = Sql::new("SELECT id_token FROM upstream_sessions WHERE session = $1").bind(session);
    let Some(sealed) = opt(store, sql)
        .await?
        .map(|row| row.opt_text("id_token"))
        .transpose()?
        .flatten()
    else {
        return Ok(None);
    };
    let bytes = store.vault().open(session.as_ref(), &sealed)?;
    let text = std::str::from_utf8(&bytes).map_err(crate::Error::internal)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Which sessions a provider says have ended: those of the subject, those of the sid, or those of both.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// Through which connection they began.
    pub connection: &'a ConnectionId,
    /// The provider.
    pub issuer: &'a str,
    /// Only this person's.
    pub subject: Option<&'a str>,
    /// Only those behind which the provider's session of this name is.
    pub sid: Option<&'a str>,
}

/// Ends sessions, each with the app sessions that came from it. Says which, and whose they were.
///
/// # Errors
/// When the database does not answer.
pub async fn end(tx: &mut Tx, ended: Ended<'_>) -> Result<Vec<(SessionId, UserId)>> {
    if ended.subject.is_none() && ended.sid.is_none() {
        // That would be everybody.
        return Ok(Vec::new());
    }
    // An app's session may outlive the one that it came from.
    let sql = Sql::new(
        "SELECT s.id, s.parent, s.user_id FROM sessions s JOIN users u ON u.id = s.user_id \
         LEFT JOIN upstream_sessions x ON x.session = COALESCE(s.parent, s.id) \
         WHERE u.connection = $1 AND u.issuer = $2",
    );
    let sql = sql
        .bind(ended.connection)
        .bind(ended.issuer)
        .and("u.subject =", ended.subject)
        .and("x.sid =", ended.sid);
    let mut sessions: Vec<(SessionId, Option<SessionId>, UserId)> = Vec::new();
    for row in (&mut *tx).rows(sql).await? {
        sessions.push((row.id("id")?, row.opt_id("parent")?, row.id("user_id")?));
    }
    let all: HashSet<_> = sessions.iter().map(|(id, ..)| id.clone()).collect();
    sessions.retain(|(_, parent, _)| parent.as_ref().is_none_or(|parent| !all.contains(parent)));
    for (id, ..) in &sessions {
        session::end(tx, id).await?;
    }
    Ok(sessions.into_iter().map(|(id, _, user)| (id, user)).collect())
}

/// Spends a logout token. Says `false` when it was spent before.
///
/// # Errors
/// When the database does not answer.
pub async fn spend_token(
    tx: &mut Tx,
    connection: &ConnectionId,
    jti: &str,
    until: Timestamp,
) -> Result<bool> {
    let sql = Sql::new(
        "INSERT INTO logout_tokens (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING",
    );
    let hash = crate::sha256(format!("{connection} {jti}"));
    Ok(tx.run(sql.bind(hash).bind(until)).await? > 0)
}
