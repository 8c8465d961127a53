//! Service tokens: machines at apps, without a person.

use crate::world::{World, cookie_name, eventually, on_each};
use serde_json::json;
use store::service_token::{self, SECRET};
use wire::*;

struct Machine {
    token: ServiceToken,
    secret: String,
}

async fn machine(world: &World, account: &AccountId, expires_in: Option<i64>) -> Machine {
    let minted = SECRET.mint().unwrap();
    let spec = ServiceTokenSpec {
        name: format!("CI {}", &minted.prefix),
        expires_at: expires_in.map(|seconds| world.clock.now().plus_seconds(seconds)),
        enabled: true,
    };
    let token = world
        .write(async |tx| service_token::create(tx, (&world.org, account), spec, &minted).await)
        .await;
    Machine {
        token,
        secret: minted.secret,
    }
}

/// Puts a policy in front of an app's.
async fn policy(world: &World, app: &App, spec: serde_json::Value) -> Policy {
    let policy: Policy = world
        .write(async |tx| store::rule::create(tx, &world.org, &app.account, testkit::from_json(spec)).await)
        .await;
    let id = policy.id.clone();
    world.change(app, |spec| spec.policies.insert(0, id)).await;
    policy
}

async fn let_in(world: &World, app: &App, token: &ServiceTokenId) -> Policy {
    let name = format!("Machines {}", ServiceTokenId::fresh());
    policy(
        world,
        app,
        json!({ "name": name, "decision": "service_auth",
            "include": [{ "type": "service_token", "service_token": token }] }),
    )
    .await
}

fn with(request: reqwest::RequestBuilder, id: &str, secret: &str) -> reqwest::RequestBuilder {
    request
        .header("Chatelaine-Client-Id", id)
        .header("Chatelaine-Client-Secret", secret)
}

async fn status(world: &World, app: &App, machine: &Machine) -> u16 {
    let path = if app.spec.public_url.ends_with("/mcp") {
        "/mcp"
    } else {
        "/page"
    };
    let request = world.request("GET", app, path);
    with(request, machine.token.id.as_ref(), &machine.secret)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_machine_comes_through_and_the_origin_learns_which() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, Some(3600)).await;
        let rule = let_in(world, &world.wiki, &ci.token.id).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        let seen = world.origin.last();
        for (name, _) in &seen.headers {
            assert!(
                !name.starts_with("chatelaine-client"),
                "{name} reached the origin"
            );
        }
        assert!(!format!("{:?}", seen.headers).contains(&ci.secret));
        let claims = seen.assertion();
        assert_eq!(claims["sub"], ci.token.id.to_string());
        assert_eq!(claims["actor"], "service");
        assert_eq!(claims["name"], ci.token.spec.name);
        for absent in ["email", "groups", "act", "client", "grant", "scope"] {
            assert!(claims.get(absent).is_none(), "{absent}");
        }
        let event = world.events().await.remove(0);
        assert_eq!(event.outcome, Outcome::Allowed);
        assert_eq!(event.reason.as_deref(), Some("service_authenticated"));
        assert_eq!(event.rule.unwrap().id, rule.id.to_string());
        assert_eq!(event.actor.kind, ActorKind::Service);
        assert_eq!(event.actor.service_token, Some(ci.token.id.clone()));
        assert_eq!(event.actor.service_token_name, Some(ci.token.spec.name.clone()));
        assert_eq!((event.actor.user, event.actor.email), (None, None));
    })
    .await;
}

#[tokio::test]
async fn a_use_is_noted_once_a_minute() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        let read = async || {
            service_token::get(&world.store, &world.org, &ci.token.id)
                .await
                .unwrap()
        };
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        eventually("the use is noted", async || read().await.last_used_at.is_some()).await;
        let first = read().await;
        assert_eq!(first.last_used_app, Some(world.wiki.id.clone()));
        assert_eq!(first.last_used_at, Some(world.clock.now()));
        assert!(first.last_used_ip.is_some());
        assert_eq!(first.version, ci.token.version);
        world.advance(3).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        world.advance(60).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        let then = Some(world.clock.now());
        eventually("a later use is noted", async || read().await.last_used_at == then).await;
    })
    .await;
}

#[tokio::test]
async fn people_and_machines_do_not_come_through_each_others_policies() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        // The wiki lets staff in, and no machine.
        assert_eq!(status(world, &world.wiki, &ci).await, 403);
        let event = world.events().await.remove(0);
        assert_eq!(event.reason.as_deref(), Some("no_policy_matched"));
        assert_eq!(event.actor.kind, ActorKind::Service);
        // Not even where everyone is allowed.
        let everyone = json!({ "name": "Everyone", "decision": "allow", "include": [{ "type": "everyone" }] });
        let everyone = policy(world, &world.wiki, everyone).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 403);
        world
            .change(&world.wiki, |spec| spec.policies = vec![everyone.id.clone()])
            .await;
        assert_eq!(status(world, &world.wiki, &ci).await, 403);
        // And where only machines are let in, people are not.
        let any = json!({ "name": "Any", "decision": "service_auth", "include": [{ "type": "any_service_token" }] });
        let any = policy(world, &world.wiki, any).await;
        world.change(&world.wiki, |spec| spec.policies = vec![any.id.clone()]).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let answer = world.request("GET", &world.wiki, "/page").header("cookie", cookie);
        assert_eq!(answer.send().await.unwrap().status(), 403);
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let answer = world.request("GET", &world.wiki, "/page").bearer_auth(&agent.token);
        assert_eq!(answer.send().await.unwrap().status(), 403);
    })
    .await;
}

