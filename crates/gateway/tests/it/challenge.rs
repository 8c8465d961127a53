//! What nobody in particular gets, and how agents find the way in.

use crate::world::{World, cookie_name, eventually, on_each};
use reqwest::Response;
use serde_json::{Value, json};
use wire::{ActorKind, App, Outcome};

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|v| v.to_str().unwrap())
}

async fn ask(world: &World, app: &App, method: &str, headers: &[(&str, &str)]) -> Response {
    let path = app
        .spec
        .public_url
        .splitn(4, '/')
        .nth(3)
        .map(|p| format!("/{p}"))
        .unwrap_or("/page?q=1".into());
    let mut request = world.request(method, app, &path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

const NAVIGATION: &[(&str, &str)] = &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
const FETCH: &[(&str, &str)] = &[("sec-fetch-mode", "cors"), ("accept", "text/html")];
const OLD_BROWSER: &[(&str, &str)] = &[("accept", "text/html,application/xhtml+xml;q=0.9")];
const AGENT: &[(&str, &str)] = &[("accept", "application/json, text/event-stream")];

#[tokio::test]
async fn agents_are_challenged_and_navigations_sent_to_sign_in() {
    on_each(async |world| {
        for app in [&world.wiki, &world.tickets, &world.notes] {
            for (method, headers, navigates) in [
                ("GET", NAVIGATION, true),
                ("POST", NAVIGATION, true),
                ("GET", OLD_BROWSER, true),
                ("HEAD", OLD_BROWSER, true),
                ("POST", OLD_BROWSER, false),
                ("GET", FETCH, false),
                ("GET", AGENT, false),
                ("POST", AGENT, false),
                ("HEAD", AGENT, false),
                ("OPTIONS", AGENT, false),
                ("PROPFIND", AGENT, false),
                ("GET", &[][..], false),
            ] {
                let answer = ask(world, app, method, headers).await;
                let what = format!("{method} {headers:?} at {}", app.spec.name);
                if navigates {
                    assert_eq!(answer.status(), 302, "{what}");
                    let to = header(&answer, "location").unwrap();
                    let sign_in = format!("{}/signin/{}?state=", testkit::CONTROL, app.id);
                    assert!(to.starts_with(&sign_in), "{what}: {to}");
                    let cookie = header(&answer, "set-cookie").unwrap();
                    assert!(cookie.starts_with(&cookie_name(app, "state")), "{what}: {cookie}");
                    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{what}: {cookie}");
                    let https = app.spec.public_url.starts_with("https");
                    assert_eq!(cookie.ends_with("; Secure"), https, "{what}: {cookie}");
                    continue;
                }
                assert_eq!(answer.status(), 401, "{what}");
                assert_eq!(
                    answer.headers().get_all("www-authenticate").iter().count(),
                    1,
                    "{what}"
                );
                let challenge = header(&answer, "www-authenticate").unwrap().to_owned();
                let request_id = header(&answer, "x-request-id").unwrap().to_owned();
                if app.spec.managed_oauth {
                    assert!(
                        challenge.starts_with("Bearer resource_metadata=\"http"),
                        "{what}: {challenge}"
                    );
                    assert!(challenge.contains("scope=\""), "{what}: {challenge}");
                    assert!(!challenge.contains("error"), "{what}: {challenge}");
                } else {
                    assert_eq!(challenge, "Bearer", "{what}");
                }
                if method != "HEAD" {
                    let body: Value = answer.json().await.unwrap();
                    let error = if app.spec.managed_oauth {
                        "unauthorized"
                    } else {
                        "managed_oauth_off"
                    };
                    assert_eq!(body["error"], error, "{what}");
                    assert_eq!(body["request_id"], request_id, "{what}");
                }
            }
        }
        assert!(world.origin.take().is_empty());
        let event = world.events().await.remove(0);
        assert_eq!(
            (event.outcome, event.actor.kind),
            (Outcome::Denied, ActorKind::Anonymous)
        );
        assert_eq!(event.reason.as_deref(), Some("managed_oauth_off"));
    })
    .await;
}

#[tokio::test]
async fn the_challenge_leads_to_the_metadata_of_the_app_and_its_issuer() {
    on_each(async |world| {
        let answer = ask(world, &world.tickets, "POST", AGENT).await;
        let challenge = header(&answer, "www-authenticate").unwrap();
        let url = "http://tickets.example/.well-known/oauth-protected-resource/mcp";
        assert_eq!(
            challenge,
            format!("Bearer resource_metadata=\"{url}\", scope=\"tickets:read tickets:write\"")
        );
        for path in [
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-protected-resource",
            "/mcp/.well-known/oauth-protected-resource",
        ] {
            let answer = world.request("GET", &world.tickets, path).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
            assert_eq!(header(&answer, "content-type"), Some("application/json"));
            let document: Value = answer.json().await.unwrap();
            assert_eq!(document["resource"], "http://tickets.example/mcp");
            assert_eq!(document["authorization_servers"][0], world.tickets.issuer);
            assert_eq!(document["bearer_methods_supported"][0], "header");
        }
        for path in [
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/mcp",
        ] {
            let answer = world.request("GET", &world.tickets, path).send().await.unwrap();
            let document: Value = answer.json().await.unwrap();
            assert_eq!(document["issuer"], world.tickets.issuer, "{path}");
            assert_eq!(document["code_challenge_methods_supported"][0], "S256");
        }
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn well_known_paths_are_never_forwarded_and_unknown_ones_are_404() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for (app, path) in [
            (&world.wiki, "/.well-known/openid-configuration"),
            (&world.wiki, "/.well-known/oauth-anything"),
            (&world.wiki, "/sub/.well-known/openid-configuration"),
            (&world.tickets, "/.well-known/oauth-protected-resource/other"),
            (&world.tickets, "/.well-known/openid-configuration/mcp"),
            (&world.notes, "/.well-known/oauth-protected-resource"),
            (&world.notes, "/.well-known/oauth-authorization-server"),
        ] {
            let request = world
                .request("GET", app, path)
                .bearer_auth(&agent.token)
                .header("accept", "text/html");
            assert_eq!(
                request.send().await.unwrap().status(),
                404,
                "{path} at {}",
                app.spec.name
            );
        }
        let path = "/.well-known/oauth-protected-resource";
        assert_eq!(
            world
                .request("OPTIONS", &world.wiki, path)
                .send()
                .await
                .unwrap()
                .status(),
            204
        );
        assert_eq!(
            world
                .request("POST", &world.wiki, path)
                .send()
                .await
                .unwrap()
                .status(),
            405
        );
        assert!(world.origin.take().is_empty());
        // Other well-known documents are the app's own.
        let path = "/.well-known/security.txt";
        let answer = world
            .request("GET", &world.wiki, path)
            .bearer_auth(&agent.token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    })
    .await;
}

#[tokio::test]
async fn unknown_authorities_and_paths_outside_an_app_are_404() {
    on_each(async |world| {
        let request = world
            .http
            .get(format!("http://{}/", world.address))
            .header("host", "other.example");
        assert_eq!(request.send().await.unwrap().status(), 404);
        let answer = world
            .request("GET", &world.tickets, "/mcpx")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 404);
    })
    .await;
}

#[tokio::test]
async fn what_strangers_are_refused_is_counted_and_what_is_decided_about_somebody_is_not() {
    on_each(async |world| {
        let ask = || world.request("GET", &world.tickets, "/mcp");
        for _ in 0..50 {
            assert_eq!(ask().send().await.unwrap().status(), 401);
            let wrong = ask().bearer_auth("wrong").send().await.unwrap();
            assert_eq!(wrong.status(), 401);
        }
        let reasons = |events: &[wire::AuditEvent]| {
            let reasons = events.iter().map(|event| event.reason.clone().unwrap());
            let mut reasons: Vec<_> = reasons.collect();
            reasons.sort();
            reasons
        };
        let events = world.events().await;
        assert_eq!(reasons(&events), ["credential_invalid", "unauthenticated"]);
        // Somebody who is known and may not: each is written down.
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        for _ in 0..5 {
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "close_ticket", "arguments": {}}});
            let refused = world.message(&agent, &call).send().await.unwrap();
            assert_eq!(refused.status(), 403);
        }
        assert_eq!(world.events().await.len(), 7);
        world.advance(60).await;
        eventually("the counts are written", async || world.events().await.len() == 9).await;
        let events = world.events().await;
        let count = |event: &wire::AuditEvent| event.repeated.as_ref().map_or(1, |r| r.count);
        assert_eq!(events.iter().map(count).sum::<u64>(), 105);
        assert!(
            events
                .iter()
                .filter(|e| e.repeated.is_some())
                .all(|e| e.actor.kind == ActorKind::Anonymous)
        );
    })
    .await;
}

