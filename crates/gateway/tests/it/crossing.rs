//! What crosses the gateway, in both directions.

use crate::world::{World, claims_of, eventually, host, on_each};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::{BindingSpec, Outcome};

/// A request as its bytes are, without a library that tidies it.
async fn raw(world: &World, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&world.address).await.unwrap();
    let head = format!("{}\r\nConnection: close\r\n\r\n", head.replace('\n', "\r\n"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer)
}

#[tokio::test]
async fn gw8_ambiguous_paths_are_refused_and_recorded() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let ask = async |target: &str| {
            let head = format!(
                "GET {target} HTTP/1.1\nHost: wiki.example\nAuthorization: Bearer {}",
                agent.token
            );
            raw(world, &head).await.0
        };
        for target in [
            "/admin/../page",
            "/page/../admin/x",
            "/%2e%2e/admin",
            "/a%2fb",
            "/a\\b",
            "//admin/x",
            "/page//x",
            "/a;x",
            "/a%3bx",
            "/%252e",
            "/a%00",
            "/%61dmin/x",
            "/./admin/x",
            "/a%c0%afb",
            "/a%",
            "/page/..",
            "/.well-known/../admin",
            "/.chatelaine//x",
            "/%2echatelaine/logout",
        ] {
            assert_eq!(ask(target).await, 400, "{target}");
            let event = world.events().await.remove(0);
            assert_eq!(
                (event.outcome, event.reason.as_deref()),
                (Outcome::Denied, Some("ambiguous_path")),
                "{target}"
            );
        }
        assert!(world.origin.take().is_empty());
        for target in [
            "/page%20x",
            "/%C3%A4?q=%2f..//;",
            "/a/?x=http://y",
            "/page?",
            "/a.b/c:d@e",
        ] {
            assert_eq!(ask(target).await, 200, "{target}");
            assert_eq!(world.origin.last().target, target, "byte for byte");
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_names_another_host_is_refused() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for (target, status) in [
            ("http://wiki.example/page", 200),
            ("http://notes.example/page", 400),
        ] {
            let head = format!(
                "GET {target} HTTP/1.1\nHost: wiki.example\nAuthorization: Bearer {}",
                agent.token
            );
            assert_eq!(raw(world, &head).await.0, status, "{target}");
        }
        assert_eq!(
            raw(world, "TRACE /page HTTP/1.1\nHost: wiki.example").await.0,
            400
        );
    })
    .await;
}

#[tokio::test]
async fn gw2_identity_headers_of_a_client_are_gone_in_every_spelling() {
    on_each(async |world| {
        world
            .change(&world.wiki, |spec| spec.identity_headers = true)
            .await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let mut head = format!(
            "GET /page HTTP/1.1\nHost: wiki.example\nAuthorization: Bearer {}",
            agent.token
        );
        for name in [
            "Chatelaine-Assertion",
            "CHATELAINE_ASSERTION",
            "chatelaine.assertion",
            "chatelaine-assertion",
            "X-Chatelaine-User",
            "X_Chatelaine_User",
            "x.chatelaine.user",
            "x-chatelaine_user",
            "X-Chatelaine-Email",
            "X-Chatelaine-Groups",
            "X-Forwarded-User",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "Forwarded",
            "X-Real-IP",
            "Remote-User",
            "Remote_User",
            "X-Remote-User",
            "X-Auth-Request-Email",
            "X-WebAuth-User",
            "True-Client-IP",
            "CF-Access-Jwt-Assertion",
            "X-HTTP-Method-Override",
            "X-Request-Id",
            "X-Original-URL",
            "Proxy-Authorization",
        ] {
            head.push_str(&format!("\n{name}: forged\n{name}: forged "));
        }
        head.push_str("\nX-Requested-With: fetch\nX-App-Tenant: 7\nAccept: text/plain");
        assert_eq!(raw(world, &head).await.0, 200);
        let seen = world.origin.last();
        assert!(
            !seen.headers.iter().any(|(_, value)| value.contains("forged")),
            "{:?}",
            seen.headers
        );
        let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "chatelaine-assertion",
                "chatelaine-hop",
                "host",
                "x-app-tenant",
                "x-chatelaine-email",
                "x-chatelaine-groups",
                "x-chatelaine-user",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-request-id",
                "x-requested-with",
            ]
        );
        assert_eq!(seen.header("host"), Some(host(&world.wiki).as_str()));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(
            seen.header("x-chatelaine-user"),
            Some(world.ada.id.to_string().as_str())
        );
        assert_eq!(seen.header("x-chatelaine-email"), Some("ada@acme.example"));
        assert_eq!(seen.header("x-chatelaine-groups"), Some("staff"));
    })
    .await;
}

