//! Organisations, accounts, members.

use crate::world::{account_spec, assert_conflict, assert_not_found, assert_stale, on_each, policy_spec};
use futures_util::future::join_all;
use store::{Error, Paging, api_token, org, role_mapping, rule, user};
use wire::{
    AccountSpec, Connection, ConnectionKind, ConnectionSpec, Member, NewApiToken, NewMember, OrgId,
    OrganisationSpec, Policy, Role, RoleMappingSpec, Selector, TokenScope, User, UserId,
};

#[tokio::test]
async fn an_organisation_changes_only_from_its_stored_version() {
    on_each(async |w| {
        let before = org::get(&w.store, &w.org).await.unwrap();
        let spec = OrganisationSpec {
            name: "Acme Ltd".into(),
            primary_connection: Some(w.connection.id.clone()),
            floor: vec![Selector::Everyone {}],
            ..OrganisationSpec::default()
        };
        let after = w
            .write(async |tx| org::update(tx, &before, spec.clone()).await)
            .await
            .unwrap();
        assert_eq!(after.version, 2);
        assert_eq!(org::get(&w.store, &w.org).await.unwrap(), after);
        assert_stale(
            w.write(async |tx| org::update(tx, &before, spec.clone()).await)
                .await,
        );
        assert_not_found(org::get(&w.store, &OrgId::fresh()).await);
    })
    .await;
}

#[tokio::test]
async fn accounts_are_made_read_changed_and_deleted() {
    on_each(async |w| {
        let sales = w.account("Sales").await;
        assert_conflict(
            w.write(async |tx| org::create_account(tx, &w.org, account_spec("Sales")).await)
                .await,
        );
        let spec = AccountSpec {
            name: "Field sales".into(),
            enabled: false,
        };
        let changed = w
            .write(async |tx| org::update_account(tx, &sales, spec.clone()).await)
            .await
            .unwrap();
        assert_eq!(org::account(&w.store, &w.org, &sales.id).await.unwrap(), changed);
        assert_stale(
            w.write(async |tx| org::update_account(tx, &sales, spec.clone()).await)
                .await,
        );
        assert_conflict(
            w.write(async |tx| org::update_account(tx, &changed, account_spec("Engineering")).await)
                .await,
        );
        assert_not_found(org::account(&w.store, &OrgId::fresh(), &sales.id).await);
        // What the caller may not see is not in the list, and a caller without accounts sees none.
        let all = Paging::default();
        let only = [sales.id.clone()];
        let seen = org::accounts(&w.store, &w.org, Some(&only), &all).await.unwrap();
        assert_eq!(seen, std::slice::from_ref(&changed));
        assert!(
            org::accounts(&w.store, &w.org, Some(&[]), &all)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            org::accounts(&w.store, &w.org, None, &all).await.unwrap().len(),
            2
        );

        assert_stale(w.write(async |tx| org::delete_account(tx, &sales).await).await);
        w.write(async |tx| org::delete_account(tx, &changed).await)
            .await
            .unwrap();
        assert_not_found(org::account(&w.store, &w.org, &sales.id).await);
    })
    .await;
}

