//! Client ID Metadata Documents: a `client_id` that is an https URL, whose document says who the client
//! is. Documents come from strangers: fetched with small bounds, kept for an hour at most, errors never kept.

use super::metadata::{self, Metadata, Origin, Refusal};
use moka::future::Cache;
use outbound::Outbound;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use wire::OauthSettings;

/// The longest document, in bytes.
const LONGEST: usize = 5 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);
const KEPT: Duration = Duration::from_secs(3600);

/// Fetched documents. Apps share them; each reads them under its own rules.
pub(crate) struct Documents {
    outbound: Outbound,
    kept: Cache<String, Arc<Value>>,
}

/// Why a document cannot be used, worded for the person who sees the page.
pub(crate) type Unusable = String;

impl Documents {
    pub(crate) fn new(outbound: Outbound) -> Self {
        let kept = Cache::builder().max_capacity(10_000).time_to_live(KEPT).build();
        Self { outbound, kept }
    }

    /// Takes a document as fetched just now.
    pub(crate) async fn keep(&self, client_id: &str, document: Value) {
        self.kept.insert(client_id.to_owned(), Arc::new(document)).await;
    }

    /// Whether asking for a document costs no fetch.
    pub(crate) fn has(&self, client_id: &str) -> bool {
        self.kept.contains_key(client_id)
    }

    /// The document of a `client_id`; requests at the same time share one fetch.
    pub(crate) async fn get(&self, client_id: &str) -> Result<Arc<Value>, Unusable> {
        let fetched = self
            .kept
            .try_get_with(client_id.to_owned(), fetch(&self.outbound, client_id));
        fetched.await.map_err(|unusable| unusable.as_ref().clone())
    }
}

/// The host of a `client_id` that is the URL of a document, with its port unless that is the usual one: who
/// serves a port of a host need not be who serves the others. The URL is https, has a path that is more than `/`,
/// nothing but the canonical spelling, no user information, no fragment.
pub(crate) fn host(client_id: &str) -> Option<String> {
    if client_id.len() > 512 || !client_id.starts_with("https://") || client_id.contains(['#', '@']) {
        return None;
    }
    let url = Url::parse(client_id)
        .ok()
        .filter(|url| url.as_str() == client_id)?;
    let named = url.domain().filter(|_| url.path().len() > 1)?;
    Some(
        url.port()
            .map_or_else(|| named.to_owned(), |port| format!("{named}:{port}")),
    )
}

async fn fetch(outbound: &Outbound, client_id: &str) -> Result<Arc<Value>, Unusable> {
    let request = outbound.get(client_id).accept("application/json");
    let answer = request.max_bytes(LONGEST).timeout(TIMEOUT).send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != http::StatusCode::OK {
        return Err(format!(
            "it answered with status {} instead of 200",
            answer.status.as_u16()
        ));
    }
    let media_type = answer.media_type();
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return Err("it is not served as application/json".to_owned());
    }
    let document: Value =
        serde_json::from_slice(&answer.body).map_err(|_| "it is not valid JSON".to_owned())?;
    if document["client_id"].as_str() != Some(client_id) {
        return Err("its client_id is not the address that it was fetched from".to_owned());
    }
    if document.get("client_secret").is_some() || document.get("client_secret_expires_at").is_some() {
        return Err("it contains a client_secret, which a public document cannot keep".to_owned());
    }
    Ok(Arc::new(document))
}

