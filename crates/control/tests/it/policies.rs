//! The tester with unsaved rules and for everyone, warnings, members of groups. That it says what the gateway
//! does is in `enforcement`.

use crate::world::{World, identity, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::user;
use wire::*;

async fn test(world: &World, body: Value) -> PolicyTestResult {
    let answer = world.owner(Method::POST, "/policies/test", Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

async fn refused(world: &World, body: Value) -> Vec<String> {
    let answer = world.owner(Method::POST, "/policies/test", Some(body)).await;
    answer.refused(400, "invalid")
}

async fn sign_in_many(world: &World, people: &[(String, &str)]) {
    let mut tx = world.store.begin().await.unwrap();
    for (name, group) in people {
        let identity = user::Identity {
            groups: vec![(*group).to_owned()],
            ..identity(&world.acme.connection.id, name)
        };
        user::sign_in(&mut tx, &world.acme.org, identity).await.unwrap();
    }
    tx.commit_housekeeping().await.unwrap();
}

fn allow(name: &str, include: &Value) -> Value {
    json!({"name": name, "decision": "allow", "include": include})
}

#[tokio::test]
async fn unsaved_policies_groups_and_floor_are_tried_without_being_saved() {
    on_each(async |world| {
        let acme = &world.acme;
        let ask = |more: Value| {
            let mut body = json!({"app": acme.app.id, "user": acme.employee.id});
            for (name, value) in more.as_object().unwrap() {
                body[name] = value.clone();
            }
            body
        };
        let decision = async |more: Value| test(world, ask(more)).await.decision.unwrap();
        assert!(decision(json!({})).await.allowed);
        // The whole list.
        let nobody = json!([{"type": "email", "email": "nobody@example.com"}]);
        let found = decision(json!({"draft": [allow("Only", &nobody)]})).await;
        assert_eq!((found.allowed, found.reason), (false, Reason::NoPolicyMatched));
        // One policy of it, by its identifier.
        let deny = json!({"name": "Edited", "decision": "deny", "include": [{"type": "everyone"}]});
        let found = decision(json!({"policies": {acme.policy.id.as_ref(): deny}})).await;
        assert_eq!(
            found.rule.map(|r| (r.id, r.name)),
            Some((acme.policy.id.to_string(), "Edited".into()))
        );
        // A group that is changed, and one that is not there yet.
        let in_group = |id: &str| json!([allow("Group", &json!([{"type": "group", "group": id}]))]);
        let member = json!({"name": "Staff", "members": [acme.employee.id]});
        let id = acme.group.id.as_ref();
        assert!(!decision(json!({"draft": in_group(id)})).await.allowed);
        assert!(
            decision(json!({"draft": in_group(id), "groups": {id: member}}))
                .await
                .allowed
        );
        let fresh = GroupId::fresh();
        let found =
            decision(json!({"draft": in_group(fresh.as_ref()), "groups": {fresh.as_ref(): member}})).await;
        assert!(found.allowed);
        // The floor.
        let found = decision(json!({"floor": [{"type": "mfa"}]})).await;
        assert_eq!(found.rule.map(|r| r.id), Some("floor/0".into()));
        // Address and moment.
        let inside = json!([{"type": "ip", "ranges": ["10.0.0.0/8"]}]);
        assert!(
            !decision(json!({"draft": [allow("Inside", &inside)]}))
                .await
                .allowed
        );
        assert!(
            decision(json!({"draft": [allow("Inside", &inside)], "ip": "10.1.1.1"}))
                .await
                .allowed
        );
        let sunday = json!([{"type": "time", "days": ["sun"]}]);
        let at = |at: &str| json!({"draft": [allow("Sunday", &sunday)], "at": at});
        assert!(decision(at("2026-11-22T12:00:00Z")).await.allowed);
        assert!(!decision(at("2026-11-23T12:00:00Z")).await.allowed);
        // Nothing of it was saved.
        assert!(decision(json!({})).await.allowed);

        let bad = json!([{"type": "email", "email": "x"}]);
        let id = acme.policy.id.as_ref();
        let other = world.other.policy.id.as_ref();
        let group = acme.group.id.as_ref();
        for (more, pointer) in [
            (
                json!({"draft": [allow("X", &bad)]}),
                "/draft/0/include/0/email".to_owned(),
            ),
            (
                json!({"policies": {id: allow("X", &bad)}}),
                format!("/policies/{id}/include/0/email"),
            ),
            (
                json!({"policies": {other: allow("X", &inside)}}),
                format!("/policies/{other}"),
            ),
            (
                json!({"draft": in_group(group), "groups": {group: {"name": "X", "include": bad}}}),
                format!("/groups/{group}/include/0/email"),
            ),
            (json!({"floor": bad}), "/floor/0/email".to_owned()),
            (json!({"ip": "here"}), "/ip".to_owned()),
            (json!({"method": "get"}), "/method".to_owned()),
            (json!({"path": "x"}), "/path".to_owned()),
            (json!({"tool": "x"}), "/tool".to_owned()),
            (json!({"everyone": true}), "/everyone".to_owned()),
            (json!({"scopes": ["a"]}), "/scopes".to_owned()),
            (json!({"cursor": "a"}), "/cursor".to_owned()),
            (
                json!({"service_token": acme.service_token.id}),
                "/service_token".to_owned(),
            ),
        ] {
            assert_eq!(refused(world, ask(more.clone())).await, [pointer], "{more}");
        }
        let service = json!({"app": acme.app.id, "service_token": world.other.service_token.id});
        assert_eq!(refused(world, service).await, ["/service_token"]);
    })
    .await;
}

#[tokio::test]
async fn everyone_is_counted_by_what_decides() {
    on_each(async |world| {
        let acme = &world.acme;
        let group = |i: usize| {
            if i.is_multiple_of(3) {
                "contractors"
            } else {
                "staff"
            }
        };
        let people: Vec<_> = (0..90).map(|i| (format!("person{i:03}"), group(i))).collect();
        sign_in_many(world, &people).await;
        let claim = |value: &str| json!([{"type": "claim", "name": "groups", "value": value}]);
        let draft = json!([
            {"name": "No contractors", "decision": "deny", "include": claim("contractors")},
            allow("Staff", &claim("staff")),
        ]);
        let body = json!({"app": acme.app.id, "everyone": true, "draft": draft});
        let result = test(world, body.clone()).await;
        assert_eq!((result.decision, result.trace.len()), (None, 0));
        let found = result.people.unwrap();
        // The colleagues of the world have no group.
        let others = found.refused - 30;
        assert_eq!((found.allowed, found.next), (60, None));
        let shape = |o: &TestOutcome| {
            (
                o.decision.reason,
                o.decision.rule.as_ref().map(|r| r.name.clone()),
                o.count,
            )
        };
        let mut shapes: Vec<_> = found.outcomes.iter().map(shape).collect();
        shapes.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        assert_eq!(
            shapes,
            [
                (Reason::PolicyAllowed, Some("Staff".into()), 60),
                (Reason::PolicyDenied, Some("No contractors".into()), 30),
                (Reason::NoPolicyMatched, None, others),
            ]
        );
        assert_eq!(found.outcomes[0].people.len(), 20);
        assert_eq!(
            found.outcomes[0].people[0].email.as_deref(),
            Some("person001@example.com")
        );
        // Each as if asked about alone.
        for outcome in &found.outcomes {
            for person in outcome.people.iter().take(3) {
                let one = json!({"app": acme.app.id, "user": person.id, "draft": body["draft"]});
                assert_eq!(test(world, one).await.decision.unwrap(), outcome.decision);
            }
        }
        // Through an agent, everybody is asked about with it.
        let agent = json!({"app": acme.app.id, "everyone": true, "client": acme.client.id});
        let found = test(world, agent).await.people.unwrap();
        assert_eq!(found.outcomes.len(), 1);
        assert_eq!(found.outcomes[0].decision.reason, Reason::ManagedOauthOff);
    })
    .await;
}

#[tokio::test]
async fn rules_that_never_decide_are_pointed_out_where_they_are_and_before_they_are_saved() {
    on_each(async |world| {
        let acme = &world.acme;
        let path = format!("/apps/{}/policy-warnings", acme.app.id);
        assert_eq!(world.get(&path).await, json!({"items": []}));
        let body = json!({"account": acme.account.id, "name": "Ada", "decision": "deny",
            "include": [{"type": "email", "email": "ada@example.com"}]});
        let late = world.owner(Method::POST, "/policies", Some(body)).await.json();
        let order = json!({"policies": [acme.policy.id, late["id"]]});
        let answer = world.owner(Method::PATCH, &format!("/apps/{}", acme.app.id), Some(order)).await;
        assert_eq!(answer.status, StatusCode::OK);
        // Whoever has proven no address is refused by it, so it decides about somebody.
        assert_eq!(world.get(&path).await, json!({"items": []}));
        let allow_late = json!({"name": "Ada", "decision": "allow", "include": [{"type": "email", "email": "ada@example.com"}]});
        let id = late["id"].as_str().unwrap();
        let draft = json!({"app": acme.app.id, "user": acme.employee.id, "policies": {id: allow_late}});
        let tried = test(world, draft).await;
        assert_eq!(tried.warnings.len(), 1);
        let warning = &tried.warnings[0];
        assert_eq!((warning.policy.id.as_str(), warning.kind), (id, RuleWarningKind::Shadowed));
        assert_eq!(warning.by.as_ref().map(|by| by.id.clone()), Some(acme.policy.id.to_string()));
        let answer = world.owner(Method::PATCH, &format!("/policies/{id}"), Some(allow_late.clone())).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(world.get(&path).await["items"][0]["kind"], "shadowed");
    })
    .await;
}

#[tokio::test]
async fn who_is_in_a_group_is_told_by_name_and_by_rule() {
    on_each(async |world| {
        let acme = &world.acme;
        let people: Vec<_> = (0..5)
            .map(|i| (format!("p{i}"), if i < 3 { "eng" } else { "ops" }))
            .collect();
        sign_in_many(world, &people).await;
        let body = json!({"members": [acme.employee.id], "include": [
            {"type": "claim", "name": "groups", "value": "eng"}, {"type": "ip", "ranges": ["0.0.0.0/0"]}]});
        let path = format!("/groups/{}", acme.group.id);
        let answer = world.owner(Method::PATCH, &path, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let mut found: Vec<GroupMember> = Vec::new();
        let mut query = "?limit=2".to_owned();
        loop {
            let page: Page<GroupMember> =
                serde_json::from_value(world.get(&format!("{path}/members{query}")).await).unwrap();
            assert!(page.items.len() <= 2);
            found.extend(page.items);
            match page.next {
                Some(next) => query = format!("?limit=2&cursor={next}"),
                None => break,
            }
        }
        let found: Vec<_> = found
            .into_iter()
            .map(|m| (m.person.email.unwrap(), m.named))
            .collect();
        let expected = [("ada", true), ("p0", false), ("p1", false), ("p2", false)];
        assert_eq!(
            found,
            expected.map(|(name, named)| (format!("{name}@example.com"), named))
        );
    })
    .await;
}
