//! Agents.

use crate::world::{app_spec, assert_conflict, assert_not_found, assert_stale, new_client, on_each};
use store::{Paging, client};
use wire::{AppId, ClientSpec, ClientState, ClientTier, GrantState, OrgId};

#[tokio::test]
async fn a_client_is_known_by_its_client_id_at_its_app_only() {
    on_each(async |w| {
        let now = w.clock.now();
        let new = client::NewClient {
            client_id: "https://agent.example.com/client.json".into(),
            verified_host: Some("agent.example.com".into()),
            secret_hash: Some("secret".into()),
            ..new_client()
        };
        let made = w.agent(new.clone()).await;
        let again = client::NewClient {
            id: wire::ClientId::fresh(),
            ..new.clone()
        };
        let place = (&w.account.id, &w.app.id);
        assert_conflict(
            w.write(async |tx| client::create(tx, &w.org, place, again.clone()).await)
                .await,
        );
        let spec = app_spec("Other", "https://other.example.com");
        let other = w
            .write(async |tx| store::app::create(tx, &w.org, &w.account.id, spec).await)
            .await
            .unwrap();
        let place = (&w.account.id, &other.id);
        w.write(async |tx| client::create(tx, &w.org, place, again).await)
            .await
            .unwrap();
        let found = client::by_client_id(&w.store, &w.app.id, &new.client_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.client, made);
        assert_eq!(found.metadata, new.metadata);
        assert_eq!(found.secret_hash.as_deref(), Some("secret"));
        assert_eq!(found.registration_hash.as_deref(), Some("registration"));
        assert!(
            client::by_client_id(&w.store, &AppId::fresh(), &new.client_id)
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(client::get(&w.store, &w.org, &made.id, now).await.unwrap(), found);
        assert_not_found(client::get(&w.store, &OrgId::fresh(), &made.id, now).await);
        // Neither the app nor the account of a client may be somebody's invention.
        let nowhere = AppId::fresh();
        let place = (&w.account.id, &nowhere);
        assert_conflict(
            w.write(async |tx| client::create(tx, &w.org, place, new_client()).await)
                .await,
        );
    })
    .await;
}

#[tokio::test]
async fn clients_are_filtered_and_count_their_live_grants() {
    on_each(async |w| {
        let pending = client::NewClient {
            state: ClientState::Pending,
            ..new_client()
        };
        let pending = w.agent(pending).await;
        w.used_grant(&w.user, &w.client, "1").await;
        w.used_grant(&w.user, &w.client, "2").await;
        w.grant(&w.user, &w.client, "unused").await;
        let list = async |filter: client::Filter<'_>| {
            client::list(&w.store, &w.org, filter, w.clock.now(), &Paging::default())
                .await
                .unwrap()
        };
        let everything = list(client::Filter::default()).await;
        assert_eq!(everything.len(), 2);
        assert_eq!(everything[0].live_grants, 2);
        assert_eq!(everything[0].first_user.as_ref(), Some(&w.user.id));
        assert_eq!(everything[0].last_used_at, Some(w.clock.now()));
        assert_eq!(everything[1], pending);
        let of_state = client::Filter {
            state: Some(ClientState::Pending),
            app: Some(&w.app.id),
            accounts: Some(std::slice::from_ref(&w.account.id)),
        };
        assert_eq!(list(of_state).await, [pending]);
        let nowhere = AppId::fresh();
        let elsewhere = client::Filter {
            app: Some(&nowhere),
            ..client::Filter::default()
        };
        assert_eq!(list(elsewhere).await, []);
        w.clock.advance(86_400);
        assert_eq!(list(client::Filter::default()).await[0].live_grants, 0);
    })
    .await;
}

#[tokio::test]
async fn the_first_user_stays_the_first() {
    on_each(async |w| {
        w.used_grant(&w.user, &w.client, "1").await;
        let bob = w.person("bob").await;
        w.used_grant(&bob, &w.client, "2").await;
        let found = client::get(&w.store, &w.org, &w.client.id, w.clock.now())
            .await
            .unwrap();
        assert_eq!(found.client.first_user.as_ref(), Some(&w.user.id));
    })
    .await;
}

