//! What people and agents hold: live sessions at apps, live grants, with whoever holds them.

use crate::directory::Reach;
use crate::session::read_authentication;
use crate::sql::{Run, Sql, escape_like};
use crate::user::Person;
use crate::{Change, Result, client, user};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use wire::{AccountId, AppId, Authentication, Client, ClientId, GrantId, Id, SessionId, Timestamp, UserId};

/// Identifiers in one statement at the most.
const BATCH: usize = 500;

/// What of it a transaction may concern.
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

/// One live session or grant.
pub(super) struct Holding {
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
    /// The agent, trusted as far as where its codes go allows.
    pub(super) fn agent_in(&self, held: &Held) -> Option<Client> {
        let (_, id) = self.agent.as_ref()?;
        let client = held.clients.get(id)?;
        Some(Client {
            tier: client.tier_at(self.redirect_uri.as_deref()),
            ..client.clone()
        })
    }
}

/// All of them at one moment, by identifier.
#[derive(Default)]
pub(super) struct Held {
    pub(super) holdings: BTreeMap<String, Holding>,
    pub(super) people: HashMap<UserId, Person>,
    pub(super) clients: HashMap<ClientId, Client>,
}

impl Held {
    pub(super) async fn load(mut db: impl Run, wanted: &Wanted, now: Timestamp) -> Result<Self> {
        let mut held = Self::default();
        let sessions = || {
            Sql::new(
                "SELECT s.id, s.app, s.user_id, s.authentication, a.account, NULL AS client, \
                 NULL AS redirect_uri FROM sessions s \
                 JOIN apps a ON a.id = s.app WHERE s.user_id IS NOT NULL AND s.expires_at > $1",
            )
            .bind(now)
        };
        let grants = || {
            Sql::new(
                "SELECT g.id, g.app, g.user_id, g.authentication, g.account, g.client, g.redirect_uri FROM grants g \
                 WHERE g.revoked_at IS NULL AND g.last_used_at IS NOT NULL AND g.expires_at > $1",
            )
            .bind(now)
        };
        held.read(&mut db, ("a.account", &wanted.accounts), &sessions)
            .await?;
        held.read(&mut db, ("g.account", &wanted.accounts), &grants)
            .await?;
        held.read(&mut db, ("s.user_id", &wanted.users), &sessions)
            .await?;
        held.read(&mut db, ("g.user_id", &wanted.users), &grants).await?;
        held.read(&mut db, ("g.client", &wanted.clients), &grants).await?;
        let left = |id: &str| !held.holdings.contains_key(id);
        let some: Vec<_> = wanted
            .grants
            .iter()
            .filter(|id| left(id.as_ref()))
            .cloned()
            .collect();
        let rest: Vec<_> = wanted
            .sessions
            .iter()
            .filter(|id| left(id.as_ref()))
            .cloned()
            .collect();
        held.read(&mut db, ("g.id", &some), &grants).await?;
        held.read(&mut db, ("s.id", &rest), &sessions).await?;

        let users: BTreeSet<UserId> = held.holdings.values().map(|h| h.user.clone()).collect();
        let users: Vec<UserId> = users.into_iter().chain(wanted.users.iter().cloned()).collect();
        for some in users.chunks(BATCH) {
            let sql = Sql::new(select!(users, "WHERE 1 = 1")).and_in("id", Some(some));
            for row in db.rows(sql).await? {
                let person = user::read(&row)?;
                held.people.insert(person.user.id.clone(), person);
            }
        }
        let agents = held.holdings.values().filter_map(|h| h.agent.as_ref());
        let clients: BTreeSet<ClientId> = agents.map(|(_, client)| client.clone()).collect();
        let clients: Vec<ClientId> = clients
            .into_iter()
            .chain(wanted.clients.iter().cloned())
            .collect();
        for some in clients.chunks(BATCH) {
            for row in db
                .rows(Sql::new(client::UNCOUNTED).and_in("c.id", Some(some)))
                .await?
            {
                let client = client::read(&row)?.client;
                held.clients.insert(client.id.clone(), client);
            }
        }
        Ok(held)
    }

    async fn read<T: Id>(
        &mut self,
        db: &mut impl Run,
        (column, ids): (&'static str, &[T]),
        sql: &(impl Fn() -> Sql + Sync),
    ) -> Result<()> {
        for some in ids.chunks(BATCH) {
            for row in db.rows(sql().and_in(column, Some(some))).await? {
                let client: Option<ClientId> = row.opt_id("client")?;
                let agent = match client {
                    Some(client) => Some((row.id("id")?, client)),
                    None => None,
                };
                let holding = Holding {
                    account: row.id("account")?,
                    app: row.id("app")?,
                    user: row.id("user_id")?,
                    authentication: read_authentication(&row)?,
                    agent,
                    redirect_uri: row.opt_text("redirect_uri")?,
                };
                self.holdings.insert(row.text("id")?, holding);
            }
        }
        Ok(())
    }
}

/// People of a connection at the most in one step, so that many need no more memory than some.
const STEP: u32 = 5000;

/// The next people of a connection, after one of them; only those whom rules may let in, if that is few enough to
/// say.
pub(super) async fn people_of(
    mut db: impl Run,
    connection: &wire::ConnectionId,
    reach: &Reach,
    after: Option<&UserId>,
) -> Result<Vec<Person>> {
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
    let sql = sql.and("id >", after).then(" ORDER BY id").limit(STEP);
    db.rows(sql).await?.iter().map(user::read).collect()
}
