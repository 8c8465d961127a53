//! Dynamic registration and its management.

use crate::world::{CALLBACK, on_each};
use http::{Method, header};
use serde_json::json;
use wire::{ActorKind, ClientState, ClientTier, Outcome};

#[tokio::test]
async fn dc7_registration_echoes_what_is_stored_and_nothing_else() {
    on_each(async |w| {
        let metadata = json!({
            "client_name": "Agent", "redirect_uris": [CALLBACK], "scope": "read * admin",
            "is_admin": true, "tier": "approved", "client_id": "mine", "client_secret": "mine",
        });
        let answer = w
            .json(Method::POST, &w.path("register"), None, &metadata)
            .await
            .expect(201);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        let answer = answer.json();
        let id = answer["client_id"].as_str().unwrap();
        assert!(id.starts_with("cli_"), "{id}");
        assert_eq!(answer["token_endpoint_auth_method"], "client_secret_basic");
        assert_eq!(answer["scope"], "read");
        assert_eq!(answer["client_secret_expires_at"], 0);
        let secret = answer["client_secret"].as_str().unwrap();
        assert!(
            secret.len() == 43
                && secret
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert!(answer.get("is_admin").is_none() && answer.get("tier").is_none());
        let stored = w.client(id).await.unwrap();
        assert_eq!(stored.client.tier, ClientTier::Localhost);
        assert_eq!(stored.client.state, ClientState::Active);
        assert_eq!(stored.metadata.get("is_admin"), None);
        assert_ne!(stored.secret_hash.unwrap(), secret);
        let event = &w.events("client.register").await[0];
        assert_eq!(event.target.as_ref().unwrap().id, id);
        assert_eq!(event.account.as_ref(), Some(&w.account));
        assert_eq!(event.request.as_ref().unwrap().ip.as_deref(), Some("192.0.2.1"));
        assert!(!serde_json::to_string(event).unwrap().contains(secret));
    })
    .await;
}

#[tokio::test]
async fn a_registration_keeps_the_redirects_that_are_acceptable_and_says_which_were_not() {
    on_each(async |w| {
        let bad = [
            "javascript:alert(1)",
            "https://evil.example/cb",
            "http://192.0.2.7/cb",
        ];
        let metadata = json!({
            "client_name": "Agent", "redirect_uris": [bad[0], CALLBACK, bad[1], bad[2]],
            "token_endpoint_auth_method": "none",
        });
        let answer = w.register_with(&metadata).await;
        assert_eq!(answer["redirect_uris"], json!([CALLBACK]));
        let left_out = answer["redirect_uris_left_out"].as_array().unwrap().clone();
        let uris: Vec<_> = left_out
            .iter()
            .map(|one| one["redirect_uri"].as_str().unwrap())
            .collect();
        assert_eq!(uris, bad);
        assert!(
            left_out[1]["reason"]
                .as_str()
                .unwrap()
                .contains("an administrator can add it")
        );
        let id = answer["client_id"].as_str().unwrap();
        let client = w.client(id).await.unwrap().client;
        assert_eq!(client.redirect_uris, [CALLBACK]);
        let event = w.events("client.register").await.pop().unwrap();
        assert_eq!(
            event.change.unwrap().after["redirect_uris_left_out"],
            json!(left_out)
        );
        let browser = w.employee().await;
        for uri in bad {
            w.get_as(&browser, &w.authorize(id, &[("redirect_uri", uri)]))
                .await
                .expect(400);
        }
        w.tokens(&browser, id).await;
        // What it may not have, it may ask for again without becoming another.
        w.say(id, ClientTier::Approved, ClientState::Active).await;
        let path = w.path(&format!("register/{id}"));
        let token = answer["registration_access_token"].as_str().unwrap();
        let again = w
            .json(Method::PUT, &path, Some(token), &metadata)
            .await
            .expect(200)
            .json();
        assert_eq!(again["redirect_uris_left_out"], json!(left_out));
        assert_eq!(w.client(id).await.unwrap().client.tier, ClientTier::Approved);
        // Unless it is another by now.
        w.change_app(|app| app.oauth.registration.redirect_uris = vec![bad[1].into()])
            .await;
        w.json(Method::PUT, &path, Some(token), &metadata)
            .await
            .expect(200);
        let client = w.client(id).await.unwrap().client;
        assert_eq!(
            (client.state, client.redirect_uris.len()),
            (ClientState::Pending, 2)
        );
    })
    .await;
}

#[tokio::test]
async fn ru2_bad_redirects_are_refused_at_registration() {
    on_each(async |w| {
        for uri in [
            "JaVaScRiPt:alert(1)",
            "\tjavascript:alert(1)",
            "data:text/html,x",
            "https://good.example@evil.example/cb",
            "http://localhost:8090%25@evil.example/",
            "https://evil.example/cb",
        ] {
            let metadata = json!({"redirect_uris": [uri]});
            let answer = w.json(Method::POST, &w.path("register"), None, &metadata).await;
            answer.expect_error(400, "invalid_redirect_uri");
        }
        let answer = w.json(Method::POST, &w.path("register"), None, &json!("x")).await;
        answer.expect_error(400, "invalid_client_metadata");
        let big = json!({"redirect_uris": [CALLBACK], "client_name": "x".repeat(20_000)});
        let answer = w.json(Method::POST, &w.path("register"), None, &big).await;
        answer.expect_error(413, "invalid_client_metadata");
        // Somebody can see why an agent does not get in; a body that is too long is not even read.
        let events = w.events("client.register").await;
        let mut reasons: Vec<_> = events
            .iter()
            .filter_map(|event| event.reason.as_deref())
            .collect();
        reasons.dedup();
        assert_eq!(reasons, ["invalid_redirect_uri", "invalid_client_metadata"]);
        for event in events {
            assert_eq!(
                (event.outcome, event.actor.kind),
                (Outcome::Failure, ActorKind::Anonymous)
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_app_may_close_registration_or_ask_for_approval_or_for_more_trust() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        w.change_app(|app| app.oauth.registration.lowest_tier = ClientTier::Unverified)
            .await;
        let answer = w.json(Method::POST, &w.path("register"), None, &metadata).await;
        answer.expect_error(403, "access_denied");

        w.change_app(|app| app.oauth.registration.approval = true).await;
        let id = w.register().await;
        assert_eq!(w.client(&id).await.unwrap().client.state, ClientState::Pending);
        let page = w
            .get_as(&w.employee().await, &w.authorize(&id, &[]))
            .await
            .expect(403);
        assert!(page.body.contains("waits for approval"), "{}", page.body);

        w.change_app(|app| app.oauth.registration.dynamic = false).await;
        let answer = w.json(Method::POST, &w.path("register"), None, &metadata).await;
        answer.expect_error(404, "not_found");
    })
    .await;
}

#[tokio::test]
async fn registration_is_limited_per_address() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": ["x"]});
        let mut last = None;
        for _ in 0..80 {
            last = Some(w.json(Method::POST, &w.path("register"), None, &metadata).await);
        }
        let last = last.unwrap();
        last.expect_error(429, "temporarily_unavailable");
        assert!(last.headers.contains_key(header::RETRY_AFTER));
    })
    .await;
}

