//! A small company, its gateway on a real port, and an origin that remembers what reached it.

use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use axum::{Json, Router};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use gateway::{Gateway, GatewayConfig};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Clock, MasterKey, Purpose, Store, Tx, client, grant, session, user};
use testkit::{CONTROL, START, from_json};
use tokens::{AccessClaims, Act, Keyring};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use wire::*;

/// Runs a test on a fresh world for each engine.
pub(crate) async fn on_each(test: impl AsyncFn(&World)) {
    for (engine, database) in testkit::databases().await {
        // Shown when the test fails.
        println!("on {engine}");
        let world = Box::pin(World::new(&database)).await;
        Box::pin(test(&world)).await;
        world.store.close().await;
        database.remove().await;
    }
}

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    pub(crate) org: OrgId,
    pub(crate) account: Account,
    pub(crate) binding: Binding,
    pub(crate) ada: User,
    pub(crate) carl: User,
    /// A website at `http://wiki.example`, Managed OAuth on.
    pub(crate) wiki: App,
    /// An MCP server at `http://tickets.example/mcp`, Managed OAuth on.
    pub(crate) tickets: App,
    /// A website at `https://notes.example` in another account, Managed OAuth off.
    pub(crate) notes: App,
    pub(crate) origin: Origin,
    pub(crate) http: reqwest::Client,
    pub(crate) address: String,
    instance: Instance,
}

/// What another instance needs.
struct Instance {
    url: String,
    key: MasterKey,
}

/// An agent that was let in.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) grant: GrantId,
    pub(crate) claims: AccessClaims,
    pub(crate) token: String,
}

