//! The one access decision: may this caller do this here, now? Gateway, authorize, token, introspection, sign-in,
//! tester and previews ask [`AppView::decide`] and nothing else, so they cannot disagree.
//!
//! ```text
//! app and account live ─ person of this organisation, not disabled ─ connection counts here
//!   ─ identity provider vouched lately ─ client accepted ─ what the account may see of the person
//!   ─ authentication of this session or grant ─ rules under the organisation's floor ─ scopes
//! ```
//! Who has shown which credential was found out before; nothing here looks anything up.

use crate::directory::AppView;
use crate::user::Person;
use policy::{ClientFacts, Facts, RequestFacts, Ruleset};
use std::net::IpAddr;
use wire::{
    Actor, Authentication, Client, ConnectionId, ConnectionKind, Decision, OldestProof, PolicyTrace, Reason,
    RuleRef, RuleWarning, ServiceTokenId, Timestamp,
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Principal<'a> {
    /// Nobody who is known, and how they act.
    Stranger(Actor),
    /// A person in a browser.
    Person(&'a Person, Proof<'a>),
    /// An agent for a person; with what its token carries, when one was issued.
    Agent {
        /// For whom.
        person: &'a Person,
        /// How they had proved who they are when they gave the grant.
        proof: Proof<'a>,
        /// The software.
        client: &'a Client,
        /// What its token carries. Absent: no token yet.
        scopes: Option<&'a [String]>,
    },
    /// A service token, for nobody.
    Service(&'a ServiceTokenId),
}

/// How a person proved who they are.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// In the session of the request, or in which the grant was given.
    Of(&'a Authentication),
    /// They have yet to sign in; any way is possible.
    ToCome,
}

impl<'a> Proof<'a> {
    const fn facts(self) -> Option<&'a Authentication> {
        match self {
            Self::Of(authentication) => Some(authentication),
            Self::ToCome => None,
        }
    }
}

/// Whether something goes on that began before, or begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A session at an app, or a grant: only through a connection that signs people in now.
    Begins,
    /// Also through a connection that drains.
    GoesOn,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// By whom.
    pub principal: Principal<'a>,
    /// Whether it begins something.
    pub stage: Stage,
    /// The request. Absent: whether there is any that would be let through.
    pub request: Option<RequestFacts<'a>>,
    /// The peer's address; absent when it is not known.
    pub ip: Option<IpAddr>,
    /// Now.
    pub at: Timestamp,
}

impl<'a> AccessRequest<'a> {
    /// Whether the principal may begin something, whatever requests follow.
    #[must_use]
    pub const fn to_begin(principal: Principal<'a>, at: Timestamp) -> Self {
        Self {
            principal,
            stage: Stage::Begins,
            request: None,
            ip: None,
            at,
        }
    }

    /// Whether what the principal has may go on, whatever requests follow.
    #[must_use]
    pub const fn to_go_on(principal: Principal<'a>, at: Timestamp) -> Self {
        Self {
            stage: Stage::GoesOn,
            ..Self::to_begin(principal, at)
        }
    }
}

/// The answer; it borrows the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access<'r> {
    /// Whether it goes through.
    pub allowed: bool,
    /// Why, for machines.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<&'r RuleRef>,
    /// Scopes to ask for, where more of them would help: those that are missing, then those that are there, because
    /// a client that asked for the missing ones only would lose the others.
    pub needed: Vec<String>,
}

impl<'r> Access<'r> {
    /// Refused, by no rule of anybody.
    #[must_use]
    pub const fn refused(reason: Reason) -> Self {
        Self {
            allowed: false,
            reason,
            rule: None,
            needed: Vec::new(),
        }
    }

    /// The same with a rule of its own, for answers and the audit log.
    #[must_use]
    pub fn to_decision(&self) -> Decision {
        Decision {
            allowed: self.allowed,
            reason: self.reason,
            rule: self.rule.cloned(),
        }
    }

    fn of(verdict: policy::Verdict<'r>) -> Self {
        Self {
            allowed: verdict.allowed,
            reason: verdict.reason,
            rule: verdict.rule,
            needed: Vec::new(),
        }
    }
}