#[tokio::test]
async fn all_that_is_wrong_with_a_service_token_has_one_answer() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, Some(3600)).await;
        let foreign = machine(world, &world.notes.account, None).await;
        let any = json!({ "name": "Any", "decision": "service_auth", "include": [{ "type": "any_service_token" }] });
        policy(world, &world.wiki, any).await;
        let other = SECRET.mint().unwrap().secret;
        let unknown = ServiceTokenId::fresh();
        let (id, nobody) = (ci.token.id.to_string(), unknown.to_string());
        let theirs = foreign.token.id.to_string();
        let mut answers = Vec::new();
        for (id, secret) in [
            (id.as_str(), other.as_str()),
            (&id, ""),
            (&id, "chs_x"),
            (&id, &ci.secret[..52]),
            (&nobody, &other),
            (&nobody, &ci.secret),
            // Another account's, with its right secret.
            (&theirs, &foreign.secret),
            ("", &ci.secret),
            ("svc_1", &ci.secret),
        ] {
            let answer = with(world.request("GET", &world.wiki, "/page"), id, secret);
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{id} {secret}");
            assert_eq!(
                answer.headers()["www-authenticate"],
                "Chatelaine-Service-Token",
                "{id}"
            );
            let event = world.events().await.remove(0);
            assert_eq!(event.reason.as_deref(), Some("credential_invalid"));
            assert_eq!(event.actor.kind, ActorKind::Anonymous);
            let request = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
            answers.push(answer.text().await.unwrap().replace(&request, ""));
        }
        // One half of it is no credential either.
        let half = world
            .request("GET", &world.wiki, "/page")
            .header("chatelaine-client-id", &id)
            .send()
            .await
            .unwrap();
        assert_eq!(half.status(), 401);
        let request = half.headers()["x-request-id"].to_str().unwrap().to_owned();
        answers.push(half.text().await.unwrap().replace(&request, ""));
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        // None of it locked the owner out.
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
    })
    .await;
}

#[tokio::test]
async fn guessing_is_slowed_down_but_locks_nobody_out() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        let guess = async |id: &str| {
            let secret = SECRET.mint().unwrap().secret;
            let request = world.request("GET", &world.wiki, "/page");
            with(request, id, &secret).send().await.unwrap()
        };
        for id in [ci.token.id.to_string(), ServiceTokenId::fresh().to_string()] {
            for _ in 0..20 {
                assert_eq!(guess(&id).await.status(), 401);
            }
            let answer = guess(&id).await;
            assert_eq!(answer.status(), 429);
            let wait: i64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
        }
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        world.advance(61).await;
        assert_eq!(guess(ci.token.id.as_ref()).await.status(), 401);
    })
    .await;
}

#[tokio::test]
async fn a_service_token_is_sent_alone() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let request = || {
            let request = world.request("GET", &world.wiki, "/page");
            with(request, ci.token.id.as_ref(), &ci.secret)
        };
        for (what, request) in [
            ("bearer", request().bearer_auth(&agent.token)),
            ("any bearer", request().bearer_auth("x")),
            ("session", request().header("cookie", cookie)),
            (
                "any session",
                request().header("cookie", format!("{}=x", cookie_name(&world.wiki, "app"))),
            ),
            ("two secrets", request().header("chatelaine-client-secret", "x")),
            (
                "two ids",
                request().header("chatelaine-client-id", ci.token.id.to_string()),
            ),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 400, "{what}");
            let event = world.events().await.remove(0);
            assert_eq!(event.outcome, Outcome::Denied, "{what}");
            assert_eq!(event.reason.as_deref(), Some("ambiguous_credentials"), "{what}");
        }
        // What is no credential of ours does not matter.
        let fine = request()
            .header("cookie", "theme=dark")
            .basic_auth("a", Some("b"));
        assert_eq!(fine.send().await.unwrap().status(), 200);
    })
    .await;
}