#[tokio::test]
async fn that_a_client_is_used_is_written_down_once_a_minute() {
    on_each(async |w| {
        let used = async |store: &store::Store, seen: &wire::Client| {
            w.write_at(store, async |tx| client::note_use(tx, seen, &w.user.id).await)
                .await
                .unwrap();
            let now = client::of_app(store, &w.app.id, &w.client.id).await.unwrap();
            now.unwrap().client
        };
        let start = Some(w.clock.now());
        let seen = used(&w.store, &w.client).await;
        assert_eq!(seen.last_used_at, start);
        w.clock.advance(59);
        assert_eq!(used(&w.store, &seen).await.last_used_at, start);
        // Another instance does not know.
        let other = w.other_instance().await;
        assert_eq!(used(&other, &seen).await.last_used_at, Some(w.clock.now()));
        w.clock.advance(1);
        let seen = used(&w.store, &seen).await;
        assert_eq!(seen.last_used_at, Some(w.clock.now()));
        // What was not committed was not written; the first time counts.
        let fresh = w.agent(new_client()).await;
        let mut tx = w.store.begin().await.unwrap();
        client::note_use(&mut tx, &fresh, &w.user.id).await.unwrap();
        drop(tx);
        w.write(async |tx| client::note_use(tx, &fresh, &w.user.id).await)
            .await
            .unwrap();
        let fresh = client::of_app(&w.store, &w.app.id, &fresh.id).await.unwrap();
        assert!(fresh.unwrap().client.last_used_at.is_some());
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_blocked_or_must_wait_loses_its_grants() {
    on_each(async |w| {
        let kept = w.used_grant(&w.user, &w.client, "1").await;
        let approve = ClientSpec {
            tier: ClientTier::Approved,
            state: ClientState::Active,
        };
        let approved = w
            .write(async |tx| client::update(tx, &w.client, &approve).await)
            .await
            .unwrap();
        assert_eq!(approved.tier, ClientTier::Approved);
        assert_eq!(w.grant_now(&kept).await.state, GrantState::Active);
        assert_stale(
            w.write(async |tx| client::update(tx, &w.client, &approve).await)
                .await,
        );
        let block = ClientSpec {
            state: ClientState::Blocked,
            ..approve
        };
        w.write(async |tx| client::update(tx, &approved, &block).await)
            .await
            .unwrap();
        let ended = w.grant_now(&kept).await;
        assert_eq!(ended.state, GrantState::Revoked);
        assert_eq!(ended.revoked_reason.as_deref(), Some("client_blocked"));
    })
    .await;
}

#[tokio::test]
async fn metadata_is_replaced_from_the_stored_version_only() {
    on_each(async |w| {
        let new = client::NewClient {
            name: "Renamed".into(),
            tier: ClientTier::DomainVerified,
            redirect_uris: vec!["https://agent.example.com/cb".into()],
            auth_method: "client_secret_basic".into(),
            metadata: serde_json::json!({ "client_name": "Renamed", "a": [1, null] }),
            ..new_client()
        };
        w.write(async |tx| client::update_metadata(tx, &w.client, &new).await)
            .await
            .unwrap();
        assert_stale(
            w.write(async |tx| client::update_metadata(tx, &w.client, &new).await)
                .await,
        );
        let found = client::get(&w.store, &w.org, &w.client.id, w.clock.now())
            .await
            .unwrap();
        assert_eq!(found.metadata, new.metadata);
        assert_eq!(found.client.name, "Renamed");
        assert_eq!(found.client.redirect_uris, new.redirect_uris);
        assert_eq!(found.client.tier, ClientTier::DomainVerified);
        assert_eq!(found.client.token_endpoint_auth_method, "client_secret_basic");
        assert_eq!(found.client.version, 2);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_client_takes_everything_of_it_along() {
    on_each(async |w| {
        let id = w.used_grant(&w.user, &w.client, "1").await;
        w.write(async |tx| client::delete(tx, &w.client.id).await)
            .await
            .unwrap();
        let now = w.clock.now();
        assert_not_found(client::get(&w.store, &w.org, &w.client.id, now).await);
        assert_not_found(store::grant::get(&w.store, &w.org, &id, now).await);
        assert!(store::grant::code(&w.store, "1").await.unwrap().is_none());
        assert_stale(w.write(async |tx| client::delete(tx, &w.client.id).await).await);
    })
    .await;
}
