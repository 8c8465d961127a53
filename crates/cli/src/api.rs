//! The REST API as an automation uses it: a credential, pages, problems; patience when the server asks for it.

use crate::failure::{Code, Failure, Outcome};
use crate::node::{Content, Node};
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::time::Duration;
use url::Url;
use wire::Problem;

/// How often a request is sent again when the server asks to wait.
const PATIENCE: u32 = 20;
/// Items on a page.
const PAGE: u32 = 200;

/// A server and a credential.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    /// Without a slash at its end.
    server: String,
    token: String,
}

/// One request below `/api/v1`.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) body: Option<&'a Value>,
    pub(crate) if_match: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            if_match: None,
        }
    }

    pub(crate) const fn body(mut self, body: &'a Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) const fn if_match(mut self, tag: Option<&'a str>) -> Self {
        self.if_match = tag;
        self
    }
}

/// An answer that says yes.
pub(crate) struct Reply {
    pub(crate) etag: Option<String>,
    /// Null when there is no body.
    pub(crate) body: Node,
}

/// An answer that says no, or none.
#[derive(Debug)]
pub(crate) enum Refusal {
    Problem(Box<Problem>),
    Unreachable(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let problem = match refusal {
            Refusal::Unreachable(detail) => return Self::error(detail),
            Refusal::Problem(problem) => problem,
        };
        let code = match problem.status {
            401 => Code::Unauthenticated,
            403 => Code::Forbidden,
            404 => Code::NotFound,
            409 | 412 | 428 => Code::Conflict,
            _ => Code::Error,
        };
        // Which credential it is that is wrong is not told, but what a good one lacks is.
        let another = code == Code::Unauthenticated && problem.detail.is_none();
        let mut message = problem.title;
        if let Some(detail) = problem.detail {
            message.push_str(": ");
            message.push_str(&detail);
        }
        for error in &problem.errors {
            let at = error.pointer.trim_start_matches('/');
            let glue = if at.is_empty() { "" } else { ": " };
            message.push_str(&format!("\n  {at}{glue}{}", error.detail));
        }
        if !problem.request_id.is_empty() {
            message.push_str(&format!("\n  request {}", problem.request_id));
        }
        if another {
            message.push_str("\nRun `chatelaine login`, or set CHATELAINE_URL and CHATELAINE_TOKEN.");
        }
        Self::new(code, message)
    }
}

/// The origin that a person means by a server's name.
pub(crate) fn server_url(text: &str, plain_http: bool) -> Outcome<String> {
    let text = text.trim();
    let text = if text.contains("://") {
        text.trim_end_matches('/').to_owned()
    } else {
        format!("https://{}", text.trim_end_matches('/'))
    };
    let url = Url::parse(&text).map_err(|_| Failure::usage(format!("not a server's URL: {text}")))?;
    let origin = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !origin || !url.username().is_empty() {
        return Err(Failure::usage(format!(
            "a server's URL is scheme, host and port only: {text}"
        )));
    }
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() == "http" && !loopback && !plain_http {
        return Err(Failure::usage(
            "over plain http everybody on the way can read the token: use https, \
             or set CHATELAINE_PLAIN_HTTP=1 if the way is safe",
        ));
    }
    Ok(text)
}

