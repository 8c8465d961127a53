//! Proxies that the configuration does not name. Behind one, everybody has one address: budgets, rules about addresses
//! and the log are worth little then. So the server says so: at its start where it can know, and when it sees it.

use crate::config::Config;
use http::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::OnceLock;
use store::Store;

/// What proxies say about who asks.
const HEADERS: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];
/// Under which name the notice is kept.
const NOTICE: &str = "untrusted_proxy";

/// What can be told from the configuration alone: this server speaks plain HTTP, so that whoever is reached by https
/// is behind something.
pub(crate) fn concern(config: &Config) -> Option<&'static str> {
    let behind = config.public_url.starts_with("https:") && config.trusted_proxies.is_empty();
    behind.then_some(
        "public_url is https, so there is a proxy in front, and trusted_proxies names none: everybody has the proxy's \
         address",
    )
}

/// What a running server noticed, unless that proxy is trusted by now.
pub(crate) async fn noticed(store: &Store, config: &Config) -> store::Result<Option<String>> {
    let found = store::notice::get(store, NOTICE).await?;
    Ok(found.and_then(|(peer, at)| {
        let ip: IpAddr = peer.parse().ok()?;
        (!is_trusted(ip, &config.trusted_proxies)).then(|| format!("{} (seen at {at})", words(ip)))
    }))
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
pub(crate) struct Untrusted(OnceLock<IpAddr>);

impl Untrusted {
    /// Looks at a request. Says so in the log once, since anybody can send such headers.
    pub(crate) fn look(&self, peer: IpAddr, headers: &HeaderMap, (trusted, store): (&[IpNet], &Store)) {
        if !HEADERS.iter().any(|name| headers.contains_key(*name)) || is_trusted(peer, trusted) {
            return;
        }
        metrics::counter!("chatelaine_untrusted_forwarded_total").increment(1);
        if self.0.set(peer).is_err() {
            return;
        }
        tracing::warn!(%peer, "{}", words(peer));
        let store = store.clone();
        tokio::spawn(async move {
            let peer = peer.to_canonical().to_string();
            if let Err(error) = store::notice::put(&store, NOTICE, &peer).await {
                tracing::warn!(%error, "what was noticed could not be kept for `doctor`");
            }
        });
    }

    /// What was seen, for whoever asks how the server is.
    pub(crate) fn seen(&self) -> Option<String> {
        self.0.get().map(|peer| words(*peer))
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
        let options = store::Options {
            database_url: &format!("sqlite:{}", folder.join("store.db").display()),
            master_key: &store::MasterKey::generate().unwrap(),
            clock: store::Clock::system(),
            control_url: "http://127.0.0.1:7400",
        };
        let store = Store::open(options).await.unwrap();
        let untrusted = Untrusted::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        untrusted.look(ip("192.0.2.1"), &headers, (&trusted, &store));
        headers.insert("x-forwarded-for", "198.51.100.7".parse().unwrap());
        untrusted.look(ip("10.0.0.7"), &headers, (&trusted, &store));
        assert_eq!(untrusted.seen(), None);
        for name in HEADERS {
            let mut headers = HeaderMap::new();
            headers.insert(name, "for=198.51.100.7".parse().unwrap());
            let untrusted = Untrusted::default();
            untrusted.look(ip("192.0.2.1"), &headers, (&trusted, &store));
            assert!(untrusted.seen().unwrap().contains("192.0.2.1"), "{name}");
        }
        untrusted.look(ip("::ffff:192.0.2.9"), &headers, (&trusted, &store));
        untrusted.look(ip("192.0.2.10"), &headers, (&trusted, &store));
        assert!(untrusted.seen().unwrap().contains("192.0.2.9"), "the first one");

        store::notice::put(&store, NOTICE, "192.0.2.9").await.unwrap();
        let config = |trusted: &[&str]| Config {
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
            ..Config::default()
        };
        let told = noticed(&store, &config(&["10.0.0.0/8"])).await.unwrap();
        assert!(told.unwrap().contains("trusted_proxies"));
        assert_eq!(noticed(&store, &config(&["192.0.2.0/24"])).await.unwrap(), None);
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