impl World {
    async fn new(database: &testkit::Database) -> Self {
        let key = MasterKey::generate().unwrap();
        let clock = Clock::manual(START);
        let store = database.open(&key, &clock).await.unwrap();
        let keyring = Keyring::load(&store).await.unwrap();
        let origin = Origin::start(&store).await;
        let mut tx = store.begin().await.unwrap();
        let spec = from_json(json!({ "name": "Acme" }));
        let org = store::org::create(&mut tx, "acme", spec).await.unwrap().id;
        let mut accounts = Vec::new();
        for name in ["Production", "Labs"] {
            let spec = from_json(json!({ "name": name }));
            accounts.push(store::org::create_account(&mut tx, &org, spec).await.unwrap());
        }
        let spec = from_json(json!({
            "name": "Okta", "kind": "oidc", "issuer": "https://idp.example", "client_id": "x",
        }));
        let connection = store::connection::create(&mut tx, &org, None, spec)
            .await
            .unwrap();
        let mut bindings = Vec::new();
        for account in &accounts {
            let ends = (&connection.id, &account.id);
            bindings.push(
                store::binding::create(&mut tx, &org, ends, from_json(json!({})))
                    .await
                    .unwrap(),
            );
        }
        let ada = sign_in(&mut tx, &org, &connection.id, "ada", &["staff"]).await;
        let carl = sign_in(&mut tx, &org, &connection.id, "carl", &["contractors"]).await;
        let mut apps = Vec::new();
        for (account, name, kind, url, managed) in [
            (&accounts[0], "Wiki", "web", "http://wiki.example", true),
            (&accounts[0], "Tickets", "mcp", "http://tickets.example/mcp", true),
            (&accounts[1], "Notes", "web", "https://notes.example", false),
        ] {
            let mut policies = Vec::new();
            for spec in [
                json!({ "name": format!("{name}: health"), "decision": "bypass",
                    "include": [{ "type": "request", "path": "/health" }] }),
                json!({ "name": format!("{name}: no contractors"), "decision": "deny",
                    "include": [{ "type": "claim", "name": "groups", "value": "contractors" }] }),
                json!({ "name": format!("{name}: staff"), "decision": "allow",
                    "include": [{ "type": "claim", "name": "groups", "value": "staff" }],
                    "exclude": [{ "type": "request", "path": "/admin/**" }] }),
            ] {
                let policy: Policy = store::rule::create(&mut tx, &org, &account.id, from_json(spec))
                    .await
                    .unwrap();
                policies.push(policy.id);
            }
            let scopes = if kind == "mcp" {
                json!([
                    { "name": "tickets:read", "description": "Read", "covers": [{ "tools": ["list_*", "get_*"] }] },
                    { "name": "tickets:write", "description": "Write", "covers": [{ "tools": ["close_*"] }] },
                ])
            } else {
                json!([{ "name": "access", "description": "Use", "covers": [{}] }])
            };
            let spec = from_json(json!({
                "name": name, "kind": kind, "public_url": url, "origin_url": origin.url,
                "managed_oauth": managed, "policies": policies, "oauth": { "scopes": scopes },
            }));
            apps.push(
                store::app::create(&mut tx, &org, &account.id, spec)
                    .await
                    .unwrap(),
            );
        }
        tx.changed(store::Change::Config);
        tx.commit_housekeeping().await.unwrap();
        keyring.ensure(&org).await.unwrap();
        let notes = apps.pop().unwrap();
        let tickets = apps.pop().unwrap();
        let wiki = apps.pop().unwrap();
        let address = serve(gateway(&store, &keyring)).await;
        #[expect(clippy::disallowed_methods, reason = "a test plays agent and browser")]
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            clock,
            keyring,
            org,
            account: accounts.remove(0),
            binding: bindings.remove(0),
            ada,
            carl,
            wiki,
            tickets,
            notes,
            origin,
            http,
            address,
            instance: Instance {
                url: database.url.clone(),
                key,
            },
            store,
        }
    }

    /// The address of another instance on the same database.
    pub(crate) async fn other_instance(&self) -> (Store, String) {
        let options = store::Options {
            database_url: &self.instance.url,
            master_key: &self.instance.key,
            clock: self.clock.clone(),
            control_url: CONTROL,
            pools: store::Pools::default(),
        };
        let store = Store::open(options).await.unwrap();
        let keyring = Keyring::load(&store).await.unwrap();
        let address = serve(gateway(&store, &keyring)).await;
        (store, address)
    }

    /// The address of the same gateway with another way to origins, made for where it listens.
    pub(crate) async fn reaching(
        &self,
        reach: impl FnOnce(std::net::SocketAddr) -> gateway::Reach,
    ) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = GatewayConfig {
            store: self.store.clone(),
            keyring: self.keyring.clone(),
            control_url: CONTROL.into(),
        };
        let reach = reach(listener.local_addr().unwrap());
        serve_at(listener, Gateway::with_reach(config, reach))
    }

    /// Runs one operation in a transaction of its own.
    pub(crate) async fn write<T>(&self, operation: impl AsyncFnOnce(&mut Tx) -> store::Result<T>) -> T {
        let mut tx = self.store.begin().await.unwrap();
        let value = Box::pin(operation(&mut tx)).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        value
    }

    /// An agent with a grant and an access token, as the authorization server leaves them.
    pub(crate) async fn agent(&self, user: &User, app: &App, scopes: &[&str]) -> Agent {
        self.agent_by(user, app, scopes, by("pwd")).await
    }

    /// The same, for a grant given by somebody who had signed in like this.
    pub(crate) async fn agent_by(
        &self,
        user: &User,
        app: &App,
        scopes: &[&str],
        authentication: Authentication,
    ) -> Agent {
        let id = ClientId::fresh();
        let new = client::NewClient {
            client_id: id.to_string(),
            id,
            name: "Test agent".into(),
            verified_host: None,
            source: ClientSource::Dynamic,
            tier: ClientTier::Unverified,
            state: ClientState::Active,
            redirect_uris: vec!["http://127.0.0.1/cb".into()],
            auth_method: "none".into(),
            secret_hash: None,
            registration_hash: None,
            metadata: json!({}),
        };
        let place = (&app.account, &app.id);
        let client = self
            .write(async |tx| client::create(tx, &self.org, place, new).await)
            .await
            .client;
        let scopes: Vec<String> = scopes.iter().map(|s| (*s).to_owned()).collect();
        let consent = grant::Consent {
            org: &self.org,
            account: &app.account,
            app: &app.id,
            user: &user.id,
            client: &client.id,
            scopes: &scopes,
            authentication: &said_of(user, authentication),
            expires_at: self.clock.now().plus_seconds(86_400),
        };
        let code = store::random_secret("").unwrap();
        let bound = ("http://127.0.0.1/cb", "challenge", app.spec.public_url.as_str());
        let grant = self
            .write(async |tx| grant::issue(tx, &consent, &code, bound).await)
            .await;
        let now = self.clock.now().seconds();
        let claims = AccessClaims {
            iss: app.issuer.clone(),
            aud: app.spec.public_url.clone(),
            sub: user.id.clone(),
            client_id: client.client_id.clone(),
            scope: scopes.join(" "),
            jti: store::random_secret("").unwrap(),
            iat: now,
            nbf: None,
            exp: now + 900,
            grant: grant.clone(),
            act: Act {
                sub: client.client_id.clone(),
            },
        };
        let token = self.keyring.mint_access(&self.org, &claims).unwrap();
        Agent {
            client,
            grant,
            claims,
            token,
        }
    }

    /// A browser session at an app: the cookie as the browser sends it.
    pub(crate) async fn browser(&self, user: &User, app: &App) -> (SessionId, String) {
        self.browser_by(user, app, by("pwd")).await
    }

    /// The same, for somebody who had signed in like this.
    pub(crate) async fn browser_by(
        &self,
        user: &User,
        app: &App,
        authentication: Authentication,
    ) -> (SessionId, String) {
        let secret = store::random_secret("").unwrap();
        let record = session::Record {
            id: SessionId::fresh(),
            org: Some(self.org.clone()),
            user: Some(user.id.clone()),
            app: Some(app.id.clone()),
            parent: None,
            data: "{}".into(),
            expires_at: self.clock.now().plus_seconds(3600),
            ip: None,
            user_agent: None,
            authentication: said_of(user, authentication),
        };
        let id = record.id.clone();
        self.write(async |tx| session::save(tx, &store::sha256(&secret), &record).await)
            .await;
        (id, format!("{}={secret}", cookie_name(app, "app")))
    }

    /// A request to an app as it is now; `target` begins with its path.
    pub(crate) fn request(&self, method: &str, app: &App, target: &str) -> reqwest::RequestBuilder {
        self.request_at(&self.address, method, app, target)
    }

    pub(crate) fn request_at(
        &self,
        address: &str,
        method: &str,
        app: &App,
        target: &str,
    ) -> reqwest::RequestBuilder {
        let method: http::Method = method.parse().unwrap();
        self.http
            .request(method, format!("http://{address}{target}"))
            .header("host", host(app))
    }

    /// A `POST` of an MCP message to the tickets.
    pub(crate) fn message(&self, agent: &Agent, body: &Value) -> reqwest::RequestBuilder {
        self.request("POST", &self.tickets, "/mcp")
            .bearer_auth(&agent.token)
            .json(body)
    }

    /// Changes an app.
    /// Runs SQL behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        testkit::execute(&self.instance.url, sql).await
    }

    pub(crate) async fn change(&self, app: &App, change: impl FnOnce(&mut AppSpec)) -> App {
        let app = store::app::get(&self.store, &self.org, &app.id).await.unwrap();
        let mut spec = app.spec.clone();
        change(&mut spec);
        self.write(async |tx| store::app::update(tx, &app, spec).await)
            .await
    }

    /// The gateway's events, the newest first.
    pub(crate) async fn events(&self) -> Vec<AuditEvent> {
        self.events_of("gateway.request").await
    }

    /// The events of one kind, the newest first.
    pub(crate) async fn events_of(&self, action: &str) -> Vec<AuditEvent> {
        let filter = store::audit::Filter {
            action: Some(action.into()),
            ..store::audit::Filter::default()
        };
        let order = (store::audit::Order::Newest, None);
        store::audit::list(&self.store, &self.org, &filter, order, 100)
            .await
            .unwrap()
    }

    /// Moves the clock, and waits until the store has read the change feed again.
    pub(crate) async fn advance(&self, seconds: i64) {
        self.clock.advance(seconds);
        eventually("the feed is read", async || self.store.is_current()).await;
    }
}

