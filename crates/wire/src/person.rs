//! People and their browser sessions.

use crate::{AppId, ConnectionId, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// How somebody proved who they are, as one sign-in said it. It is the session's in which they did, and goes with
/// what is made from there: sessions at apps, grants. It is never the person's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Authentication {
    /// The connection that said so, or that knows the password. What one connection said counts for nothing once the
    /// person comes through another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
    /// The methods (`amr`, RFC 8176); empty when the provider does not say, which proves nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The class (`acr`, OpenID Connect Core 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// When they did (`auth_time`), where the provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
}

impl Authentication {
    /// What proves nothing.
    pub const NONE: Self = Self {
        connection: None,
        amr: Vec::new(),
        acr: None,
        auth_time: None,
    };

    /// Whether there was more than one factor.
    #[must_use]
    pub fn has_second_factor(&self) -> bool {
        self.amr.iter().any(|method| method == "mfa")
    }
}

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
    /// When their connection last vouched for them: at a sign-in, or when it was asked again since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched_at: Option<Timestamp>,
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
    /// How the person proved who they are in it; what rules about sign-in ask.
    #[serde(default)]
    pub authentication: Authentication,
}
