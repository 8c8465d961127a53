//! Somebody and their agent, with all that they hold.

use crate::world::{World, identity, new_client};
use axum::Router;
use gateway::{Gateway, GatewayConfig};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::cell::Cell;
use store::{Change, client, grant, session, user};
use testkit::{CONTROL, from_json};
use tokens::{AccessClaims, Act};
use wire::*;

/// Where the agent gets its codes.
pub(super) const REDIRECT: &str = "http://127.0.0.1/cb";
/// Where requests come from, if nothing else is said.
pub(super) const IP: &str = "203.0.113.7";
/// Where the app lies.
pub(super) const HOST: &str = "notes.example.com";

/// A person with a session at the control plane and at an app, and an agent with a grant, all by the same proof.
pub(crate) struct Scene<'w> {
    pub(super) world: &'w World,
    pub(super) gateway: Gateway,
    /// Sign-in and the authorization server, as the binary puts them together.
    pub(super) pages: Router,
    pub(super) app: App,
    pub(super) user: User,
    /// How they signed in, and by whose word.
    pub(super) amr: Vec<String>,
    pub(super) said_by: ConnectionId,
    pub(super) client: Client,
    pub(super) secret: String,
    /// Where requests come from, if that is known.
    pub(super) ip: Cell<Option<&'static str>>,
    /// The session at the control plane.
    pub(super) session: SessionId,
    /// The cookies there and at the app.
    pub(super) cookies: (String, String),
    pub(crate) access_token: String,
    pub(super) refresh_token: String,
}

