//! `docs/openapi.json` is what the server serves.

use std::path::Path;

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

/// Every text of the sources that looks like an action.
fn actions(folder: &Path, found: &mut Vec<String>) {
    const NOUNS: [&str; 20] = [
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
