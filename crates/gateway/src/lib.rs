//! The data plane: authenticate, decide, record, forward.
//!
//! ```text
//! request ─ path can be read in one way? ─ ours? (/.well-known/oauth-*, /.chatelaine/*) ─┐
//!    │                                                                                   └─> answered here
//!    ▼
//! who calls? ── bearer token, app session or service token, proven once and remembered until the change feed says otherwise
//!    ▼
//! may they?  ── account, app, connection, person, client; the app's policies; the token's scopes
//!    ▼
//! on record  ── allowed and denied alike, durable before the origin sees the first byte
//!    ▼
//! forwarded  ── headers by allow-list, `Chatelaine-Assertion` instead of the credential, bodies streamed
//! ```
//!
//! Whatever goes wrong on the way ends in a refusal: the store does not answer, the change feed is behind,
//! a panic. Nothing of the configuration is computed per request (`Site`), and the warm path touches the
//! database only to write its record, in a commit that many requests share.

mod answer;
mod attempt;
mod credential;
mod forward;
mod headers;
mod mcp;
mod own;
mod reach;
mod reading;
mod record;
mod ruling;
mod shown;
mod site;
mod watch;
mod wellknown;

use aws_lc_rs::hmac;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use credential::{Credential, Credentials, Invalid, Known};
use forward::{Passage, Upstream};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};
use outbound::Hop;
use reach::Refused;
use reading::Read;
use ruling::{Asked, Ruling};
use shown::Shown;
use site::Site;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use store::audit::Unanswered;
use store::{AppView, Store};
use tokens::Keyring;
use watch::Watch;
use wire::{Actor, AppId, AuditRequest, AuditResponse, Reason, Timestamp};

pub use reach::{Dialer, Reach};

/// How old proof and rules may be when a message is decided about, which may have come slowly.
const FRESH: Duration = Duration::from_millis(250);
/// How long proving a credential, or writing a record, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a refused origin is not mentioned again, in seconds.
const REFUSED_AGAIN: i64 = 300;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a gateway is made of.
pub struct GatewayConfig {
    /// Configuration, credentials and the log.
    pub store: Store,
    /// Verifies access tokens, signs assertions.
    pub keyring: Keyring,
    /// The control plane's public URL, without a trailing slash.
    pub control_url: String,
}

/// The gateway. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    store: Store,
    keyring: Keyring,
    control_url: String,
    credentials: Credentials,
    sites: RwLock<HashMap<AppId, Arc<Site>>>,
    upstream: Upstream,
    hop: Hop,
    /// When the log last heard that an origin was refused, by app.
    refused: Mutex<HashMap<AppId, Timestamp>>,
    meter: Meter,
}

/// How a request ended, for the counters.
#[derive(Debug, Clone, Copy)]
enum Ended {
    /// Let through, and answered by the origin.
    Forwarded,
    /// Let through, but the origin did not answer.
    OriginFailed,
    /// Nobody was signed in, or not with a valid credential.
    Challenged,
    Denied,
    /// Answered by the gateway itself.
    Own,
    /// Could not be decided.
    Unavailable,
}

struct Meter {
    ended: [Counter; 6],
    seconds: Histogram,
}

impl Meter {
    fn new() -> Self {
        let counter =
            |outcome: &'static str| counter!("chatelaine_gateway_requests_total", "outcome" => outcome);
        Self {
            ended: [
                counter("forwarded"),
                counter("origin_failed"),
                counter("challenged"),
                counter("denied"),
                counter("own"),
                counter("unavailable"),
            ],
            seconds: histogram!("chatelaine_gateway_seconds"),
        }
    }
}

