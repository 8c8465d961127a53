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
async fn a_document_makes_a_domain_verified_client_once_a_person_allowed_it() {
    on_each(async |w| {
        state(w, &[CALLBACK, OWN]).await;
        // Pre-fetching by nobody in particular leaves no trace.
        w.get(&w.authorize(ID, &[])).await.expect(303);
        assert!(w.client(ID).await.is_none());
        let browser = w.employee().await;
        let url = w.authorize(ID, &[("redirect_uri", OWN)]);
        let page = w.get_as(&browser, &url).await.expect(200);
        let host = page.body.find("agent.example").unwrap();
        let name = page.body.find("calls itself <q>Nice agent</q>").unwrap();
        assert!(host < name, "the proven host comes first");
        assert!(page.body.contains("Domain verified"));
        assert!(page.body.contains(ID) && page.body.contains(OWN), "{}", page.body);
        // Whoever only looked made no client, and did nothing that the log would say of them.
        assert!(w.client(ID).await.is_none());
        assert!(w.events("client.").await.is_empty());
        w.consent(&browser, &url, "deny").await.expect(303);
        assert!(w.client(ID).await.is_none());
        let allowed = w.consent(&browser, &url, "allow").await.expect(303);
        let client = w.client(ID).await.unwrap().client;
        assert_eq!(client.source, ClientSource::MetadataDocument);
        assert_eq!(client.state, ClientState::Active);
        assert_eq!(client.verified_host.as_deref(), Some("agent.example"));
        assert!(
            !client.receiver_proven,
            "one of its redirects is for any program of a computer"
        );
        let event = w.events("client.register").await.pop().unwrap();
        assert_eq!(event.actor.kind, wire::ActorKind::Anonymous);
        assert_eq!(event.actor.user, None);
        let consent = w.events("consent.allow").await.pop().unwrap();
        assert_eq!(consent.actor.user.as_ref(), Some(&browser.user));
        assert_eq!(consent.actor.client, Some(client.id));
        let shown = consent.change.unwrap().after;
        assert_eq!(
            (&shown["tier"], &shown["receiver_proven"]),
            (&json!("domain_verified"), &json!(true))
        );
        let code = allowed.param("code").unwrap();
        let tokens = w
            .redeem(ID, &code, &[("redirect_uri", OWN)])
            .await
            .expect(200)
            .json();
        assert_eq!(w.claims(tokens["access_token"].as_str().unwrap()).act.sub, ID);
        w.tokens(&browser, ID).await;
        assert_eq!(w.events("client.register").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_loopback_redirect_proves_no_receiver_whoever_published_the_document() {
    on_each(async |w| {
        state(w, &[CALLBACK, OWN]).await;
        w.change_app(|app| app.oauth.registration.lowest_tier = ClientTier::DomainVerified)
            .await;
        let browser = w.employee().await;
        let own = w.authorize(ID, &[("redirect_uri", OWN)]);
        w.get_as(&browser, &own).await.expect(200);
        let page = w.get_as(&browser, &w.authorize(ID, &[])).await.expect(403);
        assert!(page.body.contains("client_not_accepted"), "{}", page.body);

        w.change_app(|app| app.oauth.registration.lowest_tier = ClientTier::Localhost)
            .await;
        let page = w.get_as(&browser, &w.authorize(ID, &[])).await.expect(200);
        assert!(page.body.contains("Unverified, on a computer"), "{}", page.body);
        assert!(page.body.contains("No proven name") && !page.body.contains("Domain verified"));
        assert!(page.body.contains("any program on that computer"));
        assert!(page.body.contains(ID) && page.body.contains(CALLBACK));
        let tokens = w.tokens(&browser, ID).await;
        let shown = w
            .events("consent.allow")
            .await
            .pop()
            .unwrap()
            .change
            .unwrap()
            .after;
        assert_eq!(
            (&shown["tier"], &shown["receiver_proven"]),
            (&json!("localhost"), &json!(false))
        );
        assert_eq!(shown["verified_host"], "agent.example");
        // What was consented to there is worth as little later.
        w.change_app(|app| app.oauth.registration.lowest_tier = ClientTier::Unverified)
            .await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        w.refresh(ID, refresh, &[])
            .await
            .expect_error(400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a_document_at_another_port_is_of_somebody_else() {
    on_each(async |w| {
        let id = "https://agent.example:8443/client.json";
        let at_port = "https://agent.example:8443/callback";
        let document = |redirects: &[&str]| json!({"client_id": id, "redirect_uris": redirects});
        w.oauth.keep_document(id, document(&[OWN])).await;
        let page = w
            .get(&w.authorize(id, &[("redirect_uri", OWN)]))
            .await
            .expect(400);
        assert!(page.body.contains(OWN), "its own is another port: {}", page.body);
        w.oauth.keep_document(id, document(&[at_port])).await;
        let browser = w.employee().await;
        let url = w.authorize(id, &[("redirect_uri", at_port)]);
        let page = w.get_as(&browser, &url).await.expect(200);
        assert!(page.body.contains("agent.example:8443</p>"), "{}", page.body);
        w.consent(&browser, &url, "allow").await.expect(303);
        let client = w.client(id).await.unwrap().client;
        assert_eq!(client.verified_host.as_deref(), Some("agent.example:8443"));
        // An approval is for this client, not for others of the host.
        w.say(id, ClientTier::Approved, ClientState::Active).await;
        let other = "https://agent.example:8443/other.json";
        let document = json!({"client_id": other, "redirect_uris": [at_port]});
        w.oauth.keep_document(other, document).await;
        let url = w.authorize(other, &[("redirect_uri", at_port)]);
        let page = w.get_as(&browser, &url).await.expect(200);
        assert!(!page.body.contains("Approved"), "{}", page.body);
    })
    .await;
}

#[tokio::test]
async fn rename_an_approved_document_that_changes_waits_for_approval() {
    on_each(async |w| {
        state(w, &[OWN]).await;
        let browser = w.employee().await;
        let url = w.authorize(ID, &[("redirect_uri", OWN)]);
        w.consent(&browser, &url, "allow").await.expect(303);
        w.say(ID, ClientTier::Approved, ClientState::Active).await;
        let page = w.get_as(&browser, &url).await.expect(200);
        assert!(page.body.contains("Approved"));
        let renamed = json!({"client_id": ID, "client_name": "Claude Code", "redirect_uris": [OWN]});
        w.oauth.keep_document(ID, renamed).await;
        let page = w.get_as(&browser, &url).await.expect(403);
        assert!(page.body.contains("waits for approval"), "{}", page.body);
        let client = w.client(ID).await.unwrap().client;
        assert_eq!(
            (client.tier, client.state),
            (ClientTier::DomainVerified, ClientState::Pending)
        );
        assert_eq!(client.approval.unwrap().name, "Nice agent");
        let event = w.events("client.update").await.pop().unwrap();
        assert_eq!(
            event.actor.user, None,
            "the person who came across it changed nothing"
        );
        // Nobody is sent to what waits, signed in or not.
        for cookie in [None, Some(&browser)] {
            let bad = w.authorize(ID, &[("redirect_uri", OWN), ("scope", "nonsense")]);
            let answer = match cookie {
                Some(browser) => w.get_as(browser, &bad).await,
                None => w.get(&bad).await,
            };
            assert_eq!(answer.expect(403).location(), "");
        }
    })
    .await;
}

#[tokio::test]
async fn changed_redirects_make_an_open_consent_page_worthless() {
    on_each(async |w| {
        state(w, &[CALLBACK]).await;
        let browser = w.employee().await;
        let url = w.authorize(ID, &[]);
        for stored in [false, true] {
            if stored {
                state(w, &[CALLBACK]).await;
                w.consent(&browser, &url, "allow").await.expect(303);
            }
            let page = w.get_as(&browser, &url).await.expect(200);
            state(w, &[CALLBACK, OWN]).await;
            let mut fields = page.fields();
            fields.push(("decision".into(), "allow".into()));
            w.decide(&browser, &fields).await.expect(403);
        }
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
async fn documents_that_nobody_used_are_reaped_and_blocked_ones_are_not() {
    on_each(async |w| {
        w.change_app(|app| app.oauth.registration.approval = true).await;
        let browser = w.employee().await;
        let ids: Vec<_> = (0..3)
            .map(|n| format!("https://agent.example/{n}.json"))
            .collect();
        for id in &ids {
            let document = json!({"client_id": id, "redirect_uris": [CALLBACK]});
            w.oauth.keep_document(id, document).await;
            w.get_as(&browser, &w.authorize(id, &[])).await.expect(403);
            let event = w.events("client.register").await.pop().unwrap();
            assert_eq!(event.actor.user, None);
        }
        w.say(&ids[1], ClientTier::Localhost, ClientState::Blocked).await;
        w.say(&ids[2], ClientTier::Approved, ClientState::Active).await;
        w.advance(8 * 86_400).await;
        store::retention::sweep(&w.store).await.unwrap();
        assert!(w.client(&ids[0]).await.is_none());
        assert!(w.client(&ids[1]).await.is_some() && w.client(&ids[2]).await.is_some());
    })
    .await;
}

#[tokio::test]
async fn a_document_counts_only_as_far_as_the_app_allows() {
    on_each(async |w| {
        state(w, &["https://other.example/callback"]).await;
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
        let denied = w.events("authorize.denied").await;
        let reasons: Vec<_> = denied
            .iter()
            .filter_map(|event| event.reason.as_deref())
            .collect();
        assert_eq!(reasons, ["client_not_accepted"]);
        let unusable = w.events("client.document_refused").await.pop().unwrap();
        assert_eq!(unusable.reason.as_deref(), Some("invalid_redirect_uri"));

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
