//! The rows that the views of accounts are made of, as the database gives them. Reading what is in them takes longer than
//! fetching them: whoever holds others up meanwhile, as a transaction does, fetches them and reads them afterwards.

use crate::Result;
use crate::change::Change;
use crate::db::Written;
use crate::sql::{Row, Run, Sql};
use std::collections::{BTreeSet, HashSet};
use wire::{AccountId, ConnectionId, Id, OrgId};

/// Identifiers in one statement at the most.
const BATCH: usize = 500;

/// The tables that hold what is an account's.
const OF_ACCOUNTS: [&str; 6] = [
    "accounts",
    "connections",
    "bindings",
    "policies",
    "user_groups",
    "apps",
];

/// Rows of some accounts, and of what is their organisations' as far as it concerns them.
#[derive(Default)]
pub(crate) struct Raw {
    pub(super) organisations: Vec<Row>,
    pub(super) documents: Vec<Row>,
    pub(super) accounts: Vec<Row>,
    pub(super) shared: Vec<Row>,
    pub(super) own: Vec<Row>,
    pub(super) bindings: Vec<Row>,
    pub(super) policies: Vec<Row>,
    pub(super) groups: Vec<Row>,
    pub(super) apps: Vec<Row>,
    /// Organisations and shared connections that were looked for; `None` for all.
    pub(super) looked_for: Option<HashSet<String>>,
}

impl Raw {
    /// Fetches what the views of these accounts need; `None` for all accounts.
    pub(crate) async fn load(mut db: impl Run, only: Option<&BTreeSet<AccountId>>) -> Result<Self> {
        let mut raw = Self {
            looked_for: only.map(|_| HashSet::new()),
            ..Self::default()
        };
        match only {
            Some(accounts) => raw.load_accounts(&mut db, accounts, &OF_ACCOUNTS).await?,
            None => {
                raw.load_some(&mut db, None, &OF_ACCOUNTS).await?;
                raw.load_organisations(&mut db, None).await?;
                raw.load_shared(&mut db, None).await?;
            }
        }
        Ok(raw)
    }

    /// Within a transaction, fetches only what it may have written; [`Partial::complete`] fetches the rest when it is over.
    pub(crate) async fn load_written(
        mut db: impl Run,
        accounts: &BTreeSet<AccountId>,
        written: &Written,
    ) -> Result<Partial> {
        let mut raw = Self {
            looked_for: Some(HashSet::new()),
            ..Self::default()
        };
        // What is the organisation's is found by way of the rest.
        let (now, later): (Vec<_>, Vec<_>) =
            match ["organisations", "agent_documents", "connections"].map(|table| written.has(table)) {
                [false, false, false] => OF_ACCOUNTS.into_iter().partition(|table| written.has(table)),
                _ => (OF_ACCOUNTS.to_vec(), Vec::new()),
            };
        if later.is_empty() {
            raw.load_accounts(&mut db, accounts, &now).await?;
        } else {
            let accounts: Vec<AccountId> = accounts.iter().cloned().collect();
            for some in accounts.chunks(BATCH) {
                raw.load_some(&mut db, Some(some), &now).await?;
            }
        }
        Ok(Partial { raw, later })
    }

    async fn load_accounts(
        &mut self,
        db: &mut impl Run,
        accounts: &BTreeSet<AccountId>,
        tables: &[&str],
    ) -> Result<()> {
        let raw = self;
        let accounts: Vec<AccountId> = accounts.iter().cloned().collect();
        for some in accounts.chunks(BATCH) {
            raw.load_some(db, Some(some), tables).await?;
        }
        // What is the organisation's, as far as it concerns them.
        let theirs = raw.accounts.iter().map(|row| row.id("org"));
        let theirs = theirs.collect::<Result<_>>()?;
        raw.load_organisations(db, Some(theirs)).await?;
        let bound = raw.bindings.iter().map(|row| row.id("connection"));
        let bound = bound.collect::<Result<_>>()?;
        raw.load_shared(db, Some(bound)).await
    }

