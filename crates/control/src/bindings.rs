//! `/bindings`: which shared connection signs people in to which account.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::{Act, Warrant};
use crate::write::{Write, shown};
use crate::{Control, record};
use axum::response::Response;
use std::collections::HashSet;
use store::{Tx, audit::target, impact::Made};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AuditEvent, Binding, BindingId, BindingMode, BindingSpec, BindingState, BindingsChange,
    Connection, ConnectionId, ConnectionSpec, NewBindings, Page,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create, patch_many))
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

/// Binds one connection to several accounts or all, also to those made later, in one step; where it is bound
/// already, nothing changes
#[utoipa::path(post, path = "/bindings", tag = "bindings", request_body = NewBindings,
    responses((status = 201, body = Page<Binding>), (status = 200, body = Page<Binding>)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let warrant = write.warrant(&caller, &Act::Bind)?;
    let new: NewBindings = body.read()?;
    let connection = shared(&caller, &new.connection).await?;
    let spec = BindingSpec {
        mode: new.mode,
        state: BindingState::Active,
        drain_until: None,
        claims: new.claims.clone(),
    };
    check(&spec, caller.store().clock().now())?;
    let items = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let accounts = wanted(&mut tx, &caller.org, new.accounts.as_deref()).await?;
        let mut items = store::binding::hold(&mut tx, &caller.org, &connection.id, Some(&accounts)).await?;
        let there: HashSet<AccountId> = items.iter().map(|binding| binding.account.clone()).collect();
        let missing: Vec<AccountId> = accounts.into_iter().filter(|id| !there.contains(id)).collect();
        let mut events = Vec::new();
        if spec.mode == BindingMode::Exclusive {
            alone(&mut tx, &caller, &connection.id, &missing).await?;
        }
        let made = (&connection.id, missing.as_slice());
        for binding in store::binding::create_many(&mut tx, &caller.org, made, &spec).await? {
            let specs = (None, Some(&binding.spec));
            events.push(event(&caller, "binding.create", &binding, specs));
            items.push(binding);
        }
        let after = ConnectionSpec {
            bind_new_accounts: true,
            new_account_mode: spec.mode,
            new_account_claims: spec.claims.clone(),
            ..connection.spec.clone()
        };
        if new.future && after != connection.spec {
            check_future(&caller, Some(&connection.id), &after).await?;
            let after = store::connection::update(&mut tx, &connection, after).await?;
            let about = target("connection", &after.id, Some(&after.spec.name));
            let change = record::change(Some(&connection.spec), Some(&after.spec));
            events.push(caller.event("connection.update", None, Some(about), change));
        }
        let answer = (warrant, items);
        Ok(Made { tx, events, answer })
    });
    let items = items.await?;
    let path = format!("bindings?connection={}", connection.id);
    Ok(unversioned(write.created(&path, 1, &Page { items, next: None })))
}

/// Changes many bindings of one connection alike: mode, state, the claims that they release. To detach a
/// connection in stages, let its bindings drain; to turn back before the date, make them active again
#[utoipa::path(patch, path = "/bindings", tag = "bindings",
    request_body(content = BindingsChange, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Page<Binding>)))]
async fn patch_many(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let warrant = write.warrant(&caller, &Act::Bind)?;
    let asked: BindingsChange = body.read()?;
    let connection = shared(&caller, &asked.connection).await?;
    let items = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let chosen = asked.accounts.as_deref();
        let bindings = store::binding::hold(&mut tx, &caller.org, &connection.id, chosen).await?;
        for (i, account) in chosen.into_iter().flatten().enumerate() {
            if !bindings.iter().any(|binding| binding.account == *account) {
                let detail = "the connection is not bound to such an account";
                return Err(Fault::invalid(format!("/accounts/{i}"), detail));
            }
        }
        let changed = change(warrant, tx, bindings, |spec| Ok(asked.spec.apply(spec))).await;
        changed.map_err(|fault| fault.below("/spec"))
    });
    let items = items.await?;
    Ok(unversioned(write.changed(1, &Page { items, next: None })))
}

