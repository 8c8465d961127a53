//! What has to be done so that a server is as a file says: each thing of the file is found at the server or is
//! new, names become identifiers, and what differs becomes a step.

use super::document::{Document, Draft, Mistake};
use super::kind::Kind;
use super::names::Names;
use super::refs::{self, To};
use super::state::{Person, State, Thing, mapping_key};
use crate::api::Api;
use crate::failure::Failure;
use crate::node::{Content, Node, Position};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What is done to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Update,
    Delete,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) act: Act,
    /// As it is to be; of a deletion, as it is. The identifier of something new stands for one that the
    /// server has yet to give.
    pub(crate) thing: Thing,
    /// As it is.
    pub(crate) before: Option<Thing>,
    /// What an update changes (RFC 7396).
    pub(crate) patch: Value,
    /// The variable whose value goes along as client secret.
    pub(crate) secret: Option<String>,
    /// What the file says, for the place of what the server finds wrong.
    pub(crate) source: Option<Node>,
}

/// All steps, in the order of [`Kind`], deletions last and the other way round.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// What is only at the server and stays there.
    pub(crate) kept: Vec<Thing>,
    /// What the file says and cannot be so, such as members who have never signed in.
    pub(crate) notes: Vec<String>,
    /// Names of everything, those of new things among them.
    names: HashMap<String, (Kind, String, Option<String>)>,
}

/// How to plan.
pub(crate) struct Options<'a> {
    /// Whether what the file does not describe is deleted.
    pub(crate) prune: bool,
    /// Connections whose client secret is to be sent, although there is one.
    pub(crate) replace_secrets: &'a [String],
}

/// Why there is no plan.
pub(crate) enum NoPlan {
    Mistakes(Vec<Mistake>),
    Failure(Failure),
}

impl From<Failure> for NoPlan {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Plan {
    /// What to call things.
    pub(crate) fn names<'a>(&self, state: &'a State) -> Names<'a> {
        let mut names = Names::new(state);
        for (id, (kind, name, app)) in &self.names {
            names.add(*kind, id, name);
            if let Some(app) = app {
                names.add_client(id, app);
            }
        }
        names
    }
}

/// Finds out what is to be done.
pub(crate) async fn plan(
    api: &Api,
    state: &mut State,
    document: Document,
    options: &Options<'_>,
) -> Result<Plan, NoPlan> {
    if document.drafts.iter().any(names_people) {
        state.load_everybody(api).await?;
    }
    let mut planner = Planner {
        state,
        drafts: document.drafts,
        ids: Vec::new(),
        found: HashSet::new(),
        mistakes: Vec::new(),
        notes: Vec::new(),
        here: HashMap::new(),
        there: HashMap::new(),
    };
    planner.find();
    let things = planner.resolve();
    if !planner.mistakes.is_empty() {
        planner.mistakes.sort_by_key(|m| (m.at.line, m.at.column));
        return Err(NoPlan::Mistakes(planner.mistakes));
    }
    let mut steps = planner.steps(&things, options)?;
    let (gone, kept) = planner.rest(document.whole, options.prune);
    steps.extend(gone);
    let names = things.iter().flatten().map(|t| {
        let named = (t.kind, t.key.clone(), t.app.clone());
        (t.id.clone(), named)
    });
    Ok(Plan {
        steps,
        kept,
        names: names.collect(),
        notes: planner.notes,
    })
}

fn names_people(draft: &Draft) -> bool {
    draft.kind == Kind::Group && draft.spec.get("members").is_some_and(|m| !m.items().is_empty())
}

/// A kind, an account, an app and a name there.
type Place = (Kind, Option<String>, Option<String>, String);

struct Planner<'a> {
    state: &'a State,
    drafts: Vec<Draft>,
    /// For each draft its identifier.
    ids: Vec<String>,
    /// Identifiers at the server that a draft stands for.
    found: HashSet<String>,
    mistakes: Vec<Mistake>,
    notes: Vec<String>,
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

