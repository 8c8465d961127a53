//! Agents that the server knows without asking anybody: of the catalogue, pinned, fetched before.

use crate::world::{Answer, Browser, CALLBACK, World, on_each};
use serde_json::{Value, json};
use store::agent_document::{Fetched, keep};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wire::{ClientSource, ClientTier};

const CODEX: &str = "https://chatgpt.com/oauth/codex/client.json";
const CLAUDE_CODE: &str = "https://claude.ai/oauth/claude-code-client-metadata";
const CHATGPT: &str = "https://chatgpt.com/oauth/client.json";
const UNKNOWN: &str = "https://agent.example/client.json";

async fn allow(w: &World, browser: &Browser, id: &str, redirect: &str) -> Answer {
    let url = w.authorize(id, &[("redirect_uri", redirect)]);
    w.consent(browser, &url, "allow").await.expect(303)
}

fn document(redirects: &[&str]) -> Value {
    json!({"client_id": UNKNOWN, "client_name": "Nice agent", "redirect_uris": redirects})
}

async fn is_announced(w: &World) -> bool {
    let metadata = w
        .get(&w.path(".well-known/oauth-authorization-server"))
        .await
        .json();
    metadata["client_id_metadata_document_supported"]
        .as_bool()
        .unwrap()
}

#[tokio::test]
async fn no_egress_agents_of_the_catalogue_get_in_and_others_are_told_why_not() {
    on_each(async |w| {
        for w in [&w.fetching(oauth::Fetching::Off).await, w] {
            assert!(is_announced(w).await);
            let browser = w.employee().await;
            for (id, redirect) in [
                (CODEX, "http://127.0.0.1:4567/callback"),
                (CODEX, "http://localhost:4567/callback"),
                (CLAUDE_CODE, "http://localhost:61234/callback"),
                (
                    "https://claude.ai/oauth/mcp-oauth-client-metadata",
                    "https://claude.ai/api/mcp/auth_callback",
                ),
                (CHATGPT, "https://chatgpt.com/connector_platform_oauth_redirect"),
                (
                    "https://vscode.dev/oauth/client-metadata.json",
                    "http://127.0.0.1:50001/",
                ),
                (
                    "https://vscode.dev/oauth/client-metadata.json",
                    "https://vscode.dev/redirect",
                ),
                (
                    "https://zed.dev/oauth/client-metadata.json",
                    "http://127.0.0.1:1/callback",
                ),
                (
                    "https://opencode.ai/oauth/opencode/client.json",
                    "http://localhost:2/callback",
                ),
            ] {
                let code = allow(w, &browser, id, redirect).await.param("code").unwrap();
                let tokens = w.redeem(id, &code, &[("redirect_uri", redirect)]).await;
                let tokens = tokens.expect(200).json();
                let refresh = tokens["refresh_token"].as_str().unwrap();
                w.refresh(id, refresh, &[]).await.expect(200);
                assert_eq!(
                    w.client(id).await.unwrap().client.source,
                    ClientSource::MetadataDocument
                );
            }
        }
        let tier = |id| async move { w.client(id).await.unwrap().client.tier };
        assert_eq!(
            tier(CODEX).await,
            ClientTier::Localhost,
            "being known raises nobody"
        );
        assert_eq!(tier(CHATGPT).await, ClientTier::DomainVerified);
    })
    .await;
}

#[tokio::test]
async fn a_document_that_cannot_be_used_is_in_the_log_with_the_reason_and_on_the_page() {
    on_each(async |w| {
        let off = w.fetching(oauth::Fetching::Off).await;
        w.decide_about("https://refused.example/c.json", json!({"decision": "refuse"}))
            .await;
        w.oauth
            .keep_document(
                "https://bad.example/c.json",
                json!({"redirect_uris": ["https://x.example/"]}),
            )
            .await;
        for (w, id, code) in [
            (w, UNKNOWN, "not_reached"),
            (&off, UNKNOWN, "fetching_off"),
            (w, "https://refused.example/c.json", "refused"),
            (w, "https://bad.example/c.json", "invalid_redirect_uri"),
        ] {
            let before = w.events("client.document_refused").await.len();
            let page = w.get(&w.authorize(id, &[])).await.expect(400);
            assert_eq!(page.location(), "");
            assert!(
                page.body.contains(code) && page.body.contains(id),
                "{}",
                page.body
            );
            assert!(
                page.body.contains("req-"),
                "the page names the request: {}",
                page.body
            );
            let events = w.events("client.document_refused").await;
            assert_eq!(events.len(), before + 1);
            let event = events.last().unwrap();
            assert_eq!(event.reason.as_deref(), Some(code));
            let target = event.target.as_ref().unwrap();
            assert_eq!((target.kind.as_str(), target.id.as_str()), ("document", id));
            assert_eq!(event.actor.client, None);
        }
        assert!(w.events("authorize.denied").await.is_empty(), "it is told once");
        // However many come, they are few rows.
        for n in 0..40 {
            w.get(&w.authorize(&format!("https://n{n}.example/c.json"), &[]))
                .await
                .expect(400);
        }
        assert!(w.events("client.document_refused").await.len() < 30);
    })
    .await;
}

