//! Bad input gets the documented answer and changes nothing.

use crate::isolation::operations;
use crate::world::{Answer, World, on_each};
use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};

async fn raw(world: &World, method: Method, path: &str, (kind, body): (&str, Vec<u8>)) -> Answer {
    let token = &world.acme.owner.token;
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, kind);
    world.send(request.body(Body::from(body)).unwrap()).await
}

/// Everything that the API shows of Acme, to see that nothing changed.
async fn everything(world: &World) -> Vec<Value> {
    let mut shown = Vec::new();
    for (method, route) in operations() {
        let quiet = ["/audit", "/audit/export", "/api-tokens", "/overview", "/session"];
        if method == Method::GET && !route.contains('{') && !quiet.contains(&route.as_str()) {
            shown.push(world.get(&route).await);
        }
    }
    shown
}

#[tokio::test]
async fn unreadable_bodies_change_nothing() {
    on_each(async |world| {
        let before = everything(world).await;
        let newest = world.newest().await.seq;
        let json = "application/json";
        let app = format!("/apps/{}", world.acme.app.id);
        let description = serde_json::to_value(control::openapi()).unwrap();
        for (method, route) in operations() {
            let operation = format!(
                "/paths/~1api~1v1{}/{}",
                route.replace('/', "~1"),
                method.as_str().to_lowercase()
            );
            let operation = description.pointer(&operation).unwrap();
            if operation.get("requestBody").is_none() {
                continue;
            }
            let path = crate::isolation::filled(&route, &world.acme);
            let send =
                async |kind, body: &[u8]| raw(world, method.clone(), &path, (kind, body.to_vec())).await;
            send(json, b"{").await.refused(400, "malformed");
            send(json, b"").await.refused(400, "malformed");
            send(json, b"\xff").await.refused(400, "malformed");
            send(json, "[".repeat(10_000).as_bytes())
                .await
                .refused(400, "malformed");
            send(json, &vec![b' '; 300_000]).await.refused(413, "too-large");
            send("text/plain", b"{}")
                .await
                .refused(415, "unsupported-media-type");
            send("", b"{}").await.refused(415, "unsupported-media-type");
            for not_an_object in ["[]", "1", "null", "\"x\""] {
                send(json, not_an_object.as_bytes()).await.refused(400, "invalid");
            }
            send(json, b"{\"is_admin\": true}").await.refused(400, "invalid");
        }
        let merge = "application/merge-patch+json";
        raw(world, Method::POST, "/apps", (merge, b"{}".to_vec()))
            .await
            .refused(415, "unsupported-media-type");
        let answer = raw(world, Method::PATCH, &app, (merge, b"{}".to_vec())).await;
        assert_eq!(answer.status, 200);
        assert_eq!(everything(world).await, before);
        assert_eq!(
            world.newest().await.seq,
            newest,
            "nothing was done, so nothing is in the log"
        );
    })
    .await;
}

