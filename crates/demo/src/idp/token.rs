//! The token endpoint (code exchange) and the userinfo endpoint.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::keys;
use super::provider::{Access, Provider, TOKEN_LIFE};

#[derive(Deserialize)]
pub(super) struct Exchange {
    grant_type: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

type Refusal = (StatusCode, &'static str, &'static str);

const fn bad(error: &'static str, description: &'static str) -> Refusal {
    (StatusCode::BAD_REQUEST, error, description)
}

pub(super) async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Form(asked): Form<Exchange>,
) -> Response {
    let answer = authenticate(&provider, &headers, &asked).and_then(|()| exchange(&provider, &asked));
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match answer {
        Ok(tokens) => (no_store, Json(tokens)).into_response(),
        Err((status, error, description)) => {
            let body = Json(json!({ "error": error, "error_description": description }));
            if status == StatusCode::UNAUTHORIZED {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"token\"")];
                return (status, no_store, challenge, body).into_response();
            }
            (status, no_store, body).into_response()
        }
    }
}

/// `client_secret_basic` or `client_secret_post`, never both (RFC 6749, section 2.3).
fn authenticate(provider: &Provider, headers: &HeaderMap, asked: &Exchange) -> Result<(), Refusal> {
    let unknown = (
        StatusCode::UNAUTHORIZED,
        "invalid_client",
        "the client's id and secret do not belong together",
    );
    let basic = match headers.get(header::AUTHORIZATION) {
        Some(value) => Some(basic(value.to_str().unwrap_or_default()).ok_or(unknown)?),
        None => None,
    };
    let (id, secret) = match (basic, &asked.client_id, &asked.client_secret) {
        (Some(_), _, Some(_)) => {
            return Err(bad(
                "invalid_request",
                "two ways of client authentication at once",
            ));
        }
        (Some((id, _)), Some(named), None) if *named != id => return Err(unknown),
        (Some(pair), _, None) => pair,
        (None, Some(id), Some(secret)) => (id.clone(), secret.clone()),
        (None, _, _) => return Err(unknown),
    };
    let secret_matches = keys::same(&provider.config.client_secret, &secret);
    if id == provider.config.client_id && secret_matches {
        Ok(())
    } else {
        Err(unknown)
    }
}

/// The form-encoded id and secret of an `Authorization: Basic` header (RFC 6749, section 2.3.1).
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().ok().map(String::from)
    };
    Some((decoded(id)?, decoded(secret)?))
}

fn exchange(provider: &Provider, asked: &Exchange) -> Result<Value, Refusal> {
    if asked.grant_type.as_deref() != Some("authorization_code") {
        return Err(bad(
            "unsupported_grant_type",
            "grant_type has to be authorization_code",
        ));
    }
    let broken = |error: anyhow::Error| {
        tracing::error!(%error, "the demo identity provider failed");
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "please try again",
        )
    };
    let spent = provider
        .spend_code(asked.code.as_deref().unwrap_or_default())
        .map_err(broken)?;
    let (code, access_token) = spent.ok_or(bad("invalid_grant", "the code is unknown, used or expired"))?;
    if asked.redirect_uri.as_ref() != Some(&code.request.redirect_uri) {
        return Err(bad(
            "invalid_grant",
            "redirect_uri differs from that of the authorization request",
        ));
    }
    let verifier = asked.code_verifier.as_deref().unwrap_or_default();
    let plausible = (43..=128).contains(&verifier.len());
    if !plausible || !keys::same(&keys::sha256(verifier), &code.request.code_challenge) {
        return Err(bad("invalid_grant", "code_verifier does not match"));
    }

    let sub = &code.session.sub;
    let mut claims = claims(provider, sub, &code.request.scope)
        .ok_or(bad("invalid_grant", "the person is no longer known"))?;
    let now = provider.now();
    claims.insert("iss".into(), json!(provider.config.issuer));
    claims.insert("aud".into(), json!(provider.config.client_id));
    claims.insert("iat".into(), json!(now));
    claims.insert("exp".into(), json!(now + TOKEN_LIFE));
    claims.insert("auth_time".into(), json!(code.session.auth_time));
    claims.insert("amr".into(), json!(["pwd"]));
    if let Some(nonce) = &code.request.nonce {
        claims.insert("nonce".into(), json!(nonce));
    }
    let id_token = provider.keys.sign(&claims).map_err(broken)?;
    let access = Access {
        sub: sub.clone(),
        scope: code.request.scope.clone(),
    };
    provider.grant_access(access_token.clone(), access);
    Ok(json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFE,
        "id_token": id_token,
        "scope": code.request.scope,
    }))
}

pub(super) async fn userinfo(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let claims = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| provider.access(token.trim()))
        .and_then(|access| claims(&provider, &access.sub, &access.scope));
    match claims {
        Some(claims) => ([(header::CACHE_CONTROL, "no-store")], Json(claims)).into_response(),
        None => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
            (StatusCode::UNAUTHORIZED, challenge).into_response()
        }
    }
}

/// What `scope` releases about a person. Groups come with `groups` and, as at many providers, with `profile`.
fn claims(provider: &Provider, sub: &str, scope: &str) -> Option<Map<String, Value>> {
    let user = provider.user(sub)?;
    let has = |wanted: &str| scope.split(' ').any(|scope| scope == wanted);
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(user.sub));
    if has("email") {
        claims.insert("email".into(), json!(user.email));
        claims.insert("email_verified".into(), json!(true));
    }
    if has("profile") {
        claims.insert("name".into(), json!(user.name));
        claims.insert("preferred_username".into(), json!(user.username));
    }
    if has("profile") || has("groups") {
        claims.insert("groups".into(), json!(user.groups));
    }
    Some(claims)
}
