//! Who calls: bearer tokens, browser sessions and service tokens, looked up once and remembered for as long
//! as they hold.
//!
//! What is remembered is keyed by SHA-256 of the credential (with its kind in front), ends with the
//! credential's own time, and is dropped by the change feed: a grant, person, client, session or token that
//! ends takes its entries along, a change of configuration takes all. A lookup that began before such a
//! change does not enter the memory after it: it compares a generation number under the shard's lock.

use crate::site::Site;
use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use http::HeaderValue;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use store::user::Person;
use store::{Change, Store};
use tokens::Keyring;
use tokio::sync::{broadcast, watch};
use wire::{AccountId, AppId, Client, ClientState, GrantId, GrantState, SessionId, Timestamp};

/// What a request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// An access token.
    Bearer(String),
    /// The cookie of an app session.
    Session(String),
}

/// A caller that a credential proves.
pub(crate) struct Known {
    /// At this app and no other.
    pub(crate) app: AppId,
    /// The app's account.
    pub(crate) account: AccountId,
    /// The person, perhaps through an agent.
    pub(crate) person: Person,
    pub(crate) via: Via,
    /// When the credential ends by itself.
    pub(crate) until: Timestamp,
    /// The headers for the origin, made at the first request and reused for a while.
    pub(crate) minted: ArcSwapOption<Minted>,
}

/// How the person acts.
pub(crate) enum Via {
    Browser(SessionId),
    Agent(Box<Agent>),
}

/// An agent with its grant.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) grant: GrantId,
    /// What the token may do: its scopes, as far as the grant still has them.
    pub(crate) scopes: Vec<String>,
    jti: String,
}

/// What the origin is told about the caller.
pub(crate) struct Minted {
    pub(crate) reuse_until: Timestamp,
    pub(crate) assertion: HeaderValue,
    /// `X-Chatelaine-User`, `-Email`, `-Groups`.
    pub(crate) plain: [Option<HeaderValue>; 3],
}

impl Known {
    pub(crate) fn agent(&self) -> Option<&Agent> {
        match &self.via {
            Via::Agent(agent) => Some(agent),
            Via::Browser(_) => None,
        }
    }

    fn hangs_on(&self, change: &Change) -> bool {
        match (change, &self.via) {
            (Change::Config | Change::Keys | Change::All, _) => true,
            (Change::Account(id), _) => self.account == *id,
            (Change::Organisation(id), _) => self.person.org == *id,
            (Change::Connection(id), _) => self.person.user.connection == *id,
            (Change::User(id), _) => self.person.user.id == *id,
            (Change::Session(id), Via::Browser(session)) => session == id,
            (Change::Grant(id), Via::Agent(agent)) => agent.grant == *id,
            (Change::Client(id), Via::Agent(agent)) => agent.client.id == *id,
            (Change::Token(jti), Via::Agent(agent)) => agent.jti == *jti,
            _ => false,
        }
    }
}

type Key = [u8; 32];

/// A digest is its own hash.
#[derive(Default)]
struct First8(u64);

impl Hasher for First8 {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }
    // The length that arrays and slices hash in front says nothing.
    fn write_usize(&mut self, _: usize) {}
}

type Shard = RwLock<HashMap<Key, Arc<Known>, BuildHasherDefault<First8>>>;

const SHARDS: usize = 16;
/// Entries that are remembered at the most.
const CAPACITY: usize = 100_000;

/// The memory of proven credentials.
pub(crate) struct Memory {
    shards: [Shard; SHARDS],
    /// Counts changes.
    generation: AtomicU64,
    /// Tells open streams that something changed.
    changed: watch::Sender<u64>,
    /// Whether the change feed is being followed. If not, nothing may be let through.
    following: AtomicBool,
}

impl Memory {
    fn new() -> Self {
        Self {
            shards: Default::default(),
            generation: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            following: AtomicBool::new(true),
        }
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[usize::from(key[31]) % SHARDS]
    }