#[tokio::test]
async fn a_registration_is_managed_with_its_token_only() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let first = w.register_with(&metadata).await;
        let second = w.register_with(&metadata).await;
        let token = first["registration_access_token"].as_str().unwrap();
        let uri = first["registration_client_uri"].as_str().unwrap();
        let path = uri.strip_prefix(crate::world::CONTROL).unwrap();
        let foreign = second["registration_access_token"].as_str();
        for bearer in [None, foreign, Some("x")] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let answer = w.json(method, path, bearer, &metadata).await;
                answer.expect_error(401, "invalid_token");
            }
        }
        let shown = w
            .json(Method::GET, path, Some(token), &metadata)
            .await
            .expect(200)
            .json();
        assert_eq!(shown["client_id"], first["client_id"]);
        assert_eq!(shown["registration_access_token"], token);
        let moved = json!({
            "client_name": "Renamed", "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
            "token_endpoint_auth_method": "none",
        });
        w.json(Method::PUT, path, Some(token), &moved).await.expect(200);
        let id = first["client_id"].as_str().unwrap();
        let client = w.client(id).await.unwrap().client;
        assert_eq!(
            (client.name.as_str(), client.tier),
            ("Renamed", ClientTier::Unverified)
        );
        let bad = json!({"redirect_uris": ["javascript:x"], "token_endpoint_auth_method": "none"});
        let answer = w.json(Method::PUT, path, Some(token), &bad).await;
        answer.expect_error(400, "invalid_redirect_uri");

        let other_app = path.replace(w.app.as_ref(), w.other_app.as_ref());
        let answer = w.json(Method::GET, &other_app, Some(token), &metadata).await;
        answer.expect_error(401, "invalid_token");

        w.json(Method::DELETE, path, Some(token), &json!({}))
            .await
            .expect(204);
        assert!(w.client(id).await.is_none());
        let answer = w.json(Method::GET, path, Some(token), &metadata).await;
        answer.expect_error(401, "invalid_token");
        // The change that was made, and the one that was refused.
        let updates = w.events("client.update").await;
        let outcomes: Vec<_> = updates.iter().map(|event| event.outcome).collect();
        assert_eq!(outcomes, [Outcome::Success, Outcome::Failure]);
        assert_eq!(w.events("client.delete").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_approval_does_not_outlive_the_redirects_that_were_approved() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let registered = w.register_with(&metadata).await;
        let id = registered["client_id"].as_str().unwrap();
        w.say(id, ClientTier::Approved, ClientState::Active).await;
        let token = registered["registration_access_token"].as_str();
        let path = w.path(&format!("register/{id}"));
        // The same once more is no change.
        w.json(Method::PUT, &path, token, &metadata).await.expect(200);
        let client = w.client(id).await.unwrap().client;
        assert_eq!((client.tier, client.state), (ClientTier::Approved, ClientState::Active));
        let moved = json!({
            "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"], "token_endpoint_auth_method": "none",
        });
        w.json(Method::PUT, &path, token, &moved).await.expect(200);
        let client = w.client(id).await.unwrap().client;
        assert_eq!((client.tier, client.state), (ClientTier::Unverified, ClientState::Pending));
    })
    .await;
}

