//! API tokens: credentials for automation.

use crate::{AccountId, ApiTokenId, Role, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// What an API token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Read everything that the owner may read, except the audit log.
    Read,
    /// Change everything that the owner may change.
    Write,
    /// Read and export the audit log.
    Audit,
}

/// A credential for automation, of a person or of an account. `/api/v1/api-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// Its identifier.
    pub id: ApiTokenId,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: ApiTokenSpec,
    /// The person whose roles it acts with; absent when it belongs to an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// The account that it belongs to and acts in, as itself; absent when it belongs to a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The role that it has in its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What it may do, within its roles.
    pub scopes: Vec<TokenScope>,
    /// Its first characters, to recognise it.
    pub prefix: String,
    /// Who made it; absent when a token of an account did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when the secret before the last roll is good as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Timestamp>,
    /// Last use, to within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// The address of that use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_ip: Option<String>,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiTokenSpec {
    /// What it is for.
    pub name: String,
    /// When it ends; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Networks (CIDR) or addresses that it may be used from; empty for everywhere.
    #[serde(default)]
    pub allowed_ips: Vec<String>,
}

/// `POST /api/v1/api-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewApiToken {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<TokenScope>,
    /// When it ends; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Networks (CIDR) or addresses that it may be used from; empty for everywhere.
    #[serde(default)]
    pub allowed_ips: Vec<String>,
    /// The account that it belongs to; absent for a token of the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The role that it has in that account: required with `account`, refused without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl NewApiToken {
    /// A token of the caller's own that never ends and may be used from everywhere.
    #[must_use]
    pub fn of(name: &str, scopes: &[TokenScope]) -> Self {
        Self {
            name: name.to_owned(),
            scopes: scopes.to_vec(),
            expires_at: None,
            allowed_ips: Vec::new(),
            account: None,
            role: None,
        }
    }
}

/// `POST /api/v1/api-tokens/{id}/roll`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RollApiToken {
    /// How long the old secret goes on beside the new one, in seconds: at most a day; not at all if absent.
    #[serde(default)]
    pub overlap_seconds: u32,
}

/// The answer to creating or rolling a token: the only time that it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedApiToken {
    /// The record.
    #[serde(flatten)]
    pub record: ApiToken,
    /// The credential, `cht_…`; send as `Authorization: Bearer`. Empty in a dry run, which makes none.
    pub token: String,
}
