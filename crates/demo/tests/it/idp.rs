//! The upstream provider: a full code flow, and everything that must not work.

use std::collections::HashMap;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use demo::{Clock, idp};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::support::{browser, listen};

const CALLBACK: &str = "http://127.0.0.1:7001/callback";
const VERIFIER: &str = "a-verifier-that-is-long-enough-to-be-one-0123456789";

struct Idp {
    origin: String,
    clock: Clock,
    browser: reqwest::Client,
    _stop: DropGuard,
}

impl Idp {
    async fn start() -> Self {
        let (listener, origin) = listen().await;
        let clock = Clock::default();
        let config = idp::Config {
            issuer: origin.clone(),
            client_id: "broker".into(),
            client_secret: "s3cret_-".into(),
            redirect_uris: vec![CALLBACK.into()],
            post_logout_redirect_uris: vec!["http://127.0.0.1:7001/bye".into()],
            users: vec![idp::User {
                username: "ada".into(),
                password: "correct horse".into(),
                sub: "u-1".into(),
                email: "ada@acme.example".into(),
                name: "Ada Lovelace".into(),
                groups: vec!["engineering".into(), "wiki".into()],
            }],
            clock: clock.clone(),
        };
        let stop = CancellationToken::new();
        let served = idp::serve(listener, config, stop.clone());
        tokio::spawn(async move { served.await.unwrap() });
        Self {
            origin,
            clock,
            browser: browser(),
            _stop: stop.drop_guard(),
        }
    }

