//! What is the matter with a person and their proof.

use super::scene::{Scene, make};
use super::{Expected, Stages, allowed, case, local_case, refused, whether};
use crate::world::{identity, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::user;
use testkit::from_json;
use wire::*;

#[tokio::test]
async fn a_word_of_the_provider_that_is_too_old() {
    case("too old", refused(Reason::ProofTooOld), async |s| {
        let oldest = json!({"agents_seconds": 300, "sessions_seconds": 300});
        s.patch("/organisation", json!({ "oldest_proof": oldest })).await;
        s.wait(300).await;
    })
    .await;
}

#[tokio::test]
async fn a_second_factor_that_the_organisation_asks_for_from_now_on() {
    let expected = refused(Reason::SecondFactorMissing);
    local_case("no factor", &["pwd"], expected, async |s| {
        let on = json!({"require_second_factor": true});
        // Whoever has none would be the first to be shut out.
        let shut_out = s
            .world
            .owner(Method::PATCH, "/organisation", Some(on.clone()))
            .await;
        shut_out.refused(409, "conflict");
        s.world.own_factor().await;
        // Trying it says who loses access.
        let tried = s
            .world
            .owner(Method::PATCH, "/organisation?dry_run=true", Some(on.clone()))
            .await;
        let impact = &tried.json()["impact"];
        assert_eq!(
            (&impact["lose"]["people"], &impact["lose"]["agents"]),
            (&json!(1), &json!(1)),
            "{impact}"
        );
        assert_eq!(impact["lose"]["names"][0]["reason"], "second_factor_missing");
        s.patch("/organisation", on).await;
        // Whoever adds one has not shown it in this session.
        crate::world::add_factor(&s.world.store, &s.world.acme.org, &s.user.id).await;
    })
    .await;
}

#[tokio::test]
async fn a_second_factor_that_was_shown() {
    let strong = ["pwd", "otp", "mfa"];
    local_case("factor", &strong, allowed(), async |s| {
        s.world.own_factor().await;
        crate::world::add_factor(&s.world.store, &s.world.acme.org, &s.user.id).await;
        s.patch("/organisation", json!({"require_second_factor": true}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_second_factor_that_was_taken_away() {
    let strong = ["pwd", "otp", "mfa"];
    local_case(
        "no factor any more",
        &strong,
        refused(Reason::SecondFactorMissing),
        async |s| {
            s.world.own_factor().await;
            let factor = crate::world::add_factor(&s.world.store, &s.world.acme.org, &s.user.id).await;
            s.patch("/organisation", json!({"require_second_factor": true}))
                .await;
            let path = format!("/users/{}/factors/{factor}", s.user.id);
            let gone = s.world.owner(Method::DELETE, &path, None).await;
            assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
        },
    )
    .await;
}

/// Makes the person one of another connection, by a migration.
async fn move_over(s: &Scene<'_>) {
    let acme = &s.world.acme;
    let mut tx = s.world.store.begin().await.unwrap();
    let person = user::Identity {
        issuer: "https://next-idp.example.com".into(),
        groups: vec!["staff".into()],
        claims: from_json(json!({"groups": ["staff"]})),
        ..identity(&acme.elsewhere.id, "nina")
    };
    let twin = user::sign_in(&mut tx, &acme.org, person).await.unwrap().user;
    tx.commit_housekeeping().await.unwrap();
    let body = json!({"from": acme.connection.id, "to": acme.elsewhere.id, "domains": ["example.com"]});
    let migration: Value = make(s.world, "/connection-migrations", body).await;
    let step = async |step: &str, body: Value| {
        let path = format!(
            "/connection-migrations/{}/{step}",
            migration["id"].as_str().unwrap()
        );
        let answer = s.world.owner(Method::POST, &path, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    };
    step(
        "links",
        json!({"from_user": s.user.id, "to_user": twin.id, "state": "approved"}),
    )
    .await;
    step("cut-over", json!({})).await;
    let now = user::get(&s.world.store, &acme.org, &s.user.id)
        .await
        .unwrap()
        .user;
    assert_eq!(now.connection, acme.elsewhere.id);
}

#[tokio::test]
async fn somebody_who_comes_through_another_connection_since_a_migration() {
    case("moved", allowed(), move_over).await;
}

#[tokio::test]
async fn a_proof_that_another_connection_gave_before_a_migration() {
    case(
        "the old provider's word",
        refused(Reason::OrganisationFloor),
        async |s| {
            s.floor(json!({"type": "auth_method", "amr": ["pwd"]})).await;
            s.check("its own people's", allowed(), true).await;
            move_over(s).await;
        },
    )
    .await;
}

#[tokio::test]
async fn somebody_who_is_disabled() {
    let expected = refused(Reason::UserDisabled);
    whether(("disabled", false), expected, async |s| {
        s.behind(&format!(
            "UPDATE users SET disabled = TRUE WHERE id = '{}'",
            s.user.id
        ))
        .await;
    })
    .await;
}

/// Sets how old the provider's word may be, for agents and for sessions, and lets 300 seconds pass.
async fn older(s: &Scene<'_>, agents: u32, sessions: u32) {
    let oldest = json!({"agents_seconds": agents, "sessions_seconds": sessions});
    s.patch("/organisation", json!({ "oldest_proof": oldest })).await;
    s.wait(300).await;
}

#[tokio::test]
async fn a_word_of_the_provider_that_is_too_old_for_sessions() {
    // Consent begins in the browser.
    let expected = Expected {
        agent: Stages {
            begins: false,
            ..Stages::all(true)
        },
        ..refused(Reason::ProofTooOld)
    };
    case("too old for sessions", expected, async |s| {
        older(s, 3600, 300).await
    })
    .await;
}

#[tokio::test]
async fn a_word_of_the_provider_that_is_too_old_for_agents() {
    let expected = Expected {
        person: Stages::all(true),
        ..refused(Reason::ProofTooOld)
    };
    case("too old for agents", expected, async |s| {
        older(s, 300, 3600).await
    })
    .await;
}

#[tokio::test]
async fn a_word_of_the_provider_that_is_too_old_for_the_app() {
    case("too old for the app", refused(Reason::ProofTooOld), async |s| {
        let oldest = json!({"agents_seconds": 300, "sessions_seconds": 300});
        s.patch_app(json!({ "oldest_proof": oldest })).await;
        s.wait(300).await;
    })
    .await;
}

#[tokio::test]
async fn our_own_word_does_not_age() {
    local_case("local", &["pwd"], allowed(), async |s| older(s, 300, 300).await).await;
}

#[tokio::test]
async fn a_second_factor_is_not_asked_of_those_of_a_provider() {
    case("provider", allowed(), async |s| {
        s.world.own_factor().await;
        s.patch("/organisation", json!({"require_second_factor": true}))
            .await;
    })
    .await;
    // Though others have a local password at this app.
    case("provider, beside local people", allowed(), async |s| {
        let acme = &s.world.acme;
        let binding = json!({"connection": acme.local.id, "accounts": [acme.account.id]});
        make::<Value>(s.world, "/bindings", binding).await;
        s.world.own_factor().await;
        s.patch("/organisation", json!({"require_second_factor": true}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn somebody_of_another_organisation() {
    whether(
        ("foreign", false),
        refused(Reason::CredentialInvalid),
        async |s| {
            let (other, user) = (&s.world.other.org, &s.user.id);
            s.behind(&format!("UPDATE users SET org = '{other}' WHERE id = '{user}'"))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn somebody_is_kept_out_as_soon_as_the_api_has_said_so() {
    whether(
        ("disabled by the API", false),
        refused(Reason::UserDisabled),
        async |s| {
            s.patch(&format!("/users/{}", s.user.id), json!({"disabled": true}))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn whoever_has_yet_to_sign_in_may_do_so_in_any_way() {
    on_each(async |world| {
        let scene = Scene::new(world, &["pwd"]).await;
        // No other app of the account lets her in.
        let wiki = format!("/apps/{}", world.acme.app.id);
        scene.patch(&wiki, json!({"policies": []})).await;
        let policies = format!("/policies/{}", scene.app.spec.policies[0]);
        let tried = async |require: Value| {
            let path = format!("{policies}?dry_run=true");
            let tried = world
                .owner(Method::PATCH, &path, Some(json!({ "require": require })))
                .await;
            assert_eq!(tried.status, StatusCode::OK, "{}", tried.text);
            let impact = tried.json()["impact"].clone();
            (
                impact["lose"]["people"].clone(),
                impact["sign_in"]["lose"].clone(),
            )
        };
        // Her session has no second factor, and she can come back with one.
        assert_eq!(tried(json!([{"type": "mfa"}])).await, (json!(1), json!(0)));
        // However old the word about her is: it is said anew then.
        older(&scene, 300, 300).await;
        assert_eq!(tried(json!([{"type": "mfa"}])).await, (json!(0), json!(0)));
        let nobody = json!([{"type": "email", "email": "nobody@example.com"}]);
        assert_eq!(tried(nobody).await.1, json!(1));
    })
    .await;
}

#[tokio::test]
async fn whoever_has_yet_to_sign_in_shows_their_second_factor_then() {
    on_each(async |world| {
        let local = &world.acme.local;
        let binding = json!({"connection": local.id, "accounts": [world.acme.account.id]});
        make::<Value>(world, "/bindings", binding).await;
        let scene = Scene::through(world, local, &["pwd"]).await;
        let wiki = format!("/apps/{}", world.acme.app.id);
        scene.patch(&wiki, json!({"policies": []})).await;
        world.own_factor().await;
        scene
            .patch("/organisation", json!({"require_second_factor": true}))
            .await;
        let path = format!("/policies/{}?dry_run=true", scene.app.spec.policies[0]);
        let nobody = json!({"require": [{"type": "email", "email": "nobody@example.com"}]});
        let tried = world.owner(Method::PATCH, &path, Some(nobody)).await;
        assert_eq!(tried.status, StatusCode::OK, "{}", tried.text);
        // She has no session that counts, and could come in.
        let impact = tried.json()["impact"].clone();
        assert_eq!(impact["lose"]["people"], 0, "{impact}");
        assert_eq!(impact["sign_in"]["lose"], 1, "{impact}");
    })
    .await;
}
