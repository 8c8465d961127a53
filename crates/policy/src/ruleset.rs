//! The engine: walks the policies once, for enforcement, for consent and for the tester alike.

use crate::{
    CompileError, Facts,
    rule::{Answer, GroupRules, Rule, Side, View, Who, check_selector},
    words,
};
use std::collections::HashSet;
use wire::{
    Decision, Group, GroupId, GroupSpec, PolicyDecision, PolicySpec, PolicyTrace, Reason, RuleRef, Selector,
};

/// The rules of one app, compiled. Cheap to ask, made anew when a rule changes.
#[derive(Debug)]
pub struct Ruleset {
    pub(crate) floor: Vec<(RuleRef, Rule)>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) groups: Vec<GroupRules>,
}

/// A decision that borrows its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'r> {
    /// Whether the request goes through.
    pub allowed: bool,
    /// Why, for machines.
    pub reason: Reason,
    /// The rule that decided; none if no policy matched.
    pub rule: Option<&'r RuleRef>,
}

impl Verdict<'_> {
    /// The same with a rule of its own, for answers and the audit log.
    #[must_use]
    pub fn to_decision(&self) -> Decision {
        Decision {
            allowed: self.allowed,
            reason: self.reason,
            rule: self.rule.cloned(),
        }
    }
}

/// A decision with what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What [`Ruleset::decide`] says.
    pub decision: Decision,
    /// Each policy that was looked at, in order.
    pub trace: Vec<PolicyTrace>,
}

/// Three-valued logic (Kleene); the order makes `and` the minimum and `or` the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tri {
    False,
    Unknown,
    True,
}

impl Tri {
    const fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

/// What an absent fact means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It counts against the request.
    Enforce,
    /// If it can still turn out either way, both are kept in mind.
    Foresee,
}

#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) rule: RuleRef,
    pub(crate) decision: PolicyDecision,
    pub(crate) include: Vec<Rule>,
    pub(crate) require: Vec<Rule>,
    pub(crate) exclude: Vec<Rule>,
}

/// What came of one policy, and which selector settled it.
#[derive(Debug, Clone, Copy)]
struct Finding<'r> {
    matched: Tri,
    cause: Cause<'r>,
}

#[derive(Debug, Clone, Copy)]
enum Cause<'r> {
    Included(&'r Rule),
    NotIncluded,
    NotMet(&'r Rule),
    Excluded(&'r Rule),
    NeedsPerson,
    NeedsServiceToken,
}

/// The facts about one call, and what absent ones mean.
#[derive(Clone, Copy)]
struct Case<'a> {
    facts: &'a Facts<'a>,
    tool: Option<&'a str>,
    mode: Mode,
}

impl<'a> Case<'a> {
    const fn view(&self, side: Side, bypass: bool) -> View<'a> {
        View {
            facts: self.facts,
            tool: self.tool,
            side,
            bypass,
        }
    }

    /// How far a selector with this answer matches.
    const fn settle(&self, answer: Answer, side: Side) -> Tri {
        match (answer, side, self.mode) {
            (Answer::Yes, ..) => Tri::True,
            (Answer::No, ..) => Tri::False,
            (Answer::Open, _, Mode::Foresee) => Tri::Unknown,
            (Answer::Open | Answer::Unproven, Side::For, _) => Tri::False,
            (Answer::Open | Answer::Unproven, Side::Against, _) => Tri::True,
        }
    }
}

impl Ruleset {
    /// Compiles the rules of one app: the organisation's floor, the app's policies in order, and the groups
    /// that either may name, in any order.
    ///
    /// # Errors
    /// A selector that makes no sense, an empty `include`, a group that does not exist, a group in a group.
    /// Pointers start with `/floor/N`, `/policies/N` or `/groups/N`.
    pub fn compile(
        floor: &[Selector],
        policies: &[(RuleRef, PolicySpec)],
        groups: &[Group],
    ) -> Result<Self, CompileError> {
        let mut known = Groups {
            given: groups,
            compiled: Vec::new(),
        };
        let mut compiled = Vec::with_capacity(policies.len());
        for (i, (rule, spec)) in policies.iter().enumerate() {
            compiled.push(Policy::compile(
                rule.clone(),
                spec,
                &format!("/policies/{i}"),
                &mut known,
            )?);
        }
        let floor = known.rules(floor, "/floor")?;
        let groups = known.compiled;
        let name = |(n, rule): (usize, Rule)| {
            let name = format!(
                "Required by the organisation: {}",
                words::phrase(&rule.source, &groups)
            );
            (
                RuleRef {
                    id: format!("floor/{n}"),
                    name,
                },
                rule,
            )
        };
        let floor = floor.into_iter().enumerate().map(name).collect();
        Ok(Self {
            floor,
            policies: compiled,
            groups,
        })
    }

