//! `/policies`: reusable rules.

use crate::answer::Json;
use crate::caller::Caller;
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, NamedQuery, Query};
use crate::rules::{self, Kind};
use crate::write::{Write, shown};
use crate::{Control, check};
use axum::response::Response;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{AccountId, NewPolicy, Page, Policy, PolicyDecision, PolicyId, PolicySpec, ServiceTokenId};

const KIND: Kind<Policy> = Kind {
    noun: "policy",
    path: "policies",
    spec: |policy| &policy.spec,
    check: |spec, groups| {
        check::name("/name", &spec.name)?;
        check_size("", spec)?;
        policy::check_policy(spec, groups).map_err(|e| Fault::compile("", e))
    },
    bypasses: |spec| spec.decision == PolicyDecision::Bypass,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

/// Policies that the caller may see
#[utoipa::path(get, path = "/policies", tag = "policies", params(NamedQuery),
    responses((status = 200, body = Page<Policy>)))]
async fn list(caller: Caller, Query(query): Query<NamedQuery>) -> Answer<Json<Page<Policy>>> {
    rules::list(&caller, query).await.map(Json)
}

/// Makes a policy
#[utoipa::path(post, path = "/policies", tag = "policies", request_body = NewPolicy,
    responses((status = 201, body = Policy), (status = 200, body = Policy)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let account = body.0.get("account").and_then(Value::as_str);
    if let Some(Ok(account)) = account.map(str::parse) {
        check_service_tokens(&caller, &account, &body).await?;
    }
    rules::create(&caller, &KIND, &write, body).await
}

/// One policy
#[utoipa::path(get, path = "/policies/{id}", tag = "policies", responses((status = 200, body = Policy)))]
async fn get(caller: Caller, Id(id): Id<PolicyId>) -> Answer {
    let policy: Policy = rules::load(&caller, &id).await?;
    Ok(shown(policy.version, &policy))
}

/// Changes a policy, wherever it is used
#[utoipa::path(patch, path = "/policies/{id}", tag = "policies",
    request_body(content = PolicySpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Policy)))]
async fn patch(caller: Caller, Id(id): Id<PolicyId>, write: Write, body: Body) -> Answer<Response> {
    let policy: Policy = rules::load_to_edit(&caller, &id).await?;
    check_service_tokens(&caller, &policy.account, &body).await?;
    rules::patch(&caller, &KIND, &id, &write, body).await
}

/// Deletes a policy that no app uses
#[utoipa::path(delete, path = "/policies/{id}", tag = "policies",
    responses((status = 204), (status = 200, body = Policy)))]
async fn delete(caller: Caller, Id(id): Id<PolicyId>, write: Write) -> Answer<Response> {
    let policy: Policy = rules::load_to_edit(&caller, &id).await?;
    let apps = rules::apps(&caller, &policy.account).await?;
    let users = apps.iter().filter(|a| a.spec.policies.contains(&id));
    let users: Vec<_> = users.map(|a| a.spec.name.as_str()).collect();
    rules::refuse_if_used("app", &users)?;
    rules::delete(&caller, &KIND, &policy, &write).await
}

/// Service tokens named in a body must be the account's: another one would never match.
async fn check_service_tokens(caller: &Caller, account: &AccountId, body: &Body) -> Answer<()> {
    let mut named: Vec<(String, ServiceTokenId)> = Vec::new();
    for list in ["include", "require", "exclude"] {
        let selectors = body.0.get(list).and_then(Value::as_array);
        for (i, selector) in selectors.into_iter().flatten().take(200).enumerate() {
            let id = selector.get("service_token").and_then(Value::as_str);
            if let Some(Ok(id)) = id.map(str::parse) {
                named.push((format!("/{list}/{i}/service_token"), id));
            }
        }
    }
    let ids: Vec<ServiceTokenId> = named.iter().map(|(_, id)| id.clone()).collect();
    let theirs = store::service_token::some_of(caller.store(), &caller.org, account, &ids).await?;
    match named.into_iter().find(|(_, id)| !theirs.contains(id)) {
        Some((pointer, _)) => Err(Fault::no_such(pointer, "service token")),
        None => Ok(()),
    }
}

/// A policy is as large as somebody can still read; `pointer` leads to it.
pub(crate) fn check_size(pointer: &str, spec: &PolicySpec) -> Answer<()> {
    for (list, selectors) in [
        ("include", &spec.include),
        ("require", &spec.require),
        ("exclude", &spec.exclude),
    ] {
        check::at_most(&format!("{pointer}/{list}"), selectors, 200)?;
    }
    Ok(())
}