#[tokio::test]
async fn what_an_administrator_pinned_goes_before_everything_and_is_no_approval() {
    on_each(async |w| {
        let browser = w.employee().await;
        // Nobody has to be asked for it.
        w.decide_about(UNKNOWN, json!({"document": document(&[CALLBACK])}))
            .await;
        allow(w, &browser, UNKNOWN, CALLBACK).await;
        let client = w.client(UNKNOWN).await.unwrap().client;
        assert_eq!(
            (client.tier, client.name.as_str()),
            (ClientTier::Localhost, "Nice agent")
        );
        // What is published says something else.
        w.oauth
            .keep_document(UNKNOWN, document(&["https://agent.example/cb"]))
            .await;
        let url = w.authorize(UNKNOWN, &[("redirect_uri", "https://agent.example/cb")]);
        w.get_as(&browser, &url).await.expect(400);
        w.get_as(&browser, &w.authorize(UNKNOWN, &[])).await.expect(200);
        // So it is with the catalogue.
        let pinned =
            json!({"client_id": CODEX, "client_name": "Ours", "redirect_uris": ["http://127.0.0.1/ours"]});
        w.decide_about(CODEX, json!({"document": pinned})).await;
        let url = w.authorize(CODEX, &[("redirect_uri", "http://127.0.0.1:1/callback")]);
        w.get_as(&browser, &url).await.expect(400);
        allow(w, &browser, CODEX, "http://127.0.0.1:1/ours").await;
    })
    .await;
}

#[tokio::test]
async fn who_is_refused_loses_what_they_were_granted_at_every_app() {
    on_each(async |w| {
        let browser = w.employee().await;
        let redirect = "http://127.0.0.1:4567/callback";
        let code = allow(w, &browser, CODEX, redirect).await.param("code").unwrap();
        let tokens = w.redeem(CODEX, &code, &[("redirect_uri", redirect)]).await;
        let tokens = tokens.expect(200).json();
        let access = tokens["access_token"].as_str().unwrap();
        let document = w.decide_about(CODEX, json!({"decision": "refuse"})).await;
        assert_eq!(w.grant_state(access).await, wire::GrantState::Revoked);
        let event = w.events("grant.revoke").await.pop().unwrap();
        assert_eq!(event.reason.as_deref(), Some("document_refused"));
        w.refresh(CODEX, tokens["refresh_token"].as_str().unwrap(), &[])
            .await
            .expect_error(400, "invalid_grant");
        let url = w.authorize(CODEX, &[("redirect_uri", redirect)]);
        w.get_as(&browser, &url).await.expect(400);
        assert!(is_announced(w).await, "the others of the catalogue are there");
        let mut tx = w.store.begin().await.unwrap();
        store::agent_document::delete(&mut tx, &w.org, &document)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        allow(w, &browser, CODEX, redirect).await;
    })
    .await;
}

#[tokio::test]
async fn documents_are_announced_only_where_there_are_some() {
    on_each(async |w| {
        for id in wire::catalogue().agents.iter().filter_map(wire::Entry::client_id) {
            assert!(is_announced(w).await);
            w.decide_about(id, json!({"decision": "refuse"})).await;
        }
        assert!(!is_announced(w).await);
        w.decide_about(UNKNOWN, json!({"document": document(&[CALLBACK])}))
            .await;
        assert!(is_announced(w).await);
        w.change_app(|app| app.oauth.registration.metadata_documents = false)
            .await;
        assert!(!is_announced(w).await, "the app's switch governs");
    })
    .await;
}

