//! The control plane's browser session: a tower-sessions record in our own `sessions` table, and who is
//! signed in by it. The table is read on every request, so ending a row signs out at once.

use crate::cookie::{self, OneCookie};
use crate::{csrf, second_factor};
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use store::access::{Means, Principal, Proof};
use store::{Store, user::Person};
use tower::layer::util::Stack;
use tower_sessions::{
    Session, SessionManagerLayer, SessionStore,
    cookie::SameSite,
    session::{Id, Record},
    session_store,
};
use wire::{AuditRequest, Authentication, OrgId, SessionId, Timestamp, UserId};

/// Life of a session in which nobody is signed in, in seconds after its last change.
const ANONYMOUS_LIFE: i64 = 30 * 60;
/// Life of a signed-in session from its sign-in, in seconds.
const SIGNED_IN_LIFE: i64 = 12 * 3600;
/// How long a proof of identity is good for dangerous acts, in seconds.
const RECENT: i64 = 15 * 60;
/// By how much a provider's clock may be ahead, in seconds.
const SKEW: i64 = 300;
/// The key of [`Login`] in a session.
const LOGIN: &str = "login";

/// The name of the session cookie: with the `__Host-` prefix where the control plane is reached by https.
#[must_use]
pub fn cookie_name(control_url: &str) -> &'static str {
    if is_https(control_url) {
        "__Host-chatelaine_session"
    } else {
        "chatelaine_session"
    }
}

fn is_https(control_url: &str) -> bool {
    control_url.starts_with("https:")
}

/// The layer that gives every request of the control origin its session.
#[must_use]
pub fn session_layer(store: &Store, control_url: &str) -> Stack<SessionManagerLayer<Sessions>, OneCookie> {
    let sessions = SessionManagerLayer::new(Sessions(store.clone()))
        .with_name(cookie_name(control_url))
        .with_secure(is_https(control_url))
        .with_http_only(true)
        // Not `Strict`: the way back from the identity provider is a cross-site navigation.
        .with_same_site(SameSite::Lax)
        .with_path("/");
    Stack::new(sessions, OneCookie(cookie_name(control_url)))
}

/// The `Set-Cookie` header that makes a browser forget its session.
pub(crate) fn forget_cookie(control_url: &str) -> Option<HeaderValue> {
    cookie::set(control_url, (cookie_name(control_url), ""), Some(0))
}

/// The sessions of the control plane, as tower-sessions wants them.
#[derive(Clone)]
pub struct Sessions(Store);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// Who is signed in, as the session remembers it. Its columns in the table say the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Login {
    session: SessionId,
    user: UserId,
    org: OrgId,
    until: Timestamp,
    /// When they last proved who they are; long ago for sessions that do not say.
    #[serde(default)]
    authenticated_at: Timestamp,
    /// How they proved who they are, in this session and in no other.
    #[serde(default)]
    authentication: Authentication,
    ip: Option<String>,
    user_agent: Option<String>,
}

fn hash(id: &Id) -> String {
    store::sha256(id.to_string())
}

fn backend(error: store::Error) -> session_store::Error {
    tracing::error!(%error, source = ?error, "the session store failed");
    session_store::Error::Backend(error.to_string())
}

impl Sessions {
    fn row(&self, record: &Record) -> session_store::Result<store::session::Record> {
        let login = record.data.get(LOGIN).map(Login::deserialize).transpose();
        let login = login.map_err(|e| session_store::Error::Decode(e.to_string()))?;
        let data = serde_json::to_string(&record.data);
        let data = data.map_err(|e| session_store::Error::Encode(e.to_string()))?;
        let now = self.0.clock().now();
        Ok(match login {
            Some(login) => store::session::Record {
                id: login.session,
                org: Some(login.org),
                user: Some(login.user),
                app: None,
                parent: None,
                data,
                expires_at: login.until,
                ip: login.ip,
                user_agent: login.user_agent,
                authentication: login.authentication,
            },
            None => store::session::Record {
                id: SessionId::fresh(),
                org: None,
                // It ends with everything else that is theirs, though nobody is signed in by it.
                user: second_factor::half_of(&record.data),
                app: None,
                parent: None,
                data,
                expires_at: now.plus_seconds(ANONYMOUS_LIFE),
                ip: None,
                user_agent: None,
                authentication: Authentication::default(),
            },
        })
    }

