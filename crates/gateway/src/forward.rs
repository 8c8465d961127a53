//! The way to the origin and back: HTTP/1.1 with kept connections, no redirects, bodies streamed both
//! ways, WebSockets passed through.

use crate::credential::{By, Known, Minted, Under};
use crate::headers;
use crate::reach::{Connector, Reach, Refused};
use crate::site::Site;
use crate::watch::{End, Wait, Watch};
use crate::{Ended, answer};
use aws_lc_rs::digest;
use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use outbound::{HOP, Hop};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls_platform_verifier::BuilderVerifierExt;
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use store::AppView;
use tokens::{Act, AssertionClaims, Keyring};
use wire::{AppKind, Timestamp, User};

/// Shorter than what usual origins keep.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Life of an assertion, in seconds, and for how long the same one is sent.
const ASSERTION_LIFE: i64 = 60;
const ASSERTION_REUSE: i64 = 30;

const ASSERTION: HeaderName = HeaderName::from_static("chatelaine-assertion");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PLAIN: [HeaderName; 3] = [
    HeaderName::from_static("x-chatelaine-user"),
    HeaderName::from_static("x-chatelaine-email"),
    HeaderName::from_static("x-chatelaine-groups"),
];

/// Sets of opened networks that connections are kept for at the most.
const OPENED: usize = 64;

/// Connections to origins.
pub(crate) struct Upstream {
    reach: Reach,
    hop: Hop,
    /// For organisations that opened nothing.
    usual: Way,
    /// By what they opened: a connection that one may have must not serve another.
    special: Mutex<HashMap<Arc<[IpNet]>, Arc<Way>>>,
}

/// Connections that were opened under the same rules.
struct Way {
    connector: Connector,
    plain: Clients<Connector>,
    /// Made when first needed: it reads the system's certificates.
    tls: OnceLock<Result<Clients<HttpsConnector<Connector>>, rustls::Error>>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Two ways to the same origins.
struct Clients<C> {
    /// By a connection that is there already, if there is one.
    pooled: Client<C, Body>,
    /// By a new one, after another turned out to be dead.
    fresh: Client<C, Body>,
}

impl<C> Clients<C>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    fn new(connector: C) -> Self {
        let client = |idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(idle)
                .build(connector.clone())
        };
        Self {
            pooled: client(1024),
            fresh: client(0),
        }
    }

    /// Sends a request, once more where the origin closed the connection instead of an answer and nothing is done twice
    /// by it (RFC 9112, section 9.3.1).
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        let again = may_be_repeated(&request).then(|| {
            let mut again = Request::new(Body::empty());
            again.method_mut().clone_from(request.method());
            again.uri_mut().clone_from(request.uri());
            again.headers_mut().clone_from(request.headers());
            again
        });
        match (self.pooled.request(request).await, again) {
            (Err(error), Some(again)) if was_closed(&error) => Ok(self.fresh.request(again).await?),
            (sent, _) => Ok(sent?),
        }
    }
}

fn may_be_repeated(request: &Request<Body>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && request.body().is_end_stream()
}

/// Whether the other side closed the connection before it answered.
fn was_closed(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            return matches!(
                error.kind(),
                ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof
            );
        }
        cause = error.source();
    }
    false
}

impl Way {
    fn new(reach: &Reach, opened: &Arc<[IpNet]>) -> Self {
        let connector = Connector {
            reach: reach.clone(),
            opened: Arc::clone(opened),
        };
        Self {
            plain: Clients::new(connector.clone()),
            tls: OnceLock::new(),
            connector,
        }
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failed> {
        if request.uri().scheme() != Some(&Scheme::HTTPS) {
            return self.plain.send(request).await;
        }
        match self.tls.get_or_init(|| tls_clients(self.connector.clone())) {
            Ok(clients) => clients.send(request).await,
            Err(error) => Err(error.clone().into()),
        }
    }
}

impl Upstream {
    pub(crate) fn new(reach: Reach, hop: Hop) -> Self {
        Self {
            usual: Way::new(&reach, &Arc::default()),
            special: Mutex::default(),
            reach,
            hop,
        }
    }

