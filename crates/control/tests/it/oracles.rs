//! What is withheld is not guessed either: whoever enters an address that they may not see, which is somebody's or is
//! invited, gets the answer that an address gets which is nobody's.

use crate::withheld::{canary, release, sign_in};
use crate::world::{Answer, World, account_token, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::{Invitation, InvitationState, Role, User};

/// Somebody of Production's connection, whose address the account does not get to see; and an address of nobody.
struct Withheld {
    user: User,
    address: String,
    nobody: String,
}

impl Withheld {
    async fn settle(world: &World) -> Self {
        let user = sign_in(world, canary(&world.acme.connection.id, "guess")).await;
        release(world, json!([])).await;
        let address = user.email.clone().unwrap();
        Self {
            nobody: address.replace("guess", "blank"),
            user,
            address,
        }
    }

    /// The same asked about both addresses.
    async fn ask(&self, world: &World, token: &str, ask: (&Method, &str), body: impl Fn(&str) -> Value) {
        let (method, path) = ask;
        let mut answers = Vec::new();
        for address in [&self.address, &self.nobody] {
            let (path, body) = (path.replace("ADDRESS", address), body(address));
            let body = (*method != Method::GET).then_some(body);
            let answer = world.call(token, method.clone(), &path, body).await;
            answers.push((answer.status, plain(&answer, address)));
        }
        let [known, unknown] = &answers[..] else {
            unreachable!()
        };
        assert_eq!(known, unknown, "{method} {path}");
        let mut others = [&self.address, &self.nobody].into_iter();
        assert!(!others.any(|address| known.1.to_string().contains(address.as_str())));
        assert!(known.0 != StatusCode::NOT_FOUND, "{path}: {}", known.1);
    }
}

/// An answer without what is new in each, and with one address for all.
fn plain(answer: &Answer, address: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for name in ["id", "url", "created_at", "sent_at", "expires_at", "request_id"] {
                    members.remove(name);
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let text = answer.text.replace(address, "ADDRESS");
    let mut value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    strip(&mut value);
    value
}

/// An invitation to be an editor of Production.
fn editor(world: &World, address: &str) -> Value {
    json!({"email": address, "role": "account_editor", "account": world.acme.account.id})
}

async fn invite(world: &World, token: &str, address: &str) -> Answer {
    world
        .call(token, Method::POST, "/invitations", Some(editor(world, address)))
        .await
}

#[tokio::test]
async fn an_account_does_not_learn_that_an_address_is_invited_that_it_may_not_see() {
    on_each(async |world| {
        let withheld = Withheld::settle(world).await;
        let account = &world.acme.account;
        let admin = world.hire(Role::AccountAdmin, Some(account)).await.token;
        let token = account_token(world, Role::AccountAdmin, account).await;
        // Somebody of the organisation, and another administrator of the account, were first.
        let owner = &world.acme.owner.token;
        for (first, role) in [
            (owner, "account_editor"),
            (owner, "account_auditor"),
            (&token, "account_admin"),
        ] {
            let mut new = editor(world, &withheld.address);
            new["role"] = json!(role);
            let made = world.call(first, Method::POST, "/invitations", Some(new)).await;
            assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        }
        for role in ["account_editor", "account_auditor", "account_admin"] {
            let body = |address: &str| {
                let mut new = editor(world, address);
                new["role"] = json!(role);
                new
            };
            for (asks, path) in [
                (&admin, "/invitations?dry_run=true"),
                (&token, "/invitations?dry_run=true"),
                (&admin, "/invitations"),
                (&token, "/invitations"),
            ] {
                withheld.ask(world, asks, (&Method::POST, path), body).await;
            }
        }
        // However it is written.
        let louder = withheld.address.to_ascii_uppercase();
        let token = world.hire(Role::AccountAdmin, Some(account)).await.token;
        assert_eq!(invite(world, &token, &louder).await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn whoever_sees_the_address_is_told_that_it_is_invited() {
    on_each(async |world| {
        let withheld = Withheld::settle(world).await;
        let account = &world.acme.account;
        let owner = &world.acme.owner.token;
        let admin = world.hire(Role::AccountAdmin, Some(account)).await.token;
        // Their own, and everything for the organisation.
        for who in [&admin, owner] {
            let first = invite(world, who, &withheld.address).await;
            let is_first = who == &admin;
            assert_eq!(first.status == StatusCode::CREATED, is_first, "{}", first.text);
            invite(world, who, &withheld.address.to_ascii_uppercase())
                .await
                .refused(409, "conflict");
        }
        // And everybody once it is released.
        release(world, Value::Null).await;
        let other = world.hire(Role::AccountAdmin, Some(account)).await.token;
        invite(world, &other, &withheld.address)
            .await
            .refused(409, "conflict");
    })
    .await;
}

#[tokio::test]
async fn an_administrator_of_two_accounts_learns_nothing_of_one_from_the_other() {
    on_each(async |world| {
        let withheld = Withheld::settle(world).await;
        // Nobody is bound in Labs, so that everything is seen there.
        let labs = &world.acme.labs;
        let admin = world.hire(Role::AccountAdmin, Some(labs)).await;
        let more = json!({"user": admin.user.id, "role": "account_admin", "account": world.acme.account.id});
        let more = world.owner(Method::POST, "/members", Some(more)).await;
        assert_eq!(more.status, StatusCode::CREATED, "{}", more.text);
        let owner = &world.acme.owner.token;
        assert_eq!(
            invite(world, owner, &withheld.address).await.status,
            StatusCode::CREATED
        );
        let body = |address: &str| editor(world, address);
        withheld
            .ask(world, &admin.token, (&Method::POST, "/invitations"), body)
            .await;
    })
    .await;
}

#[tokio::test]
async fn an_account_does_not_learn_whose_an_address_is_by_rules_that_name_it() {
    on_each(async |world| {
        let withheld = Withheld::settle(world).await;
        let acme = &world.acme;
        // Somebody whom the account knows of, with an address that it does not see: by session, role and grant.
        let member = json!({"user": withheld.user.id, "role": "account_auditor", "account": acme.account.id});
        world.owner(Method::POST, "/members", Some(member)).await;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let token = account_token(world, Role::AccountAdmin, &acme.account).await;
        let (policy, group) = (format!("/policies/{}", acme.policy.id), format!("/groups/{}", acme.group.id));
        let (policy, group) = (format!("{policy}?dry_run=true"), format!("{group}?dry_run=true"));
        for token in [&admin, &token] {
            for decision in ["allow", "deny", "bypass"] {
                let names = |selector: Value| json!({"decision": decision, "include": [selector]});
                let patch = (&Method::PATCH, policy.as_str());
                for selector in [
                    json!({"type": "email", "email": "ADDRESS"}),
                    json!({"type": "email_list", "emails": ["ADDRESS"]}),
                    json!({"type": "claim", "name": "sub", "value": "ADDRESS"}),
                    json!({"type": "claim", "name": "email", "value": "ADDRESS"}),
                ] {
                    let body = |address: &str| from(&names(selector.clone()), address);
                    withheld.ask(world, token, patch, body).await;
                    let new = |address: &str| {
                        from(
                            &json!({"account": acme.account.id, "name": "New", "decision": decision, "include": [selector]}),
                            address,
                        )
                    };
                    let create = (&Method::POST, "/policies?dry_run=true");
                    withheld.ask(world, token, create, new).await;
                    let test = |address: &str| {
                        from(
                            &json!({"app": acme.app.id, "everyone": true, "draft": [
                                {"name": "New", "decision": decision, "include": [selector]}]}),
                            address,
                        )
                    };
                    withheld
                        .ask(world, token, (&Method::POST, "/policies/test"), test)
                        .await;
                    if decision == "allow" {
                        let body = |address: &str| from(&json!({"include": [selector]}), address);
                        withheld
                            .ask(world, token, (&Method::PATCH, group.as_str()), body)
                            .await;
                    }
                }
            }
            for path in ["/users?q=ADDRESS", "/users?limit=1&q=ADDRESS"] {
                let users = (&Method::GET, path);
                withheld.ask(world, token, users, |_| Value::Null).await;
            }
            // What no person is referred to by.
            for body in [
                json!({"user": "ADDRESS", "role": "account_editor", "account": acme.account.id}),
                json!({"user": "ADDRESS", "role": "org_auditor"}),
            ] {
                let body = |address: &str| from(&body, address);
                withheld
                    .ask(world, token, (&Method::POST, "/members"), body)
                    .await;
            }
        }
    })
    .await;
}

/// A body about an address.
fn from(body: &Value, address: &str) -> Value {
    let text = body.to_string().replace("ADDRESS", address);
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn two_invitations_of_one_address_give_one_role() {
    on_each(async |world| {
        let withheld = Withheld::settle(world).await;
        let account = &world.acme.account;
        let admin = world.hire(Role::AccountAdmin, Some(account)).await.token;
        for who in [&world.acme.owner.token, &admin] {
            let made = invite(world, who, &withheld.address).await;
            assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
            let url = made.json()["url"].as_str().unwrap().to_owned();
            let hash = store::sha256(url.rsplit_once('/').unwrap().1);
            let mut tx = world.store.begin().await.unwrap();
            let taken = store::invitation::accept(&mut tx, &world.acme.org, &hash, &withheld.user.id).await;
            let taken: Invitation = taken.unwrap().0;
            tx.commit_housekeeping().await.unwrap();
            assert_eq!(taken.state, InvitationState::Accepted);
        }
        let roles = store::org::given_to(&world.store, &withheld.user.id)
            .await
            .unwrap();
        assert_eq!(roles.len(), 1, "{roles:?}");
    })
    .await;
}
