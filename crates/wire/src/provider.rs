//! What is known of identity providers: presets, what discovery says, trials of a connection, its health.

use crate::{ClaimMapping, ConnectionId, EmailVerification, Timestamp, TrialId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Whose identity provider an OpenID Connect connection leads to. Some need rules of their own, which the server
/// enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Any other.
    #[default]
    Generic,
    /// Okta.
    Okta,
    /// Microsoft Entra ID. An issuer for several tenants needs `required_claims.tid`.
    Entra,
    /// Google Workspace. Needs `required_claims.hd`.
    GoogleWorkspace,
    /// Auth0.
    Auth0,
    /// Keycloak.
    Keycloak,
    /// PingOne and PingFederate.
    Ping,
    /// OneLogin.
    Onelogin,
}

/// How to fill in a connection to one vendor's provider. `GET /api/v1/connection-presets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PresetInfo {
    /// Which one.
    pub preset: Preset,
    /// The vendor's name for it.
    pub label: String,
    /// The issuer, with placeholders in braces.
    pub issuer: String,
    /// What to put in place of each placeholder.
    pub placeholders: Vec<PresetPlaceholder>,
    /// `scopes` of the connection.
    pub scopes: Vec<String>,
    /// `claims` of the connection.
    pub claims: ClaimMapping,
    /// `email_verification` of the connection.
    pub email_verification: EmailVerification,
    /// Names that `required_claims` should hold, or must.
    pub required_claims: Vec<String>,
    /// What to enter at the provider, step by step.
    pub register: Vec<String>,
    /// What to know about it.
    pub notes: Vec<String>,
}

/// A part of an issuer that differs from customer to customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PresetPlaceholder {
    /// Its name, without the braces.
    pub name: String,
    /// What it is.
    pub label: String,
    /// How one looks.
    pub example: String,
}

impl PresetInfo {
    /// The issuer with each placeholder replaced by what `value` says; `None` while one is missing.
    #[must_use]
    pub fn issuer_with(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut issuer = self.issuer.clone();
        for placeholder in &self.placeholders {
            let value = value(&placeholder.name).filter(|v| !v.trim().is_empty())?;
            issuer = issuer.replace(&format!("{{{}}}", placeholder.name), value.trim());
        }
        Some(issuer)
    }
}

/// `POST /api/v1/connections/discover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiscoverRequest {
    /// An issuer, a bare host, or the URL of a discovery document.
    pub issuer: String,
    /// As for a connection: origins with internal addresses that may be reached.
    #[serde(default)]
    pub allow_internal: Vec<String>,
}

/// What a provider says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Discovery {
    /// The issuer that it names, to be entered in the connection as it is.
    pub issuer: String,
    /// Where the document was found.
    pub document_url: String,
    /// The preset that fits the issuer.
    pub preset: Preset,
    /// Where browsers go.
    pub authorization_endpoint: String,
    /// Where codes are redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// Where more claims are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_endpoint: Option<String>,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where a browser is signed out (RP-initiated logout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_session_endpoint: Option<String>,
    /// Whether it tells us when somebody signs out (back-channel logout).
    pub backchannel_logout: bool,
    /// Scopes that it offers.
    pub scopes: Vec<String>,
    /// Claims that it can make.
    pub claims: Vec<String>,
    /// Algorithms of its id tokens.
    pub algorithms: Vec<String>,
    /// Methods of PKCE.
    pub pkce_methods: Vec<String>,
    /// Methods of client authentication.
    pub client_auth_methods: Vec<String>,
    /// Whether answers name their issuer (RFC 9207).
    pub names_issuer: bool,
    /// How many keys it publishes that id tokens can be checked with.
    pub signing_keys: u32,
    /// What gives reason for concern, or keeps sign-in from working.
    pub warnings: Vec<String>,
}

/// `POST /api/v1/connections/{id}/claims-preview`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimsPreviewRequest {
    /// The mapping to try; absent for the connection's own.
    #[serde(default)]
    pub claims: Option<ClaimMapping>,
    /// As in the connection; absent for its own.
    #[serde(default)]
    pub email_verification: Option<EmailVerification>,
    /// As in the connection; absent for its own.
    #[serde(default)]
    pub required_claims: Option<BTreeMap<String, String>>,
    /// Claims to try it on.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub sample: Option<Map<String, Value>>,
    /// In place of `sample`: the claims with which this person of the connection last signed in. With neither,
    /// those of the last trial that got as far.
    #[serde(default)]
    pub user: Option<UserId>,
}

