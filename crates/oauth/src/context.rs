//! What every endpoint begins with: the live app of the path, and the request for the log.

use crate::{Oauth, answer::OauthError};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams};
use http::{StatusCode, request::Parts};
use std::sync::Arc;
use store::AppView;
use wire::{AppId, AuditRequest};

/// The app that the path names: it exists, is live, and has Managed OAuth on. Everything else is the same 404.
pub(crate) struct Live(pub(crate) Arc<AppView>);

impl FromRequestParts<Oauth> for Live {
    type Rejection = OauthError;

    async fn from_request_parts(parts: &mut Parts, oauth: &Oauth) -> Result<Self, OauthError> {
        let params = RawPathParams::from_request_parts(parts, oauth)
            .await
            .map_err(|_| OauthError::not_found())?;
        let id = params.iter().find(|(name, _)| *name == "app");
        let id: AppId = id
            .and_then(|(_, text)| text.parse().ok())
            .ok_or_else(OauthError::not_found)?;
        let view = oauth.store.directory().app(&id).cloned();
        view.filter(|view| view.is_live() && view.app.spec.managed_oauth)
            .map(Self)
            .ok_or_else(OauthError::not_found)
    }
}

/// The request as the log describes it; put there by whoever serves this router.
#[derive(Clone)]
pub(crate) struct Request(pub(crate) AuditRequest);

impl Request {
    /// The peer's address, for limits.
    pub(crate) fn address(&self) -> &str {
        self.0.ip.as_deref().unwrap_or("unknown")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Request {
    type Rejection = OauthError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, OauthError> {
        parts
            .extensions
            .get::<AuditRequest>()
            .cloned()
            .map(Self)
            .ok_or_else(|| {
                tracing::error!("a request came without its description for the log");
                OauthError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    "internal error",
                )
            })
    }
}

/// A body, as far as it is not too long.
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = OauthError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, OauthError> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|rejection| {
            let description = "the body is too long or did not arrive in full";
            OauthError::new(rejection.status(), "invalid_request", description)
        })
    }
}
