//! Whatever lasts: a request that waits for its answer, downloads, uploads, server-sent events, WebSockets. What let
//! it begin is asked again whenever something changed and every few seconds, until the last byte; when it no longer holds,
//! it ends. What is over within a second costs no more than a timer.

use crate::Gateway;
use crate::credential::Credential;
use crate::mcp;
use crate::ruling::Asked;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use store::AppView;
use tokio::sync::watch;
use wire::Actor;

/// How often what lasts is looked at when nothing seems to have changed: a time may be over.
const TICK: Duration = Duration::from_secs(4);
/// The same for what has no end of its own, and of which there are many: event streams and WebSockets.
const TICK_ENDLESS: Duration = Duration::from_secs(15);
/// How often in a row the question may stay without answer.
const PATIENCE: u32 = 2;
/// How long nothing is asked: most is over by then.
const GRACE: Duration = Duration::from_secs(1);
/// How many frames a body may give in a row, without having to be waited for, before it counts as one that lasts.
const AT_ONCE: u8 = 16;

/// What let a stream begin.
pub(crate) struct Watch {
    pub(crate) gateway: Gateway,
    /// The app, and where it was.
    pub(crate) view: Arc<AppView>,
    pub(crate) credential: Option<Credential>,
    pub(crate) stranger: Actor,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) destination: Option<String>,
    pub(crate) mcp: Option<mcp::Asked>,
    pub(crate) ip: Option<IpAddr>,
    /// Set when it was found not to hold any more.
    pub(crate) over: AtomicBool,
    /// Set when the client's body came to no proper end.
    pub(crate) broken: AtomicBool,
}

impl Watch {
    /// Returns when what was let through must end. The questions are made when the first is due, so that what is over
    /// before does not carry them.
    pub(crate) async fn ended(self: Arc<Self>) {
        self.ended_within(TICK).await;
    }

    /// The same of what has no end of its own.
    pub(crate) async fn endless_ended(self: Arc<Self>) {
        self.ended_within(TICK_ENDLESS).await;
    }

    async fn ended_within(self: Arc<Self>, tick: Duration) {
        // What changes from here on is heard.
        let changes = self.gateway.0.credentials.changes();
        tokio::time::sleep(GRACE).await;
        Box::pin(self.ask_again(changes, tick)).await;
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether something has ended because of it.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    async fn ask_again(&self, mut changes: watch::Receiver<u64>, tick: Duration) {
        let mut unanswered = 0;
        loop {
            match self.still_allowed().await {
                Some(true) => unanswered = 0,
                Some(false) => return,
                None if unanswered == PATIENCE => return,
                None => {
                    unanswered += 1;
                    changes.mark_unchanged();
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(tick) => {}
            }
        }
    }

    async fn still_allowed(&self) -> Option<bool> {
        let gateway = &self.gateway.0;
        let directory = gateway.store.directory();
        let Some(view) = directory.app(&self.view.app.id) else {
            return Some(false);
        };
        // What was let through at one place is not let through at another.
        if (&view.authority, &view.path) != (&self.view.authority, &self.view.path) {
            return Some(false);
        }
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

    /// The client's body, ended when it must.
    pub(crate) fn guard_upload(self: &Arc<Self>, body: Body) -> Body {
        let watch = Arc::clone(self);
        let body = body.map_err(move |error| {
            watch.broken.store(true, Ordering::Relaxed);
            error
        });
        self.guard(body, false)
    }

    /// Whether the client's body came to no proper end.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The body, ended when it must.
    pub(crate) fn guard<B>(self: &Arc<Self>, body: B, is_events: bool) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Guarded {
            body,
            watching: Watching::NotYet(Arc::clone(self), 0),
            is_events,
        })
    }
}

struct Guarded<B> {
    body: B,
    watching: Watching,
    is_events: bool,
}

enum Watching {
    /// So far it came without being waited for, in so many frames.
    NotYet(Arc<Watch>, u8),
    Until(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It has ended.
    Over,
}

impl Watching {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let over = match self {
            Self::NotYet(..) => false,
            Self::Until(ended) => ended.as_mut().poll(cx).is_ready(),
            Self::Over => true,
        };
        if over {
            *self = Self::Over;
        }
        over
    }

    /// Begins where the body turns out to last.
    fn begin(&mut self, waits: bool, is_events: bool, cx: &mut Context<'_>) {
        let Self::NotYet(watch, frames) = self else { return };
        *frames += 1;
        if waits || *frames == AT_ONCE {
            let watch = Arc::clone(watch);
            let mut ended: Pin<Box<dyn Future<Output = ()> + Send>> = match is_events {
                true => Box::pin(watch.endless_ended()),
                false => Box::pin(watch.ended()),
            };
            // So that it wakes the body's reader; it is not over before its grace is.
            let _ = ended.as_mut().poll(cx);
            *self = Self::Until(ended);
        }
    }
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
        if this.watching.is_over(cx) {
            // Events have no end, so stopping between two is none too early; anything else was cut.
            return Poll::Ready((!this.is_events).then(|| Err("access has ended".into())));
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into);
        this.watching.begin(frame.is_pending(), this.is_events, cx);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
