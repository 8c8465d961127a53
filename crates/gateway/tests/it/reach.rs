//! Where the gateway goes, and that it does not come back to itself.

use crate::world::{World, on_each};
use gateway::Reach;
use http::StatusCode;
use outbound::Listeners;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use wire::*;

/// Names that lead where a test says, and connections that all end at one address, or nowhere: nothing leaves
/// this machine, whatever is asked for.
#[derive(Clone, Default)]
struct Net {
    names: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
    /// What was connected to.
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Net {
    fn name(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), addresses);
    }

    fn dialled(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.dialled.lock().unwrap())
    }

    /// Connections end at `at`; `listeners` are the gateway's own.
    fn reach(&self, at: Option<SocketAddr>, listeners: Listeners) -> Reach {
        let (names, dialled) = (Arc::clone(&self.names), Arc::clone(&self.dialled));
        Reach {
            resolver: Arc::new(move |name| {
                let found = names.lock().unwrap().get(&name).cloned();
                Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
            }),
            dialer: Arc::new(move |address| {
                dialled.lock().unwrap().push(address);
                Box::pin(async move {
                    match at {
                        Some(at) => TcpStream::connect(at).await,
                        None => Err(std::io::ErrorKind::ConnectionRefused.into()),
                    }
                })
            }),
            listeners,
        }
    }
}

fn origin(world: &World) -> SocketAddr {
    world.origin.url.trim_start_matches("http://").parse().unwrap()
}

/// Anonymous, where a `bypass` policy lets everybody through.
async fn health(world: &World, address: &str, app: &App) -> (StatusCode, String) {
    let answer = world
        .request_at(address, "GET", app, "/health")
        .send()
        .await
        .unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn own_listener_is_not_connected_to() {
    on_each(async |world| {
        let net = Net::default();
        net.name("us.example", &["127.0.0.1"]);
        let own = Mutex::new(None);
        let address = world
            .reaching(|at| {
                *own.lock().unwrap() = Some(at);
                net.reach(Some(at), Listeners::new([at]))
            })
            .await;
        let port = own.lock().unwrap().unwrap().port();
        for origin in [
            format!("http://us.example:{port}"),
            format!("http://127.0.0.1:{port}"),
            format!("http://[::ffff:127.0.0.1]:{port}"),
        ] {
            let app = world
                .change(&world.wiki, |spec| spec.origin_url.clone_from(&origin))
                .await;
            let (status, text) = health(world, &address, &app).await;
            assert_eq!(status, StatusCode::LOOP_DETECTED, "{origin}: {text}");
            assert_eq!(net.dialled(), []);
        }
        // Each request is on record, and the origin once.
        assert_eq!(world.events().await.len(), 3);
        let refused = world.events_of("app.origin_refused").await;
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].reason.as_deref(), Some("loop_detected"));
        assert_eq!(
            refused[0].target.as_ref().unwrap().app.as_ref(),
            Some(&world.wiki.id)
        );
    })
    .await;
}

#[tokio::test]
async fn own_listener_behind_something_else_is_known_by_the_hop() {
    on_each(async |world| {
        // The gateway does not know that what it connects to is itself: a proxy, another instance, a NAT.
        let net = Net::default();
        net.name("proxy.example", &["10.0.0.9"]);
        let address = world
            .reaching(|at| net.reach(Some(at), Listeners::default()))
            .await;
        let app = world
            .change(&world.wiki, |spec| {
                spec.origin_url = "http://proxy.example:8080".into()
            })
            .await;
        let (status, text) = health(world, &address, &app).await;
        assert_eq!(status, StatusCode::LOOP_DETECTED);
        assert!(text.contains("loop_detected"), "{text}");
        // Once there, and not once more.
        assert_eq!(net.dialled().len(), 1);
        let events = world.events().await;
        let ends: Vec<_> = events.iter().map(|e| (e.outcome, e.reason.as_deref())).collect();
        assert_eq!(
            ends,
            [
                (Outcome::Denied, Some("loop_detected")),
                (Outcome::Allowed, Some("bypassed")),
            ]
        );
        // Whatever is asked for, known or not, is refused at the second hop.
        let mark = mark(world).await;
        for path in [
            "/",
            "/%2e%2e/x",
            "/.well-known/oauth-protected-resource",
            "/.chatelaine/logout",
        ] {
            let request = world.request_at(&address, "GET", &app, path);
            let answer = request.header("chatelaine-hop", &mark).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::LOOP_DETECTED, "{path}");
        }
        for marks in [
            format!("other, {mark}"),
            format!("{mark},other"),
            "a,b,c,d,e,f,g,h".into(),
        ] {
            let request = world.request_at(&address, "GET", &app, "/health");
            let answer = request.header("chatelaine-hop", marks).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::LOOP_DETECTED);
        }
        assert_eq!(net.dialled(), []);
    })
    .await;
}

/// The mark that an origin receives.
async fn mark(world: &World) -> String {
    let app = world
        .change(&world.wiki, |spec| spec.origin_url.clone_from(&world.origin.url))
        .await;
    health(world, &world.address, &app).await;
    world.origin.last().header("chatelaine-hop").unwrap().to_owned()
}

