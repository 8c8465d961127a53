//! Refresh tokens: one row for each grant, one successor for each token.

use crate::world::{World, on_each};
use futures_util::future::join_all;
use store::Store;
use store::refresh::{self, Held, Rotation, Standing};
use wire::{GrantId, GrantState};

/// As the app says.
const WINDOW: u32 = 60;

/// A grant with its first token.
async fn begun(w: &World, code: &str) -> (GrantId, String) {
    let id = w.grant(&w.user, &w.client, code).await;
    let token = w.write(async |tx| refresh::begin(tx, &id).await).await;
    (id, token.unwrap().unwrap())
}

async fn held(store: &Store, token: &str) -> Held {
    refresh::read(store, token).await.unwrap().unwrap()
}

async fn rotation(w: &World, store: &Store, id: &GrantId) -> Rotation {
    let now = w.clock.now();
    refresh::rotation(store, id, now).await.unwrap().unwrap()
}

async fn standing(w: &World, store: &Store, token: &str) -> Standing {
    let held = held(store, token).await;
    rotation(w, store, &held.grant)
        .await
        .standing(&held, w.clock.now(), WINDOW)
}

/// Uses a token and says the next one.
async fn next(w: &World, store: &Store, token: &str) -> Option<String> {
    let held = held(store, token).await;
    let won = w
        .write_at(store, async |tx| refresh::rotate(tx, &held).await)
        .await;
    won.unwrap().then(|| held.successor(store.vault()))
}

