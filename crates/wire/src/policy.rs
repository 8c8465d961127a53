//! Policies: what a rule can ask, and what a decision says.

use crate::{
    AccountId, AppId, Authentication, ClientId, ConnectionId, GroupId, PolicyId, ServiceTokenId, Timestamp,
    UserId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happens when a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyDecision {
    /// Let through.
    Allow,
    /// Refuse.
    Deny,
    /// Let through a service token only; never a person.
    ServiceAuth,
    /// Let through without sign-in. Logged like everything else.
    Bypass,
}

/// Who acts, on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person in a browser.
    Browser,
    /// An agent on behalf of a person.
    Agent,
    /// A service token.
    Service,
}

/// How far a client's identity can be trusted; the order is the trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientTier {
    /// Registered itself, redirects to this computer only.
    Localhost,
    /// Registered itself; nothing is proven.
    Unverified,
    /// The host that published its metadata document is also where its codes go.
    DomainVerified,
    /// An administrator approved it.
    Approved,
}

/// One question about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Selector {
    /// Anybody who is signed in, and anything that authenticated.
    Everyone {},
    /// The person's e-mail address, ignoring case.
    Email {
        /// The address.
        email: String,
    },
    /// The domain of the person's verified e-mail address.
    EmailDomain {
        /// The domain, without `@`.
        domain: String,
    },
    /// Member of a group of ours.
    Group {
        /// Which group.
        group: GroupId,
    },
    /// A claim of the identity provider has (or contains) a value.
    Claim {
        /// The claim's name.
        name: String,
        /// The text that it equals or, for an array, contains.
        value: String,
    },
    /// Signed in through this connection.
    Connection {
        /// Which connection.
        connection: ConnectionId,
    },
    /// The peer's address is in one of these networks.
    Ip {
        /// CIDR notation, IPv4 or IPv6.
        ranges: Vec<String>,
    },
    /// This service token.
    ServiceToken {
        /// Which service token.
        service_token: ServiceTokenId,
    },
    /// Any valid service token of the account.
    AnyServiceToken {},
    /// This agent: its client id, or the host that both published its metadata document and gets its codes.
    Client {
        /// `cli_…`, an https URL, or a host name, with its port unless that is the usual one.
        client: String,
    },
    /// The agent's trust is at least this.
    ClientTier {
        /// The lowest acceptable tier.
        at_least: ClientTier,
    },
    /// Who acts.
    Actor {
        /// Browser, agent or service.
        actor: Actor,
    },
    /// The access token carries this scope.
    Scope {
        /// The scope.
        scope: String,
    },
    /// The request's method and path.
    Request {
        /// Upper case; empty for any.
        #[serde(default)]
        methods: Vec<String>,
        /// `*` matches inside a segment, `**` any rest; absent for any.
        #[serde(default)]
        path: Option<String>,
    },
    /// The MCP tool that is called.
    McpTool {
        /// Exact name, or a prefix followed by `*`.
        tool: String,
    },
    /// The multi-factor claim: `amr` contains one of the usual second factors.
    Mfa {},
    /// One of several e-mail addresses of the person, ignoring case.
    EmailList {
        /// The addresses, at most 1000.
        emails: Vec<String>,
    },
    /// How the person signed in, as the identity provider says it: any of these values.
    AuthMethod {
        /// Values of the claim `amr` (RFC 8176), such as `hwk`.
        #[serde(default)]
        amr: Vec<String>,
        /// Values of the claim `acr` (OpenID Connect Core 2), such as `phr`.
        #[serde(default)]
        acr: Vec<String>,
    },
    /// The moment of the request lies in a window that opens every week.
    Time {
        /// The days on which the window opens; empty for every day.
        #[serde(default)]
        days: Vec<Weekday>,
        /// When it opens, `HH:MM`.
        #[serde(default = "midnight")]
        from: String,
        /// When it closes, `HH:MM`, up to `24:00`. At or before `from`: on the next day.
        #[serde(default = "next_midnight")]
        to: String,
        /// Minutes that the clocks of these times are ahead of UTC, -840 to 840: `60` for UTC+01:00. An offset,
        /// not a zone: it does not follow summer time.
        #[serde(default)]
        utc_offset_minutes: i32,
    },
}

fn midnight() -> String {
    "00:00".into()
}

fn next_midnight() -> String {
    "24:00".into()
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// A reusable policy. `/api/v1/policies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Its identifier.
    pub id: PolicyId,
    /// The account that owns it.
    pub account: AccountId,
    /// What an editor may change.
    #[serde(flatten)]
    pub spec: PolicySpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Unique in the account; shown wherever the policy decides.
    pub name: String,
    /// What happens on a match.
    pub decision: PolicyDecision,
    /// At least one of these must match.
    pub include: Vec<Selector>,
    /// All of these must match.
    #[serde(default)]
    pub require: Vec<Selector>,
    /// None of these may match.
    #[serde(default)]
    pub exclude: Vec<Selector>,
}

/// `POST /api/v1/policies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewPolicy {
    /// The account that is to own it.
    pub account: AccountId,
    /// The rest.
    #[serde(flatten)]
    pub spec: PolicySpec,
}

/// A group of people. `/api/v1/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Group {
    /// Its identifier.
    pub id: GroupId,
    /// The account that owns it.
    pub account: AccountId,
    /// What an editor may change.
    #[serde(flatten)]
    pub spec: GroupSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// Unique in the account.
    pub name: String,
    /// People named one by one.
    #[serde(default)]
    pub members: Vec<UserId>,
    /// Anybody who matches one of these is in the group, too. No `group` selectors here.
    #[serde(default)]
    pub include: Vec<Selector>,
}

