//! The log: complete, ordered, chained, and found again by every field.

use crate::world::{World, assert_not_found, on_each};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use store::audit::{self, Break, Filter, Order};
use wire::{AuditEvent, AuditMcp, AuditResponse, AuditTarget, EventId, OrgId, Outcome, Timestamp, UserId};

async fn list(w: &World, filter: &Filter, at: (Order, Option<i64>), limit: u32) -> Vec<AuditEvent> {
    audit::list(&w.store, &w.org, filter, at, limit).await.unwrap()
}

async fn all(w: &World) -> Vec<AuditEvent> {
    list(w, &Filter::default(), (Order::Oldest, None), 10_000).await
}

async fn verify(w: &World) -> (u64, Option<Break>) {
    let found = audit::verify(&w.store, &w.org, &[]).await.unwrap();
    (found.checked, found.broken)
}

fn without_gaps(events: &[AuditEvent]) {
    let positions: Vec<_> = events.iter().map(|e| e.seq).collect();
    let expected: Vec<_> = (1..).take(events.len()).collect();
    assert_eq!(positions, expected);
}

#[tokio::test]
async fn five_hundred_at_once_are_all_durable_in_order_and_chained() {
    on_each(async |w| {
        let events: Vec<_> = (0..500).map(|_| w.event("gateway.request")).collect();
        let ids: BTreeSet<_> = events.iter().map(|e| e.id.clone()).collect();
        let recorded = join_all(events.into_iter().map(|e| w.store.record(e))).await;
        assert!(recorded.iter().all(Result::is_ok), "{recorded:?}");
        let events = all(w).await;
        without_gaps(&events);
        assert_eq!(events.into_iter().map(|e| e.id).collect::<BTreeSet<_>>(), ids);
        assert_eq!(verify(w).await, (500, None));
    })
    .await;
}

#[tokio::test]
async fn positions_have_no_gaps_under_two_instances_that_record_and_commit() {
    on_each(async |w| {
        let other = w.other_instance().await;
        let commits = (0..40).map(|n| {
            let store = if n % 2 == 0 { &w.store } else { &other };
            w.write_at(store, async |_| Ok(()))
        });
        let records = (0..200).map(|n| {
            let store = if n % 2 == 0 { &w.store } else { &other };
            store.record(w.event("gateway.request"))
        });
        // Somebody who verifies meanwhile sees no damage where there is none.
        let verifications = async {
            for _ in 0..20 {
                assert_eq!(verify(w).await.1, None);
            }
        };
        let (committed, recorded, ()) =
            futures_util::join!(join_all(commits), join_all(records), verifications);
        for done in committed {
            done.unwrap();
        }
        for done in recorded {
            done.unwrap();
        }
        let events = all(w).await;
        assert_eq!(events.len(), 240);
        without_gaps(&events);
        assert_eq!(verify(w).await, (240, None));
        other.close().await;
    })
    .await;
}

async fn ten(w: &World) {
    for _ in 0..10 {
        w.store.record(w.event("test.event")).await.unwrap();
    }
    assert_eq!(verify(w).await, (10, None));
}

#[test]
fn the_chain_is_sha256_over_hash_newline_body() {
    // printf '\n{}' | openssl dgst -sha256 -binary | basenc --base64url
    let first = audit::chain("", "{}");
    assert_eq!(first, "oGLdSVK5NeQw1AnEpeXNdg6HgeMgDVx-EqIy3duopSg");
    assert_ne!(audit::chain(&first, "{}"), first);
}

