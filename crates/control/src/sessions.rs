//! `/session`: who calls. `/sessions`: browser sessions, which an administrator can end.

use crate::answer::Json;
use crate::caller::{Caller, Credential, Permission, Scope};
use crate::fault::Answer;
use crate::input::{Id, Query};
use crate::power::Act;
use crate::write::Write;
use crate::{Control, organisation};
use axum::response::Response;
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{BrowserSession, Page, Session, SessionId, UserId};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(current))
        .routes(routes!(list))
        .routes(routes!(end))
}

/// Who calls, in which organisation, with which roles
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = Session)))]
async fn current(caller: Caller) -> Answer<Json<Session>> {
    let csrf_token = match &caller.credential {
        Credential::Session(signed_in) => Some(signed_in.csrf(caller.store(), "api")),
        Credential::Token(_) => None,
    };
    let token = match &caller.credential {
        Credential::Session(_) => None,
        Credential::Token(token) => Some(token.clone()),
    };
    Ok(Json(Session {
        user: caller.person.as_ref().map(|person| person.user.clone()),
        token,
        organisation: organisation::load(&caller).await?,
        roles: caller.roles.to_vec(),
        csrf_token,
        control_url: caller.control.control_url().to_owned(),
    }))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SessionQuery {
    /// Only of this person.
    user: Option<UserId>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Browser sessions that are not over
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionQuery),
    responses((status = 200, body = Page<BrowserSession>)))]
async fn list(caller: Caller, Query(query): Query<SessionQuery>) -> Answer<Json<Page<BrowserSession>>> {
    caller.require(Permission::Read, Scope::Organisation)?;
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let (store, now) = (caller.store(), caller.store().clock().now());
    let items = store::session::list(store, &caller.org, query.user.as_ref(), now, &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |s| &s.id,
    )))
}

/// Ends a session and the app sessions that came from it
#[utoipa::path(delete, path = "/sessions/{id}", tag = "sessions",
    responses((status = 204), (status = 200, body = BrowserSession)))]
async fn end(caller: Caller, Id(id): Id<SessionId>, write: Write) -> Answer<Response> {
    caller.require(Permission::Read, Scope::Organisation)?;
    let session = store::session::get(caller.store(), &caller.org, &id).await?;
    let roles = store::org::roles_of(caller.store(), &session.user).await?;
    let warrant = write.warrant(&caller, &Act::EndSession(&roles))?;
    let mut tx = caller.begin().await?;
    store::session::end(&mut tx, &id).await?;
    let mut about = target("session", &id, None);
    about.app.clone_from(&session.app);
    let change = crate::record::change(Some(&session), None);
    let event = caller.event("session.revoke", None, Some(about), change);
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&session))
}
