//! A fresh database with a small company in it, the router around it, and the steps of an agent.

use axum::{Extension, Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use oauth::Oauth;
use outbound::Outbound;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::sync::atomic::{AtomicU32, Ordering};
use store::{Clock, MasterKey, Options, Store};
use tokens::Keyring;
use tower::ServiceExt as _;
use wire::*;

pub(crate) const CONTROL: &str = "https://control.example.com";
pub(crate) const WIKI: &str = "https://wiki.example.com";
pub(crate) const CALLBACK: &str = "http://127.0.0.1:7777/callback";
/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Runs a test on a fresh database of each engine that is there.
pub(crate) async fn on_each(test: impl AsyncFn(&World)) {
    let unique = OrgId::fresh().to_string().replace("org_", "oauth_");
    let folder = std::env::temp_dir().join(&unique);
    std::fs::create_dir(&folder).unwrap();
    println!("on SQLite");
    let url = format!("sqlite:{}", folder.join("store.db").display());
    let world = Box::pin(World::new(&url)).await;
    Box::pin(test(&world)).await;
    world.store.close().await;
    std::fs::remove_dir_all(folder).unwrap();
    if let Ok(server) = std::env::var("TEST_DATABASE_URL") {
        println!("on PostgreSQL");
        on_server(&server, format!("CREATE DATABASE {unique}")).await;
        let (base, options) = server.split_once('?').unwrap_or((&server, ""));
        let base = &base[..base.rfind('/').filter(|at| *at > 12).unwrap_or(base.len())];
        let world = Box::pin(World::new(&format!("{base}/{unique}?{options}"))).await;
        Box::pin(test(&world)).await;
        world.store.close().await;
        on_server(&server, format!("DROP DATABASE {unique} WITH (FORCE)")).await;
    }
}

async fn on_server(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn open(url: &str, key: &MasterKey, clock: &Clock) -> Store {
    let options = Options {
        database_url: url,
        master_key: key,
        clock: clock.clone(),
        control_url: CONTROL,
        pools: store::Pools::default(),
    };
    Store::open(options).await.unwrap()
}

/// The way out of a server whose names lead nowhere: nobody outside is asked.
pub(crate) fn nowhere() -> Outbound {
    let resolver: outbound::Resolver =
        std::sync::Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }));
    Outbound::with_resolver(outbound::Policy::default(), resolver)
}

pub(crate) struct World {
    pub(crate) url: String,
    key: MasterKey,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) keyring: Keyring,
    pub(crate) oauth: Oauth,
    pub(crate) org: OrgId,
    pub(crate) account: AccountId,
    pub(crate) connection: ConnectionId,
    /// Managed OAuth on; staff may use it.
    pub(crate) app: AppId,
    /// The same at another place.
    pub(crate) other_app: AppId,
    /// Managed OAuth off.
    pub(crate) off_app: AppId,
    router: Router,
    requests: AtomicU32,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.json()["error"], code, "{self:?}");
        assert_eq!(self.headers[header::CACHE_CONTROL], "no-store");
    }

    pub(crate) fn location(&self) -> &str {
        self.headers
            .get(header::LOCATION)
            .map_or("", |v| v.to_str().unwrap())
    }

    /// A parameter of the `Location`.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let query = self.location().split_once('?')?.1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The hidden fields of the page's form.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let unescape = |text: &str| {
            let mut text = text.to_owned();
            for (from, to) in [
                ("&#34;", "\""),
                ("&#39;", "'"),
                ("&#60;", "<"),
                ("&#62;", ">"),
                ("&#38;", "&"),
            ] {
                text = text.replace(from, to);
            }
            text
        };
        let inputs = self.body.split("<input type=\"hidden\" name=\"").skip(1);
        inputs
            .map(|input| {
                let (name, rest) = input.split_once("\" value=\"").unwrap();
                let (value, _) = rest.split_once('"').unwrap();
                (unescape(name), unescape(value))
            })
            .collect()
    }
}

/// Somebody's browser.
pub(crate) struct Browser {
    pub(crate) cookie: String,
    pub(crate) user: UserId,
}

impl World {
    /// Another instance on the same database, which strangers may ask as often as they like.
    pub(crate) async fn beside(&self) -> Self {
        self.beside_at(&self.url).await
    }

    /// The same by another way to the database.
    pub(crate) async fn beside_at(&self, url: &str) -> Self {
        self.beside_with(url, |oauth| oauth, nowhere()).await
    }

    /// Another instance with another way out.
    pub(crate) async fn reaching(&self, outbound: Outbound) -> Self {
        self.beside_with(&self.url, |oauth| oauth, outbound).await
    }

