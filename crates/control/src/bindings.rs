//! `/bindings`: which shared connection signs people in to which account.

use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::write::{Write, shown};
use crate::{Control, record};
use axum::{Json, response::Response};
use std::collections::HashMap;
use store::{Paging, audit::target};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AuditEvent, Binding, BindingId, BindingSpec, BindingState, ConnectionId, NewBindings, Page,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct BindingQuery {
    /// Only in this account.
    account: Option<AccountId>,
    /// Only of this connection.
    connection: Option<ConnectionId>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Bindings that the caller may see
#[utoipa::path(get, path = "/bindings", tag = "bindings", params(BindingQuery),
    responses((status = 200, body = Page<Binding>)))]
async fn list(caller: Caller, Query(query): Query<BindingQuery>) -> Answer<Json<Page<Binding>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts(Permission::Read);
    let filter = (query.connection.as_ref(), query.account.as_ref());
    let items = store::binding::list(caller.store(), &caller.org, filter, mine.as_deref(), &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |b| &b.id,
    )))
}

/// Binds one connection to several accounts or all, in one step; those that are bound stay as they are
#[utoipa::path(post, path = "/bindings", tag = "bindings", request_body = NewBindings,
    responses((status = 201, body = Page<Binding>), (status = 200, body = Page<Binding>)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    caller.require(Permission::Administer, Scope::Organisation)?;
    let new: NewBindings = body.read()?;
    let found = store::connection::get(caller.store(), &caller.org, &new.connection).await;
    let connection = found.map_err(|e| Fault::from(e).reference("/connection", "connection"))?;
    if connection.account.is_some() {
        return Err(Fault::invalid("/connection", "it belongs to one account already"));
    }
    let accounts = wanted(&caller, new.accounts).await?;
    let mut there = bound(&caller, &connection.id).await?;
    let mut tx = caller.store().begin().await?;
    let (mut items, mut events) = (Vec::with_capacity(accounts.len()), Vec::new());
    for account in accounts {
        if let Some(binding) = there.remove(&account) {
            items.push(binding);
            continue;
        }
        let spec = BindingSpec {
            mode: new.mode,
            state: BindingState::Active,
            drain_until: None,
            claims: None,
        };
        let binding = store::binding::create(&mut tx, &caller.org, (&connection.id, &account), spec).await?;
        events.push(event(
            &caller,
            "binding.create",
            &binding,
            (None, Some(&binding.spec)),
        ));
        items.push(binding);
    }
    if events.is_empty() {
        drop(tx);
    } else {
        write.commit(&caller, tx, events).await?;
    }
    let path = format!("bindings?connection={}", connection.id);
    let mut response = write.created(&path, 1, &Page { items, next: None });
    // Each binding has a version, their page has none.
    response.headers_mut().remove(http::header::ETAG);
    Ok(response)
}

/// The accounts to bind, each once.
async fn wanted(caller: &Caller, accounts: Option<Vec<AccountId>>) -> Answer<Vec<AccountId>> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let paging = Paging { limit: 200, after };
        let mut page = store::org::accounts(caller.store(), &caller.org, None, &paging).await?;
        let more = page.len() > 200;
        page.truncate(200);
        after = page.last().map(|a| a.id.clone());
        all.extend(page.into_iter().map(|a| a.id));
        if !more {
            break;
        }
    }
    let Some(mut given) = accounts else {
        return Ok(all);
    };
    // Identifiers sort by age, and the list came in that order.
    if let Some(i) = given.iter().position(|id| all.binary_search(id).is_err()) {
        return Err(Fault::invalid(format!("/accounts/{i}"), "no such account"));
    }
    given.sort();
    given.dedup();
    Ok(given)
}

/// The bindings that a connection has, by account.
async fn bound(caller: &Caller, connection: &ConnectionId) -> Answer<HashMap<AccountId, Binding>> {
    let mut found = HashMap::new();
    let mut after = None;
    loop {
        let paging = Paging { limit: 200, after };
        let filter = (Some(connection), None);
        let mut page = store::binding::list(caller.store(), &caller.org, filter, None, &paging).await?;
        let more = page.len() > 200;
        page.truncate(200);
        after = page.last().map(|b| b.id.clone());
        found.extend(page.into_iter().map(|b| (b.account.clone(), b)));
        if !more {
            return Ok(found);
        }
    }
}

