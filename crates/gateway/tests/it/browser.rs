//! Sign-in and sign-out of browsers at an app.

use crate::world::{World, by, cookie_name, eventually, on_each};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Response;
use store::session::{self, Handoff, Record};
use wire::{App, BindingSpec, BindingState, SessionId, User};

/// What the browser holds after it was sent to sign in: the state, and the cookie with it.
pub(crate) async fn begin(world: &World, app: &App, target: &str) -> (String, String) {
    let request = world
        .request("GET", app, target)
        .header("sec-fetch-mode", "navigate");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = url::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    let state = location
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned();
    let cookie = set_cookie(&answer, &state_cookie(app, &state)).unwrap();
    (state, cookie)
}

/// The name of the cookie of the attempt with this state.
fn state_cookie(app: &App, state: &str) -> String {
    format!("{}_{}", cookie_name(app, "state"), &store::sha256(state)[..12])
}

fn set_cookie(answer: &Response, name: &str) -> Option<String> {
    let mut cookies = answer
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|v| v.to_str().unwrap());
    let cookie = cookies.find(|c| c.starts_with(&format!("{name}=")))?;
    Some(cookie.split(';').next().unwrap().to_owned())
}

/// What the control plane does once the person is signed in and allowed.
pub(crate) async fn hand_off(world: &World, app: &App, user: &User, state: &str) -> (SessionId, String) {
    let code = store::random_secret("").unwrap();
    let parent = Record {
        id: SessionId::fresh(),
        org: Some(world.org.clone()),
        user: Some(user.id.clone()),
        app: None,
        parent: None,
        data: "{}".into(),
        expires_at: world.clock.now().plus_seconds(3600),
        ip: None,
        user_agent: None,
        authentication: by("pwd"),
    };
    let handoff = Handoff {
        app: app.id.clone(),
        user: user.id.clone(),
        session: parent.id.clone(),
        state_hash: store::sha256(state),
        authentication: parent.authentication.clone(),
        expires_at: world.clock.now().plus_seconds(60),
    };
    world
        .write(async |tx| {
            session::save(tx, &store::sha256(&code), &parent).await?;
            session::offer_handoff(tx, &store::sha256(&code), &handoff).await
        })
        .await;
    (parent.id, code)
}

