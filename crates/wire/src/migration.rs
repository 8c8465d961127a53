//! Changing the identity provider: from one shared connection to another, with an explicit link for each person.

use crate::{ConnectionId, ConnectionMigrationId, PersonRef, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Where a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MigrationState {
    /// Both connections sign people in; links are being approved.
    SideBySide,
    /// Linked people sign in through the new connection. It can be rolled back.
    CutOver,
    /// Given up before the cut-over, or after it was rolled back.
    RolledBack,
    /// Over; it cannot be rolled back any more.
    Completed,
}

/// People and their grants, roles and groups move from one shared connection to another.
/// `/api/v1/connection-migrations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionMigration {
    /// Its identifier.
    pub id: ConnectionMigrationId,
    /// What was asked for.
    #[serde(flatten)]
    pub spec: NewConnectionMigration,
    /// Where it is.
    pub state: MigrationState,
    /// How many links there are of each sort.
    pub links: LinkCounts,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was cut over; absent before, and after a roll-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_over_at: Option<Timestamp>,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// `POST /api/v1/connection-migrations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewConnectionMigration {
    /// The connection that people sign in through now.
    pub from: ConnectionId,
    /// The one that they are to sign in through.
    pub to: ConnectionId,
    /// E-mail domains that the organisation owns, 1 to 50: links are proposed for addresses in these only.
    pub domains: Vec<String>,
    /// Whether people who come through `to` for the first time after the cut-over are linked then, by the same
    /// rule as links are proposed. Never done for people with a role.
    #[serde(default)]
    pub link_on_sign_in: bool,
}

/// How many links there are of each sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkCounts {
    /// Fitting pairs that nobody has decided about.
    pub proposed: u64,
    /// To be linked at the cut-over.
    pub approved: u64,
    /// Not to be linked.
    pub rejected: u64,
    /// Linked.
    pub linked: u64,
}

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The rule found it; nobody has decided.
    Proposed,
    /// An administrator said yes.
    Approved,
    /// An administrator said no.
    Rejected,
    /// The one person of the old connection signs in through the new one.
    Linked,
}

/// Two that are one person. `/api/v1/connection-migrations/{id}/links`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionLink {
    /// Who they are through the old connection. They keep roles, grants and groups.
    pub from_user: PersonRef,
    /// Who they are through the new one.
    pub to_user: PersonRef,
    /// Where it is.
    pub state: LinkState,
    /// Whether an administrator chose the pair, rather than the rule.
    pub manual: bool,
}

/// What an administrator says about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkDecision {
    /// They are one person.
    Approved,
    /// They are not.
    Rejected,
    /// Undecided again.
    Proposed,
}

/// `POST /api/v1/connection-migrations/{id}/links`: decides about a pair, proposed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DecideLink {
    /// Somebody of the old connection.
    pub from_user: UserId,
    /// Somebody of the new one.
    pub to_user: UserId,
    /// What is decided.
    pub state: LinkDecision,
}

/// `POST /api/v1/connection-migrations/{id}/cut-over`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CutOver {
    /// Until when the old connection's bindings drain, within a year: it signs nobody in from now on, but who is
    /// signed in stays so. Absent: the old connection goes on signing people in, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<Timestamp>,
}
