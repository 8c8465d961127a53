//! What all resources have in common.

use crate::world::{World, on_each};
use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

#[tokio::test]
async fn a_stale_version_is_412_and_changes_nothing() {
    on_each(async |world| {
        let path = format!("/apps/{}", world.acme.app.id);
        let first = world.owner(Method::GET, &path, None).await;
        assert_eq!(first.header("etag"), "\"v1\"");
        let send = async |method: Method, tag: &str, body: Value| {
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/v1{path}"))
                .header(
                    header::AUTHORIZATION,
                    format!("Bearer {}", world.acme.owner.token),
                )
                .header(header::CONTENT_TYPE, "application/merge-patch+json")
                .header(header::IF_MATCH, tag);
            world
                .send(request.body(Body::from(body.to_string())).unwrap())
                .await
        };
        let answer = send(Method::PATCH, "\"v1\"", json!({"managed_oauth": true})).await;
        assert_eq!((answer.status, answer.header("etag")), (StatusCode::OK, "\"v2\""));
        send(Method::PATCH, "\"v1\"", json!({"managed_oauth": false}))
            .await
            .refused(412, "stale");
        send(Method::DELETE, "\"v1\"", json!({}))
            .await
            .refused(412, "stale");
        assert_eq!(world.get(&path).await["managed_oauth"], json!(true));
        assert_eq!(
            send(Method::PATCH, "*", json!({"enabled": false})).await.status,
            200
        );
        // What changes nothing is no new version.
        let answer = send(Method::PATCH, "\"v3\"", json!({"enabled": false})).await;
        assert_eq!((answer.status, answer.header("etag")), (StatusCode::OK, "\"v3\""));
        assert_eq!(
            send(Method::DELETE, "\"v2\", \"v3\"", json!({})).await.status,
            204
        );
    })
    .await;
}

