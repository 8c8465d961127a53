//! `/hosts`: whose public hosts are. They come into being with the first app that is published under them; only
//! administrators of the organisation move, share, keep and give them up.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{AccountQuery, Body, Id, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, places, record};
use axum::response::Response;
use store::audit::target;
use store::split_public_url;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{AccountId, AuditEvent, AuditTarget, Host, HostId, HostSpec, NewHost, Outcome, Page};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

/// Accounts that one host can be shared with.
const SHARES: usize = 50;

/// Hosts that the caller may see: of their accounts, shared with them, or with an app of theirs. `conflict` marks
/// apps that lie under the host of another account since before that was refused
#[utoipa::path(get, path = "/hosts", tag = "hosts", params(AccountQuery), responses((status = 200, body = Page<Host>)))]
async fn list(caller: Caller, Query(query): Query<AccountQuery>) -> Answer<Json<Page<Host>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts_within(Permission::Read, query.account);
    let items = store::host::list(caller.store(), &caller.org, mine.as_deref(), &paging).await?;
    let mut page = caller
        .cursors()
        .page(&caller.org, items, paging.limit, |host| &host.id);
    page.items = page
        .items
        .into_iter()
        .map(|host| as_seen(&caller, host))
        .collect();
    Ok(Json(page))
}

/// Keeps a host for an account before anything is published there
#[utoipa::path(post, path = "/hosts", tag = "hosts", request_body = NewHost,
    responses((status = 201, body = Host), (status = 200, body = Host)))]
async fn create(caller: Caller, write: Write, mut body: Body) -> Answer<Response> {
    caller.require(Permission::Administer, Scope::Organisation)?;
    let name: String = body.need("name")?;
    let spec: HostSpec = body.read()?;
    check_spec(&caller, &spec).await?;
    if store::host::parse(&name)? == places::control_host(&caller)? {
        return Err(Fault::invalid("/name", "the control plane lies at this host").noted("foreign_host"));
    }
    let warrant = write.warrant(&caller, &Act::Host)?;
    let mut tx = caller.begin().await?;
    let host = store::host::create(&mut tx, &caller.org, &name, &spec).await?;
    let event = event(
        &caller,
        "host.create",
        (&host, &spec.account),
        (None, Some(&spec)),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.created(&format!("hosts/{}", host.id), host.version, &host))
}

/// One host
#[utoipa::path(get, path = "/hosts/{id}", tag = "hosts", responses((status = 200, body = Host)))]
async fn get(caller: Caller, Id(id): Id<HostId>) -> Answer {
    let host = load(&caller, &id).await?;
    let host = as_seen(&caller, host);
    Ok(shown(host.version, &host))
}

/// Moves a host to another account, or shares it: from then on pages of both are one place to browsers
#[utoipa::path(patch, path = "/hosts/{id}", tag = "hosts",
    request_body(content = HostSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Host)))]
async fn patch(caller: Caller, Id(id): Id<HostId>, write: Write, body: Body) -> Answer<Response> {
    let host = load(&caller, &id).await?;
    caller.require(Permission::Administer, Scope::Organisation)?;
    write.expects(host.version)?;
    let before = spec_of(&host)?;
    let spec: HostSpec = body.merge(&before)?;
    if spec == before {
        return Ok(write.changed(host.version, &host));
    }
    check_spec(&caller, &spec).await?;
    let warrant = write.warrant(&caller, &Act::Host)?;
    let mut tx = caller.begin().await?;
    let after = store::host::update(&mut tx, &caller.org, &host, &spec).await?;
    let specs = (Some(&before), Some(&spec));
    // Both who had it and who has it can read of it.
    let mut events = vec![event(&caller, "host.update", (&after, &before.account), specs)];
    if spec.account != before.account {
        events.push(event(&caller, "host.update", (&after, &spec.account), specs));
    }
    write.commit(&warrant, tx, events).await?;
    Ok(write.changed(after.version, &after))
}