    async fn send(
        &self,
        request: Request<Body>,
        opened: &Arc<[IpNet]>,
    ) -> Result<Response<Incoming>, Failed> {
        if opened.is_empty() {
            return self.usual.send(request).await;
        }
        let way = {
            let mut special = self.special.lock().unwrap_or_else(PoisonError::into_inner);
            if special.len() >= OPENED && !special.contains_key(opened) {
                special.clear();
            }
            let way = special.entry(Arc::clone(opened));
            Arc::clone(way.or_insert_with(|| Arc::new(Way::new(&self.reach, opened))))
        };
        way.send(request).await
    }
}

fn tls_clients(connector: Connector) -> Result<Clients<HttpsConnector<Connector>>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Clients::new(connector))
}

/// A request that was let through.
pub(crate) struct Passage {
    pub(crate) site: Arc<Site>,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    pub(crate) request_id: String,
    /// The peer's address, as the outer layer found it.
    pub(crate) peer: Option<String>,
    /// Headers about the caller; none for strangers.
    pub(crate) minted: Option<Arc<Minted>>,
    pub(crate) watch: Arc<Watch>,
}

/// What came of it.
pub(crate) struct Sent {
    pub(crate) response: Response<Body>,
    /// Who gave the answer.
    pub(crate) ended: Ended,
    /// Why the origin was not even tried.
    pub(crate) refused: Option<Refused>,
}

impl Sent {
    const fn answered(response: Response<Body>) -> Self {
        Self {
            response,
            ended: Ended::Forwarded,
            refused: None,
        }
    }

    /// The origin has not answered, and is not waited for any more.
    fn ended(end: End, request_id: &str) -> Self {
        let (status, error, message, ended) = match end {
            End::Access => (
                StatusCode::FORBIDDEN,
                "access_ended",
                "Access ended while the app was asked.",
                Ended::Denied,
            ),
            End::Silence => (
                StatusCode::GATEWAY_TIMEOUT,
                "origin_silent",
                "The app did not answer in time.",
                Ended::OriginFailed,
            ),
        };
        Self {
            response: answer::json(status, error, message, request_id),
            ended,
            refused: None,
        }
    }

    /// The client's body broke off, or was not framed as it should be.
    fn broken(request_id: &str) -> Self {
        let message = "The body of the request came to no proper end.";
        Self {
            response: answer::json(StatusCode::BAD_REQUEST, "invalid_request", message, request_id),
            ended: Ended::Denied,
            refused: None,
        }
    }

    fn failed(request_id: &str) -> Self {
        Self {
            response: bad_gateway(request_id),
            ended: Ended::OriginFailed,
            refused: None,
        }
    }

    fn refused(why: Refused, request_id: &str) -> Self {
        let response = match why {
            Refused::Own => answer::loop_detected(request_id),
            Refused::Special(_) => answer::json(
                StatusCode::BAD_GATEWAY,
                "origin_refused",
                "The app lies at an address that is not forwarded to.",
                request_id,
            ),
        };
        Self {
            response,
            ended: Ended::OriginFailed,
            refused: Some(why),
        }
    }
}