    async fn write(&self, record: &Record, new: bool) -> session_store::Result<()> {
        let row = self.row(record)?;
        let hash = hash(&record.id);
        let written = async {
            let mut tx = self.0.begin().await?;
            if new {
                store::session::save(&mut tx, &hash, &row).await?;
            } else if !store::session::update(&mut tx, &hash, &row).await? {
                // It was ended while this request ran, and must not come back.
                tracing::debug!("a session that has ended is not saved");
            }
            tx.commit_housekeeping().await
        };
        written.await.map_err(backend)
    }
}

#[async_trait::async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.write(record, true).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.write(record, false).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let row = store::session::by_hash(&self.0, &hash(id), self.0.clock().now())
            .await
            .map_err(backend)?;
        // A session at an app is none here.
        let Some(row) = row.filter(|row| row.app.is_none()) else {
            return Ok(None);
        };
        let data: HashMap<String, serde_json::Value> =
            serde_json::from_str(&row.data).map_err(|e| session_store::Error::Decode(e.to_string()))?;
        let expires_at = time::OffsetDateTime::from_unix_timestamp(row.expires_at.seconds())
            .map_err(|e| session_store::Error::Decode(e.to_string()))?;
        Ok(Some(Record {
            id: *id,
            data,
            expiry_date: expires_at,
        }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        let deleted = async {
            let mut tx = self.0.begin().await?;
            store::session::delete_by_hash(&mut tx, &hash(id)).await?;
            tx.commit_housekeeping().await
        };
        deleted.await.map_err(backend)
    }
}

/// Somebody who is signed in to the control plane.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub person: Person,
    /// By which session.
    pub session: SessionId,
    /// When they last proved who they are: at sign-in, or later at `/login/confirm`.
    pub authenticated_at: Timestamp,
    /// How they proved it in this session: what rules about sign-in ask.
    pub authentication: Authentication,
}

/// Who is signed in, if anybody: `None` as well when the session has ended, the person or their connection was
/// disabled, or something is missing that only a new sign-in brings.
///
/// # Errors
/// When the database does not answer.
pub async fn signed_in(session: &Session, store: &Store) -> store::Result<Option<SignedIn>> {
    let login = match session.get::<Login>(LOGIN).await {
        Ok(Some(login)) => login,
        Ok(None) => return Ok(None),
        Err(error) => return Err(failure(store, error).await),
    };
    if login.until <= store.clock().now() {
        return Ok(None);
    }
    let Some(person) = store::user::by_id(store, &login.user).await? else {
        return Ok(None);
    };
    if person.org != login.org {
        return Ok(None);
    }
    // What is asked anywhere is asked here; what was made stricter holds at once.
    let Some(standing) = store::user::standing(store, &person).await? else {
        return Ok(None);
    };
    let means = Means::Browser(Proof::Of(&login.authentication));
    let lacks = standing.lacks(&person, means, store.clock().now());
    Ok(lacks.is_none().then_some(SignedIn {
        person,
        session: login.session,
        authenticated_at: login.authenticated_at,
        authentication: login.authentication,
    }))
}

/// Whose session it is, whether or not it signs them in at the moment: enough to end it.
pub(crate) async fn whose(session: &Session, store: &Store) -> store::Result<Option<SignedIn>> {
    let login = match session.get::<Login>(LOGIN).await {
        Ok(Some(login)) => login,
        Ok(None) => return Ok(None),
        Err(error) => return Err(failure(store, error).await),
    };
    let person = store::user::by_id(store, &login.user).await?;
    Ok(person.map(|person| SignedIn {
        person,
        session: login.session,
        authenticated_at: login.authenticated_at,
        authentication: login.authentication,
    }))
}

/// Whether a request came with a session that is there, whoever is signed in by it.
pub(crate) async fn is_there(session: &Session) -> bool {
    // Before it is loaded there is only what the cookie says. Whoever needs it learns of failures.
    let _ = session.get_value(LOGIN).await;
    !session.is_empty().await
}

/// Whether somebody is signed in by a session, or was until it ends.
pub(crate) async fn has_login(session: &Session) -> bool {
    matches!(session.get_value(LOGIN).await, Ok(Some(_)))
}

