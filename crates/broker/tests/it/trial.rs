//! Trying a connection by a link: the real way through the provider, and nobody signed in.

use crate::browser::{Answer, Browser};
use crate::idp::{CLIENT_ID, CLIENT_SECRET, Signing};
use crate::world::{World, on_each};
use http::StatusCode;
use serde_json::{Value, json};
use wire::{Outcome, StepState, Trial, TrialId, TrialState, TrialStep};

const TOKEN: &str = "trial-token-of-forty-three-characters-or-so";

/// A trial, as the API makes one.
async fn trial(w: &World, token: &str) -> TrialId {
    let mut tx = w.store.begin().await.unwrap();
    let place = (&w.org, &w.connection.id);
    let hash = store::sha256(token);
    let made = store::trial::create(&mut tx, place, &hash, (TrialState::Waiting, vec![]));
    let id = made.await.unwrap().id;
    tx.commit_housekeeping().await.unwrap();
    id
}

async fn stored(w: &World, id: &TrialId) -> Trial {
    store::trial::get(&w.store, (&w.org, &w.connection.id), id)
        .await
        .unwrap()
}

/// Opens the link and presses the button.
async fn begin(browser: &mut Browser, token: &str) -> Answer {
    let path = format!("/login/trial/{token}");
    let csrf = browser.get(&path).await.field("csrf");
    browser.post(&path, &[("csrf", &csrf)]).await
}

#[track_caller]
fn failing(trial: &Trial) -> &TrialStep {
    let failed: Vec<_> = trial
        .trace
        .iter()
        .filter(|s| s.state == StepState::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{:#?}", trial.trace);
    assert_eq!(trial.trace.last(), failed.first().copied(), "it ends there");
    assert_eq!(trial.state, TrialState::Failed);
    failed[0]
}

#[tokio::test]
async fn anybody_with_the_link_tries_a_disabled_connection_and_is_signed_in_nowhere() {
    on_each(async |w| {
        w.configure(|spec| spec.enabled = false).await;
        let id = trial(w, TOKEN).await;
        let people = w.users().await.len();
        let mut browser = w.browser();
        let page = browser.get(&format!("/login/trial/{TOKEN}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            page.body.contains("Acme SSO") && page.body.contains("Start the test"),
            "{}",
            page.body
        );
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(w.idp.asked(), 0, "opening the link begins nothing");
        assert_eq!(stored(w, &id).await.state, TrialState::Waiting);

        let away = begin(&mut browser, TOKEN).await;
        assert_eq!(stored(w, &id).await.state, TrialState::Running);
        let back = w.idp.authorize(away.location(), json!({"department": "Canary"}));
        let done = browser.get(&back).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.body);
        for text in [
            "Everything fits",
            "alice@acme.example",
            "staff",
            "Required claims",
        ] {
            assert!(done.body.contains(text), "{text}: {}", done.body);
        }
        assert!(!done.body.contains("Canary"), "claims are for administrators");
        assert_eq!(done.headers["referrer-policy"], "no-referrer");

        assert!(browser.get("/me").await.location().starts_with("/login"));
        assert_eq!(w.users().await.len(), people, "nobody was made");
        browser.get(&back).await.is_error(StatusCode::FORBIDDEN);

        let trial = stored(w, &id).await;
        assert_eq!(trial.state, TrialState::Passed);
        assert_eq!(trial.identity.as_ref().unwrap().subject, "alice");
        assert_eq!(trial.claims.as_ref().unwrap()["department"], "Canary");
        let names: Vec<_> = trial.trace.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "setup",
                "discovery",
                "issuer",
                "endpoints",
                "keys",
                "client_secret",
                "redirect",
                "callback",
                "token",
                "id_token",
                "claims",
                "userinfo",
                "mapping",
                "admission"
            ]
        );
        assert!(trial.trace.iter().all(|step| step.state != StepState::Failed));
        let event = w.last("connection.trial").await;
        assert_eq!(event.outcome, Outcome::Success);
        assert_eq!(event.actor.user, None);
        assert_eq!(
            store::trial::last_claims(&w.store, &w.connection.id)
                .await
                .unwrap(),
            trial.claims
        );
        let connection = store::connection::get(&w.store, &w.org, &w.connection.id)
            .await
            .unwrap();
        assert_eq!(connection.last_success_at, None, "a trial is no sign-in");
    })
    .await;
}

