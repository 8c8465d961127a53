//! Invitations: a link that gives the person it was sent to a role, once.

use crate::{AccountId, InvitationId, Role, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Where an invitation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum InvitationState {
    /// Its link can be used.
    Pending,
    /// Somebody used it.
    Accepted,
    /// Nobody used it in time; it can be sent again.
    Expired,
    /// An administrator took it back, or whoever made it was disabled.
    Revoked,
}

/// An invitation. `/api/v1/invitations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invitation {
    /// Its identifier.
    pub id: InvitationId,
    /// Where it was sent to. Who signs in to accept it has this address, verified; the local person that a
    /// `local` one makes is named by it. Absent where it is withheld.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// Where: absent for a role of the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The role that accepting it gives.
    pub role: Role,
    /// Whether the person gets a local password here, instead of signing in with an identity provider.
    pub local: bool,
    /// Where it is in its life.
    pub state: InvitationState,
    /// Who made it; absent when a token of an account did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the newest link was made.
    pub sent_at: Timestamp,
    /// When that link ends.
    pub expires_at: Timestamp,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// Who accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<UserId>,
}

/// `POST /api/v1/invitations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// Where to send it.
    pub email: String,
    /// Required for account roles, refused for organisation roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The role that accepting it gives.
    pub role: Role,
    /// Whether the person gets a local password here, instead of signing in with an identity provider.
    #[serde(default)]
    pub local: bool,
    /// How long the link is good, in seconds: 5 minutes to 30 days; 7 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
}

/// `POST /api/v1/invitations/{id}/resend`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResendInvitation {
    /// How long the new link is good, in seconds: 5 minutes to 30 days; 7 days if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
}

/// The answer to making or resending an invitation: the only time that its link is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedInvitation {
    /// The record.
    #[serde(flatten)]
    pub record: Invitation,
    /// The link; empty in a dry run, which makes none.
    pub url: String,
    /// Whether it was mailed, too. Without a mail transport the link has to reach the person otherwise.
    pub mailed: bool,
}
