//! The flight recorder over the whole way in, through gateway, authorization server and API: an agent fails, the recorder
//! names the step, one request mends it under the rights of the change that it is, and the same agent gets further.

use crate::world::{Answer, World, identity, on_each};
use axum::{Router, body::Body};
use gateway::{Gateway, GatewayConfig};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use oauth::Oauth;
use serde_json::{Value, json};
use store::user;
use testkit::CONTROL;
use tower::ServiceExt as _;
use wire::*;

const CALLBACK: &str = "http://127.0.0.1:7777/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// An app whose Managed OAuth is off, an agent, and the browser of its person.
struct Place<'w> {
    world: &'w World,
    gateway: Gateway,
    oauth: Oauth,
    router: Router,
    app: App,
}

impl<'w> Place<'w> {
    async fn new(world: &'w World) -> Self {
        let config = GatewayConfig {
            store: world.store.clone(),
            keyring: world.keyring.clone(),
            control_url: CONTROL.into(),
        };
        let outbound = outbound::Outbound::new(outbound::Policy::default());
        let oauth = Oauth::new(world.store.clone(), world.keyring.clone(), outbound, CONTROL);
        let router = oauth::router(oauth.clone()).layer(broker::session_layer(&world.store, CONTROL));
        let app = store::app::get(&world.store, &world.acme.org, &world.acme.app.id)
            .await
            .unwrap();
        let place = Self {
            world,
            gateway: Gateway::new(config),
            oauth,
            router,
            app,
        };
        // Nobody listens there.
        place.change(json!({"origin_url": "http://127.0.0.1:1"})).await;
        place
    }

    fn audit(request: &Request<Body>, agent: &str) -> AuditRequest {
        AuditRequest {
            id: format!("req-{}", EventId::fresh()),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            ip: Some(
                if agent.starts_with("agent") {
                    "192.0.2.9"
                } else {
                    "198.51.100.4"
                }
                .into(),
            ),
            user_agent: Some(agent.to_owned()),
        }
    }

    /// The agent calls the app.
    async fn call(&self, token: Option<&str>) -> (StatusCode, String) {
        self.ask(Request::post("/tool"), token).await
    }

