//! Who calls: bearer tokens, browser sessions and service tokens, looked up once and remembered for as long
//! as they hold.
//!
//! What is remembered is keyed by SHA-256 of the credential (with its kind in front), ends with the
//! credential's own time, and is dropped by the change feed: a grant, person, client, session or token that
//! ends takes its entries along, a change of configuration takes all. A lookup that began before such a
//! change does not enter the memory after it: it compares a generation number under the shard's lock. The feed is
//! heard by a task of its own; as long as it has not heard all that was announced, nothing is taken from memory, so
//! that what somebody was told has ended has ended.

use crate::site::Site;
use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use http::HeaderValue;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use store::access::{Principal, Proof};
use store::service_token::{self, Attempt};
use store::user::Person;
use store::{Change, Store};
use tokens::Keyring;
use tokio::sync::{broadcast, watch};
use wire::{
    AccountId, Actor, AppId, Authentication, Client, ClientState, GrantId, GrantState, OrgId, ServiceTokenId,
    SessionId, Timestamp,
};

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

/// A caller that a credential proves.
pub(crate) struct Known {
    /// At this app and no other.
    pub(crate) app: AppId,
    /// The app's account.
    pub(crate) account: AccountId,
    pub(crate) by: By,
    /// When the credential ends by itself.
    pub(crate) until: Timestamp,
    /// Which keys it was proven with, and the headers are signed with.
    keys: u64,
    /// The headers for the origin, made at the first request and reused for a while.
    pub(crate) minted: ArcSwapOption<Minted>,
}

/// Who acts.
pub(crate) enum By {
    /// A person in a browser, by a session.
    Browser(Box<Person>, Box<AppSession>),
    /// An agent for a person.
    Agent(Box<Person>, Box<Agent>),
    /// A service token, for nobody.
    Service(Box<Service>),
}

/// A session at the app.
pub(crate) struct AppSession {
    pub(crate) id: SessionId,
    /// How the person proved who they are, in the session that it came from.
    pub(crate) authentication: Authentication,
}

/// A service token that was proven.
pub(crate) struct Service {
    pub(crate) id: ServiceTokenId,
    pub(crate) name: String,
    org: OrgId,
    /// When a use was noted last, in seconds.
    noted: AtomicI64,
}

