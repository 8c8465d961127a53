//! What people and agents hold: live sessions at apps, live grants, with whoever holds them. There may be very many:
//! which there are is held as keys, and what they are is read a page at a time.

use super::key::{Key, gather, ids};
use super::touched::Wanted;
use crate::directory::Reach;
use crate::session::read_authentication;
use crate::sql::{Row, Run, Sql, escape_like};
use crate::user::Person;
use crate::{Result, Store, client, user};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use wire::{AccountId, AppId, Authentication, Client, ClientId, GrantId, Id, SessionId, Timestamp, UserId};

/// Identifiers in one statement at the most.
pub(super) const BATCH: usize = 500;

/// A kind of what is held.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Grant,
    Session,
}

impl Kind {
    /// Those that are alive, for conditions to follow.
    fn alive(self, columns: &str, now: Timestamp) -> Sql {
        Sql::assembled(match self {
            Self::Grant => format!(
                "SELECT {columns} FROM grants g \
                 WHERE g.revoked_at IS NULL AND g.last_used_at IS NOT NULL AND g.expires_at > $1"
            ),
            Self::Session => format!(
                "SELECT {columns} FROM sessions s JOIN apps a ON a.id = s.app \
                 WHERE s.user_id IS NOT NULL AND s.expires_at > $1"
            ),
        })
        .bind(now)
    }

    /// Which they are.
    pub(super) fn which(self, now: Timestamp) -> Sql {
        self.alive(
            match self {
                Self::Grant => "g.id",
                Self::Session => "s.id",
            },
            now,
        )
    }

    /// The rows of some of them, as far as they are alive yet.
    fn some(self, keys: &[Key], now: Timestamp) -> Result<Sql> {
        Ok(match self {
            Self::Grant => {
                let columns = "g.id, g.app, g.user_id, g.authentication, g.account, g.client, g.redirect_uri";
                let ids = ids::<GrantId>(keys)?;
                self.alive(columns, now).and_in("g.id", Some(&ids))
            }
            Self::Session => {
                let columns = "s.id, s.app, s.user_id, s.authentication, a.account, \
                               NULL AS client, NULL AS redirect_uri";
                let ids = ids::<SessionId>(keys)?;
                self.alive(columns, now).and_in("s.id", Some(&ids))
            }
        })
    }
}

/// One live session or grant.
pub(super) struct Holding {
    pub(super) key: Key,
    pub(super) account: AccountId,
    pub(super) app: AppId,
    pub(super) user: UserId,
    /// How they had proved who they are.
    pub(super) authentication: Authentication,
    /// For a grant.
    pub(super) agent: Option<(GrantId, ClientId)>,
    /// Where the code of a grant went.
    redirect_uri: Option<String>,
}

impl Holding {
    fn read(row: &Row) -> Result<Self> {
        let client: Option<ClientId> = row.opt_id("client")?;
        let (key, agent) = match client {
            Some(client) => {
                let grant: GrantId = row.id("id")?;
                (super::key::key(&grant), Some((grant, client)))
            }
            None => (super::key::key(&row.id::<SessionId>("id")?), None),
        };
        Ok(Self {
            key,
            account: row.id("account")?,
            app: row.id("app")?,
            user: row.id("user_id")?,
            authentication: read_authentication(row)?,
            agent,
            redirect_uri: row.opt_text("redirect_uri")?,
        })
    }

    /// The agent, trusted as far as where its codes go allows.
    pub(super) fn trusted(&self, client: &Client) -> Client {
        Client {
            tier: client.tier_at(self.redirect_uri.as_deref()),
            ..client.clone()
        }
    }
}

/// Which live sessions and grants there are that a transaction may concern.
#[derive(Default)]
pub(super) struct Index {
    grants: Vec<Key>,
    sessions: Vec<Key>,
}

impl Index {
    pub(super) async fn load(store: &Store, wanted: &Wanted, now: Timestamp) -> Result<Self> {
        let mut index = Self::default();
        index
            .add(store, ("a.account", "g.account"), &wanted.accounts, now)
            .await?;
        index
            .add(store, ("s.user_id", "g.user_id"), &wanted.users, now)
            .await?;
        let db = store.db().on(store.purpose);
        for some in wanted.clients.chunks(BATCH) {
            let sql = Kind::Grant.which(now).and_in("g.client", Some(some));
            gather(db, sql, &mut index.grants).await?;
        }
        for some in wanted.grants.chunks(BATCH) {
            let sql = Kind::Grant.which(now).and_in("g.id", Some(some));
            gather(db, sql, &mut index.grants).await?;
        }
        for some in wanted.sessions.chunks(BATCH) {
            let sql = Kind::Session.which(now).and_in("s.id", Some(some));
            gather(db, sql, &mut index.sessions).await?;
        }
        for keys in [&mut index.grants, &mut index.sessions] {
            keys.sort_unstable();
            keys.dedup();
        }
        Ok(index)
    }

