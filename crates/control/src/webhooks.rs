//! `/webhooks`: where events of the log are sent, and what became of them.
//!
//! A webhook carries the log out of the house: whoever makes one, turns it elsewhere or reads its
//! deliveries must be allowed to read the log, and an API token needs the scope `audit` for it.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{AccountQuery, Body, Id, Ids, Query};
use crate::power::Act;
use crate::service_tokens::overlap;
use crate::write::{Write, shown};
use crate::{Control, check, delivery, places, record};
use axum::response::Response;
use store::{Released, audit::target};
use url::Host;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AuditEvent, DeliveryState, NewWebhook, Page, TokenScope, Webhook, WebhookDelivery,
    WebhookDeliveryDetail, WebhookDeliveryId, WebhookId, WebhookSpec, WebhookWithSecret,
};

/// Patterns of one webhook at the most.
const PATTERNS: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(rotate_secret))
        .routes(routes!(test))
        .routes(routes!(list_deliveries))
        .routes(routes!(get_delivery))
        .routes(routes!(replay))
}

/// Webhooks that the caller may see
#[utoipa::path(get, path = "/webhooks", tag = "webhooks", params(AccountQuery),
    responses((status = 200, body = Page<Webhook>)))]
async fn list(caller: Caller, Query(query): Query<AccountQuery>) -> Answer<Json<Page<Webhook>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts_within(Permission::Read, query.account);
    let items = store::webhook::list(caller.store(), &caller.org, mine.as_deref(), &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |w| &w.id,
    )))
}

/// Makes a webhook that gets the events from now on; its signing secret is shown this once
#[utoipa::path(post, path = "/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = WebhookWithSecret)))]
async fn create(caller: Caller, write: Write, mut body: Body) -> Answer<Response> {
    let account: Option<AccountId> = body.take("account")?;
    match &account {
        Some(account) => drop(caller.account(account, Permission::Administer).await?),
        None => caller.require(Permission::Administer, Scope::Organisation)?,
    }
    needs_audit(&caller)?;
    let spec: WebhookSpec = body.read()?;
    check_spec(&caller, &spec, None).await?;
    let warrant = write.warrant(&caller, &Act::MakeWebhook(account.as_ref(), &spec))?;
    let secret = delivery::mint_secret()?;
    let mut tx = caller.begin().await?;
    let place = (&caller.org, account.as_ref());
    let webhook = store::webhook::create(&mut tx, place, spec, &secret).await?;
    let event = event(&caller, "webhook.create", (None, Some(&webhook)));
    write.commit(&warrant, tx, vec![event]).await?;
    let path = format!("webhooks/{}", webhook.id);
    let version = webhook.version;
    Ok(write.created(&path, version, &with_secret(&write, webhook, secret)))
}

/// One webhook
#[utoipa::path(get, path = "/webhooks/{id}", tag = "webhooks", responses((status = 200, body = Webhook)))]
async fn get(caller: Caller, Id(id): Id<WebhookId>) -> Answer {
    let webhook = load(&caller, &id, Permission::Read).await?;
    Ok(shown(webhook.version, &webhook))
}

/// Changes a webhook. One that is enabled anew gets the events from then on
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "webhooks",
    request_body(content = WebhookSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Webhook)))]
async fn patch(caller: Caller, Id(id): Id<WebhookId>, write: Write, body: Body) -> Answer<Response> {
    let webhook = load(&caller, &id, Permission::Administer).await?;
    needs_audit(&caller)?;
    write.expects(webhook.version)?;
    let spec: WebhookSpec = body.merge(&webhook.spec)?;
    if spec == webhook.spec {
        return Ok(write.changed(webhook.version, &webhook));
    }
    check_spec(&caller, &spec, Some(&webhook.spec)).await?;
    let act = Act::ChangeWebhook(webhook.account.as_ref(), &webhook.spec, &spec);
    let warrant = write.warrant(&caller, &act)?;
    let mut tx = caller.begin().await?;
    let after = store::webhook::update(&mut tx, &caller.org, &webhook, spec).await?;
    let event = event(&caller, "webhook.update", (Some(&webhook), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Deletes a webhook with its deliveries
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "webhooks", responses((status = 204)))]
async fn delete(caller: Caller, Id(id): Id<WebhookId>, write: Write) -> Answer<Response> {
    let webhook = load(&caller, &id, Permission::Administer).await?;
    let warrant = write.warrant(&caller, &Act::DeleteWebhook(webhook.account.as_ref()))?;
    write.expects(webhook.version)?;
    let mut tx = caller.begin().await?;
    store::webhook::delete(&mut tx, &webhook).await?;
    let event = event(&caller, "webhook.delete", (Some(&webhook), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&webhook))
}

/// Gives a webhook another signing secret; until the one of until now ends, deliveries carry both signatures
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "webhooks", request_body = wire::Rotation,
    responses((status = 200, body = WebhookWithSecret)))]
