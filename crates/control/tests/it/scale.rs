//! How long it takes in a large organisation. Not run by default: it measures, and wants an optimised build.
//!
//! ```text
//! cargo nextest run --release -p control --run-ignored all scale --no-capture
//! ```

use crate::world::World;
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use testkit::{Database, from_json};
use wire::*;

/// How large a company is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) accounts: usize,
    pub(crate) people: usize,
    pub(crate) grants: usize,
}

const LARGE: Size = Size {
    accounts: 1000,
    people: 10_000,
    grants: 5000,
};

pub(crate) fn id(prefix: &str, n: usize) -> String {
    format!("{prefix}_{n:032x}")
}

/// Inserts many rows behind the store's back.
pub(crate) async fn insert(database: &Database, table: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    for some in rows.chunks(500) {
        let mut sql = format!("INSERT INTO {table} VALUES ");
        for (i, row) in some.iter().enumerate() {
            let _ = write!(sql, "{}({row})", if i == 0 { "" } else { ", " });
        }
        database.execute(&sql).await;
    }
}

/// Accounts with an app, a policy and an agent each; half of the people come through the company's first connection, which
/// is bound everywhere, and hold the grants; the others through a second one.
async fn company(world: &World, database: &Database, (size, second): (Size, &Connection)) {
    let Size {
        accounts: accounts_in_all,
        people: people_in_all,
        grants: grants_in_all,
    } = size;
    let (org, first) = (&world.acme.org, &world.acme.connection.id);
    let accounts =
        (0..accounts_in_all).map(|i| format!("'{}', '{org}', 'Account {i}', TRUE, 0, 1", id("acc", i)));
    insert(
        database,
        "accounts (id, org, name, enabled, created_at, version)",
        accounts,
    )
    .await;
    let policies = (0..accounts_in_all).map(|i| {
        let include = match i % 2 {
            0 => json!([{"type": "everyone"}]),
            _ => json!([{"type": "email_domain", "domain": format!("d{}.example", i % 100)}]),
        };
        let spec = json!({"name": "Staff", "decision": "allow", "include": include});
        let (policy, account) = (id("pol", i), id("acc", i));
        format!("'{policy}', '{org}', '{account}', 'Staff', '{spec}', 0, 1")
    });
    let into = "policies (id, org, account, name, spec, created_at, version)";
    insert(database, into, policies).await;
    let apps = (0..accounts_in_all).map(|i| {
        let spec = json!({
            "name": "App", "kind": "web", "public_url": format!("https://app{i}.example.com"),
            "origin_url": "http://10.0.0.1", "managed_oauth": true, "policies": [id("pol", i)],
        });
        let (app, account) = (id("app", i), id("acc", i));
        format!("'{app}', '{org}', '{account}', 'App', 'app{i}.example.com', '', '{spec}', 0, 1")
    });
    let into = "apps (id, org, account, name, authority, path, spec, created_at, version)";
    insert(database, into, apps).await;
    let clients = (0..accounts_in_all).map(|i| {
        let (client, app, account) = (id("cli", i), id("app", i), id("acc", i));
        format!(
            "'{client}', '{org}', '{account}', '{app}', '{client}', 'Agent', 'dynamic', 'localhost', 'active', \
             '[]', 'none', '{{}}', 0, 1"
        )
    });
    let into = "clients (id, org, account, app, client_id, name, source, tier, state, redirect_uris, auth_method, \
                metadata, created_at, version)";
    insert(database, into, clients).await;
    let now = world.clock.now().0;
    let people = (0..people_in_all).map(|i| {
        let connection = if i < people_in_all / 2 { first } else { &second.id };
        let claims =
            json!({"sub": i, "email": "x", "name": "A name", "locale": "de", "picture": "https://x"});
        format!(
            "'{}', '{org}', '{connection}', 'https://idp.example.com', 's{i}', 'p{i}@d{}.example', TRUE, \
             'Person {i}', '{claims}', '[\"staff\", \"all\"]', FALSE, 0, 1, {now}",
            id("usr", i),
            i % 100
        )
    });
    let into = "users (id, org, connection, issuer, subject, email, email_verified, name, claims, idp_groups, \
                disabled, created_at, version, vouched_at)";
    insert(database, into, people).await;
    let bindings = (0..accounts_in_all).map(|i| {
        let (binding, account) = (id("bnd", i), id("acc", i));
        format!("'{binding}', '{org}', '{first}', '{account}', 'allowed', 'active', 0, 1")
    });
    let into = "bindings (id, org, connection, account, mode, state, created_at, version)";
    insert(database, into, bindings).await;
    let end = world.clock.now().plus_seconds(30 * 86_400).0;
    let grants = (0..grants_in_all).map(|i| {
        let place = i % accounts_in_all;
        let (grant, account, app) = (id("gnt", i), id("acc", place), id("app", place));
        let (user, client) = (id("usr", i % (people_in_all / 2)), id("cli", place));
        format!("'{grant}', '{org}', '{account}', '{app}', '{user}', '{client}', '[\"access\"]', 0, {end}, 1")
    });
    let into =
        "grants (id, org, account, app, user_id, client, scopes, created_at, expires_at, last_used_at)";
    insert(database, into, grants).await;
}

