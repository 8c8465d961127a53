//! Each kind of work has its own connections to the database, and connections with a fault are not used again.

use crate::world::{World, on_each};
use std::time::{Duration, Instant};
use store::{Error, Options, Pools, Purpose, Store};

/// An instance with few connections.
async fn narrow(w: &World) -> Store {
    let pools = Pools {
        hot: 2,
        control: 2,
        report: 2,
    };
    let options = Options {
        pools,
        ..w.database.options(&w.key, &w.clock)
    };
    Store::open(options).await.unwrap()
}

async fn reads(store: &Store, w: &World) {
    assert!(store::user::by_id(store, &w.user.id).await.unwrap().is_some());
}

async fn writes(store: &Store) -> store::Result<()> {
    let mut tx = store.begin().await?;
    store::attempt::note_known(&mut tx, "somebody", "somewhere").await?;
    tx.commit_housekeeping().await
}

/// Waits until writes go through again.
async fn heals(store: &Store) {
    let began = Instant::now();
    while writes(store).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not heal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn whoever_uses_up_the_connections_of_one_purpose_keeps_no_other_waiting() {
    on_each(async |w| {
        let store = narrow(w).await;
        // SQLite has one writer, PostgreSQL two connections for administration.
        let mut held = Vec::new();
        let refused = loop {
            match store.begin().await {
                Ok(tx) => held.push(tx),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
        // Five seconds are over by now.
        assert!(store.is_current());
        reads(&store.on(Purpose::Hot), w).await;
        reads(&store.on(Purpose::Report), w).await;
        if w.database.is_postgres() {
            writes(&store.on(Purpose::Hot)).await.unwrap();
            store.record(w.event("test.record")).await.unwrap();
        }
        drop(held);
        writes(&store).await.unwrap();
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_the_database_took_back_by_itself_costs_one_connection() {
    on_each(async |w| {
        if w.database.is_postgres() {
            return;
        }
        // What SQLite does when the disk is full.
        w.database
            .execute(
                "CREATE TRIGGER full BEFORE INSERT ON known_places BEGIN SELECT RAISE(ROLLBACK, 'disk'); END",
            )
            .await;
        assert!(writes(&w.store).await.is_err());
        assert!(writes(&w.store).await.is_err());
        w.store.record(w.event("test.record")).await.unwrap();
        w.database.execute("DROP TRIGGER full").await;
        writes(&w.store).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_read_either_and_is_used_again_when_it_does() {
    on_each(async |w| {
        if !w.database.is_postgres() {
            return;
        }
        let name = w.database.name().unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let set = async |value: &str| {
            let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
            let sql = format!("BEGIN READ WRITE; {sql}; COMMIT");
            w.database.execute(&sql).await;
        };
        writes(&w.store).await.unwrap();
        set("on").await;
        w.database.execute(end).await;
        assert!(writes(&w.store).await.is_err());
        let read = store::user::by_id(&w.store.on(Purpose::Hot), &w.user.id).await;
        assert!(read.is_err(), "a standby does not know what ended");
        set("off").await;
        heals(&w.store).await;
        reads(&w.store.on(Purpose::Hot), w).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_noticed_by_nobody() {
    on_each(async |w| {
        if !w.database.is_postgres() {
            return;
        }
        writes(&w.store).await.unwrap();
        reads(&w.store.on(Purpose::Hot), w).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        w.database.execute(end).await;
        reads(&w.store.on(Purpose::Hot), w).await;
        writes(&w.store).await.unwrap();
        reads(&w.store, w).await;
        w.store.record(w.event("test.record")).await.unwrap();
    })
    .await;
}
