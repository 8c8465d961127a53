//! The ticket server as an MCP client sees it, over plain HTTP.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use demo::{assertion, tickets};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Gateway, browser, listen};

struct Client {
    url: String,
    session: Option<String>,
    headers: Vec<(&'static str, String)>,
    _stop: DropGuard,
}

impl Client {
    async fn start(config: tickets::Config) -> Self {
        let (listener, origin) = listen().await;
        let stop = CancellationToken::new();
        let served = tickets::serve(listener, config, stop.clone());
        tokio::spawn(async move { served.await.unwrap() });
        let url = format!("{origin}/mcp");
        Self {
            url,
            session: None,
            headers: Vec::new(),
            _stop: stop.drop_guard(),
        }
    }

    /// Starts the server and initializes an MCP session.
    async fn connect(config: tickets::Config) -> Self {
        let mut client = Self::start(config).await;
        let params = json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = client.post("initialize", params).await;
        assert_eq!(answer.status(), StatusCode::OK);
        client.session = Some(answer.headers()["mcp-session-id"].to_str().unwrap().to_owned());
        let server = message(answer).await;
        assert_eq!(server["result"]["serverInfo"]["name"], "acme-tickets");
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(client.send(&ready).await.status(), StatusCode::ACCEPTED);
        client
    }

    async fn send(&self, body: &Value) -> Response {
        let mut request = browser().post(&self.url).json(body);
        request = request.header("accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", "2025-06-18");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send().await.unwrap()
    }

    async fn post(&self, method: &str, params: Value) -> Response {
        self.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }))
            .await
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self
            .post("tools/call", json!({ "name": tool, "arguments": arguments }))
            .await;
        message(answer).await["result"].clone()
    }
}

/// The JSON-RPC answer, whether it came as JSON or as an event.
async fn message(answer: Response) -> Value {
    let text = answer.text().await.unwrap();
    let data = text
        .lines()
        .map(|line| line.strip_prefix("data:").unwrap_or(line).trim())
        .find(|data| data.starts_with('{'))
        .unwrap_or_else(|| panic!("no message in {text:?}"));
    serde_json::from_str(data).unwrap()
}

