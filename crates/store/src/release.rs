//! What of people is let out, and to whom: the one place that decides it.
//!
//! Somebody with a role in the organisation sees all. Whoever has roles in accounts only sees people as the account
//! does: through the binding of their connection there, as it is now ([`Shown`]). Nothing is let out of people whose
//! connection is not bound there, or not any more, but who they are: their identifier.
//!
//! Decisions see a person by [`AppView::sees`](crate::AppView::sees); answers, exports and webhooks are made of
//! [`Released`] values, and only a [`Release`] makes those.

mod event;
mod log;
mod things;

use crate::directory::{AccountView, Snapshot};
use crate::sql::{Run, Sql};
use crate::user::Person;
use crate::{Purpose, Result, Store};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use wire::{AccountId, ClaimMapping, ConnectionId, OrgId, Timestamp, User, UserId};

/// Where a provider lists claims that it has and does not send (OpenID Connect Core section 5.6.2).
const ELSEWHERE: &str = "_claim_names";

/// People whose connection is remembered at once: what a long export needs again and again.
const REMEMBERED: usize = 50_000;

/// People looked up in one statement.
const BATCH: usize = 500;

/// What of somebody is let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shown {
    /// The e-mail address.
    pub email: bool,
    /// The display name.
    pub name: bool,
    /// The groups.
    pub groups: bool,
    /// All other claims of the provider, its subject among them: it may be an address.
    pub rest: bool,
}

impl Shown {
    /// Everything.
    pub const ALL: Self = Self {
        email: true,
        name: true,
        groups: true,
        rest: true,
    };
    /// Nothing but that there is somebody.
    pub const NOTHING: Self = Self {
        email: false,
        name: false,
        groups: false,
        rest: false,
    };

    /// What a binding with these `claims` lets out.
    #[must_use]
    pub fn of(claims: Option<&[String]>) -> Self {
        let Some(names) = claims else { return Self::ALL };
        let named = |claim: &str| names.iter().any(|name| name == claim);
        Self {
            email: named("email"),
            name: named("name"),
            groups: named("groups"),
            rest: false,
        }
    }

    /// What one of the two lets out.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            email: self.email || other.email,
            name: self.name || other.name,
            groups: self.groups || other.groups,
            rest: self.rest || other.rest,
        }
    }

    /// Takes away what is not let out of what the API shows of a person.
    fn apply(self, user: &mut User) {
        if !self.email {
            user.email = None;
            user.email_verified = false;
        }
        if !self.name {
            user.name = None;
        }
        if !self.groups {
            user.groups.clear();
        }
        if !self.rest {
            user.subject.clear();
        }
    }

    /// The person without what is not let out, `mapping` being their connection's. To a policy, that is as what the
    /// provider did not send: it counts against the person, it is not a "no".
    #[must_use]
    pub(crate) fn of_person<'a>(self, mapping: &ClaimMapping, person: &'a Person) -> Cow<'a, Person> {
        if self == Self::ALL {
            return Cow::Borrowed(person);
        }
        let mut seen = person.clone();
        self.apply(&mut seen.user);
        let mut names: Vec<&str> = Vec::new();
        if self.email {
            names.extend([mapping.email.as_str(), "email_verified"]);
        }
        if self.name {
            names.push(&mapping.name);
        }
        if self.groups {
            names.extend([mapping.groups.as_str(), "groups", "hasgroups"]);
        }
        let mut withheld = match seen.claims.remove(ELSEWHERE) {
            Some(Value::Object(there)) => there,
            _ => Map::new(),
        };
        let known = ["groups", &mapping.email, &mapping.name, &mapping.groups];
        let sent = person.claims.keys().map(String::as_str);
        for name in sent.chain(known) {
            if !names.contains(&name) && name != ELSEWHERE {
                seen.claims.remove(name);
                withheld.insert(name.to_owned(), Value::from("withheld"));
            }
        }
        if !withheld.is_empty() {
            seen.claims.insert(ELSEWHERE.to_owned(), Value::Object(withheld));
        }
        Cow::Owned(seen)
    }
}

/// What an account gets to see of one connection's people, whether or not the connection counts there now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) shown: Shown,
    /// When nothing is let out any more, because the binding drains.
    pub(crate) until: Option<Timestamp>,
}

impl Terms {
    fn shown(&self, now: Timestamp) -> Shown {
        match self.until {
            Some(until) if until <= now => Shown::NOTHING,
            _ => self.shown,
        }
    }
}

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Somebody with a role in the organisation.
    Organisation,
    /// Whoever has roles in these accounts only: a person, a token, or the receiver of a webhook.
    Accounts(Vec<AccountId>, Option<UserId>),
}

/// A value without what its reader does not get to see of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Released<T>(T);

impl<T> Released<T> {
    /// The value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }

    /// Makes something of the value that says no more about anybody.
    #[must_use]
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Released<U> {
        Released(make(self.0))
    }
}

impl<T> std::ops::Deref for Released<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What says something about people.
pub trait Personal {
    /// Everybody whose connection decides what is let out.
    fn people(&self) -> Vec<UserId>;

    /// Takes away what is not let out.
    fn withhold(&mut self, view: &View<'_>);
}

/// Lets things out to one reader. It remembers which connection people are of, so that many things about the same
/// people cost one look; what is let out is judged anew by each call.
pub struct Release {
    store: Store,
    org: OrgId,
    viewer: Viewer,
    place: Option<AccountId>,
    people: HashMap<UserId, ConnectionId>,
}

impl Release {
    /// For somebody of an organisation.
    #[must_use]
    pub fn new(store: &Store, org: &OrgId, viewer: Viewer) -> Self {
        Self {
            store: store.clone(),
            org: org.clone(),
            viewer,
            place: None,
            people: HashMap::new(),
        }
    }

