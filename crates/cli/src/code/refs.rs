//! Where a writable form names other things: by identifier for the API, by name in a file.

use super::kind::Kind;
use crate::node::{Content, Node};

/// What a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Something that a file describes.
    Thing(Kind),
    /// A person, who comes by signing in.
    Person,
}

/// Calls `visit` for each reference, with where it is.
pub(crate) fn each(kind: Kind, spec: &mut Node, visit: &mut dyn FnMut(To, &str, &mut Node)) {
    match kind {
        Kind::Organisation => {
            field(spec, "primary_connection", To::Thing(Kind::Connection), visit);
            selectors(spec, "floor", visit);
        }
        Kind::Group => {
            list(spec, "members", To::Person, visit);
            selectors(spec, "include", visit);
        }
        Kind::Policy => {
            for name in ["include", "require", "exclude"] {
                selectors(spec, name, visit);
            }
        }
        Kind::App => list(spec, "policies", To::Thing(Kind::Policy), visit),
        Kind::RoleMapping => {
            field(spec, "connection", To::Thing(Kind::Connection), visit);
            field(spec, "account", To::Thing(Kind::Account), visit);
        }
        Kind::Connection
        | Kind::Account
        | Kind::Binding
        | Kind::ServiceToken
        | Kind::Client
        | Kind::Webhook => {}
    }
}

fn get<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    match &mut node.content {
        Content::Map(entries) => entries.iter_mut().find(|(k, _)| k.name == name).map(|(_, v)| v),
        _ => None,
    }
}

fn field(spec: &mut Node, name: &str, to: To, visit: &mut dyn FnMut(To, &str, &mut Node)) {
    if let Some(node) = get(spec, name).filter(|n| !n.is_null()) {
        visit(to, &format!("/{name}"), node);
    }
}

fn list(spec: &mut Node, name: &str, to: To, visit: &mut dyn FnMut(To, &str, &mut Node)) {
    if let Some(Node {
        content: Content::List(items),
        ..
    }) = get(spec, name)
    {
        for (i, item) in items.iter_mut().enumerate() {
            visit(to, &format!("/{name}/{i}"), item);
        }
    }
}

fn selectors(spec: &mut Node, name: &str, visit: &mut dyn FnMut(To, &str, &mut Node)) {
    let Some(Node {
        content: Content::List(items),
        ..
    }) = get(spec, name)
    else {
        return;
    };
    for (i, selector) in items.iter_mut().enumerate() {
        let (named, kind) = match selector.get("type").and_then(Node::as_str) {
            Some("group") => ("group", Kind::Group),
            Some("connection") => ("connection", Kind::Connection),
            Some("service_token") => ("service_token", Kind::ServiceToken),
            Some("client") => ("client", Kind::Client),
            _ => continue,
        };
        let Some(node) = get(selector, named) else {
            continue;
        };
        // A client can also be meant by its URL or host: text in a file, and no identifier at the server.
        let is_reference = kind != Kind::Client
            || matches!(node.content, Content::Map(_))
            || node.as_str().is_some_and(|text| text.starts_with("cli_"));
        if is_reference {
            visit(To::Thing(kind), &format!("/{name}/{i}/{named}"), node);
        }
    }
}
