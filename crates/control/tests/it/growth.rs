//! What lists and changes ask the database in a small organisation and in one a hundred times as large: statements, rows,
//! and on SQLite the engine's steps. How long it takes is printed, too, and judged by nobody.
//!
//! ```text
//! cargo nextest run -p control growth --no-capture
//! ```

use crate::world::{World, account_token, on_each};
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};
use store::Purpose;
use wire::*;

/// Accounts, apps, policies and agents of the small one; ten times as many people, five times as many grants.
const SMALL: usize = 12;
const TIMES: usize = 100;

fn id(prefix: &str, n: usize) -> String {
    // Behind those that the world has made itself.
    format!("{prefix}_f{n:031x}")
}

async fn insert(world: &World, into: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    for some in rows.chunks(500) {
        let mut sql = format!("INSERT INTO {into} VALUES ");
        for (i, row) in some.iter().enumerate() {
            let _ = write!(sql, "{}({row})", if i == 0 { "" } else { ", " });
        }
        world.execute(&sql).await;
    }
}

/// Fills the organisation behind the store's back, as large as the range ends.
async fn grow(world: &World, to: Range<usize>) {
    let (org, connection) = (&world.acme.org, &world.acme.elsewhere.id);
    let accounts = to.clone();
    let rows = accounts.map(|i| format!("'{}', '{org}', 'Account {i}', TRUE, 0, 1", id("acc", i)));
    insert(
        world,
        "accounts (id, org, name, enabled, created_at, version)",
        rows,
    )
    .await;
    let rows = to.clone().map(|i| {
        let spec = json!({"name": "Staff", "decision": "allow", "include": [{"type": "everyone"}]});
        let (policy, account) = (id("pol", i), id("acc", i));
        format!("'{policy}', '{org}', '{account}', 'Staff', '{spec}', 0, 1")
    });
    let into = "policies (id, org, account, name, spec, created_at, version)";
    insert(world, into, rows).await;
    let rows = to.clone().map(|i| {
        let spec = json!({"name": "Crew", "members": [], "include": []});
        let (group, account) = (id("grp", i), id("acc", i));
        format!("'{group}', '{org}', '{account}', 'Crew', '{spec}', 0, 1")
    });
    let into = "user_groups (id, org, account, name, spec, created_at, version)";
    insert(world, into, rows).await;
    let rows = to.clone().map(|i| {
        let spec = json!({
            "name": "App", "kind": "web", "public_url": format!("https://grown{i}.example.com"),
            "origin_url": "http://10.0.0.1", "managed_oauth": true, "policies": [id("pol", i)],
        });
        let (app, account) = (id("app", i), id("acc", i));
        format!("'{app}', '{org}', '{account}', 'App', 'grown{i}.example.com', '', '{spec}', 0, 1")
    });
    let into = "apps (id, org, account, name, authority, path, spec, created_at, version)";
    insert(world, into, rows).await;
    let rows = to.clone().map(|i| {
        let (client, app, account) = (id("cli", i), id("app", i), id("acc", i));
        format!(
            "'{client}', '{org}', '{account}', '{app}', '{client}', 'Agent', 'dynamic', 'localhost', 'active', \
             '[]', 'none', '{{}}', 0, 1"
        )
    });
    let into = "clients (id, org, account, app, client_id, name, source, tier, state, redirect_uris, auth_method, \
                metadata, created_at, version)";
    insert(world, into, rows).await;
    let rows = to.clone().map(|i| {
        let (binding, account) = (id("bnd", i), id("acc", i));
        format!("'{binding}', '{org}', '{connection}', '{account}', 'allowed', 'active', 0, 1")
    });
    let into = "bindings (id, org, connection, account, mode, state, created_at, version)";
    insert(world, into, rows).await;
    let people = to.start * 10..to.end * 10;
    let rows = people.map(|i| {
        format!(
            "'{}', '{org}', '{connection}', 'https://idp.example.com', 's{i}', 'p{i}@example.com', TRUE, \
             'Person {i}', '{{}}', '[\"staff\"]', FALSE, 0, 1",
            id("usr", i)
        )
    });
    let into = "users (id, org, connection, issuer, subject, email, email_verified, name, claims, idp_groups, \
                disabled, created_at, version)";
    insert(world, into, rows).await;
    let end = world.clock.now().plus_seconds(30 * 86_400).0;
    let grants = to.start * 5..to.end * 5;
    let rows = grants.map(|i| {
        let place = i / 5;
        let (grant, account, app) = (id("gnt", i), id("acc", place), id("app", place));
        let (user, client) = (id("usr", i), id("cli", place));
        format!("'{grant}', '{org}', '{account}', '{app}', '{user}', '{client}', '[\"access\"]', 0, {end}, 1")
    });
    let into =
        "grants (id, org, account, app, user_id, client, scopes, created_at, expires_at, last_used_at)";
    insert(world, into, rows).await;
    world.store.reload().await.unwrap();
}

