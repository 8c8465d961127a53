//! TN1: what belongs to another organisation does not exist, on any route, by any verb.

use crate::world::{Company, on_each};
use http::Method;
use serde_json::{Value, json};

/// Every operation of the description: method and path below `/api/v1`.
pub(crate) fn operations() -> Vec<(Method, String)> {
    let text = control::openapi().to_pretty_json().unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for verb in item.as_object().unwrap().keys() {
            let path = path.strip_prefix("/api/v1").unwrap().to_owned();
            found.push((verb.to_uppercase().parse().unwrap(), path));
        }
    }
    assert!(found.len() > 50, "the description is not complete");
    found
}

/// The identifier that a route with `{id}` means in a company.
pub(crate) fn id_for(path: &str, company: &Company) -> String {
    match path {
        "/accounts/{id}" => company.account.id.to_string(),
        "/members/{id}" => company.owner.member.id.to_string(),
        "/invitations/{id}" | "/invitations/{id}/resend" => company.invitation.id.to_string(),
        "/role-mappings/{id}" => company.mapping.id.to_string(),
        path if path.starts_with("/connections/{id}") => company.connection.id.to_string(),
        "/bindings/{id}" => company.binding.id.to_string(),
        "/users/{id}" | "/users/{id}/roles" => company.employee.id.to_string(),
        "/users/{id}/factors" | "/users/{id}/factors/{factor}" => company.guarded.to_string(),
        "/sessions/{id}" => company.session.to_string(),
        "/groups/{id}" | "/groups/{id}/members" => company.group.id.to_string(),
        "/policies/{id}" => company.policy.id.to_string(),
        "/apps/{id}" | "/apps/{id}/policy-warnings" => company.app.id.to_string(),
        "/hosts/{id}" => company.host.to_string(),
        path if path.starts_with("/agent-documents/{id}") => company.document.to_string(),
        "/clients/{id}" => company.client.id.to_string(),
        "/grants/{id}" => company.grant.to_string(),
        "/agent-attempts/{id}" | "/agent-attempts/{id}/remedy" => company.attempt.to_string(),
        "/api-tokens/{id}" | "/api-tokens/{id}/roll" => company.owner.token_id.to_string(),
        "/audit/{id}" => company.event.to_string(),
        "/service-tokens/{id}" | "/service-tokens/{id}/rotate" => company.service_token.id.to_string(),
        path if path.starts_with("/connection-migrations/{id}") => company.migration.to_string(),
        path if path.starts_with("/webhooks/{id}") => company.webhook.id.to_string(),
        _ => panic!("a route without a case: {path}"),
    }
}

/// A route with its identifiers.
pub(crate) fn filled(route: &str, company: &Company) -> String {
    if !route.contains("{id}") {
        assert!(!route.contains('{'), "a parameter without a case: {route}");
        return route.to_owned();
    }
    route
        .replace("{id}", &id_for(route, company))
        .replace("{delivery}", company.delivery.as_ref())
        .replace("{factor}", company.factor.as_ref())
        .replace("{trial}", company.trial.as_ref())
}

