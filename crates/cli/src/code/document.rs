//! A file as it was written: which things it describes, in names, and where it says so. What can be told to be
//! wrong without a server is told here.

use super::export::FORM;
use super::kind::Kind;
use crate::node::{Content, Key, Node, Position};
use crate::yaml;
use serde_json::Value;
use std::collections::HashSet;

/// One thing that the file describes.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    /// The account and the app that it stands in: indices of their drafts.
    pub(crate) account: Option<usize>,
    pub(crate) app: Option<usize>,
    pub(crate) name: String,
    pub(crate) previously: Option<String>,
    /// What it says, without what stands in it and without secrets.
    pub(crate) spec: Node,
    /// The variable that holds its client secret.
    pub(crate) secret: Option<String>,
    pub(crate) at: Position,
}

/// A file.
pub(crate) struct Document {
    pub(crate) drafts: Vec<Draft>,
    /// Whether it describes the whole organisation; otherwise only the accounts that it names.
    pub(crate) whole: bool,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) at: Position,
    pub(crate) detail: String,
}

impl Mistake {
    pub(crate) fn new(at: Position, detail: impl Into<String>) -> Self {
        Self {
            at,
            detail: detail.into(),
        }
    }
}

/// Reads a file, or says everything that is wrong with it.
pub(crate) fn read(text: &str) -> Result<Document, Vec<Mistake>> {
    let root = yaml::read(text).map_err(|e| vec![Mistake::new(e.at, e.detail)])?;
    let mut reader = Reader {
        drafts: Vec::new(),
        mistakes: Vec::new(),
    };
    let whole = reader.root(root);
    reader.twice();
    if reader.mistakes.is_empty() {
        Ok(Document {
            drafts: reader.drafts,
            whole,
        })
    } else {
        reader.mistakes.sort_by_key(|m| (m.at.line, m.at.column));
        Err(reader.mistakes)
    }
}

struct Reader {
    drafts: Vec<Draft>,
    mistakes: Vec<Mistake>,
}

/// Where things stand: account and app.
type Place = (Option<usize>, Option<usize>);

impl Reader {
    fn wrong(&mut self, at: Position, detail: impl Into<String>) {
        self.mistakes.push(Mistake::new(at, detail));
    }

    fn root(&mut self, root: Node) -> bool {
        let at = root.at;
        let Content::Map(entries) = root.content else {
            self.wrong(
                at,
                "a map is wanted: `chatelaine: 1`, `organisation:`, `accounts:` …",
            );
            return false;
        };
        if !entries.iter().any(|(key, _)| key.name == "chatelaine") {
            self.wrong(at, "`chatelaine: 1` is missing: the version of the file's form");
        }
        let mut whole = false;
        for (key, node) in entries {
            match key.name.as_str() {
                "chatelaine" if node.content == Content::Scalar(FORM.into()) => {}
                "chatelaine" => self.wrong(
                    node.at,
                    format!("this version understands `chatelaine: {FORM}` only"),
                ),
                "organisation" => {
                    whole = true;
                    self.thing(Kind::Organisation, (None, None), node);
                }
                "connections" => self.list(Kind::Connection, (None, None), node),
                "accounts" => self.list(Kind::Account, (None, None), node),
                "webhooks" => self.list(Kind::Webhook, (None, None), node),
                "role_mappings" => self.list(Kind::RoleMapping, (None, None), node),
                other => self.unknown(
                    &key,
                    other,
                    &[
                        "chatelaine",
                        "organisation",
                        "connections",
                        "accounts",
                        "webhooks",
                        "role_mappings",
                    ],
                ),
            }
        }
        whole
    }

    fn unknown(&mut self, key: &Key, name: &str, known: &[&str]) {
        self.wrong(
            key.at,
            format!("unknown key `{name}`; known are {}", known.join(", ")),
        );
    }

    fn list(&mut self, kind: Kind, place: Place, node: Node) {
        match node.content {
            Content::List(items) => {
                for item in items {
                    self.thing(kind, place, item);
                }
            }
            Content::Scalar(Value::Null) => {}
            _ => self.wrong(
                node.at,
                format!("a list of {} is wanted", kind.section().replace('_', " ")),
            ),
        }
    }

