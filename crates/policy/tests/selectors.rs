//! Each selector: match, no match, and a missing fact on either side.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
use common::*;
use policy::{Facts, McpFacts, RequestFacts};
use serde_json::json;
use wire::{Actor, ClientTier, Group, PolicyDecision, Selector};

#[derive(Debug, PartialEq, Clone, Copy)]
enum Seen {
    Match,
    NoMatch,
    /// Lets nobody through, refuses everybody.
    Missing,
}
use Seen::{Match, Missing, NoMatch};

/// What a selector says, found out from outside: under what else would let the facts through, and before it.
fn seen(selector: &Selector, facts: &Facts<'_>, groups: &[Group]) -> Seen {
    let pass = match facts.actor {
        Actor::Service => PolicyDecision::ServiceAuth,
        _ => PolicyDecision::Allow,
    };
    let one = |specs| rules(&[], specs, groups).decide(facts).allowed;
    let lets_through = one(vec![spec(pass, vec![selector.clone()])]);
    let mut required = spec(pass, vec![everyone()]);
    required.require.push(selector.clone());
    assert_eq!(
        one(vec![required]),
        lets_through,
        "require is like include: {selector:?}"
    );
    let refuses = !one(vec![
        spec(PolicyDecision::Deny, vec![selector.clone()]),
        spec(pass, vec![everyone()]),
    ]);
    let mut excluded = spec(pass, vec![everyone()]);
    excluded.exclude.push(selector.clone());
    assert_eq!(
        !one(vec![excluded]),
        refuses,
        "exclude is like deny: {selector:?}"
    );
    let mut spared = spec(PolicyDecision::Deny, vec![everyone()]);
    spared.exclude.push(selector.clone());
    assert_eq!(
        one(vec![spared, spec(pass, vec![everyone()])]),
        lets_through,
        "an exception to deny: {selector:?}"
    );
    match (lets_through, refuses) {
        (true, true) => Match,
        (false, false) => NoMatch,
        (false, true) => Missing,
        (true, false) => panic!("{selector:?} lets through what it does not match"),
    }
}

