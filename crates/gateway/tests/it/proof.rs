//! Whose proof counts, and for how long: that of the session or grant in question, and not for ever.

use crate::browser::{begin, come_back, hand_off};
use crate::world::{World, by, cookie_name, on_each, sign_in};
use serde_json::json;
use store::session;
use wire::{App, AppSpec, OldestProof, OrganisationSpec, Selector, StricterProof};

/// Asks every app of the organisation for something.
async fn rule(world: &World, floor: Selector) {
    change(world, |spec| spec.floor = vec![floor.clone()]).await;
}

async fn change(world: &World, change: impl Fn(&mut OrganisationSpec)) {
    let org = store::org::get(&world.store, &world.org).await.unwrap();
    let mut spec = org.spec.clone();
    change(&mut spec);
    world
        .write(async |tx| store::org::update(tx, &org, spec.clone()).await)
        .await;
}

async fn with_cookie(world: &World, app: &App, cookie: &str) -> u16 {
    let request = world.request("GET", app, "/page").header("cookie", cookie);
    request.send().await.unwrap().status().as_u16()
}

async fn with_token(world: &World, app: &App, token: &str) -> u16 {
    let request = world.request("GET", app, "/page").bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

async fn ada_signs_in_again(world: &World) {
    let mut tx = world.store.begin().await.unwrap();
    sign_in(&mut tx, &world.org, &world.ada.connection, "ada", &["staff"]).await;
    tx.commit_housekeeping().await.unwrap();
}

#[tokio::test]
async fn a_second_factor_in_one_browser_lifts_no_other_and_a_weak_sign_in_lowers_none() {
    on_each(async |world| {
        rule(world, Selector::Mfa {}).await;
        let wiki = &world.wiki;
        let (_, weak) = world.browser_by(&world.ada, wiki, by("pwd")).await;
        assert_eq!(with_cookie(world, wiki, &weak).await, 403);
        let (_, strong) = world.browser_by(&world.ada, wiki, by("pwd otp mfa")).await;
        assert_eq!(with_cookie(world, wiki, &strong).await, 200);
        assert_eq!(
            with_cookie(world, wiki, &weak).await,
            403,
            "lifted by the other session"
        );
        let event = world.events().await.remove(0);
        assert_eq!(event.reason.as_deref(), Some("organisation_floor"));
        assert_eq!(event.actor.amr, ["pwd"], "the log says on what proof");
        let (_, weak_again) = world.browser_by(&world.ada, wiki, by("pwd")).await;
        assert_eq!(with_cookie(world, wiki, &weak_again).await, 403);
        assert_eq!(
            with_cookie(world, wiki, &strong).await,
            200,
            "lowered by the other session"
        );
        // What the person's own claims say about a sign-in counts for nothing.
        let mut tx = world.store.begin().await.unwrap();
        let identity = store::user::Identity {
            connection: world.ada.connection.clone(),
            issuer: world.ada.issuer.clone(),
            subject: world.ada.subject.clone(),
            email: world.ada.email.clone(),
            email_verified: true,
            name: None,
            groups: vec!["staff".into()],
            claims: json!({"amr": ["pwd", "otp", "mfa"], "acr": "phr"})
                .as_object()
                .unwrap()
                .clone(),
        };
        store::user::sign_in(&mut tx, &world.org, identity).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert_eq!(with_cookie(world, wiki, &weak).await, 403);
    })
    .await;
}

#[tokio::test]
async fn an_agent_has_the_proof_of_the_session_in_which_its_grant_was_given() {
    on_each(async |world| {
        rule(world, Selector::Mfa {}).await;
        let wiki = &world.wiki;
        let weak = world.agent_by(&world.ada, wiki, &["access"], by("pwd")).await;
        let strong = world.agent_by(&world.ada, wiki, &["access"], by("pwd hwk")).await;
        world.browser_by(&world.ada, wiki, by("pwd otp mfa")).await;
        assert_eq!(with_token(world, wiki, &weak.token).await, 403);
        assert_eq!(with_token(world, wiki, &strong.token).await, 200);
        assert_eq!(world.events().await.remove(0).actor.amr, ["pwd", "hwk"]);
    })
    .await;
}

#[tokio::test]
async fn a_session_at_an_app_has_the_proof_of_the_session_it_came_from() {
    on_each(async |world| {
        let app = &world.notes;
        let (state, cookie) = begin(world, app, "/page").await;
        let (_, code) = hand_off(world, app, &world.ada, &state).await;
        rule(
            world,
            Selector::AuthMethod {
                amr: vec!["otp".into()],
                acr: vec![],
            },
        )
        .await;
        let answer = come_back(world, app, (&code, &state), &cookie).await;
        assert_eq!(answer.status(), 403, "handed off with a password");
        assert!(
            answer
                .headers()
                .get_all("set-cookie")
                .iter()
                .all(|cookie| { !cookie.to_str().unwrap().starts_with(&cookie_name(app, "app")) })
        );
    })
    .await;
}

#[tokio::test]
async fn what_began_before_proofs_were_kept_proves_nothing() {
    on_each(async |world| {
        let wiki = &world.wiki;
        let (id, cookie) = world.browser_by(&world.ada, wiki, by("pwd otp")).await;
        assert_eq!(with_cookie(world, wiki, &cookie).await, 200);
        rule(world, Selector::Mfa {}).await;
        assert_eq!(with_cookie(world, wiki, &cookie).await, 200);
        world
            .execute(&format!(
                "UPDATE sessions SET authentication = NULL WHERE id = '{id}'"
            ))
            .await;
        world
            .write(async |tx| {
                tx.changed(store::Change::Session(id.clone()));
                Ok(())
            })
            .await;
        assert_eq!(with_cookie(world, wiki, &cookie).await, 403);
    })
    .await;
}

#[tokio::test]
async fn after_a_week_without_the_providers_word_an_agent_stops_and_goes_on_after_the_next_sign_in() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let mut old = agent.claims.clone();
        old.exp += 30 * 86_400;
        let token = world.keyring.mint_access(&world.org, &old).unwrap();
        world
            .execute(&format!(
                "UPDATE grants SET expires_at = {} WHERE id = '{}'",
                world.clock.now().plus_seconds(30 * 86_400).0,
                agent.grant
            ))
            .await;
        assert_eq!(with_token(world, &world.wiki, &token).await, 200);
        world.advance(7 * 86_400 - 1).await;
        assert_eq!(with_token(world, &world.wiki, &token).await, 200);
        world.advance(1).await;
        let refused = world.request("GET", &world.wiki, "/page").bearer_auth(&token);
        let refused = refused.send().await.unwrap();
        assert_eq!(refused.status(), 401);
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        let event = world.events().await.remove(0);
        assert_eq!(event.reason.as_deref(), Some("proof_too_old"));
        assert_eq!(event.actor.grant.unwrap(), agent.grant, "the log says whose");
        ada_signs_in_again(world).await;
        assert_eq!(with_token(world, &world.wiki, &token).await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_browser_is_sent_to_sign_in_when_the_providers_word_is_a_day_old() {
    on_each(async |world| {
        let wiki = &world.wiki;
        let (id, cookie) = world.browser(&world.ada, wiki).await;
        world
            .execute(&format!(
                "UPDATE sessions SET expires_at = {} WHERE id = '{id}'",
                world.clock.now().plus_seconds(30 * 86_400).0
            ))
            .await;
        world.advance(86_399).await;
        assert_eq!(with_cookie(world, wiki, &cookie).await, 200);
        world.advance(1).await;
        let request = world.request("GET", wiki, "/page").header("cookie", &cookie);
        let request = request.header("sec-fetch-mode", "navigate");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 302);
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(location.contains("/signin/"), "{location}");
        assert_eq!(
            with_cookie(world, wiki, &cookie).await,
            401,
            "no page for programs"
        );
        ada_signs_in_again(world).await;
        assert_eq!(with_cookie(world, wiki, &cookie).await, 200);
    })
    .await;
}

#[tokio::test]
async fn an_app_can_be_stricter_than_its_organisation_and_not_laxer() {
    on_each(async |world| {
        change(world, |spec| {
            spec.oldest_proof = OldestProof {
                agents_seconds: 3_600,
                sessions_seconds: 3_600,
            };
        })
        .await;
        let limit = async |seconds: u32| {
            let app = store::app::get(&world.store, &world.org, &world.wiki.id)
                .await
                .unwrap();
            let spec = AppSpec {
                oldest_proof: Some(StricterProof {
                    agents_seconds: Some(seconds),
                    sessions_seconds: Some(seconds),
                }),
                ..app.spec.clone()
            };
            world
                .write(async |tx| store::app::update(tx, &app, spec.clone()).await)
                .await;
        };
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        limit(600).await;
        world.advance(599).await;
        assert_eq!(with_token(world, &world.wiki, &agent.token).await, 200);
        world.advance(1).await;
        assert_eq!(
            with_token(world, &world.wiki, &agent.token).await,
            401,
            "the app's limit"
        );
        limit(86_400).await;
        assert_eq!(with_token(world, &world.wiki, &agent.token).await, 200);
        world.advance(3_000).await;
        let fresh = world.agent(&world.ada, &world.wiki, &["access"]).await;
        assert_eq!(
            with_token(world, &world.wiki, &fresh.token).await,
            401,
            "the organisation's"
        );
    })
    .await;
}

#[tokio::test]
async fn sessions_that_end_take_nothing_of_their_proof_along() {
    on_each(async |world| {
        rule(world, Selector::Mfa {}).await;
        let (id, strong) = world.browser_by(&world.ada, &world.wiki, by("pwd otp")).await;
        let (_, weak) = world.browser_by(&world.ada, &world.wiki, by("pwd")).await;
        assert_eq!(with_cookie(world, &world.wiki, &strong).await, 200);
        world.write(async |tx| session::end(tx, &id).await).await;
        assert_eq!(with_cookie(world, &world.wiki, &weak).await, 403);
    })
    .await;
}
