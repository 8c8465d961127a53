//! A small company on a fresh database of each engine, with the broker in front of it.

use crate::browser::Browser;
use crate::idp::{CLIENT_ID, CLIENT_SECRET, Idp};
use axum::Router;
use broker::mail::Mailer;
use broker::{Broker, BrokerConfig};
use outbound::Outbound;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::collections::BTreeMap;
use std::path::PathBuf;
use store::{Clock, MasterKey, Options, Store, audit};
use wire::*;

pub(crate) const START: i64 = 1_800_000_000;
pub(crate) const CONTROL: &str = "https://control.example.com";
pub(crate) const OWNER: &str = "owner@acme.example";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Acme with the accounts Production and Labs, one shared provider bound to both, and a local owner.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    /// Of the database.
    pub(crate) url: String,
    pub(crate) router: Router,
    pub(crate) idp: Idp,
    pub(crate) org: OrgId,
    pub(crate) production: AccountId,
    pub(crate) labs: AccountId,
    pub(crate) connection: Connection,
    pub(crate) binding: Binding,
    pub(crate) owner: UserId,
    pub(crate) wiki: App,
    pub(crate) mailer: Mailer,
    mail_folder: PathBuf,
}

/// Runs a test on a fresh database of each engine.
pub(crate) async fn on_each(test: impl AsyncFn(&World)) {
    let unique = OrgId::fresh().to_string().replace("org_", "test_");
    let folder = std::env::temp_dir().join(&unique);
    std::fs::create_dir(&folder).unwrap();
    Box::pin(run(
        &format!("sqlite:{}", folder.join("store.db").display()),
        &test,
    ))
    .await;
    std::fs::remove_dir_all(folder).unwrap();
    if let Ok(server) = std::env::var("TEST_DATABASE_URL") {
        on_server(&server, format!("CREATE DATABASE {unique}")).await;
        let (base, options) = server.split_once('?').unwrap_or((&server, ""));
        let base = &base[..base.rfind('/').filter(|at| *at > 12).unwrap_or(base.len())];
        Box::pin(run(&format!("{base}/{unique}?{options}"), &test)).await;
        on_server(&server, format!("DROP DATABASE {unique} WITH (FORCE)")).await;
    }
}

