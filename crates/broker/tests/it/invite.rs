//! Accepting invitations.

use crate::browser::{Answer, Browser};
use crate::world::{OWNER, PASSWORD, World, from, oidc, on_each};
use http::StatusCode;
use serde_json::{Value, json};
use store::invitation;

const SECRET: &str = "chi_secret";

/// An invitation by Acme's owner.
async fn invite(w: &World, secret: &str, spec: Value) -> wire::Invitation {
    let mut tx = w.store.begin().await.unwrap();
    let new = invitation::New {
        email: spec["email"].as_str().unwrap().to_owned(),
        account: spec.get("account").map(|account| from(account.clone())),
        role: from(spec["role"].clone()),
        local: spec["local"] == json!(true),
        created_by: Some(w.owner.clone()),
        expires_at: tx.now().plus_seconds(3600),
    };
    let made = invitation::create(&mut tx, &w.org, new, &store::sha256(secret))
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    made
}

async fn accept(browser: &mut Browser, secret: &str) -> Answer {
    let path = format!("/invite/{secret}");
    let csrf = browser.get(&path).await.field("csrf");
    browser.post(&path, &[("csrf", &csrf)]).await
}

fn editor(w: &World) -> Value {
    json!({ "email": "Alice@acme.example", "role": "account_editor", "account": w.production })
}

fn alice() -> Value {
    json!({ "email": "alice@ACME.example", "email_verified": true })
}

