//! Switching the identity provider: side by side, explicit links, cut-over, and back.

use crate::world::{World, identity, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::{grant, user};
use wire::*;

/// Somebody signs in through a connection.
async fn sign_in(world: &World, connection: &Connection, subject: &str, email: &str, verified: bool) -> User {
    let identity = user::Identity {
        issuer: connection.spec.issuer.clone().unwrap_or_default(),
        email: Some(email.into()),
        email_verified: verified,
        ..identity(&connection.id, subject)
    };
    let mut tx = world.store.begin().await.unwrap();
    let person = user::sign_in(&mut tx, &world.acme.org, identity).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    person.user
}

async fn user(world: &World, id: &UserId) -> User {
    user::get(&world.store, &world.acme.org, id).await.unwrap().user
}

async fn begin(world: &World, more: Value) -> Value {
    let mut body = json!({"from": world.acme.connection.id, "to": world.acme.elsewhere.id,
        "domains": ["Example.com"]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = world
        .owner(Method::POST, "/connection-migrations", Some(body))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

/// A step of a migration.
async fn step(world: &World, migration: &Value, step: &str, body: Option<Value>) -> Value {
    let path = format!(
        "/connection-migrations/{}/{step}",
        migration["id"].as_str().unwrap()
    );
    let answer = world.owner(Method::POST, &path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

async fn decide(world: &World, migration: &Value, pair: (&User, &User), state: &str) -> crate::world::Answer {
    let path = format!(
        "/connection-migrations/{}/links",
        migration["id"].as_str().unwrap()
    );
    let body = json!({"from_user": pair.0.id, "to_user": pair.1.id, "state": state});
    world.owner(Method::POST, &path, Some(body)).await
}

async fn links(world: &World, migration: &Value, query: &str) -> Vec<ConnectionLink> {
    let id = migration["id"].as_str().unwrap();
    let page = world
        .get(&format!("/connection-migrations/{id}/links{query}"))
        .await;
    serde_json::from_value(page["items"].clone()).unwrap()
}

async fn actions(world: &World, prefix: &str) -> Vec<String> {
    let order = (store::audit::Order::Oldest, None);
    let filter = store::audit::Filter {
        action: Some(prefix.into()),
        ..store::audit::Filter::default()
    };
    let events = store::audit::list(&world.store, &world.acme.org, &filter, order, 100).await;
    events.unwrap().into_iter().map(|e| e.action).collect()
}

async fn live_grant(world: &World, user: &User) -> GrantId {
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
        expires_at: tx.now().plus_seconds(86_400),
    };
    let code = store::random_secret("").unwrap();
    let id = grant::issue(
        &mut tx,
        &consent,
        &code,
        ("https://x/cb", "challenge", "https://x"),
    )
    .await
    .unwrap();
    store::refresh::begin(&mut tx, &id).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    id
}

fn may_use(world: &World, user: &User) -> Option<Reason> {
    let snapshot = world.store.directory();
    let view = snapshot.app(&world.acme.app.id).unwrap();
    view.refuses(&user.connection, user.disabled, world.clock.now())
}

#[tokio::test]
async fn a_linked_person_keeps_everything_and_a_roll_back_restores_it_exactly() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, &acme.connection, "okta|ada", "adele@example.com", true).await;
        let zoe = sign_in(world, &acme.connection, "okta|zoe", "zoe@example.com", true).await;
        let grant = live_grant(world, &ada).await;
        let role = json!({"user": ada.id, "role": "org_auditor"});
        let role = world.owner(Method::POST, "/members", Some(role)).await;
        assert_eq!(role.status, StatusCode::CREATED);
        let primary = json!({"primary_connection": acme.connection.id});
        let patched = world.owner(Method::PATCH, "/organisation", Some(primary)).await;
        assert_eq!(patched.status, StatusCode::OK, "{}", patched.text);

        // Side by side: both sign people in.
        let migration = begin(world, json!({})).await;
        assert_eq!(migration["state"], "side_by_side");
        assert_eq!(migration["domains"], json!(["example.com"]));
        let bindings = world
            .get(&format!("/bindings?connection={}", acme.elsewhere.id))
            .await;
        assert_eq!(bindings["items"][0]["account"], json!(acme.account.id));
        let new = sign_in(world, &acme.elsewhere, "entra|7", "Adele@Example.com", true).await;
        assert_ne!(new.id, ada.id, "nobody is linked by an address");
        assert_eq!((may_use(world, &ada), may_use(world, &new)), (None, None));

        // The rule proposes, an administrator decides.
        let proposed = links(world, &migration, "").await;
        assert_eq!(proposed.len(), 1);
        assert_eq!(
            (&proposed[0].from_user.id, &proposed[0].to_user.id),
            (&ada.id, &new.id)
        );
        assert_eq!(
            (proposed[0].state, proposed[0].manual),
            (LinkState::Proposed, false)
        );
        let answer = decide(world, &migration, (&ada, &new), "approved").await;
        assert_eq!(answer.json()["state"], "approved", "{}", answer.text);
        let before = (user(world, &ada.id).await, user(world, &new.id).await);

        // A dry run says what would be, and changes nothing.
        let until = world.clock.now().plus_seconds(7 * 86_400);
        let cut = json!({"drain_until": until});
        let dry = step(world, &migration, "cut-over?dry_run=true", Some(cut.clone())).await;
        assert_eq!(dry["resource"]["links"]["linked"], 1);
        assert!(dry["impact"].is_object(), "{dry}");
        assert_eq!(user(world, &ada.id).await, before.0);

        let after = step(world, &migration, "cut-over", Some(cut)).await;
        assert_eq!(
            (&after["state"], &after["links"]["linked"]),
            (&json!("cut_over"), &json!(1))
        );
        let (ada_now, other) = (user(world, &ada.id).await, user(world, &new.id).await);
        assert_eq!(
            (&ada_now.connection, ada_now.subject.as_str()),
            (&acme.elsewhere.id, "entra|7")
        );
        assert_eq!(ada_now.email.as_deref(), Some("Adele@Example.com"));
        assert_eq!(
            (&other.connection, other.subject.as_str()),
            (&acme.connection.id, "okta|ada")
        );
        // What Ada has goes on, now and when the old connection is gone.
        let held = grant::get(&world.store, &acme.org, &grant, world.clock.now())
            .await
            .unwrap();
        assert_eq!((held.state, held.user), (GrantState::Active, ada.id.clone()));
        assert_eq!(may_use(world, &ada_now), None);
        let organisation = world.get("/organisation").await;
        assert_eq!(organisation["primary_connection"], json!(acme.elsewhere.id));
        let snapshot = world.store.directory();
        let view = snapshot.app(&acme.app.id).unwrap();
        assert!(view.signs_in(&acme.elsewhere.id) && !view.signs_in(&acme.connection.id));
        assert!(
            view.carries(&zoe.connection, world.clock.now()),
            "whoever is in stays in for now"
        );
        assert!(!view.carries(&zoe.connection, until));
        // The next sign-in through the new connection is Ada's.
        let again = sign_in(world, &acme.elsewhere, "entra|7", "adele@example.com", true).await;
        assert_eq!(again.id, ada.id);

        // And back.
        let back = step(world, &migration, "roll-back", None).await;
        assert_eq!(
            (&back["state"], &back["links"]["approved"]),
            (&json!("side_by_side"), &json!(1))
        );
        let ada_back = user(world, &ada.id).await;
        let key = |u: &User| {
            (
                u.connection.clone(),
                u.issuer.clone(),
                u.subject.clone(),
                u.email.clone(),
            )
        };
        assert_eq!(key(&ada_back), key(&before.0));
        let new_back = user(world, &new.id).await;
        assert_eq!(
            (&new_back.connection, new_back.subject.as_str()),
            (&acme.elsewhere.id, "entra|7")
        );
        let organisation = world.get("/organisation").await;
        assert_eq!(organisation["primary_connection"], json!(acme.connection.id));
        let snapshot = world.store.directory();
        assert!(snapshot.app(&acme.app.id).unwrap().signs_in(&acme.connection.id));
        let same = sign_in(world, &acme.connection, "okta|ada", "adele@example.com", true).await;
        assert_eq!(same.id, ada.id);

        // Given up: as it was.
        let gone = step(world, &migration, "roll-back", None).await;
        assert_eq!(gone["state"], "rolled_back");
        let bindings = world
            .get(&format!("/bindings?connection={}", acme.elsewhere.id))
            .await;
        assert_eq!(bindings["items"], json!([]));
        let said = actions(world, "connection_migration.").await;
        assert_eq!(
            said,
            [
                "connection_migration.create",
                "connection_migration.approve",
                "connection_migration.cut_over.dry_run",
                "connection_migration.link.dry_run",
                "connection_migration.cut_over",
                "connection_migration.link",
                "connection_migration.roll_back",
                "connection_migration.unlink",
                "connection_migration.roll_back",
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn up1_up2_nobody_is_linked_but_by_decision_within_the_rule() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        // The same subject at both, the same address at another organisation: different people.
        let one = sign_in(world, old, "same", "same@example.com", true).await;
        let two = sign_in(world, new, "same", "other@example.com", true).await;
        assert_ne!(one.id, two.id);
        let unverified = sign_in(world, old, "u", "unverified@example.com", true).await;
        sign_in(world, new, "u2", "unverified@example.com", false).await;
        sign_in(world, old, "o", "ida@elsewhere.example", true).await;
        sign_in(world, new, "o2", "ida@elsewhere.example", true).await;
        sign_in(world, old, "t", "twice@example.com", true).await;
        sign_in(world, new, "t1", "twice@example.com", true).await;
        sign_in(world, new, "t2", "Twice@example.com", true).await;
        let migration = begin(world, json!({})).await;
        assert_eq!(links(world, &migration, "").await, []);
        assert_eq!(
            step(world, &migration, "links/approve-all", None).await["links"]["approved"],
            0
        );

        // By hand, whoever the administrator knows to be one person.
        let answer = decide(world, &migration, (&one, &two), "approved").await;
        assert_eq!(
            (answer.status, &answer.json()["manual"]),
            (StatusCode::OK, &json!(true))
        );
        // Each person once.
        let answer = decide(world, &migration, (&unverified, &two), "approved").await;
        assert_eq!(answer.refused(400, "invalid"), ["/to_user"]);
        // The right way round, and nobody of another organisation.
        let answer = decide(world, &migration, (&two, &one), "approved").await;
        assert_eq!(answer.refused(400, "invalid"), ["/from_user"]);
        let answer = decide(world, &migration, (&world.other.employee, &two), "approved").await;
        assert_eq!(answer.refused(400, "invalid"), ["/from_user"]);
        // Whoever holds something would lose it.
        let busy = sign_in(world, new, "busy", "busy@example.com", true).await;
        live_grant(world, &busy).await;
        let answer = decide(world, &migration, (&unverified, &busy), "approved").await;
        assert_eq!(answer.refused(400, "invalid"), ["/to_user"]);
        // What was approved and is rejected is not linked.
        decide(world, &migration, (&one, &two), "rejected").await;
        let after = step(world, &migration, "cut-over", Some(json!({}))).await;
        assert_eq!(
            (&after["links"]["linked"], &after["links"]["rejected"]),
            (&json!(0), &json!(1))
        );
        assert_eq!(user(world, &one.id).await.connection, old.id);
        // Without a date, the old connection goes on.
        assert!(
            world
                .store
                .directory()
                .app(&acme.app.id)
                .unwrap()
                .signs_in(&old.id)
        );
        // Whoever is approved later is linked by cutting over once more.
        decide(world, &migration, (&one, &two), "approved").await;
        let after = step(world, &migration, "cut-over", Some(json!({}))).await;
        assert_eq!(after["links"]["linked"], 1);
        assert_eq!(user(world, &one.id).await.connection, new.id);
        let answer = decide(world, &migration, (&one, &two), "rejected").await;
        answer.refused(409, "conflict");
        // Once completed, it stays.
        assert_eq!(
            step(world, &migration, "complete", None).await["state"],
            "completed"
        );
        let path = format!(
            "/connection-migrations/{}/roll-back",
            migration["id"].as_str().unwrap()
        );
        world
            .owner(Method::POST, &path, None)
            .await
            .refused(409, "conflict");
    })
    .await;
}

#[tokio::test]
async fn the_rule_links_at_sign_in_only_if_an_administrator_said_so_and_nobody_with_a_role() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let ada = sign_in(world, old, "okta|ada", "adele@example.com", true).await;
        let boss = sign_in(world, old, "okta|boss", "boss@example.com", true).await;
        let role = json!({"user": boss.id, "role": "org_admin"});
        world.owner(Method::POST, "/members", Some(role)).await;
        let off = sign_in(world, old, "okta|off", "off@example.com", true).await;
        let disabled = json!({"disabled": true});
        world
            .owner(Method::PATCH, &format!("/users/{}", off.id), Some(disabled))
            .await;
        let migration = begin(world, json!({"link_on_sign_in": true})).await;
        // Not before the cut-over.
        let early = sign_in(world, old, "okta|early", "early@example.com", true).await;
        let early_new = sign_in(world, new, "entra|early", "early@example.com", true).await;
        assert_ne!(early.id, early_new.id);
        step(world, &migration, "cut-over", Some(json!({}))).await;

        let unverified = sign_in(world, new, "entra|x", "adele@example.com", false).await;
        assert_ne!(unverified.id, ada.id);
        for (subject, email, person) in [
            ("entra|1", "boss@example.com", &boss),
            ("entra|2", "off@example.com", &off),
        ] {
            assert_ne!(
                sign_in(world, new, subject, email, true).await.id,
                person.id,
                "{email}"
            );
        }
        let linked = sign_in(world, new, "entra|3", "Adele@Example.com", true).await;
        assert_eq!((&linked.id, &linked.connection), (&ada.id, &new.id));
        assert_eq!(
            actions(world, "connection_migration.link").await,
            ["connection_migration.link"]
        );
        // Once.
        let second = sign_in(world, new, "entra|4", "adele@example.com", true).await;
        assert_ne!(second.id, ada.id);
        let again = sign_in(world, new, "entra|3", "adele@example.com", true).await;
        assert_eq!(again.id, ada.id);
        // It goes back with the rest.
        step(world, &migration, "roll-back", None).await;
        let back = user(world, &ada.id).await;
        assert_eq!((&back.connection, back.subject.as_str()), (&old.id, "okta|ada"));
        // Unless asked for, the rule alone links nobody.
        step(world, &migration, "roll-back", None).await;
        let migration = begin(world, json!({})).await;
        step(world, &migration, "cut-over", Some(json!({}))).await;
        let lee = sign_in(world, old, "okta|lee", "lee@example.com", true).await;
        assert_ne!(
            sign_in(world, new, "entra|9", "lee@example.com", true).await.id,
            lee.id
        );
    })
    .await;
}

