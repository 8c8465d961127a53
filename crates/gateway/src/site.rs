//! An app as the gateway needs it at every request: everything that follows from its configuration is
//! computed once per configuration.

use bytes::Bytes;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use ipnet::IpNet;
use std::sync::{Arc, OnceLock};
use store::AppView;
use url::Url;
use wire::Id;

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
    /// The challenge for no token, and for a bad one.
    pub(crate) challenge: [Option<HeaderValue>; 2],
    pub(crate) metadata_url: String,
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
        // RFC 9728 section 5.1, RFC 6750 section 3. The default challenge asks for all that the app offers:
        // clients that hold a refresh token cannot ask for more later.
        let scope = view.scopes.names().collect::<Vec<_>>().join(" ");
        let challenge = |error: &str| {
            let text = format!("Bearer {error}resource_metadata=\"{metadata_url}\", scope=\"{scope}\"");
            HeaderValue::try_from(text).ok()
        };
        let challenge = [challenge(""), challenge("error=\"invalid_token\", ")];
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
            challenge,
            metadata_url,
            // Nothing but a `bypass` policy lets nobody through.
            maybe_public: view.is_ever_public(),
            resource_metadata: OnceLock::new(),
            server_metadata: OnceLock::new(),
            view,
        }
    }

    /// RFC 9728.
    pub(crate) fn resource_metadata(&self) -> Bytes {
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
