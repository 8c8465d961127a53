//! Order, the floor, who may pass which kind of policy, batches, foresight, errors, words.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
use common::*;
use policy::{Facts, McpFacts, RequestFacts, Ruleset, check_floor, check_group, check_policy};
use serde_json::json;
use wire::PolicyDecision::{Allow, Bypass, Deny, ServiceAuth};
use wire::{Actor, GroupSpec, PolicyDecision, Reason, RuleRef, Selector};

fn ada() -> Selector {
    sel(json!({"type": "email", "email": "ada@example.com"}))
}

fn bob() -> Selector {
    sel(json!({"type": "email", "email": "bob@example.com"}))
}

fn at<'a>(facts: Facts<'a>, request: RequestFacts<'a>) -> Facts<'a> {
    Facts {
        request: Some(request),
        ..facts
    }
}

#[test]
fn the_first_policy_that_matches_decides_and_none_means_deny() {
    let w = World::default();
    let deny_first = rules(
        &[],
        vec![spec(Deny, vec![ada()]), spec(Allow, vec![everyone()])],
        &[],
    );
    let verdict = deny_first.decide(&w.person());
    assert_eq!((verdict.allowed, verdict.reason), (false, Reason::PolicyDenied));
    assert_eq!(verdict.rule.unwrap().id, "p0");
    let allow_first = rules(
        &[],
        vec![spec(Allow, vec![everyone()]), spec(Deny, vec![ada()])],
        &[],
    );
    let decision = allow_first.decide(&w.person()).to_decision();
    assert_eq!((decision.allowed, decision.reason), (true, Reason::PolicyAllowed));
    assert_eq!(
        decision.rule.unwrap(),
        RuleRef {
            id: "p0".into(),
            name: "policy 0".into()
        }
    );
    for nothing in [
        rules(&[], vec![], &[]),
        rules(&[], vec![spec(Allow, vec![bob()])], &[]),
    ] {
        let verdict = nothing.decide(&w.person());
        assert_eq!(
            (verdict.allowed, verdict.reason, verdict.rule),
            (false, Reason::NoPolicyMatched, None)
        );
    }
}

#[test]
fn include_is_any_require_is_all_exclude_is_none() {
    let w = World::default();
    let mut one = spec(Allow, vec![bob(), ada()]);
    assert!(rules(&[], vec![one.clone()], &[]).decide(&w.person()).allowed);
    one.require = vec![sel(json!({"type": "mfa"})), actor(Actor::Browser)];
    assert!(rules(&[], vec![one.clone()], &[]).decide(&w.person()).allowed);
    assert!(!rules(&[], vec![one.clone()], &[]).decide(&w.agent()).allowed);
    one.exclude = vec![bob()];
    assert!(rules(&[], vec![one.clone()], &[]).decide(&w.person()).allowed);
    one.exclude = vec![bob(), ada()];
    assert!(!rules(&[], vec![one], &[]).decide(&w.person()).allowed);
}

#[test]
fn each_kind_of_policy_lets_only_its_own_through() {
    let w = World::default();
    let nobody = Facts::nobody(Actor::Browser);
    let confused = Facts {
        actor: Actor::Service,
        ..w.person()
    };
    let forged = Facts {
        service_token: Some(&w.token),
        ..w.person()
    };
    let pass = |decision, facts: &Facts<'_>| {
        rules(&[], vec![spec(decision, vec![everyone()])], &[])
            .decide(facts)
            .allowed
    };
    for (decision, person, agent, service, anonymous) in [
        (Allow, true, true, false, false),
        (ServiceAuth, false, false, true, false),
        (Bypass, true, true, true, true),
        (Deny, false, false, false, false),
    ] {
        assert_eq!(pass(decision, &w.person()), person, "{decision:?} person");
        assert_eq!(pass(decision, &w.agent()), agent, "{decision:?} agent");
        assert_eq!(pass(decision, &w.service()), service, "{decision:?} service");
        assert_eq!(pass(decision, &nobody), anonymous, "{decision:?} anonymous");
    }
    assert!(!pass(Allow, &confused) && !pass(ServiceAuth, &confused));
    assert!(!pass(ServiceAuth, &forged));
    let service = rules(
        &[],
        vec![spec(ServiceAuth, vec![Selector::AnyServiceToken {}])],
        &[],
    );
    assert_eq!(service.decide(&w.service()).reason, Reason::ServiceAuthenticated);
}

