//! What a transaction changed beside the configuration: people, agents, sessions and grants that it names, as they are
//! after it.

use super::held::{BATCH, Kind, some_of};
use super::key::{Key, Keys, key, of_text};
use crate::ended::Ended;
use crate::sql::{Run, Sql};
use crate::user::Person;
use crate::{Change, Result, client, user};
use std::collections::{BTreeSet, HashMap};
use wire::{AccountId, Client, ClientId, GrantId, Id, SessionId, Timestamp, UserId};

/// What a transaction may concern.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) accounts: Vec<AccountId>,
    pub(super) users: Vec<UserId>,
    pub(super) clients: Vec<ClientId>,
    pub(super) grants: Vec<GrantId>,
    pub(super) sessions: Vec<SessionId>,
}

impl Wanted {
    pub(super) fn new(accounts: &BTreeSet<AccountId>, changes: &[Change]) -> Self {
        let mut wanted = Self {
            accounts: accounts.iter().cloned().collect(),
            ..Self::default()
        };
        for change in changes {
            match change {
                Change::User(id) => wanted.users.push(id.clone()),
                Change::Client(id) => wanted.clients.push(id.clone()),
                Change::Grant(id) => wanted.grants.push(id.clone()),
                Change::Session(id) => wanted.sessions.push(id.clone()),
                _ => {}
            }
        }
        wanted
    }

    /// Whether the transaction wrote more than configuration, so that what is held may have changed, too.
    pub(super) const fn moves(&self) -> bool {
        !(self.users.is_empty()
            && self.clients.is_empty()
            && self.grants.is_empty()
            && self.sessions.is_empty())
    }
}

/// All of it after the transaction. Nobody, for who is gone.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) people: HashMap<UserId, Option<Person>>,
    clients: HashMap<ClientId, Option<Client>>,
    /// Sessions, grants and API tokens.
    ended: Keys,
}

impl Touched {
    /// Reads it within the transaction, which says what ended already.
    pub(super) async fn load(
        mut db: impl Run,
        wanted: &Wanted,
        ended: &[Ended],
        now: Timestamp,
    ) -> Result<Self> {
        let mut touched = Self::default();
        for action in ["grant.revoke", "session.end", "api_token.delete"] {
            let ids = ended.iter().filter_map(|ended| ended.by(action));
            touched.ended.extend(ids.filter_map(of_text));
        }
        for some in wanted.users.chunks(BATCH) {
            let gone = some.iter().map(|id| (id.clone(), None));
            touched.people.extend(gone);
            for row in db.rows(some_of(some)).await? {
                let person = user::read(&row)?;
                touched.people.insert(person.user.id.clone(), Some(person));
            }
        }
        for some in wanted.clients.chunks(BATCH) {
            let gone = some.iter().map(|id| (id.clone(), None));
            touched.clients.extend(gone);
            let sql = Sql::new(client::UNCOUNTED).and_in("c.id", Some(some));
            for row in db.rows(sql).await? {
                let client = client::read(&row)?.client;
                touched.clients.insert(client.id.clone(), Some(client));
            }
        }
        let which = Kind::Grant.which(now);
        touched.end(&mut db, (which, "g.id"), &wanted.grants).await?;
        let which = Kind::Session.which(now);
        touched.end(&mut db, (which, "s.id"), &wanted.sessions).await?;
        Ok(touched)
    }

    /// Of what the transaction names, notes as ended what is not alive after it.
    async fn end<T: Id>(
        &mut self,
        db: &mut impl Run,
        (which, column): (Sql, &'static str),
        named: &[T],
    ) -> Result<()> {
        let open = named.iter().filter(|id| !self.ended.contains(&key(*id)));
        let open: Vec<T> = open.cloned().collect();
        for some in open.chunks(BATCH) {
            let mut gone: Keys = some.iter().map(key).collect();
            for row in db.rows(which.clone().and_in(column, Some(some))).await? {
                gone.remove(&key(&row.id::<T>("id")?));
            }
            self.ended.extend(gone);
        }
        Ok(())
    }

    /// Whether a session, grant or API token is over after the transaction.
    pub(super) fn ends(&self, key: Key) -> bool {
        self.ended.contains(&key)
    }

    /// Somebody after the transaction, of whom is known what they were before.
    pub(super) fn person<'a>(&'a self, id: &UserId, before: Option<&'a Person>) -> Option<&'a Person> {
        self.people.get(id).map_or(before, Option::as_ref)
    }

    /// The same of an agent.
    pub(super) fn client<'a>(&'a self, id: &ClientId, before: Option<&'a Client>) -> Option<&'a Client> {
        self.clients.get(id).map_or(before, Option::as_ref)
    }
}
