//! API tokens and signing keys.

use crate::world::{assert_conflict, assert_not_found, assert_stale, on_each};
use store::{Paging, api_token, key, sha256};
use wire::{AccountId, KeyId, KeyState, NewApiToken, OrgId, Role, SigningKey, TokenScope, UserId};

#[tokio::test]
async fn an_api_token_is_known_by_its_hash_until_it_ends() {
    on_each(async |w| {
        let new = NewApiToken {
            expires_at: Some(w.clock.now().plus_seconds(60)),
            ..NewApiToken::of("ci", &[TokenScope::Read, TokenScope::Audit])
        };
        let hash = sha256("cht_secret");
        let create = async |owner: &UserId, hash: &str| {
            let pair = ("cht_se", hash);
            w.write(async |tx| api_token::create(tx, &w.org, Some(owner), new.clone(), pair).await)
                .await
        };
        let token = create(&w.user.id, &hash).await.unwrap();
        assert_conflict(create(&w.user.id, &hash).await);
        assert_conflict(create(&UserId::fresh(), "other").await);
        let find = async || api_token::by_hash(&w.store, &hash, w.clock.now()).await.unwrap();
        assert_eq!(find().await, Some((w.org.clone(), token.clone())));
        w.write(async |tx| api_token::note_use(tx, &token.id, Some("192.0.2.1")).await)
            .await
            .unwrap();
        let stored = api_token::get(&w.store, &w.org, &token.id).await.unwrap();
        assert_eq!(stored.last_used_at, Some(w.clock.now()));
        assert_eq!(stored.last_used_ip.as_deref(), Some("192.0.2.1"));
        assert_not_found(api_token::get(&w.store, &OrgId::fresh(), &token.id).await);
        let list = async |owner: Option<&UserId>| {
            let filter = api_token::Filter {
                owner,
                ..api_token::Filter::default()
            };
            api_token::list(&w.store, &w.org, &filter, &Paging::default())
                .await
                .unwrap()
        };
        assert_eq!(list(None).await, std::slice::from_ref(&stored));
        assert_eq!(list(Some(&w.user.id)).await, [stored]);
        assert_eq!(list(Some(&UserId::fresh())).await, []);
        w.clock.advance(60);
        assert_eq!(find().await, None);
        w.write(async |tx| api_token::delete(tx, &token).await)
            .await
            .unwrap();
        assert_stale(w.write(async |tx| api_token::delete(tx, &token).await).await);
    })
    .await;
}

#[tokio::test]
async fn a_rolled_token_has_a_new_secret_and_the_old_one_for_as_long_as_was_said() {
    on_each(async |w| {
        let new = NewApiToken::of("ci", &[TokenScope::Read]);
        let token = w
            .write(async |tx| api_token::create(tx, &w.org, Some(&w.user.id), new, ("cht_1", "one")).await)
            .await
            .unwrap();
        let works = async |hash: &str| {
            let found = api_token::by_hash(&w.store, hash, w.clock.now()).await.unwrap();
            found.is_some_and(|(_, found)| found.id == token.id)
        };
        let until = w.clock.now().plus_seconds(60);
        let second = w
            .write(async |tx| api_token::roll(tx, &token, ("cht_2", "two"), Some(until)).await)
            .await
            .unwrap();
        assert_eq!(api_token::get(&w.store, &w.org, &token.id).await.unwrap(), second);
        assert!(works("one").await && works("two").await);
        assert_stale(
            w.write(async |tx| api_token::roll(tx, &token, ("cht_3", "three"), None).await)
                .await,
        );
        // Of three, the two newest at the most.
        let third = w
            .write(async |tx| api_token::roll(tx, &second, ("cht_3", "three"), Some(until)).await)
            .await
            .unwrap();
        assert!(!works("one").await && works("two").await && works("three").await);
        w.clock.advance(60);
        assert!(!works("two").await && works("three").await);
        w.write(async |tx| api_token::roll(tx, &third, ("cht_4", "four"), None).await)
            .await
            .unwrap();
        assert!(!works("three").await && works("four").await);
    })
    .await;
}

