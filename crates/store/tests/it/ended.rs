//! Whatever ends because of something else leaves an event of its own, that names whose it was and why.

use crate::world::{World, account_spec, new_client, on_each};
use store::audit::{self, Filter, Order};
use store::{Tx, binding, client, grant, user};
use wire::*;

async fn events(w: &World, action: &str) -> Vec<AuditEvent> {
    let filter = Filter {
        action: Some(action.into()),
        ..Filter::default()
    };
    let all = (Order::Oldest, None);
    audit::list(&w.store, &w.org, &filter, all, 10_000).await.unwrap()
}

/// Runs an operation as an administrator would.
async fn act(w: &World, action: &str, operation: impl AsyncFnOnce(&mut Tx) -> store::Result<()>) {
    let mut tx = w.store.begin().await.unwrap();
    Box::pin(operation(&mut tx)).await.unwrap();
    let mut event = audit::event(&w.org, "api", action, AuditActor::of(ActorKind::Admin));
    event.request = Some(AuditRequest {
        id: "req_1".into(),
        method: "PATCH".into(),
        path: "/".into(),
        ip: None,
        user_agent: None,
    });
    tx.commit(event).await.unwrap();
}

/// The one event of a grant that ended: of whom, which agent's, at which app, and why.
#[track_caller]
fn assert_grant(w: &World, events: &[AuditEvent], id: &GrantId, reason: &str) {
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    let target = event.target.as_ref().unwrap();
    assert_eq!((target.kind.as_str(), &target.id), ("grant", &id.to_string()));
    assert_eq!(target.user.as_ref(), Some(&w.user.id));
    assert_eq!(target.app.as_ref(), Some(&w.app.id));
    assert_eq!(event.actor.kind, ActorKind::Admin);
    assert_eq!(event.actor.client.as_ref(), Some(&w.client.id));
    assert_eq!(event.actor.client_name.as_deref(), Some("Agent"));
    assert_eq!(event.actor.grant.as_ref(), Some(id));
    assert_eq!(event.account.as_ref(), Some(&w.account.id));
    assert_eq!(event.reason.as_deref(), Some(reason));
    assert_eq!(event.source, "api");
    assert_eq!(event.request.as_ref().unwrap().id, "req_1");
}

#[tokio::test]
async fn grants_that_end_with_their_client_are_in_the_log() {
    for (reason, state) in [
        ("client_blocked", Some(ClientState::Blocked)),
        ("client_pending", Some(ClientState::Pending)),
        ("client_deleted", None),
    ] {
        on_each(async |w| {
            let id = w.used_grant(&w.user, &w.client, "code").await;
            act(w, "client.update", async |tx| match state {
                Some(state) => {
                    let spec = ClientSpec {
                        tier: w.client.tier,
                        state,
                    };
                    client::update(tx, &w.client, &spec).await.map(drop)
                }
                None => client::delete(tx, &w.client.id).await,
            })
            .await;
            assert_grant(w, &events(w, "grant.revoke").await, &id, reason);
            assert_eq!(events(w, "client.update").await.len(), 1);
            // Who looks for the person finds what they lost, and who looks for the agent, too.
            let of_person = Filter {
                user: Some(w.user.id.clone()),
                client: Some(w.client.id.clone()),
                grant: Some(id),
                app: Some(w.app.id.clone()),
                ..Filter::default()
            };
            let newest = (Order::Newest, None);
            let found = audit::list(&w.store, &w.org, &of_person, newest, 10)
                .await
                .unwrap();
            assert_eq!(found.len(), 1);
        })
        .await;
    }
}

