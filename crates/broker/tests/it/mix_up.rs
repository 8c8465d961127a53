//! One provider's answer given for another's (RFC 9700, section 4.4): somebody administers a connection of their own, and
//! its provider hands the browser on to the honest one.
//!
//! The attacker has begun a sign-in through the honest connection, so that nonce and challenge are those of an attempt
//! which they can finish; the state is that of the victim's attempt through the attacker's connection. Would the honest
//! code come back for that attempt, it went to the attacker's token endpoint.

use crate::browser::{Answer, Browser};
use crate::github::{self, GitHub};
use crate::idp::{CLIENT_ID, Idp, with_query};
use crate::world::{CONTROL, START, World, oidc, on_each};
use http::StatusCode;
use serde_json::json;
use std::collections::HashMap;
use url::Url;
use wire::{Callback, Connection, ConnectionId, ConnectionSpec, Outcome, TrialState};

fn query(location: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("https://x{location}")).or_else(|_| Url::parse(location));
    url.unwrap().query_pairs().into_owned().collect()
}

/// A way back, without what names its issuer.
fn nameless(back: &str) -> String {
    let (path, _) = back.split_once('?').unwrap();
    let kept = query(back);
    with_query(path, &[("code", &kept["code"]), ("state", &kept["state"])])
}

/// A provider that never says whose its answers are, as several large ones do.
fn says_no_issuer(idp: &Idp) {
    idp.say("authorization_response_iss_parameter_supported", json!(false));
}

/// A connection of the account Labs, whose administrator is the attacker.
async fn of_labs(w: &World, spec: ConnectionSpec) -> Connection {
    let mut tx = w.store.begin().await.unwrap();
    let made = store::connection::create(&mut tx, &w.org, Some(&w.labs), spec).await;
    tx.commit_housekeeping().await.unwrap();
    made.unwrap()
}

/// What the attacker's provider answers to the victim: on to the honest one, as if the honest connection asked.
async fn handed_on(w: &World, away: &str, redirect_uri: &str) -> String {
    let mut attacker = w.browser();
    let own = attacker.get(&format!("/login/oidc/{}", w.connection.id)).await;
    hand_on(w, &query(own.location()), away, redirect_uri)
}

/// With nonce and challenge of the attacker's own attempt.
fn hand_on(w: &World, own: &HashMap<String, String>, away: &str, redirect_uri: &str) -> String {
    let victim = query(away);
    let pairs = [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", redirect_uri),
        ("scope", "openid profile email"),
        ("state", &victim["state"]),
        ("nonce", &own["nonce"]),
        ("code_challenge", &own["code_challenge"]),
        ("code_challenge_method", "S256"),
    ];
    with_query(&format!("{}/authorize", w.idp.issuer()), &pairs)
}

async fn refused(w: &World, answer: &Answer, connection: &ConnectionId, reason: &str) {
    answer.is_error(StatusCode::FORBIDDEN);
    let event = w.last("login.failure").await;
    assert_eq!(event.outcome, Outcome::Failure);
    assert_eq!(event.reason.as_deref(), Some(reason));
    assert_eq!(event.target.unwrap().id, connection.to_string());
}

async fn nobody(browser: &mut Browser) {
    assert!(browser.get("/me").await.location().starts_with("/login"));
}

#[tokio::test]
async fn mix_up_the_honest_code_goes_to_nobody_else() {
    on_each(async |w| {
        says_no_issuer(&w.idp);
        let hostile = Idp::start(START, vec!["client_secret_basic"]).await;
        says_no_issuer(&hostile);
        let evil = of_labs(w, oidc("Evil", &hostile)).await;
        let honest_uri = w.connection.redirect_uri.as_str();
        let shared = format!("{CONTROL}/login/callback");
        for (redirect_uri, iss) in [
            // The one that the honest provider has registered, and the one that it may have left from earlier days.
            (honest_uri, None),
            (shared.as_str(), None),
            (shared.as_str(), Some(w.idp.issuer())),
            (shared.as_str(), Some(hostile.issuer())),
            (honest_uri, Some(hostile.issuer())),
        ] {
            let mut victim = w.browser();
            let start = format!("/login/oidc/{}?account={}", evil.id, w.labs);
            let away = victim.get(&start).await.location().to_owned();
            assert_eq!(query(&away)["redirect_uri"], evil.redirect_uri);
            let onwards = handed_on(w, &away, redirect_uri).await;
            let back = nameless(&w.idp.authorize(&onwards, json!({"sub": "victim"})));
            let back = match iss {
                Some(iss) => format!("{back}&iss={iss}"),
                None => back,
            };
            refused(w, &victim.get(&back).await, &evil.id, "callback_mismatch").await;
            // Beyond the minute in which refusals that are alike are counted.
            w.clock.advance(61);
            // The attempt is over; the same answer again is nobody's.
            victim.get(&back).await.is_error(StatusCode::FORBIDDEN);
            nobody(&mut victim).await;
        }
        assert!(hostile.redeemed().is_empty(), "{:?}", hostile.redeemed());
        assert!(w.users().await.iter().all(|user| user.subject != "victim"));
    })
    .await;
}