#[tokio::test]
async fn rename_an_approved_client_that_calls_itself_otherwise_waits_for_approval() {
    on_each(async |w| {
        let metadata = json!({
            "client_name": "Notes", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        });
        let registered = w.register_with(&metadata).await;
        let id = registered["client_id"].as_str().unwrap();
        w.say(id, ClientTier::Approved, ClientState::Active).await;
        let browser = w.employee().await;
        let tokens = w.tokens(&browser, id).await;
        let token = registered["registration_access_token"].as_str();
        let path = w.path(&format!("register/{id}"));
        let renamed = json!({
            "client_name": "Claude Code", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        });
        w.json(Method::PUT, &path, token, &renamed).await.expect(200);
        let client = w.client(id).await.unwrap().client;
        assert_eq!(
            (client.tier, client.state),
            (ClientTier::Localhost, ClientState::Pending)
        );
        assert_eq!(
            client.approval.unwrap().name,
            "Notes",
            "what was approved stays written down"
        );
        let event = w.events("client.update").await.pop().unwrap();
        assert_eq!(
            (event.actor.kind, event.actor.user),
            (wire::ActorKind::Anonymous, None)
        );
        let page = w.get_as(&browser, &w.authorize(id, &[])).await.expect(403);
        assert!(page.body.contains("waits for approval"), "{}", page.body);
        let refresh = tokens["refresh_token"].as_str().unwrap();
        w.refresh(id, refresh, &[])
            .await
            .expect_error(400, "invalid_grant");
        // Approved anew, it is approved under its new name.
        w.say(id, ClientTier::Approved, ClientState::Active).await;
        let client = w.client(id).await.unwrap().client;
        assert_eq!(client.approval.unwrap().name, "Claude Code");
        w.get_as(&browser, &w.authorize(id, &[])).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn who_was_let_in_by_an_administrator_waits_again_after_a_change_where_approval_is_needed() {
    on_each(async |w| {
        w.change_app(|app| app.oauth.registration.approval = true).await;
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let registered = w.register_with(&metadata).await;
        let id = registered["client_id"].as_str().unwrap();
        w.say(id, ClientTier::Localhost, ClientState::Active).await;
        let token = registered["registration_access_token"].as_str();
        let renamed = json!({
            "client_name": "Other", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        });
        let path = w.path(&format!("register/{id}"));
        w.json(Method::PUT, &path, token, &renamed).await.expect(200);
        assert_eq!(w.client(id).await.unwrap().client.state, ClientState::Pending);
    })
    .await;
}

#[tokio::test]
async fn a_registration_token_is_worth_nothing_where_nobody_registers_any_more_or_for_who_is_blocked() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let registered = w.register_with(&metadata).await;
        let id = registered["client_id"].as_str().unwrap();
        let token = registered["registration_access_token"].as_str();
        let path = w.path(&format!("register/{id}"));
        let methods = [Method::GET, Method::PUT, Method::DELETE];
        w.change_app(|app| app.oauth.registration.dynamic = false).await;
        for method in methods.clone() {
            let answer = w.json(method, &path, token, &metadata).await;
            answer.expect_error(404, "not_found");
        }
        w.change_app(|app| app.oauth.registration.dynamic = true).await;
        w.say(id, ClientTier::Localhost, ClientState::Blocked).await;
        for method in methods {
            let answer = w.json(method, &path, token, &metadata).await;
            answer.expect_error(401, "invalid_token");
        }
        let events = w.events("client.").await;
        let done: Vec<_> = events
            .iter()
            .filter(|event| event.outcome == Outcome::Success)
            .map(|event| event.action.as_str())
            .collect();
        assert_eq!(done, ["client.register"], "nothing but its registration");
    })
    .await;
}