    /// Adds sessions and grants by what their columns say.
    async fn add<T: Id + Sync>(
        &mut self,
        store: &Store,
        (of_sessions, of_grants): (&'static str, &'static str),
        values: &[T],
        now: Timestamp,
    ) -> Result<()> {
        let db = store.db().on(store.purpose);
        for some in values.chunks(BATCH) {
            let sql = Kind::Session.which(now).and_in(of_sessions, Some(some));
            gather(db, sql, &mut self.sessions).await?;
            let sql = Kind::Grant.which(now).and_in(of_grants, Some(some));
            gather(db, sql, &mut self.grants).await?;
        }
        Ok(())
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = (Kind, &[Key])> {
        let grants = self.grants.chunks(BATCH).map(|page| (Kind::Grant, page));
        let sessions = self.sessions.chunks(BATCH).map(|page| (Kind::Session, page));
        grants.chain(sessions)
    }
}

/// A page of sessions or grants. What takes time to read is not read yet.
pub(super) struct Page {
    holdings: Vec<Holding>,
    people: Vec<Row>,
    clients: Vec<Row>,
}

impl Page {
    pub(super) async fn load(
        mut store: &Store,
        (kind, keys): (Kind, &[Key]),
        now: Timestamp,
    ) -> Result<Self> {
        let rows = store.rows(kind.some(keys, now)?).await?;
        let holdings = rows.iter().map(Holding::read).collect::<Result<Vec<_>>>()?;
        let users: BTreeSet<UserId> = holdings.iter().map(|h| h.user.clone()).collect();
        let agents = holdings.iter().filter_map(|h| h.agent.as_ref());
        let agents: BTreeSet<ClientId> = agents.map(|(_, client)| client.clone()).collect();
        let clients = match agents.is_empty() {
            true => Vec::new(),
            false => {
                let agents: Vec<_> = agents.into_iter().collect();
                let sql = Sql::new(client::UNCOUNTED).and_in("c.id", Some(&agents));
                store.rows(sql).await?
            }
        };
        let users: Vec<_> = users.into_iter().collect();
        Ok(Self {
            holdings,
            people: store.rows(some_of(&users)).await?,
            clients,
        })
    }

    pub(super) fn read(self) -> Result<Held> {
        let mut held = Held {
            holdings: self.holdings,
            people: HashMap::new(),
            clients: HashMap::new(),
        };
        for row in &self.people {
            let person = user::read(row)?;
            held.people.insert(person.user.id.clone(), person);
        }
        for row in &self.clients {
            let client = client::read(row)?.client;
            held.clients.insert(client.id.clone(), client);
        }
        Ok(held)
    }
}

/// A page of sessions or grants, with whoever holds them.
pub(super) struct Held {
    pub(super) holdings: Vec<Holding>,
    pub(super) people: HashMap<UserId, Person>,
    pub(super) clients: HashMap<ClientId, Client>,
}

/// Some people, of whom one statement can ask.
pub(super) fn some_of(users: &[UserId]) -> Sql {
    Sql::new(select!(users, "WHERE 1 = 1")).and_in("id", Some(users))
}

/// People of a connection at the most in one step, so that many need no more memory than some.
pub(super) const STEP: u32 = 2000;

/// The next people of a connection, after one of them; only those whom rules may let in, if that is few enough to
/// say.
pub(super) async fn people_of(
    mut db: impl Run,
    connection: &wire::ConnectionId,
    reach: &Reach,
    after: Option<&UserId>,
) -> Result<Vec<Row>> {
    let sql = match reach {
        Reach::Anyone => Sql::new(select!(users, "WHERE connection = $1")).bind(connection),
        Reach::Only { emails, domains } => {
            let mut text = select!(users, "WHERE connection = $1 AND (1 = 0").to_owned();
            for n in 0..emails.len() {
                // Writing to a String cannot fail.
                let _ = write!(text, " OR lower(email) = ${}", n + 2);
            }
            for n in emails.len()..emails.len() + domains.len() {
                let _ = write!(text, " OR lower(email) LIKE ${} ESCAPE '\\'", n + 2);
            }
            text.push(')');
            let mut sql = Sql::assembled(text).bind(connection);
            for email in emails {
                sql = sql.bind(email.as_str());
            }
            for domain in domains {
                sql = sql.bind(format!("%@{}", escape_like(domain)));
            }
            sql
        }
    };
    let after = after.map_or("", Id::as_str);
    let sql = sql.and("id >", Some(after)).then(" ORDER BY id");
    db.rows(sql.limit(STEP)).await
}