/// Gives up a host under which nothing lies: it will be whoever's who publishes there next
#[utoipa::path(delete, path = "/hosts/{id}", tag = "hosts",
    responses((status = 204), (status = 200, body = Host)))]
async fn delete(caller: Caller, Id(id): Id<HostId>, write: Write) -> Answer<Response> {
    let host = load(&caller, &id).await?;
    caller.require(Permission::Administer, Scope::Organisation)?;
    write.expects(host.version)?;
    let before = spec_of(&host)?;
    let warrant = write.warrant(&caller, &Act::Host)?;
    let mut tx = caller.begin().await?;
    store::host::delete(&mut tx, &host).await?;
    let event = event(
        &caller,
        "host.delete",
        (&host, &before.account),
        (Some(&before), None),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&host))
}

/// A host, if the caller may see it: whoever may look at an account that has to do with it.
async fn load(caller: &Caller, id: &HostId) -> Answer<Host> {
    let host = store::host::get(caller.store(), &caller.org, id).await?;
    let of_apps = host.apps.iter().map(|app| &app.account);
    let mut accounts = host.account.iter().chain(&host.shared_with).chain(of_apps);
    let visible = |account: &AccountId| caller.may(Permission::Read, Scope::Account(account));
    if caller.may(Permission::Read, Scope::Organisation) || accounts.any(visible) {
        Ok(host)
    } else {
        Err(Fault::not_found())
    }
}

/// The host without accounts that do not exist for the caller.
fn as_seen(caller: &Caller, mut host: Host) -> Host {
    let visible = |account: &AccountId| caller.may(Permission::Read, Scope::Account(account));
    host.account = host.account.filter(&visible);
    host.shared_with.retain(&visible);
    host.apps.retain(|app| visible(&app.account));
    host
}

/// What can be written of a host that is whole.
fn spec_of(host: &Host) -> Answer<HostSpec> {
    let account = host.account.clone();
    Ok(HostSpec {
        account: account.ok_or_else(|| store::Error::internal("a host without its account"))?,
        shared_with: host.shared_with.clone(),
    })
}

async fn check_spec(caller: &Caller, spec: &HostSpec) -> Answer<()> {
    caller.account(&spec.account, Permission::Administer).await?;
    check::at_most("/shared_with", &spec.shared_with, SHARES)?;
    for (i, account) in spec.shared_with.iter().enumerate() {
        let pointer = format!("/shared_with/{i}");
        if *account == spec.account || spec.shared_with[..i].contains(account) {
            return Err(Fault::invalid(pointer, "given twice"));
        }
        let found = store::org::account(caller.store(), &caller.org, account).await;
        found.map_err(|e| Fault::from(e).reference(&pointer, "account"))?;
    }
    Ok(())
}

/// Refuses an app as the store did; that somebody meant to publish under another account's host goes to the log.
/// No transaction may be open.
pub(crate) async fn refused(
    caller: &Caller,
    account: &AccountId,
    public_url: &str,
    error: store::Error,
) -> Fault {
    let Ok((authority, _)) = split_public_url(public_url) else {
        return error.into();
    };
    let foreign = match store::host::is_foreign(caller.store(), account, &authority).await {
        Ok(foreign) => foreign && matches!(error, store::Error::Conflict(_)),
        Err(error) => return error.into(),
    };
    if foreign {
        let name = store::host::of_authority(&authority);
        let about = AuditTarget {
            kind: "host".to_owned(),
            id: name.clone(),
            name: Some(name),
            app: None,
            user: None,
        };
        let mut event = caller.event("host.refused", Some(account), Some(about), None);
        event.outcome = Outcome::Denied;
        event.reason = Some("foreign_host".to_owned());
        if let Err(error) = caller.store().record_folded(event).await {
            return error.into();
        }
    }
    error.into()
}

fn event(
    caller: &Caller,
    action: &str,
    (host, account): (&Host, &AccountId),
    (before, after): (Option<&HostSpec>, Option<&HostSpec>),
) -> AuditEvent {
    let about = target("host", &host.id, Some(&host.name));
    caller.event(action, Some(account), Some(about), record::change(before, after))
}