#[tokio::test]
async fn of_a_hundred_that_use_one_token_at_once_one_rotates() {
    on_each(async |w| {
        let (id, first) = begun(w, "code").await;
        let other = w.other_instance().await;
        let attempts = (0..100).map(|n| next(w, if n % 2 == 0 { &w.store } else { &other }, &first));
        let won: Vec<_> = join_all(attempts).await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        assert_eq!(standing(w, &other, &won[0]).await, Standing::Current);
        assert_eq!(standing(w, &w.store, &first).await, Standing::Repeated);
        assert_eq!(held(&other, &first).await.successor(other.vault()), won[0]);
        assert_eq!(w.grant_now(&id).await.last_used_at, Some(w.clock.now()));
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_for_its_successor_until_the_window_ends_and_no_older_one_ever_is() {
    on_each(async |w| {
        let (_, first) = begun(w, "code").await;
        w.clock.advance(85_000);
        assert_eq!(standing(w, &w.store, &first).await, Standing::Current);
        let second = next(w, &w.store, &first).await.unwrap();
        w.clock.advance(i64::from(WINDOW) - 1);
        assert_eq!(standing(w, &w.store, &first).await, Standing::Repeated);
        w.clock.advance(1);
        assert_eq!(standing(w, &w.store, &first).await, Standing::Late);
        w.clock.advance(599);
        assert_eq!(standing(w, &w.store, &first).await, Standing::Late);
        w.clock.advance(1);
        assert_eq!(standing(w, &w.store, &first).await, Standing::Replayed);
        assert_eq!(standing(w, &w.store, &second).await, Standing::Current);
        let third = next(w, &w.store, &second).await.unwrap();
        // Within the window, two generations back is a copy.
        assert_eq!(standing(w, &w.store, &first).await, Standing::Replayed);
        assert_eq!(standing(w, &w.store, &second).await, Standing::Repeated);
        assert_eq!(next(w, &w.store, &first).await, None);
        assert_eq!(next(w, &w.store, &second).await, None);
        // The database went back in time.
        w.database.execute("UPDATE grants SET generation = 1").await;
        assert_eq!(standing(w, &w.store, &third).await, Standing::Ahead);
        assert_eq!(standing(w, &w.store, &second).await, Standing::Ahead);
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_ended_gives_nothing_out() {
    on_each(async |w| {
        let (revoked, a) = begun(w, "a").await;
        let (_, b) = begun(w, "b").await;
        let begin_again = w.write(async |tx| refresh::begin(tx, &revoked).await).await;
        assert_eq!(begin_again.unwrap(), None);
        let unused = w.grant(&w.user, &w.client, "c").await;
        for id in [&revoked, &unused] {
            let which = store::grant::Which::One(id);
            w.write(async |tx| store::grant::revoke_where(tx, which, "test").await)
                .await
                .unwrap();
        }
        assert_eq!(next(w, &w.store, &a).await, None);
        let begin = w.write(async |tx| refresh::begin(tx, &unused).await).await;
        assert_eq!(begin.unwrap(), None);
        w.clock.advance(86_400);
        assert_eq!(next(w, &w.store, &b).await, None);
        let nobody = refresh::rotation(&w.store, &GrantId::fresh(), w.clock.now()).await;
        assert!(nobody.unwrap().is_none());
    })
    .await;
}

/// Takes the schema back to what it was before generations.
const BEFORE: &str = "DROP INDEX grants_by_revocation; DROP INDEX grants_unused; DROP INDEX clients_by_use; \
     DROP INDEX attempts_steady; DROP INDEX connection_health_by_age; DROP TABLE leases; ALTER TABLE grants DROP COLUMN generation; \
     ALTER TABLE grants DROP COLUMN rotated_at; DELETE FROM _sqlx_migrations WHERE version = 24";

/// A row of the table from before.
async fn stored(w: &World, grant: &GrantId, token: &str, used_ago: Option<i64>) {
    let now = w.clock.now();
    let used = used_ago.map_or("NULL".to_owned(), |ago| now.plus_seconds(-ago).0.to_string());
    let sql = format!(
        "INSERT INTO refresh_tokens (hash, grant_id, client, scopes, created_at, expires_at, used_at) \
         VALUES ('{}', '{grant}', '{}', '[\"access\"]', 0, {}, {used})",
        store::sha256(token),
        w.client.id,
        now.plus_seconds(86_400).0,
    );
    w.database.execute(&sql).await;
}

#[tokio::test]
async fn tokens_of_a_database_from_before_are_good_once_more() {
    on_each(async |w| {
        let id = w.used_grant(&w.user, &w.client, "code").await;
        let other = w.used_grant(&w.user, &w.client, "other").await;
        // PostgreSQL counts what it makes an index for, and reads very small tables as a whole.
        for _ in 0..50 {
            w.agent(crate::world::new_client()).await;
        }
        let (long_ago, last, of_other) = ("a".repeat(43), "b".repeat(43), "c".repeat(43));
        for statement in BEFORE.split(';') {
            w.database.execute(statement).await;
        }
        stored(w, &id, &long_ago, Some(900)).await;
        stored(w, &id, &last, None).await;
        stored(w, &other, &of_other, None).await;
        let store = w.other_instance().await;
        assert_eq!(standing(w, &store, &long_ago).await, Standing::Replayed);
        assert_eq!(standing(w, &store, &last).await, Standing::Current);
        let attempts = join_all((0..20).map(|_| next(w, &store, &last))).await;
        let won: Vec<_> = attempts.into_iter().flatten().collect();
        let [first] = won.as_slice() else {
            panic!("{won:?}")
        };
        assert!(first.starts_with("chr_"));
        w.clock.advance(i64::from(WINDOW) - 1);
        assert_eq!(standing(w, &store, &last).await, Standing::Repeated);
        assert_eq!(&held(&store, &last).await.successor(store.vault()), first);
        assert_eq!(standing(w, &store, first).await, Standing::Current);
        w.clock.advance(1);
        assert_eq!(standing(w, &store, &last).await, Standing::Late);
        assert_eq!(standing(w, &store, &of_other).await, Standing::Current);
        let grant = rotation(w, &store, &id).await.grant;
        assert_eq!(grant.state, GrantState::Active);
        // What only looks like one is nothing.
        assert_eq!(refresh::read(&store, &"d".repeat(43)).await.unwrap(), None);
        // The rows leave with their time.
        w.clock.advance(86_400);
        store::retention::sweep(&store).await.unwrap();
        assert_eq!(w.database.execute("DELETE FROM refresh_tokens").await, 0);
        store.close().await;
    })
    .await;
}
