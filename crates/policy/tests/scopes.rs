//! What scopes cover, and which ones a challenge asks for.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use policy::{McpFacts, RequestFacts, ScopeSet};
use serde_json::{Value, json};
use wire::ScopeSpec;

fn specs(scopes: Value) -> Vec<ScopeSpec> {
    serde_json::from_value(scopes).unwrap()
}

fn set(scopes: Value) -> ScopeSet {
    ScopeSet::compile(&specs(scopes)).unwrap()
}

fn granted(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn a_web_scope_covers_its_methods_and_paths() {
    let set = set(json!([
        {"name": "read", "description": "", "covers": [{"methods": ["GET", "HEAD"]}, {"path": "/search"}]},
        {"name": "write", "description": "", "covers": [{"methods": ["POST"], "path": "/docs/**"}]},
        {"name": "none", "description": "", "covers": []},
    ]));
    let (get, post, search, put) = (
        RequestFacts::web("GET", "/docs/a"),
        RequestFacts::web("POST", "/docs/a"),
        RequestFacts::web("POST", "/search"),
        RequestFacts::web("PUT", "/docs/a"),
    );
    let read = granted(&["read", "none"]);
    assert!(set.covers(&read, &get) && set.covers(&read, &search));
    assert!(!set.covers(&read, &post) && !set.covers(&read, &put));
    assert!(set.covers(&granted(&["write"]), &post) && !set.covers(&granted(&["write"]), &get));
    assert!(!set.covers(&granted(&["none", "removed"]), &get) && !set.covers(&[], &get));
    assert_eq!(set.needed(&get), ["read"]);
    assert_eq!(set.needed(&post), ["write"]);
    assert!(set.needed(&put).is_empty(), "no scope would do");
    assert_eq!(set.names().collect::<Vec<_>>(), ["read", "write", "none"]);
}

#[test]
fn an_mcp_scope_covers_its_tools_and_every_message_that_calls_none() {
    let set = set(json!([
        {"name": "read", "description": "", "covers": [{"tools": ["read_*", "list"]}]},
        {"name": "write", "description": "", "covers": [{"tools": ["write"], "path": "/mcp"}]},
        {"name": "empty", "description": "", "covers": []},
    ]));
    let call = |tools| RequestFacts::mcp("POST", "/mcp", tools);
    for (scopes, tools, expected) in [
        (&["read"][..], &["read_a"][..], true),
        (&["read"], &["list"], true),
        (&["read"], &["write"], false),
        (&["read"], &["read_a", "write"], false),
        (&["read", "write"], &["read_a", "write"], true),
        (&["read"], &[], true),
        (&["empty"], &[], true),
        (&["empty"], &["list"], false),
        (&["foreign"], &[], false),
        (&[], &[], false),
    ] {
        assert_eq!(
            set.covers(&granted(scopes), &call(tools)),
            expected,
            "{scopes:?} {tools:?}"
        );
    }
    let other_path = RequestFacts::mcp("POST", "/other", &["write"]);
    assert!(
        !set.covers(&granted(&["write"]), &other_path),
        "every part of a cover must hold"
    );
    for method in ["GET", "DELETE"] {
        assert!(
            set.covers(&granted(&["write"]), &RequestFacts::mcp(method, "/mcp", &[])),
            "{method}"
        );
    }
    let mixed = RequestFacts {
        mcp: Some(McpFacts {
            tools: &["write"],
            others: true,
        }),
        ..call(&[])
    };
    assert!(!set.covers(&granted(&["read"]), &mixed) && set.covers(&granted(&["write"]), &mixed));
    assert!(
        !set.covers(&granted(&["read"]), &RequestFacts::web("GET", "/page")),
        "not a tool call"
    );
    assert_eq!(set.needed(&call(&["read_a", "write", "list"])), ["read", "write"]);
    assert_eq!(set.needed(&call(&[])), ["read"]);
    assert!(set.needed(&call(&["read_a", "delete"])).is_empty());
}

#[test]
fn the_default_scope_covers_everything() {
    let set = ScopeSet::compile(&wire::OauthSettings::default().scopes).unwrap();
    let access = granted(&["access"]);
    assert!(set.covers(&access, &RequestFacts::web("PATCH", "/any/thing")));
    assert!(set.covers(&access, &RequestFacts::mcp("POST", "/mcp", &["anything"])));
    assert!(!set.covers(&[], &RequestFacts::web("GET", "/")));
}

#[test]
fn bad_scopes_are_refused_where_they_are() {
    for (cover, pointer) in [
        (
            json!({"name": "a b", "description": "", "covers": []}),
            "/scopes/1/name",
        ),
        (
            json!({"name": "", "description": "", "covers": []}),
            "/scopes/1/name",
        ),
        (
            json!({"name": "ok", "description": "", "covers": []}),
            "/scopes/1/name",
        ),
        (
            json!({"name": "b", "description": "", "covers": [{}, {"path": "x"}]}),
            "/scopes/1/covers/1/path",
        ),
        (
            json!({"name": "b", "description": "", "covers": [{"methods": ["get"]}]}),
            "/scopes/1/covers/0/methods/0",
        ),
        (
            json!({"name": "b", "description": "", "covers": [{"tools": ["a", "*b"]}]}),
            "/scopes/1/covers/0/tools/1",
        ),
    ] {
        let scopes = specs(json!([{"name": "ok", "description": "", "covers": [{}]}, cover.clone()]));
        assert_eq!(
            ScopeSet::compile(&scopes).unwrap_err().pointer,
            pointer,
            "{cover}"
        );
    }
}
