//! How selectors lie to each other, whatever the facts: whether one holds wherever another does, or nowhere
//! where it does. Each answer errs to the side of "perhaps", so that what follows from it is certain.

use crate::pattern::{PathPattern, ToolPattern};
use crate::rule::{GroupRules, Rule, SECOND_FACTORS, Side, Test};
use std::cell::Cell;
use wire::{Actor, Address, ClientTier};

/// Comparisons in one review at the most; what comes after them counts as "perhaps".
const FUEL: u32 = 300_000;

/// Who is behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Person,
    Service,
    Nobody,
}

/// What is fixed while selectors are compared. Every set of facts lies at exactly one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) who: Who,
    pub(crate) actor: Actor,
}

pub(crate) const PLACES: [Place; 6] = [
    Place {
        who: Who::Person,
        actor: Actor::Browser,
    },
    Place {
        who: Who::Person,
        actor: Actor::Agent,
    },
    Place {
        who: Who::Service,
        actor: Actor::Service,
    },
    Place {
        who: Who::Nobody,
        actor: Actor::Browser,
    },
    Place {
        who: Who::Nobody,
        actor: Actor::Agent,
    },
    Place {
        who: Who::Nobody,
        actor: Actor::Service,
    },
];

/// The answers that a selector can give at a place; at least those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    yes: bool,
    unknown: bool,
    no: bool,
}

impl Range {
    const YES: Self = Self::of(true, false, false);
    const NO: Self = Self::of(false, false, true);
    const UNKNOWN: Self = Self::of(false, true, false);
    const ANY: Self = Self::of(true, true, true);

    const fn of(yes: bool, unknown: bool, no: bool) -> Self {
        Self { yes, unknown, no }
    }

    /// What the better of two answers can be.
    const fn max(self, other: Self) -> Self {
        let mine = self.unknown && (other.unknown || other.no);
        let theirs = other.unknown && (self.unknown || self.no);
        Self::of(self.yes || other.yes, mine || theirs, self.no && other.no)
    }
}

/// A selector where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Literal<'r> {
    pub(crate) rule: &'r Rule,
    pub(crate) side: Side,
    pub(crate) bypass: bool,
}

/// Compares the selectors of one ruleset.
pub(crate) struct Relations<'r> {
    groups: &'r [GroupRules],
    fuel: Cell<u32>,
}

impl<'r> Relations<'r> {
    pub(crate) const fn new(groups: &'r [GroupRules]) -> Self {
        Self {
            groups,
            fuel: Cell::new(FUEL),
        }
    }

    /// Whether it may hold somewhere at this place.
    pub(crate) fn can_hold(&self, place: Place, literal: Literal<'_>) -> bool {
        let range = self.range(place, literal.rule, literal.bypass);
        range.yes || (range.unknown && literal.side == Side::Against)
    }

    /// Whether there may be something at this place where it does not hold.
    pub(crate) fn can_fail(&self, place: Place, literal: Literal<'_>) -> bool {
        let range = self.range(place, literal.rule, literal.bypass);
        range.no || (range.unknown && literal.side == Side::For)
    }

    /// Whether `b` certainly holds wherever `a` does.
    pub(crate) fn implies(&self, place: Place, a: Literal<'_>, b: Literal<'_>) -> bool {
        if self.spend() {
            return false;
        }
        if !self.can_hold(place, a) || !self.can_fail(place, b) {
            return true;
        }
        // Where `a` holds for what is not known, `b` must hold for the same.
        let doubtful = a.side == Side::Against && self.range(place, a.rule, a.bypass).unknown;
        (!doubtful || b.side == Side::Against) && self.is_within(place, a, b)
    }

    /// Whether each yes of `a` is a yes of `b`, and each no of `b` a no of `a`.
    fn is_within(&self, place: Place, a: Literal<'_>, b: Literal<'_>) -> bool {
        if a.rule.source == b.rule.source && (a.bypass == b.bypass || place.who != Who::Nobody) {
            return true;
        }
        let part = |rule, of: Literal<'_>| Literal { rule, ..of };
        if let Test::Group(index) = a.rule.test {
            let group = &self.groups[index];
            let members = match place.who {
                // Nobody is proven not to be a member.
                Who::Nobody => a.side == Side::For,
                Who::Service => true,
                Who::Person => group.members.is_empty() || self.has_members_of(b.rule, group),
            };
            return members
                && group
                    .include
                    .iter()
                    .all(|rule| self.implies(place, part(rule, a), b));
        }
        if let Test::Group(index) = b.rule.test {
            let include = &self.groups[index].include;
            return include.iter().any(|rule| self.implies(place, a, part(rule, b)));
        }
        within(&a.rule.test, &b.rule.test)
    }

