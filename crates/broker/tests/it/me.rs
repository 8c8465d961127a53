//! The page "My agents".

use crate::world::{World, on_each};
use http::StatusCode;
use serde_json::json;
use store::grant::{self, Consent};
use wire::{Grant, GrantId, GrantState, Timestamp, UserId};

/// A grant that has yielded a token.
async fn grant(w: &World, user: &UserId, name: &str) -> GrantId {
    let mut tx = w.store.begin().await.unwrap();
    let id = wire::ClientId::fresh();
    let client = store::client::NewClient {
        client_id: id.to_string(),
        id,
        name: name.to_owned(),
        verified_host: None,
        source: wire::ClientSource::Dynamic,
        tier: wire::ClientTier::Unverified,
        state: wire::ClientState::Active,
        redirect_uris: vec!["http://127.0.0.1/cb".to_owned()],
        auth_method: "none".to_owned(),
        secret_hash: None,
        registration_hash: None,
        metadata: json!({}),
    };
    let place = (&w.production, &w.wiki.id);
    let client = store::client::create(&mut tx, &w.org, place, client)
        .await
        .unwrap()
        .client;
    let consent = Consent {
        org: &w.org,
        account: &w.production,
        app: &w.wiki.id,
        user,
        client: &client.id,
        scopes: &["read".to_owned()],
        authentication: &wire::Authentication::default(),
        expires_at: Timestamp::from_seconds(2_000_000_000),
    };
    let code = store::random_secret("").unwrap();
    let id = grant::issue(&mut tx, &consent, &store::sha256(code), ("", "", ""))
        .await
        .unwrap();
    store::refresh::begin(&mut tx, &id).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    id
}

async fn get(w: &World, id: &GrantId) -> Grant {
    grant::get(&w.store, &w.org, id, w.store.clock().now())
        .await
        .unwrap()
}

#[tokio::test]
async fn people_see_their_agents_and_apps_and_nobody_elses() {
    on_each(async |w| {
        let mut alice = w.signed_in(json!({})).await;
        let mut bob = w.signed_in(json!({"sub": "bob", "groups": []})).await;
        grant(w, &w.user("alice").await.id, "<b>Claude</b>\u{202e} Code").await;
        let page = alice.get("/me").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            page.body.contains("&#60;b&#62;Claude&#60;/b&#62; Code"),
            "{}",
            page.body
        );
        assert!(
            page.body.contains("href=\"https://wiki.example.com\""),
            "{}",
            page.body
        );
        assert!(page.body.contains("Firefox on Linux") && page.body.contains("This browser"));
        assert!(page.body.contains("Signed in"));
        let page = bob.get("/me").await;
        assert!(
            !page.body.contains("Claude") && !page.body.contains("wiki.example.com"),
            "{}",
            page.body
        );
    })
    .await;
}

#[tokio::test]
async fn an_agent_is_revoked_by_its_person_only_and_only_with_the_token() {
    on_each(async |w| {
        let mut alice = w.signed_in(json!({})).await;
        let mut bob = w.signed_in(json!({"sub": "bob"})).await;
        let id = grant(w, &w.user("alice").await.id, "Codex").await;
        let path = format!("/me/grants/{id}/revoke");
        let csrf = alice.get("/me").await.field("csrf");
        alice.post(&path, &[]).await.is_error(StatusCode::FORBIDDEN);
        grant(w, &w.user("bob").await.id, "Cursor").await;
        let bobs = bob.get("/me").await.field("csrf");
        alice
            .post(&path, &[("csrf", &bobs)])
            .await
            .is_error(StatusCode::FORBIDDEN);
        bob.post(&path, &[("csrf", &bobs)])
            .await
            .is_error(StatusCode::NOT_FOUND);
        w.browser()
            .post(&path, &[("csrf", &csrf)])
            .await
            .is_error(StatusCode::FORBIDDEN);
        assert_eq!(get(w, &id).await.state, GrantState::Active);

        let mut changes = w.store.changes();
        assert_eq!(alice.post(&path, &[("csrf", &csrf)]).await.location(), "/me");
        let revoked = get(w, &id).await;
        assert_eq!(revoked.state, GrantState::Revoked);
        assert_eq!(revoked.revoked_reason.as_deref(), Some("user_revoked"));
        // Earlier changes of this instance may be announced once more by its own poll.
        while changes.recv().await.unwrap() != store::Change::Grant(id.clone()) {}
        let event = w.last("grant.revoke").await;
        assert_eq!(event.actor.grant, Some(id));
        assert_eq!(event.actor.client_name.as_deref(), Some("Codex"));
        assert_eq!(event.target.unwrap().app.as_ref(), Some(&w.wiki.id));
        // Twice is no error.
        assert_eq!(alice.post(&path, &[("csrf", &csrf)]).await.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn all_agents_are_revoked_at_once() {
    on_each(async |w| {
        let mut alice = w.signed_in(json!({})).await;
        w.signed_in(json!({"sub": "bob"})).await;
        let user = w.user("alice").await.id;
        let mine = [grant(w, &user, "One").await, grant(w, &user, "Two").await];
        let bobs = grant(w, &w.user("bob").await.id, "Three").await;
        let csrf = alice.get("/me").await.field("csrf");
        alice
            .post("/me/grants/revoke", &[])
            .await
            .is_error(StatusCode::FORBIDDEN);
        assert_eq!(
            alice
                .post("/me/grants/revoke", &[("csrf", &csrf)])
                .await
                .location(),
            "/me"
        );
        for id in &mine {
            assert_eq!(get(w, id).await.state, GrantState::Revoked);
        }
        assert_eq!(get(w, &bobs).await.state, GrantState::Active);
    })
    .await;
}

#[tokio::test]
async fn people_end_their_other_sessions() {
    on_each(async |w| {
        let mut here = w.signed_in(json!({})).await;
        let mut there = w.signed_in(json!({})).await;
        let mut bob = w.signed_in(json!({"sub": "bob"})).await;
        let page = here.get("/me").await;
        let csrf = page.field("csrf");
        let at = page.body.find("/me/sessions/").unwrap();
        let path: String = page.body[at..].chars().take_while(|c| *c != '"').collect();

        let page = w.signed_in(json!({"sub": "bob"})).await.get("/me").await;
        assert!(!page.body.contains(&path));
        here.post(&path, &[]).await.is_error(StatusCode::FORBIDDEN);
        assert_eq!(there.get("/me").await.status, StatusCode::OK);
        assert_eq!(here.post(&path, &[("csrf", &csrf)]).await.location(), "/me");
        assert!(there.get("/me").await.location().starts_with("/login"));
        assert_eq!(here.get("/me").await.status, StatusCode::OK);
        let ended = w.last("session.revoke").await.target.unwrap();
        assert_eq!(ended.kind, "session");

        let bobs = bob.get("/me").await.field("csrf");
        let alice = w.user("alice").await.id;
        let now = w.store.clock().now();
        let page = store::Paging::default();
        let sessions = store::session::list(&w.store, &w.org, Some(&alice), now, &page)
            .await
            .unwrap();
        let path = format!("/me/sessions/{}/end", sessions[0].id);
        bob.post(&path, &[("csrf", &bobs)])
            .await
            .is_error(StatusCode::NOT_FOUND);
    })
    .await;
}
