//! People: identity, sign-in, disabling, local passwords.

use crate::world::{assert_conflict, assert_not_found, assert_stale, connection_spec, identity, on_each};
use futures_util::future::join_all;
use store::{Change, Paging, api_token, connection, session, user};
use wire::{ConnectionKind, ConnectionSpec, GrantState, NewApiToken, OrgId, TokenScope, UserId};

#[tokio::test]
async fn up1_the_same_subject_at_two_connections_is_two_people() {
    on_each(async |w| {
        let other = w
            .write(async |tx| connection::create(tx, &w.org, None, connection_spec("Entra")).await)
            .await
            .unwrap();
        let twin = identity(&other.id, "ada");
        let twin = w
            .write(async |tx| user::sign_in(tx, &w.org, twin).await)
            .await
            .unwrap();
        assert_ne!(twin.user.id, w.user.id);
        // Nor is it the same person when the provider's issuer is another.
        let mut moved = identity(&w.connection.id, "ada");
        moved.issuer = "https://evil.example.com".into();
        let moved = w
            .write(async |tx| user::sign_in(tx, &w.org, moved).await)
            .await
            .unwrap();
        assert_ne!(moved.user.id, w.user.id);
        assert_eq!(w.person("ada").await.id, w.user.id);
    })
    .await;
}

