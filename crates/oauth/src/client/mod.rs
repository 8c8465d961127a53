//! Clients: how one that shows up at `/authorize` is found, and how it is remembered.
//!
//! ```text
//! client_id ─┬─ cli_… or pinned URL ── row of the app ───────────────────────────┐
//!            └─ https URL ── document (fetched, ≤ 1 h old) ── Agent, not stored ──┴─> consent page
//!                                             a signed-in person came: remember() ──> row
//! ```

pub(crate) mod document;
pub(crate) mod metadata;
pub(crate) mod name;
pub(crate) mod redirect;
pub(crate) mod register;

use crate::{Oauth, audit, context::Request};
use metadata::Metadata;
use store::{AppView, client::NewClient, user::Person};
use wire::{
    Client, ClientId, ClientSource, ClientSpec, ClientState, ClientTier, RegistrationRules, SessionId,
};

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
    /// Its metadata document cannot be used; with the reason.
    Document(String),
    /// Too many documents were asked for from one network.
    TooMany,
    /// The store failed.
    Store(store::Error),
}

impl From<store::Error> for Missing {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Finds the client of an authorization request. Writes nothing.
pub(crate) async fn find(
    oauth: &Oauth,
    view: &AppView,
    client_id: &str,
    request: &Request,
) -> Result<Agent, Missing> {
    let now = oauth.store.clock().now();
    let known = store::client::by_client_id(&oauth.store, &view.app.id, client_id, now).await?;
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
    if !oauth.documents.has(client_id) {
        let allowed = oauth.limiters.document(request.address());
        allowed.map_err(|_| Missing::TooMany)?;
    }
    let document = oauth.documents.get(client_id).await.map_err(Missing::Document)?;
    let metadata = document::read(&document, &host, &view.app.spec.oauth)
        .map_err(|refusal| Missing::Document(refusal.description))?;
    Ok(match known {
        Some(client) if same(&client, &metadata) => Agent { client, news: None },
        Some(client) => Agent {
            client: Client {
                tier: demoted(&client, &metadata, ClientTier::DomainVerified),
                name: metadata.name.clone(),
                redirect_uris: metadata.redirect_uris.clone(),
                ..client
            },
            news: Some(metadata),
        },
        None => Agent {
            client: Client {
                id: ClientId::fresh(),
                client_id: client_id.to_owned(),
                app: view.app.id.clone(),
                account: view.app.account.clone(),
                name: metadata.name.clone(),
                verified_host: Some(host),
                source: ClientSource::MetadataDocument,
                tier: ClientTier::DomainVerified,
                state: first_state(rules),
                redirect_uris: metadata.redirect_uris.clone(),
                token_endpoint_auth_method: metadata.auth_method.clone(),
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
    /// Stores what is new about the client, now that a signed-in person is about to decide on it.
    pub(crate) async fn remember(
        self,
        oauth: &Oauth,
        view: &AppView,
        (person, session): (&Person, &SessionId),
        request: &Request,
    ) -> store::Result<Client> {
        let Some(news) = self.news else {
            return Ok(self.client);
        };
        let is_new = self.client.version == 0;
        let client_id = self.client.client_id.clone();
        let mut tx = oauth.store.begin().await?;
        let action = if is_new {
            "client.register"
        } else {
            "client.update"
        };
        let actor = audit::person(person, session, &self.client);
        let mut event = audit::event(view, request, action, actor);
        let new = NewClient {
            id: self.client.id.clone(),
            client_id: client_id.clone(),
            name: news.name,
            verified_host: self.client.verified_host.clone(),
            source: self.client.source,
            tier: self.client.tier,
            state: self.client.state,
            redirect_uris: news.redirect_uris,
            auth_method: news.auth_method,
            secret_hash: None,
            registration_hash: None,
            metadata: news.stored,
        };
        let now = tx.now();
        let outcome = if is_new {
            let place = (&view.app.account, &view.app.id);
            store::client::create(&mut tx, &view.org, place, new)
                .await
                .map(drop)
        } else {
            replace(&mut tx, view, &self.client.id, new).await
        };
        match outcome {
            Ok(()) => {
                let after = store::client::by_client_id(&mut tx, &view.app.id, &client_id, now).await?;
                let after = after.ok_or(store::Error::Stale)?.client;
                audit::about_client(&mut event, &after);
                event.change = audit::change((!is_new).then_some(&self.client), Some(&after));
                tx.commit(event).await?;
                Ok(after)
            }
            // Somebody else brought the same news: theirs is as good.
            Err(store::Error::Conflict(_) | store::Error::Stale) => {
                drop(tx);
                let row = store::client::by_client_id(&oauth.store, &view.app.id, &client_id, now).await?;
                row.map(|registered| registered.client).ok_or(store::Error::Stale)
            }
            Err(other) => Err(other),
        }
    }
}

/// Replaces the metadata of a stored client. New redirect URIs take an administrator's approval back, and
/// where an approval is needed the client waits for it again (which revokes its grants).
pub(crate) async fn replace(
    tx: &mut store::Tx,
    view: &AppView,
    id: &ClientId,
    new: NewClient,
) -> store::Result<()> {
    let now = tx.now();
    let before = store::client::get(&mut *tx, &view.org, id, now).await?.client;
    let moved = before.redirect_uris != new.redirect_uris;
    let tier = new.tier;
    store::client::update_metadata(tx, &before, &new).await?;
    if moved && view.app.spec.oauth.registration.approval && before.state == ClientState::Active {
        let now = store::client::get(&mut *tx, &view.org, id, now).await?.client;
        let state = ClientState::Pending;
        store::client::update(tx, &now, &ClientSpec { tier, state }).await?;
    }
    Ok(())
}

/// The tier after a change of metadata: an approval holds only for the redirect URIs that were approved.
pub(crate) fn demoted(before: &Client, after: &Metadata, otherwise: ClientTier) -> ClientTier {
    if before.tier == ClientTier::Approved && before.redirect_uris == after.redirect_uris {
        ClientTier::Approved
    } else {
        otherwise
    }
}

pub(crate) const fn first_state(rules: &RegistrationRules) -> ClientState {
    if rules.approval {
        ClientState::Pending
    } else {
        ClientState::Active
    }
}

fn same(client: &Client, metadata: &Metadata) -> bool {
    client.name == metadata.name
        && client.redirect_uris == metadata.redirect_uris
        && client.token_endpoint_auth_method == metadata.auth_method
}
