//! What tokens say, and why one is refused.

use serde::{Deserialize, Serialize};
use wire::{Actor, ClientId, GrantId, UserId};

/// The party that acts on behalf of the subject (RFC 8693 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The `client_id` of the agent.
    pub sub: String,
}

/// Claims of an access token (RFC 9068 section 2.2). Times are seconds since the epoch; types are strict,
/// so that `exp: "never"` is no token at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The app's issuer.
    pub iss: String,
    /// The app's canonical resource.
    pub aud: String,
    /// The person.
    pub sub: UserId,
    /// The agent.
    pub client_id: String,
    /// Space-separated scopes.
    pub scope: String,
    /// The token's own identifier.
    pub jti: String,
    /// Issued at.
    pub iat: i64,
    /// Not valid before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Not valid from then on.
    pub exp: i64,
    /// The grant that it hangs on.
    pub grant: GrantId,
    /// The agent again, in the form that origins know from the assertion.
    pub act: Act,
}

/// Claims of the assertion that the gateway adds for the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// `{control_url}/accounts/{account}`; keys at `{iss}/jwks`.
    pub iss: String,
    /// The app's canonical resource.
    pub aud: String,
    /// The person (`usr_…`), or the service token (`svc_…`).
    pub sub: String,
    /// Who acts: a person in a browser, an agent for a person, or a service token for nobody.
    pub actor: Actor,
    /// The person's e-mail address, if released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The person's name, if released, or the service token's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The person's groups, as far as released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The agent, when one acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// Our identifier of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The grant that the agent acts under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Space-separated scopes of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// At most 60 seconds later.
    pub exp: i64,
    /// The assertion's own identifier.
    pub jti: String,
}

/// Why a token is refused. Callers outside get one answer for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a JWT of ours at all.
    #[error("malformed")]
    Malformed,
    /// Another algorithm, another `typ`, or a header that wants to name its own key.
    #[error("header not acceptable")]
    Algorithm,
    /// No such key of this organisation.
    #[error("unknown key")]
    UnknownKey,
    /// The signature is wrong.
    #[error("wrong signature")]
    Signature,
    /// A claim is missing, of the wrong type, or meant for somebody else.
    #[error("claim {0} not acceptable")]
    Claims(&'static str),
    /// Too old.
    #[error("expired")]
    Expired,
}
