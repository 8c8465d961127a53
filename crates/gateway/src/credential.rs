//! Who calls: bearer tokens, browser sessions and service tokens, looked up once and remembered for as long
//! as they hold.
//!
//! What is remembered is keyed by SHA-256 of the credential (with its kind and the app in front), ends with the
//! credential's own time, and is dropped by the change feed: a grant, person, client, session or token that
//! ends takes its entries along, and nothing else does. What follows from the configuration and from the keys is worked
//! out from memory when they have changed. A lookup that began before something ended does not enter the memory after
//! it: it compares a generation number under the shard's lock. The feed is
//! heard by a task of its own; as long as it has not heard all that was announced, nothing is taken from memory, so
//! that what somebody was told has ended has ended.

mod failures;
mod flight;
mod known;
mod memory;

pub(crate) use known::{By, Known, Minted, Under};

use crate::recorder::WayIn;
use crate::site::Site;
use aws_lc_rs::digest;
use failures::Failures;
use flight::Flights;
use known::{Agent, AppSession, Service};
use memory::{Key, Memory};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::service_token::{self, Attempt};
use store::{Error, Store};
use tokens::Keyring;
use tokio::sync::{Semaphore, watch};
use wire::{Client, ClientState, GrantState, ServiceTokenId, Timestamp};

/// So many credentials are proven at once at the most; others wait.
const PROOFS: usize = 8;
/// So many of them for what nobody waits for at this moment.
const LATER: usize = 2;

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// An access token.
    Bearer(String),
    /// The cookie of an app session.
    Session(String),
    /// A service token.
    Service { id: ServiceTokenId, secret: String },
}

/// Proves credentials.
#[derive(Clone)]
pub(crate) struct Credentials {
    store: Store,
    keyring: Keyring,
    memory: Arc<Memory>,
    failures: Arc<Failures>,
    flights: Arc<Flights>,
    proofs: Arc<Semaphore>,
    later: Arc<Semaphore>,
}

/// The credential proves nothing (any more).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Invalid {
    Wrong,
    /// And so were many before it; the caller should wait for so many seconds.
    TooMany(i64),
}

impl Credentials {
    /// Begins to follow the change feed.
    pub(crate) fn new(store: Store, keyring: Keyring) -> Self {
        Self {
            memory: Memory::follow(&store),
            store,
            keyring,
            failures: Arc::default(),
            flights: Arc::default(),
            proofs: Arc::new(Semaphore::new(PROOFS)),
            later: Arc::new(Semaphore::new(LATER)),
        }
    }

    /// Whether what is remembered can be relied on. If not, everything must be denied.
    pub(crate) fn are_current(&self) -> bool {
        self.memory.is_followed() && self.store.is_current()
    }

