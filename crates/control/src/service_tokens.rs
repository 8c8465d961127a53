//! `/service-tokens`: credentials with which machines come to the apps of one account.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{AccountQuery, Body, Id, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, record};
use axum::response::Response;
use store::audit::target;
use store::service_token::SECRET;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AuditEvent, NewServiceToken, Page, Rotation, ServiceToken, ServiceTokenId, ServiceTokenSpec,
    ServiceTokenWithSecret, Timestamp,
};

/// A token ends after a year unless somebody says otherwise, in seconds.
const LIFE: i64 = 365 * 86_400;
/// A day.
const OVERLAP: u32 = 86_400;
/// A week.
const LONGEST_OVERLAP: u32 = 7 * 86_400;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(rotate))
}

/// Service tokens that the caller may see
#[utoipa::path(get, path = "/service-tokens", tag = "service-tokens", params(AccountQuery),
    responses((status = 200, body = Page<ServiceToken>)))]
async fn list(caller: Caller, Query(query): Query<AccountQuery>) -> Answer<Json<Page<ServiceToken>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts_within(Permission::Read, query.account);
    let items = store::service_token::list(caller.store(), &caller.org, mine.as_deref(), &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |t| &t.id,
    )))
}

/// Makes a service token; its secret is shown this once
#[utoipa::path(post, path = "/service-tokens", tag = "service-tokens", request_body = NewServiceToken,
    responses((status = 201, body = ServiceTokenWithSecret)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let new: NewServiceToken = body.read()?;
    let account = caller.account(&new.account, Permission::Administer).await?;
    let warrant = write.warrant(&caller, &Act::ShowServiceToken(&account.id))?;
    let now = caller.store().clock().now();
    let spec = ServiceTokenSpec {
        name: new.name,
        expires_at: new.expires_at.unwrap_or(Some(now.plus_seconds(LIFE))),
        enabled: new.enabled,
    };
    check_spec(&spec, None, now)?;
    let secret = SECRET.mint()?;
    let mut tx = caller.begin().await?;
    let place = (&caller.org, &account.id);
    let token = store::service_token::create(&mut tx, place, spec, &secret).await?;
    let event = event(&caller, "service_token.create", (None, Some(&token)));
    write.commit(&warrant, tx, vec![event]).await?;
    let path = format!("service-tokens/{}", token.id);
    let version = token.version;
    Ok(write.created(&path, version, &with_secret(&write, token, secret.secret)))
}

/// One service token
#[utoipa::path(get, path = "/service-tokens/{id}", tag = "service-tokens",
    responses((status = 200, body = ServiceToken)))]
async fn get(caller: Caller, Id(id): Id<ServiceTokenId>) -> Answer {
    let token = load(&caller, &id, Permission::Read).await?;
    Ok(shown(token.version, &token))
}

/// Renames, enables, disables a service token, or sets its end; `null` means that it never ends
#[utoipa::path(patch, path = "/service-tokens/{id}", tag = "service-tokens",
    request_body(content = ServiceTokenSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = ServiceToken)))]
async fn patch(caller: Caller, Id(id): Id<ServiceTokenId>, write: Write, body: Body) -> Answer<Response> {
    let token = load(&caller, &id, Permission::Administer).await?;
    write.expects(token.version)?;
    let spec: ServiceTokenSpec = body.merge(&token.spec)?;
    if spec == token.spec {
        return Ok(write.changed(token.version, &token));
    }
    check_spec(&spec, Some(&token.spec), caller.store().clock().now())?;
    let act = Act::ChangeServiceToken(&token.account, &token.spec, &spec);
    let warrant = write.warrant(&caller, &act)?;
    let mut tx = caller.begin().await?;
    let after = store::service_token::update(&mut tx, &token, spec).await?;
    let event = event(&caller, "service_token.update", (Some(&token), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Ends a service token, everywhere within seconds
#[utoipa::path(delete, path = "/service-tokens/{id}", tag = "service-tokens", responses((status = 204)))]
async fn delete(caller: Caller, Id(id): Id<ServiceTokenId>, write: Write) -> Answer<Response> {
    let token = load(&caller, &id, Permission::Administer).await?;
    let warrant = write.warrant(&caller, &Act::DeleteServiceToken(&token.account))?;
    write.expects(token.version)?;
    let mut tx = caller.begin().await?;
    store::service_token::delete(&mut tx, &token).await?;
    let event = event(&caller, "service_token.delete", (Some(&token), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&token))
}

/// Gives a service token another secret; the one of until now stays good for a while, or ends at once
#[utoipa::path(post, path = "/service-tokens/{id}/rotate", tag = "service-tokens", request_body = Rotation,
    responses((status = 200, body = ServiceTokenWithSecret)))]
async fn rotate(
    caller: Caller,
    Id(id): Id<ServiceTokenId>,
    write: Write,
    body: Option<Body>,
) -> Answer<Response> {
    let token = load(&caller, &id, Permission::Administer).await?;
    let warrant = write.warrant(&caller, &Act::ShowServiceToken(&token.account))?;
    let overlap = overlap(body)?;
    let secret = SECRET.mint()?;
    let mut tx = caller.begin().await?;
    let after = store::service_token::rotate(&mut tx, &token, &secret, overlap).await?;
    let event = event(&caller, "service_token.rotate", (Some(&token), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    let version = after.version;
    Ok(write.changed(version, &with_secret(&write, after, secret.secret)))
}

/// For how long the secret before a rotation stays good, in seconds.
pub(crate) fn overlap(body: Option<Body>) -> Answer<u32> {
    let rotation: Rotation = body.map(Body::read).transpose()?.unwrap_or_default();
    let overlap = rotation.overlap_seconds.unwrap_or(OVERLAP);
    check::range("/overlap_seconds", overlap, 0..=LONGEST_OVERLAP)?;
    Ok(overlap)
}

/// A dry run shows no secret: it would never work.
fn with_secret(write: &Write, record: ServiceToken, client_secret: String) -> ServiceTokenWithSecret {
    let client_secret = if write.is_dry_run() {
        String::new()
    } else {
        client_secret
    };
    ServiceTokenWithSecret {
        record,
        client_secret,
    }
}

fn check_spec(spec: &ServiceTokenSpec, before: Option<&ServiceTokenSpec>, now: Timestamp) -> Answer<()> {
    check::name("/name", &spec.name)?;
    let is_new = before.is_none_or(|before| before.expires_at != spec.expires_at);
    if is_new && spec.expires_at.is_some_and(|at| at <= now) {
        return Err(Fault::invalid("/expires_at", "in the future"));
    }
    Ok(())
}

async fn load(caller: &Caller, id: &ServiceTokenId, permission: Permission) -> Answer<ServiceToken> {
    let token = store::service_token::get(caller.store(), &caller.org, id).await?;
    caller.require(permission, Scope::Account(&token.account))?;
    Ok(token)
}

fn event(
    caller: &Caller,
    action: &str,
    (before, after): (Option<&ServiceToken>, Option<&ServiceToken>),
) -> AuditEvent {
    let token = after.or(before);
    let about = token.map(|t| target("service_token", &t.id, Some(&t.spec.name)));
    let account = token.map(|t| &t.account);
    caller.event(action, account, about, record::change(before, after))
}
