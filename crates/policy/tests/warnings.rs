//! What is pointed out about rules: never a rule that decides, and the mistakes that people make.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
use common::*;
use policy::{Facts, McpFacts, RequestFacts};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use wire::PolicyDecision::{Allow, Bypass, Deny, ServiceAuth};
use wire::RuleWarningKind::{AnyServiceToken, FloorPrevents, NeverMatches, Public, Shadowed};
use wire::{Actor, ClientTier, Group, PolicyDecision, PolicySpec, RuleWarningKind, Selector, Timestamp};

/// Selectors that are close to each other, so that they often contain or exclude one another.
fn plain() -> Vec<Selector> {
    let connection = |n| json!({"type": "connection", "connection": id::<wire::ConnectionId>("con", n)});
    let service = |n| json!({"type": "service_token", "service_token": id::<wire::ServiceTokenId>("svc", n)});
    let time =
        |days: &[&str], from: &str, to: &str| json!({"type": "time", "days": days, "from": from, "to": to});
    [
        json!({"type": "everyone"}),
        json!({"type": "everyone"}),
        json!({"type": "email", "email": "ada@example.com"}),
        json!({"type": "email", "email": "bob@other.example"}),
        json!({"type": "email_list", "emails": ["ada@example.com", "eve@example.com"]}),
        json!({"type": "email_list", "emails": ["ADA@example.com"]}),
        json!({"type": "email_domain", "domain": "example.com"}),
        json!({"type": "email_domain", "domain": "other.example"}),
        json!({"type": "claim", "name": "roles", "value": "dev"}),
        connection(1),
        connection(2),
        json!({"type": "ip", "ranges": ["10.0.0.0/8", "192.0.2.0/24"]}),
        json!({"type": "ip", "ranges": ["10.1.0.0/16"]}),
        json!({"type": "ip", "ranges": ["192.0.2.1"]}),
        json!({"type": "ip", "ranges": ["0.0.0.0/0", "::/0"]}),
        service(1),
        service(2),
        json!({"type": "any_service_token"}),
        json!({"type": "client", "client": "agent.example"}),
        json!({"type": "client", "client": "https://agent.example/client.json"}),
        json!({"type": "client_tier", "at_least": "localhost"}),
        json!({"type": "client_tier", "at_least": "domain_verified"}),
        json!({"type": "client_tier", "at_least": "approved"}),
        json!({"type": "actor", "actor": "agent"}),
        json!({"type": "actor", "actor": "browser"}),
        json!({"type": "actor", "actor": "service"}),
        json!({"type": "scope", "scope": "read"}),
        json!({"type": "request"}),
        json!({"type": "request", "methods": ["GET"]}),
        json!({"type": "request", "methods": ["GET", "POST"], "path": "/admin/**"}),
        json!({"type": "request", "path": "/admin/*"}),
        json!({"type": "request", "path": "/**"}),
        json!({"type": "request", "path": "/"}),
        json!({"type": "mcp_tool", "tool": "read_*"}),
        json!({"type": "mcp_tool", "tool": "read_a"}),
        json!({"type": "mcp_tool", "tool": "write"}),
        json!({"type": "mfa"}),
        json!({"type": "auth_method", "amr": ["otp"]}),
        json!({"type": "auth_method", "amr": ["otp", "pwd"], "acr": ["phr"]}),
        time(&["mon"], "09:00", "17:00"),
        time(&["mon", "sun"], "08:00", "18:00"),
        time(&[], "19:00", "06:00"),
    ]
    .map(sel)
    .to_vec()
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        6 => select(plain()),
        1 => (1u8..4).prop_map(|n| Selector::Group { group: id("grp", n) }),
    ]
}