#[tokio::test]
async fn only_the_redirect_that_is_asked_for_is_judged() {
    on_each(async |w| {
        let elsewhere = "https://partner.example/cb";
        w.oauth
            .keep_document(UNKNOWN, document(&[CALLBACK, elsewhere, "javascript:alert(1)"]))
            .await;
        let browser = w.employee().await;
        allow(w, &browser, UNKNOWN, CALLBACK).await;
        let url = w.authorize(UNKNOWN, &[("redirect_uri", elsewhere)]);
        let page = w.get_as(&browser, &url).await.expect(400);
        assert!(page.body.contains("an administrator can add it"), "{}", page.body);
        let event = w.events("authorize.denied").await.pop().unwrap();
        assert_eq!(event.reason.as_deref(), Some("redirect_not_allowed"));
        let url = w.authorize(UNKNOWN, &[("redirect_uri", "javascript:alert(1)")]);
        w.get_as(&browser, &url).await.expect(400);
        // An approval was for the whole document: that the app allows more of it later changes nothing of the agent.
        w.say(UNKNOWN, ClientTier::Approved, wire::ClientState::Active)
            .await;
        w.change_app(|app| app.oauth.registration.redirect_uris = vec![elsewhere.into()])
            .await;
        allow(w, &browser, UNKNOWN, elsewhere).await;
        let client = w.client(UNKNOWN).await.unwrap().client;
        assert_eq!(
            (client.tier, client.redirect_uris.len()),
            (ClientTier::Approved, 2)
        );
        // It is worth what it is, without the approval.
        w.say(UNKNOWN, ClientTier::Localhost, wire::ClientState::Active)
            .await;
        let page = w
            .get_as(&browser, &w.authorize(UNKNOWN, &[("redirect_uri", elsewhere)]))
            .await;
        assert!(page.expect(200).body.contains("Unverified"));
    })
    .await;
}

/// Answers each connection with the next of these bodies, the last one from then on; an empty one is a 500.
async fn publisher(bodies: Vec<String>) -> (String, outbound::Outbound) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let url = format!("{origin}/client.json");
    let mine = url.clone();
    tokio::spawn(async move {
        let mut bodies = bodies
            .into_iter()
            .map(|body| body.replace("$ID", &mine))
            .peekable();
        while let Ok((mut stream, _)) = listener.accept().await {
            let next = bodies.next_if(|_| true).unwrap_or_default();
            let status = if next.is_empty() { "500 Oh" } else { "200 OK" };
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                next.len()
            );
            let _ = stream.write_all(format!("{head}{next}").as_bytes()).await;
        }
    });
    let policy = outbound::Policy {
        allow: vec![outbound::Allowed::parse(&origin).unwrap()],
        ..outbound::Policy::default()
    };
    (url, outbound::Outbound::new(policy))
}

#[tokio::test]
async fn a_renewal_that_fails_adopts_and_drops_nothing() {
    on_each(async |w| {
        let good = |name: &str| {
            json!({"client_id": "$ID", "client_name": name, "redirect_uris": [CALLBACK]}).to_string()
        };
        let other = json!({"client_id": "https://other.example/c", "redirect_uris": [CALLBACK]}).to_string();
        let (url, outbound) = publisher(vec![good("New"), String::new(), other, "{".into()]).await;
        let w = &w.reaching(outbound).await;
        let mut tx = w.store.begin().await.unwrap();
        let old = Fetched {
            document: json!({"client_id": url, "client_name": "Old"}),
            fetched_at: w.clock.now(),
        };
        keep(&mut tx, &url, &old).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let stored = || async {
            store::agent_document::fetched(&w.store, &url)
                .await
                .unwrap()
                .unwrap()
        };
        w.oauth.renew_documents().await.unwrap();
        assert_eq!(stored().await, old, "it is not due yet");
        w.advance(7 * 3600).await;
        w.oauth.renew_documents().await.unwrap();
        let new = stored().await;
        assert_eq!(
            (new.document["client_name"].as_str(), new.fetched_at),
            (Some("New"), w.clock.now())
        );
        for _ in 0..3 {
            w.advance(7 * 3600).await;
            w.oauth.renew_documents().await.unwrap();
            assert_eq!(stored().await, new);
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_fetched_outlives_restarts_and_silence_but_not_for_ever() {
    on_each(async |w| {
        w.oauth.keep_document(UNKNOWN, document(&[CALLBACK])).await;
        let browser = w.employee().await;
        w.get_as(&browser, &w.authorize(UNKNOWN, &[])).await.expect(200);
        let kept = || async { store::agent_document::fetched(&w.store, UNKNOWN).await.unwrap() };
        assert_eq!(kept().await, None, "whoever only looks stores nothing");
        allow(w, &browser, UNKNOWN, CALLBACK).await;
        assert!(kept().await.is_some());
        // Another instance, or this one after a restart, without a way out.
        let other = w.beside().await;
        other
            .get_as(&browser, &w.authorize(UNKNOWN, &[]))
            .await
            .expect(200);
        w.advance(6 * 86_400).await;
        other.advance(0).await;
        let late = w.employee().await;
        for w in [w, &other] {
            w.get_as(&late, &w.authorize(UNKNOWN, &[])).await.expect(200);
        }
        w.advance(2 * 86_400).await;
        for w in [w, &other] {
            w.get(&w.authorize(UNKNOWN, &[])).await.expect(400);
        }
        w.advance(90 * 86_400).await;
        store::retention::sweep(&w.store).await.unwrap();
        assert_eq!(kept().await, None);
    })
    .await;
}
