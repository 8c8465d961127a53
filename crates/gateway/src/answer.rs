//! Answers of our own: challenges, refusals, errors. Agents get JSON with a reason code, browsers a small
//! page; what decided stays in the log.

use crate::record;
use crate::site::Site;
use axum::body::Body;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use wire::Reason;

/// A plain JSON answer: stable `error`, words for people, the id to ask about.
pub(crate) fn json(status: StatusCode, error: &str, message: &str, request: &str) -> Response<Body> {
    object(
        status,
        &serde_json::json!({
            "error": error, "error_description": message, "request_id": request,
        }),
    )
}

/// The request was here before (RFC 5842 section 7.2).
pub(crate) fn loop_detected(request: &str) -> Response<Body> {
    json(
        StatusCode::LOOP_DETECTED,
        "loop_detected",
        "The request came from this server.",
        request,
    )
}

/// A page of another origin asked (Streamable HTTP transport of MCP, security warning).
pub(crate) fn foreign_origin(request: &str) -> Response<Body> {
    json(
        StatusCode::FORBIDDEN,
        "foreign_origin",
        "Pages of this origin may not call the app. An administrator of the account can allow it.",
        request,
    )
}

/// Refused, and why; for agents.
pub(crate) fn denied(status: StatusCode, reason: Reason, request: &str) -> Response<Body> {
    object(
        status,
        &serde_json::json!({
            "error": "access_denied", "reason": record::code(reason),
            "error_description": record::words(reason), "request_id": request,
        }),
    )
}

fn object(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// Nothing can be decided now; asking again later is right.
pub(crate) fn unavailable(request: &str) -> Response<Body> {
    let message = "Access cannot be decided at the moment.";
    json(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        message,
        request,
    )
}

/// A page without script and style of its own.
pub(crate) fn page(
    site: &Site,
    status: StatusCode,
    title: &str,
    text: &str,
    request: &str,
) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"{control}/assets/app.css\"></head><body><main class=\"page\">\
         <h1>{title}</h1><p>{text}</p><p><a href=\"{back}/\">{app}</a></p>\
         <p><small>Request {request}</small></p></main></body></html>",
        title = escape(title),
        text = escape(text),
        control = escape(&site.control_url),
        back = escape(&format!("{}{}", site.view.public_origin, site.view.path)),
        app = escape(&site.view.app.spec.name),
        request = escape(request),
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; style-src {}; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
        site.control_url
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("same-origin"));
    response
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a browser navigates: it says so, or, when it says nothing about itself, asks for a page.
pub(crate) fn is_navigation(parts: &Parts) -> bool {
    let mut fetch = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("sec-fetch-"))
        .peekable();
    if fetch.peek().is_some() {
        return parts
            .headers
            .get("sec-fetch-mode")
            .is_some_and(|mode| mode == "navigate");
    }
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    reads
        && parts.headers.get_all(ACCEPT).iter().any(|v| {
            let v = v.to_str().unwrap_or_default();
            v.split(',').any(|range| {
                let media = range.split(';').next().unwrap_or_default();
                media.trim().eq_ignore_ascii_case("text/html")
            })
        })
}

/// 401 for whoever is no navigating browser. `tried`: a token was sent and is not valid.
pub(crate) fn challenge(site: &Site, tried: bool, query: Option<&str>, request: &str) -> Response<Body> {
    if !site.view.app.spec.managed_oauth {
        let message = "Managed OAuth is off for this app: agents cannot sign in to it. \
                       An administrator of the account can switch it on.";
        let mut response = json(StatusCode::UNAUTHORIZED, "managed_oauth_off", message, request);
        // RFC 9110 section 15.5.2 wants a challenge; this one leads nowhere.
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    let (error, message) = if tried {
        (
            "invalid_token",
            "The access token is not valid here, or not any more.",
        )
    } else {
        (
            "unauthorized",
            "Sign in: see resource_metadata in the WWW-Authenticate header.",
        )
    };
    let mut response = json(StatusCode::UNAUTHORIZED, error, message, request);
    if let Some(value) = site.challenge(tried, query) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// All that can be wrong with a service token has one answer; after too many of them it asks for patience.
pub(crate) fn wrong_service_token(wait: Option<i64>, request: &str) -> Response<Body> {
    if let Some(seconds) = wait {
        let message = "Too many wrong service tokens; wait before the next.";
        let mut response = json(StatusCode::TOO_MANY_REQUESTS, "slow_down", message, request);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        return response;
    }
    let message = "The service token is not valid here, or not any more.";
    let mut response = json(
        StatusCode::UNAUTHORIZED,
        "invalid_service_token",
        message,
        request,
    );
    // RFC 9110 section 15.5.2 wants a challenge. It is none that an agent could answer by signing in.
    response.headers_mut().insert(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Chatelaine-Service-Token"),
    );
    response
}

/// 403 that names the scopes which would do (RFC 6750 section 3.1).
pub(crate) fn insufficient_scope(
    site: &Site,
    needed: &[String],
    query: Option<&str>,
    request: &str,
) -> Response<Body> {
    let message = "The access token does not cover this request.";
    let mut response = json(StatusCode::FORBIDDEN, "insufficient_scope", message, request);
    if !needed.is_empty() {
        let value = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{}\", resource_metadata=\"{}\"",
            needed.join(" "),
            site.metadata_url_for(query)
        );
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
    }
    response
}

pub(crate) fn redirect(status: StatusCode, location: &str) -> store::Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let location = HeaderValue::try_from(location).map_err(store::Error::internal)?;
    response.headers_mut().insert(LOCATION, location);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A cookie of ours for `seconds`; 0 deletes it.
pub(crate) fn set_cookie(site: &Site, name: &str, value: &str, seconds: u32) -> store::Result<HeaderValue> {
    let secure = if site.secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).map_err(store::Error::internal)
}
