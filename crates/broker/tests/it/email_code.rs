//! Sign-in with a one-time code by e-mail.

use crate::browser::{Answer, Browser};
use crate::world::{CONTROL, World, from, on_each};
use http::StatusCode;
use serde_json::json;
use wire::{Connection, Outcome};

async fn by_mail(w: &World) -> Connection {
    let spec = json!({ "name": "Guests", "kind": "email_code", "allowed_domains": ["guest.example"] });
    w.connect(from(spec), Some("allowed")).await
}

/// Asks for a code; the answer leads to the page for it.
async fn ask(w: &World, browser: &mut Browser, connection: &Connection, address: &str) -> Answer {
    let path = format!("/login/email/{}", connection.id);
    let csrf = browser.get(&path).await.field("csrf");
    let fields = [
        ("csrf", csrf.as_str()),
        ("address", address),
        ("account", w.production.as_ref()),
        ("return_to", "/me?from=mail"),
    ];
    browser.post(&path, &fields).await
}

async fn enter(browser: &mut Browser, connection: &Connection, code: &str) -> Answer {
    let path = format!("/login/email/{}/code", connection.id);
    let csrf = browser.get(&path).await.field("csrf");
    browser.post(&path, &[("csrf", &csrf), ("code", code)]).await
}

/// The code in a mail.
#[track_caller]
fn code(mail: &str) -> String {
    let line = mail
        .lines()
        .find(|line| line.starts_with("    ") && line.contains('-'));
    line.unwrap_or_else(|| panic!("no code in {mail}"))
        .trim()
        .to_owned()
}

#[tokio::test]
async fn a_code_from_the_mail_signs_in_the_browser_that_asked_for_it_once() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let login = w.browser().get(&format!("/login?account={}", w.production)).await;
        assert!(login.body.contains("Continue with Guests"), "{}", login.body);

        let mut browser = w.browser();
        let sent = ask(w, &mut browser, &connection, " Gina@Guest.Example ").await;
        let page = browser.get(sent.location()).await;
        assert!(page.body.contains("gina@guest.example"), "{}", page.body);
        let event = w.last("login.code_sent").await;
        assert_eq!(event.actor.email.as_deref(), Some("gina@guest.example"));

        let mails = w.mails().await;
        let [mail] = mails.as_slice() else {
            panic!("{mails:?}");
        };
        assert!(mail.contains("To: gina@guest.example"), "{mail}");
        assert!(mail.contains("Acme (Production)"), "{mail}");
        assert!(mail.contains("Firefox on Linux, from 198.51.100.7"), "{mail}");
        assert!(!mail.contains("http"), "no link signs anybody in: {mail}");
        let code = code(mail);

        // Another browser cannot use it, not even one that waits for a code itself.
        let mut thief = w.browser();
        ask(w, &mut thief, &connection, "gina@guest.example").await;
        w.mails().await;
        enter(&mut thief, &connection, &code).await.field("csrf");
        assert!(!thief.get("/me").await.status.is_success());

        let before = browser.cookies.clone();
        let typed = code.to_lowercase().replace('-', " ");
        assert_eq!(
            enter(&mut browser, &connection, &typed).await.location(),
            "/me?from=mail"
        );
        assert_ne!(browser.cookies, before, "signed in under a new cookie");
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        let user = w.user("gina@guest.example").await;
        assert_eq!(user.connection, connection.id);
        assert_eq!(user.issuer, format!("{CONTROL}/connections/{}", connection.id));
        assert_eq!(
            (user.email.as_deref(), user.email_verified),
            (Some("gina@guest.example"), true)
        );
        let event = w.last("login.success").await;
        assert_eq!(event.actor.user, Some(user.id));
        assert_eq!(event.account.as_ref(), Some(&w.production));

        // Spent: the same browser, were it to begin anew with the same attempt, has none.
        let mut again = w.browser();
        again.cookies = before;
        let path = format!("/login/email/{}/code", connection.id);
        assert_eq!(
            again.get(&path).await.location(),
            format!("/login/email/{}", connection.id)
        );
    })
    .await;
}

