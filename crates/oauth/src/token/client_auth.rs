//! Client authentication at the token, revocation and introspection endpoints (RFC 6749 section 2.3).
//!
//! Real clients differ: some form-encode the parts of a Basic header and some do not, some send Basic and
//! `client_id` in the body. Secrets are `[A-Za-z0-9_-]`, so both readings of a header mean one secret.

use super::assertion;
use crate::answer::OauthError;
use crate::context::Request;
use crate::params::Params;
use crate::{Oauth, audit};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use store::{AppView, client::Registered};
use wire::{ActorKind, AuditActor, ClientState};

/// Who asks, and what happened when they proved it.
enum Authenticated {
    /// The client; whether it proved that by a secret or a key, which not all have.
    Client(Box<Registered>, bool),
    /// A known client with a wrong secret or assertion; with the reason for the log.
    Refused(Box<Registered>, &'static str, OauthError),
    /// Nobody whom the app knows.
    Unknown(OauthError),
}

/// What is done with credentials of a client, beyond who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// About its own.
    Own,
    /// About tokens of others, for which a client must have proven who it is and not be blocked.
    Others,
}

/// The client of a form that was posted, and the form. Whoever is refused here is in the log, however many come; as
/// nobody, because nobody proved to be the client that was named.
pub(crate) async fn client_of(
    (oauth, view): (&Oauth, &AppView),
    request: &Request,
    (headers, body): (&HeaderMap, &[u8]),
    asks: Asks,
) -> Result<(Box<Registered>, Params), OauthError> {
    let nobody = || AuditActor::of(ActorKind::Anonymous);
    let read = match Params::form(headers, body) {
        Ok(params) => authenticate((oauth, view), request, headers, &params)
            .await
            .map(|found| (found, params)),
        Err(error) => Err(error),
    };
    let (actor, reason, error) = match read {
        Ok((Authenticated::Client(client, proven), params)) => {
            let is_out = !proven || client.client.state == ClientState::Blocked;
            if asks == Asks::Own || !is_out {
                return Ok((client, params));
            }
            let error = OauthError::invalid_client(false);
            (audit::anonymous(&client.client), error.code, error)
        }
        Ok((Authenticated::Refused(client, reason, error), _)) => {
            (audit::anonymous(&client.client), reason, error)
        }
        Ok((Authenticated::Unknown(error), _)) => (nobody(), "client_unknown", error),
        Err(error) if error.status.is_server_error() => return Err(error),
        Err(error) => (nobody(), error.code, error),
    };
    let mut event = audit::event(view, request, "token.refuse", actor);
    audit::refused(&mut event, reason.to_owned(), None);
    audit::stranger(&oauth.store, event).await;
    Err(error)
}

/// Credentials as sent.
struct Sent {
    client_id: String,
    secret: Option<String>,
    basic: bool,
}

