//! A fresh database with a small company in it, once for each engine.

use store::{Clock, Error, MasterKey, Result, Store, Tx, audit, client, grant, session, user};
pub(crate) use testkit::{CONTROL, Database, START, databases};
use wire::*;

/// Runs a test on a fresh database of each engine.
pub(crate) async fn on_each(test: impl AsyncFn(&World)) {
    for (engine, database) in databases().await {
        // Shown when the test fails.
        println!("on {engine}");
        let world = Box::pin(World::new(database)).await;
        Box::pin(test(&world)).await;
        world.remove().await;
    }
}

/// A company: one account, one connection bound to it, one person, one app, one agent.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) key: MasterKey,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) org: OrgId,
    pub(crate) account: Account,
    pub(crate) connection: Connection,
    pub(crate) binding: Binding,
    pub(crate) user: User,
    pub(crate) app: App,
    pub(crate) client: Client,
}

impl World {
    async fn new(database: Database) -> Self {
        let key = MasterKey::generate().unwrap();
        let clock = Clock::manual(START);
        let store = database.open(&key, &clock).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let spec = OrganisationSpec {
            name: "Acme".into(),
            primary_connection: None,
            floor: vec![],
            ..OrganisationSpec::default()
        };
        let org = store::org::create(&mut tx, "acme", spec).await.unwrap().id;
        let account = store::org::create_account(&mut tx, &org, account_spec("Engineering"))
            .await
            .unwrap();
        let connection = store::connection::create(&mut tx, &org, None, connection_spec("Okta"))
            .await
            .unwrap();
        let ends = (&connection.id, &account.id);
        let binding = store::binding::create(&mut tx, &org, ends, binding_spec())
            .await
            .unwrap();
        let user = user::sign_in(&mut tx, &org, identity(&connection.id, "ada"))
            .await
            .unwrap()
            .user;
        let spec = app_spec("Wiki", "https://wiki.example.com");
        let app = store::app::create(&mut tx, &org, &account.id, spec)
            .await
            .unwrap();
        let registered = client::create(&mut tx, &org, (&account.id, &app.id), new_client())
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        Self {
            database,
            key,
            clock,
            store,
            org,
            account,
            connection,
            binding,
            user,
            app,
            client: registered.client,
        }
    }

    async fn remove(self) {
        self.store.close().await;
        self.database.remove().await;
    }

    /// Another instance on the same database.
    pub(crate) async fn other_instance(&self) -> Store {
        self.database.open(&self.key, &self.clock).await.unwrap()
    }

    /// An event of this company.
    pub(crate) fn event(&self, action: &str) -> AuditEvent {
        audit::event(&self.org, "test", action, AuditActor::of(ActorKind::System))
    }

    /// Runs one operation in a transaction of its own.
    pub(crate) async fn write<T>(&self, operation: impl AsyncFnOnce(&mut Tx) -> Result<T>) -> Result<T> {
        self.write_at(&self.store, operation).await
    }

    /// Runs one operation in a transaction of its own at one of several instances.
    pub(crate) async fn write_at<T>(
        &self,
        store: &Store,
        operation: impl AsyncFnOnce(&mut Tx) -> Result<T>,
    ) -> Result<T> {
        let mut tx = store.begin().await?;
        let value = Box::pin(operation(&mut tx)).await?;
        tx.commit(self.event("test.write")).await?;
        Ok(value)
    }

    /// Another account.
    pub(crate) async fn account(&self, name: &str) -> Account {
        self.write(async |tx| store::org::create_account(tx, &self.org, account_spec(name)).await)
            .await
            .unwrap()
    }

    /// Somebody signs in through the company's connection.
    pub(crate) async fn person(&self, subject: &str) -> User {
        let identity = identity(&self.connection.id, subject);
        self.write(async |tx| user::sign_in(tx, &self.org, identity).await)
            .await
            .unwrap()
            .user
    }

    /// Another agent at the company's app.
    pub(crate) async fn agent(&self, new: client::NewClient) -> Client {
        let place = (&self.account.id, &self.app.id);
        self.write(async |tx| client::create(tx, &self.org, place, new).await)
            .await
            .unwrap()
            .client
    }

    /// A grant for a day of the company's agent at the company's app, with its code under `code_hash`.
    pub(crate) async fn grant(&self, user: &User, client: &Client, code_hash: &str) -> GrantId {
        let consent = grant::Consent {
            org: &self.org,
            account: &self.account.id,
            app: &self.app.id,
            user: &user.id,
            client: &client.id,
            scopes: &["access".to_owned()],
            authentication: &self.authentication(),
            expires_at: self.clock.now().plus_seconds(86_400),
        };
        let bound = (
            "http://127.0.0.1/cb",
            "challenge",
            self.app.spec.public_url.as_str(),
        );
        self.write(async |tx| grant::issue(tx, &consent, code_hash, bound).await)
            .await
            .unwrap()
    }

