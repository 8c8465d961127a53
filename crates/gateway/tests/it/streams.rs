//! Bodies flow as they come, and long-lived streams end with what let them begin.

use crate::world::{World, eventually, on_each};
use axum::body::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use store::{grant, session};
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
