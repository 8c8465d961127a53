//! `/grants`: what people allowed agents, which an administrator can end.

use crate::Control;
use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::Answer;
use crate::input::{Id, Query};
use crate::power::Act;
use crate::record;
use crate::write::Write;
use axum::response::Response;
use store::{Released, audit::target, grant::Which};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{AppId, ClientId, Grant, GrantId, GrantState, Page, UserId};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(get, revoke))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct GrantQuery {
    /// Only of this person.
    user: Option<UserId>,
    /// Only of this client.
    client: Option<ClientId>,
    /// Only for this app.
    app: Option<AppId>,
    /// Only in this state.
    state: Option<GrantState>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Grants that the caller may see
#[utoipa::path(get, path = "/grants", tag = "grants", params(GrantQuery),
    responses((status = 200, body = Page<Grant>)))]
async fn list(caller: Caller, Query(query): Query<GrantQuery>) -> Answer<Json<Page<Released<Grant>>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts(Permission::Read);
    let filter = store::grant::Filter {
        accounts: mine.as_deref(),
        user: query.user.as_ref(),
        client: query.client.as_ref(),
        app: query.app.as_ref(),
        state: query.state,
    };
    let (store, now) = (caller.store(), caller.store().clock().now());
    let items = store::grant::list(store, &caller.org, filter, now, &paging).await?;
    let items = caller.release().all(items).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |g| &g.id,
    )))
}

/// One grant
#[utoipa::path(get, path = "/grants/{id}", tag = "grants", responses((status = 200, body = Grant)))]
async fn get(caller: Caller, Id(id): Id<GrantId>) -> Answer<Json<Released<Grant>>> {
    let grant = load(&caller, &id).await?;
    Ok(Json(caller.release().one(grant).await?))
}

/// Revokes a grant: its tokens stop working at every gateway
#[utoipa::path(delete, path = "/grants/{id}", tag = "grants",
    responses((status = 204), (status = 200, body = Grant)))]
async fn revoke(caller: Caller, Id(id): Id<GrantId>, write: Write) -> Answer<Response> {
    let grant = load(&caller, &id).await?;
    let roles = store::org::roles_of(caller.store(), &grant.user).await?;
    let warrant = write.warrant(&caller, &Act::RevokeGrant(&grant.account, &roles))?;
    let mut tx = caller.begin().await?;
    let revoked = store::grant::revoke_where(&mut tx, Which::One(&id), "administrator").await?;
    if revoked.is_empty() {
        // Revoking twice is no mistake, and nothing to record.
        drop(tx);
        return Ok(write.deleted(&caller.release().one(grant).await?));
    }
    let after = store::grant::get(&mut tx, &caller.org, &id, caller.store().clock().now()).await?;
    let mut about = target("grant", &id, Some(&grant.client_name));
    about.app = Some(grant.app.clone());
    let change = record::change(Some(&grant), Some(&after));
    let mut event = caller.event("grant.revoke", Some(&grant.account), Some(about), change);
    event.reason = Some("administrator".to_owned());
    // The administrator acted, but whose grant it was is what an auditor looks for.
    event.actor.client = Some(grant.client.clone());
    event.actor.client_name = Some(grant.client_name.clone());
    event.actor.grant = Some(id);
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&caller.release().one(after).await?))
}

async fn load(caller: &Caller, id: &GrantId) -> Answer<Grant> {
    let now = caller.store().clock().now();
    let grant = store::grant::get(caller.store(), &caller.org, id, now).await?;
    caller.require(Permission::Read, Scope::Account(&grant.account))?;
    Ok(grant)
}
