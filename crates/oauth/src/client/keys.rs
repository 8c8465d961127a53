//! Keys with which clients sign. They are where the client's document says, at the document's own host: another host
//! would prove something about itself. Kept, and looked for again when a key is not known, but not as often as
//! somebody makes one up.

use super::document::{Ask, Without};
use crate::Oauth;
use moka::sync::Cache;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use store::{AppView, client::Registered};
use tokens::document::{Unusable, host};
use wire::{ClientSource, Timestamp};

/// The longest set of keys, in bytes.
const LONGEST: usize = 64 * 1024;
/// How long keys are taken for what is published, in seconds.
const FRESH: i64 = 3600;
/// How long they count while nobody can tell what is published, in seconds.
const STALE: i64 = 86_400;
/// How often they are looked for again because one is not known, in seconds.
const AGAIN: i64 = 60;

struct Held {
    keys: Value,
    fetched_at: Timestamp,
}

/// Keys that were fetched.
pub(crate) struct Keys(Cache<String, Arc<Held>>);

impl Default for Keys {
    fn default() -> Self {
        let life = Duration::from_secs(STALE.unsigned_abs());
        Self(Cache::builder().max_capacity(1000).time_to_live(life).build())
    }
}

impl Keys {
    /// The keys of a client (RFC 7517); `news` when those that are held do not do.
    pub(crate) async fn of(
        &self,
        (oauth, view): (&Oauth, &AppView),
        client: &Registered,
        news: bool,
        may_fetch: impl Fn() -> bool + Send + Sync,
    ) -> Result<Value, Without> {
        let unusable = |code, text: &str| Without::Unusable(Unusable::new(code, text));
        let is_document = client.client.source == ClientSource::MetadataDocument;
        let stated = match is_document {
            true => {
                let ask = Ask {
                    view,
                    client_id: &client.client.client_id,
                    redirect_uri: None,
                };
                oauth.documents.get(ask, &may_fetch).await?
            }
            false => client.metadata.clone(),
        };
        if let Some(keys) = stated.get("jwks").filter(|keys| keys.is_object()) {
            return Ok(keys.clone());
        }
        let uri = stated.get("jwks_uri").and_then(Value::as_str);
        let uri = uri.ok_or_else(|| unusable("no_keys", "it names no keys"))?;
        if is_document && (host(uri).is_none() || host(uri) != client.client.verified_host) {
            let text = "its jwks_uri is not at the host of the document";
            return Err(unusable("keys_elsewhere", text));
        }
        let now = oauth.store.clock().now();
        let held = self.0.get(uri);
        let life = if news { AGAIN } else { FRESH };
        if let Some(held) = held
            .as_ref()
            .filter(|held| now < held.fetched_at.plus_seconds(life))
        {
            return Ok(held.keys.clone());
        }
        if !may_fetch() {
            return Err(Without::TooMany);
        }
        match oauth.documents.json(uri, LONGEST).await {
            Ok(keys) => {
                let fetched = Held {
                    keys: keys.clone(),
                    fetched_at: now,
                };
                self.0.insert(uri.to_owned(), Arc::new(fetched));
                Ok(keys)
            }
            Err(unusable) => {
                let good = held.filter(|held| now < held.fetched_at.plus_seconds(STALE));
                good.map_or(Err(Without::Unusable(unusable)), |held| Ok(held.keys.clone()))
            }
        }
    }
}
