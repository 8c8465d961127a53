//! A request is judged as its origin reads it, or refused.

use crate::world::{Agent, World, on_each};
use serde_json::json;
use wire::{App, Outcome, Policy, PolicySpec};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"close_ticket"}}"#;

async fn ask(world: &World, agent: &Agent, app: &App, what: (&str, &str, &[(&str, &str)])) -> u16 {
    let (method, path, headers) = what;
    let mut request = world.request(method, app, path).bearer_auth(&agent.token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status().as_u16()
}

/// The last event's outcome and reason.
async fn last(world: &World) -> (Outcome, String) {
    let event = world.events().await.remove(0);
    (event.outcome, event.reason.unwrap_or_default())
}

/// Whoever needs no credential learns what is wrong, not how to sign in.
#[tokio::test]
async fn at_a_public_app_everybody_learns_what_is_wrong_with_a_message() {
    on_each(async |world| {
        let spec = testkit::from_json(json!({
            "name": "Public", "decision": "bypass", "include": [{ "type": "everyone" }],
        }));
        let policy: wire::Policy = world
            .write(async |tx| store::rule::create(tx, &world.org, &world.wiki.account, spec).await)
            .await;
        for app in [&world.wiki, &world.tickets] {
            let id = policy.id.clone();
            world.change(app, |spec| spec.policies = vec![id]).await;
        }
        let ask = async |app, (method, media): (&str, &str), path| {
            let request = world.request(method, app, path).header("content-type", media);
            let answer = request.body("{\"method\":\"ping\"}").send().await.unwrap();
            answer.status().as_u16()
        };
        for (app, how, status) in [
            (&world.tickets, ("POST", "application/json; charset=utf-7"), 415),
            (&world.tickets, ("PUT", "application/json"), 405),
            (&world.tickets, ("post", "application/json"), 405),
            (&world.wiki, ("get", "text/plain"), 400),
            (&world.wiki, ("REPORT", "text/plain"), 501),
        ] {
            assert_eq!(ask(app, how, "/mcp").await, status, "{how:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_charset_that_changes_what_the_bytes_say_is_refused() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        // To a server that decodes UTF-7 it calls a tool; to everybody else it is a ping.
        let hidden = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"+ACIAfQAs-+ACI-method+ACI-:+ACI-tools/call+ACI-,+ACI-params+ACI-:+AHsAIg-name+ACI-:+ACI-close_ticket+ACI-,+ACI-arguments+ACI-:+AHsAfQ-,+ACI-y+ACI-:+ACI-"}}"#;
        for media in [
            "application/json; charset=utf-7",
            "application/json; charset=UTF-16LE",
            "application/json;charset=utf-8;charset=utf-7",
            "application/json; boundary=a",
            "application/json, application/json",
        ] {
            let request = world.request("POST", &world.tickets, "/mcp").bearer_auth(&agent.token);
            let answer = request.header("content-type", media).body(hidden).send().await.unwrap();
            assert_eq!(answer.status(), 415, "{media}");
            assert_eq!(last(world).await, (Outcome::Denied, "unreadable_message".to_owned()));
        }
        assert!(world.origin.take().is_empty());
        let request = world.request("POST", &world.tickets, "/mcp").bearer_auth(&agent.token);
        let request = request.header("content-type", "application/json; charset=utf-8");
        assert_eq!(request.body(hidden).send().await.unwrap().status(), 200);
    })
    .await;
}

#[tokio::test]
async fn an_mcp_endpoint_takes_the_methods_of_its_transport() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.tickets, &["tickets:read"]).await;
        for method in [
            "PUT", "PATCH", "QUERY", "HEAD", "OPTIONS", "PROPFIND", "post", "Post", "get", "delete", "PURGE",
            "COPY",
        ] {
            let request = world
                .request(method, &world.tickets, "/mcp")
                .bearer_auth(&agent.token);
            let answer = request
                .header("content-type", "application/json")
                .body(CALL)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 405, "{method}");
            assert_eq!(answer.headers()["allow"], "GET, POST, DELETE");
            assert_eq!(
                last(world).await,
                (Outcome::Denied, "unknown_method".to_owned()),
                "{method}"
            );
        }
        // A body where nobody reads one.
        for method in ["GET", "DELETE"] {
            let request = world
                .request(method, &world.tickets, "/mcp")
                .bearer_auth(&agent.token);
            let answer = request
                .header("content-type", "application/json")
                .body(CALL)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 400, "{method}");
            assert_eq!(
                last(world).await,
                (Outcome::Denied, "unreadable_message".to_owned()),
                "{method}"
            );
        }
        assert!(world.origin.take().is_empty());
        assert_eq!(
            ask(
                world,
                &agent,
                &world.tickets,
                ("DELETE", "/mcp", &[("content-length", "0")])
            )
            .await,
            200
        );
    })
    .await;
}

