//! Two companies on one server, and somebody who calls the API.

use axum::{Router, body::Body};
use governor::Quota;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use store::{Clock, MasterKey, Store, client, grant, invitation, role_mapping, session, user};
use testkit::{CONTROL, Database, START, from_json};
use tokens::Keyring;
use tower::ServiceExt as _;
use wire::*;

/// Runs a test on a fresh database of each engine.
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
    url: String,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    router: Router,
    pub(crate) acme: Company,
    pub(crate) other: Company,
}

/// One of everything.
pub(crate) struct Company {
    pub(crate) org: OrgId,
    pub(crate) account: Account,
    pub(crate) labs: Account,
    pub(crate) local: Connection,
    pub(crate) connection: Connection,
    pub(crate) binding: Binding,
    /// Another provider, bound nowhere.
    pub(crate) elsewhere: Connection,
    /// From the one to the other; given up.
    pub(crate) migration: ConnectionMigrationId,
    pub(crate) group: Group,
    pub(crate) policy: Policy,
    pub(crate) app: App,
    /// Where the app lies.
    pub(crate) host: HostId,
    /// What it decided about the document of an agent.
    pub(crate) document: DocumentId,
    pub(crate) client: Client,
    pub(crate) grant: GrantId,
    /// An agent that found Managed OAuth off.
    pub(crate) attempt: AgentAttemptId,
    pub(crate) session: SessionId,
    pub(crate) employee: User,
    pub(crate) trial: TrialId,
    pub(crate) invitation: Invitation,
    pub(crate) mapping: RoleMapping,
    pub(crate) owner: Colleague,
    pub(crate) event: EventId,
    pub(crate) service_token: ServiceToken,
    pub(crate) webhook: Webhook,
    pub(crate) delivery: WebhookDeliveryId,
    /// Somebody with a local password and a second factor.
    pub(crate) guarded: UserId,
    pub(crate) factor: FactorId,
}

/// Somebody with a role and a token that may do everything.
pub(crate) struct Colleague {
    pub(crate) user: User,
    pub(crate) member: Member,
    pub(crate) token_id: ApiTokenId,
    pub(crate) token: String,
}

const ALL: [TokenScope; 3] = [TokenScope::Read, TokenScope::Write, TokenScope::Audit];

impl World {
    pub(crate) async fn new(database: &Database) -> Self {
        let key = MasterKey::generate().unwrap();
        let clock = Clock::manual(START);
        let store = database.open(&key, &clock).await.unwrap();
        let keyring = Keyring::load(&store).await.unwrap();
        let acme = Box::pin(Company::new(&store, &keyring, "acme")).await;
        let other = Box::pin(Company::new(&store, &keyring, "other")).await;
        let quota = Quota::per_second(NonZeroU32::new(100_000).unwrap());
        let control = control::Control::with_quota(config(&store, &keyring), quota);
        let router = control::router(control).layer(broker::session_layer(&store, CONTROL));
        Self {
            url: database.url.clone(),
            clock,
            store,
            keyring,
            router,
            acme,
            other,
        }
    }

