//! `/users`: people. They are made by signing in, and can be disabled.

use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, connections, record};
use axum::{Json, response::Response};
use store::audit::target;
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
async fn list(caller: Caller, Query(query): Query<UserQuery>) -> Answer<Json<Page<User>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let filter = (query.q.as_deref(), query.connection.as_ref());
    let items = store::user::list(caller.store(), &caller.org, filter, &paging).await?;
    let mut page = caller.cursors().page(&caller.org, items, paging.limit, |u| &u.id);
    if let Some(bound) = connections::bound(&caller).await? {
        page.items.retain(|u| bound.contains(&u.connection));
        for user in &mut page.items {
            conceal(&caller, user);
        }
        // Nor does a search tell what is not shown.
        if let Some(q) = &query.q {
            page.items.retain(|user| mentions(user, q));
        }
    }
    Ok(Json(page))
}

/// One person
#[utoipa::path(get, path = "/users/{id}", tag = "users", responses((status = 200, body = User)))]
async fn get(caller: Caller, Id(id): Id<UserId>) -> Answer {
    let user = load(&caller, &id).await?;
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
    if spec == before {
        return Ok(write.changed(user.version, &user));
    }
    let roles = store::org::roles_of(caller.store(), &id).await?;
    let warrant = write.warrant(&caller, &Act::ChangeUser(&spec, &roles))?;
    let mut tx = caller.begin().await?;
    let after = store::user::set_disabled(&mut tx, &caller.org, &user, spec.disabled).await?;
    let about = target("user", &id, user.email.as_deref().or(user.name.as_deref()));
    let change = record::change(Some(&before), Some(&spec));
    let event = caller.event("user.update", None, Some(about), change);
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// A person, if the caller may see them.
pub(crate) async fn load(caller: &Caller, id: &UserId) -> Answer<User> {
    let mut user = store::user::get(caller.store(), &caller.org, id).await?.user;
    match connections::bound(caller).await? {
        Some(bound) if !bound.contains(&user.connection) => Err(Fault::not_found()),
        Some(_) => {
            conceal(caller, &mut user);
            Ok(user)
        }
        None => Ok(user),
    }
}

/// Takes away what no binding to an account of the caller releases.
fn conceal(caller: &Caller, user: &mut User) {
    let released = |claim| releases(caller, &user.connection, claim);
    let (email, name, groups) = (released("email"), released("name"), released("groups"));
    if !email {
        user.email = None;
        user.email_verified = false;
    }
    if !name {
        user.name = None;
    }
    if !groups {
        user.groups.clear();
    }
}

/// Whether the caller may see `email`, `name` or `groups` of a connection's people.
pub(crate) fn releases(caller: &Caller, connection: &ConnectionId, claim: &str) -> bool {
    let Some(mine) = caller.accounts(Permission::Read) else {
        return true;
    };
    let directory = caller.store().directory();
    mine.iter()
        .filter_map(|id| directory.account(id))
        .flat_map(|account| account.connections.iter())
        .any(|bound| bound.id == *connection && bound.releases(claim))
}

/// Whether a text occurs in what is shown of a person, as the store looks for it.
fn mentions(user: &User, q: &str) -> bool {
    let shown = format!(
        "{} {}",
        user.name.as_deref().unwrap_or_default(),
        user.email.as_deref().unwrap_or_default()
    );
    shown.to_lowercase().contains(&q.to_lowercase())
}
