//! Codes, grants, refresh tokens: what may be used once is used once.

use crate::world::{assert_not_found, new_client, on_each};
use futures_util::future::join_all;
use store::{Change, Paging, grant};
use wire::{AppId, GrantState, OrgId, UserId};

#[tokio::test]
async fn a_code_is_redeemed_by_exactly_one_of_fifty() {
    on_each(async |w| {
        let id = w.grant(&w.user, &w.client, "code").await;
        let looked_at = grant::code(&w.store, "code").await.unwrap().unwrap();
        assert_eq!((&looked_at.grant, &looked_at.client), (&id, &w.client.id));
        assert_eq!(looked_at.expires_at, w.clock.now().plus_seconds(grant::CODE_LIFE));
        assert_eq!(looked_at.redeemed_at, None);
        let attempts = (0..50).map(|_| w.write(async |tx| grant::redeem(tx, "code").await));
        let redeemed = join_all(attempts).await;
        assert_eq!(redeemed.into_iter().filter(|r| *r.as_ref().unwrap()).count(), 1);
        let spent = grant::code(&w.store, "code").await.unwrap().unwrap();
        assert_eq!(spent.redeemed_at, Some(w.clock.now()));
        assert!(grant::code(&w.store, "other").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_code_is_worth_nothing_after_a_minute() {
    on_each(async |w| {
        w.grant(&w.user, &w.client, "code").await;
        w.clock.advance(grant::CODE_LIFE);
        assert!(!w.write(async |tx| grant::redeem(tx, "code").await).await.unwrap());
        assert!(
            !w.write(async |tx| grant::redeem(tx, "never").await)
                .await
                .unwrap()
        );
    })
    .await;
}

#[tokio::test]
async fn a_grant_shows_only_once_it_yielded_a_token() {
    on_each(async |w| {
        let id = w.grant(&w.user, &w.client, "code").await;
        let list = async || {
            grant::list(
                &w.store,
                &w.org,
                grant::Filter::default(),
                w.clock.now(),
                &Paging::default(),
            )
            .await
            .unwrap()
        };
        assert!(list().await.is_empty());
        w.write(async |tx| store::refresh::begin(tx, &id).await)
            .await
            .unwrap();
        let shown = list().await.remove(0);
        assert_eq!(shown.id, id);
        assert_eq!(shown.user_email.as_deref(), Some("ada@example.com"));
        assert_eq!(
            (shown.client_name.as_str(), shown.app_name.as_str()),
            ("Agent", "Wiki")
        );
        assert_eq!(shown.scopes, ["access"]);
        assert_eq!(shown.state, GrantState::Active);
        assert_eq!(
            grant::of_app(&w.store, &w.app.id, &id, w.clock.now())
                .await
                .unwrap(),
            Some(shown)
        );
        assert_eq!(
            grant::of_app(&w.store, &AppId::fresh(), &id, w.clock.now())
                .await
                .unwrap(),
            None
        );
        assert_not_found(grant::get(&w.store, &OrgId::fresh(), &id, w.clock.now()).await);
        w.clock.advance(86_400);
        assert_eq!(w.grant_now(&id).await.state, GrantState::Expired);
    })
    .await;
}

#[tokio::test]
async fn grants_are_filtered_by_everything() {
    on_each(async |w| {
        let bob = w.person("bob").await;
        let agent = w.agent(new_client()).await;
        let first = w.used_grant(&w.user, &w.client, "1").await;
        w.clock.advance(10);
        let second = w.used_grant(&bob, &w.client, "2").await;
        let third = w.used_grant(&bob, &agent, "3").await;
        let revoked = w
            .write(async |tx| grant::revoke_where(tx, grant::Which::One(&third), "user").await)
            .await
            .unwrap();
        assert_eq!(revoked, std::slice::from_ref(&third));
        w.clock.advance(86_390);
        let elsewhere = w.account("Sales").await;
        let here = [w.account.id.clone()];
        let there = [elsewhere.id];
        let (nobody, no_app) = (UserId::fresh(), AppId::fresh());
        let any = grant::Filter::default;
        let cases = [
            (any(), vec![&first, &second, &third]),
            (
                grant::Filter {
                    accounts: Some(&here),
                    ..any()
                },
                vec![&first, &second, &third],
            ),
            (
                grant::Filter {
                    accounts: Some(&there),
                    ..any()
                },
                vec![],
            ),
            (
                grant::Filter {
                    accounts: Some(&[]),
                    ..any()
                },
                vec![],
            ),
            (
                grant::Filter {
                    user: Some(&bob.id),
                    ..any()
                },
                vec![&second, &third],
            ),
            (
                grant::Filter {
                    user: Some(&nobody),
                    ..any()
                },
                vec![],
            ),
            (
                grant::Filter {
                    client: Some(&agent.id),
                    ..any()
                },
                vec![&third],
            ),
            (
                grant::Filter {
                    app: Some(&w.app.id),
                    user: Some(&w.user.id),
                    ..any()
                },
                vec![&first],
            ),
            (
                grant::Filter {
                    app: Some(&no_app),
                    ..any()
                },
                vec![],
            ),
            (
                grant::Filter {
                    state: Some(GrantState::Active),
                    ..any()
                },
                vec![&second],
            ),
            (
                grant::Filter {
                    state: Some(GrantState::Expired),
                    ..any()
                },
                vec![&first],
            ),
            (
                grant::Filter {
                    state: Some(GrantState::Revoked),
                    ..any()
                },
                vec![&third],
            ),
        ];
        for (filter, expected) in cases {
            let what = format!("{filter:?}");
            let page = Paging::default();
            let list = grant::list(&w.store, &w.org, filter, w.clock.now(), &page);
            let found = list.await.unwrap();
            assert_eq!(
                found.iter().map(|g| &g.id).collect::<Vec<_>>(),
                expected,
                "{what}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn revoking_by_person_client_or_app_ends_what_is_in_force_once() {
    on_each(async |w| {
        let bob = w.person("bob").await;
        let agent = w.agent(new_client()).await;
        let a = w.used_grant(&w.user, &w.client, "1").await;
        let b = w.used_grant(&bob, &w.client, "2").await;
        let c = w.used_grant(&bob, &agent, "3").await;
        let revoke = async |which: grant::Which<'_>| {
            let mut ids = w
                .write(async |tx| grant::revoke_where(tx, which, "test").await)
                .await
                .unwrap();
            ids.sort();
            ids
        };
        let mut changes = w.store.changes();
        assert_eq!(revoke(grant::Which::User(&bob.id)).await, [b.clone(), c.clone()]);
        let mut wanted = vec![Change::Grant(b), Change::Grant(c)];
        while !wanted.is_empty() {
            let change = changes.recv().await.unwrap();
            wanted.retain(|w| *w != change);
        }
        assert_eq!(revoke(grant::Which::Client(&agent.id)).await, []);
        assert_eq!(
            revoke(grant::Which::Client(&w.client.id)).await,
            std::slice::from_ref(&a)
        );
        assert_eq!(revoke(grant::Which::App(&w.app.id)).await, []);
        let ended = w.grant_now(&a).await;
        assert_eq!(ended.revoked_at, Some(w.clock.now()));
        let d = w.used_grant(&bob, &agent, "4").await;
        assert_eq!(revoke(grant::Which::App(&w.app.id)).await, [d]);
    })
    .await;
}

#[tokio::test]
async fn an_access_token_is_revoked_by_itself() {
    on_each(async |w| {
        assert!(!grant::is_access_token_revoked(&w.store, "jti").await.unwrap());
        let mut changes = w.store.changes();
        let until = w.clock.now().plus_seconds(900);
        for _ in 0..2 {
            w.write(async |tx| grant::revoke_access_token(tx, "jti", until).await)
                .await
                .unwrap();
        }
        assert!(grant::is_access_token_revoked(&w.store, "jti").await.unwrap());
        // Earlier changes of this instance may be announced once more by its own poll.
        while changes.recv().await.unwrap() != Change::Token("jti".into()) {}
    })
    .await;
}
