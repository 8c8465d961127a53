//! Whoever leaves the company is refused by the provider; that reaches what goes on here.

use crate::browser::Browser;
use crate::idp::{CLIENT_ID, Idp};
use crate::world::{World, from, oidc, on_each};
use http::StatusCode;
use serde_json::json;
use std::time::Duration;
use store::upstream_token;
use tokio_util::sync::CancellationToken;
use wire::{StricterProof, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);

/// Alice signed in through a connection that asks for `offline_access`, and the provider gave a refresh token.
async fn alice(w: &World) -> Browser {
    offline(w).await;
    w.idp.answer("refresh_token", json!("first"));
    w.signed_in(json!({})).await
}

async fn offline(w: &World) {
    w.configure(|spec| spec.scopes.push("offline_access".to_owned()))
        .await;
}

async fn ask(w: &World) -> Vec<String> {
    w.broker.ask_due(HOUR, &CancellationToken::new()).await.unwrap();
    w.idp.refreshed()
}

/// A browser in which Alice signs in now, whatever the time.
async fn again(w: &World) -> Browser {
    w.signed_in(now(w)).await
}

/// What a good token says at this time.
fn now(w: &World) -> serde_json::Value {
    let now = w.clock.now().seconds();
    json!({ "iat": now, "exp": now + 300 })
}

async fn is_in(browser: &mut Browser) -> bool {
    browser.get("/me").await.status == StatusCode::OK
}

async fn vouched(w: &World) -> Option<Timestamp> {
    w.user("alice").await.vouched_at
}

/// How many refresh tokens are kept; none of them in clear.
async fn kept(w: &World) -> u64 {
    let touch = "UPDATE upstream_tokens SET used_at = used_at WHERE token";
    for secret in ["first", "second"] {
        assert_eq!(
            testkit::execute(&w.url, &format!("{touch} LIKE '%{secret}%'")).await,
            0,
            "in clear"
        );
    }
    testkit::execute(&w.url, &format!("{touch} <> ''")).await
}

#[tokio::test]
async fn a_provider_that_vouches_keeps_its_word_fresh() {
    on_each(async |w| {
        let mut browser = alice(w).await;
        assert_eq!(kept(w).await, 1);
        assert!(ask(w).await.is_empty(), "just signed in");
        w.idp.on_refresh(
            200,
            json!({ "access_token": "a", "token_type": "Bearer", "refresh_token": "second" }),
        );
        w.clock.advance(3600);
        assert_eq!(ask(w).await, ["first"]);
        assert_eq!(vouched(w).await, Some(w.clock.now()));
        assert!(ask(w).await.is_empty(), "once an hour");
        w.idp.on_refresh(
            200,
            json!({ "access_token": "a", "token_type": "Bearer", "id_token": w.idp.id_token(json!({})) }),
        );
        w.clock.advance(3600);
        assert_eq!(ask(w).await, ["second"], "the next one");
        w.clock.advance(3600);
        assert_eq!(ask(w).await, ["second"], "the same where no other came");
        assert_eq!(vouched(w).await, Some(w.clock.now()));
        assert!(is_in(&mut browser).await);
        assert_eq!(kept(w).await, 1);
    })
    .await;
}

#[tokio::test]
async fn whoever_left_is_out_at_the_next_question() {
    on_each(async |w| {
        let mut browser = alice(w).await;
        let mut other = w.signed_in(json!({})).await;
        w.idp.on_refresh(400, json!({ "error": "invalid_grant" }));
        w.clock.advance(3600);
        assert_eq!(ask(w).await, ["first"]);
        assert_eq!(vouched(w).await, None);
        assert!(!is_in(&mut browser).await && !is_in(&mut other).await);
        assert!(kept(w).await == 0);
        let event = w.last("login.withdraw").await;
        assert_eq!(event.reason.as_deref(), Some("provider_withdrew"));
        assert_eq!(event.actor.email.as_deref(), Some("alice@acme.example"));
        assert_eq!(
            w.last("session.end").await.reason.as_deref(),
            Some("provider_withdrew")
        );
        w.clock.advance(3600);
        assert!(ask(w).await.is_empty(), "nothing to ask with");
        // It was a mistake, or they came back.
        let mut again = again(w).await;
        assert!(is_in(&mut again).await);
        assert!(!is_in(&mut browser).await, "came back to life");
        assert_eq!(vouched(w).await, Some(w.clock.now()));
    })
    .await;
}

