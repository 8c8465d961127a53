//! Withheld is withheld everywhere: every answer that a role in an account can get, on every route of the
//! description, is gone through and searched for what the binding withholds. A new route is gone through, too.

use crate::isolation::operations;
use crate::roles::body;
use crate::webhooks::{Receiver, deliverer, make};
use crate::world::{Answer, World, account_token, on_each};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use store::user::{self, Identity};
use store::{client, grant, invitation, session};
use testkit::from_json;
use wire::*;

/// In everything that is withheld, and in nothing else.
pub(crate) const CANARY: &str = "yellowbird";

/// Somebody of a connection, all of whose claims hold the canary.
pub(crate) fn canary(connection: &ConnectionId, which: &str) -> Identity {
    let text = |what: &str| format!("{CANARY}-{which}-{what}");
    let email = format!("{}@{CANARY}.example", text("mail"));
    Identity {
        connection: connection.clone(),
        issuer: "https://idp.example.com".into(),
        // As those of e-mail codes and local passwords.
        subject: email.clone(),
        email: Some(email.clone()),
        email_verified: true,
        name: Some(text("name")),
        groups: vec![text("group")],
        claims: from_json(
            json!({"sub": email, "email": email, "name": text("name"), "groups": [text("group")],
            "department": text("department")}),
        ),
    }
}

pub(crate) async fn sign_in(world: &World, identity: Identity) -> User {
    let mut tx = world.store.begin().await.unwrap();
    let person = user::sign_in(&mut tx, &world.acme.org, identity).await;
    tx.commit_housekeeping().await.unwrap();
    person.unwrap().user
}

/// What the binding of Acme's connection in Production releases.
pub(crate) async fn release(world: &World, claims: Value) {
    let path = format!("/bindings/{}", world.acme.binding.id);
    ok(world, Method::PATCH, &path, json!({"claims": claims})).await;
}

pub(crate) async fn ok(world: &World, method: Method, path: &str, body: Value) -> Answer {
    let body = (method != Method::DELETE && method != Method::GET).then_some(body);
    let answer = world.owner(method, path, body).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
    answer
}

/// An event in Production's part of the log, as other surfaces write it.
pub(crate) fn event(world: &World, action: &str, actor: AuditActor) -> AuditEvent {
    let mut event = store::audit::event(&world.acme.org, "broker", action, actor);
    event.account = Some(world.acme.account.id.clone());
    event
}

pub(crate) fn actor(user: &User) -> AuditActor {
    AuditActor {
        user: Some(user.id.clone()),
        email: user.email.clone(),
        ..AuditActor::of(ActorKind::User)
    }
}

/// The people with the canary: one of the bound connection, one of a connection that is bound nowhere.
struct Flock {
    bound: User,
    stranger: User,
}

impl Flock {
    /// Both have to do with Production in every way that there is.
    async fn settle(world: &World) -> Self {
        let acme = &world.acme;
        let flock = Self {
            bound: sign_in(world, canary(&acme.connection.id, "bound")).await,
            stranger: sign_in(world, canary(&acme.elsewhere.id, "stranger")).await,
        };
        for user in [&flock.bound, &flock.stranger] {
            let member = json!({"user": user.id, "role": "account_auditor", "account": acme.account.id});
            let member = ok(world, Method::POST, "/members", member).await.json();
            let member = format!("/members/{}", member["id"].as_str().unwrap());
            ok(world, Method::PATCH, &member, json!({"role": "account_editor"})).await;
            let email = user.email.clone().unwrap();
            let new = json!({"email": email, "role": "account_editor", "account": acme.account.id});
            ok(world, Method::POST, "/invitations", new).await;
            flock.hold(world, user).await;
            flock.act(world, user).await;
            // Somebody of the organisation looks for them in Production's log.
            let look = format!("/audit?account={}&q={email}", acme.account.id);
            world.get(&look).await;
        }
        let group = format!("/groups/{}", acme.group.id);
        let members = json!({"members": [flock.bound.id, flock.stranger.id]});
        ok(world, Method::PATCH, &group, members).await;
        flock.accept(world).await;
        flock.fail(world).await;
        flock
    }