/// What a session error means: mostly that the database is away.
pub(crate) async fn failure(store: &Store, error: tower_sessions::session::Error) -> store::Error {
    match store.ping().await {
        Err(away) => away,
        Ok(()) => store::Error::internal(error),
    }
}

/// Somebody who has just proven who they are.
pub(crate) struct Proven<'a> {
    /// The session that begins.
    pub(crate) session: SessionId,
    /// Who.
    pub(crate) person: &'a Person,
    /// How.
    pub(crate) authentication: Authentication,
}

/// What somebody proved, as the word of the connection that they came through.
fn said_of(person: &Person, authentication: Authentication) -> Authentication {
    Authentication {
        connection: Some(person.user.connection.clone()),
        ..authentication
    }
}

/// Begins the session of a person, under a new cookie. It ends when the provider's word is as old as the
/// organisation lets it be, if not before.
pub(crate) async fn begin(
    session: &Session,
    store: &Store,
    proven: Proven<'_>,
    request: &AuditRequest,
) -> store::Result<()> {
    let now = store.clock().now();
    let person = proven.person;
    let org = store::org::get(store, &person.org).await?;
    let oldest = i64::from(org.spec.oldest_proof.sessions_seconds);
    let login = Login {
        session: proven.session,
        user: person.user.id.clone(),
        org: person.org.clone(),
        until: now.plus_seconds(SIGNED_IN_LIFE.min(oldest)),
        authenticated_at: now,
        authentication: said_of(person, proven.authentication),
        ip: request.ip.clone(),
        user_agent: request.user_agent.clone(),
    };
    // Whoever goes on as who they were, without having been asked, has not proven it once more.
    let known = session.get::<Login>(LOGIN).await.ok().flatten();
    let known = known.filter(|known| known.user == login.user && known.org == login.org);
    let login = Login {
        authenticated_at: asked_at(&login.authentication, now)
            .or(known.map(|known| known.authenticated_at))
            .unwrap_or(now),
        ..login
    };
    let begun = async {
        session.cycle_id().await?;
        session.insert(LOGIN, login).await
    };
    match begun.await {
        Ok(()) => Ok(()),
        Err(error) => Err(failure(store, error).await),
    }
}

/// When whoever comes now was asked who they are, as far as it is said: a provider that knows them from before does not
/// ask. A moment that is yet to come is none that anything could be recent since.
fn asked_at(authentication: &Authentication, now: Timestamp) -> Option<Timestamp> {
    let asked = authentication.auth_time?;
    if asked > now.plus_seconds(SKEW) {
        return Some(Timestamp::default());
    }
    Some(asked.min(now))
}

/// Notes that the person who is signed in has just proven who they are once more, and how: from now on that is how
/// they did in this session.
pub(crate) async fn renew(
    session: &Session,
    store: &Store,
    (person, authentication): (&Person, Authentication),
) -> store::Result<()> {
    let renewed = async {
        if let Some(mut login) = session.get::<Login>(LOGIN).await? {
            login.authenticated_at = store.clock().now();
            login.authentication = said_of(person, authentication);
            session.insert(LOGIN, login).await?;
        }
        Ok(())
    };
    match renewed.await {
        Ok(()) => Ok(()),
        Err(error) => Err(failure(store, error).await),
    }
}

impl SignedIn {
    /// Who asks, to the access decision.
    #[must_use]
    pub const fn principal(&self) -> Principal<'_> {
        Principal::Person(&self.person, Proof::Of(&self.authentication))
    }

    /// Whether they proved who they are in the last 15 minutes, as dangerous acts ask for.
    #[must_use]
    pub fn is_recent(&self, store: &Store) -> bool {
        self.authenticated_at.plus_seconds(RECENT) > store.clock().now()
    }

    /// The CSRF token of this session for forms of one purpose.
    #[must_use]
    pub fn csrf(&self, store: &Store, purpose: &str) -> String {
        csrf::token(store, self.session.as_ref(), purpose)
    }

    /// Whether `token` is the one of [`SignedIn::csrf`], compared in constant time.
    #[must_use]
    pub fn csrf_ok(&self, store: &Store, purpose: &str, token: &str) -> bool {
        csrf::fits(store, self.session.as_ref(), purpose, token)
    }
}