/// Sends it and brings the answer back.
pub(crate) async fn forward(upstream: &Upstream, passage: Passage) -> Sent {
    let Passage {
        site,
        mut parts,
        body,
        request_id,
        peer,
        minted,
        watch,
    } = passage;
    let upgrade = wanted_upgrade(&site, &mut parts);
    let accept = parts.headers.get(SEC_WEBSOCKET_KEY).map(accept_of);
    let had_length = parts.headers.contains_key(CONTENT_LENGTH);
    let hop = upstream.hop.onward(&parts.headers);
    let mut headers = headers::to_origin(std::mem::take(&mut parts.headers));
    if upgrade.is_some() {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let ours = Ours {
        hop,
        request_id: &request_id,
        peer: peer.as_deref(),
        minted: minted.as_deref(),
    };
    let Some(request) = outgoing(&site, parts, headers, &ours) else {
        return Sent::failed(&request_id);
    };
    let request = with_framing(request.map(|()| watch.guard_upload(body)), had_length);
    let sent = tokio::select! {
        biased;
        sent = upstream.send(request, &site.opened) => sent,
        end = Arc::clone(&watch).ended(Wait::Answer) => return Sent::ended(end, &request_id),
    };
    let mut response = match (sent, watch.end()) {
        (Ok(response), _) => response,
        // The upload was cut.
        (Err(_), Some(end)) => return Sent::ended(end, &request_id),
        (Err(_), None) if watch.is_broken() => return Sent::broken(&request_id),
        (Err(error), None) => {
            tracing::warn!(app = %site.view.app.id, %error, source = ?error.source(), "the origin did not answer");
            return match Refused::behind(&*error) {
                Some(why) => Sent::refused(why, &request_id),
                None => Sent::failed(&request_id),
            };
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let accepted = response
            .headers()
            .get(SEC_WEBSOCKET_ACCEPT)
            .map(HeaderValue::as_bytes);
        let is_accepted = accept.is_some() && accepted == accept.as_deref().map(str::as_bytes);
        return match upgrade.filter(|_| is_accepted) {
            Some(browser) => Sent::answered(switch(response, browser, watch)),
            None => Sent::failed(&request_id),
        };
    }
    headers::from_origin(response.headers_mut());
    let is_events = response.headers().get(CONTENT_TYPE).is_some_and(|t| {
        t.as_bytes()
            .get(..17)
            .is_some_and(|t| t.eq_ignore_ascii_case(b"text/event-stream"))
    });
    let wait = if is_events { Wait::Events } else { Wait::Body };
    Sent::answered(response.map(|body| watch.guard(body, wait)))
}

/// The client's side of a WebSocket (RFC 6455 section 4.1); no other protocol is switched to. Not for MCP:
/// nobody could say what is called through it.
fn wanted_upgrade(site: &Site, parts: &mut Parts) -> Option<OnUpgrade> {
    let wanted = is_websocket(parts) && site.view.app.spec.kind == AppKind::Web;
    parts.extensions.remove::<OnUpgrade>().filter(|_| wanted)
}

pub(crate) fn is_websocket(parts: &Parts) -> bool {
    let mut protocols = parts.headers.get_all(UPGRADE).iter();
    let (first, second) = (protocols.next(), protocols.next());
    let mut options = parts.headers.get_all(CONNECTION).iter();
    parts.method == Method::GET
        && second.is_none()
        && first.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && options.any(|v| {
            let mut options = v.as_bytes().split(|b| *b == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })
}

/// What an origin that speaks the protocol answers to a key (RFC 6455, section 4.2.2).
fn accept_of(key: &HeaderValue) -> String {
    let mut whole = key.as_bytes().to_vec();
    whole.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &whole))
}

/// What the gateway says in headers.
struct Ours<'a> {
    hop: Option<HeaderValue>,
    request_id: &'a str,
    peer: Option<&'a str>,
    minted: Option<&'a Minted>,
}

fn outgoing(site: &Site, parts: Parts, mut headers: HeaderMap, ours: &Ours<'_>) -> Option<Request<()>> {
    let (scheme, authority) = site.origin.clone()?;
    headers.insert(HOST, site.host.clone()?);
    headers.insert(FORWARDED_HOST, site.host.clone()?);
    headers.insert(FORWARDED_PROTO, site.proto.clone());
    headers.insert(REQUEST_ID, HeaderValue::try_from(ours.request_id).ok()?);
    headers.insert(HOP, ours.hop.clone()?);
    if let Some(peer) = ours.peer {
        headers.insert(FORWARDED_FOR, HeaderValue::try_from(peer).ok()?);
    }
    if let Some(minted) = ours.minted {
        headers.insert(ASSERTION, minted.assertion.clone());
        for (name, value) in PLAIN.iter().zip(&minted.plain) {
            if let Some(value) = value {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    Some(request)
}

/// The framing follows from the body as we have it, never from what the client said.
fn with_framing(mut request: Request<Body>, had_length: bool) -> Request<Body> {
    let (name, value) = match request.body().size_hint().exact() {
        Some(0) if !had_length => return request,
        Some(size) => (CONTENT_LENGTH, HeaderValue::from(size)),
        None => (TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
    };
    request.headers_mut().insert(name, value);
    request
}

fn switch(mut response: Response<Incoming>, browser: OnUpgrade, watch: Arc<Watch>) -> Response<Body> {
    let origin = hyper::upgrade::on(&mut response);
    tokio::spawn(async move {
        let (browser, origin) = match tokio::try_join!(browser, origin) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a WebSocket was not established");
                return;
            }
        };
        let (mut browser, mut origin) = (TokioIo::new(browser), TokioIo::new(origin));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut browser, &mut origin) => {}
            _ = watch.ended(Wait::Socket) => {}
        }
    });
    let (mut parts, _) = response.into_parts();
    headers::from_origin(&mut parts.headers);
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts
        .headers
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    Response::from_parts(parts, Body::empty())
}