#[tokio::test]
async fn jw9_the_origin_gets_an_assertion_and_no_credential() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let cookies = "theirs=1; chatelaine_session=x; __Host-chatelaine_app_y=z";
        let ask = async || {
            let request = world
                .request("GET", &world.wiki, "/page")
                .bearer_auth(&agent.token);
            assert_eq!(
                request.header("cookie", cookies).send().await.unwrap().status(),
                200
            );
            world.origin.last()
        };
        let seen = ask().await;
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("cookie"), Some("theirs=1"));
        assert!(!format!("{:?}", seen.headers).contains(&agent.token));
        assert_eq!(
            seen.header("x-chatelaine-user"),
            None,
            "plain headers are a setting"
        );
        let claims = seen.assertion();
        assert_eq!(
            claims["iss"],
            format!("{}/accounts/{}", testkit::CONTROL, world.account.id)
        );
        assert_eq!(claims["aud"], world.wiki.spec.public_url);
        assert_eq!(claims["sub"], world.ada.id.to_string());
        assert_eq!(claims["email"], "ada@acme.example");
        assert_eq!(claims["groups"], json!(["staff"]));
        assert_eq!(claims["act"]["sub"], agent.client.client_id);
        assert_eq!(claims["grant"], agent.grant.to_string());
        assert_eq!(claims["scope"], "access");
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!(life <= 60);
        // One is used for a while, and always with half a minute left; what is heard of changes makes another.
        let assertion = async || ask().await.header("chatelaine-assertion").map(ToOwned::to_owned);
        eventually("one is used again", async || {
            assertion().await == assertion().await
        })
        .await;
        world.advance(31).await;
        let later = claims_of(ask().await.header("chatelaine-assertion").unwrap());
        assert_eq!(later["iat"], claims["iat"].as_i64().unwrap() + 31);
    })
    .await;
}

#[tokio::test]
async fn claims_that_a_binding_withholds_stay_here() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let spec = BindingSpec {
            claims: Some(vec!["groups".into()]),
            ..world.binding.spec.clone()
        };
        world
            .write(async |tx| store::binding::update(tx, &world.binding, spec).await)
            .await;
        let request = world
            .request("GET", &world.wiki, "/page")
            .bearer_auth(&agent.token);
        assert_eq!(request.send().await.unwrap().status(), 200);
        let claims = world.origin.last().assertion();
        assert_eq!((claims.get("email"), claims.get("name")), (None, None));
        assert_eq!(claims["groups"], serde_json::json!(["staff"]));
    })
    .await;
}

#[tokio::test]
async fn an_origin_cannot_set_our_cookies() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let answer = world
            .request("GET", &world.wiki, "/cookies")
            .bearer_auth(&agent.token)
            .send()
            .await
            .unwrap();
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["theirs=1; Path=/"]);
        assert_eq!(answer.headers()["x-theirs"], "1");
        assert!(!answer.headers().contains_key("alt-svc"));
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_a_502_on_record() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        world
            .change(&world.wiki, |spec| spec.origin_url = "http://127.0.0.1:1".into())
            .await;
        let answer = world
            .request("GET", &world.wiki, "/page")
            .bearer_auth(&agent.token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 502);
        eventually("the 502 is on record", async || {
            world.events().await[0]
                .response
                .as_ref()
                .is_some_and(|r| r.status == 502)
        })
        .await;
        assert_eq!(world.events().await[0].outcome, Outcome::Allowed);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_framed_wrongly_is_the_clients_fault() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        for chunks in [
            "0\n\n",
            "-0\r\n\r\n",
            "0x0\r\n\r\n",
            "5\r\nabcdeX\r\n0\r\n\r\n",
            "g\r\n\r\n",
        ] {
            let request = format!(
                "POST /page HTTP/1.1\r\nHost: wiki.example\r\nAuthorization: Bearer {}\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{chunks}",
                agent.token
            );
            let mut stream = TcpStream::connect(&world.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 400", "{chunks:?}");
            let event = world.events().await.remove(0);
            assert_eq!(
                event.outcome,
                Outcome::Allowed,
                "its body came to no end: {chunks:?}"
            );
        }
    })
    .await;
}

/// RFC 9112, section 6.3: what chunks bring counts.
#[tokio::test]
async fn a_length_beside_chunks_does_not_reach_the_client() {
    on_each(async |world| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let _ = stream.read(&mut head).await.unwrap();
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\
                              connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        world.change(&world.wiki, |spec| spec.origin_url = url).await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let request = world
            .request("GET", &world.wiki, "/page")
            .bearer_auth(&agent.token);
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "hello");
    })
    .await;
}
