//! From names to identifiers: what each thing of a file stands for at the server, or that it is new, and what
//! its references lead to.

use super::document::{Draft, Mistake};
use super::kind::Kind;
use super::refs::{self, To};
use super::state::{Person, State, Thing, mapping_key};
use crate::node::{Content, Node, Position};
use std::collections::{HashMap, HashSet};

/// Whether people have to be known to read it.
pub(super) fn names_people(draft: &Draft) -> bool {
    draft.kind == Kind::Group && draft.spec.get("members").is_some_and(|m| !m.items().is_empty())
}

/// A kind, an account, an app and a name there.
type Place = (Kind, Option<String>, Option<String>, String);

pub(super) struct Resolver<'a> {
    pub(super) state: &'a State,
    pub(super) drafts: Vec<Draft>,
    /// For each draft its identifier.
    pub(super) ids: Vec<String>,
    /// Identifiers at the server that a draft stands for.
    pub(super) found: HashSet<String>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) notes: Vec<String>,
    /// The file's things, by their place.
    here: HashMap<Place, String>,
    /// The server's.
    there: HashMap<Place, String>,
}

/// Names of connections and webhooks are the organisation's: they are the same wherever they stand.
fn place(kind: Kind, account: Option<&str>, app: Option<&str>, name: &str) -> Place {
    let account = account.filter(|_| !matches!(kind, Kind::Connection | Kind::Webhook));
    (
        kind,
        account.map(ToOwned::to_owned),
        app.map(ToOwned::to_owned),
        name.to_owned(),
    )
}

impl<'a> Resolver<'a> {
    pub(super) fn new(state: &'a State, drafts: Vec<Draft>) -> Self {
        Self {
            state,
            drafts,
            ids: Vec::new(),
            found: HashSet::new(),
            mistakes: Vec::new(),
            notes: Vec::new(),
            here: HashMap::new(),
            there: HashMap::new(),
        }
    }

    /// Gives each draft the identifier of what it stands for, or one that stands for what is to be made.
    pub(super) fn find(&mut self) {
        for thing in &self.state.things {
            let place = place(
                thing.kind,
                thing.account.as_deref(),
                thing.app.as_deref(),
                &thing.key,
            );
            self.there.insert(place, thing.id.clone());
        }
        self.ids = vec![String::new(); self.drafts.len()];
        // What things stand in is found before them, and connections before what binds and maps them.
        let mut order: Vec<usize> = (0..self.drafts.len()).collect();
        order.sort_by_key(|i| {
            let draft = &self.drafts[*i];
            let outer = match (draft.kind, draft.account) {
                (Kind::Account, _) => 0,
                (Kind::Connection, _) => 1,
                _ => 2,
            };
            (outer, draft.kind)
        });
        for (n, i) in order.into_iter().enumerate() {
            let draft = self.drafts[i].clone();
            if draft.kind == Kind::RoleMapping {
                continue;
            }
            let account = draft.account.map(|a| self.ids[a].clone());
            let app = draft.app.map(|a| self.ids[a].clone());
            let key = match draft.kind {
                Kind::Binding => {
                    let at = draft.at;
                    match self.named(Kind::Connection, None, &draft.name) {
                        Some(id) => id,
                        None => {
                            self.missing(Kind::Connection, None, &draft.name, at);
                            continue;
                        }
                    }
                }
                _ => draft.name.clone(),
            };
            let id = self.at_server(&draft, (account.as_deref(), app.as_deref()), &key);
            // The shape of an identifier, and none that a server gives: they begin with the time.
            let id = id.unwrap_or_else(|| format!("{}_ffffffff{n:024x}", draft.kind.prefix()));
            self.here.insert(
                place(draft.kind, account.as_deref(), app.as_deref(), &key),
                id.clone(),
            );
            self.found.insert(id.clone());
            self.ids[i] = id;
        }
    }

    /// What a draft stands for at the server.
    fn at_server(
        &self,
        draft: &Draft,
        (account, app): (Option<&str>, Option<&str>),
        key: &str,
    ) -> Option<String> {
        let look = |name: &str| {
            let id = self.there.get(&place(draft.kind, account, app, name))?;
            (!self.found.contains(id)).then(|| id.clone())
        };
        if draft.kind == Kind::Organisation {
            return self.state.of(Kind::Organisation).next().map(|o| o.id.clone());
        }
        let found = look(key).or_else(|| look(draft.previously.as_deref()?));
        // There is one connection for local passwords at most, whatever it is called.
        let password = |spec: &Node| spec.get("kind").and_then(Node::as_str) == Some("password");
        found.or_else(|| {
            let local = self.state.of(Kind::Connection).find(|c| password(&c.spec));
            local
                .filter(|_| draft.kind == Kind::Connection && password(&draft.spec))
                .map(|c| c.id.clone())
        })
    }

    /// The identifier of a name in an account: of the file's things first, then of the server's.
    fn named(&self, kind: Kind, account: Option<&str>, name: &str) -> Option<String> {
        let place = place(kind, account, None, name);
        let there = || self.there.get(&place).filter(|id| !self.renamed(id));
        self.here.get(&place).or_else(there).cloned()
    }