/// An agent with its grant.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) grant: GrantId,
    /// How the person had proved who they are when they gave the grant.
    pub(crate) authentication: Authentication,
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
        match &self.by {
            By::Agent(_, agent) => Some(agent),
            By::Browser(..) | By::Service(_) => None,
        }
    }

    /// The person, perhaps through an agent.
    pub(crate) fn person(&self) -> Option<&Person> {
        match &self.by {
            By::Browser(person, _) | By::Agent(person, _) => Some(person),
            By::Service(_) => None,
        }
    }

    /// Who asks, to the access decision.
    pub(crate) fn principal(&self) -> Principal<'_> {
        match &self.by {
            By::Browser(person, session) => Principal::Person(person, Proof::Of(&session.authentication)),
            By::Agent(person, agent) => Principal::Agent {
                person,
                proof: Proof::Of(&agent.authentication),
                client: &agent.client,
                scopes: Some(&agent.scopes),
            },
            By::Service(service) => Principal::Service(&service.id),
        }
    }

    pub(crate) const fn is_browser(&self) -> bool {
        matches!(self.by, By::Browser(..))
    }

    pub(crate) const fn actor(&self) -> Actor {
        match self.by {
            By::Browser(..) => Actor::Browser,
            By::Agent(..) => Actor::Agent,
            By::Service(_) => Actor::Service,
        }
    }

    fn org(&self) -> &OrgId {
        match &self.by {
            By::Browser(person, _) | By::Agent(person, _) => &person.org,
            By::Service(service) => &service.org,
        }
    }

    fn hangs_on(&self, change: &Change) -> bool {
        match (change, &self.by) {
            (Change::Config | Change::Keys | Change::All, _) => true,
            (Change::Account(id), _) => self.account == *id,
            (Change::Organisation(id), _) => self.org() == id,
            (Change::Connection(id), By::Browser(person, _) | By::Agent(person, _)) => {
                person.user.connection == *id
            }
            (Change::User(id), By::Browser(person, _) | By::Agent(person, _)) => person.user.id == *id,
            (Change::Session(id), By::Browser(_, session)) => session.id == *id,
            (Change::Grant(id), By::Agent(_, agent)) => agent.grant == *id,
            (Change::Client(id), By::Agent(_, agent)) => agent.client.id == *id,
            (Change::Token(jti), By::Agent(_, agent)) => agent.jti == *jti,
            (Change::ServiceToken(id), By::Service(service)) => service.id == *id,
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
    /// Changes of the feed that were heard.
    heard: AtomicU64,
    /// Tells open streams that something changed.
    changed: watch::Sender<u64>,
    /// Whether the change feed is being followed. If not, nothing may be let through.
    following: AtomicBool,
}

impl Memory {
    fn new(heard: u64) -> Self {
        Self {
            shards: Default::default(),
            generation: AtomicU64::new(0),
            heard: AtomicU64::new(heard),
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

    /// Forgets what so many changes concern.
    fn hear(&self, change: &Change, count: u64) {
        self.forget(change);
        self.heard.fetch_add(count, Ordering::SeqCst);
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
    failures: Arc<Failures>,
}

/// The credential proves nothing (any more).
pub(crate) enum Invalid {
    Wrong,
    /// And so were many before it; the caller should wait for so many seconds.
    TooMany(i64),
}

impl Credentials {
    /// Begins to follow the change feed.
    pub(crate) fn new(store: Store, keyring: Keyring) -> Self {
        let (heard, mut changes) = store.follow();
        let memory = Arc::new(Memory::new(heard));
        let following = Following(Arc::clone(&memory));
        tokio::spawn(async move {
            loop {
                match changes.recv().await {
                    Ok(change) => following.0.hear(&change, 1),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        following.0.hear(&Change::All, missed);
                    }
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        });
        Self {
            store,
            keyring,
            memory,
            failures: Arc::default(),
        }
    }

    /// Whether what is remembered can be relied on. If not, everything must be denied.
    pub(crate) fn are_current(&self) -> bool {
        self.memory.following.load(Ordering::Relaxed) && self.store.is_current()
    }

    /// Whether everything was forgotten that has to be by now.
    fn has_heard_all(&self) -> bool {
        self.memory.heard.load(Ordering::SeqCst) >= self.store.announced()
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
        let key = key(site, credential);
        if self.has_heard_all()
            && let Some(known) = self.memory.get(&key)
            && known.app == site.view.app.id
            && known.keys == self.keyring.generation()
            && now < known.until
        {
            return Ok(Ok(known));
        }
        let generation = self.memory.generation.load(Ordering::SeqCst);
        let keys = self.keyring.generation();
        let known = match credential {
            Credential::Bearer(token) => self.bearer(site, token, now).await?,
            Credential::Session(cookie) => self.session(site, cookie, now).await?,
            Credential::Service { id, secret } => match self.service(site, (id, secret), now).await? {
                Ok(known) => Some(known),
                Err(invalid) => return Ok(Err(invalid)),
            },
        };
        let Some(known) = known else {
            return Ok(Err(Invalid::Wrong));
        };
        let mut known = known;
        known.keys = keys;
        // After that the provider may have vouched anew: it is looked up once more.
        if let Some(until) = site.view.good_until(known.principal()) {
            known.until = known.until.min(until);
        }
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
        };
        Ok(Some(Known {
            app: app.clone(),
            account: view.account.id.clone(),
            by: By::Agent(Box::new(person), Box::new(agent)),
            until: grant.expires_at.min(Timestamp::from_seconds(claims.exp)),
            keys: 0,
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
            by: By::Browser(
                Box::new(person),
                Box::new(AppSession {
                    id: record.id,
                    authentication: record.authentication,
                }),
            ),
            until: record.expires_at,
            keys: 0,
            minted: ArcSwapOption::empty(),
        }))
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
            org: proven.org,
            noted: AtomicI64::new(0),
        };
        Ok(Ok(Known {
            app: view.app.id.clone(),
            account: view.account.id.clone(),
            by: By::Service(Box::new(service)),
            until: proven.until.unwrap_or(Timestamp(i64::MAX)),
            keys: 0,
            minted: ArcSwapOption::empty(),
        }))
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
/// Within so many seconds …
const WINDOW: i64 = 60;
/// … so many wrong secrets of one identifier are just wrong.
const PATIENCE: u32 = 20;
/// For so long an identifier that does not exist is not looked up again, in seconds.
const UNKNOWN_FOR: i64 = 10;
/// Identifiers whose failures are remembered at the most.
const REMEMBERED: usize = 10_000;

/// Wrong service tokens, counted by identifier. The right secret is let in however many were wrong, so that
/// nobody can lock a token's owner out.
#[derive(Default)]
struct Failures(Mutex<HashMap<ServiceTokenId, Failure>>);

struct Failure {
    since: i64,
    count: u32,
    unknown_until: i64,
}

impl Failures {
    fn is_unknown(&self, id: &ServiceTokenId, now: Timestamp) -> bool {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(id).is_some_and(|f| now.seconds() < f.unknown_until)
    }

    fn add(&self, id: &ServiceTokenId, is_unknown: bool, now: Timestamp) -> Invalid {
        let now = now.seconds();
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= REMEMBERED && !map.contains_key(id) {
            map.retain(|_, f| now - f.since < WINDOW);
            if map.len() >= REMEMBERED {
                map.clear();
            }
        }
        let failure = map.entry(id.clone()).or_insert(Failure {
            since: now,
            count: 0,
            unknown_until: 0,
        });
        if now - failure.since >= WINDOW {
            (failure.since, failure.count) = (now, 0);
        }
        if is_unknown {
            failure.unknown_until = now + UNKNOWN_FOR;
        }
        failure.count = failure.count.saturating_add(1);
        if failure.count > PATIENCE {
            Invalid::TooMany(failure.since + WINDOW - now)
        } else {
            Invalid::Wrong
        }
    }
}

fn key(site: &Site, credential: &Credential) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    let secret = match credential {
        Credential::Service { id, secret } => {
            // One token is good at all apps of its account.
            context.update(b"v");
            context.update(site.view.app.id.as_ref().as_bytes());
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
