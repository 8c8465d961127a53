//! The numbers of the first page.

use crate::world::{World, app_spec, on_each};
use store::{audit, overview};
use wire::{AccountId, AuditTarget, Outcome};

async fn request(w: &World, outcome: Outcome, agent: bool) {
    let mut event = w.event(audit::GATEWAY_REQUEST);
    event.account = Some(w.account.id.clone());
    event.outcome = outcome;
    event.target = Some(AuditTarget {
        app: Some(w.app.id.clone()),
        ..audit::target("app", &w.app.id, None)
    });
    if agent {
        event.actor.client = Some(w.client.id.clone());
    }
    w.store.record(event).await.unwrap();
}

#[tokio::test]
async fn the_overview_counts_the_last_day() {
    on_each(async |w| {
        request(w, Outcome::Allowed, true).await;
        w.clock.advance(86_401);
        request(w, Outcome::Allowed, true).await;
        request(w, Outcome::Allowed, true).await;
        w.clock.advance(3600);
        request(w, Outcome::Denied, false).await;
        w.store.record(w.event("login.success")).await.unwrap();
        let mut failure = w.event("login.failure");
        failure.outcome = Outcome::Denied;
        w.store.record(failure).await.unwrap();
        w.used_grant(&w.user, &w.client, "code").await;
        w.grant(&w.user, &w.client, "unused").await;
        let plain = wire::AppSpec {
            managed_oauth: false,
            ..app_spec("\"managed_oauth\":true", "https://plain.example.com")
        };
        w.write(async |tx| store::app::create(tx, &w.org, &w.account.id, plain).await)
            .await
            .unwrap();

        let all = overview::load(&w.store, &w.org, None).await.unwrap();
        assert_eq!(all.since, w.clock.now().plus_seconds(-86_400));
        assert_eq!(
            (all.sign_ins, all.allowed, all.denied, all.active_agents),
            (1, 2, 1, 1)
        );
        assert_eq!(all.by_hour.len(), 25);
        let busy: Vec<_> = all
            .by_hour
            .iter()
            .filter(|h| h.allowed + h.denied > 0)
            .map(|h| (h.allowed, h.denied))
            .collect();
        assert_eq!(busy, [(2, 0), (0, 1)]);
        assert!(all.by_hour.is_sorted_by_key(|h| h.hour));
        assert_eq!(all.top_apps.len(), 1);
        assert_eq!((&all.top_apps[0].app, all.top_apps[0].requests), (&w.app.id, 3));
        assert_eq!(all.connections.len(), 1);
        let t = all.totals;
        assert_eq!((t.accounts, t.connections, t.bindings, t.apps), (1, 1, 1, 2));
        assert_eq!(
            (t.managed_oauth_apps, t.policies, t.users, t.grants),
            (1, 0, 1, 1)
        );

        let of_account = [w.account.id.clone()];
        let mine = overview::load(&w.store, &w.org, Some(&of_account)).await.unwrap();
        assert_eq!((mine.allowed, mine.denied, mine.totals.apps), (2, 1, 2));
        assert_eq!(mine.totals.connections, 1);
        let elsewhere = [AccountId::fresh()];
        for only in [&elsewhere[..], &[]] {
            let none = overview::load(&w.store, &w.org, Some(only)).await.unwrap();
            assert_eq!((none.allowed, none.denied, none.active_agents), (0, 0, 0));
            assert!(none.top_apps.is_empty());
            assert_eq!((none.totals.apps, none.totals.grants), (0, 0));
            assert_eq!(
                none.totals.connections, 0,
                "what is bound elsewhere is not theirs to count"
            );
        }
    })
    .await;
}
