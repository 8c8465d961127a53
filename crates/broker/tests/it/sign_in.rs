//! Signing in through providers: who gets in, as whom, and where to.

use crate::browser::Browser;
use crate::idp::{CLIENT_ID, CLIENT_SECRET, Idp, callback};
use crate::world::{CONTROL, START, World, binding, oidc, on_each};
use http::StatusCode;
use serde_json::json;
use std::future::IntoFuture as _;
use wire::{ActorKind, ConnectionSpec, Outcome, Timestamp};

#[tokio::test]
async fn a_person_signs_in_through_the_provider_and_lands_where_they_wanted() {
    on_each(async |w| {
        let mut browser = w.browser();
        let page = browser.get("/login?return_to=%2Fme%3Fa%3Db").await;
        assert_eq!(page.status, StatusCode::OK);
        let href = format!("/login/oidc/{}?return_to=%2Fme%3Fa%3Db", w.connection.id);
        assert!(page.body.contains(&href), "{}", page.body);

        let before = browser.get(&href).await;
        let anonymous = browser.cookies.clone();
        let back = w.idp.authorize(before.location(), json!({}));
        assert_eq!(browser.get(&back).await.location(), "/me?a=b");
        assert_ne!(browser.cookies, anonymous, "the cookie is a new one");
        let mut names: Vec<_> = browser.cookies.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "__Host-chatelaine_browser",
                "__Host-chatelaine_form",
                "__Host-chatelaine_session"
            ]
        );

        let me = browser.get("/me").await;
        assert_eq!(me.status, StatusCode::OK);
        assert!(
            me.body.contains("Alice") && me.body.contains("alice@acme.example"),
            "{}",
            me.body
        );
        let mut old = w.browser();
        old.cookies = anonymous;
        assert!(
            old.get("/me").await.location().starts_with("/login"),
            "the old cookie is worth nothing"
        );

        let event = w.last("login.success").await;
        let alice = w.user("alice").await;
        assert_eq!(event.actor.kind, ActorKind::User);
        assert_eq!(event.actor.user, Some(alice.id));
        assert_eq!(event.actor.email.as_deref(), Some("alice@acme.example"));
        assert!(event.actor.session.is_some());
        assert_eq!(event.target.unwrap().id, w.connection.id.to_string());
        assert_eq!(event.request.unwrap().ip.as_deref(), Some("198.51.100.7"));
        let connection = store::connection::get(&w.store, &w.org, &w.connection.id)
            .await
            .unwrap();
        assert!(connection.last_success_at.is_some());
    })
    .await;
}

