//! An authorization request (RFC 6749 section 4.1.1, RFC 7636, RFC 8707), read in the order that keeps a
//! stranger from using us as a redirector: first client and redirect URI, whose faults stay on our own
//! page, then everything else, whose faults go to the client if somebody approved where that is.

use crate::client::{self, Agent, Missing, redirect};
use crate::context::Request;
use crate::scope::{self, NoneIsThere};
use crate::{Oauth, params::Params, resource};
use http::StatusCode;
use store::AppView;
use tokens::document::Unusable;
use wire::{Client, ClientSource};

/// The longest `state`, in bytes.
const LONGEST_STATE: usize = 4096;
/// The longest `nonce`, in bytes.
const LONGEST_NONCE: usize = 512;

/// A request of a client that is known, to a redirect URI that is the client's.
pub(crate) struct Asked {
    /// Who asks.
    pub(crate) agent: Agent,
    /// Where the answer goes.
    pub(crate) back: Back,
    /// What is asked for, or what is wrong with the request.
    pub(crate) wants: Result<Wants, Fault>,
}

/// What is asked for, apart from who asks.
pub(crate) struct Wants {
    /// Scopes of the app, at least one.
    pub(crate) scopes: Vec<String>,
    /// The S256 code challenge.
    pub(crate) challenge: String,
    /// What the client wants to find in the ID token, if it gets one.
    pub(crate) nonce: Option<String>,
}

/// The way back to the client.
#[derive(Debug, Clone)]
pub(crate) struct Back {
    /// As asked, and registered.
    pub(crate) redirect_uri: String,
    /// Returned as it came.
    pub(crate) state: Option<String>,
    /// Our issuer (RFC 9207).
    pub(crate) issuer: String,
}

impl Back {
    /// The redirect URI with the parameters of an answer, `state` and `iss`.
    pub(crate) fn with(&self, answer: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(answer);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &self.issuer);
        let separator = match self.redirect_uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{separator}{}", self.redirect_uri, query.finish())
    }

    /// The redirect URI with an error.
    pub(crate) fn error(&self, code: &str, description: &str) -> String {
        self.with(&[("error", code), ("error_description", description)])
    }
}

/// A request that goes no further.
pub(crate) enum Refusal {
    /// A fault of client or redirect URI: told to the person, on a page of ours.
    Local {
        /// The page's status.
        status: StatusCode,
        /// What is wrong.
        text: String,
        /// The same in the log.
        reason: &'static str,
        /// Who asked, if that is known.
        client: Option<Box<Client>>,
    },
    /// The document of the client cannot be used, or is refused.
    Document {
        /// Its address, which is the client's name.
        client_id: String,
        /// Why.
        why: Unusable,
    },
    /// The store failed.
    Store(store::Error),
}

impl Refusal {
    fn local(reason: &'static str, text: impl Into<String>) -> Self {
        Self::Local {
            status: StatusCode::BAD_REQUEST,
            text: text.into(),
            reason,
            client: None,
        }
    }
}

/// Reads and checks a request. Writes nothing.
pub(crate) async fn read(
    oauth: &Oauth,
    view: &AppView,
    params: &Params,
    request: &Request,
) -> Result<Asked, Refusal> {
    for name in ["client_id", "redirect_uri"] {
        if params.is_repeated(name) {
            let text = format!("The request names its {name} twice.");
            return Err(Refusal::local("invalid_request", text));
        }
    }
    let client_id = params
        .get("client_id")
        .ok_or("The request does not say which client it comes from.")
        .map_err(|text| Refusal::local("invalid_request", text))?;
    let asks = (client_id, params.get("redirect_uri"));
    let agent = client::find(oauth, view, asks, request)
        .await
        .map_err(|why| missing(why, client_id))?;
    let of_client = |reason, text: &str| Refusal::Local {
        status: StatusCode::BAD_REQUEST,
        text: text.to_owned(),
        reason,
        client: Some(Box::new(agent.client.clone())),
    };
    let redirect_uri = params
        .get("redirect_uri")
        .ok_or_else(|| of_client("invalid_request", "The request does not say where to return to."))?;
    match may_return_to(view, &agent, redirect_uri) {
        Ok(()) => {}
        Err(None) => {
            let text = "The address to return to is not one that the client registered.";
            return Err(of_client("redirect_not_registered", text));
        }
        Err(Some(why)) => {
            let text = format!("The client may not return to {redirect_uri}: {why}.");
            return Err(of_client("redirect_not_allowed", &text));
        }
    }
    let back = Back {
        redirect_uri: redirect_uri.to_owned(),
        state: params
            .get("state")
            .filter(|state| !params.is_repeated("state") && state.len() <= LONGEST_STATE)
            .map(ToOwned::to_owned),
        issuer: tokens::metadata::issuer(view, &oauth.control_url),
    };
    let wants = wants((oauth, view), params, &back);
    Ok(Asked { agent, back, wants })
}

