//! A provider that says whatever a test wants it to say, rightly signed or not.

use crate::key::Key;
use aws_lc_rs::hmac;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use url::Url;

pub(crate) const CLIENT_ID: &str = "chatelaine";
pub(crate) const CLIENT_SECRET: &str = "upstream secret: with / odd + characters";

/// How id tokens are signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// With the published key.
    Right,
    /// Not at all.
    None,
    /// With HMAC, keyed by the client secret.
    Hmac,
    /// With a key of its own under the published key's id.
    Forged,
    /// With the published key, without saying which.
    Nameless,
    /// With the published key, and this `typ`.
    Typed(&'static str),
}

struct Grant {
    redirect_uri: String,
    nonce: String,
    challenge: String,
    claims: Map<String, Value>,
}

/// An answer as it is.
pub(crate) type Page = (u16, &'static str, &'static str);

struct Inner {
    issuer: String,
    now: i64,
    key: Mutex<Key>,
    signing: Mutex<Signing>,
    /// What discovery says about client authentication.
    methods: Vec<&'static str>,
    grants: Mutex<HashMap<String, Grant>>,
    /// Codes that came to the token endpoint, whoever gave them out.
    redeemed: Mutex<Vec<String>>,
    /// Refresh tokens that came there.
    refreshed: Mutex<Vec<String>>,
    /// What it says to them, and with which status.
    refresh: Mutex<(u16, Value)>,
    userinfo: Mutex<Value>,
    /// What the token endpoint says otherwise.
    answer: Mutex<Map<String, Value>>,
    /// The keys that it publishes in place of its own.
    keys: Mutex<Option<Value>>,
    /// What else it says at some paths: status, type and text.
    pages: Mutex<HashMap<&'static str, Page>>,
    /// What it calls its answers in JSON.
    content_type: Mutex<&'static str>,
    /// Whether discovery names an end session endpoint.
    signs_out: AtomicBool,
    /// What discovery says otherwise.
    document: Mutex<Map<String, Value>>,
    /// Whether every answer is 503.
    is_down: AtomicBool,
    /// Requests of any kind.
    asked: AtomicUsize,
    discoveries: AtomicUsize,
    codes: AtomicUsize,
}

/// The provider.
#[derive(Clone)]
pub(crate) struct Idp(Arc<Inner>);

impl Idp {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start(now: i64, methods: Vec<&'static str>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idp = Self(Arc::new(Inner {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            now,
            key: Mutex::new(Key::new("one", "ES256")),
            signing: Mutex::new(Signing::Right),
            methods,
            grants: Mutex::default(),
            redeemed: Mutex::default(),
            refreshed: Mutex::default(),
            refresh: Mutex::new((400, json!({ "error": "unsupported_grant_type" }))),
            userinfo: Mutex::new(Value::Null),
            answer: Mutex::default(),
            keys: Mutex::default(),
            pages: Mutex::default(),
            content_type: Mutex::new("application/json"),
            signs_out: AtomicBool::new(false),
            document: Mutex::default(),
            is_down: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            discoveries: AtomicUsize::new(0),
            codes: AtomicUsize::new(0),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/{tenant}/v2.0/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/no-keys", get(async || Json(json!({ "keys": [] }))))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .layer(axum::middleware::from_fn_with_state(idp.clone(), gate))
            .with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        idp
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// As its document names it.
    fn stated_issuer(&self) -> String {
        let document = self.0.document.lock().unwrap();
        let stated = document.get("issuer").and_then(Value::as_str);
        stated.unwrap_or(&self.0.issuer).to_owned()
    }

    pub(crate) fn sign(&self, signing: Signing) {
        *self.0.signing.lock().unwrap() = signing;
    }

    /// Signs with another key from now on.
    pub(crate) fn rotate(&self) {
        *self.0.key.lock().unwrap() = Key::new("two", "ES256");
    }

    /// Signs with another key from now on, under the name of the one before.
    pub(crate) fn replace_key(&self, algorithm: &'static str) {
        let mut now = self.0.key.lock().unwrap();
        *now = Key::new(&now.id, algorithm);
    }

    /// The key that it signs with, as it is published.
    pub(crate) fn public_key(&self) -> Value {
        self.0.key.lock().unwrap().public()
    }

    /// Publishes these keys.
    pub(crate) fn publish(&self, keys: Value) {
        *self.0.keys.lock().unwrap() = Some(keys);
    }

    /// Says something else at a path.
    pub(crate) fn page(&self, path: &'static str, page: Page) {
        self.0.pages.lock().unwrap().insert(path, page);
    }

    /// Calls its answers in JSON so.
    pub(crate) fn call_json(&self, content_type: &'static str) {
        *self.0.content_type.lock().unwrap() = content_type;
    }

    /// Adds to what the token endpoint says, or replaces it.
    pub(crate) fn answer(&self, name: &str, value: Value) {
        self.0.answer.lock().unwrap().insert(name.to_owned(), value);
    }

    pub(crate) fn userinfo(&self, claims: Value) {
        *self.0.userinfo.lock().unwrap() = claims;
    }

    /// Says something else in its discovery document: adds, replaces, or (when null) leaves out.
    pub(crate) fn say(&self, name: &str, value: Value) {
        self.0.document.lock().unwrap().insert(name.to_owned(), value);
    }

    /// Answers everything with 503 from now on, or no longer.
    pub(crate) fn down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Codes that came to the token endpoint so far.
    pub(crate) fn redeemed(&self) -> Vec<String> {
        self.0.redeemed.lock().unwrap().clone()
    }

    /// What it says to a refresh token from now on.
    pub(crate) fn on_refresh(&self, status: u16, answer: Value) {
        *self.0.refresh.lock().unwrap() = (status, answer);
    }

    /// Refresh tokens that came since the last look.
    pub(crate) fn refreshed(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.refreshed.lock().unwrap())
    }