#[tokio::test]
async fn mix_up_a_provider_that_takes_any_redirect_uri_below_ours_gives_itself_away() {
    on_each(async |w| {
        // The honest provider accepts the hostile connection's redirect URI (a wildcard, or what is below the one that is
        // registered), but says who it is.
        says_no_issuer(&w.idp);
        let hostile = Idp::start(START, vec!["client_secret_basic"]).await;
        says_no_issuer(&hostile);
        let evil = of_labs(w, oidc("Evil", &hostile)).await;
        let mut victim = w.browser();
        let start = format!("/login/oidc/{}?account={}", evil.id, w.labs);
        let away = victim.get(&start).await.location().to_owned();
        let onwards = handed_on(w, &away, &evil.redirect_uri).await;
        let back = w.idp.authorize(&onwards, json!({"sub": "victim"}));
        refused(w, &victim.get(&back).await, &evil.id, "issuer_mismatch").await;
        assert!(hostile.redeemed().is_empty());

        // One that does not say so loses the code, but it is worth nothing: it was for another redirect URI.
        let away = victim.get(&start).await.location().to_owned();
        let mut attacker = w.browser();
        let own = attacker.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let own = query(own.location());
        let onwards = hand_on(w, &own, &away, &evil.redirect_uri);
        let back = nameless(&w.idp.authorize(&onwards, json!({"sub": "victim"})));
        let code = query(&back)["code"].clone();
        victim.get(&back).await.is_error(StatusCode::BAD_GATEWAY);
        assert_eq!(hostile.redeemed(), std::slice::from_ref(&code), "it has the code");
        let path = format!("/login/callback/{}", w.connection.id);
        let stolen = with_query(&path, &[("code", &code), ("state", &own["state"])]);
        attacker.get(&stolen).await.is_error(StatusCode::BAD_GATEWAY);
        nobody(&mut attacker).await;
    })
    .await;
}

#[tokio::test]
async fn mix_up_between_connections_that_still_share_a_redirect_uri() {
    on_each(async |w| {
        let hostile = Idp::start(START, vec!["client_secret_basic"]).await;
        says_no_issuer(&hostile);
        w.configure(|spec| spec.callback = Callback::Shared).await;
        let spec = ConnectionSpec {
            callback: Callback::Shared,
            ..oidc("Evil", &hostile)
        };
        let evil = of_labs(w, spec).await;
        let shared = format!("{CONTROL}/login/callback");
        let start = format!("/login/oidc/{}?account={}", evil.id, w.labs);
        for (names_itself, reason) in [(false, "issuer_missing"), (true, "issuer_mismatch")] {
            let mut victim = w.browser();
            let away = victim.get(&start).await.location().to_owned();
            assert_eq!(query(&away)["redirect_uri"], shared);
            let onwards = handed_on(w, &away, &shared).await;
            let back = w.idp.authorize(&onwards, json!({"sub": "victim"}));
            let back = if names_itself { back } else { nameless(&back) };
            refused(w, &victim.get(&back).await, &evil.id, reason).await;
            nobody(&mut victim).await;
        }
        assert!(hostile.redeemed().is_empty());
    })
    .await;
}