#[tokio::test]
async fn methods_are_those_that_are_known_in_upper_case() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for (method, status) in [
            ("GET", 200),
            ("HEAD", 200),
            ("PUT", 200),
            ("PATCH", 200),
            ("QUERY", 200),
            ("OPTIONS", 200),
            ("PROPFIND", 200),
            ("delete", 400),
            ("Get", 400),
            ("pOST", 400),
            ("REPORT", 501),
            ("PURGE", 501),
            ("X-METHOD", 501),
        ] {
            assert_eq!(
                ask(world, &agent, &world.wiki, (method, "/page", &[])).await,
                status,
                "{method}"
            );
            if status != 200 {
                assert_eq!(
                    last(world).await,
                    (Outcome::Denied, "unknown_method".to_owned()),
                    "{method}"
                );
            }
        }
        assert_eq!(world.origin.take().len(), 7);
        world
            .change(&world.wiki, |spec| spec.extra_methods = vec!["REPORT".to_owned()])
            .await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        assert_eq!(
            ask(world, &agent, &world.wiki, ("REPORT", "/page", &[])).await,
            200
        );
        assert_eq!(
            ask(world, &agent, &world.wiki, ("report", "/page", &[])).await,
            400
        );
        assert_eq!(
            ask(world, &agent, &world.wiki, ("PURGE", "/page", &[])).await,
            501
        );
    })
    .await;
}

#[tokio::test]
async fn where_something_is_copied_to_is_judged_like_where_it_is() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let to = async |method: &str, path: &str, destination: &str| {
            ask(
                world,
                &agent,
                &world.wiki,
                (method, path, &[("destination", destination)]),
            )
            .await
        };
        for method in ["COPY", "MOVE"] {
            for destination in ["http://wiki.example/admin/y", "/admin/y", "/admin"] {
                assert_eq!(
                    to(method, "/page", destination).await,
                    403,
                    "{method} to {destination}"
                );
                assert_eq!(
                    last(world).await,
                    (Outcome::Denied, "no_policy_matched".to_owned())
                );
            }
            assert_eq!(to(method, "/admin/x", "/page").await, 403);
            for destination in [
                "http://notes.example/page",
                "https://wiki.example/page",
                "http://wiki.example:81/page",
                "http://wiki.example@evil.example/page",
                "//wiki.example/page",
                "page",
                "",
                "/page/../admin/x",
                "/%61dmin/x",
                "/page#/admin",
                "/page?x",
                "/a//b",
                "/a\\b",
            ] {
                assert_eq!(
                    to(method, "/page", destination).await,
                    400,
                    "{method} to {destination}"
                );
                assert_eq!(
                    last(world).await,
                    (Outcome::Denied, "unreadable_destination".to_owned())
                );
            }
        }
        let twice = [("destination", "/page"), ("destination", "/admin/x")];
        assert_eq!(
            ask(world, &agent, &world.wiki, ("COPY", "/page", &twice)).await,
            400
        );
        assert!(world.origin.take().is_empty());
        assert_eq!(to("COPY", "/page", "HTTP://Wiki.Example/other%20page").await, 200);
        assert_eq!(
            world.origin.last().header("destination"),
            Some("http://wiki.example/other%20page")
        );
        // It means nothing elsewhere, and is gone.
        assert_eq!(to("PUT", "/page", "/admin/y").await, 200);
        assert_eq!(world.origin.last().header("destination"), None);
    })
    .await;
}

