//! Clients: how one that shows up at `/authorize` is found, and how it is remembered.
//!
//! ```text
//! client_id ─┬─ cli_… or pinned URL ── row of the app ───────────────────────────┐
//!            └─ https URL ── document (see `document`) ── Agent, not stored ──────┴─> consent page
//!                                 what changed, or has to be approved: settle() ──> row
//!                                                        consent: register() ─────> row
//! ```
//! Whoever only opens a link makes no client: it is stored once somebody allowed it, or, where an administrator has
//! to approve it first, once a person who is signed in asked for it. Neither is in the name of that person.

pub(crate) mod document;
mod egress;
pub(crate) mod keys;
pub(crate) mod metadata;
pub(crate) mod name;
pub(crate) mod redirect;
pub(crate) mod register;

use crate::{Oauth, audit, context::Request};
pub use egress::Fetching;

use document::{Ask, Without};
use metadata::{Metadata, Refusal};
use store::{AppView, client::NewClient};
use tokens::document::Unusable;
use wire::{AuditEvent, Client, ClientId, ClientSource, ClientState, ClientTier, RegistrationRules};

/// A client that shows up at `/authorize`.
pub(crate) struct Agent {
    /// As it will be stored, if it is not yet.
    pub(crate) client: Client,
    /// What its document says, where the row does not say the same (yet).
    news: Option<Metadata>,
}

/// Why there is no usable client.
pub(crate) enum Missing {
    /// Nobody registered this `client_id` here.
    Unknown,
    /// Its metadata document cannot be used, or is refused; with the reason.
    Document(Unusable),
    /// Too many documents were asked for from one network.
    TooMany,
    /// The store failed.
    Store(store::Error),
}

impl From<Without> for Missing {
    fn from(without: Without) -> Self {
        match without {
            Without::Unusable(unusable) => Self::Document(unusable),
            Without::TooMany => Self::TooMany,
            Without::Store(error) => Self::Store(error),
        }
    }
}

impl From<Refusal> for Missing {
    fn from(refusal: Refusal) -> Self {
        Self::Document(Unusable::new(refusal.code, refusal.description))
    }
}

impl From<store::Error> for Missing {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Finds the client of an authorization request, which wants its code at `redirect_uri`. Writes nothing.
pub(crate) async fn find(
    oauth: &Oauth,
    view: &AppView,
    (client_id, redirect_uri): (&str, Option<&str>),
    request: &Request,
) -> Result<Agent, Missing> {
    let now = oauth.store.clock().now();
    let known = store::client::by_client_id(&oauth.store, &view.app.id, client_id).await?;
    let known = known.map(|registered| registered.client);
    if let Some(client) = &known
        && client.source != ClientSource::MetadataDocument
    {
        return Ok(Agent {
            client: client.clone(),
            news: None,
        });
    }
    let rules = &view.app.spec.oauth.registration;
    let host = document::host(client_id).filter(|_| rules.metadata_documents);
    let host = host.ok_or(Missing::Unknown)?;
    let ask = Ask {
        view,
        client_id,
        redirect_uri,
    };
    let may_fetch = || oauth.limiters.document(request.address()).is_ok();
    let document = oauth.documents.get(ask, may_fetch).await?;
    let metadata = document::read(&document, &host, &view.app.spec.oauth)?;
    Ok(match known {
        Some(client) if same(&client, &metadata) && client.verified_host.as_ref() == Some(&host) => {
            Agent { client, news: None }
        }
        Some(client) => {
            let (tier, state) = after_change(&client, Some(&host), &metadata, rules);
            Agent {
                client: Client {
                    tier,
                    state,
                    verified_host: Some(host),
                    name: metadata.name.clone(),
                    redirect_uris: metadata.redirect_uris.clone(),
                    token_endpoint_auth_method: metadata.auth_method.clone(),
                    ..client
                },
                news: Some(metadata),
            }
        }
        None => Agent {
            client: Client {
                id: ClientId::fresh(),
                client_id: client_id.to_owned(),
                app: view.app.id.clone(),
                account: view.app.account.clone(),
                name: metadata.name.clone(),
                tier: ClientTier::earned_by_all(Some(&host), &metadata.redirect_uris),
                verified_host: Some(host),
                source: ClientSource::MetadataDocument,
                state: first_state(rules),
                redirect_uris: metadata.redirect_uris.clone(),
                token_endpoint_auth_method: metadata.auth_method.clone(),
                receiver_proven: false,
                jwks_uri: None,
                approval: None,
                first_user: None,
                created_at: now,
                last_used_at: None,
                live_grants: 0,
                version: 0,
            },
            news: Some(metadata),
        },
    })
}

impl Agent {
    /// Whether there is a row of it.
    const fn is_stored(&self) -> bool {
        self.client.version > 0
    }

    /// Whether it is known already that nobody may use it.
    pub(crate) fn is_out(&self) -> bool {
        match self.client.state {
            ClientState::Active => false,
            // What an administrator has to look at is stored first.
            ClientState::Pending => self.news.is_none(),
            ClientState::Blocked => true,
        }
    }