#[tokio::test]
async fn who_is_invited_accepts_with_a_button_and_once() {
    on_each(async |w| {
        let made = invite(w, SECRET, editor(w)).await;
        let page = w.browser().get(&format!("/invite/{SECRET}")).await;
        for text in [
            "Invitation to Acme",
            "Account editor",
            "Production",
            OWNER,
            "UTC",
            "Sign in",
        ] {
            assert!(page.body.contains(text), "{text}: {}", page.body);
        }
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        let mut browser = w.signed_in(alice()).await;
        assert!(
            browser
                .get(&format!("/invite/{SECRET}"))
                .await
                .body
                .contains(">Accept<")
        );
        let alice = w.user("alice").await;
        let roles = async || store::org::roles_of(&w.store, &alice.id).await.unwrap();
        assert!(roles().await.is_empty(), "looking accepts nothing");
        assert_eq!(accept(&mut browser, SECRET).await.location(), "/");
        let given = roles().await;
        assert_eq!(given.len(), 1);
        assert_eq!(given[0].account.as_ref(), Some(&w.production));
        let event = w.last("invitation.accept").await;
        assert_eq!(event.actor.user.as_ref(), Some(&alice.id));
        assert_eq!(event.target.as_ref().unwrap().id, made.id.to_string());
        assert!(
            !serde_json::to_string(&event).unwrap().contains(SECRET),
            "the link is no secret of the log"
        );
        browser
            .get(&format!("/invite/{SECRET}"))
            .await
            .is_error(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn one_of_many_acceptances_at_once_counts() {
    on_each(async |w| {
        invite(w, SECRET, editor(w)).await;
        let path = format!("/invite/{SECRET}");
        let mut browser = w.signed_in(alice()).await;
        let csrf = browser.get(&path).await.field("csrf");
        let fields = [("csrf", csrf.as_str())];
        let (mut a, mut b, mut c) = (browser.clone(), browser.clone(), browser.clone());
        let (a, b, c) = tokio::join!(
            a.post(&path, &fields),
            b.post(&path, &fields),
            c.post(&path, &fields)
        );
        let mut statuses = [a.status, b.status, c.status];
        statuses.sort();
        assert_eq!(
            statuses,
            [
                StatusCode::SEE_OTHER,
                StatusCode::NOT_FOUND,
                StatusCode::NOT_FOUND
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn dead_links_look_the_same() {
    on_each(async |w| {
        let mut pages = vec![w.browser().get("/invite/chi_unknown").await.body];
        invite(w, "one", editor(w)).await;
        let mut alice = w.signed_in(alice()).await;
        accept(&mut alice, "one").await;
        pages.push(w.browser().get("/invite/one").await.body);
        let spec = json!({ "email": "b@acme.example", "role": "org_auditor" });
        let revoked = invite(w, "two", spec.clone()).await;
        let mut tx = w.store.begin().await.unwrap();
        invitation::revoke(&mut tx, &revoked).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        pages.push(w.browser().get("/invite/two").await.body);
        invite(w, "tri", spec).await;
        w.clock.advance(3600);
        pages.push(w.browser().get("/invite/tri").await.body);
        let plain: Vec<_> = pages
            .iter()
            .map(|page| page.replace("req-19", "req").replace("req-11", "req"))
            .collect();
        assert!(
            plain
                .iter()
                .all(|page| *page == plain[0] && page.contains("cannot be used")),
            "{plain:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn up1_nobody_else_accepts_it() {
    on_each(async |w| {
        invite(w, SECRET, editor(w)).await;
        let path = format!("/invite/{SECRET}");
        // Another address, and the right one that the provider does not vouch for.
        for claims in [
            json!({ "sub": "bob", "email": "bob@acme.example", "email_verified": true }),
            json!({ "sub": "eve", "email": "alice@acme.example", "email_verified": false }),
        ] {
            let mut browser = w.signed_in(claims).await;
            let page = browser.get(&path).await;
            assert!(page.body.contains("You are signed in as") && !page.body.contains(">Accept<"));
            let answer = browser.post(&path, &[("csrf", "x")]).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        // Nobody is signed in.
        w.browser().post(&path, &[]).await;
        let now = w.clock.now();
        let hash = store::sha256(SECRET);
        let open = invitation::by_token_hash(&w.store, &hash, now).await.unwrap();
        assert!(open.is_some(), "it is still open");
    })
    .await;
}

#[tokio::test]
async fn cn4_a_form_from_elsewhere_accepts_nothing() {
    on_each(async |w| {
        invite(w, SECRET, editor(w)).await;
        let mut browser = w.signed_in(alice()).await;
        for csrf in ["", "x"] {
            browser
                .post(&format!("/invite/{SECRET}"), &[("csrf", csrf)])
                .await
                .is_error(StatusCode::FORBIDDEN);
        }
    })
    .await;
}

#[tokio::test]
async fn people_of_an_accounts_own_connection_accept_roles_there_only() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        let spec = oidc("Labs", &w.idp);
        let own = store::connection::create(&mut tx, &w.org, Some(&w.labs), spec)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let at_labs = json!({ "email": "alice@acme.example", "role": "account_editor", "account": w.labs });
        invite(w, "there", editor(w)).await;
        invite(w, "here", at_labs).await;
        let mut browser = w.browser();
        let start = format!("/login/oidc/{}?account={}", own.id, w.labs);
        let away = browser.get(&start).await;
        let back = w.idp.authorize(away.location(), alice());
        browser.get(&back).await;
        let page = browser.get("/invite/there").await;
        assert!(page.body.contains("You are signed in as") && !page.body.contains(">Accept<"));
        let answer = browser.post("/invite/there", &[("csrf", "x")]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(accept(&mut browser, "here").await.location(), "/");
        let alice = w.user("alice").await;
        let given = store::org::roles_of(&w.store, &alice.id).await.unwrap();
        assert_eq!(given.len(), 1);
        assert_eq!(given[0].account.as_ref(), Some(&w.labs));
    })
    .await;
}

async fn choose(browser: &mut Browser, secret: &str, password: &str) -> Answer {
    let path = format!("/invite/{secret}");
    let csrf = browser.get(&path).await.field("csrf");
    let fields = [("csrf", csrf.as_str()), ("name", "Bea"), ("password", password)];
    browser.post(&path, &fields).await
}

#[tokio::test]
async fn who_is_invited_to_a_local_password_chooses_one() {
    on_each(async |w| {
        let spec = json!({ "email": "Bea@acme.example", "role": "org_owner", "local": true });
        invite(w, SECRET, spec.clone()).await;
        let mut browser = w.browser();
        let short = choose(&mut browser, SECRET, "too short").await;
        assert_eq!(short.status, StatusCode::BAD_REQUEST);
        assert!(short.body.contains("12 to 256") && !short.body.contains("too short"));
        assert_eq!(choose(&mut browser, SECRET, PASSWORD).await.location(), "/");
        let bea = w.user("bea@acme.example").await;
        assert_eq!((bea.name.as_deref(), bea.issuer.as_str()), (Some("Bea"), "local"));
        let roles = store::org::roles_of(&w.store, &bea.id).await.unwrap();
        assert_eq!(roles[0].role, wire::Role::OrgOwner);
        assert_eq!(w.last("login.success").await.actor.user, Some(bea.id));

        // Somebody with a local password already signs in with it.
        invite(
            w,
            "again",
            json!({ "email": OWNER, "role": "org_auditor", "local": true }),
        )
        .await;
        let page = w.browser().get("/invite/again").await;
        assert!(page.body.contains("Sign in as") && !page.body.contains("type=\"password\""));
        assert_eq!(accept(&mut w.owner().await, "again").await.location(), "/");
        // A provider's word is not a local password.
        invite(
            w,
            "more",
            json!({ "email": "carl@acme.example", "role": "org_owner", "local": true }),
        )
        .await;
        let claims = json!({ "sub": "carl", "email": "carl@acme.example", "email_verified": true });
        let mut carl = w.signed_in(claims).await;
        assert!(!carl.get("/invite/more").await.body.contains(">Accept<"));
    })
    .await;
}

#[tokio::test]
async fn a_new_local_person_adds_the_second_factor_that_is_asked_for() {
    on_each(async |w| {
        let org = store::org::get(&w.store, &w.org).await.unwrap();
        let spec = wire::OrganisationSpec {
            require_second_factor: true,
            ..org.spec.clone()
        };
        let mut tx = w.store.begin().await.unwrap();
        store::org::update(&mut tx, &org, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        invite(
            w,
            SECRET,
            json!({ "email": "bea@acme.example", "role": "org_admin", "local": true }),
        )
        .await;
        let mut browser = w.browser();
        assert_eq!(
            choose(&mut browser, SECRET, PASSWORD).await.location(),
            "/login/enrol"
        );
        assert!(browser.get("/me").await.status.is_redirection());
    })
    .await;
}

#[tokio::test]
async fn a_form_that_was_shown_for_one_invitation_accepts_no_other() {
    on_each(async |w| {
        invite(w, SECRET, editor(w)).await;
        let labs = json!({ "email": "alice@acme.example", "role": "account_admin", "account": w.labs });
        invite(w, "chi_other", labs).await;
        let mut browser = w.signed_in(alice()).await;
        let csrf = browser.get(&format!("/invite/{SECRET}")).await.field("csrf");
        let other = browser.post("/invite/chi_other", &[("csrf", &csrf)]).await;
        other.is_error(StatusCode::FORBIDDEN);
        let alice = w.user("alice").await.id;
        assert!(store::org::roles_of(&w.store, &alice).await.unwrap().is_empty());
    })
    .await;
}
