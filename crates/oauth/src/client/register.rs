//! Dynamic client registration (RFC 7591) and its management (RFC 7592).
//!
//! Registration proves nothing and grants nothing: it only gives agent software a name under which a
//! person can consent to it. So it is open, limited in rate, and never-used registrations are reaped.

use super::metadata::{self, LeftOut, Metadata, Origin, Refusal};
use crate::answer::{OauthError, no_store};
use crate::context::{Body, Live, Request};
use crate::{Oauth, audit, recorder};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};
use store::grant::{self, Which};
use store::{AppView, client::NewClient, client::Registered};
use wire::{AppId, Client, ClientId, ClientSource, ClientState, ClientTier, RegistrationRules};

/// The longest body, in bytes.
pub(crate) const LONGEST_BODY: usize = 16 * 1024;

impl From<Refusal> for OauthError {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::BAD_REQUEST, refusal.code, refusal.description)
    }
}

/// `POST /oauth/{app}/register`
pub(crate) async fn register(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, OauthError> {
    let rules = &view.app.spec.oauth.registration;
    let not_registered =
        |code, why: &str| recorder::not_registered(&oauth, (&view, &request), (code, why), &body);
    if !rules.dynamic {
        not_registered("registration_off", "");
        return Err(OauthError::not_found());
    }
    let room = oauth.limiters.registration(&view.app.id, request.address());
    if let Err(seconds) = room {
        not_registered("rate_limited", "");
        let refusal = (OauthError::too_many(seconds), "rate_limited");
        return Err(refused(&oauth, &view, &request, refusal).await);
    }
    let asked = read(&view, &headers, &body).and_then(|metadata| {
        admit(&metadata, rules)?;
        Ok(metadata)
    });
    let metadata = match asked {
        Ok(metadata) => metadata,
        Err(error) => {
            let code = error.code;
            not_registered(code, &error.description);
            return Err(refused(&oauth, &view, &request, (error, code)).await);
        }
    };
    let tier = ClientTier::earned_by_all(None, &metadata.redirect_uris);
    let left_out = metadata.left_out;
    let confidential = metadata.auth_method != "none";
    let secret = confidential.then(|| store::random_secret("")).transpose()?;
    let registration_token = store::random_secret("")?;
    let id = ClientId::fresh();
    let new = NewClient {
        client_id: id.to_string(),
        id,
        name: metadata.name,
        verified_host: None,
        source: ClientSource::Dynamic,
        tier,
        state: super::first_state(rules),
        redirect_uris: metadata.redirect_uris,
        auth_method: metadata.auth_method,
        secret_hash: secret.as_ref().map(store::sha256),
        registration_hash: Some(store::sha256(&registration_token)),
        metadata: metadata.stored,
    };
    let mut tx = oauth.store.begin().await?;
    let place = (&view.app.account, &view.app.id);
    let registered = store::client::create(&mut tx, &view.org, place, new).await?;
    let client = &registered.client;
    let mut event = audit::event(&view, &request, "client.register", audit::anonymous(client));
    audit::about_client(&mut event, client);
    event.change = audit::change(None, Some(client));
    if let Some(change) = event.change.as_mut().filter(|_| !left_out.is_empty()) {
        change.after["redirect_uris_left_out"] = json!(left_out);
    }
    tx.commit(event).await?;
    let step = recorder::step(&view, &request, wire::AgentStepKind::Registration);
    oauth.note(step.client(client).received(client.redirect_uris.join(", ")));

    let mut answer = echo(&oauth, &view, &registered);
    tell(&mut answer, &left_out);
    answer["registration_access_token"] = registration_token.into();
    if let Some(secret) = secret {
        answer["client_secret"] = secret.into();
        answer["client_secret_expires_at"] = 0.into();
    }
    Ok(no_store(StatusCode::CREATED, answer))
}

/// A registration that came to nothing: in the log, however many come, so that somebody can see why an agent does not
/// get in.
async fn refused(
    oauth: &Oauth,
    view: &AppView,
    request: &Request,
    (error, reason): (OauthError, &str),
) -> OauthError {
    let nobody = wire::AuditActor::of(wire::ActorKind::Anonymous);
    let mut event = audit::event(view, request, "client.register", nobody);
    event.outcome = wire::Outcome::Failure;
    event.reason = Some(reason.to_owned());
    audit::stranger(&oauth.store, event).await;
    error
}

/// A registration that nobody proved to be theirs. What was guessed of its address has no place in the log.
async fn unproven(oauth: &Oauth, view: &AppView, request: &Request, client: Option<&Client>) {
    let nobody = wire::AuditActor::of(wire::ActorKind::Anonymous);
    let mut event = audit::event(view, request, "client.refuse", nobody);
    audit::refused(&mut event, "credential_invalid".to_owned(), None);
    match client {
        Some(client) => audit::about_client(&mut event, client),
        None => {
            if let Some(request) = &mut event.request
                && let Some(at) = request.path.rfind('/')
            {
                request.path.truncate(at + 1);
            }
        }
    }
    audit::stranger(&oauth.store, event).await;
}

/// Metadata that a client may not take on: its own act, by its registration access token.
async fn unchanged(oauth: &Oauth, view: &AppView, request: &Request, client: &Client, reason: &str) {
    let mut event = audit::event(view, request, "client.update", audit::anonymous(client));
    audit::about_client(&mut event, client);
    event.outcome = wire::Outcome::Failure;
    event.reason = Some(reason.to_owned());
    audit::stranger(&oauth.store, event).await;
}

/// `GET /oauth/{app}/register/{client}` (RFC 7592 section 2.1)
pub(crate) async fn show(
    State(oauth): State<Oauth>,
    Live(view): Live,
    Path((_, id)): Path<(AppId, String)>,
    request: Request,
    headers: HeaderMap,
) -> Result<Response, OauthError> {
    let (registered, token) = owned((&oauth, &view), &request, &id, &headers).await?;
    let mut answer = echo(&oauth, &view, &registered);
    answer["registration_access_token"] = token.into();
    Ok(no_store(StatusCode::OK, answer))
}

/// `PUT /oauth/{app}/register/{client}` (RFC 7592 section 2.2): replaces all metadata.
pub(crate) async fn replace(
    State(oauth): State<Oauth>,
    Live(view): Live,
    Path((_, id)): Path<(AppId, String)>,
    (request, headers): (Request, Headers),
    Body(body): Body,
) -> Result<Response, OauthError> {
    let (registered, token) = owned((&oauth, &view), &request, &id, &headers.0).await?;
    let before = &registered.client;
    let rules = &view.app.spec.oauth.registration;
    let metadata = match renewed(&view, before, &headers.0, &body) {
        Ok(metadata) => metadata,
        Err(error) => {
            unchanged(&oauth, &view, &request, before, error.code).await;
            return Err(error);
        }
    };
    let (tier, state) = super::after_change(before, None, &metadata, rules);
    let is_same = super::same(before, &metadata);
    let left_out = metadata.left_out;
    let new = NewClient {
        id: before.id.clone(),
        client_id: before.client_id.clone(),
        tier,
        name: metadata.name,
        verified_host: None,
        source: before.source,
        state,
        redirect_uris: metadata.redirect_uris,
        auth_method: metadata.auth_method,
        secret_hash: None,
        registration_hash: None,
        metadata: metadata.stored,
    };
    // What changes nothing is nothing to write down.
    if new.metadata != registered.metadata {
        if let Err(seconds) = oauth.limiters.update(&before.id) {
            unchanged(&oauth, &view, &request, before, "rate_limited").await;
            return Err(OauthError::too_many(seconds));
        }
        let mut tx = oauth.store.begin().await?;
        let (_, event) = super::replace(&mut tx, &view, &request, (before.version, new)).await?;
        // People consented to what it said of itself.
        if !is_same {
            grant::revoke_where(&mut tx, Which::Client(&before.id), "client_changed").await?;
        }
        tx.commit(event).await?;
    }
    let now = oauth.store.clock().now();
    let after = store::client::get(&oauth.store, &view.org, &before.id, now).await?;
    let mut answer = echo(&oauth, &view, &after);
    tell(&mut answer, &left_out);
    answer["registration_access_token"] = token.into();
    Ok(no_store(StatusCode::OK, answer))
}

/// `DELETE /oauth/{app}/register/{client}` (RFC 7592 section 2.3): the client's grants end with it.
pub(crate) async fn remove(
    State(oauth): State<Oauth>,
    Live(view): Live,
    Path((_, id)): Path<(AppId, String)>,
    request: Request,
    headers: HeaderMap,
) -> Result<Response, OauthError> {
    let client = owned((&oauth, &view), &request, &id, &headers).await?.0.client;
    let mut tx = oauth.store.begin().await?;
    store::client::delete(&mut tx, &client.id).await?;
    let mut event = audit::event(&view, &request, "client.delete", audit::anonymous(&client));
    audit::about_client(&mut event, &client);
    event.change = audit::change(Some(&client), None);
    tx.commit(event).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Headers as an extractor that can stand in a tuple.
pub(crate) struct Headers(pub(crate) HeaderMap);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Headers {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.clone()))
    }
}

