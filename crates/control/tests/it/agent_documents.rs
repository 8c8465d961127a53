//! The catalogue of agents, and what an organisation decides about their metadata documents.

use crate::world::{World, on_each};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wire::{Id as _, Role};

const CODEX: &str = "https://chatgpt.com/oauth/codex/client.json";
const AGENT: &str = "https://agent.example.com/client.json";
const CALLBACK: &str = "http://127.0.0.1/callback";

fn document(id: &str) -> Value {
    json!({"client_id": id, "client_name": "Agent", "redirect_uris": [CALLBACK, "https://agent.example.com/cb"]})
}

async fn known(world: &World, key: &str) -> Value {
    let known = world.get("/known-agents").await;
    let mut items = known["items"].as_array().unwrap().iter();
    items.find(|known| known["key"] == key).unwrap().clone()
}

#[tokio::test]
async fn the_catalogue_says_what_each_agent_sends_and_what_was_decided() {
    on_each(async |world| {
        let codex = known(world, "codex").await;
        assert_eq!(
            (&codex["client_id"], &codex["document"]["client_name"]),
            (&json!(CODEX), &json!("Codex"))
        );
        assert_eq!(
            codex["redirect_uris"],
            json!([CALLBACK, "http://localhost/callback"])
        );
        assert!(codex["catalogue_version"].is_u64() && codex["catalogue_date"].is_string());
        assert_eq!(codex.get("decision"), None);
        let cursor = known(world, "cursor").await;
        assert_eq!(
            (
                cursor.get("client_id"),
                cursor["redirect_uris"].as_array().unwrap().len()
            ),
            (None, 3)
        );
        let body = json!({"client_id": CODEX, "decision": "refuse"});
        let made = world.owner(Method::POST, "/agent-documents", Some(body)).await;
        let made = made.json();
        let codex = known(world, "codex").await;
        assert_eq!(
            (&codex["decision"], &codex["decided_by"]),
            (&json!("refuse"), &made["id"])
        );
        // Nobody else's business.
        let other = world
            .call(&world.other.owner.token, Method::GET, "/known-agents", None)
            .await
            .json();
        let mut others = other["items"].as_array().unwrap().iter();
        assert!(others.all(|known| known.get("decision").is_none()));
    })
    .await;
}

#[tokio::test]
async fn a_pinned_document_is_made_changed_and_taken_back_with_its_events() {
    on_each(async |world| {
        let body = json!({"client_id": AGENT, "document": document(AGENT)});
        let made = world
            .owner(Method::POST, "/agent-documents", Some(body.clone()))
            .await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.text);
        let made = made.json();
        assert_eq!(
            (&made["decision"], &made["document"]),
            (&json!("pin"), &document(AGENT))
        );
        assert_eq!(made.get("fetched_at"), None);
        let event = world.newest_of("agent_document.create").await;
        assert_eq!(event.change.unwrap().after["document"], document(AGENT));
        let target = event.target.unwrap();
        assert_eq!(
            (target.kind.as_str(), target.name.as_deref()),
            ("agent_document", Some(AGENT))
        );
        world
            .owner(Method::POST, "/agent-documents", Some(body))
            .await
            .refused(409, "conflict");
        let path = format!("/agent-documents/{}", made["id"].as_str().unwrap());
        let change = json!({"decision": "refuse"});
        let refused = world.owner(Method::PATCH, &path, Some(change)).await.json();
        assert_eq!(
            (&refused["decision"], refused.get("document")),
            (&json!("refuse"), None)
        );
        world
            .owner(Method::POST, &format!("{path}/refresh"), None)
            .await
            .refused(409, "conflict");
        let change = json!({"decision": "pin", "document": document(AGENT)});
        assert_eq!(
            world
                .owner(Method::PATCH, &path, Some(change))
                .await
                .status
                .as_u16(),
            200
        );
        assert_eq!(
            world.newest_of("agent_document.update").await.actor.user,
            Some(world.acme.owner.user.id.clone())
        );
        assert_eq!(
            world.owner(Method::DELETE, &path, None).await.status.as_u16(),
            204
        );
        world.newest_of("agent_document.delete").await;
        world
            .owner(Method::GET, &path, None)
            .await
            .refused(404, "not-found");
    })
    .await;
}