    /// The same server with another rate limit.
    pub(crate) fn limited_to(&self, per_second: u32) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(per_second).unwrap());
        let control = control::Control::with_quota(config(&self.store, &self.keyring), quota);
        Self {
            url: self.url.clone(),
            clock: self.clock.clone(),
            store: self.store.clone(),
            keyring: self.keyring.clone(),
            router: control::router(control),
            acme: self.acme.same(),
            other: self.other.same(),
        }
    }

    /// The same server with a mail transport that writes into a folder.
    pub(crate) fn mailing(&self, folder: &std::path::Path) -> Self {
        let transport = broker::mail::Transport::File(folder.to_owned());
        let sender = "Chatelaine <no-reply@example.com>";
        let mailer = broker::mail::Mailer::new(&transport, sender, self.clock.clone()).unwrap();
        let config = control::ControlConfig {
            broker: broker::Broker::new(broker::BrokerConfig {
                mailer,
                ..broker_config(&self.store)
            }),
            ..config(&self.store, &self.keyring)
        };
        let router = control::router(control::Control::new(config));
        Self {
            router: router.layer(broker::session_layer(&self.store, CONTROL)),
            ..self.limited_to(1)
        }
    }

    /// The same server with other limits of what costs much.
    pub(crate) fn at_once(&self, at_once: control::AtOnce) -> Self {
        let config = control::ControlConfig {
            at_once,
            ..config(&self.store, &self.keyring)
        };
        let quota = Quota::per_second(NonZeroU32::new(100_000).unwrap());
        let router = control::router(control::Control::with_quota(config, quota));
        Self {
            router: router.layer(broker::session_layer(&self.store, CONTROL)),
            ..self.limited_to(1)
        }
    }

    /// The same server with another way out.
    pub(crate) fn reaching(&self, outbound: outbound::Outbound) -> Self {
        let config = control::ControlConfig {
            outbound,
            ..config(&self.store, &self.keyring)
        };
        let quota = Quota::per_second(NonZeroU32::new(100_000).unwrap());
        let router = control::router(control::Control::with_quota(config, quota));
        Self {
            router: router.layer(broker::session_layer(&self.store, CONTROL)),
            ..self.limited_to(1)
        }
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        testkit::execute(&self.url, sql).await
    }

    /// Somebody new at Acme with this role.
    pub(crate) async fn hire(&self, role: Role, account: Option<&Account>) -> Colleague {
        let org = (&self.acme.org, &self.acme.connection.id);
        hire(&self.store, org, (role, account.map(|a| a.id.clone())), &ALL).await
    }

    /// A request of Acme's owner.
    pub(crate) async fn owner(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call(&self.acme.owner.token, method, path, body).await
    }

    /// Gives Acme's owner a second factor.
    pub(crate) async fn own_factor(&self) {
        add_factor(&self.store, &self.acme.org, &self.acme.owner.user.id).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.owner(Method::GET, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    }

    /// A request with a token; `path` is below `/api/v1`.
    pub(crate) async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if path.starts_with("/organisation") && method == Method::PATCH {
            request = request.header(header::IF_MATCH, "*");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.begin(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        };
        crate::description::assert_described(&method, &path, &answer);
        answer
    }

    /// The answer to a request, its body not read yet.
    pub(crate) async fn begin(&self, mut request: Request<Body>) -> axum::response::Response {
        let context = AuditRequest {
            id: "req-1".into(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            ip: Some("203.0.113.7".into()),
            user_agent: Some("test/1".into()),
        };
        request.extensions_mut().insert(context);
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// The newest event of Acme.
    pub(crate) async fn newest(&self) -> AuditEvent {
        self.newest_by(store::audit::Filter::default()).await
    }

    /// The newest event of an action.
    pub(crate) async fn newest_of(&self, action: &str) -> AuditEvent {
        let action = Some(action.to_owned());
        self.newest_by(store::audit::Filter {
            action,
            ..store::audit::Filter::default()
        })
        .await
    }

    async fn newest_by(&self, filter: store::audit::Filter) -> AuditEvent {
        let order = (store::audit::Order::Newest, None);
        let events = store::audit::list(&self.store, &self.acme.org, &filter, order, 1).await;
        events.unwrap().pop().unwrap()
    }
}

fn broker_config(store: &Store) -> broker::BrokerConfig {
    broker::BrokerConfig {
        store: store.clone(),
        outbound: outbound::Outbound::new(outbound::Policy::default()),
        control_url: CONTROL.to_owned(),
        mailer: broker::mail::Mailer::none(),
    }
}

/// The way out of a server whose names lead nowhere: nobody outside is asked.
fn nowhere() -> outbound::Outbound {
    let resolver: outbound::Resolver =
        std::sync::Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }));
    outbound::Outbound::with_resolver(outbound::Policy::default(), resolver)
}

fn config(store: &Store, keyring: &Keyring) -> control::ControlConfig {
    control::ControlConfig {
        at_once: control::AtOnce::default(),
        store: store.clone(),
        keyring: keyring.clone(),
        broker: broker::Broker::new(broker_config(store)),
        outbound: nowhere(),
        control_url: CONTROL.to_owned(),
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// Refused in the documented form; the pointers of the fields at fault.
    pub(crate) fn refused(&self, status: u16, kind: &str) -> Vec<String> {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: Problem = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem.kind, format!("/problems/{kind}"), "{}", self.text);
        assert_eq!((problem.status, problem.request_id.as_str()), (status, "req-1"));
        problem.errors.into_iter().map(|e| e.pointer).collect()
    }
}

