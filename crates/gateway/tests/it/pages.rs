//! Pages of other origins: agents in browsers, and pages that have no business with an app.

use crate::world::{World, on_each};
use reqwest::Response;
use serde_json::json;
use std::collections::BTreeSet;
use wire::{App, Outcome};

/// As the MCP Inspector is served.
const INSPECTOR: &str = "http://localhost:6274";

fn header<'r>(answer: &'r Response, name: &str) -> Option<&'r str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

fn listed(answer: &Response, name: &str) -> BTreeSet<String> {
    let values = answer.headers().get_all(name).iter();
    let values = values.flat_map(|value| value.to_str().unwrap().split(','));
    values.map(|value| value.trim().to_ascii_lowercase()).collect()
}

/// Exactly one page may read it, without cookies.
fn is_readable(answer: &Response, origin: &str, what: &str) {
    let allowed: Vec<_> = answer
        .headers()
        .get_all("access-control-allow-origin")
        .iter()
        .collect();
    assert_eq!(allowed, [origin], "{what}");
    assert!(listed(answer, "vary").contains("origin"), "{what}");
    assert_eq!(header(answer, "access-control-allow-credentials"), None, "{what}");
    if answer.status() != 204 {
        let exposed = listed(answer, "access-control-expose-headers");
        for name in [
            "www-authenticate",
            "mcp-session-id",
            "mcp-protocol-version",
            "x-request-id",
        ] {
            assert!(exposed.contains(name), "{what}: {exposed:?}");
        }
        assert_eq!(exposed.len(), 4, "{what}: {exposed:?}");
    }
}

fn says_nothing(answer: &Response, what: &str) {
    let mut names = answer.headers().keys();
    let ours = names.find(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(ours, None, "{what}");
}

async fn allowing(world: &World, app: &App, origins: &[&str]) {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    world.change(app, |spec| spec.browser_origins = origins).await;
}

fn preflight(
    world: &World,
    app: &App,
    (path, origin, method): (&str, &str, &str),
) -> reqwest::RequestBuilder {
    world
        .request("OPTIONS", app, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("sec-fetch-mode", "cors")
}

#[tokio::test]
async fn an_agent_in_a_browser_gets_through_from_an_allowed_origin() {
    on_each(async |world| {
        allowing(world, &world.tickets, &[INSPECTOR]).await;
        let asked = "authorization, content-type, mcp-protocol-version, MCP-Session-Id,Mcp-Method, mcp-name, last-event-id";
        let answer = preflight(world, &world.tickets, ("/mcp", INSPECTOR, "POST"))
            .header("access-control-request-headers", asked)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 204);
        is_readable(&answer, INSPECTOR, "preflight");
        let methods = ["get", "post", "delete"].map(str::to_owned);
        assert_eq!(listed(&answer, "access-control-allow-methods"), BTreeSet::from(methods));
        let names = asked.split(',').map(|name| name.trim().to_ascii_lowercase());
        assert_eq!(listed(&answer, "access-control-allow-headers"), names.collect());
        // The way in, as the page reads it.
        let answer = world.request("POST", &world.tickets, "/mcp").header("origin", INSPECTOR);
        let answer = answer.json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        is_readable(&answer, INSPECTOR, "401");
        assert!(header(&answer, "www-authenticate").unwrap().starts_with("Bearer resource_metadata="));
        assert!(world.origin.take().is_empty());
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let call = |tool: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
        let answer = world.message(&agent, &call("list_tickets")).header("origin", INSPECTOR);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        is_readable(&answer, INSPECTOR, "200");
        assert_eq!(world.origin.take().len(), 1);
        let answer = world.message(&agent, &call("close_ticket")).header("origin", INSPECTOR);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 403);
        is_readable(&answer, INSPECTOR, "403");
        assert!(header(&answer, "www-authenticate").unwrap().contains("insufficient_scope"));
        // What an origin says of pages itself does not stand beside it.
        let answer = world.request("GET", &world.tickets, "/mcp/shares").bearer_auth(&agent.token);
        let answer = answer.header("origin", INSPECTOR).send().await.unwrap();
        is_readable(&answer, INSPECTOR, "an origin that shares");
        assert_eq!(listed(&answer, "vary"), ["accept-encoding", "origin"].map(str::to_owned).into());
        // Nothing of this is for whoever sends no origin.
        let answer = world.request("GET", &world.tickets, "/mcp/shares").bearer_auth(&agent.token);
        says_nothing(&answer.send().await.unwrap(), "no origin");
    })
    .await;
}

