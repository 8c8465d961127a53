//! Invitations: redeemed once, in time, by somebody who belongs there.

use crate::world::{World, assert_conflict, assert_not_found, connection_spec, identity, on_each};
use futures_util::future::join_all;
use store::{Paging, invitation, org, user};
use wire::{
    ConnectionKind, ConnectionSpec, Invitation, InvitationState, Member, NewMember, OrgId, Role, User, UserId,
};

/// Gives a role, unless they have it.
async fn give(w: &World, user: &UserId, role: Role) -> Member {
    let has = org::given_to(&w.store, user).await.unwrap();
    if let Some(member) = has.into_iter().find(|m| m.role == role) {
        return member;
    }
    let new = NewMember {
        user: user.clone(),
        account: role.is_account_role().then(|| w.account.id.clone()),
        role,
    };
    w.write(async |tx| org::add_member(tx, &w.org, new).await)
        .await
        .unwrap()
}

/// An invitation by the company's person, who is an owner and not the only one.
async fn invite(w: &World, role: Role, local: bool, hash: &str) -> Invitation {
    let other = w.person("other owner").await;
    for owner in [&w.user, &other] {
        give(w, &owner.id, Role::OrgOwner).await;
    }
    let new = invitation::New {
        email: format!("{hash}@example.com"),
        account: role.is_account_role().then(|| w.account.id.clone()),
        role,
        local,
        created_by: Some(w.user.id.clone()),
        expires_at: w.clock.now().plus_seconds(3600),
    };
    w.write(async |tx| invitation::create(tx, &w.org, new, hash).await)
        .await
        .unwrap()
}

async fn accept(w: &World, hash: &str, user: &UserId) -> store::Result<(Invitation, wire::Member)> {
    w.write(async |tx| invitation::accept(tx, &w.org, hash, user).await)
        .await
}

async fn state(w: &World, invitation: &Invitation) -> InvitationState {
    let now = w.clock.now();
    let found = invitation::get(&w.store, &w.org, &invitation.id, now).await;
    found.unwrap().state
}

async fn is_open(w: &World, hash: &str) -> bool {
    let found = invitation::by_token_hash(&w.store, hash, w.clock.now()).await;
    found.unwrap().is_some_and(|(org, _)| org == w.org)
}