#[tokio::test]
async fn up2_the_same_email_address_links_nobody() {
    on_each(async |w| {
        let mut other = identity(&w.connection.id, "not-ada");
        other.email.clone_from(&w.user.email);
        let other = w
            .write(async |tx| user::sign_in(tx, &w.org, other).await)
            .await
            .unwrap();
        assert_ne!(other.user.id, w.user.id);
        // Subjects differ by case.
        assert_ne!(w.person("ADA").await.id, w.user.id);
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_refreshes_what_the_provider_says() {
    on_each(async |w| {
        let mut changes = w.store.changes();
        w.clock.advance(60);
        let mut said = identity(&w.connection.id, "ada");
        said.groups = vec!["staff".into(), "admins".into()];
        said.email = None;
        said.email_verified = false;
        let after = w
            .write(async |tx| user::sign_in(tx, &w.org, said.clone()).await)
            .await
            .unwrap();
        assert_eq!(after.user.id, w.user.id);
        assert_eq!(after.user.last_login_at, Some(w.clock.now()));
        let stored = user::get(&w.store, &w.org, &w.user.id).await.unwrap();
        assert_eq!(stored, after);
        assert_eq!(stored.user.groups, ["staff", "admins"]);
        assert_eq!(stored.user.email, None);
        loop {
            if changes.recv().await.unwrap() == Change::User(w.user.id.clone()) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_first_sign_in_in_two_tabs_makes_one_person() {
    on_each(async |w| {
        let attempts = (0..8).map(|_| w.person("grace"));
        let mut ids: Vec<_> = join_all(attempts).await.into_iter().map(|u| u.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_provisioned_person_is_the_one_who_signs_in_later() {
    on_each(async |w| {
        let grace = identity(&w.connection.id, "grace");
        let made = w
            .write(async |tx| user::provision(tx, &w.org, grace.clone()).await)
            .await
            .unwrap();
        assert_eq!(made.user.last_login_at, None);
        assert_conflict(
            w.write(async |tx| user::provision(tx, &w.org, grace.clone()).await)
                .await,
        );
        assert_eq!(w.person("grace").await.id, made.user.id);
    })
    .await;
}

#[tokio::test]
async fn people_are_found_by_name_and_address() {
    on_each(async |w| {
        for (subject, name) in [
            ("dora_x", "Dora Öztürk"),
            ("dorabx", "100% Dora"),
            ("nameless", ""),
        ] {
            let mut person = identity(&w.connection.id, subject);
            person.name = Some(name.to_owned()).filter(|n| !n.is_empty());
            w.write(async |tx| user::sign_in(tx, &w.org, person).await)
                .await
                .unwrap();
        }
        let found = async |q: &str| {
            let page = Paging::default();
            let list = user::list(&w.store, &w.org, (Some(q), None), &page);
            let found: Vec<_> = list.await.unwrap().into_iter().map(|u| u.subject).collect();
            found.join(" ")
        };
        assert_eq!(found("DORA").await, "dora_x dorabx");
        assert_eq!(found("Öztürk").await, "dora_x");
        assert_eq!(found("dora_x@").await, "dora_x");
        assert_eq!(found("100%").await, "dorabx");
        assert_eq!(found("nameless@EXAMPLE").await, "nameless");
        assert_eq!(found("nobody").await, "");
        assert_eq!(found("\\").await, "");
        let (page, nowhere) = (Paging::default(), OrgId::fresh());
        let elsewhere = user::list(&w.store, &nowhere, (None, None), &page);
        assert!(elsewhere.await.unwrap().is_empty());
        let through = user::list(&w.store, &w.org, (None, Some(&w.connection.id)), &page);
        assert_eq!(through.await.unwrap().len(), 4);
        assert_not_found(user::get(&w.store, &OrgId::fresh(), &w.user.id).await);
        assert!(user::by_id(&w.store, &UserId::fresh()).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn disabling_ends_sessions_grants_and_api_tokens() {
    on_each(async |w| {
        let session = w.session("cookie", w.record(&w.user)).await;
        let grant = w.used_grant(&w.user, &w.client, "code").await;
        let bob = w.person("bob").await;
        let other_grant = w.used_grant(&bob, &w.client, "code 2").await;
        let token = NewApiToken::of("ci", &[TokenScope::Read]);
        w.write(async |tx| api_token::create(tx, &w.org, Some(&w.user.id), token, ("cht_ab", "hash")).await)
            .await
            .unwrap();
        let mut changes = w.store.changes();
        let disabled = w
            .write(async |tx| user::set_disabled(tx, &w.org, &w.user, true).await)
            .await
            .unwrap();
        assert!(disabled.disabled);
        let now = w.clock.now();
        assert!(session::by_hash(&w.store, "cookie", now).await.unwrap().is_none());
        let ended = w.grant_now(&grant).await;
        assert_eq!(ended.state, GrantState::Revoked);
        assert_eq!(ended.revoked_reason.as_deref(), Some("user_disabled"));
        assert_eq!(w.grant_now(&other_grant).await.state, GrantState::Active);
        assert!(api_token::by_hash(&w.store, "hash", now).await.unwrap().is_none());
        let mut wanted = vec![
            Change::Session(session),
            Change::Grant(grant.clone()),
            Change::User(w.user.id.clone()),
        ];
        while !wanted.is_empty() {
            let change = changes.recv().await.unwrap();
            wanted.retain(|w| *w != change);
        }
        assert_stale(
            w.write(async |tx| user::set_disabled(tx, &w.org, &w.user, false).await)
                .await,
        );
        w.write(async |tx| user::set_disabled(tx, &w.org, &disabled, false).await)
            .await
            .unwrap();
        // Nothing that was ended comes back, but the token's owner is there again.
        assert_eq!(w.grant_now(&grant).await.state, GrantState::Revoked);
        assert!(api_token::by_hash(&w.store, "hash", now).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_local_password_belongs_to_a_password_connection() {
    on_each(async |w| {
        let spec = ConnectionSpec {
            kind: ConnectionKind::Password,
            ..connection_spec("Local")
        };
        let local = w
            .write(async |tx| connection::create(tx, &w.org, None, spec).await)
            .await
            .unwrap();
        let mut root = identity(&local.id, "root");
        root.email = Some("Röot@Example.com".into());
        let root = w
            .write(async |tx| user::provision(tx, &w.org, root).await)
            .await
            .unwrap()
            .user;
        w.write(async |tx| user::set_password(tx, &root.id, "$argon2id$1").await)
            .await
            .unwrap();
        // A password of somebody who signs in upstream is never asked for.
        w.write(async |tx| user::set_password(tx, &w.user.id, "$argon2id$2").await)
            .await
            .unwrap();
        let find = async |email: &str| user::password_by_email(&w.store, &w.org, email).await.unwrap();
        assert!(find("ada@example.com").await.is_none());
        assert!(find("nobody@example.com").await.is_none());
        let found = find("Röot@EXAMPLE.com").await.unwrap();
        assert_eq!((&found.user, found.phc.as_str()), (&root.id, "$argon2id$1"));
        w.write(async |tx| user::set_password(tx, &root.id, "$argon2id$3").await)
            .await
            .unwrap();
        assert_eq!(find("Röot@example.com").await.unwrap().phc, "$argon2id$3");
        let root = user::get(&w.store, &w.org, &root.id).await.unwrap().user;
        w.write(async |tx| user::set_disabled(tx, &w.org, &root, true).await)
            .await
            .unwrap();
        assert!(find("Röot@example.com").await.is_none());
    })
    .await;
}
