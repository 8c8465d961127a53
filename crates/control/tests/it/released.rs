//! What is let out of people, case by case: which account's binding counts, and when.

use crate::webhooks::{Receiver, deliverer, make};
use crate::withheld::{CANARY, actor, canary, event, ok, release, sign_in};
use crate::world::{Answer, World, account_token, hire, on_each};
use http::{Method, Request, header};
use serde_json::{Value, json};
use store::user::Identity;
use testkit::from_json;
use wire::*;

async fn seen(world: &World, token: &str, path: &str) -> Answer {
    let answer = world.call(token, Method::GET, path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer
}

async fn auditor(world: &World) -> String {
    account_token(world, Role::AccountAuditor, &world.acme.account).await
}

/// A connection of the organisation, bound in an account with these claims.
async fn bound(world: &World, (name, kind): (&str, &str), account: &Account, claims: Value) -> ConnectionId {
    let spec = match kind {
        "email_code" => json!({"name": name, "kind": kind, "allowed_domains": ["yellowbird.example"]}),
        _ => json!({"name": name, "kind": kind, "issuer": "https://idp2.example.com", "client_id": "us"}),
    };
    let mut tx = world.store.begin().await.unwrap();
    let org = &world.acme.org;
    let made = store::connection::create(&mut tx, org, None, from_json(spec))
        .await
        .unwrap();
    let spec = from_json(json!({ "claims": claims }));
    store::binding::create(&mut tx, org, (&made.id, &account.id), spec)
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    made.id
}

async fn gateway_request(world: &World, user: &User) -> EventId {
    let event = event(world, "gateway.request", actor(user));
    let id = event.id.clone();
    world.store.record(event).await.unwrap();
    id
}

#[tokio::test]
async fn the_accounts_log_and_its_exports_hold_no_address_that_is_withheld() {
    on_each(async |world| {
        let ada = sign_in(world, canary(&world.acme.connection.id, "ada")).await;
        let id = gateway_request(world, &ada).await;
        let auditor = auditor(world).await;
        let paths = [
            "/audit".to_owned(),
            format!("/audit/{id}"),
            "/audit/export".to_owned(),
            "/audit/export?format=csv".to_owned(),
        ];
        // What was written down before is judged by what the binding says when it is read.
        for path in &paths {
            assert!(seen(world, &auditor, path).await.text.contains(CANARY), "{path}");
        }
        release(world, json!(["name", "groups"])).await;
        for path in &paths {
            let shown = seen(world, &auditor, path).await.text;
            assert!(shown.contains(ada.id.as_ref()), "{path}: {shown}");
            assert!(!shown.contains(CANARY), "{path}: {shown}");
            let all = world.owner(Method::GET, path, None).await.text;
            assert!(all.contains(CANARY), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_subject_of_somebody_who_signs_in_with_a_code_is_their_address() {
    on_each(async |world| {
        let codes = bound(
            world,
            ("Codes", "email_code"),
            &world.acme.account,
            json!(["groups"]),
        )
        .await;
        let ada = sign_in(world, canary(&codes, "ada")).await;
        let auditor = auditor(world).await;
        let one = format!("/users/{}", ada.id);
        for path in [one.as_str(), "/users"] {
            let shown = seen(world, &auditor, path).await.text;
            assert!(shown.contains(ada.id.as_ref()), "{shown}");
            assert!(!shown.contains(&format!("{CANARY}-ada-mail")), "{shown}");
            assert!(!shown.contains(&format!("{CANARY}-ada-name")), "{shown}");
        }
        let shown = seen(world, &auditor, &one).await.json();
        assert_eq!((shown.get("subject"), shown.get("email")), (None, None));
        assert_eq!(shown["groups"], json!([format!("{CANARY}-ada-group")]));
        assert_eq!(world.get(&one).await["subject"], json!(ada.subject));
    })
    .await;
}

#[tokio::test]
async fn pages_of_people_and_connections_tell_nothing_of_those_that_are_hidden() {
    on_each(async |world| {
        let acme = &world.acme;
        // Many whom Production does not know, beside Ada, whom it does.
        for n in 0..4 {
            sign_in(world, canary(&acme.elsewhere.id, &n.to_string())).await;
        }
        let auditor = auditor(world).await;
        let (mut ids, mut next) = (Vec::new(), String::new());
        loop {
            let page = seen(world, &auditor, &format!("/users?limit=1{next}"))
                .await
                .json();
            let items = page["items"].as_array().unwrap();
            assert_eq!(items.len(), 1, "a page is full, or there is no next one: {page}");
            ids.push(items[0]["id"].clone());
            match page["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(ids, [json!(acme.employee.id)]);
        // Searching is no different, also not for somebody who is there.
        let nothing = seen(world, &auditor, "/users?limit=1&q=nowhere").await.text;
        assert_eq!(
            seen(world, &auditor, &format!("/users?limit=1&q={CANARY}"))
                .await
                .text,
            nothing
        );
        release(world, json!([])).await;
        assert_eq!(seen(world, &auditor, "/users?limit=1&q=ada").await.text, nothing);
        release(world, json!(["email"])).await;
        let found = seen(world, &auditor, "/users?limit=1&q=ADA@").await.json();
        assert_eq!(found["items"][0]["id"], json!(acme.employee.id));
        // Connections that are bound elsewhere.
        let page = seen(world, &auditor, "/connections?limit=1").await.json();
        assert_eq!(page["items"][0]["id"], json!(acme.connection.id), "{page}");
        assert_eq!(page.get("next"), None, "{page}");
        assert_eq!(
            seen(world, &auditor, "/overview").await.json()["totals"]["users"],
            1
        );
        assert!(world.get("/overview").await["totals"]["users"].as_i64().unwrap() > 5);
    })
    .await;
}

#[tokio::test]
async fn a_search_of_the_log_finds_nobody_by_what_is_withheld() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, canary(&acme.connection.id, "ada")).await;
        release(world, json!([])).await;
        let mut tx = world.store.begin().await.unwrap();
        tx.changed(store::Change::All);
        // More than one page looks through.
        let log = (0..6000).map(|n| {
            let who = if n % 2 == 0 {
                actor(&ada)
            } else {
                AuditActor::of(ActorKind::System)
            };
            let mut event = event(world, "gateway.request", who);
            event.reason = (n == 17).then(|| "needle".to_owned());
            event
        });
        tx.commit_all(log.collect()).await.unwrap();
        let auditor = auditor(world).await;
        // Each page is what it would be if nobody were found.
        let walk = async |limit: u32, q: &str| {
            let (mut pages, mut next) = (Vec::new(), String::new());
            loop {
                let path = format!("/audit?action=gateway.request&limit={limit}&q={q}{next}");
                let page = seen(world, &auditor, &path).await.json();
                pages.push((page["items"].clone(), page["next"].clone()));
                match page["next"].as_str() {
                    Some(cursor) => next = format!("&cursor={cursor}"),
                    None => break pages,
                }
            }
        };
        let nothing = walk(5, "nowhere-to-be-found").await;
        assert_eq!(nothing.len(), 2, "what one answer costs is bounded");
        assert_eq!(walk(5, "YELLOWBIRD-ada-mail").await, nothing);
        // What is shown is found, as far back as it is.
        let found: Vec<_> = walk(5, "NEEDLE")
            .await
            .into_iter()
            .map(|(items, _)| items)
            .collect();
        assert_eq!(found[0], json!([]));
        assert_eq!(found[1][0]["reason"], "needle");
        let by_id = walk(200, ada.id.as_ref()).await;
        assert_eq!(by_id.len(), 3000 / 200, "{}", by_id.len());
        let export = format!("/audit/export?action=gateway.request&q={CANARY}");
        assert_eq!(seen(world, &auditor, &export).await.text, "");
        let export = "/audit/export?action=gateway.request&q=needle";
        assert_eq!(seen(world, &auditor, export).await.text.lines().count(), 1);
        // The organisation finds them.
        let found = world
            .get(&format!("/audit?action=gateway.request&q={CANARY}&limit=1"))
            .await;
        assert_eq!(found["items"][0]["actor"]["user"], json!(ada.id));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_looked_for_in_the_log_is_not_told_to_the_account() {
    on_each(async |world| {
        release(world, json!([])).await;
        let account = &world.acme.account.id;
        world
            .get(&format!("/audit?account={account}&q={CANARY}&outcome=denied"))
            .await;
        let auditor = auditor(world).await;
        let log = seen(world, &auditor, "/audit?action=audit.read").await.json();
        assert_eq!(log["items"][0]["actor"]["user"], json!(world.acme.owner.user.id));
        let looked = &log["items"][0]["change"]["after"];
        assert_eq!(looked, &json!({"account": account, "outcome": "denied"}));
    })
    .await;
}

#[tokio::test]
async fn each_account_sees_people_through_its_own_binding() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, canary(&acme.connection.id, "ada")).await;
        release(world, json!(["groups"])).await;
        let labs = json!({"connection": acme.connection.id, "accounts": [acme.labs.id], "claims": ["email"]});
        ok(world, Method::POST, "/bindings", labs).await;
        let both = world.hire(Role::AccountAuditor, Some(&acme.account)).await;
        let role = json!({"user": both.user.id, "role": "account_auditor", "account": acme.labs.id});
        ok(world, Method::POST, "/members", role).await;
        let mut members = Vec::new();
        for account in [&acme.account, &acme.labs] {
            let role = json!({"user": ada.id, "role": "account_editor", "account": account.id});
            members.push(ok(world, Method::POST, "/members", role).await.json()["id"].clone());
            let mut event = event(world, "gateway.request", actor(&ada));
            event.account = Some(account.id.clone());
            world.store.record(event).await.unwrap();
        }
        // Who they are is known by either, what happens in an account by its own.
        let one = seen(world, &both.token, &format!("/users/{}", ada.id))
            .await
            .json();
        assert_eq!(one["email"], json!(ada.email));
        assert_eq!(one["groups"], json!(ada.groups));
        assert_eq!((one.get("name"), one.get("subject")), (None, None));
        for (account, member, shown) in [
            (&acme.account, &members[0], false),
            (&acme.labs, &members[1], true),
        ] {
            let path = format!("/audit?account={}&action=gateway.request", account.id);
            let log = seen(world, &both.token, &path).await.text;
            assert_eq!(log.contains(CANARY), shown, "{log}");
            let member = format!("/members/{}", member.as_str().unwrap());
            let member = seen(world, &both.token, &member).await.text;
            assert_eq!(member.contains(CANARY), shown, "{member}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_people_of_no_binding_and_of_one_that_is_detached_only_the_identifier_is_told() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, canary(&acme.connection.id, "ada")).await;
        let stranger = sign_in(world, canary(&acme.elsewhere.id, "stranger")).await;
        for user in [&ada, &stranger] {
            let role = json!({"user": user.id, "role": "account_editor", "account": acme.account.id});
            ok(world, Method::POST, "/members", role).await;
            gateway_request(world, user).await;
        }
        let auditor = auditor(world).await;
        let tells = async |user: &User, shown: bool| {
            for path in [
                format!("/audit?user={}&action=gateway.", user.id),
                format!("/members?user={}", user.id),
            ] {
                let text = seen(world, &auditor, &path).await.text;
                assert!(text.contains(user.id.as_ref()), "{text}");
                assert_eq!(text.contains(CANARY), shown, "{path}: {text}");
            }
        };
        tells(&ada, true).await;
        tells(&stranger, false).await;
        // While it drains, what runs is seen; afterwards, and when it is gone, nothing is.
        let binding = format!("/bindings/{}", acme.binding.id);
        let until = world.clock.now().plus_seconds(60);
        ok(
            world,
            Method::PATCH,
            &binding,
            json!({"state": "draining", "drain_until": until}),
        )
        .await;
        tells(&ada, true).await;
        world.clock.advance(60);
        tells(&ada, false).await;
        ok(world, Method::PATCH, &binding, json!({"state": "active"})).await;
        tells(&ada, true).await;
        ok(world, Method::PATCH, &binding, json!({"state": "detached"})).await;
        tells(&ada, false).await;
        ok(world, Method::DELETE, &binding, Value::Null).await;
        tells(&ada, false).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_another_one_excludes_withholds_as_before() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, canary(&acme.connection.id, "ada")).await;
        gateway_request(world, &ada).await;
        release(world, json!(["email"])).await;
        let auditor = auditor(world).await;
        let exclusive =
            json!({"connection": acme.elsewhere.id, "accounts": [acme.account.id], "mode": "exclusive"});
        ok(world, Method::POST, "/bindings", exclusive).await;
        let log = async || seen(world, &auditor, "/audit?action=gateway.").await.text;
        assert!(log().await.contains(CANARY));
        release(world, json!(["name"])).await;
        assert!(!log().await.contains(CANARY));
    })
    .await;
}

#[tokio::test]
async fn people_of_an_accounts_own_connection_are_its_own_and_nobody_elses() {
    on_each(async |world| {
        let acme = &world.acme;
        let spec = json!({"name": "Labs", "kind": "oidc", "client_id": "x", "issuer": "https://idp.labs.example.com",
            "account": acme.labs.id});
        let own = ok(world, Method::POST, "/connections", spec).await.json();
        let ada = sign_in(world, canary(&from_json(own["id"].clone()), "ada")).await;
        for account in [&acme.labs, &acme.account] {
            let mut event = event(world, "app.sign_in", actor(&ada));
            event.account = Some(account.id.clone());
            world.store.record(event).await.unwrap();
            let token = account_token(world, Role::AccountAuditor, account).await;
            let is_own = account.id == acme.labs.id;
            let log = seen(world, &token, "/audit?action=app.sign_in").await.text;
            assert_eq!(log.contains(CANARY), is_own, "{log}");
            let answer = world.call(&token, Method::GET, &format!("/users/{}", ada.id), None).await;
            assert_eq!(answer.status == 200 && answer.text.contains(CANARY), is_own, "{}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_waits_is_judged_again_when_it_is_sent_and_when_it_is_looked_at() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let account = &world.acme.account;
        let more = json!({"account": account.id, "events": ["gateway."]});
        let hook = make(world, &receiver, more).await;
        let ada = sign_in(world, canary(&world.acme.connection.id, "ada")).await;
        gateway_request(world, &ada).await;
        receiver.answers(500, CANARY);
        deliverer(world).step().await.unwrap();
        assert!(receiver.take()[0].1.contains(CANARY));
        let auditor = auditor(world).await;
        let list = format!("{}/deliveries", crate::webhooks::path(&hook));
        let one = seen(world, &auditor, &list).await.json()["items"][0]["id"].clone();
        let one = format!("{list}/{}", one.as_str().unwrap());
        assert!(seen(world, &auditor, &one).await.text.contains(CANARY));
        release(world, json!(["groups"])).await;
        let shown = seen(world, &auditor, &one).await.json();
        assert!(
            !shown.to_string().contains(CANARY),
            "nor what the receiver repeated: {shown}"
        );
        assert!(shown["request_body"].as_str().unwrap().contains(ada.id.as_ref()));
        receiver.answers(200, "thanks");
        world.clock.advance(60);
        deliverer(world).step().await.unwrap();
        let bodies = receiver.take();
        assert_eq!(bodies.len(), 1);
        assert!(!bodies[0].1.contains(CANARY), "{}", bodies[0].1);
        let admin = account_token(world, Role::AccountAdmin, account).await;
        let again = world
            .call(&admin, Method::POST, &format!("{one}/replay"), None)
            .await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert!(!again.text.contains(CANARY), "{}", again.text);
    })
    .await;
}

#[tokio::test]
async fn groups_that_an_account_does_not_see_give_no_power_in_it() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, canary(&acme.connection.id, "ada")).await;
        let mapping = json!({"connection": acme.connection.id, "group": ada.groups[0], "role": "account_editor",
            "account": acme.account.id});
        let mapping = ok(world, Method::POST, "/role-mappings", mapping).await.json();
        let auditor = auditor(world).await;
        let path = format!("/users/{}/roles", ada.id);
        let roles = seen(world, &auditor, &path).await.json();
        assert_eq!(roles["items"][0]["mapping"], mapping["id"]);
        release(world, json!(["email", "name"])).await;
        let roles = seen(world, &auditor, &path).await.json();
        // Who is in the group would show by who has the role.
        assert_eq!(roles["items"], json!([]));
        assert_eq!(world.get(&path).await["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_is_not_answered_with_what_is_withheld_since() {
    on_each(async |world| {
        let acme = &world.acme;
        let ada = sign_in(world, canary(&acme.connection.id, "ada")).await;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let role = json!({"user": ada.id, "role": "account_editor", "account": acme.account.id});
        let send = async || {
            let request = Request::post("/api/v1/members")
                .header(header::AUTHORIZATION, format!("Bearer {admin}"))
                .header(header::CONTENT_TYPE, "application/json")
                .header("idempotency-key", "once");
            world.send(request.body(role.to_string().into()).unwrap()).await
        };
        assert!(send().await.text.contains(CANARY));
        let again = send().await;
        assert_eq!(
            (again.status.as_u16(), again.header("idempotency-replayed")),
            (201, "true")
        );
        release(world, json!([])).await;
        let again = send().await;
        again.refused(422, "idempotency-key-reused");
        assert!(!again.text.contains(CANARY), "{}", again.text);
    })
    .await;
}

#[tokio::test]
async fn an_invitations_address_is_for_whoever_entered_it_where_addresses_are_withheld() {
    on_each(async |world| {
        let acme = &world.acme;
        release(world, json!(["name"])).await;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let token = account_token(world, Role::AccountAdmin, &acme.account).await;
        let new = |name: &str| {
            json!({"email": format!("{name}@{CANARY}.example"), "role": "account_editor", "account": acme.account.id})
        };
        let made = world.call(&admin, Method::POST, "/invitations", Some(new("one"))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let one = format!("/invitations/{}", made.json()["id"].as_str().unwrap());
        assert_eq!(seen(world, &admin, &one).await.json()["email"], new("one")["email"]);
        assert_eq!(seen(world, &token, &one).await.json().get("email"), None);
        let made = world.call(&token, Method::POST, "/invitations", Some(new("two"))).await;
        assert_eq!(made.json()["email"], new("two")["email"], "{}", made.text);
        let list = seen(world, &admin, "/invitations").await.text;
        assert!(list.contains("one@") && !list.contains("two@"), "{list}");
        // Neither is it told whether an address is somebody's.
        let known = Identity {
            email: Some(format!("three@{CANARY}.example")),
            ..canary(&acme.connection.id, "three")
        };
        sign_in(world, known).await;
        for name in ["three", "four"] {
            ok(world, Method::POST, "/invitations", new(name)).await;
        }
        let list = seen(world, &token, "/invitations").await.text;
        assert!(!list.contains(CANARY), "{list}");
    })
    .await;
}

#[tokio::test]
async fn everybody_sees_their_own() {
    on_each(async |world| {
        let acme = &world.acme;
        release(world, json!([])).await;
        let place = (&acme.org, &acme.connection.id);
        let role = (Role::AccountAuditor, Some(acme.account.id.clone()));
        let ada = hire(&world.store, place, role, &[TokenScope::Read, TokenScope::Audit]).await;
        let own = seen(world, &ada.token, "/session").await.json();
        assert_eq!(own["user"]["email"], json!(ada.user.email));
        assert_eq!(own["user"]["subject"], json!(ada.user.subject));
    })
    .await;
}