    fn get(&self, key: &Key) -> Option<Arc<Known>> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    fn insert(&self, key: Key, known: Arc<Known>, generation: u64, now: Timestamp) {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        // Whoever changes the generation takes this lock after it, so nothing stale survives.
        if self.generation.load(Ordering::SeqCst) != generation {
            return;
        }
        if shard.len() >= CAPACITY / SHARDS {
            shard.retain(|_, known| now < known.until);
        }
        if shard.len() >= CAPACITY / SHARDS {
            let mut spare = shard.len() / 8;
            shard.retain(|_, _| {
                let keep = spare == 0;
                spare = spare.saturating_sub(1);
                keep
            });
        }
        shard.insert(key, known);
    }

    fn forget(&self, change: &Change) {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, known| !known.hangs_on(change));
        }
        self.changed.send_replace(generation);
    }
}

/// Says, however it ends, that the feed is not followed any more.
struct Following(Arc<Memory>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.following.store(false, Ordering::SeqCst);
        self.0.forget(&Change::All);
    }
}

/// Proves credentials.
#[derive(Clone)]
pub(crate) struct Credentials {
    store: Store,
    keyring: Keyring,
    memory: Arc<Memory>,
}

/// The credential proves nothing (any more).
pub(crate) struct Invalid;

impl Credentials {
    /// Begins to follow the change feed.
    pub(crate) fn new(store: Store, keyring: Keyring) -> Self {
        let memory = Arc::new(Memory::new());
        let mut changes = store.changes();
        let following = Following(Arc::clone(&memory));
        tokio::spawn(async move {
            loop {
                match changes.recv().await {
                    Ok(change) => following.0.forget(&change),
                    Err(broadcast::error::RecvError::Lagged(_)) => following.0.forget(&Change::All),
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        });
        Self {
            store,
            keyring,
            memory,
        }
    }

    /// Whether what is remembered can be relied on. If not, everything must be denied.
    pub(crate) fn are_current(&self) -> bool {
        self.memory.following.load(Ordering::Relaxed) && self.store.is_current()
    }

    /// Wakes when something changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.memory.changed.subscribe()
    }

    /// Who shows this credential at this app. Whether they may use it is not asked here.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn prove(
        &self,
        site: &Site,
        credential: &Credential,
        now: Timestamp,
    ) -> store::Result<Result<Arc<Known>, Invalid>> {
        let key = key(credential);
        if let Some(known) = self.memory.get(&key)
            && known.app == site.view.app.id
            && now < known.until
        {
            return Ok(Ok(known));
        }
        let generation = self.memory.generation.load(Ordering::SeqCst);
        let known = match credential {
            Credential::Bearer(token) => self.bearer(site, token, now).await?,
            Credential::Session(cookie) => self.session(site, cookie, now).await?,
        };
        let Some(known) = known else {
            return Ok(Err(Invalid));
        };
        let known = Arc::new(known);
        if now < known.until {
            self.memory.insert(key, Arc::clone(&known), generation, now);
        }
        Ok(Ok(known))
    }

    async fn bearer(&self, site: &Site, token: &str, now: Timestamp) -> store::Result<Option<Known>> {
        let view = &site.view;
        let verified = self
            .keyring
            .verify_access(&view.org, token, &view.app.issuer, view.resource());
        let claims = match verified {
            Ok(claims) => claims,
            Err(refused) => {
                tracing::debug!(app = %view.app.id, %refused, "access token refused");
                return Ok(None);
            }
        };
        let app = &view.app.id;
        let (grant, person, client, revoked) = tokio::try_join!(
            store::grant::of_app(&self.store, app, &claims.grant, now),
            store::user::by_id(&self.store, &claims.sub),
            store::client::by_client_id(&self.store, app, &claims.client_id, now),
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
            client: registered.client,
            grant: grant.id,
            jti: claims.jti,
        };
        Ok(Some(Known {
            app: app.clone(),
            account: view.account.id.clone(),
            person,
            via: Via::Agent(Box::new(agent)),
            until: grant.expires_at.min(Timestamp::from_seconds(claims.exp)),
            minted: ArcSwapOption::empty(),
        }))
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
        Ok(Some(Known {
            app: view.app.id.clone(),
            account: view.account.id.clone(),
            person,
            via: Via::Browser(record.id),
            until: record.expires_at,
            minted: ArcSwapOption::empty(),
        }))
    }
}

fn key(credential: &Credential) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    let secret = match credential {
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
