//! The one access decision: may this caller do this here, now? Gateway, authorize, token, introspection, sign-in,
//! tester and previews ask [`AppView::decide`] and nothing else, so they cannot disagree.
//!
//! ```text
//! app and account live ─ person of this organisation, not disabled ─ connection counts here
//!   ─ standing: identity provider vouched lately, second factor where it is asked for ─ client accepted
//!   ─ what the account may see of the person ─ authentication of this session or grant
//!   ─ rules under the organisation's floor ─ scopes
//! ```
//! The [`Standing`] is asked for wherever somebody acts as a person, also where there is no app: in the dashboard and
//! with API tokens.
//!
//! Who has shown which credential was found out before; nothing here looks anything up.

use crate::directory::AppView;
use crate::user::Person;
use policy::{Case, ClientFacts, Facts, RequestFacts, Ruleset};
use std::net::IpAddr;
use wire::{
    Actor, Authentication, Client, ConnectionId, ConnectionKind, Decision, OldestProof, OrganisationSpec,
    PolicyTrace, Reason, RuleRef, RuleWarning, ServiceTokenId, Timestamp,
};

/// What proves nothing.
static NOTHING: Authentication = Authentication::NONE;

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
    /// What it says of the person. What another connection said than the one that they come through now, as before a
    /// migration, is its word and proves nothing any more.
    fn facts(self, person: &Person) -> Option<&'a Authentication> {
        match self {
            Self::Of(said) if said.connection.as_ref() == Some(&person.user.connection) => Some(said),
            Self::Of(_) => Some(&NOTHING),
            Self::ToCome => None,
        }
    }
}

/// With what somebody acts as a person.
#[derive(Debug, Clone, Copy)]
pub enum Means<'a> {
    /// A browser's session.
    Browser(Proof<'a>),
    /// An agent's grant.
    Agent(Proof<'a>),
    /// An API token of theirs, which goes on when the session is over in which it was made.
    Token,
}

/// What an organisation asks of everybody who acts as a person of one of its connections, whatever they act on.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Whether the password is kept here: that is our own word, which does not age, and here is where a second factor
    /// is asked for.
    is_local: bool,
    oldest_proof: OldestProof,
    require_second_factor: bool,
}

impl Standing {
    /// Of people of a kind of connection.
    #[must_use]
    pub fn of(organisation: &OrganisationSpec, kind: ConnectionKind) -> Self {
        Self {
            is_local: kind == ConnectionKind::Password,
            oldest_proof: organisation.oldest_proof,
            require_second_factor: organisation.require_second_factor,
        }
    }

    /// What keeps somebody from acting as the person now, if anything does.
    #[must_use]
    pub fn lacks(&self, person: &Person, means: Means<'_>, at: Timestamp) -> Option<Reason> {
        let (proof, is_to_come) = match means {
            // Somebody who has yet to sign in is vouched for then, and asked for all that is missing.
            Means::Browser(proof @ Proof::ToCome) => (Some(proof), true),
            Means::Browser(proof) | Means::Agent(proof) => (Some(proof), false),
            Means::Token => (None, false),
        };
        let until = self.vouched_until(person, matches!(means, Means::Browser(_)));
        if !is_to_come && until.is_some_and(|until| until <= at) {
            return Some(Reason::ProofTooOld);
        }
        // Whoever lost their factor has to show a new one, whatever was shown before.
        let proven = || {
            let proof = proof.and_then(|proof| proof.facts(person));
            person.has_second_factor && proof.is_none_or(Authentication::has_second_factor)
        };
        let asked = self.is_local && self.require_second_factor && !is_to_come;
        (asked && !proven()).then_some(Reason::SecondFactorMissing)
    }

    /// Until when the identity provider's last word about a person is good. Never vouched for is long ago.
    fn vouched_until(&self, person: &Person, in_browser: bool) -> Option<Timestamp> {
        let oldest = if in_browser {
            self.oldest_proof.sessions_seconds
        } else {
            self.oldest_proof.agents_seconds
        };
        let vouched = person.user.vouched_at.unwrap_or_default();
        (!self.is_local).then(|| vouched.plus_seconds(oldest.into()))
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
            ) if access.allowed => self.within_scopes(access, scopes, &self.as_origin_reads(*request)),
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
        let (person, means, client) = match asked.principal {
            Principal::Stranger(_) | Principal::Service(_) => {
                return (!self.is_live()).then_some(Reason::Disabled);
            }
            Principal::Person(person, proof) => (person, Means::Browser(proof), None),
            Principal::Agent {
                person,
                proof,
                client,
                ..
            } => (person, Means::Agent(proof), Some(client)),
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
        if let Some(reason) = self.standing_of(connection).lacks(person, means, asked.at) {
            return Some(reason);
        }
        match client {
            Some(_) if !self.app.spec.managed_oauth => Some(Reason::ManagedOauthOff),
            Some(client) if client.app != self.app.id || !self.accepts(client) => {
                Some(Reason::ClientNotAccepted)
            }
            _ => None,
        }
    }

    /// What is asked here of people of a connection.
    fn standing_of(&self, connection: &ConnectionId) -> Standing {
        let mut bound = self.connections.iter();
        Standing {
            is_local: bound.any(|c| c.id == *connection && c.kind == ConnectionKind::Password),
            oldest_proof: self.oldest_proof,
            require_second_factor: self.require_second_factor,
        }
    }

    /// For how many seconds after their last sign-in the agents of a connection's people go on, if not for ever.
    #[must_use]
    pub fn limits_agents_of(&self, connection: &ConnectionId) -> Option<u32> {
        let standing = self.standing_of(connection);
        (!standing.is_local).then_some(standing.oldest_proof.agents_seconds)
    }

    /// Until when what a principal has may go on at the most, as far as that is known now.
    #[must_use]
    pub fn good_until(&self, principal: Principal<'_>) -> Option<Timestamp> {
        let (person, in_browser) = match principal {
            Principal::Stranger(_) | Principal::Service(_) => return None,
            Principal::Person(person, _) => (person, true),
            Principal::Agent { person, .. } => (person, false),
        };
        let connection = &person.user.connection;
        let vouched = self.standing_of(connection).vouched_until(person, in_browser);
        match (self.until(connection), vouched) {
            (Some(drained), Some(vouched)) => Some(drained.min(vouched)),
            (one, other) => one.or(other),
        }
    }

    /// A request as this app's origin reads it.
    fn as_origin_reads<'a>(&self, request: RequestFacts<'a>) -> RequestFacts<'a> {
        let case = match self.app.spec.case_insensitive_paths {
            true => Case::Ignored,
            false => Case::Matters,
        };
        RequestFacts { case, ..request }
    }

    /// The facts that rules may ask about.
    fn with_facts<T>(&self, asked: &AccessRequest<'_>, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let known = Facts {
            ip: asked.ip,
            request: asked.request.map(|request| self.as_origin_reads(request)),
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
                authentication: proof.facts(person),
                ..known
            }),
            Principal::Agent {
                person,
                proof,
                client,
                scopes,
            } => ask(&Facts {
                user: Some(self.sees(person).facts()),
                authentication: proof.facts(person),
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
