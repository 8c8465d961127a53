//! Clients that are known by a metadata document, from the request to the tokens.

use crate::world::{CALLBACK, World, on_each};
use http::Method;
use serde_json::json;
use std::time::Duration;
use wire::{ClientSource, ClientState, ClientTier};

const ID: &str = "https://agent.example/client.json";
const OWN: &str = "https://agent.example/callback";

async fn state(w: &World, redirects: &[&str]) {
    let document = json!({
        "client_id": ID, "client_name": "Nice\u{202e} agent", "redirect_uris": redirects,
        "logo_uri": "http://169.254.169.254/", "jwks_uri": "http://169.254.169.254/",
    });
    w.oauth.keep_document(ID, document).await;
}

#[tokio::test]
async fn a_document_makes_a_domain_verified_client_once_a_signed_in_person_came() {
    on_each(async |w| {
        state(w, &[CALLBACK, OWN]).await;
        // Pre-fetching by nobody in particular leaves no trace.
        w.get(&w.authorize(ID, &[])).await.expect(303);
        assert!(w.client(ID).await.is_none());
        let browser = w.employee().await;
        let page = w
            .get_as(&browser, &w.authorize(ID, &[("redirect_uri", OWN)]))
            .await
            .expect(200);
        let host = page.body.find("agent.example").unwrap();
        let name = page.body.find("calls itself <q>Nice agent</q>").unwrap();
        assert!(host < name, "the proven host comes first");
        assert!(page.body.contains("Domain verified"));
        let client = w.client(ID).await.unwrap().client;
        assert_eq!(client.source, ClientSource::MetadataDocument);
        assert_eq!(
            (client.tier, client.state),
            (ClientTier::DomainVerified, ClientState::Active)
        );
        assert_eq!(client.verified_host.as_deref(), Some("agent.example"));
        let event = &w.events("client.register").await[0];
        assert_eq!(event.actor.user.as_ref(), Some(&browser.user));
        let tokens = w.tokens(&browser, ID).await;
        assert_eq!(w.claims(tokens["access_token"].as_str().unwrap()).act.sub, ID);
        assert_eq!(w.events("client.register").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn changed_redirects_make_an_open_consent_page_worthless() {
    on_each(async |w| {
        state(w, &[CALLBACK]).await;
        let browser = w.employee().await;
        let url = w.authorize(ID, &[]);
        let page = w.get_as(&browser, &url).await.expect(200);
        state(w, &[CALLBACK, OWN]).await;
        let mut fields = page.fields();
        fields.push(("decision".into(), "allow".into()));
        w.decide(&browser, &fields).await.expect(403);
        assert_eq!(w.client(ID).await.unwrap().client.redirect_uris, [CALLBACK, OWN]);
        assert_eq!(w.events("client.update").await.len(), 1);
        w.consent(&browser, &url, "allow").await.expect(303);
        // What the document does not name any more leads nowhere.
        state(w, &[OWN]).await;
        w.get_as(&browser, &url).await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn a_document_counts_only_as_far_as_the_app_allows() {
    on_each(async |w| {
        state(w, &[CALLBACK, "https://other.example/callback"]).await;
        let page = w.get(&w.authorize(ID, &[])).await.expect(400);
        assert!(
            page.body.contains("https://other.example/callback"),
            "{}",
            page.body
        );

        state(w, &[CALLBACK]).await;
        w.change_app(|app| app.oauth.registration.approval = true).await;
        let browser = w.employee().await;
        let page = w.get_as(&browser, &w.authorize(ID, &[])).await.expect(403);
        assert!(page.body.contains("waits for approval"));
        assert_eq!(w.client(ID).await.unwrap().client.state, ClientState::Pending);
        let denied = &w.events("authorize.denied").await[0];
        assert_eq!(denied.reason.as_deref(), Some("client_not_accepted"));

        w.change_app(|app| app.oauth.registration.metadata_documents = false)
            .await;
        let page = w.get_as(&browser, &w.authorize(ID, &[])).await.expect(400);
        assert!(page.body.contains("not registered"));
    })
    .await;
}

#[tokio::test]
async fn refresh_fails_once_documents_are_not_accepted_any_more() {
    on_each(async |w| {
        state(w, &[CALLBACK]).await;
        let browser = w.employee().await;
        let tokens = w.tokens(&browser, ID).await;
        w.change_app(|app| app.oauth.registration.metadata_documents = false)
            .await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        w.refresh(ID, refresh, &[])
            .await
            .expect_error(400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn dc6_addresses_in_metadata_are_never_fetched() {
    on_each(async |w| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = format!("http://{}/x", listener.local_addr().unwrap());
        let metadata = json!({
            "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "logo_uri": inside,
            "jwks_uri": inside, "client_uri": inside, "policy_uri": inside, "sector_identifier_uri": inside,
        });
        let answer = w
            .json(Method::POST, &w.path("register"), None, &metadata)
            .await
            .expect(201);
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        let page = w
            .get_as(&w.employee().await, &w.authorize(&id, &[]))
            .await
            .expect(200);
        assert!(!page.body.contains(&inside) && !answer.body.contains(&inside));
        let visited = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
        assert!(visited.is_err(), "somebody was sent to {inside}");
    })
    .await;
}
