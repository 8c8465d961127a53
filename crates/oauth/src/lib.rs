//! Agents: discovery, registration, authorization and consent, token grants, revocation, introspection.
//!
//! Each app with Managed OAuth is an authorization server of its own, with the issuer
//! `{control_url}/oauth/{app}`. [`router`] serves them all; for an app that is unknown, disabled, or has
//! Managed OAuth off, every route is the same 404.
//!
//! It does not sign people in (that is `broker`), and it does not let requests through (`gateway`).

mod answer;
mod audit;
mod authorize;
mod client;
mod context;
mod discovery;
mod introspect;
mod limit;
mod params;
mod people;
mod recorder;
mod resource;
mod revoke;
mod scope;
mod token;
mod userinfo;

pub use client::Fetching;
pub use limit::{Allowance, Limits};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use http::{HeaderName, Method, header};
use outbound::Outbound;
use std::sync::Arc;
use store::Store;
use tokens::Keyring;
use tower_http::cors::{Any, CorsLayer};

/// The authorization servers of all apps. Cheap to clone.
#[derive(Clone)]
pub struct Oauth {
    store: Store,
    keyring: Keyring,
    control_url: Arc<str>,
    documents: Arc<client::document::Documents>,
    keys: Arc<client::keys::Keys>,
    limiters: Arc<limit::Limiters>,
}

impl Oauth {
    /// `control_url`: the control plane's public URL; issuers begin with it.
    #[must_use]
    pub fn new(store: Store, keyring: Keyring, outbound: Outbound, control_url: &str) -> Self {
        let documents = client::document::Documents::new(store.clone(), outbound, Fetching::Auto);
        Self {
            store,
            keyring,
            control_url: control_url.trim_end_matches('/').into(),
            documents: Arc::new(documents),
            keys: Arc::default(),
            limiters: Arc::new(limit::Limiters::new(&Limits::default())),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: &Limits) -> Self {
        self.limiters = Arc::new(limit::Limiters::new(limits));
        self
    }

    /// The same, fetching metadata documents or not.
    #[must_use]
    pub fn fetching(mut self, fetching: Fetching) -> Self {
        self.documents = Arc::new(self.documents.with(fetching));
        self
    }

    /// Looks what the metadata documents of agents that are used say now. To be called now and then.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn renew_documents(&self) -> store::Result<()> {
        self.documents.renew().await
    }

    /// Takes a metadata document as fetched just now: for tests.
    #[doc(hidden)]
    pub async fn keep_document(&self, client_id: &str, document: serde_json::Value) {
        self.documents.keep(client_id, document).await;
    }

    /// Forgets whoever has done nothing of late that is limited. To be called now and then.
    pub fn tidy(&self) {
        self.limiters.tidy();
    }
}

/// The routes on the control plane's origin. Around it are expected: the session layer of `broker`, and a
/// layer that puts a `wire::AuditRequest` into each request.
pub fn router(oauth: Oauth) -> Router {
    // What browser-based agents call from their own origin. Nothing here looks at cookies.
    let cross_origin = Router::new()
        .route(
            "/.well-known/oauth-authorization-server/oauth/{app}",
            get(discovery::metadata),
        )
        .route(
            "/oauth/{app}/.well-known/oauth-authorization-server",
            get(discovery::metadata),
        )
        .route(
            "/.well-known/openid-configuration/oauth/{app}",
            get(discovery::openid),
        )
        .route(
            "/oauth/{app}/.well-known/openid-configuration",
            get(discovery::openid),
        )
        .route("/oauth/{app}/jwks", get(discovery::jwks))
        .route("/oauth/{app}/register", post(client::register::register))
        .route(
            "/oauth/{app}/register/{client}",
            get(client::register::show)
                .put(client::register::replace)
                .delete(client::register::remove),
        )
        .route("/oauth/{app}/token", post(token::endpoint))
        .route("/oauth/{app}/revoke", post(revoke::endpoint))
        .route("/oauth/{app}/introspect", post(introspect::endpoint))
        .route(
            "/oauth/{app}/userinfo",
            get(userinfo::endpoint).post(userinfo::endpoint),
        )
        .layer(cors());
    Router::new()
        .route(
            "/oauth/{app}/authorize",
            get(authorize::ask).post(authorize::decide),
        )
        .merge(cross_origin)
        .layer(DefaultBodyLimit::max(64 * 1024))
        .with_state(oauth)
}

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("mcp-protocol-version"),
            HeaderName::from_static("mcp-session-id"),
            HeaderName::from_static("mcp-method"),
            HeaderName::from_static("mcp-name"),
        ])
        .expose_headers([
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("mcp-session-id"),
            HeaderName::from_static("mcp-protocol-version"),
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(std::time::Duration::from_secs(600))
}

/// Whether a secret is the one of a stored hash, in constant time.
fn secret_is(secret: &str, hash: &str) -> bool {
    let given = store::sha256(secret);
    aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), hash.as_bytes()).is_ok()
}
