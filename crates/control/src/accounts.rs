//! `/accounts`: the organisation's tenants.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::Answer;
use crate::input::{Body, Id, Query, SearchQuery};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, record};
use axum::response::Response;
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{Account, AccountId, AccountSpec, AuditEvent, ImpactSummary, Page};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

/// Accounts that the caller may see
#[utoipa::path(get, path = "/accounts", tag = "accounts", params(SearchQuery),
    responses((status = 200, body = Page<Account>)))]
async fn list(caller: Caller, Query(query): Query<SearchQuery>) -> Answer<Json<Page<Account>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts(Permission::Read);
    let items = store::org::accounts_named(
        caller.store(),
        &caller.org,
        (mine.as_deref(), query.q.as_deref()),
        &paging,
    )
    .await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |a| &a.id,
    )))
}

/// Makes an account, with bindings of the connections that bind new accounts
#[utoipa::path(post, path = "/accounts", tag = "accounts", request_body = AccountSpec,
    responses((status = 201, body = Account), (status = 200, body = Account)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let warrant = write.warrant(&caller, &Act::MakeAccount)?;
    let spec: AccountSpec = body.read()?;
    check::name("/name", &spec.name)?;
    let bound = store::binding::for_new_accounts(caller.store(), &caller.org).await?;
    let mut tx = caller.begin().await?;
    let account = store::org::create_account(&mut tx, &caller.org, spec).await?;
    let mut events: Vec<AuditEvent> = vec![event(
        &caller,
        "account.create",
        &account,
        (None, Some(&account.spec)),
    )];
    for connection in bound {
        let spec = crate::bindings::of_new_account(&connection.spec);
        let at = (&connection.id, &account.id);
        let binding = store::binding::create(&mut tx, &caller.org, at, spec).await?;
        let specs = (None, Some(&binding.spec));
        let mut event = crate::bindings::event(&caller, "binding.create", &binding, specs);
        // There is no app yet that anybody could use.
        event.impact = Some(ImpactSummary {
            accounts: 1,
            ..ImpactSummary::default()
        });
        events.push(event);
    }
    write.commit(&warrant, tx, events).await?;
    Ok(write.created(&format!("accounts/{}", account.id), account.version, &account))
}

/// One account
#[utoipa::path(get, path = "/accounts/{id}", tag = "accounts", responses((status = 200, body = Account)))]
async fn get(caller: Caller, Id(id): Id<AccountId>) -> Answer {
    let account = load(&caller, &id).await?;
    Ok(shown(account.version, &account))
}

/// Changes an account; a disabled one lets nobody in
#[utoipa::path(patch, path = "/accounts/{id}", tag = "accounts",
    request_body(content = AccountSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Account)))]
async fn patch(caller: Caller, Id(id): Id<AccountId>, write: Write, body: Body) -> Answer<Response> {
    let account = load(&caller, &id).await?;
    caller.require(Permission::Administer, Scope::Organisation)?;
    write.expects(account.version)?;
    let spec: AccountSpec = body.merge(&account.spec)?;
    if spec == account.spec {
        return Ok(write.changed(account.version, &account));
    }
    check::name("/name", &spec.name)?;
    let warrant = write.warrant(&caller, &Act::ChangeAccount(&account.spec, &spec))?;
    let mut tx = caller.begin().await?;
    let after = store::org::update_account(&mut tx, &account, spec).await?;
    let event = event(
        &caller,
        "account.update",
        &after,
        (Some(&account.spec), Some(&after.spec)),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Deletes an empty account
#[utoipa::path(delete, path = "/accounts/{id}", tag = "accounts",
    responses((status = 204), (status = 200, body = Account)))]
async fn delete(caller: Caller, Id(id): Id<AccountId>, write: Write) -> Answer<Response> {
    let account = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::DeleteAccount)?;
    write.expects(account.version)?;
    let mut tx = caller.begin().await?;
    store::org::delete_account(&mut tx, &account).await?;
    let event = event(&caller, "account.delete", &account, (Some(&account.spec), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&account))
}

async fn load(caller: &Caller, id: &AccountId) -> Answer<Account> {
    let account = store::org::account(caller.store(), &caller.org, id).await?;
    caller.require(Permission::Read, Scope::Account(id))?;
    Ok(account)
}

fn event(
    caller: &Caller,
    action: &str,
    account: &Account,
    (before, after): (Option<&AccountSpec>, Option<&AccountSpec>),
) -> AuditEvent {
    let about = target("account", &account.id, Some(&account.spec.name));
    caller.event(
        action,
        Some(&account.id),
        Some(about),
        record::change(before, after),
    )
}