impl Inner {
    /// What follows from an app's configuration; made anew when the directory holds another view of it.
    fn site(&self, view: &Arc<AppView>) -> Arc<Site> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(&view.app.id)
            && Arc::ptr_eq(&site.view, view)
        {
            return Arc::clone(site);
        }
        drop(sites);
        let site = Arc::new(Site::new(Arc::clone(view), &self.control_url));
        let mut sites = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        // Apps that are gone go when the map has grown to twice what the directory holds.
        if sites.len() > 64 && sites.len() > 2 * self.store.directory().apps().count() {
            sites.clear();
        }
        sites.insert(view.app.id.clone(), Arc::clone(&site));
        site
    }

    /// Notes that an app's origin is none, now and then: each request has its record anyway.
    async fn note_refused(&self, site: &Site, why: Refused) {
        let (id, now) = (&site.view.app.id, self.store.clock().now());
        {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.retain(|_, last| now < last.plus_seconds(REFUSED_AGAIN));
            if refused.contains_key(id) {
                return;
            }
            refused.insert(id.clone(), now);
        }
        if let Err(error) = self.store.record(record::origin_refused(site, why)).await {
            tracing::error!(app = %id, %error, "a refused origin could not be recorded");
        }
    }
}

type Answer = (Ended, Response<Body>);

/// The mark on requests that leave this server, and by which it knows them again.
#[must_use]
pub fn hop(store: &Store) -> Hop {
    let tag = hmac::sign(&store.vault().mac_key("hop"), b"hop");
    Hop::new(&URL_SAFE_NO_PAD.encode(&tag.as_ref()[..12]))
}

impl Gateway {
    /// Begins to follow the change feed. Metrics go to the recorder that is installed by now.
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn new(config: GatewayConfig) -> Self {
        Self::with_reach(config, Reach::default())
    }

    /// As [`Gateway::new`], with its own way to origins.
    #[must_use]
    pub fn with_reach(config: GatewayConfig, reach: Reach) -> Self {
        let GatewayConfig {
            store,
            keyring,
            control_url,
        } = config;
        let hop = hop(&store);
        Self(Arc::new(Inner {
            credentials: Credentials::new(store.clone(), keyring.clone()),
            control_url: control_url.trim_end_matches('/').to_owned(),
            sites: RwLock::default(),
            upstream: Upstream::new(reach, hop.clone()),
            hop,
            refused: Mutex::default(),
            meter: Meter::new(),
            store,
            keyring,
        }))
    }