    /// Whether the file calls something at the server otherwise.
    fn renamed(&self, id: &str) -> bool {
        self.found.contains(id)
    }

    fn missing(&mut self, kind: Kind, account: Option<&str>, name: &str, at: Position) {
        let mut known: Vec<&str> = self
            .here
            .keys()
            .chain(self.there.keys())
            .filter(|(k, a, _, _)| *k == kind && (a.as_deref() == account || kind == Kind::Connection))
            .map(|(_, _, _, name)| name.as_str())
            .collect();
        known.sort_unstable();
        known.dedup();
        let mut detail = format!("there is no {} called {name}", kind.noun());
        if account.is_some() {
            detail.push_str(" in this account");
        }
        let near = known.iter().find(|k| k.eq_ignore_ascii_case(name)).or_else(|| {
            let close = |k: &&&str| similar::TextDiff::from_chars(**k, name).ratio() > 0.7;
            known.iter().find(close)
        });
        if let Some(near) = near {
            detail.push_str(&format!("; is {near} meant?"));
        }
        self.mistakes.push(Mistake::new(at, detail));
    }

    /// The file's things in the API's form.
    pub(super) fn resolve(&mut self) -> Vec<Option<Thing>> {
        (0..self.drafts.len()).map(|i| self.resolve_one(i)).collect()
    }

    fn resolve_one(&mut self, i: usize) -> Option<Thing> {
        let draft = self.drafts[i].clone();
        let account = draft.account.map(|a| self.ids[a].clone());
        let app = draft.app.map(|a| self.ids[a].clone());
        let mut spec = draft.spec.clone();
        let (mut failed, mut strangers) = (false, Vec::new());
        refs::each(draft.kind, &mut spec, &mut |to, _, node| {
            let id = match to {
                To::Person => match self.person(node) {
                    Ok(Some(id)) => Some(id),
                    Ok(None) => {
                        strangers.push(person_text(node));
                        // Taken out below.
                        Some(String::new())
                    }
                    Err(mistake) => {
                        self.mistakes.push(mistake);
                        None
                    }
                },
                To::Thing(Kind::Client) => self.client(account.as_deref(), node),
                To::Thing(kind) => self.thing(kind, account.as_deref(), node),
            };
            match id {
                Some(id) => node.content = Content::Scalar(id.into()),
                None => failed = true,
            }
        });
        if failed {
            return None;
        }
        if !strangers.is_empty() {
            take_out_strangers(&mut spec);
            self.notes.push(format!(
                "group {}: left out because they have never signed in: {}. Apply again when they have.",
                draft.name,
                strangers.join(", ")
            ));
        }
        let mut spec = spec.to_value();
        if draft.kind == Kind::Connection
            && let Some(before) = self.state.get(&self.ids[i])
            && let (Some(spec), Some(callback)) = (spec.as_object_mut(), before.spec.get("callback"))
        {
            // Files that are older than this say nothing of it, and to switch it is a decision.
            let kept = callback.to_value();
            spec.entry("callback").or_insert(kept);
        }
        let normal = match draft.kind.normalise(spec) {
            Ok(normal) => normal,
            Err(error) => {
                let at = draft.spec.locate(&error.pointer);
                self.mistakes.push(Mistake::new(at, error.detail));
                return None;
            }
        };
        let key = match draft.kind {
            Kind::Binding => self.named(Kind::Connection, None, &draft.name)?,
            Kind::RoleMapping => mapping_key(&normal),
            _ => draft.name.clone(),
        };
        if draft.kind == Kind::RoleMapping {
            let found = self
                .there
                .get(&place(Kind::RoleMapping, None, None, &key))
                .cloned();
            // Of the same group in the same place with another role: the role is what changes.
            let found = found.or_else(|| self.other_role(&normal));
            let id = found.unwrap_or_else(|| format!("{}_fffffffe{i:024x}", Kind::RoleMapping.prefix()));
            self.found.insert(id.clone());
            self.ids[i] = id;
        }
        let before = self.state.get(&self.ids[i]);
        if let (Some(before), Kind::Connection | Kind::Webhook) = (before, draft.kind)
            && before.account != account
        {
            let detail = format!(
                "the {} is at the server in another place; it cannot be moved",
                draft.kind.noun()
            );
            self.mistakes.push(Mistake::new(draft.at, detail));
            return None;
        }
        Some(Thing {
            kind: draft.kind,
            id: self.ids[i].clone(),
            account,
            app,
            key,
            spec: normal,
            version: before.and_then(|b| b.version),
            has_secret: before.is_some_and(|b| b.has_secret),
        })
    }

