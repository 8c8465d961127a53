//! `/members`: who has which role.

use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, PageQuery, Query};
use crate::write::Write;
use crate::{Control, record};
use axum::{Json, response::Response};
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{AccountId, AuditEvent, Member, MemberId, NewMember, Page, Role};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
}

/// Members that the caller may see
#[utoipa::path(get, path = "/members", tag = "members", params(PageQuery),
    responses((status = 200, body = Page<Member>)))]
async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer<Json<Page<Member>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts(Permission::Read);
    let items = store::org::members(caller.store(), &caller.org, mine.as_deref(), &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |m| &m.id,
    )))
}

/// Gives a person a role; owners are made by owners only
#[utoipa::path(post, path = "/members", tag = "members", request_body = NewMember,
    responses((status = 201, body = Member), (status = 200, body = Member)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let new: NewMember = body.read()?;
    if let Some(account) = &new.account {
        caller.account(account, Permission::Administer).await?;
    }
    require(&caller, new.role, new.account.as_ref())?;
    recent(&caller, new.role)?;
    let found = store::user::get(caller.store(), &caller.org, &new.user).await;
    found.map_err(|e| Fault::from(e).reference("/user", "user"))?;
    let mut tx = caller.store().begin().await?;
    let member = store::org::add_member(&mut tx, &caller.org, new).await?;
    let event = event(&caller, "member.create", (None, Some(&member)));
    write.commit(&caller, tx, vec![event]).await?;
    Ok(write.created(&format!("members/{}", member.id), 1, &member))
}

/// One member
#[utoipa::path(get, path = "/members/{id}", tag = "members", responses((status = 200, body = Member)))]
async fn get(caller: Caller, Id(id): Id<MemberId>) -> Answer<Json<Member>> {
    load(&caller, &id).await.map(Json)
}

/// Takes a role away; the last owner stays
#[utoipa::path(delete, path = "/members/{id}", tag = "members",
    responses((status = 204), (status = 200, body = Member)))]
async fn delete(caller: Caller, Id(id): Id<MemberId>, write: Write) -> Answer<Response> {
    let member = load(&caller, &id).await?;
    require(&caller, member.role, member.account.as_ref())?;
    recent(&caller, member.role)?;
    let mut tx = caller.store().begin().await?;
    store::org::remove_member(&mut tx, &caller.org, &member).await?;
    let event = event(&caller, "member.delete", (Some(&member), None));
    write.commit(&caller, tx, vec![event]).await?;
    Ok(write.deleted(&member))
}

/// Whether the caller may give and take this role there.
fn require(caller: &Caller, role: Role, account: Option<&AccountId>) -> Answer<()> {
    match (role, account) {
        (Role::OrgOwner, _) => caller.require(Permission::Own, Scope::Organisation),
        (_, None) => caller.require(Permission::Administer, Scope::Organisation),
        (_, Some(account)) => caller.require(Permission::Administer, Scope::Account(account)),
    }
}

/// Roles that rule the whole organisation are given and taken with a fresh proof only.
fn recent(caller: &Caller, role: Role) -> Answer<()> {
    match role {
        Role::OrgOwner | Role::OrgAdmin => caller.require_recent(),
        _ => Ok(()),
    }
}

async fn load(caller: &Caller, id: &MemberId) -> Answer<Member> {
    let member = store::org::member(caller.store(), &caller.org, id).await?;
    match &member.account {
        Some(account) => caller.require(Permission::Read, Scope::Account(account))?,
        // A role in the organisation is nothing that a member of one account knows of.
        None if !caller.may(Permission::Read, Scope::Organisation) => return Err(Fault::not_found()),
        None => {}
    }
    Ok(member)
}

fn event(caller: &Caller, action: &str, (before, after): (Option<&Member>, Option<&Member>)) -> AuditEvent {
    let member = before.or(after);
    let about = member.map(|m| target("member", &m.id, None));
    let account = member.and_then(|m| m.account.as_ref());
    caller.event(action, account, about, record::change(before, after))
}