/// Reads a document under the rules of an app.
pub(crate) fn read(document: &Value, host: &str, app: &OauthSettings) -> Result<Metadata, Refusal> {
    metadata::parse(document, app, Origin::Document { host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbound::{Allowed, Policy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn only_https_urls_with_a_path_are_client_ids() {
        assert_eq!(
            host("https://agent.example/client.json").as_deref(),
            Some("agent.example")
        );
        assert_eq!(
            host("https://agent.example:8443/client.json").as_deref(),
            Some("agent.example:8443")
        );
        for bad in [
            "https://agent.example",
            "https://agent.example/",
            "http://agent.example/c",
            "https://u@agent.example/c",
            "https://agent.example/c#f",
            "https://agent.example/a/../c",
            "https://AGENT.example/c",
            "https://agent.example:443/c",
            "https://127.0.0.1/c",
            "https://[::1]/c",
            "cli_0192f000000000000000000000000000",
            "",
        ] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }

    /// Answers every connection with the same head, then with `fill` until the peer hangs up.
    async fn server(head: String, fill: &'static [u8]) -> (String, Outbound) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = head.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(head.as_bytes()).await;
                    while !fill.is_empty() && stream.write_all(fill).await.is_ok() {}
                });
            }
        });
        let allow = vec![Allowed::parse(&origin).unwrap()];
        let policy = Policy {
            allow,
            ..Policy::default()
        };
        (format!("{origin}/client.json"), Outbound::new(policy))
    }

    fn answer(status: &str, media_type: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn dc14_endless_mistyped_and_redirecting_documents_are_refused() {
        let endless = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":\"".to_owned();
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LONGEST));
        let redirect =
            "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n".to_owned();
        for (head, fill, why) in [
            (endless, &[b'x'; 1024][..], "longer than 5120 bytes"),
            (
                answer("200 OK", "application/json", &long),
                &[],
                "longer than 5120 bytes",
            ),
            (redirect, &[], "status 302"),
            (
                answer("404 Not Found", "application/json", "{}"),
                &[],
                "status 404",
            ),
            (
                answer("200 OK", "text/html", "{}"),
                &[],
                "not served as application/json",
            ),
            (answer("200 OK", "application/json", "{"), &[], "not valid JSON"),
            (
                answer(
                    "200 OK",
                    "application/json",
                    r#"{"client_id":"https://other.example/c"}"#,
                ),
                &[],
                "its client_id",
            ),
        ] {
            let (url, outbound) = server(head, fill).await;
            let documents = Documents::new(outbound);
            let refused = documents.get(&url).await.unwrap_err();
            assert!(refused.contains(why), "{refused}, expected {why}");
            documents.kept.run_pending_tasks().await;
            assert_eq!(documents.kept.entry_count(), 0, "errors are never kept");
        }
    }

    #[tokio::test]
    async fn dc14_internal_addresses_are_never_fetched() {
        let outbound = Outbound::new(Policy::default());
        for url in [
            "https://127.0.0.1/c",
            "https://169.254.169.254/c",
            "http://10.0.0.1/c",
        ] {
            assert!(fetch(&outbound, url).await.is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_good_document_is_fetched_once_and_kept() {
        // The address is known only after the server is there, so it answers with what it is asked for.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let url = format!("{origin}/client.json");
        let body = format!(r#"{{"client_id":"{url}","redirect_uris":["http://localhost/cb"]}}"#);
        let head = answer("200 OK", "application/json; charset=utf-8", &body);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(head.as_bytes()).await;
            drop(listener);
        });
        let allow = vec![Allowed::parse(&origin).unwrap()];
        let documents = Documents::new(Outbound::new(Policy {
            allow,
            ..Policy::default()
        }));
        let first = documents.get(&url).await.unwrap();
        assert_eq!(documents.get(&url).await.unwrap(), first, "the server is gone");
        let metadata = read(&first, "agent.example", &OauthSettings::default()).unwrap();
        assert_eq!(
            (metadata.name.as_str(), metadata.auth_method.as_str()),
            ("agent.example", "none")
        );
    }

    #[tokio::test]
    async fn a_document_with_a_secret_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let url = format!("{origin}/client.json");
        let head = answer(
            "200 OK",
            "application/json",
            &format!(r#"{{"client_id":"{url}","client_secret":"x"}}"#),
        );
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(head.as_bytes()).await;
        });
        let allow = vec![Allowed::parse(&origin).unwrap()];
        let outbound = Outbound::new(Policy {
            allow,
            ..Policy::default()
        });
        assert!(
            fetch(&outbound, &url)
                .await
                .unwrap_err()
                .contains("client_secret")
        );
    }
}