/// Who is to repair a mapping has to see what it is made for.
#[tokio::test]
async fn a_trial_that_fails_at_what_the_provider_says_shows_what_it_said() {
    on_each(async |w| {
        for (n, (claims, step)) in [
            (
                json!({"groups": [{"id": "1", "displayName": "admins"}]}),
                "mapping",
            ),
            (json!({"groups": null, "hasgroups": true}), "mapping"),
            (json!({"hd": "elsewhere.example"}), "claims"),
        ]
        .into_iter()
        .enumerate()
        {
            if step == "claims" {
                w.configure(|spec| drop(spec.required_claims.insert("hd".into(), "acme.example".into())))
                    .await;
            }
            let token = format!("{TOKEN}-{n}");
            let id = trial(w, &token).await;
            let mut browser = w.browser();
            let away = begin(&mut browser, &token).await;
            browser
                .get(&w.idp.authorize(away.location(), claims.clone()))
                .await;
            let seen = stored(w, &id).await;
            assert_eq!(failing(&seen).name, step);
            let kept = seen.claims.unwrap();
            for (name, value) in claims.as_object().unwrap() {
                assert_eq!(kept.get(name).unwrap_or(&Value::Null), value, "{name}");
            }
            assert!(!kept.contains_key("nonce"), "{kept:?}");
            let last = store::trial::last_claims(&w.store, &w.connection.id)
                .await
                .unwrap();
            assert_eq!(last.unwrap(), kept, "what the preview reads");
        }
    })
    .await;
}

