//! Which document a client is known by.
//!
//! ```text
//! decided by the organisation (pinned, refused) > fetched, 1 h old at the most > catalogue, if the redirect is there
//!     > fetched now > fetched, 7 days old at the most > catalogue
//! ```
//! Documents come from strangers: errors are never kept, and a fetch that fails takes nothing away that was good. What
//! is fetched is in memory; it is stored once somebody allowed its agent something, and then fetched again now and then.

use super::egress::{Egress, Fetching};
use super::{metadata, redirect};
use moka::future::Cache;
use outbound::Outbound;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::agent_document::{self, Decision, Fetched};
use store::{AppView, Store};
use tokens::document::{Unusable, fetch};
use wire::{OauthSettings, Timestamp};

pub(crate) use tokens::document::host;

/// How long a document is taken for what is published, in seconds.
const FRESH: i64 = 3600;
/// How long it counts while nobody can tell what is published, in seconds.
const STALE: i64 = 7 * 86_400;
/// How often a document that is stored is fetched again, in seconds.
const RENEWED: i64 = 6 * 3600;

/// Finds documents. Apps share what was fetched; each reads it under its own rules.
pub(crate) struct Documents {
    store: Store,
    outbound: Outbound,
    egress: Egress,
    kept: Cache<String, Arc<Fetched>>,
    /// What is being fetched.
    flights: Cache<String, Arc<Fetched>>,
    /// Of the catalogue, what is used and nobody fetched yet.
    wanted: Mutex<BTreeSet<String>>,
}

/// A document, for whom it is asked.
pub(crate) struct Ask<'a> {
    pub(crate) view: &'a AppView,
    pub(crate) client_id: &'a str,
    /// Where the client wants its codes, if that is known.
    pub(crate) redirect_uri: Option<&'a str>,
}

/// Why there is no document.
#[derive(Debug)]
pub(crate) enum Without {
    /// There is none that can be used.
    Unusable(Unusable),
    /// It would have to be fetched, and too many were.
    TooMany,
    /// The store failed.
    Store(store::Error),
}

impl Documents {
    pub(crate) fn new(store: Store, outbound: Outbound, fetching: Fetching) -> Self {
        let life = Duration::from_secs(STALE.unsigned_abs());
        let kept = Cache::builder().max_capacity(10_000).time_to_live(life).build();
        Self {
            store,
            outbound,
            egress: Egress::new(fetching),
            kept,
            flights: Cache::new(1000),
            wanted: Mutex::default(),
        }
    }

    /// The same, fetching or not.
    pub(crate) fn with(&self, fetching: Fetching) -> Self {
        Self::new(self.store.clone(), self.outbound.clone(), fetching)
    }

    /// Fetches something that a document leads to.
    pub(crate) async fn json(&self, url: &str, longest: usize) -> Result<Value, Unusable> {
        self.egress.check(self.now())?;
        tokens::document::json(&self.outbound, url, longest).await
    }

    fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    /// Takes a document as fetched just now.
    pub(crate) async fn keep(&self, client_id: &str, document: Value) -> Arc<Fetched> {
        let fetched = Arc::new(Fetched {
            document,
            fetched_at: self.now(),
        });
        let kept = Arc::clone(&fetched);
        self.kept.insert(client_id.to_owned(), kept).await;
        fetched
    }

    /// The document of a client; `may_fetch` is asked before one is fetched.
    pub(crate) async fn get(
        &self,
        ask: Ask<'_>,
        may_fetch: impl FnOnce() -> bool + Send,
    ) -> Result<Value, Without> {
        let client_id = ask.client_id;
        match ask.view.documents.of(client_id) {
            Some(Decision::Pin(document)) => return Ok(document.clone()),
            Some(Decision::Refuse) => {
                let text = "an administrator of the organisation refused it";
                return Err(Without::Unusable(Unusable::new("refused", text)));
            }
            None => {}
        }
        let kept = self.kept(client_id).await.map_err(Without::Store)?;
        let is_younger = |age| {
            kept.as_ref()
                .filter(|kept| self.now() < kept.fetched_at.plus_seconds(age))
        };
        if let Some(kept) = is_younger(FRESH) {
            return Ok(kept.document.clone());
        }
        let known = wire::known_agent(client_id);
        let known = known.and_then(|entry| Some((entry, entry.document.as_ref()?)));
        if let Some((entry, document)) = known.filter(|_| kept.is_none()) {
            let listed = entry.redirect_uris();
            let is_there = |asked: &str| listed.iter().any(|known| redirect::matches(known, asked));
            if ask.redirect_uri.is_none_or(is_there) {
                self.want(client_id);
                return Ok(document.clone());
            }
        }
        let fallback = is_younger(STALE).map(|kept| &kept.document);
        let fallback = fallback.or(known.map(|(_, document)| document));
        let now = self.now();
        let unusable = match self.egress.check(now) {
            Err(unusable) => Without::Unusable(unusable),
            Ok(()) => match may_fetch() {
                false => Without::TooMany,
                true => match self.fetch(client_id).await {
                    Ok(fetched) => return Ok(fetched.document.clone()),
                    Err(unusable) => Without::Unusable(unusable),
                },
            },
        };
        fallback.cloned().ok_or(unusable)
    }

