//! `/signing-keys`: the organisation's keys, public parts only.

use crate::Control;
use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, PageQuery, Query, limit};
use crate::power::Act;
use crate::write::Write;
use axum::response::Response;
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{KeyRotation, KeyState, Page, SigningKey};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(rotate))
}

/// Signing keys, oldest first
#[utoipa::path(get, path = "/signing-keys", tag = "signing-keys", params(PageQuery),
    responses((status = 200, body = Page<SigningKey>)))]
async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer<Json<Page<SigningKey>>> {
    caller.require(Permission::Read, Scope::Organisation)?;
    // There are never more than a few; the parameters are there because all lists have them.
    let limit = limit(query.limit)?;
    let after: Option<wire::KeyId> = match &query.cursor {
        Some(cursor) => Some(caller.cursors().read(&caller.org, cursor)?),
        None => None,
    };
    let now = caller.store().clock().now();
    let mut items = store::key::list(caller.store(), &caller.org, now).await?;
    items.retain(|key| after.as_ref().is_none_or(|after| key.id > *after));
    Ok(Json(caller.cursors().page(&caller.org, items, limit, |k| &k.id)))
}

/// Lets the next key sign; the active one is published until its last token has expired, unless they are compromised
#[utoipa::path(post, path = "/signing-keys/rotate", tag = "signing-keys", request_body = KeyRotation,
    responses((status = 201, body = SigningKey), (status = 200, body = SigningKey)))]
async fn rotate(caller: Caller, write: Write, body: Option<Body>) -> Answer<Response> {
    let warrant = write.warrant(&caller, &Act::RotateKeys)?;
    let KeyRotation { compromised } = body.map(Body::read).transpose()?.unwrap_or_default();
    let mut event = caller.event("signing_key.update", None, None, None);
    let key = if write.is_dry_run() {
        let now = caller.store().clock().now();
        let keys = store::key::list(caller.store(), &caller.org, now).await?;
        let next = keys.into_iter().find(|k| k.state == KeyState::Next);
        let mut key = next.ok_or_else(|| Fault::conflict("there is no next key; a rotation makes one"))?;
        key.state = KeyState::Active;
        if compromised {
            // It would be a fresh one.
            key.id = wire::KeyId::fresh();
            key.created_at = now;
        }
        event.target = Some(target("signing_key", &key.id, None));
        write.record_dry_run(&warrant, vec![event]).await?;
        key
    } else {
        let tx = caller.store().begin().await?;
        caller
            .control
            .inner
            .keyring
            .rotate(tx, &caller.org, event, compromised)
            .await?
    };
    let mut response = write.created("signing-keys", 1, &key);
    response.headers_mut().remove(http::header::ETAG);
    Ok(response)
}
