//! What an instance says of itself, and what comes back by itself.

use crate::world::on_each;
use std::time::{Duration, Instant};
use store::readiness::{AUDIT_WRITER, CHANGE_FEED};

#[tokio::test]
async fn an_instance_proves_that_it_writes_and_follows() {
    on_each(async |w| {
        let ready = w.store.readiness().await;
        assert!(ready.faults.is_empty(), "{ready:?}");
        assert_eq!(w.store.disk_free().is_some(), !w.database.is_postgres());
        w.store.close().await;
        w.clock.advance(5);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let faults = w.store.readiness().await.faults;
        assert!(
            faults[0].starts_with("the database takes no writes"),
            "{faults:?}"
        );
        assert!(faults[1].contains("is not followed"), "{faults:?}");
    })
    .await;
}

#[tokio::test]
async fn a_writer_of_the_audit_log_that_dies_refuses_who_waits_and_comes_back() {
    on_each(async |w| {
        w.store.record(w.event("test.before")).await.unwrap();
        for round in 1..=2 {
            w.store.tasks().interrupt(AUDIT_WRITER);
            let began = Instant::now();
            while w.store.tasks().restarts(AUDIT_WRITER) < round {
                assert!(began.elapsed() < Duration::from_secs(2));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let faults = w.store.readiness().await.faults;
            assert!(
                faults.iter().any(|words| words.contains(AUDIT_WRITER)),
                "{faults:?}"
            );
            // Whoever comes meanwhile waits for the next one.
            w.store.record(w.event("test.after")).await.unwrap();
            assert!(w.store.readiness().await.faults.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn the_change_feed_comes_back_before_anybody_is_denied() {
    on_each(async |w| {
        w.store.tasks().interrupt(CHANGE_FEED);
        let began = Instant::now();
        while w.store.tasks().restarts(CHANGE_FEED) == 0 || !w.store.tasks().stopped().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(2));
            assert!(w.store.is_current());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        w.clock.advance(5);
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(w.store.is_current(), "it reads again");
    })
    .await;
}