async fn rotate_secret(
    caller: Caller,
    Id(id): Id<WebhookId>,
    write: Write,
    body: Option<Body>,
) -> Answer<Response> {
    let webhook = load(&caller, &id, Permission::Administer).await?;
    needs_audit(&caller)?;
    let warrant = write.warrant(&caller, &Act::RotateWebhook(webhook.account.as_ref()))?;
    let overlap = overlap(body)?;
    let secret = delivery::mint_secret()?;
    let mut tx = caller.begin().await?;
    let after = store::webhook::rotate(&mut tx, &webhook, &secret, overlap).await?;
    let event = event(&caller, "webhook.rotate", (Some(&webhook), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    let version = after.version;
    Ok(write.changed(version, &with_secret(&write, after, secret)))
}

/// Sends the event `webhook.test` at once, also to a disabled webhook, and shows what came back
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "webhooks",
    responses((status = 201, body = WebhookDeliveryDetail)))]
async fn test(caller: Caller, Id(id): Id<WebhookId>, write: Write) -> Answer<Response> {
    let webhook = load(&caller, &id, Permission::Administer).await?;
    needs_audit(&caller)?;
    let warrant = write.warrant(&caller, &Act::SendWebhook(webhook.account.as_ref()))?;
    let about = target("webhook", &id, Some(&webhook.spec.name));
    let event = caller.event("webhook.test", webhook.account.as_ref(), Some(about), None);
    let event_id = event.id.clone();
    let tx = caller.begin().await?;
    write.commit(&warrant, tx, vec![event]).await?;
    let path = format!("webhooks/{id}/deliveries");
    if write.is_dry_run() {
        return Ok(write.created(&path, 1, &webhook));
    }
    // As it is in the log, with its position and time.
    let event = store::audit::get(caller.store(), &caller.org, &event_id).await?;
    let stored = store::webhook::get(caller.store(), &caller.org, &id).await?;
    let delivery = caller.control.deliverer().try_out(&stored, &event).await?;
    let detail = store::webhook::delivery(caller.store(), &id, &delivery).await?;
    let detail = caller.release().one(detail).await?;
    let mut response = write.created(&format!("{path}/{delivery}"), 1, &detail);
    // What only grows older has no version.
    response.headers_mut().remove(http::header::ETAG);
    Ok(response)
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeliveryQuery {
    /// Only in this state.
    state: Option<DeliveryState>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A webhook's deliveries of the last 30 days, newest first
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "webhooks", params(DeliveryQuery),
    responses((status = 200, body = Page<WebhookDelivery>)))]
async fn list_deliveries(
    caller: Caller,
    Id(id): Id<WebhookId>,
    Query(query): Query<DeliveryQuery>,
) -> Answer<Json<Page<WebhookDelivery>>> {
    load(&caller, &id, Permission::ReadAudit).await?;
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let items = store::webhook::deliveries(caller.store(), &id, query.state, &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |d| &d.id,
    )))
}

/// One delivery, with what was sent and the beginning of what came back
#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{delivery}", tag = "webhooks",
    responses((status = 200, body = WebhookDeliveryDetail)))]
async fn get_delivery(
    caller: Caller,
    Ids(id, delivery): Ids<WebhookId, WebhookDeliveryId>,
) -> Answer<Json<Released<WebhookDeliveryDetail>>> {
    load(&caller, &id, Permission::ReadAudit).await?;
    let detail = store::webhook::delivery(caller.store(), &id, &delivery).await?;
    Ok(Json(caller.release().one(detail).await?))
}

/// Sends a delivery again, the same event with the same `webhook-id`
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{delivery}/replay", tag = "webhooks",
    responses((status = 200, body = WebhookDeliveryDetail)))]
