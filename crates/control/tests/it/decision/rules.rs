//! What rules and scopes say.

use super::{Expected, Stages, allowed, case, refused, request_refused};
use serde_json::json;
use wire::*;

#[tokio::test]
async fn a_policy_that_denies() {
    case("deny", refused(Reason::PolicyDenied), async |s| {
        s.put_first(json!({"name": "Not her", "decision": "deny",
            "include": [{"type": "email", "email": s.user.email}]}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn no_policy_that_matches() {
    case("no policy", refused(Reason::NoPolicyMatched), async |s| {
        s.patch_app(json!({ "policies": [] })).await;
    })
    .await;
}

#[tokio::test]
async fn a_proof_that_the_floor_asks_for_and_this_session_has_not() {
    case("floor", refused(Reason::OrganisationFloor), async |s| {
        s.floor(json!({"type": "mfa"})).await;
        // Somewhere else the same person has it.
        s.sign_in_elsewhere(&["pwd", "otp", "mfa"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_proof_that_the_floor_asks_for_and_this_session_has() {
    case("floor met", allowed(), async |s| {
        s.floor(json!({"type": "auth_method", "amr": ["pwd"]})).await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_the_account_does_not_get_to_see() {
    case("withheld", refused(Reason::NoPolicyMatched), async |s| {
        let binding = format!("/bindings/{}", s.world.acme.binding.id);
        s.patch(&binding, json!({"claims": ["email"]})).await;
    })
    .await;
}

/// The policy that lets staff in, if something else is met, too.
fn staff_if(require: &serde_json::Value) -> serde_json::Value {
    json!({"name": "Staff, if", "decision": "allow", "require": [require],
        "include": [{"type": "claim", "name": "groups", "value": "staff"}]})
}

#[tokio::test]
async fn an_address_and_a_moment_that_a_rule_asks_for() {
    case("address", allowed(), async |s| {
        s.only(staff_if(&json!({"type": "ip", "ranges": ["203.0.113.0/24"]})))
            .await;
    })
    .await;
    case("moment", allowed(), async |s| {
        s.only(staff_if(&json!({"type": "time"}))).await;
    })
    .await;
}

#[tokio::test]
async fn another_address_than_a_rule_asks_for() {
    case(
        "other address",
        request_refused(Reason::NoPolicyMatched),
        async |s| {
            s.only(staff_if(&json!({"type": "ip", "ranges": ["10.0.0.0/8"]})))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn an_address_that_a_rule_asks_for_and_nobody_knows() {
    let rule = json!({"type": "ip", "ranges": ["203.0.113.0/24"]});
    case(
        "no address",
        request_refused(Reason::NoPolicyMatched),
        async |s| {
            s.only(staff_if(&rule)).await;
            s.ip.set(None);
        },
    )
    .await;
    case("no address", request_refused(Reason::PolicyDenied), async |s| {
        s.put_first(json!({"name": "Not from there", "decision": "deny", "include": [rule]}))
            .await;
        s.ip.set(None);
    })
    .await;
}

#[tokio::test]
async fn a_way_of_signing_in_that_is_not_allowed_but_to_come() {
    // Who has signed in so is refused, and who has yet to sign in may do it otherwise.
    case("way", refused(Reason::NoPolicyMatched), async |s| {
        s.only(staff_if(&json!({"type": "mfa"}))).await;
    })
    .await;
}

#[tokio::test]
async fn a_rule_for_services() {
    case("services", refused(Reason::NoPolicyMatched), async |s| {
        s.only(json!({"name": "Services", "decision": "service_auth",
            "include": [{"type": "request", "path": "/page"}]}))
            .await;
    })
    .await;
}

/// A policy that denies a path.
fn not_at(path: &str) -> serde_json::Value {
    json!({"name": "Not there", "decision": "deny", "include": [{"type": "request", "path": path}]})
}

#[tokio::test]
async fn a_path_that_is_denied() {
    case("path", request_refused(Reason::PolicyDenied), async |s| {
        s.put_first(not_at("/page")).await;
    })
    .await;
}

#[tokio::test]
async fn a_path_in_other_letters() {
    case("another path", allowed(), async |s| {
        s.put_first(not_at("/PAGE")).await;
    })
    .await;
    case(
        "the same path",
        request_refused(Reason::PolicyDenied),
        async |s| {
            s.put_first(not_at("/PAGE")).await;
            s.patch_app(json!({"case_insensitive_paths": true})).await;
        },
    )
    .await;
}

/// What the agent's token covers.
fn covers(path: &str) -> serde_json::Value {
    json!({"oauth": {"scopes": [{"name": "access", "description": "Use", "covers": [{"path": path}]}]}})
}

#[tokio::test]
async fn a_request_that_the_scopes_do_not_cover() {
    let expected = Expected {
        person: Stages::all(true),
        ..request_refused(Reason::InsufficientScope)
    };
    case("scope", expected, async |s| {
        s.patch_app(covers("/other/**")).await;
    })
    .await;
    let in_other_letters = async |s: &super::Scene<'_>| s.patch_app(covers("/PAGE")).await;
    case("scope in other letters", expected, in_other_letters).await;
    case("scope in other letters", allowed(), async |s| {
        in_other_letters(s).await;
        s.patch_app(json!({"case_insensitive_paths": true})).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_a_rule_denies_and_the_scopes_do_not_cover() {
    case(
        "rule and scope",
        request_refused(Reason::PolicyDenied),
        async |s| {
            s.patch_app(covers("/other/**")).await;
            s.put_first(not_at("/page")).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_scope_that_a_rule_asks_for() {
    let expected = Expected {
        agent: Stages::all(true),
        ..refused(Reason::NoPolicyMatched)
    };
    case("scope of a rule", expected, async |s| {
        s.only(staff_if(&json!({"type": "scope", "scope": "access"})))
            .await;
    })
    .await;
}
