//! Who is let through, and how fast that ends.

use crate::world::{Agent, World, cookie_name, eventually, gateway, host, on_each};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use store::readiness::CREDENTIALS;
use store::{client, grant, session, user};
use wire::{
    AccountSpec, ActorKind, App, BindingSpec, BindingState, ClientSpec, ClientState, ClientTier, Outcome,
};

async fn status(world: &World, app: &App, token: &str) -> u16 {
    let path = if app.id == world.tickets.id {
        "/mcp"
    } else {
        "/page"
    };
    world
        .request("GET", app, path)
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn an_agent_is_let_through_and_every_part_of_it_is_on_record() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let request = world
            .request("GET", &world.wiki, "/page?q=secret")
            .header("x-test-id", "req_1");
        let answer = request.bearer_auth(&agent.token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-request-id"], "req_1");
        let seen = world.origin.last();
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            ("GET", "/page?q=secret")
        );
        assert_eq!(seen.recorded, 1, "on record before the origin sees it");
        eventually("the answer is on record", async || {
            world.events().await[0].response.is_some()
        })
        .await;
        let event = world.events().await.remove(0);
        assert_eq!(event.outcome, Outcome::Allowed);
        assert_eq!(event.reason.as_deref(), Some("policy_allowed"));
        assert_eq!(event.rule.unwrap().name, "Wiki: staff");
        assert_eq!(event.account.unwrap(), world.account.id);
        assert_eq!(event.target.unwrap().app.unwrap(), world.wiki.id);
        assert_eq!(event.request.unwrap().path, "/page");
        assert_eq!(event.response.unwrap().status, 200);
        assert_eq!(event.actor.kind, ActorKind::Agent);
        assert_eq!(event.actor.user.unwrap(), world.ada.id);
        assert_eq!(event.actor.email.unwrap(), "ada@acme.example");
        assert_eq!(event.actor.client.unwrap(), agent.client.id);
        assert_eq!(event.actor.client_name.unwrap(), "Test agent");
        assert_eq!(event.actor.grant.unwrap(), agent.grant);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_names_its_rule_in_the_log_and_not_outside() {
    on_each(async |world| {
        let agent = world.agent(&world.carl, &world.wiki, &["access"]).await;
        let answer = world
            .request("GET", &world.wiki, "/page")
            .bearer_auth(&agent.token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
        let body = answer.text().await.unwrap();
        assert!(!body.contains("contractors"), "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&body["error"], &body["reason"]),
            (&json!("access_denied"), &json!("policy_denied"))
        );
        let (_, cookie) = world.browser(&world.carl, &world.wiki).await;
        let request = world
            .request("GET", &world.wiki, "/page")
            .header("cookie", cookie);
        let answer = request.header("sec-fetch-mode", "navigate").send().await.unwrap();
        assert_eq!(answer.status(), 403);
        let csp = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(csp.starts_with("default-src 'none'"), "{csp}");
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = answer.text().await.unwrap();
        assert!(body.contains(&id) && !body.contains("contractors"), "{body}");
        for event in world.events().await {
            assert_eq!(event.outcome, Outcome::Denied);
            assert_eq!(event.rule.unwrap().name, "Wiki: no contractors");
            assert_eq!(event.actor.user.unwrap(), world.carl.id);
        }
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn gw4_policy_judges_the_real_path_and_method() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for header in [
            "x-forwarded-uri",
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-path",
        ] {
            let request = world
                .request("GET", &world.wiki, "/admin/users")
                .bearer_auth(&agent.token);
            let answer = request.header(header, "/page").send().await.unwrap();
            assert_eq!(answer.status(), 403, "{header}");
        }
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn bypass_lets_anybody_through_without_identity() {
    on_each(async |world| {
        let (_, garbage) = ("", format!("{}=garbage", cookie_name(&world.wiki, "app")));
        for request in [
            world.request("GET", &world.wiki, "/health"),
            world
                .request("GET", &world.wiki, "/health")
                .header("cookie", &garbage),
            world
                .request("GET", &world.wiki, "/health")
                .bearer_auth("garbage"),
        ] {
            assert_eq!(request.send().await.unwrap().status(), 200);
            let seen = world.origin.last();
            assert_eq!(seen.header("chatelaine-assertion"), None);
            assert_eq!(seen.header("authorization"), None);
            assert_eq!(seen.recorded, 1);
        }
        let event = world.events().await.remove(0);
        assert_eq!(
            (event.actor.kind, event.reason.as_deref()),
            (ActorKind::Anonymous, Some("bypassed"))
        );
        assert_eq!(
            world
                .request("GET", &world.wiki, "/healthy")
                .send()
                .await
                .unwrap()
                .status(),
            401
        );
    })
    .await;
}

#[tokio::test]
async fn cn13_garbage_credentials_never_pass() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let name = cookie_name(&world.wiki, "app");
        let (_, of_notes) = world.browser(&world.ada, &world.notes).await;
        let foreign = format!("{name}={}", of_notes.split_once('=').unwrap().1);
        let (_, twice) = world.browser(&world.ada, &world.wiki).await;
        for cookie in [
            format!("{name}=garbage"),
            format!("{name}="),
            format!("{name}={}", agent.token),
            format!("{name}=' OR 1=1 --"),
            foreign,
            format!("{twice}; {name}=garbage"),
        ] {
            let page = world
                .request("GET", &world.wiki, "/page")
                .header("cookie", &cookie);
            let answer = page.header("sec-fetch-mode", "navigate").send().await.unwrap();
            assert_eq!(answer.status(), 302, "{cookie}");
            let answer = world
                .request("GET", &world.wiki, "/page")
                .header("cookie", &cookie);
            assert_eq!(answer.send().await.unwrap().status(), 401, "{cookie}");
        }
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let session = cookie.split_once('=').unwrap().1.to_owned();
        for value in [
            "Bearer garbage",
            "Bearer ",
            "Bearer a.b.c",
            "Basic YTpi",
            "Bearer",
            &format!("Bearer {session}"),
        ] {
            let answer = world
                .request("GET", &world.wiki, "/page")
                .header("authorization", value);
            assert_eq!(answer.send().await.unwrap().status(), 401, "{value}");
        }
        let good = format!("Bearer {}", agent.token);
        let two = world
            .request("GET", &world.wiki, "/page")
            .header("authorization", &good);
        let two = two.header("authorization", "Bearer other").send().await.unwrap();
        assert_eq!(two.status(), 401);
        let query = format!("/page?access_token={}", agent.token);
        assert_eq!(
            world
                .request("GET", &world.wiki, &query)
                .send()
                .await
                .unwrap()
                .status(),
            401
        );
        assert!(world.origin.take().is_empty());
        let lower = world
            .request("GET", &world.wiki, "/page")
            .header("authorization", good.replace("Bearer", "bEaReR"));
        assert_eq!(lower.send().await.unwrap().status(), 200);
    })
    .await;
}

/// Signs any payload with the organisation's real key.
async fn forge(world: &World, payload: &Value) -> String {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let keys = store::key::all(&world.store).await.unwrap();
    let key = keys
        .iter()
        .find(|k| k.key.state == wire::KeyState::Active)
        .unwrap();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.key.id });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(payload));
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.private).unwrap();
    let signature = pair
        .sign(&aws_lc_rs::rand::SystemRandom::new(), text.as_bytes())
        .unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

