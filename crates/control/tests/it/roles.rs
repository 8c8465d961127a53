//! Who may do what, beyond the matrix.

use crate::isolation::{filled, operations};
use crate::world::{Answer, World, hire, on_each, token};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::{Role, TokenScope};

fn own(route: &str, world: &World) -> String {
    filled(route, &world.acme)
}

/// A body that is fine, so that only permission can be what refuses.
pub(crate) fn body(method: &Method, route: &str, world: &World) -> Option<Value> {
    let acme = &world.acme;
    let account = &acme.account.id;
    Some(match (method.as_str(), route) {
        ("PATCH", "/organisation") => json!({"name": "Acme 2"}),
        ("PATCH", "/bindings") => json!({"connection": acme.connection.id, "spec": {"mode": "exclusive"}}),
        ("PATCH", "/bindings/{id}") => json!({"mode": "exclusive"}),
        ("PATCH", "/users/{id}") => json!({"disabled": true}),
        ("PATCH", "/clients/{id}") => json!({"state": "blocked"}),
        ("PATCH", "/members/{id}") => json!({"role": "org_admin"}),
        ("PATCH", "/role-mappings/{id}") => json!({"group": "Other"}),
        ("PATCH", "/agent-documents/{id}") => {
            let id = "https://refused.example.com/client.json";
            let document = json!({"client_id": id, "redirect_uris": ["http://127.0.0.1/callback"]});
            json!({"decision": "pin", "document": document})
        }
        ("POST", "/agent-documents") => {
            json!({"client_id": "https://x.example.com/client.json", "decision": "refuse"})
        }
        ("POST", "/agent-documents/{id}/refresh") => return None,
        ("PATCH", "/hosts/{id}") => json!({"shared_with": [acme.labs.id]}),
        ("PATCH", _) => json!({"name": "Another name"}),
        ("POST", "/accounts") => json!({"name": "New"}),
        ("POST", "/members") => json!({"user": acme.employee.id, "role": "org_auditor"}),
        ("POST", "/invitations") => json!({"email": "new@example.com", "role": "org_auditor"}),
        ("POST", "/invitations/{id}/resend") => json!({}),
        ("POST", "/role-mappings") => {
            json!({"connection": acme.connection.id, "group": "Auditors", "role": "org_auditor"})
        }
        ("POST", "/connections") => {
            json!({"name": "C", "kind": "oidc", "issuer": "https://x.example.com", "client_id": "x"})
        }
        ("POST", "/connections/discover") => json!({"issuer": "https://127.0.0.1:1"}),
        ("POST", "/connections/{id}/claims-preview") => json!({"sample": {"sub": "ada"}}),
        ("POST", "/connections/{id}/trials") => return None,
        ("POST", "/bindings") => json!({"connection": acme.connection.id}),
        ("POST", "/connection-migrations") => {
            json!({"from": acme.connection.id, "to": acme.elsewhere.id, "domains": ["example.com"]})
        }
        ("POST", "/connection-migrations/{id}/links") => {
            json!({"from_user": acme.employee.id, "to_user": acme.owner.user.id, "state": "rejected"})
        }
        ("POST", "/connection-migrations/{id}/cut-over") => json!({}),
        ("POST", path) if path.starts_with("/connection-migrations/{id}/") => return None,
        ("POST", "/agent-attempts/{id}/remedy") => json!({"kind": "switch_on_managed_oauth"}),
        ("POST", "/groups") => json!({"account": account, "name": "G"}),
        ("POST", "/policies") => {
            json!({"account": account, "name": "P", "decision": "allow", "include": [{"type": "everyone"}]})
        }
        ("POST", "/policies/test") => json!({"app": acme.app.id, "user": acme.employee.id}),
        ("POST", "/apps") => {
            json!({"account": account, "name": "X", "kind": "web", "public_url": "https://x.example.com",
                "origin_url": "http://10.0.0.2"})
        }
        ("POST", "/hosts") => json!({"account": account, "name": "new.example.com"}),
        ("POST", "/clients") => {
            json!({"app": acme.app.id, "name": "C", "redirect_uris": ["https://x.example.com/cb"]})
        }
        ("POST", "/api-tokens") => json!({"name": "T", "scopes": ["read"]}),
        ("POST", "/api-tokens/{id}/roll") => json!({"overlap_seconds": 60}),
        ("POST", "/service-tokens") => json!({"account": account, "name": "S"}),
        ("POST", "/webhooks") => {
            json!({"account": account, "name": "W", "url": "https://x.example.com/hook", "events": ["app."]})
        }
        ("POST", "/service-tokens/{id}/rotate" | "/webhooks/{id}/rotate-secret") => {
            json!({"overlap_seconds": 60})
        }
        ("POST", "/webhooks/{id}/test" | "/webhooks/{id}/deliveries/{delivery}/replay") => return None,
        ("POST", "/signing-keys/rotate") | ("GET" | "DELETE", _) => return None,
        other => panic!("an operation without a case: {other:?}"),
    })
}

