//! An organisation as its server has it, read once for export, diff and apply.

use super::kind::Kind;
use super::refs::{self, To};
use crate::api::{Api, Refusal};
use crate::failure::{Failure, Outcome};
use crate::node::{Content, Node};
use futures_util::future::try_join_all;
use std::collections::{BTreeSet, HashMap};

/// Something that the server has.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// The account that it is in.
    pub(crate) account: Option<String>,
    /// The app that it is of.
    pub(crate) app: Option<String>,
    /// What tells it from others of its kind and place: its name; what it binds or maps.
    pub(crate) key: String,
    /// The writable part, in the API's form.
    pub(crate) spec: Node,
    pub(crate) version: Option<i64>,
    /// Whether a secret of somebody else's is stored.
    pub(crate) has_secret: bool,
}

/// A person, as far as files name them.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) connection: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) email_verified: bool,
}

/// Everything that files describe.
pub(crate) struct State {
    pub(crate) things: Vec<Thing>,
    by_id: HashMap<String, usize>,
    pub(crate) people: HashMap<String, Person>,
    everybody: bool,
}

/// People that are looked up one by one at the most; for more the whole list is read.
const ONE_BY_ONE: usize = 40;

impl State {
    pub(crate) async fn load(api: &Api) -> Outcome<Self> {
        let lists = try_join_all(Kind::ALL.map(|kind| load(api, kind))).await?;
        let things: Vec<Thing> = lists.into_iter().flatten().collect();
        let by_id = things
            .iter()
            .enumerate()
            .map(|(i, thing)| (thing.id.clone(), i))
            .collect();
        let mut state = Self {
            things,
            by_id,
            people: HashMap::new(),
            everybody: false,
        };
        state.load_members(api).await?;
        Ok(state)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Thing> {
        self.by_id.get(id).map(|i| &self.things[*i])
    }

    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Thing> {
        self.things.iter().filter(move |t| t.kind == kind)
    }

    /// The people whom groups name.
    async fn load_members(&mut self, api: &Api) -> Outcome {
        let mut ids = BTreeSet::new();
        for thing in self.things.iter().filter(|t| t.kind == Kind::Group) {
            refs::each(Kind::Group, &mut thing.spec.clone(), &mut |to, _, node| {
                if to == To::Person {
                    ids.extend(node.as_str().map(ToOwned::to_owned));
                }
            });
        }
        if ids.len() > ONE_BY_ONE {
            return self.load_everybody(api).await;
        }
        for id in ids {
            match api.get(format!("users/{id}")).await {
                Ok(reply) => self.meet(&reply.body),
                Err(Refusal::Problem(problem)) if problem.status == 404 => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(())
    }

    pub(crate) async fn load_everybody(&mut self, api: &Api) -> Outcome {
        if self.everybody {
            return Ok(());
        }
        for person in api.list("users", &[], None).await? {
            self.meet(&person);
        }
        self.everybody = true;
        Ok(())
    }

    fn meet(&mut self, user: &Node) {
        let text = |name: &str| user.get(name).and_then(Node::as_str).map(ToOwned::to_owned);
        let need = |name: &str| text(name).unwrap_or_default();
        let person = Person {
            id: need("id"),
            connection: need("connection"),
            issuer: need("issuer"),
            subject: need("subject"),
            email: text("email"),
            email_verified: user
                .get("email_verified")
                .is_some_and(|n| n.content == Content::Scalar(true.into())),
        };
        self.people.insert(person.id.clone(), person);
    }
}

async fn load(api: &Api, kind: Kind) -> Outcome<Vec<Thing>> {
    let items = match kind {
        Kind::Organisation => vec![api.get(kind.path()).await?.body],
        _ => match api.list(kind.path(), &[], None).await {
            Ok(items) => items,
            // An older server has fewer kinds of things.
            Err(Refusal::Problem(problem)) if problem.status == 404 => Vec::new(),
            Err(refusal) => return Err(Failure::from(refusal).during(kind.section())),
        },
    };
    let mut things = Vec::with_capacity(items.len());
    for item in items {
        let text = |name: &str| item.get(name).and_then(Node::as_str).map(ToOwned::to_owned);
        // Clients that registered themselves come by use, as people do.
        if kind == Kind::Client && text("source").as_deref() != Some("preregistered") {
            continue;
        }
        let spec = kind.spec_of(item.to_value()).map_err(|error| {
            Failure::error(format!(
                "{} {}: the server says something that this version does not understand: {} {}",
                kind.noun(),
                text("id").unwrap_or_default(),
                error.pointer,
                error.detail
            ))
        })?;
        let account = match kind {
            Kind::RoleMapping | Kind::Account => None,
            _ => text("account"),
        };
        things.push(Thing {
            kind,
            id: text("id").unwrap_or_default(),
            key: match kind {
                Kind::Binding => text("connection").unwrap_or_default(),
                Kind::Organisation => String::new(),
                Kind::RoleMapping => mapping_key(&spec),
                _ => text("name").unwrap_or_default(),
            },
            app: text("app").filter(|_| kind == Kind::Client),
            account,
            version: item.get("version").and_then(|v| v.to_value().as_i64()),
            has_secret: item
                .get("has_client_secret")
                .is_some_and(|n| n.content == Content::Scalar(true.into())),
            spec,
        });
    }
    Ok(things)
}

/// What tells a role mapping from others: all of it, in the API's form.
pub(crate) fn mapping_key(spec: &Node) -> String {
    let text = |name: &str| spec.get(name).and_then(Node::as_str).unwrap_or_default();
    [text("connection"), text("group"), text("account"), text("role")].join("\u{0}")
}