#[tokio::test]
async fn values_that_make_no_sense_are_named() {
    on_each(async |world| {
        let acme = &world.acme;
        let before = everything(world).await;
        let app = format!("/apps/{}", acme.app.id);
        let connection = format!("/connections/{}", acme.connection.id);
        let binding = format!("/bindings/{}", acme.binding.id);
        let policy = format!("/policies/{}", acme.policy.id);
        let group = format!("/groups/{}", acme.group.id);
        for (path, patch, pointer) in [
            (&app, json!({"id": acme.app.id}), "/id"),
            (&app, json!({"issuer": "https://evil"}), "/issuer"),
            (&app, json!({"name": 1}), "/name"),
            (&app, json!({"name": null}), ""),
            (&app, json!({"name": " "}), "/name"),
            (&app, json!({"name": "a\u{202e}b"}), "/name"),
            (&app, json!({"kind": "ftp"}), "/kind"),
            (&app, json!({"managed_oauth": "yes"}), "/managed_oauth"),
            (
                &app,
                json!({"public_url": "https://u:p@x.example.com"}),
                "/public_url",
            ),
            (
                &app,
                json!({"public_url": "https://X.example.com"}),
                "/public_url",
            ),
            (&app, json!({"public_url": "javascript:alert(1)"}), "/public_url"),
            (
                &app,
                json!({"public_url": "https://control.example.com/app"}),
                "/public_url",
            ),
            (&app, json!({"origin_url": "http://10.0.0.1/path"}), "/origin_url"),
            (&app, json!({"origin_url": "file:///etc/passwd"}), "/origin_url"),
            (
                &app,
                json!({"origin_url": "http://169.254.169.254"}),
                "/origin_url",
            ),
            (&app, json!({"origin_url": "http://2852039166"}), "/origin_url"),
            (
                &app,
                json!({"origin_url": "http://[::ffff:169.254.169.254]"}),
                "/origin_url",
            ),
            (&app, json!({"origin_url": "http://[fe80::1]"}), "/origin_url"),
            (
                &app,
                json!({"origin_url": "https://control.example.com"}),
                "/origin_url",
            ),
            (
                &app,
                json!({"origin_url": "https://wiki.acme.example.com"}),
                "/origin_url",
            ),
            (
                &app,
                json!({"policies": [acme.policy.id, acme.policy.id]}),
                "/policies/1",
            ),
            (&app, json!({"policies": ["pol_x"]}), "/policies/0"),
            (&app, json!({"session_seconds": 5}), "/session_seconds"),
            (&app, json!({"session_seconds": -5}), "/session_seconds"),
            (&app, json!({"extra_methods": ["report"]}), "/extra_methods/0"),
            (
                &app,
                json!({"extra_methods": ["REPORT", "TRACE"]}),
                "/extra_methods/1",
            ),
            (&app, json!({"extra_methods": ["A B"]}), "/extra_methods/0"),
            (&app, json!({"extra_methods": ["GET"]}), "/extra_methods/0"),
            (
                &app,
                json!({"extra_methods": ["REPORT", "REPORT"]}),
                "/extra_methods/1",
            ),
            (
                &app,
                json!({"oldest_proof": {"sessions_seconds": 299}}),
                "/oldest_proof/sessions_seconds",
            ),
            (
                &app,
                json!({"kind": "mcp", "extra_methods": ["REPORT"]}),
                "/extra_methods",
            ),
            (&app, json!({"browser_origins": ["null"]}), "/browser_origins/0"),
            (&app, json!({"browser_origins": ["*"]}), "/browser_origins/0"),
            (&app, json!({"browser_origins": [""]}), "/browser_origins/0"),
            (
                &app,
                json!({"browser_origins": ["https://ok.example.com", "https://ok.example.com"]}),
                "/browser_origins/1",
            ),
            (
                &app,
                json!({"browser_origins": ["https://X.example.com"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["HTTPS://x.example.com"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://x.example.com/"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://x.example.com:443"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://x.example.com/a"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://*.example.com"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://u@x.example.com"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://b\u{fc}cher.example"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["file://x"]}),
                "/browser_origins/0",
            ),
            (
                &app,
                json!({"browser_origins": ["https://a.example.com, https://b.example.com"]}),
                "/browser_origins/0",
            ),
            (&app, json!({"oauth": {"scopes": []}}), "/oauth/scopes"),
            (
                &app,
                json!({"oauth": {"access_token_seconds": 1}}),
                "/oauth/access_token_seconds",
            ),
            (
                &app,
                json!({"oauth": {"grant_seconds": 1}}),
                "/oauth/grant_seconds",
            ),
            (
                &app,
                json!({"oauth": {"rotation_seconds": 29}}),
                "/oauth/rotation_seconds",
            ),
            (
                &app,
                json!({"oauth": {"rotation_seconds": 601}}),
                "/oauth/rotation_seconds",
            ),
            (
                &app,
                json!({"oauth": {"openid": true, "scopes": [{"name": "email", "description": "", "covers": []}]}}),
                "/oauth/scopes/0/name",
            ),
            (&app, json!({"oauth": {"unknown": 1}}), "/oauth/unknown"),
            (
                &app,
                json!({"oauth": {"scopes": [{"name": "a b", "description": "", "covers": []}]}}),
                "/oauth/scopes/0/name",
            ),
            (
                &app,
                json!({"oauth": {"registration": {"redirect_uris": ["https://ok.example.com/", "data:,x"]}}}),
                "/oauth/registration/redirect_uris/1",
            ),
            (&connection, json!({"kind": "password"}), "/kind"),
            (&connection, json!({"issuer": null}), "/issuer"),
            (
                &connection,
                json!({"issuer": "http://idp.example.com"}),
                "/issuer",
            ),
            (
                &connection,
                json!({"allow_internal": ["http://10.0.0.1/x"]}),
                "/allow_internal/0",
            ),
            (
                &connection,
                json!({"allowed_domains": ["@x"]}),
                "/allowed_domains/0",
            ),
            (
                &connection,
                json!({"has_client_secret": false}),
                "/has_client_secret",
            ),
            (&binding, json!({"state": "draining"}), "/drain_until"),
            (
                &binding,
                json!({"state": "draining", "drain_until": "2020-01-01T00:00:00Z"}),
                "/drain_until",
            ),
            (&binding, json!({"claims": ["ssn"]}), "/claims/0"),
            (&binding, json!({"account": acme.labs.id}), "/account"),
            (&policy, json!({"include": []}), "/include"),
            (
                &policy,
                json!({"include": [{"type": "ip", "ranges": ["x"]}]}),
                "/include/0/ranges/0",
            ),
            (&policy, json!({"include": [{"type": "nonsense"}]}), "/include/0"),
            (
                &group,
                json!({"include": [{"type": "group", "group": acme.group.id}]}),
                "/include/0",
            ),
            (&"/organisation".to_owned(), json!({"slug": "x"}), "/slug"),
            (
                &"/organisation".to_owned(),
                json!({"floor": [{"type": "ip", "ranges": ["x"]}]}),
                "/floor/0/ranges/0",
            ),
        ] {
            let answer = world.owner(Method::PATCH, path, Some(patch.clone())).await;
            let pointers = answer.refused(400, "invalid");
            assert!(
                pointers
                    .iter()
                    .any(|p| p == pointer || p.starts_with(&format!("{pointer}/")) && !pointer.is_empty()),
                "{patch}: {pointers:?} {}",
                answer.text
            );
        }
        assert_eq!(everything(world).await, before);
    })
    .await;
}

#[tokio::test]
async fn unknown_places_verbs_and_parameters_are_refused() {
    on_each(async |world| {
        let app = format!("/apps/{}", world.acme.app.id);
        for path in [
            "/nothing",
            "/apps/",
            "/apps/x",
            "/apps/app_0",
            &format!("{app}/x"),
            "/apps/%00",
        ] {
            world
                .owner(Method::GET, path, None)
                .await
                .refused(404, "not-found");
        }
        for (method, path) in [
            (Method::PUT, app.as_str()),
            (Method::POST, app.as_str()),
            (Method::DELETE, "/apps"),
            (Method::PATCH, "/audit"),
        ] {
            let answer = world.owner(method, path, None).await;
            answer.refused(405, "method-not-allowed");
            assert!(
                answer.header("allow").contains("GET"),
                "{}",
                answer.header("allow")
            );
        }
        for (query, pointer) in [
            ("/apps?nonsense=1", "?nonsense"),
            ("/apps?limit=0", "?limit"),
            ("/apps?limit=201", "?limit"),
            ("/apps?limit=x", "?limit"),
            ("/apps?account=x", "?account"),
            ("/apps?limit=1&limit=2", "?limit"),
            ("/audit?from=yesterday", "?from"),
            ("/audit?outcome=maybe", "?outcome"),
            ("/audit?format=csv", "?format"),
            ("/audit?q=", "?q"),
            ("/audit/export?format=pdf", "?format"),
            ("/audit/export?limit=1", "?limit"),
            ("/clients?state=asleep", "?state"),
        ] {
            let answer = world.owner(Method::GET, query, None).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer], "{query}");
        }
        let answer = world
            .owner(Method::DELETE, &format!("{app}?dry_run=yes"), None)
            .await;
        assert_eq!(answer.refused(400, "invalid"), ["?dry_run"]);
        assert_eq!(world.owner(Method::GET, &app, None).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_forged_cursor_is_refused() {
    on_each(async |world| {
        let first = world.get("/accounts?limit=1").await;
        let cursor = first["next"].as_str().unwrap();
        let foreign = world
            .call(&world.other.owner.token, Method::GET, "/accounts?limit=1", None)
            .await
            .json();
        let mut flipped = cursor.to_owned();
        let last = if flipped.pop() == Some('A') { 'B' } else { 'A' };
        flipped.push(last);
        for forged in [
            "x",
            "",
            world.acme.account.id.as_ref(),
            foreign["next"].as_str().unwrap(),
            &flipped,
        ] {
            let answer = world
                .owner(Method::GET, &format!("/accounts?cursor={forged}"), None)
                .await;
            assert_eq!(answer.refused(400, "invalid"), ["?cursor"], "{forged}");
        }
        // A cursor of one list is none of another.
        let answer = world
            .owner(Method::GET, &format!("/apps?cursor={cursor}"), None)
            .await;
        assert_eq!(answer.refused(400, "invalid"), ["?cursor"]);
    })
    .await;
}

#[tokio::test]
async fn too_many_requests_are_refused_with_the_time_to_wait() {
    on_each(async |world| {
        let world = world.limited_to(2);
        for left in ["1", "0"] {
            let answer = world.owner(Method::GET, "/apps", None).await;
            assert_eq!(answer.status, 200);
            assert!(answer.header("ratelimit").contains(&format!("r={left}")));
        }
        let answer = world.owner(Method::GET, "/apps", None).await;
        answer.refused(429, "too-many-requests");
        assert_eq!(answer.header("retry-after"), "1");
        // Somebody else's requests are somebody else's.
        let other = world
            .call(&world.other.owner.token, Method::GET, "/apps", None)
            .await;
        assert_eq!(other.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_names_what_is_anothers_is_on_record_and_does_not_say_which() {
    on_each(async |world| {
        let (acme, other) = (&world.acme, &world.other);
        let editor = world.hire(wire::Role::AccountAdmin, Some(&acme.labs)).await;
        let app = |account: &wire::AccountId| {
            json!({"account": account, "name": "X", "kind": "web", "public_url": "https://x.example.com",
                "origin_url": "http://10.0.0.2"})
        };
        let policy = |account: &wire::AccountId| {
            json!({"account": account, "name": "P", "decision": "allow", "include": [{"type": "everyone"}]})
        };
        let mut own = app(&acme.labs.id);
        own["policies"] = json!([acme.policy.id]);
        let mapping = json!({"connection": other.connection.id, "group": "G", "role": "account_editor",
            "account": acme.labs.id});
        let tested = json!({"app": acme.app.id, "everyone": true});
        let member = json!({"user": other.employee.id, "role": "account_editor", "account": acme.labs.id});
        let client = json!({"app": acme.app.id, "name": "C", "redirect_uris": ["https://x.example.com/cb"]});
        let cases = [
            ("/apps", app(&acme.account.id)),
            ("/apps", app(&other.account.id)),
            ("/apps", app(&wire::AccountId::fresh())),
            ("/apps", own),
            ("/groups", json!({"account": acme.account.id, "name": "G"})),
            ("/policies", policy(&acme.account.id)),
            ("/service-tokens", json!({"account": other.account.id, "name": "S"})),
            ("/role-mappings", mapping),
            ("/policies/test", tested),
            ("/members", member),
            ("/clients", client),
        ];
        for (path, body) in cases {
            let before = world.newest().await.seq;
            let answer = world.call(&editor.token, Method::POST, path, Some(body.clone())).await;
            answer.refused(400, "invalid");
            world.store.write_all_folds().await.unwrap();
            let event = world.newest_of("api.refuse").await;
            assert!(event.seq > before, "{path} {body}");
            assert_eq!(event.reason.as_deref(), Some("not_found"), "{path}");
            assert_eq!(event.actor.user.as_ref(), Some(&editor.user.id));
            let text = serde_json::to_string(&event).unwrap();
            assert!(!text.contains(other.account.id.as_ref()), "{text}");
        }
    })
    .await;
}