#[tokio::test]
async fn a_changed_event_is_named() {
    on_each(async |w| {
        ten(w).await;
        let sql = "UPDATE audit_events SET body = replace(body, 'test.event', 'test.other') WHERE seq = 4";
        assert_eq!(w.database.execute(sql).await, 1);
        assert_eq!(verify(w).await, (3, Some(Break::Changed(4))));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_event_is_named() {
    on_each(async |w| {
        ten(w).await;
        w.database.execute("DELETE FROM audit_events WHERE seq = 1").await;
        assert_eq!(verify(w).await, (0, Some(Break::Missing(1))));
    })
    .await;
}

#[tokio::test]
async fn a_cut_tail_is_noticed() {
    on_each(async |w| {
        ten(w).await;
        w.database.execute("DELETE FROM audit_events WHERE seq > 7").await;
        assert_eq!(verify(w).await, (7, Some(Break::Cut { ends_at: 7, head: 10 })));
    })
    .await;
}

#[tokio::test]
async fn organisations_have_chains_of_their_own() {
    on_each(async |w| {
        let spec = wire::OrganisationSpec {
            name: "Other".into(),
            primary_connection: None,
            floor: vec![],
            ..wire::OrganisationSpec::default()
        };
        let other = w
            .write(async |tx| store::org::create(tx, "other", spec).await)
            .await
            .unwrap();
        let mut foreign = w.event("test.foreign");
        foreign.org = other.id.clone();
        let id = foreign.id.clone();
        let mut tx = w.store.begin().await.unwrap();
        tx.changed(store::Change::Config);
        tx.commit_all(vec![w.event("test.a"), foreign, w.event("test.b")])
            .await
            .unwrap();
        let actions: Vec<_> = all(w).await.into_iter().map(|e| e.action).collect();
        assert_eq!(actions, ["test.write", "test.a", "test.b"]);
        assert_eq!(audit::get(&w.store, &other.id, &id).await.unwrap().seq, 1);
        assert_not_found(audit::get(&w.store, &w.org, &id).await);
        assert_not_found(audit::verify(&w.store, &OrgId::fresh(), &[]).await);
        assert_eq!(audit::verify(&w.store, &other.id, &[]).await.unwrap().checked, 1);
    })
    .await;
}

#[tokio::test]
async fn the_outcome_is_unknown_until_the_origin_answered() {
    on_each(async |w| {
        let mut request = w.event(audit::GATEWAY_REQUEST);
        request.outcome = Outcome::Allowed;
        let id = request.id.clone();
        let request = w.store.record_request(request).await.unwrap();
        let stored = audit::get(&w.store, &w.org, &id).await.unwrap();
        assert!(stored.outcome_unknown);
        assert_eq!(stored.response, None);
        let response = AuditResponse {
            status: 502,
            micros: 1234,
        };
        w.store.record_response(request, response.clone());
        let mut denied = w.event(audit::GATEWAY_REQUEST);
        denied.outcome = Outcome::Denied;
        let denied_id = denied.id.clone();
        w.store.record(denied).await.unwrap();
        // Answers need no commit of their own: they are there a moment later.
        let mut stored = audit::get(&w.store, &w.org, &id).await.unwrap();
        for _ in 0..200 {
            if stored.response.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            stored = audit::get(&w.store, &w.org, &id).await.unwrap();
        }
        assert!(!stored.outcome_unknown);
        assert_eq!(stored.response, Some(response));
        assert!(
            !audit::get(&w.store, &w.org, &denied_id)
                .await
                .unwrap()
                .outcome_unknown
        );
        assert_eq!(verify(w).await, (2, None));
    })
    .await;
}

#[tokio::test]
async fn an_event_that_belongs_nowhere_hurts_nobody_else() {
    on_each(async |w| {
        let mut stray = w.event("test.stray");
        stray.org = OrgId::fresh();
        let (stray, good) = futures_util::join!(w.store.record(stray), w.store.record(w.event("test.good")));
        assert!(stray.is_err());
        good.unwrap();
        assert_eq!(verify(w).await, (1, None));
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_sends_cannot_break_the_log() {
    on_each(async |w| {
        let tool = "a\0b\u{1F511}'; DROP TABLE audit_events; --\\%";
        let mut event = w.event(audit::GATEWAY_REQUEST);
        event.mcp = Some(AuditMcp {
            method: "tools/call".into(),
            tool: Some(tool.into()),
            arguments_sha256: None,
        });
        w.store.record(event).await.unwrap();
        let filter = Filter {
            tool: Some(tool.into()),
            ..Filter::default()
        };
        let found = list(w, &filter, (Order::Oldest, None), 10).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].mcp.as_ref().unwrap().tool.as_deref(), Some(tool));
        assert_eq!(verify(w).await, (1, None));
    })
    .await;
}

/// Six events that differ in everything.
async fn varied(w: &World) -> Vec<EventId> {
    let sales = w.account("Sales").await;
    let bob = w.person("bob").await;
    let grant = w.used_grant(&w.user, &w.client, "code").await;
    w.database.execute("DELETE FROM audit_events").await;
    w.database
        .execute("UPDATE audit_heads SET seq = 0, hash = ''")
        .await;
    let mut events: Vec<_> = [
        "login.success",
        "login_x.success",
        "gateway.request",
        "gateway.request",
        "app.update",
        "application.update",
    ]
    .map(|action| w.event(action))
    .into();
    events[0].actor.user = Some(w.user.id.clone());
    events[1].actor.user = Some(bob.id.clone());
    events[1].outcome = Outcome::Failure;
    events[1].reason = Some("100%_sure\\ \"quoted\"".into());
    events[2].actor.user = Some(w.user.id.clone());
    events[2].actor.client = Some(w.client.id.clone());
    events[2].actor.grant = Some(grant);
    events[2].account = Some(w.account.id.clone());
    events[2].outcome = Outcome::Allowed;
    events[2].target = Some(AuditTarget {
        app: Some(w.app.id.clone()),
        ..audit::target("app", &w.app.id, Some("Ärzte-Wiki"))
    });
    events[2].mcp = Some(AuditMcp {
        method: "tools/call".into(),
        tool: Some("search".into()),
        arguments_sha256: None,
    });
    events[3].account = Some(w.account.id.clone());
    events[3].outcome = Outcome::Denied;
    events[3].request = Some(wire::AuditRequest {
        id: "request-1".into(),
        method: "GET".into(),
        path: "/\"ip\":\"192.0.2.9\"".into(),
        ip: Some("192.0.2.10".into()),
        user_agent: None,
    });
    events[4].account = Some(sales.id);
    let ids = events.iter().map(|e| e.id.clone()).collect();
    for event in events {
        w.store.record(event).await.unwrap();
        w.clock.advance(1);
    }
    ids
}

#[tokio::test]
async fn every_filter_finds_what_it_says() {
    on_each(async |w| {
        let ids = varied(w).await;
        let any = Filter::default;
        let sales = store::org::accounts(&w.store, &w.org, None, &store::Paging::default())
            .await
            .unwrap()
            .pop()
            .unwrap();
        let bob = all(w).await[1].actor.user.clone().unwrap();
        let start = all(w).await[0].time;
        let grant = all(w).await[2].actor.grant.clone();
        let text = |text: &str| Filter {
            text: Some(text.into()),
            ..any()
        };
        let action = |action: &str| Filter {
            action: Some(action.into()),
            ..any()
        };
        let ip = |ip: &str| Filter {
            ip: Some(ip.into()),
            ..any()
        };
        let request = |request: &str| Filter {
            request: Some(request.into()),
            ..any()
        };
        let outcome = |outcome| Filter {
            outcome: Some(outcome),
            ..any()
        };
        let accounts = |accounts: &[&wire::AccountId]| Filter {
            accounts: Some(accounts.iter().map(|a| (*a).clone()).collect()),
            ..any()
        };
        let user = |user: &UserId| Filter {
            user: Some(user.clone()),
            ..any()
        };
        let cases: Vec<(Filter, &[usize])> = vec![
            (accounts(&[&w.account.id]), &[2, 3]),
            (accounts(&[&w.account.id, &sales.id]), &[2, 3, 4]),
            (accounts(&[]), &[]),
            (user(&w.user.id), &[0, 2]),
            (user(&bob), &[1]),
            (user(&UserId::fresh()), &[]),
            (
                Filter {
                    client: Some(w.client.id.clone()),
                    ..any()
                },
                &[2],
            ),
            (Filter { grant, ..any() }, &[2]),
            (
                Filter {
                    app: Some(w.app.id.clone()),
                    ..any()
                },
                &[2],
            ),
            (
                Filter {
                    tool: Some("search".into()),
                    ..any()
                },
                &[2],
            ),
            (
                Filter {
                    tool: Some("sear".into()),
                    ..any()
                },
                &[],
            ),
            (action("gateway.request"), &[2, 3]),
            (action("gateway"), &[]),
            (action("gateway."), &[2, 3]),
            (action("app."), &[4]),
            (action("login."), &[0]),
            (action("login_."), &[]),
            (action("login_x."), &[1]),
            (action("%."), &[]),
            (outcome(Outcome::Allowed), &[2]),
            (outcome(Outcome::Denied), &[3]),
            (outcome(Outcome::Failure), &[1]),
            (outcome(Outcome::Success), &[0, 4, 5]),
            (
                Filter {
                    from: Some(start.plus_seconds(2)),
                    to: Some(start.plus_seconds(4)),
                    ..any()
                },
                &[2, 3],
            ),
            (
                Filter {
                    from: Some(Timestamp(start.0 + 1)),
                    ..any()
                },
                &[1, 2, 3, 4, 5],
            ),
            (text("100%_SURE"), &[1]),
            (text("100%sure"), &[]),
            (text("100__sure"), &[]),
            (text("sure\\ \"quoted\""), &[1]),
            (text("Ärzte-wiki"), &[2]),
            (text("gateway"), &[2, 3]),
            (text("no such text"), &[]),
            (ip("192.0.2.10"), &[3]),
            (ip("192.0.2.1"), &[]),
            (ip("192.0.2.9"), &[]),
            (request("request-1"), &[3]),
            (request("request-"), &[]),
            (
                Filter {
                    outcome: Some(Outcome::Denied),
                    text: Some("GATEWAY".into()),
                    from: Some(start),
                    ..accounts(&[&w.account.id])
                },
                &[3],
            ),
        ];
        for (filter, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|n| ids[*n].clone()).collect();
            let found = list(w, &filter, (Order::Oldest, None), 100).await;
            let found: Vec<_> = found.into_iter().map(|e| e.id).collect();
            assert_eq!(found, expected, "{filter:?}");
            let mut newest: Vec<_> = list(w, &filter, (Order::Newest, None), 100)
                .await
                .into_iter()
                .map(|e| e.id)
                .collect();
            newest.reverse();
            assert_eq!(newest, expected, "newest first: {filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_log_is_read_in_pages_from_either_end() {
    on_each(async |w| {
        for _ in 0..7 {
            w.store.record(w.event("test.event")).await.unwrap();
        }
        for (order, expected) in [
            (Order::Oldest, vec![vec![1, 2, 3], vec![4, 5, 6], vec![7], vec![]]),
            (Order::Newest, vec![vec![7, 6, 5], vec![4, 3, 2], vec![1], vec![]]),
        ] {
            let mut at = None;
            for page in expected {
                let found: Vec<_> = list(w, &Filter::default(), (order, at), 3)
                    .await
                    .into_iter()
                    .map(|e| e.seq)
                    .collect();
                assert_eq!(found, page, "{order:?}");
                at = found.last().copied().or(at);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_log_of_thousands_verifies() {
    on_each(async |w| {
        let events = (0..2100).map(|_| w.store.record(w.event("test.event")));
        for done in join_all(events).await {
            done.unwrap();
        }
        assert_eq!(verify(w).await, (2100, None));
        w.database
            .execute("UPDATE audit_events SET body = '{}' WHERE seq = 2001")
            .await;
        assert_eq!(verify(w).await, (2000, Some(Break::Changed(2001))));
    })
    .await;
}
