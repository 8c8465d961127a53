//! `docs/openapi.json` is what the server serves, and the server answers nothing else.

use crate::world::Answer;
use http::Method;
use serde_json::Value;
use std::{path::Path, sync::LazyLock};

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(control::openapi()).unwrap());

/// Every answer in every test: its status is described for its operation, and its members are those of
/// the schema. Places and verbs that the description does not know are not looked at.
pub(crate) fn assert_described(method: &Method, path: &str, answer: &Answer) {
    let fits = |template: &str| {
        let (mut a, mut b) = (template.split('/'), path.split('/'));
        a.by_ref()
            .zip(b.by_ref())
            .all(|(a, b)| a == b || a.starts_with('{'))
            && template.split('/').count() == path.split('/').count()
    };
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    // `/audit/export` is no identifier.
    let item = paths
        .get(path)
        .or_else(|| paths.iter().find(|(t, _)| fits(t)).map(|(_, item)| item));
    let operation = item.and_then(|item| item.get(method.as_str().to_lowercase()));
    let Some(operation) = operation else { return };
    let response = &operation["responses"][answer.status.as_str()];
    assert!(
        response.is_object(),
        "{method} {path}: {} is not described",
        answer.status
    );
    let response = resolve(response);
    let kind = answer.header("content-type").split(';').next().unwrap();
    let content = response.get("content");
    assert_eq!(
        content.is_some(),
        !kind.is_empty(),
        "{method} {path}: a body or none"
    );
    let Some(content) = content else { return };
    let schema = &content[kind]["schema"];
    assert!(schema.is_object(), "{method} {path}: {kind} is not described");
    if kind.ends_with("json") && !kind.contains("ndjson") {
        // Of a write that may be tried: the thing, or what would become of it.
        let one_of = schema["oneOf"].as_array();
        let dry = usize::from(answer.header("chatelaine-dry-run") == "true");
        let schema = one_of.map_or(schema, |both| &both[dry]);
        assert_members(resolve(schema), &answer.json(), path);
    }
}

fn resolve(value: &Value) -> &Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(to) => resolve(DESCRIPTION.pointer(to.trim_start_matches('#')).unwrap()),
        None => value,
    }
}

fn assert_members(schema: &Value, value: &Value, place: &str) {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        list.iter()
            .for_each(|item| assert_members(resolve(items), item, place));
    }
    let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for (name, value) in object {
        let property = properties.get(name);
        let property = property.unwrap_or_else(|| panic!("{place}: {name} is not described"));
        assert_members(resolve(property), value, &format!("{place} {name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            object.contains_key(name.as_str().unwrap()),
            "{place}: {name} is missing"
        );
    }
}

#[test]
fn the_description_in_docs_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = control::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is not what the routes say; run the tests once with UPDATE_OPENAPI=1"
    );
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn walk(value: &Value) {
        match value {
            Value::Object(map) => {
                if map.contains_key("$ref") {
                    resolve(value);
                }
                map.values().for_each(walk);
            }
            Value::Array(items) => items.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&DESCRIPTION);
}

/// Every text of the sources that looks like an action.
fn actions(folder: &Path, found: &mut Vec<String>) {
    const NOUNS: [&str; 26] = [
        "login",
        "app",
        "client",
        "consent",
        "authorize",
        "token",
        "grant",
        "gateway",
        "session",
        "account",
        "policy",
        "group",
        "connection",
        "binding",
        "member",
        "user",
        "api_token",
        "signing_key",
        "organisation",
        "audit",
        "connection_migration",
        "factor",
        "invitation",
        "role_mapping",
        "service_token",
        "webhook",
    ];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            actions(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(text.split('"').filter_map(|word| {
                let (noun, verb) = word.split_once('.')?;
                let plain = verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                (NOUNS.contains(&noun) && !verb.is_empty() && plain && verb != "html")
                    .then(|| word.to_owned())
            }));
        }
    }
}

#[test]
fn every_action_is_in_the_catalogue() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let catalogue = std::fs::read_to_string(root.join("docs/AUDIT.md")).unwrap();
    let mut found = Vec::new();
    for krate in [
        "broker",
        "chatelaine",
        "control",
        "gateway",
        "oauth",
        "store",
        "tokens",
    ] {
        actions(&root.join("crates").join(krate).join("src"), &mut found);
    }
    assert!(found.len() > 30, "the sources were not found: {found:?}");
    for action in found {
        assert!(
            catalogue.contains(&format!("`{action}`")),
            "docs/AUDIT.md lacks {action}"
        );
    }
}