/// The registration whose access token the request carries. Anything else is the same 401, so that nobody
/// learns which clients exist; one that is blocked has nothing to say any more. Where clients do not register
/// themselves (any more), there is nothing here.
async fn owned(
    (oauth, view): (&Oauth, &AppView),
    request: &Request,
    id: &str,
    headers: &HeaderMap,
) -> Result<(Registered, String), OauthError> {
    if !view.app.spec.oauth.registration.dynamic {
        return Err(OauthError::not_found());
    }
    let token = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = token.and_then(|v| v.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim());
    let found = store::client::by_client_id(&oauth.store, &view.app.id, id).await?;
    let proven = |client: &Registered, token: &str| {
        let hash = client.registration_hash.as_ref();
        client.client.source == ClientSource::Dynamic
            && client.client.state != ClientState::Blocked
            && hash.is_some_and(|hash| crate::secret_is(token, hash))
    };
    match (found, token) {
        (Some(found), Some(token)) if proven(&found, token) => Ok((found, token.to_owned())),
        (found, _) => {
            let client = found.as_ref().map(|found| &found.client);
            unproven(oauth, view, request, client).await;
            Err(OauthError::new(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "no such registration",
            ))
        }
    }
}

/// What a client says of itself from now on.
fn renewed(
    view: &AppView,
    before: &Client,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Metadata, OauthError> {
    let metadata = read(view, headers, body)?;
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let stated = document.get("client_id");
    if stated.is_some_and(|stated| *stated != before.client_id.as_str()) {
        return Err(Refusal::metadata("client_id cannot be changed").into());
    }
    if metadata.auth_method != before.token_endpoint_auth_method {
        return Err(Refusal::metadata("token_endpoint_auth_method cannot be changed; register anew").into());
    }
    admit(&metadata, &view.app.spec.oauth.registration)?;
    Ok(metadata)
}

fn read(view: &AppView, headers: &HeaderMap, body: &[u8]) -> Result<Metadata, OauthError> {
    if body.len() > LONGEST_BODY {
        return Err(OauthError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_client_metadata",
            "the metadata is too long",
        ));
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media_type = media_type.and_then(|v| v.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::metadata("the body must be application/json").into());
    }
    let document: Value =
        serde_json::from_slice(body).map_err(|_| Refusal::metadata("the body is not valid JSON"))?;
    Ok(metadata::parse(
        &document,
        &view.app.spec.oauth,
        Origin::Registration,
    )?)
}

