//! One access decision: the same cases at every surface, and one answer. The gateway, sign-in to an app, authorize,
//! token, introspection, the tester and the preview of a change are asked about the same person and the same agent.

use crate::world::{World, identity, new_client, on_each};
use axum::Router;
use axum::body::Body;
use gateway::{Gateway, GatewayConfig};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use store::{Change, client, grant, session, user};
use testkit::{CONTROL, from_json};
use tokens::{AccessClaims, Act};
use tower::ServiceExt as _;
use wire::*;

const REDIRECT: &str = "http://127.0.0.1/cb";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// What the one decision must say: for what begins, and for what goes on.
#[derive(Debug, Clone, Copy)]
struct Expected {
    person: (bool, bool),
    agent: (bool, bool),
    /// At every surface that says why.
    reason: Reason,
}

const fn all(allowed: bool, reason: Reason) -> Expected {
    Expected {
        person: (allowed, allowed),
        agent: (allowed, allowed),
        reason,
    }
}

const fn agents(reason: Reason) -> Expected {
    Expected {
        person: (true, true),
        agent: (false, false),
        reason,
    }
}

/// A person with a session at the control plane and at an app, and an agent with a grant, all by the same proof.
struct Scene<'w> {
    world: &'w World,
    gateway: Gateway,
    /// Sign-in and the authorization server, as the binary puts them together.
    pages: Router,
    app: App,
    user: User,
    /// How they signed in, and by whose word.
    amr: Vec<String>,
    said_by: ConnectionId,
    client: Client,
    secret: String,
    /// The cookies at the control plane and at the app.
    cookies: (String, String),
    access_token: String,
    refresh_token: String,
}