impl AppView {
    /// Decides by the rules that are in force.
    #[must_use]
    pub fn decide(&self, asked: &AccessRequest<'_>) -> Access<'_> {
        self.decide_by(None, asked)
    }

    /// Decides by other rules in place of those in force, if there are any: for trying them.
    #[must_use]
    pub fn decide_by<'r>(&'r self, draft: Option<&'r Ruleset>, asked: &AccessRequest<'_>) -> Access<'r> {
        let rules = draft.unwrap_or(&self.rules);
        if let Some(reason) = self.bars(asked) {
            return Access::refused(reason);
        }
        let access = self.with_facts(asked, |facts| {
            Access::of(match asked.request {
                Some(_) => rules.decide(facts),
                None => rules.could_allow(facts),
            })
        });
        match (asked.principal, &asked.request) {
            (
                Principal::Agent {
                    scopes: Some(scopes), ..
                },
                Some(request),
            ) if access.allowed => self.within_scopes(access, scopes, request),
            _ => access,
        }
    }

    /// Each policy that is looked at on the way, in order, and why it matched or not.
    #[must_use]
    pub fn explain_by(&self, draft: Option<&Ruleset>, asked: &AccessRequest<'_>) -> Vec<PolicyTrace> {
        let rules = draft.unwrap_or(&self.rules);
        self.with_facts(asked, |facts| rules.explain(facts).trace)
    }

    /// What is the matter with the rules that are in force.
    #[must_use]
    pub fn warnings(&self) -> Vec<RuleWarning> {
        self.rules.warnings()
    }

    /// Whether the rules let some request through that needs nobody who is known, as long as the app is live.
    #[must_use]
    pub fn is_ever_public(&self) -> bool {
        let public = |actor| self.rules.could_allow(&Facts::nobody(actor)).allowed;
        public(Actor::Browser) || public(Actor::Agent)
    }

    /// What keeps the principal out whatever the rules say, if anything does.
    fn bars(&self, asked: &AccessRequest<'_>) -> Option<Reason> {
        let (person, client) = match asked.principal {
            Principal::Stranger(_) | Principal::Service(_) => {
                return (!self.is_live()).then_some(Reason::Disabled);
            }
            Principal::Person(person, _) => (person, None),
            Principal::Agent { person, client, .. } => (person, Some(client)),
        };
        if person.org != self.org {
            return Some(Reason::CredentialInvalid);
        }
        let connection = &person.user.connection;
        if let Some(reason) = self.refuses(connection, person.user.disabled, asked.at) {
            return Some(reason);
        }
        if asked.stage == Stage::Begins && !self.signs_in(connection) {
            return Some(Reason::ConnectionNotBound);
        }
        // Somebody who has yet to sign in is vouched for then.
        let is_to_come = matches!(asked.principal, Principal::Person(_, Proof::ToCome));
        let until = self.vouched_until(person, client.is_some());
        if !is_to_come && until.is_some_and(|until| until <= asked.at) {
            return Some(Reason::ProofTooOld);
        }
        match client {
            Some(_) if !self.app.spec.managed_oauth => Some(Reason::ManagedOauthOff),
            Some(client) if client.app != self.app.id || !self.accepts(client) => {
                Some(Reason::ClientNotAccepted)
            }
            _ => None,
        }
    }

    /// How old the identity provider's word about people of a connection may be here, if there is a limit: a
    /// password kept here is our own word.
    fn oldest_proof_of(&self, connection: &ConnectionId) -> Option<OldestProof> {
        let mut bound = self.connections.iter();
        let is_ours = bound.any(|c| c.id == *connection && c.kind == ConnectionKind::Password);
        (!is_ours).then_some(self.oldest_proof)
    }

    /// For how many seconds after their last sign-in the agents of a connection's people go on, if not for ever.
    #[must_use]
    pub fn limits_agents_of(&self, connection: &ConnectionId) -> Option<u32> {
        self.oldest_proof_of(connection)
            .map(|oldest| oldest.agents_seconds)
    }

    /// Until when the identity provider's last word about a person is good here, for agents or for browsers.
    fn vouched_until(&self, person: &Person, is_agent: bool) -> Option<Timestamp> {
        let oldest = self.oldest_proof_of(&person.user.connection)?;
        let oldest = if is_agent {
            oldest.agents_seconds
        } else {
            oldest.sessions_seconds
        };
        let vouched = person.user.vouched_at.unwrap_or_default();
        Some(vouched.plus_seconds(oldest.into()))
    }

    /// Until when what a principal has may go on at the most, as far as that is known now.
    #[must_use]
    pub fn good_until(&self, principal: Principal<'_>) -> Option<Timestamp> {
        let (person, is_agent) = match principal {
            Principal::Stranger(_) | Principal::Service(_) => return None,
            Principal::Person(person, _) => (person, false),
            Principal::Agent { person, .. } => (person, true),
        };
        match (
            self.until(&person.user.connection),
            self.vouched_until(person, is_agent),
        ) {
            (Some(drained), Some(vouched)) => Some(drained.min(vouched)),
            (one, other) => one.or(other),
        }
    }

    /// The facts that rules may ask about.
    fn with_facts<T>(&self, asked: &AccessRequest<'_>, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let known = Facts {
            ip: asked.ip,
            request: asked.request,
            at: asked.request.map(|_| asked.at),
            ..Facts::nobody(match asked.principal {
                Principal::Stranger(actor) => actor,
                Principal::Person(..) => Actor::Browser,
                Principal::Agent { .. } => Actor::Agent,
                Principal::Service(_) => Actor::Service,
            })
        };
        match asked.principal {
            Principal::Stranger(_) => ask(&known),
            Principal::Service(token) => ask(&Facts {
                service_token: Some(token),
                ..known
            }),
            Principal::Person(person, proof) => ask(&Facts {
                user: Some(self.sees(person).facts()),
                authentication: proof.facts(),
                ..known
            }),
            Principal::Agent {
                person,
                proof,
                client,
                scopes,
            } => ask(&Facts {
                user: Some(self.sees(person).facts()),
                authentication: proof.facts(),
                client: Some(ClientFacts {
                    id: &client.id,
                    client_id: &client.client_id,
                    verified_host: client.verified_host.as_deref(),
                    tier: client.tier,
                }),
                scopes,
                ..known
            }),
        }
    }

    fn within_scopes<'r>(
        &self,
        access: Access<'r>,
        scopes: &[String],
        request: &RequestFacts<'_>,
    ) -> Access<'r> {
        if self.scopes.covers(scopes, request) {
            return access;
        }
        let missing = self.scopes.needed(request);
        let mut needed: Vec<String> = missing.into_iter().map(ToOwned::to_owned).collect();
        if !needed.is_empty() {
            let had = scopes.iter().filter(|scope| !needed.contains(scope));
            let had: Vec<String> = had.cloned().collect();
            needed.extend(had);
        }
        Access {
            needed,
            ..Access::refused(Reason::InsufficientScope)
        }
    }
}
