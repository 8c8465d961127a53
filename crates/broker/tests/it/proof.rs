//! How somebody signed in is the session's, and so are the doors that it opens.

use crate::browser::Browser;
use crate::idp::Idp;
use crate::world::{World, on_each};
use http::StatusCode;
use serde_json::json;
use wire::{Authentication, Outcome, Selector, SessionId, Timestamp};

async fn organisation(w: &World, change: impl FnOnce(&mut wire::OrganisationSpec)) {
    let org = store::org::get(&w.store, &w.org).await.unwrap();
    let mut spec = org.spec.clone();
    change(&mut spec);
    let mut tx = w.store.begin().await.unwrap();
    store::org::update(&mut tx, &org, spec).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
}

fn sign_in(w: &World) -> String {
    format!("/signin/{}?state=s", w.wiki.id)
}

/// How the newest session began.
async fn newest(w: &World) -> (SessionId, Authentication) {
    let page = store::Paging::default();
    let all = store::session::list(&w.store, &w.org, None, w.clock.now(), &page);
    let last = all.await.unwrap().pop().unwrap();
    (last.id, last.authentication)
}

async fn enters(w: &World, browser: &mut Browser) -> bool {
    let answer = browser.get(&sign_in(w)).await;
    let event = w.last("app.sign_in").await;
    assert_eq!(event.outcome == Outcome::Allowed, answer.status.is_redirection());
    answer.status.is_redirection()
}

#[tokio::test]
async fn two_browsers_of_one_person_keep_their_own_proofs() {
    on_each(async |w| {
        let time = w.clock.now().seconds() - 5;
        let mut weak = w.signed_in(json!({"amr": ["pwd"], "acr": "0"})).await;
        let (_, authentication) = newest(w).await;
        assert_eq!(
            (authentication.amr, authentication.acr.as_deref()),
            (vec!["pwd".to_owned()], Some("0"))
        );
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        assert!(!enters(w, &mut weak).await);
        assert_eq!(w.last("app.sign_in").await.actor.amr, ["pwd"]);
        let mut strong = w
            .signed_in(json!({"amr": ["pwd", "otp", "mfa"], "auth_time": time}))
            .await;
        let (_, authentication) = newest(w).await;
        assert_eq!(authentication.auth_time, Some(Timestamp::from_seconds(time)));
        assert!(enters(w, &mut strong).await);
        assert!(!enters(w, &mut weak).await, "lifted");
        let mut again = w.signed_in(json!({"amr": "pwd"})).await;
        assert_eq!(newest(w).await.1.amr, ["pwd"], "a bare word is one");
        assert!(!enters(w, &mut again).await);
        assert!(enters(w, &mut strong).await, "lowered");
        // Nothing of it stays with the person.
        let person = store::user::by_id(&w.store, &w.users().await.pop().unwrap().id).await;
        let claims = person.unwrap().unwrap().claims;
        for name in ["amr", "acr", "auth_time"] {
            assert!(!claims.contains_key(name), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_said_in_the_form_of_the_standard_proves_nothing() {
    on_each(async |w| {
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        let many: Vec<String> = (0..40)
            .map(|n| format!("x{n}"))
            .chain(["mfa".to_owned()])
            .collect();
        for amr in [
            json!(null),
            json!({"mfa": true}),
            json!(["mfa", 1]),
            json!(""),
            json!([]),
            json!(many),
        ] {
            let mut browser = w.signed_in(json!({"amr": amr})).await;
            assert!(!enters(w, &mut browser).await, "{amr}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_handoff_carries_the_proof_of_its_session() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({"amr": ["pwd", "hwk"], "acr": "phr"})).await;
        w.signed_in(json!({"amr": ["pwd"]})).await;
        let answer = browser.get(&sign_in(w)).await;
        let url = url::Url::parse(answer.location()).unwrap();
        let code = url
            .query_pairs()
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
            .into_owned();
        let mut tx = w.store.begin().await.unwrap();
        let hash = store::sha256(&code);
        let state = store::sha256("s");
        let handoff = store::session::redeem_handoff(&mut tx, &hash, &w.wiki.id, &state).await;
        let handoff = handoff.unwrap().unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert_eq!(handoff.authentication.amr, ["pwd", "hwk"]);
        assert_eq!(handoff.authentication.acr.as_deref(), Some("phr"));
    })
    .await;
}

#[tokio::test]
async fn confirming_changes_the_proof_of_this_session_and_of_no_other() {
    on_each(async |w| {
        let mut other = w.signed_in(json!({"amr": ["pwd"]})).await;
        let mut browser = w.signed_in(json!({"amr": ["pwd"]})).await;
        organisation(w, |spec| spec.floor = vec![Selector::Mfa {}]).await;
        assert!(!enters(w, &mut browser).await);
        let csrf = browser.get("/login/confirm").await.field("csrf");
        let fields = [("csrf", csrf.as_str()), ("return_to", "/me")];
        let away = browser.post("/login/confirm/provider", &fields).await;
        let claims = json!({"amr": ["pwd", "otp"], "auth_time": w.clock.now().seconds()});
        let back = Idp::authorize(&w.idp, away.location(), claims);
        assert_eq!(browser.get(&back).await.location(), "/me");
        assert_eq!(w.last("login.confirm").await.actor.amr, ["pwd", "otp"]);
        assert!(enters(w, &mut browser).await);
        assert!(!enters(w, &mut other).await);
    })
    .await;
}

#[tokio::test]
async fn a_session_lasts_no_longer_than_the_providers_word() {
    on_each(async |w| {
        organisation(w, |spec| spec.oldest_proof.sessions_seconds = 600).await;
        let mut browser = w.signed_in(json!({})).await;
        w.clock.advance(599);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        w.clock.advance(1);
        assert!(browser.get("/me").await.location().starts_with("/login"));
    })
    .await;
}