#[tokio::test]
async fn nobody_learns_which_addresses_may_sign_in() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut answers = Vec::new();
        for address in ["somebody@guest.example", "somebody@evil.example"] {
            let mut browser = w.browser();
            let sent = ask(w, &mut browser, &connection, address).await;
            let page = browser.get(sent.location()).await;
            let wrong = enter(&mut browser, &connection, "BBBB-BBBB").await;
            let blur = |answer: &Answer| {
                let csrf = answer.field("csrf");
                answer.body.replace(address, "X").replace(&csrf, "T")
            };
            answers.push((
                sent.location().to_owned(),
                blur(&page),
                wrong.status,
                blur(&wrong),
            ));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(w.mails().await.len(), 1, "only the one that may");

        let long = format!("{}@evil.example", "a".repeat(60));
        for not_allowed in [
            "x@evil-guest.example",
            "x@sub.guest.example",
            "x@guest.example.evil.example",
            &long,
        ] {
            ask(w, &mut w.browser(), &connection, not_allowed)
                .await
                .location();
        }
        assert!(w.mails().await.is_empty());
        let event = w.last("login.failure").await;
        assert_eq!(event.reason.as_deref(), Some("email_domain"));
        for none in [
            "",
            "nobody",
            "a@guest.example,b@guest.example",
            "\u{212a}im@guest.example",
        ] {
            let answer = ask(w, &mut w.browser(), &connection, none).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{none:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_code_takes_five_guesses_and_ten_minutes() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut browser = w.browser();
        ask(w, &mut browser, &connection, "gina@guest.example").await;
        let right = code(&w.mails().await[0]);
        for guess in 1..=4 {
            let answer = enter(&mut browser, &connection, "BBBB-BBBB").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{guess}");
            assert!(answer.body.contains("This is not the code"));
            assert_eq!(
                w.last("login.failure").await.reason.as_deref(),
                Some("wrong_code")
            );
        }
        let answer = enter(&mut browser, &connection, "CCCC-CCCC").await;
        assert!(answer.body.contains("no longer good"), "{}", answer.body);
        let path = format!("/login/email/{}/code", connection.id);
        let csrf = answer.field("csrf");
        let late = browser.post(&path, &[("csrf", &csrf), ("code", &right)]).await;
        assert!(late.location().starts_with("/login/email/"));
        assert!(!browser.get("/me").await.status.is_success());

        let mut slow = w.browser();
        ask(w, &mut slow, &connection, "gina@guest.example").await;
        let right = code(&w.mails().await[0]);
        let csrf = slow.get(&path).await.field("csrf");
        w.clock.advance(601);
        let late = slow.post(&path, &[("csrf", &csrf), ("code", &right)]).await;
        assert!(late.location().starts_with("/login/email/"));
        assert!(!slow.get("/me").await.status.is_success());
    })
    .await;
}

#[tokio::test]
async fn guesses_do_not_race() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut browser = w.browser();
        ask(w, &mut browser, &connection, "gina@guest.example").await;
        let right = code(&w.mails().await[0]);
        let path = format!("/login/email/{}/code", connection.id);
        let csrf = browser.get(&path).await.field("csrf");
        let all = (0..12).map(|_| {
            let mut twin = browser.clone();
            let (path, csrf, right) = (path.clone(), csrf.clone(), right.clone());
            tokio::spawn(async move {
                let answer = twin.post(&path, &[("csrf", &csrf), ("code", &right)]).await;
                answer.status == StatusCode::SEE_OTHER && answer.location() == "/me?from=mail"
            })
        });
        let mut in_ = 0;
        for one in all.collect::<Vec<_>>() {
            in_ += i32::from(one.await.unwrap());
        }
        assert_eq!(in_, 1);
    })
    .await;
}

