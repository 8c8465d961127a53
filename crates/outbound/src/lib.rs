//! The one HTTP client for requests that leave the server.
//!
//! URLs come from strangers: client metadata, discovery documents, webhooks. So every request is https, follows
//! no redirect, uses no proxy, has a cap on its time and size, and reaches the public internet only. The host is
//! resolved once, each address is checked, and the connection goes to the checked addresses. Internal targets
//! are reached only where they are [`Allowed`], origin by origin; the server itself and special addresses
//! ([`is_special`]) never. The gateway, whose origins are internal, connects by itself, and asks the same.
//!
//! ```no_run
//! # async fn example() -> Result<(), outbound::Error> {
//! use outbound::{Outbound, Policy};
//!
//! let outbound = Outbound::new(Policy::default());
//! let keys = outbound.get("https://idp.example/jwks").accept("application/json").send().await?;
//! assert!(keys.status.is_success());
//! # Ok(())
//! # }
//! ```

mod address;
mod connection;
mod error;
mod hop;
mod listeners;
mod special;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use url::Host;

pub use crate::address::is_global;
use crate::connection::Tls;
pub use crate::error::Error;
pub use crate::hop::{HOP, Hop};
pub use crate::listeners::Listeners;
pub use crate::special::{can_be_opened, is_special};
use crate::target::Target;
pub use crate::target::{Allowed, Resolver, is_localhost, resolve, system_resolver};

/// How long it may take to find out where a name leads, when that is asked for before it is needed.
const LOOK_UP: Duration = Duration::from_secs(2);

/// What holds for all requests of one [`Outbound`].
#[derive(Debug, Clone)]
pub struct Policy {
    /// Internal targets that every request may reach.
    pub allow: Vec<Allowed>,
    /// The time for one exchange, from name resolution to the last byte of the answer.
    pub timeout: Duration,
    /// The longest answer body, in bytes.
    pub max_bytes: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The server's own listeners, which nothing is sent to.
    pub listeners: Listeners,
    /// The mark that requests leave with.
    pub hop: Option<Hop>,
}

impl Default for Policy {
    /// Public internet only, 10 seconds, 1 MiB.
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            timeout: Duration::from_secs(10),
            max_bytes: 1024 * 1024,
            user_agent: concat!("chatelaine/", env!("CARGO_PKG_VERSION")).to_owned(),
            listeners: Listeners::default(),
            hop: None,
        }
    }
}

