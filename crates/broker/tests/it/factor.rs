//! Second factors of local people. Passkeys need a browser: `e2e/stories/second-factor.story.mjs`.

use crate::browser::{Answer, Browser};
use crate::world::{CONTROL, OWNER, PASSWORD, World, from, on_each};
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::json;
use totp_rs::{Builder, Secret};
use wire::{FactorKind, Outcome};

/// An authenticator app.
struct App(totp_rs::Totp);

impl App {
    fn of(key: &str) -> Self {
        let secret = Secret::try_from_base32(key.replace(' ', "")).unwrap();
        Self(
            Builder::new()
                .with_secret(secret)
                .with_account_name("x")
                .build()
                .unwrap(),
        )
    }

    fn code(&self, w: &World) -> String {
        let now = u64::try_from(w.clock.now().seconds()).unwrap();
        self.0.generate(now).to_string()
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let at = text.find(from).unwrap_or_else(|| panic!("no {from} in {text}")) + from.len();
    text[at..].split(to).next().unwrap()
}

fn key(page: &Answer) -> &str {
    between(&page.body, "id=\"key\">", "<")
}

fn codes(page: &Answer) -> Vec<String> {
    let parts = page.body.split("<code class=\"key\">").skip(1);
    parts
        .map(|part| part.split('<').next().unwrap().to_owned())
        .collect()
}

/// Adds an authenticator app; the app and the recovery codes.
async fn enrol(w: &World, browser: &mut Browser, base: &str) -> (App, Vec<String>, Answer) {
    let page = browser.get(&format!("{base}/totp")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let app = App::of(key(&page));
    let fields = [
        ("csrf", &*page.field("csrf")),
        ("code", &app.code(w)),
        ("name", "Phone"),
    ];
    let done = browser.post(&format!("{base}/totp"), &fields).await;
    (app, codes(&done), done)
}

async fn password(browser: &mut Browser) -> Answer {
    let csrf = browser.get("/login").await.field("csrf");
    let fields = [
        ("csrf", csrf.as_str()),
        ("username", OWNER),
        ("password", PASSWORD),
    ];
    browser.post("/login/password", &fields).await
}

async fn show(browser: &mut Browser, code: &str) -> Answer {
    let csrf = browser.get("/login/factor").await.field("csrf");
    browser
        .post("/login/factor", &[("csrf", &csrf), ("code", code)])
        .await
}

async fn reason(w: &World) -> String {
    w.last("login.second_factor").await.reason.unwrap()
}

async fn require(w: &World) {
    let org = store::org::get(&w.store, &w.org).await.unwrap();
    let spec = wire::OrganisationSpec {
        require_second_factor: true,
        ..org.spec.clone()
    };
    let mut tx = w.store.begin().await.unwrap();
    store::org::update(&mut tx, &org, spec).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
}

/// Whether the browser is somebody to any surface of the control origin.
async fn is_somebody(w: &World, browser: &mut Browser) -> bool {
    let me = browser.get("/me").await.status == StatusCode::OK;
    let security = browser.get("/me/security").await.status == StatusCode::OK;
    let wiki = browser.get(&format!("/signin/{}?state=x", w.wiki.id)).await;
    let app = wiki.status.is_redirection() && wiki.location().starts_with("https://wiki.example.com");
    // What the authorization server and the REST API ask.
    let seen = std::sync::Arc::new(std::sync::Mutex::new(false));
    let (store, note) = (w.store.clone(), seen.clone());
    let asks = axum::Router::new().route(
        "/",
        axum::routing::get(async move |session: tower_sessions::Session| {
            let somebody = broker::signed_in(&session, &store).await.unwrap().is_some();
            *note.lock().unwrap() = somebody;
        }),
    );
    let asks = asks.layer(broker::session_layer(&w.store, CONTROL));
    let name = broker::cookie_name(CONTROL);
    let cookie = browser.cookies.get(name).map(|value| format!("{name}={value}"));
    let request = Request::get("/").header(header::COOKIE, cookie.unwrap_or_default());
    tower::ServiceExt::oneshot(asks, request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let others = *seen.lock().unwrap();
    assert_eq!([me, security], [others; 2], "all surfaces agree");
    assert!(others || !app);
    others
}

#[tokio::test]
async fn with_a_second_factor_the_password_alone_makes_nobody() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        let (app, recovery, done) = enrol(w, &mut browser, "/me/security").await;
        assert_eq!((recovery.len(), done.status), (10, StatusCode::OK));
        let event = w.last("factor.add").await;
        assert_eq!(
            event.change.unwrap().after,
            json!({ "kind": "totp", "name": "Phone" })
        );
        assert!(browser.get("/me/security").await.body.contains("Phone"));

        let mut browser = w.browser();
        assert_eq!(password(&mut browser).await.location(), "/login/factor");
        assert!(!is_somebody(w, &mut browser).await);
        w.clock.advance(30);
        assert_eq!(show(&mut browser, &app.code(w)).await.location(), "/");
        assert!(is_somebody(w, &mut browser).await);
        let event = w.last("login.success").await;
        assert_eq!(event.actor.amr, ["pwd", "otp", "mfa"]);
        let sessions = store::session::newest_authentications(&w.store, std::slice::from_ref(&w.owner));
        let sessions = sessions.await.unwrap();
        assert_eq!(sessions[&w.owner].amr, ["pwd", "otp", "mfa"], "for policies");
        let owner = store::user::get(&w.store, &w.org, &w.owner).await.unwrap();
        assert!(!owner.claims.contains_key("amr"), "it is the session's");
        // It was good for one session.
        assert_eq!(browser.get("/login/factor").await.location(), "/login");
    })
    .await;
}

