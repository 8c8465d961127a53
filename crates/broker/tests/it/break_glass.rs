//! Whatever the company says about its identity providers, the owner with a local password gets in.

use crate::world::{World, binding, from, on_each};
use serde_json::json;
use store::{binding as bindings, connection, org};

/// The owner signs in and is shown the way to the dashboard.
async fn gets_in(w: &World, when: &str) {
    let me = w.owner().await.get("/me").await;
    assert!(
        me.body.contains("Olga Owner") && me.body.contains("Dashboard"),
        "{when}: {}",
        me.body
    );
    let roles = org::roles_of(&w.store, &w.owner).await.unwrap();
    assert_eq!(roles.len(), 1, "{when}");
}

#[tokio::test]
async fn the_owner_gets_in_whatever_is_bound_disabled_exclusive_or_required() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        let exclusive = binding("exclusive", "active");
        let after = bindings::update(&mut tx, &w.binding, exclusive).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        gets_in(w, "exclusive").await;

        let organisation = org::get(&w.store, &w.org).await.unwrap();
        let mut spec = organisation.spec.clone();
        spec.primary_connection = Some(w.connection.id.clone());
        spec.floor = from(json!([
            { "type": "connection", "connection": w.connection.id }, { "type": "mfa" },
            { "type": "ip", "ranges": ["192.0.2.1/32"] },
        ]));
        let mut tx = w.store.begin().await.unwrap();
        org::update(&mut tx, &organisation, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        gets_in(w, "a floor").await;

        let mut off = w.connection.spec.clone();
        off.enabled = false;
        let mut tx = w.store.begin().await.unwrap();
        connection::update(&mut tx, &w.connection, off).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        gets_in(w, "the provider is switched off").await;

        let mut tx = w.store.begin().await.unwrap();
        let detached = binding("exclusive", "detached");
        bindings::update(&mut tx, &after, detached).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        gets_in(w, "detached").await;
    })
    .await;
}
