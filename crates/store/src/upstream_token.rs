//! Refresh tokens of providers: with one, a provider is asked whether it still vouches for a person, without a browser.
//! They are sealed, and leave this module only for whoever claimed the asking.

use crate::sql::{Run, Sql, opt};
use crate::user::{self, Person};
use crate::{Change, Result, Store, Tx, audit, session};
use wire::{ActorKind, AuditActor, AuditEvent, Connection, ConnectionId, Timestamp, UserId};
use zeroize::Zeroizing;

/// Why a person's sessions end when the provider does not vouch for them any more, in the log.
const WITHDRAWN: &str = "provider_withdrew";

/// One that was claimed: nobody else asks with it for a while.
pub struct Claimed {
    /// About whom.
    pub user: UserId,
    /// Through which connection they had signed in.
    pub connection: ConnectionId,
    /// With which client of which provider it was got; as [`keep`] was told.
    pub client: String,
    /// In clear.
    pub token: Zeroizing<String>,
    /// As it is stored: whether it is still this one.
    sealed: String,
}

/// Keeps the token that came with a sign-in, in place of the person's last one. Without one, the last one stays if it
/// is of the same client: some providers send one at the first sign-in only.
///
/// # Errors
/// When the database does not answer.
pub async fn keep(
    tx: &mut Tx,
    user: &UserId,
    (connection, client): (&ConnectionId, &str),
    token: Option<&str>,
) -> Result<()> {
    let now = tx.now();
    let Some(token) = token else {
        let others =
            Sql::new("DELETE FROM upstream_tokens WHERE user_id = $1 AND (connection <> $2 OR client <> $3)");
        tx.run(others.bind(user).bind(connection).bind(client)).await?;
        let asked = Sql::new("UPDATE upstream_tokens SET asked_at = $1, used_at = $1 WHERE user_id = $2");
        return tx.run(asked.bind(now).bind(user)).await.map(drop);
    };
    let sealed = tx.vault().seal(user.as_ref(), token.as_bytes())?;
    let values = [
        ("user_id", user.into()),
        ("connection", connection.into()),
        ("client", client.into()),
        ("token", sealed.into()),
        ("asked_at", now.into()),
        ("used_at", now.into()),
    ];
    let sql = Sql::insert("upstream_tokens", values).then(
        " ON CONFLICT (user_id) DO UPDATE SET connection = excluded.connection, client = excluded.client, \
         token = excluded.token, asked_at = excluded.asked_at, used_at = excluded.used_at",
    );
    tx.run(sql).await.map(drop)
}

/// The people about whom no provider was asked since a moment, those first who waited longest.
///
/// # Errors
/// When the database does not answer.
pub async fn due(store: &Store, since: Timestamp, limit: u32) -> Result<Vec<UserId>> {
    let sql = Sql::new("SELECT user_id FROM upstream_tokens WHERE asked_at <= $1 ORDER BY asked_at");
    let mut db = store;
    let rows = db.rows(sql.bind(since).limit(limit)).await?;
    rows.iter().map(|row| row.id("user_id")).collect()
}

/// Claims the asking about a person, if nobody has since that moment; `None` as well where nothing of theirs goes on,
/// so that there is nothing to ask for.
///
/// # Errors
/// `Internal` when the token does not open.
pub async fn claim(tx: &mut Tx, user: &UserId, since: Timestamp) -> Result<Option<Claimed>> {
    let now = tx.now();
    let sql = Sql::new(concat!(
        "UPDATE upstream_tokens SET asked_at = $1 WHERE user_id = $2 AND asked_at <= $3 RETURNING ",
        upstream_tokens!()
    ));
    let rows = (&mut *tx).rows(sql.bind(now).bind(user).bind(since)).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let connection: ConnectionId = row.id("connection")?;
    let person = user::by_id(&mut *tx, user).await?;
    if person.is_none_or(|person| person.user.disabled || person.user.connection != connection) {
        drop_of(tx, user).await?;
        return Ok(None);
    }
    let goes_on = Sql::new(
        "SELECT id FROM users WHERE id = $1 AND (\
         EXISTS (SELECT 1 FROM sessions s WHERE s.user_id = users.id AND s.expires_at > $2) \
         OR EXISTS (SELECT 1 FROM grants g WHERE g.user_id = users.id AND g.revoked_at IS NULL AND g.expires_at > $2) \
         OR EXISTS (SELECT 1 FROM api_tokens t WHERE t.owner = users.id \
         AND (t.expires_at IS NULL OR t.expires_at > $2)))",
    );
    if opt(&mut *tx, goes_on.bind(user).bind(now)).await?.is_none() {
        return Ok(None);
    }
    let sealed = row.text("token")?;
    let bytes = tx.vault().open(user.as_ref(), &sealed)?;
    let text = std::str::from_utf8(&bytes).map_err(crate::Error::internal)?;
    Ok(Some(Claimed {
        user: user.clone(),
        connection,
        client: row.text("client")?,
        token: Zeroizing::new(text.to_owned()),
        sealed,
    }))
}