    /// Fetches what changes name of an organisation itself, also where it concerns no account: it may be readable again.
    pub(crate) async fn look_at(&mut self, mut db: impl Run, changes: &[Change]) -> Result<()> {
        let Some(looked_for) = &self.looked_for else {
            return Ok(());
        };
        let (mut organisations, mut connections) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Organisation(id) if !looked_for.contains(id.as_str()) => {
                    organisations.insert(id.clone());
                }
                Change::Connection(id) if !looked_for.contains(id.as_str()) => {
                    connections.insert(id.clone());
                }
                _ => {}
            }
        }
        self.load_organisations(&mut db, Some(organisations)).await?;
        self.load_shared(&mut db, Some(connections)).await
    }

    async fn load_organisations(&mut self, db: &mut impl Run, some: Option<BTreeSet<OrgId>>) -> Result<()> {
        for some in self.parts(some) {
            let sql = Sql::new(select!(organisations, "WHERE 1 = 1"));
            let rows = db.rows(sql.and_in("id", some.as_deref())).await?;
            self.organisations.extend(rows);
            let sql = Sql::new(select!(agent_documents, "WHERE 1 = 1"));
            let rows = db.rows(sql.and_in("org", some.as_deref())).await?;
            self.documents.extend(rows);
        }
        Ok(())
    }

    async fn load_shared(&mut self, db: &mut impl Run, some: Option<BTreeSet<ConnectionId>>) -> Result<()> {
        for some in self.parts(some) {
            let sql = Sql::new("SELECT id, org, spec FROM connections WHERE account IS NULL");
            let rows = db.rows(sql.and_in("id", some.as_deref())).await?;
            self.shared.extend(rows);
        }
        Ok(())
    }

    /// Some identifiers for a statement each, noted as looked for; one statement for all.
    fn parts<T: Id>(&mut self, some: Option<BTreeSet<T>>) -> Vec<Option<Vec<T>>> {
        let Some(some) = some else { return vec![None] };
        if let Some(looked_for) = &mut self.looked_for {
            looked_for.extend(some.iter().map(ToString::to_string));
        }
        let some: Vec<T> = some.into_iter().collect();
        some.chunks(BATCH).map(|part| Some(part.to_vec())).collect()
    }

    async fn load_some(
        &mut self,
        db: &mut impl Run,
        some: Option<&[AccountId]>,
        tables: &[&str],
    ) -> Result<()> {
        let of = |text: &'static str| Sql::new(text).and_in("account", some);
        for table in tables {
            let (rows, sql) = match *table {
                "accounts" => {
                    let sql = Sql::new(select!(accounts, "WHERE 1 = 1")).and_in("id", some);
                    (&mut self.accounts, sql)
                }
                "connections" => {
                    let sql = of("SELECT id, account, spec FROM connections WHERE account IS NOT NULL");
                    (&mut self.own, sql.then(" ORDER BY id"))
                }
                "bindings" => {
                    let sql = of(select!(bindings, "WHERE 1 = 1"));
                    (&mut self.bindings, sql.then(" ORDER BY connection"))
                }
                "policies" => (&mut self.policies, of(select!(policies, "WHERE 1 = 1"))),
                "user_groups" => (&mut self.groups, of(select!(user_groups, "WHERE 1 = 1"))),
                _ => (&mut self.apps, of(select!(apps, "WHERE 1 = 1"))),
            };
            rows.extend(db.rows(sql).await?);
        }
        Ok(())
    }
}

/// Rows of some accounts as a transaction left them, as far as it wrote to their tables.
pub(crate) struct Partial {
    raw: Raw,
    later: Vec<&'static str>,
}

impl Partial {
    /// Fetches the rest, which the transaction left as it is.
    pub(crate) async fn complete(self, mut db: impl Run, accounts: &BTreeSet<AccountId>) -> Result<Raw> {
        let Self { mut raw, later } = self;
        if !later.is_empty() {
            raw.load_accounts(&mut db, accounts, &later).await?;
        }
        Ok(raw)
    }
}
