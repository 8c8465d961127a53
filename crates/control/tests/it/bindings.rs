//! One connection, many accounts: bound, exclusive, drained, detached, and what each step does to people.

use crate::world::{Colleague, World, hire, identity, on_each};
use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};
use store::{client, grant, session, user};
use testkit::from_json;
use wire::*;

const ALL: [TokenScope; 3] = [TokenScope::Read, TokenScope::Write, TokenScope::Audit];

/// Another shared connection of Acme.
async fn connection(world: &World, name: &str) -> Connection {
    let spec = from_json(json!({
        "name": name, "kind": "oidc", "issuer": "https://idp2.example.com", "client_id": "us",
    }));
    let mut tx = world.store.begin().await.unwrap();
    let made = store::connection::create(&mut tx, &world.acme.org, None, spec).await;
    tx.commit_housekeeping().await.unwrap();
    made.unwrap()
}

async fn person(world: &World, connection: &Connection, subject: &str) -> User {
    let mut tx = world.store.begin().await.unwrap();
    let identity = identity(&connection.id, subject);
    let user = user::sign_in(&mut tx, &world.acme.org, identity)
        .await
        .unwrap()
        .user;
    tx.commit_housekeeping().await.unwrap();
    user
}

async fn accounts(world: &World, count: usize) -> Vec<Account> {
    let mut tx = world.store.begin().await.unwrap();
    let mut made = Vec::new();
    for i in 0..count {
        let spec = from_json(json!({"name": format!("Account {i}")}));
        let account = store::org::create_account(&mut tx, &world.acme.org, spec).await;
        made.push(account.unwrap());
    }
    tx.commit_housekeeping().await.unwrap();
    made
}

/// A live session at Acme's app.
async fn at_app(world: &World, user: &User) -> SessionId {
    let id = SessionId::fresh();
    let row = session::Record {
        id: id.clone(),
        org: Some(world.acme.org.clone()),
        user: Some(user.id.clone()),
        app: Some(world.acme.app.id.clone()),
        parent: None,
        data: "{}".into(),
        expires_at: world.clock.now().plus_seconds(86_400),
        ip: None,
        user_agent: None,
        authentication: wire::Authentication::default(),
    };
    let mut tx = world.store.begin().await.unwrap();
    let hash = store::sha256(id.to_string());
    session::save(&mut tx, &hash, &row).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    id
}

/// A live grant to Acme's agent at Acme's app.
async fn granted(world: &World, user: &User) -> GrantId {
    let acme = &world.acme;
    let mut tx = world.store.begin().await.unwrap();
    let consent = grant::Consent {
        org: &acme.org,
        account: &acme.account.id,
        app: &acme.app.id,
        user: &user.id,
        client: &acme.client.id,
        scopes: &["access".into()],
        authentication: &wire::Authentication::default(),
        expires_at: tx.now().plus_seconds(30 * 86_400),
    };
    let code = store::sha256(user.id.to_string());
    let bound = ("https://x/cb", "challenge", "https://x");
    let id = grant::issue(&mut tx, &consent, &code, bound).await.unwrap();
    store::refresh::begin(&mut tx, &id).await.unwrap();
    client::note_use(&mut tx, &acme.client, &user.id).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    id
}

async fn ok(world: &World, method: Method, path: &str, body: Value) -> Value {
    let answer = world.owner(method, path, Some(body)).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
    answer.json()
}

/// The impact that a dry run shows.
async fn impact(world: &World, method: Method, path: &str, body: Value) -> Impact {
    let preview = ok(world, method, &format!("{path}?dry_run=true"), body).await;
    from_json(preview["impact"].clone())
}

fn people(share: &ImpactShare) -> (i64, i64) {
    (share.people, share.agents)
}

/// Lets agents in to Acme's app.
async fn with_agents(world: &World) {
    let app = format!("/apps/{}", world.acme.app.id);
    ok(world, Method::PATCH, &app, json!({"managed_oauth": true})).await;
}

fn binding_path(world: &World) -> String {
    format!("/bindings/{}", world.acme.binding.id)
}

