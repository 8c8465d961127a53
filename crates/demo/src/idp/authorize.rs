//! The authorization endpoint, the login form behind it and RP-initiated logout.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::{Deserialize, Serialize};
use url::Url;

use super::keys;
use super::provider::{Provider, Request, Session, TICKET_LIFE};
use super::{SESSION_COOKIE, message, page};

/// Binds a login form to the browser that it was sent to.
const LOGIN_COOKIE: &str = "demo_idp_login";
/// Seconds in the past within which a sign-in counts as of now for `max_age`.
const MAX_AGE_LEEWAY: i64 = 5;

/// OpenID Connect Core 1.0, section 3.1.2.1, and RFC 7636, section 4.3.
#[derive(Deserialize)]
pub(super) struct Asked {
    client_id: Option<String>,
    redirect_uri: Option<String>,
    response_type: Option<String>,
    response_mode: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    prompt: Option<String>,
    max_age: Option<String>,
    login_hint: Option<String>,
    request: Option<String>,
    request_uri: Option<String>,
}

/// What the hidden field of the form carries, sealed. It is good for one attempt in one browser.
#[derive(Serialize, Deserialize)]
struct Ticket {
    id: String,
    browser: String,
    until: i64,
    request: Request,
}

#[derive(Template)]
#[template(path = "idp_login.html")]
struct LoginPage<'a> {
    ticket: &'a str,
    username: &'a str,
    error: Option<&'a str>,
    client: &'a str,
}

/// What the person is shown again with a form: the name already typed and what went wrong.
#[derive(Default)]
struct Again<'a> {
    username: &'a str,
    error: Option<&'a str>,
    status: StatusCode,
}

pub(super) async fn authorize(
    State(provider): State<Arc<Provider>>,
    jar: CookieJar,
    Form(asked): Form<Asked>,
) -> Response {
    // Neither answer may be sent to an address that the client never registered.
    if asked.client_id.as_ref() != Some(&provider.config.client_id) {
        return message(
            StatusCode::BAD_REQUEST,
            "Unknown client",
            "No app with this client_id is registered here.",
        );
    }
    let registered = asked
        .redirect_uri
        .as_ref()
        .filter(|uri| provider.config.redirect_uris.contains(uri));
    let Some(redirect_uri) = registered.cloned() else {
        return message(
            StatusCode::BAD_REQUEST,
            "Unknown redirect address",
            "The redirect_uri is not one of those that the app registered.",
        );
    };
    let state = asked.state.clone();
    let refuse = |error: &str, description: &str| {
        let pairs = [("error", error), ("error_description", description)];
        back(&provider, &redirect_uri, state.as_deref(), &pairs)
    };
    let request = match check(&asked, redirect_uri.clone()) {
        Ok(request) => request,
        Err((error, description)) => return refuse(error, description),
    };

    let prompt: Vec<&str> = asked
        .prompt
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let silent = prompt.contains(&"none");
    if silent && prompt.len() > 1 {
        return refuse("invalid_request", "prompt=none stands alone");
    }
    let anew = prompt.contains(&"login") || prompt.contains(&"select_account");
    let oldest = match asked.max_age.as_deref().map(str::parse::<u32>).transpose() {
        Ok(age) => age.map(|age| provider.now() - i64::from(age) - MAX_AGE_LEEWAY),
        Err(_) => return refuse("invalid_request", "max_age is not a number of seconds"),
    };
    let session = jar
        .get(SESSION_COOKIE)
        .and_then(|cookie| provider.session(cookie.value()))
        .filter(|session| !anew && oldest.is_none_or(|oldest| oldest <= session.auth_time));
    match session {
        Some(session) => send_code(&provider, request, session),
        None if silent => refuse("login_required", "nobody is signed in"),
        None => {
            let username = asked.login_hint.as_deref().unwrap_or_default();
            form(
                &provider,
                jar,
                request,
                Again {
                    username,
                    ..Again::default()
                },
            )
        }
    }
}

/// The request, or the error to send back with the redirect.
fn check(asked: &Asked, redirect_uri: String) -> Result<Request, (&'static str, &'static str)> {
    if asked.request.is_some() {
        return Err(("request_not_supported", "request objects are not supported"));
    }
    if asked.request_uri.is_some() {
        return Err(("request_uri_not_supported", "request objects are not supported"));
    }
    if asked.response_type.as_deref() != Some("code") {
        return Err(("unsupported_response_type", "response_type has to be code"));
    }
    if asked.response_mode.as_deref().is_some_and(|mode| mode != "query") {
        return Err(("invalid_request", "response_mode has to be query"));
    }
    let scope = asked.scope.clone().unwrap_or_default();
    if !scope.split(' ').any(|scope| scope == "openid") {
        return Err(("invalid_scope", "scope has to contain openid"));
    }
    let challenge = asked.code_challenge.clone().unwrap_or_default();
    let plausible = challenge.len() == 43
        && challenge
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if asked.code_challenge_method.as_deref() != Some("S256") || !plausible {
        return Err(("invalid_request", "PKCE with S256 is required"));
    }
    Ok(Request {
        redirect_uri,
        scope,
        state: asked.state.clone(),
        nonce: asked.nonce.clone(),
        code_challenge: challenge,
    })
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    ticket: String,
    username: String,
    password: String,
}