#[tokio::test]
async fn an_exclusive_binding_hands_over_and_what_cannot_be_is_refused() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let own = json!({"account": acme.account.id, "name": "Own", "kind": "oidc",
            "issuer": "https://own.example.com", "client_id": "x"});
        let own = world.owner(Method::POST, "/connections", Some(own)).await.json();
        for (body, pointer) in [
            (
                json!({"from": old.id, "to": old.id, "domains": ["example.com"]}),
                "/to",
            ),
            (
                json!({"from": old.id, "to": own["id"], "domains": ["example.com"]}),
                "/to",
            ),
            (
                json!({"from": own["id"], "to": new.id, "domains": ["example.com"]}),
                "/from",
            ),
            (
                json!({"from": acme.local.id, "to": new.id, "domains": ["example.com"]}),
                "/from",
            ),
            (
                json!({"from": world.other.connection.id, "to": new.id, "domains": ["example.com"]}),
                "/from",
            ),
            (json!({"from": old.id, "to": new.id, "domains": []}), "/domains"),
            (
                json!({"from": old.id, "to": new.id, "domains": ["@example.com"]}),
                "/domains/0",
            ),
        ] {
            let answer = world
                .owner(Method::POST, "/connection-migrations", Some(body))
                .await;
            assert_eq!(answer.refused(400, "invalid"), [pointer]);
        }
        let path = format!("/connections/{}", new.id);
        world
            .owner(Method::PATCH, &path, Some(json!({"enabled": false})))
            .await;
        let body = json!({"from": old.id, "to": new.id, "domains": ["example.com"]});
        let answer = world
            .owner(Method::POST, "/connection-migrations", Some(body.clone()))
            .await;
        assert_eq!(answer.refused(400, "invalid"), ["/to"]);
        world
            .owner(Method::PATCH, &path, Some(json!({"enabled": true})))
            .await;

        let path = format!("/bindings/{}", acme.binding.id);
        let only = world
            .owner(Method::PATCH, &path, Some(json!({"mode": "exclusive"})))
            .await;
        assert_eq!(only.status, StatusCode::OK, "{}", only.text);
        let migration = begin(world, json!({})).await;
        let answer = world
            .owner(Method::POST, "/connection-migrations", Some(body))
            .await;
        answer.refused(409, "conflict");
        let signs_in = |id: &ConnectionId| world.store.directory().app(&acme.app.id).unwrap().signs_in(id);
        assert!(
            signs_in(&old.id) && !signs_in(&new.id),
            "the only one stays the only one"
        );
        let cut = format!(
            "/connection-migrations/{}/cut-over",
            migration["id"].as_str().unwrap()
        );
        let answer = world.owner(Method::POST, &cut, Some(json!({}))).await;
        assert_eq!(answer.refused(400, "invalid"), ["/drain_until"]);
        let past = json!({"drain_until": world.clock.now()});
        let answer = world.owner(Method::POST, &cut, Some(past)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/drain_until"]);
        let until = json!({"drain_until": world.clock.now().plus_seconds(3600)});
        step(world, &migration, "cut-over", Some(until)).await;
        let own: ConnectionId = own["id"].as_str().unwrap().parse().unwrap();
        assert!(
            !signs_in(&old.id) && signs_in(&new.id) && !signs_in(&own),
            "the new one is the only one now"
        );
        step(world, &migration, "roll-back", None).await;
        assert!(signs_in(&old.id) && !signs_in(&new.id) && !signs_in(&own));
    })
    .await;
}