#[tokio::test]
async fn head_follows_get() {
    on_each(async |world| {
        let reading = json!([{ "type": "request", "methods": ["GET"], "path": "/report" }]);
        let spec = json!({ "name": "No reading", "decision": "deny", "include": reading });
        let deny: wire::Policy = world
            .write(async |tx| {
                let spec = serde_json::from_value(spec).unwrap();
                store::rule::create(tx, &world.org, &world.account.id, spec).await
            })
            .await;
        world
            .change(&world.wiki, |spec| spec.policies.insert(0, deny.id.clone()))
            .await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for (method, path, status) in [
            ("GET", "/report", 403),
            ("HEAD", "/report", 403),
            ("HEAD", "/report/", 403),
            ("POST", "/report", 200),
            ("HEAD", "/page", 200),
        ] {
            assert_eq!(
                ask(world, &agent, &world.wiki, (method, path, &[])).await,
                status,
                "{method} {path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn case_is_ignored_where_the_origin_ignores_it() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for path in ["/ADMIN/x", "/Admin", "/aDMIN/"] {
            assert_eq!(
                ask(world, &agent, &world.wiki, ("GET", path, &[])).await,
                200,
                "{path}: another place"
            );
        }
        world
            .change(&world.wiki, |spec| spec.case_insensitive_paths = true)
            .await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for path in ["/ADMIN/x", "/Admin", "/aDMIN/", "/admin/x"] {
            assert_eq!(
                ask(world, &agent, &world.wiki, ("GET", path, &[])).await,
                403,
                "{path}"
            );
        }
        assert_eq!(
            ask(
                world,
                &agent,
                &world.wiki,
                ("COPY", "/page", &[("destination", "/ADMIN/x")])
            )
            .await,
            403
        );
        assert_eq!(ask(world, &agent, &world.wiki, ("GET", "/Page", &[])).await, 200);
    })
    .await;
}

#[tokio::test]
async fn what_is_copied_is_read_and_what_is_moved_is_deleted_there_and_written_elsewhere() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let to = async |method: &str, path: &str, destination: &str| {
            let headers = [("destination", destination)];
            ask(world, &agent, &world.wiki, (method, path, &headers)).await
        };
        let mut before: Option<wire::PolicyId> = None;
        for (refused, cases) in [
            (
                vec!["GET"],
                // What is asked for, and whether a rule about the secret place stands in its way.
                [
                    ("COPY", "/secret/a", "/open/a", 403),
                    ("MOVE", "/secret/a", "/open/a", 403),
                    ("COPY", "/open/a", "/secret/a", 200),
                    ("MOVE", "/open/a", "/secret/a", 200),
                ],
            ),
            (
                vec!["PUT", "DELETE"],
                [
                    ("COPY", "/secret/a", "/open/a", 200),
                    ("MOVE", "/secret/a", "/open/a", 403),
                    ("COPY", "/open/a", "/secret/a", 403),
                    ("MOVE", "/open/a", "/secret/a", 403),
                ],
            ),
            (
                vec!["COPY"],
                [
                    ("COPY", "/secret/a", "/open/a", 403),
                    ("MOVE", "/secret/a", "/open/a", 200),
                    ("COPY", "/open/a", "/secret/a", 403),
                    ("MOVE", "/open/a", "/secret/a", 200),
                ],
            ),
        ] {
            let spec: PolicySpec = testkit::from_json(json!({
                "name": format!("No {}", refused.join(" or ")),
                "decision": "deny",
                "include": [{ "type": "request", "methods": refused, "path": "/secret/**" }],
            }));
            let account = &world.wiki.account;
            let policy: Policy = world
                .write(async |tx| store::rule::create(tx, &world.org, account, spec).await)
                .await;
            world
                .change(&world.wiki, |spec| {
                    spec.policies.retain(|id| Some(id) != before.as_ref());
                    spec.policies.insert(0, policy.id.clone());
                })
                .await;
            before = Some(policy.id);
            for (method, path, destination, expected) in cases {
                assert_eq!(
                    to(method, path, destination).await,
                    expected,
                    "no {refused:?} at /secret: {method} {path} to {destination}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_pages_of_another_app_of_the_host_are_reached_through_it_only() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let mut spec = world.wiki.spec.clone();
        spec.name = "Vault".into();
        spec.public_url = "http://wiki.example/vault".into();
        spec.policies = vec![];
        let account = &world.wiki.account;
        let vault = world
            .write(async |tx| store::app::create(tx, &world.org, account, spec).await)
            .await;
        let to = async |method: &str, path: &str, headers: &[(&str, &str)]| {
            ask(world, &agent, &world.wiki, (method, path, headers)).await
        };
        // Another place, as long as the origin minds case.
        assert_eq!(to("GET", "/VAULT/x", &[]).await, 200);
        for destination in ["/vault/x", "/vault", "http://wiki.example/vault/x"] {
            let headers = [("destination", destination)];
            assert_eq!(to("COPY", "/page", &headers).await, 400, "{destination}");
            assert_eq!(
                last(world).await,
                (Outcome::Denied, "unreadable_destination".to_owned())
            );
        }
        world
            .change(&vault, |spec| spec.case_insensitive_paths = true)
            .await;
        world.origin.take();
        for path in ["/VAULT/x", "/Vault", "/vaulT/"] {
            assert_eq!(to("GET", path, &[]).await, 400, "{path}");
        }
        assert_eq!(to("MOVE", "/page", &[("destination", "/Vault/x")]).await, 400);
        assert!(world.origin.take().is_empty());
        assert_eq!(to("GET", "/vaults/x", &[]).await, 200);
        assert_eq!(to("GET", "/page", &[]).await, 200);
    })
    .await;
}