    /// A mapping at the server that differs in its role only, and that the file does not describe.
    fn other_role(&self, spec: &Node) -> Option<String> {
        let same = |thing: &&Thing| {
            ["connection", "group", "account"]
                .iter()
                .all(|f| thing.spec.get(f) == spec.get(f))
        };
        let described = |thing: &Thing| {
            self.found.contains(&thing.id)
                || self.drafts.iter().any(|draft| {
                    let role = |node: &Node| node.get("role").and_then(Node::as_str).map(ToOwned::to_owned);
                    let text = |name: &str| draft.spec.get(name).and_then(Node::as_str);
                    draft.kind == Kind::RoleMapping
                        && text("group") == spec.get("group").and_then(Node::as_str)
                        && role(&draft.spec) == role(&thing.spec)
                })
        };
        let mut others = self
            .state
            .of(Kind::RoleMapping)
            .filter(same)
            .filter(|t| !described(t));
        match (others.next(), others.next()) {
            (Some(one), None) => Some(one.id.clone()),
            _ => None,
        }
    }

    fn thing(&mut self, kind: Kind, account: Option<&str>, node: &Node) -> Option<String> {
        let Some(name) = node.as_str() else {
            let detail = format!("the name of a {} is wanted", kind.noun());
            self.mistakes.push(Mistake::new(node.at, detail));
            return None;
        };
        let account = account.filter(|_| !matches!(kind, Kind::Connection | Kind::Account));
        let found = self.named(kind, account, name);
        if found.is_none() {
            self.missing(kind, account, name, node.at);
        }
        found
    }

    /// `{app: Wiki, name: Agent}`: an entered client of an app of the account. `cli_…` stays what it is.
    fn client(&mut self, account: Option<&str>, node: &Node) -> Option<String> {
        if let Some(id) = node.as_str() {
            return Some(id.to_owned());
        }
        let text = |name: &str| node.get(name).and_then(Node::as_str);
        let (Some(app), Some(name)) = (text("app"), text("name")) else {
            let detail = "a client is {app: NAME, name: NAME}, a URL or a host";
            self.mistakes.push(Mistake::new(node.at, detail));
            return None;
        };
        let Some(app_id) = self.named(Kind::App, account, app) else {
            self.missing(Kind::App, account, app, node.at);
            return None;
        };
        let place = place(Kind::Client, account, Some(&app_id), name);
        let found = self.here.get(&place).or_else(|| self.there.get(&place)).cloned();
        if found.is_none() {
            let detail = format!("the app {app} has no client called {name}");
            self.mistakes.push(Mistake::new(node.at, detail));
        }
        found
    }

    /// The person that a member is; nobody if they have never signed in.
    fn person(&self, node: &Node) -> Result<Option<String>, Mistake> {
        let text = |name: &str| node.get(name).and_then(Node::as_str);
        let known = ["connection", "issuer", "subject", "email", "user"];
        if let Content::Map(entries) = &node.content
            && let Some((key, _)) = entries.iter().find(|(k, _)| !known.contains(&k.name.as_str()))
        {
            return Err(Mistake::new(key.at, format!("unknown key `{}`", key.name)));
        }
        if let Some(id) = text("user") {
            return Ok(self.state.people.get(id).map(|person| person.id.clone()));
        }
        let wanted = (text("connection"), text("subject"), text("email"));
        let (Some(connection), true) = (wanted.0, wanted.1.or(wanted.2).is_some()) else {
            let detail = "a member is {connection: NAME, subject: …} or {connection: NAME, email: …}";
            return Err(Mistake::new(node.at, detail));
        };
        let Some(id) = self.named(Kind::Connection, None, connection) else {
            return Err(Mistake::new(
                node.at,
                format!("there is no connection called {connection}"),
            ));
        };
        let spec = self.state.get(&id).map(|c| &c.spec);
        let field = |name: &str| spec.and_then(|s| s.get(name)).and_then(Node::as_str);
        let local = field("kind") == Some("password");
        let issuer = text("issuer").or_else(|| field("issuer"));
        let fits = |person: &&Person| {
            person.connection == id
                && match (wanted.1, wanted.2) {
                    (Some(subject), _) => {
                        person.subject == subject && (local || issuer == Some(&person.issuer))
                    }
                    // An address says who somebody is only if the provider vouches for it.
                    (None, Some(email)) => {
                        (local || person.email_verified)
                            && person
                                .email
                                .as_ref()
                                .is_some_and(|e| e.eq_ignore_ascii_case(email))
                    }
                    (None, None) => false,
                }
        };
        let mut found = self.state.people.values().filter(fits);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Mistake::new(
                node.at,
                "several people have this address: say which by `subject`",
            )),
            (None, _)
                if self
                    .state
                    .people
                    .values()
                    .any(|p| p.connection == id && p.subject.is_empty()) =>
            {
                let detail =
                    "who is who in this connection is withheld from you: say {connection: NAME, user: usr_…}";
                Err(Mistake::new(node.at, detail))
            }
            (person, _) => Ok(person.map(|p| p.id.clone())),
        }
    }
}

fn take_out_strangers(spec: &mut Node) {
    if let Content::Map(entries) = &mut spec.content
        && let Some((_, members)) = entries.iter_mut().find(|(k, _)| k.name == "members")
        && let Content::List(items) = &mut members.content
    {
        items.retain(|item| item.as_str() != Some(""));
    }
}

fn person_text(node: &Node) -> String {
    let text = |name: &str| node.get(name).and_then(Node::as_str);
    let who = text("email").or_else(|| text("subject")).unwrap_or_default();
    format!("{who} ({})", text("connection").unwrap_or_default())
}
