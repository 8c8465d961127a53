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
    grant::note_use(&mut tx, &id).await.unwrap();
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
