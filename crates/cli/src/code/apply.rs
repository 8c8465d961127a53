//! Making a plan true, step by step. What a step names is there before the step; an app whose policies are not
//! all there yet is made without any, which lets nobody in.

use super::document::Mistake;
use super::kind::Kind;
use super::names::Names;
use super::plan::{Act, Plan, Step, merge_patch};
use super::show;
use super::state::Thing;
use crate::api::{Api, Call, Refusal, Reply};
use crate::failure::{Failure, Outcome};
use crate::node::Node;
use http::Method;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Bindings that are made by one request at the most.
const AT_ONCE: usize = 500;

/// A credential that the server made and shows this once.
pub(crate) struct Credential {
    /// `service token Production/backup`.
    pub(crate) of: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// What was done.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) titles: Vec<String>,
    pub(crate) credentials: Vec<Credential>,
}

/// Whether making something shows a credential.
pub(crate) fn mints(step: &Step) -> bool {
    step.act == Act::Create
        && match step.thing.kind {
            Kind::ServiceToken | Kind::Webhook => true,
            Kind::Client => step.thing.spec.get("confidential") == Some(&yes()),
            _ => false,
        }
}

fn yes() -> Node {
    crate::node::Content::Scalar(true.into()).into()
}

/// Values of secrets by the variables that they come from.
pub(crate) type Secrets = HashMap<String, String>;

pub(crate) struct Applier<'a> {
    api: &'a Api,
    names: Names<'a>,
    secrets: Secrets,
    /// What the server gave for identifiers of new things.
    given: HashMap<String, String>,
    /// Identifiers of new things that are still to come.
    awaited: Vec<String>,
    /// Versions after changes of this run.
    versions: HashMap<String, i64>,
    pub(crate) done: Done,
}

/// A step's rest, which has to wait for other steps.
struct Later {
    kind: Kind,
    id: String,
    patch: Value,
    title: String,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(api: &'a Api, names: Names<'a>, secrets: Secrets) -> Self {
        Self {
            api,
            names,
            secrets,
            given: HashMap::new(),
            awaited: Vec::new(),
            versions: HashMap::new(),
            done: Done::default(),
        }
    }

    /// All steps. After a failure nothing more is done, and what was done stands in `done`.
    pub(crate) async fn run(&mut self, plan: &Plan) -> Outcome {
        let new = |kind: Kind| {
            plan.steps
                .iter()
                .any(|s| s.act == Act::Create && s.thing.kind == kind)
        };
        let new_accounts = new(Kind::Account);
        let creates = plan.steps.iter().filter(|s| s.act == Act::Create);
        self.awaited = creates.map(|s| s.thing.id.clone()).collect();
        let (mut later, mut waiting) = (Vec::new(), Vec::new());
        let mut queue: std::collections::VecDeque<Step> = plan.steps.iter().cloned().collect();
        let mut bound = false;
        while let Some(step) = queue.pop_front() {
            if !bound && (step.thing.kind > Kind::Binding || step.act == Act::Delete) {
                // Once the accounts are there and before anybody can use an app in them.
                bound = true;
                if new_accounts {
                    self.take_back_bindings(plan).await?;
                }
            }
            if step.act == Act::Delete && !waiting.is_empty() {
                self.wait_out(&mut waiting, &mut later).await?;
            }
            if step.act == Act::Delete && !later.is_empty() {
                self.finish(&mut later).await?;
            }
            if is_new_binding(&step) {
                let mut together = vec![step];
                while let Some(next) = queue.front()
                    && together.len() < AT_ONCE
                    && is_new_binding(next)
                    && alike(&together[0], next)
                {
                    together.extend(queue.pop_front());
                }
                self.bind(together).await?;
                continue;
            }
            let step = self.postpone(step, &mut later, new_accounts);
            if self.lacks(&self.body(&step)) {
                waiting.push(step);
            } else {
                self.step(&step).await?;
            }
        }
        if !bound && new_accounts {
            self.take_back_bindings(plan).await?;
        }
        self.wait_out(&mut waiting, &mut later).await?;
        self.finish(&mut later).await
    }

