//! Points out rules that do not do what somebody may have meant by them: found from the rules alone, for all
//! facts at once. What is said never to decide never does; what is not said may still never decide.

use crate::relation::{Literal, PLACES, Place, Relations, Who};
use crate::rule::{GroupRules, Rule, Side, Test};
use crate::ruleset::{Policy, Ruleset};
use crate::words;
use wire::{PolicyDecision, RuleRef, RuleWarning, RuleWarningKind};

impl Ruleset {
    /// What is the matter with the policies, in their order.
    #[must_use]
    pub fn warnings(&self) -> Vec<RuleWarning> {
        let review = Review {
            relations: Relations::new(&self.groups),
            rules: self,
        };
        (0..self.policies.len())
            .filter_map(|i| review.policy(i))
            .collect()
    }
}

struct Review<'r> {
    rules: &'r Ruleset,
    relations: Relations<'r>,
}

/// One way in which a policy could match: a place, and one of what it includes beside all that it requires.
struct Way<'r> {
    place: Place,
    asks: Vec<Literal<'r>>,
    excludes: Vec<Literal<'r>>,
}

/// Why a policy cannot match in a way. The order is that in which causes are told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Who,
    Cannot,
    AlwaysExcluded,
    Apart,
    Excluded,
}

#[derive(Clone, Copy)]
struct Cause<'r> {
    rank: Rank,
    first: Option<&'r Rule>,
    second: Option<&'r Rule>,
}

impl<'r> Cause<'r> {
    const fn new(rank: Rank, first: Option<&'r Rule>, second: Option<&'r Rule>) -> Self {
        Self { rank, first, second }
    }
}

impl<'r> Review<'r> {
    fn policy(&self, index: usize) -> Option<RuleWarning> {
        let policy = &self.rules.policies[index];
        let earlier = &self.rules.policies[..index];
        let (mut causes, mut shadows, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        let mut reachable = false;
        for place in PLACES {
            for include in &policy.include {
                let way = way(policy, place, include);
                if let Some(cause) = self.impossible(policy, &way) {
                    causes.push(cause);
                } else if let Some(by) = earlier.iter().find(|p| self.covers(p, &way)) {
                    shadows.push(&by.rule);
                } else if let Some(by) = self.floor_prevents(policy, &way) {
                    floors.push(by);
                } else {
                    reachable = true;
                }
            }
        }
        let (kind, by, detail) = if reachable {
            self.advice(policy)?
        } else if let Some(floor) = floors.first() {
            let detail = format!("“{}” refuses whatever this policy could let through.", floor.name);
            (RuleWarningKind::FloorPrevents, Some(*floor), detail)
        } else if let Some(first) = shadows.first() {
            let second = shadows.iter().find(|by| **by != *first);
            let detail = match second {
                None => format!(
                    "“{}” before it matches everything that this policy could match.",
                    first.name
                ),
                Some(second) => format!(
                    "“{}” and “{}” before it match everything that this policy could match.",
                    first.name, second.name
                ),
            };
            (RuleWarningKind::Shadowed, Some(*first), detail)
        } else {
            (RuleWarningKind::NeverMatches, None, self.never(policy, &causes))
        };
        Some(RuleWarning {
            policy: policy.rule.clone(),
            kind,
            by: by.cloned(),
            detail,
        })
    }

    fn impossible(&self, policy: &'r Policy, way: &Way<'r>) -> Option<Cause<'r>> {
        let (place, relations) = (way.place, &self.relations);
        if !admits(policy.decision, place.who) {
            return Some(Cause::new(Rank::Who, None, None));
        }
        for (i, one) in way.asks.iter().enumerate() {
            if !relations.can_hold(place, *one) {
                return Some(Cause::new(Rank::Cannot, Some(one.rule), None));
            }
            for other in &way.asks[..i] {
                if relations.is_apart(place, *one, *other) {
                    return Some(Cause::new(Rank::Apart, Some(other.rule), Some(one.rule)));
                }
            }
        }
        for exclusion in &way.excludes {
            let excluded = way
                .asks
                .iter()
                .find(|asked| relations.implies(place, **asked, *exclusion));
            if !relations.can_fail(place, *exclusion) {
                return Some(Cause::new(Rank::AlwaysExcluded, Some(exclusion.rule), None));
            }
            if let Some(asked) = excluded {
                return Some(Cause::new(Rank::Excluded, Some(asked.rule), Some(exclusion.rule)));
            }
        }
        None
    }

    /// Whether `policy` matches wherever the way is gone.
    fn covers(&self, policy: &Policy, way: &Way<'_>) -> bool {
        let (place, relations) = (way.place, &self.relations);
        if relations.is_spent() || !admits(policy.decision, place.who) {
            return false;
        }
        let (match_speaks, exclusion_speaks) = policy.sides();
        let met = |rule: &Rule| {
            let rule = literal(policy, rule, match_speaks);
            !relations.can_fail(place, rule) || way.asks.iter().any(|a| relations.implies(place, *a, rule))
        };
        let not_excluded = |rule: &Rule| {
            let rule = literal(policy, rule, exclusion_speaks);
            !relations.can_hold(place, rule)
                || way.excludes.iter().any(|e| relations.implies(place, rule, *e))
                || way.asks.iter().any(|a| relations.is_apart(place, *a, rule))
        };
        policy.include.iter().any(met)
            && policy.require.iter().all(met)
            && policy.exclude.iter().all(not_excluded)
    }

