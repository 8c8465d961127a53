//! SS1: nothing makes the client reach inside, follow, or wait and read without end.

use super::*;

#[tokio::test]
async fn ss1_loopback_is_blocked_by_default() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://LocalHost.:{port}/"),
        format!("https://a.localhost:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://0.0.0.0:{port}/"),
    ] {
        let error = outbound().get(&url).send().await.unwrap_err();
        assert!(matches!(error, Error::Blocked { .. }), "{url}: {error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn ss1_address_in_every_notation_is_blocked() {
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "0251.0376.0251.0376",
        "025177524776",
        "169.254.43518",
        "169.16689662",
        "169.254.169.254.",
        "%31%36%39.254.169.254",
        "１６９。２５４。１６９。２５４",
        "①⑥⑨.254.169.254",
        "127.1",
        "0177.1",
        "0x7f.1",
        "2130706433",
        "0",
        "10.0.0.1",
        "192.168.0.1",
        "172.31.0.1",
        "100.64.0.1",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
    ] {
        let error = outbound()
            .get(format!("https://{host}/latest/meta-data/"))
            .send()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Blocked { .. }), "{host}: {error}");
    }
}

#[tokio::test]
async fn ss1_http_and_other_schemes_are_refused() {
    for url in [
        "http://example.com/",
        "http://127.0.0.1/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70/",
        "data:text/plain,x",
        "//example.com/",
        "/etc/passwd",
        "",
    ] {
        let error = outbound().get(url).send().await.unwrap_err();
        assert!(matches!(error, Error::InvalidUrl(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn ss1_user_name_in_url_is_refused_and_not_repeated() {
    for url in [
        "https://good.example@evil.example/",
        "https://:hunter2@evil.example/",
        "https://u:hunter2@h/",
    ] {
        let error = outbound().get(url).send().await.unwrap_err();
        assert!(matches!(error, Error::InvalidUrl(_)), "{url}: {error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn ss1_name_with_an_internal_address_is_blocked() {
    let cases: [&[&str]; 5] = [
        &["127.0.0.1"],
        &["10.1.2.3"],
        &["::1"],
        &["8.8.8.8", "169.254.169.254"],
        &["2606:4700::1", "fd00::1"],
    ];
    for answer in cases {
        let (outbound, _) = named(&[answer]);
        let error = outbound.get("https://rebind.example/").send().await.unwrap_err();
        let blocked: IpAddr = answer.last().unwrap().parse().unwrap();
        assert!(
            matches!(&error, Error::Blocked { host, address } if host == "rebind.example" && *address == blocked),
            "{answer:?}: {error}"
        );
    }
}

#[tokio::test]
async fn ss1_dns_that_flips_does_not_move_the_connection() {
    let checked = Server::answering(OK).await;
    let port = checked.address.port();
    let other = Server::on(&format!("127.0.0.2:{port}"), OK.to_owned(), None).await;
    let (outbound, asked) = named(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let url = format!("http://flip.example:{port}");
    outbound
        .get(&url)
        .allow(&[Allowed::parse(&url).unwrap()])
        .send()
        .await
        .unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!((checked.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn ss1_every_request_is_checked_anew() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let (outbound, asked) = named(&[&["127.0.0.1"]]);
    let url = format!("http://flip.example:{port}");
    let allow = [Allowed::parse(&url).unwrap()];
    outbound.get(&url).allow(&allow).send().await.unwrap();
    outbound.get(&url).allow(&allow).send().await.unwrap();
    // No connection is kept that a request without the exception could ride on.
    assert_eq!((asked.load(Ordering::SeqCst), server.connections()), (2, 2));
    assert!(matches!(
        outbound.get(&url).send().await,
        Err(Error::InvalidUrl(_))
    ));
    let https = format!("https://flip.example:{port}/");
    assert!(matches!(
        outbound.get(https).allow(&allow).send().await,
        Err(Error::Blocked { .. })
    ));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn ss1_exception_is_for_the_exact_origin() {
    let server = Server::answering(OK).await;
    let other = Server::answering(OK).await;
    let outbound = Outbound::new(Policy {
        allow: server.allowed().to_vec(),
        ..Policy::default()
    });
    outbound.get(server.url("/any/path?q")).send().await.unwrap();
    // The same address in another notation is the same origin.
    outbound
        .get(format!("http://2130706433:{}/", server.address.port()))
        .send()
        .await
        .unwrap();
    for url in [
        other.url("/"),
        format!("http://localhost:{}/", server.address.port()),
        format!("https://{}/", server.address),
        format!("http://127.0.0.2:{}/", server.address.port()),
        "http://127.0.0.1/".to_owned(),
    ] {
        let error = outbound.get(&url).send().await.unwrap_err();
        assert!(
            matches!(error, Error::InvalidUrl(_) | Error::Blocked { .. }),
            "{url}: {error}"
        );
    }
    assert_eq!((server.connections(), other.connections()), (2, 0));
}

#[tokio::test]
async fn ss1_redirect_is_not_followed() {
    let inside = Server::answering(OK).await;
    let server = Server::answering(&format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        inside.url("/")
    ))
    .await;
    let allow = [server.allowed(), inside.allowed()].concat();
    let answer = outbound()
        .get(server.url("/"))
        .allow(&allow)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 302);
    assert_eq!(answer.headers["location"], inside.url("/"));
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn ss1_answer_over_the_cap_is_cut() {
    let body = "x".repeat(2000);
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{body}");
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{body}\r\n0\r\n\r\n");
    for answer in [announced, chunked] {
        let server = Server::answering(&answer).await;
        let fetch = |cap| {
            outbound()
                .get(server.url("/"))
                .max_bytes(cap)
                .allow(&server.allowed())
                .send()
        };
        assert!(matches!(
            fetch(1999).await,
            Err(Error::TooLarge { limit: 1999, .. })
        ));
        assert!(matches!(fetch(0).await, Err(Error::TooLarge { limit: 0, .. })));
        assert_eq!(fetch(2000).await.unwrap().body.len(), 2000);
    }
}

#[tokio::test]
async fn ss1_announced_excess_is_refused_before_the_body_comes() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n").await;
    let answer = outbound()
        .get(server.url("/"))
        .allow(&server.allowed())
        .send()
        .await;
    assert!(matches!(answer, Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn ss1_endless_answer_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    });
    let answer = outbound()
        .get(&url)
        .allow(&[Allowed::parse(&url).unwrap()])
        .send()
        .await;
    assert!(matches!(answer, Err(Error::TooLarge { .. })));
    // The client hung up.
    server.await.unwrap();
}

#[tokio::test]
async fn ss1_slow_drip_runs_into_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            .await
            .unwrap();
        let mut drips = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            drips.tick().await;
        }
    });
    let limit = Duration::from_millis(200);
    let allow = [Allowed::parse(&url).unwrap()];
    let error = outbound()
        .get(&url)
        .timeout(limit)
        .allow(&allow)
        .send()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after, .. } if after == limit),
        "{error}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn ss1_slow_name_server_runs_into_the_timeout() {
    let outbound = Outbound::with_resolver(Policy::default(), Arc::new(|_| Box::pin(std::future::pending())));
    let limit = Duration::from_millis(50);
    let error = outbound
        .get("https://slow.example/")
        .timeout(limit)
        .send()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after, .. } if after == limit),
        "{error}"
    );
}

/// The environment of a process is fixed before its threads start, hence a second process.
#[test]
fn ss1_proxy_from_the_environment_is_not_used() {
    let dead = "http://127.0.0.1:9";
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::allowed_http_origin_is_fetched"])
        .envs([
            ("http_proxy", dead),
            ("HTTP_PROXY", dead),
            ("all_proxy", dead),
            ("ALL_PROXY", dead),
        ])
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && output.contains("1 passed"), "{output}");
}