    /// An id token without a nonce, as it comes for a refresh token.
    pub(crate) fn id_token(&self, claims: Value) -> String {
        let now = self.0.now;
        let mut all = json!({
            "iss": self.issuer(), "aud": CLIENT_ID, "sub": "alice", "iat": now, "exp": now + 300,
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        signed(self, None, &all)
    }

    /// Requests of any kind so far.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Signs people out there, too, from now on.
    pub(crate) fn offer_logout(&self) {
        self.0.signs_out.store(true, Ordering::SeqCst);
    }

    /// A logout token; `claims` add to, replace, or (when null) remove those of a good one.
    pub(crate) fn logout_token(&self, claims: Value) -> String {
        let number = self.0.codes.fetch_add(1, Ordering::SeqCst);
        let mut all = json!({
            "iss": self.issuer(), "aud": CLIENT_ID, "iat": self.0.now, "exp": self.0.now + 120,
            "jti": format!("logout{number}"),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        for (name, value) in claims.as_object().unwrap() {
            if value.is_null() {
                all.as_object_mut().unwrap().remove(name);
            } else {
                all[name] = value.clone();
            }
        }
        signed(self, Some("logout+jwt"), &all)
    }

    pub(crate) fn discoveries(&self) -> usize {
        self.0.discoveries.load(Ordering::SeqCst)
    }

    /// What the provider does when a browser arrives at `location` and somebody signs in: where it sends it.
    /// `claims` add to, replace, or (when null) remove those of a good token.
    #[track_caller]
    pub(crate) fn authorize(&self, location: &str, claims: Value) -> String {
        let url = Url::parse(location).unwrap();
        assert!(
            location.starts_with(&format!("{}/authorize?", self.0.issuer)),
            "{location}"
        );
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], CLIENT_ID);
        let back = way_back(&query["redirect_uri"]);
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        assert!(query["state"].len() >= 40 && query["nonce"].len() >= 40);
        let number = self.0.codes.fetch_add(1, Ordering::SeqCst);
        let code = format!("code{number}");
        let grant = Grant {
            redirect_uri: query["redirect_uri"].clone(),
            nonce: query["nonce"].clone(),
            challenge: query["code_challenge"].clone(),
            claims: claims.as_object().unwrap().clone(),
        };
        self.0.grants.lock().unwrap().insert(code.clone(), grant);
        let pairs = [
            ("code", code.as_str()),
            ("state", &query["state"]),
            ("iss", &self.stated_issuer()),
        ];
        with_query(back, &pairs)
    }
}

/// The path of one of our redirect URIs.
#[track_caller]
pub(crate) fn way_back(redirect_uri: &str) -> &str {
    let path = redirect_uri.strip_prefix(crate::world::CONTROL);
    path.filter(|path| path.starts_with("/login/callback"))
        .unwrap_or_else(|| panic!("{redirect_uri}"))
}

/// The way back to a connection's redirect URI with these parameters.
pub(crate) fn callback(connection: &wire::ConnectionId, pairs: &[(&str, &str)]) -> String {
    with_query(&format!("/login/callback/{connection}"), pairs)
}

pub(crate) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    format!("{path}?{query}")
}

async fn gate(
    State(idp): State<Idp>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    idp.0.asked.fetch_add(1, Ordering::SeqCst);
    if idp.0.is_down.load(Ordering::SeqCst) {
        return (http::StatusCode::SERVICE_UNAVAILABLE, "<h1>Down</h1>").into_response();
    }
    let page = idp.0.pages.lock().unwrap().get(request.uri().path()).copied();
    if let Some((status, kind, text)) = page {
        let status = http::StatusCode::from_u16(status).unwrap();
        return (status, [("content-type", kind)], text).into_response();
    }
    let mut answer = next.run(request).await;
    if let Some(kind) = answer.headers_mut().get_mut("content-type")
        && kind == "application/json"
    {
        *kind = http::HeaderValue::from_static(*idp.0.content_type.lock().unwrap());
    }
    answer
}

async fn discovery(State(idp): State<Idp>) -> Json<Value> {
    idp.0.discoveries.fetch_add(1, Ordering::SeqCst);
    let issuer = idp.issuer();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // It even offers what nobody may accept.
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        "token_endpoint_auth_methods_supported": idp.0.methods,
        "authorization_response_iss_parameter_supported": true,
    });
    if idp.0.signs_out.load(Ordering::SeqCst) {
        document["end_session_endpoint"] = json!(format!("{issuer}/end?tenant=acme"));
    }
    for (name, value) in idp.0.document.lock().unwrap().iter() {
        if value.is_null() {
            document.as_object_mut().unwrap().remove(name);
        } else {
            document[name] = value.clone();
        }
    }
    Json(document)
}