#[tokio::test]
async fn jw5_times_of_a_wrong_type_or_none_are_no_token() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let good = serde_json::to_value(&agent.claims).unwrap();
        assert_eq!(status(world, &world.wiki, &forge(world, &good).await).await, 200);
        world.origin.take();
        for (claim, value) in [
            ("exp", json!("never")),
            ("exp", json!("9999999999")),
            ("exp", Value::Null),
            ("exp", json!(agent.claims.iat - 60)),
            ("exp", json!(true)),
            ("nbf", json!("9999999999")),
            ("nbf", json!(9_999_999_999_i64)),
            ("aud", json!([world.wiki.spec.public_url])),
            ("iss", json!("https://control.example.com")),
            ("grant", json!("gnt_00000000000000000000000000000000")),
            ("client_id", json!("cli_00000000000000000000000000000000")),
            ("sub", json!(world.carl.id)),
        ] {
            let mut bad = good.clone();
            bad[claim] = value.clone();
            if value.is_null() {
                bad.as_object_mut().unwrap().remove(claim);
            }
            let answer = world
                .request("GET", &world.wiki, "/page")
                .bearer_auth(forge(world, &bad).await);
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{claim}: {value}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(
                challenge.starts_with("Bearer error=\"invalid_token\", resource_metadata="),
                "{challenge}"
            );
        }
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn jw6_a_token_of_one_app_is_nothing_at_another() {
    on_each(async |world| {
        world.change(&world.notes, |spec| spec.managed_oauth = true).await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        // Also when it is remembered.
        assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
        world.origin.take();
        assert_eq!(
            status(world, &world.tickets, &agent.token).await,
            401,
            "another app of the account"
        );
        assert_eq!(
            status(world, &world.notes, &agent.token).await,
            401,
            "an app of another account"
        );
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn tokens_end_with_their_time() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
        world.advance(890).await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
        world.advance(20).await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 401);
    })
    .await;
}

