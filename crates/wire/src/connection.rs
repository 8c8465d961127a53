//! Connections: upstream identity providers.

use crate::{AccountId, BindingMode, ConnectionId, Preset, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How people sign in through a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// OpenID Connect with discovery.
    Oidc,
    /// GitHub, or a GitHub Enterprise server: OAuth 2 with organisations and teams as groups.
    Github,
    /// A one-time code by e-mail, to addresses in `allowed_domains` only.
    EmailCode,
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
    /// Register this at the provider, exactly as it is. It is the connection's own; while `callback` is `shared`,
    /// people still come back to the one that all connections shared.
    pub redirect_uri: String,
    /// Register this at the provider for `logout.back_channel`. For `oidc` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backchannel_logout_uri: Option<String>,
    /// Register this at the provider for `logout.rp_initiated`. For `oidc` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_logout_redirect_uri: Option<String>,
    /// Last time that somebody signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// Last failure, in words for an administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What an administrator should look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ConnectionWarning>,
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
    /// Whose provider it is; `GET /connection-presets` says what that means. For `oidc` only.
    #[serde(default)]
    pub preset: Preset,
    /// OIDC issuer, byte for byte as the provider states it. Required for `oidc`. For `github` the origin of an
    /// Enterprise server, or absent for github.com.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Our client id at the provider. Required for `oidc` and `github`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Write-only; absent keeps the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// When the provider stops accepting the client secret; warnings come 30, 14, 7 and 1 day before.
    #[serde(default)]
    pub client_secret_expires_at: Option<Timestamp>,
    /// Where the provider sends people back to. New connections have their `own` redirect URI. `shared` is for those
    /// that were there before: once `redirect_uri` is registered at the provider, set it to `own`; there is no way
    /// back. For `oidc` and `github` only.
    #[serde(default)]
    pub callback: Callback,
    /// Asked for beside `openid`. `github` always asks for `read:user user:email read:org`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Which claims carry what.
    #[serde(default)]
    pub claims: ClaimMapping,
    /// Claims that everybody who signs in must have with exactly this value, such as `tid` (Entra) or `hd`
    /// (Google). A name that begins with `/` is a JSON pointer into the claims.
    #[serde(default)]
    pub required_claims: BTreeMap<String, String>,
    /// Other clients for which an id token may be meant beside this one: values of `aud`, as the provider writes
    /// them. Such a token must name this connection's client in `azp`. For `oidc` only.
    #[serde(default)]
    pub trusted_audiences: Vec<String>,
    /// When an e-mail address counts as verified.
    #[serde(default)]
    pub email_verification: EmailVerification,
    /// If not empty, only members of one of these GitHub organisations. For `github` only.
    #[serde(default)]
    pub github_organisations: Vec<String>,
    /// If not empty, only people with a verified e-mail in one of these domains. Required for `email_code`.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// How signing out here and at the provider go together. For `oidc` only.
    #[serde(default)]
    pub logout: Logout,
    /// Origins with internal addresses that this connection may reach, such as `http://10.0.0.5:8080`.
    #[serde(default)]
    pub allow_internal: Vec<String>,
    /// Whether accounts made later are bound, too.
    #[serde(default)]
    pub bind_new_accounts: bool,
    /// In which mode those are bound.
    #[serde(default)]
    pub new_account_mode: BindingMode,
    /// Names of the claims that those get to see; `null` for all.
    #[serde(default)]
    pub new_account_claims: Option<Vec<String>>,
    /// A disabled connection signs nobody in, and ends sessions and grants of its people.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

fn default_scopes() -> Vec<String> {
    vec!["profile".into(), "email".into()]
}

/// Where a connection's provider sends people back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Callback {
    /// To a redirect URI of the connection's own, so that what one provider answers cannot be taken for the answer
    /// of another (RFC 9700, section 4.4.2).
    #[default]
    Own,
    /// To the one that all connections shared, where only answers count that name their issuer (RFC 9207).
    Shared,
}

/// When an e-mail address of a connection's people counts as verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EmailVerification {
    /// When the claim `email_verified` says so.
    #[default]
    Claim,
    /// Always: the provider gives out addresses only to those whose they are. Needs `allowed_domains` or
    /// `required_claims`.
    Always,
    /// Never.
    Never,
}

/// How signing out here and at the provider go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Logout {
    /// Whether signing out here sends the browser on to the provider, to sign out there as well (OpenID Connect
    /// RP-Initiated Logout 1.0). Register `post_logout_redirect_uri` there.
    pub rp_initiated: bool,
    /// Whether the provider may end sessions here (OpenID Connect Back-Channel Logout 1.0). Register
    /// `backchannel_logout_uri` there.
    pub back_channel: bool,
}

/// Something about a connection that an administrator should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionWarning {
    /// What it is.
    pub code: ConnectionWarningCode,
    /// In words.
    pub detail: String,
}

/// What a [`ConnectionWarning`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConnectionWarningCode {
    /// The connection is switched off.
    Disabled,
    /// The client secret ends within 30 days.
    SecretExpiring,
    /// The client secret has ended.
    SecretExpired,
    /// The last sign-in failed at the provider.
    LastSignInFailed,
    /// The provider's discovery document gives reason for concern.
    Discovery,
    /// The connection still uses the redirect URI that all connections shared.
    SharedCallback,
}

/// Which upstream claim carries what. A name that begins with `/` is a JSON pointer (RFC 6901) into the claims;
/// every other one is a claim's name as it is, dots and slashes included.
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
    /// What stands between groups that come as one text, such as `,`; absent when such a text is one group. What
    /// it leaves is compared exactly, so blanks after commas belong into it.
    pub groups_separator: Option<String>,
    /// Which member of a group counts where groups come as objects, such as `name`; absent when they come as text.
    pub groups_member: Option<String>,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            email: "email".into(),
            name: "name".into(),
            groups: "groups".into(),
            groups_separator: None,
            groups_member: None,
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