    /// For what reads much, which keeps nobody else waiting.
    #[must_use]
    pub fn reporting(mut self) -> Self {
        self.store = self.store.on(Purpose::Report);
        self
    }

    /// For things that do not say themselves which account they are of.
    #[must_use]
    pub fn within(mut self, account: &AccountId) -> Self {
        self.place = Some(account.clone());
        self
    }

    /// Lets one thing out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn one<T: Personal>(&mut self, item: T) -> Result<Released<T>> {
        let mut items = self.all(vec![item]).await?;
        items
            .pop()
            .ok_or_else(|| crate::Error::internal("one thing is let out as one"))
    }

    /// Lets several things out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn all<T: Personal>(&mut self, mut items: Vec<T>) -> Result<Vec<Released<T>>> {
        if self.sees_all() {
            return Ok(items.into_iter().map(Released).collect());
        }
        self.look_up(items.iter().flat_map(Personal::people).collect())
            .await?;
        let directory = self.store.directory();
        if let Some(view) = self.view(&directory) {
            for item in &mut items {
                item.withhold(&view);
            }
        }
        Ok(items.into_iter().map(Released).collect())
    }

    /// What the reader gets to see of a connection's people, by one of the accounts.
    #[must_use]
    pub fn of_connection(&self, connection: &ConnectionId) -> Shown {
        let directory = self.store.directory();
        self.view(&directory)
            .map_or(Shown::ALL, |view| view.of(connection))
    }

    /// Tells one reader's view from another, and from the same reader's at another time: what was let out to somebody
    /// once is not given again when this has changed.
    #[must_use]
    pub fn standing(&self) -> String {
        let directory = self.store.directory();
        let Some(view) = self.view(&directory) else {
            return String::new();
        };
        let mut lines = Vec::new();
        for id in view.accounts {
            let terms = view.account(id).into_iter().flat_map(|account| &account.terms);
            lines.push(id.to_string());
            lines.extend(
                terms.map(|(connection, terms)| format!("{id} {connection} {:?}", terms.shown(view.now))),
            );
        }
        lines.sort();
        lines.join("\n")
    }

    fn sees_all(&self) -> bool {
        self.viewer == Viewer::Organisation
    }

    fn view<'a>(&'a self, directory: &'a Arc<Snapshot>) -> Option<View<'a>> {
        let Viewer::Accounts(accounts, me) = &self.viewer else {
            return None;
        };
        Some(View {
            directory,
            accounts,
            me: me.as_ref(),
            place: self.place.as_ref(),
            people: &self.people,
            now: self.store.clock().now(),
        })
    }

    async fn look_up(&mut self, mut wanted: BTreeSet<UserId>) -> Result<()> {
        if self.people.len() > REMEMBERED {
            self.people.clear();
        }
        wanted.retain(|id| !self.people.contains_key(id));
        let wanted: Vec<UserId> = wanted.into_iter().collect();
        for some in wanted.chunks(BATCH) {
            let sql = Sql::new("SELECT id, connection FROM users WHERE org = $1").bind(&self.org);
            for row in (&self.store).rows(sql.and_in("id", Some(some))).await? {
                self.people.insert(row.id("id")?, row.id("connection")?);
            }
        }
        Ok(())
    }
}

/// What somebody with roles in accounts only gets to see, at one moment.
pub struct View<'a> {
    directory: &'a Snapshot,
    accounts: &'a [AccountId],
    me: Option<&'a UserId>,
    place: Option<&'a AccountId>,
    people: &'a HashMap<UserId, ConnectionId>,
    now: Timestamp,
}

impl View<'_> {
    fn account(&self, id: &AccountId) -> Option<&AccountView> {
        let mine = self.accounts.contains(id);
        self.directory.account(id).filter(|_| mine).map(Arc::as_ref)
    }

    /// Whether a text is the identifier of an account in which the reader has no role.
    fn is_other(&self, text: &str) -> bool {
        let account = text.parse::<AccountId>();
        account.is_ok_and(|account| !self.accounts.contains(&account))
    }

    /// Of somebody, in what belongs to an account; nothing in what belongs to none.
    fn at(&self, account: Option<&AccountId>, user: Option<&UserId>) -> Shown {
        let (Some(account), Some(user)) = (account, user) else {
            return Shown::NOTHING;
        };
        let connection = self.people.get(user);
        let terms = connection.and_then(|id| self.account(account)?.terms.get(id));
        terms.map_or(Shown::NOTHING, |terms| terms.shown(self.now))
    }

    /// Of somebody, in what does not belong to an account of its own.
    fn of_user(&self, user: &UserId) -> Shown {
        match self.place {
            Some(account) => self.at(Some(account), Some(user)),
            None => self.people.get(user).map_or(Shown::NOTHING, |id| self.of(id)),
        }
    }

    /// Of a connection's people, by one of the accounts.
    fn of(&self, connection: &ConnectionId) -> Shown {
        let accounts = self.accounts.iter().filter_map(|id| self.directory.account(id));
        let terms = accounts.filter_map(|account| account.terms.get(connection));
        terms.fold(Shown::NOTHING, |shown, terms| shown.or(terms.shown(self.now)))
    }

    /// Whether an account sees every address that there could be behind one that nobody has proven. It does not
    /// depend on whose it is, so that it does not tell whether it is anybody's.
    fn sees_addresses(&self, account: Option<&AccountId>) -> bool {
        let account = account.and_then(|id| self.account(id));
        account.is_some_and(|account| account.terms.values().all(|terms| terms.shown(self.now).email))
    }
}