/// `POST /api/v1/groups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewGroup {
    /// The account that is to own it.
    pub account: AccountId,
    /// The rest.
    #[serde(flatten)]
    pub spec: GroupSpec,
}

/// Why a decision came out as it did; stable text for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A policy of the app allowed it.
    PolicyAllowed,
    /// A policy of the app refused it.
    PolicyDenied,
    /// No policy matched.
    NoPolicyMatched,
    /// A rule of the organisation was not met.
    OrganisationFloor,
    /// A `service_auth` policy let a service token through.
    ServiceAuthenticated,
    /// A `bypass` policy let it through without sign-in.
    Bypassed,
    /// The connection that the person signed in with is not bound to the account.
    ConnectionNotBound,
    /// The person is disabled.
    UserDisabled,
    /// The account, app or connection is disabled.
    Disabled,
    /// The agent's trust is below what the app accepts, or it waits for approval.
    ClientNotAccepted,
    /// The access token lacks a scope that covers the request.
    InsufficientScope,
    /// Nobody is signed in and no token was sent.
    Unauthenticated,
    /// The token or session is not valid any more.
    CredentialInvalid,
    /// The app has Managed OAuth off.
    ManagedOauthOff,
    /// The path cannot be read in one way only.
    AmbiguousPath,
    /// The identity provider has not vouched for the person for too long.
    ProofTooOld,
    /// The organisation asks people with a local password for a second factor, and there was none.
    SecondFactorMissing,
}

impl Reason {
    /// Whether the person only has to sign in again.
    #[must_use]
    pub const fn asks_to_sign_in(self) -> bool {
        matches!(self, Self::ProofTooOld | Self::SecondFactorMissing)
    }
}

/// An explained decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// Whether the request goes through.
    pub allowed: bool,
    /// Why, for machines.
    pub reason: Reason,
    /// The rule that decided: a policy, or the organisation's floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
}

/// The rule that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuleRef {
    /// The policy's identifier, or `floor/N` for the N-th rule of the organisation's floor (from 0).
    pub id: String,
    /// The policy's name, or a sentence about the floor rule.
    pub name: String,
}

/// One policy's part in a decision, for the tester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyTrace {
    /// The policy.
    pub policy: RuleRef,
    /// Whether it matched.
    pub matched: bool,
    /// In words: which selector decided.
    pub because: String,
}

/// A rule that does not do what somebody may have meant by it. Worked out from the rules alone: whatever the
/// facts, a rule that is said never to decide never does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RuleWarning {
    /// The policy.
    pub policy: RuleRef,
    /// What is the matter.
    pub kind: RuleWarningKind,
    /// The rule that is in the way, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<RuleRef>,
    /// In a sentence.
    pub detail: String,
}

/// What is the matter with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RuleWarningKind {
    /// It never decides: policies before it match everything that it could match.
    Shadowed,
    /// It never decides: nothing can match it.
    NeverMatches,
    /// It lets nothing through: whatever it matches, a rule of the organisation refuses.
    FloorPrevents,
    /// It lets everybody through without sign-in.
    Public,
    /// It lets service tokens through without naming which, nor that any will do.
    AnyServiceToken,
}

/// `POST /api/v1/policies/test`: a person (`user`), an agent (`user` and `client`), a service token
/// (`service_token`), or all people at once (`everyone`, with or without `client`). Nobody named: somebody who
/// has not signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    /// The app whose rules are tried.
    pub app: AppId,
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The agent, if one acts for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_token: Option<ServiceTokenId>,
    /// All people that the account's connections know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
    /// How the person has proved who they are. If absent: as in their newest grant to `client`, else in their newest
    /// session; without any, nothing is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// What the agent's token carries; all of the app's scopes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Upper case; `GET` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Where the app lies if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The MCP tool, if one is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The address that the request comes from; not known if absent, which counts against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// When the request comes; now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Unsaved policies to use instead of the app's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Vec<PolicySpec>>,
    /// Unsaved changes of policies, by their identifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, PolicySpec>))]
    pub policies: BTreeMap<PolicyId, PolicySpec>,
    /// Unsaved changes of groups, by their identifier; one that is not there yet may have any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, GroupSpec>))]
    pub groups: BTreeMap<GroupId, GroupSpec>,
    /// Unsaved rules of the organisation, instead of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Vec<Selector>>,
    /// With `everyone`: goes on where the answer before this one ended, at its `people.next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The tester's answer: the same engine as enforcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyTestResult {
    /// What would happen; absent when everyone was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Each policy that was looked at, in order; empty when everyone was asked about.
    pub trace: Vec<PolicyTrace>,
    /// What would happen to whom, when everyone was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<PeopleTested>,
    /// What is the matter with the rules that were tried.
    pub warnings: Vec<RuleWarning>,
}

/// What would happen to all people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PeopleTested {
    /// How many are let through.
    pub allowed: u64,
    /// How many are refused.
    pub refused: u64,
    /// The same by what decides, the largest share first.
    pub outcomes: Vec<TestOutcome>,
    /// Present when there are more people than one answer counts (20 000): send it as `cursor`, and add up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Those whom the same rule lets through or refuses for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TestOutcome {
    /// What happens to them.
    pub decision: Decision,
    /// How many they are.
    pub count: u64,
    /// The first 20 of them.
    pub people: Vec<PersonRef>,
}

/// A person in few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PersonRef {
    /// Their identifier.
    pub id: UserId,
    /// Their name, as the identity provider gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their e-mail address, as the identity provider gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Somebody who is in a group. `/api/v1/groups/{id}/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GroupMember {
    /// Who.
    #[serde(flatten)]
    pub person: PersonRef,
    /// Whether they are named in the group; otherwise one of its rules matches them.
    pub named: bool,
}