#[tokio::test]
async fn an_mcp_app_refuses_pages_of_every_other_origin_before_anything_is_forwarded() {
    on_each(async |world| {
        allowing(world, &world.tickets, &[INSPECTOR, "https://agent.example"]).await;
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        for origin in [
            "https://evil.example",
            "null",
            "",
            "*",
            "http://localhost",
            "http://localhost:6275",
            "https://localhost:6274",
            "http://LOCALHOST:6274",
            "http://localhost:6274/",
            "http://localhost:6274.",
            "http://localhost.:6274",
            "http://127.0.0.1:6274",
            "https://agent.example.",
            "https://Agent.example",
            "https://agent.example:443",
            "https://agent.example.evil.example",
            "https://evil.example/https://agent.example",
            "https://agent.example, https://evil.example",
            "https://evil.example https://agent.example",
            "http://tickets.example:80",
            "https://tickets.example",
            "http://tickets.example.",
            "http://wiki.example",
        ] {
            let answer = world
                .message(&agent, &ping)
                .header("origin", origin)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 403, "{origin:?}");
            says_nothing(&answer, origin);
            let body: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(body["error"], "foreign_origin", "{origin:?}");
            // Whoever is nobody learns no more.
            for method in ["GET", "POST", "DELETE", "OPTIONS", "HEAD"] {
                let answer = world
                    .request(method, &world.tickets, "/mcp")
                    .header("origin", origin);
                let answer = answer.send().await.unwrap();
                assert_eq!(answer.status(), 403, "{method} {origin:?}");
                says_nothing(&answer, origin);
            }
            for method in ["POST", "GET", "PUT"] {
                let answer = preflight(world, &world.tickets, ("/mcp", origin, method))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status(), 403, "preflight {method} {origin:?}");
                says_nothing(&answer, origin);
            }
        }
        // Twice is none of both.
        for second in [INSPECTOR, "https://evil.example"] {
            let answer = world
                .message(&agent, &ping)
                .header("origin", INSPECTOR)
                .header("origin", second);
            assert_eq!(answer.send().await.unwrap().status(), 403, "{second}");
        }
        assert!(world.origin.take().is_empty());
        let events = world.events().await;
        assert!(events.iter().all(|event| event.outcome == Outcome::Denied));
        let event = events.iter().find(|event| event.actor.grant.is_some()).unwrap();
        assert_eq!(event.reason.as_deref(), Some("foreign_origin"));
        assert_eq!(event.actor.grant.as_ref(), Some(&agent.grant));
        let origins: Vec<_> = events
            .iter()
            .filter_map(|event| Some(&event.change.as_ref()?.after["origin"]))
            .collect();
        assert!(origins.contains(&&json!("https://evil.example")), "{origins:?}");
        // Without a page, and from pages of its own, it goes on.
        assert_eq!(world.message(&agent, &ping).send().await.unwrap().status(), 200);
        let own = world
            .message(&agent, &ping)
            .header("origin", "http://tickets.example");
        let own = own.send().await.unwrap();
        assert_eq!(own.status(), 200);
        says_nothing(&own, "its own pages");
        // What is taken from the list is refused with the next request.
        allowing(world, &world.tickets, &[]).await;
        let answer = world
            .message(&agent, &ping)
            .header("origin", INSPECTOR)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
    })
    .await;
}