/// Refuses a registration whose redirect URIs all earn too little trust for the app.
fn admit(metadata: &Metadata, rules: &RegistrationRules) -> Result<(), OauthError> {
    let best = metadata
        .redirect_uris
        .iter()
        .map(|uri| ClientTier::earned(None, uri))
        .max();
    // Where an administrator approves each client anyway, approval is what raises it.
    if best.is_none_or(|best| best < rules.lowest_tier) && !rules.approval {
        return Err(OauthError::new(
            StatusCode::FORBIDDEN,
            "access_denied",
            "this app does not accept clients that register themselves in this way; ask its administrator",
        ));
    }
    Ok(())
}

/// Says which redirect URIs the client does not get; a member of our own (RFC 7591 section 3.2.1 lets the server choose
/// other values than were asked for, and has no way to say why).
fn tell(answer: &mut Value, left_out: &[LeftOut]) {
    if !left_out.is_empty() {
        answer["redirect_uris_left_out"] = json!(left_out);
    }
}

/// What registration answers: the client as stored.
fn echo(oauth: &Oauth, view: &AppView, registered: &Registered) -> Value {
    let client = &registered.client;
    let mut answer = registered.metadata.clone();
    answer["client_id"] = client.client_id.clone().into();
    answer["client_id_issued_at"] = client.created_at.seconds().into();
    let issuer = tokens::metadata::issuer(view, &oauth.control_url);
    answer["registration_client_uri"] = format!("{issuer}/register/{}", client.client_id).into();
    answer
}
