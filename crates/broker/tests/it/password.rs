//! Local passwords.

use crate::browser::{Answer, Browser};
use crate::world::{OWNER, PASSWORD, World, on_each};
use http::StatusCode;

async fn attempt(browser: &mut Browser, username: &str, password: &str) -> Answer {
    let csrf = browser.get("/login").await.field("csrf");
    let fields = [
        ("csrf", csrf.as_str()),
        ("username", username),
        ("password", password),
    ];
    browser.post("/login/password", &fields).await
}

async fn reason(w: &World) -> String {
    w.last("login.failure").await.reason.unwrap()
}

#[tokio::test]
async fn the_owner_signs_in_and_lands_on_the_dashboard() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        let me = browser.get("/me").await;
        assert!(
            me.body.contains("Olga Owner") && me.body.contains("Dashboard"),
            "{}",
            me.body
        );
        let event = w.last("login.success").await;
        assert_eq!(event.actor.user.as_ref(), Some(&w.owner));
        assert!(
            attempt(&mut w.browser(), "OWNER@acme.example ", PASSWORD)
                .await
                .status
                .is_redirection()
        );
    })
    .await;
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_is_the_same() {
    on_each(async |w| {
        let wrong = attempt(&mut w.browser(), OWNER, "wrong password").await;
        assert_eq!(reason(w).await, "wrong_password");
        let unknown = attempt(&mut w.browser(), "nobody@acme.ex", "wrong password").await;
        assert_eq!(reason(w).await, "unknown_user");
        let huge = attempt(&mut w.browser(), OWNER, &"x".repeat(100_000)).await;
        for answer in [&wrong, &unknown, &huge] {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(answer.body.contains("role=\"alert\"") && answer.body.contains("do not belong together"));
        }
        let same = |answer: &Answer, name: &str| {
            let csrf = answer.field("csrf");
            answer.body.replace(name, "NAME").replace(&csrf, "CSRF")
        };
        assert_eq!(same(&wrong, OWNER), same(&unknown, "nobody@acme.ex"));
        assert!(
            !wrong.body.contains("wrong password"),
            "what was typed does not come back"
        );
    })
    .await;
}

#[tokio::test]
async fn five_failures_lock_the_person_for_longer_and_longer() {
    on_each(async |w| {
        let mut browser = w.browser();
        for _ in 0..5 {
            attempt(&mut browser, OWNER, "wrong password").await;
        }
        assert_eq!(
            attempt(&mut browser, OWNER, PASSWORD).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(reason(w).await, "locked");
        w.clock.advance(61);
        attempt(&mut browser, OWNER, "wrong password").await;
        assert_eq!(reason(w).await, "wrong_password");
        w.clock.advance(61);
        attempt(&mut browser, OWNER, PASSWORD).await;
        assert_eq!(reason(w).await, "locked", "two minutes now");
        w.clock.advance(60);
        assert_eq!(attempt(&mut browser, OWNER, PASSWORD).await.location(), "/");
        // All is forgotten.
        attempt(&mut browser, OWNER, "wrong password").await;
        assert_eq!(attempt(&mut browser, OWNER, PASSWORD).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn of_many_attempts_at_once_no_more_count_than_in_a_row() {
    on_each(async |w| {
        let mut browser = w.browser();
        let csrf = browser.get("/login").await.field("csrf");
        let fields = |password| {
            [
                ("csrf", csrf.as_str()),
                ("username", OWNER),
                ("password", password),
            ]
        };
        let wrong = fields("wrong password");
        let answers = browser.post_at_once("/login/password", &wrong, 50).await;
        assert!(answers.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
        let right = browser
            .post_at_once("/login/password", &fields(PASSWORD), 5)
            .await;
        assert!(right.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
        w.clock.advance(61);
        let reasons = w.reasons("login.failure").await;
        assert_eq!(
            (reasons["wrong_password"], reasons["locked"]),
            (20, 35),
            "{reasons:?}"
        );
        assert_eq!(attempt(&mut w.browser(), OWNER, PASSWORD).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn an_address_that_floods_must_wait_and_others_need_not() {
    on_each(async |w| {
        let mut browser = w.browser();
        for _ in 0..20 {
            let answer = attempt(&mut browser, "nobody@acme.example", "wrong password").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        let answer = attempt(&mut browser, OWNER, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let mut other = w.browser();
        other.ip = "203.0.113.9".to_owned();
        assert_eq!(attempt(&mut other, OWNER, PASSWORD).await.location(), "/");
        w.clock.advance(3);
        assert_eq!(attempt(&mut browser, OWNER, PASSWORD).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn cn4_the_form_counts_only_with_the_token_of_this_browser() {
    on_each(async |w| {
        let fields = [("username", OWNER), ("password", PASSWORD)];
        let mut browser = w.browser();
        browser
            .post("/login/password", &fields)
            .await
            .is_error(StatusCode::FORBIDDEN);
        let foreign = w.browser().get("/login").await.field("csrf");
        browser.get("/login").await;
        for csrf in ["", "x", &foreign] {
            let fields = [fields[0], fields[1], ("csrf", csrf)];
            browser
                .post("/login/password", &fields)
                .await
                .is_error(StatusCode::FORBIDDEN);
        }
        assert!(browser.get("/me").await.location().starts_with("/login"));
    })
    .await;
}

#[tokio::test]
async fn tabs_that_are_opened_at_once_sign_in_from_whichever_of_them() {
    on_each(async |w| {
        // Each tab asked without a cookie, and the browser kept the last one's.
        let first = w.browser().get("/login").await.field("csrf");
        let mut browser = w.browser();
        browser.get("/login").await;
        let fields = [
            ("username", OWNER),
            ("password", PASSWORD),
            ("csrf", first.as_str()),
        ];
        browser.sent_from = Some("same-origin");
        assert_eq!(browser.post("/login/password", &fields).await.location(), "/");
        // Whatever the token: a browser that says that another page sent the form is believed.
        let mut lured = w.browser();
        let own = lured.get("/login").await.field("csrf");
        let fields = [fields[0], fields[1], ("csrf", own.as_str())];
        for site in ["cross-site", "same-site", "junk"] {
            lured.sent_from = Some(site);
            let answer = lured.post("/login/password", &fields).await;
            answer.is_error(StatusCode::FORBIDDEN);
        }
        lured.sent_from = Some("none");
        assert_eq!(lured.post("/login/password", &fields).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn a_password_opens_no_account_that_did_not_bind_local_passwords() {
    on_each(async |w| {
        let mut browser = w.browser();
        let csrf = browser.get("/login").await.field("csrf");
        let account = w.production.to_string();
        let fields = [
            ("csrf", csrf.as_str()),
            ("username", OWNER),
            ("password", PASSWORD),
            ("account", &account),
        ];
        let answer = browser.post("/login/password", &fields).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reason(w).await, "connection_not_accepted");
    })
    .await;
}

#[tokio::test]
async fn a_disabled_owner_is_unknown() {
    on_each(async |w| {
        let role = crate::world::from(serde_json::json!({ "user": w.owner, "role": "org_auditor" }));
        let mut tx = w.store.begin().await.unwrap();
        store::org::add_member(&mut tx, &w.org, role).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        // Somebody else must be owner first.
        w.another_owner().await;

        let mut browser = w.owner().await;
        w.disable(&w.user(OWNER).await).await;
        assert!(browser.get("/me").await.location().starts_with("/login"));
        assert_eq!(
            attempt(&mut browser, OWNER, PASSWORD).await.status,
            StatusCode::UNAUTHORIZED
        );
    })
    .await;
}