    /// Another instance that fetches documents or not.
    pub(crate) async fn fetching(&self, fetching: oauth::Fetching) -> Self {
        self.beside_with(&self.url, |oauth| oauth.fetching(fetching), nowhere())
            .await
    }

    async fn beside_with(&self, url: &str, set: impl FnOnce(Oauth) -> Oauth, outbound: Outbound) -> Self {
        let store = open(url, &self.key, &self.clock).await;
        let keyring = Keyring::load(&store).await.unwrap();
        let many = oauth::Allowance {
            burst: u32::MAX.try_into().unwrap(),
            per_minute: u32::MAX.try_into().unwrap(),
        };
        let limits = oauth::Limits {
            registrations_per_address: many,
            registrations_per_app: many,
            documents_per_address: many,
            updates_per_client: many,
        };
        let oauth = Oauth::new(store.clone(), keyring.clone(), outbound, CONTROL).with_limits(&limits);
        let oauth = set(oauth);
        let router = oauth::router(oauth.clone()).layer(broker::session_layer(&store, CONTROL));
        Self {
            url: self.url.clone(),
            key: MasterKey::parse(&self.key.to_text()).unwrap(),
            clock: self.clock.clone(),
            org: self.org.clone(),
            account: self.account.clone(),
            connection: self.connection.clone(),
            app: self.app.clone(),
            other_app: self.other_app.clone(),
            off_app: self.off_app.clone(),
            requests: AtomicU32::new(0),
            store,
            keyring,
            oauth,
            router,
        }
    }

    async fn new(url: &str) -> Self {
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let key = MasterKey::generate().unwrap();
        let store = open(url, &key, &clock).await;
        let mut tx = store.begin().await.unwrap();
        let spec = serde_json::from_value(json!({"name": "Acme"})).unwrap();
        let org = store::org::create(&mut tx, "acme", spec).await.unwrap().id;
        let spec = serde_json::from_value(json!({"name": "Production"})).unwrap();
        let account = store::org::create_account(&mut tx, &org, spec).await.unwrap().id;
        let spec = json!({"name": "Okta", "kind": "oidc", "issuer": "https://idp.example", "client_id": "x"});
        let spec = serde_json::from_value(spec).unwrap();
        let connection = store::connection::create(&mut tx, &org, None, spec)
            .await
            .unwrap()
            .id;
        let spec = serde_json::from_value(json!({})).unwrap();
        store::binding::create(&mut tx, &org, (&connection, &account), spec)
            .await
            .unwrap();
        let spec = json!({
            "name": "Staff", "decision": "allow",
            "include": [{"type": "claim", "name": "groups", "value": "staff"}],
        });
        let spec = serde_json::from_value(spec).unwrap();
        let policy: Policy = store::rule::create(&mut tx, &org, &account, spec).await.unwrap();
        let mut apps = Vec::new();
        for (name, url, on) in [
            ("Wiki", WIKI, true),
            ("Tickets", "https://tickets.example.com/mcp", true),
            ("Off", "https://off.example.com", false),
        ] {
            let spec = json!({
                "name": name, "kind": "web", "public_url": url, "origin_url": "http://127.0.0.1:1",
                "managed_oauth": on, "policies": [policy.id],
                "oauth": {"scopes": [
                    {"name": "read", "description": "Read pages", "covers": [{"methods": ["GET"]}]},
                    {"name": "write", "description": "Change <pages>", "covers": [{}]},
                ]},
            });
            let spec = serde_json::from_value(spec).unwrap();
            apps.push(
                store::app::create(&mut tx, &org, &account, spec)
                    .await
                    .unwrap()
                    .id,
            );
        }
        tx.commit_housekeeping().await.unwrap();
        let keyring = Keyring::load(&store).await.unwrap();
        keyring.ensure(&org).await.unwrap();
        let oauth = Oauth::new(store.clone(), keyring.clone(), nowhere(), CONTROL);
        let router = oauth::router(oauth.clone()).layer(broker::session_layer(&store, CONTROL));
        let [app, other_app, off_app] = apps.try_into().unwrap();
        Self {
            url: url.to_owned(),
            key,
            store,
            clock,
            keyring,
            oauth,
            org,
            account,
            connection,
            app,
            other_app,
            off_app,
            router,
            requests: AtomicU32::new(0),
        }
    }

    // --- requests

    pub(crate) async fn send(&self, request: http::request::Builder, body: impl Into<Body>) -> Answer {
        self.send_from("192.0.2.1", request, body).await
    }