/// A sign-in by these methods.
pub(crate) fn by(methods: &str) -> Authentication {
    Authentication {
        amr: methods.split(' ').map(ToOwned::to_owned).collect(),
        ..Authentication::default()
    }
}

/// The same, as the word of the connection that somebody comes through.
pub(crate) fn said_of(user: &User, authentication: Authentication) -> Authentication {
    Authentication {
        connection: authentication.connection.or(Some(user.connection.clone())),
        ..authentication
    }
}

/// Waits for something that must come within 5 seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..250 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("within 5 seconds: {what}");
}

pub(crate) fn host(app: &App) -> String {
    app.spec.public_url.split('/').nth(2).unwrap().to_owned()
}

pub(crate) fn cookie_name(app: &App, kind: &str) -> String {
    let prefix = if app.spec.public_url.starts_with("https") {
        "__Host-"
    } else {
        ""
    };
    format!(
        "{prefix}chatelaine_{kind}_{}",
        app.id.to_string().trim_start_matches("app_")
    )
}

pub(crate) async fn sign_in(
    tx: &mut Tx,
    org: &OrgId,
    connection: &ConnectionId,
    name: &str,
    groups: &[&str],
) -> User {
    let identity = user::Identity {
        connection: connection.clone(),
        issuer: "https://idp.example".into(),
        subject: name.into(),
        email: Some(format!("{name}@acme.example")),
        email_verified: true,
        name: Some(name.into()),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        claims: serde_json::Map::new(),
    };
    user::sign_in(tx, org, identity).await.unwrap().user
}