#[tokio::test]
async fn what_ends_with_a_person_is_in_the_log() {
    on_each(async |w| {
        let grant = w.used_grant(&w.user, &w.client, "code").await;
        let parent = w.session("h1", w.record(&w.user)).await;
        let mut at_app = w.record(&w.user);
        at_app.app = Some(w.app.id.clone());
        at_app.parent = Some(parent.clone());
        let at_app = w.session("h2", at_app).await;
        // Over by itself: it does not end once more.
        let mut over = w.record(&w.user);
        over.expires_at = w.clock.now().plus_seconds(-1);
        w.session("h3", over).await;
        act(w, "user.update", async |tx| {
            user::set_disabled(tx, &w.org, &w.user, true).await.map(drop)
        })
        .await;
        assert_grant(w, &events(w, "grant.revoke").await, &grant, "user_disabled");
        let ended = events(w, "session.end").await;
        let mut said: Vec<_> = ended
            .iter()
            .map(|e| {
                let target = e.target.as_ref().unwrap();
                assert_eq!(target.user.as_ref(), Some(&w.user.id));
                assert_eq!(e.reason.as_deref(), Some("user_disabled"));
                (target.id.clone(), e.account.clone(), target.app.clone())
            })
            .collect();
        said.sort();
        let mut expected = [
            (parent.to_string(), None, None),
            (
                at_app.to_string(),
                Some(w.account.id.clone()),
                Some(w.app.id.clone()),
            ),
        ];
        expected.sort();
        assert_eq!(said, expected);
    })
    .await;
}

#[tokio::test]
async fn what_ends_with_an_app_or_a_binding_is_in_the_log() {
    on_each(async |w| {
        let grant = w.used_grant(&w.user, &w.client, "code").await;
        let mut at_app = w.record(&w.user);
        at_app.app = Some(w.app.id.clone());
        let first = w.session("h1", at_app.clone()).await;
        act(w, "binding.delete", async |tx| {
            binding::delete(tx, &w.binding).await?;
            binding::end_held(tx, &w.connection.id, std::slice::from_ref(&w.account.id)).await
        })
        .await;
        assert_grant(w, &events(w, "grant.revoke").await, &grant, "binding_detached");
        let ended = events(w, "session.end").await;
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].target.as_ref().unwrap().id, first.to_string());
        assert_eq!(ended[0].reason.as_deref(), Some("binding_detached"));

        let id = w.used_grant(&w.user, &w.client, "other").await;
        at_app.id = SessionId::fresh();
        w.session("h2", at_app).await;
        act(w, "app.delete", async |tx| store::app::delete(tx, &w.app).await).await;
        assert_grant(w, &events(w, "grant.revoke").await[1..], &id, "app_deleted");
        assert_eq!(
            events(w, "session.end").await[1].reason.as_deref(),
            Some("app_deleted")
        );
    })
    .await;
}