/// What is answered to each operation, on what belongs to Acme.
pub(crate) async fn statuses(world: &World, token: &str) -> Vec<(String, Answer)> {
    let mut found = Vec::new();
    for (method, route) in operations() {
        let operation = format!("{method} {route}");
        // What would be done is not done, so that the order does not matter.
        let dry = if is_read(&operation) { "" } else { "?dry_run=true" };
        let path = format!("{}{dry}", own(&route, world));
        let body = body(&method, &route, world);
        found.push((operation, world.call(token, method, &path, body).await));
    }
    found
}

/// What changes nothing.
pub(crate) fn is_read(operation: &str) -> bool {
    const QUESTIONS: [&str; 3] = [
        "/policies/test",
        "/connections/discover",
        "/connections/{id}/claims-preview",
    ];
    let question = operation.strip_prefix("POST ");
    operation.starts_with("GET ") || question.is_some_and(|route| QUESTIONS.contains(&route))
}

fn is_audit(operation: &str) -> bool {
    operation.contains(" /audit") || operation.starts_with("GET ") && operation.contains("/deliveries")
}

#[tokio::test]
async fn without_a_credential_every_operation_is_401() {
    on_each(async |world| {
        for token in ["", "cht_", &control::mint_api_token().unwrap().0] {
            for (operation, answer) in statuses(world, token).await {
                assert_eq!(
                    answer.status,
                    StatusCode::UNAUTHORIZED,
                    "{operation} with {token:?}"
                );
            }
        }
        world.clock.advance(1);
        let answer = world.call("x", Method::GET, "/apps", None).await;
        answer.refused(401, "unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    })
    .await;
}

#[tokio::test]
async fn only_owners_manage_owners() {
    on_each(async |world| {
        let admin = world.hire(Role::OrgAdmin, None).await;
        let new = json!({"user": admin.user.id, "role": "org_owner"});
        let answer = world
            .call(&admin.token, Method::POST, "/members", Some(new.clone()))
            .await;
        answer.refused(403, "forbidden");
        let path = format!("/users/{}", world.acme.owner.user.id);
        let disable = Some(json!({"disabled": true}));
        world
            .call(&admin.token, Method::PATCH, &path, disable.clone())
            .await
            .refused(403, "forbidden");
        // The last owner stays, whoever asks.
        world
            .owner(Method::PATCH, &path, disable.clone())
            .await
            .refused(409, "conflict");
        let member = format!("/members/{}", world.acme.owner.member.id);
        world
            .owner(Method::DELETE, &member, None)
            .await
            .refused(409, "conflict");
        // With another owner there, the first may go.
        let answer = world.owner(Method::POST, "/members", Some(new)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let answer = world.owner(Method::DELETE, &member, None).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
        world
            .owner(Method::GET, "/apps", None)
            .await
            .refused(403, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn an_account_admin_knows_only_the_account() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.labs)).await;
        for list in [
            "/apps",
            "/policies",
            "/groups",
            "/clients",
            "/grants",
            "/bindings",
            "/connections",
        ] {
            let answer = world.call(&admin.token, Method::GET, list, None).await;
            assert_eq!(answer.json()["items"], json!([]), "{list}");
        }
        let accounts = world
            .call(&admin.token, Method::GET, "/accounts", None)
            .await
            .json();
        assert_eq!(accounts["items"].as_array().unwrap().len(), 1);
        // In the account, nearly everything.
        let new = json!({"account": acme.labs.id, "name": "X", "kind": "web",
            "public_url": "https://x.example.com", "origin_url": "http://10.0.0.2"});
        let answer = world.call(&admin.token, Method::POST, "/apps", Some(new)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        // But no way to the addresses inside.
        let new = json!({"account": acme.labs.id, "name": "C", "kind": "oidc", "client_id": "x",
            "issuer": "http://10.0.0.5", "allow_internal": ["http://10.0.0.5"]});
        let answer = world
            .call(&admin.token, Method::POST, "/connections", Some(new))
            .await;
        answer.refused(403, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn an_account_auditor_and_editor_stay_within_their_roles() {
    on_each(async |world| {
        let account = Some(&world.acme.account);
        let auditor = world.hire(Role::AccountAuditor, account).await;
        let editor = world.hire(Role::AccountEditor, account).await;
        let path = format!("/apps/{}", world.acme.app.id);
        let rename = || Some(json!({"name": "Wiki 2"}));
        world
            .call(&auditor.token, Method::PATCH, &path, rename())
            .await
            .refused(403, "forbidden");
        assert_eq!(
            world
                .call(&editor.token, Method::PATCH, &path, rename())
                .await
                .status,
            200
        );
        let client = format!("/clients/{}", world.acme.client.id);
        let block = Some(json!({"state": "blocked"}));
        world
            .call(&editor.token, Method::PATCH, &client, block)
            .await
            .refused(403, "forbidden");
        world
            .call(&editor.token, Method::GET, "/audit", None)
            .await
            .refused(403, "forbidden");
        let log = world
            .call(&auditor.token, Method::GET, "/audit", None)
            .await
            .json();
        let events = log["items"].as_array().unwrap();
        assert!(!events.is_empty());
        assert!(
            events
                .iter()
                .all(|e| e["account"] == json!(world.acme.account.id))
        );
    })
    .await;
}

#[tokio::test]
async fn a_token_does_no_more_than_its_scopes() {
    on_each(async |world| {
        let (org, owner) = (&world.acme.org, &world.acme.owner.user.id);
        for (scope, allowed) in [
            (
                TokenScope::Read,
                (|o| is_read(o) && !is_audit(o)) as fn(&str) -> bool,
            ),
            (TokenScope::Write, |o| !is_audit(o)),
            (TokenScope::Audit, is_audit),
        ] {
            let (_, token) = token(&world.store, org, owner, &[scope]).await;
            for (operation, answer) in statuses(world, &token).await {
                // A narrow token of the owner's does not act upon their wide one, and webhooks carry the log.
                let more = operation == "POST /api-tokens/{id}/roll"
                    || operation.contains(" /webhooks")
                        && !is_read(&operation)
                        && !operation.contains("DELETE");
                if scope == TokenScope::Write && more {
                    answer.refused(403, "forbidden");
                    continue;
                }
                let forbidden = answer.status == StatusCode::FORBIDDEN;
                assert_eq!(
                    forbidden,
                    !allowed(&operation),
                    "{scope:?}: {operation}: {}",
                    answer.text
                );
            }
            let more = Some(json!({"name": "More", "scopes": ["read", "write", "audit"]}));
            world
                .call(&token, Method::POST, "/api-tokens", more)
                .await
                .refused(403, "forbidden");
        }
    })
    .await;
}

#[tokio::test]
async fn somebody_without_a_role_is_refused() {
    on_each(async |world| {
        let (_, token) = token(
            &world.store,
            &world.acme.org,
            &world.acme.employee.id,
            &[TokenScope::Read],
        )
        .await;
        for (operation, answer) in statuses(world, &token).await {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{operation}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_owner() {
    on_each(async |world| {
        let expires = json!(world.clock.now().plus_seconds(60));
        let new = json!({"name": "Short", "scopes": ["read"], "expires_at": expires});
        let made = world.owner(Method::POST, "/api-tokens", Some(new)).await.json();
        let token = made["token"].as_str().unwrap();
        assert_eq!(world.call(token, Method::GET, "/apps", None).await.status, 200);
        world.clock.advance(61);
        world
            .call(token, Method::GET, "/apps", None)
            .await
            .refused(401, "unauthenticated");
        let org = (&world.acme.org, &world.acme.connection.id);
        let admin = hire(&world.store, org, (Role::OrgAdmin, None), &[TokenScope::Write]).await;
        assert_eq!(
            world.call(&admin.token, Method::GET, "/apps", None).await.status,
            200
        );
        let path = format!("/users/{}", admin.user.id);
        let answer = world
            .owner(Method::PATCH, &path, Some(json!({"disabled": true})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        world
            .call(&admin.token, Method::GET, "/apps", None)
            .await
            .refused(401, "unauthenticated");
    })
    .await;
}
