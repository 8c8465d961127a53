//! Long-lived streams: downloads, uploads, server-sent events, WebSockets. What let them begin is asked
//! again whenever something changed and every few seconds; when it no longer holds, they end.

use crate::Gateway;
use crate::credential::Credential;
use crate::mcp;
use crate::ruling::Asked;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use wire::{Actor, AppId};

/// How often a stream is looked at when nothing seems to have changed.
const TICK: Duration = Duration::from_secs(15);
/// How often in a row the question may stay without answer.
const PATIENCE: u32 = 2;
/// Bodies up to this size, in bytes, are over before it matters.
const SMALL: u64 = 256 * 1024;

/// What let a stream begin.
pub(crate) struct Watch {
    pub(crate) gateway: Gateway,
    pub(crate) app: AppId,
    pub(crate) credential: Option<Credential>,
    pub(crate) stranger: Actor,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) destination: Option<String>,
    pub(crate) mcp: Option<mcp::Asked>,
    pub(crate) ip: Option<IpAddr>,
}

impl Watch {
    /// Returns when the stream must end.
    pub(crate) async fn ended(self: Arc<Self>) {
        let mut changes = self.gateway.0.credentials.changes();
        let mut unanswered = 0;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(TICK) => {}
            }
            match self.still_allowed().await {
                Some(true) => unanswered = 0,
                Some(false) => return,
                None if unanswered == PATIENCE => return,
                None => {
                    unanswered += 1;
                    changes.mark_unchanged();
                }
            }
        }
    }

    async fn still_allowed(&self) -> Option<bool> {
        let gateway = &self.gateway.0;
        let directory = gateway.store.directory();
        let Some(view) = directory.app(&self.app) else {
            return Some(false);
        };
        let site = gateway.site(view);
        if !gateway.credentials.are_current() {
            return None;
        }
        let now = gateway.store.clock().now();
        let known = match &self.credential {
            None => None,
            Some(Credential::Bearer(_)) if !view.app.spec.managed_oauth => return Some(false),
            Some(credential) => match gateway.credentials.prove(&site, credential, now).await {
                Ok(Ok(known)) => Some(known),
                Ok(Err(_)) => return Some(false),
                Err(_) => return None,
            },
        };
        let asked = Asked {
            method: self.method.as_str(),
            path: &self.path,
            destination: self.destination.as_deref(),
            mcp: self.mcp.as_ref(),
            ip: self.ip,
            stranger: self.stranger,
        };
        Some(asked.decide(&site, known.as_deref(), now).allowed)
    }

    /// The body, ended when it must; as it is when it is small.
    pub(crate) fn guard<B>(self: &Arc<Self>, body: B, is_events: bool) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if body.is_end_stream() {
            return Body::empty();
        }
        if body.size_hint().upper().is_some_and(|size| size <= SMALL) {
            return Body::new(body);
        }
        let ended: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(Arc::clone(self).ended());
        Body::new(Guarded {
            body,
            ended: Some(ended),
            is_events,
        })
    }
}

struct Guarded<B> {
    body: B,
    /// None once it said so.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_events: bool,
}

impl<B> HttpBody for Guarded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let over = match &mut this.ended {
            Some(ended) => ended.as_mut().poll(cx).is_ready(),
            None => true,
        };
        if over {
            this.ended = None;
            // Events have no end, so stopping between two is none too early; anything else was cut.
            return Poll::Ready((!this.is_events).then(|| Err("access has ended".into())));
        }
        Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
