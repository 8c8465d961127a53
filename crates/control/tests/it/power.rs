//! Power is asked for by what an act can do, not by its name: which writes need a proof of the last 15 minutes,
//! which need an owner, and what is judged again when it happens later.

use crate::isolation::{filled, operations};
use crate::matrix::proof;
use crate::roles::{body, is_read};
use crate::world::{Answer, World, account_token, hire, identity, on_each};
use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use store::{invitation, user};
use wire::{AuditEvent, Outcome, Role, TokenScope};

/// A browser's session of Acme's owner.
struct Browser<'a> {
    world: &'a World,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    async fn new(world: &'a World) -> Self {
        let cookie = crate::session::sign_in(world).await;
        let request = Request::get("/api/v1/session").header(header::COOKIE, &cookie);
        let session = world.send(request.body(Body::empty()).unwrap()).await.json();
        let csrf = session["csrf_token"].as_str().unwrap().to_owned();
        Self { world, cookie, csrf }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.keyed(method, path, body, None).await
    }

    async fn keyed(&self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::COOKIE, &self.cookie)
            .header(wire::CSRF_HEADER, &self.csrf);
        if path.starts_with("/organisation") {
            request = request.header(header::IF_MATCH, "*");
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.world.send(request.body(body).unwrap()).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }
}

/// What changes nothing that matters, and what does, where a proof depends on it.
fn changes(operation: &str, world: &World) -> (Vec<Value>, Vec<Value>) {
    let acme = &world.acme;
    let soon = world.clock.now().plus_seconds(90 * 86_400);
    let later = world.clock.now().plus_seconds(500 * 86_400);
    let name = json!({"name": "Another name"});
    match operation {
        "PATCH /organisation" => (
            vec![name],
            vec![
                json!({"floor": [{"type": "mfa"}]}),
                json!({"primary_connection": acme.connection.id}),
                json!({"require_second_factor": true}),
                json!({"name": "Another name", "floor": [{"type": "mfa"}]}),
            ],
        ),
        "PATCH /accounts/{id}" => (vec![name], vec![json!({"enabled": false})]),
        // The employee has no role.
        "PATCH /users/{id}" => (vec![json!({"disabled": true})], vec![]),
        "PATCH /connections/{id}" => (
            vec![name, json!({"client_secret_expires_at": soon})],
            vec![
                json!({"issuer": "https://evil.example.com", "client_secret": "x"}),
                json!({"client_id": "other"}),
                json!({"client_secret": "other"}),
                json!({"enabled": false}),
                json!({"allowed_domains": ["evil.example.com"]}),
                json!({"claims": {"groups": "roles"}}),
                json!({"required_claims": {"tid": "x"}}),
                json!({"email_verification": "never"}),
                json!({"allow_internal": ["http://10.0.0.5"]}),
                json!({"scopes": ["groups"]}),
                json!({"logout": {"back_channel": true}}),
                json!({"bind_new_accounts": true}),
                json!({"new_account_claims": ["email"]}),
                json!({"preset": "okta"}),
            ],
        ),
        "PATCH /groups/{id}" => (
            vec![name],
            vec![
                json!({"members": [acme.employee.id]}),
                json!({"include": [{"type": "email_domain", "domain": "evil.example.com"}]}),
            ],
        ),
        "PATCH /policies/{id}" => (
            vec![name],
            vec![
                json!({"decision": "bypass"}),
                json!({"include": [{"type": "mfa"}]}),
                json!({"require": [{"type": "mfa"}]}),
            ],
        ),
        "POST /policies" => {
            let new = |decision: &str| json!({"account": acme.account.id, "name": "P", "decision": decision, "include": [{"type": "everyone"}]});
            (vec![new("allow"), new("deny")], vec![new("bypass")])
        }
        "PATCH /apps/{id}" => (
            vec![name, json!({"enabled": false})],
            vec![
                json!({"public_url": "https://elsewhere.example.com"}),
                json!({"origin_url": "http://10.0.0.9:8080"}),
                json!({"managed_oauth": true}),
                json!({"policies": []}),
                json!({"identity_headers": true}),
                json!({"session_seconds": 2_592_000}),
                json!({"oauth": {"grant_seconds": 31_536_000}}),
                json!({"enabled": false, "managed_oauth": true}),
            ],
        ),
        "PATCH /clients/{id}" => (
            vec![json!({"state": "blocked"}), json!({"state": "pending"})],
            vec![
                json!({"tier": "approved"}),
                json!({"tier": "approved", "state": "blocked"}),
            ],
        ),
        "PATCH /api-tokens/{id}" => (
            vec![name],
            vec![
                json!({"expires_at": later}),
                json!({"allowed_ips": ["203.0.113.0/24"]}),
            ],
        ),
        "PATCH /service-tokens/{id}" => (
            vec![name, json!({"enabled": false}), json!({"expires_at": soon})],
            vec![json!({"expires_at": null})],
        ),
        "PATCH /webhooks/{id}" => (
            vec![name],
            vec![
                json!({"url": "https://evil.example.com/hook"}),
                json!({"events": ["app."]}),
                json!({"enabled": true}),
                json!({"allow_internal": true}),
            ],
        ),
        "POST /connections/discover" => (
            vec![],
            vec![json!({"issuer": "https://127.0.0.1:1", "allow_internal": ["https://127.0.0.1:1"]})],
        ),
        "POST /connection-migrations/{id}/links" => {
            let pair = |state: &str| json!({"from_user": acme.employee.id, "to_user": acme.owner.user.id, "state": state});
            (vec![pair("rejected")], vec![pair("approved")])
        }
        "POST /agent-attempts/{id}/remedy" => (vec![], vec![json!({"kind": "switch_on_managed_oauth"})]),
        "DELETE /bindings/{id}" => (vec![], vec![Value::Null]),
        "DELETE /clients/{id}" => (vec![Value::Null], vec![]),
        other => panic!("a change without a case: {other}"),
    }
}

