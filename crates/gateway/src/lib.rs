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
mod cors;
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
mod visit;
mod watch;
mod wellknown;

use aws_lc_rs::hmac;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cors::Page;
use credential::Credentials;
use forward::Upstream;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};
use outbound::Hop;
use reach::Refused;
use site::Site;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;
use store::{AppView, Store};
use tokens::Keyring;
use visit::Visit;
use wire::{AppId, AuditRequest, Timestamp};

pub use reach::{Dialer, Reach};

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
                    wellknown::Document::ProtectedResource => {
                        Some(site.resource_metadata_for(parts.uri.query()))
                    }
                    wellknown::Document::AuthorizationServer => Some(site.server_metadata()),
                    wellknown::Document::OpenId if view.app.spec.oauth.openid => Some(site.server_metadata()),
                    wellknown::Document::OpenId | wellknown::Document::Other => None,
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
        let page = Page::of(&site, &parts.headers);
        let visit = Visit {
            gateway: self,
            site: Arc::clone(&site),
            audit,
            started,
        };
        let (ended, mut response) = if is_plain {
            visit.serve(parts, body, &page).await?
        } else {
            visit.refuse_path().await?
        };
        page.share(&site, response.headers_mut());
        Ok((ended, response))
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
