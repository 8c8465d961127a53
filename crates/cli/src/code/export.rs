//! `chatelaine export`: the organisation as one YAML document, in names.

use super::kind::Kind;
use super::names::Names;
use super::state::{State, Thing};
use crate::api::Api;
use crate::failure::{Code, Failure, Outcome};
use crate::node::{Content, Node};
use crate::surroundings::Surroundings;
use crate::{resources, yaml};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The version of the file's form.
pub(crate) const FORM: i64 = 1;

const HEAD: &str = "\
# The configuration of a Chatelaine organisation.
# `chatelaine diff -f` compares it with a server, `chatelaine apply -f` makes a server so.
";

/// `chatelaine export`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  chatelaine export > org.yaml
  chatelaine export --account Production -o production.yaml

The same organisation is always the same text. Things refer to each other by name; what the server makes
itself (identifiers, versions, times) is left out, and so is what equals its default. Secrets are not
exported: a connection says from which environment variable its client secret is to be read. People, their
sessions and grants, agents that registered themselves, and the log are not configuration.

A file with --account describes these accounts only; `apply --prune` then deletes nothing outside of them.")]
pub(crate) struct Export {
    /// The file to write; standard output if absent.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only this account; can be given several times.
    #[arg(long, value_name = "NAME")]
    account: Vec<String>,
}

pub(crate) async fn run(args: Export, api: &Api, around: &mut Surroundings) -> Outcome {
    let state = State::load(api).await?;
    for name in &args.account {
        if !state.of(Kind::Account).any(|a| a.key == *name) {
            return Err(Failure::new(
                Code::NotFound,
                format!("there is no account called {name}"),
            ));
        }
    }
    let only = (!args.account.is_empty()).then_some(args.account.as_slice());
    let document = document(&state, only);
    for id in left_over(&document) {
        around.note(format!(
            "Note: {id} has no name here; the file says its identifier."
        ));
    }
    let text = write(&document);
    match args.out {
        Some(path) if path != std::path::Path::new("-") => std::fs::write(&path, text)
            .map_err(|error| Failure::error(format!("cannot write {}: {error}", path.display()))),
        _ => around.print(text),
    }
}

/// The document as text: sections apart from each other.
pub(crate) fn write(document: &Node) -> String {
    let mut text = HEAD.to_owned();
    if let Content::Map(entries) = &document.content {
        for entry in entries {
            text.push('\n');
            text.push_str(&yaml::write(&Content::Map(vec![entry.clone()]).into()));
        }
    }
    text
}

/// The whole organisation, or some accounts of it.
pub(crate) fn document(state: &State, only: Option<&[String]>) -> Node {
    let names = Names::new(state);
    let writer = Writer {
        state,
        names,
        secrets: secret_names(state),
    };
    let mut sections = vec![("chatelaine", Content::Scalar(FORM.into()).into())];
    if only.is_none() {
        let organisation = state.of(Kind::Organisation).next();
        sections.extend(organisation.map(|o| ("organisation", writer.names.readable(o.kind, &o.spec))));
        writer.section(&mut sections, Kind::Connection, (None, None));
    }
    let mut accounts: Vec<_> = state.of(Kind::Account).collect();
    accounts.retain(|a| only.is_none_or(|only| only.contains(&a.key)));
    accounts.sort_by(|a, b| a.key.cmp(&b.key));
    if !accounts.is_empty() {
        let accounts = accounts.into_iter().map(|account| writer.account(account));
        sections.push(("accounts", Node::list(accounts.collect())));
    }
    if only.is_none() {
        writer.section(&mut sections, Kind::Webhook, (None, None));
        writer.section(&mut sections, Kind::RoleMapping, (None, None));
    }
    Node::map(sections)
}

struct Writer<'a> {
    state: &'a State,
    names: Names<'a>,
    /// The variable for each connection's secret.
    secrets: std::collections::HashMap<String, String>,
}