#[tokio::test]
async fn a_code_counts_once_and_only_around_its_time() {
    on_each(async |w| {
        let (app, ..) = enrol(w, &mut w.owner().await, "/me/security").await;
        let mut browser = w.browser();
        password(&mut browser).await;
        // The one that confirmed the app is spent.
        let spent = show(&mut browser, &app.code(w)).await;
        assert_eq!(
            (spent.status, reason(w).await.as_str()),
            (StatusCode::UNAUTHORIZED, "replayed_code")
        );
        w.clock.advance(60);
        let code = app.code(w);
        let mut parallel = Vec::new();
        for _ in 0..4 {
            let mut browser = w.browser();
            password(&mut browser).await;
            let csrf = browser.get("/login/factor").await.field("csrf");
            parallel.push((browser, csrf));
        }
        let tries = parallel.iter_mut().map(async |(browser, csrf)| {
            let fields = [("csrf", csrf.as_str()), ("code", code.as_str())];
            browser.post("/login/factor", &fields).await.status
        });
        let [a, b, c, d] = <[_; 4]>::try_from(tries.collect::<Vec<_>>()).ok().unwrap();
        let (a, b, c, d) = tokio::join!(a, b, c, d);
        let through = [a, b, c, d].iter().filter(|s| s.is_redirection()).count();
        assert_eq!(through, 1, "of one code, in any number of browsers at once");

        let mut browser = w.browser();
        password(&mut browser).await;
        w.clock.advance(90);
        assert_eq!(show(&mut browser, &code).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reason(w).await, "wrong_code");
        let event = w.last("login.second_factor").await;
        assert_eq!(
            (event.outcome, event.target.unwrap().id),
            (Outcome::Failure, w.owner.to_string())
        );
    })
    .await;
}