#[tokio::test]
async fn mix_up_with_github_on_either_side() {
    on_each(async |w| {
        says_no_issuer(&w.idp);
        // A hostile "Enterprise server" before the honest provider …
        let hub = GitHub::start().await;
        let evil = github::connect(w, &hub, &[]).await;
        let mut victim = w.browser();
        let start = format!("/login/oidc/{}?account={}", evil.id, w.production);
        let away = victim.get(&start).await.location().to_owned();
        assert!(away.starts_with(hub.origin()), "{away}");
        let onwards = handed_on(w, &away, &w.connection.redirect_uri).await;
        let back = nameless(&w.idp.authorize(&onwards, json!({"sub": "victim"})));
        refused(w, &victim.get(&back).await, &evil.id, "callback_mismatch").await;
        assert!(hub.redeemed().is_empty());

        // … and a hostile provider before GitHub.
        let hostile = Idp::start(START, vec!["client_secret_basic"]).await;
        says_no_issuer(&hostile);
        let honest = evil;
        let evil = of_labs(w, oidc("Evil", &hostile)).await;
        let start = format!("/login/oidc/{}?account={}", evil.id, w.labs);
        let away = victim.get(&start).await.location().to_owned();
        let mut attacker = w.browser();
        let own = format!("/login/oidc/{}", honest.id);
        let own = attacker.get(&own).await.location().to_owned();
        let onwards = own.replace(&query(&own)["state"], &query(&away)["state"]);
        let back = hub.authorize(&onwards);
        refused(w, &victim.get(&back).await, &evil.id, "callback_mismatch").await;
        assert!(hostile.redeemed().is_empty() && hub.redeemed().is_empty());
        nobody(&mut victim).await;

        // GitHub answers at what is below the registered URI, and says who it is.
        let away = victim.get(&start).await.location().to_owned();
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let onwards = own
            .replace(&query(&own)["state"], &query(&away)["state"])
            .replace(&encode(&honest.redirect_uri), &encode(&evil.redirect_uri));
        let iss = [("iss", &*format!("{}/login/oauth", hub.origin()))];
        let iss = with_query("", &iss).replace('?', "&");
        let back = format!("{}{iss}", hub.authorize(&onwards));
        refused(w, &victim.get(&back).await, &evil.id, "issuer_mismatch").await;
        assert!(hostile.redeemed().is_empty());
    })
    .await;
}

#[tokio::test]
async fn github_with_the_shared_redirect_uri_must_name_itself_and_its_own_needs_not() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let made = github::connect(w, &hub, &[]).await;
        let shared = change(w, &made, |spec| spec.callback = Callback::Shared).await;
        let start = format!("/login/oidc/{}", shared.id);
        let mut browser = w.browser();
        let back = hub.authorize(browser.get(&start).await.location());
        assert!(back.starts_with("/login/callback?"), "{back}");
        refused(w, &browser.get(&back).await, &shared.id, "issuer_missing").await;
        assert!(hub.redeemed().is_empty());
        for iss in [hub.origin().to_owned(), format!("{}/login/oauth", hub.origin())] {
            let mut browser = w.browser();
            let back = hub.authorize(browser.get(&start).await.location());
            assert_eq!(browser.get(&format!("{back}&iss={iss}")).await.location(), "/me");
        }
        change(w, &shared, |spec| spec.callback = Callback::Own).await;
        let back = hub.authorize(browser.get(&start).await.location());
        assert!(
            back.starts_with(&format!("/login/callback/{}?", shared.id)),
            "{back}"
        );
        assert_eq!(browser.get(&back).await.location(), "/me");
    })
    .await;
}

/// Changes a connection.
async fn change(w: &World, connection: &Connection, change: impl FnOnce(&mut ConnectionSpec)) -> Connection {
    let connection = store::connection::get(&w.store, &w.org, &connection.id)
        .await
        .unwrap();
    let mut spec = connection.spec.clone();
    change(&mut spec);
    let mut tx = w.store.begin().await.unwrap();
    let changed = store::connection::update(&mut tx, &connection, spec).await;
    tx.commit_housekeeping().await.unwrap();
    changed.unwrap()
}