fn a_policy() -> impl Strategy<Value = PolicySpec> {
    let decision = select(vec![Allow, Allow, Deny, Deny, ServiceAuth, Bypass]);
    (
        decision,
        vec(selector(), 1..3),
        vec(selector(), 0..3),
        vec(selector(), 0..3),
    )
        .prop_map(|(decision, include, require, exclude)| PolicySpec {
            require,
            exclude,
            ..spec(decision, include)
        })
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    vec((vec(1u8..3, 0..2), vec(select(plain()), 0..3)), 3).prop_map(|specs| {
        let make = |(n, (members, include)): (usize, (Vec<u8>, _))| {
            let members = members.into_iter().map(|m| id("usr", m)).collect();
            group(n as u8 + 1, members, include)
        };
        specs.into_iter().enumerate().map(make).collect()
    })
}

type Asked = (&'static str, &'static str, Option<(Vec<&'static str>, bool)>);

#[derive(Debug, Clone)]
struct Case {
    actor: Actor,
    has: [bool; 4],
    numbers: [u8; 3],
    email: Option<&'static str>,
    claims: (Value, Value),
    tier: ClientTier,
    ip: Option<&'static str>,
    at: Option<&'static str>,
    request: Option<Asked>,
}

fn case() -> impl Strategy<Value = Case> {
    let actor = select(vec![Actor::Browser, Actor::Agent, Actor::Service]);
    let email = select(vec![
        None,
        Some("ada@example.com"),
        Some("eve@example.com"),
        Some("bob@other.example"),
        Some("odd"),
    ]);
    let claims = select(vec![
        (json!({}), json!({})),
        (json!({"roles": "dev"}), json!({"amr": ["pwd"]})),
        (json!({}), json!({"amr": ["otp"], "acr": "phr"})),
        (json!({"roles": ["ops"]}), json!({"acr": "0"})),
        (json!({"roles": ["ops"]}), Value::Null),
    ]);
    let tier = select(vec![
        ClientTier::Localhost,
        ClientTier::DomainVerified,
        ClientTier::Approved,
    ]);
    let ip = select(vec![
        None,
        Some("10.1.1.1"),
        Some("::ffff:10.2.2.2"),
        Some("192.0.2.1"),
        Some("2001:db8::1"),
    ]);
    let at = select(vec![
        None,
        Some("2026-11-23T10:00:00Z"),
        Some("2026-11-23T20:00:00Z"),
        Some("2026-11-22T17:30:00Z"),
    ]);
    let mcp = (
        vec(select(vec!["read_a", "read_b", "write"]), 0..3),
        any::<bool>(),
    );
    let request = (
        select(vec!["GET", "POST", "PUT"]),
        select(vec!["/admin/x", "/%61dmin/x", "/", "/other", "/admin%2Fx"]),
        proptest::option::of(mcp),
    );
    let rest = (claims, tier, ip, at, proptest::option::of(request));
    (actor, any::<[bool; 4]>(), [1u8..3, 1u8..3, 1u8..3], email, rest).prop_map(
        |(actor, has, numbers, email, (claims, tier, ip, at, request))| Case {
            actor,
            has,
            numbers,
            email,
            claims,
            tier,
            ip,
            at,
            request,
        },
    )
}

impl Case {
    fn with<T>(&self, ask: impl FnOnce(Facts<'_>) -> T) -> T {
        let [has_user, has_client, is_verified, has_scopes] = self.has;
        let [user, connection, token] = self.numbers;
        let world = World {
            user: id("usr", user),
            connection: id("con", connection),
            email: self.email.map(Into::into),
            verified: is_verified,
            claims: self.claims.0.as_object().unwrap().clone(),
            authentication: by(match &self.claims.1 {
                Value::Null => json!({}),
                proof => proof.clone(),
            }),
            tier: self.tier,
            token: id("svc", token),
            ..World::default()
        };
        let all = world.agent();
        ask(Facts {
            user: all.user.filter(|_| has_user),
            authentication: all.authentication.filter(|_| !self.claims.1.is_null()),
            client: all.client.filter(|_| has_client),
            actor: self.actor,
            service_token: (!has_user).then_some(&world.token),
            scopes: all.scopes.filter(|_| has_scopes),
            ip: self.ip.map(|ip| ip.parse().unwrap()),
            at: self.at.and_then(Timestamp::parse),
            request: self.request.as_ref().map(|(method, path, mcp)| RequestFacts {
                method,
                also: policy::amounts_to(method),
                path,
                case: policy::Case::Matters,
                mcp: mcp.as_ref().map(|(tools, others)| McpFacts {
                    tools,
                    others: *others,
                }),
            }),
        })
    }
}

const fn says_never(kind: RuleWarningKind) -> bool {
    matches!(kind, Shadowed | NeverMatches | FloorPrevents)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_that_decides_is_never_said_not_to(
        floor in vec(selector(), 0..2), policies in vec(a_policy(), 1..5), groups in groups(),
        cases in vec(case(), 24),
    ) {
        let rules = rules(&floor, policies, &groups);
        let warnings = rules.warnings();
        for case in &cases {
            case.with(|facts| {
                let told = rules.explain(&facts);
                for warning in warnings.iter().filter(|w| says_never(w.kind)) {
                    prop_assert_ne!(told.decision.rule.as_ref(), Some(&warning.policy), "{:?}", warning);
                    let matched = told.trace.iter().any(|step| step.matched && step.policy == warning.policy);
                    prop_assert!(!matched || warning.kind == FloorPrevents, "{:?}", warning);
                }
                Ok(())
            })?;
        }
    }

    /// A rule on its own is unreachable after a copy of itself, whatever it says.
    #[test]
    fn a_copy_of_a_rule_never_decides(policy in a_policy(), groups in groups()) {
        let warnings = rules(&[], vec![policy.clone(), policy], &groups).warnings();
        let second = warnings.iter().find(|w| w.policy.id == "p1").map(|w| w.kind);
        prop_assert!(second.is_some_and(says_never), "{:?}", second);
    }
}

/// Kind and, if a rule is in the way, its id, of the last policy.
fn last(
    floor: &[Selector],
    specs: Vec<PolicySpec>,
    groups: &[Group],
) -> Option<(RuleWarningKind, String, String)> {
    let id = format!("p{}", specs.len() - 1);
    let mut warnings = rules(floor, specs, groups).warnings();
    let at = warnings.iter().position(|w| w.policy.id == id)?;
    let found = warnings.swap_remove(at);
    Some((
        found.kind,
        found.by.map(|by| by.id).unwrap_or_default(),
        found.detail,
    ))
}

fn policy(decision: PolicyDecision, include: Value, require: Value, exclude: Value) -> PolicySpec {
    let read = |value: Value| serde_json::from_value(value).unwrap();
    PolicySpec {
        require: read(require),
        exclude: read(exclude),
        ..spec(decision, read(include))
    }
}

fn some(decision: PolicyDecision, include: Value) -> PolicySpec {
    policy(decision, include, json!([]), json!([]))
}

#[test]
fn what_comes_after_a_rule_for_everything_it_could_match_is_shadowed() {
    let everyone = json!([{"type": "everyone"}]);
    let ada = json!([{"type": "email", "email": "ada@example.com"}]);
    let domain = json!([{"type": "email_domain", "domain": "Example.com"}]);
    let office = |to: &str| json!([{"type": "time", "days": ["mon"], "from": "09:00", "to": to}]);
    let staff = Selector::Group { group: id("grp", 1) };
    let group = |include: Value| group(1, vec![], serde_json::from_value(include).unwrap());
    let in_group = |include: &Value| (json!([staff]), vec![group(include.clone())]);
    for (earlier, later) in [
        (some(Deny, everyone.clone()), some(Allow, ada.clone())),
        (some(Allow, everyone.clone()), some(Allow, ada.clone())),
        (some(Allow, domain.clone()), some(Allow, ada.clone())),
        (some(Deny, domain.clone()), some(Allow, ada.clone())),
        (
            some(Allow, json!([{"type": "mcp_tool", "tool": "read_*"}])),
            some(Allow, json!([{"type": "mcp_tool", "tool": "read_a"}])),
        ),
        (
            some(Deny, json!([{"type": "request", "path": "/admin/**"}])),
            some(
                Bypass,
                json!([{"type": "request", "methods": ["GET"], "path": "/admin/health"}]),
            ),
        ),
        (
            some(Allow, json!([{"type": "ip", "ranges": ["10.0.0.0/8"]}])),
            some(
                Allow,
                json!([{"type": "ip", "ranges": ["10.1.0.0/16", "10.2.0.0/16"]}]),
            ),
        ),
        (
            some(Allow, json!([{"type": "client_tier", "at_least": "unverified"}])),
            some(Allow, json!([{"type": "client_tier", "at_least": "approved"}])),
        ),
        (
            some(ServiceAuth, json!([{"type": "any_service_token"}])),
            some(
                ServiceAuth,
                json!([{"type": "service_token", "service_token": id::<wire::ServiceTokenId>("svc", 1)}]),
            ),
        ),
        (some(Allow, office("18:00")), some(Allow, office("17:00"))),
        (some(Bypass, everyone.clone()), some(Deny, ada.clone())),
        // What is required further, and excluded further, only narrows.
        (
            policy(Allow, domain.clone(), json!([]), json!([{"type": "mfa"}])),
            policy(
                Allow,
                ada.clone(),
                json!([{"type": "actor", "actor": "agent"}]),
                json!([{"type": "mfa"}, {"type": "scope", "scope": "x"}]),
            ),
        ),
    ] {
        let found = last(&[], vec![earlier.clone(), later.clone()], &[])
            .unwrap_or_else(|| panic!("{earlier:?} {later:?}"));
        assert_eq!((found.0, found.1.as_str()), (Shadowed, "p0"), "{}", found.2);
        // The other way round, both decide: unless they are alike in all but their order.
        assert!(last(&[], vec![later, earlier], &[]).is_none_or(|w| !says_never(w.0)));
    }
    // Several together.
    let agents = some(Allow, json!([{"type": "actor", "actor": "agent"}]));
    let browsers = some(Allow, json!([{"type": "actor", "actor": "browser"}]));
    let found = last(&[], vec![agents, browsers, some(Allow, ada.clone())], &[]).unwrap();
    assert_eq!(found.0, Shadowed);
    assert!(found.2.contains("“policy 1” and “policy 0”"), "{}", found.2);
    // Through a group, on either side.
    let (include, groups) = in_group(&everyone);
    assert_eq!(
        last(&[], vec![some(Allow, include), some(Allow, ada.clone())], &groups)
            .unwrap()
            .0,
        Shadowed
    );
    let (include, groups) = in_group(&ada);
    assert_eq!(
        last(&[], vec![some(Allow, domain), some(Allow, include)], &groups)
            .unwrap()
            .0,
        Shadowed
    );
}

#[test]
fn what_nothing_can_match_is_pointed_out_with_its_reason() {
    let connection = |n| json!({"type": "connection", "connection": id::<wire::ConnectionId>("con", n)});
    let ada = json!({"type": "email", "email": "ada@example.com"});
    let bob = json!({"type": "email", "email": "bob@example.com"});
    let everyone = json!({"type": "everyone"});
    let empty = [group(1, vec![], vec![])];
    let in_group = json!({"type": "group", "group": id::<wire::GroupId>("grp", 1)});
    for (spec, words) in [
        (
            policy(
                Allow,
                json!([everyone]),
                json!([connection(1), connection(2)]),
                json!([]),
            ),
            "Nothing can meet both",
        ),
        (
            policy(Allow, json!([ada]), json!([bob]), json!([])),
            "Nothing can meet both",
        ),
        (
            policy(
                Allow,
                json!([ada]),
                json!([{"type": "email_domain", "domain": "other.example"}]),
                json!([]),
            ),
            "Nothing can meet both",
        ),
        (
            policy(
                Allow,
                json!([{"type": "client", "client": "agent.example"}]),
                json!([{"type": "actor", "actor": "browser"}]),
                json!([]),
            ),
            "Nothing can meet both",
        ),
        (
            policy(Allow, json!([ada]), json!([]), json!([ada])),
            "It excludes what it asks for",
        ),
        (
            policy(
                Allow,
                json!([ada]),
                json!([]),
                json!([{"type": "email_domain", "domain": "example.com"}]),
            ),
            "It excludes whatever it asks for",
        ),
        (
            policy(Allow, json!([ada]), json!([]), json!([everyone])),
            "It excludes",
        ),
        (
            policy(Allow, json!([in_group]), json!([]), json!([])),
            "The group is empty",
        ),
        (
            policy(
                Allow,
                json!([{"type": "any_service_token"}]),
                json!([]),
                json!([]),
            ),
            "It lets people through",
        ),
        (
            policy(ServiceAuth, json!([ada]), json!([]), json!([])),
            "It lets service tokens through",
        ),
        (
            policy(
                Allow,
                json!([{"type": "request", "methods": ["GET"]}]),
                json!([{"type": "request", "methods": ["POST"]}]),
                json!([]),
            ),
            "Nothing can meet both",
        ),
    ] {
        let found = last(&[], vec![spec.clone()], &empty).unwrap_or_else(|| panic!("{spec:?}"));
        assert_eq!(found.0, NeverMatches, "{spec:?}");
        assert!(found.2.starts_with(words), "{} is not {words}", found.2);
    }
    // A deny of a contradiction still refuses whoever has proven nothing.
    let deny = policy(Deny, json!([ada]), json!([bob]), json!([]));
    assert_eq!(last(&[], vec![deny.clone()], &[]), None);
    assert!(
        !rules(&[], vec![deny, some(Bypass, json!([everyone]))], &[])
            .decide(&Facts::nobody(Actor::Browser))
            .allowed
    );
}

#[test]
fn what_the_organisation_never_lets_through_is_pointed_out() {
    let floor = [sel(
        json!({"type": "connection", "connection": id::<wire::ConnectionId>("con", 1)}),
    )];
    let other = json!([{"type": "connection", "connection": id::<wire::ConnectionId>("con", 2)}]);
    let found = last(&floor, vec![some(Allow, other.clone())], &[]).unwrap();
    assert_eq!((found.0, found.1.as_str()), (FloorPrevents, "floor/0"));
    let found = last(
        &floor,
        vec![some(ServiceAuth, json!([{"type": "any_service_token"}]))],
        &[],
    )
    .unwrap();
    assert_eq!(
        found.0, FloorPrevents,
        "no service token ever signed in through a connection"
    );
    assert_eq!(last(&floor, vec![some(Deny, other)], &[]), None);
    assert_eq!(
        last(&floor, vec![some(Allow, json!([{"type": "everyone"}]))], &[]),
        None
    );
    // Those who signed in may pass.
    assert_eq!(
        last(&floor, vec![some(Bypass, json!([{"type": "everyone"}]))], &[]),
        None
    );
}

#[test]
fn rules_that_let_through_more_than_they_say_are_pointed_out() {
    let public = |include: Value| last(&[], vec![some(Bypass, include)], &[]).map(|w| w.0);
    assert_eq!(public(json!([{"type": "everyone"}])), Some(Public));
    assert_eq!(public(json!([{"type": "request", "path": "/**"}])), Some(Public));
    assert_eq!(
        public(json!([{"type": "ip", "ranges": ["0.0.0.0/0", "::/0"]}])),
        Some(Public)
    );
    assert_eq!(public(json!([{"type": "request", "path": "/health"}])), None);
    assert_eq!(public(json!([{"type": "ip", "ranges": ["0.0.0.0/0"]}])), None);
    let any = |include: Value| last(&[], vec![some(ServiceAuth, include)], &[]).map(|w| w.0);
    assert_eq!(
        any(json!([{"type": "ip", "ranges": ["10.0.0.0/8"]}])),
        Some(AnyServiceToken)
    );
    assert_eq!(any(json!([{"type": "everyone"}])), Some(AnyServiceToken));
    assert_eq!(any(json!([{"type": "any_service_token"}])), None);
}

#[test]
fn a_list_too_long_to_compare_is_left_alone() {
    let many = |n: usize| {
        let emails = (0..100).map(|i| json!({"type": "email", "email": format!("p{i}@x{n}.example")}));
        some(Allow, Value::Array(emails.collect()))
    };
    let rules = rules(&[], (0..100).map(many).collect(), &[]);
    assert_eq!(rules.warnings(), []);
}