/// Each binding has a version, a page of them has none.
fn unversioned(mut response: Response) -> Response {
    response.headers_mut().remove(http::header::ETAG);
    response
}

/// A connection of the organisation that a body names.
async fn shared(caller: &Caller, id: &ConnectionId) -> Answer<Connection> {
    let found = store::connection::get(caller.store(), &caller.org, id).await;
    let connection = found.map_err(|e| Fault::from(e).reference("/connection", "connection"))?;
    if connection.account.is_some() {
        return Err(Fault::invalid("/connection", "it belongs to one account already"));
    }
    Ok(connection)
}

/// The accounts to bind, each once.
async fn wanted(tx: &mut Tx, org: &wire::OrgId, accounts: Option<&[AccountId]>) -> Answer<Vec<AccountId>> {
    let found = store::binding::places(&mut *tx, org, accounts).await?;
    let known: HashSet<&AccountId> = found.iter().collect();
    let unknown = accounts
        .into_iter()
        .flatten()
        .position(|account| !known.contains(account));
    match unknown {
        Some(i) => Err(Fault::no_such(format!("/accounts/{i}"), "account")),
        None => Ok(found),
    }
}

/// Refuses a second connection that would be the only one in an account.
async fn alone(
    tx: &mut Tx,
    caller: &Caller,
    connection: &ConnectionId,
    accounts: &[AccountId],
) -> Answer<()> {
    let taken = store::binding::exclusive_in(&mut *tx, accounts).await?;
    let Some((account, other)) = taken.into_iter().find(|(_, other)| other != connection) else {
        return Ok(());
    };
    let other = store::connection::get(caller.store(), &caller.org, &other).await?;
    let account = store::org::account(caller.store(), &caller.org, &account).await?;
    Err(Fault::conflict(format!(
        "`{}` ({}) is the only connection of the account `{}`; let it be `allowed` there, or detach it, first",
        other.spec.name, other.id, account.spec.name
    )))
}

/// Refuses a second connection that would be the only one in accounts to come.
pub(crate) async fn check_future(
    caller: &Caller,
    id: Option<&ConnectionId>,
    spec: &ConnectionSpec,
) -> Answer<()> {
    if let Some(claims) = &spec.new_account_claims {
        check_claims("/new_account_claims", claims)?;
    }
    if !spec.bind_new_accounts || spec.new_account_mode != BindingMode::Exclusive {
        return Ok(());
    }
    for other in store::binding::for_new_accounts(caller.store(), &caller.org).await? {
        if Some(&other.id) != id && other.spec.new_account_mode == BindingMode::Exclusive {
            return Err(Fault::conflict(format!(
                "`{}` ({}) will be the only connection of new accounts; let it be `allowed` there first",
                other.spec.name, other.id
            )));
        }
    }
    Ok(())
}

/// How a new account is bound to a connection that wants to be bound to those.
pub(crate) fn of_new_account(spec: &ConnectionSpec) -> BindingSpec {
    BindingSpec {
        mode: spec.new_account_mode,
        state: BindingState::Active,
        drain_until: None,
        claims: spec.new_account_claims.clone(),
    }
}