impl Company {
    async fn new(store: &Store, keyring: &Keyring, slug: &str) -> Self {
        let mut tx = store.begin().await.unwrap();
        let spec = from_json(json!({"name": slug}));
        let org = store::org::create(&mut tx, slug, spec).await.unwrap().id;
        let account = async |tx: &mut store::Tx, name: &str| {
            let spec = from_json(json!({"name": name}));
            store::org::create_account(tx, &org, spec).await.unwrap()
        };
        let (production, labs) = (
            account(&mut tx, "Production").await,
            account(&mut tx, "Labs").await,
        );
        let spec = from_json(json!({"name": "Local", "kind": "password"}));
        let local = store::connection::create(&mut tx, &org, None, spec)
            .await
            .unwrap();
        let spec = from_json(json!({
            "name": "Okta", "kind": "oidc", "issuer": "https://idp.example.com", "client_id": "us",
            "client_secret": "canary-upstream",
        }));
        let connection = store::connection::create(&mut tx, &org, None, spec)
            .await
            .unwrap();
        let ends = (&connection.id, &production.id);
        let binding = store::binding::create(&mut tx, &org, ends, from_json(json!({})))
            .await
            .unwrap();
        let spec = from_json(json!({
            "name": "Next provider", "kind": "oidc", "issuer": "https://next-idp.example.com", "client_id": "us",
        }));
        let elsewhere = store::connection::create(&mut tx, &org, None, spec)
            .await
            .unwrap();
        let spec = NewConnectionMigration {
            from: connection.id.clone(),
            to: elsewhere.id.clone(),
            domains: vec!["example.com".into()],
            link_on_sign_in: false,
        };
        let migration = store::migration::create(&mut tx, &org, spec).await.unwrap();
        let migration = store::migration::roll_back(&mut tx, &migration.migration)
            .await
            .unwrap();
        let migration = migration.migration.shown.id;
        let employee = user::sign_in(&mut tx, &org, identity(&connection.id, "ada"))
            .await
            .unwrap()
            .user;
        let spec = from_json(json!({"name": "Staff"}));
        let group: Group = store::rule::create(&mut tx, &org, &production.id, spec)
            .await
            .unwrap();
        let spec =
            from_json(json!({"name": "Everyone", "decision": "allow", "include": [{"type": "everyone"}]}));
        let policy: Policy = store::rule::create(&mut tx, &org, &production.id, spec)
            .await
            .unwrap();
        let spec = from_json(json!({
            "name": "Wiki", "kind": "web", "public_url": format!("https://wiki.{slug}.example.com"),
            "origin_url": "http://10.0.0.1:8080", "policies": [policy.id],
        }));
        let app = store::app::create(&mut tx, &org, &production.id, spec)
            .await
            .unwrap();
        let place = (&production.id, &app.id);
        let client = client::create(&mut tx, &org, place, new_client())
            .await
            .unwrap()
            .client;
        let consent = grant::Consent {
            org: &org,
            account: &production.id,
            app: &app.id,
            user: &employee.id,
            client: &client.id,
            scopes: &["access".into()],
            authentication: &wire::Authentication::default(),
            expires_at: tx.now().plus_seconds(86_400),
        };
        let code = store::sha256(format!("code of {slug}"));
        let grant = grant::issue(
            &mut tx,
            &consent,
            &code,
            ("https://x/cb", "challenge", "https://x"),
        );
        let grant = grant.await.unwrap();
        store::refresh::begin(&mut tx, &grant).await.unwrap();
        let session = SessionId::fresh();
        let row = session::Record {
            id: session.clone(),
            org: Some(org.clone()),
            user: Some(employee.id.clone()),
            app: Some(app.id.clone()),
            parent: None,
            data: "{}".into(),
            expires_at: tx.now().plus_seconds(3600),
            ip: None,
            user_agent: None,
            authentication: wire::Authentication::default(),
        };
        session::save(&mut tx, &store::sha256(session.to_string()), &row)
            .await
            .unwrap();
        let place = (&org, &connection.id);
        let hash = store::sha256(format!("trial of {slug}"));
        let trial = store::trial::create(&mut tx, place, &hash, (TrialState::Failed, vec![])).await;
        let trial = trial.unwrap().id;
        let new = invitation::New {
            email: "bob@example.com".into(),
            account: Some(production.id.clone()),
            role: Role::AccountEditor,
            local: false,
            created_by: None,
            expires_at: tx.now().plus_seconds(86_400),
        };
        let hash = store::sha256(format!("invitation of {slug}"));
        let invitation = invitation::create(&mut tx, &org, new, &hash).await.unwrap();
        let spec = RoleMappingSpec {
            connection: connection.id.clone(),
            group: "Nobody yet".into(),
            account: Some(production.id.clone()),
            role: Role::AccountAuditor,
        };
        let mapping = role_mapping::create(&mut tx, &org, spec).await.unwrap();
        let spec = from_json(json!({"name": "CI"}));
        let secret = store::service_token::SECRET.mint().unwrap();
        let place = (&org, &production.id);
        let service_token = store::service_token::create(&mut tx, place, spec, &secret)
            .await
            .unwrap();
        let spec = from_json(json!({
            "name": "SIEM", "url": "https://siem.example.com/hook", "events": ["*"],
            "enabled": false,
        }));
        let place = (&org, Some(&production.id));
        let webhook = store::webhook::create(&mut tx, place, spec, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .await
            .unwrap();
        let spec = from_json(json!({"decision": "refuse"}));
        let id = "https://refused.example.com/client.json";
        let document = store::agent_document::create(&mut tx, &org, id, (spec, None))
            .await
            .unwrap()
            .id;
        let actor = AuditActor::of(ActorKind::System);
        let mut event = store::audit::event(&org, "system", "organisation.create", actor);
        event.account = Some(production.id.clone());
        let event_id = event.id.clone();
        tx.commit(event).await.unwrap();
        let hosts = store::host::list(store, &org, None, &store::Paging::default()).await;
        let host = hosts.unwrap().remove(0).id;
        keyring.ensure(&org).await.unwrap();
        let stored = store::audit::get(store, &org, &event_id).await.unwrap();
        let delivery = store::webhook::deliver_now(store, &webhook.id, &stored)
            .await
            .unwrap()
            .delivery
            .id;
        let owner = hire(store, (&org, &local.id), (Role::OrgOwner, None), &ALL).await;
        let mut tx = store.begin().await.unwrap();
        let guarded = user::provision(&mut tx, &org, identity(&local.id, "gwen"))
            .await
            .unwrap()
            .user
            .id;
        tx.commit_housekeeping().await.unwrap();
        let factor = add_factor(store, &org, &guarded).await;
        let attempt = challenged(store, &org, &app.id).await;
        Self {
            attempt,
            org,
            account: production,
            labs,
            local,
            connection,
            binding,
            elsewhere,
            migration,
            group,
            policy,
            app,
            host,
            document,
            client,
            grant,
            session,
            employee,
            trial,
            invitation,
            mapping,
            owner,
            event: event_id,
            service_token,
            webhook,
            delivery,
            guarded,
            factor,
        }
    }

    fn same(&self) -> Self {
        Self {
            org: self.org.clone(),
            account: self.account.clone(),
            labs: self.labs.clone(),
            local: self.local.clone(),
            connection: self.connection.clone(),
            binding: self.binding.clone(),
            elsewhere: self.elsewhere.clone(),
            migration: self.migration.clone(),
            group: self.group.clone(),
            policy: self.policy.clone(),
            app: self.app.clone(),
            host: self.host.clone(),
            document: self.document.clone(),
            client: self.client.clone(),
            grant: self.grant.clone(),
            attempt: self.attempt.clone(),
            session: self.session.clone(),
            employee: self.employee.clone(),
            trial: self.trial.clone(),
            invitation: self.invitation.clone(),
            mapping: self.mapping.clone(),
            owner: Colleague {
                user: self.owner.user.clone(),
                member: self.owner.member.clone(),
                token_id: self.owner.token_id.clone(),
                token: self.owner.token.clone(),
            },
            event: self.event.clone(),
            service_token: self.service_token.clone(),
            webhook: self.webhook.clone(),
            delivery: self.delivery.clone(),
            guarded: self.guarded.clone(),
            factor: self.factor.clone(),
        }
    }
}

/// Gives a person an authenticator app.
pub(crate) async fn add_factor(store: &Store, org: &OrgId, user: &UserId) -> FactorId {
    let new = store::factor::New {
        kind: FactorKind::Totp,
        name: "Phone",
        secret: b"canary-totp-key-0123",
        credential: None,
        counter: 0,
    };
    let mut tx = store.begin().await.unwrap();
    let factor = store::factor::add(&mut tx, org, user, new).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    factor.id
}

/// Somebody with a role and a token with these scopes.
pub(crate) async fn hire(
    store: &Store,
    (org, connection): (&OrgId, &ConnectionId),
    (role, account): (Role, Option<AccountId>),
    scopes: &[TokenScope],
) -> Colleague {
    let subject = OrgId::fresh().to_string();
    let mut tx = store.begin().await.unwrap();
    let user = user::sign_in(&mut tx, org, identity(connection, &subject))
        .await
        .unwrap()
        .user;
    let new = NewMember {
        user: user.id.clone(),
        account,
        role,
    };
    let member = store::org::add_member(&mut tx, org, new).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    let (token_id, token) = token(store, org, &user.id, scopes).await;
    Colleague {
        user,
        member,
        token_id,
        token,
    }
}

/// Somebody at Acme with this role from a group of theirs, and a token that may do everything.
pub(crate) async fn mapped(world: &World, role: Role, account: Option<&Account>) -> (User, String) {
    let (org, connection) = (&world.acme.org, &world.acme.connection.id);
    let group = OrgId::fresh().to_string();
    let mut tx = world.store.begin().await.unwrap();
    let spec = RoleMappingSpec {
        connection: connection.clone(),
        group: group.clone(),
        account: account.map(|a| a.id.clone()),
        role,
    };
    role_mapping::create(&mut tx, org, spec).await.unwrap();
    let who = user::Identity {
        groups: vec![group.clone()],
        ..identity(connection, &group)
    };
    let user = user::sign_in(&mut tx, org, who).await.unwrap().user;
    tx.commit_housekeeping().await.unwrap();
    let (_, token) = token(&world.store, org, &user.id, &ALL).await;
    (user, token)
}

/// A token that belongs to an account of Acme and may do everything that its role may.
pub(crate) async fn account_token(world: &World, role: Role, account: &Account) -> String {
    let (token, prefix, hash) = control::mint_api_token().unwrap();
    let new = NewApiToken {
        account: Some(account.id.clone()),
        role: Some(role),
        ..NewApiToken::of("automation", &ALL)
    };
    let mut tx = world.store.begin().await.unwrap();
    let maker = Some(&world.acme.owner.user.id);
    store::api_token::create(&mut tx, &world.acme.org, maker, new, (&prefix, &hash))
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    token
}

pub(crate) async fn token(
    store: &Store,
    org: &OrgId,
    owner: &UserId,
    scopes: &[TokenScope],
) -> (ApiTokenId, String) {
    let (token, prefix, hash) = control::mint_api_token().unwrap();
    let new = NewApiToken::of("test", scopes);
    let mut tx = store.begin().await.unwrap();
    let record = store::api_token::create(&mut tx, org, Some(owner), new, (&prefix, &hash))
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    (record.id, token)
}

pub(crate) fn identity(connection: &ConnectionId, subject: &str) -> user::Identity {
    user::Identity {
        connection: connection.clone(),
        issuer: "https://idp.example.com".into(),
        subject: subject.into(),
        email: Some(format!("{subject}@example.com")),
        email_verified: true,
        name: None,
        groups: vec![],
        claims: serde_json::Map::new(),
    }
}

/// An agent calls an app whose Managed OAuth is off.
async fn challenged(store: &Store, org: &OrgId, app: &AppId) -> AgentAttemptId {
    let request = AuditRequest {
        id: format!("req-{app}"),
        method: "POST".into(),
        path: "/".into(),
        ip: Some("192.0.2.7".into()),
        user_agent: Some("agent/1.0 (test)".into()),
    };
    let view = store.directory().app(app).unwrap().clone();
    let step = store::recorder::Step::new(&view, &request, AgentStepKind::Challenge);
    store.note_step(step.failed("managed_oauth_off"));
    store.write_agent_steps().await.unwrap();
    let filter = store::agent_attempt::Filter {
        app: Some(app),
        ..Default::default()
    };
    let page = store::Paging::default();
    let found = store::agent_attempt::list(store, org, filter, &page).await;
    found.unwrap().remove(0).id
}

pub(crate) fn new_client() -> client::NewClient {
    let id = ClientId::fresh();
    client::NewClient {
        client_id: id.to_string(),
        id,
        name: "Agent".into(),
        verified_host: None,
        source: ClientSource::Dynamic,
        tier: ClientTier::Localhost,
        state: ClientState::Active,
        redirect_uris: vec!["http://127.0.0.1/cb".into()],
        auth_method: "none".into(),
        secret_hash: None,
        registration_hash: None,
        metadata: json!({}),
    }
}