    /// Decides about a request. Every absent fact counts against it.
    ///
    /// Each tool call of a batch is decided on its own; one that is refused refuses the batch.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Verdict<'_> {
        self.each_call(facts, Mode::Enforce, |case| self.walk(case, |_, _| ()))
    }

    /// Whether there is any request with which these facts could be let through: for consent and refresh,
    /// when address, scopes or request are not known yet. Leave out whatever may differ later.
    ///
    /// If so, the verdict names the first policy that may do it. If not, the verdict is final.
    #[must_use]
    pub fn could_allow(&self, facts: &Facts<'_>) -> Verdict<'_> {
        self.each_call(facts, Mode::Foresee, |case| self.walk(case, |_, _| ()))
    }

    /// Whether the request goes through without sign-in: whoever sends it, a `bypass` policy lets it.
    #[must_use]
    pub fn allows_anonymous(&self, facts: &Facts<'_>) -> bool {
        let anonymous = Facts {
            user: None,
            client: None,
            service_token: None,
            scopes: None,
            ..*facts
        };
        self.decide(&anonymous).allowed
    }

    /// [`decide`](Self::decide), with each policy that was looked at on the way. Of a batch, it shows the
    /// call that decided.
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>) -> Explanation {
        let mut trace = Vec::new();
        let verdict = self.each_call(facts, Mode::Enforce, |case| {
            trace.clear();
            let verdict = self.walk(case, |policy, finding| {
                trace.push(PolicyTrace {
                    policy: policy.rule.clone(),
                    matched: finding.matched == Tri::True,
                    because: self.because(case, policy, finding),
                });
            });
            if verdict.reason == Reason::OrganisationFloor
                && let Some((rule, floor)) = self.floor.iter().find(|(rule, _)| Some(rule) == verdict.rule)
            {
                let because = self.sentence(
                    case.view(Side::For, false),
                    "A rule of the organisation is not met",
                    floor,
                );
                trace.push(PolicyTrace {
                    policy: rule.clone(),
                    matched: false,
                    because,
                });
            }
            verdict
        });
        Explanation {
            decision: verdict.to_decision(),
            trace,
        }
    }

    /// Asks about each call; the first refusal stands, else the last permission.
    fn each_call<'r, 'f>(
        &'r self,
        facts: &'f Facts<'f>,
        mode: Mode,
        mut ask: impl FnMut(Case<'f>) -> Verdict<'r>,
    ) -> Verdict<'r> {
        let Some(request) = facts.request else {
            return ask(Case {
                facts,
                tool: None,
                mode,
            });
        };
        // There is at least one call, so this start is never the answer.
        let mut verdict = NO_POLICY_MATCHED;
        for tool in request.calls() {
            verdict = ask(Case { facts, tool, mode });
            if !verdict.allowed {
                break;
            }
        }
        verdict
    }

    fn walk<'r>(&'r self, case: Case<'_>, mut seen: impl FnMut(&'r Policy, Finding<'r>)) -> Verdict<'r> {
        for policy in &self.policies {
            let finding = self.consider(policy, case);
            seen(policy, finding);
            let reason = match (policy.decision, finding.matched) {
                (_, Tri::False) | (PolicyDecision::Deny, Tri::Unknown) => continue,
                (PolicyDecision::Deny, Tri::True) => {
                    return Verdict {
                        allowed: false,
                        reason: Reason::PolicyDenied,
                        rule: Some(&policy.rule),
                    };
                }
                (PolicyDecision::Allow, _) => Reason::PolicyAllowed,
                (PolicyDecision::ServiceAuth, _) => Reason::ServiceAuthenticated,
                (PolicyDecision::Bypass, _) => Reason::Bypassed,
            };
            let allowed = Verdict {
                allowed: true,
                reason,
                rule: Some(&policy.rule),
            };
            return self.below_floor(case).unwrap_or(allowed);
        }
        NO_POLICY_MATCHED
    }

    fn consider<'r>(&'r self, policy: &'r Policy, case: Case<'_>) -> Finding<'r> {
        let never = |cause| Finding {
            matched: Tri::False,
            cause,
        };
        match (policy.decision, Who::of(case.facts)) {
            (PolicyDecision::Allow, Who::Service(_) | Who::Nobody) => return never(Cause::NeedsPerson),
            (PolicyDecision::ServiceAuth, Who::Person(_) | Who::Nobody) => {
                return never(Cause::NeedsServiceToken);
            }
            _ => {}
        }
        let (match_speaks, exclusion_speaks) = policy.sides();
        let test = |rule: &Rule, side| {
            case.settle(rule.ask(&case.view(side, policy.bypasses()), &self.groups), side)
        };

        let mut found = never(Cause::NotIncluded);
        for rule in &policy.include {
            let matched = test(rule, match_speaks);
            if matched > found.matched {
                found = Finding {
                    matched,
                    cause: Cause::Included(rule),
                };
            }
            if matched == Tri::True {
                break;
            }
        }
        let conditions = policy
            .require
            .iter()
            .map(|rule| (rule, test(rule, match_speaks), Cause::NotMet(rule)));
        let exclusions = policy
            .exclude
            .iter()
            .map(|rule| (rule, test(rule, exclusion_speaks).not(), Cause::Excluded(rule)));
        for (_, holds, cause) in conditions.chain(exclusions) {
            if found.matched == Tri::False {
                break;
            }
            if holds < found.matched {
                found = Finding {
                    matched: holds,
                    cause,
                };
            }
        }
        found
    }

    /// The first rule of the organisation that is not met.
    fn below_floor(&self, case: Case<'_>) -> Option<Verdict<'_>> {
        let view = case.view(Side::For, false);
        let unmet = |rule: &Rule| case.settle(rule.ask(&view, &self.groups), Side::For) == Tri::False;
        let (rule, _) = self.floor.iter().find(|(_, rule)| unmet(rule))?;
        Some(Verdict {
            allowed: false,
            reason: Reason::OrganisationFloor,
            rule: Some(rule),
        })
    }

    fn because(&self, case: Case<'_>, policy: &Policy, finding: Finding<'_>) -> String {
        let (match_speaks, exclusion_speaks) = policy.sides();
        let matching = case.view(match_speaks, policy.bypasses());
        match finding.cause {
            Cause::Included(rule) => self.sentence(matching, "Included", rule),
            Cause::NotIncluded => "None of what it includes matches".into(),
            Cause::NotMet(rule) => self.sentence(matching, "Required but not so", rule),
            Cause::Excluded(rule) => {
                self.sentence(case.view(exclusion_speaks, policy.bypasses()), "Excluded", rule)
            }
            Cause::NeedsPerson => "It lets people through, and nobody is signed in".into(),
            Cause::NeedsServiceToken => "It lets service tokens through, and none is used".into(),
        }
    }

    fn sentence(&self, view: View<'_>, lead: &str, rule: &Rule) -> String {
        let phrase = words::phrase(&rule.source, &self.groups);
        match rule.ask(&view, &self.groups) {
            Answer::Open | Answer::Unproven => {
                format!("{lead}: {phrase} (not known or not proven, which counts against the request)")
            }
            Answer::Yes | Answer::No => format!("{lead}: {phrase}"),
        }
    }
}

