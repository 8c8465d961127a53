//! Service tokens through the API; at the gateway they are tested there.

use crate::world::{World, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::service_token::{Attempt, SECRET, prove};

const DAY: i64 = 86_400;

async fn make(world: &World, body: Value) -> Value {
    let answer = world.owner(Method::POST, "/service-tokens", Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let made = answer.json();
    let path = format!("/api/v1/service-tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(answer.header("location"), path);
    made
}

async fn is_good(world: &World, token: &Value, secret: &Value) -> bool {
    let id = token["id"].as_str().unwrap().parse().unwrap();
    let hash = SECRET.hash_of(secret.as_str().unwrap()).unwrap();
    let attempt = prove(&world.store, &id, &hash, world.clock.now()).await.unwrap();
    matches!(attempt, Attempt::Proven(_))
}

#[tokio::test]
async fn a_token_is_made_shown_once_changed_and_ended() {
    on_each(async |world| {
        let account = &world.acme.account.id;
        let made = make(world, json!({"account": account, "name": "Deploy"})).await;
        let secret = made["client_secret"].as_str().unwrap();
        assert!(secret.starts_with("chs_") && secret.len() == 53, "{secret}");
        assert!(secret.starts_with(made["secret_prefix"].as_str().unwrap()));
        assert!(is_good(world, &made, &made["client_secret"]).await);
        let year = world.clock.now().plus_seconds(365 * DAY).to_string();
        assert_eq!(made["expires_at"], year);
        let path = format!("/service-tokens/{}", made["id"].as_str().unwrap());
        let shown = world.get(&path).await;
        assert!(shown.get("client_secret").is_none());
        assert_eq!(shown["name"], "Deploy");
        let event = world.newest().await;
        assert_eq!(event.action, "service_token.create");
        assert_eq!(event.account.as_ref(), Some(account));

        let patch = Some(json!({"name": "Deployer", "enabled": false}));
        let changed = world.owner(Method::PATCH, &path, patch).await.json();
        assert_eq!(changed["name"], "Deployer");
        assert!(!is_good(world, &made, &made["client_secret"]).await);
        let change = world.newest().await.change.unwrap();
        assert_eq!(change.before["enabled"], true);
        assert_eq!(change.after["enabled"], false);

        let answer = world.owner(Method::DELETE, &path, None).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        world
            .owner(Method::GET, &path, None)
            .await
            .refused(404, "not-found");
    })
    .await;
}

#[tokio::test]
async fn only_an_explicit_null_never_ends() {
    on_each(async |world| {
        let account = &world.acme.account.id;
        let never = make(
            world,
            json!({"account": account, "name": "A", "expires_at": null}),
        )
        .await;
        assert_eq!(never["expires_at"], Value::Null);
        assert_eq!(never["warnings"], json!(["never_expires"]));
        let at = world.clock.now().plus_seconds(60).to_string();
        let soon = make(world, json!({"account": account, "name": "B", "expires_at": at})).await;
        assert_eq!(soon["expires_at"], at);
        assert_eq!(soon["warnings"], json!(["expires_soon"]));
        let past = world.clock.now().to_string();
        let body = json!({"account": account, "name": "C", "expires_at": past});
        let answer = world.owner(Method::POST, "/service-tokens", Some(body)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/expires_at"]);
        let body = json!({"account": account, "name": "A"});
        let answer = world.owner(Method::POST, "/service-tokens", Some(body)).await;
        answer.refused(409, "conflict");
        // What is over may still be renamed.
        world.clock.advance(60);
        let path = format!("/service-tokens/{}", soon["id"].as_str().unwrap());
        let answer = world
            .owner(Method::PATCH, &path, Some(json!({"name": "Old"})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["warnings"], json!(["expired"]));
    })
    .await;
}

#[tokio::test]
async fn a_rotation_overlaps_for_a_day_or_as_long_as_it_says() {
    on_each(async |world| {
        let made = make(world, json!({"account": world.acme.account.id, "name": "R"})).await;
        let path = format!("/service-tokens/{}/rotate", made["id"].as_str().unwrap());
        let rotate = async |body: Option<Value>| world.owner(Method::POST, &path, body).await;
        let second = rotate(None).await;
        assert_eq!(second.status, 200, "{}", second.text);
        let second = second.json();
        let until = world.clock.now().plus_seconds(DAY).to_string();
        assert_eq!(second["previous_valid_until"], until);
        assert!(is_good(world, &made, &made["client_secret"]).await);
        assert!(is_good(world, &made, &second["client_secret"]).await);
        assert_eq!(world.newest().await.action, "service_token.rotate");
        let third = rotate(Some(json!({"overlap_seconds": 0}))).await.json();
        assert!(third.get("previous_valid_until").is_none());
        assert!(!is_good(world, &made, &made["client_secret"]).await);
        assert!(!is_good(world, &made, &second["client_secret"]).await);
        assert!(is_good(world, &made, &third["client_secret"]).await);
        let answer = rotate(Some(json!({"overlap_seconds": 7 * DAY + 1}))).await;
        assert_eq!(answer.refused(400, "invalid"), ["/overlap_seconds"]);
        // A dry run ends nothing and shows nothing.
        let dry = format!("{path}?dry_run=true");
        let preview = world.owner(Method::POST, &dry, None).await.json();
        assert_eq!(preview["resource"]["client_secret"], "");
        assert!(is_good(world, &made, &third["client_secret"]).await);
    })
    .await;
}

#[tokio::test]
async fn au3_secrets_of_service_tokens_are_in_no_answer_and_no_event() {
    on_each(async |world| {
        let made = make(world, json!({"account": world.acme.account.id, "name": "R"})).await;
        let path = format!("/service-tokens/{}", made["id"].as_str().unwrap());
        let rotated = world
            .owner(Method::POST, &format!("{path}/rotate"), None)
            .await
            .json();
        world
            .owner(Method::PATCH, &path, Some(json!({"name": "S"})))
            .await;
        let texts = [
            world.get(&path).await.to_string(),
            world.get("/service-tokens").await.to_string(),
            world.get("/audit?limit=200").await.to_string(),
        ];
        for secret in [&made["client_secret"], &rotated["client_secret"]] {
            let secret = secret.as_str().unwrap();
            for text in &texts {
                assert!(!text.contains(&secret[13..]), "{text}");
                assert!(!text.contains(&store::sha256(secret)), "{text}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn policies_name_service_tokens_of_their_own_account_only() {
    on_each(async |world| {
        let (production, labs) = (&world.acme.account.id, &world.acme.labs.id);
        let policy = async |account: &wire::AccountId, token: &Value| {
            let body = json!({"account": account, "name": format!("P {account}"), "decision": "service_auth",
                "include": [{"type": "any_service_token"}, {"type": "service_token", "service_token": token}]});
            world.owner(Method::POST, "/policies", Some(body)).await
        };
        let made = make(world, json!({"account": production, "name": "R"})).await;
        let answer = policy(labs, &made["id"]).await;
        assert_eq!(answer.refused(400, "invalid"), ["/include/1/service_token"]);
        let answer = policy(production, &made["id"]).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let path = format!("/policies/{}", answer.json()["id"].as_str().unwrap());
        let nothing = json!({"exclude": [{"type": "service_token", "service_token": wire::ServiceTokenId::fresh()}]});
        let answer = world.owner(Method::PATCH, &path, Some(nothing)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/exclude/0/service_token"]);
    })
    .await;
}

#[tokio::test]
async fn a_service_token_is_no_credential_of_the_api() {
    on_each(async |world| {
        let made = make(world, json!({"account": world.acme.account.id, "name": "R"})).await;
        let request = http::Request::builder()
            .uri("/api/v1/apps")
            .header(wire::SERVICE_TOKEN_ID_HEADER, made["id"].as_str().unwrap())
            .header(
                wire::SERVICE_TOKEN_SECRET_HEADER,
                made["client_secret"].as_str().unwrap(),
            );
        let answer = world.send(request.body(axum::body::Body::empty()).unwrap()).await;
        answer.refused(401, "unauthenticated");
        let secret = made["client_secret"].as_str().unwrap();
        let answer = world.call(secret, Method::GET, "/apps", None).await;
        answer.refused(401, "unauthenticated");
    })
    .await;
}