    /// Stores what an administrator has to know of before anybody decides: a client that waits for approval, or
    /// that changed.
    pub(crate) async fn settle(
        self,
        oauth: &Oauth,
        view: &AppView,
        request: &Request,
    ) -> Result<Self, Missing> {
        let waits = self.client.state == ClientState::Pending;
        if self.news.is_none() || !(self.is_stored() || waits) {
            return Ok(self);
        }
        if !self.is_stored() {
            let allowed = oauth.limiters.registration(&view.app.id, request.address());
            allowed.map_err(|_| Missing::TooMany)?;
        }
        let mut tx = oauth.store.begin().await?;
        let written = match self.is_stored() {
            true => self.update(&mut tx, view, request).await.map(Some),
            false => self.register(&mut tx, view, request).await,
        };
        match written {
            Ok(written) => {
                let Some((client, event)) = written else {
                    return Ok(self);
                };
                tx.commit(event).await?;
                Ok(Self { client, news: None })
            }
            // Somebody else brought the same news: theirs is as good.
            Err(store::Error::Conflict(_) | store::Error::Stale) => {
                drop(tx);
                let (app, id) = (&view.app.id, &self.client.client_id);
                let row = store::client::by_client_id(&oauth.store, app, id).await?;
                let row = row.map(|registered| registered.client);
                let said = |row: &Client| self.news.as_ref().is_some_and(|news| same(row, news));
                let client = row.filter(said).ok_or(store::Error::Stale)?;
                Ok(Self { client, news: None })
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Stores the client, if it is not yet.
    pub(crate) async fn register(
        &self,
        tx: &mut store::Tx,
        view: &AppView,
        request: &Request,
    ) -> store::Result<Option<(Client, AuditEvent)>> {
        let Some(news) = self.news.as_ref().filter(|_| !self.is_stored()) else {
            return Ok(None);
        };
        let place = (&view.app.account, &view.app.id);
        let made = store::client::create(tx, &view.org, place, self.row(news))
            .await?
            .client;
        let mut event = audit::event(view, request, "client.register", audit::anonymous(&made));
        audit::about_client(&mut event, &made);
        event.change = audit::change(None, Some(&made));
        Ok(Some((made, event)))
    }

    async fn update(
        &self,
        tx: &mut store::Tx,
        view: &AppView,
        request: &Request,
    ) -> store::Result<(Client, AuditEvent)> {
        let news = self.news.as_ref().ok_or(store::Error::Stale)?;
        replace(tx, view, request, (self.client.version, self.row(news))).await
    }

    fn row(&self, news: &Metadata) -> NewClient {
        NewClient {
            id: self.client.id.clone(),
            client_id: self.client.client_id.clone(),
            name: news.name.clone(),
            verified_host: self.client.verified_host.clone(),
            source: self.client.source,
            tier: self.client.tier,
            state: self.client.state,
            redirect_uris: news.redirect_uris.clone(),
            auth_method: news.auth_method.clone(),
            secret_hash: None,
            registration_hash: None,
            metadata: news.stored.clone(),
        }
    }
}

/// Replaces the metadata of a stored client, if it is still of the version that was looked at; the event says so,
/// in nobody's name.
pub(crate) async fn replace(
    tx: &mut store::Tx,
    view: &AppView,
    request: &Request,
    (version, new): (i64, NewClient),
) -> store::Result<(Client, AuditEvent)> {
    let now = tx.now();
    let before = store::client::get(&mut *tx, &view.org, &new.id, now)
        .await?
        .client;
    if before.version != version {
        return Err(store::Error::Stale);
    }
    store::client::update_metadata(tx, &before, &new).await?;
    let after = store::client::get(&mut *tx, &view.org, &new.id, now)
        .await?
        .client;
    let mut event = audit::event(view, request, "client.update", audit::anonymous(&before));
    audit::about_client(&mut event, &after);
    event.change = audit::change(Some(&before), Some(&after));
    Ok((after, event))
}

/// What a client is once it says something else of itself. An approval holds for the name, the redirect URIs and
/// the way of authenticating that were approved: who changes one of them waits for approval anew, and so does
/// everybody where an approval is needed.
pub(crate) fn after_change(
    before: &Client,
    host: Option<&str>,
    after: &Metadata,
    rules: &RegistrationRules,
) -> (ClientTier, ClientState) {
    let earned = ClientTier::earned_by_all(host, &after.redirect_uris);
    if same(before, after) {
        let kept = before.tier == ClientTier::Approved;
        return (if kept { before.tier } else { earned }, before.state);
    }
    let needed = before.tier == ClientTier::Approved || rules.approval;
    let state = match before.state {
        ClientState::Active if needed => ClientState::Pending,
        state => state,
    };
    (earned, state)
}

pub(crate) const fn first_state(rules: &RegistrationRules) -> ClientState {
    if rules.approval {
        ClientState::Pending
    } else {
        ClientState::Active
    }
}

pub(crate) fn same(client: &Client, metadata: &Metadata) -> bool {
    client.name == metadata.name
        && client.redirect_uris == metadata.redirect_uris
        && client.token_endpoint_auth_method == metadata.auth_method
}