/// A step of a migration by whoever holds a token.
async fn step_by(world: &World, token: &str, migration: &Value, step: &str) -> crate::world::Answer {
    let path = format!(
        "/connection-migrations/{}/{step}",
        migration["id"].as_str().unwrap()
    );
    let body = step.starts_with("cut-over").then(|| json!({}));
    world.call(token, Method::POST, &path, body).await
}

async fn approve_by(
    world: &World,
    token: &str,
    migration: &Value,
    pair: (&User, &User),
) -> crate::world::Answer {
    let path = format!(
        "/connection-migrations/{}/links",
        migration["id"].as_str().unwrap()
    );
    let body = json!({"from_user": pair.0.id, "to_user": pair.1.id, "state": "approved"});
    world.call(token, Method::POST, &path, Some(body)).await
}

async fn give(world: &World, user: &User, role: &str) {
    let member = json!({"user": user.id, "role": role});
    let answer = world.owner(Method::POST, "/members", Some(member)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
}

#[tokio::test]
async fn an_administrator_becomes_no_owner_by_a_link() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let admin = world.hire(Role::OrgAdmin, None).await.token;
        let owner = sign_in(world, old, "okta|owner", "owner@example.com", true).await;
        give(world, &owner, "org_owner").await;
        let peer = sign_in(world, old, "okta|peer", "peer@example.com", true).await;
        give(world, &peer, "org_admin").await;
        let later = sign_in(world, old, "okta|later", "later@example.com", true).await;
        let mine = sign_in(world, new, "entra|owner", "owner@example.com", true).await;
        let peer_new = sign_in(world, new, "entra|peer", "peer@example.com", true).await;
        let later_new = sign_in(world, new, "entra|later", "later@example.com", true).await;
        let migration = begin(world, json!({})).await;
        assert_eq!(migration["links"]["proposed"], 3);

        // In the lump: only those who have no role.
        let all = step_by(world, &admin, &migration, "links/approve-all").await;
        assert_eq!(all.status, StatusCode::OK, "{}", all.text);
        let approved = links(world, &migration, "?state=approved").await;
        let approved: Vec<_> = approved.iter().map(|l| &l.from_user.id).collect();
        assert_eq!(approved, [&later.id]);
        // By hand: other administrators, but no owner.
        let answer = approve_by(world, &admin, &migration, (&owner, &mine)).await;
        answer.refused(403, "forbidden");
        assert!(
            answer.text.contains("only an owner approves this"),
            "{}",
            answer.text
        );
        let answer = approve_by(world, &admin, &migration, (&peer, &peer_new)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);

        // Whoever becomes an owner between approval and cut-over is one.
        give(world, &later, "org_owner").await;
        for step in ["cut-over?dry_run=true", "cut-over"] {
            let answer = step_by(world, &admin, &migration, step).await;
            answer.refused(403, "forbidden");
            assert!(answer.text.contains("only an owner cuts over"), "{}", answer.text);
        }
        assert_eq!(user(world, &later.id).await.connection, old.id);
        assert_eq!(user(world, &peer.id).await.connection, old.id);
        // An owner may do all of it.
        let answer = decide(world, &migration, (&owner, &mine), "approved").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let after = step(world, &migration, "cut-over", Some(json!({}))).await;
        assert_eq!(after["links"]["linked"], 3);
        let linked = user(world, &later.id).await;
        assert_eq!(
            (&linked.connection, &linked.subject),
            (&new.id, &later_new.subject)
        );
        // With no owner among those to link, an administrator cuts over.
        let plain = sign_in(world, old, "okta|plain", "plain@example.com", true).await;
        let plain_new = sign_in(world, new, "entra|plain", "plain@example.com", true).await;
        let answer = approve_by(world, &admin, &migration, (&plain, &plain_new)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = step_by(world, &admin, &migration, "cut-over").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn an_administrator_becomes_no_owner_by_rolling_back() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let admin = world.hire(Role::OrgAdmin, None).await.token;
        // The administrator's own account at the old provider is taken for somebody of the new one.
        let mine = sign_in(world, old, "okta|mine", "mine@example.com", true).await;
        let theirs = sign_in(world, new, "entra|theirs", "mine@example.com", true).await;
        let migration = begin(world, json!({})).await;
        let answer = approve_by(world, &admin, &migration, (&mine, &theirs)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = step_by(world, &admin, &migration, "cut-over").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        // Who comes through the new provider now is made an owner.
        assert_eq!(user(world, &mine.id).await.subject, "entra|theirs");
        give(world, &mine, "org_owner").await;
        for step in ["roll-back?dry_run=true", "roll-back"] {
            let answer = step_by(world, &admin, &migration, step).await;
            answer.refused(403, "forbidden");
            assert!(answer.text.contains("only an owner"), "{}", answer.text);
        }
        assert_eq!(
            user(world, &mine.id).await.subject,
            "entra|theirs",
            "the owner is who they were"
        );
        let order = (store::audit::Order::Newest, None);
        let filter = store::audit::Filter::default();
        let events = store::audit::list(&world.store, &acme.org, &filter, order, 50).await;
        assert!(
            !events
                .unwrap()
                .iter()
                .any(|event| event.action.starts_with("connection_migration.roll_back"))
        );
        // An owner may.
        let answer = step_by(world, &acme.owner.token, &migration, "roll-back").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(user(world, &mine.id).await.subject, "okta|mine");
    })
    .await;
}

