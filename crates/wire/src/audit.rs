//! The audit event: one immutable record that names person, agent, grant, app, decision and rule.

use crate::{
    AccountId, Actor, ApiTokenId, AppId, ClientId, EventId, GrantId, ImpactSummary, OrgId, RuleRef,
    ServiceTokenId, SessionId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};

/// One record of the log. `/api/v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEvent {
    /// Its identifier; consumers drop duplicates by it.
    pub id: EventId,
    /// Position in the organisation's log, from 1, without gaps, in order of persistence.
    pub seq: i64,
    /// When it happened.
    pub time: Timestamp,
    /// Whose log it is in.
    pub org: OrgId,
    /// The account that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Who did it.
    pub actor: AuditActor,
    /// What was done, from the catalogue in `docs/AUDIT.md`, such as `gateway.request`.
    pub action: String,
    /// To what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<AuditTarget>,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable reason code, such as `policy_denied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// The HTTP request behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<AuditRequest>,
    /// The MCP message behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<AuditMcp>,
    /// What changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<AuditChange>,
    /// Who gained, kept and lost access by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<ImpactSummary>,
    /// Which surface recorded it: `dashboard`, `api`, `broker`, `oauth`, `gateway`, `system`.
    pub source: String,
    /// What the origin answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<AuditResponse>,
    /// The request was let through, and nothing is known of the answer (yet).
    #[serde(default, skip_serializing_if = "is_false")]
    pub outcome_unknown: bool,
    /// It stands for so many that were alike, and followed another one within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<AuditRepeated>,
}

const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What kind of thing acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person at an app or at sign-in.
    User,
    /// An agent on behalf of a person.
    Agent,
    /// A service token.
    Service,
    /// A person or token that administers.
    Admin,
    /// The server itself.
    System,
    /// Nobody who could be identified.
    Anonymous,
}

impl From<Actor> for ActorKind {
    fn from(actor: Actor) -> Self {
        match actor {
            Actor::Browser => Self::User,
            Actor::Agent => Self::Agent,
            Actor::Service => Self::Service,
        }
    }
}

/// Who did it. For an agent, `user` is the person on whose behalf it acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditActor {
    /// What kind of thing.
    pub kind: ActorKind,
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The person's e-mail address at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The agent's name at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The grant that it acted under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// How the person proved who they are, in the words of RFC 8176, at sign-in through the server itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The browser session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The API token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<ApiTokenId>,
    /// The API token's name at that time, when it belongs to an account and not to a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
    /// The account that the API token belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_account: Option<AccountId>,
    /// The service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_token: Option<ServiceTokenId>,
    /// The service token's name at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_token_name: Option<String>,
}

impl AuditActor {
    /// An actor of `kind` about whom nothing else is known.
    #[must_use]
    pub const fn of(kind: ActorKind) -> Self {
        Self {
            kind,
            user: None,
            email: None,
            client: None,
            client_name: None,
            grant: None,
            amr: Vec::new(),
            session: None,
            token: None,
            token_name: None,
            token_account: None,
            service_token: None,
            service_token_name: None,
        }
    }
}

/// To what it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditTarget {
    /// The kind of thing, such as `app`.
    pub kind: String,
    /// Its identifier.
    pub id: String,
    /// Its name at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The app, where the target is an app or lies in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Let through; what the origin answered is in `response`.
    Allowed,
    /// Refused.
    Denied,
    /// Done.
    Success,
    /// Failed.
    Failure,
}

impl Outcome {
    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// The HTTP request behind an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRequest {
    /// The request id, also in the answer's `X-Request-Id`.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path without its query (queries carry secrets).
    pub path: String,
    /// The peer's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The peer's user agent, cleaned and bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// The MCP message behind an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditMcp {
    /// The JSON-RPC method, such as `tools/call`.
    pub method: String,
    /// The tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// SHA-256 of the arguments as sent, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<String>,
}

/// What changed: only the fields that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditChange {
    /// Before; `null` when it did not exist.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub before: serde_json::Value,
    /// After; `null` when it is gone.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub after: serde_json::Value,
}

/// What the origin answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditResponse {
    /// The HTTP status; 502 when the origin could not be reached.
    pub status: u16,
    /// Until the head of the answer, in microseconds.
    pub micros: i64,
}

/// How often something happened that strangers, or callers who are refused, can cause at will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditRepeated {
    /// How many times.
    pub count: u64,
    /// When for the first time of these; `request` is that one's.
    pub first: Timestamp,
    /// When for the last time.
    pub last: Timestamp,
}
