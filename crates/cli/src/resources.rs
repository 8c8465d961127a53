//! What there is to manage: one line a resource. Commands, help, completion and the comparison with the API's
//! description follow from this table.

mod table;

use http::Method;

/// What can be done to a resource by the common commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    List,
    Get,
    Create,
    Update,
    Delete,
}

/// What only some resources can do.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) method: Method,
    /// Behind the resource's path and, if it is done to one thing, that thing's identifier.
    pub(crate) path: &'static str,
    pub(crate) target: Target,
    /// Whether it takes `-f` and `--set`.
    pub(crate) body: bool,
    /// For lists.
    pub(crate) columns: &'static [Column],
}

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// All.
    Collection,
    /// One thing.
    Item,
    /// A part of one thing, with an identifier of its own.
    Part,
}

/// A column's heading and the fields behind it, dotted; the first that is there is shown.
pub(crate) type Column = (&'static str, &'static [&'static str]);

/// One kind of thing.
pub(crate) struct Resource {
    /// `apps`: the command, and the path below `/api/v1`.
    pub(crate) name: &'static str,
    /// `app`: an alias of the command.
    pub(crate) singular: &'static str,
    pub(crate) about: &'static str,
    pub(crate) verbs: &'static [Verb],
    pub(crate) columns: &'static [Column],
    /// The fields by which a person names one; the first that fits.
    pub(crate) keys: &'static [&'static str],
    /// Filters of the list that have a flag of their own, with the resource that they name.
    pub(crate) filters: &'static [(&'static str, Option<&'static str>)],
    pub(crate) actions: &'static [Action],
    /// Help: what to type.
    pub(crate) examples: &'static str,
}

pub(crate) use table::RESOURCES;

/// The resource of a name, an alias or a path.
pub(crate) fn find(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.name == name || r.singular == name)
}

/// The resource whose identifiers begin so.
pub(crate) fn of_id(id: &str) -> Option<&'static str> {
    let (prefix, rest) = id.split_once('_')?;
    if rest.len() != 32 || !rest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some(match prefix {
        "acc" => "accounts",
        "con" => "connections",
        "mig" => "connection-migrations",
        "bnd" => "bindings",
        "usr" => "users",
        "mem" => "members",
        "inv" => "invitations",
        "rmp" => "role-mappings",
        "grp" => "groups",
        "app" => "apps",
        "hst" => "hosts",
        "pol" => "policies",
        "cli" => "clients",
        "doc" => "agent-documents",
        "gnt" => "grants",
        "aat" => "agent-attempts",
        "ses" => "sessions",
        "tok" => "api-tokens",
        "key" => "signing-keys",
        "svc" => "service-tokens",
        "whk" => "webhooks",
        "ast" | "org" | "evt" | "whd" | "trl" | "fac" => "",
        _ => return None,
    })
}

/// Which resource a field of a body names, so that names may stand for identifiers there.
pub(crate) fn named_by(field: &str) -> Option<&'static str> {
    Some(match field {
        "account" | "accounts" | "shared_with" => "accounts",
        "connection" | "primary_connection" | "from" | "to" => "connections",
        "app" => "apps",
        "user" | "from_user" | "to_user" => "users",
        "client" => "clients",
        "policies" => "policies",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::Verb::{Create, Delete, Get, List, Update};
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Paths that are no resource of a pattern; they have commands of their own, or belong to the dashboard.
    const ELSEWHERE: &[&str] = &["session", "organisation", "overview", "audit"];

    /// Below a resource, but for the dashboard alone.
    const NOT_HERE: &[&str] = &[];

    #[test]
    fn every_collection_of_the_api_has_its_commands() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let description: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut missing = BTreeSet::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            let Some(below) = path.strip_prefix("/api/v1/") else {
                continue;
            };
            let parts: Vec<_> = below.split('/').collect();
            if ELSEWHERE.contains(&parts[0]) || parts[0] == "me" || NOT_HERE.contains(&below) {
                continue;
            }
            let Some(resource) = find(parts[0]) else {
                missing.insert(below.to_owned());
                continue;
            };
            for method in item.as_object().unwrap().keys().filter(|m| *m != "parameters") {
                let verb = match (parts.as_slice(), method.as_str()) {
                    ([_], "get") => Some(List),
                    ([_], "post") => Some(Create),
                    ([_, "{id}"], "get") => Some(Get),
                    ([_, "{id}"], "patch") => Some(Update),
                    ([_, "{id}"], "delete") => Some(Delete),
                    _ => None,
                };
                let known = match verb {
                    Some(verb) => resource.verbs.contains(&verb),
                    None => resource.actions.iter().any(|action| {
                        let mine = match action.target {
                            Target::Collection => action.path.to_owned(),
                            Target::Item => format!("{{}}/{}", action.path),
                            Target::Part if action.path.contains("{}") => format!("{{}}/{}", action.path),
                            Target::Part => format!("{{}}/{}/{{}}", action.path),
                        };
                        let theirs = parts[1..]
                            .iter()
                            .map(|p| if p.starts_with('{') { "{}" } else { p });
                        let theirs = theirs.collect::<Vec<_>>().join("/");
                        mine == theirs && action.method.as_str().eq_ignore_ascii_case(method)
                    }),
                };
                if !known {
                    missing.insert(format!("{method} {below}"));
                }
            }
        }
        assert!(
            missing.is_empty(),
            "the API can do what no command does: {missing:#?}"
        );
    }
}
