//! Sign-in and sign-out of browsers at an app.

use crate::world::{World, by, cookie_name, eventually, on_each};
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
    (state, set_cookie(&answer, &cookie_name(app, "state")).unwrap())
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
                set_cookie(&answer, &cookie_name(app, "state"))
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
