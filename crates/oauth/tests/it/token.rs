//! The token endpoint.

use crate::world::{CALLBACK, VERIFIER, World, form_request, on_each};
use http::{Method, header};
use serde_json::{Value, json};
use wire::{GrantState, Outcome};

pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .to_owned()
}

#[tokio::test]
async fn a_code_becomes_a_token_for_exactly_what_was_consented_to() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let url = w.authorize(&id, &[("scope", "read")]);
        let code = w.consent(&browser, &url, "allow").await.param("code").unwrap();
        let answer = w.redeem(&id, &code, &[]).await.expect(200);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        let answer = answer.json();
        assert_eq!(
            (answer["token_type"].as_str(), answer["expires_in"].as_i64()),
            (Some("Bearer"), Some(900))
        );
        assert_eq!(answer["scope"], "read");
        let claims = w.claims(&text(&answer, "access_token"));
        assert_eq!(
            (&claims.sub, claims.client_id.as_str()),
            (&browser.user, id.as_str())
        );
        assert_eq!(
            (claims.scope.as_str(), claims.act.sub.as_str()),
            ("read", id.as_str())
        );
        assert_eq!(claims.exp - claims.iat, 900);
        let client = w.client(&id).await.unwrap().client;
        let client = store::client::get(&w.store, &w.org, &client.id, w.clock.now())
            .await
            .unwrap()
            .client;
        assert_eq!(
            (client.first_user, client.live_grants),
            (Some(browser.user.clone()), 1)
        );
        let event = &w.events("token.issue").await[0];
        assert_eq!(event.actor.grant.as_ref(), Some(&claims.grant));
        assert_eq!(event.actor.user.as_ref(), Some(&browser.user));
        assert_eq!(event.actor.client_name.as_deref(), Some("Test agent"));
        assert_eq!(event.rule.as_ref().unwrap().name, "Staff");
        let log = serde_json::to_string(&w.events("token.").await).unwrap();
        for secret in [
            &code,
            &text(&answer, "access_token"),
            &text(&answer, "refresh_token"),
        ] {
            assert!(!log.contains(secret));
        }
    })
    .await;
}

#[tokio::test]
async fn cd3_cd9_a_bad_request_is_refused_and_leaves_the_code_as_it_is() {
    on_each(async |w| {
        let browser = w.employee().await;
        let (id, other) = (w.register().await, w.register().await);
        let code = w.code(&browser, &id).await;
        for (name, value, error) in [
            ("code_verifier", "", "invalid_grant"),
            (
                "code_verifier",
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "invalid_grant",
            ),
            ("redirect_uri", "http://127.0.0.1:1/callback", "invalid_grant"),
            ("redirect_uri", "", "invalid_grant"),
            ("client_id", other.as_str(), "invalid_grant"),
            ("code", "x", "invalid_grant"),
            ("code", "", "invalid_request"),
            ("resource", "https://tickets.example.com/mcp", "invalid_target"),
            ("grant_type", "password", "unsupported_grant_type"),
            ("grant_type", "", "invalid_request"),
        ] {
            w.redeem(&id, &code, &[(name, value)])
                .await
                .expect_error(400, error);
        }
        let answer = w.redeem("cli_x", &code, &[]).await;
        answer.expect_error(401, "invalid_client");
        let good = w.redeem(&id, &code, &[]).await.expect(200).json();
        assert_eq!(
            w.grant_state(&text(&good, "access_token")).await,
            GrantState::Active
        );
        let refused = w.events("token.refuse").await;
        assert!(
            refused
                .iter()
                .any(|e| e.reason.as_deref() == Some("verifier_mismatch"))
        );
        assert!(refused.iter().all(|e| e.outcome == Outcome::Denied));
    })
    .await;
}

