//! Nobody outside locks anybody out, and guessing stays slow.

use crate::browser::{Answer, Browser};
use crate::idp::callback;
use crate::world::{OWNER, PASSWORD, World, from, on_each};
use http::StatusCode;
use serde_json::json;
use totp_rs::{Builder, Secret, Totp};

async fn attempt(browser: &mut Browser, password: &str) -> Answer {
    let csrf = browser.get("/login").await.field("csrf");
    let fields = [
        ("csrf", csrf.as_str()),
        ("username", OWNER),
        ("password", password),
    ];
    browser.post("/login/password", &fields).await
}

/// Password and code at once.
async fn both(browser: &mut Browser, (username, password): (&str, &str), code: &str) -> Answer {
    let csrf = browser.get("/login").await.field("csrf");
    let fields = [
        ("csrf", csrf.as_str()),
        ("username", username),
        ("password", password),
        ("code", code),
    ];
    browser.post("/login/password", &fields).await
}

/// A browser in this network.
fn at(w: &World, ip: &str) -> Browser {
    let mut browser = w.browser();
    browser.ip = ip.to_owned();
    browser
}

/// So many wrong passwords, each from another network.
async fn guess(w: &World, times: u8) {
    for n in 0..times {
        let mut stranger = at(w, &format!("203.0.113.{n}"));
        assert_eq!(
            attempt(&mut stranger, "wrong password").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

/// Gives the owner an authenticator app.
async fn enrol(w: &World, browser: &mut Browser) -> Totp {
    let page = browser.get("/me/security/totp").await;
    let key = page
        .body
        .split("id=\"key\">")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let secret = Secret::try_from_base32(key.replace(' ', "")).unwrap();
    let app = Builder::new()
        .with_secret(secret)
        .with_account_name("x")
        .build()
        .unwrap();
    let fields = [
        ("csrf", &*page.field("csrf")),
        ("code", &code(w, &app)),
        ("name", "Phone"),
    ];
    assert_eq!(
        browser.post("/me/security/totp", &fields).await.status,
        StatusCode::OK
    );
    w.clock.advance(60);
    app
}

fn code(w: &World, app: &Totp) -> String {
    app.generate(u64::try_from(w.clock.now().seconds()).unwrap())
        .to_string()
}

async fn show(browser: &mut Browser, code: &str) -> Answer {
    let csrf = browser.get("/login/factor").await.field("csrf");
    let fields = [("csrf", csrf.as_str()), ("code", code)];
    browser.post("/login/factor", &fields).await
}

#[tokio::test]
async fn wrong_passwords_from_elsewhere_do_not_keep_the_right_one_out() {
    on_each(async |w| {
        let mut stranger = at(w, "203.0.113.1");
        for _ in 0..6 {
            attempt(&mut stranger, "wrong password").await;
        }
        assert_eq!(
            attempt(&mut stranger, PASSWORD).await.status,
            StatusCode::UNAUTHORIZED
        );
        // Where the owner never was before.
        assert_eq!(
            attempt(&mut at(w, "198.51.100.9"), PASSWORD).await.location(),
            "/"
        );
    })
    .await;
}

#[tokio::test]
async fn guesses_from_many_networks_are_slow_and_keep_the_owner_out_of_no_place_of_theirs() {
    on_each(async |w| {
        let mut home = at(w, "198.51.100.9");
        assert_eq!(attempt(&mut home, PASSWORD).await.location(), "/");
        guess(w, 30).await;
        let mut anywhere = at(w, "192.0.2.1");
        assert_eq!(
            attempt(&mut anywhere, PASSWORD).await.status,
            StatusCode::UNAUTHORIZED
        );
        // The network, and the browser wherever it is.
        assert_eq!(
            attempt(&mut at(w, "198.51.100.9"), PASSWORD).await.location(),
            "/"
        );
        home.ip = "203.0.113.0".to_owned();
        assert_eq!(attempt(&mut home, PASSWORD).await.location(), "/");
        w.clock.advance(61);
        let reasons = w.reasons("login.failure").await;
        assert_eq!(
            (reasons["wrong_password"], reasons["locked"]),
            (20, 11),
            "{reasons:?}"
        );
        assert_eq!(
            attempt(&mut anywhere, PASSWORD).await.location(),
            "/",
            "one a minute"
        );
    })
    .await;
}

#[tokio::test]
async fn a_known_browser_has_its_own_tries_on_a_network_that_is_used_up() {
    on_each(async |w| {
        let mut mine = at(w, "203.0.113.1");
        assert_eq!(attempt(&mut mine, PASSWORD).await.location(), "/");
        let mut neighbour = at(w, "203.0.113.1");
        for _ in 0..40 {
            attempt(&mut neighbour, "wrong password").await;
        }
        let late = attempt(&mut neighbour, PASSWORD).await;
        assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(late.headers["retry-after"], "60");
        assert_eq!(attempt(&mut mine, PASSWORD).await.location(), "/");
        // A cookie that we did not make is none.
        neighbour
            .cookies
            .insert("__Host-chatelaine_browser".to_owned(), "AAAA.AAAA".to_owned());
        assert_eq!(
            attempt(&mut neighbour, PASSWORD).await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
        // It is a browser's, and says nothing about who is signed in.
        let csrf = mine.get("/logout").await.field("csrf");
        mine.post("/logout", &[("csrf", &csrf)]).await;
        assert!(mine.get("/me").await.location().starts_with("/login"));
    })
    .await;
}

#[tokio::test]
async fn password_and_code_together_go_through_whatever_strangers_do() {
    on_each(async |w| {
        let app = enrol(w, &mut w.owner().await).await;
        guess(w, 21).await;
        for n in 0..25 {
            let mut stranger = at(w, &format!("198.18.0.{n}"));
            let code = format!("{n:06}");
            let answer = both(&mut stranger, (OWNER, "wrong password"), &code).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        let mut elsewhere = at(w, "192.0.2.1");
        let alone = attempt(&mut elsewhere, PASSWORD).await;
        assert_eq!(alone.status, StatusCode::UNAUTHORIZED);
        assert!(alone.body.contains("name=\"code\""), "{}", alone.body);
        let answer = both(&mut elsewhere, (OWNER, PASSWORD), &code(w, &app)).await;
        assert_eq!(answer.location(), "/");
        assert_eq!(
            w.last("login.success").await.actor.amr,
            ["pwd", "otp", "mfa"].map(ToOwned::to_owned)
        );
        // The code is spent.
        let again = both(&mut at(w, "192.0.2.2"), (OWNER, PASSWORD), &code(w, &app)).await;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            w.last("login.second_factor").await.reason.unwrap(),
            "replayed_code"
        );
    })
    .await;
}

#[tokio::test]
async fn whoever_has_one_half_gets_few_tries_at_the_other_from_any_number_of_networks() {
    on_each(async |w| {
        let app = enrol(w, &mut w.owner().await).await;
        // The code, and no password.
        for n in 0..20 {
            let mut thief = at(w, &format!("203.0.113.{n}"));
            let answer = both(&mut thief, (OWNER, "wrong password"), &code(w, &app)).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        let mut thief = at(w, "192.0.2.1");
        let late = both(&mut thief, (OWNER, PASSWORD), &code(w, &app)).await;
        assert_eq!(late.status, StatusCode::UNAUTHORIZED);
        assert_eq!(w.last("login.failure").await.reason.unwrap(), "locked");
        let mut thief = Browser::new(w.another_instance());
        thief.ip = "192.0.2.2".to_owned();
        let late = both(&mut thief, (OWNER, PASSWORD), &code(w, &app)).await;
        assert_eq!(late.status, StatusCode::UNAUTHORIZED, "on no instance");
        // Where the owner is known, nobody else's tries count.
        let mut home = w.browser();
        assert_eq!(
            both(&mut home, (OWNER, PASSWORD), &code(w, &app))
                .await
                .location(),
            "/"
        );
        w.clock.advance(7200);
        // The password, and no code.
        for n in 0..12 {
            let mut thief = at(w, &format!("203.0.113.{n}"));
            let answer = both(&mut thief, (OWNER, PASSWORD), "000000").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        let late = both(&mut at(w, "192.0.2.9"), (OWNER, PASSWORD), &code(w, &app)).await;
        assert_eq!(late.status, StatusCode::UNAUTHORIZED);
        w.clock.advance(61);
        assert_eq!(w.reasons("login.second_factor").await["wrong_code"], 10);
    })
    .await;
}

#[tokio::test]
async fn no_answer_tells_which_half_was_right_or_whether_there_is_anybody() {
    on_each(async |w| {
        let app = enrol(w, &mut w.owner().await).await;
        let mut stranger = at(w, "203.0.113.1");
        let mut answers = Vec::new();
        for (username, password, code) in [
            (OWNER, "wrong password", "000000".to_owned()),
            (OWNER, "wrong password", code(w, &app)),
            (OWNER, PASSWORD, "000000".to_owned()),
            ("nobody@acme.example", PASSWORD, "000000".to_owned()),
        ] {
            let answer = both(&mut stranger, (username, password), &code).await;
            answers.push((answer.status, answer.body.replace(username, "X")));
        }
        assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:#?}");
    })
    .await;
}

#[tokio::test]
async fn junk_instead_of_a_passkey_signs_nobody_in_and_is_one_event() {
    on_each(async |w| {
        let mut stranger = at(w, "203.0.113.1");
        for n in 0..30 {
            let page = stranger.get("/login/passkey?org=acme").await;
            assert_eq!(page.status, StatusCode::OK);
            let junk = if n % 2 == 0 { "{}" } else { "" };
            let fields = [
                ("csrf", &*page.field("csrf")),
                ("challenge", &*page.field("challenge")),
                ("credential", junk),
                ("org", "acme"),
            ];
            let answer = stranger.post("/login/passkey", &fields).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        // A challenge is good in the browser that it was made for, and for as long as somebody takes.
        let elsewhere = at(w, "203.0.113.1").get("/login/passkey?org=acme").await;
        let page = stranger.get("/login/passkey?org=acme").await;
        let mut fields = [
            ("csrf", &*page.field("csrf")),
            ("challenge", &*elsewhere.field("challenge")),
            ("credential", "{}"),
            ("org", "acme"),
        ];
        stranger.post("/login/passkey", &fields).await;
        let mine = page.field("challenge");
        fields[1].1 = &mine;
        w.clock.advance(301);
        stranger.post("/login/passkey", &fields).await;
        assert!(stranger.get("/me").await.location().starts_with("/login"));
        w.clock.advance(61);
        let reasons = w.reasons("login.failure").await;
        assert_eq!((reasons["wrong_passkey"], reasons["challenge_unknown"]), (30, 2));
        // Without the form's token it is nobody's wish.
        let answer = stranger
            .post("/login/passkey", &[("csrf", "x"), ("org", "acme")])
            .await;
        answer.is_error(StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn wrong_codes_elsewhere_keep_no_place_of_the_owner_out_and_are_few() {
    on_each(async |w| {
        let app = enrol(w, &mut w.owner().await).await;
        // Somebody knows the password, and has many networks.
        for n in 0..15 {
            let mut thief = at(w, &format!("203.0.113.{n}"));
            assert_eq!(attempt(&mut thief, PASSWORD).await.location(), "/login/factor");
            assert_eq!(show(&mut thief, "000000").await.status, StatusCode::UNAUTHORIZED);
        }
        let mut owner = w.browser();
        attempt(&mut owner, PASSWORD).await.location();
        assert_eq!(show(&mut owner, &code(w, &app)).await.location(), "/");
        w.clock.advance(61);
        let reasons = w.reasons("login.second_factor").await;
        assert_eq!((reasons["wrong_code"], reasons["locked"]), (10, 5), "{reasons:?}");
    })
    .await;
}

#[tokio::test]
async fn whoever_is_signed_in_confirms_whatever_strangers_do() {
    on_each(async |w| {
        let mut owner = w.owner().await;
        guess(w, 30).await;
        let mut neighbour = w.browser();
        for _ in 0..25 {
            attempt(&mut neighbour, "wrong password").await;
        }
        let csrf = owner.get("/login/confirm").await.field("csrf");
        let confirm = [("csrf", csrf.as_str()), ("password", PASSWORD)];
        assert_eq!(owner.post("/login/confirm", &confirm).await.location(), "/");
        // A stolen session is no way to guess the password.
        let wrong = [("csrf", csrf.as_str()), ("password", "wrong password")];
        for _ in 0..5 {
            owner.post("/login/confirm", &wrong).await;
        }
        assert_eq!(
            owner.post("/login/confirm", &confirm).await.status,
            StatusCode::UNAUTHORIZED
        );
    })
    .await;
}

#[tokio::test]
async fn junk_callbacks_from_a_shared_address_lock_nobody_out_and_are_one_event() {
    on_each(async |w| {
        let mut neighbour = w.browser();
        for n in 0..40 {
            let junk = callback(&w.connection.id, &[("code", "x"), ("state", &format!("junk{n}"))]);
            neighbour.get(&junk).await.is_error(StatusCode::FORBIDDEN);
        }
        assert_eq!(attempt(&mut w.browser(), PASSWORD).await.location(), "/");
        let mut alice = w.browser();
        let away = alice.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let back = w.idp.authorize(away.location(), json!({}));
        assert_eq!(alice.get(&back).await.location(), "/me");
        w.clock.advance(61);
        assert_eq!(w.reasons("login.failure").await["state_unknown"], 40);
        let event = w.last("login.failure").await;
        assert_eq!(event.repeated.unwrap().count, 39, "all but the first in one");
    })
    .await;
}

#[tokio::test]
async fn strangers_who_ask_for_codes_keep_nobody_from_theirs() {
    on_each(async |w| {
        let spec = from(json!({
            "name": "Guests", "kind": "email_code", "allowed_domains": ["guest.example"],
        }));
        let connection = w.connect(spec, None).await;
        let way = format!("/login/email/{}", connection.id);
        let ask = async |browser: &mut Browser| {
            let csrf = browser.get(&way).await.field("csrf");
            let fields = [("csrf", csrf.as_str()), ("address", "gina@guest.example")];
            browser.post(&way, &fields).await.status
        };
        let mut gina = at(w, "198.51.100.9");
        assert_eq!(ask(&mut gina).await, StatusCode::SEE_OTHER);
        let mail = w.mails().await.remove(0);
        let line = mail
            .lines()
            .find(|line| line.starts_with("    ") && line.contains('-'));
        let form = gina.get(&format!("{way}/code")).await.field("csrf");
        let fields = [("csrf", form.as_str()), ("code", line.unwrap().trim())];
        assert_eq!(gina.post(&format!("{way}/code"), &fields).await.location(), "/me");

        let mut sent = 0;
        for n in 0..20 {
            let mut stranger = at(w, &format!("203.0.113.{n}"));
            sent += usize::from(ask(&mut stranger).await == StatusCode::SEE_OTHER);
        }
        assert_eq!(sent, 9, "ten, with Gina's first");
        assert_eq!(w.mails().await.len(), sent, "nobody's mailbox is filled");
        gina.ip = "203.0.113.0".to_owned();
        assert_eq!(
            ask(&mut gina).await,
            StatusCode::SEE_OTHER,
            "her browser is known"
        );
        assert_eq!(
            ask(&mut at(w, "198.51.100.9")).await,
            StatusCode::SEE_OTHER,
            "so is her network"
        );
    })
    .await;
}

#[tokio::test]
async fn strangers_who_begin_to_sign_in_cost_few_rows() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        let mut known = w.signed_in(json!({})).await;
        let mut begun = 0;
        for n in 0..480 {
            let mut stranger = w.browser();
            if n % 2 == 0 {
                // As good as none.
                let cookie = format!("{n:022}");
                stranger
                    .cookies
                    .insert("__Host-chatelaine_session".to_owned(), cookie);
            }
            if n % 3 == 0 {
                // To look at the page costs no row, so that nobody is kept from it.
                assert_eq!(stranger.get("/login").await.status, StatusCode::OK);
                continue;
            }
            let answer = stranger.get(&start).await;
            let late = answer.status == StatusCode::TOO_MANY_REQUESTS;
            assert_eq!(answer.headers.contains_key("retry-after"), late);
            begun += usize::from(!late);
        }
        assert_eq!(begun, 299, "300, with the one that signed in");
        // Whoever signed in here before, and everybody elsewhere, does not notice.
        known.cookies.remove("__Host-chatelaine_session");
        known.get(&start).await.location();
        at(w, "203.0.113.1").get(&start).await.location();
        w.clock.advance(1);
        w.browser().get(&start).await.location();
    })
    .await;
}
