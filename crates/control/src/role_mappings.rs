//! `/role-mappings`: roles that follow from groups of an identity provider.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::{Act, Given};
use crate::write::{Write, shown};
use crate::{Control, connections, record};
use axum::response::Response;
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{AccountId, AuditEvent, ConnectionId, Page, Role, RoleMapping, RoleMappingId, RoleMappingSpec};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MappingQuery {
    /// Only for people of this connection.
    connection: Option<ConnectionId>,
    /// Only to roles in this account.
    account: Option<AccountId>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Mappings to roles that the caller may see
#[utoipa::path(get, path = "/role-mappings", tag = "role-mappings", params(MappingQuery),
    responses((status = 200, body = Page<RoleMapping>)))]
async fn list(caller: Caller, Query(query): Query<MappingQuery>) -> Answer<Json<Page<RoleMapping>>> {
    let cursors = caller.cursors();
    let paging = cursors.paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let accounts = caller.accounts_within(Permission::Read, query.account);
    let filter = (accounts.as_deref(), query.connection.as_ref());
    let items = store::role_mapping::list(caller.store(), &caller.org, filter, &paging).await?;
    Ok(Json(cursors.page(&caller.org, items, paging.limit, |m| &m.id)))
}

/// Gives everybody a role who signs in through a connection and is in a group there; never that of an owner
#[utoipa::path(post, path = "/role-mappings", tag = "role-mappings", request_body = RoleMappingSpec,
    responses((status = 201, body = RoleMapping), (status = 200, body = RoleMapping)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let spec: RoleMappingSpec = body.read()?;
    check(&caller, &spec).await?;
    let warrant = write.warrant(&caller, &Act::Roles(&[given(&spec)]))?;
    let mut tx = caller.begin().await?;
    let mapping = store::role_mapping::create(&mut tx, &caller.org, spec).await?;
    let event = event(&caller, "role_mapping.create", (None, Some(&mapping)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.created(
        &format!("role-mappings/{}", mapping.id),
        mapping.version,
        &mapping,
    ))
}

/// One mapping
#[utoipa::path(get, path = "/role-mappings/{id}", tag = "role-mappings", responses((status = 200, body = RoleMapping)))]
async fn get(caller: Caller, Id(id): Id<RoleMappingId>) -> Answer {
    let mapping = load(&caller, &id).await?;
    Ok(shown(mapping.version, &mapping))
}

/// Changes a mapping, and at once what everybody may do whom it concerns
#[utoipa::path(patch, path = "/role-mappings/{id}", tag = "role-mappings",
    request_body(content = RoleMappingSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = RoleMapping)))]
async fn patch(caller: Caller, Id(id): Id<RoleMappingId>, write: Write, body: Body) -> Answer<Response> {
    let mapping = load(&caller, &id).await?;
    let before = given(&mapping.spec);
    caller.may_give(before)?;
    write.expects(mapping.version)?;
    let spec: RoleMappingSpec = body.merge(&mapping.spec)?;
    if spec == mapping.spec {
        return Ok(write.changed(mapping.version, &mapping));
    }
    check(&caller, &spec).await?;
    let warrant = write.warrant(&caller, &Act::Roles(&[before, given(&spec)]))?;
    let mut tx = caller.begin().await?;
    let after = store::role_mapping::update(&mut tx, &mapping, spec).await?;
    let event = event(&caller, "role_mapping.update", (Some(&mapping), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Deletes a mapping; whoever had their role from it has it no more
#[utoipa::path(delete, path = "/role-mappings/{id}", tag = "role-mappings",
    responses((status = 204), (status = 200, body = RoleMapping)))]
async fn delete(caller: Caller, Id(id): Id<RoleMappingId>, write: Write) -> Answer<Response> {
    let mapping = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::Roles(&[given(&mapping.spec)]))?;
    write.expects(mapping.version)?;
    let mut tx = caller.begin().await?;
    store::role_mapping::delete(&mut tx, &mapping).await?;
    let event = event(&caller, "role_mapping.delete", (Some(&mapping), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&mapping))
}

const fn given(spec: &RoleMappingSpec) -> Given<'_> {
    Given::new(spec.role, spec.account.as_ref())
}

async fn check(caller: &Caller, spec: &RoleMappingSpec) -> Answer<()> {
    if spec.role == Role::OrgOwner {
        let detail = "owners are made directly, never by a group";
        return Err(Fault::invalid("/role", detail));
    }
    if let Some(account) = &spec.account {
        caller.account(account, Permission::Administer).await?;
    }
    caller.may_give(given(spec))?;
    let group = &spec.group;
    if group.is_empty() || group.len() > 500 || !wire::is_plain(group) {
        return Err(Fault::invalid(
            "/group",
            "1 to 500 bytes, exactly as the provider sends it: no blanks at the ends, nothing that cannot be seen",
        ));
    }
    let connection = connections::load(caller, &spec.connection).await;
    let connection = connection.map_err(|fault| fault.reference("/connection", "connection"))?;
    // Whoever administers that account decides what its connection asserts, and must gain nothing elsewhere.
    if connection.account.is_some() && connection.account != spec.account {
        let detail = "a connection of one account gives roles in that account only";
        return Err(Fault::invalid("/connection", detail));
    }
    Ok(())
}

async fn load(caller: &Caller, id: &RoleMappingId) -> Answer<RoleMapping> {
    let mapping = store::role_mapping::get(caller.store(), &caller.org, id).await?;
    match &mapping.spec.account {
        Some(account) => caller.require(Permission::Read, Scope::Account(account))?,
        None if !caller.may(Permission::Read, Scope::Organisation) => return Err(Fault::not_found()),
        None => {}
    }
    Ok(mapping)
}

fn event(
    caller: &Caller,
    action: &str,
    (before, after): (Option<&RoleMapping>, Option<&RoleMapping>),
) -> AuditEvent {
    let mapping = after.or(before);
    let about = mapping.map(|m| target("role_mapping", &m.id, Some(&m.spec.group)));
    let account = mapping.and_then(|m| m.spec.account.as_ref());
    let specs = (before.map(|m| &m.spec), after.map(|m| &m.spec));
    caller.event(action, account, about, record::change(specs.0, specs.1))
}
