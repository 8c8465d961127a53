//! How the API says no: RFC 9457 problems. A handler returns a [`Fault`]; [`render`] turns it into the
//! body, because only it knows the request id.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use wire::{AuditRequest, FieldError, Problem};

/// The problem types, each documented in `docs/API.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Malformed,
    Invalid,
    Unauthenticated,
    Forbidden,
    /// The session is old; its person must prove who they are again.
    ReauthenticationRequired,
    NotFound,
    MethodNotAllowed,
    Conflict,
    /// Somebody else changed it meanwhile: 412 when the caller asked with `If-Match`, 409 otherwise.
    Stale,
    PreconditionRequired,
    /// What is asked for would send a stored secret to somebody else.
    SecretRequired,
    /// The `Idempotency-Key` came with another request before.
    IdempotencyKeyReused,
    /// The first request with this `Idempotency-Key` is not answered yet.
    IdempotencyInProgress,
    TooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl Kind {
    /// Status, last part of the type, title.
    pub(crate) const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Invalid => (
                StatusCode::BAD_REQUEST,
                "invalid",
                "Some values are not acceptable",
            ),
            Self::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "A valid credential is needed",
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The caller may not do this"),
            Self::ReauthenticationRequired => (
                StatusCode::FORBIDDEN,
                "reauthentication-required",
                "Confirm that it is you",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not possible here",
            ),
            Self::Conflict => (
                StatusCode::CONFLICT,
                "conflict",
                "It does not go together with what is there",
            ),
            Self::Stale => (
                StatusCode::PRECONDITION_FAILED,
                "stale",
                "It was changed meanwhile",
            ),
            Self::PreconditionRequired => (
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                "Say which version is to be changed",
            ),
            Self::SecretRequired => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "secret-required",
                "The secret has to be given again",
            ),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key belongs to another request",
            ),
            Self::IdempotencyInProgress => (
                StatusCode::CONFLICT,
                "idempotency-in-progress",
                "The first request with this idempotency key is not answered yet",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The request body is too large",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The request body has the wrong type",
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on the server",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The server cannot answer now",
            ),
        }
    }
}

/// All of them, in the order in which they are documented.
pub(crate) const PROBLEMS: [Kind; 18] = [
    Kind::Malformed,
    Kind::Invalid,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::ReauthenticationRequired,
    Kind::NotFound,
    Kind::MethodNotAllowed,
    Kind::Conflict,
    Kind::IdempotencyInProgress,
    Kind::Stale,
    Kind::TooLarge,
    Kind::UnsupportedMediaType,
    Kind::SecretRequired,
    Kind::IdempotencyKeyReused,
    Kind::PreconditionRequired,
    Kind::TooManyRequests,
    Kind::Internal,
    Kind::Unavailable,
];

impl Kind {
    /// What to do about it, for `/problems`.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Malformed => "The body is not JSON, or a header cannot be read. `detail` says which.",
            Self::Invalid => {
                "A value is unknown, of the wrong type, out of range, or names something that is not there. Each \
                 entry of `errors` points at one: a JSON pointer into the body (of the merged result, for a \
                 patch), or `?name` of a query parameter. Nothing was changed."
            }
            Self::Unauthenticated => {
                "No token or session was sent, or it is wrong, has ended, or comes from an address that it is \
                 not good for; which of these is not told. A good token whose owner has to sign in first is told so \
                 in `detail`, and works again then."
            }
            Self::Forbidden => {
                "Who calls is known, but no role of theirs, or no scope of the token, allows this; or the \
                 dashboard's request lacks its X-CSRF-Token."
            }
            Self::ReauthenticationRequired => {
                "What was asked for does great harm in the wrong hands. Open /login/confirm in the browser, prove \
                 that it is you, and send the request again. API tokens are not asked."
            }
            Self::NotFound => {
                "There is no such thing, or none that the caller may know of: what lies in another organisation, or \
                 in an account without a role, does not exist."
            }
            Self::MethodNotAllowed => "The path exists, the method does not. `Allow` lists those that do.",
            Self::Conflict => {
                "A name or place is taken, something still uses it, or the state does not permit it. `detail` \
                 says what."
            }
            Self::IdempotencyInProgress => {
                "The first request with this Idempotency-Key is still being carried out: wait for Retry-After and \
                 send it again. If it stays so, the server stopped in between: look what was done before you try \
                 again with another key."
            }
            Self::Stale => {
                "It was changed since the version in If-Match (412), or at the same moment (409). Read it again, and \
                 decide whether your change still makes sense."
            }
            Self::TooLarge => "Bodies have 256 KiB at the most.",
            Self::UnsupportedMediaType => {
                "Declare the body as application/json; a PATCH may also be application/merge-patch+json."
            }
            Self::SecretRequired => {
                "The change turns the thing to somebody else, who would get the stored secret. Send the secret that \
                 belongs there in the same request; `errors` says in which member."
            }
            Self::IdempotencyKeyReused => {
                "Another request, or the same to another place, was sent with this Idempotency-Key in the last 24 \
                 hours; or what you get to see of people has changed since. Take a new key for each thing that you \
                 want done once."
            }
            Self::PreconditionRequired => {
                "The change concerns everybody, so it is not made blindly: read the thing, and send its ETag as \
                 If-Match. `If-Match: *` accepts whatever is there."
            }
            Self::TooManyRequests => {
                "The credential has used up its rate. Wait for Retry-After, in seconds. RateLimit and \
                 RateLimit-Policy on every answer say how much is left."
            }
            Self::Internal => {
                "A fault of the server; nothing was changed. Its log has more under the request_id."
            }
            Self::Unavailable => {
                "The database does not answer, or the server does as much of this kind of work at once as it does \
                 (`detail` says so). Wait for Retry-After and try again."
            }
        }
    }
}