    async fn ask(&self, request: http::request::Builder, token: Option<&str>) -> (StatusCode, String) {
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let audit = Self::audit(&request, "agent/1.0 (test)");
        request.extensions_mut().insert(audit);
        let url = url::Url::parse(&self.app.spec.public_url).unwrap();
        let response = self.gateway.handle(url.host_str().unwrap(), request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn oauth(&self, request: Request<Body>, agent: &str) -> (StatusCode, http::HeaderMap, String) {
        let audit = Self::audit(&request, agent);
        let service = self.router.clone().layer(axum::Extension(audit));
        let (head, body) = service.oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            head.status,
            head.headers,
            String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    async fn register(&self, redirect: &str) -> (StatusCode, Value) {
        let body = json!({"client_name": "Helper", "redirect_uris": [redirect], "token_endpoint_auth_method": "none"});
        let request = Request::post(format!("/oauth/{}/register", self.app.id))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let (status, _, text) = self.oauth(request, "agent/1.0 (test)").await;
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// An authorization request like no other.
    fn url(&self, client_id: &str, redirect: &str) -> String {
        let state = EventId::fresh().to_string();
        let fields = [
            ("client_id", client_id),
            ("redirect_uri", redirect),
            ("response_type", "code"),
            ("state", state.as_str()),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        format!("/oauth/{}/authorize?{query}", self.app.id)
    }

    async fn browse(&self, cookie: &str, url: &str) -> (StatusCode, http::HeaderMap, String) {
        let request = Request::get(url).header(header::COOKIE, cookie);
        self.oauth(request.body(Body::empty()).unwrap(), "Browser/5.0 (test)")
            .await
    }

    /// Reads the consent page and says yes; the code.
    async fn allow(&self, cookie: &str, url: &str) -> String {
        let (status, _, page) = self.browse(cookie, url).await;
        assert_eq!(status, 200, "{page}");
        let mut fields: Vec<(String, String)> = Vec::new();
        for input in page.split("<input type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = input.split_once("\" value=\"").unwrap();
            let value = rest.split_once('"').unwrap().0;
            fields.push((name.to_owned(), value.replace("&#38;", "&")));
        }
        fields.push(("decision".into(), "allow".into()));
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = Request::post(format!("/oauth/{}/authorize", self.app.id))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, cookie)
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(body))
            .unwrap();
        let (status, headers, text) = self.oauth(request, "Browser/5.0 (test)").await;
        assert_eq!(status, 303, "{text}");
        let location = url::Url::parse(headers[header::LOCATION].to_str().unwrap()).unwrap();
        location
            .query_pairs()
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
            .into_owned()
    }

    async fn redeem(&self, client_id: &str, code: &str) -> String {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", client_id),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = Request::post(format!("/oauth/{}/token", self.app.id))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap();
        let (status, _, text) = self.oauth(request, "agent/1.0 (test)").await;
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// A browser in which an employee is signed in.
    async fn employee(&self) -> String {
        let mut tx = self.world.store.begin().await.unwrap();
        let connection = self.world.acme.connection.id.clone();
        let identity = identity(&connection, "erin");
        let person = user::sign_in(&mut tx, &self.world.acme.org, identity)
            .await
            .unwrap();
        let cookie = tower_sessions::session::Id::default();
        let session = SessionId::fresh();
        let until = tx.now().plus_seconds(12 * 3600);
        let authentication = Authentication {
            connection: Some(connection),
            ..Authentication::default()
        };
        let login = json!({"login": {
            "session": session, "user": person.user.id, "org": self.world.acme.org, "until": until,
            "authentication": authentication, "ip": null, "user_agent": null,
        }});
        let record = store::session::Record {
            id: session,
            org: Some(self.world.acme.org.clone()),
            user: Some(person.user.id),
            app: None,
            parent: None,
            data: login.to_string(),
            expires_at: until,
            ip: None,
            user_agent: None,
            authentication,
        };
        store::session::save(&mut tx, &store::sha256(cookie.to_string()), &record)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        format!("{}={cookie}", broker::cookie_name(CONTROL))
    }

    async fn change(&self, body: Value) {
        let path = format!("/apps/{}", self.app.id);
        let answer = self.world.owner(Method::PATCH, &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// The newest attempt, whole.
    async fn newest(&self) -> Value {
        self.world.store.write_agent_steps().await.unwrap();
        let list = self
            .world
            .get(&format!("/agent-attempts?app={}", self.app.id))
            .await;
        let id = list["items"][0]["id"].as_str().unwrap().to_owned();
        self.world.get(&format!("/agent-attempts/{id}")).await
    }

    async fn fix(&self, attempt: &Value, which: &Value, tag: &str, dry: bool) -> Answer {
        let dry = if dry { "?dry_run=true" } else { "" };
        let id = attempt["id"].as_str().unwrap();
        let request = Request::post(format!("/api/v1/agent-attempts/{id}/remedy{dry}"))
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.world.acme.owner.token),
            )
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::IF_MATCH, tag)
            .body(Body::from(which.to_string()))
            .unwrap();
        self.world.send(request).await
    }

    /// The newest attempt failed with `code`; its remedy `kind` is looked at, tried with a stale version, and carried out.
    async fn mend(&self, code: &str, kind: &str) {
        let attempt = self.newest().await;
        assert_eq!(attempt["reason"], code, "{attempt}");
        assert_eq!(attempt["state"], "failed");
        let remedies = attempt["remedies"].as_array().unwrap();
        let remedy = remedies.iter().find(|remedy| remedy["kind"] == kind);
        let remedy = remedy.unwrap_or_else(|| panic!("no {kind}: {attempt}"));
        let target = format!("/{}", remedy["target"].as_str().unwrap());
        let (tag, before) = (remedy["etag"].as_str().unwrap(), self.world.get(&target).await);
        let shown = json!({ "kind": kind, "label": remedy["label"] });
        let other = json!({ "kind": kind, "label": "Allow the redirect http://127.0.0.1:1/other" });
        self.fix(&attempt, &other, tag, false)
            .await
            .refused(409, "conflict");
        let answer = self.fix(&attempt, &shown, tag, true).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(self.world.get(&target).await, before, "a dry run changes nothing");
        self.fix(&attempt, &shown, "\"v0\"", false)
            .await
            .refused(412, "stale");
        let answer = self.fix(&attempt, &shown, tag, false).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_ne!(self.world.get(&target).await, before);
        let event = self.world.newest().await;
        let action = if target.starts_with("/apps") {
            "app.update"
        } else {
            "client.update"
        };
        assert_eq!(event.action, action);
        // There is nothing left to mend.
        self.fix(&attempt, &shown, "*", false)
            .await
            .refused(400, "invalid");
    }

    async fn later(&self) {
        self.world.clock.advance(3600);
        self.world.store.catch_up().await;
    }
}

#[tokio::test]
async fn what_a_setting_can_mend_is_mended_by_one_request_and_the_agent_gets_in() {
    on_each(async |world| {
        let place = Place::new(world).await;
        world.keyring.ensure(&world.acme.org).await.unwrap();
        let cookie = place.employee().await;

        assert_eq!(place.call(None).await.0, 401);
        place.mend("managed_oauth_off", "switch_on_managed_oauth").await;

        place
            .change(json!({"oauth": {"registration": {"dynamic": false}}}))
            .await;
        assert_eq!(place.call(None).await.0, 401);
        assert_eq!(place.register(CALLBACK).await.0, 404);
        place.mend("registration_off", "switch_on_registration").await;
        place.later().await;

        place
            .change(json!({"oauth": {"registration": {"redirect_presets": []}}}))
            .await;
        assert_eq!(place.register(CALLBACK).await.0, 400);
        place.mend("invalid_redirect_uri", "allow_redirect").await;
        let (status, made) = place.register(CALLBACK).await;
        assert_eq!(status, 201);
        let id = made["client_id"].as_str().unwrap().to_owned();
        place.later().await;

        let document = "https://agent.example/client.json";
        place
            .oauth
            .keep_document(
                document,
                json!({"client_id": document, "redirect_uris": [CALLBACK]}),
            )
            .await;
        place
            .change(json!({"oauth": {"registration": {"metadata_documents": false}}}))
            .await;
        assert_eq!(place.browse(&cookie, &place.url(document, CALLBACK)).await.0, 400);
        place.mend("documents_off", "switch_on_documents").await;
        assert_eq!(place.browse(&cookie, &place.url(document, CALLBACK)).await.0, 200);
        place.later().await;

        place
            .change(json!({"oauth": {"registration": {"redirect_uris": [], "redirect_presets": []}}}))
            .await;
        assert_eq!(place.browse(&cookie, &place.url(document, CALLBACK)).await.0, 400);
        place.mend("document_refused", "allow_redirect").await;
        place.later().await;

        place
            .change(json!({"oauth": {"registration": {"redirect_uris": [], "redirect_presets": []}}}))
            .await;
        assert_eq!(place.browse(&cookie, &place.url(&id, CALLBACK)).await.0, 400);
        place.mend("redirect_not_allowed", "allow_redirect").await;
        place.later().await;

        place
            .change(json!({"oauth": {"registration": {"lowest_tier": "unverified"}}}))
            .await;
        assert_eq!(place.register(CALLBACK).await.0, 403);
        place.mend("registration_tier", "accept_tier").await;
        place.later().await;

        place
            .change(json!({"oauth": {"registration": {"lowest_tier": "unverified"}}}))
            .await;
        assert_eq!(place.browse(&cookie, &place.url(&id, CALLBACK)).await.0, 403);
        place.mend("tier_too_low", "approve_client").await;
        place
            .change(json!({"oauth": {"registration": {"lowest_tier": null}}}))
            .await;
        let client = format!("/clients/{}", made["client_id"].as_str().unwrap());
        let answer = world
            .owner(Method::PATCH, &client, Some(json!({"state": "pending"})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        place.later().await;
        assert_eq!(place.browse(&cookie, &place.url(&id, CALLBACK)).await.0, 403);
        place.mend("client_waiting", "approve_client").await;
        place.later().await;

        // And the same agent gets in: one attempt, from the first 401 to the first call.
        assert_eq!(place.call(None).await.0, 401);
        let path = "/.well-known/oauth-protected-resource";
        assert_eq!(place.ask(Request::get(path), None).await.0, 200);
        let (status, made) = place.register(CALLBACK).await;
        assert_eq!(status, 201);
        let id = made["client_id"].as_str().unwrap();
        let url = place.url(id, CALLBACK);
        assert_eq!(place.browse("", &url).await.0, 303);
        let code = place.allow(&cookie, &url).await;
        let token = place.redeem(id, &code).await;
        let (status, text) = place.call(Some(&token)).await;
        assert_ne!(status, 401, "{text}");
        let attempt = place.newest().await;
        let kinds: Vec<_> = attempt["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["kind"].clone())
            .collect();
        let whole = [
            "challenge",
            "discovery",
            "registration",
            "authorize",
            "sign_in",
            "consent",
            "token",
            "call",
        ];
        assert_eq!(kinds, whole, "{attempt:#}");
        assert_eq!(attempt["software"], "agent/1.0");
        assert_eq!(attempt["reason"], "origin_unreachable");

        // Found by the request that somebody reads off an error page, and by nobody else's.
        let request = attempt["steps"][3]["request"].as_str().unwrap();
        let found = world.get(&format!("/agent-attempts?request={request}")).await;
        assert_eq!(found["items"][0]["id"], attempt["id"]);
        assert_eq!(found["items"].as_array().unwrap().len(), 1);
        let path = format!("/agent-attempts?request={request}");
        let foreign = world
            .call(&world.other.owner.token, Method::GET, &path, None)
            .await;
        assert_eq!(foreign.json()["items"], json!([]));
        let labs = world.hire(Role::AccountAdmin, Some(&world.acme.labs)).await.token;
        let elsewhere = world.call(&labs, Method::GET, &path, None).await;
        assert_eq!(elsewhere.json()["items"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn an_agent_whose_browser_comes_from_elsewhere_has_one_timeline_in_the_end() {
    on_each(async |world| {
        let place = Place::new(world).await;
        world.keyring.ensure(&world.acme.org).await.unwrap();
        place.change(json!({"managed_oauth": true})).await;
        let cookie = place.employee().await;
        let document = "https://agent.example/client.json";
        place
            .oauth
            .keep_document(
                document,
                json!({"client_id": document, "redirect_uris": [CALLBACK]}),
            )
            .await;
        for _ in 0..3 {
            assert_eq!(place.call(None).await.0, 401);
        }
        let path = "/.well-known/oauth-protected-resource";
        assert_eq!(place.ask(Request::get(path), None).await.0, 200);
        let code = place.allow(&cookie, &place.url(document, CALLBACK)).await;
        place.redeem(document, &code).await;
        let attempt = place.newest().await;
        let steps = attempt["steps"].as_array().unwrap();
        let kinds: Vec<_> = steps.iter().map(|step| step["kind"].clone()).collect();
        assert_eq!(
            kinds,
            ["challenge", "discovery", "sign_in", "consent", "token"],
            "{attempt:#}"
        );
        assert_eq!(steps[0]["count"], 3);
        assert_eq!(
            (&attempt["state"], &attempt["ambiguous"]),
            (&json!("going_on"), &json!(false))
        );
        world.clock.advance(601);
        world.store.catch_up().await;
        let stopped = place.newest().await;
        assert_eq!(stopped["state"], "stopped");
        assert!(
            stopped["summary"]
                .as_str()
                .unwrap()
                .contains("never called the app"),
            "{stopped}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_remedy_takes_the_rights_of_the_change_that_it_is() {
    on_each(async |world| {
        let place = Place::new(world).await;
        place
            .change(json!({"managed_oauth": true, "oauth": {"registration": {"approval": true}}}))
            .await;
        let (status, made) = place.register(CALLBACK).await;
        assert_eq!(status, 201);
        let cookie = place.employee().await;
        let url = place.url(made["client_id"].as_str().unwrap(), CALLBACK);
        assert_eq!(place.browse(&cookie, &url).await.0, 403);
        let attempt = place.newest().await;
        let path = format!("/agent-attempts/{}/remedy", attempt["id"].as_str().unwrap());
        let body = json!({"kind": "approve_client"});
        // An editor changes apps, and approves no agent.
        let editor = world
            .hire(Role::AccountEditor, Some(&world.acme.account))
            .await
            .token;
        let answer = world.call(&editor, Method::POST, &path, Some(body.clone())).await;
        answer.refused(403, "forbidden");
        for kind in [
            "allow_redirect",
            "accept_tier",
            "pin_document",
            "switch_on_managed_oauth",
        ] {
            let other = Some(json!({ "kind": kind }));
            world
                .owner(Method::POST, &path, other)
                .await
                .refused(400, "invalid");
        }
        let answer = world.owner(Method::POST, &path, Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(place.browse(&cookie, &url).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn the_gate_tells_a_token_of_another_app_from_one_that_is_over() {
    on_each(async |world| {
        let place = Place::new(world).await;
        place.change(json!({"managed_oauth": true})).await;
        let claims = |audience: &str| {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
            let claims = json!({"aud": audience, "exp": 1}).to_string();
            format!(
                "{0}.{1}.x",
                URL_SAFE_NO_PAD.encode("{}"),
                URL_SAFE_NO_PAD.encode(claims)
            )
        };
        assert_eq!(
            place.call(Some(&claims("https://elsewhere.example.com"))).await.0,
            401
        );
        assert_eq!(place.newest().await["reason"], "token_of_other_app");
        place.later().await;
        assert_eq!(place.call(Some("nonsense")).await.0, 401);
        assert_eq!(place.newest().await["reason"], "token_not_ours");
        let before = world.get("/agent-attempts").await;
        place.later().await;
        // An agent whose token is over renews it: that is no attempt.
        assert_eq!(place.call(Some(&claims(&place.app.spec.public_url))).await.0, 401);
        world.store.write_agent_steps().await.unwrap();
        assert_eq!(world.get("/agent-attempts").await, before);
    })
    .await;
}