#[tokio::test]
async fn jw6_a_code_or_client_of_one_app_is_nothing_at_another() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let code = w.code(&browser, &id).await;
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("client_id", &id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let path = format!("/oauth/{}/token", w.other_app);
        w.form(&path, &fields).await.expect_error(401, "invalid_client");
        w.redeem(&id, &code, &[]).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn cd6_a_replayed_code_revokes_what_it_yielded() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let code = w.code(&browser, &id).await;
        let first = w.redeem(&id, &code, &[]).await.expect(200).json();
        // Without the verifier nobody can revoke anything.
        w.redeem(&id, &code, &[("code_verifier", "")])
            .await
            .expect_error(400, "invalid_grant");
        assert_eq!(
            w.grant_state(&text(&first, "access_token")).await,
            GrantState::Active
        );
        w.redeem(&id, &code, &[]).await.expect_error(400, "invalid_grant");
        assert_eq!(
            w.grant_state(&text(&first, "access_token")).await,
            GrantState::Revoked
        );
        let refresh = text(&first, "refresh_token");
        w.refresh(&id, &refresh, &[])
            .await
            .expect_error(400, "invalid_grant");
        let events = w.events("token.refuse").await;
        assert!(
            events
                .iter()
                .any(|e| e.reason.as_deref() == Some("code_replayed"))
        );
        assert_eq!(w.events("grant.revoke").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_code_is_bound_to_the_resource_it_was_asked_for() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let code = w.code(&browser, &id).await;
        w.change_app(|app| app.public_url = "https://moved.example.com".into())
            .await;
        w.redeem(&id, &code, &[]).await.expect_error(400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a_code_dies_after_a_minute() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let code = w.code(&browser, &id).await;
        w.advance(60).await;
        w.redeem(&id, &code, &[]).await.expect_error(400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn cd8_of_fifty_parallel_redemptions_one_gets_a_token() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let code = w.code(&browser, &id).await;
        let attempts = (0..50).map(|_| w.redeem(&id, &code, &[]));
        let answers = all(attempts).await;
        let good = answers.iter().filter(|a| a.status == 200).count();
        assert_eq!(good, 1);
        for answer in answers.iter().filter(|a| a.status != 200) {
            answer.expect_error(400, "invalid_grant");
        }
    })
    .await;
}

#[tokio::test]
async fn rt2_of_twenty_parallel_refreshes_all_get_one_successor() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let first = text(&w.tokens(&browser, &id).await, "refresh_token");
        let answers = all((0..20).map(|_| w.refresh(&id, &first, &[]))).await;
        let successors: Vec<String> = answers
            .into_iter()
            .map(|a| text(&a.expect(200).json(), "refresh_token"))
            .collect();
        assert!(successors.iter().all(|s| *s == successors[0] && *s != first));
        let next = w.refresh(&id, &successors[0], &[]).await.expect(200).json();
        assert_ne!(text(&next, "refresh_token"), successors[0]);
        assert_eq!(w.events("token.refresh").await.len(), 21);
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_used_after_the_window_ends_the_family() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let first = text(&w.tokens(&browser, &id).await, "refresh_token");
        let second = text(
            &w.refresh(&id, &first, &[]).await.expect(200).json(),
            "refresh_token",
        );
        w.advance(59).await;
        let again = w.refresh(&id, &first, &[]).await.expect(200).json();
        assert_eq!(text(&again, "refresh_token"), second);
        w.advance(1).await;
        w.refresh(&id, &first, &[])
            .await
            .expect_error(400, "invalid_grant");
        assert_eq!(
            w.grant_state(&text(&again, "access_token")).await,
            GrantState::Revoked
        );
        w.refresh(&id, &second, &[])
            .await
            .expect_error(400, "invalid_grant");
        let events = w.events("token.refuse").await;
        assert!(events.iter().any(|e| e.reason.as_deref() == Some("refresh_late")));
    })
    .await;
}

#[tokio::test]
async fn refresh_narrows_scopes_never_widens_them_and_belongs_to_its_client() {
    on_each(async |w| {
        let browser = w.employee().await;
        let (id, other) = (w.register().await, w.register().await);
        let first = text(&w.tokens(&browser, &id).await, "refresh_token");
        w.refresh(&other, &first, &[])
            .await
            .expect_error(400, "invalid_grant");
        w.refresh(&id, &first, &[("scope", "admin")])
            .await
            .expect_error(400, "invalid_scope");
        w.refresh(&id, &first, &[("resource", "https://evil.example")])
            .await
            .expect_error(400, "invalid_target");
        w.refresh(&id, "x", &[]).await.expect_error(400, "invalid_grant");
        let narrow = w
            .refresh(&id, &first, &[("scope", "read")])
            .await
            .expect(200)
            .json();
        assert_eq!(w.claims(&text(&narrow, "access_token")).scope, "read");
        let full = w
            .refresh(&id, &text(&narrow, "refresh_token"), &[])
            .await
            .expect(200)
            .json();
        assert_eq!(w.claims(&text(&full, "access_token")).scope, "read write");
    })
    .await;
}

/// The first refresh token of a fresh grant; then something happens to it, and it is worth nothing.
async fn refused_after(happens: impl AsyncFn(&World, &crate::world::Browser, &str)) {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let tokens = w.tokens(&browser, &id).await;
        happens(w, &browser, &text(&tokens, "access_token")).await;
        let answer = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        answer.expect_error(400, "invalid_grant");
        let events = w.events("token.refuse").await;
        assert_eq!(events.len(), 1);
        assert!(events[0].actor.grant.is_some());
    })
    .await;
}