/// A refusal on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    kind: Kind,
    detail: Option<String>,
    errors: Vec<FieldError>,
    /// Goes to the log, never to the caller.
    cause: Option<Arc<store::Error>>,
    /// In seconds.
    retry_after: Option<u64>,
    /// What the log says of it, where the kind does not tell.
    reason: Option<&'static str>,
}

/// What every handler returns.
pub(crate) type Answer<T = Response> = Result<T, Fault>;

impl Fault {
    pub(crate) const fn of(kind: Kind) -> Self {
        Self {
            kind,
            detail: None,
            errors: Vec::new(),
            cause: None,
            retry_after: None,
            reason: None,
        }
    }

    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::of(kind)
        }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) const fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// The same, of somebody who asked for what is not theirs to have: that is in the log, however it is answered.
    pub(crate) const fn noted(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// A reference in the body to what is not there, or not for the caller: neither the answer nor the log tells which.
    pub(crate) fn no_such(pointer: impl Into<String>, noun: &str) -> Self {
        Self::invalid(pointer, format!("no such {noun}")).noted("not_found")
    }

    /// The same, about one value.
    pub(crate) fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }

    /// One value is not acceptable; `pointer` leads to it in the body, or is `?name`.
    pub(crate) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(Kind::Invalid).at(pointer, detail)
    }

    /// A policy, group, floor or scope that does not compile; `root` leads to what was compiled.
    pub(crate) fn compile(root: &str, error: policy::CompileError) -> Self {
        Self::invalid(format!("{root}{}", error.pointer), error.detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, detail)
    }

    pub(crate) const fn not_found() -> Self {
        Self::of(Kind::NotFound)
    }

    pub(crate) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, of a value that is a part of the body: its pointers lead through `root`.
    pub(crate) fn below(mut self, root: &str) -> Self {
        for error in &mut self.errors {
            if !error.pointer.starts_with('?') {
                error.pointer.insert_str(0, root);
            }
        }
        self
    }

    /// As [`Fault::invalid`], when the thing that a reference in the body names is not there.
    pub(crate) fn reference(self, pointer: &str, noun: &str) -> Self {
        match self.kind {
            Kind::NotFound => Self::no_such(pointer, noun),
            _ => self,
        }
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        use store::Error;
        match error {
            Error::NotFound(_) => Self::not_found(),
            Error::Conflict(detail) => Self::conflict(detail),
            Error::Stale => Self::of(Kind::Stale),
            Error::Invalid { pointer, detail } => Self::invalid(pointer, detail),
            Error::Forbidden(detail) => Self::forbidden(detail),
            Error::Unavailable(_) => Self {
                cause: Some(Arc::new(error)),
                ..Self::of(Kind::Unavailable).retry_after(2)
            },
            Error::Busy => Self::of(Kind::Unavailable).retry_after(5).noted("busy"),
            Error::Internal(_) => Self {
                cause: Some(Arc::new(error)),
                ..Self::of(Kind::Internal)
            },
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.kind.parts().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives refusals their body, and every answer the headers that all have.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let context = request.extensions().get::<AuditRequest>().cloned();
    let conditional = request.headers().contains_key(header::IF_MATCH);
    let mut response = match &context {
        Some(_) => next.run(request).await,
        // Without it nothing could be attributed.
        None => Fault::of(Kind::Internal).into_response(),
    };
    let fault = response.extensions_mut().remove::<Fault>();
    let fault = match (fault, response.status()) {
        (None, StatusCode::METHOD_NOT_ALLOWED) => Some(Fault::of(Kind::MethodNotAllowed)),
        (fault, _) => fault,
    };
    if let Some(fault) = fault {
        let request_id = context.map(|c| c.id).unwrap_or_default();
        if let Some(cause) = &fault.cause {
            tracing::error!(%request_id, error = %cause, source = ?cause, "the request failed");
        }
        put_problem(&mut response, fault, request_id, conditional);
    }
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn put_problem(response: &mut Response, fault: Fault, request_id: String, conditional: bool) {
    let (mut status, slug, title) = fault.kind.parts();
    if fault.kind == Kind::Stale && !conditional {
        status = StatusCode::CONFLICT;
    }
    let problem = Problem {
        kind: format!("/problems/{slug}"),
        title: title.to_owned(),
        status: status.as_u16(),
        detail: fault.detail,
        errors: fault.errors,
        request_id,
    };
    *response.status_mut() = status;
    *response.body_mut() = serde_json::to_vec(&problem).unwrap_or_default().into();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if fault.kind == Kind::Unauthenticated {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"chatelaine\""),
        );
    }
    if fault.kind == Kind::ReauthenticationRequired {
        let link = HeaderValue::from_static("</login/confirm>; rel=\"reauthenticate\"");
        headers.insert(header::LINK, link);
    }
    let later = matches!(fault.kind, Kind::TooManyRequests | Kind::Unavailable);
    if let Some(seconds) = fault.retry_after.or(later.then_some(2)) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
}
