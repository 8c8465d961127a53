//! A client that proves by a signature who it is (`private_key_jwt`: RFC 7523 sections 2.2 and 3). Each assertion is good
//! once, at whichever instance: what was used is stored until it would be over.

use crate::Oauth;
use crate::answer::OauthError;
use crate::client::document::Without;
use crate::context::Request;
use crate::params::Params;
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use store::{AppView, client::Registered};
use tokens::assertion::{self, Assertion, Refused};
use wire::Timestamp;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The assertion of a request, and who it says that it is of; nothing where there is none.
pub(super) fn read<'p>(
    headers: &HeaderMap,
    params: &'p Params,
) -> Result<Option<(&'p str, String)>, OauthError> {
    let Some(assertion) = params.get("client_assertion") else {
        return match params.get("client_assertion_type") {
            Some(_) => Err(OauthError::invalid_request("client_assertion is missing")),
            None => Ok(None),
        };
    };
    if params.get("client_assertion_type") != Some(TYPE) {
        return Err(OauthError::invalid_request(format!(
            "client_assertion_type must be {TYPE}"
        )));
    }
    if headers.contains_key(AUTHORIZATION) || params.get("client_secret").is_some() {
        return Err(OauthError::invalid_request(
            "the client authenticates in two ways at once",
        ));
    }
    let subject = assertion::subject(assertion).ok_or_else(|| OauthError::invalid_client(false))?;
    if params.get("client_id").is_some_and(|stated| stated != subject) {
        return Err(OauthError::invalid_request(
            "client_id is not the subject of the client_assertion",
        ));
    }
    Ok(Some((assertion, subject)))
}

/// Whether a client made an assertion, for us, now, and did not use it before; else why not, in one word.
pub(super) async fn prove(
    (oauth, view): (&Oauth, &AppView),
    request: &Request,
    client: &Registered,
    assertion: &str,
) -> Result<Result<(), &'static str>, OauthError> {
    let may_fetch = || oauth.limiters.document(request.address()).is_ok();
    let issuer = tokens::metadata::issuer(view, &oauth.control_url);
    let audiences: Vec<String> = ["", "/token", "/revoke", "/introspect"]
        .iter()
        .map(|endpoint| format!("{issuer}{endpoint}"))
        .collect();
    let now = oauth.store.clock().now().seconds();
    let mut judged = Err(Refused::UnknownKey);
    for news in [false, true] {
        let keys = match oauth.keys.of((oauth, view), client, news, may_fetch).await {
            Ok(keys) => keys,
            Err(Without::Unusable(unusable)) => return Ok(Err(unusable.code)),
            Err(Without::Store(error)) => return Err(error.into()),
            Err(Without::TooMany) => return Err(OauthError::too_many(60)),
        };
        judged = assertion::verify(assertion, &client.client.client_id, &keys, &audiences, now);
        if !judged.as_ref().is_err_and(|refused| refused.may_be_news()) {
            break;
        }
    }
    match judged {
        Ok(good) => Ok(spend(oauth, client, &good)
            .await?
            .then_some(())
            .ok_or("assertion_replayed")),
        Err(refused) => Ok(Err(refused.word())),
    }
}

/// Uses an assertion up; `false` when it was before.
async fn spend(oauth: &Oauth, client: &Registered, good: &Assertion) -> Result<bool, OauthError> {
    let name = format!("assertion {} {}", client.client.id, good.jti);
    let mut tx = oauth.store.begin().await?;
    let until = Timestamp::from_seconds(good.until);
    let first = store::form::spend(&mut tx, &store::sha256(name), until).await?;
    tx.commit_housekeeping().await?;
    Ok(first)
}

/// What a client is told whose assertion does not count (RFC 7521 section 4.2.1).
pub(super) fn refused(reason: &'static str) -> OauthError {
    OauthError::new(
        StatusCode::UNAUTHORIZED,
        "invalid_client",
        format!("the client_assertion does not count: {reason}"),
    )
}