#[tokio::test]
async fn an_address_gets_few_codes_from_one_place_and_not_many_from_all_together() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        for (n, address) in ["gina@guest.example", "eve@evil.example"].iter().enumerate() {
            for i in 0..14 {
                let mut browser = w.browser();
                // Six from the first.
                browser.ip = format!("198.51.{n}.{}", i32::max(i - 5, 0));
                let answer = ask(w, &mut browser, &connection, address).await;
                let expected = if i < 5 || (6..11).contains(&i) {
                    StatusCode::SEE_OTHER
                } else {
                    StatusCode::TOO_MANY_REQUESTS
                };
                assert_eq!(answer.status, expected, "{address} {i}");
            }
        }
        assert_eq!(w.mails().await.len(), 10);
        w.clock.advance(181);
        let mut browser = w.browser();
        browser.ip = "198.51.9.9".to_owned();
        ask(w, &mut browser, &connection, "gina@guest.example")
            .await
            .location();
        assert_eq!(w.mails().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn asking_at_the_same_moment_gets_no_more_codes() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let path = format!("/login/email/{}", connection.id);
        let mut asking = Vec::new();
        for i in 0..15 {
            let mut browser = w.browser();
            browser.ip = format!("198.51.77.{i}");
            let csrf = browser.get(&path).await.field("csrf");
            let path = path.clone();
            asking.push(tokio::spawn(async move {
                let fields = [("csrf", csrf.as_str()), ("address", "gina@guest.example")];
                browser.post(&path, &fields).await.status
            }));
        }
        for one in asking {
            one.await.unwrap();
        }
        assert_eq!(w.mails().await.len(), 10);
    })
    .await;
}

#[tokio::test]
async fn somebody_who_is_signed_in_confirms_with_another_code() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut browser = w.browser();
        ask(w, &mut browser, &connection, "gina@guest.example").await;
        let first = code(&w.mails().await[0]);
        enter(&mut browser, &connection, &first).await.location();
        let page = browser.get("/login/confirm?return_to=%2Fme%3Fagain").await;
        let way = format!("/login/email/{}", connection.id);
        assert!(page.body.contains(&way), "{}", page.body);

        let confirm = async |browser: &mut Browser, address: &str| {
            let csrf = browser.get(&way).await.field("csrf");
            let fields = [
                ("csrf", csrf.as_str()),
                ("address", address),
                ("confirm", "1"),
                ("return_to", "/me?again"),
            ];
            browser.post(&way, &fields).await.location();
            let code = code(&w.mails().await[0]);
            enter(browser, &connection, &code).await
        };
        assert_eq!(
            confirm(&mut browser, "gina@guest.example").await.location(),
            "/me?again"
        );
        assert_eq!(w.last("login.confirm").await.outcome, Outcome::Success);
        confirm(&mut browser, "greta@guest.example")
            .await
            .is_error(StatusCode::FORBIDDEN);
        // Nobody confirms who is not signed in.
        let mut stranger = w.browser();
        let csrf = stranger.get(&way).await.field("csrf");
        let fields = [
            ("csrf", csrf.as_str()),
            ("address", "gina@guest.example"),
            ("confirm", "1"),
        ];
        stranger.post(&way, &fields).await.is_error(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn one_network_cannot_ask_for_ever() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut refused = 0;
        for i in 0..30 {
            let answer = ask(w, &mut w.browser(), &connection, &format!("g{i}@guest.example")).await;
            refused += i32::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
        }
        assert!(refused >= 9, "{refused}");
    })
    .await;
}

#[tokio::test]
async fn cn4_forms_without_their_token_send_and_redeem_nothing() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut browser = w.browser();
        let path = format!("/login/email/{}", connection.id);
        browser.get(&path).await;
        for csrf in ["", "AAAA"] {
            let fields = [("csrf", csrf), ("address", "gina@guest.example")];
            browser.post(&path, &fields).await.is_error(StatusCode::FORBIDDEN);
        }
        let foreign = w.browser().get(&path).await.field("csrf");
        let fields = [("csrf", foreign.as_str()), ("address", "gina@guest.example")];
        browser.post(&path, &fields).await.is_error(StatusCode::FORBIDDEN);
        assert!(w.mails().await.is_empty());

        ask(w, &mut browser, &connection, "gina@guest.example").await;
        let code = code(&w.mails().await[0]);
        let path = format!("{path}/code");
        let fields = [("csrf", "AAAA"), ("code", code.as_str())];
        browser.post(&path, &fields).await.is_error(StatusCode::FORBIDDEN);
        enter(&mut browser, &connection, &code).await.location();
    })
    .await;
}

