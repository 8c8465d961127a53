//! Who may administer what: roles given to people, and roles that follow from groups of an identity provider.

use crate::{AccountId, ConnectionId, MemberId, RoleMappingId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

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
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OrgOwner,
        Self::OrgAdmin,
        Self::OrgAuditor,
        Self::AccountAdmin,
        Self::AccountEditor,
        Self::AccountAuditor,
    ];

    /// Whether the role belongs to one account rather than to the organisation.
    #[must_use]
    pub const fn is_account_role(self) -> bool {
        matches!(
            self,
            Self::AccountAdmin | Self::AccountEditor | Self::AccountAuditor
        )
    }
}

/// One role given to one user. `/api/v1/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    /// Its identifier.
    pub id: MemberId,
    /// Who.
    pub user: UserId,
    /// The person's name, as of their last sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The person's e-mail address, as of their last sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where: absent for a role of the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// What.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
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

/// `PATCH /api/v1/members/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    /// A role of the organisation stays one, a role in an account stays in that account.
    pub role: Role,
}

/// One role that somebody has, whatever it comes from. `GET /api/v1/users/{id}/roles`, and in [`crate::Session`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EffectiveRole {
    /// What.
    pub role: Role,
    /// Where: absent for a role of the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The member that gives it, when it was given directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// The mapping that gives it, when it follows from a group of the identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<RoleMappingId>,
}

/// Whoever signs in through a connection and is in a group there has a role here. `/api/v1/role-mappings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleMapping {
    /// Its identifier.
    pub id: RoleMappingId,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: RoleMappingSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of a role mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RoleMappingSpec {
    /// People of this connection.
    pub connection: ConnectionId,
    /// The group, as the identity provider names it; compared exactly.
    pub group: String,
    /// Required for account roles, refused for organisation roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// What they get; never `org_owner`.
    pub role: Role,
}
