//! What changes cost, and who is affected by them: in proportion to the accounts concerned.

use crate::world::{World, app_spec, binding_spec, connection_spec, identity, on_each, policy_spec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::access::{AccessRequest, Principal, Proof};
use store::impact::{Made, NOT_COUNTED, rehearse};
use store::{Change, Error, Tx, app, binding, connection, org, rule, user};
use wire::*;

/// Accounts with an app each, whose policy lets in one domain, or everybody.
async fn accounts(w: &World, count: usize, include: impl Fn(usize) -> Selector) -> Vec<Account> {
    let mut made = Vec::new();
    for i in 0..count {
        let account = w.account(&format!("Account {i}")).await;
        let mut policy = policy_spec("Policy");
        policy.include = vec![include(i)];
        let policy: Policy = w
            .write(async |tx| rule::create(tx, &w.org, &account.id, policy).await)
            .await
            .unwrap();
        let mut spec = app_spec("App", &format!("https://app{i}.example.com"));
        spec.policies = vec![policy.id];
        w.write(async |tx| app::create(tx, &w.org, &account.id, spec).await)
            .await
            .unwrap();
        made.push(account);
    }
    made
}

fn domain(i: usize) -> Selector {
    Selector::EmailDomain {
        domain: format!("d{i}.example"),
    }
}

async fn other(w: &World) -> Connection {
    w.write(async |tx| connection::create(tx, &w.org, None, connection_spec("Entra")).await)
        .await
        .unwrap()
}

async fn someone(w: &World, connection: &Connection, subject: &str, email: &str) -> User {
    let identity = user::Identity {
        email: Some(email.to_owned()),
        ..identity(&connection.id, subject)
    };
    w.write(async |tx| user::sign_in(tx, &w.org, identity).await)
        .await
        .unwrap()
        .user
}

/// What becomes of whom by what a transaction wrote so far.
pub(crate) async fn impact_of(tx: &mut Tx) -> Option<Impact> {
    let draft = tx.draft().await.unwrap()?;
    draft.judge().await.unwrap().impact()
}

#[tokio::test]
async fn a_change_compiles_the_accounts_that_it_concerns_and_no_other() {
    on_each(async |w| {
        let all = accounts(w, 8, domain).await;
        let entra = other(w).await;
        // Whatever this instance reads of its own changes in the feed has been read.
        let settle = async || {
            let mut last = 0;
            while w.store.compiled_accounts() != last {
                last = w.store.compiled_accounts();
                tokio::time::sleep(Duration::from_millis(800)).await;
            }
            last
        };
        let cost = async |change: &str, expected: u64, write: &dyn AsyncWrite| {
            let before = settle().await;
            write.run(w).await;
            let compiled = w.store.compiled_accounts() - before;
            // Twice when the feed has brought this instance its own change already.
            assert!(
                compiled == expected || compiled == 2 * expected,
                "{change}: {compiled}"
            );
        };
        let ids: Vec<_> = all.iter().map(|a| a.id.clone()).collect();
        let bind = Bind(&entra.id, &ids[..1]);
        cost("one account is bound", 1, &bind).await;
        cost("five accounts are bound", 5, &Bind(&entra.id, &ids[1..6])).await;
        cost("a connection bound to six", 6, &Rename(&entra)).await;
        settle().await;
        // What is not concerned is not even copied.
        let before = w.store.directory();
        Bind(&entra.id, &ids[6..7]).run(w).await;
        let after = w.store.directory();
        let same = |account: &Account| {
            let of = |snapshot: &store::Snapshot| Arc::clone(snapshot.account(&account.id).unwrap());
            Arc::ptr_eq(&of(&before), &of(&after))
        };
        assert!(same(&all[0]) && same(&w.account) && !same(&all[6]));
    })
    .await;
}

/// A write whose cost is looked at.
trait AsyncWrite {
    fn run<'a>(&'a self, w: &'a World) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;
}

struct Bind<'a>(&'a ConnectionId, &'a [AccountId]);
struct Rename<'a>(&'a Connection);

impl AsyncWrite for Bind<'_> {
    fn run<'a>(&'a self, w: &'a World) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async {
            let ends = (self.0, self.1);
            w.write(async |tx| binding::create_many(tx, &w.org, ends, &binding_spec()).await)
                .await
                .unwrap();
        })
    }
}