/// Changes bindings of one connection that are held, each as `to` says. What is detached at once ends what people of
/// the connection hold there.
async fn change<'a>(
    warrant: Warrant<'a>,
    mut tx: Tx,
    bindings: Vec<Binding>,
    to: impl Fn(&BindingSpec) -> Answer<BindingSpec>,
) -> Answer<Made<(Warrant<'a>, Vec<Binding>)>> {
    let caller = warrant.caller();
    let now = caller.store().clock().now();
    let mut alike: Vec<(BindingSpec, Vec<Binding>)> = Vec::new();
    let (mut items, mut events) = (Vec::with_capacity(bindings.len()), Vec::new());
    for binding in bindings {
        let mut spec = to(&binding.spec)?;
        if spec.state != BindingState::Draining {
            spec.drain_until = None;
        }
        if spec == binding.spec {
            items.push(binding);
            continue;
        }
        check(&spec, now)?;
        if spec.state == BindingState::Draining && binding.spec.state == BindingState::Detached {
            return Err(Fault::conflict("what is detached has nothing left to drain"));
        }
        match alike.iter_mut().find(|(other, _)| *other == spec) {
            Some((_, some)) => some.push(binding),
            None => alike.push((spec, vec![binding])),
        }
    }
    for (spec, before) in alike {
        let Some(connection) = before.first().map(|binding| binding.connection.clone()) else {
            continue;
        };
        if spec.state == BindingState::Active && spec.mode == BindingMode::Exclusive {
            let accounts: Vec<_> = before.iter().map(|binding| binding.account.clone()).collect();
            alone(&mut tx, caller, &connection, &accounts).await?;
        }
        let after = store::binding::update_many(&mut tx, &before, &spec).await?;
        if spec.state == BindingState::Detached {
            let ended: Vec<AccountId> = before
                .iter()
                .filter(|binding| binding.spec.state != BindingState::Detached)
                .map(|binding| binding.account.clone())
                .collect();
            store::binding::end_held(&mut tx, &connection, &ended).await?;
        }
        for (before, after) in before.iter().zip(after) {
            let specs = (Some(&before.spec), Some(&after.spec));
            events.push(event(caller, "binding.update", &after, specs));
            items.push(after);
        }
    }
    let answer = (warrant, items);
    Ok(Made { tx, events, answer })
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
    let warrant = write.warrant(&caller, &Act::Bind)?;
    write.expects(binding.version)?;
    let spec: BindingSpec = body.merge(&binding.spec)?;
    let changed = write.carry_out(|| async {
        let tx = caller.begin().await?;
        change(warrant, tx, vec![binding.clone()], |_| Ok(spec.clone())).await
    });
    let after = changed.await?.into_iter().next().unwrap_or(binding);
    Ok(write.changed(after.version, &after))
}

/// Takes a binding away at once: sessions and grants that came through it stop
#[utoipa::path(delete, path = "/bindings/{id}", tag = "bindings",
    responses((status = 204), (status = 200, body = Binding)))]
async fn delete(caller: Caller, Id(id): Id<BindingId>, write: Write) -> Answer<Response> {
    let binding = load(&caller, &id).await?;
    let detached = binding.spec.state == BindingState::Detached;
    let warrant = write.warrant(&caller, &Act::Unbind { detached })?;
    write.expects(binding.version)?;
    let deleted = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        store::binding::delete(&mut tx, &binding).await?;
        let account = std::slice::from_ref(&binding.account);
        store::binding::end_held(&mut tx, &binding.connection, account).await?;
        let events = vec![event(
            &caller,
            "binding.delete",
            &binding,
            (Some(&binding.spec), None),
        )];
        let answer = (warrant, ());
        Ok(Made { tx, events, answer })
    });
    deleted.await?;
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
        (BindingState::Draining, Some(until)) if until <= now || until > now.plus_seconds(LONGEST_DRAIN) => {
            return Err(Fault::invalid("/drain_until", "in the future, within a year"));
        }
        _ => {}
    }
    spec.claims
        .as_ref()
        .map_or(Ok(()), |claims| check_claims("/claims", claims))
}

/// How long a binding may drain, in seconds: a leap year.
const LONGEST_DRAIN: i64 = 366 * 86_400;

fn check_claims(pointer: &str, claims: &[String]) -> Answer<()> {
    for (i, claim) in claims.iter().enumerate() {
        let known = matches!(claim.as_str(), "email" | "name" | "groups");
        if !known || claims[..i].contains(claim) {
            let detail = "`email`, `name` or `groups`, each once";
            return Err(Fault::invalid(format!("{pointer}/{i}"), detail));
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
