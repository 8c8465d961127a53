//! Warnings about credentials that end soon, and service tokens' own notes of it.

use crate::world::{World, on_each};
use futures_util::future::join_all;
use serde_json::json;
use store::service_token::{self, SECRET};
use store::{audit, expiry};
use wire::*;

const DAY: i64 = 86_400;

async fn token(w: &World, name: &str, days: Option<i64>) -> ServiceToken {
    let spec = ServiceTokenSpec {
        name: name.into(),
        expires_at: days.map(|days| w.clock.now().plus_seconds(days * DAY)),
        enabled: true,
    };
    let secret = SECRET.mint().unwrap();
    w.write(async |tx| service_token::create(tx, (&w.org, &w.account.id), spec, &secret).await)
        .await
        .unwrap()
}

/// How many days before the end there were warnings about something, in order.
async fn warned(w: &World, id: &str) -> Vec<i64> {
    let filter = audit::Filter {
        text: Some(id.to_owned()),
        ..audit::Filter::default()
    };
    let list = audit::list(&w.store, &w.org, &filter, (audit::Order::Oldest, None), 100);
    let events = list.await.unwrap().into_iter();
    events
        .filter(|e| e.action.ends_with(".expiring"))
        .map(|e| e.change.unwrap().after["days"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn the_end_is_announced_at_30_14_7_and_1_days_once_each() {
    on_each(async |w| {
        let long = token(w, "long", Some(40)).await;
        let never = token(w, "never", None).await;
        let off = token(w, "off", Some(20)).await;
        let spec = ServiceTokenSpec {
            enabled: false,
            ..off.spec.clone()
        };
        w.write(async |tx| service_token::update(tx, &off, spec).await)
            .await
            .unwrap();
        let other = w.other_instance().await;
        for _ in 0..45 {
            join_all([&w.store, &other, &w.store].map(expiry::warn)).await;
            w.clock.advance(DAY);
        }
        assert_eq!(warned(w, long.id.as_ref()).await, [30, 14, 7, 1]);
        assert_eq!(warned(w, never.id.as_ref()).await, [0; 0]);
        assert_eq!(warned(w, off.id.as_ref()).await, [0; 0]);
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_warning_names_what_ends_and_when() {
    on_each(async |w| {
        let soon = token(w, "soon", Some(5)).await;
        assert_eq!(expiry::warn(&w.store).await.unwrap(), 1);
        assert_eq!(expiry::warn(&w.store).await.unwrap(), 0);
        let (order, all) = ((audit::Order::Newest, None), audit::Filter::default());
        let list = audit::list(&w.store, &w.org, &all, order, 1);
        let event = list.await.unwrap().remove(0);
        assert_eq!(event.action, "service_token.expiring");
        assert_eq!(event.account, Some(w.account.id.clone()));
        assert_eq!(event.actor.kind, ActorKind::System);
        let target = event.target.unwrap();
        assert_eq!(target.kind, "service_token");
        assert_eq!(
            (target.id, target.name),
            (soon.id.to_string(), Some("soon".into()))
        );
        // Stages that were missed are not news any more.
        let after = event.change.unwrap().after;
        assert_eq!(after, json!({ "days": 7, "expires_at": soon.spec.expires_at }));
    })
    .await;
}

#[tokio::test]
async fn another_end_is_announced_anew() {
    on_each(async |w| {
        let it = token(w, "it", Some(1)).await;
        expiry::warn(&w.store).await.unwrap();
        let spec = ServiceTokenSpec {
            expires_at: Some(w.clock.now().plus_seconds(20 * DAY)),
            ..it.spec.clone()
        };
        w.write(async |tx| service_token::update(tx, &it, spec).await)
            .await
            .unwrap();
        expiry::warn(&w.store).await.unwrap();
        assert_eq!(warned(w, it.id.as_ref()).await, [1, 30]);
        w.clock.advance(30 * DAY);
        store::retention::sweep(&w.store).await.unwrap();
        assert_eq!(w.database.execute("DELETE FROM expiry_warnings").await, 0);
    })
    .await;
}

#[tokio::test]
async fn api_tokens_are_announced_too() {
    on_each(async |w| {
        let new = NewApiToken {
            expires_at: Some(w.clock.now().plus_seconds(10 * DAY)),
            ..NewApiToken::of("ci", &[TokenScope::Read])
        };
        let pair = ("cht_x", "hash");
        let token = w
            .write(async |tx| store::api_token::create(tx, &w.org, Some(&w.user.id), new.clone(), pair).await)
            .await
            .unwrap();
        assert_eq!(expiry::warn(&w.store).await.unwrap(), 1);
        assert_eq!(warned(w, token.id.as_ref()).await, [14]);
    })
    .await;
}

#[tokio::test]
async fn a_service_token_says_itself_what_somebody_should_look_at() {
    on_each(async |w| {
        let read = async |it: &ServiceToken| {
            let found = service_token::get(&w.store, &w.org, &it.id).await.unwrap();
            found.warnings
        };
        let never = token(w, "never", None).await;
        assert_eq!(never.warnings, [ServiceTokenWarning::NeverExpires]);
        let it = token(w, "it", Some(31)).await;
        assert_eq!(it.warnings, []);
        w.clock.advance(DAY);
        assert_eq!(read(&it).await, [ServiceTokenWarning::ExpiresSoon]);
        w.clock.advance(30 * DAY);
        assert_eq!(read(&it).await, [ServiceTokenWarning::Expired]);
    })
    .await;
}