#[tokio::test]
async fn other_servers_on_the_way_are_no_loop() {
    on_each(async |world| {
        let mark = mark(world).await;
        let request = world
            .request("GET", &world.wiki, "/health")
            .header("chatelaine-hop", "other");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        // They will know it again, too.
        assert_eq!(
            world.origin.last().header("chatelaine-hop"),
            Some(format!("other, {mark}").as_str())
        );
        // All instances of one server have the same mark.
        let (store, other) = world.other_instance().await;
        let request = world.request_at(&other, "GET", &world.wiki, "/health");
        let answer = request.header("chatelaine-hop", &mark).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::LOOP_DETECTED);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn metadata_is_refused_after_resolution() {
    on_each(async |world| {
        let net = Net::default();
        for (name, addresses) in [
            ("metadata.example", &["169.254.169.254"][..]),
            ("azure.example", &["168.63.129.16"]),
            ("oracle.example", &["192.0.0.192"]),
            ("alibaba.example", &["100.100.100.200"]),
            ("amazon.example", &["fd00:ec2::254"]),
            ("mapped.example", &["::ffff:169.254.169.254"]),
            ("nat64.example", &["64:ff9b::a9fe:a9fe"]),
            ("sixtofour.example", &["2002:a9fe:a9fe::1"]),
            ("any.example", &["0.0.0.0"]),
            // One of several is enough.
            ("mixed.example", &["10.0.0.1", "169.254.169.254"]),
        ] {
            net.name(name, addresses);
        }
        let address = world
            .reaching(|_| net.reach(Some(origin(world)), Listeners::default()))
            .await;
        for origin in [
            "http://metadata.example",
            "http://azure.example",
            "http://oracle.example:8080",
            "http://alibaba.example",
            "https://amazon.example",
            "http://mapped.example",
            "http://nat64.example",
            "http://sixtofour.example",
            "http://any.example",
            "http://mixed.example",
            // As literals, which no name server is asked about.
            "http://169.254.169.254",
            "http://168.63.129.16",
            "http://[fd00:ec2::254]",
            "http://[::ffff:169.254.169.254]",
            "http://[64:ff9b::169.254.169.254]",
            "http://[fe80::1]",
            "http://2852039166",
        ] {
            let app = world
                .change(&world.wiki, |spec| spec.origin_url = origin.into())
                .await;
            let (status, text) = health(world, &address, &app).await;
            assert_eq!(status, StatusCode::BAD_GATEWAY, "{origin}: {text}");
            assert!(text.contains("origin_refused"), "{origin}: {text}");
            assert_eq!(net.dialled(), [], "{origin}");
        }
        assert_eq!(world.origin.take().len(), 0);
        let refused = world.events_of("app.origin_refused").await;
        assert_eq!(refused.len(), 1, "one for all in five minutes");
        assert_eq!(refused[0].reason.as_deref(), Some("special_address"));
        assert_eq!(
            refused[0].change.as_ref().unwrap().after["address"],
            "169.254.169.254"
        );
        world.advance(301).await;
        health(world, &address, &world.wiki).await;
        assert_eq!(world.events_of("app.origin_refused").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    on_each(async |world| {
        let net = Net::default();
        net.name("app.example", &["10.0.0.1"]);
        let address = world
            .reaching(|_| net.reach(Some(origin(world)), Listeners::default()))
            .await;
        let app = world
            .change(&world.wiki, |spec| {
                spec.origin_url = "http://app.example:8080".into()
            })
            .await;
        assert_eq!(health(world, &address, &app).await.0, StatusCode::OK);
        assert_eq!(net.dialled(), ["10.0.0.1:8080".parse().unwrap()]);
        // Two addresses, the first of which is dead.
        let refusing = Net::default();
        refusing.name("two.example", &["10.0.0.1", "10.0.0.2"]);
        let address = world
            .reaching(|_| refusing.reach(None, Listeners::default()))
            .await;
        let app = world
            .change(&world.wiki, |spec| {
                spec.origin_url = "http://two.example:8080".into()
            })
            .await;
        assert_eq!(health(world, &address, &app).await.0, StatusCode::BAD_GATEWAY);
        assert_eq!(
            refusing.dialled(),
            ["10.0.0.1:8080".parse().unwrap(), "10.0.0.2:8080".parse().unwrap()]
        );
    })
    .await;
}

#[tokio::test]
async fn what_an_organisation_opens_is_open_to_it_alone() {
    on_each(async |world| {
        let net = Net::default();
        net.name("metadata.example", &["169.254.169.254"]);
        let address = world
            .reaching(|_| net.reach(Some(origin(world)), Listeners::default()))
            .await;
        let app = world
            .change(&world.wiki, |spec| {
                spec.origin_url = "http://metadata.example".into()
            })
            .await;
        let open = async |ranges: &[&str]| {
            let org = store::org::get(&world.store, &world.org).await.unwrap();
            let spec = OrganisationSpec {
                allowed_origin_ranges: ranges.iter().map(|r| (*r).to_owned()).collect(),
                ..org.spec.clone()
            };
            world
                .write(async |tx| store::org::update(tx, &org, spec).await)
                .await;
        };
        assert_eq!(health(world, &address, &app).await.0, StatusCode::BAD_GATEWAY);
        open(&["169.254.169.254/32"]).await;
        assert_eq!(health(world, &address, &app).await.0, StatusCode::OK);
        assert_eq!(net.dialled(), ["169.254.169.254:80".parse().unwrap()]);
        // The connection is kept, and still serves nobody who may not have it.
        open(&[]).await;
        assert_eq!(health(world, &address, &app).await.0, StatusCode::BAD_GATEWAY);
        open(&["169.254.10.0/24"]).await;
        assert_eq!(health(world, &address, &app).await.0, StatusCode::BAD_GATEWAY);
        assert_eq!(net.dialled(), []);
    })
    .await;
}