#[tokio::test]
async fn a_token_belongs_to_a_person_or_to_an_account() {
    on_each(async |w| {
        let person = NewApiToken::of("mine", &[TokenScope::Read]);
        let account = NewApiToken {
            account: Some(w.account.id.clone()),
            role: Some(Role::AccountEditor),
            ..NewApiToken::of("ci", &[TokenScope::Read])
        };
        let create = async |maker: Option<&UserId>, new: &NewApiToken, hash: &str| {
            w.write(async |tx| api_token::create(tx, &w.org, maker, new.clone(), ("cht_", hash)).await)
                .await
        };
        let mine = create(Some(&w.user.id), &person, "mine").await.unwrap();
        let theirs = create(Some(&w.user.id), &account, "theirs").await.unwrap();
        assert_eq!((mine.owner.as_ref(), mine.account), (Some(&w.user.id), None));
        assert_eq!((theirs.owner.as_ref(), theirs.role), (None, account.role));
        assert_eq!(theirs.created_by.as_ref(), Some(&w.user.id));
        for bad in [
            NewApiToken {
                role: Some(Role::OrgAdmin),
                ..account.clone()
            },
            NewApiToken {
                role: None,
                ..account.clone()
            },
            NewApiToken {
                role: Some(Role::AccountAdmin),
                ..person.clone()
            },
        ] {
            let refused = create(Some(&w.user.id), &bad, "bad").await;
            assert!(matches!(refused, Err(store::Error::Invalid { .. })));
        }
        assert!(matches!(
            create(None, &person, "bad").await,
            Err(store::Error::Invalid { .. })
        ));
        // It outlives its maker.
        w.write(async |tx| store::user::set_disabled(tx, &w.org, &w.user, true).await)
            .await
            .unwrap();
        let works = async |hash: &str| {
            let found = api_token::by_hash(&w.store, hash, w.clock.now()).await;
            found.unwrap().is_some()
        };
        assert!(!works("mine").await && works("theirs").await);
        let all = Paging::default();
        let list = async |visible: Option<(Option<&UserId>, &[AccountId])>| {
            let filter = api_token::Filter {
                visible,
                ..api_token::Filter::default()
            };
            let found = api_token::list(&w.store, &w.org, &filter, &all).await.unwrap();
            found.into_iter().map(|t| t.spec.name).collect::<Vec<_>>()
        };
        let (user, here) = (Some(&w.user.id), std::slice::from_ref(&w.account.id));
        assert_eq!(list(None).await, ["mine", "ci"]);
        assert_eq!(list(Some((user, &[]))).await, ["mine"]);
        assert_eq!(list(Some((user, here))).await, ["mine", "ci"]);
        assert_eq!(list(Some((None, here))).await, ["ci"]);
        assert_eq!(
            list(Some((None, &[AccountId::fresh()]))).await,
            Vec::<String>::new()
        );
    })
    .await;
}

#[tokio::test]
async fn signing_keys_are_sealed_and_leave_when_they_are_over() {
    on_each(async |w| {
        let stored = key::StoredKey {
            key: SigningKey {
                id: KeyId::fresh(),
                algorithm: "ES256".into(),
                state: KeyState::Next,
                created_at: w.clock.now(),
                not_after: None,
            },
            org: w.org.clone(),
            public_jwk: serde_json::json!({ "kty": "EC", "x": "…" }),
            private: b"private".to_vec().into(),
        };
        w.write(async |tx| key::create(tx, &stored).await).await.unwrap();
        let found = key::all(&w.store).await.unwrap().remove(0);
        assert_eq!(found.key, stored.key);
        assert_eq!(found.public_jwk, stored.public_jwk);
        assert_eq!(found.private.as_slice(), b"private");
        let id = &stored.key.id;
        let until = w.clock.now().plus_seconds(60);
        w.write(async |tx| key::set_state(tx, id, KeyState::Active, None).await)
            .await
            .unwrap();
        let list = async || key::list(&w.store, &w.org, w.clock.now()).await.unwrap();
        assert_eq!(list().await[0].state, KeyState::Active);
        w.write(async |tx| key::set_state(tx, id, KeyState::Retiring, Some(until)).await)
            .await
            .unwrap();
        assert_eq!(list().await[0].not_after, Some(until));
        assert!(
            key::list(&w.store, &OrgId::fresh(), w.clock.now())
                .await
                .unwrap()
                .is_empty()
        );
        w.clock.advance(60);
        assert_eq!(list().await, []);
        assert!(key::all(&w.store).await.unwrap().is_empty());
    })
    .await;
}