#[tokio::test]
async fn tools_are_listed_with_hints_about_what_they_change() {
    let client = Client::connect(tickets::Config::default()).await;
    let listed = message(client.post("tools/list", json!({})).await).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let hints: Vec<(&str, bool)> = tools
        .iter()
        .map(|tool| {
            (
                tool["name"].as_str().unwrap(),
                tool["annotations"]["readOnlyHint"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("close_ticket", false),
        ("create_ticket", false),
        ("get_ticket", true),
        ("list_tickets", true),
        ("whoami", true),
    ];
    assert_eq!(hints, expected);
}

#[tokio::test]
async fn tickets_are_opened_shown_closed_and_listed() {
    let client = Client::connect(tickets::Config::default()).await;
    let created = client
        .call("create_ticket", json!({ "title": "Lever stuck" }))
        .await;
    assert_eq!(created["structuredContent"]["id"], "T-4");
    let shown = client.call("get_ticket", json!({ "id": "T-4" })).await;
    assert_eq!(shown["structuredContent"]["title"], "Lever stuck");
    client.call("close_ticket", json!({ "id": "T-4" })).await;
    let closed = client.call("list_tickets", json!({ "status": "closed" })).await;
    assert_eq!(closed["structuredContent"]["tickets"][0]["id"], "T-4");
    assert_eq!(
        client.call("get_ticket", json!({ "id": "T-99" })).await["isError"],
        true
    );
}

#[tokio::test]
async fn a_service_token_is_a_caller_without_a_person() {
    let gateway = Gateway::start().await;
    let config = tickets::Config {
        assertion: Some(gateway.config.clone()),
        ..Default::default()
    };
    let mut client = Client::connect(config).await;
    let mut claims = gateway.claims();
    let machine = "svc_01a201106508728b967c18ae10522b6b";
    for absent in ["email", "act", "groups"] {
        claims.as_object_mut().unwrap().remove(absent);
    }
    claims["sub"] = machine.into();
    claims["actor"] = "service".into();
    claims["name"] = "Nightly job".into();
    client.headers = vec![(assertion::HEADER, gateway.sign(&claims))];
    let seen = client.call("whoami", json!({})).await["structuredContent"].clone();
    assert_eq!(
        (&seen["verified"], &seen["user"]),
        (&json!(true), &json!(machine))
    );
    assert_eq!((&seen["email"], &seen["agent"]), (&Value::Null, &Value::Null));
    assert_eq!(seen["claims"]["actor"], "service");
    let created = client.call("create_ticket", json!({ "title": "x" })).await;
    assert_eq!(created["structuredContent"]["opened_by"], machine);
}

#[tokio::test]
async fn whoami_names_the_employee_and_the_agent_of_a_verified_assertion() {
    let gateway = Gateway::start().await;
    let config = tickets::Config {
        assertion: Some(gateway.config.clone()),
        ..Default::default()
    };
    let mut client = Client::connect(config).await;
    assert_eq!(
        client.call("whoami", json!({})).await["structuredContent"]["verified"],
        false
    );

    client.headers = vec![(assertion::HEADER, gateway.sign(&gateway.claims()))];
    let seen = client.call("whoami", json!({})).await["structuredContent"].clone();
    assert_eq!(seen["verified"], true);
    assert_eq!(seen["user"], "ada");
    assert_eq!(seen["email"], "ada@acme.example");
    assert_eq!(seen["agent"], "https://agent.example/client");
    let created = client.call("create_ticket", json!({ "title": "x" })).await;
    assert_eq!(created["structuredContent"]["opened_by"], "ada@acme.example");
    assert_eq!(
        created["structuredContent"]["opened_through"],
        "https://agent.example/client"
    );

    client.headers = vec![(assertion::HEADER, gateway.sign_as(Some("k2"), &gateway.claims()))];
    let seen = client.call("whoami", json!({})).await["structuredContent"].clone();
    assert_eq!(
        (&seen["verified"], &seen["claims"]),
        (&json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn the_current_protocol_revision_works_without_a_session() {
    let mut client = Client::start(tickets::Config::default()).await;
    client.headers = vec![
        ("mcp-protocol-version", "2026-07-28".into()),
        ("mcp-method", "tools/call".into()),
        ("mcp-name", "list_tickets".into()),
    ];
    let params = json!({
        "name": "list_tickets",
        "arguments": {},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    });
    let answer = message(client.post("tools/call", params).await).await;
    assert_eq!(
        answer["result"]["structuredContent"]["tickets"][0]["id"], "T-1",
        "{answer}"
    );
}

#[tokio::test]
async fn only_loopback_and_the_published_hosts_are_served() {
    let public_hosts = vec!["tickets.acme.example".to_owned()];
    let mut client = Client::connect(tickets::Config {
        public_hosts,
        ..Default::default()
    })
    .await;
    client.headers = vec![("host", "tickets.acme.example:8443".into())];
    assert_eq!(
        client.post("tools/list", json!({})).await.status(),
        StatusCode::OK
    );
    client.headers = vec![("host", "rebound.example".into())];
    assert_eq!(
        client.post("tools/list", json!({})).await.status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn every_call_leaves_a_line_with_its_request_id_even_when_it_fails() {
    let journal = scratch_file();
    let mut client = Client::connect(tickets::Config {
        journal: Some(journal.clone()),
        ..Default::default()
    })
    .await;
    client.headers = vec![("x-request-id", "r-1".into())];
    client.call("list_tickets", json!({})).await;
    client.headers = vec![("x-request-id", "r-2".into())];
    client.call("no_such_tool", json!({})).await;
    client.post("tools/list", json!({})).await;

    let written = std::fs::read_to_string(&journal).unwrap();
    std::fs::remove_file(&journal).unwrap();
    let lines: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = [
        json!({ "request_id": "r-1", "tool": "list_tickets" }),
        json!({ "request_id": "r-2", "tool": "no_such_tool" }),
    ];
    assert_eq!(lines, expected);
}

fn scratch_file() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "demo-journal-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    std::env::temp_dir().join(name)
}
