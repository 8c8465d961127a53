//! The admin REST API, `/api/v1`: one file per resource, each with its routes and handlers.
//!
//! A request: [`fault::render`] → [`caller::authenticate`] (who calls, with what credential) → handler:
//! `require` a permission, read the body, check it, one domain call, commit with its audit event, answer.
//! The description at `/openapi.json` is made from the same routes.

mod agent_attempts;
mod answer;
mod caller;
mod check;
mod fault;
mod idempotency;
mod input;
mod lane;
mod network;
mod openapi;
mod places;
mod power;
mod record;
mod reference;
mod refusal;
mod rules;
mod token;
mod write;

mod accounts;
mod agent_documents;
mod api_tokens;
mod apps;
mod audit;
mod bindings;
mod clients;
mod connections;
mod delivery;
mod export;
mod factors;
mod grants;
mod groups;
mod hosts;
mod invitations;
mod members;
mod migrations;
mod organisation;
mod overview;
mod policies;
mod providers;
mod role_mappings;
mod service_tokens;
mod sessions;
mod signing_keys;
mod tester;
mod users;
mod webhooks;

pub use delivery::Deliverer;
pub use lane::AtOnce;
pub use openapi::openapi;
pub use token::mint_api_token;

use axum::{Router, middleware, routing::get};
use broker::Broker;
use caller::Limiter;
use governor::{Quota, RateLimiter};
use input::Cursors;
use lane::Lanes;
use outbound::Outbound;
use serde_path_to_error::{Path, Segment};
use std::{num::NonZeroU32, sync::Arc};
use store::Store;
use tokens::Keyring;
use utoipa_axum::router::OpenApiRouter;

/// What the API works on. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    keyring: Keyring,
    broker: Broker,
    deliverer: Deliverer,
    outbound: Outbound,
    control_url: String,
    cursors: Cursors,
    limiter: Limiter,
    lanes: Lanes,
}

/// Routes whose `POST` asks and changes nothing: no dry run, the scope `read` will do.
pub(crate) const QUESTIONS: [&str; 3] = [
    "/connections/discover",
    "/connections/{id}/claims-preview",
    "/policies/test",
];

/// Requests per second and credential, and how many at once.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// What the API needs.
pub struct ControlConfig {
    /// What the system remembers.
    pub store: Store,
    /// Signs tokens and assertions.
    pub keyring: Keyring,
    /// Signs people in; knows connections from the inside, and sends mail.
    pub broker: Broker,
    /// Reaches the receivers of webhooks; knows where the server itself listens.
    pub outbound: Outbound,
    /// The control plane's public URL, without a trailing slash.
    pub control_url: String,
    /// How much that costs much goes on at once.
    pub at_once: AtOnce,
}

impl Control {
    /// The API over `config`.
    #[must_use]
    pub fn new(config: ControlConfig) -> Self {
        Self::with_quota(config, Quota::per_second(PER_SECOND).allow_burst(BURST))
    }

    /// As [`Control::new`], with another rate limit per credential.
    #[must_use]
    pub fn with_quota(config: ControlConfig, quota: Quota) -> Self {
        let inner = Inner {
            cursors: Cursors::new(config.store.vault()),
            lanes: config.at_once.into(),
            limiter: RateLimiter::dashmap(quota).with_middleware(),
            control_url: config.control_url.trim_end_matches('/').to_owned(),
            deliverer: Deliverer::new(config.store.clone(), config.outbound.clone()),
            outbound: config.outbound,
            store: config.store,
            keyring: config.keyring,
            broker: config.broker,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Forgets which credentials asked for something that was long ago. To be called now and then.
    pub fn tidy(&self) {
        self.inner.limiter.retain_recent();
    }

    /// Sends webhooks; somebody has to [`Deliverer::run`] it.
    #[must_use]
    pub fn deliverer(&self) -> &Deliverer {
        &self.inner.deliverer
    }

    fn control_url(&self) -> &str {
        &self.inner.control_url
    }

    fn lanes(&self) -> &Lanes {
        &self.inner.lanes
    }

    fn outbound(&self) -> &Outbound {
        &self.inner.outbound
    }

    fn broker(&self) -> &Broker {
        &self.inner.broker
    }
}

/// `/api/v1/…` and `/openapi.json`. Expects the session layer and `wire::AuditRequest` from outside.
pub fn router(control: Control) -> Router {
    let description: Arc<str> = openapi::text().into();
    let documentation = reference::router(control.control_url());
    let api: Router<Control> = resources().into();
    let api = api
        .route_layer(middleware::from_fn_with_state(
            control.clone(),
            caller::authenticate,
        ))
        .fallback(async || fault::Fault::not_found())
        .layer(middleware::from_fn(fault::render))
        .with_state(control);
    let served = get(async move || {
        (
            [(http::header::CONTENT_TYPE, "application/json")],
            description.to_string(),
        )
    });
    Router::new()
        .nest("/api/v1", api)
        .route("/openapi.json", served)
        .merge(documentation)
}

/// All routes, with their description.
fn resources() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .merge(sessions::routes())
        .merge(organisation::routes())
        .merge(accounts::routes())
        .merge(members::routes())
        .merge(migrations::routes())
        .merge(invitations::routes())
        .merge(agent_documents::routes())
        .merge(role_mappings::routes())
        .merge(connections::routes())
        .merge(providers::routes())
        .merge(bindings::routes())
        .merge(users::routes())
        .merge(factors::routes())
        .merge(groups::routes())
        .merge(policies::routes())
        .merge(tester::routes())
        .merge(apps::routes())
        .merge(hosts::routes())
        .merge(clients::routes())
        .merge(grants::routes())
        .merge(agent_attempts::routes())
        .merge(api_tokens::routes())
        .merge(service_tokens::routes())
        .merge(signing_keys::routes())
        .merge(webhooks::routes())
        .merge(audit::routes())
        .merge(overview::routes())
}

/// RFC 6901.
fn json_pointer(path: &Path) -> String {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    path.iter().fold(String::new(), |mut pointer, segment| {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&escape(key)),
            Segment::Enum { variant } => pointer.push_str(&escape(variant)),
            Segment::Unknown => pointer.push('?'),
        }
        pointer
    })
}
