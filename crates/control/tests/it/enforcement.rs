//! The tester says what the gateway does: the same requests through both.

use crate::world::{World, identity, new_client, on_each};
use axum::body::Body;
use gateway::{Gateway, GatewayConfig};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use store::{Store, client, grant, session, user};
use testkit::{CONTROL, from_json};
use tokens::{AccessClaims, Act};
use wire::*;

/// One account with a website, an MCP server, and people, agents and services of all sorts.
struct Place<'w> {
    world: &'w World,
    gateway: Gateway,
    wiki: App,
    tickets: App,
    service: (ServiceTokenId, String),
}

/// Who comes to the gateway, as the tester names them.
enum Guest<'a> {
    Nobody,
    Browser(&'a User),
    Agent(&'a User, &'a Client, &'a [&'a str]),
    Service,
}

/// What is asked for.
struct Ask<'a> {
    app: &'a App,
    method: &'a str,
    path: &'a str,
    tool: Option<&'a str>,
    ip: &'a str,
}

async fn make<T: serde::de::DeserializeOwned>(world: &World, path: &str, body: Value) -> T {
    let answer = world.owner(Method::POST, path, Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{path}: {}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

async fn change(world: &World, path: &str, body: Value) {
    let answer = world.owner(Method::PATCH, path, Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
}

async fn person(world: &World, connection: &ConnectionId, subject: &str, claims: Value) -> User {
    let groups = claims["groups"].as_array().cloned().unwrap_or_default();
    let identity = user::Identity {
        groups: groups.iter().map(|g| g.as_str().unwrap().to_owned()).collect(),
        claims: claims.as_object().unwrap().clone(),
        ..identity(connection, subject)
    };
    let mut tx = world.store.begin().await.unwrap();
    let person = user::sign_in(&mut tx, &world.acme.org, identity).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    person.user
}

impl<'w> Place<'w> {
    async fn new(world: &'w World) -> Self {
        let account = &world.acme.account.id;
        let (monday_hours, at_night) = windows(&world.store);
        let mut policies = Vec::new();
        let staff: Group = make(
            world,
            "/groups",
            json!({"account": account, "name": "Employees", "include": [{"type": "claim", "name": "groups", "value": "staff"}]}),
        )
        .await;
        for (name, decision, rest) in [
            (
                "Health",
                "bypass",
                json!({"include": [{"type": "request", "methods": ["GET"], "path": "/mcp/health"}, {"type": "request", "methods": ["GET"], "path": "/health"}]}),
            ),
            (
                "No contractors",
                "deny",
                json!({"include": [{"type": "claim", "name": "groups", "value": "contractors"}]}),
            ),
            (
                "Not at night",
                "deny",
                json!({"include": [{"type": "claim", "name": "shift", "value": "night"}], "require": [at_night]}),
            ),
            (
                "Machines",
                "service_auth",
                json!({"include": [{"type": "any_service_token"}], "exclude": [{"type": "mcp_tool", "tool": "close_*"}]}),
            ),
            (
                "Office",
                "allow",
                json!({"include": [{"type": "ip", "ranges": ["10.0.0.0/8"]}], "require": [monday_hours]}),
            ),
            (
                "Staff",
                "allow",
                json!({"include": [{"type": "group", "group": staff.id}], "exclude": [{"type": "request", "path": "/admin/**"}, {"type": "client_tier", "at_least": "approved"}]}),
            ),
            (
                "Strong",
                "allow",
                json!({"include": [{"type": "auth_method", "acr": ["phr"]}, {"type": "email_list", "emails": ["lee@example.com"]}]}),
            ),
        ] {
            let mut body = rest;
            body["account"] = json!(account);
            body["name"] = json!(name);
            body["decision"] = json!(decision);
            let policy: Policy = make(world, "/policies", body).await;
            policies.push(policy.id);
        }
        let app = async |name: &str, kind: &str, url: &str, scopes: Value| -> App {
            let body = json!({"account": account, "name": name, "kind": kind, "public_url": url,
                "origin_url": "http://127.0.0.1:1", "managed_oauth": true, "policies": policies,
                "oauth": {"scopes": scopes, "registration": {"lowest_tier": "localhost"}}});
            make(world, "/apps", body).await
        };
        let all = json!([{"name": "access", "description": "Use", "covers": [{}]}]);
        let wiki = app("Notes", "web", "https://notes.acme.example.com", all).await;
        let scopes = json!([
            {"name": "read", "description": "Read", "covers": [{"tools": ["list_*"]}]},
            {"name": "write", "description": "Write", "covers": [{"tools": ["close_*"]}]},
        ]);
        let tickets = app("Tickets", "mcp", "https://tickets.acme.example.com/mcp", scopes).await;
        let service: Value = make(
            world,
            "/service-tokens",
            json!({"account": account, "name": "Robot"}),
        )
        .await;
        let id = service["id"].as_str().unwrap().parse().unwrap();
        Self {
            gateway: Gateway::new(GatewayConfig {
                store: world.store.clone(),
                keyring: world.keyring.clone(),
                control_url: CONTROL.into(),
            }),
            world,
            wiki,
            tickets,
            service: (id, service["client_secret"].as_str().unwrap().into()),
        }
    }

    async fn client(&self, app: &App, tier: ClientTier) -> Client {
        let mut tx = self.world.store.begin().await.unwrap();
        let redirect = match tier {
            ClientTier::Localhost => "http://127.0.0.1/cb",
            _ => "https://agent.example.com/cb",
        };
        let new = client::NewClient {
            tier,
            redirect_uris: vec![redirect.into()],
            ..new_client()
        };
        let place = (&app.account, &app.id);
        let made = client::create(&mut tx, &self.world.acme.org, place, new)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        made.client
    }

    /// Compares what is told with what is done, and says what it was.
    async fn both(&self, what: &str, guest: Guest<'_>, ask: Ask<'_>) -> String {
        let mut test = json!({"app": ask.app.id, "method": ask.method, "path": ask.path, "ip": ask.ip});
        if let Some(tool) = ask.tool {
            test["tool"] = json!(tool);
        }
        match &guest {
            Guest::Nobody => {}
            Guest::Browser(user) => {
                test["user"] = json!(user.id);
                test["authentication"] = json!(proof(user));
            }
            Guest::Agent(user, client, scopes) => {
                test["authentication"] = json!(proof(user));
                test["user"] = json!(user.id);
                test["client"] = json!(client.id);
                test["scopes"] = json!(scopes);
            }
            Guest::Service => test["service_token"] = json!(self.service.0),
        }
        let told = self.world.owner(Method::POST, "/policies/test", Some(test)).await;
        assert_eq!(told.status, StatusCode::OK, "{what}: {}", told.text);
        let told: PolicyTestResult = serde_json::from_str(&told.text).unwrap();
        let told = told.decision.unwrap();

        self.send(&guest, &ask).await;
        let filter = store::audit::Filter {
            action: Some("gateway.request".into()),
            ..store::audit::Filter::default()
        };
        let order = (store::audit::Order::Newest, None);
        let events = store::audit::list(&self.world.store, &self.world.acme.org, &filter, order, 1).await;
        let event = events.unwrap().pop().unwrap();
        assert_eq!(
            event.request.unwrap().id,
            format!("req of {}", ask.path),
            "{what}"
        );
        let allowed = event.outcome == Outcome::Allowed;
        let reason = serde_json::to_value(told.reason).unwrap();
        assert_eq!(told.allowed, allowed, "{what}: {told:?}, {:?}", event.reason);
        assert_eq!(reason.as_str(), event.reason.as_deref(), "{what}");
        let (told_rule, rule) = (told.rule.map(|r| r.id), event.rule.map(|r| r.id));
        assert_eq!(told_rule, rule, "{what}");
        reason.as_str().unwrap().to_owned()
    }

    async fn send(&self, guest: &Guest<'_>, ask: &Ask<'_>) {
        let mut request = Request::builder().method(ask.method).uri(ask.path);
        match guest {
            Guest::Nobody => request = request.header("sec-fetch-mode", "navigate"),
            Guest::Browser(user) => request = request.header("cookie", self.cookie(user, ask.app).await),
            Guest::Agent(user, client, scopes) => {
                let token = self.token(user, client, ask.app, scopes).await;
                request = request.header("authorization", format!("Bearer {token}"));
            }
            Guest::Service => {
                request = request
                    .header(SERVICE_TOKEN_ID_HEADER, self.service.0.to_string())
                    .header(SERVICE_TOKEN_SECRET_HEADER, &self.service.1);
            }
        }
        let body = match ask.tool {
            Some(tool) => {
                request = request.header("content-type", "application/json");
                let params = json!({"name": tool, "arguments": {}});
                let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
                Body::from(call.to_string())
            }
            None => Body::empty(),
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(AuditRequest {
            id: format!("req of {}", ask.path),
            method: ask.method.into(),
            path: ask.path.into(),
            ip: Some(ask.ip.into()),
            user_agent: None,
        });
        let host = ask.app.spec.public_url.split('/').nth(2).unwrap();
        let answer = self.gateway.handle(host, request).await;
        // The origin is not there: what is let through is a bad gateway.
        assert_ne!(answer.status(), StatusCode::OK);
    }

    async fn cookie(&self, user: &User, app: &App) -> String {
        let secret = store::random_secret("").unwrap();
        let record = session::Record {
            id: SessionId::fresh(),
            org: Some(self.world.acme.org.clone()),
            user: Some(user.id.clone()),
            app: Some(app.id.clone()),
            parent: None,
            data: "{}".into(),
            expires_at: self.world.clock.now().plus_seconds(3600),
            ip: None,
            user_agent: None,
            authentication: proof(user),
        };
        let mut tx = self.world.store.begin().await.unwrap();
        session::save(&mut tx, &store::sha256(&secret), &record)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let id = app.id.to_string();
        format!("__Host-chatelaine_app_{}={secret}", id.trim_start_matches("app_"))
    }

    async fn token(&self, user: &User, client: &Client, app: &App, scopes: &[&str]) -> String {
        let world = self.world;
        let granted: Vec<String> = scopes.iter().map(|s| (*s).to_owned()).collect();
        let now = world.clock.now();
        let mut tx = world.store.begin().await.unwrap();
        let consent = grant::Consent {
            org: &world.acme.org,
            account: &app.account,
            app: &app.id,
            user: &user.id,
            client: &client.id,
            scopes: &granted,
            authentication: &proof(user),
            expires_at: now.plus_seconds(86_400),
        };
        let code = store::random_secret("").unwrap();
        let bound = (
            client.redirect_uris[0].as_str(),
            "challenge",
            app.spec.public_url.as_str(),
        );
        let grant = grant::issue(&mut tx, &consent, &code, bound).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let claims = AccessClaims {
            iss: app.issuer.clone(),
            aud: app.spec.public_url.clone(),
            sub: user.id.clone(),
            client_id: client.client_id.clone(),
            scope: granted.join(" "),
            jti: store::random_secret("").unwrap(),
            iat: now.seconds(),
            nbf: None,
            exp: now.seconds() + 900,
            grant,
            act: Act {
                sub: client.client_id.clone(),
            },
        };
        world.keyring.mint_access(&world.acme.org, &claims).unwrap()
    }
}

/// One of them signs in with a key; the others do not say how.
fn proof(user: &User) -> Authentication {
    match user.subject.as_str() {
        "key" => from_json(json!({"connection": user.connection, "acr": "phr", "amr": ["hwk"]})),
        _ => Authentication::default(),
    }
}

/// A window that is open at the start of the test, and one that is not before ten hours have gone.
fn windows(store: &Store) -> (Value, Value) {
    let now = store.clock().now().seconds();
    let clock = |seconds: i64| {
        let of_day = (now + seconds).rem_euclid(86_400);
        format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
    };
    let window = |from: i64, to: i64| json!({"type": "time", "from": clock(from), "to": clock(to)});
    (window(-3600, 3600), window(36_000, 40_000))
}

#[tokio::test]
async fn the_tester_says_what_the_gateway_does() {
    on_each(async |world| {
        let place = Place::new(world).await;
        let connection = &world.acme.connection.id;
        let ada = person(world, connection, "ada2", json!({"groups": ["staff"]})).await;
        let carl = person(world, connection, "carl", json!({"groups": ["contractors", "staff"]})).await;
        let zoe = person(world, connection, "zoe", json!({})).await;
        let lee = person(world, connection, "lee", json!({})).await;
        let key = person(world, connection, "key", json!({})).await;
        let owl = person(world, connection, "owl", json!({"groups": ["staff"], "shift": "night"})).await;
        let spec = json!({"name": "Elsewhere", "kind": "oidc", "issuer": "https://other.example.com", "client_id": "x"});
        let elsewhere: Connection = make(world, "/connections", spec).await;
        let eve = person(world, &elsewhere.id, "eve", json!({"groups": ["staff"]})).await;
        let (wiki, tickets) = (&place.wiki, &place.tickets);
        let local = place.client(tickets, ClientTier::Localhost).await;
        let approved = place.client(tickets, ClientTier::Approved).await;
        let at_wiki = place.client(wiki, ClientTier::Unverified).await;

        let mcp = |tool| Ask {
            app: tickets,
            method: "POST",
            path: "/mcp",
            tool: Some(tool),
            ip: "203.0.113.7",
        };
        let web = |method, path, ip| Ask {
            app: wiki,
            method,
            path,
            tool: None,
            ip,
        };
        let get = |path| web("GET", path, "203.0.113.7");
        let rw: &[&str] = &["read", "write"];
        let read: &[&str] = &["read"];
        for (what, guest, ask, expected) in [
            ("an agent lists", Guest::Agent(&ada, &local, rw), mcp("list_tickets"), "policy_allowed"),
            ("an agent closes", Guest::Agent(&ada, &local, rw), mcp("close_ticket"), "policy_allowed"),
            ("an agent lacks a scope", Guest::Agent(&ada, &local, read), mcp("close_ticket"), "insufficient_scope"),
            ("no scope covers it", Guest::Agent(&ada, &local, rw), mcp("delete_all"), "insufficient_scope"),
            ("a contractor's agent", Guest::Agent(&carl, &local, rw), mcp("list_tickets"), "policy_denied"),
            ("an agent of somebody else", Guest::Agent(&zoe, &local, rw), mcp("list_tickets"), "no_policy_matched"),
            ("an agent that a rule excludes", Guest::Agent(&ada, &approved, rw), mcp("list_tickets"), "no_policy_matched"),
            ("an agent at the website", Guest::Agent(&ada, &at_wiki, &["access"]), get("/page"), "policy_allowed"),
            ("an employee", Guest::Browser(&ada), get("/page"), "policy_allowed"),
            ("an employee at a path that a rule excludes", Guest::Browser(&ada), get("/admin/x"), "no_policy_matched"),
            ("a contractor", Guest::Browser(&carl), get("/page"), "policy_denied"),
            ("somebody without a rule", Guest::Browser(&zoe), get("/page"), "no_policy_matched"),
            ("from the office, in hours", Guest::Browser(&zoe), web("GET", "/page", "10.1.2.3"), "policy_allowed"),
            ("named in a list", Guest::Browser(&lee), web("POST", "/admin/x", "203.0.113.7"), "policy_allowed"),
            ("with a strong sign-in", Guest::Browser(&key), get("/page"), "policy_allowed"),
            ("of the night shift, by day", Guest::Browser(&owl), get("/page"), "policy_allowed"),
            ("of a connection that is not bound", Guest::Browser(&eve), get("/page"), "connection_not_bound"),
            ("with a path of two readings", Guest::Browser(&ada), get("/a/%2e%2e/admin"), "ambiguous_path"),
            ("a service", Guest::Service, mcp("list_tickets"), "service_authenticated"),
            ("a service, what a rule excludes", Guest::Service, mcp("close_ticket"), "no_policy_matched"),
            ("a service at the website", Guest::Service, get("/page"), "service_authenticated"),
            ("nobody", Guest::Nobody, get("/page"), "unauthenticated"),
            ("nobody, where nobody signs in", Guest::Nobody, get("/health"), "bypassed"),
            ("somebody, where nobody signs in", Guest::Browser(&carl), get("/health"), "bypassed"),
        ] {
            assert_eq!(place.both(what, guest, ask).await, expected, "{what}");
        }

        // The switch.
        change(world, &format!("/apps/{}", wiki.id), json!({"managed_oauth": false})).await;
        let guest = || Guest::Agent(&ada, &at_wiki, &["access"]);
        assert_eq!(place.both("managed off", guest(), get("/page")).await, "managed_oauth_off");
        assert_eq!(place.both("managed off, public", guest(), get("/health")).await, "bypassed");
        // Trust.
        let stricter = json!({"oauth": {"registration": {"lowest_tier": "domain_verified"}}});
        change(world, &format!("/apps/{}", tickets.id), stricter).await;
        let guest = Guest::Agent(&ada, &local, rw);
        assert_eq!(place.both("low trust", guest, mcp("list_tickets")).await, "client_not_accepted");
        // The floor.
        change(world, "/organisation", json!({"floor": [{"type": "auth_method", "amr": ["hwk"]}]})).await;
        assert_eq!(place.both("below the floor", Guest::Browser(&ada), get("/page")).await, "organisation_floor");
        assert_eq!(place.both("above the floor", Guest::Browser(&key), get("/page")).await, "policy_allowed");
        assert_eq!(place.both("service and floor", Guest::Service, get("/page")).await, "organisation_floor");
        assert_eq!(place.both("public and floor", Guest::Nobody, get("/health")).await, "unauthenticated");
        change(world, "/organisation", json!({"floor": []})).await;
        // What has ended.
        change(world, &format!("/service-tokens/{}", place.service.0), json!({"enabled": false})).await;
        assert_eq!(place.both("a disabled service", Guest::Service, get("/page")).await, "credential_invalid");
        change(world, &format!("/apps/{}", wiki.id), json!({"enabled": false})).await;
        assert_eq!(place.both("a disabled app", Guest::Browser(&ada), get("/page")).await, "disabled");
        assert_eq!(place.both("a disabled app, nobody", Guest::Nobody, get("/health")).await, "disabled");
        change(world, &format!("/apps/{}", wiki.id), json!({"enabled": true})).await;
        // Later that day.
        world.clock.advance(37_000);
        for _ in 0..250 {
            if world.store.is_current() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(place.both("the night shift at night", Guest::Browser(&owl), get("/page")).await, "policy_denied");
        let office = web("GET", "/page", "10.1.2.3");
        assert_eq!(place.both("the office at night", Guest::Browser(&zoe), office).await, "no_policy_matched");
    })
    .await;
}