async fn replay(
    caller: Caller,
    Ids(id, delivery): Ids<WebhookId, WebhookDeliveryId>,
    write: Write,
) -> Answer<Response> {
    let webhook = load(&caller, &id, Permission::Administer).await?;
    needs_audit(&caller)?;
    let warrant = write.warrant(&caller, &Act::SendWebhook(webhook.account.as_ref()))?;
    let mut tx = caller.begin().await?;
    let detail = store::webhook::replay(&mut tx, &id, &delivery).await?;
    let about = target("webhook", &id, Some(&webhook.spec.name));
    let what = serde_json::json!({ "delivery": delivery, "event": detail.delivery.event });
    let change = record::change(None, Some(&what));
    let event = caller.event("webhook.replay", webhook.account.as_ref(), Some(about), change);
    write.commit(&warrant, tx, vec![event]).await?;
    let mut response = write.changed(1, &caller.release().one(detail).await?);
    response.headers_mut().remove(http::header::ETAG);
    Ok(response)
}

/// A dry run shows no secret: it would never sign anything.
fn with_secret(write: &Write, record: Webhook, secret: String) -> WebhookWithSecret {
    let secret = if write.is_dry_run() { String::new() } else { secret };
    WebhookWithSecret { record, secret }
}

/// What goes out through a webhook is the log.
fn needs_audit(caller: &Caller) -> Answer<()> {
    if caller.has_scope(TokenScope::Audit) {
        Ok(())
    } else {
        Err(Fault::forbidden(
            "webhooks carry the log: the token needs the scope `audit`, too",
        ))
    }
}

async fn check_spec(caller: &Caller, spec: &WebhookSpec, before: Option<&WebhookSpec>) -> Answer<()> {
    check::name("/name", &spec.name)?;
    let url = check::http_url("/url", &spec.url)?;
    if before.is_none_or(|b| b.url != spec.url) {
        places::check_target(caller, ("/url", &url), &[]).await?;
        let internal = match url.host() {
            Some(Host::Domain(name)) => outbound::is_localhost(name),
            Some(Host::Ipv4(ip)) => !outbound::is_global(ip.into()),
            Some(Host::Ipv6(ip)) => !outbound::is_global(ip.into()),
            None => false,
        };
        if internal && !spec.allow_internal {
            let detail = "an internal address, where nothing is delivered without `allow_internal`";
            return Err(Fault::invalid("/url", detail));
        }
    }
    if url.scheme() != "https" && !spec.allow_internal {
        let detail = "https, or http to an internal address with `allow_internal`";
        return Err(Fault::invalid("/url", detail));
    }
    if spec.events.is_empty() {
        return Err(Fault::invalid("/events", "at least one"));
    }
    check::at_most("/events", &spec.events, PATTERNS)?;
    for (i, pattern) in spec.events.iter().enumerate() {
        let pointer = format!("/events/{i}");
        if !store::webhook::is_pattern(pattern) {
            let detail = "an action such as `app.update`, a prefix that ends in `.`, or `*`";
            return Err(Fault::invalid(pointer, detail));
        }
        if spec.events[..i].contains(pattern) {
            return Err(Fault::invalid(pointer, "given twice"));
        }
    }
    Ok(())
}

/// The organisation's webhooks are for those with a role in the organisation.
async fn load(caller: &Caller, id: &WebhookId, permission: Permission) -> Answer<Webhook> {
    let webhook = store::webhook::get(caller.store(), &caller.org, id)
        .await?
        .webhook;
    match &webhook.account {
        Some(account) => caller.require(permission, Scope::Account(account))?,
        None => {
            if !caller.may(Permission::Read, Scope::Organisation) {
                return Err(Fault::not_found());
            }
            caller.require(permission, Scope::Organisation)?;
        }
    }
    Ok(webhook)
}

fn event(caller: &Caller, action: &str, (before, after): (Option<&Webhook>, Option<&Webhook>)) -> AuditEvent {
    let webhook = after.or(before);
    let about = webhook.map(|w| target("webhook", &w.id, Some(&w.spec.name)));
    let account = webhook.and_then(|w| w.account.as_ref());
    caller.event(action, account, about, record::change(before, after))
}
