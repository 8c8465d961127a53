//! Members, invitations, roles that follow from groups, API tokens of people and of accounts.

use crate::world::{Answer, World, account_token, identity, mapped, on_each};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::{invitation, user};
use wire::{AuditEvent, InvitationState, Outcome, Role};

async fn post(world: &World, token: &str, path: &str, body: Value) -> Answer {
    world.call(token, Method::POST, path, Some(body)).await
}

async fn made(world: &World, token: &str, path: &str, body: Value) -> Value {
    let answer = post(world, token, path, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{path}: {}", answer.text);
    answer.json()
}

async fn patch(world: &World, token: &str, path: &str, body: Value) -> Answer {
    world.call(token, Method::PATCH, path, Some(body)).await
}

async fn works(world: &World, token: &str) -> bool {
    match world.call(token, Method::GET, "/session", None).await.status {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("{other}"),
    }
}

/// All events of Acme.
async fn log(world: &World) -> Vec<AuditEvent> {
    let (filter, order) = (store::audit::Filter::default(), store::audit::Order::Newest);
    store::audit::list(&world.store, &world.acme.org, &filter, (order, None), 200)
        .await
        .unwrap()
}

// Members

#[tokio::test]
async fn members_are_found_and_their_role_changes_in_place() {
    on_each(async |world| {
        let editor = world.hire(Role::AccountEditor, Some(&world.acme.account)).await;
        let auditor = world.hire(Role::OrgAuditor, None).await;
        let ids = async |query: &str| {
            let page = world.get(&format!("/members?{query}")).await;
            let items = page["items"].as_array().unwrap().clone();
            items
                .into_iter()
                .map(|m| m["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let one = |member: &wire::Member| vec![member.id.to_string()];
        assert_eq!(
            ids(&format!("user={}", auditor.user.id)).await,
            one(&auditor.member)
        );
        assert_eq!(ids("role=account_editor").await, one(&editor.member));
        let account = &world.acme.account.id;
        assert_eq!(ids(&format!("account={account}")).await, one(&editor.member));
        assert_eq!(
            ids(&format!("account={account}&role=account_admin")).await,
            Vec::<String>::new()
        );
        let path = format!("/members/{}", editor.member.id);
        let shown = world.get(&path).await;
        assert_eq!(shown["email"], json!(editor.user.email));

        let owner = &world.acme.owner.token;
        let changed = patch(world, owner, &path, json!({"role": "account_auditor"})).await;
        assert_eq!(
            (changed.status, changed.header("etag")),
            (StatusCode::OK, "\"v2\""),
            "{}",
            changed.text
        );
        let event = world.newest().await;
        assert_eq!(
            (event.action.as_str(), event.account.as_ref()),
            ("member.update", Some(account))
        );
        assert_eq!(event.change.unwrap().after["role"], "account_auditor");
        // What they may do follows at once.
        let rename = json!({"name": "Wiki 2"});
        let app = format!("/apps/{}", world.acme.app.id);
        patch(world, &editor.token, &app, rename)
            .await
            .refused(403, "forbidden");
        // A role stays where it is.
        for role in ["org_admin", "org_owner"] {
            let answer = patch(world, owner, &path, json!({"role": role})).await;
            assert_eq!(answer.refused(400, "invalid"), ["/role"]);
        }
        let unknown = patch(world, owner, &path, json!({"account": world.acme.labs.id})).await;
        unknown.refused(400, "invalid");
    })
    .await;
}

#[tokio::test]
async fn a_role_is_raised_by_those_only_who_could_give_it() {
    on_each(async |world| {
        let admin = world.hire(Role::OrgAdmin, None).await;
        let path = format!("/members/{}", admin.member.id);
        let raise = json!({"role": "org_owner"});
        patch(world, &admin.token, &path, raise.clone())
            .await
            .refused(403, "forbidden");
        let answer = patch(world, &world.acme.owner.token, &path, raise).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        // The first owner may step down now, the second not any more.
        let first = format!("/members/{}", world.acme.owner.member.id);
        let lower = json!({"role": "org_auditor"});
        let answer = patch(world, &world.acme.owner.token, &first, lower.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        patch(world, &admin.token, &path, lower)
            .await
            .refused(409, "conflict");
    })
    .await;
}

#[tokio::test]
async fn the_last_owner_with_a_local_password_cannot_be_locked_out() {
    on_each(async |world| {
        let owner = &world.acme.owner;
        let mut tx = world.store.begin().await.unwrap();
        user::set_password(&mut tx, &owner.user.id, "$argon2id$x")
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let second = world.hire(Role::OrgOwner, None).await;
        let member = format!("/members/{}", owner.member.id);
        let person = format!("/users/{}", owner.user.id);
        for token in [&owner.token, &second.token] {
            let answer = world.call(token, Method::DELETE, &member, None).await;
            answer.refused(409, "conflict");
            assert!(answer.text.contains("local password"), "{}", answer.text);
            patch(world, token, &person, json!({"disabled": true}))
                .await
                .refused(409, "conflict");
            patch(world, token, &member, json!({"role": "org_admin"}))
                .await
                .refused(409, "conflict");
        }
    })
    .await;
}

// Invitations

#[tokio::test]
async fn an_invitation_shows_its_link_once() {
    on_each(async |world| {
        let owner = &world.acme.owner.token;
        let body = json!({"email": "ada@example.com", "role": "account_editor", "account": world.acme.account.id,
            "expires_in_seconds": 3600});
        let new = made(world, owner, "/invitations", body.clone()).await;
        let secret = new["url"].as_str().unwrap().strip_prefix("https://control.example.com/invite/chi_");
        let secret = format!("chi_{}", secret.unwrap());
        assert_eq!((&new["mailed"], &new["state"]), (&json!(false), &json!("pending")));
        let path = format!("/invitations/{}", new["id"].as_str().unwrap());
        let now = world.clock.now();
        let found = invitation::by_token_hash(&world.store, &store::sha256(&secret), now).await;
        assert_eq!(found.unwrap().unwrap().1.id.to_string(), new["id"]);
        for text in [
            world.get(&path).await.to_string(),
            world.get("/invitations").await.to_string(),
            serde_json::to_string(&log(world).await).unwrap(),
        ] {
            assert!(!text.contains(&secret) && !text.contains("chi_"), "{text}");
        }
        // The same again is a mistake, and a dry run makes no link.
        post(world, owner, "/invitations", body).await.refused(409, "conflict");
        let other = json!({"email": "bob@example.com", "role": "org_auditor"});
        let dry = post(world, owner, "/invitations?dry_run=true", other).await.json();
        assert_eq!(dry["resource"]["url"], "");
        let listed = world.get(&format!("/invitations?account={}&state=pending", world.acme.account.id)).await;
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        world.clock.advance(3600);
        assert_eq!(world.get(&path).await["state"], "expired");
        assert_eq!(world.get("/invitations?state=expired").await["items"][0]["id"], new["id"]);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_sent_again_and_taken_back() {
    on_each(async |world| {
        let owner = &world.acme.owner.token;
        let body = json!({"email": "ada@example.com", "role": "org_admin"});
        let first = made(world, owner, "/invitations", body).await;
        let path = format!("/invitations/{}", first["id"].as_str().unwrap());
        let resend = format!("{path}/resend");
        let again = world.call(owner, Method::POST, &resend, None).await;
        again.refused(429, "too-many-requests");
        world.clock.advance(60);
        let again = world.call(owner, Method::POST, &resend, None).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text);
        let hash = |invitation: &Value| {
            let url = invitation["url"].as_str().unwrap();
            store::sha256(url.rsplit('/').next().unwrap())
        };
        let is_open = async |hash: String| {
            let found = invitation::by_token_hash(&world.store, &hash, world.clock.now()).await;
            found.unwrap().is_some()
        };
        assert!(!is_open(hash(&first)).await && is_open(hash(&again.json())).await);
        assert_eq!(world.newest().await.action, "invitation.resend");
        let gone = world.call(owner, Method::DELETE, &path, None).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        assert!(!is_open(hash(&again.json())).await);
        assert_eq!(world.get(&path).await["state"], json!(InvitationState::Revoked));
        for answer in [world.call(owner, Method::DELETE, &path, None).await, {
            world.clock.advance(60);
            world.call(owner, Method::POST, &resend, None).await
        }] {
            answer.refused(409, "conflict");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_invites_to_a_role_that_they_could_not_give() {
    on_each(async |world| {
        let (production, labs) = (&world.acme.account, &world.acme.labs);
        let admin = world.hire(Role::OrgAdmin, None).await.token;
        let account_admin = world.hire(Role::AccountAdmin, Some(production)).await.token;
        let editor = world.hire(Role::AccountEditor, Some(production)).await.token;
        let invite = |role: Role, account: Option<&wire::Account>| {
            json!({"email": "x@example.com", "role": role, "account": account.map(|a| &a.id)})
        };
        let refused = async |token: &str, body: Value, status: u16| {
            for path in ["/invitations", "/members", "/role-mappings"] {
                let mut body = body.clone();
                let email = body["email"].take();
                body.as_object_mut().unwrap().remove("email");
                match path {
                    "/invitations" => body["email"] = email,
                    "/members" => body["user"] = json!(world.acme.employee.id),
                    _ => {
                        body["connection"] = json!(world.acme.connection.id);
                        body["group"] = "Everybody".into();
                    }
                }
                let answer = post(world, token, path, body).await;
                assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
            }
        };
        refused(&account_admin, invite(Role::OrgAuditor, None), 403).await;
        refused(&account_admin, invite(Role::AccountAuditor, Some(labs)), 400).await;
        refused(&editor, invite(Role::AccountAuditor, Some(production)), 403).await;
        let owner = invite(Role::OrgOwner, None);
        post(world, &admin, "/invitations", owner).await.refused(403, "forbidden");
        let mine = invite(Role::AccountAdmin, Some(production));
        made(world, &account_admin, "/invitations", mine).await;
        for (body, pointer) in [
            (json!({"email": "nobody", "role": "org_auditor"}), "/email"),
            (json!({"email": "a@b.c\r\nBcc: d@e.f", "role": "org_auditor"}), "/email"),
            (json!({"email": "a@b.c", "role": "account_admin"}), "/account"),
            (json!({"email": "a@b.c", "role": "org_admin", "account": production.id}), "/account"),
            (json!({"email": "a@b.c", "role": "org_admin", "expires_in_seconds": 1}), "/expires_in_seconds"),
            (json!({"email": "a@b.c", "role": "org_admin", "expires_in_seconds": 2_592_001}), "/expires_in_seconds"),
        ] {
            let answer = post(world, &world.acme.owner.token, "/invitations", body.clone()).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer], "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_account_makes_nobody_in_the_organisations_local_passwords() {
    on_each(async |world| {
        let account = &world.acme.account;
        let person = world.hire(Role::AccountAdmin, Some(account)).await;
        let automation = account_token(world, Role::AccountAdmin, account).await;
        let admin = world.hire(Role::OrgAdmin, None).await.token;
        let invite = |email: &str| {
            json!({"email": email, "role": "account_auditor", "account": account.id, "local": true})
        };
        let new = made(world, &admin, "/invitations", invite("a@example.com")).await;
        let resend = format!("/invitations/{}/resend", new["id"].as_str().unwrap());
        world.clock.advance(60);
        for token in [&person.token, &automation] {
            for path in ["/invitations", "/invitations?dry_run=true"] {
                let answer = post(world, token, path, invite("b@example.com")).await;
                answer.refused(403, "forbidden");
            }
            post(world, token, &resend, json!({})).await.refused(403, "forbidden");
        }
        let again = post(world, &admin, &resend, json!({})).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text);
        // One by somebody who administers no more than the account is worth nothing.
        let mut tx = world.store.begin().await.unwrap();
        let new = invitation::New {
            email: "c@example.com".into(),
            account: Some(account.id.clone()),
            role: Role::AccountAuditor,
            local: true,
            created_by: Some(person.user.id.clone()),
            expires_at: tx.now().plus_seconds(60),
        };
        let org = &world.acme.org;
        invitation::create(&mut tx, org, new, "hash").await.unwrap();
        let who = identity(&world.acme.local.id, "c");
        let who = user::provision(&mut tx, org, who).await.unwrap().user;
        tx.commit_housekeeping().await.unwrap();
        let mut tx = world.store.begin().await.unwrap();
        let taken = invitation::accept(&mut tx, org, "hash", &who.id).await;
        assert!(matches!(taken, Err(store::Error::NotFound(_))), "{taken:?}");
    })
    .await;
}

#[tokio::test]
async fn people_of_an_accounts_own_connection_get_roles_there_only() {
    on_each(async |world| {
        let acme = &world.acme;
        let owner = &acme.owner.token;
        let own = json!({"account": acme.labs.id, "name": "Labs", "kind": "oidc", "client_id": "x",
            "issuer": "https://idp.labs.example.com"});
        let own = made(world, owner, "/connections", own).await["id"].clone();
        let own: wire::ConnectionId = own.as_str().unwrap().parse().unwrap();
        let mut tx = world.store.begin().await.unwrap();
        let eve = user::sign_in(&mut tx, &acme.org, identity(&own, "eve"))
            .await
            .unwrap()
            .user;
        let invite = |account: &wire::Account| invitation::New {
            email: "eve@example.com".into(),
            account: Some(account.id.clone()),
            role: Role::AccountAuditor,
            local: false,
            created_by: Some(acme.owner.user.id.clone()),
            expires_at: world.clock.now().plus_seconds(60),
        };
        for (account, hash) in [(&acme.account, "there"), (&acme.labs, "here")] {
            invitation::create(&mut tx, &acme.org, invite(account), hash)
                .await
                .unwrap();
        }
        tx.commit_housekeeping().await.unwrap();
        for body in [
            json!({"user": eve.id, "role": "org_auditor"}),
            json!({"user": eve.id, "role": "account_editor", "account": acme.account.id}),
        ] {
            let answer = post(world, owner, "/members", body).await;
            assert_eq!(answer.refused(400, "invalid"), ["/user"]);
        }
        let labs = world.hire(Role::AccountAdmin, Some(&acme.labs)).await.token;
        let body = json!({"user": eve.id, "role": "account_editor", "account": acme.labs.id});
        made(world, &labs, "/members", body).await;
        // An invitation, however it is redeemed, gives them no other.
        let mut tx = world.store.begin().await.unwrap();
        let taken = invitation::accept(&mut tx, &acme.org, "there", &eve.id).await;
        assert!(matches!(taken, Err(store::Error::NotFound(_))), "{taken:?}");
        invitation::accept(&mut tx, &acme.org, "here", &eve.id)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_administers_an_account_gives_roles_to_people_whom_they_see() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let mut tx = world.store.begin().await.unwrap();
        let zoe = identity(&acme.elsewhere.id, "zoe");
        let zoe = user::sign_in(&mut tx, &acme.org, zoe).await.unwrap().user;
        tx.commit_housekeeping().await.unwrap();
        let give = |user: &wire::UserId| {
            json!({"user": user, "role": "account_auditor", "account": acme.account.id})
        };
        // Known to the organisation only; the same answer as for nobody.
        for path in ["/members", "/members?dry_run=true"] {
            for who in [&zoe.id, &world.other.employee.id] {
                let answer = post(world, &admin, path, give(who)).await;
                assert_eq!(answer.refused(400, "invalid"), ["/user"]);
                assert!(!answer.text.contains("zoe"), "{}", answer.text);
            }
        }
        made(world, &admin, "/members", give(&acme.employee.id)).await;
        made(world, &acme.owner.token, "/members", give(&zoe.id)).await;
    })
    .await;
}

#[tokio::test]
async fn a_persons_token_ends_while_their_connection_is_disabled() {
    on_each(async |world| {
        let acme = &world.acme;
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let automation = account_token(world, Role::AccountAdmin, &acme.account).await;
        let connection = format!("/connections/{}", acme.connection.id);
        for enabled in [false, true] {
            let answer = patch(world, &acme.owner.token, &connection, json!({"enabled": enabled})).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            assert_eq!(works(world, &admin).await, enabled);
            // Neither a local password nor a token of an account depends on it.
            assert!(works(world, &acme.owner.token).await && works(world, &automation).await);
        }
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_mailed_where_mail_is_configured() {
    on_each(async |world| {
        let folder = std::env::temp_dir().join(format!("{}_mail", world.acme.org));
        std::fs::create_dir(&folder).unwrap();
        let mailing = world.mailing(&folder);
        let body =
            json!({"email": "ada@example.com", "role": "account_admin", "account": world.acme.account.id});
        let new = made(&mailing, &world.acme.owner.token, "/invitations", body).await;
        assert_eq!(new["mailed"], true);
        let mails: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert_eq!(mails.len(), 1);
        let mail = std::fs::read_to_string(mails[0].as_ref().unwrap().path()).unwrap();
        assert!(
            mail.contains("To: ada@example.com") && mail.contains("Subject: Invitation to acme"),
            "{mail}"
        );
        // The body may be in quoted-printable: soft breaks, and `=` as `=3D`.
        let text = mail.replace("=\r\n", "").replace("=3D", "=");
        assert!(text.contains(new["url"].as_str().unwrap()), "{mail}");
        assert!(text.contains("Production, acme, as an administrator"), "{mail}");
        std::fs::remove_dir_all(&folder).unwrap();
        // A transport that fails undoes nothing.
        std::fs::write(&folder, "not a folder").unwrap();
        let body = json!({"email": "bob@example.com", "role": "org_auditor"});
        let new = made(&mailing, &world.acme.owner.token, "/invitations", body).await;
        assert_eq!(
            (&new["mailed"], &new["state"]),
            (&json!(false), &json!("pending"))
        );
        std::fs::remove_file(&folder).unwrap();
    })
    .await;
}

// Roles that follow from groups

#[tokio::test]
async fn a_group_gives_a_role_until_the_next_sign_in_without_it() {
    on_each(async |world| {
        let acme = &world.acme;
        let (ada, token) = mapped(world, Role::AccountEditor, Some(&acme.account)).await;
        let session = world.call(&token, Method::GET, "/session", None).await.json();
        let role = &session["roles"][0];
        assert_eq!(role["role"], "account_editor");
        let mapping = role["mapping"].as_str().unwrap().to_owned();
        let path = format!("/users/{}/roles", ada.id);
        assert_eq!(world.get(&path).await["items"], session["roles"]);
        // It is nobody's to take away as if it had been given.
        assert_eq!(
            world.get(&format!("/members?user={}", ada.id)).await["items"],
            json!([])
        );
        let app = format!("/apps/{}", acme.app.id);
        let renamed = patch(world, &token, &app, json!({"name": "Wiki 2"})).await;
        assert_eq!(renamed.status, StatusCode::OK, "{}", renamed.text);
        // Another role for the group: at once another role for everybody in it.
        let mapping = format!("/role-mappings/{mapping}");
        let changed = patch(
            world,
            &acme.owner.token,
            &mapping,
            json!({"role": "account_auditor"}),
        )
        .await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
        let event = world.newest().await;
        assert_eq!(event.action, "role_mapping.update");
        assert_eq!(event.change.unwrap().before, json!({"role": "account_editor"}));
        patch(world, &token, &app, json!({"name": "Wiki 3"}))
            .await
            .refused(403, "forbidden");
        // Signed in without the group.
        let mut tx = world.store.begin().await.unwrap();
        let without = identity(&acme.connection.id, &ada.subject);
        user::sign_in(&mut tx, &acme.org, without).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert_eq!(world.get(&path).await["items"], json!([]));
        world
            .call(&token, Method::GET, "/apps", None)
            .await
            .refused(403, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn a_mapping_gives_no_more_than_its_connection_may_say() {
    on_each(async |world| {
        let acme = &world.acme;
        let owner = &acme.owner.token;
        let map = |connection: &Value, role: &str, account: Option<&wire::Account>| {
            json!({"connection": connection, "group": "Admins", "role": role, "account": account.map(|a| &a.id)})
        };
        let shared = json!(acme.connection.id);
        let refused = async |body: Value, pointer: &str| {
            let answer = post(world, owner, "/role-mappings", body).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer]);
        };
        refused(map(&shared, "org_owner", None), "/role").await;
        refused(map(&shared, "account_admin", None), "/account").await;
        refused(map(&shared, "org_admin", Some(&acme.account)), "/account").await;
        // Whoever administers an account decides what its own connection says.
        let own = json!({"account": acme.labs.id, "name": "Labs", "kind": "oidc", "client_id": "x",
            "issuer": "https://idp.labs.example.com"});
        let own = made(world, owner, "/connections", own).await["id"].clone();
        refused(map(&own, "org_admin", None), "/connection").await;
        refused(map(&own, "account_admin", Some(&acme.account)), "/connection").await;
        let labs = world.hire(Role::AccountAdmin, Some(&acme.labs)).await.token;
        let mapping = made(world, &labs, "/role-mappings", map(&own, "account_admin", Some(&acme.labs))).await;
        let path = format!("/role-mappings/{}", mapping["id"].as_str().unwrap());
        for body in [json!({"role": "org_auditor", "account": null}), json!({"connection": shared})] {
            let answer = patch(world, &labs, &path, body).await;
            assert!(matches!(answer.status.as_u16(), 400 | 403), "{}", answer.text);
        }
        let gone = world.call(&labs, Method::DELETE, &path, None).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
        assert_eq!(world.newest().await.action, "role_mapping.delete");
    })
    .await;
}

// API tokens

#[tokio::test]
async fn a_token_of_an_account_acts_as_itself_and_outlives_its_maker() {
    on_each(async |world| {
        let acme = &world.acme;
        let maker = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        let new = json!({"name": "terraform", "scopes": ["write", "audit"], "account": acme.account.id,
            "role": "account_admin"});
        let new = made(world, &maker.token, "/api-tokens", new).await;
        assert_eq!(new["created_by"], json!(maker.user.id));
        assert!(new.get("owner").is_none());
        let token = new["token"].as_str().unwrap();
        let path = format!("/api-tokens/{}", new["id"].as_str().unwrap());
        let disabled = json!({"disabled": true});
        let person = format!("/users/{}", maker.user.id);
        assert_eq!(
            patch(world, &acme.owner.token, &person, disabled).await.status,
            200
        );
        assert!(!works(world, &maker.token).await && works(world, token).await);
        let session = world.call(token, Method::GET, "/session", None).await.json();
        assert!(session.get("user").is_none());
        assert_eq!(session["token"]["id"], new["id"]);
        assert_eq!(
            session["roles"],
            json!([{"role": "account_admin", "account": acme.account.id}])
        );
        let app = format!("/apps/{}", acme.app.id);
        assert_eq!(
            patch(world, token, &app, json!({"name": "Wiki 2"})).await.status,
            200
        );
        let actor = world.newest().await.actor;
        assert_eq!((actor.user, actor.email), (None, None));
        assert_eq!(actor.token.unwrap().to_string(), new["id"]);
        assert_eq!(actor.token_account.as_ref(), Some(&acme.account.id));
        assert_eq!(actor.token_name.as_deref(), Some("terraform"));
        // It makes tokens of its account, but has none of its own, and none elsewhere.
        let child =
            json!({"name": "ci", "scopes": ["read"], "account": acme.account.id, "role": "account_auditor"});
        let child = made(world, token, "/api-tokens", child).await;
        assert!(child.get("created_by").is_none());
        let own = json!({"name": "ci", "scopes": ["read"]});
        assert_eq!(
            post(world, token, "/api-tokens", own)
                .await
                .refused(400, "invalid"),
            ["/account"]
        );
        let labs =
            json!({"name": "ci", "scopes": ["read"], "account": acme.labs.id, "role": "account_auditor"});
        assert_eq!(
            post(world, token, "/api-tokens", labs)
                .await
                .refused(400, "invalid"),
            ["/account"]
        );
        for role in [json!("org_admin"), json!(null)] {
            let bad = json!({"name": "ci", "scopes": ["read"], "account": acme.account.id, "role": role});
            assert_eq!(
                post(world, token, "/api-tokens", bad)
                    .await
                    .refused(400, "invalid"),
                ["/role"]
            );
        }
        // Its account's administrators see and end it; a disabled account's tokens are refused.
        let listed = world
            .get(&format!("/api-tokens?account={}", acme.account.id))
            .await;
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        let account = format!("/accounts/{}", acme.account.id);
        for enabled in [false, true] {
            let answer = patch(world, &acme.owner.token, &account, json!({"enabled": enabled})).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(works(world, token).await, enabled);
        }
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let gone = world.call(&admin, Method::DELETE, &path, None).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
        assert!(!works(world, token).await);
    })
    .await;
}

#[tokio::test]
async fn a_token_of_an_account_sees_nothing_of_another() {
    on_each(async |world| {
        let token = account_token(world, Role::AccountAdmin, &world.acme.labs).await;
        for list in [
            "/apps",
            "/policies",
            "/clients",
            "/grants",
            "/bindings",
            "/members",
            "/invitations",
            "/role-mappings",
        ] {
            let answer = world.call(&token, Method::GET, list, None).await;
            assert_eq!(answer.json()["items"], json!([]), "{list}");
        }
        let primary = json!({"primary_connection": world.acme.connection.id});
        let request = http::Request::patch("/api/v1/organisation")
            .header("authorization", format!("Bearer {}", world.acme.owner.token))
            .header("content-type", "application/json")
            .header("if-match", "*");
        let answer = world
            .send(request.body(primary.to_string().into()).unwrap())
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        // The primary connection is not bound there.
        for (token, seen) in [(&token, false), (&world.acme.owner.token, true)] {
            for path in ["/organisation", "/session"] {
                let answer = world.call(token, Method::GET, path, None).await;
                assert_eq!(
                    answer.text.contains(world.acme.connection.id.as_ref()),
                    seen,
                    "{path}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_works_at_its_addresses_only() {
    on_each(async |world| {
        // Requests of these tests come from 203.0.113.7.
        let owner = &world.acme.owner.token;
        let new = json!({"name": "ci", "scopes": ["read"], "allowed_ips": ["203.0.113.0/24", "::1"]});
        let new = made(world, owner, "/api-tokens", new).await;
        assert_eq!(new["allowed_ips"], json!(["203.0.113.0/24", "::1/128"]));
        let token = new["token"].as_str().unwrap();
        let path = format!("/api-tokens/{}", new["id"].as_str().unwrap());
        assert!(works(world, token).await);
        assert_eq!(world.get(&path).await["last_used_ip"], "203.0.113.7");
        let change = patch(world, owner, &path, json!({"allowed_ips": ["198.51.100.0/24"]})).await;
        assert_eq!(
            (change.status, change.header("etag")),
            (StatusCode::OK, "\"v2\""),
            "{}",
            change.text
        );
        let elsewhere = world.call(token, Method::GET, "/session", None).await;
        elsewhere.refused(401, "unauthenticated");
        // The same answer as to what was never a token, and a line in the log.
        let never = control::mint_api_token().unwrap().0;
        assert_eq!(
            world.call(&never, Method::GET, "/session", None).await.text,
            elsewhere.text
        );
        let event = world.newest().await;
        assert_eq!(
            (event.action.as_str(), event.outcome),
            ("api_token.refuse", Outcome::Denied)
        );
        assert_eq!(event.reason.as_deref(), Some("address_not_allowed"));
        assert_eq!(event.request.unwrap().ip.as_deref(), Some("203.0.113.7"));
        for bad in [json!(["example.com"]), json!(["10.0.0.0/33"]), json!([""])] {
            let answer = patch(world, owner, &path, json!({"allowed_ips": bad})).await;
            assert_eq!(answer.refused(400, "invalid"), ["/allowed_ips/0"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_rolled_token_goes_on_with_a_new_secret() {
    on_each(async |world| {
        let owner = &world.acme.owner.token;
        let new = made(
            world,
            owner,
            "/api-tokens",
            json!({"name": "ci", "scopes": ["read", "write"]}),
        )
        .await;
        let path = format!("/api-tokens/{}", new["id"].as_str().unwrap());
        let roll = format!("{path}/roll");
        let first = new["token"].as_str().unwrap();
        let secret = |answer: &Answer| answer.json()["token"].as_str().unwrap().to_owned();
        let second = post(world, owner, &roll, json!({"overlap_seconds": 60})).await;
        assert_eq!(second.status, 200, "{}", second.text);
        let second = secret(&second);
        assert!(works(world, first).await && works(world, &second).await);
        let event = world.newest().await;
        assert_eq!(event.action, "api_token.roll");
        assert!(!serde_json::to_string(&event).unwrap().contains(&second));
        world.clock.advance(60);
        assert!(!works(world, first).await && works(world, &second).await);
        // It rolls itself; without overlap the old secret ends at once.
        let third = world.call(&second, Method::POST, &roll, None).await;
        assert_eq!(third.status, 200, "{}", third.text);
        assert!(!works(world, &second).await && works(world, &secret(&third)).await);
        let dry = post(world, owner, &format!("{roll}?dry_run=true"), json!({}))
            .await
            .json();
        assert_eq!(dry["resource"]["token"], "");
        assert!(works(world, &secret(&third)).await);
        let long = post(world, owner, &roll, json!({"overlap_seconds": 86_401})).await;
        assert_eq!(long.refused(400, "invalid"), ["/overlap_seconds"]);
        // What is over stays over.
        let soon = json!({"expires_at": world.clock.now().plus_seconds(10)});
        assert_eq!(patch(world, owner, &path, soon).await.status, 200);
        world.clock.advance(10);
        post(world, owner, &roll, json!({}))
            .await
            .refused(409, "conflict");
    })
    .await;
}

#[tokio::test]
async fn a_token_makes_changes_and_rolls_nothing_that_may_do_more_than_itself() {
    on_each(async |world| {
        let owner = &world.acme.owner;
        let end = |seconds: i64| json!(world.clock.now().plus_seconds(seconds));
        let narrow = json!({"name": "narrow", "scopes": ["write"], "allowed_ips": ["203.0.113.0/24"],
            "expires_at": end(3600)});
        let narrow = made(world, &owner.token, "/api-tokens", narrow).await;
        let token = narrow["token"].as_str().unwrap();
        let base =
            json!({"name": "T", "scopes": ["read"], "allowed_ips": ["203.0.113.7"], "expires_at": end(60)});
        let child = made(world, token, "/api-tokens", base.clone()).await;
        let child = format!("/api-tokens/{}", child["id"].as_str().unwrap());
        for (member, value) in [
            ("scopes", json!(["read", "audit"])),
            ("allowed_ips", json!([])),
            ("allowed_ips", json!(["203.0.113.0/24", "198.51.100.1"])),
            ("expires_at", end(3601)),
            ("expires_at", json!(null)),
        ] {
            let mut more = base.clone();
            more[member] = value.clone();
            post(world, token, "/api-tokens", more)
                .await
                .refused(403, "forbidden");
            if member != "scopes" {
                let answer = patch(world, token, &child, json!({member: value})).await;
                answer.refused(403, "forbidden");
            }
        }
        // The owner's wide token is out of its reach, too: neither its secret nor its limits.
        let wide = format!("/api-tokens/{}", owner.token_id);
        post(world, token, &format!("{wide}/roll"), json!({}))
            .await
            .refused(403, "forbidden");
        patch(world, token, &wide, json!({"expires_at": end(60)}))
            .await
            .refused(403, "forbidden");
        // And so is that of anybody else, even for an owner: its secret would make them somebody else.
        let colleague = world.hire(Role::OrgAuditor, None).await;
        let theirs = format!("/api-tokens/{}", colleague.token_id);
        post(world, &owner.token, &format!("{theirs}/roll"), json!({}))
            .await
            .refused(403, "forbidden");
        patch(world, &owner.token, &theirs, json!({"name": "X"}))
            .await
            .refused(403, "forbidden");
        let gone = world.call(&owner.token, Method::DELETE, &theirs, None).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    })
    .await;
}