#[tokio::test]
async fn only_a_clear_no_is_one() {
    on_each(async |w| {
        let mut browser = alice(w).await;
        let before = vouched(w).await;
        let of_bob = json!({ "access_token": "a", "token_type": "Bearer", "id_token": w.idp.id_token(json!({ "sub": "bob" })) });
        let of_other = json!({ "access_token": "a", "token_type": "Bearer", "id_token": w.idp.id_token(json!({ "aud": "other" })) });
        for (status, answer) in [
            (503, json!({ "error": "invalid_grant" })),
            (400, json!({ "error": "temporarily_unavailable" })),
            (401, json!({ "error": "invalid_client" })),
            (400, json!({ "error": "interaction_required" })),
            (400, json!(["invalid_grant"])),
            (429, json!({})),
            (200, of_bob),
            (200, of_other),
        ] {
            w.idp.on_refresh(status, answer.clone());
            w.clock.advance(3600);
            assert_eq!(ask(w).await, ["first"], "{answer}");
            assert_eq!(vouched(w).await, before, "{answer}");
            assert!(is_in(&mut browser).await, "{answer}");
        }
        w.idp.down(true);
        w.clock.advance(3600);
        ask(w).await;
        assert!(is_in(&mut browser).await);
        w.idp.down(false);
        w.idp.on_refresh(200, json!({ "access_token": "a", "token_type": "Bearer" }));
        w.clock.advance(3600);
        assert_eq!(ask(w).await, ["first"]);
        assert_eq!(vouched(w).await, Some(w.clock.now()));
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_a_token_vouches_for_nobody() {
    on_each(async |w| {
        let mut browser = alice(w).await;
        let before = vouched(w).await;
        for (status, answer) in [
            (200, json!({})),
            (200, json!({ "status": "maintenance" })),
            (200, json!({ "access_token": "", "token_type": "Bearer" })),
            (200, json!({ "access_token": "a" })),
            (200, json!({ "access_token": "a", "token_type": "N_A" })),
            (200, json!({ "refresh_token": "other", "token_type": "Bearer" })),
        ] {
            w.idp.on_refresh(status, answer.clone());
            w.clock.advance(3600);
            assert_eq!(ask(w).await, ["first"], "{answer}");
            assert_eq!(vouched(w).await, before, "{answer}");
            assert!(is_in(&mut browser).await, "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_kept_that_was_not_asked_for_or_is_not_needed() {
    on_each(async |w| {
        w.idp.answer("refresh_token", json!("first"));
        w.signed_in(json!({})).await;
        assert!(kept(w).await == 0, "of the provider's own session");
        offline(w).await;
        w.signed_in(json!({})).await;
        assert_eq!(kept(w).await, 1);
        w.configure(|spec| spec.scopes.retain(|scope| scope != "offline_access"))
            .await;
        w.clock.advance(3600);
        assert!(
            ask(w).await.is_empty() && kept(w).await == 0,
            "not wanted any more"
        );
        offline(w).await;
        again(w).await;
        w.clock.advance(12 * 3600);
        // Nothing of theirs goes on: the provider is not asked.
        assert!(ask(w).await.is_empty());
        assert_eq!(kept(w).await, 1);
        w.clock.advance(31 * 86_400);
        store::retention::sweep(&w.store).await.unwrap();
        assert!(kept(w).await == 0, "long unused");
        again(w).await;
        assert_eq!(kept(w).await, 1);
        w.disable(&w.user("alice").await).await;
        assert!(kept(w).await == 0, "of somebody who is switched off");
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_goes_to_nobody_but_who_gave_it() {
    on_each(async |w| {
        alice(w).await;
        let other = Idp::start(crate::world::START, vec!["client_secret_basic"]).await;
        let issuer = other.issuer().to_owned();
        w.configure(|spec| {
            spec.issuer = Some(issuer.clone());
            spec.allow_internal.push(issuer);
        })
        .await;
        w.clock.advance(3600);
        assert!(ask(w).await.is_empty() && other.asked() == 0);
        assert!(kept(w).await == 0);
    })
    .await;
}

#[tokio::test]
async fn of_several_who_ask_one_does() {
    on_each(async |w| {
        alice(w).await;
        w.idp.on_refresh(
            200,
            json!({ "access_token": "a", "token_type": "Bearer", "refresh_token": "second" }),
        );
        w.clock.advance(3600);
        let never = CancellationToken::new();
        let asked = futures_util::future::join_all((0..8).map(|_| w.broker.ask_due(HOUR, &never))).await;
        assert!(asked.iter().all(Result::is_ok));
        assert_eq!(w.idp.refreshed(), ["first"]);
    })
    .await;
}

#[tokio::test]
async fn an_answer_about_a_token_that_was_replaced_ends_nothing() {
    on_each(async |w| {
        alice(w).await;
        let user = w.user("alice").await;
        w.clock.advance(3600);
        let mut tx = w.store.begin().await.unwrap();
        let claimed = upstream_token::claim(&mut tx, &user.id, w.clock.now())
            .await
            .unwrap()
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let mut browser = again(w).await;
        let mut tx = w.store.begin().await.unwrap();
        let ended = upstream_token::withdraw(&mut tx, &claimed, &w.connection)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert!(ended.is_none() && is_in(&mut browser).await);
    })
    .await;
}

#[tokio::test]
async fn google_is_asked_in_its_own_words() {
    on_each(async |w| {
        let mut spec = oidc("Google", &w.idp);
        spec.preset = wire::Preset::GoogleWorkspace;
        spec.required_claims = from(json!({ "hd": "acme.example" }));
        spec.scopes.push("offline_access".to_owned());
        let google = w.connect(spec, None).await;
        let away = w.browser().get(&format!("/login/oidc/{}", google.id)).await;
        let query = query(away.location());
        assert_eq!(query["access_type"], "offline");
        assert_eq!(query["scope"], "openid profile email");
    })
    .await;
}

fn query(url: &str) -> std::collections::HashMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

/// A browser whose person has to be vouched for anew to open the wiki; where it is sent, and the way there.
async fn stale(w: &World) -> (Browser, String) {
    let mut browser = again(w).await;
    let wiki = store::app::get(&w.store, &w.org, &w.wiki.id).await.unwrap();
    let mut spec = wiki.spec.clone();
    spec.oldest_proof = Some(StricterProof {
        sessions_seconds: Some(3600),
        agents_seconds: None,
    });
    let mut tx = w.store.begin().await.unwrap();
    store::app::update(&mut tx, &wiki, spec).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    w.clock.advance(3600);
    // Until it has heard that nothing is new.
    while !w.store.is_current() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let wiki = format!("/signin/{}?state=s", w.wiki.id);
    let login = browser.get(&wiki).await;
    assert!(login.location().contains("renew=1"), "{}", login.location());
    let away = browser.get(login.location()).await.location().to_owned();
    (browser, away)
}

fn says(w: &World, away: &str, error: &str) -> String {
    let query = query(away);
    crate::idp::callback(
        &w.connection.id,
        &[
            ("error", error),
            ("state", &query["state"]),
            ("iss", w.idp.issuer()),
        ],
    )
}

#[tokio::test]
async fn a_word_that_is_too_old_is_renewed_unseen() {
    on_each(async |w| {
        let (mut browser, away) = stale(w).await;
        assert_eq!(
            (
                query(&away)["prompt"].as_str(),
                query(&away)["client_id"].as_str()
            ),
            ("none", CLIENT_ID)
        );
        let back = w.idp.authorize(&away, now(w));
        let back = browser.get(&back).await;
        assert!(back.location().starts_with("/signin/"), "{}", back.location());
        let there = browser.get(back.location()).await;
        assert!(
            there.location().starts_with("https://wiki.example.com"),
            "{}",
            there.location()
        );
    })
    .await;
}

#[tokio::test]
async fn whom_the_provider_has_to_ask_is_shown_the_way_in() {
    on_each(async |w| {
        for error in [
            "login_required",
            "interaction_required",
            "consent_required",
            "account_selection_required",
        ] {
            let (mut browser, away) = stale(w).await;
            let login = browser.get(&says(w, &away, error)).await;
            assert!(login.location().contains("renew=0"), "{}", login.location());
            assert!(
                login.location().contains("return_to=%2Fsignin"),
                "{}",
                login.location()
            );
            let page = browser.get(login.location()).await;
            // Not unseen once more.
            assert!(page.status == StatusCode::OK || !page.location().contains("prompt"));
        }
        let (mut browser, away) = stale(w).await;
        assert_eq!(
            browser.get(&says(w, &away, "access_denied")).await.status,
            StatusCode::FORBIDDEN
        );
    })
    .await;
}

#[tokio::test]
async fn unseen_nobody_becomes_somebody_else() {
    on_each(async |w| {
        let (mut browser, away) = stale(w).await;
        let users = w.users().await.len();
        let mut other = now(w);
        other["sub"] = json!("mallory");
        let back = w.idp.authorize(&away, other);
        let login = browser.get(&back).await;
        assert!(login.location().contains("renew=0"), "{}", login.location());
        assert!(browser.get("/me").await.body.contains("alice@acme.example"));
        assert_eq!(w.users().await.len(), users);
    })
    .await;
}
