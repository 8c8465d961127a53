//! Each resource through its whole life.

use crate::world::{World, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// Made, shown, listed, changed, deleted.
async fn life(world: &World, list: &str, new: Value, patch: Value) {
    let made = world.owner(Method::POST, list, Some(new)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{list}: {}", made.text);
    let shown = made.json();
    let path = format!("{list}/{}", shown["id"].as_str().unwrap());
    assert_eq!(made.header("location"), format!("/api/v1{path}"));
    assert_eq!(world.get(&path).await, shown);
    let items = world.get(list).await["items"].clone();
    assert!(items.as_array().unwrap().contains(&shown), "{list}");
    let (noun, _) = world
        .newest()
        .await
        .action
        .split_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    if !patch.is_null() {
        let changed = world.owner(Method::PATCH, &path, Some(patch.clone())).await;
        assert_eq!(changed.status, StatusCode::OK, "{path}: {}", changed.text);
        assert_eq!(changed.json()["version"], 2);
        for (member, value) in patch.as_object().unwrap() {
            assert_eq!(changed.json()[member], *value);
        }
        assert_eq!(world.get(&path).await, changed.json());
        assert_eq!(world.newest().await.action, format!("{noun}.update"));
    }
    let gone = world.owner(Method::DELETE, &path, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{path}: {}", gone.text);
    assert_eq!(world.newest().await.action, format!("{noun}.delete"));
    world
        .owner(Method::GET, &path, None)
        .await
        .refused(404, "not-found");
    world
        .owner(Method::DELETE, &path, None)
        .await
        .refused(404, "not-found");
}

#[tokio::test]
async fn what_administrators_make_lives_and_dies() {
    on_each(async |world| {
        let acme = &world.acme;
        let account = &acme.account.id;
        life(
            world,
            "/accounts",
            json!({"name": "New"}),
            json!({"enabled": false}),
        )
        .await;
        let connection = json!({"name": "C", "kind": "oidc", "issuer": "http://127.0.0.1:9000",
            "client_id": "x", "allow_internal": ["http://127.0.0.1:9000"]});
        life(world, "/connections", connection, json!({"enabled": false})).await;
        let own = json!({"account": account, "name": "D", "kind": "oidc", "issuer": "https://x.example.com",
            "client_id": "x"});
        life(world, "/connections", own, json!({"scopes": ["email"]})).await;
        let group = json!({"account": account, "name": "G", "members": [acme.employee.id],
            "include": [{"type": "email_domain", "domain": "example.com"}]});
        life(world, "/groups", group, json!({"name": "H"})).await;
        let policy = json!({"account": account, "name": "P", "decision": "deny",
            "include": [{"type": "group", "group": acme.group.id}]});
        life(world, "/policies", policy, json!({"decision": "allow"})).await;
        let app = json!({"account": account, "name": "Tickets", "kind": "mcp",
            "public_url": "https://tickets.example.com/mcp", "origin_url": "http://10.0.0.2:9000",
            "policies": [acme.policy.id]});
        life(world, "/apps", app, json!({"managed_oauth": true})).await;
        let client = json!({"app": acme.app.id, "name": "C", "redirect_uris": ["https://x.example.com/cb"]});
        life(world, "/clients", client, json!({"state": "blocked"})).await;
        let member = json!({"user": acme.employee.id, "role": "account_editor", "account": account});
        life(world, "/members", member, Value::Null).await;
    })
    .await;
}

#[tokio::test]
async fn one_connection_is_bound_to_many_accounts_in_one_step() {
    on_each(async |world| {
        let acme = &world.acme;
        for i in 0..50 {
            let new = json!({"name": format!("Account {i}")});
            assert_eq!(
                world.owner(Method::POST, "/accounts", Some(new)).await.status,
                201
            );
        }
        let bind = json!({"connection": acme.connection.id});
        let answer = world.owner(Method::POST, "/bindings", Some(bind.clone())).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let items = answer.json()["items"].clone();
        let items = items.as_array().unwrap();
        assert_eq!(items.len(), 52);
        assert!(
            items.contains(&json!(acme.binding)),
            "what was bound stays as it is"
        );
        let seq = world.newest().await.seq;
        // Once more changes nothing.
        let again = world.owner(Method::POST, "/bindings", Some(bind)).await.json();
        assert_eq!(again["items"].as_array().unwrap().len(), 52);
        assert_eq!(world.newest().await.seq, seq);
        let labs = world.get(&format!("/bindings?account={}", acme.labs.id)).await["items"][0].clone();
        let path = format!("/bindings/{}", labs["id"].as_str().unwrap());
        let exclusive = world
            .owner(Method::PATCH, &path, Some(json!({"mode": "exclusive"})))
            .await;
        assert_eq!(exclusive.json()["mode"], "exclusive");
        let until = world.clock.now().plus_seconds(3600);
        let drain = json!({"state": "draining", "drain_until": until});
        assert_eq!(world.owner(Method::PATCH, &path, Some(drain)).await.status, 200);
        // Turned back, nothing of the draining is left.
        let back = world
            .owner(Method::PATCH, &path, Some(json!({"state": "active"})))
            .await
            .json();
        assert_eq!(
            (&back["state"], &back["drain_until"]),
            (&json!("active"), &Value::Null)
        );
        assert_eq!(world.owner(Method::DELETE, &path, None).await.status, 204);
    })
    .await;
}

#[tokio::test]
async fn a_new_account_is_bound_to_connections_that_want_it() {
    on_each(async |world| {
        let path = format!("/connections/{}", world.acme.connection.id);
        world
            .owner(Method::PATCH, &path, Some(json!({"bind_new_accounts": true})))
            .await;
        let new = world
            .owner(Method::POST, "/accounts", Some(json!({"name": "New"})))
            .await
            .json();
        let bindings = world
            .get(&format!("/bindings?account={}", new["id"].as_str().unwrap()))
            .await;
        assert_eq!(
            bindings["items"][0]["connection"],
            json!(world.acme.connection.id)
        );
        assert_eq!(world.newest().await.action, "binding.create");
    })
    .await;
}

#[tokio::test]
async fn what_is_still_used_is_not_deleted() {
    on_each(async |world| {
        let acme = &world.acme;
        let asks = json!({"include": [{"type": "group", "group": acme.group.id}]});
        let policy = format!("/policies/{}", acme.policy.id);
        assert_eq!(world.owner(Method::PATCH, &policy, Some(asks)).await.status, 200);
        for (path, user) in [
            (policy.clone(), "Wiki"),
            (format!("/groups/{}", acme.group.id), "Everyone"),
            (format!("/accounts/{}", acme.account.id), ""),
            (format!("/connections/{}", acme.connection.id), ""),
        ] {
            let answer = world.owner(Method::DELETE, &path, None).await;
            answer.refused(409, "conflict");
            assert!(answer.text.contains(user), "{}", answer.text);
            assert_eq!(world.owner(Method::GET, &path, None).await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn local_passwords_are_there_once_and_stay() {
    on_each(async |world| {
        let second = json!({"name": "Second", "kind": "password"});
        world
            .owner(Method::POST, "/connections", Some(second))
            .await
            .refused(409, "conflict");
        let path = format!("/connections/{}", world.acme.local.id);
        let off = Some(json!({"enabled": false}));
        world
            .owner(Method::PATCH, &path, off)
            .await
            .refused(409, "conflict");
    })
    .await;
}

#[tokio::test]
async fn two_apps_cannot_claim_one_place_or_one_name() {
    on_each(async |world| {
        let app = |name: &str, url: &str| {
            Some(
                json!({"account": world.acme.account.id, "name": name, "kind": "web", "public_url": url,
                "origin_url": "http://10.0.0.2"}),
            )
        };
        for (name, url) in [
            ("Wiki", "https://new.example.com"),
            ("New", "https://wiki.acme.example.com"),
            // Not even of another organisation, and without saying whose it is.
            ("New", "https://wiki.other.example.com/"),
        ] {
            let answer = world.owner(Method::POST, "/apps", app(name, url)).await;
            answer.refused(409, "conflict");
            assert!(!answer.text.contains("other"), "{}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_revoked_grant_and_a_blocked_client_end() {
    on_each(async |world| {
        let acme = &world.acme;
        let path = format!("/grants/{}", acme.grant);
        assert_eq!(
            world.get("/grants?state=active").await["items"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(world.owner(Method::DELETE, &path, None).await.status, 204);
        let grant = world.get(&path).await;
        assert_eq!(
            (&grant["state"], &grant["revoked_reason"]),
            (&json!("revoked"), &json!("administrator"))
        );
        let event = world.newest().await;
        assert_eq!(
            (event.action.as_str(), event.actor.grant.as_ref()),
            ("grant.revoke", Some(&acme.grant))
        );
        assert_eq!(event.target.unwrap().app.as_ref(), Some(&acme.app.id));
        // Twice is once.
        assert_eq!(world.owner(Method::DELETE, &path, None).await.status, 204);
        assert_eq!(world.newest().await.seq, event.seq);
        let path = format!("/clients/{}", acme.client.id);
        let approved = world
            .owner(Method::PATCH, &path, Some(json!({"tier": "approved"})))
            .await
            .json();
        assert_eq!(approved["tier"], "approved");
        // Without approval a client is what it has proven, whatever is asked for.
        let patch = Some(json!({"tier": "domain_verified", "state": "blocked"}));
        let blocked = world.owner(Method::PATCH, &path, patch).await.json();
        assert_eq!(
            (&blocked["tier"], &blocked["state"]),
            (&json!("localhost"), &json!("blocked"))
        );
    })
    .await;
}

#[tokio::test]
async fn a_disabled_person_and_an_ended_session_are_gone() {
    on_each(async |world| {
        let acme = &world.acme;
        let session = format!("/sessions/{}", acme.session);
        assert_eq!(
            world.get("/sessions").await["items"][0]["id"],
            json!(acme.session)
        );
        assert_eq!(world.owner(Method::DELETE, &session, None).await.status, 204);
        assert_eq!(world.newest().await.action, "session.revoke");
        assert_eq!(world.get("/sessions").await["items"], json!([]));
        let path = format!("/users/{}", acme.employee.id);
        let answer = world
            .owner(Method::PATCH, &path, Some(json!({"disabled": true})))
            .await;
        assert_eq!(answer.json()["disabled"], true);
        let grant = world.get(&format!("/grants/{}", acme.grant)).await;
        assert_eq!(grant["state"], "revoked");
        let back = world
            .owner(Method::PATCH, &path, Some(json!({"disabled": false})))
            .await;
        assert_eq!(back.json()["disabled"], false);
        assert_eq!(
            world.get("/users?q=ADA").await["items"][0]["id"],
            json!(acme.employee.id)
        );
    })
    .await;
}

#[tokio::test]
async fn a_rotation_lets_the_next_key_sign() {
    on_each(async |world| {
        let states = async || {
            let keys = world.get("/signing-keys").await["items"].clone();
            let keys = keys.as_array().unwrap().clone();
            keys.iter()
                .map(|k| k["state"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(states().await, ["active", "next"]);
        let answer = world.owner(Method::POST, "/signing-keys/rotate", None).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["state"]),
            (201, &json!("active"))
        );
        assert_eq!(states().await, ["retiring", "active", "next"]);
        assert!(!answer.text.contains("private"));
        assert_eq!(world.newest().await.action, "signing_key.update");
        // Whose keys somebody else may have counts on none of them any more.
        let body = Some(json!({"compromised": true}));
        let answer = world.owner(Method::POST, "/signing-keys/rotate", body).await;
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
        assert_eq!(states().await, ["active", "next"]);
        let event = world.newest().await;
        assert_eq!(event.reason.as_deref(), Some("compromised"));
        let body = Some(json!({"compromised": "yes"}));
        let answer = world.owner(Method::POST, "/signing-keys/rotate", body).await;
        assert_eq!(answer.status.as_u16(), 400, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn the_tester_asks_the_engine_that_enforces() {
    on_each(async |world| {
        let acme = &world.acme;
        let test = async |more: Value| {
            let mut body = json!({"app": acme.app.id, "user": acme.employee.id});
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let answer = world.owner(Method::POST, "/policies/test", Some(body)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()
        };
        let result = test(json!({})).await;
        assert_eq!(result["decision"]["reason"], "policy_allowed");
        assert_eq!(result["decision"]["rule"]["id"], json!(acme.policy.id));
        let deny = json!({"draft": [{"name": "No agents", "decision": "deny",
            "include": [{"type": "email_domain", "domain": "example.com"}]}]});
        let result = test(deny).await;
        assert_eq!(result["decision"]["reason"], "policy_denied");
        assert_eq!(result["decision"]["rule"]["name"], "No agents");
        assert_eq!(result["trace"][0]["matched"], true);
        let agent = json!({"client": acme.client.id});
        assert_eq!(
            test(agent.clone()).await["decision"]["reason"],
            "managed_oauth_off"
        );
        let path = format!("/apps/{}", acme.app.id);
        world
            .owner(Method::PATCH, &path, Some(json!({"managed_oauth": true})))
            .await;
        assert_eq!(test(agent.clone()).await["decision"]["allowed"], true);
        let strict = json!({"oauth": {"registration": {"lowest_tier": "approved"}}});
        world.owner(Method::PATCH, &path, Some(strict)).await;
        assert_eq!(test(agent).await["decision"]["reason"], "client_not_accepted");
        let body = json!({"app": acme.app.id, "user": acme.employee.id,
            "draft": [{"name": "x", "decision": "allow", "include": []}]});
        let answer = world.owner(Method::POST, "/policies/test", Some(body)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/draft/0/include"]);
        // What is tested is not kept.
        assert_eq!(world.get("/policies").await["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_session_says_who_calls() {
    on_each(async |world| {
        let session = world.get("/session").await;
        assert_eq!(session["user"]["id"], json!(world.acme.owner.user.id));
        assert_eq!(session["organisation"]["slug"], "acme");
        assert_eq!(session["control_url"], testkit::CONTROL);
        assert_eq!(session.get("csrf_token"), None);
        let overview = world.get("/overview").await;
        assert_eq!(overview["totals"]["apps"], 1);
        let patch = json!({"name": "Acme 2", "primary_connection": world.acme.connection.id,
            "floor": [{"type": "connection", "connection": world.acme.connection.id}]});
        let org = world.owner(Method::PATCH, "/organisation", Some(patch)).await;
        assert_eq!((org.status.as_u16(), &org.json()["version"]), (200, &json!(2)));
        let path = format!("/connections/{}", world.acme.connection.id);
        world
            .owner(Method::DELETE, &path, None)
            .await
            .refused(409, "conflict");
    })
    .await;
}
