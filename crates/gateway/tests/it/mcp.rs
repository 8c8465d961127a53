//! MCP: what a message asks for is read, judged and recorded.

use crate::world::{World, on_each};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use wire::Outcome;

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

async fn post(world: &World, token: &str, body: &str) -> reqwest::Response {
    let request = world.request("POST", &world.tickets, "/mcp").bearer_auth(token);
    request
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn the_record_names_the_tool_and_the_origin_gets_the_very_bytes() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let body =
            r#"{"method": "tools/call", "id":1,"params":{"arguments":{"id" : 7},"name":"get_ticket"}}"#;
        let answer = post(world, &agent.token, body).await;
        assert_eq!(answer.status(), 200);
        let echoed: Value = answer.json().await.unwrap();
        assert_eq!(echoed["body"], body);
        assert_eq!(world.origin.last().recorded, 1);
        let event = world.events().await.remove(0);
        let mcp = event.mcp.unwrap();
        assert_eq!(
            (mcp.method.as_str(), mcp.tool.as_deref()),
            ("tools/call", Some("get_ticket"))
        );
        assert_eq!(mcp.arguments_sha256, Some(store::sha256(r#"{"id" : 7}"#)));
        assert_eq!(event.actor.grant.unwrap(), agent.grant);
        assert_eq!(event.actor.scopes, ["tickets:read"]);
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        assert_eq!(world.message(&agent, &list).send().await.unwrap().status(), 200);
        let mcp = world.events().await.remove(0).mcp.unwrap();
        assert_eq!((mcp.method.as_str(), mcp.tool), ("tools/list", None));
        // Streams and session ends carry no message.
        for method in ["GET", "DELETE"] {
            let request = world
                .request(method, &world.tickets, "/mcp")
                .bearer_auth(&agent.token);
            assert_eq!(request.send().await.unwrap().status(), 200, "{method}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_tool_beyond_the_scopes_asks_for_more_of_them() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let answer = world
            .message(&agent, &call("close_ticket", json!({})))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!(
            challenge,
            "Bearer error=\"insufficient_scope\", scope=\"tickets:write tickets:read\", \
             resource_metadata=\"http://tickets.example/.well-known/oauth-protected-resource/mcp\""
        );
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], "insufficient_scope");
        let event = world.events().await.remove(0);
        assert_eq!(
            (event.outcome, event.reason.as_deref()),
            (Outcome::Denied, Some("insufficient_scope"))
        );
        assert_eq!(event.mcp.unwrap().tool.as_deref(), Some("close_ticket"));
        // No scope covers it: asking again is no help.
        let answer = world
            .message(&agent, &call("delete_all", json!({})))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
        assert!(!answer.headers().contains_key("www-authenticate"));
        assert!(world.origin.take().is_empty());
        let writer = world
            .agent(&world.ada, &world.tickets, &["tickets:read", "tickets:write"])
            .await;
        let answer = world
            .message(&writer, &call("close_ticket", json!({})))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    })
    .await;
}

#[tokio::test]
async fn every_call_of_a_batch_is_judged_and_recorded() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let good = json!([call("get_ticket", json!({})), call("list_tickets", json!({ "a": 1 })), { "method": "ping" }]);
        assert_eq!(world.message(&agent, &good).send().await.unwrap().status(), 200);
        assert_eq!(world.origin.last().recorded, 3);
        let asked = world.events().await.into_iter().map(|e| e.mcp.unwrap());
        let mut asked: Vec<_> = asked.map(|mcp| mcp.tool.unwrap_or(mcp.method)).collect();
        asked.sort_unstable();
        assert_eq!(asked, ["get_ticket", "list_tickets", "ping"]);
        let bad = json!([call("get_ticket", json!({})), call("close_ticket", json!({}))]);
        assert_eq!(world.message(&agent, &bad).send().await.unwrap().status(), 403);
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn messages_that_cannot_be_read_in_one_way_are_refused() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        for body in [
            "",
            "nonsense",
            r#"{"method":"tools/list","method":"tools/call","params":{"name":"close_ticket"}}"#,
            r#"{"method":"tools/call","params":{"name":"get_ticket","name":"close_ticket"}}"#,
            r#"{"method":"tools/call","params":{"name":"get_ticket","NAME":"close_ticket"}}"#,
            r#"{"method":"tools/call"}"#,
        ] {
            assert_eq!(post(world, &agent.token, body).await.status(), 400, "{body}");
            let event = world.events().await.remove(0);
            assert_eq!(
                (event.outcome, event.reason.as_deref()),
                (Outcome::Denied, Some("unreadable_message"))
            );
            assert_eq!(event.actor.client.as_ref(), Some(&agent.client.id));
        }
        let large = call("get_ticket", json!({ "text": "x".repeat(1024 * 1024) }));
        assert_eq!(world.message(&agent, &large).send().await.unwrap().status(), 413);
        let body = call("close_ticket", json!({})).to_string();
        for (name, value) in [("content-type", "text/plain"), ("content-encoding", "gzip")] {
            let request = world
                .request("POST", &world.tickets, "/mcp")
                .bearer_auth(&agent.token);
            let request = request
                .header("content-type", "application/json")
                .header(name, value);
            assert_eq!(
                request.body(body.clone()).send().await.unwrap().status(),
                415,
                "{name}: {value}"
            );
        }
        let lie = world
            .message(&agent, &call("get_ticket", json!({})))
            .header("mcp-name", "close_ticket");
        assert_eq!(lie.send().await.unwrap().status(), 400);
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn strangers_are_challenged_before_their_body_is_read() {
    on_each(async |world| {
        world
            .change(&world.tickets, |spec| {
                // Without the policy that lets strangers to the health check.
                spec.policies.remove(0);
            })
            .await;
        let request = world
            .request("POST", &world.tickets, "/mcp")
            .header("content-type", "application/json");
        assert_eq!(request.body("nonsense").send().await.unwrap().status(), 401);
    })
    .await;
}

/// Whoever waits with the end of a message has at its end what holds then.
#[tokio::test]
async fn a_message_that_comes_slowly_is_judged_once_it_is_whole() {
    for way in ["revoked", "disabled", "rules", "moved"] {
        on_each(async |world| {
            let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
            let body = call("get_ticket", json!({})).to_string();
            let (begun, rest) = body.split_at(40);
            let (sender, receiver) = tokio::sync::mpsc::channel::<String>(1);
            let parts = stream::unfold(receiver, |mut receiver| async move {
                let part = receiver.recv().await?;
                Some((Ok::<_, Infallible>(part), receiver))
            });
            let request = world
                .request("POST", &world.tickets, "/mcp")
                .bearer_auth(&agent.token);
            let request = request.header("content-type", "application/json");
            let asked = tokio::spawn(request.body(reqwest::Body::wrap_stream(parts)).send());
            sender.send(begun.to_owned()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
            match way {
                "revoked" => {
                    let which = store::grant::Which::One(&agent.grant);
                    world
                        .write(async |tx| store::grant::revoke_where(tx, which, "test").await)
                        .await;
                }
                "disabled" => {
                    world
                        .write(async |tx| store::user::set_disabled(tx, &world.org, &world.ada, true).await)
                        .await;
                }
                "rules" => {
                    world.change(&world.tickets, |spec| spec.policies.clear()).await;
                }
                _ => {
                    let moved = "http://elsewhere.example".to_owned();
                    world.change(&world.tickets, |spec| spec.public_url = moved).await;
                }
            }
            sender.send(rest.to_owned()).await.unwrap();
            drop(sender);
            let answer = asked.await.unwrap().unwrap();
            assert!(answer.status().is_client_error(), "{way}: {}", answer.status());
            assert_eq!(world.origin.count("/mcp"), 0, "{way}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_message_that_comes_slowly_arrives_where_nothing_changed() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let body = call("get_ticket", json!({})).to_string();
        let (begun, rest) = body.split_at(40);
        let parts = [begun.to_owned(), rest.to_owned()];
        let parts = stream::iter(parts).then(|part| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok::<_, Infallible>(part)
        });
        let request = world
            .request("POST", &world.tickets, "/mcp")
            .bearer_auth(&agent.token);
        let request = request.header("content-type", "application/json");
        let answer = request
            .body(reqwest::Body::wrap_stream(parts))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap()["body"], body);
        let events = world.events().await;
        let calls = events.iter().filter(|event| event.mcp.is_some()).count();
        assert_eq!(calls, 1);
    })
    .await;
}
