//! Composition: the parts of the product on one set of listeners. Every listener serves every public
//! origin; the request's authority decides whether the control plane or an app's gateway answers.

use crate::background::{Background, write_digests};
use crate::config::Config;
use crate::context::Proxies;
use crate::door::Door;
use crate::{assets, backup, context, observe, proxy, setup, slow};
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::handler::Handler as _;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, StatusCode, header, uri::Authority};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use oauth::Oauth;
use outbound::{Hop, Listeners, Outbound, Policy};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::audit::DigestFile;
use store::{Clock, MasterKey, Purpose, Store, Upgrade};
use tokens::Keyring;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::compression::CompressionLayer;
use wire::AuditRequest;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A server whose listeners are bound.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    oauth: Oauth,
    control: control::Control,
    broker: broker::Broker,
    ask_every: Duration,
    mailer: broker::mail::Mailer,
    digests: DigestFile,
    mark: backup::Keeper,
    listeners: Vec<TcpListener>,
    surface: Arc<Surface>,
    door: Arc<Door>,
    /// Set once it is to stop.
    stopping: Arc<AtomicBool>,
    /// For how long it goes on then as if nothing were.
    drain: Duration,
    shutdown: Duration,
}

/// What answers requests.
struct Surface {
    store: Store,
    control: Router,
    control_authority: String,
    gateway: gateway::Gateway,
    hop: Hop,
    proxies: Proxies,
    untrusted: Arc<proxy::Untrusted>,
    /// Whether the control plane is reached by https only.
    https: bool,
}

impl Server {
    /// Binds the listeners, opens the store, puts the parts together.
    pub(crate) async fn start(config: &Config, key: &MasterKey, clock: Clock) -> anyhow::Result<Self> {
        let mut listeners = Vec::new();
        for address in &config.listen {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
        }
        let is_new = config.needs_database().err();
        let store = setup::open_with(config, key, (clock, Upgrade::Always)).await?;
        if let Some(words) = is_new {
            tracing::warn!("an empty database was made: {words}");
        }
        backup::check(config, &store).await?;
        let digests = config.audit_digest_file();
        let digests = DigestFile::open(digests.clone(), &store)
            .with_context(|| format!("cannot read the audit digests in {}", digests.display()))?;
        let keyring = Keyring::load(&store).await?;
        for org in store::org::all(&store).await? {
            keyring.ensure(&org.id).await?;
        }
        for (org, connection) in setup::sharing_callback(&store).await? {
            tracing::warn!(
                org,
                connection = %connection.id,
                redirect_uri = connection.redirect_uri,
                "a connection has no redirect URI of its own: register this one at its provider, then set callback to own"
            );
        }
        let mut policy = Policy {
            allow: config.allowed()?,
            ..Policy::default()
        };
        let own = listeners.iter().map(TcpListener::local_addr);
        let own = Listeners::new(own.collect::<Result<Vec<_>, _>>()?);
        let hop = gateway::hop(&store);
        policy.listeners = own.clone();
        policy.hop = Some(hop.clone());
        let outbound = Outbound::new(policy);
        let control_url = config.public_url.clone();
        // Who asks at the gate waits for no administrator's question.
        let hot = store.on(Purpose::Hot);
        let oauth = Oauth::new(hot.clone(), keyring.clone(), outbound.clone(), &control_url)
            .fetching(config.metadata_documents.into());
        let mailer = config.mail.mailer(store.clock().clone())?;
        let broker = broker::Broker::new(broker::BrokerConfig {
            store: hot.clone(),
            outbound: outbound.clone(),
            control_url: control_url.clone(),
            mailer: mailer.clone(),
        });
        let api = control::Control::new(control::ControlConfig {
            store: store.clone(),
            keyring: keyring.clone(),
            broker: broker.clone(),
            outbound,
            control_url: control_url.clone(),
            at_once: config.at_once.into(),
        });
        if let Some(concern) = proxy::concern(config) {
            tracing::warn!("{concern}");
        }
        let untrusted = Arc::<proxy::Untrusted>::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let operations = Operations {
            stopping: Arc::clone(&stopping),
            store: store.clone(),
            untrusted: Arc::clone(&untrusted),
            metrics: observe::metrics()?,
            keyring: keyring.clone(),
        };
        let control = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/accounts/{account}/jwks", get(account_jwks))
            .with_state(operations)
            .merge(broker::router(broker.clone()))
            .merge(oauth::router(oauth.clone()))
            .merge(control::router(api.clone()))
            // Only static files are compressed: nothing secret is in them (BREACH).
            .fallback(assets::serve.layer(CompressionLayer::new()))
            .layer(broker::session_layer(&hot, &control_url));
        let url = url::Url::parse(&control_url)?;
        let surface = Surface {
            control,
            control_authority: authority_of(&url),
            gateway: gateway::Gateway::with_reach(
                gateway::GatewayConfig {
                    store: hot,
                    keyring: keyring.clone(),
                    control_url,
                },
                gateway::Reach::system(own),
            ),
            hop,
            proxies: Proxies {
                trusted: config.trusted_proxies.clone(),
                header: config.forwarded_header,
            },
            untrusted,
            https: url.scheme() == "https",
            store: store.clone(),
        };
        Ok(Self {
            store,
            keyring,
            oauth,
            control: api,
            broker,
            ask_every: Duration::from_secs(config.ask_providers_seconds),
            mailer,
            digests,
            mark: backup::Keeper::new(config),
            listeners,
            surface: Arc::new(surface),
            shutdown: Duration::from_secs(config.shutdown_seconds),
            drain: Duration::from_secs(config.drain_seconds),
            stopping,
            door: Arc::new(Door::new(
                config.max_connections,
                config.max_connections_of_one,
                &config.trusted_proxies,
            )),
        })
    }