/// What a mapping makes of claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimsPreview {
    /// Where the claims came from.
    pub source: ClaimsSource,
    /// Who they are about.
    pub identity: MappedIdentity,
    /// Claims that the mapping names and that are not there, or not of a usable form: `email`, `name`, `groups`.
    pub missing: Vec<String>,
    /// Why a sign-in with these claims would be refused: `claim_mismatch`, `email_unverified`, `email_domain`,
    /// `email_malformed`, `groups_unusable`, `organisation_membership`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The same in words, with what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_because: Option<String>,
    /// The claims themselves.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub claims: Map<String, Value>,
}

/// Where the claims of a [`ClaimsPreview`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClaimsSource {
    /// The request.
    Sample,
    /// A person's last sign-in.
    User,
    /// The last trial.
    Trial,
}

/// Who a provider's claims are about, as the connection's mapping reads them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MappedIdentity {
    /// The provider's issuer.
    pub issuer: String,
    /// The provider's name for the person.
    pub subject: String,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether it counts as verified.
    pub email_verified: bool,
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
}

/// One trial of a connection, step by step. `/api/v1/connections/{id}/trials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trial {
    /// Its identifier.
    pub id: TrialId,
    /// Of which connection.
    pub connection: ConnectionId,
    /// How far it is.
    pub state: TrialState,
    /// What was done, in order.
    pub trace: Vec<TrialStep>,
    /// Who the claims are about, once they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<MappedIdentity>,
    /// The claims; shown to those who may change the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub claims: Option<Map<String, Value>>,
    /// Where the rest of it happens, in any browser: shown once, in the answer that made the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When `url` ends.
    pub expires_at: Timestamp,
    /// When it passed or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// How far a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// What the server can do alone went well; somebody has to open the URL.
    Waiting,
    /// Somebody is at the provider.
    Running,
    /// Somebody came back, and everything fits.
    Passed,
    /// A step failed. The URL can be opened again.
    Failed,
    /// Nobody finished it in time.
    Expired,
}

/// One step of a [`Trial`]: `setup`, `discovery`, `issuer`, `endpoints`, `keys`, `client_secret`, `redirect`,
/// `callback`, `token`, `id_token`, `userinfo`, `claims`, `mapping`, `admission`; for GitHub `profile`, `emails`,
/// `organisations` and `teams` in place of those about documents and id tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrialStep {
    /// Which.
    pub name: String,
    /// How it went.
    pub state: StepState,
    /// In words.
    pub detail: String,
    /// What should have been there, where that says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Well.
    Ok,
    /// Not well: the sign-in ends here.
    Failed,
    /// There was no need for it.
    Skipped,
}

/// How a connection does. `GET /api/v1/connections/{id}/health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConnectionHealth {
    /// In one word.
    pub state: HealthState,
    /// Sign-ins in the last hour that the provider was at fault for, as a part of all; absent when there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate_1h: Option<f64>,
    /// Successful sign-ins in the last hour.
    pub successes_1h: u64,
    /// Sign-ins that failed in the last hour, by reason. People whom a rule kept out are not failures.
    pub failures_1h: BTreeMap<String, u64>,
    /// How long the provider took over a successful sign-in in the last hour, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms_avg: Option<u64>,
    /// The last 24 hours, oldest first; hours without sign-ins are left out.
    pub hours: Vec<HealthHour>,
    /// Last time that somebody signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// Last failure, in words, unless a sign-in worked since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The circuit breaker of the instance that answers.
    pub breaker: Breaker,
}

/// How a connection does, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Sign-ins work.
    Healthy,
    /// The last sign-in failed, or more than a tenth of the last hour's.
    Degraded,
    /// The circuit breaker keeps people from waiting for a provider that does not answer.
    Open,
    /// Nobody tried yet.
    Unknown,
}

/// One hour of sign-ins through a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthHour {
    /// When it began.
    pub from: Timestamp,
    /// Successful sign-ins.
    pub successes: u64,
    /// Failures, by reason.
    pub failures: BTreeMap<String, u64>,
}

/// The circuit breaker of a connection: after five failures of the provider in a row nobody is sent there for 30
/// seconds, then one sign-in tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Breaker {
    /// Where it is.
    pub state: BreakerState,
    /// When the next sign-in may try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_until: Option<Timestamp>,
}

/// Where a circuit breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Sign-ins go to the provider.
    Closed,
    /// They fail at once.
    Open,
    /// One may try.
    HalfOpen,
}
