//! An upstream OIDC provider with its own users, login form and single sign-on session: authorization code flow
//! with PKCE S256, RS256 id tokens, userinfo and RP-initiated logout.

mod authorize;
mod keys;
mod provider;
mod token;

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::server::PAGE_HEADERS;
use provider::Provider;

/// The name of the provider's own single sign-on cookie.
pub const SESSION_COOKIE: &str = "demo_idp_session";

/// Who may sign in, and which one client may ask.
#[derive(Clone)]
pub struct Config {
    /// The issuer: an origin such as `http://127.0.0.1:9000`, without a path.
    pub issuer: String,
    /// The one registered client (the broker).
    pub client_id: String,
    /// Its secret, for `client_secret_basic` and `client_secret_post`.
    pub client_secret: String,
    /// Its redirect URIs, compared byte for byte.
    pub redirect_uris: Vec<String>,
    /// Where RP-initiated logout may lead, compared byte for byte.
    pub post_logout_redirect_uris: Vec<String>,
    /// The people who can sign in.
    pub users: Vec<User>,
    /// Decides expiry of tickets, codes, sessions and tokens.
    pub clock: Clock,
}

/// One person at the provider.
#[derive(Clone)]
pub struct User {
    /// What is typed into the form.
    pub username: String,
    /// The password, in the clear: these are demo people.
    pub password: String,
    /// The subject: stable, never reused.
    pub sub: String,
    /// The e-mail address.
    pub email: String,
    /// The name for people.
    pub name: String,
    /// The groups released in the `groups` claim.
    pub groups: Vec<String>,
}

/// The provider's routes, with a signing key generated now.
///
/// # Errors
/// When the key cannot be generated.
pub fn router(config: Config) -> anyhow::Result<Router> {
    Ok(Router::new()
        .route("/", get(home))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize::authorize).post(authorize::authorize))
        .route("/login", post(authorize::login))
        .route("/token", post(token::token))
        .route("/userinfo", get(token::userinfo).post(token::userinfo))
        .route("/logout", get(authorize::logout).post(authorize::logout))
        .route("/style.css", get(style))
        .with_state(Arc::new(Provider::new(config)?)))
}

/// Serves the provider on `listener` until `shutdown`.
///
/// # Errors
/// When the key cannot be generated or the listener fails.
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    crate::server::serve(listener, router(config)?, shutdown).await
}

/// OpenID Connect Discovery 1.0, section 3.
async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.config.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "end_session_endpoint": format!("{issuer}/logout"),
        "jwks_uri": format!("{issuer}/jwks"),
        "scopes_supported": ["openid", "email", "profile", "groups"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "amr",
            "email", "email_verified", "name", "preferred_username", "groups",
        ],
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(json!({ "keys": [provider.keys.public()] }))
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("../../assets/idp.css"),
    )
}

async fn home() -> Response {
    message(
        StatusCode::OK,
        "This is Acme's identity provider",
        "You will be sent here when an app asks who you are.",
    )
}

#[derive(Template)]
#[template(path = "idp_message.html")]
struct Message<'a> {
    heading: &'a str,
    text: &'a str,
}

/// A page that says one thing.
fn message(status: StatusCode, heading: &str, text: &str) -> Response {
    page(status, &Message { heading, text })
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (status, PAGE_HEADERS, html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