    /// The rule of the organisation that is never met on the way.
    fn floor_prevents(&self, policy: &Policy, way: &Way<'_>) -> Option<&'r RuleRef> {
        if policy.decision == PolicyDecision::Deny {
            return None;
        }
        let (place, relations) = (way.place, &self.relations);
        let prevents = |(_, rule): &&(RuleRef, Rule)| {
            let floor = Literal {
                rule,
                side: Side::For,
                bypass: false,
            };
            !relations.can_hold(place, floor)
                || way
                    .asks
                    .iter()
                    .any(|asked| relations.is_apart(place, *asked, floor))
                || way.excludes.iter().any(|e| relations.implies(place, floor, *e))
        };
        self.rules.floor.iter().find(prevents).map(|(rule, _)| rule)
    }

    /// For a policy that decides, but perhaps more than was meant.
    fn advice(&self, policy: &Policy) -> Option<(RuleWarningKind, Option<&'r RuleRef>, String)> {
        match policy.decision {
            PolicyDecision::Bypass if self.is_public(policy) => {
                let detail =
                    "Everybody is let through without sign-in, unless a policy before it refuses them.";
                Some((RuleWarningKind::Public, None, detail.into()))
            }
            PolicyDecision::ServiceAuth if !self.names_service(policy) => {
                let detail = "It lets any service token of the account through that meets its rules. Name the tokens, \
                              or say `any_service_token`.";
                Some((RuleWarningKind::AnyServiceToken, None, detail.into()))
            }
            _ => None,
        }
    }

    fn is_public(&self, policy: &Policy) -> bool {
        let place = PLACES[3];
        let all = |rule: &Rule| {
            self.relations
                .is_everything(place, literal(policy, rule, Side::For))
        };
        let floor = |(_, rule): &(RuleRef, Rule)| {
            let literal = Literal {
                rule,
                side: Side::For,
                bypass: false,
            };
            self.relations.is_everything(place, literal)
        };
        policy.include.iter().any(all)
            && policy.require.iter().all(all)
            && policy.exclude.is_empty()
            && self.rules.floor.iter().all(floor)
    }

    fn names_service(&self, policy: &Policy) -> bool {
        fn names(rule: &Rule, groups: &[GroupRules]) -> bool {
            match &rule.test {
                Test::ServiceToken(_) | Test::AnyServiceToken => true,
                Test::Group(index) => groups[*index].include.iter().any(|rule| names(rule, groups)),
                _ => false,
            }
        }
        let mut rules = policy.include.iter().chain(&policy.require);
        rules.any(|rule| names(rule, &self.rules.groups))
    }

    /// Why a policy never matches.
    fn never(&self, policy: &Policy, causes: &[Cause<'_>]) -> String {
        let phrase = |rule: Option<&Rule>| {
            rule.map(|rule| words::phrase(&rule.source, &self.rules.groups))
                .unwrap_or_default()
        };
        let both = |a, b| format!("Nothing can meet both: {}; {}.", phrase(a), phrase(b));
        // The first of the highest rank.
        let top = causes.iter().rev().max_by_key(|cause| cause.rank);
        let Some(cause) = top else {
            return "Nothing can match it.".into();
        };
        match cause.rank {
            Rank::Excluded if cause.first.map(|r| &r.source) == cause.second.map(|r| &r.source) => {
                format!("It excludes what it asks for: {}.", phrase(cause.first))
            }
            Rank::Excluded => format!(
                "It excludes whatever it asks for: where {}, also {}.",
                phrase(cause.first),
                phrase(cause.second)
            ),
            Rank::Apart => both(cause.first, cause.second),
            Rank::AlwaysExcluded => format!("It excludes everybody: {}.", phrase(cause.first)),
            Rank::Cannot => {
                // Each may be possible somewhere, but not at the same place.
                let same = |other: &&Cause<'_>| other.rank == Rank::Cannot;
                let differs =
                    |other: &&Cause<'_>| other.first.map(|r| &r.source) != cause.first.map(|r| &r.source);
                let other = causes.iter().filter(same).find(differs);
                match other.filter(|_| policy.include.len() == 1) {
                    Some(other) => both(cause.first, other.first),
                    None => format!(
                        "{}: {}.",
                        cannot(policy.decision, cause.first),
                        phrase(cause.first)
                    ),
                }
            }
            Rank::Who => "Nothing can match it.".into(),
        }
    }
}

fn cannot(decision: PolicyDecision, rule: Option<&Rule>) -> &'static str {
    match (decision, rule.map(|rule| &rule.test)) {
        (_, Some(Test::Group(_))) => "The group is empty for all whom the policy is about",
        (PolicyDecision::Allow, _) => "It lets people through, and this never holds for them",
        (PolicyDecision::ServiceAuth, _) => "It lets service tokens through, and this never holds for them",
        _ => "This never holds",
    }
}

/// Whether a policy can match who is there.
const fn admits(decision: PolicyDecision, who: Who) -> bool {
    match decision {
        PolicyDecision::Allow => matches!(who, Who::Person),
        PolicyDecision::ServiceAuth => matches!(who, Who::Service),
        PolicyDecision::Deny | PolicyDecision::Bypass => true,
    }
}

fn literal<'r>(policy: &Policy, rule: &'r Rule, side: Side) -> Literal<'r> {
    Literal {
        rule,
        side,
        bypass: policy.bypasses(),
    }
}

fn way<'r>(policy: &'r Policy, place: Place, include: &'r Rule) -> Way<'r> {
    let (match_speaks, exclusion_speaks) = policy.sides();
    let asks = std::iter::once(include).chain(&policy.require);
    Way {
        place,
        asks: asks.map(|rule| literal(policy, rule, match_speaks)).collect(),
        excludes: policy
            .exclude
            .iter()
            .map(|rule| literal(policy, rule, exclusion_speaks))
            .collect(),
    }
}
