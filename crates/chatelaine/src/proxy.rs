//! Proxies that the configuration does not name. Behind one, everybody has one address: budgets, rules about addresses
//! and the log are worth little then. So the server says so: at its start where it can know, and when it sees it.

use crate::config::Config;
use http::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::Store;
use wire::Timestamp;

/// What proxies say about who asks.
const HEADERS: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];
/// Under which name the notice is kept.
const NOTICE: &str = "untrusted_proxy";
/// For how long it is told of what was seen, in seconds.
const TOLD: i64 = 3600;
/// How often it is written down at the most, in seconds.
const QUIET: i64 = 60;

/// What can be told from the configuration alone: this server speaks plain HTTP, so that whoever is reached by https
/// is behind something.
pub(crate) fn concern(config: &Config) -> Option<&'static str> {
    let behind = config.public_url.starts_with("https:") && config.trusted_proxies.is_empty();
    behind.then_some(
        "public_url is https, so there is a proxy in front, and trusted_proxies names none: everybody has the proxy's \
         address",
    )
}

/// What a running server noticed of late, unless that proxy is trusted by now.
pub(crate) async fn noticed(store: &Store, config: &Config) -> store::Result<Option<String>> {
    let found = store::notice::get(store, NOTICE).await?;
    let now = store.clock().now();
    Ok(found.and_then(|(peer, at)| {
        let ip: IpAddr = peer.parse().ok()?;
        let counts = is_recent(at, now) && !is_trusted(ip, &config.trusted_proxies);
        counts.then(|| format!("{} (seen at {at})", words(ip)))
    }))
}

/// Whether what was seen then is still told.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now < at.plus_seconds(TOLD)
}

fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&peer.to_canonical()))
}

fn words(peer: IpAddr) -> String {
    format!(
        "{} sends headers of a proxy and is not in trusted_proxies, so that they are ignored and its address stands \
         for everybody behind it",
        peer.to_canonical()
    )
}

/// Looks for them.
#[derive(Default)]
pub(crate) struct Untrusted(Mutex<Sighting>);

/// The latest of them.
#[derive(Default)]
struct Sighting {
    last: Option<(IpAddr, Timestamp)>,
    /// Which was written down last, and when.
    kept: Option<(IpAddr, Timestamp)>,
}

impl Untrusted {
    /// Looks at a request. Anybody can send such headers, so that a sender is logged when it is another one than before,
    /// and that it goes on is kept for `doctor`, but neither more often than once a minute.
    pub(crate) fn look(&self, peer: IpAddr, headers: &HeaderMap, (trusted, store): (&[IpNet], &Store)) {
        if !HEADERS.iter().any(|name| headers.contains_key(*name)) || is_trusted(peer, trusted) {
            return;
        }
        metrics::counter!("chatelaine_untrusted_forwarded_total").increment(1);
        let (peer, now) = (peer.to_canonical(), store.clock().now());
        let mut sighting = self.open();
        let goes_on = sighting.last.is_some_and(|(_, at)| is_recent(at, now));
        sighting.last = Some((peer, now));
        let before = sighting.kept.filter(|_| goes_on);
        if before.is_some_and(|(_, at)| now < at.plus_seconds(QUIET)) {
            return;
        }
        sighting.kept = Some((peer, now));
        drop(sighting);
        if before.is_none_or(|(known, _)| known != peer) {
            tracing::warn!(%peer, "{}", words(peer));
        }
        let store = store.clone();
        tokio::spawn(async move {
            if let Err(error) = store::notice::put(&store, NOTICE, &peer.to_string()).await {
                tracing::warn!(%error, "what was noticed could not be kept for `doctor`");
            }
        });
    }

    /// What was seen last, for whoever asks how the server is; nothing once it is over.
    pub(crate) fn seen(&self, now: Timestamp) -> Option<String> {
        let mut sighting = self.open();
        let (peer, at) = sighting.last?;
        if is_recent(at, now) {
            return Some(words(peer));
        }
        *sighting = Sighting::default();
        tracing::info!(%peer, "no headers of a proxy that is not trusted for an hour");
        None
    }

