//! `/policies`: reusable rules, and the tester, which asks the engine that enforces them.

use crate::caller::Caller;
use crate::fault::{Answer, Fault};
use crate::input::{AccountQuery, Body, Id, Query};
use crate::rules::{self, Kind};
use crate::write::{Write, shown};
use crate::{Control, check};
use axum::{Json, response::Response};
use policy::{ClientFacts, Facts, RequestFacts, Ruleset, ScopeSet};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    Actor, App, AppKind, Client, ClientState, Decision, NewPolicy, Page, Policy, PolicyId, PolicySpec,
    PolicyTest, PolicyTestResult, Reason, RuleRef,
};

const KIND: Kind<Policy> = Kind {
    noun: "policy",
    path: "policies",
    spec: |policy| &policy.spec,
    check: |spec, groups| {
        check::name("/name", &spec.name)?;
        for (pointer, selectors) in [
            ("/include", &spec.include),
            ("/require", &spec.require),
            ("/exclude", &spec.exclude),
        ] {
            check::at_most(pointer, selectors, 200)?;
        }
        policy::check_policy(spec, groups).map_err(|e| Fault::compile("", e))
    },
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(test))
}

/// Policies that the caller may see
#[utoipa::path(get, path = "/policies", tag = "policies", params(AccountQuery),
    responses((status = 200, body = Page<Policy>)))]
async fn list(caller: Caller, Query(query): Query<AccountQuery>) -> Answer<Json<Page<Policy>>> {
    rules::list(&caller, query).await.map(Json)
}

/// Makes a policy
#[utoipa::path(post, path = "/policies", tag = "policies", request_body = NewPolicy,
    responses((status = 201, body = Policy), (status = 200, body = Policy)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
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

/// Tries an app's rules, or unsaved ones, on one person, with or without an agent
#[utoipa::path(post, path = "/policies/test", tag = "policies", request_body = PolicyTest,
    responses((status = 200, body = PolicyTestResult)))]
async fn test(
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
    body: Body,
) -> Answer<Json<PolicyTestResult>> {
    let test: PolicyTest = body.read()?;
    let app = crate::apps::load(&caller, &test.app).await;
    let app = app.map_err(|fault| fault.reference("/app", "app"))?;
    let user = crate::users::load(&caller, &test.user).await;
    let user = user.map_err(|fault| fault.reference("/user", "user"))?;
    let person = store::user::get(caller.store(), &caller.org, &user.id).await?;
    let client = match &test.client {
        Some(id) => {
            let found = crate::clients::load(&caller, id).await;
            let client = found.map_err(|fault| fault.reference("/client", "client"))?;
            if client.app != app.id {
                return Err(Fault::invalid("/client", "it is registered at another app"));
            }
            Some(client)
        }
        None => None,
    };
    let rules = ruleset(&caller, &app, test.draft).await?;
    let scopes: Vec<String> = app.spec.oauth.scopes.iter().map(|s| s.name.clone()).collect();
    let method = test.method.unwrap_or_else(|| "GET".into());
    let path = test.path.unwrap_or_else(|| "/".into());
    let tools: Vec<&str> = test.tool.as_deref().into_iter().collect();
    let is_mcp = app.spec.kind == AppKind::Mcp || test.tool.is_some();
    let request = if is_mcp {
        RequestFacts::mcp(&method, &path, &tools)
    } else {
        RequestFacts::web(&method, &path)
    };
    let facts = Facts {
        user: Some(broker::person_facts(&person)),
        client: client.as_ref().map(client_facts),
        actor: if client.is_some() {
            Actor::Agent
        } else {
            Actor::Browser
        },
        scopes: client.is_some().then_some(scopes.as_slice()),
        request: Some(request),
        ..Facts::nobody(Actor::Browser)
    };
    let mut result = rules.explain(&facts);
    // What enforcement looks at before it asks the rules.
    let before = refused_anyway(&caller, &app, &person, client.as_ref());
    // An agent can ask for every scope; what none of them covers, it cannot do.
    let uncovered = || {
        let set = ScopeSet::compile(&app.spec.oauth.scopes).ok()?;
        (client.is_some() && !set.covers(&scopes, &request)).then_some(Reason::InsufficientScope)
    };
    if let Some(reason) = before.or_else(uncovered) {
        result.decision = Decision {
            allowed: false,
            reason,
            rule: None,
        };
    }
    Ok(Json(result))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

async fn ruleset(caller: &Caller, app: &App, draft: Option<Vec<PolicySpec>>) -> Answer<Ruleset> {
    let org = store::org::get(caller.store(), &caller.org).await?;
    let groups = rules::groups(caller, &app.account).await?;
    let policies = match draft {
        Some(draft) => {
            check::at_most("/draft", &draft, 100)?;
            let named = draft.into_iter().enumerate().map(|(i, spec)| {
                let id = format!("draft/{i}");
                let name = spec.name.clone();
                (RuleRef { id, name }, spec)
            });
            named.collect::<Vec<_>>()
        }
        None => {
            let all: Vec<Policy> = rules::all(caller, &app.account).await?;
            let find = |id: &PolicyId| all.iter().find(|p| p.id == *id);
            let used = app.spec.policies.iter().filter_map(find);
            let named = used.map(|p| {
                let (id, name) = (p.id.to_string(), p.spec.name.clone());
                (RuleRef { id, name }, p.spec.clone())
            });
            named.collect()
        }
    };
    Ruleset::compile(&org.spec.floor, &policies, &groups).map_err(|mut error| {
        if let Some(rest) = error.pointer.strip_prefix("/policies/") {
            error.pointer = format!("/draft/{rest}");
        }
        Fault::compile("", error)
    })
}

fn client_facts(client: &Client) -> ClientFacts<'_> {
    ClientFacts {
        id: &client.id,
        client_id: &client.client_id,
        verified_host: client.verified_host.as_deref(),
        tier: client.tier,
    }
}

/// Why nobody asks the rules, if so.
fn refused_anyway(
    caller: &Caller,
    app: &App,
    person: &store::user::Person,
    client: Option<&Client>,
) -> Option<Reason> {
    let snapshot = caller.store().directory();
    let now = caller.store().clock().now();
    let Some(view) = snapshot.app(&app.id) else {
        return Some(Reason::Disabled);
    };
    if let Some(reason) = view.refuses(&person.user.connection, person.user.disabled, now) {
        return Some(reason);
    }
    let client = client?;
    let accepted =
        client.state == ClientState::Active && client.tier >= app.spec.oauth.registration.lowest_tier;
    match (app.spec.managed_oauth, accepted) {
        (false, _) => Some(Reason::ManagedOauthOff),
        (true, false) => Some(Reason::ClientNotAccepted),
        (true, true) => None,
    }
}
