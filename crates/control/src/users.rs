//! `/users`: people. They are made by signing in, and can be disabled.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, connections, record};
use axum::response::Response;
use std::collections::HashSet;
use store::{Released, audit::target};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{ConnectionId, Page, User, UserId, UserSpec};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(get, patch))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct UserQuery {
    /// Text that occurs in name or e-mail address.
    q: Option<String>,
    /// Only people of this connection.
    connection: Option<ConnectionId>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// People that the caller may see: with account roles, those of connections that count in the account
#[utoipa::path(get, path = "/users", tag = "users", params(UserQuery), responses((status = 200, body = Page<User>)))]
async fn list(caller: Caller, Query(query): Query<UserQuery>) -> Answer<Json<Page<Released<User>>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let (store, org) = (&caller.reports(), &caller.org);
    let filter = (query.q.as_deref(), query.connection.as_ref());
    let mut release = caller.release();
    let items = match connections::bound(&caller) {
        None => store::user::list(store, org, filter, &paging).await?,
        Some(bound) => {
            let bound = bound.into_iter().map(|id| {
                let shown = release.of_connection(&id);
                (id, shown)
            });
            let bound: Vec<_> = bound.collect();
            store::user::list_shown(store, org, filter, &bound, &paging).await?
        }
    };
    let items = release.all(items).await?;
    Ok(Json(caller.cursors().page(org, items, paging.limit, |u| &u.id)))
}

/// One person
#[utoipa::path(get, path = "/users/{id}", tag = "users", responses((status = 200, body = User)))]
async fn get(caller: Caller, Id(id): Id<UserId>) -> Answer {
    let user = load(&caller, &id).await?;
    let user = caller.release().one(user).await?;
    Ok(shown(user.version, &user))
}

/// Disables a person, which ends everything of theirs, or lets them in again
#[utoipa::path(patch, path = "/users/{id}", tag = "users",
    request_body(content = UserSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = User)))]
async fn patch(caller: Caller, Id(id): Id<UserId>, write: Write, body: Body) -> Answer<Response> {
    let user = load(&caller, &id).await?;
    caller.require(Permission::Administer, Scope::Organisation)?;
    write.expects(user.version)?;
    let before = UserSpec {
        disabled: user.disabled,
    };
    let spec: UserSpec = body.merge(&before)?;
    let mut release = caller.release();
    if spec == before {
        return Ok(write.changed(user.version, &release.one(user).await?));
    }
    let roles = store::org::roles_of(caller.store(), &id).await?;
    let warrant = write.warrant(&caller, &Act::ChangeUser(&spec, &roles))?;
    let mut tx = caller.begin().await?;
    let after = store::user::set_disabled(&mut tx, &caller.org, &user, spec.disabled).await?;
    let about = target("user", &id, user.email.as_deref().or(user.name.as_deref()));
    let change = record::change(Some(&before), Some(&spec));
    let event = caller.event("user.update", None, Some(about), change);
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &release.one(after).await?))
}

/// Who of some people the caller may see.
pub(crate) async fn visible(caller: &Caller, ids: &[UserId]) -> Answer<HashSet<UserId>> {
    let mut people = store::user::some(caller.store(), &caller.org, ids).await?;
    if let Some(bound) = connections::bound(caller) {
        people.retain(|person| bound.contains(&person.user.connection));
    }
    Ok(people.into_iter().map(|person| person.user.id).collect())
}

/// A person, if the caller may see them.
pub(crate) async fn load(caller: &Caller, id: &UserId) -> Answer<User> {
    let user = store::user::get(caller.store(), &caller.org, id).await?.user;
    match connections::bound(caller) {
        Some(bound) if !bound.contains(&user.connection) => Err(Fault::not_found()),
        _ => Ok(user),
    }
}
