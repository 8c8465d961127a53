//! Bodies flow as they come, and long-lived streams end with what let them begin.

use crate::world::{World, eventually, on_each};
use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use store::{grant, session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future)
        .await
        .unwrap_or_else(|_| panic!("within 5 seconds: {what}"))
}

#[tokio::test]
async fn events_arrive_one_by_one_and_end_with_the_grant() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let other = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let open = async |token: &str| {
            let answer = world
                .request("GET", &world.wiki, "/events")
                .bearer_auth(token)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            answer.bytes_stream()
        };
        let (mut mine, mut theirs) = (open(&agent.token).await, open(&other.token).await);
        for n in 0..3 {
            world.origin.events.send(n.to_string()).unwrap();
            for stream in [&mut mine, &mut theirs] {
                let event = within("an event", stream.next()).await.unwrap().unwrap();
                assert_eq!(event, format!("data: {n}\n\n"));
            }
        }
        world
            .write(async |tx| grant::revoke_where(tx, grant::Which::One(&agent.grant), "test").await)
            .await;
        assert!(
            within("the end", mine.next()).await.is_none(),
            "a clean end, so that clients come back"
        );
        world.origin.events.send("after".into()).unwrap();
        let event = within("an event", theirs.next()).await.unwrap().unwrap();
        assert_eq!(event, "data: after\n\n", "others go on");
    })
    .await;
}