    /// Another account, with which Production has to do by its host only; its identifiers.
    async fn vault(&self, world: &World) -> Vec<String> {
        let acme = &world.acme;
        let id = |answer: Answer| answer.json()["id"].as_str().unwrap().to_owned();
        let name = format!("{CANARY}-vault");
        let vault = id(ok(world, Method::POST, "/accounts", json!({"name": name})).await);
        let app = |url: &str| {
            json!({"account": vault, "name": format!("{CANARY} {}", url.len()), "kind": "web", "public_url": url,
                "origin_url": "http://10.0.0.2"})
        };
        let own = id(ok(
            world,
            Method::POST,
            "/apps",
            app("https://vault.acme.example.com"),
        )
        .await);
        // Production's host is shared with it, goes to it and comes back.
        let host = format!("/hosts/{}", acme.host);
        let spec = |account: &str, shared: &str| json!({"account": account, "shared_with": [shared]});
        let mine = acme.account.id.to_string();
        ok(world, Method::PATCH, &host, spec(&mine, &vault)).await;
        let there = app("https://wiki.acme.example.com/vault");
        let there = id(ok(world, Method::POST, "/apps", there).await);
        ok(world, Method::PATCH, &host, spec(&vault, &mine)).await;
        ok(world, Method::PATCH, &host, spec(&mine, &vault)).await;
        vec![vault, own, there]
    }

    /// A grant that was revoked, and one that was not; a session.
    async fn hold(&self, world: &World, user: &User) {
        let acme = &world.acme;
        let mut tx = world.store.begin().await.unwrap();
        let mut grants = Vec::new();
        for n in 0..2 {
            let consent = grant::Consent {
                org: &acme.org,
                account: &acme.account.id,
                app: &acme.app.id,
                user: &user.id,
                client: &acme.client.id,
                scopes: &["access".into()],
                authentication: &wire::Authentication::default(),
                expires_at: tx.now().plus_seconds(86_400),
            };
            let code = store::sha256(format!("{} {n}", user.id));
            let ends = ("https://x/cb", "challenge", "https://x");
            let id = grant::issue(&mut tx, &consent, &code, ends).await.unwrap();
            store::refresh::begin(&mut tx, &id).await.unwrap();
            grants.push(id);
        }
        client::note_use(&mut tx, &acme.client, &user.id).await.unwrap();
        let id = SessionId::fresh();
        let row = session::Record {
            id: id.clone(),
            org: Some(acme.org.clone()),
            user: Some(user.id.clone()),
            app: Some(acme.app.id.clone()),
            parent: None,
            data: "{}".into(),
            expires_at: tx.now().plus_seconds(86_400),
            ip: None,
            user_agent: None,
            authentication: wire::Authentication::default(),
        };
        let hash = store::sha256(id.to_string());
        session::save(&mut tx, &hash, &row).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        ok(
            world,
            Method::DELETE,
            &format!("/grants/{}", grants[0]),
            json!({}),
        )
        .await;
    }

    /// What the other surfaces write down, and what surfaces to come may.
    async fn act(&self, world: &World, user: &User) {
        let app = store::audit::target("app", &world.acme.app.id, Some("Wiki"));
        let named = |kind: &str| store::audit::target(kind, &user.id, user.email.as_deref());
        let says = |text: &str| AuditChange {
            before: json!({"email": text, "nested": {"email": text}}),
            after: json!(text),
        };
        let email = user.email.clone().unwrap();
        let nobody = AuditActor {
            email: user.email.clone(),
            ..AuditActor::of(ActorKind::Anonymous)
        };
        for (action, actor, target, change) in [
            ("gateway.request", actor(user), Some(app), None),
            ("login.failure", nobody.clone(), Some(named("user")), None),
            ("login.code_sent", nobody, None, None),
            ("member.update", actor(user), Some(named("member")), None),
            (
                "novelty.create",
                actor(user),
                Some(named("novelty")),
                Some(says(&email)),
            ),
        ] {
            let mut event = event(world, action, actor);
            (event.target, event.change) = (target, change);
            world.store.record(event).await.unwrap();
        }
    }