    /// Takes out of a step what cannot be done yet, to be done at the end.
    fn postpone(&self, mut step: Step, later: &mut Vec<Later>, new_accounts: bool) -> Step {
        if step.act == Act::Delete {
            return step;
        }
        let title = show::title(&self.names, &step);
        let mut put_off = |field: &str, value: Value, meanwhile: Value| {
            later.push(Later {
                kind: step.thing.kind,
                id: step.thing.id.clone(),
                patch: json!({ field: value }),
                title: title.clone(),
            });
            meanwhile
        };
        let mut replace: Option<(&str, Value)> = None;
        let said = |field: &str| match step.act {
            Act::Create => step.thing.spec.get(field).map(Node::to_value),
            _ => step.patch.get(field).cloned(),
        };
        match step.thing.kind {
            Kind::App => {
                if let Some(policies) = said("policies").filter(|p| self.lacks(p)) {
                    // Until all rules are there, those of before go on; of something new, none lets anybody in.
                    let meanwhile = if step.act == Act::Create {
                        json!([])
                    } else {
                        Value::Null
                    };
                    replace = Some(("policies", put_off("policies", policies, meanwhile)));
                }
            }
            // Accounts of this plan get the bindings that the file says, not all that there can be.
            Kind::Connection if new_accounts && said("bind_new_accounts") == Some(true.into()) => {
                let now = put_off("bind_new_accounts", true.into(), false.into());
                replace = Some(("bind_new_accounts", now));
            }
            _ => {}
        }
        if let Some((field, value)) = replace {
            if step.act == Act::Create {
                let mut spec = step.thing.spec.to_value();
                if let Value::Object(spec) = &mut spec {
                    spec.insert(field.into(), value);
                }
                // Only a default takes the place of what was acceptable.
                if let Ok(spec) = step.thing.kind.normalise(spec) {
                    step.thing.spec = spec;
                }
            } else if let Value::Object(patch) = &mut step.patch {
                patch.remove(field);
            }
        }
        step
    }

    /// Steps whose needs came after them.
    async fn wait_out(&mut self, waiting: &mut Vec<Step>, later: &mut Vec<Later>) -> Outcome {
        while !waiting.is_empty() {
            let before = waiting.len();
            for step in std::mem::take(waiting) {
                let step = self.postpone(step, later, false);
                if self.lacks(&self.body(&step)) {
                    waiting.push(step);
                } else {
                    self.step(&step).await?;
                }
            }
            if waiting.len() == before {
                let titles: Vec<_> = waiting.iter().map(|s| show::title(&self.names, s)).collect();
                return Err(Failure::error(format!(
                    "these need each other: {}",
                    titles.join(", ")
                )));
            }
        }
        Ok(())
    }

    async fn finish(&mut self, later: &mut Vec<Later>) -> Outcome {
        for rest in std::mem::take(later) {
            let id = self.real(&rest.id);
            let patch = self.with_real_ids(&rest.patch);
            self.patch(rest.kind, &id, &patch)
                .await
                .map_err(|refusal| Failure::from(refusal).during(&rest.title))?;
        }
        Ok(())
    }

    /// Whether a body names something that is not there yet.
    fn lacks(&self, body: &Value) -> bool {
        match body {
            Value::String(text) => self.awaited.contains(text),
            Value::Array(items) => items.iter().any(|item| self.lacks(item)),
            Value::Object(map) => map.values().any(|value| self.lacks(value)),
            _ => false,
        }
    }