    /// Answers a request whose `Host` (default port left out, lower case) is `authority`.
    ///
    /// The request's extensions must hold a [`wire::AuditRequest`], which an outer layer makes, and for
    /// WebSockets hyper's `OnUpgrade`.
    pub async fn handle(&self, authority: &str, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let Some(audit) = request.extensions_mut().remove::<AuditRequest>() else {
            tracing::error!("a request without its audit context");
            let message = "The request could not be handled.";
            return answer::json(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message, "");
        };
        let request_id = HeaderValue::try_from(audit.id.as_str());
        let id = audit.id.clone();
        let work = AssertUnwindSafe(self.route(authority, request, audit, started)).catch_unwind();
        let (ended, mut response) = match work.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(request = %id, %error, source = ?error, "refused: access could not be decided");
                (Ended::Unavailable, answer::unavailable(&id))
            }
            Err(_) => {
                tracing::error!(request = %id, "refused: the gateway panicked");
                (Ended::Unavailable, answer::unavailable(&id))
            }
        };
        if let Ok(request_id) = request_id {
            response.headers_mut().insert(REQUEST_ID, request_id);
        }
        self.0.meter.ended[ended as usize].increment(1);
        self.0.meter.seconds.record(started.elapsed());
        response
    }

    async fn route(
        &self,
        authority: &str,
        request: Request<Body>,
        audit: AuditRequest,
        started: Instant,
    ) -> store::Result<Answer> {
        let directory = self.0.store.directory();
        let views = directory.at_authority(authority);
        let (parts, body) = request.into_parts();
        let own = |status, error, message| Ok((Ended::Own, answer::json(status, error, message, &audit.id)));
        let Some(first) = views.first() else {
            return own(StatusCode::NOT_FOUND, "not_found", "There is no app here.");
        };
        // Before anything is asked or answered: whatever it costs would come again and again.
        if self.0.hop.is_loop(&parts.headers) {
            let site = self.0.site(lying_at(views, parts.uri.path()).unwrap_or(first));
            let visit = Visit {
                gateway: self,
                site,
                audit,
                started,
            };
            return visit.refuse_loop().await;
        }
        // A target in absolute form must not name another place than `Host` (RFC 9112 section 3.2.2).
        let elsewhere = parts
            .uri
            .authority()
            .is_some_and(|a| !a.as_str().eq_ignore_ascii_case(authority));
        if elsewhere || matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return own(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "This form of request is not served.",
            );
        }
        let path = parts.uri.path();
        let is_plain = policy::path::is_plain(path);
        if is_plain && let Some(asked) = wellknown::parse(path) {
            let document = asked.app(views).and_then(|view| {
                let site = self.0.site(view);
                match asked.document {
                    wellknown::Document::ProtectedResource => Some(site.resource_metadata()),
                    wellknown::Document::AuthorizationServer => Some(site.server_metadata()),
                    wellknown::Document::Other => None,
                }
            });
            return Ok((Ended::Own, wellknown::answer(&parts.method, document, &audit.id)));
        }
        if is_plain && path.starts_with(own::PREFIX) {
            if !self.0.credentials.are_current() {
                return Ok((Ended::Unavailable, answer::unavailable(&audit.id)));
            }
            let sites: Vec<_> = views.iter().map(|view| self.0.site(view)).collect();
            return Ok((Ended::Own, own::answer(self, &sites, &parts, audit).await?));
        }
        let view = lying_at(views, path);
        // Software that reads the path otherwise finds another app's pages there, which has rules of its own.
        let hidden = hidden_at(views, path, view);
        let is_plain = is_plain && hidden.is_none();
        let view = hidden.or(view);
        let Some(view) = view.or(if is_plain { None } else { Some(first) }) else {
            return own(StatusCode::NOT_FOUND, "not_found", "There is no app here.");
        };
        let site = self.0.site(view);
        drop(directory);
        let visit = Visit {
            gateway: self,
            site,
            audit,
            started,
        };
        if is_plain {
            visit.serve(parts, body).await
        } else {
            visit.refuse_path().await
        }
    }
}

/// The app that a path leads to.
fn lying_at<'v>(views: &'v [Arc<AppView>], path: &str) -> Option<&'v Arc<AppView>> {
    views.iter().find(|view| {
        path.strip_prefix(view.path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The app to whose pages a path leads an origin that reads it in another spelling, when that lies below the one to which
/// it leads as it is written.
fn hidden_at<'v>(
    views: &'v [Arc<AppView>],
    path: &str,
    written: Option<&Arc<AppView>>,
) -> Option<&'v Arc<AppView>> {
    let length = written.map_or(0, |view| view.path.len());
    let mut deeper = views.iter().take_while(|view| view.path.len() > length);
    deeper.find(|view| {
        let case = match view.app.spec.case_insensitive_paths {
            true => policy::Case::Ignored,
            false => policy::Case::Matters,
        };
        policy::lies_below(&view.path, path, case)
    })
}

/// One request for an app.
struct Visit<'g> {
    gateway: &'g Gateway,
    site: Arc<Site>,
    audit: AuditRequest,
    started: Instant,
}

/// Why nobody is known.
#[derive(Debug, Clone, Copy)]
struct Stranger {
    reason: Reason,
    /// They sent wrong service tokens again and again; after so many seconds they may try again.
    wait: Option<i64>,
}

impl From<Reason> for Stranger {
    fn from(reason: Reason) -> Self {
        Self { reason, wait: None }
    }
}