    fn thing(&mut self, kind: Kind, place: Place, node: Node) {
        let at = node.at;
        let Content::Map(entries) = node.content else {
            self.wrong(at, format!("a map is wanted: one {}", kind.noun()));
            return;
        };
        let inside = sections(kind);
        let mut draft = Draft {
            kind,
            account: place.0,
            app: place.1,
            name: String::new(),
            previously: None,
            spec: Content::Scalar(Value::Null).into(),
            secret: None,
            at,
        };
        let (mut spec, mut nested) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            if let Some(kind) = inside.iter().find(|k| k.section() == key.name) {
                nested.push((*kind, value));
                continue;
            }
            match (kind, key.name.as_str()) {
                (Kind::Organisation | Kind::Binding | Kind::RoleMapping, "previously") => {
                    self.wrong(key.at, "nothing that can be renamed");
                }
                (_, "previously") => draft.previously = self.text(&value),
                (Kind::Connection, "client_secret") => draft.secret = self.secret(&value),
                // What is bound tells a binding from others; it is no part of what can be changed.
                (Kind::Binding, "connection") => draft.name = self.text(&value).unwrap_or_default(),
                _ => spec.push((key, value)),
            }
        }
        draft.spec = Node {
            at,
            content: Content::Map(spec),
        };
        let named = !matches!(kind, Kind::Organisation | Kind::Binding | Kind::RoleMapping);
        if named {
            draft.name = match draft.spec.get("name").cloned() {
                Some(name) => self.text(&name).unwrap_or_default(),
                None => {
                    self.wrong(at, format!("a {} without a name", kind.noun()));
                    return;
                }
            };
        }
        if kind == Kind::Binding && draft.name.is_empty() {
            self.wrong(at, "a binding says which `connection` it binds");
            return;
        }
        let index = self.drafts.len();
        self.drafts.push(draft);
        for (kind, list) in nested {
            let place = match self.drafts[index].kind {
                Kind::Account => (Some(index), None),
                _ => (place.0, Some(index)),
            };
            self.list(kind, place, list);
        }
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        let text = node.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong(node.at, "text is wanted");
        }
        text.map(ToOwned::to_owned)
    }

    /// `{from_env: NAME}`. A secret itself does not belong into a file that is kept and shown around.
    fn secret(&mut self, node: &Node) -> Option<String> {
        let variable = match &node.content {
            Content::Map(entries) => match entries.as_slice() {
                [(key, value)] if key.name == "from_env" => value.as_str(),
                _ => None,
            },
            Content::Scalar(Value::Null) => return None,
            _ => None,
        };
        let fits = |name: &&str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        let variable = variable.filter(fits);
        if variable.is_none() {
            self.wrong(
                node.at,
                "secrets do not stand in the file: say `client_secret: {from_env: VARIABLE}`",
            );
        }
        variable.map(ToOwned::to_owned)
    }

    /// Nothing is described twice.
    fn twice(&mut self) {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for draft in &self.drafts {
            let key = match draft.kind {
                Kind::RoleMapping => draft.spec.to_value().to_string(),
                _ => draft.name.clone(),
            };
            // The names of connections and webhooks are the organisation's, wherever they stand.
            let place = match draft.kind {
                Kind::Connection | Kind::Webhook => (None, None),
                _ => (draft.account, draft.app),
            };
            if !seen.insert((draft.kind, place, key)) {
                let what = match draft.kind {
                    Kind::Binding => format!("the connection {} is bound here already", draft.name),
                    _ => format!("there is a {} {} here already", draft.kind.noun(), draft.name),
                };
                found.push(Mistake::new(draft.at, what.trim_end()));
            }
        }
        self.mistakes.extend(found);
    }
}

/// What stands inside of a thing.
const fn sections(kind: Kind) -> &'static [Kind] {
    match kind {
        Kind::Account => &[
            Kind::Connection,
            Kind::Binding,
            Kind::ServiceToken,
            Kind::Group,
            Kind::Policy,
            Kind::App,
            Kind::Webhook,
        ],
        Kind::App => &[Kind::Client],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_all_told_with_their_place() {
        let text = "\
chatelaine: 1
organization: {}
connections:
  - name: Okta
    client_secret: hunter2
  - kind: oidc
accounts:
  - name: A
    bindings: [{mode: exclusive}]
    groups: {name: x}
  - name: A
";
        let mistakes = read(text).err().unwrap();
        let told: Vec<_> = mistakes.iter().map(|m| (m.at.line, m.detail.as_str())).collect();
        assert_eq!(told.len(), 6, "{told:#?}");
        for (line, word) in [
            (2, "unknown key `organization`"),
            (5, "do not stand in the file"),
            (6, "without a name"),
            (9, "which `connection`"),
            (10, "a list of groups"),
            (11, "already"),
        ] {
            assert!(
                told.iter().any(|(l, d)| *l == line && d.contains(word)),
                "{line} {word}: {told:#?}"
            );
        }
        assert!(!format!("{told:?}").contains("hunter2"));
        assert_eq!(read("chatelaine: 2\n").err().unwrap()[0].at.to_string(), "1:13");
        assert!(read("").is_err());
    }
}
