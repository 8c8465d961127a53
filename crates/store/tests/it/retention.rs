//! What is over leaves in its time, and nothing else does.

use crate::world::{START, World, new_client, on_each};
use store::retention::{RETENTIONS, sweep};
use store::{client, grant, refresh, session};
use wire::{Client, ClientSource, ClientState, ClientTier, GrantId};

const DAY: i64 = 86_400;

async fn swept(w: &World) -> u64 {
    sweep(&w.store).await.unwrap()
}

/// How many rows of a table there are; counted by a statement that touches each of them.
async fn rows(w: &World, table: &str, column: &str) -> u64 {
    w.database
        .execute(&format!("UPDATE {table} SET {column} = {column}"))
        .await
}

async fn is_there(w: &World, id: &GrantId) -> bool {
    grant::get(&w.store, &w.org, id, w.clock.now()).await.is_ok()
}

async fn is_known(w: &World, agent: &Client) -> bool {
    client::get(&w.store, &w.org, &agent.id, w.clock.now())
        .await
        .is_ok()
}

#[test]
fn the_operations_manual_repeats_the_table() {
    let manual = include_str!("../../../../docs/OPERATIONS.md");
    let (_, section) = manual.split_once("\n## What leaves by itself\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let said: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    let meant: Vec<String> = RETENTIONS
        .iter()
        .map(|one| format!("| {} | {} |", one.what, one.words()))
        .collect();
    assert_eq!(said, meant, "\n{}", meant.join("\n"));
}

#[tokio::test]
async fn grants_leave_when_they_have_been_over_for_long() {
    on_each(async |w| {
        let revoked = w.used_grant(&w.user, &w.client, "revoked").await;
        let expired = w.used_grant(&w.user, &w.client, "expired").await;
        let never = w.grant(&w.user, &w.client, "never").await;
        let which = grant::Which::One(&revoked);
        w.write(async |tx| grant::revoke_where(tx, which, "test").await)
            .await
            .unwrap();
        swept(w).await;
        assert_eq!(rows(w, "grants", "id").await, 3);
        w.clock.advance(2 * DAY - 1);
        swept(w).await;
        // Its code left a day after it expired.
        assert_eq!(rows(w, "codes", "hash").await, 0);
        assert_eq!(rows(w, "grants", "id").await, 3);
        w.clock.advance(1);
        swept(w).await;
        assert!(!is_there(w, &never).await);
        w.clock.advance(88 * DAY - 1);
        swept(w).await;
        assert!(is_there(w, &revoked).await);
        w.clock.advance(1);
        let old = refresh_of(w, &revoked).await;
        swept(w).await;
        assert!(!is_there(w, &revoked).await && is_there(w, &expired).await);
        assert_eq!(old, 1);
        w.clock.advance(DAY);
        let live = w.used_grant(&w.user, &w.client, "live").await;
        swept(w).await;
        assert!(!is_there(w, &expired).await && is_there(w, &live).await);
        assert!(is_known(w, &w.client).await);
    })
    .await;
}

/// A token of the old form, which must not keep its grant.
async fn refresh_of(w: &World, id: &GrantId) -> u64 {
    let sql = format!(
        "INSERT INTO refresh_tokens (hash, grant_id, client, scopes, created_at, expires_at) \
         VALUES ('x', '{id}', '{}', '[]', 0, {})",
        w.client.id,
        i64::MAX
    );
    w.database.execute(&sql).await
}

#[tokio::test]
async fn agents_leave_when_they_hold_nothing() {
    on_each(async |w| {
        let new = new_client;
        let idle = w.agent(new()).await;
        let asked = w.agent(new()).await;
        w.grant(&w.user, &asked, "abandoned").await;
        let approved = client::NewClient {
            tier: ClientTier::Approved,
            ..new()
        };
        let blocked = client::NewClient {
            state: ClientState::Blocked,
            ..new()
        };
        let entered = client::NewClient {
            source: ClientSource::Preregistered,
            ..new()
        };
        let kept = [
            w.agent(approved).await,
            w.agent(blocked).await,
            w.agent(entered).await,
        ];
        w.used_grant(&w.user, &w.client, "used").await;
        w.clock.advance(7 * DAY - 1);
        swept(w).await;
        assert!(is_known(w, &idle).await);
        // Somebody is about to let it in.
        let late = w.grant(&w.user, &idle, "late").await;
        w.clock.advance(1);
        swept(w).await;
        assert!(is_known(w, &idle).await && !is_known(w, &asked).await);
        let token = w.write(async |tx| refresh::begin(tx, &late).await).await;
        assert!(token.unwrap().is_some());
        w.write(async |tx| client::note_use(tx, &idle, &w.user.id).await)
            .await
            .unwrap();
        // Their grants lived for a day, and are kept for 90; only then nothing is left.
        w.clock.advance(90 * DAY);
        swept(w).await;
        assert!(is_known(w, &idle).await && !is_known(w, &w.client).await);
        w.clock.advance(DAY);
        swept(w).await;
        assert!(!is_known(w, &idle).await);
        for agent in &kept {
            assert!(is_known(w, agent).await);
        }
    })
    .await;
}

#[tokio::test]
async fn of_very_many_agents_that_never_got_a_token_the_latest_are_kept() {
    on_each(async |w| {
        let first = w.agent(new_client()).await;
        let crowd = format!(
            "INSERT INTO clients (id, org, account, app, client_id, name, source, tier, state, redirect_uris, \
             auth_method, metadata, created_at, version) \
             SELECT 'cli_' || substr('{zeros}' || n, -32), org, account, app, 'crowd' || n, name, source, tier, state, \
             redirect_uris, auth_method, metadata, created_at + n, version FROM clients, \
             (WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 1600) \
             SELECT n FROM counted) AS numbers WHERE id = '{}'",
            first.id,
            zeros = "0".repeat(32),
        );
        let crowd = if w.database.is_postgres() {
            crowd.replace(&format!("substr('{}' || n, -32)", "0".repeat(32)), "lpad(n::text, 32, '0')")
        } else {
            crowd
        };
        assert_eq!(w.database.execute(&crowd).await, 1600);
        swept(w).await;
        assert_eq!(rows(w, "clients", "id").await, 1602, "they are too young");
        w.clock.advance(3601);
        // More than one batch.
        assert_eq!(swept(w).await, 602);
        assert!(!is_known(w, &first).await);
        assert_eq!(rows(w, "clients", "id").await, 1000);
    })
    .await;
}

#[tokio::test]
async fn the_rest_leaves_in_its_time_too() {
    on_each(async |w| {
        w.session("control", w.record(&w.user)).await;
        w.used_grant(&w.user, &w.client, "code").await;
        w.write(async |tx| grant::revoke_access_token(tx, "jti", tx.now().plus_seconds(60)).await)
            .await
            .unwrap();
        swept(w).await;
        assert!(
            session::by_hash(&w.store, "control", w.clock.now())
                .await
                .unwrap()
                .is_some()
        );
        w.clock.advance(3600);
        swept(w).await;
        assert_eq!(w.database.execute("DELETE FROM sessions").await, 0);
        // Replays of codes and of revoked tokens are noticed for a day longer.
        assert!(grant::code(&w.store, "code").await.unwrap().is_some());
        assert!(grant::is_access_token_revoked(&w.store, "jti").await.unwrap());
        w.clock.advance(DAY);
        swept(w).await;
        assert!(grant::code(&w.store, "code").await.unwrap().is_none());
        assert!(!grant::is_access_token_revoked(&w.store, "jti").await.unwrap());
        assert_eq!(w.database.execute("DELETE FROM changes").await, 0);
    })
    .await;
}

#[tokio::test]
async fn several_instances_may_sweep_at_once_and_one_does() {
    on_each(async |w| {
        let other = w.other_instance().await;
        let many = |numbers: std::ops::Range<i64>| {
            let rows: Vec<_> = numbers.map(|n| format!("('{n}', '', '', {})", START.0)).collect();
            format!("INSERT INTO deep_links VALUES {}", rows.join(", "))
        };
        w.database.execute(&many(0..1200)).await;
        let (here, there) = tokio::join!(sweep(&w.store), sweep(&other));
        assert_eq!(here.unwrap() + there.unwrap(), 1200);
        // Who died in the middle of it keeps the others from it for a minute.
        w.database.execute(&many(0..1)).await;
        let lease = format!(
            "INSERT INTO leases VALUES ('retention', 'somebody', {})",
            START.plus_seconds(60).0
        );
        w.database.execute(&lease).await;
        assert_eq!(sweep(&other).await.unwrap(), 0);
        w.clock.advance(60);
        assert_eq!(sweep(&other).await.unwrap(), 1);
        assert_eq!(swept(w).await, 0);
        other.close().await;
    })
    .await;
}
