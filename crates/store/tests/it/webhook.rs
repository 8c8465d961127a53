//! Webhooks: which events become deliveries, and who makes the attempts.

use crate::world::{World, assert_conflict, assert_not_found, assert_stale, on_each};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use store::{Paging, Store, webhook};
use wire::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn spec(name: &str, events: &[&str]) -> WebhookSpec {
    WebhookSpec {
        name: name.into(),
        url: "https://receiver.example.com/hook".into(),
        events: events.iter().map(|e| (*e).to_owned()).collect(),
        allow_internal: false,
        enabled: true,
    }
}

async fn make(w: &World, account: Option<&AccountId>, name: &str, events: &[&str]) -> Webhook {
    w.write(async |tx| webhook::create(tx, (&w.org, account), spec(name, events), SECRET).await)
        .await
        .unwrap()
}

/// Actions that wait to be sent, oldest first.
async fn waiting(w: &World, hook: &Webhook) -> Vec<String> {
    let (state, page) = (Some(DeliveryState::Pending), Paging::default());
    let list = webhook::deliveries(&w.store, &hook.id, state, &page);
    list.await.unwrap().into_iter().rev().map(|d| d.action).collect()
}

async fn log(w: &World, account: Option<&AccountId>, action: &str) {
    let mut event = w.event(action);
    event.account = account.cloned();
    w.store.record(event).await.unwrap();
}

#[tokio::test]
async fn each_webhook_gets_what_it_asks_for_from_its_beginning_on() {
    on_each(async |w| {
        log(w, None, "app.before").await;
        let labs = w.account("Labs").await;
        let mine = Some(&w.account.id);
        let all = make(w, None, "All", &["*"]).await;
        let apps = make(w, None, "Apps", &["app.", "policy.update"]).await;
        let gateway = make(w, None, "Gateway", &["gateway.request"]).await;
        let account = make(w, mine, "Account", &["*", "gateway."]).await;
        log(w, mine, "app.update").await;
        log(w, Some(&labs.id), "app.delete").await;
        log(w, None, "appx").await;
        log(w, mine, "policy.update").await;
        log(w, mine, "policy.create").await;
        log(w, mine, "gateway.request").await;
        webhook::collect(&w.store).await.unwrap();
        assert_eq!(
            waiting(w, &apps).await,
            ["app.update", "app.delete", "policy.update"]
        );
        assert_eq!(waiting(w, &gateway).await, ["gateway.request"]);
        assert_eq!(
            waiting(w, &account).await,
            ["app.update", "policy.update", "policy.create", "gateway.request"]
        );
        let everything = waiting(w, &all).await;
        assert!(!everything.contains(&"gateway.request".to_owned()));
        assert!(!everything.contains(&"app.before".to_owned()));
        for action in ["app.update", "app.delete", "appx", "policy.create", "test.write"] {
            assert!(everything.contains(&action.to_owned()), "{action}");
        }
        // Nothing comes twice.
        webhook::collect(&w.store).await.unwrap();
        assert_eq!(waiting(w, &all).await.len(), everything.len());
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_not_set_going_by_itself() {
    on_each(async |w| {
        let (one, two) = (
            make(w, None, "One", &["webhook."]).await,
            make(w, None, "Two", &["webhook."]).await,
        );
        let mut event = w.event("webhook.disabled");
        event.target = Some(store::audit::target("webhook", &one.id, None));
        w.store.record(event).await.unwrap();
        webhook::collect(&w.store).await.unwrap();
        assert_eq!(waiting(w, &one).await, [""; 0]);
        assert_eq!(waiting(w, &two).await, ["webhook.disabled"]);
    })
    .await;
}

#[tokio::test]
async fn more_events_than_fit_into_one_step_all_come_in_order() {
    on_each(async |w| {
        let hook = make(w, None, "All", &["many."]).await;
        let events = (0..450).map(|n| log(w, None, if n % 3 == 0 { "many.x" } else { "other.x" }));
        join_all(events).await;
        for _ in 0..5 {
            webhook::collect(&w.store).await.unwrap();
        }
        let mut seen = Vec::new();
        while let Some(claimed) = webhook::claim(&w.store, &hook.id).await.unwrap() {
            let body: serde_json::Value = serde_json::from_str(&claimed.body).unwrap();
            assert_eq!(body["type"], "many.x");
            assert_eq!(body["timestamp"], body["data"]["time"]);
            assert_eq!(body["data"]["id"], claimed.delivery.event.to_string());
            seen.push(body["data"]["seq"].as_i64().unwrap());
        }
        assert_eq!(seen.len(), 150);
        assert!(seen.is_sorted());
    })
    .await;
}

#[tokio::test]
async fn of_several_instances_one_makes_each_delivery_and_each_attempt() {
    on_each(async |w| {
        let hook = make(w, None, "All", &["many."]).await;
        join_all((0..30).map(|_| log(w, None, "many.x"))).await;
        let (second, third) = (w.other_instance().await, w.other_instance().await);
        let stores = [&w.store, &second, &third];
        // An instance that loses the race tries again at its next step.
        join_all(stores.map(webhook::collect)).await;
        webhook::collect(&w.store).await.unwrap();
        assert_eq!(waiting(w, &hook).await.len(), 30);
        let drain = async |store: &Store| {
            let mut mine = Vec::new();
            while let Some(claimed) = webhook::claim(store, &hook.id).await.unwrap() {
                mine.push(claimed.delivery.event.to_string());
            }
            mine
        };
        // One that finds another's claim in its way may stop early; what it leaves is claimed by the rest.
        let mut all: Vec<_> = join_all(stores.map(drain)).await.concat();
        all.extend(drain(&w.store).await);
        let unique: BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), unique.len()), (30, 30));
        second.close().await;
        third.close().await;
    })
    .await;
}

