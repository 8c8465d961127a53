//! The flight recorder: for each way to fail, it names the step and the cause; an attempt that just stopped says where.

use crate::world::{Answer, CALLBACK, VERIFIER, WIKI, World, on_each};
use http::Method;
use serde_json::json;
use store::agent_attempt::{self, Filter};
use wire::*;

async fn attempts(w: &World) -> Vec<AgentAttempt> {
    w.store.write_agent_steps().await.unwrap();
    let filter = Filter::default();
    let page = store::Paging::default();
    agent_attempt::list(&w.store, &w.org, filter, &page)
        .await
        .unwrap()
}

async fn newest(w: &World) -> AgentAttempt {
    attempts(w).await.remove(0)
}

async fn steps(w: &World, attempt: &AgentAttempt) -> Vec<AgentStep> {
    agent_attempt::steps(&w.store, &attempt.id).await.unwrap()
}

/// The newest attempt failed like this; the next one is far away.
#[track_caller]
fn failed(attempt: &AgentAttempt, step: AgentStepKind, code: &str) {
    assert_eq!(attempt.state, AgentAttemptState::Failed, "{code}: {attempt:?}");
    assert_eq!(
        (attempt.step, attempt.reason.as_deref()),
        (step, Some(code)),
        "{attempt:?}"
    );
    assert!(
        attempt.fix.is_some() && attempt.summary.ends_with('.'),
        "{attempt:?}"
    );
}

async fn expect(w: &World, step: AgentStepKind, code: &str) -> (AgentAttempt, AgentStep) {
    let attempt = newest(w).await;
    failed(&attempt, step, code);
    let last = steps(w, &attempt).await.pop().unwrap();
    w.advance(3600).await;
    (attempt, last)
}

async fn post_registration(w: &World, body: serde_json::Value) -> Answer {
    w.json(Method::POST, &w.path("register"), None, &body).await
}

fn agent(redirect: &str) -> serde_json::Value {
    json!({"client_name": "Test agent", "redirect_uris": [redirect], "token_endpoint_auth_method": "none"})
}

#[tokio::test]
async fn registration_and_documents_say_why_they_came_to_nothing() {
    use AgentStepKind::{Authorize, Document, Registration};
    on_each(async |w| {
        w.get(&w.authorize("cli_0192f000000000000000000000000000", &[]))
            .await
            .expect(400);
        expect(w, Authorize, "client_unknown").await;

        // A name that means this computer, to which the server never goes.
        w.get(&w.authorize("https://localhost/client.json", &[]))
            .await
            .expect(400);
        let (_, step) = expect(w, Document, "document_unreadable").await;
        assert!(step.received.is_some());

        let id = "https://agent.example/client.json";
        let foreign = "https://elsewhere.example/cb";
        w.oauth
            .keep_document(id, json!({"client_id": id, "redirect_uris": [foreign]}))
            .await;
        w.get(&w.authorize(id, &[("redirect_uri", foreign)]))
            .await
            .expect(400);
        let (_, step) = expect(w, Document, "document_refused").await;
        assert!(step.received.unwrap().contains(foreign));

        w.change_app(|app| app.oauth.registration.metadata_documents = false)
            .await;
        w.get(&w.authorize(id, &[])).await.expect(400);
        expect(w, Document, "documents_off").await;

        post_registration(w, agent(foreign)).await.expect(400);
        let (attempt, step) = expect(w, Registration, "invalid_redirect_uri").await;
        assert_eq!(step.received.as_deref(), Some(foreign));
        assert!(attempt.summary.contains(foreign), "{}", attempt.summary);

        post_registration(w, json!({"redirect_uris": [CALLBACK], "client_name": 7}))
            .await
            .expect(400);
        expect(w, Registration, "invalid_client_metadata").await;

        w.change_app(|app| app.oauth.registration.lowest_tier = ClientTier::DomainVerified)
            .await;
        post_registration(w, agent(CALLBACK)).await.expect(403);
        let (_, step) = expect(w, Registration, "registration_tier").await;
        assert_eq!(step.received.as_deref(), Some("localhost"));

        w.change_app(|app| app.oauth.registration.dynamic = false).await;
        post_registration(w, agent(CALLBACK)).await.expect(404);
        expect(w, Registration, "registration_off").await;

        w.change_app(|app| app.oauth.registration = RegistrationRules::default())
            .await;
        let mut answer = post_registration(w, json!({})).await;
        for _ in 0..100 {
            if answer.status == 429 {
                break;
            }
            w.store.write_agent_steps().await.unwrap();
            answer = post_registration(w, json!({})).await;
        }
        answer.expect(429);
        expect(w, Registration, "rate_limited").await;
    })
    .await;
}