    fn has_members_of(&self, rule: &Rule, group: &GroupRules) -> bool {
        matches!(rule.test, Test::Group(index) if group.members.is_subset(&self.groups[index].members))
    }

    /// Whether certainly nothing at this place meets both.
    pub(crate) fn is_apart(&self, place: Place, a: Literal<'_>, b: Literal<'_>) -> bool {
        if self.spend() {
            return false;
        }
        if !self.can_hold(place, a) || !self.can_hold(place, b) {
            return true;
        }
        let doubtful =
            |l: Literal<'_>| l.side == Side::Against && self.range(place, l.rule, l.bypass).unknown;
        if doubtful(a) || doubtful(b) {
            return false;
        }
        let part = |rule, of: Literal<'_>| Literal { rule, ..of };
        match (&a.rule.test, &b.rule.test) {
            (Test::Group(_), Test::Group(_)) => false,
            (Test::Group(index), _) => {
                let group = &self.groups[*index];
                (group.members.is_empty() || place.who != Who::Person)
                    && group
                        .include
                        .iter()
                        .all(|rule| self.is_apart(place, part(rule, a), b))
            }
            (_, Test::Group(_)) => self.is_apart(place, b, a),
            (a, b) => apart(a, b),
        }
    }

    /// Whether it holds for every request, known as such.
    pub(crate) fn is_everything(&self, place: Place, literal: Literal<'_>) -> bool {
        match &literal.rule.test {
            Test::Group(index) => self.groups[*index]
                .include
                .iter()
                .any(|rule| self.is_everything(place, Literal { rule, ..literal })),
            Test::Request { methods, path } => {
                methods.is_empty() && path.as_ref().is_none_or(PathPattern::is_everything)
            }
            Test::Ip(networks) => {
                let all = |v6: bool| {
                    networks
                        .iter()
                        .any(|n| n.prefix_len() == 0 && n.addr().is_ipv6() == v6)
                };
                all(true) && all(false)
            }
            _ => self.range(place, literal.rule, literal.bypass) == Range::YES,
        }
    }

    /// Whether there were too many comparisons, so that further answers are all "perhaps".
    pub(crate) const fn is_spent(&self) -> bool {
        self.fuel.get() == 0
    }

    fn spend(&self) -> bool {
        let left = self.fuel.get();
        self.fuel.set(left.saturating_sub(1));
        left == 0
    }

    fn range(&self, place: Place, rule: &Rule, bypass: bool) -> Range {
        let of_person = |person| match place.who {
            Who::Person => person,
            Who::Service => Range::NO,
            Who::Nobody => Range::UNKNOWN,
        };
        let of_service = |service| match place.who {
            Who::Person => Range::NO,
            Who::Service => service,
            Who::Nobody => Range::UNKNOWN,
        };
        let of_client = |client| match (place.who, place.actor) {
            (_, Actor::Agent) => client,
            (Who::Nobody, _) => Range::UNKNOWN,
            _ => Range::NO,
        };
        match &rule.test {
            Test::Everyone if bypass || place.who != Who::Nobody => Range::YES,
            Test::Everyone => Range::UNKNOWN,
            Test::Email(_)
            | Test::EmailDomain(_)
            | Test::EmailList(_)
            | Test::Claim { .. }
            | Test::Mfa
            | Test::AuthMethod { .. } => of_person(Range::ANY),
            Test::Connection(_) => of_person(Range::of(true, false, true)),
            Test::Group(index) => {
                let group = &self.groups[*index];
                let members = of_person(Range::of(!group.members.is_empty(), false, true));
                let parts = group.include.iter().map(|rule| self.range(place, rule, bypass));
                parts.fold(members, Range::max)
            }
            Test::ServiceToken(_) => of_service(Range::of(true, false, true)),
            Test::AnyServiceToken => of_service(Range::YES),
            Test::ClientTier(ClientTier::Localhost) => of_client(Range::of(true, true, false)),
            Test::Client(_) | Test::ClientTier(_) => of_client(Range::ANY),
            Test::Actor(actor) if *actor == place.actor => Range::YES,
            Test::Actor(_) => Range::NO,
            Test::Scope(_) => match (place.who, place.actor) {
                (Who::Nobody, _) => Range::UNKNOWN,
                (_, Actor::Agent) => Range::ANY,
                _ => Range::NO,
            },
            Test::Request { methods, path } if methods.is_empty() && path.is_none() => {
                Range::of(true, true, false)
            }
            Test::Ip(_) | Test::Request { .. } | Test::McpTool(_) | Test::Time(_) => Range::ANY,
        }
    }
}