#[tokio::test]
async fn approve_all_leaves_out_whoever_has_a_role_by_a_group() {
    on_each(async |world| {
        let acme = &world.acme;
        let (mapped, _) = crate::world::mapped(world, Role::AccountEditor, Some(&acme.account)).await;
        let identity = user::Identity {
            email: Some("mapped@example.com".into()),
            email_verified: true,
            groups: mapped.groups.clone(),
            issuer: mapped.issuer.clone(),
            ..identity(&acme.connection.id, &mapped.subject)
        };
        let mut tx = world.store.begin().await.unwrap();
        let again = user::sign_in(&mut tx, &acme.org, identity).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert_eq!(again.user.id, mapped.id);
        sign_in(world, &acme.elsewhere, "entra|m", "mapped@example.com", true).await;
        let migration = begin(world, json!({})).await;
        let after = step(world, &migration, "links/approve-all", None).await;
        assert_eq!(
            (&after["links"]["proposed"], &after["links"]["approved"]),
            (&json!(1), &json!(0))
        );
    })
    .await;
}

/// A browser session of somebody, at the control plane or at an app.
async fn session_of(world: &World, user: &User, app: Option<&App>) -> SessionId {
    let mut tx = world.store.begin().await.unwrap();
    let session = store::session::Record {
        id: SessionId::fresh(),
        org: Some(world.acme.org.clone()),
        user: Some(user.id.clone()),
        app: app.map(|app| app.id.clone()),
        parent: None,
        data: "{}".into(),
        expires_at: tx.now().plus_seconds(86_400),
        ip: None,
        user_agent: None,
        authentication: wire::Authentication::default(),
    };
    let hash = store::sha256(session.id.to_string());
    store::session::save(&mut tx, &hash, &session).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    session.id
}

