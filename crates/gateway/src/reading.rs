//! Whether a request is read here as its origin reads it. What could be read in two ways is refused, not repaired: a method
//! in another case (some frameworks raise it), a body where none is looked for, a charset that changes what the bytes
//! say, a second path in a header.

use crate::mcp;
use crate::site::Site;
use axum::body::Body;
use http::header::{ALLOW, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;
use wire::{AppKind, WEB_METHODS};

/// How long a message may take from its first byte to its last.
const WHOLE: Duration = Duration::from_secs(30);
/// Those of the Streamable HTTP transport of MCP.
const MCP_METHODS: &str = "GET, POST, DELETE";
/// Where COPY and MOVE go (RFC 4918 section 10.3).
const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// What was read beside method and path.
#[derive(Default)]
pub(crate) struct Read {
    /// What the message of a `POST` to an MCP endpoint says.
    pub(crate) mcp: Option<mcp::Asked>,
    /// The other path that the request is about.
    pub(crate) destination: Option<String>,
}

/// A request that is not read.
pub(crate) struct Unreadable {
    status: StatusCode,
    /// For the log.
    pub(crate) detail: &'static str,
    /// For the caller.
    message: &'static str,
}

impl Unreadable {
    const fn message(status: StatusCode, message: &'static str) -> Self {
        Self {
            status,
            detail: "unreadable_message",
            message,
        }
    }

    const fn method(status: StatusCode, message: &'static str) -> Self {
        Self {
            status,
            detail: "unknown_method",
            message,
        }
    }

    pub(crate) fn answer(&self, request: &str) -> Response<Body> {
        let mut answer = crate::answer::json(self.status, "invalid_request", self.message, request);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = HeaderValue::from_static(MCP_METHODS);
            answer.headers_mut().insert(ALLOW, allow);
        }
        answer
    }
}

/// Reads as much of a request as decides; the rest of its body passes unread. `is_another_apps` says of a path whether it
/// leads to another app of the host.
///
/// # Errors
/// What is wrong, in words for the caller.
pub(crate) async fn read(
    site: &Site,
    parts: &mut Parts,
    body: Body,
    is_another_apps: impl Fn(&str) -> bool,
) -> Result<(Read, Body), Unreadable> {
    method(site, &parts.method)?;
    if site.view.app.spec.kind != AppKind::Mcp {
        let destination = destination(site, parts, is_another_apps)?;
        return Ok((
            Read {
                mcp: None,
                destination,
            },
            body,
        ));
    }
    parts.headers.remove(DESTINATION);
    if parts.method != Method::POST {
        if body.is_end_stream() {
            return Ok((Read::default(), body));
        }
        let message = "At an MCP endpoint only POST carries a body.";
        return Err(Unreadable::message(StatusCode::BAD_REQUEST, message));
    }
    if !mcp::is_json(&parts.headers) {
        let message = "An MCP message is application/json in UTF-8, not compressed.";
        return Err(Unreadable::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let whole = Limited::new(body, mcp::MAX_BODY).collect();
    let Ok(whole) = tokio::time::timeout(WHOLE, whole).await else {
        let message = "The message took longer than 30 seconds.";
        return Err(Unreadable::message(StatusCode::REQUEST_TIMEOUT, message));
    };
    let bytes = match whole {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = "The message is larger than 1 MiB.";
            return Err(Unreadable::message(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Err(_) => {
            let message = "The body broke off.";
            return Err(Unreadable::message(StatusCode::BAD_REQUEST, message));
        }
    };
    let asked = mcp::read(&bytes, &parts.headers)
        .map_err(|message| Unreadable::message(StatusCode::BAD_REQUEST, message))?;
    let read = Read {
        mcp: Some(asked),
        destination: None,
    };
    Ok((read, Body::from(bytes)))
}

fn method(site: &Site, method: &Method) -> Result<(), Unreadable> {
    let (spec, method) = (&site.view.app.spec, method.as_str());
    if spec.kind == AppKind::Mcp {
        return match method {
            "GET" | "POST" | "DELETE" => Ok(()),
            _ => Err(Unreadable::method(
                StatusCode::METHOD_NOT_ALLOWED,
                "An MCP endpoint takes GET, POST and DELETE, in upper case.",
            )),
        };
    }
    if WEB_METHODS.contains(&method) || spec.extra_methods.iter().any(|extra| extra == method) {
        return Ok(());
    }
    if method.bytes().any(|b| b.is_ascii_lowercase()) {
        let message = "Methods are written in upper case (RFC 9110, section 9.1).";
        return Err(Unreadable::method(StatusCode::BAD_REQUEST, message));
    }
    let message = "The app does not take this method.";
    Err(Unreadable::method(StatusCode::NOT_IMPLEMENTED, message))
}

/// The path that `Destination` names, if it means anything with this method; else the header does not exist for the
/// origin. What passes is what was read, written anew.
fn destination(
    site: &Site,
    parts: &mut Parts,
    is_another_apps: impl Fn(&str) -> bool,
) -> Result<Option<String>, Unreadable> {
    let foreign = Unreadable {
        status: StatusCode::BAD_REQUEST,
        detail: "unreadable_destination",
        message: "Destination is one plain address within this app.",
    };
    let acts = matches!(parts.method.as_str(), "COPY" | "MOVE");
    let mut named = parts.headers.get_all(DESTINATION).iter();
    let (first, second) = (named.next().cloned(), named.next());
    let Some(first) = first.filter(|_| acts) else {
        parts.headers.remove(DESTINATION);
        return Ok(None);
    };
    let text = first
        .to_str()
        .ok()
        .filter(|text| second.is_none() && !text.contains(['#', '?']));
    let Some(uri) = text.and_then(|text| text.parse::<Uri>().ok()) else {
        return Err(foreign);
    };
    let is_here = uri.authority().is_none_or(|authority| {
        let stated = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        stated.eq_ignore_ascii_case(&site.view.public_origin)
    });
    let path = uri.path();
    let below = path.strip_prefix(site.view.path.as_str());
    let is_within = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !is_here || !is_within || is_another_apps(path) || !policy::path::is_plain(path) {
        return Err(foreign);
    }
    let address = format!("{}{path}", site.view.public_origin);
    let address = HeaderValue::try_from(address).map_err(|_| foreign)?;
    parts.headers.insert(DESTINATION, address);
    Ok(Some(path.to_owned()))
}