/// For two selectors that look at the same fact. What is unknown to one is unknown to the other.
fn within(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (Test::Email(a), Test::Email(b)) => a.eq_ignore_ascii_case(b),
        (Test::Email(a), Test::EmailDomain(domain)) => is_at(a, domain),
        (Test::Email(a), Test::EmailList(list)) => list.iter().any(|b| a.eq_ignore_ascii_case(b)),
        (Test::EmailList(list), Test::Email(b)) => list.iter().all(|a| a.eq_ignore_ascii_case(b)),
        (Test::EmailList(list), Test::EmailDomain(domain)) => list.iter().all(|a| is_at(a, domain)),
        (Test::EmailList(a), Test::EmailList(b)) => a.iter().all(|email| b.binary_search(email).is_ok()),
        (Test::EmailDomain(a), Test::EmailDomain(b)) => a.eq_ignore_ascii_case(b),
        (
            Test::AuthMethod { amr, acr },
            Test::AuthMethod {
                amr: amr_b,
                acr: acr_b,
            },
        ) => amr.iter().all(|v| amr_b.contains(v)) && acr.iter().all(|v| acr_b.contains(v)),
        (Test::AuthMethod { amr, acr }, Test::Mfa) => {
            acr.is_empty() && amr.iter().all(|v| SECOND_FACTORS.contains(&v.as_str()))
        }
        (Test::ClientTier(a), Test::ClientTier(b)) => a >= b,
        (Test::Client(_), Test::ClientTier(ClientTier::Localhost)) => true,
        (Test::Ip(a), Test::Ip(b)) => a.iter().all(|a| b.iter().any(|b| b.contains(a))),
        (
            Test::Request { methods, path },
            Test::Request {
                methods: methods_b,
                path: path_b,
            },
        ) => {
            let method = !methods.is_empty() && methods.iter().all(|m| methods_b.contains(m));
            let path = path_b
                .as_ref()
                .is_none_or(|b| path.as_ref().is_some_and(|a| a.is_within(b)));
            (methods_b.is_empty() || method) && path
        }
        (Test::McpTool(a), Test::McpTool(b)) => ToolPattern::is_within(a, b),
        (Test::Time(a), Test::Time(b)) => a.is_within(b),
        _ => false,
    }
}

fn apart(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (Test::Email(a), Test::Email(b)) | (Test::EmailDomain(a), Test::EmailDomain(b)) => {
            !a.eq_ignore_ascii_case(b)
        }
        (Test::Email(email), Test::EmailDomain(domain)) | (Test::EmailDomain(domain), Test::Email(email)) => {
            !is_at(email, domain)
        }
        (Test::EmailList(list), Test::EmailDomain(domain))
        | (Test::EmailDomain(domain), Test::EmailList(list)) => {
            !list.iter().any(|email| is_at(email, domain))
        }
        (Test::EmailList(list), Test::Email(email)) | (Test::Email(email), Test::EmailList(list)) => {
            !list.iter().any(|one| one.eq_ignore_ascii_case(email))
        }
        (Test::EmailList(a), Test::EmailList(b)) => !a.iter().any(|email| b.binary_search(email).is_ok()),
        (Test::Connection(a), Test::Connection(b)) => a != b,
        (Test::ServiceToken(a), Test::ServiceToken(b)) => a != b,
        (Test::Ip(a), Test::Ip(b)) => {
            let meet =
                |a: &ipnet::IpNet, b: &ipnet::IpNet| a.contains(&b.network()) || b.contains(&a.network());
            !a.iter().any(|a| b.iter().any(|b| meet(a, b)))
        }
        (
            Test::Request { methods, path },
            Test::Request {
                methods: methods_b,
                path: path_b,
            },
        ) => {
            let methods_meet = methods.is_empty()
                || methods_b.is_empty()
                || methods
                    .iter()
                    .any(|a| methods_b.iter().any(|b| crate::pattern::may_be_one(a, b)));
            let paths_meet = match (path, path_b) {
                (Some(a), Some(b)) => !a.is_apart(b),
                _ => true,
            };
            !methods_meet || !paths_meet
        }
        (Test::McpTool(a), Test::McpTool(b)) => a.is_apart(b),
        (Test::Time(a), Test::Time(b)) => !a.meets(b),
        _ => false,
    }
}

fn is_at(email: &str, domain: &str) -> bool {
    Address::parse(email).is_ok_and(|address| address.is_in(domain))
}
