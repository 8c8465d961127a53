//! One row of the configuration that cannot be read takes away what depends on it, and nothing else.

use crate::world::{World, app_spec, binding_spec, connection_spec, on_each, policy_spec};
use std::time::{Duration, Instant};
use store::{Store, app, binding, connection, rule};
use wire::{App, AppSpec, BindingMode, BindingSpec, GroupSpec, Policy, PolicySpec, Selector};

/// What becomes of the app whose row, policy, group, binding or organisation cannot be read.
#[derive(PartialEq)]
enum Then {
    Absent,
    /// It is there, and nobody comes in through what excluded the others.
    Closed,
}

/// Waits for an instance to have followed.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(5), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An app of the first account with a policy that asks about a group, and another beside it.
async fn two_apps(w: &World) -> (App, App) {
    let group: wire::Group = {
        let spec = GroupSpec {
            name: "Staff".into(),
            include: vec![Selector::Everyone {}],
            members: vec![],
        };
        w.write(async |tx| rule::create(tx, &w.org, &w.account.id, spec).await)
            .await
            .unwrap()
    };
    let policy: Policy = {
        let spec = PolicySpec {
            include: vec![Selector::Group {
                group: group.id.clone(),
            }],
            ..policy_spec("Staff")
        };
        w.write(async |tx| rule::create(tx, &w.org, &w.account.id, spec).await)
            .await
            .unwrap()
    };
    let spec = AppSpec {
        policies: vec![policy.id],
        ..app_spec("First", "https://first.example.com")
    };
    let first = w.write(async |tx| app::create(tx, &w.org, &w.account.id, spec).await);
    let first = first.await.unwrap();
    let spec = app_spec("Second", "https://second.example.com");
    let second = w.write(async |tx| app::create(tx, &w.org, &w.account.id, spec).await);
    (first, second.await.unwrap())
}

async fn with_row(table: &str, sql: impl Fn(&World, &App) -> String, then: Then) {
    on_each(async |w| {
        let (first, second) = two_apps(w).await;
        let own = w
            .write(async |tx| {
                connection::create(tx, &w.org, Some(&w.account.id), connection_spec("Own")).await
            })
            .await
            .unwrap();
        let exclusive = BindingSpec {
            mode: BindingMode::Exclusive,
            ..binding_spec()
        };
        w.write(async |tx| binding::update(tx, &w.binding, exclusive).await)
            .await
            .unwrap();
        let other = w.other_instance().await;
        assert!(
            other
                .directory()
                .app(&first.id)
                .unwrap()
                .signs_in(&w.connection.id)
        );
        let good = format!("CREATE TABLE good AS SELECT * FROM {table}");
        w.database.execute(&good).await;
        w.database.execute(&sql(w, &first)).await;
        let off = AppSpec {
            enabled: false,
            ..second.spec.clone()
        };
        let second = w
            .write(async |tx| app::update(tx, &second, off).await)
            .await
            .unwrap();
        let fresh = w.other_instance().await;
        let is_off = |store: &Store| {
            let directory = store.directory();
            // An account or organisation of which something cannot be read has no apps at all.
            directory
                .app(&second.id)
                .is_none_or(|view| !view.app.spec.enabled)
        };
        for store in [&w.store, &other, &fresh] {
            until("it follows", || {
                is_off(store) && !store.directory().unreadable().is_empty()
            })
            .await;
            let directory = store.directory();
            let row = &directory.unreadable()[0];
            assert_eq!(row.table, table);
            let ready = store.readiness().await;
            assert!(ready.faults.is_empty(), "{ready:?}");
            assert!(
                ready.warnings.iter().any(|words| words.contains(&row.id)),
                "{ready:?}"
            );
            let view = directory.app(&first.id);
            match then {
                Then::Absent => assert!(view.is_none(), "what depends on it is gone"),
                Then::Closed => {
                    let view = view.unwrap();
                    assert!(
                        !view.signs_in(&w.connection.id) && !view.carries(&w.connection.id, w.clock.now())
                    );
                    assert!(!view.signs_in(&own.id), "it excluded this one");
                }
            }
        }
        // Once it can be read again, all is as it was.
        for sql in [
            format!(
                "UPDATE {table} SET {0} = (SELECT good.{0} FROM good WHERE good.id = {table}.id)",
                if table == "bindings" { "mode" } else { "spec" }
            ),
            "UPDATE change_counter SET seq = seq + 1".to_owned(),
            "INSERT INTO changes (seq, topic, subject, at) SELECT seq, 'config', '', 0 FROM change_counter"
                .to_owned(),
        ] {
            w.database.execute(&sql).await;
        }
        for store in [&w.store, &other, &fresh] {
            until("it heals", || {
                let directory = store.directory();
                directory.unreadable().is_empty() && directory.app(&first.id).is_some()
            })
            .await;
        }
        other.close().await;
        fresh.close().await;
    })
    .await;
}

const FUTURE: &str = r#"{"name":"x","decision":"allow","include":[{"type":"from_the_future"}]}"#;

#[tokio::test]
async fn a_policy_that_cannot_be_read_takes_its_app_away() {
    let sql = |_: &World, app: &App| {
        format!(
            "UPDATE policies SET spec = '{FUTURE}' WHERE id = '{}'",
            app.spec.policies[0]
        )
    };
    with_row("policies", sql, Then::Absent).await;
}

#[tokio::test]
async fn a_group_that_cannot_be_read_takes_the_apps_away_that_ask_about_it() {
    let sql = |_: &World, _: &App| format!("UPDATE user_groups SET spec = '{FUTURE}'");
    with_row("user_groups", sql, Then::Absent).await;
}

#[tokio::test]
async fn an_app_that_cannot_be_read_is_absent() {
    let sql = |_: &World, app: &App| format!("UPDATE apps SET spec = '{{}}' WHERE id = '{}'", app.id);
    with_row("apps", sql, Then::Absent).await;
}

#[tokio::test]
async fn a_binding_that_cannot_be_read_closes_its_account() {
    let sql = |_: &World, _: &App| "UPDATE bindings SET mode = 'from_the_future'".to_owned();
    with_row("bindings", sql, Then::Absent).await;
}

#[tokio::test]
async fn a_connection_that_cannot_be_read_signs_nobody_in_and_still_excludes() {
    let sql = |w: &World, _: &App| {
        format!(
            "UPDATE connections SET spec = '{{\"kind\":\"from_the_future\"}}' WHERE id = '{}'",
            w.connection.id
        )
    };
    with_row("connections", sql, Then::Closed).await;
}

#[tokio::test]
async fn an_organisation_that_cannot_be_read_has_no_apps() {
    let sql = |_: &World, _: &App| {
        r#"UPDATE organisations SET spec = '{"name":"x","floor":[{"type":"from_the_future"}]}'"#.to_owned()
    };
    with_row("organisations", sql, Then::Absent).await;
}
