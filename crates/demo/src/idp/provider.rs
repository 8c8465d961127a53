//! The provider's memory: sessions, codes, access tokens, used tickets. Everything in it expires.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::keys::{self, Keys};
use super::{Config, User};

/// Seconds that a person has to fill in the form.
pub(super) const TICKET_LIFE: i64 = 600;
/// Seconds of single sign-on.
pub(super) const SESSION_LIFE: i64 = 8 * 3600;
/// Seconds in which a code can be redeemed.
pub(super) const CODE_LIFE: i64 = 60;
/// Seconds that id and access tokens are good for.
pub(super) const TOKEN_LIFE: i64 = 900;

/// What was asked at the authorization endpoint, once it is known to be valid.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) code_challenge: String,
}

/// A sign-in at the provider.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) sub: String,
    pub(super) auth_time: i64,
}

/// What a code stands for.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) request: Request,
    pub(super) session: Session,
    /// The access token that it yielded; `Some` from the first attempt on, good or bad.
    spent: Option<String>,
}

/// What an access token is good for at the userinfo endpoint.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) sub: String,
    pub(super) scope: String,
}

/// Things by their random name, each until a moment.
struct Expiring<T>(HashMap<String, (i64, T)>);

impl<T> Expiring<T> {
    fn put(&mut self, name: String, until: i64, now: i64, thing: T) {
        self.0.retain(|_, (until, _)| now < *until);
        self.0.insert(name, (until, thing));
    }

    fn get(&mut self, name: &str, now: i64) -> Option<&mut T> {
        self.0
            .get_mut(name)
            .filter(|(until, _)| now < *until)
            .map(|(_, thing)| thing)
    }
}

impl<T> Default for Expiring<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[derive(Default)]
struct Memory {
    sessions: Expiring<Session>,
    codes: Expiring<Code>,
    access: Expiring<Access>,
    used_tickets: Expiring<()>,
}

pub(super) struct Provider {
    pub(super) config: Config,
    pub(super) keys: Keys,
    memory: Mutex<Memory>,
}

impl Provider {
    pub(super) fn new(mut config: Config) -> anyhow::Result<Self> {
        config.issuer.truncate(config.issuer.trim_end_matches('/').len());
        Ok(Self {
            config,
            keys: Keys::generate()?,
            memory: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> i64 {
        self.config.clock.now()
    }

    pub(super) fn user(&self, sub: &str) -> Option<&User> {
        self.config.users.iter().find(|user| user.sub == sub)
    }

    /// The person with this name and password.
    pub(super) fn authenticate(&self, username: &str, password: &str) -> Option<&User> {
        let user = self
            .config
            .users
            .iter()
            .find(|user| user.username == username.trim());
        // An unknown name costs as much as a wrong password.
        let matches = keys::same(user.map_or("", |user| &user.password), password);
        user.filter(|_| matches)
    }

    /// Marks a ticket as used; false when it was already.
    pub(super) fn use_ticket(&self, id: &str, until: i64) -> bool {
        let now = self.now();
        let mut memory = self.memory();
        let fresh = memory.used_tickets.get(id, now).is_none();
        memory.used_tickets.put(id.to_owned(), until, now, ());
        fresh
    }

    /// Begins a session and returns the value of its cookie.
    pub(super) fn begin_session(&self, session: Session) -> anyhow::Result<String> {
        let (name, now) = (keys::random()?, self.now());
        self.memory()
            .sessions
            .put(name.clone(), now + SESSION_LIFE, now, session);
        Ok(name)
    }

    pub(super) fn session(&self, cookie: &str) -> Option<Session> {
        self.memory().sessions.get(cookie, self.now()).cloned()
    }

    pub(super) fn end_session(&self, cookie: &str) {
        self.memory().sessions.0.remove(cookie);
    }

    /// A code for `request`, granted to the person of `session`.
    pub(super) fn issue_code(&self, request: Request, session: Session) -> anyhow::Result<String> {
        let (name, now) = (keys::random()?, self.now());
        self.memory().codes.put(
            name.clone(),
            now + CODE_LIFE,
            now,
            Code {
                request,
                session,
                spent: None,
            },
        );
        Ok(name)
    }

    /// Takes a code out of use and returns it with an access token that is not good for anything yet. A second
    /// attempt finds nothing and takes back what the first one yielded (RFC 6749, section 4.1.2).
    pub(super) fn spend_code(&self, name: &str) -> anyhow::Result<Option<(Code, String)>> {
        let access = keys::random()?;
        let now = self.now();
        let mut memory = self.memory();
        let Some(code) = memory.codes.get(name, now) else {
            return Ok(None);
        };
        if let Some(yielded) = code.spent.clone() {
            memory.access.0.remove(&yielded);
            return Ok(None);
        }
        code.spent = Some(access.clone());
        Ok(Some((code.clone(), access)))
    }

    /// Makes the access token of a code good.
    pub(super) fn grant_access(&self, token: String, access: Access) {
        let now = self.now();
        self.memory().access.put(token, now + TOKEN_LIFE, now, access);
    }

    pub(super) fn access(&self, token: &str) -> Option<Access> {
        self.memory().access.get(token, self.now()).cloned()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