#[tokio::test]
async fn authorization_requests_say_why_they_were_turned_away() {
    use AgentStepKind::{Authorize, Consent, SignIn};
    on_each(async |w| {
        let id = w.register().await;
        for (changed, code) in [
            (
                ("redirect_uri", "http://localhost:7777/callback"),
                "redirect_not_registered",
            ),
            (("code_challenge", ""), "pkce_missing"),
            (("code_challenge_method", ""), "pkce_plain"),
            (("code_challenge_method", "plain"), "pkce_plain"),
            (("resource", "https://tickets.example.com/mcp"), "invalid_target"),
            (("scope", "admin"), "invalid_scope"),
            (("response_type", "token"), "unsupported_response_type"),
        ] {
            w.get(&w.authorize(&id, &[changed])).await;
            let (attempt, step) = expect(w, Authorize, code).await;
            assert_eq!(attempt.client_id.as_deref(), Some(id.as_str()));
            assert_eq!(attempt.client_name.as_deref(), Some("Test agent"));
            assert!(
                step.expected.is_some() || code == "unsupported_response_type",
                "{code}"
            );
        }
        w.change_app(|app| app.oauth.registration.redirect_presets.clear())
            .await;
        w.get(&w.authorize(&id, &[])).await.expect(400);
        expect(w, Authorize, "redirect_not_allowed").await;
        w.change_app(|app| app.oauth.registration = RegistrationRules::default())
            .await;

        let ada = w.employee().await;
        w.change_app(|app| app.oauth.registration.lowest_tier = ClientTier::Unverified)
            .await;
        w.get_as(&ada, &w.authorize(&id, &[])).await.expect(403);
        let (attempt, step) = expect(w, SignIn, "tier_too_low").await;
        assert_eq!(attempt.user.as_ref(), Some(&ada.user));
        assert_eq!(step.received.as_deref(), Some("localhost"));
        w.change_app(|app| app.oauth.registration = RegistrationRules::default())
            .await;

        w.say(&id, ClientTier::Localhost, ClientState::Pending).await;
        w.get(&w.authorize(&id, &[])).await.expect(403);
        expect(w, Authorize, "client_waiting").await;
        w.say(&id, ClientTier::Localhost, ClientState::Blocked).await;
        w.get(&w.authorize(&id, &[])).await.expect(403);
        expect(w, Authorize, "client_blocked").await;
        w.say(&id, ClientTier::Localhost, ClientState::Active).await;

        let carl = w.sign_in("carl", &["contractors"]).await;
        w.get_as(&carl, &w.authorize(&id, &[])).await.expect(403);
        let (attempt, _) = expect(w, SignIn, "no_policy_matched").await;
        assert_eq!(attempt.user, Some(carl.user));

        let ada = w.employee().await;
        w.consent(&ada, &w.authorize(&id, &[]), "deny").await.expect(303);
        let (attempt, _) = expect(w, Consent, "person_denied").await;
        assert_eq!(attempt.user, Some(ada.user));
    })
    .await;
}

