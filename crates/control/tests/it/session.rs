//! The dashboard: the same API with a browser's session instead of a token.

use crate::world::{Answer, World, on_each};
use axum::body::Body;
use http::{Method, Request, header};
use serde_json::json;
use tower::ServiceExt as _;
use wire::AuditRequest;

const PASSWORD: &str = "correct horse battery";

/// Signs Acme's owner in with their password, as a browser would; the session's cookie.
async fn sign_in(world: &World) -> String {
    let owner = &world.acme.owner.user;
    let mut tx = world.store.begin().await.unwrap();
    let phc = broker::hash_password(PASSWORD).await.unwrap();
    store::user::set_password(&mut tx, &owner.id, &phc).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    let outbound = outbound::Outbound::new(outbound::Policy::default());
    let config = broker::BrokerConfig {
        store: world.store.clone(),
        outbound,
        control_url: testkit::CONTROL.to_owned(),
    };
    let pages = broker::router(broker::Broker::new(config));
    let pages = pages.layer(broker::session_layer(&world.store, testkit::CONTROL));
    let visit = async |mut request: Request<Body>| {
        let context = AuditRequest {
            id: "req-1".into(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            ip: Some("203.0.113.7".into()),
            user_agent: None,
        };
        request.extensions_mut().insert(context);
        pages.clone().oneshot(request).await.unwrap()
    };
    let cookie_of = |response: &axum::response::Response| {
        let cookie = response
            .headers()
            .get(header::SET_COOKIE)
            .unwrap()
            .to_str()
            .unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let form = visit(Request::get("/login?org=acme").body(Body::empty()).unwrap()).await;
    let cookie = cookie_of(&form);
    let bytes = axum::body::to_bytes(form.into_body(), 1 << 20).await.unwrap();
    let page = String::from_utf8(bytes.to_vec()).unwrap();
    let hidden = |name: &str| {
        let start = page.split(&format!("name=\"{name}\" value=\"")).nth(1);
        start
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned()
    };
    let fields = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("csrf", &hidden("csrf"))
        .append_pair("org", "acme")
        .append_pair("username", owner.email.as_deref().unwrap())
        .append_pair("password", PASSWORD)
        .finish();
    let request = Request::post("/login/password")
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(fields));
    let answer = visit(request.unwrap()).await;
    assert!(answer.status().is_redirection(), "{answer:?}");
    cookie_of(&answer)
}

async fn browse(world: &World, cookie: &str, csrf: Option<&str>, method: Method) -> Answer {
    let mut request = Request::builder()
        .method(&method)
        .uri(format!("/api/v1/apps/{}", world.acme.app.id))
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(csrf) = csrf {
        request = request.header(wire::CSRF_HEADER, csrf);
    }
    let body = json!({"managed_oauth": true}).to_string();
    world.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn cn4_a_browser_changes_nothing_without_the_csrf_token() {
    on_each(async |world| {
        let cookie = sign_in(world).await;
        assert_eq!(browse(world, &cookie, None, Method::GET).await.status, 200);
        browse(world, &cookie, None, Method::PATCH)
            .await
            .refused(403, "forbidden");
        browse(world, &cookie, Some("x"), Method::PATCH)
            .await
            .refused(403, "forbidden");
        let request = Request::get("/api/v1/session").header(header::COOKIE, &cookie);
        let session = world.send(request.body(Body::empty()).unwrap()).await.json();
        let csrf = session["csrf_token"].as_str().unwrap();
        assert_eq!(session["roles"][0]["role"], "org_owner");
        // A token of somebody else's session is none of this one.
        let other = sign_in(world).await;
        browse(world, &other, Some(csrf), Method::PATCH)
            .await
            .refused(403, "forbidden");
        let answer = browse(world, &cookie, Some(csrf), Method::PATCH).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let event = world.newest().await;
        assert_eq!(
            (event.source.as_str(), event.action.as_str()),
            ("dashboard", "app.update")
        );
        assert!(event.actor.session.is_some() && event.actor.token.is_none());
    })
    .await;
}

#[tokio::test]
async fn cn13_an_unknown_session_is_401() {
    on_each(async |world| {
        for cookie in [
            "",
            "__Host-chatelaine_session=garbage",
            "__Host-chatelaine_session=AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            browse(world, cookie, None, Method::GET)
                .await
                .refused(401, "unauthenticated");
        }
        // A bad token is not made good by a good session.
        let cookie = sign_in(world).await;
        let request = Request::get("/api/v1/apps")
            .header(header::COOKIE, cookie)
            .header(header::AUTHORIZATION, "Bearer x");
        world
            .send(request.body(Body::empty()).unwrap())
            .await
            .refused(401, "unauthenticated");
    })
    .await;
}
