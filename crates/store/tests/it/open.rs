//! Opening, reopening, committing, closing.

use crate::world::{CONTROL, assert_conflict, on_each};
use futures_util::future::join_all;
use store::{Error, MasterKey, org, session};
use wire::OrganisationSpec;

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    on_each(async |w| {
        let again = w.other_instance().await;
        assert_eq!(org::get(&again, &w.org).await.unwrap().slug, "acme");
        let place = again.directory();
        let view = place.at("wiki.example.com", "/").unwrap();
        assert_eq!(view.app.issuer, format!("{CONTROL}/oauth/{}", w.app.id));
        again.close().await;
    })
    .await;
}

#[tokio::test]
async fn another_master_key_refuses_to_open() {
    on_each(async |w| {
        let other = MasterKey::generate().unwrap();
        let Err(Error::Invalid { pointer, .. }) = w.database.open(&other, &w.clock).await else {
            panic!("opened with a foreign key");
        };
        assert_eq!(pointer, "/master_key");
        assert!(w.database.open(&w.key, &w.clock).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn several_instances_may_begin_a_database_at_once() {
    // Several times, because what goes wrong here goes wrong now and then.
    let mut databases = Vec::new();
    for _ in 0..5 {
        databases.extend(crate::world::databases().await);
    }
    for (engine, database) in databases {
        let key = MasterKey::generate().unwrap();
        let clock = store::Clock::manual(crate::world::START);
        let opened = join_all((0..4).map(|_| database.open(&key, &clock))).await;
        for store in opened {
            let store = store.unwrap_or_else(|e| panic!("{engine}: {e:?}"));
            store.ping().await.unwrap();
            store.close().await;
        }
        database.remove().await;
    }
}

#[tokio::test]
async fn a_transaction_without_commit_never_happened() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        let spec = OrganisationSpec {
            name: "Ghost".into(),
            primary_connection: None,
            floor: vec![],
            ..OrganisationSpec::default()
        };
        org::create(&mut tx, "ghost", spec.clone()).await.unwrap();
        drop(tx);
        assert_eq!(org::all(&w.store).await.unwrap().len(), 1);
        // A refused event takes its writes along.
        let mut tx = w.store.begin().await.unwrap();
        org::create(&mut tx, "ghost", spec).await.unwrap();
        let mut event = w.event("org.create");
        event.org = wire::OrgId::fresh();
        assert!(tx.commit(event).await.is_err());
        assert_eq!(org::all(&w.store).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_reads_what_it_wrote() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        session::save(&mut tx, "h", &w.record(&w.user)).await.unwrap();
        assert!(
            session::by_hash(&mut tx, "h", w.clock.now())
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            session::by_hash(&w.store, "h", w.clock.now())
                .await
                .unwrap()
                .is_none()
        );
        tx.commit_housekeeping().await.unwrap();
        assert!(
            session::by_hash(&w.store, "h", w.clock.now())
                .await
                .unwrap()
                .is_some()
        );
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_does_not_answer() {
    on_each(async |w| {
        let other = w.other_instance().await;
        other.ping().await.unwrap();
        other.close().await;
        assert!(matches!(other.ping().await, Err(Error::Unavailable(_))));
        assert!(other.record(w.event("x")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_organisations_slug_is_its_own() {
    on_each(async |w| {
        let spec = OrganisationSpec {
            name: "Acme again".into(),
            primary_connection: None,
            floor: vec![],
            ..OrganisationSpec::default()
        };
        assert_conflict(w.write(async |tx| org::create(tx, "acme", spec).await).await);
    })
    .await;
}