#[tokio::test]
async fn it_opens_only_what_it_is_bound_to() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let labs = format!("/login/email/{}?account={}", connection.id, w.labs);
        w.browser().get(&labs).await.is_error(StatusCode::NOT_FOUND);
        let sso = format!("/login/email/{}", w.connection.id);
        w.browser().get(&sso).await.is_error(StatusCode::NOT_FOUND);

        // The list is read again when the code arrives.
        let mut browser = w.browser();
        ask(w, &mut browser, &connection, "gina@guest.example").await;
        let right = code(&w.mails().await[0]);
        let mut tx = w.store.begin().await.unwrap();
        let mut spec = connection.spec.clone();
        spec.allowed_domains = vec!["other.example".to_owned()];
        store::connection::update(&mut tx, &connection, spec)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        enter(&mut browser, &connection, &right)
            .await
            .is_error(StatusCode::FORBIDDEN);
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("email_domain")
        );
        assert!(!browser.get("/me").await.status.is_success());
    })
    .await;
}

#[tokio::test]
async fn up2_the_same_address_through_another_connection_is_somebody_else() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut browser = w.browser();
        ask(w, &mut browser, &connection, "alice@guest.example").await;
        let right = code(&w.mails().await[0]);
        enter(&mut browser, &connection, &right).await.location();
        w.signed_in(json!({ "sub": "alice@guest.example", "email": "alice@guest.example" }))
            .await;
        let users = w.users().await;
        let same: Vec<_> = users
            .iter()
            .filter(|user| user.subject == "alice@guest.example")
            .collect();
        assert_eq!(same.len(), 2);
        assert_eq!(w.last("login.success").await.outcome, Outcome::Success);
    })
    .await;
}

#[tokio::test]
async fn two_tabs_wait_for_a_code_each() {
    on_each(async |w| {
        let connection = by_mail(w).await;
        let mut browser = w.browser();
        let path = format!("/login/email/{}", connection.id);
        let mut tabs = Vec::new();
        for (address, return_to) in [
            ("one@guest.example", "/me?tab=1"),
            ("two@guest.example", "/me?tab=2"),
        ] {
            let csrf = browser.get(&path).await.field("csrf");
            let fields = [
                ("csrf", csrf.as_str()),
                ("address", address),
                ("return_to", return_to),
            ];
            let page = browser.post(&path, &fields).await.location().to_owned();
            let page = browser.get(&page).await;
            let mails = w.mails().await;
            tabs.push((page.field("csrf"), code(&mails[0]), address));
        }
        let path = format!("{path}/code");
        let [(first, first_code, _), (second, second_code, _)] = tabs.as_slice() else {
            panic!();
        };
        // The code of one is none for the other, and costs that one a guess.
        let crossed = browser
            .post(&path, &[("csrf", first), ("code", second_code)])
            .await;
        crossed.field("csrf");
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("wrong_code")
        );
        // The tab that began first, although another began after it.
        let done = browser
            .post(&path, &[("csrf", first), ("code", first_code)])
            .await;
        assert_eq!(done.location(), "/me?tab=1");
        assert!(browser.get("/me").await.body.contains("one@guest.example"));
        // And the other one, as it is.
        let done = browser
            .post(&path, &[("csrf", second), ("code", second_code)])
            .await;
        assert_eq!(done.location(), "/me?tab=2");
        assert!(browser.get("/me").await.body.contains("two@guest.example"));
    })
    .await;
}