impl AsyncWrite for Rename<'_> {
    fn run<'a>(&'a self, w: &'a World) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async {
            let spec = ConnectionSpec {
                name: "Renamed".into(),
                ..self.0.spec.clone()
            };
            w.write(async |tx| connection::update(tx, self.0, spec).await)
                .await
                .unwrap();
        })
    }
}

#[tokio::test]
async fn the_impact_is_that_of_the_uncommitted_writes() {
    on_each(async |w| {
        let all = accounts(w, 3, domain).await;
        let entra = other(w).await;
        let eve = someone(w, &entra, "eve", "eve@d1.example").await;
        someone(w, &entra, "mallory", "mallory@d9.example").await;
        let ids: Vec<_> = all.iter().map(|a| a.id.clone()).collect();
        let mut tx = w.store.begin().await.unwrap();
        assert_eq!(impact_of(&mut tx).await, None, "nothing is written yet");
        let ends = (&entra.id, ids.as_slice());
        binding::create_many(&mut tx, &w.org, ends, &binding_spec())
            .await
            .unwrap();
        let impact = impact_of(&mut tx).await.unwrap();
        assert_eq!((impact.accounts, impact.gain.people), (3, 1));
        assert_eq!(impact.gain.names[0].user, eve.id);
        assert_eq!(impact.gain.names[0].account, ids[1]);
        assert_eq!(impact.rows[0].sign_in, ImpactSignIn { gain: 1, lose: 0 });
        assert_eq!(impact.rows[1].sign_in, ImpactSignIn::default());
        drop(tx);
        let view = w.store.directory();
        assert!(
            !view
                .account(&ids[1])
                .unwrap()
                .connections
                .iter()
                .any(|c| c.id == entra.id)
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_back_and_who_is_counted_agrees_with_enforcement() {
    on_each(async |w| {
        // Everybody of everywhere, but by rules of all kinds.
        let all = accounts(w, 4, |i| match i {
            0 => Selector::Everyone {},
            1 => Selector::EmailList {
                emails: vec!["P2@example.com".into(), "p3@example.com".into()],
            },
            2 => Selector::Claim {
                name: "groups".into(),
                value: "staff".into(),
            },
            _ => Selector::EmailDomain {
                domain: "EXAMPLE.com".into(),
            },
        })
        .await;
        let entra = other(w).await;
        let mut people = Vec::new();
        for i in 0..5 {
            let email = format!("p{i}@{}", if i == 4 { "other.example" } else { "example.com" });
            people.push(someone(w, &entra, &format!("p{i}"), &email).await);
        }
        let ids: Vec<_> = all.iter().map(|a| a.id.clone()).collect();
        let mut tx = w.store.begin().await.unwrap();
        let ends = (&entra.id, ids.as_slice());
        binding::create_many(&mut tx, &w.org, ends, &binding_spec())
            .await
            .unwrap();
        let impact = impact_of(&mut tx).await.unwrap();
        tx.commit(w.event("test.write")).await.unwrap();
        let directory = w.store.directory();
        for row in &impact.rows {
            let view = &directory.account(&row.account).unwrap().apps[0];
            let mut allowed = 0;
            for user in &people {
                let person = user::get(&w.store, &w.org, &user.id).await.unwrap();
                let comes = Principal::Person(&person, Proof::ToCome);
                let asked = AccessRequest::to_begin(comes, w.clock.now());
                allowed += i64::from(view.decide(&asked).allowed);
            }
            assert_eq!(row.sign_in.gain, allowed, "{}", row.name);
        }
        assert_eq!(impact.sign_in.gain, 5);
    })
    .await;
}

#[tokio::test]
async fn the_other_instance_follows_a_binding_within_the_time_of_the_feed() {
    on_each(async |w| {
        let elsewhere = w.other_instance().await;
        let all = accounts(w, 2, domain).await;
        let entra = other(w).await;
        let ids = [all[0].id.clone()];
        let ends = (&entra.id, ids.as_slice());
        w.write(async |tx| binding::create_many(tx, &w.org, ends, &binding_spec()).await)
            .await
            .unwrap();
        let signs_in = || {
            let directory = elsewhere.directory();
            let view = directory.account(&all[0].id);
            view.is_some_and(|v| v.apps.iter().any(|app| app.signs_in(&entra.id)))
        };
        for _ in 0..100 {
            if signs_in() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(signs_in(), "within two seconds");
        elsewhere.close().await;
    })
    .await;
}

#[tokio::test]
async fn very_many_changes_at_once_are_announced_as_everything() {
    on_each(async |w| {
        let mut changes = w.store.changes();
        w.write(async |tx| {
            for _ in 0..5000 {
                tx.changed(Change::Session(SessionId::fresh()));
            }
            Ok(())
        })
        .await
        .unwrap();
        loop {
            match changes.recv().await.unwrap() {
                Change::All => break,
                Change::Session(_) => panic!("one by one"),
                // Of how the company was made.
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_floor_is_compiled_for_all_accounts_and_a_name_for_none() {
    on_each(async |w| {
        accounts(w, 2, domain).await;
        let organisation = org::get(&w.store, &w.org).await.unwrap();
        let spec = OrganisationSpec {
            name: "Renamed".into(),
            ..organisation.spec.clone()
        };
        let mut tx = w.store.begin().await.unwrap();
        let renamed = org::update(&mut tx, &organisation, spec.clone()).await.unwrap();
        assert_eq!(impact_of(&mut tx).await, None);
        let spec = OrganisationSpec {
            floor: vec![Selector::Mfa {}],
            ..spec
        };
        org::update(&mut tx, &renamed, spec).await.unwrap();
        assert_eq!(impact_of(&mut tx).await.unwrap().accounts, 3);
    })
    .await;
}

/// Binds a connection to an account with an event that says what becomes of whom, while the account is changed during the
/// first few counts. Says how often it was counted, and what the event says.
async fn overtaken(w: &World, times: usize) -> (usize, AuditEvent) {
    let account = &accounts(w, 1, domain).await[0];
    let entra = other(w).await;
    for i in 0..2 {
        someone(w, &entra, &format!("p{i}"), &format!("p{i}@d{i}.example")).await;
    }
    let (counts, ids) = (AtomicUsize::new(0), [account.id.clone()]);
    let make = || async {
        let mut tx = w.store.begin().await?;
        binding::create_many(&mut tx, &w.org, (&entra.id, &ids), &binding_spec()).await?;
        let mut event = w.event("binding.create");
        event.account = Some(account.id.clone());
        Ok::<_, Error>(Made {
            tx,
            events: vec![event],
            answer: (),
        })
    };
    let count = async |draft: store::impact::Draft| {
        if counts.fetch_add(1, Ordering::Relaxed) < times {
            // Somebody lets everybody in, at each count by another app.
            let mut policy = policy_spec("All");
            policy.name = format!("All {}", counts.load(Ordering::Relaxed));
            policy.include = vec![Selector::Everyone {}];
            let policy: Policy = w
                .write(async |tx| rule::create(tx, &w.org, &account.id, policy).await)
                .await
                .unwrap();
            let n = counts.load(Ordering::Relaxed);
            let mut spec = app_spec(&format!("App {n}"), &format!("https://more{n}.example.com"));
            spec.policies = vec![policy.id];
            w.write(async |tx| app::create(tx, &w.org, &account.id, spec).await)
                .await
                .unwrap();
        }
        draft.judge().await.ok()
    };
    let mut made = rehearse(make, count).await.unwrap();
    let event = made.events.pop().unwrap();
    made.tx.commit(event.clone()).await.unwrap();
    (counts.into_inner(), event)
}

#[tokio::test]
async fn what_an_event_says_was_counted_on_what_its_change_met() {
    on_each(async |w| {
        let (counts, event) = overtaken(w, 0).await;
        assert_eq!((counts, event.impact.unwrap().sign_in.gain), (1, 1));
    })
    .await;
    on_each(async |w| {
        let (counts, event) = overtaken(w, 1).await;
        assert_eq!((counts, event.impact.unwrap().sign_in.gain), (2, 2));
        assert_eq!(event.reason, None);
    })
    .await;
}

#[tokio::test]
async fn a_change_that_cannot_be_counted_is_made_and_says_so() {
    on_each(async |w| {
        let (counts, event) = overtaken(w, usize::MAX).await;
        assert_eq!((counts, event.impact), (3, None));
        assert_eq!(event.reason.as_deref(), Some(NOT_COUNTED));
    })
    .await;
}