    /// An invitation that the bound one accepted.
    async fn accept(&self, world: &World) {
        let acme = &world.acme;
        let mut tx = world.store.begin().await.unwrap();
        let new = invitation::New {
            email: format!("accepted@{CANARY}.example"),
            account: Some(acme.account.id.clone()),
            role: Role::AccountAdmin,
            local: false,
            created_by: Some(acme.owner.user.id.clone()),
            expires_at: tx.now().plus_seconds(86_400),
        };
        invitation::create(&mut tx, &acme.org, new, "hash").await.unwrap();
        let accepted = invitation::accept(&mut tx, &acme.org, "hash", &self.bound.id).await;
        let (made, _) = accepted.unwrap();
        let mut event = event(world, "invitation.accept", actor(&self.bound));
        event.target = Some(store::audit::target("invitation", &made.id, Some(&made.email)));
        event.change = Some(AuditChange {
            before: Value::Null,
            after: json!({"user": self.bound.id, "role": "account_admin", "email": made.email}),
        });
        tx.commit(event).await.unwrap();
    }

    /// Somebody could not sign in through the connection, and tried it.
    async fn fail(&self, world: &World) {
        let (acme, said) = (&world.acme, format!("`{CANARY}` is not assigned"));
        let place = (&acme.org, &acme.connection.id);
        let mut trial = store::trial::get(&world.store, place, &acme.trial).await.unwrap();
        trial.trace = vec![from_json(
            json!({"name": "claims", "state": "failed", "detail": said, "expected": "x", "received": CANARY,
            "millis": 1}),
        )];
        trial.claims = from_json(json!({"sub": CANARY}));
        trial.identity = Some(MappedIdentity {
            subject: CANARY.into(),
            ..MappedIdentity::default()
        });
        let mut tx = world.store.begin().await.unwrap();
        store::trial::update(&mut tx, &trial).await.unwrap();
        store::connection::note_health(&mut tx, &acme.connection.id, Some(&said))
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
    }
}

/// Pages of a list that are turned at the most.
const PAGES: usize = 20;

/// Goes through everything that somebody can ask.
struct Walk<'a> {
    world: &'a World,
    token: &'a str,
    /// Whether a search for the canary must find nothing.
    is_blind: bool,
    /// Identifiers that a list showed, by the list's path.
    listed: BTreeMap<String, BTreeSet<String>>,
    /// All that was answered, by operation.
    seen: BTreeMap<String, String>,
}