    fn real(&self, id: &str) -> String {
        self.given.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    fn with_real_ids(&self, body: &Value) -> Value {
        match body {
            Value::String(text) => self.real(text).into(),
            Value::Array(items) => items.iter().map(|item| self.with_real_ids(item)).collect(),
            Value::Object(map) => {
                let map = map.iter().map(|(k, v)| (k.clone(), self.with_real_ids(v)));
                Value::Object(map.collect())
            }
            other => other.clone(),
        }
    }

    /// What is sent, still with identifiers of new things.
    fn body(&self, step: &Step) -> Value {
        let mut body = match step.act {
            Act::Delete => return Value::Null,
            Act::Update => step.patch.clone(),
            Act::Create => step.thing.spec.to_value(),
        };
        let Value::Object(map) = &mut body else {
            return body;
        };
        if step.act == Act::Create {
            let place = match step.thing.kind {
                Kind::Client => ("app", &step.thing.app),
                _ => ("account", &step.thing.account),
            };
            if let (field, Some(id)) = place {
                map.insert(field.into(), id.clone().into());
            }
            if step.thing.kind == Kind::Client {
                map.remove("tier");
                map.remove("state");
            }
        }
        if let Some(secret) = step.secret.as_ref().and_then(|name| self.secrets.get(name)) {
            map.insert("client_secret".into(), secret.clone().into());
        }
        body
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        let title = show::title(&self.names, step);
        let made = self.make(step, &title).await;
        made.map_err(|refusal| explain(refusal, step).during(&title))?;
        let word = match step.act {
            Act::Create => "created",
            Act::Update => "updated",
            Act::Delete => "deleted",
        };
        self.done.titles.push(format!("{word} {title}"));
        Ok(())
    }

    async fn make(&mut self, step: &Step, title: &str) -> Result<(), Refusal> {
        let kind = step.thing.kind;
        let body = self.with_real_ids(&self.body(step));
        match step.act {
            Act::Create => {
                let call = Call::new(Method::POST, kind.path()).body(&body);
                let reply = self.api.send(call).await?;
                self.created(&step.thing, &reply, title);
                // What can be said of an entered client beyond what it is entered with.
                if kind == Kind::Client {
                    let usual = json!({"tier": "approved", "state": "active"});
                    let field = |name: &str| step.thing.spec.get(name).map(Node::to_value);
                    let wanted = json!({"tier": field("tier"), "state": field("state")});
                    if let Some(patch) = merge_patch(&usual, &wanted) {
                        let id = self.real(&step.thing.id);
                        self.patch(kind, &id, &patch).await?;
                    }
                }
            }
            Act::Update => {
                if body.as_object().is_some_and(Map::is_empty) {
                    return Ok(());
                }
                self.versions
                    .entry(step.thing.id.clone())
                    .or_insert(step.before.as_ref().and_then(|b| b.version).unwrap_or_default());
                self.patch(kind, &step.thing.id, &body).await?;
            }
            Act::Delete => {
                let path = format!("{}/{}", kind.path(), step.thing.id);
                let tag = step.thing.version.map(|v| format!("\"v{v}\""));
                let call = Call::new(Method::DELETE, path).if_match(tag.as_deref());
                match self.api.send(call).await {
                    // Gone along with what it stood in.
                    Err(Refusal::Problem(problem)) if problem.status == 404 => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    async fn patch(&mut self, kind: Kind, id: &str, patch: &Value) -> Result<Reply, Refusal> {
        let path = match kind {
            Kind::Organisation => kind.path().to_owned(),
            _ => format!("{}/{id}", kind.path()),
        };
        let tag = self
            .versions
            .get(id)
            .filter(|v| **v > 0)
            .map(|v| format!("\"v{v}\""));
        let call = Call::new(Method::PATCH, path)
            .body(patch)
            .if_match(tag.as_deref());
        let reply = self.api.send(call).await?;
        self.note_version(id, &reply.body);
        Ok(reply)
    }

    fn note_version(&mut self, id: &str, body: &Node) {
        if let Some(version) = body.get("version").and_then(|v| v.to_value().as_i64()) {
            self.versions.insert(id.to_owned(), version);
        }
    }

    fn created(&mut self, thing: &Thing, reply: &Reply, title: &str) {
        let text = |name: &str| reply.body.get(name).and_then(Node::as_str).map(ToOwned::to_owned);
        let Some(id) = text("id") else { return };
        self.note_version(&id, &reply.body);
        if let Some(secret) = text("client_secret").or_else(|| text("secret"))
            && thing.kind != Kind::Connection
        {
            self.done.credentials.push(Credential {
                of: title.to_owned(),
                id: id.clone(),
                secret,
            });
        }
        self.awaited.retain(|awaited| *awaited != thing.id);
        self.given.insert(thing.id.clone(), id);
    }

    /// Binds one connection to several accounts by one request, then says what else is to be said of each.
    async fn bind(&mut self, steps: Vec<Step>) -> Outcome {
        let titles: Vec<_> = steps.iter().map(|s| show::title(&self.names, s)).collect();
        let first = &steps[0];
        let accounts: Vec<_> = steps
            .iter()
            .filter_map(|s| s.thing.account.as_deref().map(|id| self.real(id)))
            .collect();
        let body = json!({
            "connection": self.real(&first.thing.key),
            "accounts": accounts,
            "mode": first.thing.spec.get("mode").map(Node::to_value),
            "claims": first.thing.spec.get("claims").map(Node::to_value),
        });
        let reply = self
            .api
            .send(Call::new(Method::POST, Kind::Binding.path()).body(&body))
            .await;
        let reply = reply.map_err(|refusal| explain(refusal, first).during(titles.join(", ")))?;
        let made: HashMap<String, &Node> = reply
            .body
            .get("items")
            .map_or(&[][..], Node::items)
            .iter()
            .filter_map(|node| Some((node.get("account")?.as_str()?.to_owned(), node)))
            .collect();
        for (step, title) in steps.iter().zip(titles) {
            let account = step
                .thing
                .account
                .as_deref()
                .map(|id| self.real(id))
                .unwrap_or_default();
            let Some(node) = made.get(&account) else { continue };
            let id = node
                .get("id")
                .and_then(Node::as_str)
                .unwrap_or_default()
                .to_owned();
            self.note_version(&id, node);
            // It may have been there already: an account gets bindings when it is made.
            let is = Kind::Binding
                .spec_of(node.to_value())
                .map(|spec| spec.to_value())
                .unwrap_or_default();
            if let Some(patch) = merge_patch(&is, &step.thing.spec.to_value()) {
                let patched = self.patch(Kind::Binding, &id, &patch).await;
                patched.map_err(|refusal| explain(refusal, step).during(&title))?;
            }
            self.awaited.retain(|awaited| *awaited != step.thing.id);
            self.given.insert(step.thing.id.clone(), id);
            self.done.titles.push(format!("created {title}"));
        }
        Ok(())
    }

    /// A connection that binds new accounts has bound those of this plan, too; where the file says otherwise,
    /// that is taken back.
    async fn take_back_bindings(&mut self, plan: &Plan) -> Outcome {
        let accounts = plan
            .steps
            .iter()
            .filter(|s| s.act == Act::Create && s.thing.kind == Kind::Account);
        for account in accounts {
            let id = self.real(&account.thing.id);
            let query = [("account".to_owned(), id)];
            for binding in self.api.list(Kind::Binding.path(), &query, None).await? {
                let text = |name: &str| binding.get(name).and_then(Node::as_str).unwrap_or_default();
                let wanted = plan.steps.iter().any(|step| {
                    step.thing.kind == Kind::Binding
                        && step.thing.account.as_ref() == Some(&account.thing.id)
                        && self.real(&step.thing.key) == text("connection")
                });
                if !wanted {
                    let path = format!("{}/{}", Kind::Binding.path(), text("id"));
                    let tag = binding.get("version").map(|v| format!("\"v{}\"", v.to_value()));
                    let call = Call::new(Method::DELETE, path).if_match(tag.as_deref());
                    self.api.send(call).await?;
                }
            }
        }
        Ok(())
    }
}

fn is_new_binding(step: &Step) -> bool {
    step.act == Act::Create && step.thing.kind == Kind::Binding
}

fn alike(one: &Step, other: &Step) -> bool {
    let same = |field: &str| one.thing.spec.get(field) == other.thing.spec.get(field);
    one.thing.key == other.thing.key && same("mode") && same("claims")
}

/// A refusal, with the places in the file that it is about.
fn explain(refusal: Refusal, step: &Step) -> Failure {
    let mut places = Vec::new();
    if let (Refusal::Problem(problem), Some(source)) = (&refusal, &step.source) {
        for error in &problem.errors {
            let at = source.locate(&error.pointer);
            places.push(Mistake::new(at, error.detail.clone()));
        }
    }
    let mut failure = Failure::from(refusal);
    for place in places {
        failure
            .message
            .push_str(&format!("\n  line {}: {}", place.at, place.detail));
    }
    failure
}
