//! People and their browser sessions.

use crate::{AppId, ConnectionId, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// A person, as one connection knows them. `/api/v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// Their identifier.
    pub id: UserId,
    /// The connection that they sign in with.
    pub connection: ConnectionId,
    /// The upstream issuer.
    pub issuer: String,
    /// The upstream subject; with connection and issuer the identity key. Absent where it is withheld.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Never an identity key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider vouches for the address.
    pub email_verified: bool,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Groups that the provider stated at the last sign-in.
    pub groups: Vec<String>,
    /// A disabled person's sessions and grants are ended.
    pub disabled: bool,
    /// First sign-in.
    pub created_at: Timestamp,
    /// Last sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<Timestamp>,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// `PATCH /api/v1/users/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// Ends everything of the person, or lets them sign in again.
    pub disabled: bool,
}

/// A browser session. `/api/v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BrowserSession {
    /// Its identifier (not its cookie).
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// At which app; absent for the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// The address it began at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The browser it began in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}