#[test]
fn bypass_needs_no_sign_in_but_a_deny_of_somebody_before_it_does() {
    let w = World::default();
    let public = spec(Bypass, vec![path("/public/**")]);
    let open = rules(&[], vec![public.clone(), spec(Allow, vec![everyone()])], &[]);
    let here = at(w.person(), RequestFacts::web("GET", "/public/a"));
    assert!(open.allows_anonymous(&here));
    assert_eq!(
        open.decide(&at(Facts::nobody(Actor::Browser), here.request.unwrap()))
            .reason,
        Reason::Bypassed
    );
    assert!(!open.allows_anonymous(&at(w.person(), RequestFacts::web("GET", "/private"))));
    assert!(!open.allows_anonymous(&w.person()), "no request known");
    let guarded = rules(&[], vec![spec(Deny, vec![bob()]), public], &[]);
    assert!(!guarded.allows_anonymous(&here), "it could be Bob");
    assert!(guarded.decide(&here).allowed, "it is Ada");
}

#[test]
fn a_deny_of_a_person_does_not_refuse_services() {
    let w = World::default();
    let both = rules(
        &[],
        vec![spec(Deny, vec![bob()]), spec(ServiceAuth, vec![everyone()])],
        &[],
    );
    assert!(both.decide(&w.service()).allowed);
}

#[test]
fn the_floor_holds_for_whatever_would_let_through() {
    let w = World::default();
    let plain = World {
        authentication: by(json!({"amr": ["pwd"]})),
        ..World::default()
    };
    let floor = [everyone(), Selector::Mfa {}];
    let all = [Allow, ServiceAuth, Bypass].map(|decision| spec(decision, vec![everyone()]));
    let rules = rules(&floor, all.to_vec(), &[]);
    assert!(rules.decide(&w.person()).allowed && rules.decide(&w.agent()).allowed);
    let verdict = rules.decide(&plain.person());
    assert_eq!(
        (verdict.allowed, verdict.reason),
        (false, Reason::OrganisationFloor)
    );
    assert_eq!(verdict.rule.unwrap().id, "floor/1");
    assert!(verdict.rule.unwrap().name.contains("second factor"));
    assert_eq!(rules.decide(&w.service()).reason, Reason::OrganisationFloor);
    let anonymous = rules.decide(&Facts::nobody(Actor::Browser));
    assert_eq!(
        (anonymous.reason, anonymous.rule.unwrap().id.as_str()),
        (Reason::OrganisationFloor, "floor/0")
    );
}

#[test]
fn people_write_while_agents_only_read() {
    let w = World::default();
    let mut people = spec(Allow, vec![everyone()]);
    people.require = vec![actor(Actor::Browser)];
    let mut agents = spec(
        Allow,
        vec![Selector::Request {
            methods: vec!["GET".into()],
            path: None,
        }],
    );
    agents.require = vec![
        actor(Actor::Agent),
        sel(json!({"type": "scope", "scope": "read"})),
    ];
    let rules = rules(&[], vec![people, agents], &[]);
    let (get, put) = (RequestFacts::web("GET", "/doc"), RequestFacts::web("PUT", "/doc"));
    assert!(rules.decide(&at(w.person(), get)).allowed);
    assert!(rules.decide(&at(w.person(), put)).allowed);
    assert!(rules.decide(&at(w.agent(), get)).allowed);
    assert!(!rules.decide(&at(w.agent(), put)).allowed);
    let without = World {
        scopes: vec![],
        ..World::default()
    };
    assert!(!rules.decide(&at(without.agent(), get)).allowed);
}

#[test]
fn every_call_of_a_batch_is_decided_on_its_own() {
    let w = World::default();
    let only = rules(&[], vec![spec(Allow, vec![tool("read_*"), tool("list")])], &[]);
    let batch = |tools, others| {
        let request = RequestFacts {
            mcp: Some(McpFacts { tools, others }),
            ..RequestFacts::web("POST", "/mcp")
        };
        only.decide(&at(w.agent(), request)).allowed
    };
    assert!(batch(&["read_a", "list"], false));
    assert!(!batch(&["read_a", "delete"], false) && !batch(&["delete", "read_a"], false));
    assert!(!batch(&["read_a"], true), "the other message is not allowed");
    assert!(!batch(&[], false));
    let all_but = rules(
        &[],
        vec![spec(Deny, vec![tool("delete")]), spec(Allow, vec![everyone()])],
        &[],
    );
    let ask = |tools| {
        all_but
            .decide(&at(w.agent(), RequestFacts::mcp("POST", "/mcp", tools)))
            .reason
    };
    assert_eq!(ask(&["read", "delete"]), Reason::PolicyDenied);
    assert_eq!(ask(&["read"]), Reason::PolicyAllowed);
    assert_eq!(ask(&[]), Reason::PolicyAllowed);
}

