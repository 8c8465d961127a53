//! `GET` and `POST /oauth/{app}/userinfo` (OpenID Connect Core section 5.3): what an agent may know of the person for whom
//! it acts, for apps that have it switched on. The access token is asked about as the gateway would ask: whatever
//! ends it there ends it here.

use crate::answer::{OauthError, no_store};
use crate::context::{Live, Request};
use crate::introspect::in_force;
use crate::{Oauth, audit};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use store::AppView;
use tokens::PersonClaims;
use wire::{ActorKind, AuditActor, Outcome};

/// Why nothing is said.
enum Refusal {
    /// No token was sent.
    Unauthenticated,
    /// It is not good for this app, or not any more.
    Invalid,
    /// It does not have the scope `openid`.
    Scope(Box<AuditActor>),
    /// Something else.
    Other(OauthError),
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self::Other(error.into())
    }
}

/// `GET` and `POST /oauth/{app}/userinfo`
pub(crate) async fn endpoint(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    headers: HeaderMap,
) -> Response {
    if !view.app.spec.oauth.openid {
        return OauthError::not_found().into_response();
    }
    match tell(&oauth, &view, &request, &headers).await {
        Ok(answer) => answer,
        Err(refusal) => refuse(&oauth, &view, &request, refusal).await,
    }
}

async fn tell(
    oauth: &Oauth,
    view: &AppView,
    request: &Request,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if !oauth.store.is_current() {
        return Err(Refusal::Other(OauthError::unavailable()));
    }
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let token = match (sent.next(), sent.next()) {
        (None, _) => return Err(Refusal::Unauthenticated),
        (Some(one), None) => one.to_str().ok().and_then(|value| value.split_once(' ')),
        _ => None,
    };
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or(Refusal::Invalid)?;
    let issuer = tokens::metadata::issuer(view, &oauth.control_url);
    let claims = oauth
        .keyring
        .verify_access(&view.org, token.trim(), &issuer, view.resource())
        .map_err(|_| Refusal::Invalid)?;
    if store::grant::is_access_token_revoked(&oauth.store, &claims.jti).await? {
        return Err(Refusal::Invalid);
    }
    let held = in_force(oauth, view, &claims.grant).await?;
    let held =
        held.filter(|held| held.person.user.id == claims.sub && held.client.client_id == claims.client_id);
    let held = held.ok_or(Refusal::Invalid)?;
    let carried = claims.scope.split(' ').map(ToOwned::to_owned);
    let scopes: Vec<String> = carried
        .filter(|scope| held.grant.scopes.contains(scope))
        .collect();
    let actor = AuditActor {
        scopes: scopes.clone(),
        ..audit::agent_of(&held.client, &held.person, &held.grant)
    };
    if !scopes.iter().any(|scope| scope == "openid") {
        return Err(Refusal::Scope(Box::new(actor)));
    }
    let mut event = audit::event(view, request, "userinfo.read", actor);
    event.outcome = Outcome::Allowed;
    oauth.store.record(event).await?;
    let said = PersonClaims::of(view, &held.person, &scopes);
    let said = serde_json::to_value(said).map_err(store::Error::internal)?;
    Ok(no_store(StatusCode::OK, said))
}

/// RFC 6750 section 3.1.
async fn refuse(oauth: &Oauth, view: &AppView, request: &Request, refusal: Refusal) -> Response {
    let nobody = || AuditActor::of(ActorKind::Anonymous);
    let bad = |status, code, description| OauthError::new(status, code, description);
    let (actor, reason, challenge, error) = match refusal {
        Refusal::Other(error) => return error.into_response(),
        Refusal::Unauthenticated => (
            nobody(),
            "unauthenticated",
            "Bearer",
            bad(
                StatusCode::UNAUTHORIZED,
                "invalid_request",
                "send the access token",
            ),
        ),
        Refusal::Invalid => (
            nobody(),
            "credential_invalid",
            "Bearer error=\"invalid_token\"",
            bad(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "the access token is not valid here, or not any more",
            ),
        ),
        Refusal::Scope(actor) => (
            *actor,
            "insufficient_scope",
            "Bearer error=\"insufficient_scope\", scope=\"openid\"",
            bad(
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                "the access token does not have the scope openid",
            ),
        ),
    };
    let mut event = audit::event(view, request, "userinfo.refuse", actor);
    audit::refused(&mut event, reason.to_owned(), None);
    audit::stranger(&oauth.store, event).await;
    let mut response = error.into_response();
    let challenge = HeaderValue::from_static(challenge);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}
