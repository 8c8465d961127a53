//! What somebody unknown tries is on record, counted, in the log where it belongs, and nobody's who did not do it.

use crate::browser::Browser;
use crate::world::{World, from, on_each};
use http::StatusCode;
use serde_json::json;
use store::{audit, invitation};
use wire::{ActorKind, AuditActor, AuditEvent, OrgId, Role, TrialState, UserId};

/// All events of an action in an organisation's log, counts included.
async fn all_of(w: &World, org: &OrgId, action: &str) -> Vec<AuditEvent> {
    w.store.write_all_folds().await.unwrap();
    let filter = audit::Filter {
        action: Some(action.to_owned()),
        ..audit::Filter::default()
    };
    let oldest = (audit::Order::Oldest, None);
    audit::list(&w.store, org, &filter, oldest, 200).await.unwrap()
}

fn times(events: &[AuditEvent]) -> u64 {
    let counts = events.iter().map(|e| e.repeated.as_ref().map_or(1, |r| r.count));
    counts.sum()
}

/// Events of nobody with one reason, as one and a count, without what was guessed.
#[track_caller]
fn are_counted(events: &[AuditEvent], reason: &str, count: u64) -> AuditEvent {
    let found: Vec<_> = events
        .iter()
        .filter(|e| e.reason.as_deref() == Some(reason))
        .cloned()
        .collect();
    assert!((1..=2).contains(&found.len()), "{reason}: {events:#?}");
    assert_eq!(times(&found), count, "{reason}: {found:#?}");
    for event in &found {
        assert_eq!(event.actor, AuditActor::of(ActorKind::Anonymous));
        assert!(
            !serde_json::to_string(event).unwrap().contains("guess"),
            "{event:#?}"
        );
    }
    found[0].clone()
}

async fn invite(w: &World, email: &str, secret: &str, by: &UserId) -> wire::Invitation {
    let mut tx = w.store.begin().await.unwrap();
    let new = invitation::New {
        email: email.to_owned(),
        account: Some(w.production.clone()),
        role: Role::AccountEditor,
        local: false,
        created_by: Some(by.clone()),
        expires_at: tx.now().plus_seconds(3600),
    };
    let made = invitation::create(&mut tx, &w.org, new, &store::sha256(secret)).await;
    tx.commit_housekeeping().await.unwrap();
    made.unwrap()
}

/// Another organisation on the same server.
async fn another(w: &World) -> OrgId {
    let mut tx = w.store.begin().await.unwrap();
    let spec = from(json!({ "name": "Other" }));
    let other = store::org::create(&mut tx, "other", spec).await.unwrap().id;
    tx.commit_housekeeping().await.unwrap();
    other
}