    /// Posts a form from some address.
    pub(crate) async fn from(&self, ip: &str, path: String, fields: &[(&str, &str)]) -> Answer {
        self.send_from(ip, form_request(&path), encode(fields)).await
    }

    async fn send_from(&self, ip: &str, request: http::request::Builder, body: impl Into<Body>) -> Answer {
        let request = request.body(body.into()).unwrap();
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let audit = AuditRequest {
            id: format!("req-{number}"),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            ip: Some(ip.into()),
            user_agent: None,
        };
        let service = self.router.clone().layer(Extension(audit));
        let response = service.oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path), Body::empty()).await
    }

    pub(crate) async fn get_as(&self, browser: &Browser, path: &str) -> Answer {
        let request = Request::get(path).header(header::COOKIE, &browser.cookie);
        self.send(request, Body::empty()).await
    }

    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(form_request(path), encode(fields)).await
    }

    pub(crate) async fn form_basic(
        &self,
        path: &str,
        (id, secret): (&str, &str),
        fields: &[(&str, &str)],
    ) -> Answer {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let request = form_request(path).header(header::AUTHORIZATION, basic);
        self.send(request, encode(fields)).await
    }

    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: &Value,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request, body.to_string()).await
    }

    // --- people

    /// A browser in which somebody is signed in at the control plane.
    pub(crate) async fn sign_in(&self, name: &str, groups: &[&str]) -> Browser {
        self.sign_in_by(name, groups, &["pwd"]).await
    }

    /// The same by these methods.
    pub(crate) async fn sign_in_by(&self, name: &str, groups: &[&str], amr: &[&str]) -> Browser {
        let authentication = wire::Authentication {
            amr: amr.iter().map(ToString::to_string).collect(),
            ..wire::Authentication::default()
        };
        self.sign_in_as(name, groups, authentication).await
    }

    /// The same, with all that the connection said of it.
    pub(crate) async fn sign_in_as(
        &self,
        name: &str,
        groups: &[&str],
        said: wire::Authentication,
    ) -> Browser {
        let authentication = wire::Authentication {
            connection: Some(self.connection.clone()),
            ..said
        };
        let mut tx = self.store.begin().await.unwrap();
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let identity = store::user::Identity {
            connection: self.connection.clone(),
            issuer: "https://idp.example".into(),
            subject: name.into(),
            email: Some(format!("{name}@acme.example")),
            email_verified: true,
            name: Some(name.into()),
            claims: serde_json::Map::from_iter([("groups".to_owned(), json!(groups))]),
            groups,
        };
        let person = store::user::sign_in(&mut tx, &self.org, identity).await.unwrap();
        let cookie = tower_sessions::session::Id::default();
        let session = SessionId::fresh();
        let until = self.clock.now().plus_seconds(12 * 3600);
        let login = json!({"login": {
            "session": session, "user": person.user.id, "org": self.org, "until": until,
            "authentication": authentication, "ip": null, "user_agent": null,
        }});
        let record = store::session::Record {
            id: session,
            org: Some(self.org.clone()),
            user: Some(person.user.id.clone()),
            app: None,
            parent: None,
            data: login.to_string(),
            expires_at: until,
            ip: None,
            user_agent: None,
            authentication,
        };
        store::session::save(&mut tx, &store::sha256(cookie.to_string()), &record)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let name = broker::cookie_name(CONTROL);
        Browser {
            cookie: format!("{name}={cookie}"),
            user: person.user.id,
        }
    }

    pub(crate) async fn employee(&self) -> Browser {
        self.sign_in("ada", &["staff"]).await
    }

    // --- steps of an agent

    pub(crate) fn path(&self, endpoint: &str) -> String {
        format!("/oauth/{}/{endpoint}", self.app)
    }

    pub(crate) fn issuer(&self) -> String {
        format!("{CONTROL}/oauth/{}", self.app)
    }

    /// Registers a public client and says its `client_id`.
    pub(crate) async fn register(&self) -> String {
        let metadata = json!({
            "client_name": "Test agent", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
        });
        self.register_with(&metadata).await["client_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn register_with(&self, metadata: &Value) -> Value {
        let answer = self
            .json(Method::POST, &self.path("register"), None, metadata)
            .await;
        answer.expect(201).json()
    }

    /// The address of a good authorization request, with parameters changed (`""` takes one out).
    pub(crate) fn authorize(&self, client_id: &str, changed: &[(&str, &str)]) -> String {
        let mut fields = vec![
            ("client_id", client_id),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("state", "st&te"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", WIKI),
        ];
        for (name, value) in changed {
            fields.retain(|(n, _)| n != name);
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        format!("{}?{}", self.path("authorize"), encode(&fields))
    }

    /// Answers the consent page of an authorization request.
    pub(crate) async fn consent(&self, browser: &Browser, url: &str, decision: &str) -> Answer {
        let page = self.get_as(browser, url).await.expect(200);
        let mut fields = page.fields();
        fields.push(("decision".into(), decision.into()));
        self.decide(browser, &fields).await
    }

    pub(crate) async fn decide(&self, browser: &Browser, fields: &[(String, String)]) -> Answer {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let request = form_request(&self.path("authorize"))
            .header(header::COOKIE, &browser.cookie)
            .header("sec-fetch-site", "same-origin");
        self.send(request, encode(&fields)).await
    }

    /// A code for a client, with all scopes.
    pub(crate) async fn code(&self, browser: &Browser, client_id: &str) -> String {
        let url = self.authorize(client_id, &[]);
        let answer = self.consent(browser, &url, "allow").await.expect(303);
        answer.param("code").unwrap()
    }

    /// Redeems a code, with fields changed (`""` takes one out).
    pub(crate) async fn redeem(&self, client_id: &str, code: &str, changed: &[(&str, &str)]) -> Answer {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", client_id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        for (name, value) in changed {
            fields.retain(|(n, _)| n != name);
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        self.form(&self.path("token"), &fields).await
    }

    pub(crate) async fn refresh(&self, client_id: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", client_id),
        ];
        fields.extend_from_slice(more);
        self.form(&self.path("token"), &fields).await
    }

    /// The whole way to the first tokens.
    pub(crate) async fn tokens(&self, browser: &Browser, client_id: &str) -> Value {
        let code = self.code(browser, client_id).await;
        self.redeem(client_id, &code, &[]).await.expect(200).json()
    }

    // --- what is behind

    pub(crate) async fn change_app(&self, change: impl FnOnce(&mut AppSpec)) {
        let app = store::app::get(&self.store, &self.org, &self.app).await.unwrap();
        let mut spec = app.spec.clone();
        change(&mut spec);
        let mut tx = self.store.begin().await.unwrap();
        store::app::update(&mut tx, &app, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
    }

    /// What the organisation decides about a document.
    pub(crate) async fn decide_about(&self, client_id: &str, spec: Value) -> AgentDocument {
        let spec = serde_json::from_value(spec).unwrap();
        let mut tx = self.store.begin().await.unwrap();
        let made = store::agent_document::create(&mut tx, &self.org, client_id, (spec, None)).await;
        tx.commit_housekeeping().await.unwrap();
        made.unwrap()
    }

    pub(crate) async fn client(&self, client_id: &str) -> Option<store::client::Registered> {
        store::client::by_client_id(&self.store, &self.app, client_id)
            .await
            .unwrap()
    }

    /// What an administrator says of a client.
    pub(crate) async fn say(&self, client_id: &str, tier: ClientTier, state: ClientState) {
        let client = self.client(client_id).await.unwrap().client;
        let spec = ClientSpec { tier, state };
        let mut tx = self.store.begin().await.unwrap();
        store::client::update(&mut tx, &client, &spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
    }

    pub(crate) async fn events(&self, action: &str) -> Vec<AuditEvent> {
        let filter = store::audit::Filter {
            action: Some(action.into()),
            ..Default::default()
        };
        store::audit::list(
            &self.store,
            &self.org,
            &filter,
            (store::audit::Order::Oldest, None),
            200,
        )
        .await
        .unwrap()
    }

    pub(crate) fn claims(&self, access_token: &str) -> tokens::AccessClaims {
        self.keyring
            .verify_access(&self.org, access_token, &self.issuer(), WIKI)
            .unwrap()
    }

    /// Whether the grant behind an access token is in force.
    pub(crate) async fn grant_state(&self, access_token: &str) -> GrantState {
        let id = self.claims(access_token).grant;
        store::grant::get(&self.store, &self.org, &id, self.clock.now())
            .await
            .unwrap()
            .state
    }

    /// Lets time pass, and the store notice that it is still current.
    pub(crate) async fn advance(&self, seconds: i64) {
        self.clock.advance(seconds);
        while !self.store.is_current() {
            self.store.catch_up().await;
        }
    }
}

pub(crate) fn encode(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

pub(crate) fn form_request(path: &str) -> http::request::Builder {
    Request::post(path).header(
        header::CONTENT_TYPE,
        "application/x-www-form-urlencoded;charset=UTF-8",
    )
}