impl<'a> Walk<'a> {
    async fn through(world: &'a World, token: &'a str, is_blind: bool) -> Self {
        let mut walk = Self {
            world,
            token,
            is_blind,
            listed: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        let mut all = operations();
        all.sort_by_key(|(method, route)| (method != Method::GET, route.matches('{').count(), route.clone()));
        for (method, route) in all {
            for path in walk.places(&route) {
                walk.ask(&method, &route, &path).await;
            }
        }
        walk
    }

    /// A route with each identifier that its lists showed.
    fn places(&self, route: &str) -> Vec<String> {
        let mut paths = vec![String::new()];
        for part in route.split('/').skip(1) {
            let mut next = Vec::new();
            for path in paths {
                if part.starts_with('{') {
                    let known = self.listed.get(&path).into_iter().flatten();
                    next.extend(known.map(|id| format!("{path}/{id}")));
                } else {
                    next.push(format!("{path}/{part}"));
                }
            }
            paths = next;
        }
        paths
    }

    async fn ask(&mut self, method: &Method, route: &str, path: &str) {
        let operation = format!("{method} {route}");
        if *method == Method::GET {
            let queries = parameters(route);
            self.read(&operation, path, "").await;
            if queries.contains("format") {
                self.read(&operation, path, "?format=csv").await;
            }
            if queries.contains("limit") {
                self.pages(&operation, path, "limit=1").await;
            }
            if queries.contains("q") && self.is_blind {
                self.search(&operation, path, queries.contains("format")).await;
            }
            return;
        }
        let is_question = control_questions().contains(&route);
        let dry = if is_question { "" } else { "?dry_run=true" };
        let mut bodies = vec![body(method, route, self.world)];
        if operation == "POST /apps" {
            for place in [
                "https://vault.acme.example.com/x",
                "https://wiki.acme.example.com/vault",
            ] {
                bodies.push(Some(
                    json!({"account": self.world.acme.account.id, "name": "X", "kind": "web",
                    "public_url": place, "origin_url": "http://10.0.0.2"}),
                ));
            }
        }
        if route == "/policies/test" {
            bodies.push(Some(json!({"app": self.world.acme.app.id, "everyone": true})));
        }
        for body in bodies {
            let path = format!("{path}{dry}");
            let answer = self.world.call(self.token, method.clone(), &path, body).await;
            self.note(&operation, &answer);
        }
    }

    async fn read(&mut self, operation: &str, path: &str, query: &str) -> Answer {
        let asked = format!("{path}{query}");
        let answer = self.world.call(self.token, Method::GET, &asked, None).await;
        self.note(operation, &answer);
        if answer.header("content-type") == "application/json" {
            let json = answer.json();
            let items = json["items"].as_array().into_iter().flatten();
            let ids = items.filter_map(|item| item["id"].as_str().map(ToOwned::to_owned));
            self.listed.entry(path.to_owned()).or_default().extend(ids);
        }
        answer
    }

    /// All pages of a list; no cursor leads to something that no page shows.
    async fn pages(&mut self, operation: &str, path: &str, query: &str) {
        let mut next = format!("?{query}");
        for _ in 0..PAGES {
            let answer = self.read(operation, path, &next).await;
            if !answer.status.is_success() {
                return;
            }
            let Some(cursor) = answer.json()["next"].as_str().map(ToOwned::to_owned) else {
                return;
            };
            next = format!("?{query}&cursor={cursor}");
        }
    }

    /// A search for what is withheld is answered as one for what is nowhere.
    async fn search(&mut self, operation: &str, path: &str, has_formats: bool) {
        let csv = if has_formats { "&format=csv" } else { "" };
        for q in [CANARY, "YellowBird-bound", "stranger-mail"] {
            let mine = self.read(operation, path, &format!("?q={q}{csv}")).await;
            let nothing = self
                .read(operation, path, &format!("?q=nowhere-{}{csv}", q.len()))
                .await;
            if mine.status.is_success() {
                assert_eq!(mine.text, nothing.text, "{operation}: {q}");
            }
        }
    }

    fn note(&mut self, operation: &str, answer: &Answer) {
        let headers: String = answer.headers.values().map(|v| format!("{v:?}\n")).collect();
        let mut text = format!("{}\n{headers}", answer.text);
        if let Ok(json) = serde_json::from_str::<Value>(&answer.text)
            && let Some(cursor) = json["next"].as_str()
        {
            let plain = URL_SAFE_NO_PAD.decode(cursor).unwrap();
            text.push_str(&String::from_utf8_lossy(&plain));
        }
        self.seen.entry(operation.to_owned()).or_default().push_str(&text);
    }
}

/// Questions, which change nothing.
fn control_questions() -> [&'static str; 3] {
    [
        "/connections/discover",
        "/connections/{id}/claims-preview",
        "/policies/test",
    ]
}

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(control::openapi()).unwrap());

/// Names of the query's parameters of a `GET`.
fn parameters(route: &str) -> BTreeSet<String> {
    let parameters = &DESCRIPTION["paths"][format!("/api/v1{route}")]["get"]["parameters"];
    let query = parameters
        .as_array()
        .into_iter()
        .flatten()
        .filter(|p| p["in"] == "query");
    query.map(|p| p["name"].as_str().unwrap().to_owned()).collect()
}

/// What says something about the canaries to whoever may see them: the walk must get there.
const TELLING: [&str; 14] = [
    "GET /users",
    "GET /users/{id}",
    "GET /members",
    "GET /members/{id}",
    "GET /invitations",
    "GET /invitations/{id}",
    "GET /grants",
    "GET /grants/{id}",
    "GET /groups/{id}/members",
    "GET /connections/{id}/health",
    "GET /connections/{id}/trials",
    "POST /policies/test",
    "DELETE /members/{id}",
    "DELETE /grants/{id}",
];

