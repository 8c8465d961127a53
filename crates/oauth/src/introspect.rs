//! `POST /oauth/{app}/introspect` (RFC 7662), for clients that can prove who they are. One that an
//! administrator entered may ask about every token of the app; one that registered itself about its own. Who is
//! blocked is nobody (401); whatever else is the matter with a token or its client, the token is not active (section
//! 2.2), which is no secret and no error.

use crate::Oauth;
use crate::answer::{OauthError, no_store};
use crate::context::{Body, Live, Request};
use crate::people;
use crate::token::{Asks, client_of};
use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use store::refresh::{Rotation, Standing};
use store::{AppView, client::Registered, user::Person};
use wire::{Client, ClientSource, Grant, GrantId, GrantState};

/// `POST /oauth/{app}/introspect`
pub(crate) async fn endpoint(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, OauthError> {
    let posted = (&headers, body.as_ref());
    let (client, params) = client_of((&oauth, &view), &request, posted, Asks::Others).await?;
    let token = params
        .get("token")
        .ok_or_else(|| OauthError::invalid_request("token is missing"))?;
    let answer = match access(&oauth, &view, &client, token).await? {
        Some(answer) => Some(answer),
        None => refresh(&oauth, &view, &client, token).await?,
    };
    let answer = answer.unwrap_or_else(|| json!({"active": false}));
    Ok(no_store(StatusCode::OK, answer))
}

async fn access(
    oauth: &Oauth,
    view: &AppView,
    client: &Registered,
    token: &str,
) -> store::Result<Option<Value>> {
    let issuer = tokens::metadata::issuer(view, &oauth.control_url);
    let Ok(claims) = oauth
        .keyring
        .verify_access(&view.org, token, &issuer, view.resource())
    else {
        return Ok(None);
    };
    let own = claims.client_id == client.client.client_id;
    let may_ask = own || client.client.source == ClientSource::Preregistered && view.accepts(&client.client);
    if !may_ask {
        return Ok(None);
    }
    if store::grant::is_access_token_revoked(&oauth.store, &claims.jti).await?
        || in_force(oauth, view, &claims.grant).await?.is_none()
    {
        return Ok(None);
    }
    Ok(Some(json!({
        "active": true, "token_type": "Bearer", "scope": claims.scope, "client_id": claims.client_id,
        "sub": claims.sub, "aud": claims.aud, "iss": claims.iss, "exp": claims.exp, "iat": claims.iat,
        "jti": claims.jti, "grant": claims.grant, "act": claims.act,
    })))
}

async fn refresh(
    oauth: &Oauth,
    view: &AppView,
    client: &Registered,
    token: &str,
) -> store::Result<Option<Value>> {
    let Some(token) = store::refresh::read(&oauth.store, token).await? else {
        return Ok(None);
    };
    let now = oauth.store.clock().now();
    let rotation = store::refresh::rotation(&oauth.store, &token.grant, now).await?;
    let window = view.app.spec.oauth.rotation_seconds;
    let own = |rotation: &Rotation| {
        rotation.grant.client == client.client.id
            && rotation.standing(&token, now, window) == Standing::Current
    };
    let Some(rotation) = rotation.filter(own) else {
        return Ok(None);
    };
    let held = going_on(oauth, view, rotation.grant).await?;
    Ok(held.map(|Held { grant, .. }| {
        json!({
            "active": true, "scope": grant.scopes.join(" "), "client_id": client.client.client_id,
            "sub": grant.user, "exp": grant.expires_at.seconds(), "grant": grant.id,
        })
    }))
}

/// A grant that goes on, and whose it is.
pub(crate) struct Held {
    pub(crate) grant: Grant,
    pub(crate) person: Person,
    pub(crate) client: Client,
}

/// The grant behind an access token, unless the gateway would refuse whatever is asked with it.
pub(crate) async fn in_force(oauth: &Oauth, view: &AppView, id: &GrantId) -> store::Result<Option<Held>> {
    let now = oauth.store.clock().now();
    match store::grant::of_app(&oauth.store, &view.app.id, id, now).await? {
        Some(grant) => going_on(oauth, view, grant).await,
        None => Ok(None),
    }
}

/// A grant, unless the gateway would refuse whatever is asked with it.
async fn going_on(oauth: &Oauth, view: &AppView, grant: Grant) -> store::Result<Option<Held>> {
    if grant.state != GrantState::Active {
        return Ok(None);
    }
    let now = oauth.store.clock().now();
    let person = store::user::by_id(&oauth.store, &grant.user).await?;
    let client = store::client::of_app(&oauth.store, &view.app.id, &grant.client).await?;
    let (Some(person), Some(Registered { client, .. })) = (person, client) else {
        return Ok(None);
    };
    let decision = people::may_go_on(view, (&person, &grant), &client, now);
    Ok(decision.allowed.then_some(Held {
        grant,
        person,
        client,
    }))
}