#[test]
fn foresight_keeps_open_what_the_request_will_settle() {
    let w = World::default();
    let agent = Facts {
        scopes: None,
        ..w.agent()
    };
    let office = sel(json!({"type": "ip", "ranges": ["10.0.0.0/8"]}));
    let mut except_admin = spec(Allow, vec![everyone()]);
    except_admin.exclude = vec![path("/admin/**")];
    let cases: Vec<(&str, Vec<wire::PolicySpec>, bool, Reason)> = vec![
        (
            "might",
            vec![spec(Allow, vec![path("/a")])],
            true,
            Reason::PolicyAllowed,
        ),
        (
            "some tools",
            vec![spec(Deny, vec![tool("delete")]), spec(Allow, vec![everyone()])],
            true,
            Reason::PolicyAllowed,
        ),
        (
            "outside the office",
            vec![spec(Deny, vec![office]), spec(Allow, vec![ada()])],
            true,
            Reason::PolicyAllowed,
        ),
        ("except admin", vec![except_admin], true, Reason::PolicyAllowed),
        (
            "denied anyway",
            vec![spec(Deny, vec![tool("x"), ada()]), spec(Allow, vec![everyone()])],
            false,
            Reason::PolicyDenied,
        ),
        (
            "not for her",
            vec![spec(Allow, vec![bob()])],
            false,
            Reason::NoPolicyMatched,
        ),
        (
            "public part",
            vec![spec(Bypass, vec![path("/public")]), spec(Deny, vec![everyone()])],
            true,
            Reason::Bypassed,
        ),
        (
            "services only",
            vec![spec(ServiceAuth, vec![everyone()])],
            false,
            Reason::NoPolicyMatched,
        ),
    ];
    for (name, specs, allowed, reason) in cases {
        let rules = rules(&[], specs, &[]);
        let verdict = rules.could_allow(&agent);
        assert_eq!((verdict.allowed, verdict.reason), (allowed, reason), "{name}");
    }
    let scoped = spec(Allow, vec![sel(json!({"type": "scope", "scope": "write"}))]);
    assert!(rules(&[], vec![scoped.clone()], &[]).could_allow(&agent).allowed);
    assert!(
        !rules(&[], vec![scoped], &[]).could_allow(&w.agent()).allowed,
        "known scopes are settled"
    );
}

#[test]
fn foresight_settles_at_once_what_no_request_will_prove() {
    let unverified = World {
        verified: false,
        ..World::default()
    };
    let rules_deny = rules(
        &[],
        vec![spec(Deny, vec![bob()]), spec(Allow, vec![everyone()])],
        &[],
    );
    assert_eq!(
        rules_deny.could_allow(&unverified.agent()).reason,
        Reason::PolicyDenied
    );
    assert!(
        !rules(&[], vec![spec(Allow, vec![ada()])], &[])
            .could_allow(&unverified.agent())
            .allowed
    );
}

#[test]
fn foresight_sees_the_floor() {
    let w = World::default();
    let plain = World {
        authentication: by(json!({"amr": ["pwd"]})),
        ..World::default()
    };
    let office = sel(json!({"type": "ip", "ranges": ["10.0.0.0/8"]}));
    let rules = rules(
        &[office, Selector::Mfa {}],
        vec![spec(Allow, vec![path("/a")])],
        &[],
    );
    assert!(
        rules.could_allow(&w.agent()).allowed,
        "she may be in the office later"
    );
    let verdict = rules.could_allow(&plain.agent());
    assert_eq!(
        (verdict.reason, verdict.rule.unwrap().id.as_str()),
        (Reason::OrganisationFloor, "floor/1")
    );
}