async fn on_server(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn run(url: &str, test: &impl AsyncFn(&World)) {
    // Shown when the test fails.
    println!("on {}", url.split(':').next().unwrap());
    let world = World::new(url).await;
    Box::pin(test(&world)).await;
    world.store.close().await;
}

pub(crate) fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// An OIDC connection to a provider.
pub(crate) fn oidc(name: &str, idp: &Idp) -> ConnectionSpec {
    from(json!({
        "name": name, "kind": "oidc", "issuer": idp.issuer(), "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET, "allow_internal": [idp.issuer()],
    }))
}

pub(crate) fn binding(mode: &str, state: &str) -> BindingSpec {
    from(json!({ "mode": mode, "state": state }))
}

/// A server on a database.
fn instance(store: &Store, mailer: &Mailer) -> (Broker, Router) {
    let config = BrokerConfig {
        store: store.clone(),
        outbound: Outbound::new(outbound::Policy::default()),
        control_url: CONTROL.to_owned(),
        mailer: mailer.clone(),
    };
    let broker = Broker::new(config);
    let router = broker::router(broker.clone()).layer(broker::session_layer(store, CONTROL));
    (broker, router)
}

impl World {
    async fn new(url: &str) -> Self {
        let clock = Clock::manual(Timestamp::from_seconds(START));
        let options = Options {
            database_url: url,
            master_key: &MasterKey::generate().unwrap(),
            clock: clock.clone(),
            control_url: CONTROL,
            pools: store::Pools::default(),
        };
        let store = Store::open(options).await.unwrap();
        let idp = Idp::start(START, vec!["client_secret_basic"]).await;

        let mut tx = store.begin().await.unwrap();
        let spec = from(json!({ "name": "Acme" }));
        let org = store::org::create(&mut tx, "acme", spec).await.unwrap().id;
        let mut accounts = Vec::new();
        for name in ["Production", "Labs"] {
            let spec = from(json!({ "name": name }));
            let account = store::org::create_account(&mut tx, &org, spec).await.unwrap();
            accounts.push(account.id);
        }
        let connection = store::connection::create(&mut tx, &org, None, oidc("Acme SSO", &idp))
            .await
            .unwrap();
        let mut bindings = Vec::new();
        for account in &accounts {
            let spec = binding("allowed", "active");
            let ends = (&connection.id, account);
            bindings.push(store::binding::create(&mut tx, &org, ends, spec).await.unwrap());
        }
        let local = from(json!({ "name": "Local", "kind": "password" }));
        let local = store::connection::create(&mut tx, &org, None, local)
            .await
            .unwrap();
        let owner = store::user::Identity {
            connection: local.id,
            issuer: CONTROL.to_owned(),
            subject: OWNER.to_owned(),
            email: Some(OWNER.to_owned()),
            email_verified: true,
            name: Some("Olga Owner".to_owned()),
            groups: vec![],
            claims: serde_json::Map::new(),
        };
        let owner = store::user::sign_in(&mut tx, &org, owner).await.unwrap().user.id;
        let role = from(json!({ "user": owner, "role": "org_owner" }));
        store::org::add_member(&mut tx, &org, role).await.unwrap();
        broker::set_local_password(&mut tx, &owner, PASSWORD)
            .await
            .unwrap();
        let policies = [
            json!({ "name": "No contractors", "decision": "deny",
                    "include": [{ "type": "claim", "name": "groups", "value": "contractors" }] }),
            json!({ "name": "Staff", "decision": "allow",
                    "include": [{ "type": "claim", "name": "groups", "value": "staff" }] }),
        ];
        let mut ids = Vec::new();
        for spec in policies {
            let policy = store::rule::create::<Policy>(&mut tx, &org, &accounts[0], from(spec)).await;
            ids.push(policy.unwrap().id);
        }
        let spec = from(json!({
            "name": "Wiki", "kind": "web", "public_url": "https://wiki.example.com",
            "origin_url": "http://127.0.0.1:1", "policies": ids,
        }));
        let wiki = store::app::create(&mut tx, &org, &accounts[0], spec)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();

        let mail_folder = std::env::temp_dir().join(OrgId::fresh().to_string().replace("org_", "mail_"));
        let transport = broker::mail::Transport::File(mail_folder.clone());
        let mailer = Mailer::new(&transport, "Chatelaine <id@control.example.com>", clock.clone()).unwrap();
        let (broker, router) = instance(&store, &mailer);
        let [production, labs] = <[AccountId; 2]>::try_from(accounts).unwrap();
        Self {
            clock,
            store,
            broker,
            url: url.to_owned(),
            router,
            idp,
            org,
            production,
            labs,
            connection,
            binding: bindings.remove(0),
            owner,
            wiki,
            mailer,
            mail_folder,
        }
    }

    /// Takes the mails that were sent since the last look: whole, and decoded as far as codes go.
    pub(crate) async fn mails(&self) -> Vec<String> {
        self.mailer.settled().await;
        let Ok(entries) = std::fs::read_dir(&self.mail_folder) else {
            return Vec::new();
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let read = paths.iter().map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            std::fs::remove_file(path).unwrap();
            text
        });
        let mails = read.collect();
        std::fs::remove_dir(&self.mail_folder).unwrap();
        mails
    }

    /// Another server on the same database, which remembers nothing by itself.
    pub(crate) fn another_instance(&self) -> Router {
        instance(&self.store, &self.mailer).1
    }

    /// A browser without cookies.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(self.router.clone())
    }

    /// A browser in which somebody signed in through the shared provider.
    pub(crate) async fn signed_in(&self, claims: Value) -> Browser {
        let mut browser = self.browser();
        let away = browser.get(&format!("/login/oidc/{}", self.connection.id)).await;
        let back = self.idp.authorize(away.location(), claims);
        assert_eq!(browser.get(&back).await.location(), "/me");
        browser
    }

    /// A browser in which the local owner signed in.
    pub(crate) async fn owner(&self) -> Browser {
        let mut browser = self.browser();
        let csrf = browser.get("/login").await.field("csrf");
        let fields = [
            ("csrf", csrf.as_str()),
            ("username", OWNER),
            ("password", PASSWORD),
        ];
        assert_eq!(browser.post("/login/password", &fields).await.location(), "/");
        browser
    }

    /// Adds another connection of the organisation, bound to Production in a mode if one is given.
    pub(crate) async fn connect(&self, spec: ConnectionSpec, mode: Option<&str>) -> Connection {
        let mut tx = self.store.begin().await.unwrap();
        let connection = store::connection::create(&mut tx, &self.org, None, spec)
            .await
            .unwrap();
        if let Some(mode) = mode {
            let ends = (&connection.id, &self.production);
            let spec = binding(mode, "active");
            store::binding::create(&mut tx, &self.org, ends, spec)
                .await
                .unwrap();
        }
        tx.commit_housekeeping().await.unwrap();
        connection
    }

    /// Changes the shared connection.
    pub(crate) async fn configure(&self, change: impl FnOnce(&mut ConnectionSpec)) {
        let connection = store::connection::get(&self.store, &self.org, &self.connection.id)
            .await
            .unwrap();
        let mut spec = connection.spec.clone();
        change(&mut spec);
        let mut tx = self.store.begin().await.unwrap();
        store::connection::update(&mut tx, &connection, spec)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
    }

    pub(crate) async fn users(&self) -> Vec<User> {
        let page = store::Paging::default();
        store::user::list(&self.store, &self.org, (None, None), &page)
            .await
            .unwrap()
    }

    /// The person with this subject.
    pub(crate) async fn user(&self, subject: &str) -> User {
        let mut users = self.users().await;
        users.retain(|user| user.subject == subject);
        assert_eq!(users.len(), 1);
        users.remove(0)
    }

    /// Another owner with a local password, so that the first one can go.
    pub(crate) async fn another_owner(&self) -> UserId {
        let first = self.user(OWNER).await;
        let mut tx = self.store.begin().await.unwrap();
        let identity = store::user::Identity {
            connection: first.connection,
            issuer: first.issuer,
            subject: "second@acme.example".to_owned(),
            email: Some("second@acme.example".to_owned()),
            email_verified: false,
            name: None,
            groups: vec![],
            claims: serde_json::Map::new(),
        };
        let person = store::user::provision(&mut tx, &self.org, identity)
            .await
            .unwrap();
        let id = person.user.id;
        broker::set_local_password(&mut tx, &id, PASSWORD).await.unwrap();
        let role = from(json!({ "user": id, "role": "org_owner" }));
        store::org::add_member(&mut tx, &self.org, role).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        id
    }

    pub(crate) async fn disable(&self, user: &User) {
        let mut tx = self.store.begin().await.unwrap();
        store::user::set_disabled(&mut tx, &self.org, user, true)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
    }

    /// How often an action came to nothing for each reason, those counted that ended a minute ago or longer.
    pub(crate) async fn reasons(&self, action: &str) -> BTreeMap<String, usize> {
        self.store.write_closed_folds().await.unwrap();
        let filter = audit::Filter {
            action: Some(action.to_owned()),
            ..audit::Filter::default()
        };
        let newest = (audit::Order::Newest, None);
        let events = audit::list(&self.store, &self.org, &filter, newest, 200);
        let mut reasons = BTreeMap::new();
        for event in events.await.unwrap() {
            let times = event.repeated.map_or(1, |repeated| repeated.count);
            *reasons.entry(event.reason.unwrap_or_default()).or_default() += usize::try_from(times).unwrap();
        }
        reasons
    }

    /// The newest event of an action.
    #[track_caller]
    pub(crate) fn last(&self, action: &str) -> impl Future<Output = AuditEvent> {
        let filter = audit::Filter {
            action: Some(action.to_owned()),
            ..audit::Filter::default()
        };
        async move {
            let newest = (audit::Order::Newest, None);
            let mut events = audit::list(&self.store, &self.org, &filter, newest, 1)
                .await
                .unwrap();
            events
                .pop()
                .unwrap_or_else(|| panic!("no {}", filter.action.unwrap()))
        }
    }
}
