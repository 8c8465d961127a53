//! The change feed between instances.

use crate::world::{app_spec, new_client, on_each};
use std::time::{Duration, Instant};
use store::{Change, client, grant};
use tokio::{sync::broadcast::Receiver, time::timeout};
use wire::{ClientSpec, ClientState, ClientTier};

const SOON: Duration = Duration::from_secs(2);

async fn hears(changes: &mut Receiver<Change>, wanted: &Change) {
    let heard = async { while changes.recv().await.unwrap() != *wanted {} };
    timeout(SOON, heard)
        .await
        .unwrap_or_else(|_| panic!("{wanted:?} was not announced"));
}

#[tokio::test]
async fn what_one_instance_ends_the_other_forgets_within_two_seconds() {
    on_each(async |w| {
        let other = w.other_instance().await;
        let mut changes = other.changes();
        let id = w.used_grant(&w.user, &w.client, "code").await;
        w.write(async |tx| grant::revoke_where(tx, grant::Which::One(&id), "user").await)
            .await
            .unwrap();
        hears(&mut changes, &Change::Grant(id)).await;
        let session = w.session("cookie", w.record(&w.user)).await;
        w.write(async |tx| store::session::end(tx, &session).await)
            .await
            .unwrap();
        hears(&mut changes, &Change::Session(session)).await;
        let spec = ClientSpec {
            tier: ClientTier::Unverified,
            state: ClientState::Blocked,
        };
        w.write(async |tx| client::update(tx, &w.client, &spec).await)
            .await
            .unwrap();
        hears(&mut changes, &Change::Client(w.client.id.clone())).await;
        w.write(async |tx| store::user::set_disabled(tx, &w.org, &w.user, true).await)
            .await
            .unwrap();
        hears(&mut changes, &Change::User(w.user.id.clone())).await;
        w.write(async |tx| grant::revoke_access_token(tx, "jti", tx.now()).await)
            .await
            .unwrap();
        hears(&mut changes, &Change::Token("jti".into())).await;
        assert!(other.is_current());
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_directory_of_the_other_instance_follows() {
    on_each(async |w| {
        let other = w.other_instance().await;
        let spec = app_spec("New", "https://new.example.com");
        let app = w
            .write(async |tx| store::app::create(tx, &w.org, &w.account.id, spec).await)
            .await
            .unwrap();
        assert!(
            w.store.directory().app(&app.id).is_some(),
            "at once where it was made"
        );
        let began = Instant::now();
        while other.directory().app(&app.id).is_none() {
            assert!(began.elapsed() < SOON);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        w.write(async |tx| store::app::delete(tx, &app).await)
            .await
            .unwrap();
        while other.directory().app(&app.id).is_some() {
            assert!(began.elapsed() < SOON * 2);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_hears_nothing_knows_that_it_may_be_behind() {
    on_each(async |w| {
        let other = w.other_instance().await;
        assert!(other.is_current());
        other.close().await;
        w.clock.advance(5);
        assert!(!other.is_current());
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_slept_through_the_sweep_forgets_everything() {
    on_each(async |w| {
        let mut changes = w.store.changes();
        w.database
            .execute("UPDATE change_counter SET seq = seq + 10")
            .await;
        w.clock.advance(86_400);
        hears(&mut changes, &Change::All).await;
    })
    .await;
}

#[tokio::test]
async fn a_topic_of_a_newer_version_makes_everything_forgotten() {
    on_each(async |w| {
        let mut changes = w.store.changes();
        w.database
            .execute("UPDATE change_counter SET seq = seq + 1")
            .await;
        w.database
            .execute("INSERT INTO changes (seq, topic, subject, at) SELECT seq, 'novelty', 'x', 0 FROM change_counter")
            .await;
        hears(&mut changes, &Change::All).await;
    })
    .await;
}

#[tokio::test]
async fn changes_of_a_dropped_transaction_are_not_announced() {
    on_each(async |w| {
        let agent = w.agent(new_client()).await;
        let mut changes = w.store.changes();
        let mut tx = w.store.begin().await.unwrap();
        client::delete(&mut tx, &agent.id).await.unwrap();
        drop(tx);
        w.write(async |tx| client::delete(tx, &w.client.id).await)
            .await
            .unwrap();
        loop {
            let change = changes.recv().await.unwrap();
            assert_ne!(change, Change::Client(agent.id.clone()));
            if change == Change::Client(w.client.id.clone()) {
                break;
            }
        }
    })
    .await;
}
