//! `/users/{id}/factors`: second factors of people with a local password. People add their own at
//! `/me/security`; here they are seen, and taken from people who lost them.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Id, Ids, PageQuery, Query};
use crate::power::Act;
use crate::write::Write;
use crate::{Control, record};
use axum::response::Response;
use store::{audit::target, factor};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{Factor, FactorId, Page, User, UserId};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(delete))
}

/// Second factors of a person, oldest first; everybody sees their own
#[utoipa::path(get, path = "/users/{id}/factors", tag = "users", params(PageQuery),
    responses((status = 200, body = Page<Factor>)))]
async fn list(
    caller: Caller,
    Id(id): Id<UserId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<Page<Factor>>> {
    let user = load(&caller, &id).await?;
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let items = factor::list(caller.store(), &user.id, &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |f| &f.id,
    )))
}

/// Takes a second factor away: one's own, or, by an owner, anybody's
#[utoipa::path(delete, path = "/users/{id}/factors/{factor}", tag = "users",
    responses((status = 204)))]
async fn delete(caller: Caller, Ids(id, factor): Ids<UserId, FactorId>, write: Write) -> Answer<Response> {
    let user = load(&caller, &id).await?;
    let factor = factor::get(caller.store(), &user.id, &factor).await?;
    let is_self = caller.user() == Some(&user.id);
    let warrant = write.warrant(&caller, &Act::RemoveFactor { own: is_self })?;
    let org = store::org::get(caller.store(), &caller.org).await?;
    let mut tx = caller.begin().await?;
    factor::remove(&mut tx, &user.id, &factor.id).await?;
    if is_self && org.spec.require_second_factor {
        let left = factor::list(&mut tx, &user.id, &store::Paging::default()).await?;
        if left.is_empty() {
            let detail = "the organisation asks for a second factor, and this is the caller's only one";
            return Err(Fault::conflict(detail));
        }
    }
    let about = target("factor", &factor.id, Some(&factor.name));
    let mut change = record::change(Some(&factor), None);
    if let Some(before) = change.as_mut().and_then(|change| change.before.as_object_mut()) {
        before.insert("user".to_owned(), user.id.to_string().into());
    }
    let event = caller.event("factor.remove", None, Some(about), change);
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&factor))
}

/// The person, if the caller may know what they sign in with: themselves, or with a role in the organisation.
async fn load(caller: &Caller, id: &UserId) -> Answer<User> {
    let user = store::user::get(caller.store(), &caller.org, id).await?.user;
    if caller.user() == Some(id) || caller.may(Permission::Read, Scope::Organisation) {
        return Ok(user);
    }
    Err(Fault::not_found())
}
