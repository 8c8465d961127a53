//! Roles that follow from groups: as of the last sign-in, and only where the connection counts.

use crate::world::{
    World, assert_conflict, assert_not_found, assert_stale, connection_spec, identity, on_each,
};
use store::{Error, Paging, binding, connection, org, role_mapping, user};
use wire::{
    AccountId, BindingSpec, BindingState, ConnectionId, OrgId, Role, RoleMapping, RoleMappingSpec, UserId,
};

fn spec(w: &World, group: &str, role: Role) -> RoleMappingSpec {
    RoleMappingSpec {
        connection: w.connection.id.clone(),
        group: group.into(),
        account: role.is_account_role().then(|| w.account.id.clone()),
        role,
    }
}

async fn map(w: &World, spec: RoleMappingSpec) -> RoleMapping {
    w.write(async |tx| role_mapping::create(tx, &w.org, spec).await)
        .await
        .unwrap()
}

async fn sign_in(w: &World, connection: &ConnectionId, subject: &str, groups: &[&str]) -> UserId {
    let identity = user::Identity {
        groups: groups.iter().map(ToString::to_string).collect(),
        ..identity(connection, subject)
    };
    let person = w
        .write(async |tx| user::sign_in(tx, &w.org, identity).await)
        .await;
    person.unwrap().user.id
}

async fn roles(w: &World, user: &UserId) -> Vec<(Role, Option<AccountId>)> {
    let roles = org::roles_of(&w.store, user).await.unwrap();
    assert!(roles.iter().all(|r| r.mapping.is_some() != r.member.is_some()));
    roles.into_iter().map(|r| (r.role, r.account)).collect()
}

#[tokio::test]
async fn a_role_follows_the_groups_of_the_last_sign_in() {
    on_each(async |w| {
        let admins = map(w, spec(w, "admins", Role::OrgAdmin)).await;
        map(w, spec(w, "devs", Role::AccountEditor)).await;
        let okta = &w.connection.id;
        let here = Some(w.account.id.clone());
        let ada = sign_in(w, okta, "ada", &["devs", "admins"]).await;
        let both = [(Role::OrgAdmin, None), (Role::AccountEditor, here.clone())];
        assert_eq!(roles(w, &ada).await, both);
        // The group must be the very same, and so must the connection.
        let bob = sign_in(w, okta, "bob", &["Admins", "admins ", "dev"]).await;
        assert_eq!(roles(w, &bob).await, []);
        let other = connection_spec("Other");
        let other = w
            .write(async |tx| connection::create(tx, &w.org, None, other).await)
            .await;
        let eve = sign_in(w, &other.unwrap().id, "ada", &["devs", "admins"]).await;
        assert_ne!(eve, ada);
        assert_eq!(roles(w, &eve).await, []);
        // Out of the group, out of the role; what was given directly stays.
        let direct = wire::NewMember {
            user: ada.clone(),
            account: None,
            role: Role::OrgAuditor,
        };
        w.write(async |tx| org::add_member(tx, &w.org, direct).await)
            .await
            .unwrap();
        sign_in(w, okta, "ada", &["devs"]).await;
        let left = [(Role::OrgAuditor, None), (Role::AccountEditor, here)];
        assert_eq!(roles(w, &ada).await, left);
        let lowered = spec(w, "devs", Role::OrgAuditor);
        let changed = w
            .write(async |tx| role_mapping::update(tx, &admins, lowered).await)
            .await
            .unwrap();
        assert_stale(w.write(async |tx| role_mapping::delete(tx, &admins).await).await);
        assert_eq!(roles(w, &ada).await.len(), 3);
        w.write(async |tx| role_mapping::delete(tx, &changed).await)
            .await
            .unwrap();
        assert_eq!(roles(w, &ada).await, left);
    })
    .await;
}

#[tokio::test]
async fn a_connection_gives_roles_only_where_it_counts() {
    on_each(async |w| {
        let sales = w.account("Sales").await;
        map(w, spec(w, "devs", Role::AccountEditor)).await;
        let there = RoleMappingSpec {
            account: Some(sales.id.clone()),
            ..spec(w, "devs", Role::AccountAdmin)
        };
        map(w, there).await;
        let ada = sign_in(w, &w.connection.id, "ada", &["devs"]).await;
        let here = (Role::AccountEditor, Some(w.account.id.clone()));
        // It is not bound to Sales.
        assert_eq!(roles(w, &ada).await, std::slice::from_ref(&here));
        let until = w.clock.now().plus_seconds(60);
        let draining = BindingSpec {
            state: BindingState::Draining,
            drain_until: Some(until),
            ..w.binding.spec.clone()
        };
        w.write(async |tx| binding::update(tx, &w.binding, draining).await)
            .await
            .unwrap();
        assert_eq!(roles(w, &ada).await, [here]);
        w.clock.advance(60);
        assert_eq!(roles(w, &ada).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_connection_of_one_account_rules_nowhere_else() {
    on_each(async |w| {
        let own = connection_spec("Own");
        let own = w
            .write(async |tx| connection::create(tx, &w.org, Some(&w.account.id), own).await)
            .await
            .unwrap();
        // Such a mapping is refused by the API; should there be one, it gives nothing.
        for role in [Role::OrgAdmin, Role::AccountAdmin] {
            let spec = RoleMappingSpec {
                connection: own.id.clone(),
                ..spec(w, "all", role)
            };
            map(w, spec).await;
        }
        let ada = sign_in(w, &own.id, "ada", &["all"]).await;
        assert_eq!(
            roles(w, &ada).await,
            [(Role::AccountAdmin, Some(w.account.id.clone()))]
        );
        let mut off = own.spec.clone();
        off.enabled = false;
        w.write(async |tx| connection::update(tx, &own, off).await)
            .await
            .unwrap();
        assert_eq!(roles(w, &ada).await, []);
    })
    .await;
}

#[tokio::test]
async fn mappings_are_made_once_and_never_to_owners() {
    on_each(async |w| {
        let mapping = map(w, spec(w, "admins", Role::OrgAdmin)).await;
        let create = async |spec: RoleMappingSpec| {
            w.write(async |tx| role_mapping::create(tx, &w.org, spec).await)
                .await
        };
        assert_conflict(create(mapping.spec.clone()).await);
        for bad in [
            spec(w, "admins", Role::OrgOwner),
            RoleMappingSpec {
                account: None,
                ..spec(w, "admins", Role::AccountAdmin)
            },
            RoleMappingSpec {
                account: Some(w.account.id.clone()),
                ..spec(w, "admins", Role::OrgAuditor)
            },
        ] {
            assert!(
                matches!(create(bad.clone()).await, Err(Error::Invalid { .. })),
                "{bad:?}"
            );
            let changed = w
                .write(async |tx| role_mapping::update(tx, &mapping, bad).await)
                .await;
            assert!(matches!(changed, Err(Error::Invalid { .. })));
        }
        assert_not_found(role_mapping::get(&w.store, &OrgId::fresh(), &mapping.id).await);
        assert_eq!(
            role_mapping::get(&w.store, &w.org, &mapping.id).await.unwrap(),
            mapping
        );
        let all = Paging::default();
        let here = [w.account.id.clone()];
        let list = async |only: Option<&[AccountId]>| {
            role_mapping::list(&w.store, &w.org, (only, None), &all)
                .await
                .unwrap()
        };
        assert_eq!(list(None).await, [mapping]);
        assert_eq!(list(Some(&here)).await, []);
    })
    .await;
}