async fn dead(world: &World, agent: &Agent, what: &str) {
    let (app, token) = (&world.wiki, &agent.token);
    eventually(what, async || {
        matches!(status(world, app, token).await, 401 | 403)
    })
    .await;
}

#[tokio::test]
async fn rt4_whatever_ends_ends_its_tokens() {
    on_each(async |world| {
        let agent = async || {
            let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
            assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
            agent
        };
        let one = agent().await;
        let other = agent().await;
        world
            .write(async |tx| grant::revoke_where(tx, grant::Which::One(&one.grant), "test").await)
            .await;
        dead(world, &one, "a revoked grant").await;
        assert_eq!(status(world, &world.wiki, &other.token).await, 200);

        let until = world.clock.now().plus_seconds(900);
        let one = agent().await;
        world
            .write(async |tx| grant::revoke_access_token(tx, &one.claims.jti, until).await)
            .await;
        dead(world, &one, "a revoked token").await;

        let one = agent().await;
        let spec = ClientSpec {
            tier: ClientTier::Unverified,
            state: ClientState::Blocked,
        };
        world
            .write(async |tx| client::update(tx, &one.client, &spec).await)
            .await;
        dead(world, &one, "a blocked client").await;

        let one = agent().await;
        let app = world
            .change(&world.wiki, |s| {
                s.oauth.registration.lowest_tier = ClientTier::Approved
            })
            .await;
        dead(world, &one, "a client below the app's lowest tier").await;
        world
            .change(&app, |s| s.oauth.registration.lowest_tier = ClientTier::Localhost)
            .await;

        let one = agent().await;
        let spec = BindingSpec {
            state: BindingState::Detached,
            ..world.binding.spec.clone()
        };
        let binding = world
            .write(async |tx| store::binding::update(tx, &world.binding, spec).await)
            .await;
        dead(world, &one, "a detached connection").await;
        world
            .write(async |tx| store::binding::update(tx, &binding, world.binding.spec.clone()).await)
            .await;

        let one = agent().await;
        let spec = AccountSpec {
            enabled: false,
            ..world.account.spec.clone()
        };
        let account = world
            .write(async |tx| store::org::update_account(tx, &world.account, spec).await)
            .await;
        dead(world, &one, "a disabled account").await;
        world
            .write(async |tx| store::org::update_account(tx, &account, world.account.spec.clone()).await)
            .await;

        let one = agent().await;
        world.change(&world.wiki, |spec| spec.enabled = false).await;
        dead(world, &one, "a disabled app").await;
        world.change(&world.wiki, |spec| spec.enabled = true).await;

        let one = agent().await;
        world
            .write(async |tx| user::set_disabled(tx, &world.org, &world.ada, true).await)
            .await;
        dead(world, &one, "a disabled person").await;
    })
    .await;
}

