//! Answers of the machine-facing endpoints: JSON, never cached, errors as in RFC 6749 section 5.2.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// An error as the client sees it.
#[derive(Debug)]
pub(crate) struct OauthError {
    pub(crate) status: StatusCode,
    /// A registered error code.
    pub(crate) code: &'static str,
    /// For the developer of the client; nothing secret.
    pub(crate) description: Cow<'static, str>,
    /// Answer a failed Basic authentication with its challenge.
    pub(crate) challenge: bool,
    /// After how many seconds another attempt makes sense.
    pub(crate) retry_after: Option<u64>,
}

impl OauthError {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            description: description.into(),
            challenge: false,
            retry_after: None,
        }
    }

    pub(crate) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    pub(crate) fn invalid_grant(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_grant", description)
    }

    /// `challenge`: the client tried the Basic scheme.
    pub(crate) fn invalid_client(challenge: bool) -> Self {
        Self {
            challenge,
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "client authentication failed",
            )
        }
    }

    /// The same for an app that does not exist, is disabled, or has Managed OAuth off.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    pub(crate) fn too_many(seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "temporarily_unavailable",
                "too many requests; try again later",
            )
        }
    }

    /// This instance cannot tell at the moment whether it may allow anything.
    pub(crate) fn unavailable() -> Self {
        Self {
            retry_after: Some(2),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "try again in a moment",
            )
        }
    }
}

impl From<store::Error> for OauthError {
    fn from(error: store::Error) -> Self {
        match error {
            // Somebody was faster; the same request has another outcome in a moment.
            store::Error::Conflict(_) | store::Error::Stale | store::Error::Busy => Self::unavailable(),
            store::Error::Unavailable(source) => {
                tracing::error!(error = %source, "the database does not answer");
                Self::unavailable()
            }
            other => {
                tracing::error!(error = %other, source = ?other, "internal error");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    "internal error",
                )
            }
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.code, "error_description": self.description});
        let mut response = no_store(self.status, body);
        let headers = response.headers_mut();
        if self.challenge {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Basic realm="chatelaine", charset="UTF-8""#),
            );
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A JSON answer that no cache keeps.
pub(crate) fn no_store(status: StatusCode, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