pub(crate) fn gateway(store: &Store, keyring: &Keyring) -> Gateway {
    Gateway::new(GatewayConfig {
        store: store.on(Purpose::Hot),
        keyring: keyring.clone(),
        control_url: CONTROL.into(),
    })
}

async fn serve(gateway: Gateway) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_at(listener, gateway)
}

/// What the binary puts around the gateway.
fn serve_at(listener: TcpListener, gateway: Gateway) -> String {
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let gateway = gateway.clone();
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                let gateway = gateway.clone();
                async move {
                    let text = |name: &str| {
                        request
                            .headers()
                            .get(name)
                            .and_then(|v| v.to_str().ok())
                            .map(ToOwned::to_owned)
                    };
                    let authority = text("host").unwrap_or_default();
                    let audit = AuditRequest {
                        id: text("x-test-id").unwrap_or_else(|| store::random_secret("req_").unwrap()),
                        method: request.method().to_string(),
                        path: request.uri().path().to_owned(),
                        ip: Some(peer.ip().to_string()),
                        user_agent: text("user-agent"),
                    };
                    request.extensions_mut().insert(audit);
                    Ok::<_, Infallible>(gateway.handle(&authority, request.map(Body::new)).await)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades(),
            );
        }
    });
    address
}

/// What reached the origin.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Events that the log held for this request when it arrived.
    pub(crate) recorded: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The claims of the assertion.
    pub(crate) fn assertion(&self) -> Value {
        claims_of(self.header("chatelaine-assertion").unwrap())
    }
}

pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// An app that trusts everybody.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    store: Store,
    /// What `/events` sends.
    pub(crate) events: broadcast::Sender<String>,
    /// What `/upload` has received so far.
    pub(crate) received: Arc<Mutex<Vec<u8>>>,
}