#[tokio::test]
async fn wrong_codes_lock_and_the_password_does_not_unlock() {
    on_each(async |w| {
        let (app, ..) = enrol(w, &mut w.owner().await, "/me/security").await;
        w.clock.advance(60);
        let mut browser = w.browser();
        for _ in 0..5 {
            // Whoever knows the password gets no more tries by giving it again.
            password(&mut browser).await;
            assert_eq!(
                show(&mut browser, "000000").await.status,
                StatusCode::UNAUTHORIZED
            );
        }
        let locked = show(&mut browser, &app.code(w)).await;
        assert_eq!(
            (locked.status, reason(w).await.as_str()),
            (StatusCode::UNAUTHORIZED, "locked")
        );
        password(&mut browser).await;
        let still = show(&mut browser, &app.code(w)).await;
        assert_eq!(still.status, StatusCode::UNAUTHORIZED);
        w.clock.advance(61);
        password(&mut browser).await;
        assert_eq!(show(&mut browser, &app.code(w)).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn of_many_codes_at_once_no_more_are_looked_at_than_in_a_row() {
    on_each(async |w| {
        let (app, recovery, _) = enrol(w, &mut w.owner().await, "/me/security").await;
        w.clock.advance(60);
        let mut browser = w.browser();
        password(&mut browser).await;
        let csrf = browser.get("/login/factor").await.field("csrf");
        let wrong = [("csrf", csrf.as_str()), ("code", "000000")];
        let answers = browser.post_at_once("/login/factor", &wrong, 50).await;
        assert!(answers.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
        for right in [&app.code(w), &recovery[0]] {
            let right = [("csrf", csrf.as_str()), ("code", right.as_str())];
            let answers = browser.post_at_once("/login/factor", &right, 3).await;
            assert!(answers.iter().all(|status| *status == StatusCode::UNAUTHORIZED));
        }
        w.clock.advance(61);
        let reasons = w.reasons("login.second_factor").await;
        assert_eq!(
            (reasons["wrong_code"], reasons["locked"]),
            (10, 46),
            "{reasons:?}"
        );
        assert_eq!(show(&mut browser, &app.code(w)).await.location(), "/");
    })
    .await;
}

#[tokio::test]
async fn a_recovery_code_lets_in_once() {
    on_each(async |w| {
        let (_, recovery, _) = enrol(w, &mut w.owner().await, "/me/security").await;
        let mut browser = w.browser();
        password(&mut browser).await;
        let typed = recovery[0].to_uppercase();
        assert_eq!(show(&mut browser, &format!(" {typed} ")).await.location(), "/");
        assert_eq!(
            w.last("factor.use_recovery").await.reason.as_deref(),
            Some("9_left")
        );
        assert!(browser.get("/me/security").await.body.contains("You have 9 left"));

        let mut other = w.browser();
        password(&mut other).await;
        assert_eq!(
            show(&mut other, &recovery[0]).await.status,
            StatusCode::UNAUTHORIZED
        );
        // New ones make the old ones worthless.
        let csrf = browser.get("/me/security").await.field("csrf");
        let fresh = codes(&browser.post("/me/security/recovery", &[("csrf", &csrf)]).await);
        assert_eq!(fresh.len(), 10);
        assert_eq!(
            show(&mut other, &recovery[1]).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(show(&mut other, &fresh[0]).await.location(), "/");
        let event = w.last("factor.renew_recovery").await;
        assert!(!serde_json::to_string(&event).unwrap().contains(&fresh[0]));
    })
    .await;
}

#[tokio::test]
async fn who_must_have_a_second_factor_gets_no_further_without() {
    on_each(async |w| {
        let mut before = w.owner().await;
        require(w).await;
        assert!(!is_somebody(w, &mut before).await, "sessions from before, too");
        let mut browser = w.browser();
        assert_eq!(password(&mut browser).await.location(), "/login/enrol");
        assert!(!is_somebody(w, &mut browser).await);
        assert!(
            browser
                .get("/login/enrol")
                .await
                .body
                .contains("Acme asks for more")
        );
        // Nothing but adding one: not even the page for those who have one.
        assert_eq!(browser.get("/login/factor").await.location(), "/login");
        let (app, recovery, done) = enrol(w, &mut browser, "/login/enrol").await;
        assert_eq!((done.status, recovery.len()), (StatusCode::OK, 10));
        assert!(done.body.contains("href=\"/\""), "{}", done.body);
        assert!(is_somebody(w, &mut browser).await);
        assert_eq!(w.last("login.success").await.actor.amr, ["pwd", "otp", "mfa"]);

        // The last one stays.
        let page = browser.get("/me/security").await;
        let id = between(&page.body, "/me/security/factors/", "/").to_owned();
        let csrf = page.field("csrf");
        let gone = browser
            .post(&format!("/me/security/factors/{id}/remove"), &[("csrf", &csrf)])
            .await;
        gone.is_error(StatusCode::CONFLICT);
        w.clock.advance(30);
        let mut other = w.browser();
        assert_eq!(password(&mut other).await.location(), "/login/factor");
        assert_eq!(show(&mut other, &app.code(w)).await.location(), "/");
        // People of providers are not asked: their provider decides.
        let mut alice = w.signed_in(json!({})).await;
        assert_eq!(alice.get("/me").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn who_has_one_cannot_pass_by_adding_another() {
    on_each(async |w| {
        enrol(w, &mut w.owner().await, "/me/security").await;
        require(w).await;
        let mut browser = w.browser();
        assert_eq!(password(&mut browser).await.location(), "/login/factor");
        for path in ["/login/enrol", "/login/enrol/totp", "/login/enrol/passkey"] {
            assert_eq!(browser.get(path).await.location(), "/login", "{path}");
        }
        // Two browsers that both had to add one: the second has to show the first's.
        let mut tx = w.store.begin().await.unwrap();
        store::factor::remove_all(&mut tx, &w.owner).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let (mut one, mut two) = (w.browser(), w.browser());
        password(&mut one).await;
        password(&mut two).await;
        let page = two.get("/login/enrol/totp").await;
        let app = App::of(key(&page));
        enrol(w, &mut one, "/login/enrol").await;
        let fields = [("csrf", &*page.field("csrf")), ("code", &app.code(w))];
        assert_eq!(two.post("/login/enrol/totp", &fields).await.location(), "/login");
        assert!(!is_somebody(w, &mut two).await);
    })
    .await;
}

#[tokio::test]
async fn an_app_counts_only_when_its_code_was_seen() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        let page = browser.get("/me/security/totp").await;
        assert!(page.body.contains("<svg ") && !page.body.contains("style="));
        let again = browser.get("/me/security/totp").await;
        assert_eq!(key(&page), key(&again), "a reload shows the same key");
        let fields = [("csrf", &*page.field("csrf")), ("code", "000000")];
        let wrong = browser.post("/me/security/totp", &fields).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
        let app = App::of(key(&page));
        let fields = [("csrf", ""), ("code", &*app.code(w))];
        browser
            .post("/me/security/totp", &fields)
            .await
            .is_error(StatusCode::FORBIDDEN);
        // Nothing was added, and the password still does.
        assert_eq!(password(&mut w.browser()).await.location(), "/");
        // The key is not in the database in clear.
        let plain = key(&page).replace(' ', "");
        let (_, _, done) = enrol(w, &mut browser, "/me/security").await;
        assert!(!done.body.contains(&plain));
        let mut tx = w.store.begin().await.unwrap();
        let known = store::factor::known(&mut tx, &w.owner).await.unwrap();
        assert_eq!(known[0].factor.kind, FactorKind::Totp);
        assert_eq!(Secret::new(known[0].secret.as_slice().into()).to_base32(), plain);
    })
    .await;
}

#[tokio::test]
async fn factors_are_renamed_and_removed_by_their_owner_only() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        enrol(w, &mut browser, "/me/security").await;
        let page = browser.get("/me/security").await;
        let id = between(&page.body, "/me/security/factors/", "/").to_owned();
        let (rename, remove) = (
            format!("/me/security/factors/{id}/rename"),
            format!("/me/security/factors/{id}/remove"),
        );
        browser
            .post(&remove, &[("csrf", "x")])
            .await
            .is_error(StatusCode::FORBIDDEN);
        let csrf = page.field("csrf");
        let fields = [("csrf", csrf.as_str()), ("name", "<b>New\u{202e}</b>")];
        assert_eq!(browser.post(&rename, &fields).await.location(), "/me/security");
        let page = browser.get("/me/security").await;
        assert!(
            !page.body.contains("<b>New") && page.body.contains("&#60;b&#62;New&#60;"),
            "{}",
            page.body
        );

        // Somebody else's.
        w.another_owner().await;
        let mut other = w.browser();
        let csrf_of = other.get("/login").await.field("csrf");
        let fields = [
            ("csrf", csrf_of.as_str()),
            ("username", "second@acme.example"),
            ("password", PASSWORD),
        ];
        other.post("/login/password", &fields).await;
        enrol(w, &mut other, "/me/security").await;
        let theirs = other.get("/me/security").await.field("csrf");
        other
            .post(&remove, &[("csrf", &theirs)])
            .await
            .is_error(StatusCode::NOT_FOUND);
        other
            .post(&rename, &[("csrf", &theirs)])
            .await
            .is_error(StatusCode::NOT_FOUND);

        assert_eq!(
            browser.post(&remove, &[("csrf", &csrf)]).await.location(),
            "/me/security"
        );
        assert_eq!(w.last("factor.remove").await.target.unwrap().id, id);
        assert_eq!(password(&mut w.browser()).await.location(), "/");
        let left = store::factor::recovery_codes_left(&w.store, &w.owner)
            .await
            .unwrap();
        assert_eq!(left, 0, "recovery codes go with the last factor");
    })
    .await;
}

#[tokio::test]
async fn half_a_sign_in_runs_out_and_belongs_to_one_browser() {
    on_each(async |w| {
        let (app, ..) = enrol(w, &mut w.owner().await, "/me/security").await;
        let mut browser = w.browser();
        password(&mut browser).await;
        let csrf = browser.get("/login/factor").await.field("csrf");
        w.clock.advance(30);
        // Another browser cannot finish it.
        let fields = [("csrf", csrf.as_str()), ("code", &*app.code(w))];
        w.browser()
            .post("/login/factor", &fields)
            .await
            .is_error(StatusCode::FORBIDDEN);
        w.clock.advance(600);
        let fields = [("csrf", csrf.as_str()), ("code", &*app.code(w))];
        assert_eq!(browser.post("/login/factor", &fields).await.location(), "/login");
        assert!(!is_somebody(w, &mut browser).await);
        // A person who is disabled meanwhile does not get in.
        w.another_owner().await;
        password(&mut browser).await;
        let csrf = browser.get("/login/factor").await.field("csrf");
        w.disable(&w.user(OWNER).await).await;
        let fields = [("csrf", csrf.as_str()), ("code", &*app.code(w))];
        assert_eq!(browser.post("/login/factor", &fields).await.location(), "/login");
        assert!(!is_somebody(w, &mut browser).await);
    })
    .await;
}

#[tokio::test]
async fn half_a_sign_in_ends_with_what_ends_the_persons_sessions() {
    on_each(async |w| {
        let owner = async || w.user(OWNER).await;
        let end = async || {
            let user = owner().await;
            let mut tx = w.store.begin().await.unwrap();
            store::session::end_all_of(&mut tx, &user.id, "user_reset")
                .await
                .unwrap();
            tx.commit_housekeeping().await.unwrap();
        };
        // Who must add a factor first: nothing that was begun with the password from before goes on.
        require(w).await;
        let mut thief = w.browser();
        assert_eq!(password(&mut thief).await.location(), "/login/enrol");
        let page = thief.get("/login/enrol/totp").await;
        let app = App::of(key(&page));
        end().await;
        let fields = [
            ("csrf", &*page.field("csrf")),
            ("code", &app.code(w)),
            ("name", "Phone"),
        ];
        let late = thief.post("/login/enrol/totp", &fields).await;
        assert!(late.location().starts_with("/login"), "{}", late.body);
        assert!(!is_somebody(w, &mut thief).await);

        // Who has one: the code comes too late.
        let mut own = w.browser();
        password(&mut own).await;
        let (app, ..) = enrol(w, &mut own, "/login/enrol").await;
        assert!(is_somebody(w, &mut own).await);
        for what in ["ended", "disabled"] {
            w.clock.advance(31);
            let mut thief = w.browser();
            assert_eq!(password(&mut thief).await.location(), "/login/factor");
            let csrf = thief.get("/login/factor").await.field("csrf");
            if what == "disabled" {
                let _ = w.another_owner().await;
                let mut user = owner().await;
                for disabled in [true, false] {
                    let mut tx = w.store.begin().await.unwrap();
                    let done = store::user::set_disabled(&mut tx, &w.org, &user, disabled).await;
                    user = done.unwrap();
                    tx.commit_housekeeping().await.unwrap();
                }
            } else {
                end().await;
            }
            let code = app.code(w);
            let late = thief
                .post("/login/factor", &[("csrf", &csrf), ("code", &code)])
                .await;
            assert!(late.location().starts_with("/login"), "{what}: {}", late.body);
            assert!(!is_somebody(w, &mut thief).await, "{what}");
        }
        // Half a sign-in is no session to be listed, and says nothing of how somebody proved who they are.
        let mut half = w.browser();
        password(&mut half).await;
        let user = owner().await.id;
        let all = store::Paging::default();
        let sessions = store::session::list(&w.store, &w.org, Some(&user), w.clock.now(), &all).await;
        assert_eq!(sessions.unwrap(), []);
        let newest = store::session::newest_authentications(&w.store, &[user])
            .await
            .unwrap();
        assert!(newest.is_empty());
    })
    .await;
}

#[tokio::test]
async fn confirming_asks_for_the_second_factor_too() {
    on_each(async |w| {
        let mut browser = w.owner().await;
        let (app, ..) = enrol(w, &mut browser, "/me/security").await;
        w.clock.advance(16 * 60);
        let csrf = browser.get("/login/confirm").await.field("csrf");
        let fields = [
            ("csrf", csrf.as_str()),
            ("password", PASSWORD),
            ("return_to", "/me/security"),
        ];
        assert_eq!(
            browser.post("/login/confirm", &fields).await.location(),
            "/login/factor"
        );
        assert!(
            browser.get("/me/security").await.status.is_redirection(),
            "not yet"
        );
        assert_eq!(show(&mut browser, &app.code(w)).await.location(), "/me/security");
        assert_eq!(browser.get("/me/security").await.status, StatusCode::OK);
        assert_eq!(w.last("login.confirm").await.actor.amr, ["pwd", "otp", "mfa"]);
    })
    .await;
}

#[tokio::test]
async fn the_owner_gets_in_whatever_the_organisation_did_to_its_providers() {
    on_each(async |w| {
        // The floor asks for something nobody has, every connection is off or exclusive, the provider is down.
        let org = store::org::get(&w.store, &w.org).await.unwrap();
        let spec = wire::OrganisationSpec {
            floor: from(json!([{ "type": "connection", "connection": w.connection.id }])),
            primary_connection: Some(w.connection.id.clone()),
            ..org.spec.clone()
        };
        let mut tx = w.store.begin().await.unwrap();
        store::org::update(&mut tx, &org, spec).await.unwrap();
        let binding = store::binding::get(&w.store, &w.org, &w.binding.id)
            .await
            .unwrap();
        let exclusive = crate::world::binding("exclusive", "active");
        store::binding::update(&mut tx, &binding, exclusive)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        w.configure(|spec| spec.issuer = Some("http://127.0.0.1:1".to_owned()))
            .await;
        let mut browser = w.browser();
        assert!(
            !browser
                .get(&format!("/login/oidc/{}", w.connection.id))
                .await
                .status
                .is_redirection()
        );
        assert_eq!(password(&mut browser).await.location(), "/");
        w.configure(|spec| spec.enabled = false).await;
        assert_eq!(password(&mut w.browser()).await.location(), "/");
        let (app, ..) = enrol(w, &mut browser, "/me/security").await;
        w.clock.advance(30);
        let mut browser = w.browser();
        password(&mut browser).await;
        assert_eq!(show(&mut browser, &app.code(w)).await.location(), "/");
    })
    .await;
}