/// Makes Acme a large company; with its second connection, which is bound nowhere.
pub(crate) async fn grow(world: &World, database: &Database, size: Size) -> Connection {
    let spec = from_json(json!({
        "name": "Entra", "kind": "oidc", "issuer": "https://idp2.example.com", "client_id": "us",
    }));
    let mut tx = world.store.begin().await.unwrap();
    let second = store::connection::create(&mut tx, &world.acme.org, None, spec)
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    company(world, database, (size, &second)).await;
    world.store.reload().await.unwrap();
    second
}

async fn timed(world: &World, what: &str, (method, path): (Method, &str), body: &Value) -> (Duration, Value) {
    let began = Instant::now();
    let answer = world.owner(method, path, Some(body.clone())).await;
    let took = began.elapsed();
    assert!(answer.status.is_success(), "{what}: {}", answer.text);
    println!("  {what}: {} ms", took.as_millis());
    (took, answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and wants an optimised build"]
async fn preview_and_apply_in_an_organisation_of_a_thousand_accounts() {
    let bound = Duration::from_secs(2);
    for (engine, database) in testkit::databases().await {
        println!("on {engine}");
        let world = Box::pin(World::new(&database)).await;
        let second = grow(&world, &database, LARGE).await;
        let began = Instant::now();
        world.store.reload().await.unwrap();
        println!("  the whole directory: {} ms", began.elapsed().as_millis());
        let bind = |accounts: std::ops::Range<usize>, mode: &str| {
            let accounts: Vec<_> = accounts.map(|i| id("acc", i)).collect();
            json!({"connection": second.id, "accounts": accounts, "mode": mode})
        };
        let dry = (Method::POST, "/bindings?dry_run=true");
        let apply = (Method::POST, "/bindings");
        let of = |preview: &Value| -> Impact { from_json(preview["impact"].clone()) };
        timed(
            &world,
            "1 account, preview (first)",
            dry.clone(),
            &bind(1..2, "allowed"),
        )
        .await;
        let (one, preview) = timed(
            &world,
            "1 account (a domain), preview",
            dry.clone(),
            &bind(1..2, "allowed"),
        )
        .await;
        assert_eq!(of(&preview).gain.people, 50);
        timed(
            &world,
            "1 account (everybody), preview",
            dry.clone(),
            &bind(0..1, "allowed"),
        )
        .await;
        let (fifty, preview) = timed(
            &world,
            "50 accounts, preview",
            dry.clone(),
            &bind(0..50, "allowed"),
        )
        .await;
        let foreseen = of(&preview);
        assert_eq!(
            (foreseen.accounts, foreseen.gain.people, foreseen.keep.agents),
            (50, 5000, 250)
        );
        let (applied, _) = timed(
            &world,
            "50 accounts, apply",
            apply.clone(),
            &bind(0..50, "allowed"),
        )
        .await;
        assert!(fifty < bound && applied < bound, "{fifty:?} {applied:?}");
        let (all, preview) = timed(
            &world,
            "1,000 accounts, preview",
            dry.clone(),
            &bind(50..1000, "allowed"),
        )
        .await;
        assert_eq!(
            (of(&preview).accounts, of(&preview).rows.len(), of(&preview).more),
            (950, 200, 750)
        );
        let (_, preview) = timed(
            &world,
            "1,000 accounts exclusive, preview",
            dry,
            &bind(50..1000, "exclusive"),
        )
        .await;
        assert_eq!(of(&preview).lose.agents, 4750);
        timed(&world, "1,000 accounts, apply", apply, &bind(50..1000, "allowed")).await;
        let until = world.clock.now().plus_seconds(60);
        let drain = json!({
            "connection": world.acme.connection.id, "spec": {"state": "draining", "drain_until": until},
        });
        let patch = (Method::PATCH, "/bindings?dry_run=true");
        timed(&world, "1,000 accounts drain, preview", patch, &drain).await;
        timed(
            &world,
            "1,000 accounts drain, apply",
            (Method::PATCH, "/bindings"),
            &drain,
        )
        .await;
        world.clock.advance(61);
        let began = Instant::now();
        assert_eq!(store::binding::detach_drained(&world.store).await.unwrap(), 1000);
        println!(
            "  1,000 accounts and 5,000 grants detached by the job: {} ms",
            began.elapsed().as_millis()
        );
        println!("  1 : 50 : 1,000 accounts = {one:?} : {fifty:?} : {all:?}");
        world.store.close().await;
        database.remove().await;
    }
}
