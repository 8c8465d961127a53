//! Previews keep nobody waiting who writes, in however many places they are made, and say what the change then does.

use crate::scale::{Size, grow, id};
use crate::world::World;
use axum::body::Body;
use control::AtOnce;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::impact::NOT_COUNTED;
use testkit::from_json;
use wire::*;

const SIZE: Size = Size {
    accounts: 20,
    people: 12_000,
    grants: 4000,
};

/// A test on a large company with a second connection, once for each engine.
async fn on_each(test: impl AsyncFn(&Arc<World>, &Connection)) {
    for (engine, database) in testkit::databases().await {
        // Shown when the test fails.
        println!("on {engine}");
        let world = Box::pin(World::new(&database)).await;
        let second = grow(&world, &database, SIZE).await;
        let world = Arc::new(world);
        Box::pin(test(&world, &second)).await;
        world.store.close().await;
        database.remove().await;
    }
}

fn bind(second: &Connection) -> Value {
    let accounts: Vec<_> = (0..SIZE.accounts).map(|i| id("acc", i)).collect();
    json!({"connection": second.id, "accounts": accounts, "mode": "exclusive"})
}

fn note(world: &World) -> AuditEvent {
    store::audit::event(
        &world.acme.org,
        "test",
        "test.note",
        AuditActor::of(ActorKind::System),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_many_people_are_judged_nobody_who_writes_waits() {
    on_each(async |world, second| {
        let (asked, body) = (Arc::clone(world), bind(second));
        let preview = tokio::spawn(async move {
            asked
                .owner(Method::POST, "/bindings?dry_run=true", Some(body))
                .await
        });
        let (began, mut waited) = (Instant::now(), Vec::new());
        while !preview.is_finished() {
            let asked = Instant::now();
            world.store.record(note(world)).await.unwrap();
            waited.push(asked.elapsed());
        }
        let took = began.elapsed();
        let preview = preview.await.unwrap();
        assert_eq!(preview.status, StatusCode::OK, "{}", preview.text);
        let impact: Impact = from_json(preview.json()["impact"].clone());
        assert_eq!(impact.sign_in.gain, 6000, "half of the apps let everybody in");
        assert_eq!(
            impact.lose.agents, 2400,
            "half of them, and a fifth of the others"
        );
        waited.sort_unstable();
        assert!(waited.len() > 5, "only {waited:?}");
        let (half, most) = (waited[waited.len() / 2], waited[waited.len() - 1]);
        assert!(half < Duration::from_millis(100), "{half:?}");
        // Who waits for the judging waits for nearly all of it.
        assert!(most < took / 3, "{most:?} of {took:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_that_nobody_waits_for_any_more_makes_room_and_stops() {
    on_each(async |world, second| {
        let world = world.at_once(AtOnce {
            previews: 1,
            ..AtOnce::default()
        });
        // Whoever looks at it, and the directory itself.
        let snapshot = world.store.directory();
        let idle = Arc::strong_count(&snapshot);
        let path = "/bindings?dry_run=true";
        for _ in 0..3 {
            let judging = async {
                while Arc::strong_count(&snapshot) <= idle {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Somewhere within.
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            tokio::select! {
                _ = world.owner(Method::POST, path, Some(bind(second))) => panic!("it was too fast to be cut"),
                () = judging => {}
            }
        }
        let began = Instant::now();
        while Arc::strong_count(&snapshot) > idle {
            assert!(began.elapsed() < Duration::from_secs(1), "it goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let whole = world.owner(Method::POST, path, Some(bind(second))).await;
        assert_eq!(whole.status, StatusCode::OK, "{}", whole.text);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_says_of_whom_it_concerns_what_its_preview_said() {
    on_each(async |world, second| {
        let preview = world
            .owner(Method::POST, "/bindings?dry_run=true", Some(bind(second)))
            .await;
        let foreseen: Impact = from_json(preview.json()["impact"].clone());
        let made = world.owner(Method::POST, "/bindings", Some(bind(second))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let filter = store::audit::Filter {
            action: Some("binding.create".into()),
            ..store::audit::Filter::default()
        };
        let order = (store::audit::Order::Newest, None);
        let events = store::audit::list(
            &world.store,
            &world.acme.org,
            &filter,
            order,
            SIZE.accounts as u32,
        );
        let events = events.await.unwrap();
        assert_eq!(events.len(), SIZE.accounts);
        for event in &events {
            let (said, account) = (event.impact.unwrap(), event.account.as_ref().unwrap());
            let row = foreseen.rows.iter().find(|row| row.account == *account).unwrap();
            assert_eq!(event.reason, None);
            assert_eq!(
                (said.gain, said.keep, said.lose, said.sign_in),
                (row.gain, row.keep, row.lose, row.sign_in)
            );
        }
        assert_eq!((foreseen.accounts, foreseen.lose.agents), (20, 2400));
    })
    .await;
}

/// Told to come again.
fn is_busy(answer: &crate::world::Answer) {
    answer.refused(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    assert!(
        answer.text.contains("as many as it does at once"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn what_costs_much_is_refused_when_all_places_are_taken_and_changes_are_made_all_the_same() {
    for (engine, database) in testkit::databases().await {
        println!("on {engine}");
        let world = World::new(&database).await;
        let full = world.at_once(AtOnce {
            previews: 0,
            testers: 0,
            exports: 0,
        });
        let path = format!("/bindings/{}", world.acme.binding.id);
        let exclusive = json!({"mode": "exclusive"});
        let dry = format!("{path}?dry_run=true");
        is_busy(&full.owner(Method::PATCH, &dry, Some(exclusive.clone())).await);
        let refused = world.newest_of("api.refuse").await;
        assert_eq!(refused.reason.as_deref(), Some("busy"));
        // Every other write can be tried, too.
        let app = format!("/apps/{}?dry_run=true", world.acme.app.id);
        is_busy(
            &full
                .owner(Method::PATCH, &app, Some(json!({"enabled": false})))
                .await,
        );
        let everyone = json!({"app": world.acme.app.id, "everyone": true});
        is_busy(&full.owner(Method::POST, "/policies/test", Some(everyone)).await);
        is_busy(&full.owner(Method::GET, "/audit/export", None).await);

        let made = full.owner(Method::PATCH, &path, Some(exclusive)).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.text);
        let event = world.newest_of("binding.update").await;
        assert_eq!(event.impact, None);
        assert_eq!(event.reason.as_deref(), Some(NOT_COUNTED));
        world.store.close().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn an_export_keeps_its_place_until_it_is_read_or_given_up() {
    for (engine, database) in testkit::databases().await {
        println!("on {engine}");
        let world = World::new(&database).await;
        let one = world.at_once(AtOnce {
            exports: 1,
            ..AtOnce::default()
        });
        let export = async || {
            let request = Request::builder()
                .uri("/api/v1/audit/export")
                .header(
                    header::AUTHORIZATION,
                    format!("Bearer {}", world.acme.owner.token),
                )
                .body(Body::empty())
                .unwrap();
            one.begin(request).await
        };
        let unread = export().await;
        assert_eq!(unread.status(), StatusCode::OK);
        let second = export().await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.headers()[header::RETRY_AFTER], "5");
        drop(unread);
        let whole = one.owner(Method::GET, "/audit/export", None).await;
        assert!(whole.text.lines().count() > 3);
        let again = one.owner(Method::GET, "/audit/export", None).await;
        assert_eq!(again.status, StatusCode::OK);
        world.store.close().await;
        database.remove().await;
    }
}