/// Finds and authenticates the client of a request.
async fn authenticate(
    (oauth, view): (&Oauth, &AppView),
    request: &Request,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Authenticated, OauthError> {
    if let Some((made, subject)) = assertion::read(headers, params)? {
        let client = store::client::by_client_id(&oauth.store, &view.app.id, &subject).await?;
        let Some(client) = client.map(Box::new) else {
            return Ok(Authenticated::Unknown(OauthError::invalid_client(false)));
        };
        return Ok(
            match assertion::prove((oauth, view), request, &client, made).await? {
                Ok(()) => Authenticated::Client(client, true),
                Err(reason) => Authenticated::Refused(client, reason, assertion::refused(reason)),
            },
        );
    }
    for sent in read(headers, params)? {
        let id = &sent.client_id;
        let Some(client) = store::client::by_client_id(&oauth.store, &view.app.id, id).await? else {
            continue;
        };
        let proven = match (&client.secret_hash, sent.secret.as_deref()) {
            (Some(hash), Some(secret)) => crate::secret_is(secret, hash),
            // A public client; some send an empty password along.
            (None, None | Some("")) => client.client.token_endpoint_auth_method == "none",
            _ => false,
        };
        let has_secret = client.secret_hash.is_some();
        let client = Box::new(client);
        return Ok(if proven {
            Authenticated::Client(client, has_secret)
        } else {
            let error = OauthError::invalid_client(sent.basic);
            Authenticated::Refused(client, error.code, error)
        });
    }
    let error = OauthError::invalid_client(headers.contains_key(AUTHORIZATION));
    Ok(Authenticated::Unknown(error))
}

/// The credentials of a request, in each way in which they can be read.
fn read(headers: &HeaderMap, params: &Params) -> Result<Vec<Sent>, OauthError> {
    let in_body = params.get("client_id");
    let body_secret = params.get("client_secret");
    let Some(header) = headers.get(AUTHORIZATION) else {
        let client_id = in_body
            .ok_or_else(|| OauthError::invalid_client(false))?
            .to_owned();
        return Ok(vec![Sent {
            client_id,
            secret: body_secret.map(ToOwned::to_owned),
            basic: false,
        }]);
    };
    if body_secret.is_some() {
        return Err(OauthError::invalid_request(
            "the client authenticates in two ways at once",
        ));
    }
    let refused = || OauthError::invalid_client(true);
    let (scheme, value) = header
        .to_str()
        .ok()
        .and_then(|v| v.trim().split_once(' '))
        .ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused());
    }
    let decoded = STANDARD.decode(value.trim()).map_err(|_| refused())?;
    let decoded = String::from_utf8(decoded).map_err(|_| refused())?;
    let (id, secret) = decoded.split_once(':').ok_or_else(refused)?;
    let mut readings = vec![(form_decoded(id), form_decoded(secret))];
    if readings[0].0 != id {
        readings.push((id.to_owned(), secret.to_owned()));
    }
    // A client id that is a URL contains a colon; a secret of ours never does.
    if let Some((id, secret)) = decoded.rsplit_once(':').filter(|(id, _)| id.contains(':')) {
        readings.push((id.to_owned(), secret.to_owned()));
    }
    let same = |id: &str| in_body.is_none_or(|stated| stated == id);
    let readings: Vec<Sent> = readings
        .into_iter()
        .filter(|(id, _)| same(id))
        .map(|(client_id, secret)| Sent {
            client_id,
            secret: Some(secret),
            basic: true,
        })
        .collect();
    if readings.is_empty() {
        return Err(OauthError::invalid_request(
            "client_id in the body is not the one of the Authorization header",
        ));
    }
    Ok(readings)
}

fn form_decoded(text: &str) -> String {
    // As a value without a name, so that `=` and `&` cannot split it.
    if text.contains(['=', '&']) {
        return text.to_owned();
    }
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(header: Option<&str>, body: &str) -> Result<Vec<(String, Option<String>)>, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            let value = format!("Basic {}", STANDARD.encode(header));
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let read = read(&headers, &Params::parse(body.as_bytes()));
        read.map(|all| all.into_iter().map(|s| (s.client_id, s.secret)).collect())
            .map_err(|e| e.code)
    }

    fn one(id: &str, secret: Option<&str>) -> Vec<(String, Option<String>)> {
        vec![(id.to_owned(), secret.map(ToOwned::to_owned))]
    }

    #[test]
    fn credentials_are_read_in_every_form_that_clients_send() {
        assert_eq!(sent(None, "client_id=a"), Ok(one("a", None)));
        assert_eq!(sent(None, "client_id=a&client_secret=s"), Ok(one("a", Some("s"))));
        assert_eq!(sent(Some("a:s-_1"), ""), Ok(one("a", Some("s-_1"))));
        assert_eq!(sent(Some("a:s"), "client_id=a"), Ok(one("a", Some("s"))));
        assert_eq!(sent(Some("a:"), ""), Ok(one("a", Some(""))));
        let url = "https://agent.example/c";
        let encoded = sent(Some("https%3A%2F%2Fagent.example%2Fc:s"), "").unwrap();
        assert_eq!(encoded[0], (url.to_owned(), Some("s".to_owned())));
        let plain = sent(Some("https://agent.example/c:s"), "").unwrap();
        assert!(plain.contains(&(url.to_owned(), Some("s".to_owned()))));
    }

    #[test]
    fn contradicting_or_malformed_credentials_are_refused() {
        assert_eq!(sent(None, ""), Err("invalid_client"));
        assert_eq!(sent(Some("a:s"), "client_id=b"), Err("invalid_request"));
        assert_eq!(
            sent(Some("a:s"), "client_id=a&client_secret=s"),
            Err("invalid_request")
        );
        assert_eq!(sent(Some("a"), ""), Err("invalid_client"));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(read(&headers, &Params::parse(b"")).is_err());
    }
}