fn table(cases: &[(serde_json::Value, Facts<'_>, Seen)]) {
    for (selector, facts, expected) in cases {
        assert_eq!(
            seen(&sel(selector.clone()), facts, &[]),
            *expected,
            "{selector} on {facts:?}"
        );
    }
}

#[test]
fn selectors_about_the_person() {
    let w = World::default();
    let unverified = World {
        verified: false,
        ..World::default()
    };
    let no_email = World {
        email: None,
        ..World::default()
    };
    let odd = World {
        email: Some("a@b@evil.example".into()),
        ..World::default()
    };
    let bare = World {
        claims: serde_json::Map::new(),
        authentication: by(json!({})),
        groups: vec![],
        ..World::default()
    };
    let pwd = World {
        authentication: by(json!({"amr": ["pwd", "pin"]})),
        ..World::default()
    };
    let mfa = World {
        authentication: by(json!({"amr": ["mfa"]})),
        ..World::default()
    };
    let dept = |value: serde_json::Value| World {
        claims: json!({"dept": value}).as_object().unwrap().clone(),
        ..World::default()
    };
    // What a rule cannot compare is not a "no": a rule that denies counts.
    for (value, expected) in [
        (json!("5"), Match),
        (json!(5), Match),
        (json!(["x", "5"]), Match),
        (json!("6"), NoMatch),
        (json!(["x", 6, true, null]), NoMatch),
        (json!(null), NoMatch),
        (json!("5\u{200b}"), Missing),
        (json!("5 "), Missing),
        (json!(" 5"), Missing),
        (json!([["5"]]), Missing),
        (json!({"a": "5"}), Missing),
        (json!({"5": true}), Missing),
        (json!(5.0), Missing),
        (json!(["x", 5.0]), Missing),
    ] {
        let world = dept(value.clone());
        let rule = sel(json!({"type": "claim", "name": "dept", "value": "5"}));
        assert_eq!(seen(&rule, &world.person(), &[]), expected, "{value}");
    }
    let overage = World {
        claims: json!({"_claim_names": {"groups": "src1"}})
            .as_object()
            .unwrap()
            .clone(),
        ..World::default()
    };
    let email = json!({"type": "email", "email": "ada@example.COM"});
    let domain = json!({"type": "email_domain", "domain": "EXAMPLE.com"});
    let con = json!({"type": "connection", "connection": w.connection.to_string()});
    let claim = |name: &str, value: &str| json!({"type": "claim", "name": name, "value": value});
    table(&[
        (json!({"type": "everyone"}), w.person(), Match),
        (json!({"type": "everyone"}), w.service(), Match),
        (email.clone(), w.person(), Match),
        (email.clone(), w.agent(), Match),
        (
            json!({"type": "email", "email": "bob@example.com"}),
            w.person(),
            NoMatch,
        ),
        (email.clone(), unverified.person(), Missing),
        (email.clone(), no_email.person(), Missing),
        (email, w.service(), NoMatch),
        (domain.clone(), w.person(), Match),
        (
            json!({"type": "email_domain", "domain": "ample.com"}),
            w.person(),
            NoMatch,
        ),
        (
            json!({"type": "email_domain", "domain": "evil.example"}),
            odd.person(),
            // What cannot be read as an address is nobody's.
            Missing,
        ),
        (domain.clone(), unverified.person(), Missing),
        (domain, no_email.person(), Missing),
        (con.clone(), w.person(), Match),
        (
            con,
            World {
                connection: id("con", 2),
                ..World::default()
            }
            .person(),
            NoMatch,
        ),
        (claim("department", "Sales"), w.person(), Match),
        (claim("department", "sales"), w.person(), NoMatch),
        (claim("roles", "ops"), w.person(), Match),
        (claim("roles", "op"), w.person(), NoMatch),
        (claim("level", "3"), w.person(), Match),
        (claim("staff", "true"), w.person(), Match),
        (claim("absent", "x"), w.person(), NoMatch),
        (claim("groups", "eng"), w.person(), Match),
        (claim("groups", "ops"), w.person(), NoMatch),
        (claim("groups", "eng"), overage.person(), Match),
        (claim("groups", "ops"), overage.person(), Missing),
        (claim("groups", "ops"), w.service(), NoMatch),
        (json!({"type": "mfa"}), w.person(), Match),
        (json!({"type": "mfa"}), mfa.person(), Match),
        (json!({"type": "mfa"}), pwd.person(), NoMatch),
        (json!({"type": "mfa"}), bare.person(), Missing),
    ]);
}

#[test]
fn groups_hold_named_people_and_whoever_their_selectors_match() {
    let w = World::default();
    let unverified = World {
        verified: false,
        user: id("usr", 2),
        ..World::default()
    };
    let in_group = Selector::Group { group: id("grp", 1) };
    let by_id = [group(1, vec![id("usr", 1)], vec![])];
    assert_eq!(seen(&in_group, &w.person(), &by_id), Match);
    assert_eq!(seen(&in_group, &unverified.person(), &by_id), NoMatch);
    assert_eq!(seen(&in_group, &w.service(), &by_id), NoMatch);
    let by_domain = [group(
        1,
        vec![],
        vec![sel(json!({"type": "email_domain", "domain": "example.com"}))],
    )];
    assert_eq!(seen(&in_group, &w.person(), &by_domain), Match);
    assert_eq!(seen(&in_group, &unverified.person(), &by_domain), Missing);
    assert_eq!(seen(&in_group, &w.person(), &[group(1, vec![], vec![])]), NoMatch);
}

#[test]
fn selectors_about_agent_and_service() {
    let w = World::default();
    let unproven = World {
        tier: ClientTier::Unverified,
        ..World::default()
    };
    // Who serves a port of a host need not be who serves the others.
    let at_port = World {
        host: Some("agent.example:8443".into()),
        client_id: "https://agent.example:8443/client.json".into(),
        ..World::default()
    };
    let lost = Facts {
        client: None,
        ..w.agent()
    };
    let client = |client: &str| json!({"type": "client", "client": client});
    let tier = json!({"type": "client_tier", "at_least": "domain_verified"});
    let svc = |n: u8| json!({"type": "service_token", "service_token": id::<wire::ServiceTokenId>("svc", n)});
    let scope = |scope: &str| json!({"type": "scope", "scope": scope});
    table(&[
        (client(w.client.as_ref()), w.agent(), Match),
        (client(&w.client_id), w.agent(), Match),
        (client("AGENT.example"), w.agent(), Match),
        (client("agent.example"), unproven.agent(), Missing),
        (client("agent.example"), at_port.agent(), NoMatch),
        (client("agent.example:8443"), at_port.agent(), Match),
        (client(&w.client_id), at_port.agent(), NoMatch),
        (client(&w.client_id), unproven.agent(), Match),
        (client("other.example"), w.agent(), NoMatch),
        (client("agent.example"), w.person(), NoMatch),
        (client("agent.example"), lost, Missing),
        (tier.clone(), w.agent(), Match),
        (tier.clone(), unproven.agent(), NoMatch),
        (tier.clone(), w.person(), NoMatch),
        (tier, lost, Missing),
        (json!({"type": "actor", "actor": "agent"}), w.agent(), Match),
        (json!({"type": "actor", "actor": "agent"}), w.person(), NoMatch),
        (json!({"type": "actor", "actor": "service"}), w.service(), Match),
        (scope("read"), w.agent(), Match),
        (scope("write"), w.agent(), NoMatch),
        (
            scope("read"),
            Facts {
                scopes: None,
                ..w.agent()
            },
            Missing,
        ),
        (
            scope("read"),
            Facts {
                scopes: Some(&w.scopes),
                ..w.person()
            },
            NoMatch,
        ),
        (svc(1), w.service(), Match),
        (svc(2), w.service(), NoMatch),
        (svc(1), w.person(), NoMatch),
        (json!({"type": "any_service_token"}), w.service(), Match),
        (json!({"type": "any_service_token"}), w.agent(), NoMatch),
    ]);
}

#[test]
fn selectors_about_the_request() {
    let w = World::default();
    let from = |ip: &str| Facts {
        ip: Some(ip.parse().unwrap()),
        ..w.person()
    };
    let at = |request| Facts {
        request: Some(request),
        ..w.agent()
    };
    let ten = json!({"type": "ip", "ranges": ["10.0.0.0/8", "2001:db8::/32"]});
    let mapped = json!({"type": "ip", "ranges": ["::ffff:10.0.0.0/104"]});
    let get = json!({"type": "request", "methods": ["GET", "HEAD"], "path": "/docs/**"});
    let read = json!({"type": "mcp_tool", "tool": "read_*"});
    let batch = RequestFacts {
        mcp: Some(McpFacts {
            tools: &["read_a"],
            others: false,
        }),
        ..RequestFacts::web("POST", "/")
    };
    table(&[
        (ten.clone(), from("10.1.2.3"), Match),
        (ten.clone(), from("::ffff:10.1.2.3"), Match),
        (ten.clone(), from("2001:db8::1"), Match),
        (ten.clone(), from("11.1.2.3"), NoMatch),
        (ten, w.person(), Missing),
        (mapped.clone(), from("10.1.2.3"), Match),
        (mapped, from("11.1.2.3"), NoMatch),
        (
            json!({"type": "ip", "ranges": ["192.0.2.7"]}),
            from("192.0.2.7"),
            Match,
        ),
        (get.clone(), at(RequestFacts::web("GET", "/docs/a/b")), Match),
        (get.clone(), at(RequestFacts::web("POST", "/docs/a")), NoMatch),
        (get.clone(), at(RequestFacts::web("GET", "/Docs/a")), NoMatch),
        (get.clone(), at(RequestFacts::web("GET", "/d%6Fcs/a")), Missing),
        (get, w.agent(), Missing),
        (read.clone(), at(batch), Match),
        (
            read.clone(),
            at(RequestFacts::mcp("POST", "/", &["write_a"])),
            NoMatch,
        ),
        (read.clone(), at(RequestFacts::mcp("POST", "/", &[])), NoMatch),
        (read.clone(), at(RequestFacts::web("POST", "/")), NoMatch),
        (read, w.agent(), Missing),
    ]);
}

#[test]
fn selectors_about_the_sign_in() {
    let w = World::default();
    let with = |proof: serde_json::Value| World {
        authentication: by(proof),
        ..World::default()
    };
    let unverified = World {
        verified: false,
        ..World::default()
    };
    let strong = with(json!({"amr": ["hwk"], "acr": "phr"}));
    let only_acr = with(json!({"acr": "phr"}));
    let bare = with(json!({}));
    let list = json!({"type": "email_list", "emails": ["zoe@example.com", "ADA@example.com"]});
    let others = json!({"type": "email_list", "emails": ["zoe@example.com", "bob@example.com"]});
    let hardware = json!({"type": "auth_method", "amr": ["hwk", "swk"]});
    let resistant = json!({"type": "auth_method", "acr": ["phr", "phrh"]});
    let either = json!({"type": "auth_method", "amr": ["hwk"], "acr": ["phr"]});
    table(&[
        (list.clone(), w.person(), Match),
        (list.clone(), w.agent(), Match),
        (list.clone(), unverified.person(), Missing),
        (list, w.service(), NoMatch),
        (others, w.person(), NoMatch),
        (hardware.clone(), strong.person(), Match),
        (hardware.clone(), w.person(), NoMatch),
        (hardware.clone(), bare.person(), Missing),
        (hardware, w.service(), NoMatch),
        (resistant.clone(), strong.agent(), Match),
        (resistant.clone(), w.person(), Missing),
        (resistant, with(json!({"acr": "0"})).person(), NoMatch),
        (either.clone(), only_acr.person(), Match),
        // What was not sent may be just what was asked for.
        (either, w.person(), Missing),
    ]);
}

#[test]
fn a_window_of_time_is_open_or_not_and_unknown_without_a_clock() {
    let w = World::default();
    let office = json!({"type": "time", "days": ["mon"], "from": "09:00", "to": "17:00"});
    let at = |moment: &str| Facts {
        at: wire::Timestamp::parse(moment),
        ..w.agent()
    };
    table(&[
        (office.clone(), at("2026-11-23T09:00:00Z"), Match),
        (office.clone(), at("2026-11-23T17:00:00Z"), NoMatch),
        (office.clone(), w.agent(), Missing),
    ]);
    // At consent nobody knows when the agent will come.
    let rules = rules(&[], vec![spec(PolicyDecision::Allow, vec![sel(office)])], &[]);
    assert!(rules.could_allow(&w.agent()).allowed);
    assert!(!rules.could_allow(&at("2026-11-23T17:00:00Z")).allowed);
}

#[test]
fn software_counts_only_where_an_agent_acts() {
    let w = World::default();
    let contradiction = Facts {
        actor: Actor::Browser,
        ..w.agent()
    };
    table(&[
        (
            json!({"type": "client", "client": w.client_id}),
            contradiction,
            NoMatch,
        ),
        (
            json!({"type": "client_tier", "at_least": "localhost"}),
            contradiction,
            NoMatch,
        ),
    ]);
}