async fn assert_blind(role: Role, is_person: bool) {
    on_each(async |world| {
        let flock = Flock::settle(world).await;
        let hidden = flock.vault(world).await;
        release(world, json!([])).await;
        let account = &world.acme.account;
        let token = match is_person {
            true => world.hire(role, Some(account)).await.token,
            false => account_token(world, role, account).await,
        };
        let walk = Walk::through(world, &token, true).await;
        for (operation, text) in &walk.seen {
            let at = text.to_lowercase().find(CANARY);
            let around = at.map(|at| &text[at.saturating_sub(300)..text.len().min(at + 100)]);
            assert_eq!(around, None, "{operation} tells {role:?}");
            for id in hidden.iter().chain([&world.acme.labs.id.to_string()]) {
                let at = text.find(id.as_str());
                let around = at.map(|at| &text[at.saturating_sub(300)..at + id.len()]);
                assert_eq!(around, None, "{operation} names what is not there for {role:?}");
            }
        }
        for operation in ["GET /hosts", "GET /hosts/{id}"] {
            assert!(
                walk.seen[operation].contains("wiki.acme.example.com"),
                "{operation}"
            );
        }
        let reads_log = role != Role::AccountEditor;
        assert_eq!(walk.seen["GET /audit"].contains("host.update"), reads_log);
        let users = &walk.seen["GET /users"];
        assert!(users.contains(flock.bound.id.as_ref()), "{users}");
        assert!(!users.contains(flock.stranger.id.as_ref()), "{users}");
    })
    .await;
}

#[tokio::test]
async fn no_answer_to_an_administrator_of_an_account_holds_what_the_binding_withholds() {
    assert_blind(Role::AccountAdmin, true).await;
}

#[tokio::test]
async fn no_answer_to_an_editor_of_an_account_holds_what_the_binding_withholds() {
    assert_blind(Role::AccountEditor, true).await;
}

#[tokio::test]
async fn no_answer_to_a_token_of_an_account_holds_what_the_binding_withholds() {
    assert_blind(Role::AccountAuditor, false).await;
}

#[tokio::test]
async fn the_organisation_sees_it_on_every_route_that_tells_it() {
    on_each(async |world| {
        Flock::settle(world).await;
        release(world, json!([])).await;
        let walk = Walk::through(world, &world.acme.owner.token, false).await;
        for operation in TELLING
            .into_iter()
            .chain(["GET /audit", "GET /audit/{id}", "GET /audit/export"])
        {
            let text = walk.seen.get(operation).map_or("", String::as_str);
            assert!(text.contains(CANARY), "{operation} was not gone through");
        }
        // And so does the account, once it is released.
        release(world, Value::Null).await;
        let auditor = world.hire(Role::AccountAuditor, Some(&world.acme.account)).await;
        let walk = Walk::through(world, &auditor.token, false).await;
        for operation in [
            "GET /users",
            "GET /members",
            "GET /grants",
            "GET /invitations",
            "GET /audit",
        ] {
            assert!(walk.seen[operation].contains(CANARY), "{operation}");
        }
    })
    .await;
}

#[tokio::test]
async fn no_webhook_of_an_account_carries_what_the_binding_withholds() {
    on_each(async |world| {
        release(world, json!([])).await;
        let (inside, above) = (Receiver::start().await, Receiver::start().await);
        let events = json!(["*", "gateway."]);
        let more = json!({"name": "Production", "account": world.acme.account.id, "events": events});
        let hook = make(world, &inside, more).await;
        make(world, &above, json!({"name": "All", "events": events})).await;
        let flock = Flock::settle(world).await;
        let hidden = flock.vault(world).await;
        deliverer(world).step().await.unwrap();
        let bodies = |receiver: &Receiver| -> Vec<String> {
            receiver.take().into_iter().map(|(_, body)| body).collect()
        };
        let (inside, above) = (bodies(&inside).join("\n"), bodies(&above).join("\n"));
        assert!(above.contains(CANARY) && above.contains(flock.bound.id.as_ref()));
        assert!(inside.contains(flock.bound.id.as_ref()), "{inside}");
        assert!(!inside.contains(CANARY), "{inside}");
        for id in &hidden {
            assert!(
                above.contains(id.as_str()) && !inside.contains(id.as_str()),
                "{id}"
            );
        }
        // Nor do the deliveries, whoever looks at them.
        let list = format!("{}/deliveries", crate::webhooks::path(&hook));
        for delivery in world.get(&list).await["items"].as_array().unwrap() {
            let one = world
                .get(&format!("{list}/{}", delivery["id"].as_str().unwrap()))
                .await;
            assert!(!one.to_string().contains(CANARY), "{one}");
        }
    })
    .await;
}