impl Writer<'_> {
    /// What is in one place, by name.
    fn section(
        &self,
        sections: &mut Vec<(&str, Node)>,
        kind: Kind,
        (account, app): (Option<&str>, Option<&str>),
    ) {
        let here =
            |t: &&Thing| t.account.as_deref() == account && (kind != Kind::Client || t.app.as_deref() == app);
        let mut items: Vec<_> = self
            .state
            .of(kind)
            .filter(here)
            .map(|t| (self.names.path(t), t))
            .collect();
        if items.is_empty() {
            return;
        }
        items.sort_by(|a, b| a.0.cmp(&b.0));
        let items = items.into_iter().map(|(_, thing)| self.thing(thing)).collect();
        sections.push((kind.section(), Node::list(items)));
    }

    fn account(&self, account: &Thing) -> Node {
        let node = self.thing(account);
        let mut sections = Vec::new();
        for kind in [
            Kind::Connection,
            Kind::Binding,
            Kind::ServiceToken,
            Kind::Group,
            Kind::Policy,
            Kind::App,
            Kind::Webhook,
        ] {
            self.section(&mut sections, kind, (Some(&account.id), None));
        }
        append(node, sections)
    }

    fn thing(&self, thing: &Thing) -> Node {
        let node = self.names.readable(thing.kind, &thing.spec);
        match thing.kind {
            Kind::Binding => {
                let mut whole = Node::map(vec![("connection", Node::text(self.names.of(&thing.key)))]);
                if let (Content::Map(all), Content::Map(rest)) = (&mut whole.content, node.content) {
                    all.extend(rest);
                }
                whole
            }
            Kind::App => {
                let mut sections = Vec::new();
                let place = (thing.account.as_deref(), Some(thing.id.as_str()));
                self.section(&mut sections, Kind::Client, place);
                append(node, sections)
            }
            Kind::Connection if thing.has_secret => {
                let variable = self.secrets.get(&thing.id).cloned().unwrap_or_default();
                let secret = Node::map(vec![("from_env", Node::text(variable))]);
                let mut node = node;
                if let Content::Map(entries) = &mut node.content {
                    let behind = entries.iter().position(|(k, _)| k.name == "client_id");
                    let at = behind.map_or(entries.len(), |i| i + 1);
                    entries.insert(at, ("client_secret".into(), secret));
                }
                node
            }
            _ => node,
        }
    }
}

fn append(mut node: Node, sections: Vec<(&str, Node)>) -> Node {
    if let Content::Map(entries) = &mut node.content {
        entries.extend(sections.into_iter().map(|(name, list)| (name.into(), list)));
    }
    node
}

/// A variable for each stored secret: of the connection's name, and different ones for all.
fn secret_names(state: &State) -> std::collections::HashMap<String, String> {
    let mut with: Vec<_> = state.of(Kind::Connection).filter(|c| c.has_secret).collect();
    with.sort_by(|a, b| a.key.cmp(&b.key));
    let mut taken = BTreeSet::new();
    with.into_iter()
        .map(|connection| {
            let plain: String = connection
                .key
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_uppercase()
                    } else {
                        '_'
                    }
                })
                .collect();
            let plain = plain.trim_matches('_').to_owned();
            let begins = plain.starts_with(|c: char| c.is_ascii_uppercase());
            let base = if begins {
                plain
            } else {
                format!("CONNECTION_{plain}")
            };
            let name = (1..)
                .map(|n| match n {
                    1 => format!("{base}_CLIENT_SECRET"),
                    n => format!("{base}_{n}_CLIENT_SECRET"),
                })
                .find(|name| !taken.contains(name))
                .unwrap_or_default();
            taken.insert(name.clone());
            (connection.id.clone(), name)
        })
        .collect()
}

/// Identifiers that no name was found for.
pub(crate) fn left_over(node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut look = vec![node];
    while let Some(node) = look.pop() {
        match &node.content {
            Content::Scalar(_) => {
                let id = node.as_str().filter(|text| resources::of_id(text).is_some());
                found.extend(id.map(ToOwned::to_owned));
            }
            Content::List(items) => look.extend(items),
            Content::Map(entries) => look.extend(entries.iter().map(|(_, v)| v)),
        }
    }
    found
}
