//! The dashboard: the same API with a browser's session instead of a token.

use crate::world::{Answer, World, on_each};
use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use wire::{AuditRequest, Role};

const PASSWORD: &str = "correct horse battery";

/// Signs Acme's owner in with their password, as a browser would; the session's cookie.
pub(crate) async fn sign_in(world: &World) -> String {
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
        mailer: broker::mail::Mailer::none(),
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
    let cookie_of = |response: &axum::response::Response, name: &str| {
        let mut cookies = response.headers().get_all(header::SET_COOKIE).iter();
        let cookie = cookies.find_map(|v| v.to_str().ok().filter(|text| text.starts_with(name)));
        cookie.unwrap().split(';').next().unwrap().to_owned()
    };
    let form = visit(Request::get("/login?org=acme").body(Body::empty()).unwrap()).await;
    let cookie = cookie_of(&form, "__Host-chatelaine_form");
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
    cookie_of(&answer, broker::cookie_name(testkit::CONTROL))
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

/// Sends a write of the dashboard.
async fn write(
    world: &World,
    (cookie, csrf): (&str, &str),
    method: Method,
    path: &str,
    body: Value,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::COOKIE, cookie)
        .header(wire::CSRF_HEADER, csrf)
        .header(header::IF_MATCH, "*")
        .header(header::CONTENT_TYPE, "application/json");
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    world.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn dangerous_acts_need_a_proof_of_the_last_15_minutes() {
    on_each(async |world| {
        let cookie = sign_in(world).await;
        let request = Request::get("/api/v1/session").header(header::COOKIE, &cookie);
        let session = world.send(request.body(Body::empty()).unwrap()).await.json();
        let csrf = session["csrf_token"].as_str().unwrap();
        let who = (cookie.as_str(), csrf);
        let acme = &world.acme;
        let owner = json!({"user": acme.employee.id, "role": "org_owner"});
        let floor = json!({"floor": [{"type": "mfa"}]});
        let acts = [
            (Method::DELETE, format!("/accounts/{}", acme.labs.id), Value::Null),
            (
                Method::DELETE,
                format!("/connections/{}", acme.connection.id),
                Value::Null,
            ),
            (Method::POST, "/members".to_owned(), owner.clone()),
            (
                Method::DELETE,
                format!("/members/{}", acme.owner.member.id),
                Value::Null,
            ),
            (Method::PATCH, "/organisation".to_owned(), floor),
            (
                Method::PATCH,
                "/organisation".to_owned(),
                json!({"primary_connection": acme.connection.id}),
            ),
            (
                Method::PATCH,
                "/organisation".to_owned(),
                json!({"require_second_factor": true}),
            ),
            (Method::POST, "/signing-keys/rotate".to_owned(), json!({})),
            (
                Method::POST,
                "/api-tokens".to_owned(),
                json!({"name": "T", "scopes": ["write"]}),
            ),
            (
                Method::POST,
                "/api-tokens".to_owned(),
                json!({"name": "T", "scopes": ["read"], "account": acme.labs.id, "role": "account_admin"}),
            ),
            (
                Method::DELETE,
                format!("/users/{}/factors/{}", acme.guarded, acme.factor),
                Value::Null,
            ),
        ];
        world.clock.advance(15 * 60);
        for (method, path, body) in &acts {
            let path = format!("{path}?dry_run=true");
            let answer = write(world, who, method.clone(), &path, body.clone()).await;
            answer.refused(403, "reauthentication-required");
            assert_eq!(answer.header("link"), "</login/confirm>; rel=\"reauthenticate\"");
            // Tokens were made with a fresh proof, and are not asked.
            let body = (!body.is_null()).then(|| body.clone());
            let answer = world.owner(method.clone(), &path, body).await;
            assert!(
                matches!(answer.status.as_u16(), 200 | 201 | 409),
                "{path}: {}",
                answer.text
            );
        }
        // What does no great harm goes on.
        let rename = json!({"name": "Acme 2"});
        let answer = write(world, who, Method::PATCH, "/organisation?dry_run=true", rename).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = sign_in(world).await;
        let request = Request::get("/api/v1/session").header(header::COOKIE, &cookie);
        let session = world.send(request.body(Body::empty()).unwrap()).await.json();
        let who = (cookie.as_str(), session["csrf_token"].as_str().unwrap());
        let answer = write(world, who, Method::POST, "/members?dry_run=true", owner).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn factors_are_shown_without_their_secrets_and_removed_by_owners() {
    on_each(async |world| {
        let guarded = &world.acme.guarded;
        let path = format!("/users/{guarded}/factors");
        let page = world.get(&path).await;
        assert_eq!(page["items"][0]["name"], "Phone");
        assert_eq!(page["items"][0]["kind"], "totp");
        let members: Vec<_> = page["items"][0].as_object().unwrap().keys().collect();
        assert_eq!(members, ["created_at", "id", "kind", "name"], "no secrets");
        let admin = world.hire(Role::OrgAdmin, None).await;
        let one = format!("{path}/{}", world.acme.factor);
        world
            .call(&admin.token, Method::DELETE, &one, None)
            .await
            .refused(403, "forbidden");
        // A factor belongs to its person.
        let wrong = format!("/users/{}/factors/{}", world.acme.employee.id, world.acme.factor);
        world
            .owner(Method::DELETE, &wrong, None)
            .await
            .refused(404, "not-found");
        assert_eq!(world.owner(Method::DELETE, &one, None).await.status, 204);
        let event = world.newest().await;
        assert_eq!(event.action, "factor.remove");
        assert_eq!(event.change.unwrap().before["user"], guarded.to_string());
        assert_eq!(world.get(&path).await["items"], json!([]));

        // People see and remove their own, whatever their role; others with account roles see none.
        let production = Some(&world.acme.account);
        let editor = world.hire(Role::AccountEditor, production).await;
        let factor = crate::world::add_factor(&world.store, &world.acme.org, &editor.user.id).await;
        let own = format!("/users/{}/factors", editor.user.id);
        let colleague = world.hire(Role::AccountAdmin, production).await;
        for (method, path) in [
            (Method::GET, own.clone()),
            (Method::DELETE, format!("{own}/{factor}")),
        ] {
            let answer = world.call(&colleague.token, method, &path, None).await;
            answer.refused(404, "not-found");
        }
        let seen = world.call(&editor.token, Method::GET, &own, None).await.json();
        assert_eq!(seen["items"][0]["id"], factor.to_string());
        let answer = world
            .call(&editor.token, Method::DELETE, &format!("{own}/{factor}"), None)
            .await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    })
    .await;
}