#[tokio::test]
async fn fifty_accounts_are_bound_in_one_call_after_a_look_at_what_it_does() {
    on_each(async |world| {
        let entra = connection(world, "Entra").await;
        person(world, &entra, "eve").await;
        let some: Vec<_> = accounts(world, 50).await.into_iter().map(|a| a.id).collect();
        let bind = json!({"connection": entra.id, "accounts": some, "claims": ["email"]});
        let preview = ok(world, Method::POST, "/bindings?dry_run=true", bind.clone()).await;
        assert_eq!(preview["changes"].as_array().unwrap().len(), 50);
        let foreseen: Impact = from_json(preview["impact"].clone());
        assert_eq!(
            (foreseen.accounts, foreseen.rows.len(), foreseen.more),
            (50, 50, 0)
        );
        assert_eq!(people(&foreseen.gain), (0, 0), "there is no app yet");
        let none = world.get(&format!("/bindings?connection={}", entra.id)).await;
        assert_eq!(none["items"], json!([]), "a dry run changes nothing");
        let made = ok(world, Method::POST, "/bindings", bind.clone()).await;
        let made = made["items"].as_array().unwrap().clone();
        assert_eq!(made.len(), 50);
        assert!(made.iter().all(|binding| binding["claims"] == json!(["email"])));
        let event = world.newest().await;
        assert_eq!(
            (event.action.as_str(), event.impact.unwrap().accounts),
            ("binding.create", 1)
        );
        let seq = event.seq;
        // What is bound stays as it is.
        ok(world, Method::POST, "/bindings", bind).await;
        assert_eq!(world.newest().await.seq, seq);
    })
    .await;
}

