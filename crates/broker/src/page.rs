//! Pages for people: security headers, the error page, and how failures become one. Only passkeys need
//! script.

use askama::Template;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::borrow::Cow;
use std::sync::Arc;
use wire::AuditRequest;

/// Where the forms of a page may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// Nowhere but here.
    Here,
    /// Anywhere: browsers apply `form-action` to the redirects that follow a form, and sign-in or consent
    /// lead on to apps and agents.
    Anywhere,
}

const POLICY_HERE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'",
);
const POLICY_ANYWHERE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// Puts the headers of a page on an answer; a `Referrer-Policy` that is there already stays.
pub fn secure(response: &mut Response, forms: Forms) {
    let policy = match forms {
        Forms::Here => POLICY_HERE,
        Forms::Anywhere => POLICY_ANYWHERE,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("same-origin"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    );
}

/// Renders a page. Where somebody is to try again later, it says when (RFC 9110 section 10.2.3, RFC 6585 section 4).
pub fn html(status: StatusCode, template: &impl Template, forms: Forms) -> Response {
    let mut response = match template.render() {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (status, kind, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    secure(&mut response, forms);
    let seconds = match status {
        StatusCode::TOO_MANY_REQUESTS => "60",
        StatusCode::SERVICE_UNAVAILABLE => "5",
        _ => return response,
    };
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}

/// Lets a page run our own scripts.
pub(crate) fn with_script(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy = headers.get(header::CONTENT_SECURITY_POLICY);
    let policy = policy.and_then(|policy| policy.to_str().ok()).unwrap_or_default();
    if let Ok(policy) = HeaderValue::try_from(format!("{policy}; script-src 'self'")) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Sends the browser on with `303 See Other`; what it leaves behind is not told where it goes.
#[must_use]
pub fn redirect(location: &str) -> Response {
    let Ok(location) = HeaderValue::try_from(location) else {
        tracing::error!("a redirect cannot be written");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
    request_id: &'a str,
    is_error: bool,
    links: &'a [(&'a str, &'a str)],
}

/// A page that says what went wrong; `request_id` is what to quote to an administrator.
#[must_use]
pub fn error_page(status: StatusCode, title: &str, text: &str, request_id: &str) -> Response {
    let page = Message {
        title,
        text,
        request_id,
        is_error: true,
        links: &[],
    };
    let mut response = html(status, &page, Forms::Here);
    let headers = response.headers_mut();
    // Addresses of failed requests may carry codes.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page that says one thing and links on.
pub(crate) fn notice(title: &str, text: &str, links: &[(&str, &str)]) -> Response {
    let page = Message {
        title,
        text,
        request_id: "",
        is_error: false,
        links,
    };
    html(StatusCode::OK, &page, Forms::Here)
}

/// Why a request of a person gets an error page.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such page, or none for this person.
    NotFound,
    /// A form without, or with somebody else's, CSRF token.
    Csrf,
    /// Anything else that the person should read.
    Told {
        status: StatusCode,
        title: &'static str,
        text: Cow<'static, str>,
    },
    /// The store failed.
    Store(store::Error),
}

impl Failure {
    pub(crate) fn told(status: StatusCode, title: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::Told {
            status,
            title,
            text: text.into(),
        }
    }

    fn words(&self) -> (StatusCode, &str, &str) {
        match self {
            Self::NotFound | Self::Store(store::Error::NotFound(_)) => (
                StatusCode::NOT_FOUND,
                "Not found",
                "There is nothing here, or nothing that you may see.",
            ),
            Self::Csrf => (
                StatusCode::FORBIDDEN,
                "This form is no longer valid",
                "It was sent from elsewhere, or you have signed in or out since it was opened. Go back, \
                 reload the page and try again.",
            ),
            Self::Told { status, title, text } => (*status, title, text),
            Self::Store(store::Error::Unavailable(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not available right now",
                "The server cannot reach its database. Try again in a moment.",
            ),
            Self::Store(store::Error::Busy) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Not available right now",
                "Too many people sign in at this moment. Try again in a few seconds.",
            ),
            Self::Store(store::Error::Conflict(_) | store::Error::Stale) => (
                StatusCode::CONFLICT,
                "Changed meanwhile",
                "Somebody changed this at the same moment. Go back, reload the page and try again.",
            ),
            Self::Store(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong",
                "The server could not do this. If it happens again, tell your administrator.",
            ),
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Failure {
    /// The page itself is written by [`render`], which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.words().0.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Turns failures, and what the framework refuses in plain text, into pages that name the request.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<AuditRequest>().map(|r| r.id.clone());
    let id = id.unwrap_or_default();
    let response = next.run(request).await;
    if let Some(failure) = response.extensions().get::<Arc<Failure>>() {
        let (status, title, text) = failure.words();
        if let Failure::Store(error) = failure.as_ref()
            && status.is_server_error()
        {
            tracing::error!(request = %id, %error, source = ?error, "a page failed");
        }
        return error_page(status, title, text, &id);
    }
    let is_page = response.headers().contains_key(header::CONTENT_SECURITY_POLICY);
    if response.status().is_client_error() && !is_page {
        let text = "The server does not understand this request.";
        return error_page(response.status(), "Bad request", text, &id);
    }
    response
}