#[tokio::test]
async fn a_roll_back_ends_what_a_wrongly_linked_person_began() {
    on_each(async |world| {
        let acme = &world.acme;
        let scopes = [TokenScope::Read];
        let ada = sign_in(world, &acme.connection, "okta|ada", "adele@example.com", true).await;
        let wrong = sign_in(world, &acme.elsewhere, "entra|7", "mallory@example.com", true).await;
        let bystander = sign_in(world, &acme.connection, "okta|zoe", "zoe@example.com", true).await;
        give(world, &ada, "org_auditor").await;
        let early_session = session_of(world, &ada, None).await;
        let early_grant = live_grant(world, &ada).await;
        let (_, early_token) = crate::world::token(&world.store, &acme.org, &ada.id, &scopes).await;
        let migration = begin(world, json!({})).await;
        decide(world, &migration, (&ada, &wrong), "approved").await;
        world.clock.advance(60);
        step(world, &migration, "cut-over", Some(json!({}))).await;
        world.clock.advance(60);

        // Mallory is Ada now, and whoever comes as Ada through the old connection is the other.
        let late = sign_in(world, &acme.elsewhere, "entra|7", "mallory@example.com", true).await;
        assert_eq!(late.id, ada.id);
        let sessions = [
            session_of(world, &ada, None).await,
            session_of(world, &ada, Some(&acme.app)).await,
        ];
        let grants = [live_grant(world, &ada).await, live_grant(world, &wrong).await];
        let (_, token) = crate::world::token(&world.store, &acme.org, &ada.id, &scopes).await;
        let others = session_of(world, &bystander, None).await;
        let reads = async |token: &str| world.call(token, Method::GET, "/organisation", None).await.status;
        assert_eq!(reads(&token).await, StatusCode::OK);

        let mut changes = world.store.changes();
        step(world, &migration, "roll-back", None).await;
        for id in &sessions {
            let gone = store::session::get(&world.store, &acme.org, id).await;
            assert!(matches!(gone, Err(store::Error::NotFound(_))), "{gone:?}");
        }
        let now = world.clock.now();
        for id in &grants {
            let ended = grant::get(&world.store, &acme.org, id, now).await.unwrap();
            assert_eq!(ended.state, GrantState::Revoked);
            assert_eq!(ended.revoked_reason.as_deref(), Some("migration_rolled_back"));
        }
        assert_eq!(reads(&token).await, StatusCode::UNAUTHORIZED);
        let mut said = Vec::new();
        while let Ok(change) = changes.try_recv() {
            said.push(change);
        }
        for id in &sessions {
            assert!(said.contains(&store::Change::Session(id.clone())), "{said:?}");
        }
        for id in &grants {
            assert!(said.contains(&store::Change::Grant(id.clone())), "{said:?}");
        }
        // What Ada had before, and what others have, goes on.
        for id in [&early_session, &others] {
            store::session::get(&world.store, &acme.org, id).await.unwrap();
        }
        let held = grant::get(&world.store, &acme.org, &early_grant, now).await;
        assert_eq!(held.unwrap().state, GrantState::Active);
        assert_eq!(reads(&early_token).await, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn whoever_was_disabled_since_the_approval_is_not_linked() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let mut pairs = Vec::new();
        for name in ["ada", "bea", "cleo"] {
            let email = format!("{name}2@example.com");
            let one = sign_in(world, old, &format!("okta|{name}"), &email, true).await;
            let other = sign_in(world, new, &format!("entra|{name}"), &email, true).await;
            pairs.push((one, other));
        }
        let migration = begin(world, json!({})).await;
        let all = step(world, &migration, "links/approve-all", None).await;
        assert_eq!(all["links"]["approved"], 3);
        let disable = async |user: &User, disabled: bool| {
            let path = format!("/users/{}", user.id);
            let answer = world
                .owner(Method::PATCH, &path, Some(json!({"disabled": disabled})))
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        };
        disable(&pairs[0].0, true).await;
        disable(&pairs[1].1, true).await;
        let answer = step_by(world, &acme.owner.token, &migration, "cut-over").await;
        answer.refused(409, "conflict");
        assert!(answer.text.contains("disabled since: 2,"), "{}", answer.text);
        assert_eq!(user(world, &pairs[2].0.id).await.connection, old.id);
        // Rejected, or let in again.
        decide(world, &migration, (&pairs[0].0, &pairs[0].1), "rejected").await;
        disable(&pairs[1].1, false).await;
        let after = step(world, &migration, "cut-over", Some(json!({}))).await;
        assert_eq!(after["links"]["linked"], 2);
        assert_eq!(user(world, &pairs[0].0.id).await.connection, old.id);
    })
    .await;
}

#[tokio::test]
async fn a_providers_word_about_somebody_moves_with_their_identity() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let day = 86_400;
        let begun = world.clock.now();
        sign_in(world, old, "okta|ada", "adele@example.com", true).await;
        let twin = sign_in(world, new, "entra|7", "adele@example.com", true).await;
        world.clock.advance(2 * day);
        let ada = sign_in(world, old, "okta|ada", "adele@example.com", true).await;
        let by_old = world.clock.now();
        let vouched = async |id: &UserId| user(world, id).await.vouched_at.unwrap();
        let migration = begin(world, json!({})).await;
        assert_eq!(
            decide(world, &migration, (&ada, &twin), "approved").await.status,
            200
        );
        world.clock.advance(day);
        step(world, &migration, "cut-over", Some(json!({}))).await;
        // Both are about her: the younger one counts, and her agents do not stop at that moment.
        assert_eq!(
            (vouched(&ada.id).await, vouched(&twin.id).await),
            (by_old, by_old)
        );
        assert!(vouched(&ada.id).await > begun);
        let again = sign_in(world, new, "entra|7", "adele@example.com", true).await;
        assert_eq!(
            (again.id, vouched(&ada.id).await),
            (ada.id.clone(), world.clock.now())
        );
        // On the way back, what the new provider said counts for nothing.
        step(world, &migration, "roll-back", None).await;
        assert_eq!(vouched(&ada.id).await, by_old);
        // What the old provider withdrew is not given back by moving.
        let withdrawn = format!("UPDATE users SET vouched_at = NULL WHERE id = '{}'", ada.id);
        world.execute(&withdrawn).await;
        step(world, &migration, "cut-over", Some(json!({}))).await;
        assert_eq!(user(world, &ada.id).await.vouched_at, None);
    })
    .await;
}

#[tokio::test]
async fn who_is_linked_at_a_sign_in_is_vouched_for_by_it() {
    on_each(async |world| {
        let acme = &world.acme;
        let (old, new) = (&acme.connection, &acme.elsewhere);
        let ada = sign_in(world, old, "okta|ada", "adele@example.com", true).await;
        let migration = begin(world, json!({"link_on_sign_in": true})).await;
        step(world, &migration, "cut-over", Some(json!({}))).await;
        world.clock.advance(30 * 86_400);
        let same = sign_in(world, new, "entra|7", "adele@example.com", true).await;
        assert_eq!((&same.id, &same.connection), (&ada.id, &new.id));
        assert_eq!(
            same.vouched_at,
            Some(world.clock.now()),
            "or the next page would not know them"
        );
    })
    .await;
}