impl Visit<'_> {
    async fn refuse_path(self) -> store::Result<Answer> {
        let ruling = Ruling::denied(Reason::AmbiguousPath);
        let id = self.audit.id.clone();
        self.record(None, &ruling, None).await?;
        Ok((
            Ended::Denied,
            answer::denied(StatusCode::BAD_REQUEST, ruling.reason, &id),
        ))
    }

    /// It came from here.
    async fn refuse_loop(self) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let ruling = Ruling::denied_for(Reason::PolicyDenied, "loop_detected");
        self.record(None, &ruling, None).await?;
        Ok((Ended::Denied, answer::loop_detected(&id)))
    }

    /// More than one credential, and nobody can tell which one counts.
    async fn refuse_ambiguous(self) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let ruling = Ruling::denied_for(Reason::CredentialInvalid, "ambiguous_credentials");
        self.record(None, &ruling, None).await?;
        let message = "A service token is sent alone, once, without another credential.";
        Ok((
            Ended::Denied,
            answer::json(StatusCode::BAD_REQUEST, "invalid_request", message, &id),
        ))
    }

    async fn serve(self, mut parts: Parts, body: Body) -> store::Result<Answer> {
        let gateway = &self.gateway.0;
        if !gateway.credentials.are_current() {
            return Ok((Ended::Unavailable, answer::unavailable(&self.audit.id)));
        }
        let now = gateway.store.clock().now();
        let shown = Shown::of(&parts.headers, &self.site.session_cookie);
        if matches!(shown, Shown::Ambiguous) {
            return self.refuse_ambiguous().await;
        }
        let known = self.prove(&shown, now).await?;
        if let Ok(known) = &known {
            gateway.credentials.note_use(known, self.audit.ip.as_deref(), now);
        }
        let live = self.site.view.is_live();
        if let Err(stranger) = known
            && !(live && self.site.maybe_public)
        {
            let stranger = if live { stranger } else { Reason::Disabled.into() };
            return self.turn_away(&parts, stranger).await;
        }
        let ip = self.audit.ip.as_deref().and_then(|ip| ip.parse().ok());
        let stranger = match shown {
            Shown::One(Credential::Bearer(_)) => Actor::Agent,
            Shown::One(Credential::Service { .. }) | Shown::NoServiceToken => Actor::Service,
            _ => Actor::Browser,
        };
        let began = Instant::now();
        let read = reading::read(&self.site, &mut parts, body, |path| self.is_another_apps(path)).await;
        let (Read { mcp, destination }, body) = match read {
            // Who waits with the end of a message must not have what held at its beginning.
            Ok((_, body)) if began.elapsed() > FRESH => {
                let authority = self.site.view.authority.clone();
                let request = Request::from_parts(parts, body);
                let gateway = self.gateway;
                let again = gateway.route(&authority, request, self.audit, self.started);
                return Box::pin(again).await;
            }
            Ok(read) => read,
            Err(unreadable) => {
                let asked = Asked {
                    method: parts.method.as_str(),
                    path: parts.uri.path(),
                    destination: None,
                    mcp: None,
                    ip,
                    stranger,
                };
                // Strangers learn how to come in, not what is wrong with their message, unless they need not come in.
                if let Err(unknown) = &known
                    && !asked.decide(&self.site, None, now).allowed
                {
                    return self.turn_away(&parts, *unknown).await;
                }
                let answer = unreadable.answer(&self.audit.id);
                let ruling = Ruling::denied_for(Reason::PolicyDenied, unreadable.detail);
                self.record(known.as_deref().ok(), &ruling, None).await?;
                return Ok((Ended::Denied, answer));
            }
        };
        let asked = Asked {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            destination: destination.as_deref(),
            mcp: mcp.as_ref(),
            ip,
            stranger,
        };
        let ruling = asked.decide(&self.site, known.as_deref().ok(), now);
        match (known, ruling.allowed) {
            (Err(stranger), false) => self.turn_away(&parts, stranger).await,
            // Signing in again is all that is missing.
            (Ok(known), false) if ruling.reason.asks_to_sign_in() => {
                self.turn_back(&parts, &known, ruling).await
            }
            (Ok(known), false) => self.deny(&parts, &known, ruling, mcp).await,
            (Ok(known), true) if self.is_foreign_websocket(&parts, &known) => {
                let ruling = Ruling::denied_for(Reason::PolicyDenied, "foreign_websocket");
                self.deny(&parts, &known, ruling, mcp).await
            }
            (known, true) => {
                let (known, credential) = match (known, shown) {
                    (Ok(known), Shown::One(credential)) => (Some(known), Some(credential)),
                    _ => (None, None),
                };
                let watch = Watch {
                    gateway: self.gateway.clone(),
                    view: Arc::clone(&self.site.view),
                    credential,
                    stranger,
                    method: parts.method.clone(),
                    path: parts.uri.path().to_owned(),
                    destination,
                    mcp: mcp.clone(),
                    ip,
                    end: AtomicU8::new(0),
                    progress: AtomicU64::new(0),
                    broken: AtomicBool::new(false),
                };
                self.let_through((parts, body), known.as_deref(), ruling, watch)
                    .await
            }
        }
    }

    /// Whether a path of this host leads to another app, as it is written or as its origin may read it.
    fn is_another_apps(&self, path: &str) -> bool {
        let directory = self.gateway.0.store.directory();
        let views = directory.at_authority(&self.site.view.authority);
        let view = lying_at(views, path);
        let view = hidden_at(views, path, view).or(view);
        view.is_none_or(|view| view.app.id != self.site.view.app.id)
    }

    async fn prove(
        &self,
        shown: &Shown,
        now: wire::Timestamp,
    ) -> store::Result<Result<Arc<Known>, Stranger>> {
        let credential = match shown {
            Shown::Nothing => return Ok(Err(Reason::Unauthenticated.into())),
            Shown::Several | Shown::Ambiguous | Shown::NoServiceToken => {
                return Ok(Err(Reason::CredentialInvalid.into()));
            }
            Shown::One(Credential::Bearer(_)) if !self.site.view.app.spec.managed_oauth => {
                return Ok(Err(Reason::ManagedOauthOff.into()));
            }
            Shown::One(credential) => credential,
        };
        let proven = self.gateway.0.credentials.prove(&self.site, credential, now);
        match tokio::time::timeout(PATIENCE, proven).await {
            Ok(proven) => Ok(proven?.map_err(|invalid| Stranger {
                reason: Reason::CredentialInvalid,
                wait: match invalid {
                    Invalid::Wrong => None,
                    Invalid::TooMany(seconds) => Some(seconds),
                },
            })),
            Err(_) => Err(store::Error::internal("proving a credential took too long")),
        }
    }

    /// Whether a page of another origin opens a WebSocket with the browser's session; browsers let it.
    fn is_foreign_websocket(&self, parts: &Parts, known: &Known) -> bool {
        let own = |v: &HeaderValue| v.as_bytes() == self.site.view.public_origin.as_bytes();
        forward::is_websocket(parts) && known.is_browser() && !parts.headers.get(ORIGIN).is_some_and(own)
    }

    /// Nobody is known: the way in, or none.
    async fn turn_away(self, parts: &Parts, Stranger { reason, wait }: Stranger) -> store::Result<Answer> {
        let (id, ip) = (self.audit.id.clone(), self.audit.ip.clone());
        let (site, store) = (Arc::clone(&self.site), self.gateway.0.store.clone());
        let bears = parts.headers.contains_key(AUTHORIZATION);
        let is_service = shown::has_service_token(&parts.headers);
        if is_service && reason == Reason::CredentialInvalid {
            self.record(None, &Ruling::denied(reason), None).await?;
            return Ok((Ended::Challenged, answer::wrong_service_token(wait, &id)));
        }
        let is_browser = !bears && answer::is_navigation(parts);
        // Nobody is signed in, and for agents there is no way to be.
        let reason = match reason {
            Reason::Unauthenticated if !is_browser && !site.view.app.spec.managed_oauth => {
                Reason::ManagedOauthOff
            }
            other => other,
        };
        self.record(None, &Ruling::denied(reason), None).await?;
        let answer = match reason {
            Reason::Disabled if is_browser => {
                let text = record::words(reason);
                (
                    Ended::Denied,
                    answer::page(&site, StatusCode::FORBIDDEN, "Switched off", text, &id),
                )
            }
            Reason::Disabled => (Ended::Denied, answer::denied(StatusCode::FORBIDDEN, reason, &id)),
            _ if is_browser => {
                let begun = attempt::begin(&store, &site, parts, ip.as_deref());
                (Ended::Challenged, begun.await?)
            }
            _ => (
                Ended::Challenged,
                answer::challenge(&site, reason == Reason::CredentialInvalid && bears, &id),
            ),
        };
        Ok(answer)
    }

    /// Somebody is known whose identity provider has not vouched for them for too long: they are sent to sign in, and
    /// an agent is told that its token is good no more.
    async fn turn_back(self, parts: &Parts, known: &Known, ruling: Ruling) -> store::Result<Answer> {
        let (id, ip) = (self.audit.id.clone(), self.audit.ip.clone());
        let (site, store) = (Arc::clone(&self.site), self.gateway.0.store.clone());
        self.record(Some(known), &ruling, None).await?;
        let answer = if known.is_browser() && answer::is_navigation(parts) {
            attempt::begin(&store, &site, parts, ip.as_deref()).await?
        } else {
            answer::challenge(&site, known.agent().is_some(), &id)
        };
        Ok((Ended::Challenged, answer))
    }

    /// Somebody is known, and may not.
    async fn deny(
        self,
        parts: &Parts,
        known: &Known,
        ruling: Ruling,
        mcp: Option<mcp::Asked>,
    ) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let site = Arc::clone(&self.site);
        self.record(Some(known), &ruling, mcp).await?;
        let response = if ruling.reason == Reason::InsufficientScope {
            answer::insufficient_scope(&site, &ruling.needed, &id)
        } else if known.is_browser() && answer::is_navigation(parts) {
            let text = record::words(ruling.reason);
            answer::page(&site, StatusCode::FORBIDDEN, "Access refused", text, &id)
        } else {
            answer::denied(StatusCode::FORBIDDEN, ruling.reason, &id)
        };
        Ok((Ended::Denied, response))
    }

    async fn let_through(
        self,
        (parts, body): (Parts, Body),
        known: Option<&Known>,
        ruling: Ruling,
        watch: Watch,
    ) -> store::Result<Answer> {
        let gateway = &self.gateway.0;
        let now = gateway.store.clock().now();
        let minted = known
            .map(|known| forward::mint(&gateway.keyring, &self.site, known, now))
            .transpose()?;
        let passage = Passage {
            site: Arc::clone(&self.site),
            parts,
            body,
            request_id: self.audit.id.clone(),
            peer: self.audit.ip.clone(),
            minted,
            watch: Arc::new(watch),
        };
        let started = self.started;
        let mcp = passage.watch.mcp.clone();
        let site = Arc::clone(&self.site);
        let requests = self.record(known, &ruling, mcp).await?;
        // From here on the record is durable, so the origin may see the request.
        let sent = forward::forward(&gateway.upstream, passage).await;
        if let Some(why) = sent.refused {
            gateway.note_refused(&site, why).await;
        }
        let micros = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        for request in requests {
            let seen = AuditResponse {
                status: sent.response.status().as_u16(),
                micros,
            };
            gateway.store.record_response(request, seen);
        }
        Ok((sent.ended, sent.response))
    }

    /// Writes down what was decided, and returns when that is durable. What strangers are refused is counted
    /// where it repeats itself: nobody who is not known decides how long the log gets.
    async fn record(
        self,
        known: Option<&Known>,
        ruling: &Ruling,
        mcp: Option<mcp::Asked>,
    ) -> store::Result<Vec<Unanswered>> {
        let events = record::events(&self.site, known, ruling, self.audit, mcp);
        let store = &self.gateway.0.store;
        let folds = known.is_none() && !ruling.allowed;
        let written = try_join_all(events.into_iter().map(async |event| match folds {
            true => store.record_folded(event).await.map(|()| None),
            false => store.record_request(event).await.map(Some),
        }));
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(written) => Ok(written?.into_iter().flatten().collect()),
            Err(_) => Err(store::Error::internal("writing the record took too long")),
        }
    }
}
