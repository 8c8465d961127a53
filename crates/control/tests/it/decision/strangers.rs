//! Nobody who is known, and services. Nothing begins for them and nothing is theirs: there is the request only, at the
//! gateway and in the tester.

use super::scene::{HOST, IP, Scene, context, make};
use crate::world::on_each;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use wire::*;

/// An app with a page for everybody, and one for services.
struct Open<'w> {
    scene: Scene<'w>,
    service: (ServiceTokenId, String),
}

/// With the app as it is now.
async fn again(scene: Scene<'_>) -> Scene<'_> {
    let app = scene.world.get(&format!("/apps/{}", scene.app.id)).await;
    let app: App = serde_json::from_value(app).unwrap();
    Scene { app, ..scene }
}

impl<'w> Open<'w> {
    async fn new(world: &'w crate::world::World) -> Self {
        let scene = Scene::new(world, &["pwd"]).await;
        let new = json!({"account": scene.app.account, "name": "Robot"});
        let token: Value = make(world, "/service-tokens", new).await;
        let id: ServiceTokenId = token["id"].as_str().unwrap().parse().unwrap();
        scene
            .put_first(json!({"name": "Robot's", "decision": "service_auth",
                "include": [{"type": "service_token", "service_token": id}],
                "require": [{"type": "request", "path": "/page"}]}))
            .await;
        let scene = again(scene).await;
        scene
            .put_first(json!({"name": "Signed in", "decision": "allow",
                "include": [{"type": "request", "path": "/people"}]}))
            .await;
        let scene = again(scene).await;
        scene
            .put_first(json!({"name": "Open", "decision": "bypass",
                "include": [{"type": "request", "path": "/open"}]}))
            .await;
        Self {
            scene,
            service: (id, token["client_secret"].as_str().unwrap().to_owned()),
        }
    }

    async fn gateway(&self, path: &str, is_service: bool) -> bool {
        let mut request = Request::get(path);
        if is_service {
            request = request
                .header(SERVICE_TOKEN_ID_HEADER, self.service.0.to_string())
                .header(SERVICE_TOKEN_SECRET_HEADER, &self.service.1);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(context(path, Some(IP)));
        let answer = self.scene.gateway.handle(HOST, request).await;
        // The origin is not there: what is let through is a bad gateway.
        answer.status() == StatusCode::BAD_GATEWAY
    }

    async fn tester(&self, path: &str, is_service: bool) -> (bool, String) {
        let mut test = json!({"app": self.scene.app.id, "path": path, "ip": IP});
        if is_service {
            test["service_token"] = json!(self.service.0);
        }
        let told = self
            .scene
            .world
            .owner(Method::POST, "/policies/test", Some(test))
            .await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.text);
        let decision = told.json()["decision"].clone();
        let reason = decision["reason"].as_str().unwrap().to_owned();
        (decision["allowed"] == true, reason)
    }

    /// Both say the same, and the tester says why.
    async fn check(&self, (path, is_service): (&str, bool), allowed: bool, reason: &str) {
        let case = format!("{path}, service: {is_service}");
        assert_eq!(self.gateway(path, is_service).await, allowed, "gateway, {case}");
        let told = self.tester(path, is_service).await;
        assert_eq!(told, (allowed, reason.to_owned()), "tester, {case}");
    }
}

const NOBODY: bool = false;
const SERVICE: bool = true;

#[tokio::test]
async fn nobody_and_services_as_rules_say() {
    on_each(async |world| {
        let open = Open::new(world).await;
        open.check(("/open", NOBODY), true, "bypassed").await;
        open.check(("/page", NOBODY), false, "unauthenticated").await;
        open.check(("/open", SERVICE), true, "bypassed").await;
        open.check(("/page", SERVICE), true, "service_authenticated")
            .await;
        open.check(("/people", NOBODY), false, "unauthenticated").await;
        open.check(("/people", SERVICE), false, "no_policy_matched").await;
    })
    .await;
}

#[tokio::test]
async fn nobody_and_services_at_what_is_switched_off() {
    on_each(async |world| {
        let open = Open::new(world).await;
        let app = (format!("/apps/{}", open.scene.app.id), "app");
        let account = (format!("/accounts/{}", open.scene.app.account), "account");
        for (path, what) in [app, account] {
            open.scene.patch(&path, json!({"enabled": false})).await;
            for (path, is_service) in [("/open", NOBODY), ("/open", SERVICE), ("/page", SERVICE)] {
                println!("{what}");
                open.check((path, is_service), false, "disabled").await;
            }
            open.scene.patch(&path, json!({"enabled": true})).await;
            open.check(("/open", NOBODY), true, "bypassed").await;
            open.check(("/page", SERVICE), true, "service_authenticated")
                .await;
        }
    })
    .await;
}