    /// Serves until `stop`, then lets requests in flight end.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let connections = TaskTracker::new();
        // Whoever sends requests here is told first, and goes elsewhere while they are still answered.
        let closing = CancellationToken::new();
        let (told, drain) = (stop.clone(), self.drain);
        let (stopping, closes) = (Arc::clone(&self.stopping), closing.clone());
        tokio::spawn(async move {
            told.cancelled().await;
            stopping.store(true, Ordering::Relaxed);
            tokio::time::sleep(drain).await;
            closes.cancel();
        });
        let stop = closing;
        for listener in &self.listeners {
            tracing::info!(address = %listener.local_addr()?, "listening");
        }
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| {
                tokio::spawn(accept(
                    listener,
                    (Arc::clone(&self.surface), Arc::clone(&self.door)),
                    connections.clone(),
                    stop.clone(),
                ))
            })
            .collect();
        let digests = Arc::new(Mutex::new(self.digests));
        let background = Background {
            store: self.store.clone(),
            oauth: self.oauth,
            control: self.control,
            broker: self.broker,
            ask_every: self.ask_every,
            digests: Arc::clone(&digests),
            mark: Arc::new(Mutex::new(self.mark)),
        };
        let tasks = background.start(&stop);
        for task in accepting {
            task.await?;
        }
        for task in tasks {
            task.await?;
        }
        connections.close();
        if tokio::time::timeout(self.shutdown, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(connections = connections.len(), "some requests were cut off");
        }
        if tokio::time::timeout(self.shutdown, self.mailer.settled())
            .await
            .is_err()
        {
            tracing::warn!("some mail was not sent");
        }
        // What is still counted is part of the log that the last digest vouches for.
        if let Err(error) = self.store.write_all_folds().await {
            tracing::error!(%error, source = ?error, "counts of the audit log were lost");
        }
        write_digests(&self.store, &digests).await;
        self.store.close().await;
        Ok(())
    }
}

