//! The client against servers on the loopback interface.

mod ss1;

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server that gives the same answer to every connection, and remembers what it was sent.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn answering(answer: &str) -> Self {
        Self::on("127.0.0.1:0", answer.to_owned(), None).await
    }

    async fn on(address: &str, answer: String, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, answer, tls) = (requests.clone(), answer.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &requests, &answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &requests, &answer).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn allowed(&self) -> [Allowed; 1] {
        [Allowed::parse(&self.url("")).unwrap()]
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request, answers, then keeps the connection open so that only the answer says where it ends.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, requests: &Mutex<Vec<String>>, answer: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        request.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.parse().unwrap());
            if body.len() >= length {
                break;
            }
        }
    }
    requests.lock().unwrap().push(String::from_utf8(request).unwrap());
    // The client may hang up in the middle of an answer; that is what some tests are about.
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        let _ = stream.flush().await;
        let _ = stream.read(&mut buffer).await;
    }
}

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}";

fn outbound() -> Outbound {
    Outbound::new(Policy::default())
}

/// A name server that gives one answer after the other and the last one for ever, and counts the questions.
fn name_server(answers: &[&[&str]]) -> (Resolver, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answers: VecDeque<Vec<IpAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect())
        .collect();
    let answers = Arc::new(Mutex::new(answers));
    let resolver: Resolver = Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let mut answers = answers.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front().unwrap()
        } else {
            answers.front().unwrap().clone()
        };
        Box::pin(std::future::ready(Ok(answer)))
    });
    (resolver, asked)
}

fn named(answers: &[&[&str]]) -> (Outbound, Arc<AtomicUsize>) {
    let (resolver, asked) = name_server(answers);
    (Outbound::with_resolver(Policy::default(), resolver), asked)
}

#[tokio::test]
async fn allowed_http_origin_is_fetched() {
    let server = Server::answering(OK).await;
    let answer = outbound()
        .get(server.url("/a?b=c"))
        .accept("application/json")
        .header("x-one", "1")
        .basic_auth("id", "secret")
        .allow(&server.allowed())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.media_type(), "application/json");
    assert_eq!(&answer.body[..], b"{}");
    let request = &server.requests()[0].to_lowercase();
    assert!(request.starts_with("get /a?b=c http/1.1\r\n"), "{request}");
    for header in [
        "accept: application/json",
        "x-one: 1",
        "authorization: basic awq6c2vjcmv0",
        concat!("user-agent: chatelaine/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(
            request.contains(&format!("\r\n{header}\r\n")),
            "{header} in {request}"
        );
    }
}

#[tokio::test]
async fn form_is_encoded() {
    let server = Server::answering(OK).await;
    let fetch = outbound().post_form(server.url("/token"), &[("code", "a b&c"), ("x", "ü")]);
    fetch.allow(&server.allowed()).send().await.unwrap();
    let request = &server.requests()[0];
    assert!(
        request
            .to_lowercase()
            .contains("content-type: application/x-www-form-urlencoded\r\n")
    );
    assert!(request.ends_with("\r\n\r\ncode=a+b%26c&x=%C3%BC"), "{request}");
}

/// The bounds of `oauth2::AsyncHttpClient`.
async fn call<'c, C, F>(client: &'c C, request: http::Request<Vec<u8>>) -> http::Response<Vec<u8>>
where
    C: Fn(http::Request<Vec<u8>>) -> F,
    F: Future<Output = Result<http::Response<Vec<u8>>, Error>> + Send + 'c,
{
    client(request).await.unwrap()
}

#[tokio::test]
async fn serves_as_openidconnect_client() {
    let server = Server::answering(OK).await;
    let (outbound, allow) = (outbound(), server.allowed());
    let client = |request| outbound.http(request, &allow);
    let request = http::Request::post(server.url("/token"))
        .header("x-one", "1")
        .body(b"q=1".to_vec())
        .unwrap();
    let answer = call(&client, request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body(), b"{}");
    assert!(server.requests()[0].starts_with("POST /token HTTP/1.1\r\nx-one: 1\r\n"));
    assert!(server.requests()[0].ends_with("\r\n\r\nq=1"));
}

#[test]
fn allowed_is_a_bare_origin() {
    let parsed = Allowed::parse("HTTP://Origin.Internal").unwrap();
    let expected = Allowed::Origin {
        scheme: "http".into(),
        host: "origin.internal".into(),
        port: 80,
    };
    assert_eq!(parsed, expected);
    assert_eq!(parsed.to_string(), "http://origin.internal:80");
    assert_eq!(parsed.to_string().parse::<Allowed>().unwrap(), parsed);
    for origin in [
        "http://a/b",
        "http://a?b",
        "http://a#b",
        "http://u@a",
        "ftp://a",
        "a:80",
        "*",
        "",
    ] {
        assert!(
            matches!(Allowed::parse(origin), Err(Error::InvalidUrl(_))),
            "{origin}"
        );
    }
}

#[tokio::test]
async fn failure_to_connect_names_the_host_and_hides_the_rest() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}/hook/s3cret?key=s3cret");
    let allow = [Allowed::parse(&format!("http://{free}")).unwrap()];
    let error = outbound().get(&url).allow(&allow).send().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("cannot connect to 127.0.0.1: Connection refused"),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("s3cret"));

    let (outbound, _) = named(&[&[]]);
    let error = outbound.get("https://nowhere.example/").send().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot connect to nowhere.example: the name has no address"
    );
}