#[tokio::test]
async fn what_ends_with_an_account_is_in_the_log() {
    on_each(async |w| {
        let account = w.account("Sales").await;
        w.write(async |tx| {
            let ends = (&w.connection.id, &account.id);
            binding::create(tx, &w.org, ends, crate::world::binding_spec()).await?;
            let role = NewMember {
                user: w.user.id.clone(),
                account: Some(account.id.clone()),
                role: Role::AccountAdmin,
            };
            store::org::add_member(tx, &w.org, role).await
        })
        .await
        .unwrap();
        act(w, "account.delete", async |tx| {
            store::org::delete_account(tx, &account).await
        })
        .await;
        for (action, of) in [("binding.delete", None), ("member.delete", Some(&w.user.id))] {
            let ended = events(w, action).await;
            assert_eq!(ended.len(), 1, "{action}");
            assert_eq!(ended[0].reason.as_deref(), Some("account_deleted"));
            assert_eq!(ended[0].account.as_ref(), Some(&account.id));
            assert_eq!(ended[0].target.as_ref().unwrap().user.as_ref(), of);
        }
        let spec = account_spec("Again");
        act(w, "account.create", async |tx| {
            store::org::create_account(tx, &w.org, spec).await.map(drop)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_said_twice_or_of_what_had_ended() {
    on_each(async |w| {
        let id = w.used_grant(&w.user, &w.client, "code").await;
        let mut tx = w.store.begin().await.unwrap();
        let which = grant::Which::One(&id);
        assert_eq!(
            grant::revoke_where(&mut tx, which, "administrator")
                .await
                .unwrap()
                .len(),
            1
        );
        // Whoever says it with more of their own is not repeated.
        let mut event = w.event("grant.revoke");
        event.reason = Some("in_their_words".into());
        event.target = Some(audit::target("grant", &id, None));
        tx.commit(event).await.unwrap();
        let told = events(w, "grant.revoke").await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].reason.as_deref(), Some("in_their_words"));
        assert_eq!(told[0].target.as_ref().unwrap().user.as_ref(), Some(&w.user.id));
        // It ended once, and what expired ended by itself.
        w.used_grant(&w.user, &w.client, "expires").await;
        w.clock.advance(86_401);
        act(w, "client.delete", async |tx| {
            client::delete(tx, &w.client.id).await
        })
        .await;
        assert_eq!(events(w, "grant.revoke").await.len(), 1);
        // A transaction that comes to nothing ended nothing.
        let agent = w.agent(new_client()).await;
        w.used_grant(&w.user, &agent, "third").await;
        let mut tx = w.store.begin().await.unwrap();
        client::delete(&mut tx, &agent.id).await.unwrap();
        drop(tx);
        assert_eq!(events(w, "grant.revoke").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn thousands_that_end_at_once_are_all_in_the_log() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        for n in 0..1500 {
            let consent = grant::Consent {
                org: &w.org,
                account: &w.account.id,
                app: &w.app.id,
                user: &w.user.id,
                client: &w.client.id,
                scopes: &[],
                authentication: &w.authentication(),
                expires_at: w.clock.now().plus_seconds(86_400),
            };
            let code = format!("code {n}");
            grant::issue(&mut tx, &consent, &code, ("http://127.0.0.1/cb", "c", "r"))
                .await
                .unwrap();
        }
        tx.commit_housekeeping().await.unwrap();
        let mut tx = w.store.begin().await.unwrap();
        client::delete(&mut tx, &w.client.id).await.unwrap();
        // Housekeeping is no way round the log.
        tx.commit_housekeeping().await.unwrap();
        let told = events(w, "grant.revoke").await;
        assert_eq!(told.len(), 1500);
        assert!(told.iter().all(|e| e.actor.kind == ActorKind::System));
        assert_eq!(audit::verify(&w.store, &w.org, &[]).await.unwrap().checked, 1500);
    })
    .await;
}

/// Statements that end something of somebody's stand in one file, where ending and saying so are one.
#[test]
fn nothing_is_ended_elsewhere() {
    const ENDING: [&str; 5] = [
        "DELETE FROM sessions",
        "DELETE FROM grants",
        "UPDATE grants SET revoked",
        "UPDATE invitations SET revoked",
        "DELETE FROM api_tokens",
    ];
    // What is there for one thing that is named in the event of whoever deletes it, or deletes rows of what had ended
    // before. What is over by itself leaves by `retention.rs`.
    const ALLOWED: [(&str, &str); 6] = [
        ("app.rs", "DELETE FROM grants WHERE app = $1"),
        ("client.rs", "DELETE FROM grants WHERE client = $1"),
        (
            "api_token.rs",
            "DELETE FROM api_tokens WHERE id = $1 AND version = $2",
        ),
        ("invitation.rs", "UPDATE invitations SET revoked_at = $1 \\"),
        ("ended.rs", ""),
        // It names statements and runs none.
        ("explain.rs", ""),
    ];
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let ends = ENDING.iter().any(|ending| line.contains(ending));
                let allowed = ALLOWED
                    .iter()
                    .any(|(file, text)| *file == name && line.contains(text));
                if ends && !allowed {
                    found.push(format!("{name}: {}", line.trim()));
                }
            }
        }
    }
    assert_eq!(found, [""; 0]);
}