async fn make<T: serde::de::DeserializeOwned>(world: &World, path: &str, body: Value) -> T {
    let answer = world.owner(Method::POST, path, Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{path}: {}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

impl<'w> Scene<'w> {
    async fn new(world: &'w World, amr: &[&str]) -> Self {
        Self::through(world, &world.acme.connection, amr).await
    }

    /// The same of somebody who comes through a connection.
    async fn through(world: &'w World, connection: &Connection, amr: &[&str]) -> Self {
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
        grant::note_use(&mut tx, &grant).await.unwrap();
        let refresh_token = store::random_secret("").unwrap();
        let kept = grant::Refresh {
            grant: grant.clone(),
            client: client.id.clone(),
            scopes: scopes.to_vec(),
            expires_at: now.plus_seconds(90 * 86_400),
            used_at: None,
        };
        grant::add_refresh_token(&mut tx, &store::sha256(&refresh_token), &kept)
            .await
            .unwrap();
        let cookie = tower_sessions::session::Id::default();
        let login = json!({"login": {"session": SessionId::fresh(), "user": user.id, "org": acme.org,
            "until": now.plus_seconds(90 * 86_400), "authentication": authentication,
            "ip": null, "user_agent": null}});
        let record = |app: Option<&App>, data: String| session::Record {
            id: SessionId::fresh(),
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
        let at_control = record(None, login.to_string());
        session::save(&mut tx, &store::sha256(cookie.to_string()), &at_control)
            .await
            .unwrap();
        let at_app = store::random_secret("").unwrap();
        let record = record(Some(&app), "{}".into());
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

    /// The newest events say why something was refused.
    async fn reason(&self, action: &str) -> Option<String> {
        let filter = store::audit::Filter {
            action: Some(action.into()),
            app: Some(self.app.id.clone()),
            ..store::audit::Filter::default()
        };
        let order = (store::audit::Order::Newest, None);
        let events = store::audit::list(&self.world.store, &self.world.acme.org, &filter, order, 1).await;
        let newest = events
            .unwrap()
            .pop()
            .filter(|event| event.outcome == Outcome::Denied);
        newest.and_then(|event| event.reason)
    }

    async fn page(&self, request: http::request::Builder, body: String) -> (StatusCode, HeaderMap, String) {
        let mut request = request.body(Body::from(body)).unwrap();
        let path = request.uri().path().to_owned();
        request.extensions_mut().insert(context(&path));
        let (parts, body) = self.pages.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("client_id", self.client.client_id.as_str()),
            ("client_secret", &self.secret),
        ]);
        form.extend_pairs(fields);
        let request = Request::post(format!("/oauth/{}/{path}", self.app.id))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, _, body) = self.page(request, form.finish()).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Whether it lets through, and why not where it says so.
    async fn gateway(&self, header: (&str, String)) -> (bool, Option<String>) {
        let request = Request::get("/page").header(header.0, header.1);
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(context("/page"));
        let answer = self.gateway.handle("notes.example.com", request).await;
        // The origin is not there: what is let through is a bad gateway.
        let allowed = answer.status() == StatusCode::BAD_GATEWAY;
        (allowed, self.reason("gateway.request").await)
    }

    async fn sign_in(&self) -> (bool, Option<String>) {
        let request = Request::get(format!("/signin/{}?state=s", self.app.id));
        let (_, headers, _) = self
            .page(request.header(header::COOKIE, &self.cookies.0), String::new())
            .await;
        let location = headers.get(header::LOCATION).map_or("", |v| v.to_str().unwrap());
        (
            location.starts_with("https://notes.example.com/.chatelaine/callback?code="),
            self.reason("app.sign_in").await,
        )
    }

    async fn authorize(&self) -> (bool, Option<String>) {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("client_id", self.client.client_id.as_str()),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("code_challenge", &store::sha256(VERIFIER)),
            ("code_challenge_method", "S256"),
            ("resource", &self.app.spec.public_url),
        ]);
        let request = Request::get(format!("/oauth/{}/authorize?{}", self.app.id, query.finish()));
        let (status, ..) = self
            .page(request.header(header::COOKIE, &self.cookies.0), String::new())
            .await;
        (status == StatusCode::OK, self.reason("authorize.denied").await)
    }

    async fn token(&self) -> (bool, Option<String>) {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", self.refresh_token.as_str()),
        ];
        let (status, _) = self.form("token", &fields).await;
        (status == StatusCode::OK, self.reason("token.refuse").await)
    }

    async fn introspection(&self) -> bool {
        let (_, answer) = self.form("introspect", &[("token", &self.access_token)]).await;
        answer["active"] == true
    }

    async fn tester(&self, is_agent: bool) -> (bool, Option<String>) {
        let mut test = json!({"app": self.app.id, "user": self.user.id, "path": "/page"});
        if is_agent {
            test["client"] = json!(self.client.id);
        } else {
            // The newest session need not be this one.
            test["authentication"] = json!({"connection": self.said_by, "amr": self.amr});
        }
        let told = self.world.owner(Method::POST, "/policies/test", Some(test)).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.text);
        let told = told.json();
        let reason = told["decision"]["reason"].as_str().map(ToOwned::to_owned);
        (told["decision"]["allowed"] == true, reason)
    }

    /// Who keeps what they have, by the preview of a change that changes nothing.
    async fn preview(&self) -> (bool, bool) {
        let mut tx = self.world.store.begin().await.unwrap();
        tx.changed(Change::Account(self.app.account.clone()));
        let impact = tx.impact().await.unwrap().unwrap();
        let keeps = |is_agent: bool| {
            impact.keep.names.iter().any(|name| {
                name.user == self.user.id && name.app == self.app.id && name.client.is_some() == is_agent
            })
        };
        (keeps(false), keeps(true))
    }

    /// Asks everywhere; every surface that says something else is named.
    async fn check(&self, case: &str, expected: Expected, tells_why: bool) {
        let word = serde_json::to_value(expected.reason).unwrap();
        let mut wrong = Vec::new();
        let mut said = |surface: &str, (allowed, reason): (bool, Option<String>), want: bool| {
            let other = reason.as_deref().filter(|reason| Some(*reason) != word.as_str());
            if allowed != want || (tells_why && !allowed && other.is_some()) {
                wrong.push(format!("{surface}: {allowed} {reason:?}"));
            }
        };
        let bearer = format!("Bearer {}", self.access_token);
        let cookie = self.gateway(("cookie", self.cookies.1.clone())).await;
        said("gateway, browser", cookie, expected.person.1);
        let bearer = self.gateway(("authorization", bearer)).await;
        said("gateway, agent", bearer, expected.agent.1);
        said("tester, browser", self.tester(false).await, expected.person.1);
        said("tester, agent", self.tester(true).await, expected.agent.1);
        let (person, agent) = self.preview().await;
        said("preview, browser", (person, None), expected.person.1);
        said("preview, agent", (agent, None), expected.agent.1);
        said("sign-in", self.sign_in().await, expected.person.0);
        said("authorize", self.authorize().await, expected.agent.0);
        said(
            "introspection",
            (self.introspection().await, None),
            expected.agent.1,
        );
        said("token", self.token().await, expected.agent.1);
        assert!(wrong.is_empty(), "{case}, which is {expected:?}: {wrong:#?}");
    }

    /// Changes a row behind the store's back, so that nothing is ended by it and only the decision can say no.
    async fn behind(&self, sql: &str) {
        self.world.execute(sql).await;
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
        // What the gateway remembers it forgets when it hears of it.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }

    async fn patch(&self, path: &str, body: Value) {
        let answer = self.world.owner(Method::PATCH, path, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    }

    async fn patch_app(&self, body: Value) {
        self.patch(&format!("/apps/{}", self.app.id), body).await;
    }

    async fn floor(&self, rule: Value) {
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

fn context(path: &str) -> AuditRequest {
    AuditRequest {
        id: "req-1".into(),
        method: "GET".into(),
        path: path.into(),
        ip: Some("203.0.113.7".into()),
        user_agent: None,
    }
}

/// A case: what is different, and what must come of it everywhere.
async fn case(name: &str, expected: Expected, change: impl AsyncFn(&Scene<'_>)) {
    whether((name, true), expected, change).await;
}

/// As [`case`]; some say no before they would say why.
async fn whether((name, tells_why): (&str, bool), expected: Expected, change: impl AsyncFn(&Scene<'_>)) {
    on_each(async |world| {
        let scene = Scene::new(world, &["pwd"]).await;
        let now = all(true, Reason::PolicyAllowed);
        scene.check("as it is", now, true).await;
        let scene = Scene {
            // The first one is spent.
            refresh_token: successor(&scene).await,
            ..scene
        };
        change(&scene).await;
        scene.check(name, expected, tells_why).await;
    })
    .await;
}

/// The same of somebody with a local password.
async fn local_case(name: &str, amr: &[&str], expected: Expected, change: impl AsyncFn(&Scene<'_>)) {
    on_each(async |world| {
        let local = &world.acme.local;
        let binding = json!({"connection": local.id, "accounts": [world.acme.account.id]});
        make::<Value>(world, "/bindings", binding).await;
        let scene = Scene::through(world, local, amr).await;
        scene
            .check("as it is", all(true, Reason::PolicyAllowed), true)
            .await;
        let scene = Scene {
            refresh_token: successor(&scene).await,
            ..scene
        };
        change(&scene).await;
        scene.check(name, expected, true).await;
    })
    .await;
}

/// What the refresh token was exchanged for: within the window it is the same again.
async fn successor(scene: &Scene<'_>) -> String {
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", scene.refresh_token.as_str()),
    ];
    let (status, answer) = scene.form("token", &fields).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_policy_that_denies() {
    case("deny", all(false, Reason::PolicyDenied), async |s| {
        let policy: Policy = make(
            s.world,
            "/policies",
            json!({"account": s.app.account, "name": "Not her", "decision": "deny",
                "include": [{"type": "email", "email": s.user.email}]}),
        )
        .await;
        let mut policies = vec![policy.id];
        policies.extend(s.app.spec.policies.clone());
        s.patch_app(json!({ "policies": policies })).await;
    })
    .await;
}

#[tokio::test]
async fn no_policy_that_matches() {
    case("no policy", all(false, Reason::NoPolicyMatched), async |s| {
        s.patch_app(json!({ "policies": [] })).await;
    })
    .await;
}

#[tokio::test]
async fn a_proof_that_the_floor_asks_for_and_this_session_has_not() {
    case("floor", all(false, Reason::OrganisationFloor), async |s| {
        s.floor(json!({"type": "mfa"})).await;
        // Somewhere else the same person has it.
        s.sign_in_elsewhere(&["pwd", "otp", "mfa"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_proof_that_the_floor_asks_for_and_this_session_has() {
    case("floor met", all(true, Reason::PolicyAllowed), async |s| {
        s.floor(json!({"type": "auth_method", "amr": ["pwd"]})).await;
    })
    .await;
}

#[tokio::test]
async fn a_word_of_the_provider_that_is_too_old() {
    case("too old", all(false, Reason::ProofTooOld), async |s| {
        let oldest = json!({"agents_seconds": 300, "sessions_seconds": 300});
        s.patch("/organisation", json!({ "oldest_proof": oldest })).await;
        s.world.clock.advance(300);
        while !s.world.store.is_current() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_factor_that_the_organisation_asks_for_from_now_on() {
    let expected = all(false, Reason::SecondFactorMissing);
    local_case("no factor", &["pwd"], expected, async |s| {
        let on = json!({"require_second_factor": true});
        // Whoever has none would be the first to be shut out.
        let shut_out = s
            .world
            .owner(Method::PATCH, "/organisation", Some(on.clone()))
            .await;
        shut_out.refused(409, "conflict");
        s.world.own_factor().await;
        // Trying it says who loses access.
        let tried = s
            .world
            .owner(Method::PATCH, "/organisation?dry_run=true", Some(on.clone()))
            .await;
        let impact = &tried.json()["impact"];
        assert_eq!(
            (&impact["lose"]["people"], &impact["lose"]["agents"]),
            (&json!(1), &json!(1)),
            "{impact}"
        );
        assert_eq!(impact["lose"]["names"][0]["reason"], "second_factor_missing");
        s.patch("/organisation", on).await;
        // Whoever adds one has not shown it in this session.
        crate::world::add_factor(&s.world.store, &s.world.acme.org, &s.user.id).await;
    })
    .await;
}

#[tokio::test]
async fn a_second_factor_that_was_shown() {
    let strong = ["pwd", "otp", "mfa"];
    local_case("factor", &strong, all(true, Reason::PolicyAllowed), async |s| {
        s.world.own_factor().await;
        crate::world::add_factor(&s.world.store, &s.world.acme.org, &s.user.id).await;
        s.patch("/organisation", json!({"require_second_factor": true}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_second_factor_that_was_taken_away() {
    let strong = ["pwd", "otp", "mfa"];
    local_case(
        "no factor any more",
        &strong,
        all(false, Reason::SecondFactorMissing),
        async |s| {
            s.world.own_factor().await;
            let factor = crate::world::add_factor(&s.world.store, &s.world.acme.org, &s.user.id).await;
            s.patch("/organisation", json!({"require_second_factor": true}))
                .await;
            let path = format!("/users/{}/factors/{factor}", s.user.id);
            let gone = s.world.owner(Method::DELETE, &path, None).await;
            assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
        },
    )
    .await;
}

/// Makes the person one of another connection, by a migration.
async fn move_over(s: &Scene<'_>) {
    let acme = &s.world.acme;
    let mut tx = s.world.store.begin().await.unwrap();
    let person = user::Identity {
        issuer: "https://next-idp.example.com".into(),
        groups: vec!["staff".into()],
        claims: from_json(json!({"groups": ["staff"]})),
        ..identity(&acme.elsewhere.id, "nina")
    };
    let twin = user::sign_in(&mut tx, &acme.org, person).await.unwrap().user;
    tx.commit_housekeeping().await.unwrap();
    let body = json!({"from": acme.connection.id, "to": acme.elsewhere.id, "domains": ["example.com"]});
    let migration: Value = make(s.world, "/connection-migrations", body).await;
    let step = async |step: &str, body: Value| {
        let path = format!(
            "/connection-migrations/{}/{step}",
            migration["id"].as_str().unwrap()
        );
        let answer = s.world.owner(Method::POST, &path, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    };
    step(
        "links",
        json!({"from_user": s.user.id, "to_user": twin.id, "state": "approved"}),
    )
    .await;
    step("cut-over", json!({})).await;
    let now = user::get(&s.world.store, &acme.org, &s.user.id)
        .await
        .unwrap()
        .user;
    assert_eq!(now.connection, acme.elsewhere.id);
}

#[tokio::test]
async fn somebody_who_comes_through_another_connection_since_a_migration() {
    case("moved", all(true, Reason::PolicyAllowed), move_over).await;
}

#[tokio::test]
async fn a_proof_that_another_connection_gave_before_a_migration() {
    case(
        "the old provider's word",
        all(false, Reason::OrganisationFloor),
        async |s| {
            s.floor(json!({"type": "auth_method", "amr": ["pwd"]})).await;
            s.check("its own people's", all(true, Reason::PolicyAllowed), true)
                .await;
            move_over(s).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_connection_that_drains() {
    let expected = Expected {
        person: (false, true),
        agent: (false, true),
        reason: Reason::ConnectionNotBound,
    };
    case("draining", expected, async |s| {
        let until = s.world.clock.now().plus_seconds(86_400);
        let binding = format!("/bindings/{}", s.world.acme.binding.id);
        s.patch(&binding, json!({"state": "draining", "drain_until": until}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_below_what_the_app_accepts() {
    case("tier", agents(Reason::ClientNotAccepted), async |s| {
        s.patch_app(json!({"oauth": {"registration": {"lowest_tier": "approved"}}}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_rule_about_agents_only() {
    case("agents", agents(Reason::PolicyDenied), async |s| {
        let policy: Policy = make(
            s.world,
            "/policies",
            json!({"account": s.app.account, "name": "People only", "decision": "deny",
                "include": [{"type": "actor", "actor": "agent"}]}),
        )
        .await;
        let mut policies = vec![policy.id];
        policies.extend(s.app.spec.policies.clone());
        s.patch_app(json!({ "policies": policies })).await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_the_account_does_not_get_to_see() {
    case("withheld", all(false, Reason::NoPolicyMatched), async |s| {
        let binding = format!("/bindings/{}", s.world.acme.binding.id);
        s.patch(&binding, json!({"claims": ["email"]})).await;
    })
    .await;
}

#[tokio::test]
async fn somebody_who_is_disabled() {
    let expected = all(false, Reason::UserDisabled);
    whether(("disabled", false), expected, async |s| {
        s.behind(&format!(
            "UPDATE users SET disabled = TRUE WHERE id = '{}'",
            s.user.id
        ))
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_blocked() {
    let expected = agents(Reason::ClientNotAccepted);
    whether(("blocked", false), expected, async |s| {
        s.behind(&format!(
            "UPDATE clients SET state = 'blocked' WHERE id = '{}'",
            s.client.id
        ))
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_is_switched_off() {
    let off = |name: &str| format!("spec = REPLACE(spec, '\"{name}\":true', '\"{name}\":false')");
    for (what, table, change, expected) in [
        ("app", "apps", off("enabled"), all(false, Reason::Disabled)),
        (
            "account",
            "accounts",
            "enabled = FALSE".to_owned(),
            all(false, Reason::Disabled),
        ),
        (
            "connection",
            "connections",
            off("enabled"),
            all(false, Reason::ConnectionNotBound),
        ),
        (
            "agents",
            "apps",
            off("managed_oauth"),
            agents(Reason::ManagedOauthOff),
        ),
    ] {
        whether((what, false), expected, async |s| {
            let id = match what {
                "account" => s.app.account.to_string(),
                "connection" => s.user.connection.to_string(),
                _ => s.app.id.to_string(),
            };
            s.behind(&format!("UPDATE {table} SET {change} WHERE id = '{id}'"))
                .await;
        })
        .await;
    }
}

impl Scene<'_> {
    async fn sign_in_elsewhere(&self, amr: &[&str]) {
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