#[tokio::test]
async fn the_metadata_names_the_resource_as_it_was_asked_for_with_its_query() {
    on_each(async |world| {
        let metadata = "http://tickets.example/.well-known/oauth-protected-resource/mcp";
        let longest = format!("q={}", "x".repeat(510));
        for query in ["utm_source=x", "a=%22&b=c?d", longest.as_str()] {
            let answer = world
                .request("POST", &world.tickets, &format!("/mcp?{query}"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 401);
            let challenge = header(&answer, "www-authenticate").unwrap();
            let expected = format!(
                "Bearer resource_metadata=\"{metadata}?{query}\", scope=\"tickets:read tickets:write\""
            );
            assert_eq!(challenge, expected);
            for path in [
                "/.well-known/oauth-protected-resource/mcp",
                "/.well-known/oauth-protected-resource",
            ] {
                let answer = world
                    .request("GET", &world.tickets, &format!("{path}?{query}"))
                    .send()
                    .await
                    .unwrap();
                let document: Value = answer.json().await.unwrap();
                assert_eq!(
                    document["resource"],
                    format!("http://tickets.example/mcp?{query}")
                );
                assert_eq!(document["authorization_servers"], json!([world.tickets.issuer]));
            }
        }
        // What is longer than any of ours is not said back.
        for query in ["", &format!("{longest}x")] {
            let answer = world
                .request("GET", &world.tickets, &format!("/mcp?{query}"))
                .send()
                .await
                .unwrap();
            let challenge = header(&answer, "www-authenticate").unwrap();
            assert!(
                challenge.starts_with(&format!("Bearer resource_metadata=\"{metadata}\", ")),
                "{challenge}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn the_metadata_of_openid_connect_is_there_when_the_app_says_so() {
    on_each(async |world| {
        let paths = [
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/mcp",
            "/mcp/.well-known/openid-configuration",
        ];
        for path in paths {
            let answer = world.request("GET", &world.tickets, path).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{path}");
        }
        world
            .change(&world.tickets, |spec| spec.oauth.openid = true)
            .await;
        let server = "/.well-known/oauth-authorization-server/mcp";
        let server = world.request("GET", &world.tickets, server).send().await.unwrap();
        let server: Value = server.json().await.unwrap();
        assert_eq!(
            server["userinfo_endpoint"],
            format!("{}/userinfo", world.tickets.issuer)
        );
        for path in paths {
            let answer = world.request("GET", &world.tickets, path).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap(), server, "{path}");
        }
        // Agents are not asked to find out who somebody is.
        let answer = ask(world, &world.tickets, "POST", AGENT).await;
        assert!(!header(&answer, "www-authenticate").unwrap().contains("openid"));
        assert!(world.origin.take().is_empty());
    })
    .await;
}

#[tokio::test]
async fn knowing_who_somebody_is_opens_nothing() {
    on_each(async |world| {
        world
            .change(&world.tickets, |spec| spec.oauth.openid = true)
            .await;
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        let agent = world
            .agent(&world.ada, &world.tickets, &["openid", "email"])
            .await;
        let answer = world.message(&agent, &ping).send().await.unwrap();
        assert_eq!(answer.status(), 403);
        assert!(
            header(&answer, "www-authenticate")
                .unwrap()
                .contains("insufficient_scope")
        );
        // An ID token is no access token.
        let now = world.clock.now().seconds();
        let claims = tokens::IdClaims {
            iss: world.tickets.issuer.clone(),
            aud: world.tickets.spec.public_url.clone(),
            iat: now,
            exp: now + 900,
            nonce: None,
            at_hash: tokens::at_hash(&agent.token),
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            person: tokens::PersonClaims {
                sub: world.ada.id.clone(),
                email: None,
                email_verified: None,
                name: None,
            },
        };
        let id_token = world.keyring.mint_id(&world.org, &claims).unwrap();
        let answer = world
            .request("POST", &world.tickets, "/mcp")
            .bearer_auth(&id_token)
            .json(&ping)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        assert!(world.origin.take().is_empty());
    })
    .await;
}
