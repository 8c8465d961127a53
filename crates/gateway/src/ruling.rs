//! Decides: the same questions for a request and, later, for the stream that came of it.

use crate::credential::Known;
use crate::mcp;
use crate::site::Site;
use policy::{AT_DESTINATION, Case, McpFacts, RequestFacts, amounts_to};
use std::net::IpAddr;
use store::access::{AccessRequest, Principal, Stage};
use wire::{Actor, Reason, RuleRef, Timestamp};

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The other path that it is about, if there is one: the same must be allowed there.
    pub(crate) destination: Option<&'a str>,
    /// For MCP endpoints what the message says, or nothing when the request carries none.
    pub(crate) mcp: Option<&'a mcp::Asked>,
    pub(crate) ip: Option<IpAddr>,
    /// How callers act who are not known.
    pub(crate) stranger: Actor,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) allowed: bool,
    pub(crate) reason: Reason,
    /// What the log says instead of the reason.
    pub(crate) detail: Option<&'static str>,
    pub(crate) rule: Option<RuleRef>,
    /// Scopes to ask for, when more of them would help.
    pub(crate) needed: Vec<String>,
    /// The origin of the page that was refused, if it was that.
    pub(crate) page: Option<String>,
}

impl Ruling {
    pub(crate) const fn denied(reason: Reason) -> Self {
        Self {
            allowed: false,
            reason,
            detail: None,
            rule: None,
            needed: Vec::new(),
            page: None,
        }
    }

    /// Refused by the gateway itself, for something that is no rule of anybody.
    pub(crate) fn denied_for(reason: Reason, detail: &'static str) -> Self {
        Self {
            detail: Some(detail),
            ..Self::denied(reason)
        }
    }
}

impl Asked<'_> {
    /// Decides about a caller, or about a stranger.
    pub(crate) fn decide(&self, site: &Site, known: Option<&Known>, now: Timestamp) -> Ruling {
        let here = self.decide_at((self.path, amounts_to(self.method)), site, known, now);
        match self.destination.filter(|_| here.allowed) {
            Some(there) => {
                let there = self.decide_at((there, AT_DESTINATION), site, known, now);
                if there.allowed { here } else { there }
            }
            None => here,
        }
    }

    fn decide_at(
        &self,
        (path, also): (&str, &[&str]),
        site: &Site,
        known: Option<&Known>,
        now: Timestamp,
    ) -> Ruling {
        let view = &site.view;
        let tools = self.mcp.map(mcp::Asked::tools).unwrap_or_default();
        let is_mcp = view.app.spec.kind == wire::AppKind::Mcp;
        let others = self.mcp.is_some_and(|asked| !asked.others.is_empty());
        let request = RequestFacts {
            method: self.method,
            also,
            path,
            // As the app says, see there.
            case: Case::Matters,
            mcp: is_mcp.then_some(McpFacts {
                tools: &tools,
                others,
            }),
        };
        let access = view.decide(&AccessRequest {
            principal: known.map_or(Principal::Stranger(self.stranger), Known::principal),
            stage: Stage::GoesOn,
            request: Some(request),
            ip: self.ip,
            at: now,
        });
        Ruling {
            allowed: access.allowed,
            reason: access.reason,
            detail: None,
            rule: access.rule.cloned(),
            needed: access.needed,
            page: None,
        }
    }
}
