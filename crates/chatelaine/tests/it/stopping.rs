//! How a server stops, and how many it lets in.

use crate::world::Place;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The status of an answer; nothing when there is none.
fn ask(at: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn at(place: &mut Place, more: &[(&'static str, &str)]) -> SocketAddr {
    let at = free();
    place.settings = vec![
        ("CHATELAINE_LISTEN", format!("[\"{at}\"]")),
        ("CHATELAINE_PUBLIC_URL", format!("http://{at}")),
    ];
    place
        .settings
        .extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    at
}

#[tokio::test]
async fn who_is_to_stop_is_not_ready_first_and_takes_connections_for_a_while() {
    for mut place in Place::each().await {
        let at = at(&mut place, &[("CHATELAINE_DRAIN_SECONDS", "2")]);
        let mut server = place.serve();
        let began = Instant::now();
        while ask(at, "/readyz") != Some(200) {
            assert!(began.elapsed() < Duration::from_secs(10), "it is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        server.terminate();
        let told = Instant::now();
        while ask(at, "/readyz") != Some(503) {
            assert!(told.elapsed() < Duration::from_secs(1), "it is still ready");
        }
        while told.elapsed() < Duration::from_millis(1500) {
            assert_eq!(ask(at, "/healthz"), Some(200), "after {:?}", told.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(server.stops_within(Duration::from_secs(10)));
        assert!(told.elapsed() >= Duration::from_secs(2));
        assert_eq!(ask(at, "/healthz"), None);
        drop(server);
        place.remove().await;
    }
}

#[tokio::test]
async fn more_connections_than_are_allowed_are_closed_at_once() {
    for mut place in Place::each().await {
        let at = at(&mut place, &[("CHATELAINE_MAX_CONNECTIONS", "8")]);
        let server = place.serve();
        let kept: Vec<_> = (0..8).map(|_| TcpStream::connect(at).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(ask(at, "/healthz"), None);
        drop(kept);
        let began = Instant::now();
        while ask(at, "/healthz") != Some(200) {
            assert!(began.elapsed() < Duration::from_secs(5), "there is room again");
        }
        drop(server);
        place.remove().await;
    }
}