#[tokio::test]
async fn an_invitation_gives_its_role_once() {
    on_each(async |w| {
        let made = invite(w, Role::AccountEditor, false, "one").await;
        assert!(is_open(w, "one").await);
        let people: Vec<User> = join_all(["bob", "eve", "mallory"].map(|name| w.person(name))).await;
        let attempts = join_all(people.iter().map(|person| accept(w, "one", &person.id))).await;
        let given: Vec<_> = attempts.into_iter().filter_map(Result::ok).collect();
        assert_eq!(given.len(), 1);
        let (accepted, member) = &given[0];
        assert_eq!((member.role, &member.account), (made.role, &made.account));
        assert_eq!(accepted.accepted_by.as_ref(), Some(&member.user));
        assert_eq!(state(w, &made).await, InvitationState::Accepted);
        assert!(!is_open(w, "one").await);
        assert_not_found(accept(w, "one", &member.user).await);
        assert_conflict(w.write(async |tx| invitation::revoke(tx, &made).await).await);
        // Whoever has the role already keeps it.
        invite(w, Role::AccountEditor, false, "two").await;
        let (_, again) = accept(w, "two", &member.user).await.unwrap();
        assert_eq!(again, *member);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_ends_with_its_time_its_revocation_and_its_maker() {
    on_each(async |w| {
        let bob = w.person("bob").await;
        let late = invite(w, Role::OrgAdmin, false, "late").await;
        let revoked = invite(w, Role::OrgAdmin, false, "revoked").await;
        w.write(async |tx| invitation::revoke(tx, &revoked).await)
            .await
            .unwrap();
        assert_eq!(state(w, &revoked).await, InvitationState::Revoked);
        assert_not_found(accept(w, "revoked", &bob.id).await);
        assert_conflict(
            w.write(async |tx| invitation::renew(tx, &revoked, "again", w.clock.now()).await)
                .await,
        );
        w.clock.advance(3600);
        assert_eq!(state(w, &late).await, InvitationState::Expired);
        assert_not_found(accept(w, "late", &bob.id).await);
        // Sent again, it works by its new secret only.
        let until = w.clock.now().plus_seconds(60);
        w.write(async |tx| invitation::renew(tx, &late, "later", until).await)
            .await
            .unwrap();
        assert!(!is_open(w, "late").await && is_open(w, "later").await);
        assert_not_found(accept(w, "late", &bob.id).await);
        let all = Paging::default();
        let list = async |state| {
            let filter = invitation::Filter {
                state,
                ..invitation::Filter::default()
            };
            let now = w.clock.now();
            let found = invitation::list(&w.store, &w.org, &filter, now, &all)
                .await
                .unwrap();
            found.into_iter().map(|i| i.id).collect::<Vec<_>>()
        };
        assert_eq!(list(None).await.len(), 2);
        assert_eq!(
            list(Some(InvitationState::Pending)).await,
            std::slice::from_ref(&late.id)
        );
        assert_eq!(list(Some(InvitationState::Revoked)).await, [revoked.id]);
        assert_eq!(list(Some(InvitationState::Expired)).await, []);
        // What somebody made and nobody accepted is gone with them.
        w.write(async |tx| user::set_disabled(tx, &w.org, &w.user, true).await)
            .await
            .unwrap();
        assert_not_found(accept(w, "later", &bob.id).await);
        assert_eq!(state(w, &late).await, InvitationState::Revoked);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_worth_no_more_than_what_its_maker_could_give_by_now() {
    on_each(async |w| {
        let bob = w.person("bob").await;
        let (accounts, admins) = ((Role::AccountEditor, "account"), (Role::OrgAuditor, "admin"));
        let owners = (Role::OrgOwner, "owner");
        for (role, hash) in [accounts, admins, owners] {
            invite(w, role, false, hash).await;
        }
        let mut now = give(w, &w.user.id, Role::OrgOwner).await;
        for (lower, refused) in [(Role::OrgAdmin, owners), (Role::OrgAuditor, admins)] {
            now = w
                .write(async |tx| org::update_member(tx, &w.org, &now, lower).await)
                .await
                .unwrap();
            assert_not_found(accept(w, refused.1, &bob.id).await);
        }
        assert_not_found(accept(w, accounts.1, &bob.id).await);
        give(w, &w.user.id, Role::AccountAdmin).await;
        assert_not_found(accept(w, admins.1, &bob.id).await);
        accept(w, accounts.1, &bob.id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_for_people_of_its_organisation() {
    on_each(async |w| {
        let made = invite(w, Role::OrgAuditor, false, "one").await;
        assert_not_found(accept(w, "one", &UserId::fresh()).await);
        let elsewhere = OrgId::fresh();
        assert_not_found(
            w.write(async |tx| invitation::accept(tx, &elsewhere, "one", &w.user.id).await)
                .await,
        );
        assert_not_found(invitation::get(&w.store, &elsewhere, &made.id, w.clock.now()).await);
        let eve = w.person("eve").await;
        w.write(async |tx| user::set_disabled(tx, &w.org, &eve, true).await)
            .await
            .unwrap();
        assert_not_found(accept(w, "one", &eve.id).await);
        assert_eq!(state(w, &made).await, InvitationState::Pending);
        // One like it is found, however its address is written; no other.
        let new = invitation::New {
            email: "ONE@example.com".into(),
            account: None,
            role: Role::OrgAuditor,
            local: false,
            created_by: None,
            expires_at: w.clock.now().plus_seconds(60),
        };
        let like = async |new: &invitation::New| {
            let found = invitation::pending_like(&w.store, &w.org, new, w.clock.now()).await;
            found
                .unwrap()
                .into_iter()
                .map(|found| found.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(like(&new).await, vec![made.id]);
        let other = invitation::New {
            role: Role::OrgAdmin,
            ..new.clone()
        };
        assert_eq!(like(&other).await, []);
        // Where there are two, they give no more than one.
        w.write(async |tx| invitation::create(tx, &w.org, new.clone(), "two").await)
            .await
            .unwrap();
        assert_eq!(like(&new).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_to_a_local_password_is_not_for_others() {
    on_each(async |w| {
        invite(w, Role::OrgOwner, true, "local").await;
        assert_not_found(accept(w, "local", &w.user.id).await);
        let spec = ConnectionSpec {
            kind: ConnectionKind::Password,
            ..connection_spec("Local")
        };
        let root = w
            .write(async |tx| {
                let local = store::connection::create(tx, &w.org, None, spec).await?;
                Ok(user::sign_in(tx, &w.org, identity(&local.id, "root")).await?.user)
            })
            .await
            .unwrap();
        let (_, member) = accept(w, "local", &root.id).await.unwrap();
        assert_eq!(org::given_to(&w.store, &root.id).await.unwrap(), [member]);
    })
    .await;
}
