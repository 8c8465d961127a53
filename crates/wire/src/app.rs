//! Apps: what the gateway protects, and how agents may sign in to them.

use crate::{AccountId, AppId, ClientTier, PolicyId, StricterProof, Timestamp};
use serde::{Deserialize, Serialize};

/// What stands behind the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// A website or HTTP API.
    Web,
    /// An MCP server (streamable HTTP).
    Mcp,
}

/// Something that the gateway protects. `/api/v1/apps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct App {
    /// Its identifier.
    pub id: AppId,
    /// The account that owns it.
    pub account: AccountId,
    /// What an editor may change.
    #[serde(flatten)]
    pub spec: AppSpec,
    /// The app's own issuer; its metadata is found from here (RFC 8414).
    pub issuer: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// Unique in the account.
    pub name: String,
    /// What stands behind it.
    pub kind: AppKind,
    /// Where people and agents reach it: origin and path; for `mcp` the endpoint's path, too.
    /// It is the app's canonical resource (RFC 8707, RFC 9728).
    pub public_url: String,
    /// Where the gateway forwards to: scheme, host and port; the path stays as it is.
    pub origin_url: String,
    /// The switch: whether agents can sign in the standard way.
    #[serde(default)]
    pub managed_oauth: bool,
    /// In order; the first that matches decides, none means deny.
    #[serde(default)]
    pub policies: Vec<PolicyId>,
    /// How agents sign in when `managed_oauth` is on.
    #[serde(default)]
    pub oauth: OauthSettings,
    /// How long a browser session at the app lasts, in seconds (60 to 2,592,000).
    #[serde(default = "default_session")]
    pub session_seconds: u32,
    /// How old the identity provider's word about a person may be here, where that is stricter than the
    /// organisation's limit, which holds besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_proof: Option<StricterProof>,
    /// Adds `X-Chatelaine-User`, `-Email` and `-Groups` for origins that cannot verify the assertion.
    #[serde(default)]
    pub identity_headers: bool,
    /// Methods that a `web` app takes beside those of HTTP and WebDAV (RFC 9110, 5789, 4918, `QUERY`), in upper case.
    #[serde(default)]
    pub extra_methods: Vec<String>,
    /// Whether the origin takes `/Docs` and `/docs` for one, as those on Windows do: rules and scopes then do, too.
    #[serde(default)]
    pub case_insensitive_paths: bool,
    /// Origins of pages that may call it from a browser with a token, and read the answers: as a browser writes them in
    /// `Origin`, such as `https://inspector.example.com`. An `mcp` app refuses the pages of every other origin but its own.
    #[serde(default)]
    pub browser_origins: Vec<String>,
    /// How long the origin is waited for.
    #[serde(default)]
    pub origin_limits: OriginLimits,
    /// A disabled app answers nobody.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

/// How long an origin is waited for, in seconds (1 to 86,400 each). What the client still sends counts as progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OriginLimits {
    /// For the head of its answer; 300 by default. Then the client gets 504.
    pub answer_seconds: u32,
    /// For the next part of its answer; 300 by default. Then the answer is cut.
    pub idle_seconds: u32,
    /// For the next event of an event stream; 86,400 by default.
    pub event_seconds: u32,
}

impl Default for OriginLimits {
    fn default() -> Self {
        Self {
            answer_seconds: 300,
            idle_seconds: 300,
            event_seconds: 86_400,
        }
    }
}

/// Methods of every web app: RFC 9110 (but for CONNECT and TRACE), RFC 5789, RFC 4918, and QUERY. Others name further
/// resources in their bodies, which nobody here reads; an app that wants them says so.
pub const WEB_METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
];
const fn default_session() -> u32 {
    12 * 3600
}

/// Scopes of every app whose [`OauthSettings::openid`] is on, beside its own (OpenID Connect Core section 5.4).
pub const OPENID_SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// How agents sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OauthSettings {
    /// What an agent can ask for. At least one.
    pub scopes: Vec<ScopeSpec>,
    /// Life of an access token, in seconds (60 to 86,400).
    pub access_token_seconds: u32,
    /// Life of a grant from its consent, in seconds (300 to 31,536,000).
    pub grant_seconds: u32,
    /// For how long a refresh token that was used still returns the same successor, in seconds (30 to 600; 60 by default):
    /// for agents that lose an answer, or start twice at once. Then its use ends the grant.
    pub rotation_seconds: u32,
    /// Whether agents may ask, with the scopes `openid`, `profile` and `email`, who the person is (OpenID Connect): by an ID
    /// token and at `userinfo`, as far as the account gets to see it. Off by default.
    pub openid: bool,
    /// Who may register.
    pub registration: RegistrationRules,
}

impl Default for OauthSettings {
    fn default() -> Self {
        Self {
            scopes: vec![ScopeSpec {
                name: "access".into(),
                description: "Use this app on your behalf".into(),
                covers: vec![Cover::default()],
            }],
            access_token_seconds: 900,
            grant_seconds: 30 * 86_400,
            rotation_seconds: 60,
            openid: false,
            registration: RegistrationRules::default(),
        }
    }
}

/// One scope of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScopeSpec {
    /// RFC 6749 section 3.3 token characters.
    pub name: String,
    /// Plain words for the consent page.
    pub description: String,
    /// What it covers: any of these. Empty covers nothing.
    pub covers: Vec<Cover>,
}

/// A set of requests: those that meet every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Cover {
    /// Upper case; empty for any.
    pub methods: Vec<String>,
    /// `*` matches inside a segment, `**` any rest; absent for any.
    pub path: Option<String>,
    /// MCP tools by exact name or prefix with `*`; absent for any. MCP messages that call no tool
    /// (`initialize`, `tools/list`, notifications) are covered by every scope of the app.
    pub tools: Option<Vec<String>>,
}

/// Who may register as a client of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RegistrationRules {
    /// Open registration (RFC 7591).
    pub dynamic: bool,
    /// Client ID Metadata Documents: `client_id` is an https URL.
    pub metadata_documents: bool,
    /// Lowest tier that is accepted.
    pub lowest_tier: ClientTier,
    /// Whether a client waits for an administrator's approval before its first use.
    pub approval: bool,
    /// Redirect URIs that may be registered, by vendor.
    pub redirect_presets: Vec<RedirectPreset>,
    /// Further redirect URIs, exact.
    pub redirect_uris: Vec<String>,
}

impl Default for RegistrationRules {
    fn default() -> Self {
        Self {
            dynamic: true,
            metadata_documents: true,
            lowest_tier: ClientTier::Localhost,
            approval: false,
            redirect_presets: vec![
                RedirectPreset::Loopback,
                RedirectPreset::Claude,
                RedirectPreset::Chatgpt,
                RedirectPreset::Vscode,
                RedirectPreset::Cursor,
            ],
            redirect_uris: Vec::new(),
        }
    }
}

/// Redirect URIs of known agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RedirectPreset {
    /// `http://127.0.0.1`, `http://[::1]`, `http://localhost`, any port and path (RFC 8252 section 7.3).
    Loopback,
    /// claude.ai and claude.com.
    Claude,
    /// chatgpt.com connectors.
    Chatgpt,
    /// vscode.dev, insiders.vscode.dev and loopback.
    Vscode,
    /// The Cursor editor and its web agents.
    Cursor,
}

/// `POST /api/v1/apps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewApp {
    /// The account that is to own it.
    pub account: AccountId,
    /// The rest.
    #[serde(flatten)]
    pub spec: AppSpec,
}