    /// What was fetched of a document last.
    async fn kept(&self, client_id: &str) -> store::Result<Option<Arc<Fetched>>> {
        let kept = self.kept.get(client_id).await;
        let is_fresh = |kept: &Arc<Fetched>| self.now() < kept.fetched_at.plus_seconds(FRESH);
        if kept.as_ref().is_some_and(is_fresh) {
            return Ok(kept);
        }
        // Another instance may have seen it since.
        let stored = agent_document::fetched(&self.store, client_id).await?;
        let stored = stored.filter(|stored| {
            kept.as_ref()
                .is_none_or(|kept| kept.fetched_at < stored.fetched_at)
        });
        let Some(stored) = stored.map(Arc::new) else {
            return Ok(kept);
        };
        self.kept.insert(client_id.to_owned(), Arc::clone(&stored)).await;
        Ok(Some(stored))
    }

    /// Fetches a document; whoever asks for it at the same time shares the fetch. What is kept stays until there is better.
    async fn fetch(&self, client_id: &str) -> Result<Arc<Fetched>, Unusable> {
        let fetching = async {
            let fetched = fetch(&self.outbound, client_id).await;
            self.egress.note(client_id, &fetched, self.now());
            Ok(self.keep(client_id, fetched?).await)
        };
        let fetched = self.flights.try_get_with(client_id.to_owned(), fetching).await;
        self.flights.invalidate(client_id).await;
        fetched.map_err(|unusable: Arc<Unusable>| unusable.as_ref().clone())
    }

    fn want(&self, client_id: &str) {
        if !self.egress.is_off() {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.insert(client_id.to_owned());
        }
    }

    /// Stores what was fetched of an agent's document, together with what somebody allowed the agent.
    pub(crate) async fn store(&self, tx: &mut store::Tx, client_id: &str) -> store::Result<()> {
        match self.kept.get(client_id).await {
            Some(fetched) => agent_document::keep(tx, client_id, &fetched).await,
            None => Ok(()),
        }
    }

    /// Looks what is published now: of the documents that are stored, from time to time, and of those of the catalogue that
    /// were used. What cannot be fetched, or is no document, changes nothing.
    pub(crate) async fn renew(&self) -> store::Result<()> {
        if self.egress.is_off() {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        let due = agent_document::claim_due(&mut tx, self.now().plus_seconds(-RENEWED)).await?;
        tx.commit_housekeeping().await?;
        let wanted = std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        for client_id in due.into_iter().chain(wanted) {
            if let Err(unusable) = self.egress.check(self.now()) {
                tracing::debug!(why = unusable.text, "documents of agents are not renewed");
                return Ok(());
            }
            match self.fetch(&client_id).await {
                Ok(fetched) => {
                    let mut tx = self.store.begin().await?;
                    agent_document::renew(&mut tx, &client_id, &fetched).await?;
                    tx.commit_housekeeping().await?;
                }
                Err(unusable) => {
                    tracing::warn!(
                        client_id,
                        why = unusable.text,
                        "the document of an agent could not be renewed"
                    );
                }
            }
        }
        Ok(())
    }
}

/// Reads a document under the rules of an app.
pub(crate) fn read(
    document: &Value,
    host: &str,
    app: &OauthSettings,
) -> Result<metadata::Metadata, metadata::Refusal> {
    metadata::parse(document, app, metadata::Origin::Document { host })
}
