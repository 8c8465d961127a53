//! What is known about a request. All borrowed, so that gathering facts costs nothing.

use crate::pattern::Case;
use serde_json::{Map, Value};
use std::net::IpAddr;
use wire::{Actor, Authentication, ClientId, ClientTier, ConnectionId, ServiceTokenId, Timestamp, UserId};

/// Everything a rule can ask about.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The signed-in person; also when an agent acts for them.
    pub user: Option<UserFacts<'a>>,
    /// How the person proved who they are, in the session that this request belongs to or in which its grant was
    /// given. Absent: not known yet. Empty: nothing is proven.
    pub authentication: Option<&'a Authentication>,
    /// The agent's software, when one acts; of no account otherwise.
    pub client: Option<ClientFacts<'a>>,
    /// Who acts on the wire.
    pub actor: Actor,
    /// The service token that authenticated, when `actor` is `service`.
    pub service_token: Option<&'a ServiceTokenId>,
    /// The peer's address. Absent: not known yet.
    pub ip: Option<IpAddr>,
    /// The scopes that the agent's access token carries. Absent: not known yet. Unused for other actors.
    pub scopes: Option<&'a [String]>,
    /// The request. Absent: not known yet.
    pub request: Option<RequestFacts<'a>>,
    /// The moment, from the caller's clock. Absent: not known yet.
    pub at: Option<Timestamp>,
}

impl Facts<'_> {
    /// Facts about somebody who has not authenticated; a base for struct update syntax.
    #[must_use]
    pub const fn nobody(actor: Actor) -> Self {
        Self {
            user: None,
            authentication: None,
            client: None,
            actor,
            service_token: None,
            ip: None,
            scopes: None,
            request: None,
            at: None,
        }
    }
}

/// A signed-in person.
#[derive(Debug, Clone, Copy)]
pub struct UserFacts<'a> {
    /// Their identifier.
    pub id: &'a UserId,
    /// Their e-mail address, as the identity provider gave it.
    pub email: Option<&'a str>,
    /// Whether the address is proven; one that is not never lets anybody through.
    pub email_verified: bool,
    /// The connection they signed in with.
    pub connection: &'a ConnectionId,
    /// The identity provider's claims, unmapped. How the person authenticated is none of them: it is no fact about
    /// the person.
    pub claims: &'a Map<String, Value>,
    /// The identity provider's groups; `claim` selectors named `groups` look here, too.
    pub groups: &'a [String],
}

/// The software that acts for a person.
#[derive(Debug, Clone, Copy)]
pub struct ClientFacts<'a> {
    /// Our identifier.
    pub id: &'a ClientId,
    /// The OAuth `client_id`: our identifier again, or the URL of a metadata document.
    pub client_id: &'a str,
    /// Host of its metadata document; counts from tier `domain_verified` up.
    pub verified_host: Option<&'a str>,
    /// How far its identity can be trusted.
    pub tier: ClientTier,
}

/// What a request does at its path beside what its method says: a copy is read there, and what is moved is gone
/// (RFC 4918, sections 9.8 and 9.9). What it does at its destination is [`AT_DESTINATION`].
#[must_use]
pub fn amounts_to(method: &str) -> &'static [&'static str] {
    match method {
        "COPY" => &["GET"],
        "MOVE" => &["GET", "DELETE"],
        _ => &[],
    }
}

/// What a request amounts to at the destination that it names.
pub const AT_DESTINATION: &[&str] = &["PUT"];

/// One HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Upper case.
    pub method: &'a str,
    /// The methods that it amounts to at this path beside its own: a rule that refuses one of them refuses it. See
    /// [`amounts_to`].
    pub also: &'a [&'a str],
    /// The path exactly as it is sent upstream, without the query.
    pub path: &'a str,
    /// Whether the origin tells paths apart by case.
    pub case: Case,
    /// Present for every request to an MCP endpoint, also for `GET` (stream) and `DELETE` (end of session).
    pub mcp: Option<McpFacts<'a>>,
}

impl<'a> RequestFacts<'a> {
    /// A request that is not MCP.
    #[must_use]
    pub fn web(method: &'a str, path: &'a str) -> Self {
        Self {
            method,
            also: amounts_to(method),
            path,
            case: Case::Matters,
            mcp: None,
        }
    }

    /// A request to an MCP endpoint that calls these tools, and nothing else.
    #[must_use]
    pub const fn mcp(method: &'a str, path: &'a str, tools: &'a [&'a str]) -> Self {
        Self {
            method,
            also: &[],
            path,
            case: Case::Matters,
            mcp: Some(McpFacts { tools, others: false }),
        }
    }

    /// The calls in it: each tool on its own, and `None` for whatever calls no tool.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let mcp = self.mcp.unwrap_or_default();
        let plain = (mcp.others || mcp.tools.is_empty()).then_some(None);
        mcp.tools.iter().map(|tool| Some(*tool)).chain(plain)
    }
}

/// What a request to an MCP endpoint asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct McpFacts<'a> {
    /// Names of the tools that are called; several in a JSON-RPC batch; empty if none is.
    pub tools: &'a [&'a str],
    /// Whether a batch holds further messages, which call no tool.
    pub others: bool,
}