impl Planner<'_> {
    /// Gives each draft the identifier of what it stands for, or one that stands for what is to be made.
    fn find(&mut self) {
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
    fn resolve(&mut self) -> Vec<Option<Thing>> {
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
        let normal = match draft.kind.normalise(spec.to_value()) {
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
        let known = ["connection", "issuer", "subject", "email"];
        if let Content::Map(entries) = &node.content
            && let Some((key, _)) = entries.iter().find(|(k, _)| !known.contains(&k.name.as_str()))
        {
            return Err(Mistake::new(key.at, format!("unknown key `{}`", key.name)));
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
            (person, _) => Ok(person.map(|p| p.id.clone())),
        }
    }

    fn steps(&mut self, things: &[Option<Thing>], options: &Options<'_>) -> Result<Vec<Step>, NoPlan> {
        let mut steps = Vec::new();
        for (draft, thing) in self.drafts.iter().zip(things) {
            let Some(thing) = thing else { continue };
            let before = self.state.get(&thing.id);
            let asked = options.replace_secrets.contains(&draft.name);
            let needed = !thing.has_secret || asked;
            let secret = draft.secret.clone().filter(|_| needed);
            let mut step = Step {
                act: Act::Create,
                thing: thing.clone(),
                before: before.cloned(),
                patch: Value::Null,
                secret,
                source: Some(draft.spec.clone()),
            };
            if let Some(before) = before {
                let patch = merge_patch(&before.spec.to_value(), &thing.spec.to_value());
                step.act = Act::Update;
                step.patch = patch.unwrap_or_else(|| Value::Object(Map::new()));
                if step.patch.as_object().is_some_and(Map::is_empty) && step.secret.is_none() {
                    continue;
                }
                if let Some(fixed) = fixed(thing.kind, &step.patch) {
                    self.mistakes.push(Mistake::new(
                        draft.spec.locate(&format!("/{fixed}")),
                        format!(
                            "`{fixed}` of a {} cannot be changed: delete it, or give it another name",
                            thing.kind.noun()
                        ),
                    ));
                }
            }
            steps.push(step);
        }
        let unknown = options.replace_secrets.iter().find(|name| {
            let with = |d: &Draft| d.kind == Kind::Connection && d.name == **name && d.secret.is_some();
            !self.drafts.iter().any(with)
        });
        if let Some(name) = unknown {
            let detail = format!("the file says no client_secret of a connection called {name}");
            return Err(Failure::usage(detail).into());
        }
        if !self.mistakes.is_empty() {
            return Err(NoPlan::Mistakes(std::mem::take(&mut self.mistakes)));
        }
        steps.sort_by_key(|step| {
            // An account's own connections come after the accounts.
            let late = step.thing.kind == Kind::Connection && step.thing.account.is_some();
            (if late { Kind::Account } else { step.thing.kind }, late)
        });
        Ok(steps)
    }

    /// What the file does not describe, where it describes everything: what is deleted, what is kept.
    fn rest(&self, whole: bool, prune: bool) -> (Vec<Step>, Vec<Thing>) {
        let within = |thing: &&Thing| {
            let account = thing.account.as_ref();
            whole || account.is_some_and(|id| self.found.contains(id))
        };
        let local = |thing: &Thing| thing.spec.get("kind").and_then(Node::as_str) == Some("password");
        let mut rest: Vec<&Thing> = self
            .state
            .things
            .iter()
            .filter(|thing| !self.found.contains(&thing.id) && thing.kind != Kind::Organisation)
            // The owners' last way in stays, whatever a file says.
            .filter(|thing| !(thing.kind == Kind::Connection && local(thing)))
            .filter(within)
            .collect();
        if !prune {
            return (Vec::new(), rest.into_iter().cloned().collect());
        }
        rest.sort_by_key(|thing| {
            let shared = thing.kind == Kind::Connection && thing.account.is_none();
            // An app takes its clients along; an account goes when it is empty, a connection when it is unused.
            let order = match thing.kind {
                Kind::RoleMapping | Kind::Webhook => 0,
                Kind::Client => 1,
                Kind::App => 2,
                Kind::Policy => 3,
                Kind::Group => 4,
                Kind::ServiceToken => 5,
                Kind::Binding => 6,
                Kind::Connection if !shared => 7,
                Kind::Account => 8,
                Kind::Connection | Kind::Organisation => 9,
            };
            (order, thing.key.clone())
        });
        let steps = rest.into_iter().map(|thing| Step {
            act: Act::Delete,
            thing: thing.clone(),
            before: Some(thing.clone()),
            patch: Value::Null,
            secret: None,
            source: None,
        });
        (steps.collect(), Vec::new())
    }
}

/// A field that a patch changes and the API cannot.
fn fixed(kind: Kind, patch: &Value) -> Option<&'static str> {
    let fields: &[&'static str] = match kind {
        Kind::Client => &["redirect_uris", "confidential", "name"],
        Kind::Connection => &["kind"],
        _ => &[],
    };
    fields.iter().copied().find(|field| patch.get(field).is_some())
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

/// The patch that makes `after` of `before`, if they differ.
pub(crate) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in new {
                match old.get(key) {
                    Some(old) => {
                        if let Some(value) = merge_patch(old, value) {
                            patch.insert(key.clone(), value);
                        }
                    }
                    None => {
                        patch.insert(key.clone(), value.clone());
                    }
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ if before == after => None,
        _ => Some(after.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_says_only_what_differs() {
        let before = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2], "f": "x"});
        assert_eq!(merge_patch(&before, &before), None);
        let after = json!({"a": 1, "b": {"c": 3}, "e": [2], "g": true});
        assert_eq!(
            merge_patch(&before, &after),
            Some(json!({"b": {"c": 3, "d": null}, "e": [2], "f": null, "g": true}))
        );
    }
}
