//! What strangers cause is counted in few rows, and nothing of it is lost or put to somebody else's name.

use crate::world::{World, on_each};
use futures_util::future::join_all;
use std::time::Duration;
use store::audit::{self, Filter, Order};
use wire::{ActorKind, AuditActor, AuditEvent, AuditRepeated, Outcome, UserId};

/// How long events of one kind are counted.
const WINDOW: i64 = 60;

fn refused(w: &World, ip: &str) -> AuditEvent {
    let mut event = w.event(audit::GATEWAY_REQUEST);
    event.actor = AuditActor::of(ActorKind::Anonymous);
    event.outcome = Outcome::Denied;
    event.reason = Some("unauthenticated".into());
    event.target = Some(audit::target("app", &w.app.id, Some("Wiki")));
    event.request = Some(wire::AuditRequest {
        id: format!("req_{}", event.id),
        method: "GET".into(),
        path: "/".into(),
        ip: Some(ip.into()),
        user_agent: None,
    });
    event
}

async fn all(w: &World) -> Vec<AuditEvent> {
    let page = (Order::Oldest, None);
    audit::list(&w.store, &w.org, &Filter::default(), page, 10_000)
        .await
        .unwrap()
}

/// The log once there are `count` events in it: the server writes closed windows by itself, too.
async fn settled(w: &World, count: usize) -> Vec<AuditEvent> {
    for _ in 0..200 {
        w.store.write_closed_folds().await.unwrap();
        let events = all(w).await;
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all(w).await
}

fn times(event: &AuditEvent) -> u64 {
    event.repeated.as_ref().map_or(1, |repeated| repeated.count)
}

#[tokio::test]
async fn the_first_is_written_at_once_and_the_rest_are_one_event_with_a_count() {
    on_each(async |w| {
        let started = w.clock.now();
        let first = refused(w, "192.0.2.1");
        w.store.record_folded(first.clone()).await.unwrap();
        let [written] = all(w).await.try_into().unwrap();
        assert_eq!((written.id, written.repeated), (first.id, None));
        w.clock.advance(1);
        let second = refused(w, "192.0.2.1");
        w.store.record_folded(second.clone()).await.unwrap();
        for _ in 0..998 {
            w.store.record_folded(refused(w, "192.0.2.1")).await.unwrap();
        }
        w.clock.advance(20);
        w.store.record_folded(refused(w, "192.0.2.1")).await.unwrap();
        w.store.write_closed_folds().await.unwrap();
        assert_eq!(all(w).await.len(), 1, "the window is open");
        w.clock.advance(WINDOW);
        let [_, folded] = settled(w, 2).await.try_into().unwrap();
        let repeated = AuditRepeated {
            count: 1000,
            first: started.plus_seconds(1),
            last: started.plus_seconds(21),
        };
        assert_eq!(folded.repeated, Some(repeated));
        assert_eq!(folded.request, second.request);
        assert_eq!((folded.actor, folded.target), (first.actor, first.target));
        assert_eq!((folded.reason, folded.outcome), (first.reason, first.outcome));
        // After the window the next one is a first one again.
        w.store.record_folded(refused(w, "192.0.2.1")).await.unwrap();
        assert_eq!(all(w).await.len(), 3);
        assert_eq!(audit::verify(&w.store, &w.org, &[]).await.unwrap().broken, None);
    })
    .await;
}

#[tokio::test]
async fn the_server_writes_closed_windows_by_itself() {
    on_each(async |w| {
        for _ in 0..3 {
            w.store.record_folded(refused(w, "192.0.2.1")).await.unwrap();
        }
        w.clock.advance(WINDOW);
        for _ in 0..100 {
            if all(w).await.len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let counts: Vec<_> = all(w).await.iter().map(times).collect();
        assert_eq!(counts, [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn what_differs_in_actor_target_reason_or_network_is_not_counted_together() {
    on_each(async |w| {
        let mut other_actor = refused(w, "192.0.2.1");
        other_actor.actor.user = Some(w.user.id.clone());
        let mut other_target = refused(w, "192.0.2.1");
        other_target.target = Some(audit::target("account", &w.account.id, None));
        let mut other_reason = refused(w, "192.0.2.1");
        other_reason.reason = Some("credential_invalid".into());
        let mut other_action = refused(w, "192.0.2.1");
        other_action.action = "token.refuse".into();
        let mut other_account = refused(w, "192.0.2.1");
        other_account.account = Some(w.account.id.clone());
        let mut other_path = refused(w, "192.0.2.1");
        other_path.request.as_mut().unwrap().path = "/admin".into();
        let events = [
            refused(w, "192.0.2.1"),
            other_path,
            refused(w, "192.0.2.2"),
            refused(w, "2001:db8:0:1::1"),
            refused(w, "2001:db8:0:2::1"),
            other_actor,
            other_target,
            other_reason,
            other_action,
            other_account,
        ];
        for event in &events {
            w.store.record_folded(event.clone()).await.unwrap();
        }
        let written: Vec<_> = all(w).await.into_iter().map(|e| e.id).collect();
        assert_eq!(written, events.map(|e| e.id));
        // One network of IPv6 is one.
        w.store
            .record_folded(refused(w, "2001:db8:0:1:ffff::2"))
            .await
            .unwrap();
        assert_eq!(all(w).await.len(), 10);
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_networks_cost_a_bounded_number_of_rows_and_name_nobody() {
    on_each(async |w| {
        // Somebody who is known does not drown in what strangers do.
        let mut known = refused(w, "192.0.2.1");
        known.actor = AuditActor::of(ActorKind::Admin);
        known.actor.user = Some(w.user.id.clone());
        for n in 0..10_000_u32 {
            let mut event = refused(w, &format!("10.0.{}.{}", n / 256, n % 256));
            event.actor.client = Some(w.client.id.clone());
            w.store.record_folded(event).await.unwrap();
        }
        w.store.record_folded(known.clone()).await.unwrap();
        let events = all(w).await;
        assert_eq!(events.len(), 65);
        assert_eq!(events[64].id, known.id);
        w.clock.advance(WINDOW);
        let events = settled(w, 66).await;
        assert_eq!(events.len(), 66);
        assert_eq!(events.iter().map(times).sum::<u64>(), 10_001);
        let rest = &events[65];
        assert_eq!(times(rest), 10_000 - 64);
        assert_eq!(rest.actor, AuditActor::of(ActorKind::Anonymous));
        assert_eq!(rest.reason.as_deref(), Some("various"));
        assert!(rest.target.is_none() && rest.request.is_none());
        assert_eq!(rest.outcome, Outcome::Denied);
    })
    .await;
}

#[tokio::test]
async fn one_network_leaves_room_for_the_others() {
    on_each(async |w| {
        for n in 0..1000 {
            let mut event = refused(w, "192.0.2.1");
            event.request.as_mut().unwrap().path = format!("/{n}");
            w.store.record_folded(event).await.unwrap();
        }
        assert_eq!(all(w).await.len(), 16);
        let other = refused(w, "192.0.2.2");
        w.store.record_folded(other.clone()).await.unwrap();
        assert_eq!(all(w).await[16].id, other.id);
        w.clock.advance(WINDOW);
        let events = settled(w, 18).await;
        assert_eq!(times(&events[17]), 1000 - 16);
    })
    .await;
}

#[tokio::test]
async fn several_instances_count_for_themselves_and_lose_nothing() {
    on_each(async |w| {
        let other = w.other_instance().await;
        let recorded = (0..200).map(|n| {
            let store = if n % 2 == 0 { &w.store } else { &other };
            store.record_folded(refused(w, "192.0.2.1"))
        });
        for done in join_all(recorded).await {
            done.unwrap();
        }
        assert_eq!(all(w).await.len(), 2);
        // One of them stops: what it counted is written.
        other.close().await;
        let counts: Vec<_> = all(w).await.iter().map(times).collect();
        assert_eq!(counts, [1, 1, 99]);
        w.clock.advance(WINDOW);
        assert_eq!(settled(w, 4).await.iter().map(times).sum::<u64>(), 200);
        assert_eq!(audit::verify(&w.store, &w.org, &[]).await.unwrap().broken, None);
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_written_is_counted_and_written_later() {
    on_each(async |w| {
        w.database.execute("ALTER TABLE audit_heads RENAME TO away").await;
        let mut event = refused(w, "192.0.2.1");
        event.actor.user = Some(UserId::fresh());
        assert!(w.store.record_folded(event.clone()).await.is_err());
        w.store.record_folded(event.clone()).await.unwrap();
        w.clock.advance(WINDOW);
        // Whoever tries first, here or in the background, has to keep it.
        let _ = w.store.write_closed_folds().await;
        w.database.execute("ALTER TABLE away RENAME TO audit_heads").await;
        w.clock.advance(WINDOW);
        let events = settled(w, 1).await;
        assert_eq!(events.iter().map(times).sum::<u64>(), 2);
        assert_eq!(events[0].actor.user, event.actor.user);
    })
    .await;
}

#[tokio::test]
async fn strangers_bury_nothing_that_somebody_known_was_refused() {
    on_each(async |w| {
        // All kinds that there are at one account, from many networks.
        for n in 0..200 {
            let mut event = refused(w, &format!("192.0.2.{n}"));
            event.reason = Some(format!("kind {n}"));
            w.store.record_folded(event).await.unwrap();
        }
        let known = UserId::fresh();
        let refused_to = async |reason: &str| {
            let mut event = refused(w, "192.0.2.1");
            event.actor.user = Some(known.clone());
            event.reason = Some(reason.to_owned());
            w.store.record_folded(event).await.unwrap();
        };
        refused_to("policy_denied").await;
        let last = all(w).await.pop().unwrap();
        assert_eq!(last.actor.user.as_ref(), Some(&known), "written at once, by name");
        assert_eq!(last.reason.as_deref(), Some("policy_denied"));
        // Beyond the bounds of their own they are counted, and still named.
        for n in 0..100 {
            refused_to(&format!("kind {n}")).await;
        }
        w.clock.advance(WINDOW);
        w.store.write_closed_folds().await.unwrap();
        let events = all(w).await;
        let theirs = events
            .iter()
            .filter(|event| event.actor.user.as_ref() == Some(&known));
        assert_eq!(theirs.map(times).sum::<u64>(), 101);
    })
    .await;
}
