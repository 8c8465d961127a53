//! Whoever acts in somebody's name stands as long as that person does: API tokens like agents, and nobody acts on what
//! belongs to somebody of a higher rank.

use crate::world::{Answer, Colleague, World, account_token, add_factor, hire, identity, on_each, token};
use http::Method;
use serde_json::{Value, json};
use store::{invitation, session, user};
use wire::{OrgId, Role, SessionId, TokenScope};

const WEEK: i64 = 7 * 86_400;

async fn patch_org(world: &World, change: Value) {
    let answer = world.owner(Method::PATCH, "/organisation", Some(change)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn ask(world: &World, token: &str) -> Answer {
    world.call(token, Method::GET, "/session", None).await
}

/// Refused with words that name what is missing, and an event that says the same.
async fn is_refused(world: &World, token: &str, (words, reason): (&str, &str)) {
    let answer = ask(world, token).await;
    answer.refused(401, "unauthenticated");
    assert!(answer.text.contains(words), "{}", answer.text);
    let event = world.newest_of("api_token.refuse").await;
    assert_eq!(event.reason.as_deref(), Some(reason));
    assert!(event.actor.token.is_some());
}

async fn again(world: &World, who: &Colleague) {
    let mut tx = world.store.begin().await.unwrap();
    let person = user::get(&mut tx, &world.acme.org, &who.user.id).await.unwrap();
    let same = user::Identity {
        issuer: person.user.issuer,
        ..identity(&person.user.connection, &person.user.subject)
    };
    let same = user::sign_in(&mut tx, &world.acme.org, same).await.unwrap();
    assert_eq!(same.user.id, who.user.id);
    tx.commit_housekeeping().await.unwrap();
}

const TOO_OLD: (&str, &str) = (
    "has not vouched for the token's owner for too long",
    "proof_too_old",
);

#[tokio::test]
async fn an_api_token_pauses_when_the_providers_word_about_its_owner_is_too_old() {
    on_each(async |world| {
        let admin = world.hire(Role::OrgAdmin, None).await;
        let automation = account_token(world, Role::AccountAdmin, &world.acme.account).await;
        world.clock.advance(WEEK - 1);
        assert_eq!(ask(world, &admin.token).await.status, 200);
        world.clock.advance(1);
        is_refused(world, &admin.token, TOO_OLD).await;
        // Nothing that it asks for is done, whichever scope it takes.
        let new = Some(json!({"name": "New"}));
        let answer = world.call(&admin.token, Method::POST, "/accounts", new).await;
        answer.refused(401, "unauthenticated");
        // Our own word does not age, and what belongs to an account is nobody's.
        assert_eq!(ask(world, &world.acme.owner.token).await.status, 200);
        assert_eq!(ask(world, &automation).await.status, 200);
        // It is a pause.
        again(world, &admin).await;
        assert_eq!(ask(world, &admin.token).await.status, 200);
        // What is made stricter holds at once.
        patch_org(
            world,
            json!({"oldest_proof": {"agents_seconds": 300, "sessions_seconds": 86_400}}),
        )
        .await;
        world.clock.advance(300);
        is_refused(world, &admin.token, TOO_OLD).await;
    })
    .await;
}

#[tokio::test]
async fn somebody_who_was_never_vouched_for_has_no_token_that_works() {
    on_each(async |world| {
        let org = &world.acme.org;
        let mut tx = world.store.begin().await.unwrap();
        let made = user::provision(&mut tx, org, identity(&world.acme.connection.id, "later")).await;
        let made = made.unwrap().user;
        tx.commit_housekeeping().await.unwrap();
        let member = json!({"user": made.id, "role": "org_admin"});
        assert_eq!(
            world.owner(Method::POST, "/members", Some(member)).await.status,
            201
        );
        let (_, secret) = token(&world.store, org, &made.id, &[TokenScope::Read]).await;
        is_refused(world, &secret, TOO_OLD).await;
    })
    .await;
}

/// How many API tokens gain, keep and lose what they may, as the dry run of a change says.
async fn tokens_of(world: &World, path: &str, change: Value) -> (i64, i64, i64) {
    let path = format!("{path}?dry_run=true");
    let answer = world.owner(Method::PATCH, &path, Some(change)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let tokens = &answer.json()["impact"]["tokens"];
    let number = |name: &str| tokens[name].as_i64().unwrap_or_default();
    (number("gain"), number("keep"), number("lose"))
}

#[tokio::test]
async fn a_dry_run_counts_the_api_tokens_that_stop_without_a_second_factor() {
    on_each(async |world| {
        let acme = &world.acme;
        let place = (&acme.org, &acme.local.id);
        let all = [TokenScope::Read, TokenScope::Write];
        let organisation = "/organisation";
        let on = json!({"require_second_factor": true});
        let (_, before, none) = tokens_of(world, organisation, json!({"floor": [{"type": "mfa"}]})).await;
        assert!(before > 0 && none == 0, "{before} {none}");
        add_factor(&world.store, &acme.org, &acme.owner.user.id).await;
        for _ in 0..3 {
            hire(&world.store, place, (Role::OrgAdmin, None), &all).await;
        }
        // They have three, and the owner has a factor; nobody of a provider is asked.
        let dry = tokens_of(world, organisation, on.clone()).await;
        assert_eq!(dry, (0, before, 3));
        patch_org(world, on).await;
        let event = world.newest_of("organisation.update").await;
        assert_eq!(event.impact.unwrap().tokens.lose, 3);
        let off = json!({"require_second_factor": false});
        assert_eq!(tokens_of(world, organisation, off).await, (3, before, 0));
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_counts_the_api_tokens_that_stop_with_their_people_account_or_provider() {
    on_each(async |world| {
        let acme = &world.acme;
        let colleague = world.hire(Role::AccountEditor, Some(&acme.labs)).await;
        let user = format!("/users/{}", colleague.user.id);
        let off = json!({"disabled": true});
        assert_eq!(tokens_of(world, &user, off).await, (0, 0, 1));
        // An account's own, which belongs to nobody.
        account_token(world, Role::AccountEditor, &acme.labs).await;
        let labs = format!("/accounts/{}", acme.labs.id);
        let off = json!({"enabled": false});
        assert_eq!(tokens_of(world, &labs, off.clone()).await, (0, 0, 1));
        let connection = format!("/connections/{}", acme.connection.id);
        let (gain, keep, lose) = tokens_of(world, &connection, off).await;
        assert_eq!((gain, keep), (0, 0));
        assert!(lose >= 1, "{lose}");
        // And when the provider's word is good for less time.
        world.clock.advance(7200);
        let shorter = json!({"oldest_proof": {"agents_seconds": 3600, "sessions_seconds": 3600}});
        let (gain, _, lose) = tokens_of(world, "/organisation", shorter).await;
        assert_eq!((gain, lose >= 1), (0, true));
    })
    .await;
}

#[tokio::test]
async fn an_api_token_of_somebody_with_a_local_password_needs_their_second_factor_too() {
    on_each(async |world| {
        let acme = &world.acme;
        let place = (&acme.org, &acme.local.id);
        let all = [TokenScope::Read, TokenScope::Write];
        let without = hire(&world.store, place, (Role::OrgAdmin, None), &all).await;
        let by_provider = world.hire(Role::OrgAdmin, None).await;
        let factor = add_factor(&world.store, &acme.org, &acme.owner.user.id).await;
        patch_org(world, json!({"require_second_factor": true})).await;
        let missing = ("asks for a second factor", "second_factor_missing");
        is_refused(world, &without.token, missing).await;
        assert_eq!(ask(world, &acme.owner.token).await.status, 200, "it has one");
        assert_eq!(ask(world, &by_provider.token).await.status, 200, "not asked here");
        // It is good again with one, and stops when that is taken away.
        let own = add_factor(&world.store, &acme.org, &without.user.id).await;
        assert_eq!(ask(world, &without.token).await.status, 200);
        let path = format!("/users/{}/factors/{own}", without.user.id);
        assert_eq!(world.owner(Method::DELETE, &path, None).await.status, 204);
        is_refused(world, &without.token, missing).await;
        patch_org(world, json!({"require_second_factor": false})).await;
        assert_eq!(ask(world, &without.token).await.status, 200);
        // The owner's only one stays while it is asked for.
        patch_org(world, json!({"require_second_factor": true})).await;
        let path = format!("/users/{}/factors/{factor}", acme.owner.user.id);
        world
            .owner(Method::DELETE, &path, None)
            .await
            .refused(409, "conflict");
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_worth_nothing_once_nobody_vouches_for_its_maker() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::OrgAdmin, None).await;
        let body = json!({"email": "friend@example.com", "role": "org_admin"});
        let made = world
            .call(&admin.token, Method::POST, "/invitations", Some(body))
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
        let url = made.json()["url"].as_str().unwrap().to_owned();
        let hash = store::sha256(url.rsplit('/').next().unwrap());
        patch_org(
            world,
            json!({"oldest_proof": {"agents_seconds": 300, "sessions_seconds": 300}}),
        )
        .await;
        world.clock.advance(300);
        let accepts = async || {
            let mut tx = world.store.begin().await.unwrap();
            let friend = identity(&acme.connection.id, "friend");
            let friend = user::sign_in(&mut tx, &acme.org, friend).await.unwrap();
            invitation::accept(&mut tx, &acme.org, &hash, &friend.user.id)
                .await
                .is_ok()
        };
        assert!(!accepts().await, "its maker may have left");
        again(world, &admin).await;
        assert!(accepts().await);
    })
    .await;
}

/// A session of somebody.
async fn session_of(world: &World, who: &Colleague) -> SessionId {
    let record = session::Record {
        id: SessionId::fresh(),
        org: Some(world.acme.org.clone()),
        user: Some(who.user.id.clone()),
        app: None,
        parent: None,
        data: "{}".into(),
        expires_at: world.clock.now().plus_seconds(3600),
        ip: None,
        user_agent: None,
        authentication: wire::Authentication::NONE,
    };
    let mut tx = world.store.begin().await.unwrap();
    session::save(&mut tx, OrgId::fresh().as_ref(), &record)
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    record.id
}

/// A grant of somebody at Acme's app.
async fn grant_of(world: &World, who: &Colleague) -> wire::GrantId {
    let acme = &world.acme;
    let mut tx = world.store.begin().await.unwrap();
    let consent = store::grant::Consent {
        org: &acme.org,
        account: &acme.account.id,
        app: &acme.app.id,
        user: &who.user.id,
        client: &acme.client.id,
        scopes: &["access".into()],
        authentication: &wire::Authentication::NONE,
        expires_at: tx.now().plus_seconds(86_400),
    };
    let bound = ("https://x/cb", "challenge", "https://x");
    let code = OrgId::fresh().to_string();
    let id = store::grant::issue(&mut tx, &consent, &code, bound)
        .await
        .unwrap();
    store::refresh::begin(&mut tx, &id).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    id
}

#[tokio::test]
async fn nobody_ends_what_somebody_of_a_higher_rank_has() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::OrgAdmin, None).await;
        let colleague = world.hire(Role::OrgAdmin, None).await;
        let account_admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let owner_by_provider = world.hire(Role::OrgOwner, None).await;
        let factor = add_factor(&world.store, &acme.org, &acme.owner.user.id).await;
        for owner in [&acme.owner, &owner_by_provider] {
            let id = &owner.user.id;
            let (session, grant) = (session_of(world, owner).await, grant_of(world, owner).await);
            let acts = [
                (Method::DELETE, format!("/sessions/{session}"), None),
                (Method::DELETE, format!("/grants/{grant}"), None),
                (Method::DELETE, format!("/api-tokens/{}", owner.token_id), None),
                (Method::DELETE, format!("/members/{}", owner.member.id), None),
                (
                    Method::PATCH,
                    format!("/users/{id}"),
                    Some(json!({"disabled": true})),
                ),
            ];
            for (method, path, body) in &acts {
                for query in ["", "?dry_run=true"] {
                    let path = format!("{path}{query}");
                    let answer = world
                        .call(&admin.token, method.clone(), &path, body.clone())
                        .await;
                    answer.refused(403, "forbidden");
                }
            }
            let path = format!("/grants/{grant}");
            let answer = world
                .call(&account_admin.token, Method::DELETE, &path, None)
                .await;
            answer.refused(403, "forbidden");
            for path in [format!("/sessions/{session}"), format!("/grants/{grant}")] {
                assert_eq!(
                    world.owner(Method::DELETE, &path, None).await.status,
                    204,
                    "{path}"
                );
            }
        }
        // An administrator of the organisation is above those of an account.
        let path = format!("/grants/{}", grant_of(world, &colleague).await);
        let answer = world
            .call(&account_admin.token, Method::DELETE, &path, None)
            .await;
        answer.refused(403, "forbidden");
        let path = format!("/users/{}/factors/{factor}", acme.owner.user.id);
        let answer = world.call(&admin.token, Method::DELETE, &path, None).await;
        answer.refused(403, "forbidden");
        // Of somebody of the same rank, and of a lower one.
        for other in [&colleague, &account_admin] {
            let (session, grant) = (session_of(world, other).await, grant_of(world, other).await);
            for path in [format!("/sessions/{session}"), format!("/grants/{grant}")] {
                let answer = world.call(&admin.token, Method::DELETE, &path, None).await;
                assert_eq!(answer.status, 204, "{path}: {}", answer.text);
            }
        }
        // What an owner's agent does can be stopped without one.
        let path = format!("/clients/{}?dry_run=true", acme.client.id);
        let block = Some(json!({"state": "blocked"}));
        let answer = world
            .call(&account_admin.token, Method::PATCH, &path, block)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn approval_and_state_of_an_agent_agree() {
    on_each(async |world| {
        let path = format!("/clients/{}", world.acme.client.id);
        let patch = async |change: Value| {
            let answer = world.owner(Method::PATCH, &path, Some(change)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let client = answer.json();
            let word = |name: &str| client[name].as_str().unwrap().to_owned();
            (word("tier"), word("state"), client["approval"].is_object())
        };
        let is = |tier: &str, state: &str, approved: bool| (tier.to_owned(), state.to_owned(), approved);
        assert_eq!(
            patch(json!({"state": "pending"})).await,
            is("localhost", "pending", false)
        );
        // By the tier alone it is the same act.
        assert_eq!(
            patch(json!({"tier": "approved"})).await,
            is("approved", "active", true)
        );
        let by_tier = world.newest_of("client.update").await.change.unwrap();
        assert_eq!(by_tier.after, json!({"tier": "approved", "state": "active"}));
        // Made to wait, it is approved no more; nor is both at once possible.
        assert_eq!(
            patch(json!({"state": "pending"})).await,
            is("localhost", "pending", true)
        );
        assert_eq!(
            patch(json!({"tier": "approved", "state": "active"})).await,
            is("approved", "active", true)
        );
        let by_both = world.newest_of("client.update").await.change.unwrap();
        assert_eq!(by_tier, by_both);
        assert_eq!(
            patch(json!({"tier": "approved", "state": "pending"})).await,
            is("localhost", "pending", true)
        );
        // Blocked stays blocked until somebody says otherwise.
        patch(json!({"state": "blocked"})).await;
        assert_eq!(patch(json!({"tier": "approved"})).await.1, "blocked");
        assert_eq!(
            patch(json!({"state": "active"})).await,
            is("approved", "active", true)
        );
    })
    .await;
}
