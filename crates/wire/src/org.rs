//! Organisations, accounts, members and their roles, API tokens, signing keys.

use crate::{AccountId, ApiTokenId, ConnectionId, KeyId, MemberId, OrgId, Selector, Timestamp, UserId};
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
    /// Whether people with a local password get no further without a second factor.
    #[serde(default)]
    pub require_second_factor: bool,
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

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, owners included.
    OrgOwner,
    /// Everything but owners.
    OrgAdmin,
    /// Reads everything, audit included.
    OrgAuditor,
    /// Everything inside one account.
    AccountAdmin,
    /// Apps, policies and groups of one account.
    AccountEditor,
    /// Reads one account, its audit included.
    AccountAuditor,
}

impl Role {
    /// Whether the role belongs to one account rather than to the organisation.
    #[must_use]
    pub const fn is_account_role(self) -> bool {
        matches!(
            self,
            Self::AccountAdmin | Self::AccountEditor | Self::AccountAuditor
        )
    }
}

/// One role of one user. `/api/v1/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    /// Its identifier.
    pub id: MemberId,
    /// Who.
    pub user: UserId,
    /// Where: absent for a role of the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// What.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
}

/// `POST /api/v1/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// Who.
    pub user: UserId,
    /// Required for account roles, refused for organisation roles.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// What.
    pub role: Role,
}

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

/// A credential for automation. `/api/v1/api-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// Its identifier.
    pub id: ApiTokenId,
    /// What it is for.
    pub name: String,
    /// Whose roles it acts with.
    pub owner: UserId,
    /// What it may do, within the owner's roles.
    pub scopes: Vec<TokenScope>,
    /// Its first characters, to recognise it.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Last use, to within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
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
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// The answer to creating a token: the only time that it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedApiToken {
    /// The record.
    #[serde(flatten)]
    pub record: ApiToken,
    /// The credential, `cht_…`; send as `Authorization: Bearer`.
    pub token: String,
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

/// Who is signed in to the dashboard. `GET /api/v1/session`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// The person.
    pub user: crate::User,
    /// The organisation.
    pub organisation: Organisation,
    /// The person's roles.
    pub roles: Vec<Member>,
    /// Send as `X-CSRF-Token` with every write; absent for API tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
    /// The public URL of the control plane.
    pub control_url: String,
}
