//! Connections: upstream identity providers.

use crate::{AccountId, ConnectionId, Timestamp};
use serde::{Deserialize, Serialize};

/// How people sign in through a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// OpenID Connect with discovery.
    Oidc,
    /// Local password, for break-glass owners.
    Password,
}

/// One configured upstream identity provider. `/api/v1/connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Connection {
    /// Its identifier.
    pub id: ConnectionId,
    /// The account that owns it; absent for a shared one of the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: ConnectionSpec,
    /// Whether a client secret is stored.
    pub has_client_secret: bool,
    /// Register this at the provider.
    pub redirect_uri: String,
    /// Last time that somebody signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// Last failure, in words for an administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConnectionSpec {
    /// Shown on the sign-in page.
    pub name: String,
    /// How people sign in; fixed at creation.
    pub kind: ConnectionKind,
    /// OIDC issuer, byte for byte as the provider states it. Required for `oidc`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Our client id at the provider. Required for `oidc`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Write-only; absent keeps the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Asked for beside `openid`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Which claims carry what.
    #[serde(default)]
    pub claims: ClaimMapping,
    /// If not empty, only people with a verified e-mail in one of these domains.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// Origins with internal addresses that this connection may reach, such as `http://10.0.0.5:8080`.
    #[serde(default)]
    pub allow_internal: Vec<String>,
    /// Whether accounts made later are bound, too.
    #[serde(default)]
    pub bind_new_accounts: bool,
    /// A disabled connection signs nobody in, and ends sessions and grants of its people.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

fn default_scopes() -> Vec<String> {
    vec!["profile".into(), "email".into()]
}

/// Which upstream claim carries what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClaimMapping {
    /// The e-mail address.
    pub email: String,
    /// The display name.
    pub name: String,
    /// The groups (array of text, or text).
    pub groups: String,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            email: "email".into(),
            name: "name".into(),
            groups: "groups".into(),
        }
    }
}

/// `POST /api/v1/connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewConnection {
    /// The account that is to own it; absent for a shared one.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// The rest.
    #[serde(flatten)]
    pub spec: ConnectionSpec,
}
