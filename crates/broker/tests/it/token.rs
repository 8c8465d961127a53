//! Id tokens that must not sign anybody in.

use crate::idp::{Idp, Signing, callback};
use crate::world::{START, World, oidc, on_each};
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
