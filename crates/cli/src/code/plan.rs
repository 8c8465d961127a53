//! What has to be done so that a server is as a file says: each thing of the file is found at the server or is
//! new, names become identifiers, and what differs becomes a step.

use super::document::{Document, Draft, Mistake};
use super::kind::Kind;
use super::names::Names;
use super::resolve::{self, Resolver};
use super::state::{State, Thing};
use crate::api::Api;
use crate::failure::Failure;
use crate::node::Node;
use serde_json::{Map, Value};
use std::collections::HashMap;

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
    if document.drafts.iter().any(resolve::names_people) {
        state.load_everybody(api).await?;
    }
    let mut planner = Resolver::new(state, document.drafts);
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

impl Resolver<'_> {
    fn steps(&mut self, things: &[Option<Thing>], options: &Options<'_>) -> Result<Vec<Step>, NoPlan> {
        let mut steps = Vec::new();
        for (draft, thing) in self.drafts.iter().zip(things) {
            let Some(thing) = thing else { continue };
            let before = self.state.get(&thing.id);
            let asked = options.replace_secrets.contains(&draft.name);
            let issuer = |thing: &Thing| thing.spec.get("issuer").map(Node::to_value);
            // The server sends a stored secret to no other provider.
            let moved = before.is_some_and(|before| issuer(before) != issuer(thing));
            let needed = !thing.has_secret || asked || moved;
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
        Kind::Client => &["redirect_uris", "confidential", "jwks_uri", "name"],
        Kind::Connection => &["kind"],
        _ => &[],
    };
    fields.iter().copied().find(|field| patch.get(field).is_some())
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