#[tokio::test]
async fn mix_up_in_a_trial_of_a_connection() {
    on_each(async |w| {
        says_no_issuer(&w.idp);
        let hostile = Idp::start(START, vec!["client_secret_basic"]).await;
        says_no_issuer(&hostile);
        let evil = of_labs(w, oidc("Evil", &hostile)).await;
        let mut tx = w.store.begin().await.unwrap();
        let made = (TrialState::Waiting, vec![]);
        let place = (&w.org, &evil.id);
        let trial = store::trial::create(&mut tx, place, &store::sha256("link"), made).await;
        tx.commit_housekeeping().await.unwrap();
        let mut victim = w.browser();
        let csrf = victim.get("/login/trial/link").await.field("csrf");
        let away = victim.post("/login/trial/link", &[("csrf", &csrf)]).await;
        let onwards = handed_on(w, away.location(), &w.connection.redirect_uri).await;
        let back = nameless(&w.idp.authorize(&onwards, json!({"sub": "victim"})));
        let page = victim.get(&back).await;
        assert!(page.body.contains("The test failed"), "{}", page.body);
        assert!(hostile.redeemed().is_empty());
        let trial = store::trial::get(&w.store, place, &trial.unwrap().id)
            .await
            .unwrap();
        assert_eq!((trial.state, trial.identity), (TrialState::Failed, None));
        assert_eq!(trial.trace.last().unwrap().name, "callback");
        let event = w.last("connection.trial").await;
        assert_eq!(event.reason.as_deref(), Some("callback_mismatch"));
    })
    .await;
}