#[tokio::test]
async fn the_session_cookie_cannot_be_read_by_scripts_or_sent_in_clear() {
    on_each(async |w| {
        let mut browser = w.browser();
        let attempt = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let back = w.idp.authorize(attempt.location(), json!({"sub": "ada"}));
        let signed_in = browser.get(&back).await;
        let page = w.browser().get("/login").await;
        for (answer, name) in [
            (attempt, "__Host-chatelaine_login_"),
            (signed_in, "__Host-chatelaine_session="),
            (page, "__Host-chatelaine_form="),
        ] {
            let cookies = answer.headers.get_all("set-cookie").iter();
            let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap());
            let cookie = cookies.find(|cookie| cookie.starts_with(name)).expect(name);
            for part in [name, "HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
                assert!(cookie.contains(part), "{cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
        let plain = broker::cookie_name("http://127.0.0.1:7400");
        assert_eq!(plain, "chatelaine_session");
    })
    .await;
}

#[tokio::test]
async fn cn2_the_answer_to_somebody_elses_attempt_is_403() {
    on_each(async |w| {
        let mut attacker = w.browser();
        let away = attacker.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let back = w.idp.authorize(away.location(), json!({"sub": "mallory"}));

        let mut victim = w.browser();
        victim.get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert!(victim.get("/me").await.location().starts_with("/login"));
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("state_unknown")
        );
        // Not either in place of an attempt of the victim's own, which goes on undisturbed.
        let own = victim.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let own = w.idp.authorize(own.location(), json!({}));
        victim.get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert_eq!(victim.get(&own).await.location(), "/me");
        // Whoever is signed in goes to their own page, as who they are.
        assert_eq!(victim.get(&back).await.location(), "/me");
        assert_eq!(victim.get("/me").await.status, StatusCode::OK);
        assert!(w.users().await.iter().all(|user| user.subject != "mallory"));
    })
    .await;
}

#[tokio::test]
async fn a_state_is_good_once_and_for_ten_minutes() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        let mut browser = w.browser();
        let (one, two) = (browser.get(&start).await, browser.get(&start).await);
        let (one, two) = (one.location().to_owned(), two.location().to_owned());
        // Two tabs do not disturb each other, in any order.
        let (one, two) = (w.idp.authorize(&one, json!({})), w.idp.authorize(&two, json!({})));
        assert_eq!(browser.get(&two).await.location(), "/me");
        assert_eq!(
            browser.get(&two).await.location(),
            "/me",
            "used, and somebody is signed in"
        );
        let unknown = w.last("login.failure").await;
        assert_eq!(unknown.reason.as_deref(), Some("state_unknown"));
        assert_eq!(browser.get(&one).await.location(), "/me");

        let mut browser = w.browser();
        let used = browser.get(&start).await;
        let used = w.idp.authorize(used.location(), json!({}));
        let cookies = browser.cookies.clone();
        assert_eq!(browser.get(&used).await.location(), "/me");
        browser.cookies = cookies;
        browser.get(&used).await.is_error(StatusCode::FORBIDDEN);
        let late = browser.get(&start).await;
        let late = w.idp.authorize(late.location(), json!({}));
        w.clock.advance(601);
        browser.get(&late).await.is_error(StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn tabs_that_begin_at_the_same_moment_each_come_back() {
    on_each(async |w| {
        // Eight tabs of a browser that has no cookie yet: each answer sets its own.
        let mut browser = w.browser();
        let mut backs = Vec::new();
        let mut jar = browser.cookies.clone();
        for tab in 0..8 {
            let mut tab_of_it = w.browser();
            let path = format!("/login/oidc/{}?return_to=/me?tab={tab}", w.connection.id);
            let away = tab_of_it.get(&path).await;
            backs.push(w.idp.authorize(away.location(), json!({})));
            jar.extend(tab_of_it.cookies);
        }
        browser.cookies = jar;
        for (tab, back) in backs.iter().enumerate() {
            assert_eq!(browser.get(back).await.location(), format!("/me?tab={tab}"));
        }
        // A browser holds so many, and no more.
        for _ in 0..30 {
            browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
        }
        let held = browser.cookies.keys().filter(|name| name.contains("_login_"));
        assert!(held.count() <= 20);
    })
    .await;
}

/// Whether the session of a browser counts as one whose person has just proven who they are.
async fn is_recent_in(w: &World, browser: &Browser) -> bool {
    let hash = store::sha256(&browser.cookies["__Host-chatelaine_session"]);
    let row = store::session::by_hash(&w.store, &hash, w.clock.now()).await;
    let data: serde_json::Value = serde_json::from_str(&row.unwrap().unwrap().data).unwrap();
    let at: Timestamp = serde_json::from_value(data["login"]["authenticated_at"].clone()).unwrap();
    at.plus_seconds(900) > w.clock.now()
}

#[tokio::test]
async fn a_sign_in_is_as_recent_as_the_provider_asked() {
    on_each(async |w| {
        let now = w.clock.now().seconds();
        for (claims, is_recent) in [
            (json!({"auth_time": now - 10}), true),
            (json!({"auth_time": now - 3600}), false),
            (json!({"auth_time": now + 864_000}), false),
            (json!({}), true),
            (json!({"auth_time": null}), true),
            (json!({"auth_time": (now - 10) as f64}), true),
            (json!({"auth_time": (now - 3600) as f64}), false),
            // What cannot be read is not "now", and signs in.
            (json!({"auth_time": (now - 10).to_string()}), false),
            (json!({"auth_time": [now]}), false),
            (json!({"auth_time": true}), false),
            (json!({"auth_time": {}}), false),
            (json!({"auth_time": now * 1000}), false),
            (json!({"auth_time": 253_402_300_800_i64}), false),
            (json!({"auth_time": i64::MAX}), false),
            (json!({"auth_time": i64::MIN}), false),
            (json!({"auth_time": -377_705_116_801_i64}), false),
            (json!({"auth_time": 1e300}), false),
        ] {
            let browser = w.signed_in(claims.clone()).await;
            assert_eq!(is_recent_in(w, &browser).await, is_recent, "{claims}");
        }
        // Nor does whoever comes once more without having been asked prove anything.
        let mut browser = w.signed_in(json!({"auth_time": now - 3600})).await;
        let away = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let back = w.idp.authorize(away.location(), json!({}));
        assert_eq!(browser.get(&back).await.location(), "/me");
        assert!(!is_recent_in(w, &browser).await);
    })
    .await;
}

#[tokio::test]
async fn up2_the_same_subject_from_two_providers_is_two_people() {
    on_each(async |w| {
        let other = Idp::start(START, vec!["client_secret_basic"]).await;
        let second = w.connect(oidc("Partner", &other), None).await;
        w.signed_in(json!({})).await;
        let mut browser = w.browser();
        let away = browser.get(&format!("/login/oidc/{}", second.id)).await;
        let back = other.authorize(away.location(), json!({}));
        assert_eq!(browser.get(&back).await.location(), "/me");
        let mut people = w.users().await;
        people.retain(|user| user.subject == "alice");
        assert_eq!(people.len(), 2);
        assert_ne!(people[0].connection, people[1].connection);
    })
    .await;
}

#[tokio::test]
async fn up1_another_providers_word_for_an_email_address_links_nobody() {
    on_each(async |w| {
        let other = Idp::start(START, vec!["client_secret_basic"]).await;
        let second = w.connect(oidc("Partner", &other), None).await;
        let claims = json!({"sub": "evil", "email": crate::world::OWNER, "email_verified": true});
        let mut browser = w.browser();
        let away = browser.get(&format!("/login/oidc/{}", second.id)).await;
        let back = other.authorize(away.location(), claims);
        // A new identity without the owner's roles: it does not land on the dashboard.
        assert_eq!(browser.get(&back).await.location(), "/me");
        assert_ne!(w.user("evil").await.id, w.owner);
        assert!(
            store::org::roles_of(&w.store, &w.user("evil").await.id)
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn an_exclusive_binding_leaves_no_other_way_in() {
    on_each(async |w| {
        let other = Idp::start(START, vec!["client_secret_basic"]).await;
        let login = format!("/login?account={}", w.production);
        // One connection: no page in between.
        let away = format!("/login/oidc/{}?account={}", w.connection.id, w.production);
        assert_eq!(w.browser().get(&login).await.location(), away);
        let second = w.connect(oidc("Partner", &other), Some("allowed")).await;
        let page = w.browser().get(&login).await;
        assert!(
            page.body.contains("Acme SSO") && page.body.contains("Partner"),
            "{}",
            page.body
        );

        let third = w.connect(oidc("Only", &other), Some("exclusive")).await;
        let only = format!("/login/oidc/{}?account={}", third.id, w.production);
        assert_eq!(w.browser().get(&login).await.location(), only);
        for closed in [&w.connection, &second] {
            let path = format!("/login/oidc/{}?account={}", closed.id, w.production);
            w.browser().get(&path).await.is_error(StatusCode::NOT_FOUND);
        }
        // The other account has its own bindings.
        let path = format!("/login/oidc/{}?account={}", w.connection.id, w.labs);
        w.browser().get(&path).await.location();
        let path = format!("/login/oidc/{}?account={}", second.id, w.labs);
        w.browser().get(&path).await.is_error(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_binding_that_drains_meanwhile_signs_nobody_in() {
    on_each(async |w| {
        let mut browser = w.browser();
        let path = format!("/login/oidc/{}?account={}", w.connection.id, w.production);
        let away = browser.get(&path).await;
        let back = w.idp.authorize(away.location(), json!({}));
        let mut tx = w.store.begin().await.unwrap();
        let spec = binding("allowed", "detached");
        store::binding::update(&mut tx, &w.binding, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        browser.get(&back).await.is_error(StatusCode::NOT_FOUND);
        let login = w.browser().get(&format!("/login?account={}", w.production)).await;
        assert_eq!(login.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn a_disabled_person_or_connection_is_out_at_once_and_stays_out() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        w.disable(&w.user("alice").await).await;
        assert!(browser.get("/me").await.location().starts_with("/login"));
        let away = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
        let back = w.idp.authorize(away.location(), json!({}));
        browser.get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("user_disabled")
        );

        let mut browser = w.signed_in(json!({"sub": "bob"})).await;
        w.configure(|spec| spec.enabled = false).await;
        assert!(browser.get("/me").await.location().starts_with("/login"));
        browser
            .get(&format!("/login/oidc/{}", w.connection.id))
            .await
            .is_error(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn cn13_a_garbage_cookie_is_nobody() {
    on_each(async |w| {
        let long = "A".repeat(4000);
        for garbage in ["", "x", "\"quoted\"", "AAAAAAAAAAAAAAAAAAAAAA", "%00%ff", &long] {
            let mut browser = w.browser();
            browser
                .cookies
                .insert("__Host-chatelaine_session".into(), garbage.into());
            assert_eq!(browser.get("/login").await.status, StatusCode::OK, "{garbage}");
            browser
                .cookies
                .insert("__Host-chatelaine_session".into(), garbage.into());
            assert!(
                browser.get("/me").await.location().starts_with("/login"),
                "{garbage}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn sign_in_leads_to_no_other_site() {
    on_each(async |w| {
        for evil in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/%09/evil.example",
            "javascript:x",
        ] {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("return_to", evil)
                .finish();
            let page = w.browser().get(&format!("/login?{query}")).await;
            let harmless = evil.starts_with("/%");
            assert_eq!(page.body.contains("evil"), harmless, "{evil}");
            let mut browser = w.browser();
            let away = browser
                .get(&format!("/login/oidc/{}?{query}", w.connection.id))
                .await;
            let back = w.idp.authorize(away.location(), json!({}));
            let expected = if harmless { evil } else { "/me" };
            assert_eq!(browser.get(&back).await.location(), expected, "{evil}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_ended_or_old_session_is_signed_out() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let alice = w.user("alice").await.id;
        let now = w.store.clock().now();
        let page = store::Paging::default();
        let sessions = store::session::list(&w.store, &w.org, Some(&alice), now, &page)
            .await
            .unwrap();
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].ip.as_deref(), Some("198.51.100.7"));
        assert!(sessions[0].user_agent.as_deref().unwrap().contains("Firefox"));
        let mut tx = w.store.begin().await.unwrap();
        store::session::end(&mut tx, &sessions[0].id).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert!(browser.get("/me").await.location().starts_with("/login"));

        let mut browser = w.signed_in(json!({})).await;
        w.clock.advance(12 * 3600 - 60);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        w.clock.advance(61);
        assert!(browser.get("/me").await.location().starts_with("/login"));
    })
    .await;
}

#[tokio::test]
async fn signing_out_needs_a_token_and_ends_the_session_itself() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let stolen = browser.clone();
        browser.post("/logout", &[]).await.is_error(StatusCode::FORBIDDEN);
        browser
            .post("/logout", &[("csrf", "AAAA")])
            .await
            .is_error(StatusCode::FORBIDDEN);
        let csrf = browser.get("/logout").await.field("csrf");
        let mut other = w.signed_in(json!({})).await;
        other
            .post("/logout", &[("csrf", &csrf)])
            .await
            .is_error(StatusCode::FORBIDDEN);

        assert_eq!(
            browser.post("/logout", &[("csrf", &csrf)]).await.status,
            StatusCode::OK
        );
        assert!(!browser.cookies.contains_key("__Host-chatelaine_session"));
        let mut stolen = stolen;
        assert!(stolen.get("/me").await.location().starts_with("/login"));
        assert_eq!(other.get("/me").await.status, StatusCode::OK);
        assert_eq!(w.last("logout").await.outcome, Outcome::Success);
    })
    .await;
}

#[tokio::test]
async fn only_verified_addresses_in_allowed_domains_get_in() {
    on_each(async |w| {
        w.configure(|spec| spec.allowed_domains = vec!["acme.example".into()])
            .await;
        for (claims, reason) in [
            (json!({"email_verified": false}), "email_unverified"),
            (json!({"email_verified": null}), "email_unverified"),
            (json!({"email": "alice@evil-acme.example"}), "email_domain"),
        ] {
            let mut browser = w.browser();
            let away = browser.get(&format!("/login/oidc/{}", w.connection.id)).await;
            let back = w.idp.authorize(away.location(), claims);
            browser.get(&back).await.is_error(StatusCode::FORBIDDEN);
            assert_eq!(w.last("login.failure").await.reason.as_deref(), Some(reason));
        }
        assert_eq!(w.users().await.len(), 1, "only the owner");
        w.signed_in(json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn what_the_provider_refuses_or_breaks_is_told_in_plain_words() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        let state = |location: &str| {
            let url = url::Url::parse(location).unwrap();
            let (_, state) = url.query_pairs().find(|(name, _)| name == "state").unwrap();
            state.into_owned()
        };
        let mut browser = w.browser();
        let sent = state(browser.get(&start).await.location());
        let back = callback(&w.connection.id, &[("error", "access_denied"), ("state", &sent)]);
        browser.get(&back).await.is_error(StatusCode::FORBIDDEN);
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("provider_denied")
        );

        let sent = state(browser.get(&start).await.location());
        let back = callback(
            &w.connection.id,
            &[("error", "server_error<script>"), ("state", &sent)],
        );
        let answer = browser.get(&back).await;
        answer.is_error(StatusCode::BAD_GATEWAY);
        assert!(!answer.body.contains("script"));
        let connection = store::connection::get(&w.store, &w.org, &w.connection.id)
            .await
            .unwrap();
        assert!(connection.last_error.unwrap().contains("server_error?script?"));

        let sent = state(browser.get(&start).await.location());
        let back = callback(
            &w.connection.id,
            &[
                ("code", "never issued"),
                ("state", &sent),
                ("iss", w.idp.issuer()),
            ],
        );
        browser.get(&back).await.is_error(StatusCode::BAD_GATEWAY);

        let nowhere: ConnectionSpec = crate::world::from(json!({
            "name": "Down", "kind": "oidc", "issuer": "http://127.0.0.1:1", "client_id": "x",
            "allow_internal": ["http://127.0.0.1:1"],
        }));
        let down = w.connect(nowhere, None).await;
        let answer = browser.get(&format!("/login/oidc/{}", down.id)).await;
        answer.is_error(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("provider_unreachable")
        );
    })
    .await;
}

#[tokio::test]
async fn an_internal_provider_is_reached_only_where_the_connection_allows_it() {
    on_each(async |w| {
        w.configure(|spec| spec.allow_internal.clear()).await;
        let answer = w.browser().get(&format!("/login/oidc/{}", w.connection.id)).await;
        answer.is_error(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(w.idp.discoveries(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_does_not_exist_is_a_404_page() {
    on_each(async |w| {
        let con = wire::ConnectionId::fresh();
        let acc = wire::AccountId::fresh();
        for path in [
            format!("/login/oidc/{con}"),
            "/login/oidc/x".to_owned(),
            format!("/login?account={acc}"),
            "/login?org=nobody".to_owned(),
            format!("/signin/{}?state=x", wire::AppId::fresh()),
        ] {
            w.browser().get(&path).await.is_error(StatusCode::NOT_FOUND);
        }
    })
    .await;
}

#[tokio::test]
async fn with_several_organisations_the_page_asks_which() {
    on_each(async |w| {
        let mut tx = w.store.begin().await.unwrap();
        let spec = crate::world::from(json!({ "name": "Other" }));
        store::org::create(&mut tx, "other", spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let page = w.browser().get("/login").await;
        assert!(
            page.body.contains("name=\"org\"") && !page.body.contains("Acme"),
            "{}",
            page.body
        );
        let page = w.browser().get("/login?org=acme").await;
        assert!(page.body.contains("Acme SSO"), "{}", page.body);
        // The other organisation has no way to sign in yet.
        assert_eq!(
            w.browser().get("/login?org=other").await.status,
            StatusCode::FORBIDDEN
        );
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_ended_while_a_request_runs_does_not_come_back() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let (store, alice) = (w.store.clone(), w.user("alice").await.id);
        let slow = async move |session: tower_sessions::Session| {
            assert!(broker::signed_in(&session, &store).await.unwrap().is_some());
            let mut tx = store.begin().await.unwrap();
            store::session::end_all_of(&mut tx, &alice, "test").await.unwrap();
            tx.commit_housekeeping().await.unwrap();
            session.insert("late", true).await.unwrap();
        };
        let router = axum::Router::new()
            .route("/slow", axum::routing::get(slow))
            .layer(broker::session_layer(&w.store, CONTROL));
        let mut same = Browser::new(router);
        same.cookies.clone_from(&browser.cookies);
        assert_eq!(same.get("/slow").await.status, StatusCode::OK);
        assert!(browser.get("/me").await.location().starts_with("/login"));
    })
    .await;
}

#[tokio::test]
async fn gw21_without_a_database_nobody_is_let_in_and_the_page_says_so() {
    on_each(async |w| {
        let mut browser = w.signed_in(json!({})).await;
        let app = format!("/signin/{}?state=s", w.wiki.id);
        w.store.close().await;
        for path in ["/me", "/login", "/logout", &app] {
            let answer = browser.get(path).await;
            answer.is_error(StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers.contains_key("retry-after"));
        }
    })
    .await;
}

#[tokio::test]
async fn the_demos_provider_signs_its_people_in_with_its_own_form() {
    on_each(async |w| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let clock = demo::Clock::default();
        clock.advance(START - clock.now());
        let alice = demo::idp::User {
            username: "alice".into(),
            password: "wonderland".into(),
            sub: "u-alice".into(),
            email: "alice@acme.example".into(),
            name: "Alice Archer".into(),
            groups: vec!["staff".into()],
        };
        let spec = crate::world::from(json!({
            "name": "Demo", "kind": "oidc", "issuer": issuer, "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET, "allow_internal": [issuer],
        }));
        let connection = w.connect(spec, Some("exclusive")).await;
        let config = demo::idp::Config {
            issuer: issuer.clone(),
            client_id: CLIENT_ID.into(),
            client_secret: CLIENT_SECRET.into(),
            redirect_uris: vec![connection.redirect_uri.clone()],
            post_logout_redirect_uris: vec![],
            users: vec![alice],
            clock,
        };
        let router = demo::idp::router(config).unwrap();
        tokio::spawn(axum::serve(listener, router.clone()).into_future());

        let (mut browser, mut at_provider) = (w.browser(), Browser::new(router));
        let login = format!("/login?account={}&return_to=%2Fme", w.production);
        let start = browser.get(&login).await.location().to_owned();
        assert!(start.starts_with(&format!("/login/oidc/{}", connection.id)));
        let away = browser.get(&start).await;
        let away = away.location().strip_prefix(&issuer).unwrap();
        let form = at_provider.get(away).await;
        let ticket = form.field("ticket");
        let typed = [
            ("ticket", ticket.as_str()),
            ("username", "alice"),
            ("password", "wonderland"),
        ];
        let back = at_provider.post("/login", &typed).await;
        let back = back.location().strip_prefix(CONTROL).unwrap();
        assert_eq!(browser.get(back).await.location(), "/me");
        let user = w.user("u-alice").await;
        assert_eq!(user.groups, ["staff"]);
        assert!(user.email_verified);
    })
    .await;
}