pub(super) async fn login(
    State(provider): State<Arc<Provider>>,
    (jar, headers): (CookieJar, HeaderMap),
    Form(typed): Form<Credentials>,
) -> Response {
    // Of tabs that are opened at once each gets a cookie, and the last one stays: a form that the browser says is from here
    // is as good.
    let is_ours = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "same-origin");
    let ticket = provider.keys.unseal::<Ticket>(&typed.ticket).filter(|ticket| {
        let browser = jar.get(LOGIN_COOKIE).map(|cookie| keys::sha256(cookie.value()));
        (is_ours || browser.as_ref() == Some(&ticket.browser))
            && provider.now() < ticket.until
            && provider.use_ticket(&ticket.id, ticket.until)
    });
    let Some(ticket) = ticket else {
        return message(
            StatusCode::BAD_REQUEST,
            "This form is no longer valid",
            "It was already sent, is too old, or was opened in another browser. Go back to the app and sign in again.",
        );
    };
    let Some(user) = provider.authenticate(&typed.username, &typed.password) else {
        let error = Some("This name and password do not belong together.");
        let again = Again {
            username: &typed.username,
            error,
            status: StatusCode::UNAUTHORIZED,
        };
        return form(&provider, jar, ticket.request, again);
    };
    let session = Session {
        sub: user.sub.clone(),
        auth_time: provider.now(),
    };
    let previous = jar.get(SESSION_COOKIE).map(Cookie::value);
    if let Some(previous) = previous {
        provider.end_session(previous);
    }
    match provider.begin_session(session.clone()) {
        Ok(name) => {
            let jar = jar.add(cookie(&provider, SESSION_COOKIE, name));
            (jar, send_code(&provider, ticket.request, session)).into_response()
        }
        Err(error) => broken(&error),
    }
}

#[derive(Deserialize)]
pub(super) struct Leaving {
    post_logout_redirect_uri: Option<String>,
    state: Option<String>,
}

/// OpenID Connect RP-Initiated Logout 1.0.
pub(super) async fn logout(
    State(provider): State<Arc<Provider>>,
    jar: CookieJar,
    Form(leaving): Form<Leaving>,
) -> Response {
    if let Some(session) = jar.get(SESSION_COOKIE) {
        provider.end_session(session.value());
    }
    let jar = jar.remove(Cookie::build(SESSION_COOKIE).path("/"));
    let registered = &provider.config.post_logout_redirect_uris;
    let answer = match leaving.post_logout_redirect_uri {
        None => message(StatusCode::OK, "You are signed out", "You can close this page."),
        Some(uri) if registered.contains(&uri) => back(&provider, &uri, leaving.state.as_deref(), &[]),
        Some(_) => message(
            StatusCode::BAD_REQUEST,
            "You are signed out",
            "The app wanted to send you to an address that it never registered.",
        ),
    };
    (jar, answer).into_response()
}

/// The login form for `request`, bound to this browser.
fn form(provider: &Provider, jar: CookieJar, request: Request, again: Again<'_>) -> Response {
    let sealed = || -> anyhow::Result<(String, String)> {
        // One value per browser, so that two tabs do not shut each other out.
        let browser = match jar.get(LOGIN_COOKIE) {
            Some(cookie) => cookie.value().to_owned(),
            None => keys::random()?,
        };
        let ticket = Ticket {
            id: keys::random()?,
            browser: keys::sha256(&browser),
            until: provider.now() + TICKET_LIFE,
            request,
        };
        Ok((browser, provider.keys.seal(&ticket)?))
    };
    let (browser, ticket) = match sealed() {
        Ok(sealed) => sealed,
        Err(error) => return broken(&error),
    };
    let template = LoginPage {
        ticket: &ticket,
        username: again.username,
        error: again.error,
        client: &provider.config.client_id,
    };
    let jar = jar.add(cookie(provider, LOGIN_COOKIE, browser));
    (jar, page(again.status, &template)).into_response()
}

fn cookie(provider: &Provider, name: &'static str, value: String) -> Cookie<'static> {
    Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(provider.config.issuer.starts_with("https:"))
        .build()
}

fn send_code(provider: &Provider, request: Request, session: Session) -> Response {
    let (redirect_uri, state) = (request.redirect_uri.clone(), request.state.clone());
    match provider.issue_code(request, session) {
        Ok(code) => back(provider, &redirect_uri, state.as_deref(), &[("code", &code)]),
        Err(error) => broken(&error),
    }
}

/// A redirect to a registered address, with `state` and, in an authorization answer, `iss` (RFC 9207).
fn back(provider: &Provider, uri: &str, state: Option<&str>, pairs: &[(&str, &str)]) -> Response {
    let Ok(mut url) = Url::parse(uri) else {
        return message(
            StatusCode::BAD_REQUEST,
            "Bad redirect address",
            "The registered address is not a URL.",
        );
    };
    if !pairs.is_empty() || state.is_some() {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(pairs);
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        if !pairs.is_empty() {
            query.append_pair("iss", &provider.config.issuer);
        }
    }
    let headers = [
        (header::LOCATION, String::from(url)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn broken(error: &anyhow::Error) -> Response {
    tracing::error!(%error, "the demo identity provider failed");
    message(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something broke",
        "Please try again.",
    )
}