#[tokio::test]
async fn events_end_with_the_session() {
    on_each(async |world| {
        let (id, cookie) = world.browser(&world.ada, &world.wiki).await;
        let request = world
            .request("GET", &world.wiki, "/events")
            .header("cookie", cookie);
        let mut events = request.send().await.unwrap().bytes_stream();
        world.write(async |tx| session::end(tx, &id).await).await;
        assert!(within("the end", events.next()).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn an_upload_reaches_the_origin_while_it_is_sent() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let chunks = stream::unfold(receiver, |mut receiver| async {
            Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
        });
        let request = world
            .request("POST", &world.wiki, "/upload")
            .bearer_auth(&agent.token);
        let upload = tokio::spawn(request.body(reqwest::Body::wrap_stream(chunks)).send());
        sender.send(Bytes::from_static(b"first")).await.unwrap();
        eventually("the first chunk is there", async || {
            world.origin.received.lock().unwrap().starts_with(b"first")
        })
        .await;
        for _ in 0..64 {
            sender.send(Bytes::from(vec![7; 64 * 1024])).await.unwrap();
        }
        drop(sender);
        let answer: Value = upload.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!(answer["size"], 5 + 64 * 64 * 1024);
        // With a length, too, and without any body.
        for size in [1024 * 1024, 10, 0] {
            let request = world
                .request("POST", &world.wiki, "/upload")
                .bearer_auth(&agent.token)
                .header("content-length", size);
            let answer: Value = request
                .body(vec![1; size])
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
            assert_eq!(answer["size"], size);
            let seen = world.origin.last();
            assert_eq!(seen.header("content-length"), Some(size.to_string().as_str()));
            assert_eq!(seen.header("transfer-encoding"), None);
        }
    })
    .await;
}

/// An origin that echoes WebSocket messages.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut sink, mut messages) = tokio_tungstenite::accept_async(stream).await.unwrap().split();
                while let Some(Ok(message)) = messages.next().await {
                    if sink.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn connect(world: &World, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request = "ws://wiki.example/socket".into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(&world.address).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn websockets_pass_and_end_with_what_let_them_begin() {
    on_each(async |world| {
        let origin = echo().await;
        world.change(&world.wiki, |spec| spec.origin_url = origin).await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let (id, cookie) = world.browser(&world.ada, &world.wiki).await;
        let bearer = format!("Bearer {}", agent.token);
        let mut of_agent = connect(world, &[("authorization", &bearer)]).await.unwrap();
        let own = [("cookie", cookie.as_str()), ("origin", "http://wiki.example")];
        let mut of_browser = connect(world, &own).await.unwrap();
        for socket in [&mut of_agent, &mut of_browser] {
            socket.send(Message::text("hello")).await.unwrap();
            let echoed = within("an echo", socket.next()).await.unwrap().unwrap();
            assert_eq!(echoed, Message::text("hello"));
        }
        world
            .write(async |tx| {
                session::end(tx, &id).await?;
                grant::revoke_where(tx, grant::Which::One(&agent.grant), "test").await
            })
            .await;
        for socket in [&mut of_agent, &mut of_browser] {
            let end = within("the end", socket.next()).await;
            assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_origins_open_no_websocket_with_the_browsers_session() {
    on_each(async |world| {
        let origin = echo().await;
        world.change(&world.wiki, |spec| spec.origin_url = origin).await;
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        for origin in [
            "http://evil.example",
            "null",
            "https://wiki.example",
            "http://wiki.example:81",
        ] {
            let answer = connect(world, &[("cookie", &cookie), ("origin", origin)]).await;
            assert_eq!(answer.err(), Some(403), "{origin}");
        }
        assert_eq!(
            connect(world, &[("cookie", &cookie)]).await.err(),
            Some(403),
            "no origin"
        );
        assert_eq!(connect(world, &[]).await.err(), Some(401), "nobody");
    })
    .await;
}

/// Each way to lose access, and what it does. Each with an agent and with a browser.
async fn lose(world: &World, way: &str, agent: &crate::world::Agent, session: &wire::SessionId) {
    match way {
        "the grant is revoked, the session ended" => {
            world
                .write(async |tx| {
                    session::end(tx, session).await?;
                    grant::revoke_where(tx, grant::Which::One(&agent.grant), "test").await
                })
                .await;
        }
        "the person is disabled" => {
            world
                .write(async |tx| store::user::set_disabled(tx, &world.org, &world.ada, true).await)
                .await;
        }
        "the app is switched off" => {
            world.change(&world.wiki, |spec| spec.enabled = false).await;
        }
        "the rules change" => {
            world.change(&world.wiki, |spec| spec.policies.clear()).await;
        }
        "the account is switched off" => {
            let mut spec = world.account.spec.clone();
            spec.enabled = false;
            world
                .write(async |tx| store::org::update_account(tx, &world.account, spec).await)
                .await;
        }
        "the app moves" => {
            let moved = "http://moved.example".to_owned();
            world.change(&world.wiki, |spec| spec.public_url = moved).await;
        }
        // Nobody says so to anybody.
        "its time is over" => {
            world.clock.advance(40 * 86_400);
        }
        way => panic!("{way}"),
    }
}

#[tokio::test]
async fn what_waits_ends_with_each_way_to_lose_access() {
    let ways = [
        "the grant is revoked, the session ended",
        "the person is disabled",
        "the app is switched off",
        "the rules change",
        "the account is switched off",
        "the app moves",
        "its time is over",
    ];
    let all = ways.map(async |way| {
        on_each(async |world| {
            let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
            let (id, cookie) = world.browser(&world.ada, &world.wiki).await;
            let ask = |method: &str, path: &str, by_agent: bool| {
                let request = world.request(method, &world.wiki, path);
                match by_agent {
                    true => request.bearer_auth(&agent.token),
                    false => request.header("cookie", &cookie),
                }
            };
            let polls = [true, false].map(|by_agent| tokio::spawn(ask("GET", "/poll", by_agent).send()));
            eventually("they wait", async || world.origin.count("/poll") == 2).await;
            let slow = || {
                let chunks = stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
                });
                reqwest::Body::wrap_stream(chunks)
            };
            let uploads = [true, false]
                .map(|by_agent| tokio::spawn(ask("POST", "/upload", by_agent).body(slow()).send()));
            let mut drips = Vec::new();
            for by_agent in [true, false] {
                let asked = tokio::spawn(ask("GET", "/drip", by_agent).send());
                eventually("the origin drips", async || {
                    let _ = world.origin.events.send("x".into());
                    asked.is_finished()
                })
                .await;
                drips.push(asked.await.unwrap().unwrap());
            }
            // The polls are answered by what made the drips begin; others wait.
            for poll in polls {
                assert_eq!(within("an answer", poll).await.unwrap().unwrap().status(), 200);
            }
            let polls = [true, false].map(|by_agent| tokio::spawn(ask("GET", "/poll", by_agent).send()));
            eventually("they wait", async || world.origin.count("/poll") == 4).await;
            lose(world, way, &agent, &id).await;
            for poll in polls {
                let answer = within(way, poll).await.unwrap().unwrap();
                assert_eq!(answer.status(), 403, "{way}");
                let text = answer.text().await.unwrap();
                assert!(text.contains("access_ended"), "{way}: {text}");
            }
            for upload in uploads {
                let answer = within(way, upload).await.unwrap();
                assert!(answer.is_err() || answer.unwrap().status() == 403, "{way}");
            }
            for drip in drips {
                assert!(within(way, drip.bytes()).await.is_err(), "{way}: cut");
            }
        })
        .await;
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn what_nobody_waits_for_ends_with_the_app_and_with_the_account() {
    for way in ["the app is switched off", "the account is switched off"] {
        on_each(async |world| {
            let spec = testkit::from_json(serde_json::json!({
                "name": "Public", "decision": "bypass", "include": [{ "type": "request", "path": "/drip" }],
            }));
            let policy: wire::Policy = world
                .write(async |tx| store::rule::create(tx, &world.org, &world.wiki.account, spec).await)
                .await;
            world
                .change(&world.wiki, |spec| spec.policies.insert(0, policy.id))
                .await;
            let asked = tokio::spawn(world.request("GET", &world.wiki, "/drip").send());
            eventually("the origin drips", async || {
                let _ = world.origin.events.send("x".into());
                asked.is_finished()
            })
            .await;
            let drip = asked.await.unwrap().unwrap();
            assert_eq!(drip.status(), 200);
            let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
            lose(world, way, &agent, &wire::SessionId::fresh()).await;
            assert!(within(way, drip.bytes()).await.is_err(), "{way}: cut");
        })
        .await;
    }
}

/// An answer that says that it is one to another key, or none, opens no tunnel; neither does a request that does not ask
/// for a switch of this connection.
#[tokio::test]
async fn protocols_are_switched_where_both_sides_say_so_only() {
    on_each(async |world| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let size = stream.read(&mut head).await.unwrap();
                let asked = String::from_utf8_lossy(&head[..size]).to_ascii_lowercase();
                let answer = match asked.contains("upgrade: websocket") {
                    true => {
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\nhello"
                    }
                    false => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                tokio::spawn(async move { stream.read(&mut head).await });
            }
        });
        world.change(&world.wiki, |spec| spec.origin_url = url).await;
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
        for (asks, status) in [
            ("connection: upgrade\r\nupgrade: websocket\r\n", "502"),
            ("upgrade: websocket\r\n", "200"),
            ("connection: keep-alive\r\nupgrade: websocket\r\n", "200"),
            (
                "connection: upgrade\r\nupgrade: websocket\r\nupgrade: h2c\r\n",
                "200",
            ),
            ("connection: upgrade\r\nupgrade: h2c\r\n", "200"),
        ] {
            let head = format!(
                "GET /socket HTTP/1.1\r\nhost: wiki.example\r\nauthorization: Bearer {}\r\n{asks}{key}\r\n",
                agent.token
            );
            let mut stream = TcpStream::connect(&world.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = vec![0; 12];
            within(asks, stream.read_exact(&mut answer)).await.unwrap();
            assert_eq!(
                String::from_utf8_lossy(&answer),
                format!("HTTP/1.1 {status}"),
                "{asks}"
            );
        }
    })
    .await;
}

/// An origin that reads a request on each connection, says `answers` in turn, and then closes it, or keeps silent.
async fn saying(answers: &'static [&'static str], closes: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 8192];
                for answer in answers {
                    if stream.read(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                if stream.read(&mut head).await.unwrap_or(0) > 0 && !closes {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_not_waited_for_for_ever() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let silent = saying(&[], false).await;
        let limits = wire::OriginLimits {
            answer_seconds: 2,
            idle_seconds: 2,
            ..wire::OriginLimits::default()
        };
        world
            .change(&world.wiki, |spec| {
                (spec.origin_url, spec.origin_limits) = (silent, limits);
            })
            .await;
        let ask = |method| world.request(method, &world.wiki, "/x").bearer_auth(&agent.token);
        for method in ["GET", "POST"] {
            let asked = ask(method).body("x").send();
            let answer = within("504", asked).await.unwrap();
            assert_eq!(answer.status(), 504, "{method}");
            let text = answer.text().await.unwrap();
            assert!(text.contains("origin_silent"), "{text}");
        }
        let stops = saying(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour"], false).await;
        world.change(&world.wiki, |spec| spec.origin_url = stops).await;
        let answer = ask("GET").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(within("cut", answer.bytes()).await.is_err());
        // A client that still sends is not kept waiting by the origin.
        world
            .change(&world.wiki, |spec| spec.origin_url.clone_from(&world.origin.url))
            .await;
        let parts = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            (n < 6).then_some((Ok::<_, Infallible>("x"), n + 1))
        });
        let upload = ask("POST").body(reqwest::Body::wrap_stream(parts)).send();
        assert_eq!(within("an answer", upload).await.unwrap().status(), 200);
    })
    .await;
}

/// RFC 9112, section 9.3.1: what is idempotent is sent once more.
#[tokio::test]
async fn a_connection_that_the_origin_closed_costs_no_request() {
    on_each(async |world| {
        let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
        let once = saying(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"], true).await;
        world.change(&world.wiki, |spec| spec.origin_url = once).await;
        for method in ["GET", "GET", "HEAD", "GET", "OPTIONS"] {
            let request = world.request(method, &world.wiki, "/x");
            let answer = request.bearer_auth(&agent.token).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{method}");
        }
        let ask = async |method| {
            let request = world.request(method, &world.wiki, "/x").bearer_auth(&agent.token);
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(ask("GET").await, 200);
        let posted = [ask("POST").await, ask("POST").await];
        assert!(posted.contains(&502), "nothing is done twice: {posted:?}");
    })
    .await;
}