#[tokio::test]
async fn changes_of_one_registration_are_limited() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let registered = w.register_with(&metadata).await;
        let id = registered["client_id"].as_str().unwrap();
        let token = registered["registration_access_token"].as_str();
        let path = w.path(&format!("register/{id}"));
        let mut last = None;
        for n in 0..30 {
            let renamed = json!({
                "client_name": format!("Name {n}"), "redirect_uris": [CALLBACK],
                "token_endpoint_auth_method": "none",
            });
            last = Some(w.json(Method::PUT, &path, token, &renamed).await);
        }
        last.unwrap().expect_error(429, "temporarily_unavailable");
        let written = w.events("client.update").await.len();
        assert!(written < 15, "{written}");
    })
    .await;
}

#[tokio::test]
async fn never_used_registrations_are_reaped_and_used_ones_are_not() {
    on_each(async |w| {
        let (unused, used) = (w.register().await, w.register().await);
        let browser = w.employee().await;
        w.tokens(&browser, &used).await;
        // A code that was never redeemed is no use.
        w.code(&browser, &unused).await;
        w.advance(6 * 86_400).await;
        store::retention::sweep(&w.store).await.unwrap();
        assert!(w.client(&unused).await.is_some());
        w.advance(2 * 86_400).await;
        store::retention::sweep(&w.store).await.unwrap();
        assert!(w.client(&unused).await.is_none());
        assert!(w.client(&used).await.is_some());
    })
    .await;
}