const NO_POLICY_MATCHED: Verdict<'static> = Verdict {
    allowed: false,
    reason: Reason::NoPolicyMatched,
    rule: None,
};

/// Checks a policy before it is saved.
///
/// # Errors
/// As for [`Ruleset::compile`]; pointers start at the policy, such as `/include/0/email`.
pub fn check_policy(spec: &PolicySpec, groups: &[Group]) -> Result<(), CompileError> {
    for (name, selectors) in [
        ("include", &spec.include),
        ("require", &spec.require),
        ("exclude", &spec.exclude),
    ] {
        check_selectors(selectors, &format!("/{name}"))?;
    }
    let rule = RuleRef {
        id: String::new(),
        name: String::new(),
    };
    let mut known = Groups {
        given: groups,
        compiled: Vec::new(),
    };
    Policy::compile(rule, spec, "", &mut known).map(drop)
}

/// Checks a group before it is saved.
///
/// # Errors
/// As for [`Ruleset::compile`]; pointers start at the group, such as `/include/0/email`.
pub fn check_group(spec: &GroupSpec) -> Result<(), CompileError> {
    check_selectors(&spec.include, "/include")?;
    compile_group_rules(spec, "").map(drop)
}

/// Checks an organisation's floor before it is saved.
///
/// # Errors
/// As for [`Ruleset::compile`]; pointers start with `/floor/N`.
pub fn check_floor(floor: &[Selector], groups: &[Group]) -> Result<(), CompileError> {
    check_selectors(floor, "/floor")?;
    Groups {
        given: groups,
        compiled: Vec::new(),
    }
    .rules(floor, "/floor")
    .map(drop)
}