    fn open(&self) -> MutexGuard<'_, Sighting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_without_a_trusted_proxy_is_told_at_once() {
        let config = |url: &str, trusted: &[&str]| Config {
            public_url: url.to_owned(),
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            ..Config::default()
        };
        assert!(concern(&config("https://id.example.com", &[])).is_some());
        assert!(concern(&config("https://id.example.com", &["10.0.0.0/8"])).is_none());
        assert!(concern(&config("http://127.0.0.1:7400", &[])).is_none());
    }

    #[tokio::test]
    async fn a_proxy_that_nobody_trusts_is_told_of_until_it_is_trusted() {
        let folder = std::env::temp_dir().join(wire::OrgId::fresh().to_string());
        std::fs::create_dir(&folder).unwrap();
        let clock = store::Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let options = store::Options {
            database_url: &format!("sqlite:{}", folder.join("store.db").display()),
            master_key: &store::MasterKey::generate().unwrap(),
            clock: clock.clone(),
            control_url: "http://127.0.0.1:7400",
            pools: store::Pools::default(),
        };
        let store = Store::open(options).await.unwrap();
        let untrusted = Untrusted::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        untrusted.look(ip("192.0.2.1"), &headers, (&trusted, &store));
        headers.insert("x-forwarded-for", "198.51.100.7".parse().unwrap());
        untrusted.look(ip("10.0.0.7"), &headers, (&trusted, &store));
        let seen = |untrusted: &Untrusted| untrusted.seen(clock.now());
        assert_eq!(seen(&untrusted), None);
        for name in HEADERS {
            let mut headers = HeaderMap::new();
            headers.insert(name, "for=198.51.100.7".parse().unwrap());
            let untrusted = Untrusted::default();
            untrusted.look(ip("192.0.2.1"), &headers, (&trusted, &store));
            assert!(seen(&untrusted).unwrap().contains("192.0.2.1"), "{name}");
        }
        // The latest one is told of, and kept at most once a minute.
        let kept = async || store::notice::get(&store, NOTICE).await.unwrap().unwrap();
        let settled = async |peer: &str| {
            for _ in 0..200 {
                match store::notice::get(&store, NOTICE).await.unwrap() {
                    Some((found, at)) if found == peer && at == clock.now() => return,
                    _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
            panic!("{peer} is not kept: {:?}", kept().await);
        };
        untrusted.look(ip("::ffff:192.0.2.9"), &headers, (&trusted, &store));
        settled("192.0.2.9").await;
        for n in 0..100 {
            untrusted.look(ip(&format!("192.0.2.{n}")), &headers, (&trusted, &store));
        }
        assert!(seen(&untrusted).unwrap().contains("192.0.2.99"), "the latest one");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(kept().await.0, "192.0.2.9");
        clock.advance(61);
        untrusted.look(ip("192.0.2.10"), &headers, (&trusted, &store));
        settled("192.0.2.10").await;

        let config = |trusted: &[&str]| Config {
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            ..Config::default()
        };
        let told = noticed(&store, &config(&["10.0.0.0/8"])).await.unwrap();
        assert!(told.unwrap().contains("trusted_proxies"));
        assert_eq!(noticed(&store, &config(&["192.0.2.0/24"])).await.unwrap(), None);
        clock.advance(3599);
        assert!(seen(&untrusted).is_some());
        clock.advance(1);
        assert_eq!(seen(&untrusted), None, "nothing came for an hour");
        assert_eq!(noticed(&store, &config(&[])).await.unwrap(), None);
        untrusted.look(ip("192.0.2.10"), &headers, (&trusted, &store));
        settled("192.0.2.10").await;
        assert!(noticed(&store, &config(&[])).await.unwrap().is_some());
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