/// The provider vouches for them: its word is of now, and the next question is asked with the token that it sent, if it
/// sent one. Nothing that is cached needs to know: whose word has run out there is looked up once more.
///
/// # Errors
/// When the database does not answer.
pub async fn renew(tx: &mut Tx, claimed: &Claimed, next: Option<&str>) -> Result<()> {
    let now = tx.now();
    let next = next.map(|token| tx.vault().seal(claimed.user.as_ref(), token.as_bytes()));
    let next = next.transpose()?.unwrap_or_else(|| claimed.sealed.clone());
    let sql =
        Sql::new("UPDATE upstream_tokens SET token = $1, used_at = $2 WHERE user_id = $3 AND token = $4");
    let sql = sql
        .bind(next)
        .bind(now)
        .bind(&claimed.user)
        .bind(claimed.sealed.as_str());
    if tx.run(sql).await? == 0 {
        // They signed in meanwhile, or were forgotten.
        return Ok(());
    }
    let sql = Sql::new("UPDATE users SET vouched_at = $1 WHERE id = $2 AND vouched_at < $1");
    tx.run(sql.bind(now).bind(&claimed.user)).await.map(drop)
}

/// The provider does not vouch for them any more: their sessions end, and nothing of theirs goes on until they have
/// signed in again. The event says so. `None` when they signed in meanwhile.
///
/// # Errors
/// When the database does not answer.
pub async fn withdraw(tx: &mut Tx, claimed: &Claimed, connection: &Connection) -> Result<Option<AuditEvent>> {
    if !forget(tx, claimed).await? {
        return Ok(None);
    }
    let user = &claimed.user;
    let Some(Person { user: found, org, .. }) = user::by_id(&mut *tx, user).await? else {
        return Ok(None);
    };
    let sql = Sql::new("UPDATE users SET vouched_at = $1 WHERE id = $2");
    tx.run(sql.bind(None::<Timestamp>).bind(user)).await?;
    session::end_all_of(tx, user, WITHDRAWN).await?;
    tx.changed(Change::User(user.clone()));
    let actor = AuditActor {
        user: Some(user.clone()),
        email: found.email,
        ..AuditActor::of(ActorKind::System)
    };
    Ok(Some(AuditEvent {
        account: connection.account.clone(),
        target: Some(audit::target(
            "connection",
            &connection.id,
            Some(&connection.spec.name),
        )),
        reason: Some(WITHDRAWN.to_owned()),
        ..audit::event(&org, "broker", "login.withdraw", actor)
    }))
}

/// Deletes what was claimed, because nobody may be asked with it. `false` when another one is there by now.
///
/// # Errors
/// When the database does not answer.
pub async fn forget(tx: &mut Tx, claimed: &Claimed) -> Result<bool> {
    let sql = Sql::new("DELETE FROM upstream_tokens WHERE user_id = $1 AND token = $2");
    Ok(tx
        .run(sql.bind(&claimed.user).bind(claimed.sealed.as_str()))
        .await?
        > 0)
}

/// Deletes whatever token of a person there is.
///
/// # Errors
/// When the database does not answer.
pub async fn drop_of(tx: &mut Tx, user: &UserId) -> Result<()> {
    let sql = Sql::new("DELETE FROM upstream_tokens WHERE user_id = $1");
    tx.run(sql.bind(user)).await.map(drop)
}