impl Api {
    #[expect(
        clippy::disallowed_methods,
        reason = "the client goes where its user says, inside networks, too; the server's guard is for the server"
    )]
    pub(crate) fn new(server: String, token: String) -> Outcome<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("chatelaine-cli/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(|error| Failure::error(explain(&error)))?;
        Ok(Self {
            http,
            server: server.trim_end_matches('/').to_owned(),
            token,
        })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The answer as it comes, for streams.
    pub(crate) async fn open(&self, call: &Call<'_>) -> Result<reqwest::Response, Refusal> {
        // The same for every repetition: what was done already is not done twice.
        let key = uuid::Uuid::now_v7().to_string();
        for attempt in 0.. {
            let url = format!("{}/api/v1/{}", self.server, call.path);
            let mut request = self
                .http
                .request(call.method.clone(), url)
                .bearer_auth(&self.token)
                .header(header::ACCEPT, "application/json");
            if let Some(tag) = call.if_match {
                request = request.header(header::IF_MATCH, tag);
            }
            if call.method == Method::POST {
                request = request.header("idempotency-key", &key);
            }
            if let Some(body) = call.body {
                let kind = if call.method == Method::PATCH {
                    "application/merge-patch+json"
                } else {
                    "application/json"
                };
                request = request.header(header::CONTENT_TYPE, kind).body(body.to_string());
            }
            let response = request.send().await.map_err(|error| {
                Refusal::Unreachable(format!("{} cannot be reached: {}", self.server, explain(&error)))
            })?;
            let busy = matches!(
                response.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            );
            match wait(response.headers()).filter(|_| busy && attempt < PATIENCE) {
                Some(time) => tokio::time::sleep(time).await,
                None if response.status().is_success() => return Ok(response),
                None => return Err(self.refusal(response).await),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn refusal(&self, response: reqwest::Response) -> Refusal {
        let status = response.status();
        if status.is_redirection() {
            let to = response
                .headers()
                .get(header::LOCATION)
                .and_then(|v| v.to_str().ok())
                .unwrap_or("elsewhere");
            return Refusal::Unreachable(format!("{} leads to {to}: use that server's URL", self.server));
        }
        let text = response.text().await.unwrap_or_default();
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Refusal::Problem(Box::new(problem)),
            Err(_) => Refusal::Unreachable(format!(
                "{} answered {status}, and not as Chatelaine does: is this the control plane's URL?",
                self.server
            )),
        }
    }

    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Reply, Refusal> {
        let response = self.open(&call).await?;
        let etag = response.headers().get(header::ETAG);
        let etag = etag.and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        let text = response.text().await.map_err(|error| {
            Refusal::Unreachable(format!("the answer ended in the middle: {}", explain(&error)))
        })?;
        let body = if text.is_empty() {
            Content::Scalar(Value::Null).into()
        } else {
            serde_json::from_str(&text).map_err(|_| {
                Refusal::Unreachable(format!(
                    "{} does not answer as Chatelaine does: is this the control plane's URL?",
                    self.server
                ))
            })?
        };
        Ok(Reply { etag, body })
    }

    pub(crate) async fn get(&self, path: impl Into<String>) -> Result<Reply, Refusal> {
        self.send(Call::new(Method::GET, path)).await
    }

    /// Items of a list: at most `most`, or all.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(String, String)],
        most: Option<usize>,
    ) -> Result<Vec<Node>, Refusal> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let left = most.map_or(usize::MAX, |most| most - items.len());
            let limit = left.min(PAGE as usize);
            let mut pairs = query.to_vec();
            pairs.push(("limit".into(), limit.to_string()));
            pairs.extend(cursor.take().map(|c| ("cursor".into(), c)));
            let page = self.get(with_query(path, &pairs)).await?.body;
            items.extend_from_slice(page.get("items").map_or(&[], Node::items));
            cursor = page.get("next").and_then(Node::as_str).map(ToOwned::to_owned);
            let enough = most.is_some_and(|most| items.len() >= most);
            if cursor.is_none() || enough {
                items.truncate(most.unwrap_or(usize::MAX));
                return Ok(items);
            }
        }
    }
}

/// A path with a query.
pub(crate) fn with_query(path: &str, pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return path.to_owned();
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    let glue = if path.contains('?') { '&' } else { '?' };
    format!("{path}{glue}{}", query.finish())
}

/// A segment of a path.
pub(crate) fn segment(text: &str) -> String {
    const KEEP: percent_encoding::AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');
    utf8_percent_encode(text, &KEEP).to_string()
}

/// How long the server asks to wait.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let after = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = after.parse().ok()?;
    // A whole second is the smallest that the header can say; the quota fills faster than that.
    Some(Duration::from_secs(seconds.min(30)).max(Duration::from_millis(250)))
}

/// The innermost cause says what is wrong; the outer ones that something is.
fn explain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_travel_in_the_clear() {
        assert_eq!(
            server_url("chat.example.com/", false).unwrap(),
            "https://chat.example.com"
        );
        assert_eq!(
            server_url("http://127.0.0.1:7400", false).unwrap(),
            "http://127.0.0.1:7400"
        );
        assert!(server_url("http://[::1]:7400", false).is_ok());
        assert_eq!(
            server_url("http://chat.example.com", false).unwrap_err().code,
            Code::Usage
        );
        assert!(server_url("http://chat.example.com", true).is_ok());
        for bad in [
            "https://x/path",
            "ftp://x",
            "https://",
            "https://a@x",
            "https://x?y",
        ] {
            assert!(server_url(bad, false).is_err(), "{bad}");
        }
    }
}
