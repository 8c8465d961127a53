//! `/members`: who was given which role; `/users/{id}/roles`: all roles that somebody has, whatever from.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::{Act, Given};
use crate::write::{Write, shown};
use crate::{Control, record, users};
use axum::response::Response;
use store::{Released, audit::target, org::MemberFilter};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AuditEvent, EffectiveRole, Member, MemberId, MemberSpec, NewMember, Page, Role, UserId,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(roles))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MemberQuery {
    /// Only roles of this person.
    user: Option<UserId>,
    /// Only roles in this account.
    account: Option<AccountId>,
    /// Only this role.
    role: Option<Role>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Members that the caller may see
#[utoipa::path(get, path = "/members", tag = "members", params(MemberQuery),
    responses((status = 200, body = Page<Member>)))]
async fn list(caller: Caller, Query(query): Query<MemberQuery>) -> Answer<Json<Page<Released<Member>>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let accounts = caller.accounts_within(Permission::Read, query.account);
    let filter = MemberFilter {
        accounts: accounts.as_deref(),
        user: query.user.as_ref(),
        role: query.role,
    };
    let items = store::org::members(caller.store(), &caller.org, &filter, &paging).await?;
    let items = caller.release().all(items).await?;
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
    let account = new.account.clone();
    let given = [Given::new(new.role, account.as_ref())];
    let warrant = write.warrant(&caller, &Act::Roles(&given))?;
    let user = users::load(&caller, &new.user).await;
    let user = user.map_err(|fault| fault.reference("/user", "user"))?;
    let connection = store::connection::get(caller.store(), &caller.org, &user.connection).await?;
    if connection.account.is_some() && connection.account != new.account {
        // Whoever administers the account decides who these people are.
        let detail = "people of an account's own connection get roles in that account only";
        return Err(Fault::invalid("/user", detail));
    }
    let mut tx = caller.begin().await?;
    let member = store::org::add_member(&mut tx, &caller.org, new).await?;
    let event = event(&caller, "member.create", (None, Some(&member)));
    write.commit(&warrant, tx, vec![event]).await?;
    let member = caller.release().one(member).await?;
    Ok(write.created(&format!("members/{}", member.id), member.version, &member))
}

/// One member
#[utoipa::path(get, path = "/members/{id}", tag = "members", responses((status = 200, body = Member)))]
async fn get(caller: Caller, Id(id): Id<MemberId>) -> Answer {
    let member = load(&caller, &id).await?;
    let member = caller.release().one(member).await?;
    Ok(shown(member.version, &member))
}

/// Changes a role at its place; the last owner stays one
#[utoipa::path(patch, path = "/members/{id}", tag = "members",
    request_body(content = MemberSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Member)))]
async fn patch(caller: Caller, Id(id): Id<MemberId>, write: Write, body: Body) -> Answer<Response> {
    let member = load(&caller, &id).await?;
    let account = member.account.as_ref();
    let before = Given::new(member.role, account);
    caller.may_give(before)?;
    write.expects(member.version)?;
    let MemberSpec { role } = body.merge(&MemberSpec { role: member.role })?;
    if role == member.role {
        return Ok(write.changed(member.version, &caller.release().one(member).await?));
    }
    if role.is_account_role() != account.is_some() {
        let detail = "a role of the organisation stays one, and so does a role in an account";
        return Err(Fault::invalid("/role", detail));
    }
    let warrant = write.warrant(&caller, &Act::Roles(&[before, Given::new(role, account)]))?;
    let mut tx = caller.begin().await?;
    let after = store::org::update_member(&mut tx, &caller.org, &member, role).await?;
    let event = event(&caller, "member.update", (Some(&member), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &caller.release().one(after).await?))
}

/// Takes a role away; the last owner stays
#[utoipa::path(delete, path = "/members/{id}", tag = "members",
    responses((status = 204), (status = 200, body = Member)))]
async fn delete(caller: Caller, Id(id): Id<MemberId>, write: Write) -> Answer<Response> {
    let member = load(&caller, &id).await?;
    let given = [Given::new(member.role, member.account.as_ref())];
    let warrant = write.warrant(&caller, &Act::Roles(&given))?;
    write.expects(member.version)?;
    let mut tx = caller.begin().await?;
    store::org::remove_member(&mut tx, &caller.org, &member).await?;
    let event = event(&caller, "member.delete", (Some(&member), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&caller.release().one(member).await?))
}

/// All roles of a person that the caller may know of: given directly, and by groups of their last sign-in
#[utoipa::path(get, path = "/users/{id}/roles", tag = "users", responses((status = 200, body = Page<EffectiveRole>)))]
async fn roles(caller: Caller, Id(id): Id<UserId>) -> Answer<Json<Page<Released<EffectiveRole>>>> {
    let user = users::load(&caller, &id).await?;
    let mut items = store::org::roles_of(caller.store(), &user.id).await?;
    if let Some(mine) = caller.accounts(Permission::Read) {
        items.retain(|role| {
            role.account
                .as_ref()
                .is_some_and(|account| mine.contains(account))
        });
    }
    let items = caller.release().roles(&user.id, items).await?;
    Ok(Json(Page { items, next: None }))
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
    let about = member.map(|m| target("member", &m.id, m.email.as_deref().or(m.user_name.as_deref())));
    let account = member.and_then(|m| m.account.as_ref());
    let mut change = record::change(before, after);
    // Whose role it is, also where nothing of that changes: the name alone does not say it.
    if let (Some(change), Some(member)) = (&mut change, member) {
        for side in [&mut change.before, &mut change.after] {
            if let Some(side) = side.as_object_mut() {
                side.insert("user".into(), member.user.to_string().into());
            }
        }
    }
    caller.event(action, account, about, change)
}