async fn accept(
    listener: TcpListener,
    (surface, door): (Arc<Surface>, Arc<Door>),
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be given back.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(admitted) = door.admit(peer.ip()) else {
            continue;
        };
        // Without it, small answers wait for the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
        let surface = Arc::clone(&surface);
        let service = hyper::service::service_fn(move |request| {
            let surface = Arc::clone(&surface);
            async move { Ok::<_, Infallible>(surface.respond(request, peer).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(admitted.with(stream)), service)
            .with_upgrades();
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

impl Surface {
    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response {
        let around = (self.proxies.trusted.as_slice(), &self.store);
        self.untrusted.look(peer.ip(), request.headers(), around);
        let ip = self.proxies.client(peer.ip(), request.headers());
        if ip.is_none() {
            metrics::counter!("chatelaine_unknown_addresses_total").increment(1);
        }
        let context = context::of(request.method(), request.uri().path(), request.headers(), ip);
        let id = context.id.clone();
        let Some(authority) = authority(&request) else {
            return assets::problem(
                StatusCode::BAD_REQUEST,
                "bad-host",
                "The request names no host, or several",
                id,
            );
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(context);
        // Fail closed: whoever panics has allowed nothing.
        let answer = AssertUnwindSafe(self.dispatch(&authority, request))
            .catch_unwind()
            .await;
        let mut response = answer.unwrap_or_else(|_| {
            tracing::error!(request_id = %id, "panic while answering");
            assets::problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
                id.clone(),
            )
        });
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }

    async fn dispatch(&self, authority: &str, request: Request<Body>) -> Response {
        if authority != self.control_authority {
            if !self.store.directory().at_authority(authority).is_empty() {
                return self.gateway.handle(authority, request.map(slow::for_app)).await;
            }
            // Health checks come by address.
            if !matches!(request.uri().path(), "/healthz" | "/readyz") {
                let id = request_id(&request);
                let title = "No app is published under this host";
                return assets::problem(StatusCode::MISDIRECTED_REQUEST, "unknown-host", title, id);
            }
        }
        // The gateway asks the same of what is for an app.
        if self.hop.is_loop(request.headers()) {
            tracing::warn!("refused: a request that came from this server");
            let id = request_id(&request);
            let title = "The request came from this server";
            return assets::problem(StatusCode::LOOP_DETECTED, "loop-detected", title, id);
        }
        let id = request_id(&request);
        let request = match slow::whole(request).await {
            Ok(request) => request,
            Err(StatusCode::PAYLOAD_TOO_LARGE) => {
                let title = "The body of the request is too large";
                return assets::problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, id);
            }
            Err(status) => {
                let title = "The body of the request broke off, or took longer than 30 seconds";
                return assets::problem(status, "slow-body", title, id);
            }
        };
        let mut response = match self.control.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        // A session that could not be kept: its layer answers without a word.
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR
            && !response.headers().contains_key(header::CONTENT_TYPE)
        {
            let title = "The database takes no writes; nothing was changed";
            response = assets::problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, id);
            let later = HeaderValue::from_static("2");
            response.headers_mut().insert(header::RETRY_AFTER, later);
        }
        if self.https {
            let value = HeaderValue::from_static("max-age=31536000; includeSubDomains");
            response
                .headers_mut()
                .insert(header::STRICT_TRANSPORT_SECURITY, value);
        }
        response
    }
}

fn request_id<B>(request: &Request<B>) -> String {
    let context = request.extensions().get::<AuditRequest>();
    context.map_or_else(String::new, |context| context.id.clone())
}

/// The authority that a request is for, lower case, the schemes' default ports left out.
fn authority<B>(request: &Request<B>) -> Option<String> {
    let text = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut hosts = request.headers().get_all(header::HOST).iter();
            let host = hosts.next()?.to_str().ok()?;
            if hosts.next().is_some() {
                return None;
            }
            host
        }
    };
    let authority: Authority = text.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    Some(match authority.port_u16() {
        None | Some(80 | 443) => host,
        Some(port) => format!("{host}:{port}"),
    })
}

/// The same of a URL.
pub(crate) fn authority_of(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What operators and origins read.
#[derive(Clone)]
struct Operations {
    store: Store,
    untrusted: Arc<proxy::Untrusted>,
    keyring: Keyring,
    metrics: PrometheusHandle,
    stopping: Arc<AtomicBool>,
}

/// Ready, and what somebody should look at; or why not.
async fn ready(State(operations): State<Operations>) -> Response {
    let mut readiness = operations.store.readiness().await;
    if operations.stopping.load(Ordering::Relaxed) {
        readiness.faults.push("the server is being stopped".to_owned());
    }
    if let Some(seen) = operations.untrusted.seen(operations.store.clock().now()) {
        readiness.warnings.push(seen);
    }
    let warnings = readiness
        .warnings
        .iter()
        .map(|words| format!("warning: {words}\n"));
    let warnings: String = warnings.collect();
    if readiness.faults.is_empty() {
        return format!("ready\n{warnings}").into_response();
    }
    let faults: String = readiness
        .faults
        .iter()
        .map(|words| format!("{words}\n"))
        .collect();
    let later = [(header::RETRY_AFTER, "2")];
    let said = format!("not ready\n{faults}{warnings}");
    (StatusCode::SERVICE_UNAVAILABLE, later, said).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    operations.metrics.run_upkeep();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        operations.metrics.render(),
    )
        .into_response()
}

/// The keys with which origins verify assertions.
async fn account_jwks(
    State(operations): State<Operations>,
    axum::extract::Path(account): axum::extract::Path<String>,
    axum::Extension(request): axum::Extension<AuditRequest>,
) -> Response {
    let directory = operations.store.directory();
    let account = account
        .parse()
        .ok()
        .and_then(|id| directory.account(&id).cloned());
    let Some(jwks) = account.and_then(|view| operations.keyring.jwks(&view.org)) else {
        return assets::problem(StatusCode::NOT_FOUND, "not-found", "No such account", request.id);
    };
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json".to_owned()),
        (header::CACHE_CONTROL, "public, max-age=300".to_owned()),
        (header::ETAG, jwks.etag.to_string()),
    ];
    (headers, jwks.body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_read_in_one_way_only() {
        let of = |hosts: &[&str]| {
            let mut request = Request::builder().uri("/x");
            for host in hosts {
                request = request.header("host", *host);
            }
            authority(&request.body(()).unwrap())
        };
        assert_eq!(of(&["Wiki.Example.com"]).as_deref(), Some("wiki.example.com"));
        assert_eq!(of(&["wiki.example.com:443"]).as_deref(), Some("wiki.example.com"));
        assert_eq!(of(&["127.0.0.1:7411"]).as_deref(), Some("127.0.0.1:7411"));
        assert_eq!(of(&["a@b"]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a", "b"]), None);
    }
}