#[tokio::test]
async fn rt4_what_one_instance_ends_the_other_refuses() {
    on_each(async |world| {
        let (store, address) = world.other_instance().await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (id, cookie) = world.browser(&world.ada, &world.wiki).await;
        let by_token = || {
            world
                .request_at(&address, "GET", &world.wiki, "/page")
                .bearer_auth(&agent.token)
        };
        let by_cookie = || {
            world
                .request_at(&address, "GET", &world.wiki, "/page")
                .header("cookie", &cookie)
        };
        assert_eq!(by_token().send().await.unwrap().status(), 200);
        assert_eq!(by_cookie().send().await.unwrap().status(), 200);
        world
            .write(async |tx| grant::revoke_where(tx, grant::Which::One(&agent.grant), "test").await)
            .await;
        world.write(async |tx| session::end(tx, &id).await).await;
        eventually("the grant ended", async || {
            by_token().send().await.unwrap().status() == 401
        })
        .await;
        eventually("the session ended", async || {
            by_cookie().send().await.unwrap().status() == 401
        })
        .await;
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_switch_lets_agents_in_and_out_at_once() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.notes, &["access"]).await;
        let answer = world
            .request("GET", &world.notes, "/page")
            .bearer_auth(&agent.token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], "managed_oauth_off");
        assert!(
            body["error_description"]
                .as_str()
                .unwrap()
                .contains("Managed OAuth is off")
        );
        let notes = world.change(&world.notes, |spec| spec.managed_oauth = true).await;
        assert_eq!(status(world, &notes, &agent.token).await, 200);
        world.change(&notes, |spec| spec.managed_oauth = false).await;
        assert_eq!(status(world, &notes, &agent.token).await, 401);
        // What had been allowed does not come back with the switch.
        world.change(&notes, |spec| spec.managed_oauth = true).await;
        assert_eq!(status(world, &notes, &agent.token).await, 401);
    })
    .await;
}

#[tokio::test]
async fn gw21_without_the_store_everything_is_refused() {
    on_each(async |world| {
        let warm = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let cold = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        assert_eq!(status(world, &world.wiki, &warm.token).await, 200);
        world.origin.take();
        world.store.close().await;
        for (what, request) in [
            (
                "a remembered token",
                world
                    .request("GET", &world.wiki, "/page")
                    .bearer_auth(&warm.token),
            ),
            (
                "a new token",
                world
                    .request("GET", &world.wiki, "/page")
                    .bearer_auth(&cold.token),
            ),
            (
                "a session",
                world
                    .request("GET", &world.wiki, "/page")
                    .header("cookie", cookie),
            ),
            (
                "nobody on a public path",
                world.request("GET", &world.wiki, "/health"),
            ),
            ("nobody", world.request("GET", &world.wiki, "/page")),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 503, "{what}");
            assert!(answer.headers().contains_key("retry-after"), "{what}");
        }
        // Nor when the feed was not heard for a while: what others ended is not known.
        world.clock.advance(60);
        assert_eq!(status(world, &world.wiki, &warm.token).await, 503);
        assert!(
            world.origin.take().is_empty(),
            "the origin never sees what is not on record"
        );
    })
    .await;
}

#[tokio::test]
async fn gw21_a_panic_is_a_refusal() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let broken = futures_util::stream::once(async {
            assert!(world_is_flat(), "this body panics");
            Ok::<_, std::convert::Infallible>("")
        });
        let audit = wire::AuditRequest {
            id: "req_1".into(),
            method: "POST".into(),
            path: "/mcp".into(),
            ip: None,
            user_agent: None,
        };
        let request = http::Request::post("/mcp")
            .header("authorization", format!("Bearer {}", agent.token))
            .header("content-type", "application/json")
            .extension(audit)
            .body(axum::body::Body::from_stream(broken))
            .unwrap();
        let gateway = gateway(&world.store, &world.keyring);
        let answer = gateway.handle(&host(&world.tickets), request).await;
        assert_eq!(answer.status(), 503);
        assert!(world.origin.take().is_empty());
    })
    .await;
}

fn world_is_flat() -> bool {
    std::hint::black_box(false)
}