    fn question(&self) -> HashMap<&'static str, String> {
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()));
        HashMap::from([
            ("client_id", "broker".to_owned()),
            ("redirect_uri", CALLBACK.to_owned()),
            ("response_type", "code".to_owned()),
            ("scope", "openid email profile groups".to_owned()),
            ("state", "st&te".to_owned()),
            ("nonce", "n-1".to_owned()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256".to_owned()),
        ])
    }

    async fn authorize(&self, changes: &[(&'static str, Option<&str>)]) -> Response {
        let mut question = self.question();
        for (name, value) in changes {
            match value {
                Some(value) => question.insert(name, (*value).to_owned()),
                None => question.remove(name),
            };
        }
        self.browser
            .get(format!("{}/authorize", self.origin))
            .query(&question)
            .send()
            .await
            .unwrap()
    }

    async fn submit(&self, ticket: &str, password: &str) -> Response {
        let form = [("ticket", ticket), ("username", "ada"), ("password", password)];
        self.browser
            .post(format!("{}/login", self.origin))
            .form(&form)
            .send()
            .await
            .unwrap()
    }

    /// Signs in with the form and returns the code.
    async fn code(&self) -> String {
        let form = self.authorize(&[]).await;
        assert_eq!(form.status(), StatusCode::OK);
        let answer = self.submit(&ticket(form).await, "correct horse").await;
        redirect(&answer)["code"].clone()
    }

    async fn exchange(&self, code: &str, changes: &[(&'static str, &str)]) -> (StatusCode, Value) {
        let mut form = HashMap::from([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ]);
        form.extend(changes.iter().copied());
        let request = self.browser.post(format!("{}/token", self.origin)).form(&form);
        let request = if form.contains_key("client_secret") {
            request
        } else {
            request.basic_auth("broker", Some("s3cret_-"))
        };
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Response {
        self.browser
            .get(format!("{}{path}", self.origin))
            .send()
            .await
            .unwrap()
    }
}

/// The hidden ticket of a login form.
async fn ticket(form: Response) -> String {
    let html = form.text().await.unwrap();
    let (_, rest) = html.split_once("name=\"ticket\" value=\"").expect("a login form");
    rest.split_once('"').unwrap().0.to_owned()
}

/// The query of a redirect to the callback.
fn redirect(answer: &Response) -> HashMap<String, String> {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(CALLBACK), "{location}");
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
async fn a_person_signs_in_and_the_client_learns_who_it_is() {
    let idp = Idp::start().await;
    let discovery: Value = idp
        .get("/.well-known/openid-configuration")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(discovery["issuer"], idp.origin);
    assert_eq!(discovery["code_challenge_methods_supported"][0], "S256");

    let answer = idp
        .submit(&ticket(idp.authorize(&[]).await).await, "correct horse")
        .await;
    let back = redirect(&answer);
    assert_eq!(back["state"], "st&te");
    assert_eq!(back["iss"], idp.origin);

    let (status, tokens) = idp.exchange(&back["code"], &[]).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    let jwks: JwkSet = idp.get("/jwks").await.json().await.unwrap();
    let id_token = tokens["id_token"].as_str().unwrap();
    let kid = jsonwebtoken::decode_header(id_token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["broker"]);
    validation.set_issuer(&[&idp.origin]);
    let claims: Value = jsonwebtoken::decode(id_token, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], "u-1");
    assert_eq!(claims["email"], "ada@acme.example");
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["name"], "Ada Lovelace");
    assert_eq!(claims["groups"], serde_json::json!(["engineering", "wiki"]));
    assert_eq!(claims["nonce"], "n-1");
    assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
    assert!(claims["auth_time"].is_i64());

    let userinfo = idp.browser.get(format!("{}/userinfo", idp.origin));
    let userinfo = userinfo
        .bearer_auth(tokens["access_token"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(userinfo.json::<Value>().await.unwrap()["sub"], "u-1");
}

#[tokio::test]
async fn client_secret_post_works_and_a_wrong_secret_does_not() {
    let idp = Idp::start().await;
    let code = idp.code().await;
    let wrong = [("client_id", "broker"), ("client_secret", "guess")];
    let (status, body) = idp.exchange(&code, &wrong).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::UNAUTHORIZED, &"invalid_client".into())
    );
    // The failed attempt proved no right to the code, so it did not use it up either.
    let (status, _) = idp
        .exchange(&code, &[("client_id", "broker"), ("client_secret", "s3cret_-")])
        .await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_verifier_is_refused_and_uses_the_code_up() {
    let idp = Idp::start().await;
    let code = idp.code().await;
    let other = "b".repeat(50);
    let (status, body) = idp.exchange(&code, &[("code_verifier", &other)]).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into())
    );
    let (status, _) = idp.exchange(&code, &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_replayed_code_is_refused_and_takes_back_what_it_yielded() {
    let idp = Idp::start().await;
    let code = idp.code().await;
    let (_, tokens) = idp.exchange(&code, &[]).await;
    let (status, body) = idp.exchange(&code, &[]).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into())
    );
    let userinfo = idp.browser.get(format!("{}/userinfo", idp.origin));
    let userinfo = userinfo
        .bearer_auth(tokens["access_token"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(userinfo.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn parallel_redemptions_of_one_code_give_one_answer() {
    let idp = Idp::start().await;
    let code = idp.code().await;
    let attempts = (0..20).map(|_| idp.exchange(&code, &[]));
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(
        answers
            .iter()
            .filter(|(status, _)| *status == StatusCode::OK)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_code_is_good_for_sixty_seconds() {
    let idp = Idp::start().await;
    let code = idp.code().await;
    idp.clock.advance(61);
    let (status, body) = idp.exchange(&code, &[]).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::BAD_REQUEST, &"invalid_grant".into())
    );
}

#[tokio::test]
async fn a_redirect_that_is_not_registered_is_a_local_400() {
    let idp = Idp::start().await;
    for uri in [
        "http://127.0.0.1:7001/callback/",
        "http://127.0.0.1:7002/callback",
        "https://evil.example",
    ] {
        let answer = idp.authorize(&[("redirect_uri", Some(uri))]).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{uri}");
        assert!(!answer.headers().contains_key("location"));
    }
    assert_eq!(
        idp.authorize(&[("redirect_uri", None)]).await.status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        idp.authorize(&[("client_id", Some("other"))]).await.status(),
        StatusCode::BAD_REQUEST
    );
    // And at the token endpoint it has to be the same one again.
    let code = idp.code().await;
    let (status, _) = idp
        .exchange(&code, &[("redirect_uri", "https://evil.example")])
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn requests_without_s256_or_openid_go_back_with_an_error() {
    let idp = Idp::start().await;
    let cases = [
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some("short"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("scope", Some("email"), "invalid_scope"),
        ("request", Some("e30."), "request_not_supported"),
        ("prompt", Some("none"), "login_required"),
        ("max_age", Some("soon"), "invalid_request"),
    ];
    for (name, value, error) in cases {
        let back = redirect(&idp.authorize(&[(name, value)]).await);
        assert_eq!(back["error"], error, "{name}={value:?}");
        assert_eq!(back["state"], "st&te");
        assert!(!back.contains_key("code"));
    }
}

#[tokio::test]
async fn a_wrong_password_shows_the_form_again_and_the_new_form_works() {
    let idp = Idp::start().await;
    let again = idp.submit(&ticket(idp.authorize(&[]).await).await, "wrong").await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    assert!(
        again.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
    let html = again.text().await.unwrap();
    assert!(html.contains("role=\"alert\"") && html.contains("value=\"ada\""));
    let next = html
        .split_once("name=\"ticket\" value=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0
        .to_owned();
    assert!(redirect(&idp.submit(&next, "correct horse").await).contains_key("code"));
}

#[tokio::test]
async fn a_form_is_good_once_in_its_own_browser_unchanged_and_for_ten_minutes() {
    let idp = Idp::start().await;
    let used = ticket(idp.authorize(&[]).await).await;
    redirect(&idp.submit(&used, "correct horse").await);
    assert_eq!(
        idp.submit(&used, "correct horse").await.status(),
        StatusCode::BAD_REQUEST,
        "used twice"
    );

    let stolen = ticket(idp.authorize(&[("prompt", Some("login"))]).await).await;
    let form = [
        ("ticket", stolen.as_str()),
        ("username", "ada"),
        ("password", "correct horse"),
    ];
    let elsewhere = browser()
        .post(format!("{}/login", idp.origin))
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), StatusCode::BAD_REQUEST, "another browser");

    let (body, tag) = stolen.split_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(body).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    let forged = format!("{}.{tag}", URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(
        idp.submit(&forged, "correct horse").await.status(),
        StatusCode::BAD_REQUEST,
        "changed"
    );

    idp.clock.advance(601);
    assert_eq!(
        idp.submit(&stolen, "correct horse").await.status(),
        StatusCode::BAD_REQUEST,
        "too old"
    );
}

#[tokio::test]
async fn a_second_sign_in_is_silent_until_login_is_asked_for_or_the_person_leaves() {
    let idp = Idp::start().await;
    idp.code().await;
    assert!(redirect(&idp.authorize(&[]).await).contains_key("code"));
    assert!(redirect(&idp.authorize(&[("prompt", Some("none"))]).await).contains_key("code"));
    assert_eq!(
        idp.authorize(&[("prompt", Some("login"))]).await.status(),
        StatusCode::OK
    );
    idp.clock.advance(120);
    assert_eq!(
        idp.authorize(&[("max_age", Some("60"))]).await.status(),
        StatusCode::OK
    );
    assert!(redirect(&idp.authorize(&[("max_age", Some("600"))]).await).contains_key("code"));

    let bye = idp
        .get("/logout?post_logout_redirect_uri=http://127.0.0.1:7001/bye&state=x")
        .await;
    assert_eq!(bye.headers()["location"], "http://127.0.0.1:7001/bye?state=x");
    assert_eq!(idp.authorize(&[]).await.status(), StatusCode::OK);
    let bye = idp
        .get("/logout?post_logout_redirect_uri=https://evil.example")
        .await;
    assert!(!bye.headers().contains_key("location"));
}
