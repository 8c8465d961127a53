//! Decides: the same questions for a request and, later, for the stream that came of it.

use crate::credential::{By, Known};
use crate::mcp;
use crate::site::Site;
use policy::{ClientFacts, Facts, McpFacts, RequestFacts};
use std::net::IpAddr;
use wire::{Actor, Reason, RuleRef, Timestamp};

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
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
}

impl Ruling {
    pub(crate) const fn denied(reason: Reason) -> Self {
        Self {
            allowed: false,
            reason,
            detail: None,
            rule: None,
            needed: Vec::new(),
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
        let view = &site.view;
        let tools = self.mcp.map(mcp::Asked::tools).unwrap_or_default();
        let is_mcp = view.app.spec.kind == wire::AppKind::Mcp;
        let others = self.mcp.is_some_and(|asked| asked.other.is_some());
        let request = RequestFacts {
            method: self.method,
            path: self.path,
            mcp: is_mcp.then_some(McpFacts {
                tools: &tools,
                others,
            }),
        };
        let Some(known) = known else {
            if !view.is_live() {
                return Ruling::denied(Reason::Disabled);
            }
            let facts = Facts {
                ip: self.ip,
                request: Some(request),
                at: Some(now),
                ..Facts::nobody(self.stranger)
            };
            return verdict(site, &facts);
        };
        let Some(person) = known.person() else {
            return self.decide_service(site, known, (request, now));
        };
        if let Some(reason) = view.refuses(&person.user.connection, person.user.disabled, now) {
            return Ruling::denied(reason);
        }
        let agent = known.agent();
        if agent.is_some_and(|a| !view.accepts(&a.client)) {
            return Ruling::denied(Reason::ClientNotAccepted);
        }
        let seen = view.sees(person);
        let facts = Facts {
            user: Some(seen.facts()),
            client: agent.map(|agent| ClientFacts {
                id: &agent.client.id,
                client_id: &agent.client.client_id,
                verified_host: agent.client.verified_host.as_deref(),
                tier: agent.client.tier,
            }),
            actor: known.actor(),
            service_token: None,
            ip: self.ip,
            scopes: agent.map(|agent| agent.scopes.as_slice()),
            request: Some(request),
            at: Some(now),
        };
        let ruling = verdict(site, &facts);
        let Some(agent) = agent.filter(|_| ruling.allowed) else {
            return ruling;
        };
        if view.scopes.covers(&agent.scopes, &request) {
            return ruling;
        }
        let mut needed: Vec<String> = view
            .scopes
            .needed(&request)
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        if !needed.is_empty() {
            // A client that asks for these and no others must not lose what it has.
            let had = agent
                .scopes
                .iter()
                .filter(|s| !needed.contains(s))
                .cloned()
                .collect::<Vec<_>>();
            needed.extend(had);
        }
        Ruling {
            needed,
            ..Ruling::denied(Reason::InsufficientScope)
        }
    }

    /// Decides about a service token: no person, no grant, no scopes; only the rules speak.
    fn decide_service(
        &self,
        site: &Site,
        known: &Known,
        (request, now): (RequestFacts<'_>, Timestamp),
    ) -> Ruling {
        if !site.view.is_live() {
            return Ruling::denied(Reason::Disabled);
        }
        let service = match &known.by {
            By::Service(service) => Some(&service.id),
            By::Browser(..) | By::Agent(..) => None,
        };
        let facts = Facts {
            service_token: service,
            ip: self.ip,
            request: Some(request),
            at: Some(now),
            ..Facts::nobody(Actor::Service)
        };
        verdict(site, &facts)
    }
}

fn verdict(site: &Site, facts: &Facts<'_>) -> Ruling {
    let verdict = site.view.rules.decide(facts);
    Ruling {
        allowed: verdict.allowed,
        reason: verdict.reason,
        detail: None,
        rule: verdict.rule.cloned(),
        needed: Vec::new(),
    }
}