#[tokio::test]
async fn token_requests_say_why_they_got_none() {
    use AgentStepKind::Token;
    on_each(async |w| {
        let ada = w.employee().await;
        for (changed, code) in [
            (("code_verifier", "x".repeat(43)), "verifier_mismatch"),
            (("code_verifier", String::new()), "verifier_mismatch"),
            (
                ("redirect_uri", "http://127.0.0.1:1/other".into()),
                "redirect_mismatch",
            ),
            (
                ("resource", "https://tickets.example.com/mcp".into()),
                "invalid_target",
            ),
            (("grant_type", "password".into()), "unsupported_grant_type"),
            (("code", "nothing".into()), "unknown_code"),
        ] {
            let id = w.register().await;
            let secret = w.code(&ada, &id).await;
            w.redeem(&id, &secret, &[(changed.0, &changed.1)])
                .await
                .expect(400);
            let (attempt, _) = expect(w, Token, code).await;
            let kinds: Vec<_> = steps(w, &attempt).await.iter().map(|step| step.kind).collect();
            use AgentStepKind::{Consent, Registration, SignIn};
            let whole = [Registration, SignIn, SignIn, Consent, Token];
            let whole = if kinds.len() == 4 {
                &[Registration, SignIn, Consent, Token][..]
            } else {
                &whole
            };
            assert_eq!(kinds, whole, "{code}");
            assert_eq!(attempt.user.as_ref(), Some(&ada.user), "{code}");
        }
        let ada = w.employee().await;
        let id = w.register().await;
        let code = w.code(&ada, &id).await;
        w.advance(61).await;
        w.redeem(&id, &code, &[]).await.expect(400);
        expect(w, Token, "code_expired").await;

        let id = w.register().await;
        let code = w.code(&ada, &id).await;
        w.redeem(&id, &code, &[]).await.expect(200);
        w.redeem(&id, &code, &[]).await.expect(400);
        expect(w, Token, "code_replayed").await;

        let id = w.register().await;
        let code = w.code(&ada, &id).await;
        let other = w.register().await;
        w.redeem(&other, &code, &[]).await.expect(400);
        let (attempt, _) = expect(w, Token, "other_client").await;
        assert_eq!(
            attempt.client_id,
            Some(other),
            "nothing of it goes to whose code it was"
        );

        let confidential = json!({"redirect_uris": [CALLBACK], "client_name": "Server"});
        let made = w.register_with(&confidential).await;
        let id = made["client_id"].as_str().unwrap();
        let code = w.code(&ada, id).await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
        ];
        w.form_basic(&w.path("token"), (id, "wrong"), &fields)
            .await
            .expect(401);
        let (attempt, _) = expect(w, Token, "client_unauthenticated").await;
        assert_eq!(attempt.client_id.as_deref(), Some(id));
        w.redeem("cli_0192f000000000000000000000000000", &code, &[])
            .await
            .expect(401);
        expect(w, Token, "client_unknown").await;

        let id = w.register().await;
        let tokens = w.tokens(&ada, &id).await;
        let first = tokens["refresh_token"].as_str().unwrap();
        w.refresh(&id, first, &[]).await.expect(200);
        w.advance(120).await;
        w.refresh(&id, first, &[]).await.expect(400);
        let (attempt, _) = expect(w, Token, "refresh_late").await;
        assert!(attempt.grant.is_some());

        let id = w.register().await;
        let tokens = w.tokens(&ada, &id).await;
        let first = tokens["refresh_token"].as_str().unwrap();
        w.refresh(&id, first, &[]).await.expect(200);
        w.advance(3600).await;
        w.refresh(&id, first, &[]).await.expect(400);
        expect(w, Token, "refresh_replayed").await;
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_just_stopped_says_where() {
    on_each(async |w| {
        let ada = w.employee().await;
        let id = w.register().await;
        assert_eq!(newest(w).await.state, AgentAttemptState::GoingOn);
        w.advance(601).await;
        let stopped = newest(w).await;
        assert_eq!(
            (stopped.state, stopped.step),
            (AgentAttemptState::Stopped, AgentStepKind::Registration)
        );
        assert!(stopped.summary.contains("no browser came"), "{}", stopped.summary);

        w.get(&w.authorize(&id, &[])).await.expect(303);
        w.advance(601).await;
        let stopped = newest(w).await;
        assert_eq!(
            (stopped.state, stopped.step),
            (AgentAttemptState::Stopped, AgentStepKind::Authorize)
        );
        assert!(
            stopped.summary.contains("did not come back"),
            "{}",
            stopped.summary
        );

        w.get_as(&ada, &w.authorize(&id, &[("state", "2")]))
            .await
            .expect(200);
        w.advance(601).await;
        let stopped = newest(w).await;
        assert_eq!(
            (stopped.state, stopped.step),
            (AgentAttemptState::Stopped, AgentStepKind::SignIn)
        );
        assert!(stopped.summary.contains("did not answer"), "{}", stopped.summary);

        w.consent(&ada, &w.authorize(&id, &[("state", "3")]), "allow")
            .await
            .expect(303);
        w.advance(121).await;
        let stopped = newest(w).await;
        assert_eq!(
            (stopped.state, stopped.step),
            (AgentAttemptState::Stopped, AgentStepKind::Consent)
        );
        assert!(
            stopped.summary.contains("callback did not reach it"),
            "{}",
            stopped.summary
        );
        let of = |state| Filter {
            state: Some(state),
            ..Filter::default()
        };
        let page = store::Paging::default();
        let list = async |state| {
            agent_attempt::list(&w.store, &w.org, of(state), &page)
                .await
                .unwrap()
                .len()
        };
        assert_eq!(list(AgentAttemptState::GoingOn).await, 0);
        assert!(list(AgentAttemptState::Stopped).await >= 3);
    })
    .await;
}

#[tokio::test]
async fn two_people_with_one_document_at_one_address_never_share_an_attempt() {
    on_each(async |w| {
        let id = "https://agent.example/client.json";
        w.oauth
            .keep_document(id, json!({"client_id": id, "redirect_uris": [CALLBACK]}))
            .await;
        let (ada, bob) = (w.employee().await, w.sign_in("bob", &["staff"]).await);
        let urls = [
            w.authorize(id, &[("state", "a")]),
            w.authorize(id, &[("state", "b")]),
        ];
        let mut codes = Vec::new();
        for (who, url) in [(&ada, &urls[0]), (&bob, &urls[1])] {
            let code = w
                .consent(who, url, "allow")
                .await
                .expect(303)
                .param("code")
                .unwrap();
            codes.push(code);
        }
        // The other way round, so that order tells nothing.
        w.redeem(id, &codes[1], &[]).await.expect(200);
        w.redeem(id, &codes[0], &[("code_verifier", "")])
            .await
            .expect(400);
        let mut of_both = attempts(w).await;
        assert_eq!(of_both.len(), 2);
        of_both.reverse();
        assert_eq!(of_both[0].user, Some(ada.user));
        assert_eq!(of_both[0].reason.as_deref(), Some("verifier_mismatch"));
        assert_eq!(of_both[1].user, Some(bob.user));
        assert_eq!(
            (of_both[1].state, of_both[1].step),
            (AgentAttemptState::GoingOn, AgentStepKind::Token)
        );
        // An agent without a name at their address belongs to neither of them.
        w.form(
            &w.path("token"),
            &[
                ("client_id", id),
                ("grant_type", "authorization_code"),
                ("code", "x"),
            ],
        )
        .await
        .expect(400);
        let third = newest(w).await;
        assert!(third.ambiguous && third.user.is_none(), "{third:?}");
        let marked = attempts(w).await;
        assert!(marked.iter().all(|attempt| attempt.ambiguous), "{marked:?}");
    })
    .await;
}

#[tokio::test]
async fn steps_at_two_instances_are_one_attempt_in_the_order_in_which_they_happened() {
    on_each(async |w| {
        let other = w.beside().await;
        let ada = w.employee().await;
        let id = w.register().await;
        let code = other.code(&ada, &id).await;
        w.clock.advance(1);
        w.redeem(&id, &code, &[]).await.expect(200);
        // What came last is written first.
        w.store.write_agent_steps().await.unwrap();
        other.store.write_agent_steps().await.unwrap();
        let all = attempts(w).await;
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].grant.is_some());
        use AgentStepKind::{Consent, Registration, SignIn, Token};
        let kinds: Vec<_> = steps(w, &all[0]).await.iter().map(|step| step.kind).collect();
        assert_eq!(kinds, [Registration, SignIn, Consent, Token]);
        other.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn au3_nothing_that_is_kept_is_a_secret() {
    on_each(async |w| {
        let ada = w.employee().await;
        let made = w
            .register_with(&json!({"redirect_uris": [CALLBACK], "client_name": "Server"}))
            .await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        let (id, secret, management) = (
            text("client_id"),
            text("client_secret"),
            text("registration_access_token"),
        );
        let state = "canary-state-0123456789";
        let url = w.authorize(&id, &[("state", state)]);
        w.get(&url).await.expect(303);
        let code = w
            .consent(&ada, &url, "allow")
            .await
            .expect(303)
            .param("code")
            .unwrap();
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        w.form_basic(&w.path("token"), (&id, "wrong-canary-secret"), &fields)
            .await
            .expect(401);
        let tokens = w
            .form_basic(&w.path("token"), (&id, &secret), &fields)
            .await
            .expect(200)
            .json();
        let (access, refresh) = (
            tokens["access_token"].as_str().unwrap(),
            tokens["refresh_token"].as_str().unwrap(),
        );
        w.form_basic(&w.path("token"), (&id, &secret), &fields)
            .await
            .expect(400);
        let again = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("scope", access),
        ];
        w.form_basic(&w.path("token"), (&id, &secret), &again)
            .await
            .expect(400);
        // Secrets where they do not belong.
        w.get(&w.authorize(refresh, &[("scope", &code)]))
            .await
            .expect(400);
        w.get(&w.authorize(&id, &[("redirect_uri", &format!("{WIKI}/cb?code={code}"))]))
            .await
            .expect(400);
        w.get(&w.authorize(&id, &[("resource", &format!("{WIKI}?token={refresh}"))]))
            .await;
        w.get(&w.authorize(&id, &[("scope", access)])).await;
        let cookie = ada.cookie.split_once('=').unwrap().1;
        let secrets = [
            &secret,
            &management,
            &code,
            access,
            refresh,
            state,
            VERIFIER,
            "wrong-canary-secret",
            cookie,
        ];
        let mut kept = String::new();
        for attempt in attempts(w).await {
            kept += &serde_json::to_string(&attempt).unwrap();
            kept += &serde_json::to_string(&steps(w, &attempt).await).unwrap();
        }
        assert!(kept.len() > 2000);
        for secret in secrets {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
        if let Some(file) = w.url.strip_prefix("sqlite:") {
            let mut bytes = std::fs::read(file).unwrap();
            bytes.extend(std::fs::read(format!("{file}-wal")).unwrap_or_default());
            let whole = String::from_utf8_lossy(&bytes);
            for secret in secrets {
                assert!(!whole.contains(secret), "{secret} is in the database");
            }
        }
    })
    .await;
}
