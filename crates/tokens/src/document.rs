//! Client ID Metadata Documents: a `client_id` that is an https URL, whose document says who the client is. They come
//! from strangers: fetched with small bounds, through the guarded client, and believed only where they name themselves.

use outbound::Outbound;
use serde_json::Value;
use std::time::Duration;
use url::Url;

/// The longest document, in bytes.
pub const LONGEST: usize = 5 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// One word for the log.
    pub code: &'static str,
    /// For the person who sees the page.
    pub text: String,
}

impl Unusable {
    /// The reason `code`, in words.
    #[must_use]
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// Whether there is a document, and what it says is not taken, or somebody said that it shall not be.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.code,
            "refused"
                | "invalid_redirect_uri"
                | "invalid_client_metadata"
                | "contains_secret"
                | "other_client_id"
        )
    }

    /// Whether nothing at all came back: as it is where there is no way out, too.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self.code, "not_reached" | "timeout")
    }
}

/// The host of a `client_id` that is the URL of a document, with its port unless that is the usual one: who
/// serves a port of a host need not be who serves the others. The URL is https, has a path that is more than `/`,
/// nothing but the canonical spelling, no user information, no fragment.
#[must_use]
pub fn host(client_id: &str) -> Option<String> {
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

/// Whether a document is one that a client could be known by; also of one that somebody enters.
///
/// # Errors
/// Why it is none.
pub fn check(document: &Value, client_id: &str) -> Result<(), Unusable> {
    if !document.is_object() {
        return Err(Unusable::new("not_json", "it is not a JSON object"));
    }
    if document["client_id"].as_str() != Some(client_id) {
        let text = "its client_id is not the address that it was fetched from";
        return Err(Unusable::new("other_client_id", text));
    }
    if document.get("client_secret").is_some() || document.get("client_secret_expires_at").is_some() {
        let text = "it contains a client_secret, which a public document cannot keep";
        return Err(Unusable::new("contains_secret", text));
    }
    Ok(())
}

/// Fetches a document.
///
/// # Errors
/// Why there is none.
pub async fn fetch(outbound: &Outbound, client_id: &str) -> Result<Value, Unusable> {
    let document = json(outbound, client_id, LONGEST).await?;
    check(&document, client_id)?;
    Ok(document)
}

/// Fetches JSON of `longest` bytes at the most.
///
/// # Errors
/// Why there is none.
pub async fn json(outbound: &Outbound, url: &str, longest: usize) -> Result<Value, Unusable> {
    let request = outbound.get(url).accept("application/json");
    let answer = request.max_bytes(longest).timeout(TIMEOUT).send().await;
    let answer = answer.map_err(|error| Unusable::new(code(&error), error.to_string()))?;
    if answer.status != http::StatusCode::OK {
        let status = answer.status.as_u16();
        let text = format!("it answered with status {status} instead of 200");
        return Err(Unusable::new("status_not_200", text));
    }
    let media_type = answer.media_type();
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return Err(Unusable::new("not_json", "it is not served as application/json"));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Unusable::new("not_json", "it is not valid JSON"))
}

/// One word for why nothing usable came back.
const fn code(error: &outbound::Error) -> &'static str {
    use outbound::Error;
    match error {
        Error::InvalidUrl(_) | Error::InvalidRequest(_) => "address_invalid",
        Error::Blocked { .. } | Error::Special { .. } | Error::Own { .. } => "address_refused",
        Error::TooLarge { .. } => "too_long",
        Error::Timeout { .. } => "timeout",
        Error::Connect { .. } => "not_reached",
        Error::Tls { .. } => "tls_failed",
        Error::Interrupted { .. } => "broke_off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbound::{Allowed, Policy};
    use serde_json::json;
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

    #[test]
    fn a_document_names_itself_and_keeps_no_secret() {
        let id = "https://agent.example/c";
        assert_eq!(check(&json!({"client_id": id}), id), Ok(()));
        for (document, code) in [
            (json!([]), "not_json"),
            (json!({}), "other_client_id"),
            (json!({"client_id": 7}), "other_client_id"),
            (json!({"client_id": "https://agent.example/C"}), "other_client_id"),
            (json!({"client_id": id, "client_secret": "x"}), "contains_secret"),
            (json!({"client_id": id, "client_secret": null}), "contains_secret"),
            (
                json!({"client_id": id, "client_secret_expires_at": 0}),
                "contains_secret",
            ),
        ] {
            assert_eq!(check(&document, id).unwrap_err().code, code, "{document}");
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
        let other = r#"{"client_id":"https://other.example/c"}"#;
        for (head, fill, code) in [
            (endless, &[b'x'; 1024][..], "too_long"),
            (answer("200 OK", "application/json", &long), &[], "too_long"),
            (redirect, &[], "status_not_200"),
            (
                answer("404 Not Found", "application/json", "{}"),
                &[],
                "status_not_200",
            ),
            (answer("200 OK", "text/html", "{}"), &[], "not_json"),
            (answer("200 OK", "application/json", "{"), &[], "not_json"),
            (
                answer("200 OK", "application/json", other),
                &[],
                "other_client_id",
            ),
        ] {
            let (url, outbound) = server(head, fill).await;
            let refused = fetch(&outbound, &url).await.unwrap_err();
            assert_eq!(refused.code, code, "{refused:?}");
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
}