#[tokio::test]
async fn rt3_refresh_fails_once_the_person_is_disabled() {
    refused_after(async |w, browser, _| {
        let person = store::user::get(&w.store, &w.org, &browser.user).await.unwrap();
        let mut tx = w.store.begin().await.unwrap();
        store::user::set_disabled(&mut tx, &w.org, &person.user, true)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn rt3_refresh_fails_once_the_person_left_the_group() {
    refused_after(async |w, _, _| {
        w.sign_in("ada", &[]).await;
    })
    .await;
}

#[tokio::test]
async fn rt3_refresh_fails_once_consent_was_revoked() {
    refused_after(async |w, _, access_token| {
        let grant = w.claims(access_token).grant;
        let mut tx = w.store.begin().await.unwrap();
        let which = store::grant::Which::One(&grant);
        store::grant::revoke_where(&mut tx, which, "revoked_by_person")
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn refresh_fails_once_the_grant_is_over_or_the_app_asks_for_more_trust() {
    refused_after(async |w, _, _| w.advance(30 * 86_400).await).await;
    refused_after(async |w, _, _| {
        w.change_app(|app| app.oauth.registration.lowest_tier = wire::ClientTier::Unverified)
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_access_token_never_outlives_its_grant() {
    on_each(async |w| {
        w.change_app(|app| app.oauth.grant_seconds = 300).await;
        let browser = w.employee().await;
        let id = w.register().await;
        let tokens = w.tokens(&browser, &id).await;
        assert_eq!(tokens["expires_in"], 300);
    })
    .await;
}

#[tokio::test]
async fn confidential_clients_authenticate_in_every_usual_way() {
    on_each(async |w| {
        let browser = w.employee().await;
        let metadata =
            json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic"});
        let registered = w.register_with(&metadata).await;
        let (id, secret) = (text(&registered, "client_id"), text(&registered, "client_secret"));
        let fields = |code: &str| {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", CALLBACK),
                ("code_verifier", VERIFIER),
            ];
            fields.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec()
        };
        let borrow = |fields: &[(String, String)]| -> Vec<(String, String)> { fields.to_vec() };
        let path = w.path("token");

        let code = w.code(&browser, &id).await;
        let plain = borrow(&fields(&code));
        let plain: Vec<_> = plain.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        // Nothing, a wrong secret, another client's id beside a good header, two ways at once.
        let mut public = plain.clone();
        public.push(("client_id", &id));
        w.form(&path, &public).await.expect_error(401, "invalid_client");
        let wrong = w.form_basic(&path, (&id, "wrong"), &plain).await;
        wrong.expect_error(401, "invalid_client");
        assert!(
            wrong.headers[header::WWW_AUTHENTICATE]
                .to_str()
                .unwrap()
                .starts_with("Basic")
        );
        let mut contradicting = plain.clone();
        contradicting.push(("client_id", "cli_x"));
        let answer = w.form_basic(&path, (&id, &secret), &contradicting).await;
        answer.expect_error(400, "invalid_request");
        let mut both = plain.clone();
        both.push(("client_secret", &secret));
        w.form_basic(&path, (&id, &secret), &both)
            .await
            .expect_error(400, "invalid_request");

        // Basic together with client_id in the body, as the Python SDK sends it.
        w.form_basic(&path, (&id, &secret), &public).await.expect(200);
        let code = w.code(&browser, &id).await;
        let again = fields(&code);
        let mut again: Vec<_> = again.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        again.push(("client_id", &id));
        again.push(("client_secret", &secret));
        w.form(&path, &again).await.expect(200);
        assert!(
            w.events("token.refuse")
                .await
                .iter()
                .any(|e| e.reason.as_deref() == Some("invalid_client"))
        );
    })
    .await;
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    on_each(async |w| {
        let path = w.path("token");
        let answer = w
            .json(Method::POST, &path, None, &json!({"grant_type": "refresh_token"}))
            .await;
        answer.expect_error(400, "invalid_request");
        let answer = w.send(form_request(&path), "client_id=a&client_id=b").await;
        answer.expect_error(400, "invalid_request");
        let answer = w
            .send(form_request(&path), format!("a={}", "x".repeat(20_000)))
            .await;
        answer.expect_error(400, "invalid_request");
        w.form(&path, &[]).await.expect_error(401, "invalid_client");
        w.get(&path).await.expect(405);
    })
    .await;
}

pub(crate) async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}