#[tokio::test]
async fn a_patch_merges() {
    on_each(async |world| {
        let path = format!("/apps/{}", world.acme.app.id);
        let before = world.get(&path).await;
        let patch = json!({"session_seconds": 600, "oauth": {"registration": {"dynamic": false}}});
        let after = world.owner(Method::PATCH, &path, Some(patch)).await.json();
        assert_eq!(after["session_seconds"], 600);
        assert_eq!(after["oauth"]["registration"]["dynamic"], false);
        assert_eq!(after["oauth"]["scopes"], before["oauth"]["scopes"]);
        assert_eq!(after["policies"], before["policies"]);
        // `null` takes a member away, which brings its default back.
        let after = world
            .owner(Method::PATCH, &path, Some(json!({"session_seconds": null})))
            .await
            .json();
        assert_eq!(after["session_seconds"], before["session_seconds"]);
        let event = world.newest().await;
        let change = event.change.unwrap();
        assert_eq!(change.before, json!({"session_seconds": 600}));
        assert_eq!(change.after, json!({"session_seconds": 43200}));
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    on_each(async |world| {
        let path = format!("/apps/{}", world.acme.app.id);
        let shown = async |path: &str, method: Method, body: Option<Value>| {
            let answer = world.owner(method, &format!("{path}?dry_run=true"), body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.header("chatelaine-dry-run"), "true");
            answer.json()["resource"].clone()
        };
        let before = world.get(&path).await;
        let would = shown(&path, Method::PATCH, Some(json!({"managed_oauth": true}))).await;
        assert_eq!(would["managed_oauth"], true);
        let event = world.newest().await;
        assert_eq!(event.action, "app.update.dry_run");
        assert_eq!(event.change.unwrap().after, json!({"managed_oauth": true}));
        shown(&path, Method::DELETE, None).await;
        assert_eq!(world.get(&path).await, before);
        assert!(
            !world
                .store
                .directory()
                .app(&world.acme.app.id)
                .unwrap()
                .app
                .spec
                .managed_oauth
        );
        let new = json!({"name": "New"});
        assert_eq!(shown("/accounts", Method::POST, Some(new)).await["name"], "New");
        assert_eq!(world.get("/accounts").await["items"].as_array().unwrap().len(), 2);
        let new = json!({"name": "T", "scopes": ["read"]});
        assert_eq!(shown("/api-tokens", Method::POST, Some(new)).await["token"], "");
        // What would be refused is refused.
        let taken = json!({"name": "Labs"});
        world
            .owner(Method::POST, "/accounts?dry_run=true", Some(taken))
            .await
            .refused(409, "conflict");
        let keys = world.get("/signing-keys").await;
        shown("/signing-keys/rotate", Method::POST, None).await;
        assert_eq!(world.get("/signing-keys").await, keys);
        let grant = format!("/grants/{}", world.acme.grant);
        assert_eq!(shown(&grant, Method::DELETE, None).await["state"], "revoked");
        assert_eq!(world.get(&grant).await["state"], "active");
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_lists_what_the_log_would_say() {
    on_each(async |world| {
        let path = format!("/apps/{}?dry_run=true", world.acme.app.id);
        let answer = world
            .owner(Method::PATCH, &path, Some(json!({"managed_oauth": true})))
            .await;
        let preview: wire::Preview = serde_json::from_str(&answer.text).unwrap();
        let [change] = preview.changes.as_slice() else {
            panic!("{preview:?}")
        };
        assert_eq!(change.action, "app.update");
        assert_eq!(change.target.as_ref().unwrap().id, world.acme.app.id.to_string());
        assert_eq!(
            change.change.as_ref().unwrap().after,
            json!({"managed_oauth": true})
        );
        let same = world
            .owner(Method::PATCH, &path, Some(json!({"managed_oauth": false})))
            .await;
        assert_eq!(same.json()["changes"], json!([]));
    })
    .await;
}

/// A `POST` with an idempotency key.
async fn keyed(world: &World, token: &str, (path, key): (&str, &str), body: &Value) -> crate::world::Answer {
    let request = Request::post(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    world
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn a_repeated_request_with_one_key_is_carried_out_once() {
    on_each(async |world| {
        let token = world.acme.owner.token.clone();
        let new = json!({"name": "T", "scopes": ["read"]});
        let tries = (0..5).map(|_| keyed(world, &token, ("/api-tokens", "k1"), &new));
        let answers = futures_util::future::join_all(tries).await;
        let (made, busy): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|a| a.status == StatusCode::CREATED);
        busy.iter()
            .for_each(|a| drop(a.refused(409, "idempotency-in-progress")));
        let first = made[0].json();
        // The credential is shown again, because the first answer may never have arrived.
        let again = keyed(world, &token, ("/api-tokens", "k1"), &new).await;
        assert_eq!((again.status, again.json()), (StatusCode::CREATED, first.clone()));
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.header("location"), made[0].header("location"));
        let list = world.get("/api-tokens").await;
        let named = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|t| t["name"] == "T");
        assert_eq!(named.count(), 1);
        // The key is that of one request and of one credential.
        let other = json!({"name": "U", "scopes": ["read"]});
        keyed(world, &token, ("/api-tokens", "k1"), &other)
            .await
            .refused(422, "idempotency-key-reused");
        let mine = first["token"].as_str().unwrap();
        keyed(world, mine, ("/api-tokens", "k1"), &new)
            .await
            .refused(403, "forbidden");
        world.clock.advance(24 * 3600 + 1);
        let late = keyed(world, &token, ("/api-tokens", "k1"), &other).await;
        assert_eq!(late.status, StatusCode::CREATED, "{}", late.text);
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_or_only_tried_leaves_its_key_free() {
    on_each(async |world| {
        let token = world.acme.owner.token.clone();
        let (taken, free) = (json!({"name": "Labs"}), json!({"name": "Free"}));
        let at = ("/accounts", "k2");
        keyed(world, &token, at, &taken).await.refused(409, "conflict");
        let tried = keyed(world, &token, ("/accounts?dry_run=true", "k2"), &free).await;
        assert_eq!(tried.status, 200);
        assert_eq!(keyed(world, &token, at, &free).await.status, StatusCode::CREATED);
        for bad in ["", &"x".repeat(256)] {
            let answer = keyed(world, &token, ("/accounts", bad), &free).await;
            answer.refused(400, "malformed");
        }
    })
    .await;
}

#[tokio::test]
async fn what_concerns_everybody_is_never_changed_blindly() {
    on_each(async |world| {
        let name = json!({"name": "Acme & Sons"});
        let etag = world.owner(Method::GET, "/organisation", None).await;
        let tags = [
            (None, 428),
            (Some("\"v999\""), 412),
            (Some(etag.header("etag")), 200),
            (Some("*"), 200),
        ];
        for (tag, status) in tags {
            let mut request = Request::patch("/api/v1/organisation")
                .header("authorization", format!("Bearer {}", world.acme.owner.token))
                .header("content-type", "application/json");
            if let Some(tag) = tag {
                request = request.header("if-match", tag);
            }
            let body = Body::from(name.to_string());
            assert_eq!(
                world.send(request.body(body).unwrap()).await.status,
                status,
                "{tag:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn pages_show_everything_once() {
    on_each(async |world| {
        for i in 0..7 {
            let new = json!({"name": format!("Account {i}")});
            let answer = world.owner(Method::POST, "/accounts", Some(new)).await;
            assert_eq!(answer.status, StatusCode::CREATED);
            let location = answer.header("location").trim_start_matches("/api/v1").to_owned();
            assert_eq!(world.get(&location).await, answer.json());
        }
        assert_eq!(pages(world, "/accounts?limit=2").await, [2, 2, 2, 2, 1]);
        assert_eq!(pages(world, "/accounts?limit=3").await, [3, 3, 3]);
        assert_eq!(pages(world, "/accounts?limit=200").await, [9]);
    })
    .await;
}

async fn pages(world: &World, path: &str) -> Vec<usize> {
    let (mut sizes, mut seen) = (Vec::new(), std::collections::HashSet::new());
    let mut next = String::new();
    loop {
        let page = world.get(&format!("{path}{next}")).await;
        let items = page["items"].as_array().unwrap();
        sizes.push(items.len());
        for item in items {
            assert!(
                seen.insert(item["id"].as_str().unwrap().to_owned()),
                "shown twice: {item}"
            );
        }
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return sizes,
        }
    }
}

#[tokio::test]
async fn answers_are_not_kept_by_caches() {
    on_each(async |world| {
        let answer = world.owner(Method::GET, "/session", None).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    })
    .await;
}

#[tokio::test]
async fn whoever_hangs_up_gets_the_answer_when_asking_again() {
    on_each(async |world| {
        let token = world.acme.owner.token.clone();
        let mut hung_up = 0;
        for (n, wait) in [0, 500, 1000, 2000, 4000, 8000, 12_000, 16_000, 24_000]
            .into_iter()
            .enumerate()
        {
            let key = format!("hang-up-{n}");
            let new = json!({"name": key, "scopes": ["read"]});
            let ask = || keyed(world, &token, ("/api-tokens", &key), &new);
            let patience = std::time::Duration::from_micros(wait);
            hung_up += usize::from(tokio::time::timeout(patience, ask()).await.is_err());
            let mut answer = ask().await;
            for _ in 0..100 {
                if answer.status != StatusCode::CONFLICT {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                answer = ask().await;
            }
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
            let list = world.get("/api-tokens?limit=200").await;
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.iter().filter(|token| token["name"] == key).count(), 1);
        }
        assert!(hung_up > 2, "only {hung_up} hung up");
    })
    .await;
}
