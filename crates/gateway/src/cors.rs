//! Pages of other origins that call an app from a browser (Fetch section 3.2): agents that run there, and pages that have
//! no business here.
//!
//! A page whose origin the app allows may call it with a token and read what comes back; the app session's cookie does
//! not count for it, so that nothing is done with what the browser adds by itself. Preflights carry no credential and are
//! answered here. Towards an MCP endpoint every other page is refused, because a page that had its name point here
//! could talk to it otherwise (DNS rebinding; the transport of MCP asks for this). To a web app they are its own business.
//!
//! Origins are compared as they were sent: a browser writes each in one way only.

use crate::headers;
use crate::site::Site;
use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use wire::{AppKind, WEB_METHODS};

/// What a page may read beside the headers that every page may (Fetch section 3.3.2).
pub(crate) const EXPOSED: &str = "WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, X-Request-Id";
/// For how long a browser remembers the answer to a preflight, in seconds.
const REMEMBERED: &str = "600";
/// So many header names of a preflight are answered at the most.
const NAMES: usize = 64;
/// The longest origin that the log repeats, in bytes.
const LONGEST: usize = 200;

/// Which page is behind a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// None, as far as the request says, or one of the app's own origin.
    Own,
    /// One of an origin that the app allows.
    Allowed(HeaderValue),
    /// Any other: also `null`, and whatever no browser writes.
    Foreign,
}

impl Page {
    pub(crate) fn of(site: &Site, headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(ORIGIN).iter();
        let Some(origin) = sent.next() else {
            return Self::Own;
        };
        let is = |known: &String| known.as_bytes() == origin.as_bytes();
        if sent.next().is_some() {
            Self::Foreign
        } else if is(&site.view.public_origin) {
            Self::Own
        } else if site.view.app.spec.browser_origins.iter().any(is) {
            Self::Allowed(origin.clone())
        } else {
            Self::Foreign
        }
    }

    /// Whether it must not talk to the app at all.
    pub(crate) fn is_refused_at(&self, site: &Site) -> bool {
        *self == Self::Foreign && owns_sharing(site)
    }

    pub(crate) const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The answer to a preflight of an allowed page (Fetch section 3.2.2): what the app takes of what is asked for.
    /// Whether the request itself will be let through is asked when it comes, by whoever it comes from.
    pub(crate) fn preflight(&self, site: &Site, parts: &Parts) -> Option<Response<Body>> {
        let method = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if !self.is_allowed() || parts.method != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        let methods = match site.view.app.spec.kind {
            AppKind::Mcp => Some(HeaderValue::from_static("GET, POST, DELETE")),
            AppKind::Web => Some(method.clone()).filter(|method| takes(site, method)),
        };
        if let Some(methods) = methods {
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        let names = wanted(&parts.headers);
        if !names.is_empty()
            && let Ok(names) = HeaderValue::try_from(names.join(", "))
        {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
        Some(response)
    }

    /// Lets the page read an answer, whoever gave it. What an origin says of other pages does not count where the
    /// gateway says it: two answers to one question are none to a browser.
    pub(crate) fn share(&self, site: &Site, headers: &mut HeaderMap) {
        if self.is_allowed() || owns_sharing(site) {
            for name in [
                ACCESS_CONTROL_ALLOW_ORIGIN,
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                ACCESS_CONTROL_EXPOSE_HEADERS,
            ] {
                headers.remove(name);
            }
        }
        // Caches must not give one page what was meant for another.
        if !site.view.app.spec.browser_origins.is_empty() && !varies(headers) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Self::Allowed(origin) = self else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

/// Whether the gateway alone says which pages may call: MCP endpoints have no pages of their own.
fn owns_sharing(site: &Site) -> bool {
    site.view.app.spec.kind == AppKind::Mcp
}

/// The origin of a page as the log may repeat it.
pub(crate) fn origin_of(headers: &HeaderMap) -> Option<String> {
    let origin = headers.get(ORIGIN)?.to_str().ok()?;
    (origin.len() <= LONGEST).then(|| origin.to_owned())
}

fn takes(site: &Site, method: &HeaderValue) -> bool {
    let extra = &site.view.app.spec.extra_methods;
    method
        .to_str()
        .is_ok_and(|method| WEB_METHODS.contains(&method) || extra.iter().any(|extra| extra == method))
}

/// The headers that a page wants to send, as far as they mean anything here.
fn wanted(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = values.filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|names| names.split(','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| *name == AUTHORIZATION || headers::is_allowed(name))
        .take(NAMES)
        .map(|name| name.to_string())
        .collect()
}

fn varies(headers: &HeaderMap) -> bool {
    let values = headers.get_all(VARY).iter();
    let mut names = values.flat_map(|value| value.as_bytes().split(|b| *b == b','));
    names.any(|name| {
        let name = name.trim_ascii();
        name == b"*" || name.eq_ignore_ascii_case(b"origin")
    })
}
