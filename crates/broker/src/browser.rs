//! Browsers in which somebody has signed in: they keep a cookie that says so, and nothing else. Strangers on the same
//! network do not use up what such a browser may try, nor what people may try from where they signed in before.

use crate::audit::Stray;
use crate::csrf::FormSecret;
use crate::page::Failure;
use crate::{Broker, budget::Act, cookie, session, signed_in};
use aws_lc_rs::hmac;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use store::Store;
use tower_sessions::Session;
use wire::AuditRequest;

/// How long a browser keeps its cookie, in seconds.
const LIFE: i64 = 400 * 86_400;
/// Where a form may make a session for somebody who is not signed in.
const BEGINNINGS: [&str; 2] = ["/login", "/invite/"];
/// Where an attempt is put down that waits for a provider's answer.
const WAITING: [&str; 2] = ["/login/oidc/", "/login/confirm/provider"];

/// The browser of a request.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    /// Its own secret: the one of its cookie, or a fresh one that it gets when somebody signs in.
    id: String,
    /// Whether it came with one of ours.
    is_ours: bool,
}

fn cookie_name(control_url: &str) -> &'static str {
    if control_url.starts_with("https:") {
        "__Host-chatelaine_browser"
    } else {
        "chatelaine_browser"
    }
}

impl Browser {
    fn of(store: &Store, control_url: &str, headers: &HeaderMap) -> store::Result<Self> {
        let one = cookie::one(headers, cookie_name(control_url));
        let found = one.and_then(|value| {
            let (id, tag) = value.split_once('.')?;
            let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
            let is_ours = store.vault().mac_fits("browser", id.as_bytes(), &tag);
            is_ours.then(|| id.to_owned())
        });
        Ok(match found {
            Some(id) => Self { id, is_ours: true },
            None => Self {
                id: store::random_secret("")?,
                is_ours: false,
            },
        })
    }

    /// What it is called where attempts are counted.
    pub(crate) fn place(&self) -> String {
        format!("b:{}", store::sha256(&self.id))
    }

    /// Who makes a request, as far as that says whose budget it is: the browser, or its network.
    pub(crate) fn or_network(&self, request: &AuditRequest) -> String {
        match self.is_ours {
            true => self.place(),
            false => network_place(request),
        }
    }

    fn cookie(&self, store: &Store, control_url: &str) -> Option<HeaderValue> {
        let key = store.vault().mac_key("browser");
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&key, self.id.as_bytes()));
        let value = format!("{}.{tag}", self.id);
        cookie::set(control_url, (cookie_name(control_url), &value), Some(LIFE))
    }
}

/// What counts as one network: an address, of IPv6 the /64 that one subscriber gets.
pub(crate) fn network_place(request: &AuditRequest) -> String {
    match request.ip.as_deref().and_then(|ip| ip.parse().ok()) {
        Some(std::net::IpAddr::V6(ip)) => format!("n:{:x?}", &ip.segments()[..4]),
        Some(ip) => format!("n:{ip}"),
        None => "n:".to_owned(),
    }
}

/// Writes down that a form was refused which is not, or no longer, of our page. Somebody else's page may have sent it: the
/// person whose browser it is did nothing. Of its address there is what does not depend on who sent it.
async fn misused(broker: &Broker, session: &Session, mut context: AuditRequest, route: Option<MatchedPath>) {
    if let Some(route) = route {
        route.as_str().clone_into(&mut context.path);
    }
    let who = signed_in(session, broker.store()).await;
    let org = who.ok().flatten().map(|who| who.person.org);
    let stray = Stray {
        action: "form.refuse",
        reason: "csrf_token",
        at: org.map(|org| (org, None, None)),
    };
    stray.record(broker, &context).await;
}

/// Tells handlers the browser, bounds how many sessions of nobody come into being, and gives a browser its cookies: the
/// secret of its forms with the first of them, its own when somebody signs in.
pub(crate) async fn recognise(State(broker): State<Broker>, mut request: Request, next: Next) -> Response {
    let (store, control_url) = (broker.store(), broker.control_url());
    let known = Browser::of(store, control_url, request.headers())
        .and_then(|browser| Ok((browser, FormSecret::of(request.headers(), control_url)?)));
    let (browser, forms) = match known {
        Ok(known) => known,
        Err(error) => return Failure::from(error).into_response(),
    };
    let session = request.extensions().get::<Session>().cloned();
    let context = request.extensions().get::<AuditRequest>().cloned();
    let path = request.uri().path();
    let (Some(session), Some(context)) = (session, context) else {
        return next.run(request).await;
    };
    let begins =
        BEGINNINGS.iter().any(|known| path.starts_with(known)) && !path.starts_with("/login/callback");
    let posts = request.method() == Method::POST;
    // Each of these makes something that waits, whoever asks.
    let waits = WAITING.iter().any(|known| path.starts_with(known));
    if waits || begins && posts && !session::is_there(&session).await {
        let now = store.clock().now();
        let by = browser.or_network(&context);
        if !broker.budgets().spend(Act::Begin, &by, now) {
            metrics::counter!("chatelaine_sign_ins_total", "outcome" => "rate_limited").increment(1);
            let text = "Too many sign-ins were begun from your network. Wait a minute, then try again.";
            return Failure::told(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", text).into_response();
        }
    }
    request.extensions_mut().insert(browser.clone());
    request.extensions_mut().insert(forms.clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let failure = response.extensions().get::<Arc<Failure>>();
    if failure.is_some_and(|failure| matches!(**failure, Failure::Csrf)) {
        misused(&broker, &session, context, route).await;
    }
    if let Some(cookie) = forms.cookie(control_url) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    let may_have_begun = posts || response.status().is_redirection();
    if !browser.is_ours
        && may_have_begun
        && session::has_login(&session).await
        && let Some(cookie) = browser.cookie(store, control_url)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