fn missing(missing: Missing, client_id: &str) -> Refusal {
    match missing {
        Missing::Unknown => Refusal::local("client_unknown", "The client is not registered at this app."),
        Missing::Document(why) => Refusal::Document {
            client_id: client_id.to_owned(),
            why,
        },
        Missing::TooMany => Refusal::Local {
            status: StatusCode::TOO_MANY_REQUESTS,
            text: "Too many requests came from your network. Try again in a minute.".into(),
            reason: "rate_limited",
            client: None,
        },
        Missing::Store(error) => Refusal::Store(error),
    }
}

/// The redirect URI that is asked for must be a registered one and, unless an administrator entered it, be allowed now.
/// What speaks against it; nothing in particular, when it is not registered.
fn may_return_to(view: &AppView, agent: &Agent, uri: &str) -> Result<(), Option<&'static str>> {
    let client = &agent.client;
    let mut registered = client.redirect_uris.iter();
    if !registered.any(|known| redirect::matches(known, uri)) {
        return Err(None);
    }
    let judged = match client.source {
        ClientSource::Preregistered => redirect::parse(uri).map(drop),
        ClientSource::Dynamic | ClientSource::MetadataDocument => {
            let rules = &view.app.spec.oauth.registration;
            redirect::judge(uri, rules, client.verified_host.as_deref()).map(drop)
        }
    };
    judged.map_err(Some)
}

/// What is wrong with a request: a registered code, and words for whoever made the client.
pub(crate) type Fault = (&'static str, &'static str);

fn wants((oauth, view): (&Oauth, &AppView), params: &Params, back: &Back) -> Result<Wants, Fault> {
    if params.repeated().is_some() {
        return Err(("invalid_request", "a parameter is given twice"));
    }
    if params.get("state").is_some() && back.state.is_none() {
        return Err(("invalid_request", "state is too long"));
    }
    if params.get("request").is_some() {
        return Err(("request_not_supported", "request objects are not supported"));
    }
    if params.get("request_uri").is_some() {
        return Err(("request_uri_not_supported", "request objects are not supported"));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type must be code")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    if params.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(("invalid_request", "response_mode must be query"));
    }
    let challenge = challenge(params)?;
    if !resource::is_meant(oauth, view, params) {
        return Err((
            "invalid_target",
            "resource is not the one that this issuer stands for",
        ));
    }
    if params
        .get("prompt")
        .is_some_and(|prompt| prompt.split(' ').any(|p| p == "none"))
    {
        return Err(("interaction_required", "consent is never given without a person"));
    }
    let scopes = scopes(view, params.get("scope"))?;
    let is_openid = scopes.iter().any(|scope| scope == "openid");
    if is_openid && params.get("max_age").is_some() {
        return Err(("invalid_request", "max_age is not supported"));
    }
    let nonce = params.get("nonce").filter(|_| is_openid);
    if nonce.is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
        return Err(("invalid_request", "nonce is too long"));
    }
    Ok(Wants {
        scopes,
        challenge,
        nonce: nonce.map(ToOwned::to_owned),
    })
}

fn challenge(params: &Params) -> Result<String, Fault> {
    let challenge = params
        .get("code_challenge")
        .ok_or(("invalid_request", "code_challenge is missing: PKCE is required"))?;
    // Without a method it would be `plain` (RFC 7636 section 4.3).
    if params.get("code_challenge_method") != Some("S256") {
        return Err(("invalid_request", "code_challenge_method must be S256"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(plain) {
        return Err(("invalid_request", "code_challenge is not a SHA-256 in base64url"));
    }
    Ok(challenge.to_owned())
}

/// The scopes that are asked for, as far as the app has them; all of the app's own when none is named. Who the person is is
/// told to those alone who ask for it.
fn scopes(view: &AppView, asked: Option<&str>) -> Result<Vec<String>, Fault> {
    let known = scope::known(asked, |name| view.has_scope(name));
    let mut known = known.map_err(|NoneIsThere| ("invalid_scope", "the app has none of these scopes"))?;
    let own = |name: &str| view.scopes.names().any(|own| own == name);
    // The others say what of somebody is told who is not told of (OpenID Connect Core section 3.1.2.1).
    if !known.contains(&"openid") {
        known.retain(|name| own(name));
    }
    Ok(if known.is_empty() {
        view.scopes.names().map(ToOwned::to_owned).collect()
    } else {
        known.into_iter().map(ToOwned::to_owned).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_added_to_the_redirect_uri_as_it_is() {
        let back = |uri: &str| Back {
            redirect_uri: uri.into(),
            state: Some("a&b".into()),
            issuer: "https://i.example/x".into(),
        };
        assert_eq!(
            back("http://localhost:1/cb").with(&[("code", "c")]),
            "http://localhost:1/cb?code=c&state=a%26b&iss=https%3A%2F%2Fi.example%2Fx"
        );
        assert_eq!(
            back("cursor://x/cb?k=v").with(&[("code", "c")]),
            "cursor://x/cb?k=v&code=c&state=a%26b&iss=https%3A%2F%2Fi.example%2Fx"
        );
    }
}