/// Makes something by the API.
pub(super) async fn make<T: serde::de::DeserializeOwned>(world: &World, path: &str, body: Value) -> T {
    let answer = world.owner(Method::POST, path, Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{path}: {}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

impl<'w> Scene<'w> {
    pub(crate) async fn new(world: &'w World, amr: &[&str]) -> Self {
        Self::through(world, &world.acme.connection, amr).await
    }

    /// The same of somebody who comes through a connection.
    pub(super) async fn through(world: &'w World, connection: &Connection, amr: &[&str]) -> Self {
        let (acme, now) = (&world.acme, world.clock.now());
        let policy: Policy = make(
            world,
            "/policies",
            json!({"account": acme.account.id, "name": "Staff", "decision": "allow",
                "include": [{"type": "claim", "name": "groups", "value": "staff"}]}),
        )
        .await;
        let app: App = make(
            world,
            "/apps",
            json!({"account": acme.account.id, "name": "Notes", "kind": "web",
                "public_url": "https://notes.example.com", "origin_url": "http://127.0.0.1:1",
                "managed_oauth": true, "policies": [policy.id]}),
        )
        .await;
        let authentication: Authentication = from_json(json!({ "connection": connection.id, "amr": amr }));
        let mut tx = world.store.begin().await.unwrap();
        let person = user::Identity {
            groups: vec!["staff".into()],
            claims: from_json(json!({"groups": ["staff"]})),
            ..identity(&connection.id, "nina")
        };
        let user = user::sign_in(&mut tx, &acme.org, person).await.unwrap().user;
        let secret = store::random_secret("").unwrap();
        let new = client::NewClient {
            auth_method: "client_secret_post".into(),
            secret_hash: Some(store::sha256(&secret)),
            tier: ClientTier::Unverified,
            ..new_client()
        };
        let place = (&app.account, &app.id);
        let client = client::create(&mut tx, &acme.org, place, new)
            .await
            .unwrap()
            .client;
        let scopes = ["access".to_owned()];
        let consent = grant::Consent {
            org: &acme.org,
            account: &app.account,
            app: &app.id,
            user: &user.id,
            client: &client.id,
            scopes: &scopes,
            authentication: &authentication,
            expires_at: now.plus_seconds(90 * 86_400),
        };
        let bound = (REDIRECT, "challenge", app.spec.public_url.as_str());
        let grant = grant::issue(&mut tx, &consent, "unused", bound).await.unwrap();
        let refresh_token = store::refresh::begin(&mut tx, &grant).await.unwrap().unwrap();
        let cookie = tower_sessions::session::Id::default();
        let control_session = SessionId::fresh();
        let login = json!({"login": {"session": control_session, "user": user.id, "org": acme.org,
            "until": now.plus_seconds(90 * 86_400), "authentication": authentication,
            "ip": null, "user_agent": null}});
        let record = |id: SessionId, app: Option<&App>, data: String| session::Record {
            id,
            org: Some(acme.org.clone()),
            user: Some(user.id.clone()),
            app: app.map(|app| app.id.clone()),
            parent: None,
            data,
            expires_at: now.plus_seconds(90 * 86_400),
            ip: None,
            user_agent: None,
            authentication: authentication.clone(),
        };
        let at_control = record(control_session.clone(), None, login.to_string());
        session::save(&mut tx, &store::sha256(cookie.to_string()), &at_control)
            .await
            .unwrap();
        let at_app = store::random_secret("").unwrap();
        let record = record(SessionId::fresh(), Some(&app), "{}".into());
        session::save(&mut tx, &store::sha256(&at_app), &record)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let claims = AccessClaims {
            iss: app.issuer.clone(),
            aud: app.spec.public_url.clone(),
            sub: user.id.clone(),
            client_id: client.client_id.clone(),
            scope: "access".into(),
            jti: store::random_secret("").unwrap(),
            iat: now.seconds(),
            nbf: None,
            exp: now.seconds() + 90 * 86_400,
            grant,
            act: Act {
                sub: client.client_id.clone(),
            },
        };
        let name = format!(
            "__Host-chatelaine_app_{}",
            app.id.as_str().trim_start_matches("app_")
        );
        Self {
            gateway: Gateway::new(GatewayConfig {
                store: world.store.clone(),
                keyring: world.keyring.clone(),
                control_url: CONTROL.into(),
            }),
            pages: pages(world),
            ip: Cell::new(Some(IP)),
            session: control_session,
            cookies: (
                format!("{}={cookie}", broker::cookie_name(CONTROL)),
                format!("{name}={at_app}"),
            ),
            access_token: world.keyring.mint_access(&acme.org, &claims).unwrap(),
            world,
            app,
            amr: amr.iter().map(ToString::to_string).collect(),
            said_by: connection.id.clone(),
            user,
            client,
            secret,
            refresh_token,
        }
    }

    /// Where the app lies.
    pub(crate) const fn host(&self) -> &'static str {
        HOST
    }

    /// By what proof they hold it all.
    pub(super) fn authentication(&self) -> Authentication {
        from_json(json!({ "connection": self.said_by, "amr": self.amr }))
    }

    /// Changes a row behind the store's back, so that nothing is ended by it and only the decision can say no.
    pub(super) async fn behind(&self, sql: &str) {
        assert_eq!(self.world.execute(sql).await, 1, "{sql}");
        let account = self.world.acme.account.id.clone();
        let mut tx = self.world.store.begin().await.unwrap();
        for change in [
            Change::Account(account),
            Change::User(self.user.id.clone()),
            Change::All,
        ] {
            tx.changed(change);
        }
        tx.commit_housekeeping().await.unwrap();
    }

    /// Changes something by the API.
    pub(super) async fn patch(&self, path: &str, body: Value) {
        let answer = self.world.owner(Method::PATCH, path, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    }

    /// Changes the app.
    pub(crate) async fn patch_app(&self, body: Value) {
        self.patch(&format!("/apps/{}", self.app.id), body).await;
    }

    /// Puts a policy before those of the app.
    pub(super) async fn put_first(&self, policy: Value) {
        let mut body = policy;
        body["account"] = json!(self.app.account);
        let policy: Policy = make(self.world, "/policies", body).await;
        let mut policies = vec![policy.id];
        policies.extend(self.app.spec.policies.clone());
        self.patch_app(json!({ "policies": policies })).await;
    }

    /// Has nothing but this policy decide.
    pub(super) async fn only(&self, policy: Value) {
        let mut body = policy;
        body["account"] = json!(self.app.account);
        let policy: Policy = make(self.world, "/policies", body).await;
        self.patch_app(json!({ "policies": [policy.id] })).await;
    }

    /// Lets time pass, until the server knows that it has heard all.
    pub(super) async fn wait(&self, seconds: i64) {
        self.world.clock.advance(seconds);
        while !self.world.store.is_current() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Changes the organisation's floor.
    pub(super) async fn floor(&self, rule: Value) {
        self.patch("/organisation", json!({ "floor": [rule] })).await;
    }
}

fn pages(world: &World) -> Router {
    let outbound = outbound::Outbound::new(outbound::Policy::default());
    let broker = broker::Broker::new(broker::BrokerConfig {
        store: world.store.clone(),
        outbound: outbound.clone(),
        control_url: CONTROL.to_owned(),
        mailer: broker::mail::Mailer::none(),
    });
    let oauth = oauth::Oauth::new(world.store.clone(), world.keyring.clone(), outbound, CONTROL);
    broker::router(broker)
        .merge(oauth::router(oauth))
        .layer(broker::session_layer(&world.store, CONTROL))
}

/// What the binary says of each request.
pub(super) fn context(path: &str, ip: Option<&str>) -> AuditRequest {
    AuditRequest {
        id: "req-1".into(),
        method: "GET".into(),
        path: path.into(),
        ip: ip.map(ToOwned::to_owned),
        user_agent: None,
    }
}

impl Scene<'_> {
    /// A session of the same person by another proof.
    pub(super) async fn sign_in_elsewhere(&self, amr: &[&str]) {
        let record = session::Record {
            id: SessionId::fresh(),
            org: Some(self.world.acme.org.clone()),
            user: Some(self.user.id.clone()),
            app: None,
            parent: None,
            data: "{}".into(),
            expires_at: self.world.clock.now().plus_seconds(3600),
            ip: None,
            user_agent: None,
            authentication: from_json(json!({ "connection": self.user.connection, "amr": amr })),
        };
        let mut tx = self.world.store.begin().await.unwrap();
        session::save(&mut tx, "elsewhere", &record).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
    }
}
