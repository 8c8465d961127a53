//! What the organisation says about connections holds for what runs already, at once.

use crate::browser::{begin, come_back, hand_off};
use crate::world::{Agent, World, eventually, on_each};
use serde_json::json;
use store::{binding, connection, user};
use testkit::from_json;
use wire::*;

/// Another connection: of the organisation and bound in this way, or the account's own.
async fn other(world: &World, name: &str, bound: Option<BindingMode>) -> (Connection, Option<Binding>) {
    let spec = from_json(json!({
        "name": name, "kind": "oidc", "issuer": "https://idp2.example", "client_id": "x",
    }));
    let own = bound.is_none().then_some(&world.account.id);
    let made = world
        .write(async |tx| connection::create(tx, &world.org, own, spec).await)
        .await;
    let Some(mode) = bound else { return (made, None) };
    let spec = BindingSpec {
        mode,
        ..world.binding.spec.clone()
    };
    let ends = (&made.id, &world.account.id);
    let binding = world
        .write(async |tx| binding::create(tx, &world.org, ends, spec).await)
        .await;
    (made, Some(binding))
}

async fn staff(world: &World, connection: &Connection, name: &str) -> User {
    let identity = user::Identity {
        connection: connection.id.clone(),
        issuer: "https://idp2.example".into(),
        subject: name.into(),
        email: Some(format!("{name}@acme.example")),
        email_verified: true,
        name: Some(name.into()),
        groups: vec!["staff".into()],
        claims: serde_json::Map::new(),
    };
    world
        .write(async |tx| user::sign_in(tx, &world.org, identity).await)
        .await
        .user
}

/// What an agent and a browser are answered.
async fn statuses(world: &World, agent: &Agent, cookie: &str) -> (u16, u16) {
    let page = || world.request("GET", &world.wiki, "/page");
    let by_agent = page().bearer_auth(&agent.token).send().await.unwrap();
    let by_browser = page().header("cookie", cookie).send().await.unwrap();
    (by_agent.status().as_u16(), by_browser.status().as_u16())
}

async fn reason(world: &World) -> String {
    world.events().await.remove(0).reason.unwrap()
}

async fn set(world: &World, binding: &Binding, spec: BindingSpec) -> Binding {
    world
        .write(async |tx| binding::update(tx, binding, spec).await)
        .await
}

#[tokio::test]
async fn an_exclusive_binding_keeps_out_what_came_through_others_and_taking_it_back_restores() {
    on_each(async |world| {
        let (own, _) = other(world, "Own", None).await;
        let bob = staff(world, &own, "bob").await;
        let mut held = Vec::new();
        for person in [&world.ada, &bob] {
            let agent = world.agent(person, &world.wiki, &["access"]).await;
            let (_, cookie) = world.browser(person, &world.wiki).await;
            assert_eq!(statuses(world, &agent, &cookie).await, (200, 200));
            held.push((agent, cookie));
        }
        // Ada is on her way back from signing in.
        let (state, cookie) = begin(world, &world.wiki, "/page").await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;

        let (entra, exclusive) = other(world, "Entra", Some(BindingMode::Exclusive)).await;
        for (agent, cookie) in &held {
            assert_eq!(statuses(world, agent, cookie).await, (403, 403));
            assert_eq!(reason(world).await, "connection_not_bound");
        }
        let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
        assert_ne!(answer.status(), 303, "no session comes of it");
        // Whoever comes through the only one is let in.
        let eve = staff(world, &entra, "eve").await;
        let agent = world.agent(&eve, &world.wiki, &["access"]).await;
        let (_, cookie) = world.browser(&eve, &world.wiki).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (200, 200));
        // Other accounts are not concerned.
        let (_, notes) = world.browser(&world.ada, &world.notes).await;
        let request = world
            .request("GET", &world.notes, "/page")
            .header("cookie", notes);
        assert_eq!(request.send().await.unwrap().status(), 200);
        // A provider that is switched off still excludes the others.
        let off = ConnectionSpec {
            enabled: false,
            ..entra.spec.clone()
        };
        let off = world
            .write(async |tx| connection::update(tx, &entra, off).await)
            .await;
        for (agent, cookie) in &held {
            assert_eq!(statuses(world, agent, cookie).await, (403, 403));
        }
        // What came through it has ended, and does not come back with it.
        assert_eq!(statuses(world, &agent, &cookie).await, (401, 401));
        world
            .write(async |tx| connection::update(tx, &off, entra.spec.clone()).await)
            .await;
        assert_eq!(statuses(world, &agent, &cookie).await, (401, 401));

        set(world, &exclusive.unwrap(), world.binding.spec.clone()).await;
        for (agent, cookie) in &held {
            assert_eq!(statuses(world, agent, cookie).await, (200, 200));
        }
    })
    .await;
}

#[tokio::test]
async fn another_instance_excludes_within_the_time_of_the_feed() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (store, address) = world.other_instance().await;
        let status = async || {
            let request = world.request_at(&address, "GET", &world.wiki, "/page");
            let answer = request.bearer_auth(&agent.token).send().await.unwrap();
            answer.status().as_u16()
        };
        assert_eq!(status().await, 200);
        let (_, exclusive) = other(world, "Entra", Some(BindingMode::Exclusive)).await;
        eventually("excluded there", async || status().await == 403).await;
        set(world, &exclusive.unwrap(), world.binding.spec.clone()).await;
        eventually("restored there", async || status().await == 200).await;
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_drains_works_until_its_time_and_no_longer() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let (state, state_cookie) = begin(world, &world.wiki, "/page").await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        let until = world.clock.now().plus_seconds(60);
        let draining = BindingSpec {
            state: BindingState::Draining,
            drain_until: Some(until),
            ..world.binding.spec.clone()
        };
        let binding = set(world, &world.binding, draining).await;
        let answer = come_back(world, &world.wiki, (&code, &state), &state_cookie).await;
        assert_ne!(answer.status(), 303, "nobody signs in any more");
        assert_eq!(statuses(world, &agent, &cookie).await, (200, 200));
        world.advance(59).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (200, 200));
        world.advance(1).await;
        // The token would be good for a quarter of an hour, and nothing has been revoked yet.
        assert_eq!(statuses(world, &agent, &cookie).await, (403, 403));
        assert_eq!(reason(world).await, "connection_not_bound");
        assert_eq!(binding::detach_drained(&world.store).await.unwrap(), 1);
        assert_eq!(statuses(world, &agent, &cookie).await, (401, 401));
        // Bound again, people begin anew: what was detached is not revived.
        let binding = binding::get(&world.store, &world.org, &binding.id).await.unwrap();
        set(world, &binding, world.binding.spec.clone()).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (401, 401));
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (401, 200));
    })
    .await;
}

#[tokio::test]
async fn policies_cannot_use_what_a_binding_does_not_release() {
    on_each(async |world| {
        // The policy lets the group `staff` in.
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (200, 200));
        let release = |claims: &[&str]| BindingSpec {
            claims: Some(claims.iter().map(|claim| (*claim).to_owned()).collect()),
            ..world.binding.spec.clone()
        };
        let binding = set(world, &world.binding, release(&["email", "name"])).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (403, 403));
        // A fact that is not released counts against the request, as every unknown one does: the policy
        // that refuses contractors cannot tell that she is none.
        assert_eq!(reason(world).await, "policy_denied");
        set(world, &binding, release(&["groups"])).await;
        assert_eq!(statuses(world, &agent, &cookie).await, (200, 200));
    })
    .await;
}