#[tokio::test]
async fn au3_no_step_tells_a_token_a_code_or_a_secret() {
    on_each(async |w| {
        let id = trial(w, TOKEN).await;
        let mut browser = w.browser();
        let away = begin(&mut browser, TOKEN).await.location().to_owned();
        let back = w.idp.authorize(&away, json!({}));
        let page = browser.get(&back).await.body;
        let shown = format!("{page} {}", serde_json::to_string(&stored(w, &id).await).unwrap());
        let url = url::Url::parse(&away).unwrap();
        let sent: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
        for secret in [
            sent["state"].as_str(),
            &sent["nonce"],
            &sent["code_challenge"],
            "code0",
            "upstream-access",
            CLIENT_SECRET,
            TOKEN,
            "eyJ",
        ] {
            assert!(!shown.contains(secret), "{secret}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_step_at_which_it_fails_says_what_was_expected_and_what_came() {
    on_each(async |w| {
        type Break = fn(&World);
        let nothing: Break = |_| {};
        type Found = Option<(&'static str, &'static str)>;
        type Case = (Break, Value, &'static str, &'static str, Found);
        let cases: [Case; 10] = [
            (
                nothing,
                json!({"aud": "other"}),
                "id_token",
                "another client",
                Some((CLIENT_ID, "other")),
            ),
            (
                nothing,
                json!({"iss": "https://evil"}),
                "id_token",
                "another issuer",
                Some(("http://", "https://evil")),
            ),
            (nothing, json!({"nonce": "x"}), "id_token", "nonce", None),
            (nothing, json!({"exp": 1}), "id_token", "expired", None),
            (|w| w.idp.sign(Signing::None), json!({}), "id_token", "not", None),
            (
                |w| w.idp.sign(Signing::Hmac),
                json!({}),
                "id_token",
                "algorithm",
                None,
            ),
            (
                |w| w.idp.sign(Signing::Forged),
                json!({}),
                "id_token",
                "signature",
                None,
            ),
            (
                |w| w.idp.sign(Signing::Right),
                json!({"sub": "x".repeat(300)}),
                "mapping",
                "subject",
                None,
            ),
            (
                |w| w.idp.userinfo(json!({"sub": "bob"})),
                json!({"email": null}),
                "userinfo",
                "somebody else",
                None,
            ),
            (
                nothing,
                json!({"tid": "theirs"}),
                "claims",
                "tid",
                Some(("ours", "theirs")),
            ),
        ];
        let id = trial(w, TOKEN).await;
        for (arrange, claims, step, detail, found) in cases {
            arrange(w);
            if step == "claims" {
                w.configure(|spec| {
                    spec.required_claims.insert("tid".into(), "ours".into());
                })
                .await;
            }
            let mut browser = w.browser();
            let away = begin(&mut browser, TOKEN).await;
            let back = w.idp.authorize(away.location(), claims);
            let page = browser.get(&back).await;
            assert!(page.body.contains("The test failed"), "{}", page.body);
            let trial = stored(w, &id).await;
            let failed = failing(&trial);
            assert_eq!(failed.name, step, "{failed:?}");
            assert!(failed.detail.contains(detail), "{failed:?}");
            if let Some((expected, received)) = found {
                assert!(failed.expected.as_ref().unwrap().contains(expected), "{failed:?}");
                assert!(failed.received.as_ref().unwrap().contains(received), "{failed:?}");
            }
            assert_eq!(w.last("connection.trial").await.outcome, Outcome::Failure);
        }
        w.configure(|spec| {
            spec.required_claims.clear();
            spec.allowed_domains = vec!["other.example".into()];
        })
        .await;
        let mut browser = w.browser();
        let away = begin(&mut browser, TOKEN).await;
        browser.get(&w.idp.authorize(away.location(), json!({}))).await;
        assert_eq!(failing(&stored(w, &id).await).name, "admission");
        assert_eq!(
            w.last("connection.trial").await.reason.as_deref(),
            Some("email_domain")
        );
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_before_and_on_the_way_back_has_its_step() {
    on_each(async |w| {
        let id = trial(w, TOKEN).await;
        let step = async |browser: &mut Browser| {
            let page = begin(browser, TOKEN).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.body);
            failing(&stored(w, &id).await).name.clone()
        };
        w.idp.down(true);
        assert_eq!(step(&mut w.browser()).await, "discovery");
        w.idp.down(false);
        w.idp.say("issuer", json!("https://evil.example\u{202e}"));
        assert_eq!(step(&mut w.browser()).await, "issuer");
        let trial = stored(w, &id).await;
        assert_eq!(
            failing(&trial).received.as_deref(),
            Some("https://evil.example"),
            "cleaned"
        );
        w.idp.say("issuer", json!(w.idp.issuer()));
        w.idp.say("token_endpoint", json!(null));
        assert_eq!(step(&mut w.browser()).await, "endpoints");
        w.idp
            .say("token_endpoint", json!(format!("{}/token", w.idp.issuer())));
        w.idp
            .say("jwks_uri", json!(format!("{}/nothing", w.idp.issuer())));
        assert_eq!(step(&mut w.browser()).await, "keys");
        w.idp
            .say("jwks_uri", json!(format!("{}/no-keys", w.idp.issuer())));
        assert_eq!(step(&mut w.browser()).await, "keys");
        w.idp.say("jwks_uri", json!(format!("{}/jwks", w.idp.issuer())));

        for (change, step) in [
            ("error=access_denied&x=", "callback"),
            ("error=%3Cscript%3E&x=", "callback"),
            ("code=x", "token"),
        ] {
            let mut browser = w.browser();
            let away = begin(&mut browser, TOKEN).await;
            let back = w.idp.authorize(away.location(), json!({}));
            let page = browser.get(&back.replace("code=", change)).await;
            assert!(!page.body.contains("<script>"), "{}", page.body);
            assert_eq!(failing(&stored(w, &id).await).name, step);
        }
        let mut browser = w.browser();
        let away = begin(&mut browser, TOKEN).await;
        let back = w.idp.authorize(away.location(), json!({}));
        let (other, _) = back.split_once("&iss=").unwrap();
        browser
            .get(&format!("{other}&iss=https%3A%2F%2Fevil.example"))
            .await;
        let trial = stored(w, &id).await;
        assert_eq!(failing(&trial).received.as_deref(), Some("https://evil.example"));
        // A provider that names itself does so always (RFC 9207, section 2.4).
        let mut browser = w.browser();
        let away = begin(&mut browser, TOKEN).await;
        let back = w.idp.authorize(away.location(), json!({}));
        browser.get(back.split_once("&iss=").unwrap().0).await;
        assert_eq!(failing(&stored(w, &id).await).name, "callback");

        w.configure(|spec| spec.client_secret = Some("wrong".into()))
            .await;
        let mut browser = w.browser();
        let away = begin(&mut browser, TOKEN).await;
        browser.get(&w.idp.authorize(away.location(), json!({}))).await;
        let trial = stored(w, &id).await;
        assert_eq!(failing(&trial).name, "token");
        assert!(failing(&trial).detail.contains("invalid_client"), "{trial:?}");
    })
    .await;
}

#[tokio::test]
async fn the_secret_of_the_link_is_not_in_the_log() {
    on_each(async |w| {
        trial(w, TOKEN).await;
        w.configure(|spec| spec.issuer = Some("https://nowhere.invalid".to_owned()))
            .await;
        begin(&mut w.browser(), TOKEN).await;
        let event = w.last("connection.trial").await;
        assert_eq!(event.request.as_ref().unwrap().path, "/login/trial/");
        assert!(!serde_json::to_string(&event).unwrap().contains(TOKEN));
    })
    .await;
}

#[tokio::test]
async fn cn2_a_trial_answers_only_to_the_browser_that_began_it_and_its_link_ends() {
    on_each(async |w| {
        let id = trial(w, TOKEN).await;
        let mut browser = w.browser();
        let away = begin(&mut browser, TOKEN).await;
        let back = w.idp.authorize(away.location(), json!({}));
        w.browser().get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert_eq!(stored(w, &id).await.state, TrialState::Running);

        let path = format!("/login/trial/{TOKEN}");
        w.browser().post(&path, &[]).await.is_error(StatusCode::FORBIDDEN);
        for nothing in [
            "/login/trial/x",
            "/login/trial/",
            &format!("/login/trial/{}", "x".repeat(5000)),
        ] {
            assert_eq!(w.browser().get(nothing).await.status, StatusCode::NOT_FOUND);
        }
        w.clock.advance(3600);
        w.browser().get(&path).await.is_error(StatusCode::NOT_FOUND);
        assert_eq!(stored(w, &id).await.state, TrialState::Expired);

        w.clock.advance(31 * 86_400);
        store::retention::sweep(&w.store).await.unwrap();
        assert!(
            store::trial::get(&w.store, (&w.org, &w.connection.id), &id)
                .await
                .is_err()
        );
    })
    .await;
}
