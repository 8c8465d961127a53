//! Id tokens that must not sign anybody in.

use crate::idp::{Idp, Signing, callback};
use crate::world::{START, World, from, oidc, on_each};
use http::StatusCode;
use serde_json::{Value, json};

async fn attempt(w: &World, claims: Value) -> crate::browser::Answer {
    let mut browser = w.browser();
    let away = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
    let back = w.idp.authorize(away.location(), claims);
    browser.get(&back).await
}

#[tokio::test]
async fn id_tokens_with_wrong_claims_are_refused() {
    on_each(async |w| {
        for claims in [
            json!({"nonce": "another"}),
            json!({"nonce": null}),
            json!({"aud": "somebody-else"}),
            json!({"aud": ["chatelaine", "somebody-else"]}),
            json!({"aud": ["chatelaine", "somebody-else"], "azp": "chatelaine"}),
            json!({"azp": "somebody-else"}),
            json!({"iat": START + 86_400}),
            json!({"nbf": START + 86_400}),
            json!({"nbf": "yesterday"}),
            json!({"iat": null}),
            json!({"iss": "https://evil.example"}),
            json!({"exp": START - 61}),
            json!({"exp": "never"}),
            json!({"exp": null}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": "x".repeat(300)}),
            json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
        ] {
            attempt(w, claims.clone()).await.is_error(StatusCode::BAD_GATEWAY);
            let event = w.last("login.failure").await;
            let reason = event.reason.unwrap();
            assert!(
                matches!(reason.as_str(), "id_token_invalid" | "provider_answer_invalid"),
                "{claims}: {reason}"
            );
        }
        assert_eq!(w.users().await.len(), 1, "only the owner");
        // Clocks may differ by less than a minute.
        assert_eq!(attempt(w, json!({"exp": START - 30})).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn jw_unsigned_hmac_and_forged_id_tokens_are_refused() {
    on_each(async |w| {
        for signing in [Signing::None, Signing::Hmac, Signing::Forged] {
            w.idp.sign(signing);
            attempt(w, json!({})).await.is_error(StatusCode::BAD_GATEWAY);
        }
        w.idp.sign(Signing::Right);
        assert_eq!(attempt(w, json!({})).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_fetched_once_and_discovery_is_remembered() {
    on_each(async |w| {
        attempt(w, json!({})).await.location();
        attempt(w, json!({})).await.location();
        assert_eq!(w.idp.discoveries(), 1);
        w.idp.rotate();
        assert_eq!(attempt(w, json!({})).await.location(), "/me");
        assert_eq!(w.idp.discoveries(), 2);
        // A provider, or somebody who plays it, cannot make us fetch again and again.
        w.idp.sign(Signing::Forged);
        for _ in 0..3 {
            attempt(w, json!({})).await.is_error(StatusCode::BAD_GATEWAY);
        }
        assert_eq!(w.idp.discoveries(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_names_another_issuer_is_refused() {
    on_each(async |w| {
        for iss in [Some("https://evil.example"), None] {
            let mut browser = w.browser();
            let away = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
            let back = w.idp.authorize(away.location(), json!({}));
            let url = url::Url::parse(&format!("https://x{back}")).unwrap();
            let query: Vec<_> = url.query_pairs().filter(|(name, _)| name != "iss").collect();
            let mut pairs: Vec<_> = query.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
            pairs.extend(iss.map(|iss| ("iss", iss)));
            browser
                .get(&callback(&w.connection.id, &pairs))
                .await
                .is_error(StatusCode::FORBIDDEN);
            assert_eq!(
                w.last("login.failure").await.reason.as_deref(),
                Some("issuer_mismatch")
            );
        }
    })
    .await;
}

#[tokio::test]
async fn userinfo_fills_in_what_the_token_lacks_if_it_is_about_the_same_person() {
    on_each(async |w| {
        let lean = json!({"email": null, "email_verified": null, "groups": null});
        w.idp.userinfo(json!({
            "sub": "alice", "email": "a@acme.example", "email_verified": "true", "groups": ["ops"], "name": "No",
        }));
        assert_eq!(attempt(w, lean.clone()).await.location(), "/me");
        let alice = w.user("alice").await;
        assert_eq!(alice.email.as_deref(), Some("a@acme.example"));
        assert!(alice.email_verified);
        assert_eq!(alice.groups, ["ops"]);
        assert_eq!(alice.name.as_deref(), Some("Alice"), "the token's word comes first");

        w.idp.userinfo(json!({"sub": "bob", "email": "bob@acme.example"}));
        attempt(w, lean).await.is_error(StatusCode::BAD_GATEWAY);
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_wants_the_secret_in_the_body_gets_it_there() {
    on_each(async |w| {
        let idp = Idp::start(START, vec!["client_secret_post"]).await;
        let connection = w.connect(oidc("Post", &idp), None).await;
        let mut browser = w.browser();
        let away = browser.get(&format!("/login/oidc/{}", connection.id)).await;
        let back = idp.authorize(away.location(), json!({}));
        assert_eq!(browser.get(&back).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn a_token_for_others_too_counts_where_the_connection_trusts_them() {
    on_each(async |w| {
        let claims = json!({"aud": ["chatelaine", "other"], "azp": "chatelaine"});
        attempt(w, claims.clone()).await.is_error(StatusCode::BAD_GATEWAY);
        let connection = store::connection::get(&w.store, &w.org, &w.connection.id)
            .await
            .unwrap();
        let error = connection.last_error.unwrap();
        assert!(error.contains("trusted_audiences"), "{error}");
        w.configure(|spec| spec.trusted_audiences = vec!["other".to_owned()])
            .await;
        assert_eq!(attempt(w, claims).await.location(), "/me");
        for claims in [
            json!({"aud": ["chatelaine", "other"]}),
            json!({"aud": ["chatelaine", "other"], "azp": "other"}),
            json!({"aud": ["chatelaine", "other", "third"], "azp": "chatelaine"}),
            json!({"aud": "other", "azp": "chatelaine"}),
        ] {
            attempt(w, claims).await.is_error(StatusCode::BAD_GATEWAY);
        }
        assert_eq!(attempt(w, json!({"azp": "chatelaine"})).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn every_asymmetric_algorithm_that_is_announced_and_can_be_checked_counts() {
    on_each(async |w| {
        w.idp.replace_key("ES384");
        attempt(w, json!({})).await.is_error(StatusCode::BAD_GATEWAY);
        let error = || async {
            let found = store::connection::get(&w.store, &w.org, &w.connection.id).await;
            found.unwrap().last_error.unwrap()
        };
        assert!(
            error().await.contains("ES384"),
            "not announced: {}",
            error().await
        );

        w.idp.say(
            "id_token_signing_alg_values_supported",
            json!(["ES384", "HS256", "none", "ES512"]),
        );
        // A changed connection is discovered anew.
        w.configure(|spec| spec.name = "Again".to_owned()).await;
        assert_eq!(attempt(w, json!({})).await.location(), "/me");
        let hash = "x".repeat(32);
        attempt(w, json!({"at_hash": hash}))
            .await
            .is_error(StatusCode::BAD_GATEWAY);
        // SHA-384 of the access token, the left half.
        let whole = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, b"upstream-access");
        let half = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            &whole.as_ref()[..24],
        );
        assert_eq!(attempt(w, json!({"at_hash": half})).await.location(), "/me");
        for signing in [Signing::None, Signing::Hmac] {
            w.idp.sign(signing);
            attempt(w, json!({})).await.is_error(StatusCode::BAD_GATEWAY);
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_was_replaced_under_its_name_is_fetched_once() {
    on_each(async |w| {
        attempt(w, json!({})).await.location();
        assert_eq!(w.idp.discoveries(), 1);
        w.idp.replace_key("ES256");
        assert_eq!(attempt(w, json!({})).await.location(), "/me");
        assert_eq!(w.idp.discoveries(), 2);
        assert_eq!(attempt(w, json!({})).await.location(), "/me");
        w.idp.sign(Signing::Forged);
        for _ in 0..3 {
            attempt(w, json!({})).await.is_error(StatusCode::BAD_GATEWAY);
        }
        assert_eq!(w.idp.discoveries(), 2, "not for everybody who forges");
    })
    .await;
}

#[tokio::test]
async fn groups_and_addresses_decide_as_they_were_sent_or_not_at_all() {
    on_each(async |w| {
        let mapping = from(json!({"connection": w.connection.id, "group": "admins", "role": "org_admin"}));
        let mut tx = w.store.begin().await.unwrap();
        store::role_mapping::create(&mut tx, &w.org, mapping)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let is_admin = async || {
            let alice = w.user("alice").await;
            !store::org::roles_of(&w.store, &alice.id)
                .await
                .unwrap()
                .is_empty()
        };
        assert_eq!(
            attempt(w, json!({"groups": ["Admins", "admins2"]}))
                .await
                .location(),
            "/me"
        );
        assert!(!is_admin().await);
        let many: Vec<_> = (0..1500).map(|n| format!("g{n}")).collect();
        for groups in [
            json!(["ad\u{200b}mins"]),
            json!([" admins "]),
            json!(["admins\u{0}"]),
            json!(["\u{202e}admins"]),
            json!(["staff", {"name": "admins"}]),
            json!(many),
        ] {
            let answer = attempt(w, json!({"groups": groups})).await;
            answer.is_error(StatusCode::FORBIDDEN);
            assert!(answer.body.contains("the claim groups"), "{}", answer.body);
            let event = w.last("login.failure").await;
            assert_eq!(event.reason.as_deref(), Some("groups_unusable"));
            assert!(!is_admin().await, "{groups}");
        }
        assert_eq!(attempt(w, json!({"groups": ["admins"]})).await.location(), "/");
        assert!(is_admin().await);
        // Whether it is one group or two, nobody can say.
        attempt(w, json!({"groups": "admins,developers"}))
            .await
            .is_error(StatusCode::FORBIDDEN);
        w.configure(|spec| spec.claims.groups_separator = Some("|".to_owned()))
            .await;
        attempt(w, json!({"groups": "admins,developers"}))
            .await
            .location();
        assert!(!is_admin().await, "one group of that name");
        w.configure(|spec| spec.claims.groups_separator = Some(",".to_owned()))
            .await;
        attempt(w, json!({"groups": "admins,developers"}))
            .await
            .location();
        assert_eq!(w.user("alice").await.groups, ["admins", "developers"]);

        w.configure(|spec| spec.allowed_domains = vec!["acme.example".to_owned()])
            .await;
        for email in [
            "a@evil.com@acme.example",
            "\"a@evil.com\"@acme.example",
            "a@evil.com,b@acme.example",
        ] {
            let answer = attempt(w, json!({"sub": "mallory", "email": email})).await;
            answer.is_error(StatusCode::FORBIDDEN);
            assert!(answer.body.contains("no e-mail address"), "{}", answer.body);
            let event = w.last("login.failure").await;
            assert_eq!(event.reason.as_deref(), Some("email_malformed"));
        }
        assert_eq!(w.users().await.len(), 2, "the owner and Alice");
    })
    .await;
}