#[tokio::test]
async fn a_trial_takes_the_answer_of_the_run_that_it_waits_for() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        let made = (TrialState::Waiting, vec![]);
        let place = (&w.org, &w.connection.id);
        let trial = store::trial::create(&mut tx, place, &store::sha256("link"), made).await;
        let trial = trial.unwrap().id;
        let other = (TrialState::Waiting, vec![]);
        store::trial::create(&mut tx, place, &store::sha256("other"), other)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let begin = async |browser: &mut Browser| {
            let csrf = browser.get("/login/trial/link").await.field("csrf");
            browser.post("/login/trial/link", &[("csrf", &csrf)]).await
        };
        let (mut first, mut second) = (w.browser(), w.browser());
        let away = begin(&mut first).await;
        let late = w.idp.authorize(away.location(), json!({"sub": "first"}));
        let away = begin(&mut second).await;
        first.get(&late).await.is_error(StatusCode::CONFLICT);
        assert!(w.idp.redeemed().is_empty(), "nobody was asked");
        let back = w.idp.authorize(away.location(), json!({"sub": "second"}));
        assert!(second.get(&back).await.body.contains("Everything fits"));
        let trial = store::trial::get(&w.store, place, &trial).await.unwrap();
        assert_eq!(trial.identity.unwrap().subject, "second");
        let callbacks = trial.trace.iter().filter(|step| step.name == "callback");
        assert_eq!(callbacks.count(), 1);

        // A form of one trial begins no other.
        let csrf = first.get("/login/trial/link").await.field("csrf");
        let other = first.post("/login/trial/other", &[("csrf", &csrf)]).await;
        other.is_error(StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_ends_when_its_connection_leads_elsewhere() {
    type Change = fn(&mut ConnectionSpec, &str);
    let changes: [Change; 3] = [
        |spec, other| {
            spec.issuer = Some(other.to_owned());
            spec.allow_internal.push(other.to_owned());
        },
        |spec, _| spec.client_id = Some("another".to_owned()),
        |spec, _| spec.callback = Callback::Shared,
    ];
    on_each(async |w| {
        let other = Idp::start(START, vec!["client_secret_basic"]).await;
        let start = format!("/login/oidc/{}", w.connection.id);
        for change in changes {
            let mut browser = w.browser();
            let back = w.idp.authorize(browser.get(&start).await.location(), json!({}));
            let before = store::connection::get(&w.store, &w.org, &w.connection.id)
                .await
                .unwrap();
            w.configure(|spec| change(spec, other.issuer())).await;
            let answer = browser.get(&back).await;
            assert!(answer.status.is_client_error(), "{}", answer.body);
            nobody(&mut browser).await;
            w.configure(|spec| *spec = before.spec).await;
        }
        assert!(w.idp.redeemed().is_empty() && other.redeemed().is_empty());
        assert_eq!(other.asked(), 0);
        w.clock.advance(61);
        let reasons = w.reasons("login.failure").await;
        assert_eq!(reasons["connection_changed"], 2, "{reasons:?}");
        // What concerns other things does not disturb anybody.
        let mut browser = w.browser();
        let back = w.idp.authorize(browser.get(&start).await.location(), json!({}));
        w.configure(|spec| spec.name = "Renamed".to_owned()).await;
        assert_eq!(browser.get(&back).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn an_older_connection_works_as_before_until_it_is_switched() {
    on_each(async |w| {
        let warned = async || {
            let connection = store::connection::get(&w.store, &w.org, &w.connection.id)
                .await
                .unwrap();
            let own = format!("{CONTROL}/login/callback/{}", connection.id);
            assert_eq!(connection.redirect_uri, own, "what is to be registered");
            let mut warnings = connection.warnings.into_iter();
            warnings.find(|w| w.code == wire::ConnectionWarningCode::SharedCallback)
        };
        assert_eq!(warned().await, None);
        w.configure(|spec| spec.callback = Callback::Shared).await;
        assert!(warned().await.unwrap().detail.contains("(iss)"));
        let start = format!("/login/oidc/{}", w.connection.id);
        let mut browser = w.browser();
        let away = browser.get(&start).await.location().to_owned();
        let back = w.idp.authorize(&away, json!({}));
        assert!(back.starts_with("/login/callback?"), "{back}");
        // Its answers do not count where it never sent anybody.
        let moved = back.replace(
            "/login/callback?",
            &format!("/login/callback/{}?", w.connection.id),
        );
        let refusal = browser.get(&moved).await;
        refused(w, &refusal, &w.connection.id, "callback_mismatch").await;
        let back = w.idp.authorize(browser.get(&start).await.location(), json!({}));
        assert_eq!(browser.get(&back).await.location(), "/me");

        // Without its name an answer is none, and what an administrator reads says what to do.
        says_no_issuer(&w.idp);
        w.configure(|spec| spec.name = "Acme SSO again".to_owned()).await;
        let mut browser = w.browser();
        let back = w.idp.authorize(browser.get(&start).await.location(), json!({}));
        let redeemed = w.idp.redeemed().len();
        let refusal = browser.get(&nameless(&back)).await;
        refused(w, &refusal, &w.connection.id, "issuer_missing").await;
        assert_eq!(w.idp.redeemed().len(), redeemed);
        let connection = store::connection::get(&w.store, &w.org, &w.connection.id)
            .await
            .unwrap();
        assert!(
            connection
                .last_error
                .unwrap()
                .contains("give the connection its own")
        );

        w.configure(|spec| spec.callback = Callback::Own).await;
        assert_eq!(warned().await, None);
        let back = w.idp.authorize(browser.get(&start).await.location(), json!({}));
        assert!(
            back.starts_with(&format!("/login/callback/{}?", w.connection.id)),
            "{back}"
        );
        assert_eq!(browser.get(&nameless(&back)).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn what_comes_twice_or_to_no_connection_is_no_answer() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        let mut browser = w.browser();
        let back = w.idp.authorize(browser.get(&start).await.location(), json!({}));
        for (wrong, status) in [
            (
                back.replace(w.connection.id.as_ref(), "con_x"),
                StatusCode::NOT_FOUND,
            ),
            (format!("{back}&state=x"), StatusCode::BAD_REQUEST),
            (format!("{back}&code=x"), StatusCode::BAD_REQUEST),
            (format!("{back}&iss=x"), StatusCode::BAD_REQUEST),
        ] {
            browser.get(&wrong).await.is_error(status);
        }
        // None of these has touched the attempt; an unknown connection's redirect URI ends it.
        let unknown = back.replace(w.connection.id.as_ref(), ConnectionId::fresh().as_ref());
        let refusal = browser.get(&unknown).await;
        refused(w, &refusal, &w.connection.id, "callback_mismatch").await;
        browser.get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert!(w.idp.redeemed().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_answer_serves_what_was_asked_for_and_nothing_else() {
    on_each(async |w| {
        // One browser signs in, confirms and tries, all at once; each answer does its own.
        let mut browser = w.signed_in(json!({})).await;
        let csrf = browser.get("/login/confirm").await.field("csrf");
        let confirming = browser.post("/login/confirm/provider", &[("csrf", &csrf)]).await;
        let now = w.clock.now().seconds();
        let confirming = w.idp.authorize(confirming.location(), json!({"auth_time": now}));
        let other = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let other = w
            .idp
            .authorize(other.location(), json!({"sub": "bob", "auth_time": now}));
        assert_eq!(browser.get(&other).await.location(), "/me");
        assert!(
            w.reasons("login.confirm").await.is_empty(),
            "a sign-in confirms nothing"
        );
        // Bob's session is not the one that was to be confirmed.
        browser.get(&confirming).await.is_error(StatusCode::FORBIDDEN);
        assert!(w.reasons("login.confirm").await.is_empty());
    })
    .await;
}