/// Everything in the log but refusals.
async fn done(world: &World) -> Vec<AuditEvent> {
    let order = (store::audit::Order::Newest, None);
    let filter = store::audit::Filter::default();
    let events = store::audit::list(&world.store, &world.acme.org, &filter, order, 1000).await;
    let mut events = events.unwrap();
    events.retain(|event| event.action != "api.refuse");
    events
}

#[tokio::test]
async fn a_session_of_16_minutes_does_nothing_that_needs_a_proof() {
    on_each(async |world| {
        let service = format!("/service-tokens/{}", world.acme.service_token.id);
        let year = json!({"expires_at": world.clock.now().plus_seconds(365 * 86_400)});
        let answer = world.owner(Method::PATCH, &service, Some(year)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let browser = Browser::new(world).await;
        world.clock.advance(16 * 60);
        let before = done(world).await.len();
        for (method, route) in operations() {
            let operation = format!("{method} {route}");
            let usual = body(&method, &route, world);
            let (free, guarded) = match proof(&operation) {
                None => continue,
                Some("never") => (vec![usual], vec![]),
                Some("always") => (vec![], vec![usual]),
                Some(_) => {
                    let given = |body: Value| Some(body).filter(|body| !body.is_null());
                    let (free, guarded) = changes(&operation, world);
                    let (free, guarded) = (free.into_iter(), guarded.into_iter());
                    (free.map(given).collect(), guarded.map(given).collect())
                }
            };
            let path = filled(&route, &world.acme);
            for body in guarded {
                let answer = browser.send(method.clone(), &path, body.clone()).await;
                assert_eq!(answer.status, 403, "{operation} {body:?}: {}", answer.text);
                answer.refused(403, "reauthentication-required");
            }
            for body in free {
                let dry = if is_read(&operation) { "" } else { "?dry_run=true" };
                let path = format!("{path}{dry}");
                let answer = browser.send(method.clone(), &path, body.clone()).await;
                let fine = matches!(answer.status.as_u16(), 200 | 201 | 409);
                assert!(fine, "{operation} {body:?}: {} {}", answer.status, answer.text);
            }
        }
        let after = done(world).await;
        let new = &after[..after.len() - before];
        assert!(
            new.iter().all(|event| event.action.ends_with(".dry_run")
                || matches!(event.action.as_str(), "webhook.test" | "connection.trial")),
            "{new:?}"
        );

        // With a new proof, all of it; here, the one that leads furthest.
        let browser = Browser::new(world).await;
        let elsewhere = json!({"issuer": "https://new.example.com", "client_secret": "new"});
        let path = format!("/connections/{}", world.acme.connection.id);
        let answer = browser.patch(&path, elsewhere).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn whoever_has_power_is_switched_off_and_on_with_a_proof() {
    on_each(async |world| {
        let admin = world.hire(Role::AccountAdmin, Some(&world.acme.labs)).await;
        let browser = Browser::new(world).await;
        world.clock.advance(16 * 60);
        let (admin, employee) = (
            format!("/users/{}", admin.user.id),
            format!("/users/{}", world.acme.employee.id),
        );
        let answer = browser.patch(&admin, json!({"disabled": true})).await;
        answer.refused(403, "reauthentication-required");
        let answer = browser.patch(&employee, json!({"disabled": true})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = browser.patch(&employee, json!({"disabled": false})).await;
        answer.refused(403, "reauthentication-required");
    })
    .await;
}

#[tokio::test]
async fn what_was_closed_is_opened_with_a_proof() {
    on_each(async |world| {
        let acme = &world.acme;
        let browser = Browser::new(world).await;
        world.clock.advance(16 * 60);
        for (path, close, open) in [
            (
                format!("/clients/{}", acme.client.id),
                json!({"state": "blocked"}),
                json!({"state": "active"}),
            ),
            (
                format!("/service-tokens/{}", acme.service_token.id),
                json!({"enabled": false}),
                json!({"enabled": true}),
            ),
            (
                format!("/apps/{}", acme.app.id),
                json!({"enabled": false}),
                json!({"enabled": true}),
            ),
        ] {
            let answer = browser.patch(&path, close).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            let answer = browser.patch(&path, open).await;
            answer.refused(403, "reauthentication-required");
        }
        // A block would go with what is blocked: it comes back as if nothing had been.
        let client = format!("/clients/{}", acme.client.id);
        let answer = browser.send(Method::DELETE, &client, None).await;
        answer.refused(403, "reauthentication-required");
    })
    .await;
}

#[tokio::test]
async fn the_stored_secret_goes_to_no_other_provider() {
    on_each(async |world| {
        let acme = &world.acme;
        let path = format!("/connections/{}", acme.connection.id);
        for elsewhere in [
            json!({"issuer": "https://evil.example.com"}),
            json!({"issuer": "https://evil.example.com", "client_secret": null}),
            json!({"issuer": "https://idp.example.com/"}),
            json!({"name": "New", "issuer": "https://evil.example.com", "client_id": "x"}),
        ] {
            for path in [path.clone(), format!("{path}?dry_run=true")] {
                let answer = world.owner(Method::PATCH, &path, Some(elsewhere.clone())).await;
                assert_eq!(answer.refused(422, "secret-required"), ["/client_secret"]);
            }
        }
        assert_eq!(world.get(&path).await["issuer"], json!("https://idp.example.com"));
        let stored = async || {
            let secret = store::connection::secret(&world.store, &acme.connection.id).await;
            secret.unwrap().unwrap().to_string()
        };
        assert_eq!(stored().await, "canary-upstream");
        // With the secret that belongs there.
        let with = json!({"issuer": "https://new.example.com", "client_secret": "theirs"});
        let answer = world.owner(Method::PATCH, &path, Some(with)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(stored().await, "theirs");
        // What stays with the provider needs none, nor does one that has none.
        let answer = world
            .owner(Method::PATCH, &path, Some(json!({"client_id": "other"})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let without = format!("/connections/{}", acme.elsewhere.id);
        let moved = json!({"issuer": "https://other.example.com"});
        let answer = world.owner(Method::PATCH, &without, Some(moved)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);

        // GitHub: from github.com to a server of one's own.
        let new =
            json!({"name": "GitHub", "kind": "github", "client_id": "x", "client_secret": "canary-github"});
        let made = world.owner(Method::POST, "/connections", Some(new)).await.json();
        let path = format!("/connections/{}", made["id"].as_str().unwrap());
        let moved = json!({"issuer": "https://github.evil.example.com"});
        let answer = world.owner(Method::PATCH, &path, Some(moved)).await;
        assert_eq!(answer.refused(422, "secret-required"), ["/client_secret"]);
    })
    .await;
}

#[tokio::test]
async fn only_an_owner_changes_what_says_who_owners_are() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::OrgAdmin, None).await.token;
        let path = format!("/connections/{}", acme.connection.id);
        let send = async |token: &str, change: &Value| {
            let path = format!("{path}?dry_run=true");
            world
                .call(token, Method::PATCH, &path, Some(change.clone()))
                .await
        };
        let identity = [
            json!({"issuer": "https://evil.example.com", "client_secret": "x"}),
            json!({"client_secret": "x"}),
            json!({"client_id": "x"}),
            json!({"claims": {"email": "upn"}}),
            json!({"email_verification": "never"}),
            json!({"allowed_domains": ["example.com"]}),
            json!({"enabled": false}),
        ];
        let beside = [
            json!({"name": "SSO"}),
            json!({"scopes": ["email"]}),
            json!({"bind_new_accounts": true}),
        ];
        // As long as no owner comes through it, it is the administrators'.
        for change in identity.iter().chain(&beside) {
            let answer = send(&admin, change).await;
            assert_eq!(answer.status, 200, "{change}: {}", answer.text);
        }
        let org = (&acme.org, &acme.connection.id);
        let owner = hire(
            &world.store,
            org,
            (Role::OrgOwner, None),
            &[TokenScope::Read, TokenScope::Write],
        )
        .await;
        for change in &identity {
            let answer = send(&admin, change).await;
            answer.refused(403, "forbidden");
            assert!(answer.text.contains("only an owner"), "{}", answer.text);
            let answer = send(&owner.token, change).await;
            assert_eq!(answer.status, 200, "{change}: {}", answer.text);
        }
        for change in &beside {
            let answer = send(&admin, change).await;
            assert_eq!(answer.status, 200, "{change}: {}", answer.text);
        }
    })
    .await;
}

/// Makes an invitation to Production by the API; the hash of its link.
async fn invite(world: &World, token: &str, email: &str) -> (String, String) {
    let body = json!({"email": email, "role": "account_editor", "account": world.acme.account.id});
    let answer = world.call(token, Method::POST, "/invitations", Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let made = answer.json();
    (made["id"].as_str().unwrap().to_owned(), hash(&made))
}

fn hash(made: &Value) -> String {
    let url = made["url"].as_str().unwrap();
    store::sha256(url.rsplit('/').next().unwrap())
}

/// Whether somebody who comes with the link gets the role. Nothing is kept.
async fn is_good(world: &World, hash: &str) -> bool {
    let mut tx = world.store.begin().await.unwrap();
    let guest = identity(&world.acme.connection.id, "guest");
    let guest = user::sign_in(&mut tx, &world.acme.org, guest).await.unwrap();
    match invitation::accept(&mut tx, &world.acme.org, hash, &guest.user.id).await {
        Ok(_) => true,
        Err(store::Error::NotFound(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn api_token_of(world: &World, token: &str) -> String {
    let session = world.call(token, Method::GET, "/session", None).await.json();
    format!("/api-tokens/{}", session["token"]["id"].as_str().unwrap())
}

#[tokio::test]
async fn an_invitation_is_worth_what_its_maker_could_give_now() {
    on_each(async |world| {
        let acme = &world.acme;
        let ok = async |method: Method, path: &str, body: Option<Value>| {
            let answer = world.owner(method, path, body).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
        };
        // By a token of the account that is deleted, or has ended.
        let automation = account_token(world, Role::AccountAdmin, &acme.account).await;
        let (id, link) = invite(world, &automation, "a@example.com").await;
        assert!(is_good(world, &link).await);
        let path = api_token_of(world, &automation).await;
        ok(Method::DELETE, &path, None).await;
        assert!(!is_good(world, &link).await, "its token is gone");
        // Whoever sends it again vouches for it.
        world.clock.advance(61);
        let resend = format!("/invitations/{id}/resend");
        let again = world.owner(Method::POST, &resend, None).await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert!(!is_good(world, &link).await && is_good(world, &hash(&again.json())).await);

        let automation = account_token(world, Role::AccountAdmin, &acme.account).await;
        let (_, link) = invite(world, &automation, "b@example.com").await;
        let path = api_token_of(world, &automation).await;
        let soon = json!({"expires_at": world.clock.now().plus_seconds(60)});
        ok(Method::PATCH, &path, Some(soon)).await;
        assert!(is_good(world, &link).await);
        world.clock.advance(61);
        assert!(!is_good(world, &link).await, "its token has ended");

        // By somebody who was demoted, disabled, or whose way in is closed.
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let (_, link) = invite(world, &admin.token, "c@example.com").await;
        let member = format!("/members/{}", admin.member.id);
        ok(Method::PATCH, &member, Some(json!({"role": "account_editor"}))).await;
        assert!(!is_good(world, &link).await, "its maker edits");
        ok(Method::PATCH, &member, Some(json!({"role": "account_admin"}))).await;
        assert!(is_good(world, &link).await);
        let connection = format!("/connections/{}", acme.connection.id);
        for (enabled, good) in [(false, false), (true, true)] {
            ok(Method::PATCH, &connection, Some(json!({"enabled": enabled}))).await;
            let mut tx = world.store.begin().await.unwrap();
            let guest = identity(&acme.local.id, "local guest");
            let guest = user::sign_in(&mut tx, &acme.org, guest).await.unwrap();
            let taken = invitation::accept(&mut tx, &acme.org, &link, &guest.user.id).await;
            assert_eq!(taken.is_ok(), good, "{taken:?}");
        }
        ok(
            Method::PATCH,
            &format!("/users/{}", admin.user.id),
            Some(json!({"disabled": true})),
        )
        .await;
        assert!(!is_good(world, &link).await, "its maker is disabled");

        // What somebody else vouches for outlives its maker.
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let (id, _) = invite(world, &admin.token, "d@example.com").await;
        world.clock.advance(61);
        let again = world
            .owner(Method::POST, &format!("/invitations/{id}/resend"), None)
            .await
            .json();
        let off = json!({"disabled": true});
        ok(Method::PATCH, &format!("/users/{}", admin.user.id), Some(off)).await;
        assert!(is_good(world, &hash(&again)).await);
    })
    .await;
}

/// A `POST` with an idempotency key.
async fn keyed(world: &World, token: &str, (path, key): (&str, &str), body: &Value) -> Answer {
    let request = Request::post(format!("/api/v1{path}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    let body = Body::from(body.to_string());
    world.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn an_answer_is_not_shown_again_to_somebody_demoted_since() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let account = &acme.account.id;
        let posts = [
            ("/service-tokens", json!({"account": account, "name": "S"})),
            (
                "/webhooks",
                json!({"account": account, "name": "W", "url": "https://x.example.com/h", "events": ["app."]}),
            ),
            (
                "/api-tokens",
                json!({"account": account, "role": "account_admin", "name": "T", "scopes": ["write"]}),
            ),
            (
                "/clients",
                json!({"app": acme.app.id, "name": "C", "confidential": true,
                    "redirect_uris": ["https://x.example.com/cb"]}),
            ),
            (
                "/invitations",
                json!({"email": "new@example.com", "role": "account_admin", "account": account}),
            ),
        ];
        for (path, body) in &posts {
            let first = keyed(world, &admin.token, (path, path), body).await;
            assert_eq!(first.status, StatusCode::CREATED, "{path}: {}", first.text);
            let again = keyed(world, &admin.token, (path, path), body).await;
            assert_eq!(again.status, StatusCode::CREATED, "{path}: {}", again.text);
            assert_eq!(again.text, first.text, "shown again to whoever may");
        }
        let member = format!("/members/{}", admin.member.id);
        let demoted = json!({"role": "account_auditor"});
        let answer = world.owner(Method::PATCH, &member, Some(demoted)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        for (path, body) in &posts {
            let again = keyed(world, &admin.token, (path, path), body).await;
            again.refused(403, "forbidden");
        }
        // Without any role there, the account does not exist.
        let elsewhere = json!({"user": admin.user.id, "role": "account_admin", "account": acme.labs.id});
        world.owner(Method::POST, "/members", Some(elsewhere)).await;
        world.owner(Method::DELETE, &member, None).await;
        let (path, body) = &posts[0];
        let again = keyed(world, &admin.token, (path, path), body).await;
        again.refused(404, "not-found");
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_not_shown_again_without_the_proof_that_it_took() {
    on_each(async |world| {
        let browser = Browser::new(world).await;
        let new = Some(json!({"account": world.acme.account.id, "name": "S"}));
        let send = async || {
            browser
                .keyed(Method::POST, "/service-tokens", new.clone(), Some("k"))
                .await
        };
        let first = send().await;
        assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
        assert_eq!(send().await.text, first.text);
        world.clock.advance(16 * 60);
        send().await.refused(403, "reauthentication-required");
    })
    .await;
}

#[tokio::test]
async fn a_drain_of_somebody_demoted_since_ends_nothing() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::OrgAdmin, None).await;
        let path = format!("/bindings/{}", acme.binding.id);
        let drain = |seconds| {
            let until = world.clock.now().plus_seconds(seconds);
            Some(json!({"state": "draining", "drain_until": until}))
        };
        let answer = world.call(&admin.token, Method::PATCH, &path, drain(60)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let member = format!("/members/{}", admin.member.id);
        let demoted = Some(json!({"role": "org_auditor"}));
        assert_eq!(world.owner(Method::PATCH, &member, demoted).await.status, 200);
        world.clock.advance(61);
        for _ in 0..2 {
            assert_eq!(store::binding::detach_drained(&world.store).await.unwrap(), 0);
        }
        // It carries nobody, as was promised, but nothing is gone.
        let view = world.store.directory().app(&acme.app.id).cloned().unwrap();
        assert!(!view.carries(&acme.connection.id, world.clock.now()));
        let grant = world.get(&format!("/grants/{}", acme.grant)).await;
        assert_eq!(grant["state"], "active", "{grant}");
        let mut held = done(world).await;
        held.retain(|event| event.action == "binding.detached");
        assert_eq!(held.len(), 1, "said once");
        assert_eq!(
            (held[0].outcome, held[0].reason.as_deref()),
            (Outcome::Denied, Some("maker_without_power"))
        );
        assert_eq!(held[0].actor.user.as_ref(), Some(&admin.user.id));
        // Somebody who may lets it drain anew, and it ends.
        let answer = world.owner(Method::PATCH, &path, drain(60)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        world.clock.advance(61);
        assert_eq!(store::binding::detach_drained(&world.store).await.unwrap(), 1);
    })
    .await;
}

/// Refusals in Acme's log, oldest first.
async fn refusals(world: &World) -> Vec<AuditEvent> {
    let order = (store::audit::Order::Oldest, None);
    let filter = store::audit::Filter {
        action: Some("api.refuse".into()),
        ..store::audit::Filter::default()
    };
    let events = store::audit::list(&world.store, &world.acme.org, &filter, order, 1000).await;
    events.unwrap()
}

#[tokio::test]
async fn what_is_refused_is_in_the_log_and_a_script_does_not_fill_it() {
    on_each(async |world| {
        let acme = &world.acme;
        let labs = world.hire(Role::AccountAuditor, Some(&acme.labs)).await;
        let auditor = world.hire(Role::OrgAuditor, None).await;
        let rename = || Some(json!({"name": "New"}));
        for i in 0..100 {
            let path = format!("/apps/{}", acme.app.id);
            let answer = world.call(&auditor.token, Method::PATCH, &path, rename()).await;
            answer.refused(403, "forbidden");
            // What lies in another account, in another organisation, or nowhere.
            let path = match i % 3 {
                0 => path,
                1 => format!("/apps/{}", world.other.app.id),
                _ => format!("/apps/{}", wire::AppId::fresh()),
            };
            let answer = world.call(&labs.token, Method::GET, &path, None).await;
            answer.refused(404, "not-found");
        }
        let told = refusals(world).await;
        let facts: Vec<_> = told
            .iter()
            .map(|event| {
                let request = event.request.as_ref().unwrap();
                (
                    event.actor.user.clone().unwrap(),
                    event.outcome,
                    event.reason.as_deref().unwrap(),
                    request.method.as_str(),
                    request.path.as_str(),
                )
            })
            .collect();
        let route = "/api/v1/apps/{id}";
        assert_eq!(
            facts,
            [
                (
                    auditor.user.id.clone(),
                    Outcome::Denied,
                    "forbidden",
                    "PATCH",
                    route
                ),
                (labs.user.id.clone(), Outcome::Denied, "not_found", "GET", route),
            ]
        );
        let asked = &told[1].change.as_ref().unwrap().after;
        assert_eq!(*asked, json!({"path": format!("/api/v1/apps/{}", acme.app.id)}));
        assert!(told[0].actor.token.is_some());
        // The rest is counted.
        world.clock.advance(61);
        world.store.write_closed_folds().await.unwrap();
        let told = refusals(world).await;
        assert_eq!(told.len(), 4);
        for event in &told[2..] {
            assert_eq!(event.repeated.as_ref().unwrap().count, 99);
        }
        // Another organisation's log says nothing of it.
        let order = (store::audit::Order::Newest, None);
        let filter = store::audit::Filter::default();
        let events = store::audit::list(&world.store, &world.other.org, &filter, order, 50).await;
        assert!(events.unwrap().iter().all(|event| event.action != "api.refuse"));
    })
    .await;
}

#[tokio::test]
async fn a_refused_scope_proof_or_secret_is_in_the_log() {
    on_each(async |world| {
        let acme = &world.acme;
        let (_, reader) =
            crate::world::token(&world.store, &acme.org, &acme.owner.user.id, &[TokenScope::Read]).await;
        let new = Some(json!({"name": "New"}));
        world
            .call(&reader, Method::POST, "/accounts", new)
            .await
            .refused(403, "forbidden");
        let path = format!("/connections/{}", acme.connection.id);
        let moved = json!({"issuer": "https://evil.example.com"});
        world
            .owner(Method::PATCH, &path, Some(moved))
            .await
            .refused(422, "secret-required");
        let browser = Browser::new(world).await;
        world.clock.advance(16 * 60);
        browser
            .patch(&path, json!({"enabled": false}))
            .await
            .refused(403, "reauthentication-required");
        let told = refusals(world).await;
        let reasons: Vec<_> = told
            .iter()
            .map(|event| event.reason.as_deref().unwrap())
            .collect();
        assert_eq!(
            reasons,
            ["forbidden", "secret_required", "reauthentication_required"]
        );
        assert_eq!(told[2].source, "dashboard");
        assert!(told[2].actor.session.is_some());
        // What is only wrong is nobody's doing.
        let wrong = Some(json!({"nonsense": 1}));
        world
            .owner(Method::PATCH, &path, wrong)
            .await
            .refused(400, "invalid");
        assert_eq!(refusals(world).await.len(), 3);
    })
    .await;
}