#[tokio::test]
async fn an_account_that_owns_something_stays() {
    on_each(async |w| {
        assert_conflict(
            w.write(async |tx| org::delete_account(tx, &w.account).await)
                .await,
        );
        let sales = w.account("Sales").await;
        let policy = w
            .write(async |tx| rule::create::<Policy>(tx, &w.org, &sales.id, policy_spec("Everybody")).await)
            .await
            .unwrap();
        assert_conflict(w.write(async |tx| org::delete_account(tx, &sales).await).await);
        w.write(async |tx| rule::delete(tx, &policy).await).await.unwrap();
        w.write(async |tx| org::delete_account(tx, &sales).await)
            .await
            .unwrap();
        // The refused deletion left the binding in place.
        assert!(store::binding::get(&w.store, &w.org, &w.binding.id).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn roles_are_given_listed_and_taken() {
    on_each(async |w| {
        let new = NewMember {
            user: w.user.id.clone(),
            account: Some(w.account.id.clone()),
            role: Role::AccountAdmin,
        };
        let member = w
            .write(async |tx| org::add_member(tx, &w.org, new.clone()).await)
            .await
            .unwrap();
        assert_eq!(org::member(&w.store, &w.org, &member.id).await.unwrap(), member);
        assert_not_found(org::member(&w.store, &OrgId::fresh(), &member.id).await);
        assert_conflict(
            w.write(async |tx| org::add_member(tx, &w.org, new.clone()).await)
                .await,
        );
        for (account, role) in [(None, Role::AccountEditor), (new.account.clone(), Role::OrgAdmin)] {
            let new = NewMember {
                account,
                role,
                ..new.clone()
            };
            let refused = w
                .write(async |tx| org::add_member(tx, &w.org, new.clone()).await)
                .await;
            assert!(matches!(refused, Err(Error::Invalid { .. })));
        }
        let auditor = owner(w, &w.user, Role::OrgAuditor).await;
        assert_eq!(member.email, w.user.email);
        assert_eq!(
            org::given_to(&w.store, &w.user.id).await.unwrap(),
            [member.clone(), auditor.clone()]
        );
        let roles = org::roles_of(&w.store, &w.user.id).await.unwrap();
        assert_eq!(
            roles.into_iter().map(|r| r.member).collect::<Vec<_>>(),
            [Some(member.id.clone()), Some(auditor.id)]
        );
        let all = Paging::default();
        let only = [w.account.id.clone()];
        let list = async |filter: org::MemberFilter<'_>| {
            org::members(&w.store, &w.org, &filter, &all).await.unwrap()
        };
        let any = org::MemberFilter::default;
        let seen = list(org::MemberFilter {
            accounts: Some(&only),
            ..any()
        })
        .await;
        assert_eq!(seen, std::slice::from_ref(&member));
        assert_eq!(list(any()).await.len(), 2);
        let auditors = list(org::MemberFilter {
            role: Some(Role::OrgAuditor),
            ..any()
        })
        .await;
        assert_eq!(auditors.len(), 1);
        let stranger = UserId::fresh();
        assert_eq!(
            list(org::MemberFilter {
                user: Some(&stranger),
                ..any()
            })
            .await,
            []
        );
        let edit = async |member: &Member, role: Role| {
            w.write(async |tx| org::update_member(tx, &w.org, member, role).await)
                .await
        };
        assert!(matches!(
            edit(&member, Role::OrgAdmin).await,
            Err(Error::Invalid { .. })
        ));
        let editor = edit(&member, Role::AccountEditor).await.unwrap();
        assert_eq!(org::member(&w.store, &w.org, &member.id).await.unwrap(), editor);
        assert_stale(edit(&member, Role::AccountAuditor).await);
        let member = editor;
        w.write(async |tx| org::remove_member(tx, &w.org, &member).await)
            .await
            .unwrap();
        assert_stale(
            w.write(async |tx| org::remove_member(tx, &w.org, &member).await)
                .await,
        );
    })
    .await;
}

async fn owner(w: &crate::world::World, user: &User, role: Role) -> Member {
    let new = NewMember {
        user: user.id.clone(),
        account: None,
        role,
    };
    w.write(async |tx| org::add_member(tx, &w.org, new).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_last_owner_neither_leaves_nor_is_disabled() {
    on_each(async |w| {
        let only = owner(w, &w.user, Role::OrgOwner).await;
        assert_conflict(
            w.write(async |tx| org::remove_member(tx, &w.org, &only).await)
                .await,
        );
        assert_conflict(
            w.write(async |tx| user::set_disabled(tx, &w.org, &w.user, true).await)
                .await,
        );
        assert!(
            !user::get(&w.store, &w.org, &w.user.id)
                .await
                .unwrap()
                .user
                .disabled
        );
        let second = w.person("bob").await;
        let second_role = owner(w, &second, Role::OrgOwner).await;
        let bob = w
            .write(async |tx| user::set_disabled(tx, &w.org, &second, true).await)
            .await
            .unwrap();
        // A disabled owner does not count.
        assert_conflict(
            w.write(async |tx| org::remove_member(tx, &w.org, &only).await)
                .await,
        );
        w.write(async |tx| user::set_disabled(tx, &w.org, &bob, false).await)
            .await
            .unwrap();
        w.write(async |tx| org::remove_member(tx, &w.org, &second_role).await)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_owners_cannot_remove_each_other_at_once() {
    on_each(async |w| {
        let other = w.person("bob").await;
        for round in 0..5 {
            let people = [w.person("ada").await, other.clone()];
            let mut roles = Vec::new();
            for person in &people {
                let role = org::given_to(&w.store, &person.id).await.unwrap().pop();
                roles.push(match role {
                    Some(role) => role,
                    None => owner(w, person, Role::OrgOwner).await,
                });
            }
            let removals = roles
                .iter()
                .map(|role| w.write(async move |tx| org::remove_member(tx, &w.org, role).await));
            let removed = join_all(removals).await;
            let gone = removed.iter().filter(|r| r.is_ok()).count();
            assert_eq!(gone, 1, "round {round}: {removed:?}");
        }
    })
    .await;
}

/// Somebody of a local connection, with a password if wanted.
async fn local(w: &crate::world::World, connection: &Connection, name: &str, password: bool) -> User {
    let identity = crate::world::identity(&connection.id, name);
    w.write(async |tx| {
        let user = user::sign_in(tx, &w.org, identity).await?.user;
        if password {
            user::set_password(tx, &user.id, "$argon2id$x").await?;
        }
        Ok(user)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_last_owner_with_a_local_password_stays() {
    on_each(async |w| {
        let spec = ConnectionSpec {
            kind: ConnectionKind::Password,
            ..crate::world::connection_spec("Local")
        };
        let connection = w
            .write(async |tx| store::connection::create(tx, &w.org, None, spec).await)
            .await
            .unwrap();
        let root = local(w, &connection, "root", true).await;
        let root_role = owner(w, &root, Role::OrgOwner).await;
        // Owners who sign in elsewhere, or have no password yet, are no way in when the provider fails.
        let others = [w.user.clone(), local(w, &connection, "new", false).await];
        for other in &others {
            owner(w, other, Role::OrgOwner).await;
        }
        let leave = async |member: &Member| {
            w.write(async |tx| org::remove_member(tx, &w.org, member).await)
                .await
        };
        let demote = async |member: &Member| {
            w.write(async |tx| org::update_member(tx, &w.org, member, Role::OrgAdmin).await)
                .await
        };
        assert_conflict(leave(&root_role).await);
        assert_conflict(demote(&root_role).await);
        assert_conflict(
            w.write(async |tx| user::set_disabled(tx, &w.org, &root, true).await)
                .await,
        );
        // Everybody else may go.
        let mapped = org::given_to(&w.store, &others[0].id).await.unwrap().remove(0);
        leave(&mapped).await.unwrap();
        // With a second one there, the first may go, and then the second must stay.
        let second = local(w, &connection, "second", true).await;
        let second_role = owner(w, &second, Role::OrgOwner).await;
        demote(&root_role).await.unwrap();
        assert_conflict(leave(&second_role).await);
    })
    .await;
}

#[tokio::test]
async fn an_account_takes_with_it_what_hangs_on_it() {
    on_each(async |w| {
        let sales = w.account("Sales").await;
        let token = NewApiToken {
            account: Some(sales.id.clone()),
            role: Some(Role::AccountAdmin),
            ..NewApiToken::of("ci", &[TokenScope::Read])
        };
        let mapping = RoleMappingSpec {
            connection: w.connection.id.clone(),
            group: "sales".into(),
            account: Some(sales.id.clone()),
            role: Role::AccountEditor,
        };
        w.write(async |tx| {
            api_token::create(tx, &w.org, Some(&w.user.id), token, ("cht_", "hash")).await?;
            role_mapping::create(tx, &w.org, mapping).await
        })
        .await
        .unwrap();
        let found = async || {
            api_token::by_hash(&w.store, "hash", w.clock.now())
                .await
                .unwrap()
                .is_some()
        };
        assert!(found().await);
        // A disabled account's tokens are not accepted, and are again when it is enabled.
        for enabled in [false, true] {
            let now = org::account(&w.store, &w.org, &sales.id).await.unwrap();
            let spec = AccountSpec {
                enabled,
                ..now.spec.clone()
            };
            w.write(async |tx| org::update_account(tx, &now, spec).await)
                .await
                .unwrap();
            assert_eq!(found().await, enabled);
        }
        let now = org::account(&w.store, &w.org, &sales.id).await.unwrap();
        w.write(async |tx| org::delete_account(tx, &now).await)
            .await
            .unwrap();
        assert!(!found().await);
        let all = Paging::default();
        let left = role_mapping::list(&w.store, &w.org, (None, None), &all).await;
        assert_eq!(left.unwrap(), []);
    })
    .await;
}
