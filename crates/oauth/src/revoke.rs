//! `POST /oauth/{app}/revoke` (RFC 7009): a client gives its own tokens back. A refresh token takes its grant
//! along, and so every access token; an access token goes alone. Unknown and foreign tokens get the same 200.

use crate::answer::{OauthError, no_store};
use crate::context::{Body, Live, Request};
use crate::token::{Asks, client_of};
use crate::{Oauth, audit};
use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use store::{AppView, client::Registered, grant::Which};
use wire::Timestamp;

/// `POST /oauth/{app}/revoke`
pub(crate) async fn endpoint(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, OauthError> {
    let posted = (&headers, body.as_ref());
    let (client, params) = client_of((&oauth, &view), &request, posted, Asks::Own).await?;
    let token = params
        .get("token")
        .ok_or_else(|| OauthError::invalid_request("token is missing"))?;
    if !revoke_refresh(&oauth, &view, (&client, &request), token).await? {
        revoke_access(&oauth, &view, (&client, &request), token).await?;
    }
    Ok(no_store(StatusCode::OK, json!({})))
}

async fn revoke_refresh(
    oauth: &Oauth,
    view: &AppView,
    (client, request): (&Registered, &Request),
    token: &str,
) -> store::Result<bool> {
    let Some(held) = store::refresh::read(&oauth.store, token).await? else {
        return Ok(false);
    };
    let now = oauth.store.clock().now();
    let grant = store::grant::of_app(&oauth.store, &view.app.id, &held.grant, now).await?;
    let Some(grant) = grant.filter(|grant| grant.client == client.client.id) else {
        return Ok(false);
    };
    let person = store::user::by_id(&oauth.store, &grant.user).await?;
    let mut tx = oauth.store.begin().await?;
    let revoked = store::grant::revoke_where(&mut tx, Which::One(&grant.id), "revoked_by_client").await?;
    if revoked.is_empty() {
        return Ok(true);
    }
    let actor = audit::agent(&client.client, person.as_ref(), Some(&grant.id));
    let ended = audit::grant_ended(view, request, actor.clone(), (&grant.id, "revoked_by_client"));
    let mut event = audit::event(view, request, "token.revoke", actor);
    event.reason = Some("refresh_token".into());
    tx.commit_all(vec![event, ended]).await?;
    Ok(true)
}

async fn revoke_access(
    oauth: &Oauth,
    view: &AppView,
    (client, request): (&Registered, &Request),
    token: &str,
) -> store::Result<()> {
    let issuer = tokens::metadata::issuer(view, &oauth.control_url);
    let Ok(claims) = oauth
        .keyring
        .verify_access(&view.org, token, &issuer, view.resource())
    else {
        return Ok(());
    };
    if claims.client_id != client.client.client_id {
        return Ok(());
    }
    let person = store::user::by_id(&oauth.store, &claims.sub).await?;
    let mut tx = oauth.store.begin().await?;
    let expires_at = Timestamp::from_seconds(claims.exp);
    store::grant::revoke_access_token(&mut tx, &claims.jti, expires_at).await?;
    let actor = audit::agent(&client.client, person.as_ref(), Some(&claims.grant));
    let mut event = audit::event(view, request, "token.revoke", actor);
    event.reason = Some("access_token".into());
    tx.commit(event).await
}
