//! API tokens and signing keys.

use crate::world::{assert_conflict, assert_not_found, assert_stale, on_each};
use store::{Paging, api_token, key, sha256};
use wire::{KeyId, KeyState, NewApiToken, OrgId, SigningKey, TokenScope, UserId};

#[tokio::test]
async fn an_api_token_is_known_by_its_hash_until_it_ends() {
    on_each(async |w| {
        let new = NewApiToken {
            name: "ci".into(),
            scopes: vec![TokenScope::Read, TokenScope::Audit],
            expires_at: Some(w.clock.now().plus_seconds(60)),
        };
        let hash = sha256("cht_secret");
        let create = async |owner: &UserId, hash: &str| {
            w.write(async |tx| api_token::create(tx, &w.org, owner, new.clone(), ("cht_se", hash)).await)
                .await
        };
        let token = create(&w.user.id, &hash).await.unwrap();
        assert_conflict(create(&w.user.id, &hash).await);
        assert_conflict(create(&UserId::fresh(), "other").await);
        let find = async || api_token::by_hash(&w.store, &hash, w.clock.now()).await.unwrap();
        assert_eq!(find().await, Some((w.org.clone(), token.clone())));
        w.write(async |tx| api_token::note_use(tx, &token.id).await)
            .await
            .unwrap();
        let stored = api_token::get(&w.store, &w.org, &token.id).await.unwrap();
        assert_eq!(stored.last_used_at, Some(w.clock.now()));
        assert_not_found(api_token::get(&w.store, &OrgId::fresh(), &token.id).await);
        let list = async |owner: Option<&UserId>| {
            api_token::list(&w.store, &w.org, owner, &Paging::default())
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