#[tokio::test]
async fn what_strangers_send_from_other_pages_is_counted() {
    on_each(async |world| {
        for n in 0..200 {
            let origin = format!("https://evil{n}.example");
            let answer = world
                .request("POST", &world.tickets, "/mcp")
                .header("origin", &origin);
            assert_eq!(answer.send().await.unwrap().status(), 403);
        }
        let long = format!("https://{}.example", "e".repeat(5000));
        let answer = world
            .request("GET", &world.tickets, "/mcp")
            .header("origin", &long);
        assert_eq!(answer.send().await.unwrap().status(), 403);
        let events = world.events().await;
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(
            events
                .iter()
                .all(|event| event.reason.as_deref() == Some("foreign_origin"))
        );
        // Nobody writes a novel into the log.
        assert_eq!(events[0].change, None);
    })
    .await;
}

#[tokio::test]
async fn to_a_web_app_other_pages_are_its_own_business() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let ask = |method: &str, origin: &str| {
            let request = world
                .request(method, &world.wiki, "/shares")
                .header("origin", origin);
            request.bearer_auth(&agent.token)
        };
        let answer = ask("GET", "https://other.example").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
        // Without a credential a preflight goes no further than before.
        let answer = preflight(world, &world.wiki, ("/shares", "https://other.example", "POST"));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        says_nothing(&answer, "preflight of another page");
        world.origin.take();
        allowing(world, &world.wiki, &["https://spa.example"]).await;
        let answer = ask("GET", "https://spa.example").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        is_readable(&answer, "https://spa.example", "an allowed page");
        let answer = ask("GET", "https://other.example").send().await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert!(listed(&answer, "vary").contains("origin"));
        assert_eq!(world.origin.take().len(), 2);
        for (method, taken) in [
            ("PATCH", true),
            ("PROPFIND", true),
            ("TRACE", false),
            ("REPORT", false),
            ("get", false),
            ("a b", false),
        ] {
            let answer = preflight(world, &world.wiki, ("/shares", "https://spa.example", method));
            let answer = answer
                .header(
                    "access-control-request-headers",
                    "x-app-a, chatelaine-client-secret, x-forwarded-for, cookie2, a b",
                )
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 204, "{method}");
            let expected = taken.then_some(method);
            assert_eq!(
                header(&answer, "access-control-allow-methods"),
                expected,
                "{method}"
            );
            assert_eq!(
                header(&answer, "access-control-allow-headers"),
                Some("x-app-a"),
                "{method}"
            );
        }
        // It is no preflight without a method, nor with another method.
        let answer = world
            .request("OPTIONS", &world.wiki, "/shares")
            .header("origin", "https://spa.example");
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        is_readable(&answer, "https://spa.example", "OPTIONS");
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_browsers_session_does_not_count_for_a_page_of_another_origin() {
    on_each(async |world| {
        allowing(world, &world.wiki, &["https://spa.example"]).await;
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let ask = |origin: &str| {
            let request = world
                .request("POST", &world.wiki, "/page")
                .header("cookie", &cookie);
            request.header("sec-fetch-mode", "cors").header("origin", origin)
        };
        let answer = ask("https://spa.example").send().await.unwrap();
        assert_eq!(answer.status(), 401);
        is_readable(&answer, "https://spa.example", "401");
        assert!(world.origin.take().is_empty());
        assert_eq!(ask("http://wiki.example").send().await.unwrap().status(), 200);
        assert_eq!(world.origin.take().len(), 1);
        // A token does, beside whatever cookie.
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let answer = ask("https://spa.example")
            .bearer_auth(&agent.token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let seen = world.origin.last();
        assert_eq!(seen.assertion()["actor"], "agent");
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_switched_off_answers_no_preflight() {
    on_each(async |world| {
        allowing(world, &world.tickets, &[INSPECTOR]).await;
        world.change(&world.tickets, |spec| spec.enabled = false).await;
        let answer = preflight(world, &world.tickets, ("/mcp", INSPECTOR, "POST"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 403);
        is_readable(&answer, INSPECTOR, "switched off");
    })
    .await;
}