async fn jwks(State(idp): State<Idp>) -> Json<Value> {
    let published = idp.0.keys.lock().unwrap().clone();
    Json(json!({ "keys": published.unwrap_or_else(|| json!([idp.public_key()])) }))
}

async fn token(
    State(idp): State<Idp>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Json<Value>, (http::StatusCode, Json<Value>)> {
    let refuse = |error: &str| Err((http::StatusCode::BAD_REQUEST, Json(json!({ "error": error }))));
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    if let Some(code) = form.get("code") {
        idp.0.redeemed.lock().unwrap().push(code.clone());
    }
    let basic = format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET));
    let basic = headers
        .get("authorization")
        .is_some_and(|value| value.to_str().unwrap() == format!("Basic {}", STANDARD.encode(&basic)));
    let post = form
        .get("client_secret")
        .is_some_and(|secret| secret == CLIENT_SECRET);
    let accepted = (basic && idp.0.methods.contains(&"client_secret_basic"))
        || (post && idp.0.methods.contains(&"client_secret_post"));
    if !accepted || (basic && post) {
        return refuse("invalid_client");
    }
    if let Some(token) = form.get("refresh_token") {
        assert_eq!(form["grant_type"], "refresh_token");
        idp.0.refreshed.lock().unwrap().push(token.clone());
        let (status, answer) = idp.0.refresh.lock().unwrap().clone();
        return match http::StatusCode::from_u16(status).unwrap() {
            http::StatusCode::OK => Ok(Json(answer)),
            status => Err((status, Json(answer))),
        };
    }
    let Some(grant) = idp.0.grants.lock().unwrap().remove(&form["code"]) else {
        return refuse("invalid_grant");
    };
    // RFC 6749, section 4.1.3: a code for another redirect URI is none.
    if form.get("redirect_uri") != Some(&grant.redirect_uri)
        || store::sha256(form.get("code_verifier").map_or("", String::as_str)) != grant.challenge
    {
        return refuse("invalid_grant");
    }
    let now = idp.0.now;
    let mut claims = json!({
        "iss": idp.stated_issuer(), "aud": CLIENT_ID, "sub": "alice", "iat": now, "exp": now + 300,
        "nonce": grant.nonce, "email": "alice@acme.example", "email_verified": true, "name": "Alice",
        "groups": ["staff"],
    });
    for (name, value) in grant.claims {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(&name);
        } else {
            claims[name] = value;
        }
    }
    let id_token = signed(&idp, None, &claims);
    let mut answer =
        json!({ "access_token": "upstream-access", "token_type": "Bearer", "id_token": id_token });
    for (name, value) in idp.0.answer.lock().unwrap().iter() {
        answer[name] = value.clone();
    }
    Ok(Json(answer))
}

fn signed(idp: &Idp, kind: Option<&str>, claims: &Value) -> String {
    let key = idp.0.key.lock().unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = |head: Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let message = format!("{}.{}", part(&head), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
        format!("{message}.{signature}")
    };
    let head = |algorithm: &str| json!({"alg": algorithm, "kid": key.id, "typ": kind.unwrap_or("JWT")});
    match *idp.0.signing.lock().unwrap() {
        Signing::Right => token(head(key.algorithm), &|message| key.sign(message)),
        Signing::Nameless => token(json!({"alg": key.algorithm}), &|message| key.sign(message)),
        Signing::Typed(kind) => {
            let head = json!({"alg": key.algorithm, "kid": key.id, "typ": kind});
            token(head, &|message| key.sign(message))
        }
        Signing::Forged => {
            let forged = Key::new("forged", "ES256");
            token(head("ES256"), &|message| forged.sign(message))
        }
        Signing::Hmac => {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
            token(head("HS256"), &|message| {
                hmac::sign(&secret, message).as_ref().to_vec()
            })
        }
        Signing::None => token(json!({"alg": "none"}), &|_| Vec::new()),
    }
}

async fn userinfo(State(idp): State<Idp>, headers: HeaderMap) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    assert_eq!(headers["authorization"], "Bearer upstream-access");
    let answer = idp.0.userinfo.lock().unwrap().clone();
    match answer {
        // As it is: a signed one.
        Value::String(token) => ([("content-type", "application/jwt")], token).into_response(),
        claims => Json(claims).into_response(),
    }
}
