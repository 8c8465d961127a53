//! Signing out here and at the provider: each way.

use crate::browser::{Answer, Browser};
use crate::idp::{CLIENT_ID, Signing};
use crate::world::{CONTROL, START, World, oidc, on_each};
use http::{StatusCode, header};
use serde_json::{Value, json};
use std::collections::HashMap;
use store::Change;
use url::Url;
use wire::{BrowserSession, Outcome, SessionId, UserId};

async fn sign_out(browser: &mut Browser) -> Answer {
    let page = browser.get("/logout").await;
    let csrf = page.field("csrf");
    browser.post("/logout", &[("csrf", &csrf)]).await
}

#[tokio::test]
async fn signing_out_leads_on_to_the_provider_where_the_connection_says_so() {
    on_each(async |w| {
        w.idp.offer_logout();
        let mut before = w.signed_in(json!({})).await;
        let away = sign_out(&mut before).await;
        assert_eq!(away.status, StatusCode::OK, "not by default");

        w.configure(|spec| spec.logout.rp_initiated = true).await;
        let mut browser = w.signed_in(json!({ "sid": "s1" })).await;
        let page = browser.get("/logout").await;
        assert!(
            page.body
                .contains("Where Acme SSO supports it, you are signed out there, too."),
            "{}",
            page.body
        );
        let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            !policy.contains("form-action"),
            "browsers apply it to the redirect: {policy}"
        );
        let away = sign_out(&mut browser).await.location().to_owned();
        assert_eq!(w.last("logout").await.outcome, Outcome::Success);
        assert!(!browser.get("/me").await.status.is_success(), "ours ended first");

        let url = Url::parse(&away).unwrap();
        assert!(
            away.starts_with(&format!("{}/end?tenant=acme&", w.idp.issuer())),
            "{away}"
        );
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], CLIENT_ID);
        assert_eq!(
            query["post_logout_redirect_uri"],
            format!("{CONTROL}/login/signed-out")
        );
        assert_eq!(
            query["id_token_hint"].split('.').count(),
            3,
            "the id token of the sign-in"
        );
        assert!(query["state"].len() >= 40);

        let back = |state: &str| format!("/login/signed-out?state={state}");
        let other = w.browser().get(&back(&query["state"])).await;
        assert!(other.body.contains("You are not signed in") && !other.body.contains("Acme SSO"));
        let done = browser.get(&back(&query["state"])).await;
        assert!(
            done.body.contains("Acme SSO has finished signing you out"),
            "{}",
            done.body
        );
        let again = browser.get(&back(&query["state"])).await;
        assert!(!again.body.contains("Acme SSO"));
        assert!(
            browser
                .get("/login/signed-out")
                .await
                .body
                .contains("You are not signed in")
        );
    })
    .await;
}

