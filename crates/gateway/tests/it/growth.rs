//! What one request costs beside few apps and beside a hundred times as many. Statements are judged, times printed:
//!
//! ```text
//! cargo nextest run --release -p gateway growth --no-capture
//! ```

use crate::world::{World, on_each};
use serde_json::json;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};
use store::Purpose;

/// Accounts with a policy and an app each, behind the store's back.
async fn grow(world: &World, accounts: Range<usize>) {
    let org = &world.org;
    let id = |prefix: &str, n: usize| format!("{prefix}_f{n:031x}");
    let numbers: Vec<usize> = accounts.collect();
    for some in numbers.chunks(400) {
        let mut sql = [
            "INSERT INTO accounts (id, org, name, enabled, created_at, version) VALUES ".to_owned(),
            "INSERT INTO policies (id, org, account, name, spec, created_at, version) VALUES ".to_owned(),
            "INSERT INTO apps (id, org, account, name, authority, path, spec, created_at, version) VALUES "
                .to_owned(),
        ];
        for (i, n) in some.iter().enumerate() {
            let (account, policy, app) = (id("acc", *n), id("pol", *n), id("app", *n));
            let rule = json!({"name": "Staff", "decision": "allow", "include": [{"type": "everyone"}]});
            let spec = json!({
                "name": "App", "kind": "web", "public_url": format!("https://grown{n}.example.com"),
                "origin_url": "http://10.0.0.1", "policies": [policy],
            });
            let comma = if i == 0 { "" } else { ", " };
            let rows = [
                format!("'{account}', '{org}', 'Account {n}', TRUE, 0, 1"),
                format!("'{policy}', '{org}', '{account}', 'Staff', '{rule}', 0, 1"),
                format!("'{app}', '{org}', '{account}', 'App', 'grown{n}.example.com', '', '{spec}', 0, 1"),
            ];
            for (sql, row) in sql.iter_mut().zip(rows) {
                let _ = write!(sql, "{comma}({row})");
            }
        }
        for sql in sql {
            world.execute(&sql).await;
        }
    }
    world.store.reload().await.unwrap();
}

/// Statements of a first request and of one after it, and how long one of these takes at best.
async fn measure(world: &World) -> (u64, u64, Duration) {
    let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
    let ask = async || {
        let request = world.request("GET", &world.wiki, "/quick");
        let answer = request.bearer_auth(&agent.token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    let statements = || world.store.load(Purpose::Hot).statements;
    let before = statements();
    ask().await;
    let first = statements();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        for _ in 0..20 {
            ask().await;
        }
        best = best.min(began.elapsed() / 20);
    }
    (first - before, statements() - first, best)
}

#[tokio::test]
async fn a_request_costs_the_same_beside_a_hundred_times_as_many_apps() {
    on_each(async |world| {
        grow(world, 0..12).await;
        let few = measure(world).await;
        grow(world, 12..1200).await;
        let many = measure(world).await;
        let ratio = many.2.as_secs_f64() / few.2.as_secs_f64();
        println!("  12 apps: {few:?}, 1,200: {many:?}; {ratio:.2}");
        assert_eq!((few.0, few.1), (4, 0));
        assert_eq!((many.0, many.1), (4, 0));
    })
    .await;
}