#[tokio::test]
async fn while_nobody_hears_what_ends_all_are_denied_and_then_it_is_heard_again() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let is_down = || world.store.tasks().stopped().contains(&CREDENTIALS);
        let mut denied = 0;
        // It is started again after a while that grows: one of them is long enough to ask in.
        for round in 1..=4 {
            assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
            world.store.tasks().interrupt(CREDENTIALS);
            let began = Instant::now();
            while world.store.tasks().restarts(CREDENTIALS) < round {
                assert!(began.elapsed() < Duration::from_secs(2));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let was_down = is_down();
            let answer = status(world, &world.wiki, &agent.token).await;
            let faults = world.store.readiness().await.faults;
            if was_down && is_down() {
                assert_eq!(answer, 503);
                assert!(
                    faults.iter().any(|words| words.contains(CREDENTIALS)),
                    "{faults:?}"
                );
                denied += 1;
            }
            while status(world, &world.wiki, &agent.token).await != 200 {
                assert!(began.elapsed() < Duration::from_secs(10));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(world.store.readiness().await.faults.is_empty());
        }
        assert!(denied > 0);
        world
            .write(async |tx| grant::revoke_where(tx, grant::Which::One(&agent.grant), "test").await)
            .await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 401);
    })
    .await;
}

#[tokio::test]
async fn a_signing_key_that_cannot_be_read_keeps_no_other_from_ending() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
        // As a newer version might write it, and one that nothing can be made of.
        for (id, state, jwk) in [
            ("key_01a22dfd5f0c72e2b0ab3c7ad91704ff", "'standby'", "public_jwk"),
            ("key_01a22dfd5f0c72e2b0ab3c7ad91704fe", "state", "'nope'"),
            ("key_01a22dfd5f0c72e2b0ab3c7ad91704fd", "state", "'{}'"),
        ] {
            let sql = format!(
                "INSERT INTO signing_keys (id, org, algorithm, state, public_jwk, private_key, created_at, not_after) \
                 SELECT '{id}', org, algorithm, {state}, {jwk}, private_key, created_at, not_after \
                 FROM signing_keys WHERE state = 'next' AND id NOT LIKE 'key_01a22dfd5f0c72e2b0ab3c7ad91704%'"
            );
            assert_eq!(world.execute(&sql).await, 1);
        }
        let tx = world.store.begin().await.unwrap();
        let actor = wire::AuditActor::of(ActorKind::System);
        let event = store::audit::event(&world.org, "test", "signing_key.rotate", actor);
        world.keyring.rotate(tx, &world.org, event, true).await.unwrap();
        assert_eq!(status(world, &world.wiki, &agent.token).await, 401);
        // A fresh one signs, and those that cannot be read have ended as well.
        let anew = world.agent(&world.ada, &world.wiki, &["access"]).await;
        assert_eq!(status(world, &world.wiki, &anew.token).await, 200);
        let good = "UPDATE signing_keys SET state = state WHERE state <> 'retiring' OR not_after IS NULL";
        assert_eq!(world.execute(good).await, 2);
        assert_eq!(world.store.readiness().await.warnings, Vec::<String>::new());

        let sql = "UPDATE signing_keys SET state = 'standby' WHERE state = 'next'";
        assert_eq!(world.execute(sql).await, 1);
        world
            .write(async |tx| {
                tx.changed(store::Change::Keys);
                Ok(())
            })
            .await;
        eventually("told", async || {
            let warnings = world.store.readiness().await.warnings;
            warnings.iter().any(|words| words.contains("signing key"))
        })
        .await;
        assert_eq!(status(world, &world.wiki, &anew.token).await, 200);
        // Somebody mends it, and says so to nobody.
        let sql = "UPDATE signing_keys SET state = 'next' WHERE state = 'standby'";
        assert_eq!(world.execute(sql).await, 1);
        let began = Instant::now();
        while !world.store.readiness().await.warnings.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_stays_behind_what_was_heard_denies_until_it_is_applied() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
        world.store.falls_behind("something");
        assert_eq!(
            status(world, &world.wiki, &agent.token).await,
            200,
            "that takes a moment"
        );
        tokio::time::sleep(Duration::from_millis(4100)).await;
        assert_eq!(status(world, &world.wiki, &agent.token).await, 503);
        let faults = world.store.readiness().await.faults;
        assert!(
            faults.iter().any(|words| words.contains("something")),
            "{faults:?}"
        );
        world.store.has_caught_up("something");
        assert_eq!(status(world, &world.wiki, &agent.token).await, 200);
        assert!(world.store.readiness().await.faults.is_empty());
    })
    .await;
}