    /// A grant that yielded a token.
    pub(crate) async fn used_grant(&self, user: &User, client: &Client, code_hash: &str) -> GrantId {
        let id = self.grant(user, client, code_hash).await;
        self.write(async |tx| {
            store::refresh::begin(tx, &id).await?;
            client::note_use(tx, client, &user.id).await
        })
        .await
        .unwrap();
        id
    }

    /// The state of a grant.
    pub(crate) async fn grant_now(&self, id: &GrantId) -> Grant {
        grant::get(&self.store, &self.org, id, self.clock.now())
            .await
            .unwrap()
    }

    /// A browser session for an hour, under a cookie's hash.
    pub(crate) async fn session(&self, hash: &str, record: session::Record) -> SessionId {
        let id = record.id.clone();
        self.write(async |tx| session::save(tx, hash, &record).await)
            .await
            .unwrap();
        id
    }

    /// What a control-plane session of a person looks like.
    pub(crate) fn record(&self, user: &User) -> session::Record {
        session::Record {
            id: SessionId::fresh(),
            org: Some(self.org.clone()),
            user: Some(user.id.clone()),
            app: None,
            parent: None,
            data: "{}".into(),
            expires_at: self.clock.now().plus_seconds(3600),
            ip: Some("192.0.2.1".into()),
            user_agent: Some("Test".into()),
            authentication: self.authentication(),
        }
    }

    /// How people of this world sign in.
    pub(crate) fn authentication(&self) -> Authentication {
        Authentication {
            connection: Some(self.connection.id.clone()),
            amr: vec!["pwd".into()],
            acr: None,
            auth_time: Some(self.clock.now()),
        }
    }
}

pub(crate) fn account_spec(name: &str) -> AccountSpec {
    AccountSpec {
        name: name.into(),
        enabled: true,
    }
}

pub(crate) fn connection_spec(name: &str) -> ConnectionSpec {
    testkit::from_json(serde_json::json!({
        "name": name,
        "kind": "oidc",
        "issuer": "https://idp.example.com",
        "client_id": "chatelaine",
        "scopes": ["email"],
    }))
}

pub(crate) fn binding_spec() -> BindingSpec {
    BindingSpec {
        mode: BindingMode::Allowed,
        state: BindingState::Active,
        drain_until: None,
        claims: None,
    }
}

/// What the provider says about somebody: everything follows from the subject.
pub(crate) fn identity(connection: &ConnectionId, subject: &str) -> user::Identity {
    user::Identity {
        connection: connection.clone(),
        issuer: "https://idp.example.com".into(),
        subject: subject.into(),
        email: Some(format!("{subject}@example.com")),
        email_verified: true,
        name: Some(format!("Person {subject}")),
        groups: vec!["staff".into()],
        claims: serde_json::from_value(serde_json::json!({ "sub": subject })).unwrap(),
    }
}

pub(crate) fn app_spec(name: &str, url: &str) -> AppSpec {
    AppSpec {
        name: name.into(),
        kind: AppKind::Web,
        public_url: url.into(),
        origin_url: "http://127.0.0.1:9000".into(),
        managed_oauth: true,
        policies: vec![],
        oauth: OauthSettings::default(),
        session_seconds: 3600,
        oldest_proof: None,
        identity_headers: false,
        extra_methods: vec![],
        case_insensitive_paths: false,
        browser_origins: vec![],
        origin_limits: wire::OriginLimits::default(),
        enabled: true,
    }
}

pub(crate) fn policy_spec(name: &str) -> PolicySpec {
    PolicySpec {
        name: name.into(),
        decision: PolicyDecision::Allow,
        include: vec![Selector::Everyone {}],
        require: vec![],
        exclude: vec![],
    }
}

/// An agent that registered itself.
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
        registration_hash: Some("registration".into()),
        metadata: serde_json::json!({ "client_name": "Agent" }),
    }
}

#[track_caller]
pub(crate) fn assert_conflict<T>(result: Result<T>) {
    let error = result.err();
    assert!(matches!(error, Some(Error::Conflict(_))), "{error:?}");
}

#[track_caller]
pub(crate) fn assert_stale<T>(result: Result<T>) {
    let error = result.err();
    assert!(matches!(error, Some(Error::Stale)), "{error:?}");
}

#[track_caller]
pub(crate) fn assert_not_found<T>(result: Result<T>) {
    let error = result.err();
    assert!(matches!(error, Some(Error::NotFound(_))), "{error:?}");
}
