//! Connections and bindings.

use crate::world::{
    CONTROL, assert_conflict, assert_not_found, assert_stale, binding_spec, connection_spec, on_each,
};
use store::{Paging, binding, connection};
use wire::{
    BindingMode, BindingSpec, BindingState, Callback, ConnectionId, ConnectionKind, ConnectionSpec,
    ConnectionWarningCode, OrgId,
};

#[tokio::test]
async fn a_client_secret_is_written_kept_and_never_shown() {
    on_each(async |w| {
        let spec = ConnectionSpec {
            client_secret: Some("hunter2".into()),
            ..connection_spec("Entra")
        };
        let made = w
            .write(async |tx| connection::create(tx, &w.org, None, spec).await)
            .await
            .unwrap();
        assert!(made.has_client_secret);
        assert_eq!(made.spec.client_secret, None);
        assert_eq!(made.redirect_uri, format!("{CONTROL}/login/callback/{}", made.id));
        let stored = connection::get(&w.store, &w.org, &made.id).await.unwrap();
        assert_eq!(stored, made);
        let secret = async || connection::secret(&w.store, &made.id).await.unwrap().unwrap();
        assert_eq!(*secret().await, "hunter2");
        assert_eq!(
            connection::secret(&w.store, &w.connection.id).await.unwrap(),
            None
        );
        assert_not_found(connection::secret(&w.store, &ConnectionId::fresh()).await);
        let renamed = ConnectionSpec {
            name: "Entra 2".into(),
            ..stored.spec.clone()
        };
        let renamed = w
            .write(async |tx| connection::update(tx, &stored, renamed).await)
            .await
            .unwrap();
        assert!(renamed.has_client_secret);
        assert_eq!(*secret().await, "hunter2");
        // A refused change leaves the secret, too.
        let lost = ConnectionSpec {
            client_secret: Some("lost".into()),
            ..stored.spec.clone()
        };
        assert_stale(
            w.write(async |tx| connection::update(tx, &stored, lost).await)
                .await,
        );
        assert_eq!(*secret().await, "hunter2");
        let rotated = ConnectionSpec {
            client_secret: Some("hunter3".into()),
            ..renamed.spec.clone()
        };
        w.write(async |tx| connection::update(tx, &renamed, rotated).await)
            .await
            .unwrap();
        assert_eq!(*secret().await, "hunter3");
        let in_clear =
            "UPDATE connections SET name = name WHERE spec LIKE '%hunter%' OR secret LIKE '%hunter%'";
        assert_eq!(w.database.execute(in_clear).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_connection_of_one_account_is_not_seen_by_another() {
    on_each(async |w| {
        let sales = w.account("Sales").await;
        let own = w
            .write(async |tx| {
                connection::create(tx, &w.org, Some(&sales.id), connection_spec("Sales IdP")).await
            })
            .await
            .unwrap();
        let seen = async |only: Option<&[wire::AccountId]>| {
            let page = Paging::default();
            let list = connection::list(&w.store, &w.org, only, &page);
            let seen: Vec<_> = list.await.unwrap().into_iter().map(|c| c.spec.name).collect();
            seen.join(", ")
        };
        assert_eq!(seen(None).await, "Okta, Sales IdP");
        assert_eq!(seen(Some(&[])).await, "Okta");
        assert_eq!(seen(Some(std::slice::from_ref(&w.account.id))).await, "Okta");
        assert_eq!(
            seen(Some(std::slice::from_ref(&sales.id))).await,
            "Okta, Sales IdP"
        );
        assert_conflict(
            w.write(async |tx| connection::create(tx, &w.org, None, connection_spec("Okta")).await)
                .await,
        );
        assert_not_found(connection::get(&w.store, &OrgId::fresh(), &own.id).await);
        let found = connection::by_id(&w.store, &own.id).await.unwrap();
        assert_eq!(found, Some((w.org.clone(), own.clone())));
        let nothing = connection::by_id(&w.store, &ConnectionId::fresh()).await.unwrap();
        assert_eq!(nothing, None);
        w.write(async |tx| connection::delete(tx, &own).await)
            .await
            .unwrap();
        assert_stale(w.write(async |tx| connection::delete(tx, &own).await).await);
        // People and bindings hang on the other one.
        assert_conflict(
            w.write(async |tx| connection::delete(tx, &w.connection).await)
                .await,
        );
    })
    .await;
}

#[tokio::test]
async fn a_connection_remembers_how_it_fares() {
    on_each(async |w| {
        let health = async || {
            let c = connection::get(&w.store, &w.org, &w.connection.id).await.unwrap();
            (c.last_success_at, c.last_error)
        };
        assert_eq!(health().await, (None, None));
        w.write(async |tx| connection::note_health(tx, &w.connection.id, Some("no discovery")).await)
            .await
            .unwrap();
        assert_eq!(health().await, (None, Some("no discovery".into())));
        w.write(async |tx| connection::note_health(tx, &w.connection.id, None).await)
            .await
            .unwrap();
        assert_eq!(health().await, (Some(w.clock.now()), None));
    })
    .await;
}

#[tokio::test]
async fn bindings_are_made_listed_changed_and_taken_away() {
    on_each(async |w| {
        let ends = (&w.connection.id, &w.account.id);
        assert_conflict(
            w.write(async |tx| binding::create(tx, &w.org, ends, binding_spec()).await)
                .await,
        );
        let nowhere = ConnectionId::fresh();
        let dangling = (&nowhere, &w.account.id);
        assert_conflict(
            w.write(async |tx| binding::create(tx, &w.org, dangling, binding_spec()).await)
                .await,
        );
        let sales = w.account("Sales").await;
        let ends = (&w.connection.id, &sales.id);
        let spec = BindingSpec {
            claims: Some(vec!["email".into()]),
            ..binding_spec()
        };
        let second = w
            .write(async |tx| binding::create(tx, &w.org, ends, spec).await)
            .await
            .unwrap();
        let list = async |by, only: Option<&[wire::AccountId]>| {
            let page = Paging::default();
            let list = binding::list(&w.store, &w.org, by, only, &page);
            list.await.unwrap()
        };
        let both = [w.binding.clone(), second.clone()];
        assert_eq!(list((None, None), None).await, both);
        assert_eq!(list((Some(&w.connection.id), None), None).await, both);
        assert_eq!(list((Some(&nowhere), None), None).await, []);
        assert_eq!(list((None, Some(&sales.id)), None).await, both[1..]);
        let only = std::slice::from_ref(&w.account.id);
        assert_eq!(list((None, None), Some(only)).await, both[..1]);
        assert_eq!(list((None, None), Some(&[])).await, []);
        let spec = BindingSpec {
            mode: BindingMode::Exclusive,
            state: BindingState::Draining,
            drain_until: Some(w.clock.now()),
            claims: None,
        };
        let changed = w
            .write(async |tx| binding::update(tx, &second, spec.clone()).await)
            .await
            .unwrap();
        assert_eq!(binding::get(&w.store, &w.org, &second.id).await.unwrap(), changed);
        assert_stale(
            w.write(async |tx| binding::update(tx, &second, spec.clone()).await)
                .await,
        );
        assert_stale(w.write(async |tx| binding::delete(tx, &second).await).await);
        w.write(async |tx| binding::delete(tx, &changed).await)
            .await
            .unwrap();
        assert_not_found(binding::get(&w.store, &w.org, &second.id).await);
        assert_not_found(binding::get(&w.store, &OrgId::fresh(), &w.binding.id).await);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_client_secret_is_announced_at_30_14_7_and_1_days_once_each() {
    on_each(async |w| {
        let day = 86_400;
        let spec = ConnectionSpec {
            client_secret: Some("hunter2".into()),
            client_secret_expires_at: Some(w.clock.now().plus_seconds(31 * day)),
            ..connection_spec("Entra")
        };
        let made = w
            .write(async |tx| connection::create(tx, &w.org, None, spec).await)
            .await
            .unwrap();
        let mut announced = Vec::new();
        for passed in 0..33 {
            for _ in 0..2 {
                if store::expiry::warn(&w.store).await.unwrap() > 0 {
                    announced.push(31 - passed);
                }
            }
            w.clock.advance(day);
        }
        assert_eq!(announced, [30, 14, 7, 1]);
        let filter = store::audit::Filter {
            action: Some("connection.secret_expiring".into()),
            ..store::audit::Filter::default()
        };
        let newest = (store::audit::Order::Newest, None);
        let events = store::audit::list(&w.store, &w.org, &filter, newest, 10)
            .await
            .unwrap();
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].target.as_ref().unwrap().id, made.id.to_string());
        assert_eq!(events[0].change.as_ref().unwrap().after["days"], 1);
        // A new secret with another end is announced anew.
        let renewed = ConnectionSpec {
            client_secret_expires_at: Some(w.clock.now().plus_seconds(10 * day)),
            ..made.spec.clone()
        };
        w.write(async |tx| connection::update(tx, &made, renewed).await)
            .await
            .unwrap();
        assert_eq!(store::expiry::warn(&w.store).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn connections_from_before_redirect_uris_of_their_own_keep_the_shared_one_until_they_are_switched() {
    on_each(async |w| {
        let local = ConnectionSpec {
            kind: ConnectionKind::EmailCode,
            ..connection_spec("Guests")
        };
        let local = w.write(async |tx| connection::create(tx, &w.org, None, local).await);
        let local = local.await.unwrap();
        // The database as it was before.
        for sql in [
            "UPDATE connections SET spec = replace(spec, '\"callback\":\"own\",', '')",
            "ALTER TABLE connection_trials DROP COLUMN attempt",
            "DROP TABLE deep_links",
            "DELETE FROM _sqlx_migrations WHERE version = 12",
        ] {
            w.database.execute(sql).await;
        }
        let upgraded = w.other_instance().await;
        let old = connection::get(&upgraded, &w.org, &w.connection.id)
            .await
            .unwrap();
        assert_eq!(old.spec.callback, Callback::Shared);
        assert_eq!(
            old.redirect_uri, w.connection.redirect_uri,
            "what is to be registered"
        );
        assert_eq!(old.warnings[0].code, ConnectionWarningCode::SharedCallback);
        assert!(old.warnings[0].detail.contains(&old.redirect_uri));
        let same = ConnectionSpec {
            callback: Callback::Own,
            ..old.spec.clone()
        };
        assert_eq!(same, w.connection.spec, "nothing else is changed");
        let local = connection::get(&upgraded, &w.org, &local.id).await.unwrap();
        assert_eq!(local.spec.callback, Callback::Own);

        let switched = w.write_at(&upgraded, async |tx| connection::update(tx, &old, same).await);
        assert!(switched.await.unwrap().warnings.is_empty());
        let fresh = connection_spec("Fresh");
        let fresh = w.write_at(&upgraded, async |tx| {
            connection::create(tx, &w.org, None, fresh).await
        });
        assert_eq!(fresh.await.unwrap().spec.callback, Callback::Own);
        upgraded.close().await;
    })
    .await;
}
