//! Where the decision is asked for.

use super::Expected;
use super::scene::{HOST, REDIRECT, Scene, context};
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use store::{Change, session};
use tower::ServiceExt as _;
use wire::*;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// A browser's attempt to sign in at the app.
const STATE: &str = "state-of-an-attempt";

impl Scene<'_> {
    /// The newest events say why something was refused.
    async fn reason(&self, action: &str) -> Option<String> {
        let filter = store::audit::Filter {
            action: Some(action.into()),
            app: Some(self.app.id.clone()),
            ..store::audit::Filter::default()
        };
        let order = (store::audit::Order::Newest, None);
        let events = store::audit::list(&self.world.store, &self.world.acme.org, &filter, order, 1).await;
        let newest = events
            .unwrap()
            .pop()
            .filter(|event| event.outcome == Outcome::Denied);
        newest.and_then(|event| event.reason)
    }

    async fn page(&self, request: http::request::Builder, body: String) -> (StatusCode, HeaderMap, String) {
        let mut request = request.body(Body::from(body)).unwrap();
        let path = request.uri().path().to_owned();
        request.extensions_mut().insert(context(&path, self.ip.get()));
        let (parts, body) = self.pages.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    /// What an endpoint of the authorization server says to the agent.
    pub(super) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("client_id", self.client.client_id.as_str()),
            ("client_secret", &self.secret),
        ]);
        form.extend_pairs(fields);
        let request = Request::post(format!("/oauth/{}/{path}", self.app.id))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, _, body) = self.page(request, form.finish()).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Whether it lets through, and why not where it says so.
    async fn gateway(&self, header: (&str, String)) -> (bool, Option<String>) {
        let request = Request::get("/page").header(header.0, header.1);
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(context("/page", self.ip.get()));
        let answer = self.gateway.handle(HOST, request).await;
        // The origin is not there: what is let through is a bad gateway.
        let allowed = answer.status() == StatusCode::BAD_GATEWAY;
        (allowed, self.reason("gateway.request").await)
    }

    async fn sign_in(&self) -> (bool, Option<String>) {
        let request = Request::get(format!("/signin/{}?state=s", self.app.id));
        let (_, headers, _) = self
            .page(request.header(header::COOKIE, &self.cookies.0), String::new())
            .await;
        let location = headers.get(header::LOCATION).map_or("", |v| v.to_str().unwrap());
        (
            location.starts_with("https://notes.example.com/.chatelaine/callback?code="),
            self.reason("app.sign_in").await,
        )
    }

    /// The way back from sign-in, with a code that was given out before.
    async fn handoff(&self) -> (bool, Option<String>) {
        let code = store::random_secret("").unwrap();
        let digest = store::sha256(STATE);
        let offered = session::Handoff {
            app: self.app.id.clone(),
            user: self.user.id.clone(),
            session: self.session.clone(),
            state_hash: digest.clone(),
            authentication: self.authentication(),
            expires_at: self.world.clock.now().plus_seconds(60),
        };
        let mut tx = self.world.store.begin().await.unwrap();
        session::offer_handoff(&mut tx, &store::sha256(&code), &offered)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let id = self.app.id.as_str().trim_start_matches("app_");
        let cookie = format!("__Host-chatelaine_state_{id}_{}={STATE}", &digest[..12]);
        let request = Request::get(format!("/.chatelaine/callback?code={code}&state={STATE}"));
        let request = request.header(header::COOKIE, cookie);
        let mut request = request.body(Body::empty()).unwrap();
        request
            .extensions_mut()
            .insert(context("/.chatelaine/callback", self.ip.get()));
        let answer = self.gateway.handle(HOST, request).await;
        (
            answer.status() == StatusCode::SEE_OTHER,
            self.reason("app.sign_in").await,
        )
    }

    /// Whether the app is among those that they may open.
    async fn own_apps(&self) -> bool {
        let request = Request::get("/me").header(header::COOKIE, &self.cookies.0);
        let (_, _, body) = self.page(request, String::new()).await;
        body.contains(&self.app.spec.public_url)
    }

    async fn authorize(&self) -> (bool, Option<String>) {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("client_id", self.client.client_id.as_str()),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("code_challenge", &store::sha256(VERIFIER)),
            ("code_challenge_method", "S256"),
            ("resource", &self.app.spec.public_url),
        ]);
        let request = Request::get(format!("/oauth/{}/authorize?{}", self.app.id, query.finish()));
        let (status, ..) = self
            .page(request.header(header::COOKIE, &self.cookies.0), String::new())
            .await;
        (status == StatusCode::OK, self.reason("authorize.denied").await)
    }

    async fn token(&self) -> (bool, Option<String>) {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", self.refresh_token.as_str()),
        ];
        let (status, _) = self.form("token", &fields).await;
        (status == StatusCode::OK, self.reason("token.refuse").await)
    }

    async fn introspection(&self) -> bool {
        let (_, answer) = self.form("introspect", &[("token", &self.access_token)]).await;
        answer["active"] == true
    }

    async fn tester(&self, is_agent: bool) -> (bool, Option<String>) {
        let mut test =
            json!({"app": self.app.id, "user": self.user.id, "path": "/page", "ip": self.ip.get()});
        if is_agent {
            test["client"] = json!(self.client.id);
        } else {
            // The newest session need not be this one.
            test["authentication"] = json!(self.authentication());
        }
        let told = self.world.owner(Method::POST, "/policies/test", Some(test)).await;
        if told.status == StatusCode::BAD_REQUEST {
            // There is no such person, or no such agent, in this organisation or at this app.
            return (false, None);
        }
        assert_eq!(told.status, StatusCode::OK, "{}", told.text);
        let told = told.json();
        let reason = told["decision"]["reason"].as_str().map(ToOwned::to_owned);
        (told["decision"]["allowed"] == true, reason)
    }

    /// Who keeps what they have, by the preview of a change that changes nothing.
    async fn preview(&self) -> (bool, bool) {
        let mut tx = self.world.store.begin().await.unwrap();
        tx.changed(Change::Account(self.app.account.clone()));
        let impact = tx
            .draft()
            .await
            .unwrap()
            .unwrap()
            .judge()
            .await
            .unwrap()
            .impact()
            .unwrap();
        let keeps = |is_agent: bool| {
            impact.keep.names.iter().any(|name| {
                name.user == self.user.id && name.app == self.app.id && name.client.is_some() == is_agent
            })
        };
        (keeps(false), keeps(true))
    }

    /// Asks everywhere; every surface that says something else is named.
    pub(super) async fn check(&self, case: &str, expected: Expected, tells_why: bool) {
        let word = serde_json::to_value(expected.reason).unwrap();
        let mut wrong = Vec::new();
        let mut said = |surface: &str, (allowed, reason): (bool, Option<String>), want: bool| {
            let other = reason.as_deref().filter(|reason| Some(*reason) != word.as_str());
            if allowed != want || (tells_why && !allowed && other.is_some()) {
                wrong.push(format!("{surface}: {allowed} {reason:?}"));
            }
        };
        let Expected { person, agent, .. } = expected;
        let bearer = format!("Bearer {}", self.access_token);
        let cookie = self.gateway(("cookie", self.cookies.1.clone())).await;
        said("gateway, browser", cookie, person.request);
        let bearer = self.gateway(("authorization", bearer)).await;
        said("gateway, agent", bearer, agent.request);
        said("tester, browser", self.tester(false).await, person.request);
        said("tester, agent", self.tester(true).await, agent.request);
        let kept = self.preview().await;
        said("preview, browser", (kept.0, None), person.goes_on);
        said("preview, agent", (kept.1, None), agent.goes_on);
        said("handoff", self.handoff().await, person.begins);
        said("sign-in", self.sign_in().await, person.begins);
        said("own apps", (self.own_apps().await, None), person.begins);
        said("authorize", self.authorize().await, agent.begins);
        let active = self.introspection().await;
        said("introspection", (active, None), agent.goes_on);
        said("token", self.token().await, agent.goes_on);
        assert!(wrong.is_empty(), "{case}, which is {expected:?}: {wrong:#?}");
    }
}