/// One binding
#[utoipa::path(get, path = "/bindings/{id}", tag = "bindings", responses((status = 200, body = Binding)))]
async fn get(caller: Caller, Id(id): Id<BindingId>) -> Answer {
    let binding = load(&caller, &id).await?;
    Ok(shown(binding.version, &binding))
}

/// Changes a binding: its mode, its state, the claims that it releases
#[utoipa::path(patch, path = "/bindings/{id}", tag = "bindings",
    request_body(content = BindingSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Binding)))]
async fn patch(caller: Caller, Id(id): Id<BindingId>, write: Write, body: Body) -> Answer<Response> {
    let binding = load(&caller, &id).await?;
    caller.require(Permission::Administer, Scope::Organisation)?;
    write.expects(binding.version)?;
    let mut spec: BindingSpec = body.merge(&binding.spec)?;
    if spec.state != BindingState::Draining {
        spec.drain_until = None;
    }
    if spec == binding.spec {
        return Ok(write.changed(binding.version, &binding));
    }
    check(&spec, caller.store().clock().now())?;
    let mut tx = caller.store().begin().await?;
    let after = store::binding::update(&mut tx, &binding, spec).await?;
    let event = event(
        &caller,
        "binding.update",
        &after,
        (Some(&binding.spec), Some(&after.spec)),
    );
    write.commit(&caller, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Takes a binding away at once: sessions and grants that came through it stop
#[utoipa::path(delete, path = "/bindings/{id}", tag = "bindings",
    responses((status = 204), (status = 200, body = Binding)))]
async fn delete(caller: Caller, Id(id): Id<BindingId>, write: Write) -> Answer<Response> {
    let binding = load(&caller, &id).await?;
    caller.require(Permission::Administer, Scope::Organisation)?;
    write.expects(binding.version)?;
    let mut tx = caller.store().begin().await?;
    store::binding::delete(&mut tx, &binding).await?;
    let event = event(&caller, "binding.delete", &binding, (Some(&binding.spec), None));
    write.commit(&caller, tx, vec![event]).await?;
    Ok(write.deleted(&binding))
}

async fn load(caller: &Caller, id: &BindingId) -> Answer<Binding> {
    let binding = store::binding::get(caller.store(), &caller.org, id).await?;
    caller.require(Permission::Read, Scope::Account(&binding.account))?;
    Ok(binding)
}

fn check(spec: &BindingSpec, now: wire::Timestamp) -> Answer<()> {
    match (spec.state, spec.drain_until) {
        (BindingState::Draining, None) => {
            return Err(Fault::invalid("/drain_until", "required while draining"));
        }
        (BindingState::Draining, Some(until)) if until <= now => {
            return Err(Fault::invalid("/drain_until", "in the future"));
        }
        _ => {}
    }
    for (i, claim) in spec.claims.iter().flatten().enumerate() {
        if !matches!(claim.as_str(), "email" | "name" | "groups") {
            return Err(Fault::invalid(
                format!("/claims/{i}"),
                "`email`, `name` or `groups`",
            ));
        }
    }
    Ok(())
}

pub(crate) fn event(
    caller: &Caller,
    action: &str,
    binding: &Binding,
    (before, after): (Option<&BindingSpec>, Option<&BindingSpec>),
) -> AuditEvent {
    let name = caller
        .store()
        .directory()
        .account(&binding.account)
        .map(|a| a.account.spec.name.clone());
    let about = target("binding", &binding.id, name.as_deref());
    let mut change = record::change(before, after);
    // Which connection, beside which account: a binding has no name of its own.
    if let Some(change) = &mut change {
        for side in [&mut change.before, &mut change.after] {
            if let Some(side) = side.as_object_mut() {
                side.insert("connection".into(), binding.connection.to_string().into());
            }
        }
    }
    caller.event(action, Some(&binding.account), Some(about), change)
}