#[tokio::test]
async fn rt4_disabling_rotating_and_deleting_reach_every_instance_within_5_seconds() {
    on_each(async |world| {
        let (other, address) = world.other_instance().await;
        let first = machine(world, &world.account.id, None).await;
        let any = json!({ "name": "Any", "decision": "service_auth", "include": [{ "type": "any_service_token" }] });
        policy(world, &world.wiki, any).await;
        let there = async |id: &ServiceTokenId, secret: &str| {
            let request = world.request_at(&address, "GET", &world.wiki, "/page");
            let answer = with(request, id.as_ref(), secret).send().await.unwrap();
            answer.status().as_u16()
        };
        let id = first.token.id.clone();
        eventually("the other instance lets it in", async || there(&id, &first.secret).await == 200).await;

        let spec = ServiceTokenSpec {
            enabled: false,
            ..first.token.spec.clone()
        };
        let token = world
            .write(async |tx| service_token::update(tx, &first.token, spec.clone()).await)
            .await;
        assert_eq!(status(world, &world.wiki, &first).await, 401);
        eventually("disabled", async || there(&id, &first.secret).await == 401).await;
        let spec = ServiceTokenSpec { enabled: true, ..spec };
        let token = world
            .write(async |tx| service_token::update(tx, &token, spec).await)
            .await;
        eventually("enabled", async || there(&id, &first.secret).await == 200).await;

        // With an overlap both secrets are good, until the old one is not.
        let second = SECRET.mint().unwrap();
        let token = world
            .write(async |tx| service_token::rotate(tx, &token, &second, 3600).await)
            .await;
        assert_eq!(
            token.previous_valid_until,
            Some(world.clock.now().plus_seconds(3600))
        );
        assert_eq!(there(&id, &second.secret).await, 200);
        assert_eq!(there(&id, &first.secret).await, 200);
        world.advance(3600).await;
        eventually("the other follows", async || other.is_current()).await;
        assert_eq!(there(&id, &first.secret).await, 401);
        assert_eq!(status(world, &world.wiki, &first).await, 401);
        assert_eq!(there(&id, &second.secret).await, 200);

        // Without one, the old one ends at once.
        let third = SECRET.mint().unwrap();
        let token = world
            .write(async |tx| service_token::rotate(tx, &token, &third, 0).await)
            .await;
        assert_eq!(token.previous_valid_until, None);
        eventually("rotated", async || there(&id, &second.secret).await == 401).await;
        assert_eq!(there(&id, &third.secret).await, 200);

        world
            .write(async |tx| service_token::delete(tx, &token).await)
            .await;
        eventually("deleted", async || there(&id, &third.secret).await == 401).await;
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, Some(3600)).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        world.advance(3599).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        world.advance(1).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 401);
    })
    .await;
}

#[tokio::test]
async fn a_rotation_never_makes_the_old_secret_outlive_the_token() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, Some(60)).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        let next = SECRET.mint().unwrap();
        world
            .write(async |tx| service_token::rotate(tx, &ci.token, &next, 86_400).await)
            .await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        world.advance(60).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 401);
    })
    .await;
}

#[tokio::test]
async fn no_account_gets_a_machine_past_the_organisations_floor() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        let org = store::org::get(&world.store, &world.org).await.unwrap();
        let spec = OrganisationSpec {
            floor: vec![Selector::Mfa {}],
            ..org.spec.clone()
        };
        world
            .write(async |tx| store::org::update(tx, &org, spec).await)
            .await;
        assert_eq!(status(world, &world.wiki, &ci).await, 403);
        let event = world.events().await.remove(0);
        assert_eq!(event.reason.as_deref(), Some("organisation_floor"));
    })
    .await;
}

#[tokio::test]
async fn machines_call_tools_as_the_rules_say() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        policy(
            world,
            &world.tickets,
            json!({ "name": "Machines read", "decision": "service_auth",
                "include": [{ "type": "service_token", "service_token": ci.token.id }],
                "require": [{ "type": "mcp_tool", "tool": "list_*" }] }),
        )
        .await;
        let call = async |tool: &str| {
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": tool, "arguments": {} } });
            let request = world.request("POST", &world.tickets, "/mcp").json(&body);
            let request = with(request, ci.token.id.as_ref(), &ci.secret);
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(call("list_tickets").await, 200);
        let event = world.events().await.remove(0);
        assert_eq!(event.mcp.unwrap().tool.as_deref(), Some("list_tickets"));
        assert_eq!(call("close_ticket").await, 403);
    })
    .await;
}

#[tokio::test]
async fn a_service_token_ends_where_account_or_app_are_switched_off() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        world.change(&world.wiki, |spec| spec.enabled = false).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 403);
        assert_eq!(world.events().await.remove(0).reason.as_deref(), Some("disabled"));
    })
    .await;
}

#[tokio::test]
async fn au3_no_secret_of_a_service_token_is_stored_or_logged() {
    on_each(async |world| {
        let ci = machine(world, &world.account.id, None).await;
        let_in(world, &world.wiki, &ci.token.id).await;
        assert_eq!(status(world, &world.wiki, &ci).await, 200);
        let shown = service_token::get(&world.store, &world.org, &ci.token.id)
            .await
            .unwrap();
        let shown = serde_json::to_string(&shown).unwrap();
        let log = serde_json::to_string(&world.events().await).unwrap();
        for text in [shown, log] {
            assert!(!text.contains(&ci.secret));
            assert!(!text.contains(&store::sha256(&ci.secret)));
        }
    })
    .await;
}
