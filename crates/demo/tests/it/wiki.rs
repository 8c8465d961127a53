//! The wiki: whom it serves, what it tells about requests, and the streams that gateways get wrong.

use std::sync::atomic::Ordering;

use demo::{assertion, wiki};
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Gateway, browser, ec_key, listen};

struct Wiki {
    origin: String,
    gateway: Gateway,
    _stop: DropGuard,
}

impl Wiki {
    async fn start(require_assertion: bool) -> Self {
        let gateway = Gateway::start().await;
        let (listener, origin) = listen().await;
        let config = wiki::Config {
            assertion: Some(gateway.config.clone()),
            require_assertion,
        };
        let stop = CancellationToken::new();
        let served = wiki::serve(listener, config, stop.clone());
        tokio::spawn(async move { served.await.unwrap() });
        Self {
            origin,
            gateway,
            _stop: stop.drop_guard(),
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        browser().get(format!("{}{path}", self.origin))
    }

    fn assertion(&self) -> String {
        self.gateway.sign(&self.gateway.claims())
    }

    async fn with(&self, assertion: &str) -> StatusCode {
        self.get("/")
            .header(assertion::HEADER, assertion)
            .send()
            .await
            .unwrap()
            .status()
    }
}

#[tokio::test]
async fn without_an_assertion_everything_is_refused() {
    let wiki = Wiki::start(true).await;
    for path in [
        "/",
        "/pages/handbook",
        "/whoami",
        "/events",
        "/style.css",
        "/nowhere",
    ] {
        let answer = wiki.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        wiki.get("/healthz").send().await.unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(wiki.with(&wiki.assertion()).await, StatusCode::OK);
}

#[tokio::test]
async fn an_assertion_has_to_be_right_in_every_respect() {
    let wiki = Wiki::start(true).await;
    let gateway = &wiki.gateway;
    let changed = |name: &str, value: Value| {
        let mut claims = gateway.claims();
        claims[name] = value;
        gateway.sign(&claims)
    };
    let foreign = {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("k1".into());
        jsonwebtoken::encode(&header, &gateway.claims(), &ec_key()).unwrap()
    };
    let symmetric = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k1".into());
        jsonwebtoken::encode(&header, &gateway.claims(), &EncodingKey::from_secret(b"k1")).unwrap()
    };
    let unsigned = format!("{}.", wiki.assertion().rsplit_once('.').unwrap().0);
    let cases = [
        (
            "another audience",
            changed("aud", json!("https://other.example/")),
        ),
        ("no audience", changed("aud", Value::Null)),
        ("another issuer", changed("iss", json!("https://other.example"))),
        ("expired", changed("exp", json!(gateway.config.clock.now() - 10))),
        ("no expiry", changed("exp", Value::Null)),
        ("unknown key", gateway.sign_as(Some("k2"), &gateway.claims())),
        ("no key", gateway.sign_as(None, &gateway.claims())),
        ("another's key", foreign),
        ("HS256", symmetric),
        ("no signature", unsigned),
        ("no JWT", "hello".into()),
    ];
    for (why, assertion) in cases {
        assert_eq!(wiki.with(&assertion).await, StatusCode::UNAUTHORIZED, "{why}");
    }
    let twice = wiki
        .get("/")
        .header(assertion::HEADER, wiki.assertion())
        .header(assertion::HEADER, "x");
    assert_eq!(
        twice.send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED,
        "two assertions"
    );
}

#[tokio::test]
async fn keys_are_fetched_once_a_minute_and_expiry_follows_the_clock() {
    let wiki = Wiki::start(true).await;
    let assertion = wiki.assertion();
    for _ in 0..3 {
        assert_eq!(wiki.with(&assertion).await, StatusCode::OK);
    }
    assert_eq!(wiki.gateway.fetches.load(Ordering::Relaxed), 1);
    wiki.gateway.config.clock.advance(70);
    assert_eq!(wiki.with(&assertion).await, StatusCode::UNAUTHORIZED);
    assert_eq!(wiki.with(&wiki.assertion()).await, StatusCode::OK);
    assert_eq!(wiki.gateway.fetches.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn whoami_tells_the_claims_and_every_header() {
    let wiki = Wiki::start(false).await;
    let request = wiki
        .get("/whoami?a=b")
        .header("x-two", "1")
        .header("x-two", "2")
        .header("x_odd.name", "3");
    let seen: Value = request
        .header(assertion::HEADER, wiki.assertion())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(seen["signed_in"], true);
    assert_eq!(seen["claims"]["email"], "ada@acme.example");
    assert_eq!(seen["claims"]["act"]["sub"], "https://agent.example/client");
    assert_eq!(seen["headers"]["x-two"], json!(["1", "2"]));
    assert_eq!(seen["headers"]["x_odd.name"], json!(["3"]));
    assert_eq!(seen["uri"], "/whoami?a=b");

    let seen: Value = wiki.get("/whoami").send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["signed_in"], false);
    assert_eq!(seen["claims"], Value::Null);
}

#[tokio::test]
async fn an_edit_is_kept_escaped_and_names_its_author() {
    let wiki = Wiki::start(true).await;
    let edit = |site: &'static str| {
        browser()
            .post(format!("{}/pages/handbook/edit", wiki.origin))
            .header(assertion::HEADER, wiki.assertion())
            .header("sec-fetch-site", site)
            .form(&[("text", "New <b>rule</b>")])
            .send()
    };
    assert_eq!(edit("cross-site").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(edit("same-origin").await.unwrap().status(), StatusCode::SEE_OTHER);
    let page = wiki
        .get("/pages/handbook")
        .header(assertion::HEADER, wiki.assertion())
        .send()
        .await
        .unwrap();
    let html = page.text().await.unwrap();
    assert!(html.contains("New &#60;b&#62;rule&#60;/b&#62;"), "{html}");
    assert!(html.contains("last edited by ada@acme.example"));
    assert!(html.contains("through <strong>https://agent.example/client</strong>"));
}

#[tokio::test]
async fn events_uploads_and_sockets_stream() {
    let wiki = Wiki::start(false).await;
    let events = wiki.get("/events?n=2").send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let text = events.text().await.unwrap();
    assert_eq!(text.matches("event: tick").count(), 2);

    let upload = browser()
        .post(format!("{}/upload", wiki.origin))
        .body(vec![b'a'; 5_000_000]);
    let answer: Value = upload.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["bytes"], 5_000_000);
    assert_eq!(answer["sha256"].as_str().unwrap().len(), 64);

    let url = wiki.origin.replace("http:", "ws:") + "/ws";
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(tungstenite::Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        tungstenite::Message::text("hello")
    );
}

#[tokio::test]
async fn shutdown_does_not_wait_for_endless_streams() {
    let gateway = Gateway::start().await;
    let (listener, origin) = listen().await;
    let stop = CancellationToken::new();
    let config = wiki::Config {
        assertion: Some(gateway.config.clone()),
        require_assertion: false,
    };
    let server = tokio::spawn(wiki::serve(listener, config, stop.clone()));
    let events = browser().get(format!("{origin}/events")).send().await.unwrap();
    stop.cancel();
    tokio::time::timeout(std::time::Duration::from_secs(20), server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(events);
}