#[test]
fn errors_point_at_the_value() {
    let bad = |selector: serde_json::Value| {
        let allow = spec(PolicyDecision::Allow, vec![everyone(), sel(selector)]);
        check_policy(&allow, &[group(1, vec![], vec![])])
            .unwrap_err()
            .pointer
    };
    for (selector, pointer) in [
        (
            json!({"type": "ip", "ranges": ["10.0.0.0/8", "10.0.0.0/33"]}),
            "/include/1/ranges/1",
        ),
        (json!({"type": "ip", "ranges": []}), "/include/1/ranges"),
        (json!({"type": "request", "path": "docs"}), "/include/1/path"),
        (
            json!({"type": "request", "methods": ["get"]}),
            "/include/1/methods/0",
        ),
        (json!({"type": "mcp_tool", "tool": "a*b"}), "/include/1/tool"),
        (json!({"type": "email", "email": "ada"}), "/include/1/email"),
        (
            json!({"type": "email", "email": "a@evil.com@acme.example"}),
            "/include/1/email",
        ),
        (
            json!({"type": "email", "email": "ada@example.com "}),
            "/include/1/email",
        ),
        (
            json!({"type": "email_domain", "domain": "example.com."}),
            "/include/1/domain",
        ),
        (
            json!({"type": "email_domain", "domain": "ex\u{e4}mple.com"}),
            "/include/1/domain",
        ),
        (
            json!({"type": "claim", "name": "groups", "value": "ad\u{200b}mins"}),
            "/include/1/value",
        ),
        (
            json!({"type": "claim", "name": "groups", "value": " admins"}),
            "/include/1/value",
        ),
        (
            json!({"type": "email_domain", "domain": "@example.com"}),
            "/include/1/domain",
        ),
        (
            json!({"type": "group", "group": id::<wire::GroupId>("grp", 9)}),
            "/include/1/group",
        ),
        (
            json!({"type": "claim", "name": "", "value": "x"}),
            "/include/1/name",
        ),
        (json!({"type": "scope", "scope": "a b"}), "/include/1/scope"),
        (json!({"type": "email_list", "emails": []}), "/include/1/emails"),
        (
            json!({"type": "email_list", "emails": ["a@b", "a"]}),
            "/include/1/emails/1",
        ),
        (json!({"type": "auth_method"}), "/include/1/amr"),
        (json!({"type": "auth_method", "acr": [""]}), "/include/1/acr/0"),
        (json!({"type": "time", "from": "9"}), "/include/1/from"),
        (json!({"type": "time", "to": "00:00"}), "/include/1/to"),
        (
            json!({"type": "time", "utc_offset_minutes": 900}),
            "/include/1/utc_offset_minutes",
        ),
        (json!({"type": "client", "client": ""}), "/include/1/client"),
    ] {
        assert_eq!(bad(selector.clone()), pointer, "{selector}");
    }
    assert_eq!(
        check_policy(&spec(Allow, vec![]), &[]).unwrap_err().pointer,
        "/include"
    );
    let nested = Selector::Group { group: id("grp", 1) };
    let group_spec = GroupSpec {
        name: "g".into(),
        members: vec![],
        include: vec![everyone(), nested.clone()],
    };
    assert_eq!(check_group(&group_spec).unwrap_err().pointer, "/include/1/group");
    assert_eq!(
        check_floor(&[path("x")], &[]).unwrap_err().pointer,
        "/floor/0/path"
    );
    let rule = RuleRef {
        id: "p".into(),
        name: "p".into(),
    };
    let compile = |spec, groups: &[_]| {
        Ruleset::compile(&[], &[(rule.clone(), spec)], groups)
            .unwrap_err()
            .pointer
    };
    assert_eq!(compile(spec(Allow, vec![]), &[]), "/policies/0/include");
    let groups = [group(2, vec![], vec![]), group(1, vec![], vec![nested.clone()])];
    assert_eq!(
        compile(spec(Allow, vec![nested]), &groups),
        "/groups/1/include/0/group"
    );
}

#[test]
fn a_broken_group_that_no_rule_names_does_no_harm() {
    let w = World::default();
    let broken = group(1, vec![], vec![path("no slash")]);
    assert!(
        rules(&[], vec![spec(Allow, vec![everyone()])], &[broken])
            .decide(&w.person())
            .allowed
    );
}

#[test]
fn the_tester_says_why_in_words() {
    let w = World {
        verified: false,
        ..World::default()
    };
    let mut office = spec(Allow, vec![everyone()]);
    office.require = vec![sel(json!({"type": "ip", "ranges": ["10.0.0.0/8"]}))];
    let mut blocked = spec(Allow, vec![Selector::Group { group: id("grp", 1) }]);
    blocked.exclude = vec![actor(Actor::Browser)];
    let policies = vec![
        spec(ServiceAuth, vec![everyone()]),
        spec(Allow, vec![path("/a")]),
        office,
        blocked,
        spec(Allow, vec![everyone()]),
        spec(Deny, vec![everyone()]),
    ];
    let rules = rules(&[ada()], policies, &[group(1, vec![w.user.clone()], vec![])]);
    let result = rules.explain(&w.person());
    assert_eq!(result.decision.reason, Reason::OrganisationFloor);
    let trace: Vec<_> = result
        .trace
        .iter()
        .map(|t| (t.policy.id.as_str(), t.matched, t.because.as_str()))
        .collect();
    let unknown = "(not known or not proven, which counts against the request)";
    assert_eq!(
        trace,
        [
            ("p0", false, "It lets service tokens through, and none is used"),
            ("p1", false, "None of what it includes matches"),
            (
                "p2",
                false,
                &*format!("Required but not so: the address is in 10.0.0.0/8 {unknown}")
            ),
            ("p3", false, "Excluded: a person acts in a browser"),
            ("p4", true, "Included: it is for everyone"),
            (
                "floor/0",
                false,
                &*format!(
                    "A rule of the organisation is not met: the verified e-mail address is ada@example.com {unknown}"
                )
            ),
        ]
    );
}
