//! What a grant knows of how its person had signed in, and how long the identity provider's word lasts for it.

use crate::world::{World, on_each};
use serde_json::{Value, json};
use wire::{GrantState, Selector, StricterProof};

fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .to_owned()
}

async fn organisation(w: &World, change: impl FnOnce(&mut wire::OrganisationSpec)) {
    let org = store::org::get(&w.store, &w.org).await.unwrap();
    let mut spec = org.spec.clone();
    change(&mut spec);
    let mut tx = w.store.begin().await.unwrap();
    store::org::update(&mut tx, &org, spec).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
}

#[tokio::test]
async fn consent_takes_the_proof_of_its_own_session_along() {
    on_each(async |w| {
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        let id = w.register().await;
        let weak = w.sign_in_by("ada", &["staff"], &["pwd"]).await;
        let strong = w.sign_in_by("ada", &["staff"], &["pwd", "otp", "mfa"]).await;
        let url = w.authorize(&id, &[]);
        w.get_as(&weak, &url).await.expect(403);
        let refused = w.events("authorize.denied").await;
        assert_eq!(refused[0].reason.as_deref(), Some("organisation_floor"));
        assert_eq!(refused[0].actor.amr, ["pwd"]);
        // A page that the strong session opened is worth nothing in the weak one.
        let page = w.get_as(&strong, &url).await.expect(200);
        let mut fields = page.fields();
        fields.push(("decision".into(), "allow".into()));
        assert_eq!(w.decide(&weak, &fields).await.param("code"), None);

        let tokens = w.tokens(&strong, &id).await;
        // Signing in weakly elsewhere neither locks the agent out …
        w.sign_in_by("ada", &["staff"], &["pwd"]).await;
        let tokens = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        let tokens = tokens.expect(200).json();
        let issued = w.events("token.refresh").await;
        assert_eq!(issued[0].actor.amr, ["pwd", "otp", "mfa"]);
        // … nor does signing in strongly lift a grant that was given before the rule.
        organisation(w, |spec| spec.floor.clear()).await;
        let other = w.register().await;
        let weakly = w.tokens(&weak, &other).await;
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        w.sign_in_by("ada", &["staff"], &["pwd", "otp", "mfa"]).await;
        let refused = w.refresh(&other, &text(&weakly, "refresh_token"), &[]).await;
        refused.expect_error(400, "invalid_grant");
        w.refresh(&id, &text(&tokens, "refresh_token"), &[])
            .await
            .expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_code_is_redeemed_on_the_proof_of_its_consent() {
    on_each(async |w| {
        let id = w.register().await;
        let weak = w.sign_in_by("ada", &["staff"], &["pwd"]).await;
        let code = w.code(&weak, &id).await;
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        w.sign_in_by("ada", &["staff"], &["pwd", "otp", "mfa"]).await;
        let refused = w.redeem(&id, &code, &[]).await;
        refused.expect_error(400, "invalid_grant");
        let event = &w.events("token.refuse").await[0];
        assert_eq!(event.reason.as_deref(), Some("organisation_floor"));
    })
    .await;
}

#[tokio::test]
async fn rt3_whoever_left_the_company_has_no_agent_after_a_week() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let tokens = w.tokens(&browser, &id).await;
        w.advance(7 * 86_400 - 60).await;
        let tokens = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        let tokens = tokens.expect(200).json();
        assert_eq!(tokens["expires_in"], 60, "no token outlives the provider's word");
        w.advance(60).await;
        let refused = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        refused.expect_error(400, "invalid_grant");
        let event = &w.events("token.refuse").await[0];
        assert_eq!(event.reason.as_deref(), Some("proof_too_old"));
        // It is a pause: whoever is still there signs in, and the agent goes on.
        w.employee().await;
        let again = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        let again = again.expect(200).json();
        assert_eq!(
            w.grant_state(&text(&again, "access_token")).await,
            GrantState::Active
        );
    })
    .await;
}

#[tokio::test]
async fn somebody_whose_word_is_too_old_signs_in_again_before_consent() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        w.change_app(|spec| {
            spec.oldest_proof = Some(StricterProof {
                agents_seconds: Some(600),
                sessions_seconds: Some(600),
            });
        })
        .await;
        let url = w.authorize(&id, &[]);
        let page = w.get_as(&browser, &url).await.expect(200);
        assert!(
            page.body.contains("have not signed in for 10 minutes"),
            "{}",
            page.body
        );
        w.advance(600).await;
        let answer = w.get_as(&browser, &url).await;
        assert!(answer.location().starts_with("/login?"), "{}", answer.location());
        let mut fields = page.fields();
        fields.push(("decision".into(), "allow".into()));
        assert_eq!(w.decide(&browser, &fields).await.param("code"), None);
        let browser = w.employee().await;
        w.get_as(&browser, &url).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn introspection_says_what_the_gateway_would() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [crate::world::CALLBACK], "client_name": "Confidential",
            "token_endpoint_auth_method": "client_secret_post"});
        let client = w.register_with(&metadata).await;
        let (id, secret) = (text(&client, "client_id"), text(&client, "client_secret"));
        let browser = w.sign_in_by("ada", &["staff"], &["pwd"]).await;
        let code = w.code(&browser, &id).await;
        let tokens = w.redeem(&id, &code, &[("client_secret", &secret)]).await;
        let access = text(&tokens.expect(200).json(), "access_token");
        let active = async || {
            let fields = [
                ("token", access.as_str()),
                ("client_id", id.as_str()),
                ("client_secret", secret.as_str()),
            ];
            let answer = w.form(&w.path("introspect"), &fields).await.expect(200).json();
            answer["active"] == true
        };
        assert!(active().await);
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        assert!(!active().await, "a rule that the grant's proof does not meet");
        organisation(w, |spec| spec.floor.clear()).await;
        assert!(active().await);
        organisation(w, |spec| spec.oldest_proof.agents_seconds = 300).await;
        w.advance(300).await;
        assert!(!active().await, "the provider's word is too old");
    })
    .await;
}
