//! What must hold for any rules and any facts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
use common::*;
use policy::{Facts, McpFacts, RequestFacts};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;
use wire::{Actor, ClientTier, Group, PolicyDecision, PolicySpec, Selector, Timestamp};

fn plain_selector() -> impl Strategy<Value = Selector> {
    select(
        [
            json!({"type": "everyone"}),
            json!({"type": "email", "email": "ada@example.com"}),
            json!({"type": "email_domain", "domain": "example.com"}),
            json!({"type": "claim", "name": "roles", "value": "dev"}),
            json!({"type": "claim", "name": "groups", "value": "eng"}),
            json!({"type": "connection", "connection": id::<wire::ConnectionId>("con", 1)}),
            json!({"type": "ip", "ranges": ["10.0.0.0/8"]}),
            json!({"type": "service_token", "service_token": id::<wire::ServiceTokenId>("svc", 1)}),
            json!({"type": "any_service_token"}),
            json!({"type": "client", "client": "agent.example"}),
            json!({"type": "client_tier", "at_least": "domain_verified"}),
            json!({"type": "actor", "actor": "agent"}),
            json!({"type": "actor", "actor": "browser"}),
            json!({"type": "scope", "scope": "read"}),
            json!({"type": "request", "methods": ["GET"]}),
            json!({"type": "request", "path": "/admin/**"}),
            json!({"type": "mcp_tool", "tool": "read_*"}),
            json!({"type": "mfa"}),
            json!({"type": "email_list", "emails": ["ada@example.com", "bob@other.example"]}),
            json!({"type": "auth_method", "amr": ["otp"]}),
            json!({"type": "auth_method", "amr": ["hwk"], "acr": ["phr"]}),
            json!({"type": "time", "days": ["mon"], "from": "09:00", "to": "17:00"}),
        ]
        .map(sel)
        .to_vec(),
    )
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        5 => plain_selector(),
        1 => (1u8..4).prop_map(|n| Selector::Group { group: id("grp", n) }),
    ]
}

fn policy() -> impl Strategy<Value = PolicySpec> {
    let decision = select(vec![
        PolicyDecision::Allow,
        PolicyDecision::Allow,
        PolicyDecision::Deny,
        PolicyDecision::ServiceAuth,
        PolicyDecision::Bypass,
    ]);
    (
        decision,
        vec(selector(), 1..3),
        vec(selector(), 0..2),
        vec(selector(), 0..2),
    )
        .prop_map(|(decision, include, require, exclude)| PolicySpec {
            require,
            exclude,
            ..spec(decision, include)
        })
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    vec((vec(1u8..3, 0..2), vec(plain_selector(), 0..2)), 3).prop_map(|specs| {
        let make = |(n, (members, include)): (usize, (Vec<u8>, _))| {
            group(
                n as u8 + 1,
                members.into_iter().map(|m| id("usr", m)).collect(),
                include,
            )
        };
        specs.into_iter().enumerate().map(make).collect()
    })
}

#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    path: &'static str,
    mcp: Option<(Vec<&'static str>, bool)>,
}

#[derive(Debug, Clone)]
struct Situation {
    who: u8,
    user: u8,
    email: Option<&'static str>,
    verified: bool,
    amr: bool,
    tier: ClientTier,
    with_client: bool,
    scopes: Option<bool>,
    ip: Option<&'static str>,
    request: Option<Request>,
    at: Option<Timestamp>,
}

fn situation() -> impl Strategy<Value = Situation> {
    let mcp = (vec(select(vec!["read_a", "write"]), 0..3), any::<bool>());
    let request = (
        select(vec!["GET", "POST"]),
        select(vec!["/admin/x", "/%61dmin", "/"]),
        proptest::option::of(mcp),
    )
        .prop_map(|(method, path, mcp)| Request { method, path, mcp });
    let person = (
        1u8..3,
        select(vec![None, Some("ada@example.com"), Some("bob@other.example")]),
        any::<bool>(),
        any::<bool>(),
    );
    let client = (
        select(vec![ClientTier::Unverified, ClientTier::DomainVerified]),
        any::<bool>(),
    );
    let rest = (
        proptest::option::of(any::<bool>()),
        select(vec![
            None,
            Some("10.1.1.1"),
            Some("::ffff:10.1.1.1"),
            Some("192.0.2.1"),
        ]),
        proptest::option::of(request),
        // A Monday morning, a Monday evening, a Sunday.
        select(vec![
            None,
            Timestamp::parse("2026-11-23T10:00:00Z"),
            Timestamp::parse("2026-11-23T20:00:00Z"),
            Timestamp::parse("2026-11-22T10:00:00Z"),
        ]),
    );
    (0u8..5, person, client, rest).prop_map(
        |(who, (user, email, verified, amr), (tier, with_client), (scopes, ip, request, at))| Situation {
            who,
            user,
            email,
            verified,
            amr,
            tier,
            with_client,
            scopes,
            ip,
            request,
            at,
        },
    )
}

