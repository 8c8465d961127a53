//! Proving once more who one is.

use crate::browser::{Answer, Browser};
use crate::world::{PASSWORD, START, World, on_each};
use http::StatusCode;
use serde_json::{Value, json};

/// Whether the session counts as fresh: the page for second factors asks when it does not.
async fn is_recent(browser: &mut Browser) -> bool {
    browser.get("/me/security").await.status == StatusCode::OK
}

async fn confirm(browser: &mut Browser, password: &str) -> Answer {
    let page = browser.get("/login/confirm?return_to=%2Fme%2Fsecurity").await;
    let fields = [
        ("csrf", &*page.field("csrf")),
        ("password", password),
        ("return_to", "/me/security"),
    ];
    browser.post("/login/confirm", &fields).await
}

#[tokio::test]
async fn a_password_is_asked_for_again_after_15_minutes() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        w.clock.advance(15 * 60 - 1);
        assert!(is_recent(&mut browser).await);
        w.clock.advance(1);
        let sent = browser.get("/me/security").await;
        assert_eq!(sent.location(), "/login/confirm?return_to=%2Fme%2Fsecurity");

        let wrong = confirm(&mut browser, "wrong password").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(w.last("login.failure").await.reason.unwrap(), "wrong_password");
        assert!(!is_recent(&mut browser).await);

        let before = w.last("login.success").await;
        assert_eq!(confirm(&mut browser, PASSWORD).await.location(), "/me/security");
        assert!(is_recent(&mut browser).await);
        let event = w.last("login.confirm").await;
        assert_eq!(
            event.actor.session, before.actor.session,
            "the same session goes on"
        );
        w.clock.advance(15 * 60);
        assert!(!is_recent(&mut browser).await);
    })
    .await;
}

#[tokio::test]
async fn cn4_a_proof_needs_the_token_of_the_form() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        let fields = [("password", PASSWORD), ("return_to", "/me")];
        browser
            .post("/login/confirm", &fields)
            .await
            .is_error(StatusCode::FORBIDDEN);
        let nobody = w.browser().get("/login/confirm?return_to=//evil").await;
        assert_eq!(nobody.location(), "/login");
        w.browser()
            .post("/login/confirm", &fields)
            .await
            .is_error(StatusCode::FORBIDDEN);
    })
    .await;
}

/// Presses the button that leads to the provider.
async fn go(browser: &mut Browser) -> Answer {
    let page = browser.get("/login/confirm?return_to=%2Fme%2Fsecurity").await;
    assert!(
        page.body.contains("action=\"/login/confirm/provider\""),
        "{}",
        page.body
    );
    let (csrf, return_to) = (page.field("csrf"), page.field("return_to"));
    let fields = [("csrf", &*csrf), ("return_to", &*return_to)];
    browser.post("/login/confirm/provider", &fields).await
}

/// Goes to the provider to confirm, and comes back with these claims.
async fn by_provider(w: &World, browser: &mut Browser, claims: Value) -> Answer {
    let away = go(browser).await;
    let url = away.location();
    assert!(url.contains("prompt=login") && url.contains("max_age=0"), "{url}");
    let now = w.clock.now().seconds();
    let mut all = json!({ "iat": now, "exp": now + 300 });
    all.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    let back = w.idp.authorize(url, all);
    browser.get(&back).await
}

#[tokio::test]
async fn the_provider_is_told_to_ask_again() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        w.clock.advance(16 * 60);
        let mut session = browser.get("/me").await.body;
        assert!(session.contains("Sign out"));
        let now = w.clock.now().seconds();
        let answer = by_provider(w, &mut browser, json!({ "auth_time": now })).await;
        assert_eq!(answer.location(), "/me/security");
        assert!(w.last("login.confirm").await.actor.session.is_some());
        let confirmed = w.last("login.confirm").await.id;
        w.clock.advance(16 * 60);
        // An answer out of the provider's memory, or one that does not say when it asked, is no proof.
        for claims in [json!({ "auth_time": START }), json!({})] {
            let refused = by_provider(w, &mut browser, claims).await;
            refused.is_error(StatusCode::FORBIDDEN);
            assert!(
                refused.body.contains("Sign out and sign in again"),
                "{}",
                refused.body
            );
            let event = w.last("login.failure").await;
            assert_eq!(event.reason.as_deref(), Some("confirmation_unproven"));
            assert_eq!(w.last("login.confirm").await.id, confirmed);
        }
        // A form with the token of this session, not a link, leads there.
        let fields = [("return_to", "/me/security")];
        let forged = browser.post("/login/confirm/provider", &fields).await;
        forged.is_error(StatusCode::FORBIDDEN);
        session = browser.get("/me").await.body;
        assert!(session.contains("Sign out"), "the session itself goes on");
    })
    .await;
}

#[tokio::test]
async fn somebody_else_confirms_nothing() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let alice = w.user("alice").await;
        w.clock.advance(16 * 60);
        let now = w.clock.now().seconds();
        by_provider(w, &mut browser, json!({ "sub": "bob", "auth_time": now }))
            .await
            .is_error(StatusCode::FORBIDDEN);
        let event = w.last("login.failure").await;
        assert_eq!(event.reason.as_deref(), Some("confirmed_by_other"));
        assert!(
            w.users().await.iter().all(|user| user.subject != "bob"),
            "nobody is made"
        );
        // Whoever signed in meanwhile is not confirmed by an attempt from before.
        let page = go(&mut browser).await;
        let claims = json!({ "iat": now, "exp": now + 300, "auth_time": now });
        let back = w.idp.authorize(page.location(), claims);
        let away = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let bob = w.idp.authorize(
            away.location(),
            json!({ "sub": "bob", "iat": now, "exp": now + 300 }),
        );
        assert_eq!(browser.get(&bob).await.location(), "/me");
        browser.get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert_ne!(w.user("bob").await.id, alice.id);
    })
    .await;
}
