//! `/api-tokens`: credentials for automation. Everybody makes their own; administrators can end others'.

use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, PageQuery, Query};
use crate::write::Write;
use crate::{Control, check, record, token};
use axum::{Json, response::Response};
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{ApiToken, ApiTokenId, AuditEvent, CreatedApiToken, NewApiToken, Page, Role, TokenScope};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
}

/// The caller's tokens; for the organisation's administrators and auditors, everybody's
#[utoipa::path(get, path = "/api-tokens", tag = "api-tokens", params(PageQuery),
    responses((status = 200, body = Page<ApiToken>)))]
async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer<Json<Page<ApiToken>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let all = caller.may(Permission::Read, Scope::Organisation);
    let owner = (!all).then_some(&caller.person.user.id);
    let items = store::api_token::list(caller.store(), &caller.org, owner, &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |t| &t.id,
    )))
}

/// Makes a token of the caller; it is shown this once
#[utoipa::path(post, path = "/api-tokens", tag = "api-tokens", request_body = NewApiToken,
    responses((status = 201, body = CreatedApiToken), (status = 200, body = CreatedApiToken)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let new: NewApiToken = body.read()?;
    check::name("/name", &new.name)?;
    if new.scopes.is_empty() {
        return Err(Fault::invalid("/scopes", "at least one"));
    }
    for (i, scope) in new.scopes.iter().enumerate() {
        if new.scopes[..i].contains(scope) {
            return Err(Fault::invalid(format!("/scopes/{i}"), "given twice"));
        }
        if !caller.has_scope(*scope) {
            return Err(Fault::forbidden(
                "a token makes no token that may do more than itself",
            ));
        }
    }
    if new.scopes.contains(&TokenScope::Write) {
        caller.require_recent()?;
    }
    let now = caller.store().clock().now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Fault::invalid("/expires_at", "in the future"));
    }
    let (token, prefix, hash) = token::mint_api_token()?;
    let mut tx = caller.store().begin().await?;
    let owner = &caller.person.user.id;
    let record = store::api_token::create(&mut tx, &caller.org, owner, new, (&prefix, &hash)).await?;
    let event = event(&caller, "api_token.create", (None, Some(&record)));
    write.commit(&caller, tx, vec![event]).await?;
    let path = format!("api-tokens/{}", record.id);
    // A dry run shows no credential: it would never work.
    let token = if write.is_dry_run() { String::new() } else { token };
    Ok(write.created(&path, 1, &CreatedApiToken { record, token }))
}

/// One token
#[utoipa::path(get, path = "/api-tokens/{id}", tag = "api-tokens", responses((status = 200, body = ApiToken)))]
async fn get(caller: Caller, Id(id): Id<ApiTokenId>) -> Answer<Json<ApiToken>> {
    load(&caller, &id).await.map(Json)
}

/// Ends a token
#[utoipa::path(delete, path = "/api-tokens/{id}", tag = "api-tokens",
    responses((status = 204), (status = 200, body = ApiToken)))]
async fn delete(caller: Caller, Id(id): Id<ApiTokenId>, write: Write) -> Answer<Response> {
    let token = load(&caller, &id).await?;
    if token.owner != caller.person.user.id {
        caller.require(Permission::Administer, Scope::Organisation)?;
        let roles = store::org::roles_of(caller.store(), &token.owner).await?;
        if roles.iter().any(|m| m.role == Role::OrgOwner) {
            caller.require(Permission::Own, Scope::Organisation)?;
        }
    }
    let mut tx = caller.store().begin().await?;
    store::api_token::delete(&mut tx, &token).await?;
    let event = event(&caller, "api_token.delete", (Some(&token), None));
    write.commit(&caller, tx, vec![event]).await?;
    Ok(write.deleted(&token))
}

async fn load(caller: &Caller, id: &ApiTokenId) -> Answer<ApiToken> {
    let token = store::api_token::get(caller.store(), &caller.org, id).await?;
    let visible = token.owner == caller.person.user.id || caller.may(Permission::Read, Scope::Organisation);
    if visible {
        Ok(token)
    } else {
        Err(Fault::not_found())
    }
}

fn event(
    caller: &Caller,
    action: &str,
    (before, after): (Option<&ApiToken>, Option<&ApiToken>),
) -> AuditEvent {
    let about = before
        .or(after)
        .map(|t| target("api_token", &t.id, Some(&t.name)));
    caller.event(action, None, about, record::change(before, after))
}