impl Situation {
    fn with<T>(&self, ask: impl FnOnce(Facts<'_>) -> T) -> T {
        let claims = if self.amr {
            json!({"roles": ["dev"]})
        } else {
            json!({})
        };
        let world = World {
            user: id("usr", self.user),
            email: self.email.map(Into::into),
            verified: self.verified,
            claims: claims.as_object().unwrap().clone(),
            authentication: by(if self.amr {
                json!({"amr": ["otp"]})
            } else {
                json!({})
            }),
            tier: self.tier,
            scopes: if self.scopes == Some(true) {
                vec!["read".into()]
            } else {
                vec![]
            },
            ..World::default()
        };
        let mut facts = match self.who {
            0 | 1 => world.agent(),
            2 => world.person(),
            3 => world.service(),
            _ => Facts::nobody(Actor::Browser),
        };
        if self.scopes.is_none() {
            facts.scopes = None;
        }
        if !self.with_client {
            facts.client = None;
        }
        facts.at = self.at;
        facts.ip = self.ip.map(|ip| ip.parse().unwrap());
        facts.request = self.request.as_ref().map(|request| RequestFacts {
            method: request.method,
            also: policy::amounts_to(request.method),
            path: request.path,
            case: policy::Case::Matters,
            mcp: request.mcp.as_ref().map(|(tools, others)| McpFacts {
                tools,
                others: *others,
            }),
        });
        ask(facts)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_groups_does_not_matter(
        floor in vec(selector(), 0..2), policies in vec(policy(), 1..4),
        (given, shuffled) in groups().prop_flat_map(|g| (Just(g.clone()), Just(g).prop_shuffle())),
        s in situation(),
    ) {
        let (a, b) = (rules(&floor, policies.clone(), &given), rules(&floor, policies, &shuffled));
        s.with(|facts| {
            prop_assert_eq!(a.decide(&facts), b.decide(&facts));
            prop_assert_eq!(a.explain(&facts), b.explain(&facts));
            Ok(())
        })?;
    }

    #[test]
    fn a_further_exclude_on_what_lets_through_never_allows_more(
        floor in vec(selector(), 0..2), policies in vec(policy(), 1..4), groups in groups(),
        extra in selector(), which in any::<prop::sample::Index>(), s in situation(),
    ) {
        let mut stricter = policies.clone();
        let changed = which.get(&policies);
        prop_assume!(changed.decision != PolicyDecision::Deny);
        stricter[which.index(policies.len())].exclude.push(extra);
        let (before, after) = (rules(&floor, policies, &groups), rules(&floor, stricter, &groups));
        s.with(|facts| {
            prop_assert!(before.decide(&facts).allowed || !after.decide(&facts).allowed);
            prop_assert!(before.could_allow(&facts).allowed || !after.could_allow(&facts).allowed);
            Ok(())
        })?;
    }

    #[test]
    fn a_further_floor_rule_never_allows_more(
        floor in vec(selector(), 0..2), policies in vec(policy(), 1..4), groups in groups(),
        extra in selector(), s in situation(),
    ) {
        let mut higher = floor.clone();
        higher.push(extra);
        let (before, after) = (rules(&floor, policies.clone(), &groups), rules(&higher, policies, &groups));
        s.with(|facts| {
            prop_assert!(before.decide(&facts).allowed || !after.decide(&facts).allowed);
            prop_assert!(before.could_allow(&facts).allowed || !after.could_allow(&facts).allowed);
            Ok(())
        })?;
    }

    #[test]
    fn the_tester_agrees_with_enforcement(
        floor in vec(selector(), 0..2), policies in vec(policy(), 1..4), groups in groups(), s in situation(),
    ) {
        let rules = rules(&floor, policies, &groups);
        s.with(|facts| {
            let told = rules.explain(&facts);
            prop_assert_eq!(&told.decision, &rules.decide(&facts).to_decision());
            let matched: Vec<_> = told.trace.iter().filter(|t| t.matched).collect();
            prop_assert!(matched.len() <= 1);
            if let Some(rule) = &told.decision.rule {
                prop_assert_eq!(&told.trace.last().unwrap().policy, rule);
            } else {
                prop_assert!(matched.is_empty());
            }
            Ok(())
        })?;
    }

    #[test]
    fn an_absent_fact_never_allows_more(
        floor in vec(selector(), 0..2), policies in vec(policy(), 1..4), groups in groups(),
        s in situation(), forget in 0u8..4,
    ) {
        let rules = rules(&floor, policies, &groups);
        s.with(|facts| {
            let mut less = facts;
            match forget {
                0 => less.ip = None,
                1 => less.request = None,
                2 => less.at = None,
                _ => less.scopes = None,
            }
            // Batches are decided call by call, so forgetting one can only be compared for a single call.
            let single = facts.request.and_then(|r| r.mcp).is_none_or(|m| m.tools.len() + usize::from(m.others) <= 1);
            prop_assert!(!single || rules.decide(&facts).allowed || !rules.decide(&less).allowed);
            Ok(())
        })?;
    }

    #[test]
    fn foresight_never_rules_out_what_enforcement_allows(
        floor in vec(selector(), 0..2), policies in vec(policy(), 1..4), groups in groups(), s in situation(),
    ) {
        let rules = rules(&floor, policies, &groups);
        s.with(|facts| {
            let early = Facts { ip: None, scopes: None, request: None, at: None, ..facts };
            prop_assert!(rules.could_allow(&early).allowed || !rules.decide(&facts).allowed);
            prop_assert!(rules.could_allow(&facts).allowed || !rules.decide(&facts).allowed);
            Ok(())
        })?;
    }

    #[test]
    fn whatever_nobody_may_do_is_allowed_only_by_bypass(
        policies in vec(policy(), 1..4), groups in groups(), s in situation(),
    ) {
        let rules = rules(&[], policies, &groups);
        s.with(|facts| {
            let nobody = Facts { user: None, service_token: None, client: None, scopes: None, ..facts };
            let verdict = rules.decide(&nobody);
            prop_assert!(!verdict.allowed || verdict.reason == wire::Reason::Bypassed);
            prop_assert_eq!(verdict.allowed, rules.allows_anonymous(&facts));
            Ok(())
        })?;
    }
}
