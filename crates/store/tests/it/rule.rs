//! Policies and groups.

use crate::world::{assert_conflict, assert_not_found, assert_stale, on_each, policy_spec};
use store::{Paging, rule};
use wire::{Group, GroupSpec, OrgId, Policy, PolicyDecision, PolicySpec};

#[tokio::test]
async fn policies_are_made_read_changed_and_deleted() {
    on_each(async |w| {
        let account = &w.account.id;
        let make = async |name: &str| {
            w.write(async |tx| rule::create::<Policy>(tx, &w.org, account, policy_spec(name)).await)
                .await
        };
        let first = make("First").await.unwrap();
        make("Second").await.unwrap();
        assert_conflict(make("First").await);
        assert_eq!(
            rule::get::<Policy>(&w.store, &w.org, &first.id).await.unwrap(),
            first
        );
        assert_not_found(rule::get::<Policy>(&w.store, &OrgId::fresh(), &first.id).await);
        let spec = PolicySpec {
            decision: PolicyDecision::Deny,
            ..policy_spec("Renamed")
        };
        w.clock.advance(1);
        let changed = w
            .write(async |tx| rule::update(tx, &first, spec.clone()).await)
            .await
            .unwrap();
        assert_eq!((changed.version, changed.created_at), (2, first.created_at));
        assert_stale(
            w.write(async |tx| rule::update(tx, &first, spec.clone()).await)
                .await,
        );
        assert_conflict(
            w.write(async |tx| rule::update(tx, &changed, policy_spec("Second")).await)
                .await,
        );
        let list = async |only: Option<&[wire::AccountId]>| {
            rule::list::<Policy>(&w.store, &w.org, only, &Paging::default())
                .await
                .unwrap()
        };
        assert_eq!(list(None).await[0], changed);
        assert_eq!(list(Some(std::slice::from_ref(account))).await.len(), 2);
        assert_eq!(list(Some(&[])).await, []);
        assert_stale(w.write(async |tx| rule::delete(tx, &first).await).await);
        w.write(async |tx| rule::delete(tx, &changed).await)
            .await
            .unwrap();
        assert_eq!(list(None).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_group_and_a_policy_may_share_a_name_and_two_accounts_too() {
    on_each(async |w| {
        let sales = w.account("Sales").await;
        let spec = GroupSpec {
            name: "Everybody".into(),
            members: vec![w.user.id.clone()],
            include: vec![],
        };
        for account in [&w.account.id, &sales.id] {
            let group = w
                .write(async |tx| rule::create::<Group>(tx, &w.org, account, spec.clone()).await)
                .await
                .unwrap();
            assert_eq!(
                rule::get::<Group>(&w.store, &w.org, &group.id).await.unwrap(),
                group
            );
            w.write(async |tx| rule::create::<Policy>(tx, &w.org, account, policy_spec("Everybody")).await)
                .await
                .unwrap();
        }
        assert_conflict(
            w.write(async |tx| rule::create::<Group>(tx, &w.org, &sales.id, spec).await)
                .await,
        );
    })
    .await;
}