fn check_selectors(selectors: &[Selector], pointer: &str) -> Result<(), CompileError> {
    let mut all = selectors.iter().enumerate();
    all.try_for_each(|(i, selector)| check_selector(selector, &format!("{pointer}/{i}")))
}

/// Compiles the groups that rules name, and only those.
struct Groups<'a> {
    given: &'a [Group],
    compiled: Vec<GroupRules>,
}

impl Groups<'_> {
    fn rules(&mut self, selectors: &[Selector], pointer: &str) -> Result<Vec<Rule>, CompileError> {
        let mut rules = Vec::with_capacity(selectors.len());
        for (i, selector) in selectors.iter().enumerate() {
            rules.push(Rule::compile(selector, &format!("{pointer}/{i}"), &mut |id| {
                self.index(id)
            })?);
        }
        Ok(rules)
    }

    /// An empty pointer in the error stands for "where the group is named".
    fn index(&mut self, id: &GroupId) -> Result<usize, CompileError> {
        if let Some(index) = self.compiled.iter().position(|group| group.id == *id) {
            return Ok(index);
        }
        let Some((i, group)) = self.given.iter().enumerate().find(|(_, group)| group.id == *id) else {
            return Err(CompileError::new("", format!("there is no group {id}")));
        };
        let include = compile_group_rules(&group.spec, &format!("/groups/{i}"))?;
        let members: HashSet<_> = group.spec.members.iter().cloned().collect();
        self.compiled.push(GroupRules {
            id: id.clone(),
            name: group.spec.name.clone(),
            members,
            include,
        });
        Ok(self.compiled.len() - 1)
    }
}

fn compile_group_rules(spec: &GroupSpec, pointer: &str) -> Result<Vec<Rule>, CompileError> {
    let mut nested = |_: &GroupId| Err(CompileError::new("", "a group cannot contain a group"));
    let compile = |(i, selector)| Rule::compile(selector, &format!("{pointer}/include/{i}"), &mut nested);
    spec.include.iter().enumerate().map(compile).collect()
}

impl Policy {
    fn compile(
        rule: RuleRef,
        spec: &PolicySpec,
        pointer: &str,
        groups: &mut Groups<'_>,
    ) -> Result<Self, CompileError> {
        if spec.include.is_empty() {
            let detail = "at least one selector is needed; use `everyone` for everyone";
            return Err(CompileError::new(format!("{pointer}/include"), detail));
        }
        Ok(Self {
            rule,
            decision: spec.decision,
            include: groups.rules(&spec.include, &format!("{pointer}/include"))?,
            require: groups.rules(&spec.require, &format!("{pointer}/require"))?,
            exclude: groups.rules(&spec.exclude, &format!("{pointer}/exclude"))?,
        })
    }
    /// On which side a match of `include` and `require` speaks, and one of `exclude`.
    pub(crate) const fn sides(&self) -> (Side, Side) {
        match self.decision {
            PolicyDecision::Deny => (Side::Against, Side::For),
            _ => (Side::For, Side::Against),
        }
    }

    pub(crate) fn bypasses(&self) -> bool {
        self.decision == PolicyDecision::Bypass
    }
}
