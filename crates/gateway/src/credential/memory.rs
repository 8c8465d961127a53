//! What was proven, remembered until it ends.

use super::{By, Known};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use store::readiness::CREDENTIALS;
use store::{Change, Store};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use wire::{ClientId, GrantId, ServiceTokenId, SessionId, Timestamp, UserId};

/// SHA-256 of a credential, its kind, and the app that it is shown to.
pub(super) type Key = [u8; 32];

/// A digest is its own hash.
#[derive(Default)]
pub(super) struct First8(u64);

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

pub(super) type ByKey<T> = HashMap<Key, T, BuildHasherDefault<First8>>;

const SHARDS: usize = 16;
/// Entries that are remembered at the most.
const CAPACITY: usize = 100_000;
/// How long somebody waits for what was announced to be heard, which takes a moment, before they rely on nothing.
const MOMENT: Duration = Duration::from_millis(250);

/// What some changes end of what was proven.
///
/// A proof is made of rows: of a grant, a person, a client, a session, a service token. Each way to end one of them says
/// so of that one. Configuration and keys are none of it: how a proof reads under them is worked out anew when it is used
/// and they are not the same any more ([`Known::until`]), and whether it is enough is decided with each request.
#[derive(Default)]
struct Ended<'c> {
    all: bool,
    users: HashSet<&'c UserId>,
    sessions: HashSet<&'c SessionId>,
    grants: HashSet<&'c GrantId>,
    clients: HashSet<&'c ClientId>,
    tokens: HashSet<&'c str>,
    services: HashSet<&'c ServiceTokenId>,
}

impl<'c> Ended<'c> {
    fn by(changes: &'c [Change]) -> Option<Self> {
        let mut ended = Self::default();
        let mut ends = false;
        for change in changes {
            ends |= match change {
                Change::Config
                | Change::Account(_)
                | Change::Organisation(_)
                | Change::Connection(_)
                | Change::Keys => continue,
                Change::All => {
                    ended.all = true;
                    true
                }
                Change::User(id) => ended.users.insert(id),
                Change::Session(id) => ended.sessions.insert(id),
                Change::Grant(id) => ended.grants.insert(id),
                Change::Client(id) => ended.clients.insert(id),
                Change::Token(jti) => ended.tokens.insert(jti),
                Change::ServiceToken(id) => ended.services.insert(id),
            };
        }
        ends.then_some(ended)
    }

    fn takes(&self, known: &Known) -> bool {
        self.all
            || match &known.by {
                By::Browser(person, session) => {
                    self.users.contains(&person.user.id) || self.sessions.contains(&session.id)
                }
                By::Agent(person, agent) => {
                    self.users.contains(&person.user.id)
                        || self.grants.contains(&agent.grant)
                        || self.clients.contains(&agent.client.id)
                        || self.tokens.contains(agent.jti.as_str())
                }
                By::Service(service) => self.services.contains(&service.id),
            }
    }
}

/// The memory of proven credentials.
pub(crate) struct Memory {
    shards: [RwLock<ByKey<Arc<Known>>>; SHARDS],
    /// Counts what ended something.
    generation: AtomicU64,
    /// Changes of the feed that were heard.
    heard: watch::Sender<u64>,
    /// Tells open streams that something changed.
    changed: watch::Sender<()>,
    /// Whether the change feed is being followed. If not, nothing may be let through.
    following: AtomicBool,
}

impl Memory {
    /// Begins to follow the change feed. Should that stop, everything is denied until it is followed again.
    pub(super) fn follow(store: &Store) -> Arc<Self> {
        let (heard, changes) = store.follow();
        let memory = Arc::new(Self {
            shards: Default::default(),
            generation: AtomicU64::new(0),
            heard: watch::Sender::new(heard),
            changed: watch::Sender::new(()),
            following: AtomicBool::new(true),
        });
        let mut first = Some((heard, changes));
        let followed = Arc::clone(&memory);
        store.keep(CREDENTIALS, move |store| {
            let following = Following(Arc::clone(&followed));
            let since = first.take();
            async move {
                let changes = match since {
                    Some((_, changes)) => changes,
                    None => following.0.begin_anew(&store),
                };
                following.0.listen(changes).await;
            }
        });
        memory
    }

    /// Whatever was missed in between is as if it had ended everything.
    fn begin_anew(&self, store: &Store) -> Receiver<Change> {
        let (heard, changes) = store.follow();
        self.forget(&[Change::All]);
        self.heard.send_replace(heard);
        self.following.store(true, Ordering::SeqCst);
        changes
    }

    async fn listen(&self, mut changes: Receiver<Change>) {
        loop {
            let mut heard = Vec::new();
            let mut missed = 0;
            match changes.recv().await {
                Ok(change) => heard.push(change),
                Err(RecvError::Lagged(count)) => missed += count,
                Err(RecvError::Closed) => return,
            }
            // What came with it is looked for in one go: what is remembered may be much.
            loop {
                match changes.try_recv() {
                    Ok(change) => heard.push(change),
                    Err(TryRecvError::Lagged(count)) => missed += count,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            self.hear(heard, missed);
        }
    }

    pub(super) fn is_followed(&self) -> bool {
        self.following.load(Ordering::Relaxed)
    }

    /// Wakes when something changed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Counts what ended something. Whoever looks something up asks before, and says so when they insert it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Whether everything was forgotten that has to be by now; what was announced just now is waited for.
    pub(super) async fn has_heard(&self, announced: u64) -> bool {
        if *self.heard.borrow() >= announced {
            return true;
        }
        let mut heard = self.heard.subscribe();
        let all = heard.wait_for(|heard| *heard >= announced);
        matches!(tokio::time::timeout(MOMENT, all).await, Ok(Ok(_)))
    }

    fn shard(&self, key: &Key) -> &RwLock<ByKey<Arc<Known>>> {
        &self.shards[usize::from(key[31]) % SHARDS]
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Known>> {
        self.shard(key)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    pub(super) fn insert(&self, key: Key, known: Arc<Known>, generation: u64, now: Timestamp) {
        let mut shard = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        // Whoever changes the generation takes this lock after it, so nothing stale survives.
        if self.generation() != generation {
            return;
        }
        if shard.len() >= CAPACITY / SHARDS {
            shard.retain(|_, known| now < known.ends);
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

    fn forget(&self, changes: &[Change]) {
        if let Some(ended) = Ended::by(changes) {
            self.generation.fetch_add(1, Ordering::SeqCst);
            for shard in &self.shards {
                let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
                shard.retain(|_, known| !ended.takes(known));
            }
        }
        self.changed.send_replace(());
    }

    /// Forgets what these changes end; everything, when some were missed.
    fn hear(&self, mut changes: Vec<Change>, missed: u64) {
        let count = missed + changes.len() as u64;
        if missed > 0 {
            changes.push(Change::All);
        }
        self.forget(&changes);
        self.heard.send_modify(|heard| *heard += count);
    }
}

/// Says, however it ends, that the feed is not followed any more.
struct Following(Arc<Memory>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.following.store(false, Ordering::SeqCst);
        self.0.forget(&[Change::All]);
    }
}
