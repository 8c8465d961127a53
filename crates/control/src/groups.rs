//! `/groups`: groups of people, for policies to ask about.

use crate::caller::Caller;
use crate::fault::{Answer, Fault};
use crate::input::{AccountQuery, Body, Id, Query};
use crate::rules::{self, Kind};
use crate::write::{Write, shown};
use crate::{Control, check};
use axum::{Json, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{Group, GroupId, GroupSpec, NewGroup, Page, Policy, Selector};

const KIND: Kind<Group> = Kind {
    noun: "group",
    path: "groups",
    spec: |group| &group.spec,
    check: |spec, _| {
        check::name("/name", &spec.name)?;
        check::at_most("/members", &spec.members, 1000)?;
        check::at_most("/include", &spec.include, 200)?;
        policy::check_group(spec).map_err(|e| Fault::compile("", e))
    },
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

/// Groups that the caller may see
#[utoipa::path(get, path = "/groups", tag = "groups", params(AccountQuery),
    responses((status = 200, body = Page<Group>)))]
async fn list(caller: Caller, Query(query): Query<AccountQuery>) -> Answer<Json<Page<Group>>> {
    rules::list(&caller, query).await.map(Json)
}

/// Makes a group
#[utoipa::path(post, path = "/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, body = Group), (status = 200, body = Group)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    check_members(&caller, &body).await?;
    rules::create(&caller, &KIND, &write, body).await
}

/// One group
#[utoipa::path(get, path = "/groups/{id}", tag = "groups", responses((status = 200, body = Group)))]
async fn get(caller: Caller, Id(id): Id<GroupId>) -> Answer {
    let group: Group = rules::load(&caller, &id).await?;
    Ok(shown(group.version, &group))
}

/// Changes a group
#[utoipa::path(patch, path = "/groups/{id}", tag = "groups",
    request_body(content = GroupSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Group)))]
async fn patch(caller: Caller, Id(id): Id<GroupId>, write: Write, body: Body) -> Answer<Response> {
    let _: Group = rules::load_to_edit(&caller, &id).await?;
    check_members(&caller, &body).await?;
    rules::patch(&caller, &KIND, &id, &write, body).await
}

/// Deletes a group that no policy names
#[utoipa::path(delete, path = "/groups/{id}", tag = "groups",
    responses((status = 204), (status = 200, body = Group)))]
async fn delete(caller: Caller, Id(id): Id<GroupId>, write: Write) -> Answer<Response> {
    let group: Group = rules::load_to_edit(&caller, &id).await?;
    let policies: Vec<Policy> = rules::all(&caller, &group.account).await?;
    let names = |policy: &&Policy| {
        let spec = &policy.spec;
        let mut selectors = spec.include.iter().chain(&spec.require).chain(&spec.exclude);
        selectors.any(|s| matches!(s, Selector::Group { group } if *group == id))
    };
    let users: Vec<_> = policies
        .iter()
        .filter(names)
        .map(|p| p.spec.name.as_str())
        .collect();
    rules::refuse_if_used("policy", &users)?;
    rules::delete(&caller, &KIND, &group, &write).await
}

/// People named in a body must be people that the caller may see.
async fn check_members(caller: &Caller, body: &Body) -> Answer<()> {
    let members = body.0.get("members").and_then(|m| m.as_array());
    for (i, member) in members.into_iter().flatten().take(1000).enumerate() {
        let pointer = format!("/members/{i}");
        if let Some(Ok(id)) = member.as_str().map(str::parse) {
            let found = crate::users::load(caller, &id).await;
            found.map_err(|fault| fault.reference(&pointer, "user"))?;
        }
    }
    Ok(())
}