#[tokio::test]
async fn answer_that_is_not_http_or_breaks_off_is_an_error() {
    let nonsense = Server::answering("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    let answer = outbound()
        .get(nonsense.url("/"))
        .allow(&nonsense.allowed())
        .send()
        .await;
    assert!(matches!(answer, Err(Error::Interrupted { .. })));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
    });
    let answer = outbound()
        .get(&url)
        .allow(&[Allowed::parse(&url).unwrap()])
        .send()
        .await;
    assert!(matches!(answer, Err(Error::Interrupted { .. })));
}

#[tokio::test]
async fn malformed_header_is_an_error() {
    for (name, value) in [("x one", "1"), ("x-one", "1\r\nx-two: 2")] {
        let answer = outbound()
            .get("https://example.com/")
            .header(name, value)
            .send()
            .await;
        assert!(matches!(answer, Err(Error::InvalidRequest(_))));
    }
}

/// A TLS server for `idp.example`, and a client that trusts it and resolves every name to the loopback address.
async fn tls_server() -> (Server, Outbound) {
    let certified = rcgen::generate_simple_self_signed(["idp.example".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let server = Server::on(
        "127.0.0.1:0",
        OK.to_owned(),
        Some(TlsAcceptor::from(Arc::new(server))),
    )
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (resolver, _) = name_server(&[&["127.0.0.1"]]);
    (
        server,
        Outbound(Arc::new(Inner {
            policy: Policy::default(),
            resolver,
            tls: Tls::of(Ok(client)),
        })),
    )
}

#[tokio::test]
async fn certificate_is_checked_against_the_name() {
    let (server, outbound) = tls_server().await;
    let port = server.address.port();
    let url = format!("https://idp.example:{port}");
    let answer = outbound
        .get(&url)
        .allow(&[Allowed::parse(&url).unwrap()])
        .send()
        .await
        .unwrap();
    assert_eq!(&answer.body[..], b"{}");
    assert!(
        server.requests()[0]
            .to_lowercase()
            .contains(&format!("\r\nhost: idp.example:{port}\r\n"))
    );

    let url = format!("https://other.example:{port}");
    let error = outbound
        .get(&url)
        .allow(&[Allowed::parse(&url).unwrap()])
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn unknown_issuer_and_missing_tls_are_refused() {
    let (server, _) = tls_server().await;
    let (outbound, _) = named(&[&["127.0.0.1"]]);
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    });
    for port in [server.address.port(), plain_port] {
        let url = format!("https://idp.example:{port}");
        let error = outbound
            .get(&url)
            .allow(&[Allowed::parse(&url).unwrap()])
            .send()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn without_root_certificates_only_https_fails() {
    let plain = Server::answering(OK).await;
    let policy = Policy {
        allow: plain.allowed().to_vec(),
        ..Policy::default()
    };
    let (resolver, _) = name_server(&[&["8.8.8.8"]]);
    let tls = Tls::of(Err("no root certificates".to_owned()));
    let outbound = Outbound(Arc::new(Inner {
        policy,
        resolver,
        tls,
    }));
    assert_eq!(outbound.get(plain.url("/")).send().await.unwrap().status, 200);
    let error = outbound.get("https://idp.example/").send().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no secure connection to idp.example: no root certificates"
    );
}

#[tokio::test]
async fn own_listener_is_never_fetched() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let (resolver, _) = name_server(&[&["127.0.0.1"]]);
    let policy = Policy {
        listeners: Listeners::new([server.address]),
        ..Policy::default()
    };
    let outbound = Outbound::with_resolver(policy, resolver);
    for url in [
        format!("http://127.0.0.1:{port}"),
        format!("http://us.example:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
    ] {
        let fetch = outbound.get(&url).allow(&[Allowed::parse(&url).unwrap()]);
        let error = fetch.send().await.unwrap_err();
        assert!(matches!(error, Error::Own { .. }), "{url}: {error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn metadata_is_not_fetched_where_internal_targets_are_allowed() {
    for address in [
        "169.254.169.254",
        "168.63.129.16",
        "fd00:ec2::254",
        "fe80::1",
        "64:ff9b::a9fe:a9fe",
        "0.0.0.0",
    ] {
        let (outbound, _) = named(&[&["127.0.0.1", address]]);
        let url = "http://metadata.example";
        let fetch = outbound.get(url).allow(&[Allowed::parse(url).unwrap()]);
        let error = fetch.send().await.unwrap_err();
        assert!(matches!(error, Error::Special { .. }), "{address}: {error}");
    }
}

#[tokio::test]
async fn every_request_carries_the_mark() {
    let server = Server::answering(OK).await;
    let policy = Policy {
        hop: Some(Hop::new("mine")),
        ..Policy::default()
    };
    let fetch = Outbound::new(policy)
        .get(server.url("/"))
        .allow(&server.allowed());
    fetch.header("chatelaine-hop", "forged").send().await.unwrap();
    let request = server.requests().remove(0).to_lowercase();
    assert!(
        request.contains("\r\nchatelaine-hop: mine\r\n") && !request.contains("forged"),
        "{request}"
    );
}