fn bad_gateway(request_id: &str) -> Response<Body> {
    answer::json(
        StatusCode::BAD_GATEWAY,
        "bad_gateway",
        "The app does not answer.",
        request_id,
    )
}

/// What the origin is told about the caller, made at most every half minute.
///
/// # Errors
/// When there is no key to sign with.
pub(crate) fn mint(
    keyring: &Keyring,
    site: &Site,
    known: &Known,
    now: Timestamp,
) -> store::Result<Arc<Minted>> {
    let is_good = |minted: &Arc<Minted>| now < minted.reuse_until && minted.under.is_now(site, keyring);
    if let Some(minted) = known.minted.load_full().filter(is_good) {
        return Ok(minted);
    }
    let under = Under::now(site, keyring);
    let view = &site.view;
    let subject = match &known.by {
        By::Browser(person, _) | By::Agent(person, _) => Subject::person(view, &person.user),
        By::Service(service) => Subject {
            sub: service.id.to_string(),
            email: None,
            name: Some(service.name.clone()),
            groups: Vec::new(),
        },
    };
    let agent = known.agent();
    let claims = AssertionClaims {
        iss: site.issuer.clone(),
        aud: view.resource().to_owned(),
        sub: subject.sub,
        actor: known.actor(),
        email: subject.email,
        name: subject.name,
        groups: subject.groups,
        act: agent.map(|a| Act {
            sub: a.client.client_id.clone(),
        }),
        client: agent.map(|a| a.client.id.clone()),
        grant: agent.map(|a| a.grant.clone()),
        scope: agent.map(|a| a.scopes.join(" ")),
        iat: now.seconds(),
        exp: now.seconds() + ASSERTION_LIFE,
        jti: store::random_secret("")?,
    };
    let mut assertion =
        HeaderValue::try_from(keyring.mint_assertion(&view.org, &claims)?).map_err(store::Error::internal)?;
    assertion.set_sensitive(true);
    let plain = if view.app.spec.identity_headers {
        let groups: Vec<_> = claims.groups.iter().map(|group| plain(group)).collect();
        [
            HeaderValue::try_from(plain(&claims.sub)).ok(),
            claims
                .email
                .as_deref()
                .and_then(|email| HeaderValue::try_from(plain(email)).ok()),
            (!groups.is_empty())
                .then(|| HeaderValue::try_from(groups.join(",")).ok())
                .flatten(),
        ]
    } else {
        [None, None, None]
    };
    let minted = Arc::new(Minted {
        under,
        reuse_until: now.plus_seconds(ASSERTION_REUSE),
        assertion,
        plain,
    });
    known.minted.store(Some(Arc::clone(&minted)));
    Ok(minted)
}

/// About whom the assertion speaks.
struct Subject {
    sub: String,
    email: Option<String>,
    name: Option<String>,
    groups: Vec<String>,
}

impl Subject {
    /// A person, with the claims that are released in the app's account.
    fn person(view: &AppView, user: &User) -> Self {
        let shown = view.shown(&user.connection);
        Self {
            sub: user.id.to_string(),
            // An address that nobody vouches for must not become somebody's account at the origin.
            email: user.email.clone().filter(|_| user.email_verified && shown.email),
            name: user.name.clone().filter(|_| shown.name),
            groups: if shown.groups {
                user.groups.clone()
            } else {
                Vec::new()
            },
        }
    }
}

/// Percent-encodes what a header cannot carry, and the comma between groups.
fn plain(text: &str) -> String {
    const SET: &AsciiSet = &CONTROLS.add(b',').add(b'%').add(b'"');
    utf8_percent_encode(text, SET).to_string()
}
