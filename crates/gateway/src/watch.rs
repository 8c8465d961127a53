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
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
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
/// What a change may concern looks again at some time within so long: not all that lasts at the same moment.
const SPREAD: Duration = Duration::from_millis(500);
/// How long proving a credential anew may take, with the time until it is its turn.
const PROVEN_WITHIN: Duration = Duration::from_secs(3);
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
    /// An [`End`], once something of it has ended.
    pub(crate) end: AtomicU8,
    /// How many parts of bodies came, either way.
    pub(crate) progress: AtomicU64,
    /// Set when the client's body came to no proper end.
    pub(crate) broken: AtomicBool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    /// The head of the origin's answer.
    Answer,
    /// The rest of it, which has an end.
    Body,
    /// Events, which have none.
    Events,
    /// Messages of a WebSocket; they are not counted, so that none is too late.
    Socket,
}

/// Why something ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// What let it through does not hold any more.
    Access = 1,
    /// Nothing came for longer than the app allows.
    Silence = 2,
}

impl Watch {
    /// Returns when what was let through must end. The questions are made when the first is due, so that what is over
    /// before does not carry them.
    pub(crate) async fn ended(self: Arc<Self>, wait: Wait) -> End {
        // What changes from here on is heard.
        let changes = self.gateway.0.credentials.changes();
        let progress = (self.progress.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(GRACE).await;
        let end = Box::pin(self.ask_again(changes, wait, progress)).await;
        self.end.store(end as u8, Ordering::Relaxed);
        end
    }

    /// Why something of it has ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(End::Access),
            _ => Some(End::Silence),
        }
    }

    /// How often the question is asked, and how long nothing may come.
    fn patience(&self, wait: Wait) -> (Duration, Duration) {
        let limits = &self.view.app.spec.origin_limits;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        match wait {
            Wait::Answer => (TICK, seconds(limits.answer_seconds)),
            Wait::Body => (TICK, seconds(limits.idle_seconds)),
            Wait::Events => (TICK_ENDLESS, seconds(limits.event_seconds)),
            Wait::Socket => (TICK_ENDLESS, Duration::MAX),
        }
    }

    async fn ask_again(
        &self,
        mut changes: watch::Receiver<()>,
        wait: Wait,
        (mut seen, mut since): (u64, Instant),
    ) -> End {
        let (tick, silence) = self.patience(wait);
        let mut unanswered = 0;
        loop {
            match self.still_allowed().await {
                Some(true) => unanswered = 0,
                Some(false) => return End::Access,
                None if unanswered == PATIENCE => return End::Access,
                None => {
                    unanswered += 1;
                    changes.mark_unchanged();
                }
            }
            let now = self.progress.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            let left = silence.saturating_sub(since.elapsed());
            if left.is_zero() {
                return End::Silence;
            }
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return End::Access;
                    }
                    tokio::time::sleep(some_of(SPREAD)).await;
                    // What changed meanwhile is looked at now, too.
                    changes.mark_unchanged();
                }
                () = tokio::time::sleep(tick.min(left)) => {}
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
        // Nor does it go on with a server that is the app's no more.
        if view.app.spec.origin_url != self.view.app.spec.origin_url {
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
            Some(credential) => {
                let proven = gateway.credentials.prove_later(&site, credential, now);
                match tokio::time::timeout(PROVEN_WITHIN, proven).await {
                    Ok(Ok(Ok(known))) => Some(known),
                    Ok(Ok(Err(_))) => return Some(false),
                    Ok(Err(_)) | Err(_) => return None,
                }
            }
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
        self.guard(body, Wait::Answer)
    }

    /// Whether the client's body came to no proper end.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The body, ended when it must.
    pub(crate) fn guard<B>(self: &Arc<Self>, body: B, wait: Wait) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Guarded {
            body,
            watching: Watching::NotYet(0),
            watch: Arc::clone(self),
            wait,
        })
    }
}

/// A part of a time, another one at each call.
fn some_of(time: Duration) -> Duration {
    // Whoever makes hash maps safe from strangers has randomness at hand.
    let random = RandomState::new().build_hasher().finish();
    time.mul_f64(f64::from((random >> 48) as u16) / f64::from(u16::MAX))
}

struct Guarded<B> {
    body: B,
    watch: Arc<Watch>,
    wait: Wait,
    watching: Watching,
}

enum Watching {
    /// So far it came without being waited for, in so many frames.
    NotYet(u8),
    Until(Pin<Box<dyn Future<Output = End> + Send>>),
    Ended(End),
}

impl<B> Guarded<B> {
    fn end(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if let Watching::Until(ended) = &mut self.watching
            && let Poll::Ready(end) = ended.as_mut().poll(cx)
        {
            self.watching = Watching::Ended(end);
        }
        match self.watching {
            Watching::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Begins to watch where the body turns out to last.
    fn note(&mut self, waits: bool, cx: &mut Context<'_>) {
        if !waits {
            self.watch.progress.fetch_add(1, Ordering::Relaxed);
        }
        let Watching::NotYet(frames) = &mut self.watching else {
            return;
        };
        *frames += 1;
        if waits || *frames == AT_ONCE {
            let ended = Arc::clone(&self.watch).ended(self.wait);
            let mut ended: Pin<Box<dyn Future<Output = End> + Send>> = Box::pin(ended);
            // So that it wakes the body's reader; it is not over before its grace is.
            let _ = ended.as_mut().poll(cx);
            self.watching = Watching::Until(ended);
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
        match (this.end(cx), this.wait) {
            (None, _) => {}
            // Events have no end, so stopping between two is none too early; anything else was cut.
            (Some(_), Wait::Events) => return Poll::Ready(None),
            (Some(End::Access), _) => return Poll::Ready(Some(Err("access has ended".into()))),
            (Some(End::Silence), _) => return Poll::Ready(Some(Err("nothing came for too long".into()))),
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into);
        this.note(frame.is_pending(), cx);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