#[tokio::test]
async fn what_no_agent_could_be_known_by_is_not_pinned() {
    on_each(async |world| {
        let with = |members: Value| {
            let mut document = document(AGENT);
            document
                .as_object_mut()
                .unwrap()
                .extend(members.as_object().unwrap().clone());
            json!({"client_id": AGENT, "document": document})
        };
        for (body, pointer) in [
            (json!({"document": document(AGENT)}), "/client_id"),
            (
                json!({"client_id": "http://agent.example.com/c", "decision": "refuse"}),
                "/client_id",
            ),
            (
                json!({"client_id": "https://agent.example.com/", "decision": "refuse"}),
                "/client_id",
            ),
            (
                json!({"client_id": "https://127.0.0.1/c", "decision": "refuse"}),
                "/client_id",
            ),
            (
                json!({"client_id": "https://agent.example.com/a/../c", "decision": "refuse"}),
                "/client_id",
            ),
            // Another agent's.
            (
                json!({"client_id": CODEX, "document": document(AGENT)}),
                "/document",
            ),
            (json!({"client_id": AGENT, "document": "x"}), "/document"),
            (with(json!({"client_secret": "x"})), "/document"),
            (with(json!({"x": "x".repeat(5 * 1024)})), "/document"),
            (with(json!({"redirect_uris": []})), "/document/redirect_uris"),
            (
                with(json!({"redirect_uris": ["javascript:x", "http://192.0.2.1/cb"]})),
                "/document/redirect_uris",
            ),
            (
                with(json!({"redirect_uris": CALLBACK})),
                "/document/redirect_uris",
            ),
            // Nothing is published, as far as this server can tell.
            (json!({"client_id": AGENT}), "/client_id"),
        ] {
            let answer = world
                .owner(Method::POST, "/agent-documents", Some(body.clone()))
                .await;
            let pointers = answer.refused(400, "invalid");
            assert_eq!(pointers, [pointer], "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_administrators_of_the_organisation_decide_and_of_theirs_only() {
    on_each(async |world| {
        let labs = Some(&world.acme.labs);
        for (role, account) in [(Role::AccountAdmin, labs), (Role::OrgAuditor, None)] {
            let token = world.hire(role, account).await.token;
            let body = json!({"client_id": AGENT, "decision": "refuse"});
            let answer = world
                .call(&token, Method::POST, "/agent-documents", Some(body))
                .await;
            answer.refused(403, "forbidden");
        }
        let id = json!({"client_id": AGENT, "document": document(AGENT)});
        let made = world
            .owner(Method::POST, "/agent-documents", Some(id))
            .await
            .json();
        let path = format!("/agent-documents/{}", made["id"].as_str().unwrap());
        for method in [Method::GET, Method::DELETE] {
            let answer = world.call(&world.other.owner.token, method, &path, None).await;
            answer.refused(404, "not-found");
        }
        // What one organisation decides, another does not get.
        let snapshot = world.store.directory();
        let decided = |app| snapshot.app(app).unwrap().documents.of(AGENT).is_some();
        assert!(decided(&world.acme.app.id));
        assert!(!decided(&world.other.app.id));
        assert!(made["id"].as_str().unwrap().starts_with(wire::DocumentId::PREFIX));
    })
    .await;
}

#[tokio::test]
async fn what_is_published_is_fetched_and_pinned_and_stays_when_it_cannot_be_had() {
    on_each(async |world| {
        // Whoever fetches it may not know what comes next.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Not TLS: the fetch fails.
                let _ = stream.read(&mut [0; 16]).await;
                let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\n\r\n").await;
            }
        });
        let resolver: outbound::Resolver = Arc::new(move |_| Box::pin(async move { Ok(vec![address.ip()]) }));
        let policy = outbound::Policy {
            allow: vec![
                outbound::Allowed::parse(&format!("https://agent.example.com:{}", address.port())).unwrap(),
            ],
            ..outbound::Policy::default()
        };
        let reaching = world.reaching(outbound::Outbound::with_resolver(policy, resolver));
        let id = format!("https://agent.example.com:{}/client.json", address.port());
        let body = json!({"client_id": id});
        let answer = reaching.owner(Method::POST, "/agent-documents", Some(body)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/client_id"]);
        let body = json!({"client_id": id, "document": document(&id)});
        let made = reaching
            .owner(Method::POST, "/agent-documents", Some(body))
            .await
            .json();
        let path = format!("/agent-documents/{}", made["id"].as_str().unwrap());
        let answer = reaching
            .owner(Method::POST, &format!("{path}/refresh"), None)
            .await;
        answer.refused(409, "conflict");
        assert_eq!(
            reaching.get(&path).await,
            made,
            "a fetch that fails changes nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn a_client_is_entered_with_keys_in_place_of_a_secret() {
    on_each(async |world| {
        let uri = "https://agent.example.com/jwks.json";
        let body = |members: Value| {
            let mut body = json!({"app": world.acme.app.id, "name": "Signs", "redirect_uris": [CALLBACK]});
            body.as_object_mut()
                .unwrap()
                .extend(members.as_object().unwrap().clone());
            body
        };
        let made = world
            .owner(Method::POST, "/clients", Some(body(json!({"jwks_uri": uri}))))
            .await
            .json();
        assert_eq!(
            (
                &made["token_endpoint_auth_method"],
                &made["jwks_uri"],
                made.get("client_secret")
            ),
            (&json!("private_key_jwt"), &json!(uri), None)
        );
        let path = format!("/clients/{}", made["id"].as_str().unwrap());
        assert_eq!(world.get(&path).await["jwks_uri"], json!(uri));
        for (members, pointer) in [
            (json!({"jwks_uri": "http://agent.example.com/k"}), "/jwks_uri"),
            (
                json!({"jwks_uri": "https://u:p@agent.example.com/k"}),
                "/jwks_uri",
            ),
            (json!({"jwks_uri": "x"}), "/jwks_uri"),
            (json!({"jwks_uri": uri, "confidential": true}), "/confidential"),
        ] {
            let answer = world.owner(Method::POST, "/clients", Some(body(members))).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer]);
        }
    })
    .await;
}
