//! Organisations, accounts, signing keys, and who is signed in.

use crate::{AccountId, ApiToken, ConnectionId, EffectiveRole, KeyId, OrgId, Selector, Timestamp};
use serde::{Deserialize, Serialize};

/// The company. `GET/PATCH /api/v1/organisation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Organisation {
    /// Its identifier.
    pub id: OrgId,
    /// Short name in URLs: lower-case letters, digits and hyphens.
    pub slug: String,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: OrganisationSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OrganisationSpec {
    /// Shown to people.
    pub name: String,
    /// The connection bound to accounts by default.
    #[serde(default)]
    pub primary_connection: Option<ConnectionId>,
    /// Selectors that every request in every account must satisfy; no account can weaken them.
    #[serde(default)]
    pub floor: Vec<Selector>,
    /// Whether people with a local password get no further without a second factor: neither in a browser, nor by an
    /// agent whose grant they gave without one, nor by their API tokens.
    #[serde(default)]
    pub require_second_factor: bool,
    /// How old the identity provider's word about a person may be.
    #[serde(default)]
    pub oldest_proof: OldestProof,
    /// Networks in CIDR notation among the link-local ones and those where clouds hand out credentials
    /// (such as `169.254.10.0/24`) that apps may nevertheless have their origin in. Private networks need no
    /// entry.
    #[serde(default)]
    pub allowed_origin_ranges: Vec<String>,
}

/// How old the identity provider's last word about a person may be, before what hangs on it ends: whoever has left
/// the company is refused there, and nothing here outlives that for longer. Passwords kept here are exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OldestProof {
    /// For agents and for API tokens of people, in seconds (300 to 31,536,000): later, their tokens are refused and
    /// cannot be refreshed until the person has signed in again somewhere.
    pub agents_seconds: u32,
    /// For browser sessions, in seconds (300 to 31,536,000): later, the browser is sent to sign in.
    pub sessions_seconds: u32,
}

impl Default for OldestProof {
    fn default() -> Self {
        Self {
            agents_seconds: 7 * 86_400,
            sessions_seconds: 86_400,
        }
    }
}

/// How old the word may be at one app; what is left out, or looser, is as the organisation says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StricterProof {
    /// For agents, in seconds (300 to 31,536,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents_seconds: Option<u32>,
    /// For browser sessions, in seconds (300 to 31,536,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_seconds: Option<u32>,
}

impl StricterProof {
    /// What holds at the app, in an organisation with this limit.
    #[must_use]
    pub fn within(self, organisation: OldestProof) -> OldestProof {
        let stricter = |own: Option<u32>, limit: u32| own.map_or(limit, |own| own.min(limit));
        OldestProof {
            agents_seconds: stricter(self.agents_seconds, organisation.agents_seconds),
            sessions_seconds: stricter(self.sessions_seconds, organisation.sessions_seconds),
        }
    }
}

/// One tenant. `/api/v1/accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Account {
    /// Its identifier.
    pub id: AccountId,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: AccountSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    /// Unique in the organisation.
    pub name: String,
    /// A disabled account lets nobody in.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

/// Where a signing key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, signs nothing yet.
    Next,
    /// Signs.
    Active,
    /// Signs nothing any more, still published until the last token that it signed has expired.
    Retiring,
}

/// `POST /api/v1/signing-keys/rotate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// Whether somebody else may have the keys: then none of those that are there is good for anything from now on, and
    /// all tokens that they signed are refused at once.
    #[serde(default)]
    pub compromised: bool,
}

/// A signing key (public part). `/api/v1/signing-keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SigningKey {
    /// Its identifier; also the `kid`.
    pub id: KeyId,
    /// `ES256`.
    pub algorithm: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a retiring key disappears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

/// Who calls. `GET /api/v1/session`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// The person; absent for a token that belongs to an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<crate::User>,
    /// The token, when the caller came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<ApiToken>,
    /// The organisation.
    pub organisation: Organisation,
    /// The caller's roles.
    pub roles: Vec<EffectiveRole>,
    /// Send as `X-CSRF-Token` with every write; absent for API tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
    /// The public URL of the control plane.
    pub control_url: String,
}
