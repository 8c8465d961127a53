//! What an agent reads first: the authorization server metadata (RFC 8414) and the keys.

use crate::{Oauth, answer::OauthError, context::Live};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};

/// `GET /.well-known/oauth-authorization-server/oauth/{app}` and the same below the issuer.
pub(crate) async fn metadata(State(oauth): State<Oauth>, Live(view): Live, headers: HeaderMap) -> Response {
    let body = tokens::metadata::authorization_server_metadata(&view, &oauth.control_url).to_string();
    let etag = format!("\"{}\"", &store::sha256(&body)[..22]);
    document(&headers, body, &etag)
}

/// `GET /oauth/{app}/jwks`
pub(crate) async fn jwks(
    State(oauth): State<Oauth>,
    Live(view): Live,
    headers: HeaderMap,
) -> Result<Response, OauthError> {
    let jwks = oauth.keyring.jwks(&view.org).ok_or_else(OauthError::not_found)?;
    Ok(document(&headers, jwks.body.to_string(), &jwks.etag))
}

/// `GET /.well-known/openid-configuration/…`: the same document where the app has OpenID Connect switched on. Half of one
/// would make some SDKs give up; so there is none otherwise.
pub(crate) async fn openid(
    oauth: State<Oauth>,
    Live(view): Live,
    headers: HeaderMap,
) -> Result<Response, OauthError> {
    match view.app.spec.oauth.openid {
        true => Ok(metadata(oauth, Live(view), headers).await),
        false => Err(OauthError::not_found()),
    }
}

/// A public document. It is short-lived in caches because an editor's change should be seen soon.
fn document(headers: &HeaderMap, body: String, etag: &str) -> Response {
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let fresh = known.is_some_and(|tags| {
        tags.split(',')
            .any(|tag| tag.trim().trim_start_matches("W/") == etag)
    });
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    response
}