    /// Wakes when something changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.memory.changes()
    }

    /// Who shows this credential at this app. Whether they may use it is not asked here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn prove(
        &self,
        site: &Arc<Site>,
        credential: &Credential,
        now: Timestamp,
    ) -> store::Result<Result<Arc<Known>, Invalid>> {
        let key = key(site, credential);
        if let Some(known) = self.remembered(site, &key, now).await {
            return Ok(Ok(known));
        }
        let announced = self.store.announced();
        let (this, at, shown) = (self.clone(), Arc::clone(site), credential.clone());
        let proof = async move { this.look_up(&at, (key, &shown), now).await.map_err(Arc::new) };
        let proven = self.flights.join(key, announced, proof).await;
        let proven = proven.map_err(Error::internal)?;
        // Somebody else may have asked for the app as it was a moment before.
        let fits = |known: &Arc<Known>| known.until(site, &self.keyring).is_some();
        Ok(proven.and_then(|known| {
            if fits(&known) {
                Ok(known)
            } else {
                Err(Invalid::Wrong)
            }
        }))
    }

    /// As [`Credentials::prove`], for what goes on already: whoever comes anew goes first.
    ///
    /// # Errors
    /// As [`Credentials::prove`].
    pub(crate) async fn prove_later(
        &self,
        site: &Arc<Site>,
        credential: &Credential,
        now: Timestamp,
    ) -> store::Result<Result<Arc<Known>, Invalid>> {
        if let Some(known) = self.remembered(site, &key(site, credential), now).await {
            return Ok(Ok(known));
        }
        let _turn = self.later.acquire().await.map_err(Error::internal)?;
        self.prove(site, credential, now).await
    }

    async fn remembered(&self, site: &Site, key: &Key, now: Timestamp) -> Option<Arc<Known>> {
        if !self.memory.has_heard(self.store.announced()).await {
            return None;
        }
        let known = self.memory.get(key)?;
        let until = known.until(site, &self.keyring)?;
        (now < until).then_some(known)
    }

    async fn look_up(
        &self,
        site: &Site,
        (key, credential): (Key, &Credential),
        now: Timestamp,
    ) -> store::Result<Result<Arc<Known>, Invalid>> {
        let _turn = self.proofs.acquire().await.map_err(Error::internal)?;
        let generation = self.memory.generation();
        let known = match credential {
            Credential::Bearer(token) => self.bearer(site, token, now).await?,
            Credential::Session(cookie) => self.session(site, cookie, now).await?,
            Credential::Service { id, secret } => match self.service(site, (id, secret), now).await? {
                Ok(known) => Some(known),
                Err(invalid) => return Ok(Err(invalid)),
            },
        };
        let Some(known) = known.map(Arc::new) else {
            return Ok(Err(Invalid::Wrong));
        };
        // The key that it was signed with may be over by now.
        let Some(until) = known.until(site, &self.keyring) else {
            return Ok(Err(Invalid::Wrong));
        };
        if now < until {
            self.memory.insert(key, Arc::clone(&known), generation, now);
        }
        Ok(Ok(known))
    }

    async fn bearer(&self, site: &Site, token: &str, now: Timestamp) -> store::Result<Option<Known>> {
        let view = &site.view;
        let meant_for = (site.tokens_for.issuer.as_str(), site.tokens_for.resource.as_str());
        let verified = self.keyring.verify_access_by_key(&view.org, token, meant_for);
        let (claims, signed_with) = match verified {
            Ok(verified) => verified,
            Err(refused) => {
                tracing::debug!(app = %view.app.id, %refused, "access token refused");
                return Ok(None);
            }
        };
        let app = &view.app.id;
        let (grant, person, client, revoked) = tokio::try_join!(
            store::grant::of_app(&self.store, app, &claims.grant, now),
            store::user::by_id(&self.store, &claims.sub),
            store::client::by_client_id(&self.store, app, &claims.client_id),
            store::grant::is_access_token_revoked(&self.store, &claims.jti),
        )?;
        let (Some(grant), Some(person), Some(registered), false) = (grant, person, client, revoked) else {
            return Ok(None);
        };
        let fits = grant.state == GrantState::Active
            && grant.user == person.user.id
            && grant.client == registered.client.id
            && registered.client.state == ClientState::Active
            && registered.org == view.org
            && person.org == view.org;
        if !fits {
            return Ok(None);
        }
        let scopes = claims
            .scope
            .split(' ')
            .filter(|s| grant.scopes.iter().any(|g| g == s));
        let agent = Agent {
            scopes: scopes.map(ToOwned::to_owned).collect(),
            authentication: grant.authentication,
            client: Client {
                tier: registered.client.tier_at(grant.redirect_uri.as_deref()),
                ..registered.client
            },
            grant: grant.id,
            jti: claims.jti,
            key: signed_with,
            meant_for: Arc::clone(&site.tokens_for),
            way_in: WayIn::default(),
        };
        let ends = grant.expires_at.min(Timestamp::from_seconds(claims.exp));
        let by = By::Agent(Box::new(person), Box::new(agent));
        Ok(Some(Known::new(view, by, ends)))
    }

    async fn session(&self, site: &Site, cookie: &str, now: Timestamp) -> store::Result<Option<Known>> {
        let view = &site.view;
        let record = store::session::by_hash(&self.store, &store::sha256(cookie), now).await?;
        let Some(record) = record else { return Ok(None) };
        if record.app.as_ref() != Some(&view.app.id) || record.org.as_ref() != Some(&view.org) {
            return Ok(None);
        }
        let Some(user) = &record.user else { return Ok(None) };
        let person = store::user::by_id(&self.store, user).await?;
        let Some(person) = person.filter(|p| p.org == view.org) else {
            return Ok(None);
        };
        let session = AppSession {
            id: record.id,
            authentication: record.authentication,
        };
        let by = By::Browser(Box::new(person), Box::new(session));
        Ok(Some(Known::new(view, by, record.expires_at)))
    }

    /// A token of another account is like one that does not exist.
    async fn service(
        &self,
        site: &Site,
        (id, secret): (&ServiceTokenId, &str),
        now: Timestamp,
    ) -> store::Result<Result<Known, Invalid>> {
        let view = &site.view;
        let hash = service_token::SECRET.hash_of(secret);
        let Some(hash) = hash.filter(|_| !self.failures.is_unknown(id, now)) else {
            return Ok(Err(self.failures.add(id, false, now)));
        };
        let attempt = service_token::prove(&self.store, id, &hash, now).await?;
        let is_unknown = matches!(attempt, Attempt::Unknown);
        let proven = match attempt {
            Attempt::Proven(proven) if proven.org == view.org && proven.account == view.account.id => proven,
            _ => return Ok(Err(self.failures.add(id, is_unknown, now))),
        };
        let service = Service {
            id: proven.id,
            name: proven.name,
            noted: AtomicI64::new(0),
        };
        let ends = proven.until.unwrap_or(Timestamp(i64::MAX));
        Ok(Ok(Known::new(view, By::Service(Box::new(service)), ends)))
    }

    /// Notes that a service token was used, now and then and without making anybody wait.
    pub(crate) fn note_use(&self, known: &Known, ip: Option<&str>, now: Timestamp) {
        let By::Service(service) = &known.by else { return };
        let noted = service.noted.load(Ordering::Relaxed);
        let is_due = now.seconds() - noted >= NOTE_EVERY;
        let (seconds, order) = (now.seconds(), Ordering::Relaxed);
        if !is_due
            || service
                .noted
                .compare_exchange(noted, seconds, order, order)
                .is_err()
        {
            return;
        }
        let (store, id, app) = (self.store.clone(), service.id.clone(), known.app.clone());
        let ip = ip.map(ToOwned::to_owned);
        tokio::spawn(async move {
            let noted = async {
                let mut tx = store.begin().await?;
                service_token::note_use(&mut tx, &id, ip.as_deref(), &app).await?;
                tx.commit_housekeeping().await
            };
            if let Err(error) = noted.await {
                tracing::warn!(%error, token = %id, "the use of a service token could not be noted");
            }
        });
    }
}

/// How often a use of a service token is noted, in seconds.
const NOTE_EVERY: i64 = 60;

fn key(site: &Site, credential: &Credential) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(site.view.app.id.as_ref().as_bytes());
    let secret = match credential {
        Credential::Service { id, secret } => {
            context.update(b"v");
            context.update(id.as_ref().as_bytes());
            secret
        }
        Credential::Bearer(token) => {
            context.update(b"b");
            token
        }
        Credential::Session(cookie) => {
            context.update(b"s");
            cookie
        }
    };
    context.update(secret.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}
