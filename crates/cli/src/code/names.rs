//! Names for identifiers: what a file says instead of them, and what a plan calls things.

use super::kind::Kind;
use super::refs::{self, To};
use super::state::{Person, State, Thing};
use crate::node::{Content, Node};
use std::collections::HashMap;

/// Names of everything that has one; of a file's things the names that they are to have.
pub(crate) struct Names<'a> {
    names: HashMap<String, String>,
    /// Clients: their app's name beside their own.
    apps: HashMap<String, String>,
    state: &'a State,
}

impl<'a> Names<'a> {
    /// Those at the server.
    pub(crate) fn new(state: &'a State) -> Self {
        let mut names = Self {
            names: HashMap::new(),
            apps: HashMap::new(),
            state,
        };
        for thing in &state.things {
            names.add(thing.kind, &thing.id, &thing.key);
            if let (Kind::Client, Some(app)) = (thing.kind, &thing.app) {
                names.apps.insert(thing.id.clone(), app.clone());
            }
        }
        names
    }

    pub(crate) fn add(&mut self, kind: Kind, id: &str, name: &str) {
        if !matches!(kind, Kind::Binding | Kind::Organisation | Kind::RoleMapping) {
            self.names.insert(id.to_owned(), name.to_owned());
        }
    }

    pub(crate) fn add_client(&mut self, id: &str, app: &str) {
        self.apps.insert(id.to_owned(), app.to_owned());
    }

    pub(crate) fn of(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    /// A writable form as a file says it: brief, with names.
    pub(crate) fn readable(&self, kind: Kind, spec: &Node) -> Node {
        let mut node = kind.brief(spec);
        refs::each(kind, &mut node, &mut |to, _, reference| {
            let Some(id) = reference.as_str().map(ToOwned::to_owned) else {
                return;
            };
            match to {
                To::Thing(Kind::Client) => {
                    // One that registered itself has no name of its own: it stays what it is.
                    if let (Some(name), Some(app)) = (self.names.get(&id), self.apps.get(&id)) {
                        let app = Node::text(self.of(app));
                        *reference = Node::map(vec![("app", app), ("name", Node::text(name.clone()))]);
                    }
                }
                To::Thing(_) => *reference = Node::text(self.of(&id)),
                To::Person => {
                    if let Some(person) = self.state.people.get(&id) {
                        *reference = self.person(person);
                    }
                }
            }
        });
        if kind == Kind::Group {
            sort_members(&mut node);
        }
        node
    }

    /// A person by what tells them from others. The address beside a subject is for people who read the file.
    fn person(&self, person: &Person) -> Node {
        let connection = self.state.get(&person.connection);
        let field = |name: &str| connection.and_then(|c| c.spec.get(name)).and_then(Node::as_str);
        let mut entries = vec![("connection", Node::text(self.of(&person.connection)))];
        let email = person.email.clone();
        if field("kind") == Some("password")
            && email.as_ref().is_some_and(|e| e.to_lowercase() == person.subject)
        {
            entries.push(("email", Node::text(person.subject.clone())));
            return Node::map(entries);
        }
        if person.subject.is_empty() {
            // Withheld here: the identifier tells them from others all the same.
            entries.push(("user", Node::text(person.id.clone())));
            return Node::map(entries);
        }
        if field("issuer") != Some(&person.issuer) {
            entries.push(("issuer", Node::text(person.issuer.clone())));
        }
        entries.push(("subject", Node::text(person.subject.clone())));
        entries.extend(email.map(|email| ("email", Node::text(email))));
        Node::map(entries)
    }

    /// What a plan calls something: `Production/Wiki`.
    pub(crate) fn path(&self, thing: &Thing) -> String {
        let name = match thing.kind {
            Kind::Organisation => return String::new(),
            Kind::Binding => self.of(&thing.key),
            Kind::RoleMapping => {
                let text = |name: &str| thing.spec.get(name).and_then(Node::as_str).unwrap_or_default();
                let place = match text("account") {
                    "" => String::new(),
                    account => format!("{}/", self.of(account)),
                };
                let connection = self.of(text("connection"));
                return format!("{place}{connection}/{} as {}", text("group"), text("role"));
            }
            _ => thing.key.clone(),
        };
        let parents = [&thing.account, &thing.app].into_iter().flatten();
        let parents: Vec<_> = parents.map(|id| self.of(id)).collect();
        parents.into_iter().chain([name]).collect::<Vec<_>>().join("/")
    }
}

/// Members are a set; identifiers, by which the server keeps them, have another order everywhere.
fn sort_members(group: &mut Node) {
    if let Content::Map(entries) = &mut group.content
        && let Some((_, members)) = entries.iter_mut().find(|(k, _)| k.name == "members")
        && let Content::List(items) = &mut members.content
    {
        items.sort_by_key(Node::to_json);
    }
}
