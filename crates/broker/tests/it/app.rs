//! Signing a browser in to an app.

use crate::idp::Idp;
use crate::world::{START, World, oidc, on_each};
use http::StatusCode;
use serde_json::json;
use std::collections::HashMap;
use url::Url;
use wire::{Outcome, Role};

fn sign_in(w: &World, state: &str) -> String {
    format!("/signin/{}?state={state}&return_to=%2Fpage", w.wiki.id)
}

/// The handoff code that a redirect carries.
#[track_caller]
fn code(location: &str) -> (String, String) {
    let url = Url::parse(location).unwrap();
    assert_eq!(url.origin().ascii_serialization(), "https://wiki.example.com");
    assert_eq!(url.path(), "/.chatelaine/callback");
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    (query["code"].clone(), query["state"].clone())
}

async fn redeem(w: &World, code: &str, app: &wire::AppId, state: &str) -> bool {
    let mut tx = w.store.begin().await.unwrap();
    let hash = store::sha256(code);
    let handoff = store::session::redeem_handoff(&mut tx, &hash, app, &store::sha256(state))
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    handoff.is_some()
}

#[tokio::test]
async fn an_app_sends_people_through_sign_in_and_gets_a_code_that_works_once() {
    on_each(async |w| {
        let mut browser = w.browser();
        let here = sign_in(w, "s1");
        let login = browser.get(&here).await.location().to_owned();
        let url = Url::parse(&format!("https://x{login}")).unwrap();
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(
            (query["account"].as_str(), query["return_to"].as_str()),
            (w.production.as_ref(), here.as_str())
        );
        let away = browser.get(&login).await.location().to_owned();
        let away = browser.get(&away).await;
        let back = w.idp.authorize(away.location(), json!({}));
        let back = browser.get(&back).await;
        assert_eq!(back.location(), here);
        let done = browser.get(&here).await;
        assert_eq!(done.headers["referrer-policy"], "no-referrer");
        let (code, state) = code(done.location());
        assert_eq!(state, "s1");

        assert!(!redeem(w, &code, &w.wiki.id, "another").await);
        assert!(!redeem(w, &code, &wire::AppId::fresh(), "s1").await);
        assert!(redeem(w, &code, &w.wiki.id, "s1").await);
        assert!(!redeem(w, &code, &w.wiki.id, "s1").await);

        let event = w.last("app.sign_in").await;
        assert_eq!(event.outcome, Outcome::Allowed);
        assert_eq!(event.account.as_ref(), Some(&w.production));
        assert_eq!(event.target.unwrap().app.as_ref(), Some(&w.wiki.id));
        assert_eq!(event.reason.as_deref(), Some("policy_allowed"));
        assert_eq!(event.rule.unwrap().name, "Staff");
    })
    .await;
}

#[tokio::test]
async fn a_code_dies_after_a_minute_and_with_its_session() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let (late, _) = code(browser.get(&sign_in(w, "s")).await.location());
        w.clock.advance(61);
        assert!(!redeem(w, &late, &w.wiki.id, "s").await);
    })
    .await;
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let (code, _) = code(browser.get(&sign_in(w, "s")).await.location());
        let csrf = browser.get("/logout").await.field("csrf");
        browser.post("/logout", &[("csrf", &csrf)]).await;
        assert!(!redeem(w, &code, &w.wiki.id, "s").await);
    })
    .await;
}

#[tokio::test]
async fn somebody_whom_a_rule_refuses_reads_why_and_whom_to_ask() {
    on_each(async |w| {
        let mut carl = w
            .signed_in(json!({"sub": "carl", "groups": ["contractors"]}))
            .await;
        let page = carl.get(&sign_in(w, "s")).await;
        page.is_error(StatusCode::FORBIDDEN);
        assert!(page.body.contains("administrators of Acme"), "{}", page.body);
        assert!(
            !page.body.contains("No contractors"),
            "the rule is for administrators"
        );
        let event = w.last("app.sign_in").await;
        assert_eq!(event.outcome, Outcome::Denied);
        assert_eq!(event.reason.as_deref(), Some("policy_denied"));
        assert_eq!(event.rule.unwrap().name, "No contractors");
        assert_eq!(event.actor.user, Some(w.user("carl").await.id));

        for (role, account, sees) in [
            (Role::AccountAuditor, Some(&w.labs), false),
            (Role::AccountAuditor, Some(&w.production), true),
        ] {
            let member = json!({ "user": w.user("carl").await.id, "role": role, "account": account });
            let mut tx = w.store.begin().await.unwrap();
            store::org::add_member(&mut tx, &w.org, crate::world::from(member))
                .await
                .unwrap();
            tx.commit_housekeeping().await.unwrap();
            let page = carl.get(&sign_in(w, "s")).await;
            assert_eq!(page.body.contains("No contractors"), sees);
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_came_through_a_connection_that_the_account_does_not_accept_signs_in_again() {
    on_each(async |w| {
        let other = Idp::start(START, vec!["client_secret_basic"]).await;
        let partner = w.connect(oidc("Partner", &other), None).await;
        let mut browser = w.browser();
        let away = browser.get(&format!("/login/oidc/{}", partner.id)).await;
        let back = other.authorize(away.location(), json!({}));
        browser.get(&back).await.location();
        let login = browser.get(&sign_in(w, "s")).await;
        assert!(
            login
                .location()
                .starts_with(&format!("/login?account={}", w.production))
        );
        // The owner's local session opens no app either.
        let login = w.owner().await.get(&sign_in(w, "s")).await;
        assert!(login.location().starts_with("/login?account="));
    })
    .await;
}

#[tokio::test]
async fn a_switched_off_app_lets_nobody_in() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let mut spec = w.wiki.spec.clone();
        spec.enabled = false;
        let mut tx = w.store.begin().await.unwrap();
        store::app::update(&mut tx, &w.wiki, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        browser
            .get(&sign_in(w, "s"))
            .await
            .is_error(StatusCode::FORBIDDEN);
        assert_eq!(w.last("app.sign_in").await.reason.as_deref(), Some("disabled"));
        w.browser()
            .get(&sign_in(w, "s"))
            .await
            .is_error(StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn a_missing_or_odd_state_is_refused() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let long = "x".repeat(513);
        for state in ["", "a%20b", "a%0db", &long] {
            browser
                .get(&sign_in(w, state))
                .await
                .is_error(StatusCode::BAD_REQUEST);
        }
    })
    .await;
}