#[tokio::test]
async fn who_could_not_sign_in_and_now_could_gains() {
    on_each(async |world| {
        with_agents(world).await;
        let entra = connection(world, "Entra").await;
        let eve = person(world, &entra, "eve").await;
        person(world, &entra, "mallory").await;
        let bind = json!({"connection": entra.id, "accounts": [world.acme.account.id, world.acme.labs.id]});
        let foreseen = impact(world, Method::POST, "/bindings", bind.clone()).await;
        assert_eq!(people(&foreseen.gain), (2, 0));
        assert_eq!(foreseen.sign_in, ImpactSignIn { gain: 2, lose: 0 });
        // Who is signed in already through another connection keeps everything.
        assert_eq!((people(&foreseen.keep), people(&foreseen.lose)), ((1, 1), (0, 0)));
        let name = foreseen.gain.names.iter().find(|n| n.user == eve.id).unwrap();
        assert_eq!(name.email.as_deref(), Some("eve@example.com"));
        assert_eq!(
            (&name.app, name.reason),
            (&world.acme.app.id, Reason::PolicyAllowed)
        );
        assert_eq!(name.rule.as_ref().unwrap().name, "Everyone");
        assert_eq!(foreseen.rows[0].name, "Production", "most is decided there");
        // The policy refuses one of them: enforcement would, too.
        let policy = format!("/policies/{}", world.acme.policy.id);
        let only = json!({"include": [{"type": "email", "email": "eve@example.com"}]});
        ok(world, Method::PATCH, &policy, only).await;
        let foreseen = impact(world, Method::POST, "/bindings", bind).await;
        assert_eq!(people(&foreseen.gain), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn accounts_to_come_are_bound_in_the_same_way() {
    on_each(async |world| {
        let entra = connection(world, "Entra").await;
        let bind = json!({
            "connection": entra.id, "accounts": [], "future": true, "mode": "exclusive", "claims": ["email"],
        });
        assert_eq!(
            ok(world, Method::POST, "/bindings", bind).await["items"],
            json!([])
        );
        assert_eq!(world.newest().await.action, "connection.update");
        let new = ok(world, Method::POST, "/accounts", json!({"name": "New"})).await;
        let id = new["id"].as_str().unwrap();
        let bound = world.get(&format!("/bindings?account={id}")).await["items"][0].clone();
        assert_eq!(
            (&bound["connection"], &bound["mode"], &bound["claims"]),
            (&json!(entra.id), &json!("exclusive"), &json!(["email"]))
        );
        // A second one that wants to be the only one of new accounts is refused, and told which one is.
        let bind = json!({
            "connection": world.acme.connection.id, "accounts": [], "future": true, "mode": "exclusive",
        });
        let refused = world.owner(Method::POST, "/bindings", Some(bind)).await;
        refused.refused(409, "conflict");
        assert!(refused.text.contains("`Entra`"), "{}", refused.text);
        let path = format!("/connections/{}", world.acme.connection.id);
        let patch = json!({"bind_new_accounts": true, "new_account_mode": "exclusive"});
        world
            .owner(Method::PATCH, &path, Some(patch))
            .await
            .refused(409, "conflict");
        // Beside it, `allowed`, is fine.
        ok(world, Method::PATCH, &path, json!({"bind_new_accounts": true})).await;
    })
    .await;
}

#[tokio::test]
async fn two_exclusive_connections_in_one_account_are_refused_by_name() {
    on_each(async |world| {
        let entra = connection(world, "Entra").await;
        ok(
            world,
            Method::PATCH,
            &binding_path(world),
            json!({"mode": "exclusive"}),
        )
        .await;
        let bind =
            |mode: &str| json!({"connection": entra.id, "accounts": [world.acme.account.id], "mode": mode});
        let refused = world
            .owner(Method::POST, "/bindings", Some(bind("exclusive")))
            .await;
        refused.refused(409, "conflict");
        assert!(refused.text.contains("`Okta`") && refused.text.contains("`Production`"));
        let made = ok(world, Method::POST, "/bindings", bind("allowed")).await;
        let path = format!("/bindings/{}", made["items"][0]["id"].as_str().unwrap());
        let exclusive = Some(json!({"mode": "exclusive"}));
        let refused = world.owner(Method::PATCH, &path, exclusive.clone()).await;
        refused.refused(409, "conflict");
        let many = json!({"connection": entra.id, "spec": {"mode": "exclusive"}});
        world
            .owner(Method::PATCH, "/bindings", Some(many.clone()))
            .await
            .refused(409, "conflict");
        // One that drains excludes nobody, so there is room; then it cannot be turned back.
        let until = world.clock.now().plus_seconds(3600);
        let drain = json!({"state": "draining", "drain_until": until});
        ok(world, Method::PATCH, &binding_path(world), drain).await;
        ok(world, Method::PATCH, "/bindings", many).await;
        let back = Some(json!({"state": "active"}));
        let refused = world.owner(Method::PATCH, &binding_path(world), back).await;
        refused.refused(409, "conflict");
        assert!(refused.text.contains("`Entra`"));
    })
    .await;
}

#[tokio::test]
async fn an_exclusive_binding_takes_others_roles_in_the_account_away_and_gives_them_back() {
    on_each(async |world| {
        with_agents(world).await;
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let above = world.hire(Role::OrgAdmin, None).await;
        let entra = connection(world, "Entra").await;
        let app = format!("/apps/{}", acme.app.id);
        let status = async |who: &Colleague| {
            let answer = world.call(&who.token, Method::GET, &app, None).await;
            answer.status.as_u16()
        };
        assert_eq!((status(&admin).await, status(&above).await), (200, 200));
        let bind = json!({"connection": entra.id, "accounts": [acme.account.id], "mode": "exclusive"});
        let foreseen = impact(world, Method::POST, "/bindings", bind.clone()).await;
        assert_eq!(people(&foreseen.lose), (1, 1), "Ada's session and her agent");
        assert_eq!(foreseen.lose.names[0].reason, Reason::ConnectionNotBound);
        let made = ok(world, Method::POST, "/bindings", bind).await;
        assert_eq!(
            status(&admin).await,
            403,
            "the token stands for nobody with a role"
        );
        assert_eq!(status(&above).await, 200, "roles of the organisation count");
        assert_eq!(status(&acme.owner).await, 200, "and the break-glass owner's");
        let inside = hire(
            &world.store,
            (&acme.org, &entra.id),
            (Role::AccountAdmin, Some(acme.account.id.clone())),
            &ALL,
        );
        assert_eq!(status(&inside.await).await, 200);
        let path = format!("/bindings/{}", made["items"][0]["id"].as_str().unwrap());
        let foreseen = impact(world, Method::PATCH, &path, json!({"mode": "allowed"})).await;
        assert_eq!(
            people(&foreseen.gain),
            (3, 1),
            "Ada and both administrators; the session was not ended"
        );
        ok(world, Method::PATCH, &path, json!({"mode": "allowed"})).await;
        assert_eq!(status(&admin).await, 200, "taking it back restores");
        let view = world.store.directory();
        let view = view.app(&acme.app.id).unwrap();
        assert_eq!(view.refuses(&acme.connection.id, false, world.clock.now()), None);
    })
    .await;
}

#[tokio::test]
async fn a_staged_detach_runs_out_as_promised_and_each_step_is_in_the_log() {
    on_each(async |world| {
        with_agents(world).await;
        let acme = &world.acme;
        let path = binding_path(world);
        let now = world.clock.now();
        for (spec, pointer) in [
            (json!({"state": "draining"}), "/drain_until"),
            (json!({"state": "draining", "drain_until": now}), "/drain_until"),
            (
                json!({"state": "draining", "drain_until": now.plus_seconds(400 * 86_400)}),
                "/drain_until",
            ),
            (json!({"claims": ["shoe_size"]}), "/claims/0"),
        ] {
            let refused = world.owner(Method::PATCH, &path, Some(spec)).await;
            assert_eq!(refused.refused(400, "invalid"), [pointer]);
        }
        let until = now.plus_seconds(3600);
        let drain = json!({"state": "draining", "drain_until": until});
        let foreseen = impact(world, Method::PATCH, &path, drain.clone()).await;
        assert_eq!((people(&foreseen.keep), people(&foreseen.lose)), ((1, 1), (0, 0)));
        assert_eq!(foreseen.keep.names[0].until, Some(until), "kept until then");
        assert_eq!(foreseen.sign_in, ImpactSignIn { gain: 0, lose: 1 });
        ok(world, Method::PATCH, &path, drain.clone()).await;
        let logged = world.newest().await.impact.unwrap();
        assert_eq!(
            (logged.keep, logged.sign_in),
            (foreseen.keep.count(), foreseen.sign_in)
        );
        let view = || world.store.directory().app(&acme.app.id).cloned().unwrap();
        let id = &acme.connection.id;
        assert!(!view().signs_in(id) && view().carries(id, now));

        // Turned back: as if nothing had been.
        let foreseen = impact(world, Method::PATCH, &path, json!({"state": "active"})).await;
        assert_eq!(foreseen.sign_in, ImpactSignIn { gain: 1, lose: 0 });
        ok(world, Method::PATCH, &path, json!({"state": "active"})).await;
        assert_eq!(world.newest().await.impact.unwrap().sign_in.gain, 1);
        assert!(view().signs_in(id));
        assert_eq!(store::binding::detach_drained(&world.store).await.unwrap(), 0);

        // Drained to the end.
        ok(world, Method::PATCH, &path, drain).await;
        world.clock.advance(3599);
        assert_eq!(store::binding::detach_drained(&world.store).await.unwrap(), 0);
        assert!(view().carries(id, world.clock.now()));
        world.clock.advance(1);
        assert!(!view().carries(id, world.clock.now()), "before any job ran");
        assert_eq!(store::binding::detach_drained(&world.store).await.unwrap(), 1);
        assert_eq!(
            store::binding::detach_drained(&world.store).await.unwrap(),
            0,
            "once"
        );
        let event = world.newest_of("binding.detached").await;
        assert_eq!(event.actor.kind, ActorKind::System);
        let ended = world.newest_of("grant.revoke").await;
        assert_eq!(
            ended.actor.kind,
            ActorKind::System,
            "what ended by it is in the log, too"
        );
        let lost = event.impact.unwrap().lose;
        // Ada's session ended by itself with the hour; her agent's grant would have gone on.
        assert_eq!((lost.people, lost.agents), (1, 1));
        assert_eq!(event.account.as_ref(), Some(&acme.account.id));
        let binding = world.get(&path).await;
        assert_eq!(
            (&binding["state"], &binding["drain_until"]),
            (&json!("detached"), &Value::Null)
        );
        let grant = world.get(&format!("/grants/{}", acme.grant)).await;
        assert_eq!(
            (&grant["state"], &grant["revoked_reason"]),
            (&json!("revoked"), &json!("binding_detached"))
        );
        // What is detached can be bound again, and has nothing left to drain.
        let drain = json!({"state": "draining", "drain_until": world.clock.now().plus_seconds(60)});
        world
            .owner(Method::PATCH, &path, Some(drain))
            .await
            .refused(409, "conflict");
        ok(world, Method::PATCH, &path, json!({"state": "active"})).await;
    })
    .await;
}

#[tokio::test]
async fn many_bindings_drain_and_turn_back_in_one_call() {
    on_each(async |world| {
        with_agents(world).await;
        let acme = &world.acme;
        let some: Vec<_> = accounts(world, 3).await.into_iter().map(|a| a.id).collect();
        let bind = json!({"connection": acme.connection.id, "accounts": some});
        ok(world, Method::POST, "/bindings", bind).await;
        let until = world.clock.now().plus_seconds(3600);
        let drain = |accounts: Value| {
            let spec = json!({"state": "draining", "drain_until": until});
            json!({"connection": acme.connection.id, "accounts": accounts, "spec": spec})
        };
        let states = async || {
            let all = world
                .get(&format!("/bindings?connection={}", acme.connection.id))
                .await;
            let items = all["items"].as_array().unwrap().clone();
            items.into_iter().filter(|b| b["state"] == "draining").count()
        };
        ok(world, Method::PATCH, "/bindings?dry_run=true", drain(Value::Null)).await;
        assert_eq!(states().await, 0);
        ok(
            world,
            Method::PATCH,
            "/bindings",
            drain(json!([some[0], some[1]])),
        )
        .await;
        assert_eq!(states().await, 2);
        let changed = ok(world, Method::PATCH, "/bindings", drain(Value::Null)).await;
        assert_eq!(changed["items"].as_array().unwrap().len(), 4);
        assert_eq!(states().await, 4);
        let back = json!({"connection": acme.connection.id, "spec": {"state": "active"}});
        ok(world, Method::PATCH, "/bindings", back).await;
        assert_eq!(states().await, 0);
        let unbound = world
            .owner(Method::PATCH, "/bindings", Some(drain(json!([acme.labs.id]))))
            .await;
        assert_eq!(unbound.refused(400, "invalid"), ["/accounts/0"]);
        let late = json!({"connection": acme.connection.id, "spec": {"state": "draining"}});
        let late = world.owner(Method::PATCH, "/bindings", Some(late)).await;
        assert_eq!(late.refused(400, "invalid"), ["/spec/drain_until"]);
        let theirs = json!({"connection": world.other.connection.id, "spec": {"mode": "exclusive"}});
        let theirs = world.owner(Method::PATCH, "/bindings", Some(theirs)).await;
        assert_eq!(theirs.refused(400, "invalid"), ["/connection"]);
        // At once: everything that is held ends.
        let now = json!({"connection": acme.connection.id, "spec": {"state": "detached"}});
        let foreseen = impact(world, Method::PATCH, "/bindings", now.clone()).await;
        assert_eq!(people(&foreseen.lose), (1, 1));
        ok(world, Method::PATCH, "/bindings", now).await;
        let grant = world.get(&format!("/grants/{}", acme.grant)).await;
        assert_eq!(grant["revoked_reason"], "binding_detached");
        let sessions = world.get(&format!("/sessions?user={}", acme.employee.id)).await;
        assert_eq!(sessions["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn detaching_at_once_asks_for_a_fresh_proof() {
    on_each(async |world| {
        with_agents(world).await;
        let cookie = crate::session::sign_in(world).await;
        let request = Request::get("/api/v1/session").header(header::COOKIE, &cookie);
        let session = world.send(request.body(Body::empty()).unwrap()).await.json();
        let csrf = session["csrf_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{session} is not shown"))
            .to_owned();
        let send = async |method: Method, query: &str, body: Value| {
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/v1{}{query}", binding_path(world)))
                .header(header::COOKIE, &cookie)
                .header(header::CONTENT_TYPE, "application/json")
                .header(wire::CSRF_HEADER, &csrf);
            world
                .send(request.body(Body::from(body.to_string())).unwrap())
                .await
        };
        world.clock.advance(16 * 60);
        let detached = json!({"state": "detached"});
        send(Method::PATCH, "", detached.clone())
            .await
            .refused(403, "reauthentication-required");
        send(Method::DELETE, "", json!({}))
            .await
            .refused(403, "reauthentication-required");
        // Looking is free, and shows who would lose what.
        let preview = send(Method::DELETE, "?dry_run=true", json!({})).await.json();
        let foreseen: Impact = from_json(preview["impact"].clone());
        assert_eq!(people(&foreseen.lose), (1, 1));
        // Letting it drain for a second is detaching, only later.
        let until = world.clock.now().plus_seconds(1);
        let drain = json!({"state": "draining", "drain_until": until});
        send(Method::PATCH, "", drain.clone())
            .await
            .refused(403, "reauthentication-required");
        assert_eq!(send(Method::PATCH, "?dry_run=true", drain).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_a_binding_does_not_release_the_accounts_administrators_do_not_see() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let above = world.hire(Role::OrgAdmin, None).await;
        let seen = async |who: &Colleague, path: &str| {
            let answer = world.call(&who.token, Method::GET, path, None).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()
        };
        let one = format!("/users/{}", acme.employee.id);
        let grant = format!("/grants/{}", acme.grant);
        assert_eq!(seen(&admin, &one).await["email"], "ada@example.com");
        ok(
            world,
            Method::PATCH,
            &binding_path(world),
            json!({"claims": ["groups"]}),
        )
        .await;
        let named = json!({"members": [acme.employee.id]});
        let group = format!("/groups/{}", acme.group.id);
        ok(world, Method::PATCH, &group, named).await;
        let members = format!("{group}/members");
        for path in [
            one.as_str(),
            "/users",
            "/users?q=",
            "/grants",
            grant.as_str(),
            members.as_str(),
        ] {
            let shown = seen(&admin, path).await.to_string();
            assert!(!shown.contains("ada@example.com"), "{path}: {shown}");
        }
        let found = seen(&above, &members).await;
        assert!(found.to_string().contains("ada@example.com"), "{found}");
        let found = seen(&admin, "/users?q=ada@").await;
        assert_eq!(found["items"], json!([]), "nor does a search tell");
        assert_eq!(seen(&above, &one).await["email"], "ada@example.com");
        assert_eq!(seen(&above, &grant).await["user_email"], "ada@example.com");
        ok(
            world,
            Method::PATCH,
            &binding_path(world),
            json!({"claims": ["email"]}),
        )
        .await;
        assert_eq!(seen(&admin, &one).await["email"], "ada@example.com");
    })
    .await;
}

#[tokio::test]
async fn what_a_binding_does_not_release_no_trial_and_no_dry_run_tells() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let claims = json!({"claims": ["groups"]});
        ok(world, Method::PATCH, &binding_path(world), claims).await;
        let ask = async |token: &str, method: Method, path: &str, body: &Value| {
            let answer = world.call(token, method, path, Some(body.clone())).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
            answer.text
        };
        let everyone = json!({"app": acme.app.id, "everyone": true});
        let tried = ask(&admin.token, Method::POST, "/policies/test", &everyone).await;
        assert!(tried.contains(acme.employee.id.as_ref()), "{tried}");
        assert!(!tried.contains("@example.com"), "{tried}");
        let tried = ask(&acme.owner.token, Method::POST, "/policies/test", &everyone).await;
        assert!(tried.contains("ada@example.com"), "{tried}");
        // Somebody has a session, and loses it.
        at_app(world, &acme.employee).await;
        let policy = format!("/policies/{}?dry_run=true", acme.policy.id);
        let deny = json!({"decision": "deny"});
        let shown = ask(&admin.token, Method::PATCH, &policy, &deny).await;
        let preview: Value = serde_json::from_str(&shown).unwrap();
        let lost = &preview["impact"]["lose"]["names"][0];
        assert_eq!(lost["user"], json!(acme.employee.id), "{shown}");
        assert!(!shown.contains("@example.com"), "{shown}");
        // Giving a role tells no more, and what is given is shown as withheld.
        let role = json!({"user": acme.employee.id, "role": "account_auditor", "account": acme.account.id});
        for path in ["/members?dry_run=true", "/members"] {
            let shown = ask(&admin.token, Method::POST, path, &role).await;
            assert!(!shown.contains("ada@example.com"), "{path}: {shown}");
        }
        let listed = world.call(&admin.token, Method::GET, "/members", None).await;
        assert!(!listed.text.contains("@example.com"), "{}", listed.text);
        assert!(
            world
                .get("/members")
                .await
                .to_string()
                .contains("ada@example.com")
        );
        // Nor when the connection does not count there for now.
        let other = connection(world, "Entra").await;
        let exclusive = json!({"connection": other.id, "accounts": [acme.account.id], "mode": "exclusive"});
        ok(world, Method::POST, "/bindings", exclusive).await;
        let token = crate::world::account_token(world, Role::AccountAdmin, &acme.account).await;
        let listed = world.call(&token, Method::GET, "/members", None).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        assert!(listed.text.contains(acme.employee.id.as_ref()), "{}", listed.text);
        assert!(!listed.text.contains("@example.com"), "{}", listed.text);
    })
    .await;
}

#[tokio::test]
async fn every_change_that_decides_about_somebody_shows_about_whom() {
    on_each(async |world| {
        with_agents(world).await;
        let acme = &world.acme;
        let labs = person(world, &acme.connection, "bob").await;
        at_app(world, &labs).await;
        granted(world, &labs).await;
        let look = async |path: String, body: Value| impact(world, Method::PATCH, &path, body).await;
        let disabled = look(format!("/users/{}", labs.id), json!({"disabled": true})).await;
        assert_eq!((people(&disabled.lose), people(&disabled.keep)), ((1, 1), (0, 0)));
        assert_eq!(disabled.lose.names[0].reason, Reason::UserDisabled);
        assert_eq!(disabled.sign_in, ImpactSignIn { gain: 0, lose: 1 });
        let blocked = look(
            format!("/clients/{}", acme.client.id),
            json!({"state": "blocked"}),
        )
        .await;
        assert_eq!((people(&blocked.lose), people(&blocked.keep)), ((0, 2), (0, 0)));
        assert_eq!(blocked.lose.names[0].reason, Reason::ClientNotAccepted);
        assert_eq!(blocked.lose.names[0].client_name.as_deref(), Some("Agent"));
        let only = json!({"include": [{"type": "email", "email": "bob@example.com"}]});
        let policy = look(format!("/policies/{}", acme.policy.id), only).await;
        assert_eq!((people(&policy.lose), people(&policy.keep)), ((1, 1), (1, 1)));
        assert_eq!(policy.lose.names[0].reason, Reason::NoPolicyMatched);
        assert_eq!(policy.sign_in, ImpactSignIn { gain: 0, lose: 1 });
        let off = look(format!("/apps/{}", acme.app.id), json!({"enabled": false})).await;
        assert_eq!(people(&off.lose), (2, 2));
        let oauth = look(format!("/apps/{}", acme.app.id), json!({"managed_oauth": false})).await;
        assert_eq!((people(&oauth.keep), people(&oauth.lose)), ((2, 0), (0, 2)));
        assert_eq!(oauth.lose.names[0].reason, Reason::ManagedOauthOff);
        let account = look(
            format!("/accounts/{}", acme.account.id),
            json!({"enabled": false}),
        )
        .await;
        assert_eq!((account.accounts, people(&account.lose)), (1, (2, 2)));
        let connection = look(
            format!("/connections/{}", acme.connection.id),
            json!({"enabled": false}),
        )
        .await;
        assert_eq!((connection.accounts, people(&connection.lose)), (1, (2, 2)));
        let floor = json!({"floor": [{"type": "email", "email": "bob@example.com"}]});
        let floor = look("/organisation".into(), floor).await;
        assert_eq!((people(&floor.lose), people(&floor.keep)), ((1, 1), (1, 1)));
        assert_eq!(floor.lose.names[0].reason, Reason::OrganisationFloor);
        assert_eq!(floor.lose.names[0].rule.as_ref().unwrap().id, "floor/0");
        // And what decides about nobody says nothing.
        let preview = ok(
            world,
            Method::PATCH,
            "/organisation?dry_run=true",
            json!({"name": "Acme 2"}),
        )
        .await;
        assert_eq!(preview["impact"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn the_impact_names_nobody_of_another_organisation() {
    on_each(async |world| {
        let path = format!("/connections/{}", world.acme.connection.id);
        let preview = world
            .owner(
                Method::PATCH,
                &format!("{path}?dry_run=true"),
                Some(json!({"enabled": false})),
            )
            .await;
        assert!(preview.text.contains("\"impact\""));
        for id in [
            world.other.employee.id.to_string(),
            world.other.account.id.to_string(),
            world.other.grant.to_string(),
        ] {
            assert!(!preview.text.contains(&id));
        }
    })
    .await;
}