/// What one call costs: statements, rows and steps of the dearest of some, and the time of the quickest.
#[derive(Debug, Clone, Copy)]
struct Cost {
    asked: [u64; 3],
    time: Duration,
}

fn asked(world: &World) -> [u64; 3] {
    [Purpose::Control, Purpose::Report]
        .iter()
        .fold([0; 3], |sum, purpose| {
            let load = world.store.load(*purpose);
            [sum[0] + load.statements, sum[1] + load.rows, sum[2] + load.steps]
        })
}

struct Call {
    what: &'static str,
    method: Method,
    path: String,
    /// Of the turn, so that something changes each time.
    body: fn(usize) -> Option<Value>,
    token: Option<String>,
}

async fn calls(world: &World) -> Vec<Call> {
    let acme = &world.acme;
    let list = |what: &'static str, path: &str| {
        let glue = if path.contains('?') { '&' } else { '?' };
        Call {
            what,
            method: Method::GET,
            path: format!("{path}{glue}limit=10"),
            body: |_| None,
            token: None,
        }
    };
    let change = |what: &'static str, path: String, body: fn(usize) -> Option<Value>| Call {
        what,
        method: Method::PATCH,
        path,
        body,
        token: None,
    };
    let editor = account_token(world, Role::AccountAdmin, &acme.account).await;
    let of_account = |what: &'static str, path: &str| Call {
        token: Some(editor.clone()),
        ..list(what, path)
    };
    let rename: fn(usize) -> Option<Value> = |n| Some(json!({"name": format!("Renamed {n}")}));
    vec![
        list("accounts", "/accounts"),
        list("apps", "/apps"),
        list("policies", "/policies"),
        list("groups", "/groups"),
        list("people", "/users"),
        list(
            "people of a connection",
            &format!("/users?connection={}", acme.elsewhere.id),
        ),
        list("agents", "/clients"),
        list("grants", "/grants"),
        list("bindings", "/bindings"),
        list("members", "/members"),
        of_account("people, for an account's admin", "/users"),
        of_account("apps, for an account's admin", "/apps"),
        of_account("policies, for an account's admin", "/policies"),
        of_account("groups, for an account's admin", "/groups"),
        of_account("agents, for an account's admin", "/clients"),
        of_account("grants, for an account's admin", "/grants"),
        of_account("bindings, for an account's admin", "/bindings"),
        change("rename an account", format!("/accounts/{}", acme.labs.id), rename),
        change("rename an app", format!("/apps/{}", acme.app.id), rename),
        change("rename a policy", format!("/policies/{}", acme.policy.id), rename),
        change("rename a group", format!("/groups/{}", acme.group.id), rename),
        change(
            "disable or enable a person",
            format!("/users/{}", acme.employee.id),
            |n| Some(json!({"disabled": n % 2 == 0})),
        ),
    ]
}

/// Each call some times, of which the first does not count.
async fn measure(world: &World, calls: &[Call], turn: &mut usize) -> Vec<Cost> {
    let mut costs = Vec::new();
    for call in calls {
        let token = call.token.as_ref().unwrap_or(&world.acme.owner.token);
        let mut best: Option<Cost> = None;
        for first in [true, false, false, false, false] {
            *turn += 1;
            let (before, began) = (asked(world), Instant::now());
            let answer = world
                .call(token, call.method.clone(), &call.path, (call.body)(*turn))
                .await;
            let (time, after) = (began.elapsed(), asked(world));
            assert!(answer.status.is_success(), "{}: {}", call.what, answer.text);
            let cost = Cost {
                asked: [0, 1, 2].map(|i| after[i] - before[i]),
                time,
            };
            if !first {
                // The most that was asked, and the quickest time.
                best = Some(best.map_or(cost, |best: Cost| Cost {
                    asked: [0, 1, 2].map(|i| best.asked[i].max(cost.asked[i])),
                    time: best.time.min(cost.time),
                }));
            }
        }
        costs.extend(best);
    }
    costs
}

