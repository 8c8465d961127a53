//! An app as the gateway needs it at every request: everything that follows from its configuration is
//! computed once per configuration.

use bytes::Bytes;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use ipnet::IpNet;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use store::AppView;
use url::Url;
use wire::Id;

/// The longest query that is said back, in bytes.
const LONGEST_QUERY: usize = 512;

/// What access tokens for an app say that they are for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokensFor {
    pub(crate) issuer: String,
    pub(crate) resource: String,
}

pub(crate) struct Site {
    pub(crate) view: Arc<AppView>,
    pub(crate) tokens_for: Arc<TokensFor>,
    /// Where requests go; none when `origin_url` cannot be used.
    pub(crate) origin: Option<(Scheme, Authority)>,
    /// Special networks in which the origin may lie.
    pub(crate) opened: Arc<[IpNet]>,
    /// `Host` and `X-Forwarded-Host`.
    pub(crate) host: Option<HeaderValue>,
    /// `X-Forwarded-Proto`.
    pub(crate) proto: HeaderValue,
    /// Whether cookies are `Secure`.
    pub(crate) secure: bool,
    pub(crate) session_cookie: String,
    pub(crate) state_cookie: String,
    /// Where browsers sign in, without the query.
    pub(crate) sign_in: String,
    /// Issuer of assertions.
    pub(crate) issuer: String,
    pub(crate) control_url: String,
    /// What the challenge asks for (RFC 6750 section 3): all that the app offers, because clients that hold a refresh
    /// token cannot ask for more later.
    scope: String,
    /// The challenge for no token, and for a bad one.
    challenge: [Option<HeaderValue>; 2],
    metadata_url: String,
    /// Whether some request needs no sign-in.
    pub(crate) maybe_public: bool,
    resource_metadata: OnceLock<Bytes>,
    server_metadata: OnceLock<Bytes>,
}

impl Site {
    pub(crate) fn new(view: Arc<AppView>, control_url: &str) -> Self {
        let secure = view.public_origin.starts_with("https:");
        let cookie = |kind: &str| {
            let id = view.app.id.as_str().trim_start_matches("app_");
            let prefix = if secure { "__Host-" } else { "" };
            format!("{prefix}chatelaine_{kind}_{id}")
        };
        let metadata_url = tokens::metadata::protected_resource_metadata_url(&view);
        let scope = view.scopes.names().collect::<Vec<_>>().join(" ");
        let challenge = [false, true].map(|tried| challenge(tried, &metadata_url, &scope));
        let tokens_for = TokensFor {
            issuer: view.app.issuer.clone(),
            resource: view.resource().to_owned(),
        };
        Self {
            tokens_for: Arc::new(tokens_for),
            origin: origin(&view.app.spec.origin_url),
            opened: view
                .origin_ranges
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
            host: HeaderValue::try_from(view.authority.as_str()).ok(),
            proto: HeaderValue::from_static(if secure { "https" } else { "http" }),
            session_cookie: cookie("app"),
            state_cookie: cookie("state"),
            sign_in: format!("{control_url}/signin/{}", view.app.id),
            issuer: format!("{control_url}/accounts/{}", view.account.id),
            control_url: control_url.to_owned(),
            secure,
            scope,
            challenge,
            metadata_url,
            // Nothing but a `bypass` policy lets nobody through.
            maybe_public: view.is_ever_public(),
            resource_metadata: OnceLock::new(),
            server_metadata: OnceLock::new(),
            view,
        }
    }

    /// The challenge for no token, or for a bad one, in answer to a request with this query.
    pub(crate) fn challenge(&self, tried: bool, query: Option<&str>) -> Option<HeaderValue> {
        match self.metadata_url_for(query) {
            Cow::Borrowed(_) => self.challenge[usize::from(tried)].clone(),
            Cow::Owned(url) => challenge(tried, &url, &self.scope),
        }
    }

    /// Where the metadata lies for a client that asked with this query: it compares the resource with the address that it
    /// used (RFC 9728 section 3.3).
    pub(crate) fn metadata_url_for(&self, query: Option<&str>) -> Cow<'_, str> {
        match query.filter(|query| is_repeated(query)) {
            Some(query) => Cow::Owned(format!("{}?{query}", self.metadata_url)),
            None => Cow::Borrowed(&self.metadata_url),
        }
    }

    /// RFC 9728, about the app as a client wrote it, with this query.
    pub(crate) fn resource_metadata_for(&self, query: Option<&str>) -> Bytes {
        let Some(query) = query.filter(|query| is_repeated(query)) else {
            return self.resource_metadata();
        };
        let mut document = tokens::metadata::protected_resource_metadata(&self.view, &self.control_url);
        document["resource"] = format!("{}?{query}", self.view.resource()).into();
        document.to_string().into()
    }

    fn resource_metadata(&self) -> Bytes {
        let make = || tokens::metadata::protected_resource_metadata(&self.view, &self.control_url);
        self.resource_metadata
            .get_or_init(|| make().to_string().into())
            .clone()
    }

    /// RFC 8414.
    pub(crate) fn server_metadata(&self) -> Bytes {
        let make = || tokens::metadata::authorization_server_metadata(&self.view, &self.control_url);
        self.server_metadata
            .get_or_init(|| make().to_string().into())
            .clone()
    }
}

/// RFC 9728 section 5.1, RFC 6750 section 3.
fn challenge(tried: bool, metadata_url: &str, scope: &str) -> Option<HeaderValue> {
    let error = if tried { "error=\"invalid_token\", " } else { "" };
    let text = format!("Bearer {error}resource_metadata=\"{metadata_url}\", scope=\"{scope}\"");
    HeaderValue::try_from(text).ok()
}

/// Whether the query of a request is said back: it has to fit between the quotes of a header.
fn is_repeated(query: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    (1..=LONGEST_QUERY).contains(&query.len()) && query.bytes().all(plain)
}

fn origin(url: &str) -> Option<(Scheme, Authority)> {
    let url = Url::parse(url).ok()?;
    let scheme = match url.scheme() {
        "http" => Scheme::HTTP,
        "https" => Scheme::HTTPS,
        _ => return None,
    };
    let host = url.host_str()?;
    let authority = url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some((scheme, authority.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_said_back_that_fits_between_quotes() {
        assert!(is_repeated("utm_source=x&a='b'"));
        for no in ["", "a=\"", "a=\\", "a b", "a=\u{e9}", &"x".repeat(513)] {
            assert!(!is_repeated(no), "{no}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let text = |url| origin(url).map(|(scheme, authority)| format!("{scheme}://{authority}"));
        assert_eq!(
            text("http://127.0.0.1:9000").as_deref(),
            Some("http://127.0.0.1:9000")
        );
        assert_eq!(
            text("https://wiki.internal/").as_deref(),
            Some("https://wiki.internal")
        );
        assert_eq!(text("http://[::1]:80/x").as_deref(), Some("http://[::1]"));
        assert_eq!(text("ftp://x"), None);
        assert_eq!(text("x"), None);
    }
}
