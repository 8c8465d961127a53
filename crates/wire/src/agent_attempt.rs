//! An agent attempt: one go of one agent at getting in, from the first 401 over discovery, registration, sign-in and
//! consent to the first call that was let through. `/api/v1/agent-attempts`.

use crate::{AccountId, AgentAttemptId, AppId, ClientId, GrantId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Where an agent attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentAttemptState {
    /// The last step went well, and the next one may still come.
    GoingOn,
    /// The agent is in: a call of it was let through.
    In,
    /// The last step was refused.
    Failed,
    /// The last step went well, and the next one did not come.
    Stopped,
}

impl AgentAttemptState {
    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GoingOn => "going_on",
            Self::In => "in",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What an agent, or the browser of its person, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentStepKind {
    /// It called the app without a token that is good, and was told the way in, or that there is none.
    Challenge,
    /// It read a discovery document.
    Discovery,
    /// It registered itself.
    Registration,
    /// Its metadata document was read.
    Document,
    /// The browser came to the authorization endpoint.
    Authorize,
    /// The person signed in.
    SignIn,
    /// The person was asked.
    Consent,
    /// It asked for tokens.
    Token,
    /// It called the app with a token.
    Call,
}

impl AgentStepKind {
    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Discovery => "discovery",
            Self::Registration => "registration",
            Self::Document => "document",
            Self::Authorize => "authorize",
            Self::SignIn => "sign_in",
            Self::Consent => "consent",
            Self::Token => "token",
            Self::Call => "call",
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentStepOutcome {
    /// As it should.
    Passed,
    /// Refused.
    Failed,
}

/// One step of an agent attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStep {
    /// When it happened for the first time.
    pub at: Timestamp,
    /// What it was.
    pub kind: AgentStepKind,
    /// How it ended.
    pub outcome: AgentStepOutcome,
    /// Why it was refused: a code from the table in `docs/AGENTS-TROUBLESHOOTING.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the server expected, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it received, in words: cleaned, bounded, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// The request id, also in the answer's `X-Request-Id` and on error pages.
    pub request: String,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// By what it came, cleaned and bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// How often it came in a row, each time with the same end.
    pub count: i64,
}

/// What a setting can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentRemedyKind {
    /// Adds a redirect URI to those that agents may register at the app.
    AllowRedirect,
    /// Accepts agents of this tier at the app.
    AcceptTier,
    /// Switches Managed OAuth on.
    SwitchOnManagedOauth,
    /// Switches dynamic registration on.
    SwitchOnRegistration,
    /// Switches metadata documents on.
    SwitchOnDocuments,
    /// Approves the client.
    ApproveClient,
    /// Keeps the client's metadata document as it is now.
    PinDocument,
    /// Lets pages of an origin call the app.
    AllowOrigin,
}

impl AgentRemedyKind {
    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowRedirect => "allow_redirect",
            Self::AcceptTier => "accept_tier",
            Self::SwitchOnManagedOauth => "switch_on_managed_oauth",
            Self::SwitchOnRegistration => "switch_on_registration",
            Self::SwitchOnDocuments => "switch_on_documents",
            Self::ApproveClient => "approve_client",
            Self::PinDocument => "pin_document",
            Self::AllowOrigin => "allow_origin",
        }
    }
}

/// A change of a setting that mends what failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentRemedy {
    /// Which.
    pub kind: AgentRemedyKind,
    /// What it does, for a button.
    pub label: String,
    /// The resource that changes, below `/api/v1`, such as `apps/app_…`.
    pub target: String,
    /// What changes there, as a merge patch (RFC 7396).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub patch: serde_json::Value,
    /// The resource's `ETag`, for `If-Match`.
    pub etag: String,
}

/// One attempt. `/api/v1/agent-attempts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentAttempt {
    /// Its identifier.
    pub id: AgentAttemptId,
    /// The app that the agent wants to use.
    pub app: AppId,
    /// The account of that app.
    pub account: AccountId,
    /// Where it is.
    pub state: AgentAttemptState,
    /// The last step that counts: the one that failed, or after which nothing came.
    pub step: AgentStepKind,
    /// One sentence: how far it came, or what failed.
    pub summary: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// Why the step was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the agent calls itself, from its registration or document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The program, as its `User-Agent` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// What it sends as `client_id`, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client, once it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The person, once they have signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The grant, once it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Steps of another agent that looked the same may be missing here, or stand here: several were on their way from one
    /// address at once.
    pub ambiguous: bool,
    /// The first step.
    pub started_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
}

/// One attempt with its steps. `/api/v1/agent-attempts/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentAttemptDetail {
    /// The attempt.
    #[serde(flatten)]
    pub attempt: AgentAttempt,
    /// Its steps, in order.
    pub steps: Vec<AgentStep>,
    /// Settings that would mend it, the narrowest first.
    pub remedies: Vec<AgentRemedy>,
}

/// `POST /api/v1/agent-attempts/{id}/remedy`: which remedy to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CarryOutRemedy {
    /// Which of the attempt's remedies.
    pub kind: AgentRemedyKind,
    /// Its label as it was shown. What an attempt asks for may change while somebody looks at it; if the remedy would do
    /// something else by now, nothing is done. Left out, it is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}