#[tokio::test]
async fn tn1_every_id_of_another_organisation_is_404_on_every_verb() {
    on_each(async |world| {
        for (method, route) in operations() {
            let foreign = filled(&route, &world.other);
            if foreign == route {
                continue;
            }
            let body = matches!(method, Method::PATCH | Method::POST).then(|| json!({}));
            let answer = world.owner(method.clone(), &foreign, body.clone()).await;
            answer.refused(404, "not-found");
            // The same answer as for what never was.
            let id = id_for(&route, &world.other);
            let prefix = id.rsplit_once('_').unwrap().0;
            let nothing = foreign.replace(&id, &format!("{prefix}_{}", "0".repeat(32)));
            let never = world.owner(method, &nothing, body).await;
            assert_eq!(never.text, answer.text, "{route}");
        }
        // And all of it is still there for its owner.
        for (method, route) in operations() {
            if method == Method::GET && route.contains("{id}") {
                let own = filled(&route, &world.other);
                let answer = world.call(&world.other.owner.token, method, &own, None).await;
                assert_eq!(answer.status, 200, "{own}: {}", answer.text);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn tn1_lists_show_nothing_of_another_organisation() {
    on_each(async |world| {
        let foreign = operations()
            .into_iter()
            .filter(|(_, route)| route.contains("{id}"))
            .map(|(_, route)| id_for(&route, &world.other));
        let foreign: Vec<_> = foreign.chain([world.other.org.to_string()]).collect();
        for (method, route) in operations() {
            if method == Method::GET && !route.contains("{id}") {
                let answer = world.owner(method, &route, None).await;
                assert_eq!(answer.status, 200, "{route}: {}", answer.text);
                for id in &foreign {
                    assert!(!answer.text.contains(id.as_str()), "{route} shows {id}");
                }
            }
        }
        for query in [
            format!("/apps?account={}", world.other.account.id),
            format!("/bindings?account={}", world.other.account.id),
            format!("/hosts?account={}", world.other.account.id),
            format!("/clients?app={}", world.other.app.id),
            format!("/grants?user={}", world.other.employee.id),
            format!("/sessions?user={}", world.other.employee.id),
            format!("/audit?app={}", world.other.app.id),
            format!("/audit?account={}", world.other.account.id),
            format!("/members?account={}", world.other.account.id),
            format!("/members?user={}", world.other.owner.user.id),
            format!("/invitations?account={}", world.other.account.id),
            format!("/role-mappings?account={}", world.other.account.id),
            format!("/role-mappings?connection={}", world.other.connection.id),
            format!("/api-tokens?account={}", world.other.account.id),
            format!("/service-tokens?account={}", world.other.account.id),
            format!("/webhooks?account={}", world.other.account.id),
        ] {
            assert_eq!(world.get(&query).await["items"], json!([]), "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn tn1_nothing_of_another_organisation_can_be_referred_to() {
    on_each(async |world| {
        let (mine, theirs) = (&world.acme, &world.other);
        let app = |account: &str, policy: &str| {
            json!({"account": account, "name": "X", "kind": "web", "public_url": "https://x.example.com",
                "origin_url": "http://10.0.0.2", "policies": [policy]})
        };
        let (account, policy) = (mine.account.id.to_string(), mine.policy.id.to_string());
        let group = |account: &str| json!({"account": account, "name": "G"});
        let asks = json!([{"type": "group", "group": theirs.group.id}]);
        for (path, body, pointer) in [
            ("/apps", app(theirs.account.id.as_ref(), &policy), "/account"),
            ("/apps", app(&account, theirs.policy.id.as_ref()), "/policies/0"),
            ("/groups", group(theirs.account.id.as_ref()), "/account"),
            (
                "/groups",
                json!({"account": account, "name": "G", "members": [theirs.employee.id]}),
                "/members/0",
            ),
            (
                "/policies",
                json!({"account": account, "name": "P", "decision": "allow", "include": asks}),
                "/include/0/group",
            ),
            (
                "/policies",
                json!({"account": account, "name": "P", "decision": "service_auth",
                    "include": [{"type": "service_token", "service_token": theirs.service_token.id}]}),
                "/include/0/service_token",
            ),
            (
                "/members",
                json!({"user": theirs.employee.id, "role": "org_admin"}),
                "/user",
            ),
            (
                "/members",
                json!({"user": mine.employee.id, "role": "account_admin", "account": theirs.account.id}),
                "/account",
            ),
            (
                "/invitations",
                json!({"email": "x@example.com", "role": "account_admin", "account": theirs.account.id}),
                "/account",
            ),
            (
                "/role-mappings",
                json!({"connection": theirs.connection.id, "group": "G", "role": "org_auditor"}),
                "/connection",
            ),
            (
                "/role-mappings",
                json!({"connection": mine.connection.id, "group": "G", "role": "account_admin",
                    "account": theirs.account.id}),
                "/account",
            ),
            (
                "/api-tokens",
                json!({"name": "T", "scopes": ["read"], "role": "account_admin", "account": theirs.account.id}),
                "/account",
            ),
            (
                "/service-tokens",
                json!({"name": "S", "account": theirs.account.id}),
                "/account",
            ),
            (
                "/hosts",
                json!({"name": "x.example.com", "account": theirs.account.id}),
                "/account",
            ),
            (
                "/hosts",
                json!({"name": "x.example.com", "account": mine.account.id, "shared_with": [theirs.account.id]}),
                "/shared_with/0",
            ),
            (
                "/webhooks",
                json!({"name": "W", "url": "https://x.example.com/", "events": ["*"],
                    "account": theirs.account.id}),
                "/account",
            ),
            (
                "/bindings",
                json!({"connection": theirs.connection.id}),
                "/connection",
            ),
            (
                "/bindings",
                json!({"connection": mine.connection.id, "accounts": [theirs.account.id]}),
                "/accounts/0",
            ),
            (
                "/connections",
                json!({"account": theirs.account.id, "name": "C", "kind": "oidc",
                    "issuer": "https://x.example.com", "client_id": "x"}),
                "/account",
            ),
            (
                "/clients",
                json!({"app": theirs.app.id, "name": "C", "redirect_uris": ["https://x.example.com/cb"]}),
                "/app",
            ),
            (
                "/policies/test",
                json!({"app": theirs.app.id, "user": mine.employee.id}),
                "/app",
            ),
            (
                "/policies/test",
                json!({"app": mine.app.id, "user": theirs.employee.id}),
                "/user",
            ),
        ] {
            let answer = world.owner(Method::POST, path, Some(body)).await;
            assert_eq!(
                answer.refused(400, "invalid"),
                [pointer],
                "{path}: {}",
                answer.text
            );
        }
        let primary = json!({"primary_connection": theirs.connection.id});
        let answer = world.owner(Method::PATCH, "/organisation", Some(primary)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/primary_connection"]);
    })
    .await;
}