#[tokio::test]
async fn a_link_makes_nobody_believe_that_they_are_signed_out() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let page = browser.get("/login/signed-out?state=x").await;
        assert!(page.body.contains("You are still signed in"), "{}", page.body);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn without_support_at_the_provider_signing_out_is_ours_alone() {
    on_each(async |w| {
        w.configure(|spec| spec.logout.rp_initiated = true).await;
        let mut browser = w.signed_in(json!({})).await;
        let done = sign_out(&mut browser).await;
        assert_eq!(done.status, StatusCode::OK);
        assert!(done.body.contains("You are signed out"));

        // Nor does a local owner go anywhere.
        let mut owner = w.owner().await;
        assert_eq!(sign_out(&mut owner).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn au3_the_id_token_kept_for_signing_out_is_sealed_and_goes_with_its_session() {
    on_each(async |w| {
        w.idp.offer_logout();
        w.configure(|spec| spec.logout.rp_initiated = true).await;
        let mut browser = w.signed_in(json!({ "sub": "alice" })).await;
        let alice = w.user("alice").await;
        let session = sessions(w, &alice.id).await.remove(0).id;
        let kept = store::upstream_session::id_token(&w.store, &session)
            .await
            .unwrap();
        let kept = kept.unwrap();
        sign_out(&mut browser).await.location();
        w.clock.advance(700);
        store::retention::sweep(&w.store).await.unwrap();
        let gone = store::upstream_session::id_token(&w.store, &session)
            .await
            .unwrap();
        assert!(gone.is_none());
        assert_eq!(kept.split('.').count(), 3);
    })
    .await;
}

/// Sessions of somebody that are there.
async fn sessions(w: &World, user: &UserId) -> Vec<BrowserSession> {
    let (now, page) = (w.clock.now(), store::Paging::default());
    store::session::list(&w.store, &w.org, Some(user), now, &page)
        .await
        .unwrap()
}

/// A session at the wiki that came from a control-plane session.
fn app_session(w: &World, user: &UserId, parent: &SessionId) -> store::session::Record {
    store::session::Record {
        id: SessionId::fresh(),
        org: Some(w.org.clone()),
        user: Some(user.clone()),
        app: Some(w.wiki.id.clone()),
        parent: Some(parent.clone()),
        data: "{}".to_owned(),
        expires_at: w.clock.now().plus_seconds(3600),
        ip: None,
        user_agent: None,
        authentication: wire::Authentication::default(),
    }
}

async fn at_app(w: &World, user: &UserId, parent: &SessionId) -> SessionId {
    let mut tx = w.store.begin().await.unwrap();
    let record = app_session(w, user, parent);
    store::session::save(&mut tx, record.id.as_ref(), &record)
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    record.id
}

async fn tell(w: &World, token: &str) -> Answer {
    let path = format!("/login/backchannel/{}", w.connection.id);
    let answer = w.browser().post(&path, &[("logout_token", token)]).await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    answer
}

/// The world with a connection that listens, and Alice signed in twice, once in each session at the provider.
async fn listening(w: &World) -> (Browser, Browser, UserId) {
    w.configure(|spec| spec.logout.back_channel = true).await;
    let one = w.signed_in(json!({ "sub": "alice", "sid": "one" })).await;
    let two = w.signed_in(json!({ "sub": "alice", "sid": "two" })).await;
    (one, two, w.user("alice").await.id)
}

async fn is_in(browser: &mut Browser) -> bool {
    browser.get("/me").await.status == StatusCode::OK
}

/// Some providers name sessions by sealed texts.
#[tokio::test]
async fn names_of_sessions_may_be_long() {
    on_each(async |w| {
        w.configure(|spec| spec.logout.back_channel = true).await;
        let (long, other) = ("s".repeat(1024), format!("{}t", "s".repeat(1023)));
        let mut one = w.signed_in(json!({ "sub": "alice", "sid": long })).await;
        let mut two = w.signed_in(json!({ "sub": "alice", "sid": other })).await;
        let jti = "j".repeat(600);
        let token = w.idp.logout_token(json!({ "sid": long, "jti": jti }));
        let told = tell(w, &token).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.body);
        assert!(!is_in(&mut one).await);
        assert!(is_in(&mut two).await);
        let longer = w.idp.logout_token(json!({ "sid": "s".repeat(1025) }));
        let told = tell(w, &longer).await;
        assert_eq!(told.status, StatusCode::BAD_REQUEST);
        assert!(
            told.body.contains("`sid` is no text of 1 to 1024 bytes"),
            "{}",
            told.body
        );
    })
    .await;
}

#[tokio::test]
async fn a_provider_ends_the_session_that_it_names_and_what_came_from_it() {
    on_each(async |w| {
        let (mut one, mut two, alice) = listening(w).await;
        let mut bob = w.signed_in(json!({ "sub": "bob", "sid": "three" })).await;
        let first = sessions(w, &alice).await.remove(0).id;
        let app = at_app(w, &alice, &first).await;
        let mut changes = w.store.changes();

        let told = tell(w, &w.idp.logout_token(json!({ "sid": "one" }))).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.body);
        assert!(!is_in(&mut one).await);
        assert!(is_in(&mut two).await && is_in(&mut bob).await);
        let mut ended = Vec::new();
        while let Ok(change) = changes.try_recv() {
            ended.push(change);
        }
        assert!(ended.contains(&Change::Session(first.clone())), "{ended:?}");
        assert!(
            ended.contains(&Change::Session(app.clone())),
            "gateways forget it, too: {ended:?}"
        );
        assert!(
            sessions(w, &alice)
                .await
                .iter()
                .all(|s| s.id != first && s.id != app)
        );
        let event = w.last("session.backchannel_logout").await;
        assert_eq!(event.outcome, Outcome::Success);
        assert_eq!(event.target.unwrap().id, alice.to_string());
        assert_eq!(event.actor.session, Some(first));

        // All of a person.
        let mut three = w.signed_in(json!({ "sub": "alice", "sid": "four" })).await;
        assert_eq!(
            tell(w, &w.idp.logout_token(json!({ "sub": "alice" })))
                .await
                .status,
            StatusCode::OK
        );
        assert!(!is_in(&mut two).await && !is_in(&mut three).await);
        assert!(is_in(&mut bob).await);

        // Both members: only what fits both.
        let both = json!({ "sub": "alice", "sid": "three" });
        assert_eq!(tell(w, &w.idp.logout_token(both)).await.status, StatusCode::OK);
        assert!(is_in(&mut bob).await);

        // Nobody is left: that is fine, too.
        assert_eq!(
            tell(w, &w.idp.logout_token(json!({ "sub": "alice" })))
                .await
                .status,
            StatusCode::OK
        );
    })
    .await;
}

#[tokio::test]
async fn a_session_at_an_app_that_outlived_the_one_it_came_from_ends_as_well() {
    on_each(async |w| {
        let (_, _, alice) = listening(w).await;
        let now = w.clock.now();
        let first = sessions(w, &alice).await.remove(0).id;
        let mut tx = w.store.begin().await.unwrap();
        let record = store::session::Record {
            expires_at: now.plus_seconds(7 * 86_400),
            ..app_session(w, &alice, &first)
        };
        store::session::save(&mut tx, "app", &record).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        w.clock.advance(13 * 3600);
        store::retention::sweep(&w.store).await.unwrap();
        let left = sessions(w, &alice).await;
        assert_eq!(left.iter().map(|s| &s.id).collect::<Vec<_>>(), [&record.id]);
        let iat = w.clock.now().seconds();
        let token = w
            .idp
            .logout_token(json!({ "sid": "one", "iat": iat, "exp": iat + 120 }));
        assert_eq!(tell(w, &token).await.status, StatusCode::OK);
        assert!(sessions(w, &alice).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_good_logout_token_ends_nothing() {
    on_each(async |w| {
        let (mut one, _, _) = listening(w).await;
        let event = "http://schemas.openid.net/event/backchannel-logout";
        let wrong: Vec<(&str, Value)> = vec![
            ("issuer", json!({ "iss": "https://other.example" })),
            ("no issuer", json!({ "iss": null })),
            ("audience", json!({ "aud": "another-client" })),
            ("audiences", json!({ "aud": [CLIENT_ID, "another-client"] })),
            ("no audience", json!({ "aud": [] })),
            ("nonce", json!({ "nonce": "n" })),
            ("no events", json!({ "events": null })),
            (
                "other events",
                json!({ "events": { "https://example.com/other": {} } }),
            ),
            ("event is no object", json!({ "events": { event: true } })),
            ("no jti", json!({ "jti": null })),
            ("empty jti", json!({ "jti": "" })),
            ("nobody", json!({ "sid": null })),
            ("subject is no text", json!({ "sub": 7 })),
            ("old", json!({ "iat": START - 400 })),
            ("from the future", json!({ "iat": START + 400 })),
            (
                "issued a day ahead",
                json!({ "iat": START + 86_400, "exp": START + 90_000 }),
            ),
            ("good in a day", json!({ "nbf": START + 86_400 })),
            ("another client's", json!({ "azp": "somebody-else" })),
            (
                "others', too",
                json!({ "aud": ["chatelaine", "other"], "azp": "chatelaine" }),
            ),
            ("jw5 no time", json!({ "iat": null })),
            ("jw5 time as text", json!({ "iat": START.to_string() })),
            ("jw5 never ends", json!({ "exp": "never" })),
            ("expired", json!({ "exp": START - 61 })),
        ];
        for (n, (what, change)) in wrong.into_iter().enumerate() {
            let mut claims = json!({ "sid": "one" });
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let told = tell(w, &w.idp.logout_token(claims)).await;
            assert_eq!(told.status, StatusCode::BAD_REQUEST, "{what}");
            let body: Value = serde_json::from_str(&told.body).unwrap();
            assert_eq!(body["error"], "invalid_request", "{what}");
            if n == 0 {
                let event = w.last("session.backchannel_logout").await;
                assert_eq!(event.outcome, Outcome::Failure);
                assert_eq!(event.reason.as_deref(), Some("logout_token_invalid"));
            }
        }
        for signing in [Signing::None, Signing::Hmac, Signing::Forged] {
            w.idp.sign(signing);
            let token = w.idp.logout_token(json!({ "sid": "one" }));
            assert_eq!(tell(w, &token).await.status, StatusCode::BAD_REQUEST);
        }
        w.idp.sign(Signing::Right);
        for garbage in ["", "a.b.c", "x", &"a".repeat(20_000)] {
            assert_eq!(tell(w, garbage).await.status, StatusCode::BAD_REQUEST);
        }
        assert!(is_in(&mut one).await);
        assert_eq!(
            tell(w, &w.idp.logout_token(json!({ "sid": "one" }))).await.status,
            StatusCode::OK
        );
        assert!(!is_in(&mut one).await);
    })
    .await;
}

#[tokio::test]
async fn a_logout_token_works_once() {
    on_each(async |w| {
        let (_, mut two, _) = listening(w).await;
        let token = w.idp.logout_token(json!({ "sub": "alice" }));
        assert_eq!(tell(w, &token).await.status, StatusCode::OK);
        assert!(!is_in(&mut two).await);
        let mut back = w.signed_in(json!({ "sub": "alice" })).await;
        assert_eq!(tell(w, &token).await.status, StatusCode::BAD_REQUEST);
        assert!(is_in(&mut back).await);
        let event = w.last("session.backchannel_logout").await;
        assert_eq!(event.reason.as_deref(), Some("logout_token_replayed"));
    })
    .await;
}

#[tokio::test]
async fn a_provider_ends_only_what_came_through_its_own_connection_and_only_when_it_may() {
    on_each(async |w| {
        let mut alice = w.signed_in(json!({ "sub": "alice", "sid": "one" })).await;
        let token = w.idp.logout_token(json!({ "sid": "one" }));
        assert_eq!(
            tell(w, &token).await.status,
            StatusCode::BAD_REQUEST,
            "off by default"
        );
        assert!(is_in(&mut alice).await);

        // Another connection, of the same provider even: its people are others.
        let mut spec = oidc("Other", &w.idp);
        spec.logout.back_channel = true;
        let other = w.connect(spec, None).await;
        let path = format!("/login/backchannel/{}", other.id);
        for claims in [json!({ "sid": "one" }), json!({ "sub": "alice" })] {
            let token = w.idp.logout_token(claims);
            let told = w.browser().post(&path, &[("logout_token", &token)]).await;
            assert_eq!(told.status, StatusCode::OK);
        }
        assert!(is_in(&mut alice).await);

        // Another provider's word does not count for this connection.
        let stranger = crate::idp::Idp::start(START, vec!["client_secret_basic"]).await;
        w.configure(|spec| spec.logout.back_channel = true).await;
        for claims in [
            json!({ "sid": "one" }),
            json!({ "sid": "one", "iss": w.idp.issuer() }),
        ] {
            let told = tell(w, &stranger.logout_token(claims)).await;
            assert_eq!(told.status, StatusCode::BAD_REQUEST);
        }
        assert!(is_in(&mut alice).await);
        for nowhere in ["con_0192f00000000000000000000000000a", "x"] {
            let path = format!("/login/backchannel/{nowhere}");
            let told = w.browser().post(&path, &[("logout_token", "x")]).await;
            assert_eq!(told.status, StatusCode::BAD_REQUEST);
        }
    })
    .await;
}

#[tokio::test]
async fn what_to_register_at_the_provider_is_in_the_connection() {
    on_each(async |w| {
        let id = &w.connection.id;
        for connection in [
            w.connection.clone(),
            store::connection::get(&w.store, &w.org, id).await.unwrap(),
        ] {
            let back_channel = format!("{CONTROL}/login/backchannel/{id}");
            assert_eq!(
                connection.backchannel_logout_uri.as_deref(),
                Some(back_channel.as_str())
            );
            let signed_out = format!("{CONTROL}/login/signed-out");
            assert_eq!(
                connection.post_logout_redirect_uri.as_deref(),
                Some(signed_out.as_str())
            );
        }
    })
    .await;
}

/// A session at the wiki that came from the one in this browser.
async fn at_the_wiki(w: &World, of: &str) -> SessionId {
    let user = w.user(of).await;
    let now = w.clock.now();
    let page = store::Paging::default();
    let sessions = store::session::list(&w.store, &w.org, Some(&user.id), now, &page).await;
    let parent = sessions.unwrap().into_iter().find(|s| s.app.is_none()).unwrap();
    let record = store::session::Record {
        id: SessionId::fresh(),
        org: Some(w.org.clone()),
        user: Some(user.id),
        app: Some(w.wiki.id.clone()),
        parent: Some(parent.id),
        data: "{}".to_owned(),
        expires_at: now.plus_seconds(48 * 3600),
        ip: None,
        user_agent: None,
        authentication: wire::Authentication::default(),
    };
    let mut tx = w.store.begin().await.unwrap();
    store::session::save(&mut tx, "wiki", &record).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    record.id
}

async fn is_there(w: &World, session: &SessionId) -> bool {
    let mut tx = w.store.begin().await.unwrap();
    store::session::is_live(&mut tx, session, w.clock.now())
        .await
        .unwrap()
}

#[tokio::test]
async fn nobody_is_told_that_they_are_signed_out_while_an_app_knows_them() {
    on_each(async |w| {
        // Signed out here, and at the app.
        let mut browser = w.signed_in(json!({})).await;
        let wiki = at_the_wiki(w, "alice").await;
        assert!(sign_out(&mut browser).await.body.contains("You are signed out"));
        assert!(!is_there(w, &wiki).await);

        // The session here is over; the app's is not.
        let mut browser = w.signed_in(json!({})).await;
        let wiki = at_the_wiki(w, "alice").await;
        w.clock.advance(13 * 3600);
        for page in [browser.get("/logout").await, browser.post("/logout", &[]).await] {
            assert!(page.body.contains("You are not signed in"), "{}", page.body);
            assert!(page.body.contains("still know you"), "{}", page.body);
            assert!(!page.body.contains("You are signed out"), "{}", page.body);
        }
        assert!(is_there(w, &wiki).await);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_signs_nobody_in_any_more_can_still_be_ended() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        let wiki = at_the_wiki(w, crate::world::OWNER).await;
        let org = store::org::get(&w.store, &w.org).await.unwrap();
        let mut spec = org.spec.clone();
        spec.require_second_factor = true;
        let mut tx = w.store.begin().await.unwrap();
        store::org::update(&mut tx, &org, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert!(!browser.get("/me").await.status.is_success());
        assert!(is_there(w, &wiki).await);
        assert!(sign_out(&mut browser).await.body.contains("You are signed out"));
        assert!(!is_there(w, &wiki).await);
    })
    .await;
}