#[tokio::test]
async fn lists_and_changes_cost_what_they_concern() {
    on_each(async |world| {
        let calls = calls(world).await;
        let mut turn = 0;
        grow(world, 0..SMALL).await;
        let small = measure(world, &calls, &mut turn).await;
        grow(world, SMALL..SMALL * TIMES).await;
        let large = measure(world, &calls, &mut turn).await;
        println!("| call | statements | rows | steps | ms, small | ms, large | ratio |");
        println!("|---|---|---|---|---:|---:|---:|");
        for (call, (small, large)) in calls.iter().zip(small.iter().zip(&large)) {
            let pair = |i: usize| format!("{} / {}", small.asked[i], large.asked[i]);
            let millis = |time: Duration| time.as_secs_f64() * 1000.0;
            println!(
                "| {} | {} | {} | {} | {:.1} | {:.1} | {:.2} |",
                call.what,
                pair(0),
                pair(1),
                pair(2),
                millis(small.time),
                millis(large.time),
                millis(large.time) / millis(small.time)
            );
        }
        for (call, (small, large)) in calls.iter().zip(small.iter().zip(&large)) {
            let what = call.what;
            assert_eq!(small.asked[0], large.asked[0], "{what}: statements");
            assert_eq!(small.asked[1], large.asked[1], "{what}: rows");
            assert!(
                large.asked[2] <= 2 * small.asked[2] + 20,
                "{what}: {small:?} {large:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_thousand_members_are_looked_up_together() {
    on_each(async |world| {
        grow(world, 0..100).await;
        let path = format!("/groups/{}", world.acme.group.id);
        let with = async |members: Range<usize>| {
            let members: Vec<String> = members.map(|n| id("usr", n)).collect();
            let before = asked(world)[0];
            let body = json!({"members": members});
            let answer = world.owner(Method::PATCH, &path, Some(body)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            asked(world)[0] - before
        };
        with(0..1).await;
        let (few, many) = (with(0..2).await, with(0..1000).await);
        println!("  2 members: {few} statements, 1,000: {many}");
        assert!(many <= few + 1, "{few} {many}");
        // The first that is nobody is named.
        let members = [
            id("usr", 1),
            UserId::fresh().to_string(),
            UserId::fresh().to_string(),
        ];
        let answer = world
            .owner(Method::PATCH, &path, Some(json!({"members": members})))
            .await;
        let wrong = answer.refused(400, "invalid");
        assert_eq!(wrong, ["/members/1"]);
    })
    .await;
}

#[tokio::test]
async fn policies_and_service_tokens_are_looked_up_together() {
    on_each(async |world| {
        let (org, account) = (&world.acme.org, &world.acme.account.id);
        let rows = (0..60).map(|i| {
            let spec =
                json!({"name": format!("P{i}"), "decision": "deny", "include": [{"type": "everyone"}]});
            format!("'{}', '{org}', '{account}', 'P{i}', '{spec}', 0, 1", id("pol", i))
        });
        let into = "policies (id, org, account, name, spec, created_at, version)";
        insert(world, into, rows).await;
        let rows = (0..60).map(|i| {
            format!(
                "'{}', '{org}', '{account}', 'T{i}', TRUE, 'x', 'chs_', 0, 0, 1",
                id("svc", i)
            )
        });
        let into =
            "service_tokens (id, org, account, name, enabled, hash, prefix, rotated_at, created_at, version)";
        insert(world, into, rows).await;
        let cost = async |path: &str, body: Value| {
            let before = asked(world)[0];
            let answer = world.owner(Method::PATCH, path, Some(body)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            asked(world)[0] - before
        };
        let app = format!("/apps/{}", world.acme.app.id);
        let with = |many: usize| json!({"policies": (0..many).map(|i| id("pol", i)).collect::<Vec<_>>()});
        cost(&app, with(1)).await;
        assert_eq!(cost(&app, with(2)).await, cost(&app, with(60)).await, "policies");
        let policy = format!("/policies/{}", world.acme.policy.id);
        let with = |many: usize| {
            let named = (0..many).map(|i| json!({"type": "service_token", "service_token": id("svc", i)}));
            json!({"decision": "service_auth", "include": named.collect::<Vec<_>>()})
        };
        cost(&policy, with(1)).await;
        assert_eq!(
            cost(&policy, with(2)).await,
            cost(&policy, with(60)).await,
            "tokens"
        );
    })
    .await;
}