async fn open(browser: &mut Browser, path: &str, times: usize) {
    for n in 0..times {
        let path = path.replace('#', &n.to_string());
        browser.get(&path).await.is_error(StatusCode::NOT_FOUND);
        let answer = browser.post(&path, &[("csrf", "guess")]).await;
        answer.is_error(StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn guessed_invitation_links_are_on_record() {
    on_each(async |w| {
        // Also those that somebody opens who is signed in: a link may come from anywhere.
        let mut alice = w.signed_in(json!({ "email": "alice@acme.example" })).await;
        for browser in [&mut w.browser(), &mut alice] {
            open(browser, "/invite/chi_guess#", 10).await;
        }
        let events = all_of(w, &w.org, "invitation.refuse").await;
        assert_eq!(times(&events), 40);
        for method in ["GET", "POST"] {
            let by = |e: &&AuditEvent| e.request.as_ref().is_some_and(|r| r.method == method);
            let events: Vec<_> = events.iter().filter(by).cloned().collect();
            let event = are_counted(&events, "link_unknown", 20);
            assert_eq!(
                (event.request.unwrap().path.as_str(), event.target),
                ("/invite/", None)
            );
        }
    })
    .await;
}

#[tokio::test]
async fn links_that_are_over_are_on_record_where_they_belong() {
    on_each(async |w| {
        let other = another(w).await;
        let made = invite(w, "bob@acme.example", "chi_guess_over", &w.owner).await;
        w.clock.advance(3601);
        open(&mut w.browser(), "/invite/chi_guess_over", 5).await;
        let events = all_of(w, &w.org, "invitation.refuse").await;
        let posts = events
            .iter()
            .filter(|e| e.request.as_ref().unwrap().method == "POST");
        let event = are_counted(&posts.cloned().collect::<Vec<_>>(), "link_ended", 5);
        assert_eq!(event.account.as_ref(), Some(&w.production));
        assert_eq!(event.target.unwrap().id, made.id.to_string());
        // Whose one is that nobody knows, cannot be told.
        let before = events.len();
        open(&mut w.browser(), "/invite/chi_guess#", 5).await;
        assert_eq!(all_of(w, &w.org, "invitation.refuse").await.len(), before);
        assert!(
            all_of(w, &other, "")
                .await
                .iter()
                .all(|e| e.actor.kind == ActorKind::System)
        );
    })
    .await;
}

#[tokio::test]
async fn an_invitation_that_is_somebody_elses_or_over_by_its_maker_is_on_record() {
    on_each(async |w| {
        let alice = json!({ "email": "alice@acme.example", "email_verified": true });
        let mut alice = w.signed_in(alice).await;
        invite(w, "bob@acme.example", "chi_guess_bob", &w.owner).await;
        for _ in 0..5 {
            let page = alice.post("/invite/chi_guess_bob", &[("csrf", "x")]).await;
            assert_eq!(page.status, StatusCode::OK);
        }
        let events = all_of(w, &w.org, "invitation.refuse").await;
        are_counted(&events, "link_refused", 5);
        // Who invited may not any more; Alice did nothing wrong, and nothing is hers.
        let maker = w.user("alice").await.id;
        invite(w, "alice@acme.example", "chi_guess_alice", &maker).await;
        let page = alice.get("/invite/chi_guess_alice").await;
        page.is_error(StatusCode::NOT_FOUND);
        let answer = alice.post("/invite/chi_guess_alice", &[("csrf", "x")]).await;
        answer.is_error(StatusCode::NOT_FOUND);
        let events = all_of(w, &w.org, "invitation.refuse").await;
        assert_eq!(times(&events), 7);
    })
    .await;
}

#[tokio::test]
async fn guessed_trial_links_are_on_record() {
    on_each(async |w| {
        open(&mut w.browser(), "/login/trial/guess#", 10).await;
        let long = format!("/login/trial/{}", "guess".repeat(100));
        w.browser().get(&long).await.is_error(StatusCode::NOT_FOUND);
        let events = all_of(w, &w.org, "connection.trial").await;
        assert_eq!(times(&events), 21);
        let gets = events
            .iter()
            .filter(|e| e.request.as_ref().unwrap().method == "GET");
        let event = are_counted(&gets.cloned().collect::<Vec<_>>(), "link_unknown", 11);
        assert_eq!(event.request.unwrap().path, "/login/trial/");
        // One that has ended is the connection's.
        let mut tx = w.store.begin().await.unwrap();
        let place = (&w.org, &w.connection.id);
        store::trial::create(
            &mut tx,
            place,
            &store::sha256("guess-over"),
            (TrialState::Waiting, vec![]),
        )
        .await
        .unwrap();
        tx.commit_housekeeping().await.unwrap();
        w.clock.advance(3601);
        w.browser()
            .get("/login/trial/guess-over")
            .await
            .is_error(StatusCode::NOT_FOUND);
        let events = all_of(w, &w.org, "connection.trial").await;
        let event = are_counted(&events, "link_ended", 1);
        assert_eq!(event.target.unwrap().id, w.connection.id.to_string());
    })
    .await;
}

#[tokio::test]
async fn logout_tokens_that_nobody_waits_for_are_on_record() {
    on_each(async |w| {
        let mut browser = w.browser();
        let token = [("logout_token", "guess")];
        for n in 0..10 {
            let fresh = wire::ConnectionId::fresh().to_string();
            for id in [format!("guess{n}"), format!("con_guess{n}"), fresh] {
                let path = format!("/login/backchannel/{id}");
                let answer = browser.post(&path, &token).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            }
            let there = format!("/login/backchannel/{}", w.connection.id);
            assert_eq!(browser.post(&there, &token).await.status, StatusCode::BAD_REQUEST);
        }
        let events = all_of(w, &w.org, "session.backchannel_logout").await;
        let unknown = are_counted(&events, "connection_unknown", 30);
        assert_eq!(unknown.request.unwrap().path, "/login/backchannel/");
        let closed = are_counted(&events, "disabled", 10);
        assert_eq!(closed.target.unwrap().id, w.connection.id.to_string());
    })
    .await;
}

#[tokio::test]
async fn forms_of_other_pages_are_on_record_as_nobodys() {
    on_each(async |w| {
        let mut alice = w.signed_in(json!({ "email": "alice@acme.example" })).await;
        for n in 0..10 {
            for path in [
                "/logout".to_owned(),
                "/me/grants/revoke".to_owned(),
                format!("/me/grants/guess{n}/revoke"),
                format!("/me/sessions/guess{n}/end"),
                "/login/password".to_owned(),
                "/login/confirm".to_owned(),
            ] {
                let answer = alice.post(&path, &[("csrf", "guess")]).await;
                answer.is_error(StatusCode::FORBIDDEN);
            }
        }
        let events = all_of(w, &w.org, "form.refuse").await;
        assert_eq!(times(&events), 60, "{events:#?}");
        assert_eq!(events.len(), 12);
        let one = events
            .iter()
            .filter(|e| e.request.as_ref().unwrap().path == "/me/grants/{grant}/revoke");
        are_counted(&one.cloned().collect::<Vec<_>>(), "csrf_token", 10);
    })
    .await;
}

#[tokio::test]
async fn what_no_gateway_sends_to_sign_in_is_on_record() {
    on_each(async |w| {
        for n in 0..10 {
            let path = format!("/signin/{}?state=guess%20{n}", w.wiki.id);
            w.browser().get(&path).await.is_error(StatusCode::BAD_REQUEST);
        }
        let events = all_of(w, &w.org, "app.sign_in").await;
        let event = are_counted(&events, "invalid_request", 10);
        assert_eq!(event.target.unwrap().id, w.wiki.id.to_string());
    })
    .await;
}

/// Rows of the tables that a visitor could fill.
async fn rows(w: &World) -> Vec<u64> {
    let mut rows = Vec::new();
    for (table, column) in [
        ("sessions", "hash"),
        ("pending_logins", "hash"),
        ("email_codes", "hash"),
        ("attempts", "act"),
        ("spent_forms", "hash"),
        ("deep_links", "hash"),
        ("changes", "topic"),
    ] {
        // Says how many there are, and changes nothing.
        let sql = format!("UPDATE {table} SET {column} = {column}");
        rows.push(testkit::execute(&w.url, &sql).await);
    }
    rows
}

#[tokio::test]
async fn whoever_only_looks_at_pages_leaves_no_row_and_can_send_their_forms() {
    on_each(async |w| {
        let owner = w.user("owner@acme.example").await;
        invite(w, "new@acme.example", "guess", &owner.id).await;
        let email = w
            .connect(
                from(json!({ "name": "Guests", "kind": "email_code", "allowed_domains": ["guest.example"] })),
                Some("allowed"),
            )
            .await;
        let before = rows(w).await;
        let pages = [
            "/login".to_owned(),
            "/login?org=acme&return_to=/me".to_owned(),
            "/login/passkey?org=acme".to_owned(),
            format!("/login/email/{}?account={}", email.id, w.production),
            "/invite/guess".to_owned(),
            "/invite/wrong".to_owned(),
            "/login/trial/wrong".to_owned(),
            "/login/factor".to_owned(),
            "/login/enrol".to_owned(),
            "/logout".to_owned(),
            "/me".to_owned(),
        ];
        for page in &pages {
            for _ in 0..3 {
                let seen = w.browser().get(page).await;
                assert!(!seen.status.is_server_error(), "{page}: {}", seen.status);
                for cookie in seen.headers.get_all("set-cookie") {
                    assert!(
                        cookie.to_str().unwrap().starts_with("__Host-chatelaine_form="),
                        "{page}: {cookie:?}"
                    );
                }
            }
        }
        assert_eq!(rows(w).await, before);

        // One secret for all forms of a browser, and one browser's form is worth nothing in another.
        let mut browser = w.browser();
        let first = browser.get("/login").await.field("csrf");
        let again = browser.get("/login").await;
        assert!(again.headers.get("set-cookie").is_none());
        assert_eq!(again.field("csrf"), first);
        let fields = |csrf| {
            [
                ("csrf", csrf),
                ("username", "owner@acme.example"),
                ("password", "wrong"),
                ("org", "acme"),
            ]
        };
        let wrong = browser.post("/login/password", &fields(&*first)).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        let mut other = w.browser();
        other.get("/login").await;
        other
            .post("/login/password", &fields(&*first))
            .await
            .is_error(StatusCode::FORBIDDEN);
        w.browser()
            .post("/login/password", &fields(&*first))
            .await
            .is_error(StatusCode::FORBIDDEN);
        // Nor is one that was planned for another page, or with a secret that is none.
        let trial = browser.get("/login/passkey?org=acme").await.field("challenge");
        browser
            .post("/login/password", &fields(&*trial))
            .await
            .is_error(StatusCode::FORBIDDEN);
        browser
            .cookies
            .insert("__Host-chatelaine_form".to_owned(), "short".to_owned());
        browser
            .post("/login/password", &fields(&*first))
            .await
            .is_error(StatusCode::FORBIDDEN);
    })
    .await;
}