pub(crate) async fn come_back(
    world: &World,
    app: &App,
    (code, state): (&str, &str),
    cookie: &str,
) -> Response {
    let path = format!("/.chatelaine/callback?code={code}&state={state}");
    world
        .request("GET", app, &path)
        .header("cookie", cookie)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_browser_signs_in_and_comes_back_to_where_it_wanted_to_go() {
    on_each(async |world| {
        for app in [&world.wiki, &world.notes] {
            let (state, cookie) = begin(world, app, "/page/%C3%A4?q=1&r=%2F").await;
            let (parent, code) = hand_off(world, app, &world.ada, &state).await;
            let answer = come_back(world, app, (&code, &state), &cookie).await;
            assert_eq!(answer.status(), 303);
            assert_eq!(answer.headers()["location"], "/page/%C3%A4?q=1&r=%2F");
            assert_eq!(
                set_cookie(&answer, &state_cookie(app, &state))
                    .unwrap()
                    .split_once('=')
                    .unwrap()
                    .1,
                ""
            );
            let session = set_cookie(&answer, &cookie_name(app, "app")).unwrap();
            let page = || {
                world
                    .request("GET", app, "/page")
                    .header("cookie", format!("a=1; {session}"))
            };
            assert_eq!(page().send().await.unwrap().status(), 200);
            let seen = world.origin.last();
            assert_eq!(seen.header("cookie"), Some("a=1"));
            assert_eq!(seen.assertion()["sub"], world.ada.id.to_string());
            assert_eq!(seen.assertion().get("act"), None);
            let event = world.events().await.remove(0);
            assert_eq!(event.actor.kind, wire::ActorKind::User);
            assert!(event.actor.session.is_some());
            // It ends with the session at the control plane.
            world.write(async |tx| session::end(tx, &parent).await).await;
            eventually("signed out", async || {
                page().send().await.unwrap().status() == 401
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_handoff_is_good_once_for_its_browser_and_its_app() {
    on_each(async |world| {
        let (state, cookie) = begin(world, &world.wiki, "/page").await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        let none = come_back(world, &world.wiki, (&code, &state), "").await;
        assert_eq!(none.status(), 400, "another browser");
        let (other_state, other_cookie) = begin(world, &world.wiki, "/page").await;
        let other = come_back(world, &world.wiki, (&code, &other_state), &other_cookie).await;
        assert_eq!(other.status(), 400, "another sign-in of the browser");
        let mixed = come_back(world, &world.wiki, (&code, &state), &other_cookie).await;
        assert_eq!(mixed.status(), 400, "a state that is not the cookie's");
        let (notes_state, notes_cookie) = begin(world, &world.notes, "/page").await;
        let (_, notes_code) = hand_off(world, &world.notes, &world.ada, &notes_state).await;
        let foreign = come_back(world, &world.wiki, (&notes_code, &state), &cookie).await;
        assert_eq!(foreign.status(), 400, "a code of another app");
        let wrong = come_back(world, &world.notes, (&code, &notes_state), &notes_cookie).await;
        assert_eq!(wrong.status(), 400, "a code at another app");
        let garbage = come_back(world, &world.wiki, ("garbage", &state), &cookie).await;
        assert_eq!(garbage.status(), 400);

        let answers = futures_util::future::join_all(
            (0..8).map(|_| come_back(world, &world.wiki, (&code, &state), &cookie)),
        )
        .await;
        let good = answers.iter().filter(|a| a.status() == 303).count();
        assert_eq!(good, 1);
        assert!(answers.iter().all(|a| a.status() == 303 || a.status() == 400));

        let (state, cookie) = begin(world, &world.wiki, "/page").await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        world.advance(61).await;
        assert_eq!(
            come_back(world, &world.wiki, (&code, &state), &cookie)
                .await
                .status(),
            400,
            "too late"
        );
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_drains_starts_no_session() {
    on_each(async |world| {
        let (state, cookie) = begin(world, &world.wiki, "/page").await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        let spec = BindingSpec {
            state: BindingState::Draining,
            drain_until: Some(world.clock.now().plus_seconds(3600)),
            ..world.binding.spec.clone()
        };
        world
            .write(async |tx| store::binding::update(tx, &world.binding, spec).await)
            .await;
        let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(set_cookie(&answer, &cookie_name(&world.wiki, "app")), None);
    })
    .await;
}

#[tokio::test]
async fn sign_out_ends_the_session_unless_another_site_asks() {
    on_each(async |world| {
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let out = |method: &str| {
            world
                .request(method, &world.wiki, "/.chatelaine/logout")
                .header("cookie", &cookie)
        };
        let page = async || {
            let page = world
                .request("GET", &world.wiki, "/page")
                .header("cookie", &cookie);
            page.send().await.unwrap().status()
        };
        assert_eq!(
            out("GET")
                .header("sec-fetch-site", "cross-site")
                .send()
                .await
                .unwrap()
                .status(),
            403
        );
        assert_eq!(
            out("POST")
                .header("origin", "http://evil.example")
                .send()
                .await
                .unwrap()
                .status(),
            403
        );
        assert_eq!(page().await, 200);
        let answer = out("POST")
            .header("origin", "http://wiki.example")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 303);
        assert_eq!(
            answer.headers()["location"],
            format!("{}/logout", testkit::CONTROL)
        );
        eventually("signed out", async || page().await == 401).await;
    })
    .await;
}

#[tokio::test]
async fn our_own_paths_are_never_forwarded() {
    on_each(async |world| {
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let ask = async |method: &str, path: &str| {
            world
                .request(method, &world.wiki, path)
                .header("cookie", &cookie)
                .send()
                .await
                .unwrap()
                .status()
        };
        assert_eq!(ask("GET", "/.chatelaine/anything").await, 404);
        assert_eq!(ask("POST", "/.chatelaine/callback").await, 405);
        // Whoever is signed in already and comes back a second time is at home.
        assert_eq!(ask("GET", "/.chatelaine/callback?code=x&state=y").await, 303);
        assert!(world.origin.take().is_empty());
    })
    .await;
}

fn location(answer: &Response) -> &str {
    answer.headers()["location"].to_str().unwrap()
}

#[tokio::test]
async fn tabs_two_of_one_browser_both_come_to_their_own_page() {
    on_each(async |world| {
        for app in [&world.wiki, &world.notes] {
            let (one, first) = begin(world, app, "/page?tab=1").await;
            let (two, second) = begin(world, app, "/page?tab=2").await;
            assert_ne!(first.split('=').next(), second.split('=').next());
            let both = format!("{first}; {second}");
            // In the order in which they began.
            for (state, tab) in [(&one, "/page?tab=1"), (&two, "/page?tab=2")] {
                let (_, code) = hand_off(world, app, &world.ada, state).await;
                let answer = come_back(world, app, (&code, state), &both).await;
                assert_eq!(answer.status(), 303);
                assert_eq!(location(&answer), tab);
                assert!(set_cookie(&answer, &cookie_name(app, "app")).is_some());
                // Each takes its own cookie away and leaves the other's.
                let gone = format!("{}=", state_cookie(app, state));
                assert_eq!(set_cookie(&answer, &state_cookie(app, state)), Some(gone));
                let states = answer.headers().get_all("set-cookie").iter();
                let states = states.filter(|v| v.to_str().unwrap().contains("chatelaine_state_"));
                assert_eq!(states.count(), 1);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn deep_link_of_any_length_is_where_somebody_comes_back_to() {
    on_each(async |world| {
        for (app, length) in [
            (&world.wiki, 40),
            (&world.wiki, 399),
            (&world.wiki, 400),
            (&world.wiki, 401),
            (&world.wiki, 2500),
            (&world.notes, 2500),
            (&world.wiki, 8192),
        ] {
            let link = format!("/x?q=%C3%A4&r={}", "a,b(c)d~".repeat(1200));
            let link = &link[..length];
            let (state, cookie) = begin(world, app, link).await;
            assert!(cookie.len() < 800, "{} bytes for {length}", cookie.len());
            let (_, code) = hand_off(world, app, &world.ada, &state).await;
            let answer = come_back(world, app, (&code, &state), &cookie).await;
            assert_eq!(answer.status(), 303);
            assert_eq!(location(&answer), link, "{length}");
        }
        // There is an end to it.
        let (state, cookie) = begin(world, &world.wiki, &format!("/{}", "a".repeat(8192))).await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
        assert_eq!(location(&answer), "/");
    })
    .await;
}

#[tokio::test]
async fn deep_links_that_nobody_comes_back_for_are_bounded_and_go() {
    on_each(async |world| {
        let link = format!("/x?{}", "a".repeat(2500));
        for _ in 0..store::deep_link::MOST {
            begin(world, &world.wiki, &link).await;
        }
        // Signing in goes on working.
        let back = async || {
            let (state, cookie) = begin(world, &world.wiki, &link).await;
            let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
            let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
            assert_eq!(answer.status(), 303);
            location(&answer).to_owned()
        };
        assert_eq!(back().await, "/");
        world.advance(store::deep_link::LIFE + 1).await;
        assert_eq!(back().await, link);
        store::retention::sweep(&world.store).await.unwrap();
        assert_eq!(back().await, link);
    })
    .await;
}

#[tokio::test]
async fn a_browser_holds_a_few_attempts_and_the_oldest_go() {
    on_each(async |world| {
        let mut held: Vec<String> = Vec::new();
        let stranger = format!("{}_stranger", cookie_name(&world.wiki, "state"));
        for _ in 0..30 {
            let cookies = format!("{stranger}=x; {}; a=1", held.join("; "));
            let answer = world
                .request("GET", &world.wiki, "/page")
                .header("sec-fetch-mode", "navigate")
                .header("cookie", cookies)
                .send()
                .await
                .unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = cookie.split_once('=').unwrap();
                assert!(name.starts_with(&cookie_name(&world.wiki, "state")));
                if value.is_empty() {
                    assert!(held[0].starts_with(name), "the oldest");
                    held.remove(0);
                } else {
                    held.push(cookie.to_owned());
                }
            }
            assert!(held.len() <= 20);
        }
        assert_eq!(held.len(), 20);
    })
    .await;
}

#[tokio::test]
async fn a_planted_state_cookie_leads_to_no_other_site() {
    on_each(async |world| {
        for evil in [
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r/evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "evil",
            "",
            "\u{7f}/evil",
            "/.chatelaine/logout",
            "/\u{2028}/evil",
        ] {
            let (state, _) = begin(world, &world.wiki, "/page").await;
            let planted = format!("{state}.{}", URL_SAFE_NO_PAD.encode(evil));
            let cookie = format!("{}={planted}", state_cookie(&world.wiki, &state));
            let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
            let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
            assert_eq!(answer.status(), 303);
            assert_eq!(location(&answer), "/", "{evil:?}");
        }
        // An app below a path sends nobody out of it, and what is kept elsewhere is judged as well.
        let (state, _) = begin(world, &world.tickets, "/mcp/x").await;
        for outside in ["/other", "/mcpx", "/.chatelaine/logout"] {
            let planted = format!("{state}.{}", URL_SAFE_NO_PAD.encode(outside));
            let cookie = format!("{}={planted}", state_cookie(&world.tickets, &state));
            let (_, code) = hand_off(world, &world.tickets, &world.ada, &state).await;
            let answer = come_back(world, &world.tickets, (&code, &state), &cookie).await;
            assert_eq!(location(&answer), "/mcp", "{outside}");
        }
        let (state, _) = begin(world, &world.wiki, "/page").await;
        let digest = store::sha256(&state);
        world
            .write(async |tx| store::deep_link::keep(tx, &digest, "/\t/evil.example", None).await)
            .await;
        let cookie = format!("{}={state}", state_cookie(&world.wiki, &state));
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
        assert_eq!(location(&answer), "/");
    })
    .await;
}

#[tokio::test]
async fn cookies_and_parameters_that_come_twice_are_none() {
    on_each(async |world| {
        let (state, cookie) = begin(world, &world.wiki, "/page").await;
        let (_, code) = hand_off(world, &world.wiki, &world.ada, &state).await;
        let planted = format!(
            "{}={state}.{}",
            state_cookie(&world.wiki, &state),
            URL_SAFE_NO_PAD.encode("/x")
        );
        for twice in [
            format!("{cookie}; {planted}"),
            format!("{planted}; {cookie}"),
            format!("{cookie}; {cookie}"),
        ] {
            let answer = come_back(world, &world.wiki, (&code, &state), &twice).await;
            assert_eq!(answer.status(), 400, "{twice}");
        }
        for more in [
            format!("{code}&code={code}"),
            format!("{code}&state={state}"),
            format!("x&code={code}"),
        ] {
            let answer = come_back(world, &world.wiki, (&more, &state), &cookie).await;
            assert_eq!(answer.status(), 400, "{more}");
        }
        let answer = come_back(world, &world.wiki, (&code, &state), &cookie).await;
        assert_eq!(
            (answer.status().as_u16(), location(&answer)),
            (303, "/page"),
            "it was not spent"
        );
    })
    .await;
}

#[tokio::test]
async fn signing_out_at_an_app_ends_its_siblings_where_nobody_else_could() {
    on_each(async |world| {
        let mut cookies = Vec::new();
        let parent = SessionId::fresh();
        let spent = Record {
            id: parent.clone(),
            org: Some(world.org.clone()),
            user: Some(world.ada.id.clone()),
            app: None,
            parent: None,
            data: "{}".into(),
            expires_at: world.clock.now().plus_seconds(60),
            ip: None,
            user_agent: None,
            authentication: by("pwd"),
        };
        world
            .write(async |tx| session::save(tx, "parent", &spent).await)
            .await;
        for app in [&world.wiki, &world.notes] {
            let secret = store::random_secret("").unwrap();
            let record = Record {
                id: SessionId::fresh(),
                app: Some(app.id.clone()),
                parent: Some(parent.clone()),
                expires_at: world.clock.now().plus_seconds(3600),
                ..spent.clone()
            };
            world
                .write(async |tx| session::save(tx, &store::sha256(&secret), &record).await)
                .await;
            cookies.push(format!("{}={secret}", cookie_name(app, "app")));
        }
        let notes = async || {
            let page = world
                .request("GET", &world.notes, "/page")
                .header("cookie", &cookies[1]);
            page.send().await.unwrap().status()
        };
        assert_eq!(notes().await, 200);
        // The session at the control plane is over, so that its page for signing out ends nothing.
        world.advance(61).await;
        assert_eq!(notes().await, 200);
        let out = world
            .request("POST", &world.wiki, "/.chatelaine/logout")
            .header("cookie", &cookies[0]);
        assert_eq!(out.send().await.unwrap().status(), 303);
        eventually("signed out everywhere", async || notes().await == 401).await;
    })
    .await;
}

/// All events of an action, counts included, by reason.
async fn counted(world: &World, action: &str, reason: &str) -> Vec<wire::AuditEvent> {
    world.store.write_all_folds().await.unwrap();
    let mut events = world.events_of(action).await;
    events.retain(|event| event.reason.as_deref() == Some(reason));
    for event in &events {
        assert_eq!(event.actor, wire::AuditActor::of(wire::ActorKind::Anonymous));
        assert_eq!(event.outcome, wire::Outcome::Denied);
        let text = serde_json::to_string(event).unwrap();
        assert!(!text.contains("guess"), "{text}");
    }
    events
}

fn times(events: &[wire::AuditEvent]) -> u64 {
    let counts = events.iter().map(|e| e.repeated.as_ref().map_or(1, |r| r.count));
    counts.sum()
}

#[tokio::test]
async fn junk_at_the_way_back_is_on_record_and_counted() {
    on_each(async |world| {
        for n in 0..20 {
            for query in [
                format!("code=guess{n}&state=guess{n}"),
                format!("code=guess{n}"),
                format!("state=guess{n}&state=guess"),
                String::new(),
            ] {
                let path = format!("/.chatelaine/callback?{query}");
                let cookie = format!("{}=guess", cookie_name(&world.wiki, "app"));
                let request = world.request("GET", &world.wiki, &path).header("cookie", cookie);
                assert_eq!(request.send().await.unwrap().status(), 400);
            }
        }
        let events = counted(world, "app.sign_in", "state_unknown").await;
        assert_eq!((events.len(), times(&events)), (2, 80), "{events:#?}");
        let target = events[0].target.as_ref().unwrap();
        assert_eq!(target.id, world.wiki.id.to_string());
        // Whoever is signed in goes home, and did nothing that matters.
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let request = world
            .request("GET", &world.wiki, "/.chatelaine/callback?code=x&state=y")
            .header("cookie", cookie);
        assert_eq!(request.send().await.unwrap().status(), 303);
        let events = counted(world, "app.sign_in", "state_unknown").await;
        assert_eq!(times(&events), 80);
    })
    .await;
}

#[tokio::test]
async fn another_site_that_signs_somebody_out_is_on_record_as_nobodys() {
    on_each(async |world| {
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        for _ in 0..20 {
            let request = world
                .request("POST", &world.wiki, "/.chatelaine/logout")
                .header("cookie", &cookie)
                .header("sec-fetch-site", "cross-site");
            assert_eq!(request.send().await.unwrap().status(), 403);
        }
        let events = counted(world, "logout", "cross_site").await;
        assert_eq!((events.len(), times(&events)), (2, 20), "{events:#?}");
    })
    .await;
}