fn outcome(state: DeliveryState, next_at: Timestamp) -> webhook::Outcome {
    webhook::Outcome {
        state,
        next_at,
        status: Some(500),
        millis: 7,
        error: None,
        response: Some("no".into()),
    }
}

#[tokio::test]
async fn an_attempt_that_was_cut_off_is_made_again_and_the_first_one_has_no_say() {
    on_each(async |w| {
        let hook = make(w, None, "All", &["x."]).await;
        log(w, None, "x.y").await;
        webhook::collect(&w.store).await.unwrap();
        let first = webhook::claim(&w.store, &hook.id).await.unwrap().unwrap();
        assert!(webhook::claim(&w.store, &hook.id).await.unwrap().is_none());
        assert!(webhook::due(&w.store).await.unwrap().is_empty());
        w.clock.advance(30);
        assert_eq!(webhook::due(&w.store).await.unwrap().len(), 1);
        let second = webhook::claim(&w.store, &hook.id).await.unwrap().unwrap();
        assert_eq!(second.delivery.id, first.delivery.id);
        let failed = outcome(DeliveryState::Pending, w.clock.now().plus_seconds(5));
        let finish = async |claimed: &webhook::Claimed| {
            let outcome = failed.clone();
            w.write(async |tx| webhook::finish(tx, claimed, &outcome).await)
                .await
                .unwrap()
        };
        assert!(!finish(&first).await);
        assert!(finish(&second).await);
        assert!(!finish(&second).await);
        let detail = webhook::delivery(&w.store, &hook.id, &first.delivery.id)
            .await
            .unwrap();
        assert_eq!(detail.delivery.attempts, 1);
        assert_eq!(detail.delivery.status, Some(500));
        assert_eq!(detail.delivery.millis, Some(7));
        assert_eq!(detail.response_excerpt.as_deref(), Some("no"));
        // Not before its time.
        assert!(webhook::claim(&w.store, &hook.id).await.unwrap().is_none());
        w.clock.advance(5);
        assert!(webhook::claim(&w.store, &hook.id).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_is_enabled_anew_begins_anew() {
    on_each(async |w| {
        let hook = make(w, None, "All", &["x."]).await;
        let change = async |hook: &Webhook, enabled: bool| {
            let spec = WebhookSpec {
                enabled,
                ..hook.spec.clone()
            };
            w.write(async |tx| webhook::update(tx, &w.org, hook, spec).await)
                .await
        };
        assert!(
            w.write(async |tx| webhook::disable(tx, &hook.id, "gone").await)
                .await
                .unwrap()
        );
        assert!(
            !w.write(async |tx| webhook::disable(tx, &hook.id, "gone").await)
                .await
                .unwrap()
        );
        let off = webhook::get(&w.store, &w.org, &hook.id).await.unwrap().webhook;
        assert!(!off.spec.enabled);
        assert_eq!(off.disabled_reason.as_deref(), Some("gone"));
        log(w, None, "x.missed").await;
        webhook::collect(&w.store).await.unwrap();
        assert_stale(change(&hook, true).await);
        let on = change(&off, true).await.unwrap();
        assert_eq!((on.spec.enabled, on.disabled_reason), (true, None));
        log(w, None, "x.seen").await;
        webhook::collect(&w.store).await.unwrap();
        assert_eq!(waiting(w, &hook).await, ["x.seen"]);
    })
    .await;
}

#[tokio::test]
async fn secrets_are_sealed_and_overlap_for_as_long_as_it_was_said() {
    on_each(async |w| {
        let hook = make(w, None, "All", &["x."]).await;
        assert_conflict(
            w.write(async |tx| webhook::create(tx, (&w.org, None), spec("All", &["*"]), SECRET).await)
                .await,
        );
        let secrets = async || {
            let stored = webhook::get(&w.store, &w.org, &hook.id).await.unwrap();
            let secrets = stored.secrets(&w.store).unwrap();
            secrets.iter().map(|s| s.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(secrets().await, [SECRET]);
        let hook = w
            .write(async |tx| webhook::rotate(tx, &hook, "whsec_bmV3", 60).await)
            .await
            .unwrap();
        assert_eq!(secrets().await, ["whsec_bmV3", SECRET]);
        w.clock.advance(60);
        assert_eq!(secrets().await, ["whsec_bmV3"]);
        w.write(async |tx| webhook::rotate(tx, &hook, "whsec_bmV4dA==", 0).await)
            .await
            .unwrap();
        assert_eq!(secrets().await, ["whsec_bmV4dA=="]);
        let plain = format!("DELETE FROM webhooks WHERE secret LIKE '%{SECRET}%' OR secret LIKE 'whsec%'");
        assert_eq!(w.database.execute(&plain).await, 0);
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_forgotten_after_30_days_and_go_with_their_webhook() {
    on_each(async |w| {
        let hook = make(w, None, "All", &["x."]).await;
        log(w, None, "x.old").await;
        webhook::collect(&w.store).await.unwrap();
        w.clock.advance(29 * 86_400);
        log(w, None, "x.new").await;
        webhook::collect(&w.store).await.unwrap();
        let sweep = async || store::retention::sweep(&w.store).await.unwrap();
        sweep().await;
        assert_eq!(waiting(w, &hook).await, ["x.old", "x.new"]);
        w.clock.advance(86_401);
        sweep().await;
        assert_eq!(waiting(w, &hook).await, ["x.new"]);
        w.write(async |tx| webhook::delete(tx, &hook).await)
            .await
            .unwrap();
        assert_eq!(waiting(w, &hook).await, [""; 0]);
        assert_not_found(webhook::get(&w.store, &w.org, &hook.id).await.map(|s| s.webhook));
    })
    .await;
}

#[test]
fn patterns_are_actions_prefixes_or_everything() {
    for good in ["*", "app.update", "app.", "gateway.", "webhook.disabled", "x_y.z"] {
        assert!(webhook::is_pattern(good), "{good}");
    }
    for bad in [
        "",
        ".",
        "app*",
        "APP.update",
        "app..x",
        "app.%",
        "a b",
        ".x",
        &"a".repeat(101),
    ] {
        assert!(!webhook::is_pattern(bad), "{bad}");
    }
}