impl Origin {
    async fn start(store: &Store) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            seen: Arc::default(),
            store: store.clone(),
            events: broadcast::Sender::new(16),
            received: Arc::default(),
        };
        let state = origin.clone();
        let router = Router::new().fallback(move |request: Request<Body>| {
            let origin = state.clone();
            async move { origin.answer(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        origin
    }

    /// What arrived since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// How many requests for a target have arrived.
    pub(crate) fn count(&self, target: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.target == target).count()
    }

    pub(crate) fn last(&self) -> Seen {
        self.take().pop().expect("the origin has seen a request")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        // Where many ask, nobody looks.
        if request.uri().path() == "/quick" {
            return Json(json!({})).into_response();
        }
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect();
        let id = headers
            .iter()
            .find(|(n, _)| n == "x-request-id")
            .map(|(_, v)| v.clone());
        let seen = Seen {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            headers,
            recorded: self.recorded(id.as_deref().unwrap_or_default()).await,
        };
        self.seen.lock().unwrap().push(seen.clone());
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/events" => {
                let events = self.events.subscribe();
                let stream = futures_util::stream::unfold(events, |mut events| async {
                    let event = events.recv().await.ok()?;
                    Some((
                        Ok::<_, Infallible>(Bytes::from(format!("data: {event}\n\n"))),
                        events,
                    ))
                });
                ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
            }
            "/upload" => {
                let mut body = request.into_body().into_data_stream();
                let mut size = 0;
                while let Some(Ok(chunk)) = body.next().await {
                    size += chunk.len();
                    self.received
                        .lock()
                        .unwrap()
                        .extend_from_slice(&chunk[..chunk.len().min(16)]);
                }
                Json(json!({ "size": size })).into_response()
            }
            // Answers when an event comes, or never.
            "/poll" => {
                let mut events = self.events.subscribe();
                let event = events.recv().await.unwrap_or_default();
                Json(json!({ "event": event })).into_response()
            }
            // A short body, a byte with each event.
            "/drip" => {
                let events = self.events.subscribe();
                let stream = futures_util::stream::unfold(events, |mut events| async {
                    let event = events.recv().await.ok()?;
                    Some((Ok::<_, Infallible>(Bytes::from(event)), events))
                });
                let headers = [("content-type", "text/plain"), ("content-length", "100")];
                (headers, Body::from_stream(stream)).into_response()
            }
            // Says itself who may read.
            "/shares" | "/mcp/shares" => {
                let headers = [
                    ("access-control-allow-origin", "*"),
                    ("access-control-allow-credentials", "true"),
                    ("access-control-expose-headers", "x-theirs"),
                    ("vary", "accept-encoding"),
                ];
                (headers, Json(json!({}))).into_response()
            }
            "/cookies" => {
                let mut response = Json(json!({})).into_response();
                for value in [
                    "theirs=1; Path=/",
                    "chatelaine_session=evil; Path=/",
                    "__Host-chatelaine_app_x=evil",
                ] {
                    response
                        .headers_mut()
                        .append("set-cookie", value.parse().unwrap());
                }
                response.headers_mut().insert("x-theirs", "1".parse().unwrap());
                response
                    .headers_mut()
                    .insert("alt-svc", "h3=\":443\"".parse().unwrap());
                response
            }
            _ => {
                let body = axum::body::to_bytes(request.into_body(), usize::MAX)
                    .await
                    .unwrap();
                let body = String::from_utf8_lossy(&body).into_owned();
                Json(json!({ "target": seen.target, "body": body })).into_response()
            }
        }
    }

    async fn recorded(&self, request: &str) -> usize {
        // In the log of whatever organisation: the directory knows the only one.
        let Some(org) = self.store.directory().apps().next().map(|view| view.org.clone()) else {
            return 0;
        };
        let filter = store::audit::Filter {
            action: Some("gateway.request".into()),
            ..Default::default()
        };
        let order = (store::audit::Order::Newest, None);
        let events = store::audit::list(&self.store, &org, &filter, order, 100)
            .await
            .unwrap_or_default();
        events
            .iter()
            .filter(|e| e.request.as_ref().is_some_and(|r| r.id == request))
            .count()
    }
}