/// The guarded HTTP client. Clones share everything.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    policy: Policy,
    resolver: Resolver,
    tls: Tls,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("policy", &self.0.policy)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// Makes a client that trusts the root certificates of the operating system (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` override where they are). If there are none, https requests fail with [`Error::Tls`].
    pub fn new(policy: Policy) -> Self {
        Self::with_resolver(policy, target::system_resolver())
    }

    /// Like [`Outbound::new`], with names resolved by `resolver`: for tests.
    #[doc(hidden)]
    pub fn with_resolver(policy: Policy, resolver: Resolver) -> Self {
        Self(Arc::new(Inner {
            policy,
            resolver,
            tls: Tls::of_the_system(),
        }))
    }

    /// The addresses that a host and port mean now, unjudged; none when they cannot be told soon.
    pub async fn addresses(&self, host: Host<&str>, port: u16) -> Vec<SocketAddr> {
        let found = tokio::time::timeout(LOOK_UP, resolve(&self.0.resolver, host, port)).await;
        found.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The server's own listeners.
    pub fn listeners(&self) -> &Listeners {
        &self.0.policy.listeners
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> Fetch {
        self.request(Method::GET, url)
    }

    /// Starts a POST request with a body of type `content_type`.
    pub fn post(&self, url: impl AsRef<str>, content_type: &str, body: impl Into<Bytes>) -> Fetch {
        let mut fetch = self.request(Method::POST, url).header(CONTENT_TYPE, content_type);
        fetch.body = body.into();
        fetch
    }

    /// Starts a POST request with an `application/x-www-form-urlencoded` body.
    pub fn post_form(&self, url: impl AsRef<str>, fields: &[(&str, &str)]) -> Fetch {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.post(url, "application/x-www-form-urlencoded", body)
    }

    /// Starts a request with any method and no body.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Fetch {
        Fetch {
            outbound: self.clone(),
            method,
            url: url.as_ref().to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            max_bytes: self.0.policy.max_bytes,
            cut: false,
            timeout: self.0.policy.timeout,
            allow: Vec::new(),
            invalid: None,
        }
    }

    /// Sends a ready-made request with an absolute URI: the shape that `openidconnect` wants, as in
    /// `&|request| outbound.http(request, &allow)`. Targets in `allow` may be internal.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn http(
        &self,
        request: http::Request<Vec<u8>>,
        allow: &[Allowed],
    ) -> Result<http::Response<Vec<u8>>, Error> {
        let (parts, body) = request.into_parts();
        let mut fetch = self.request(parts.method, parts.uri.to_string()).allow(allow);
        fetch.headers = parts.headers;
        fetch.body = body.into();
        let answer = fetch.send().await?;
        let mut response = http::Response::new(answer.body.into());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// A request being put together; nothing happens before [`Fetch::send`].
#[must_use = "a request does nothing until it is sent"]
pub struct Fetch {
    outbound: Outbound,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    max_bytes: usize,
    cut: bool,
    timeout: Duration,
    allow: Vec<Allowed>,
    invalid: Option<Error>,
}

impl Fetch {
    /// Sets a header, replacing what it was. A malformed one makes [`Fetch::send`] fail.
    pub fn header(
        mut self,
        name: impl TryInto<HeaderName, Error: fmt::Display>,
        value: impl TryInto<HeaderValue, Error: fmt::Display>,
    ) -> Self {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(name == AUTHORIZATION);
                self.headers.insert(name, value);
            }
            (Err(e), _) => self.invalid = Some(Error::InvalidRequest(e.to_string())),
            (_, Err(e)) => self.invalid = Some(Error::InvalidRequest(e.to_string())),
        }
        self
    }

    /// Sets the `Accept` header.
    pub fn accept(self, media_type: &str) -> Self {
        self.header(ACCEPT, media_type)
    }

    /// Sends credentials with the Basic scheme (RFC 7617). OAuth wants client id and secret form-encoded first
    /// (RFC 6749, section 2.3.1), which is up to the caller.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.header(AUTHORIZATION, format!("Basic {credentials}"))
    }

    /// The longest answer body, in bytes, in place of the policy's.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// A longer answer is cut there instead of refused: for whom only the status matters.
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// The time for the whole exchange, in place of the policy's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Internal targets that this request may reach besides the policy's.
    pub fn allow(mut self, allowed: &[Allowed]) -> Self {
        self.allow.extend_from_slice(allowed);
        self
    }

    /// Sends the request and reads the whole answer. Redirects are answers like any other.
    ///
    /// # Errors
    /// See [`Error`]. No answer status is an error.
    pub async fn send(self) -> Result<Response, Error> {
        if let Some(invalid) = self.invalid {
            return Err(invalid);
        }
        let Inner {
            policy,
            resolver,
            tls,
        } = &*self.outbound.0;
        let target = Target::parse(&self.url, policy.allow.iter().chain(&self.allow))?;
        let exchange = async {
            let addresses = target.addresses(resolver, &policy.listeners).await?;
            let client = tls.client(&target, addresses, &policy.user_agent, self.timeout)?;
            let mut request = reqwest::Request::new(self.method, target.url.clone());
            *request.headers_mut() = self.headers;
            if let Some(mark) = policy.hop.as_ref().and_then(|hop| hop.onward(&HeaderMap::new())) {
                request.headers_mut().insert(HOP, mark);
            }
            if !self.body.is_empty() {
                *request.body_mut() = Some(self.body.into());
            }
            let failed = |e| Error::from_http(&target.host, self.timeout, e);
            let mut answer = client.execute(request).await.map_err(failed)?;

            let too_large = || Error::TooLarge {
                host: target.host.clone(),
                limit: self.max_bytes,
            };
            let is_longer = answer
                .content_length()
                .is_some_and(|length| length > self.max_bytes as u64);
            if is_longer && !self.cut {
                return Err(too_large());
            }
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                let room = self.max_bytes - body.len();
                if chunk.len() > room {
                    if self.cut {
                        body.extend_from_slice(&chunk[..room]);
                        break;
                    }
                    return Err(too_large());
                }
                body.extend_from_slice(&chunk);
            }
            let headers = std::mem::take(answer.headers_mut());
            Ok(Response {
                status: answer.status(),
                headers,
                body: body.into(),
            })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Timeout {
                host: target.host.clone(),
                after: self.timeout,
            }),
        }
    }
}

impl fmt::Debug for Fetch {
    /// Leaves out everything that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// An answer, read to its end.
#[derive(Clone)]
pub struct Response {
    /// The status, which may well be a redirect or an error.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// The media type in lower case without parameters, as `application/json`; empty if none was given.
    pub fn media_type(&self) -> String {
        let value = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }
}

impl fmt::Debug for Response {
    /// Leaves out everything that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
