//! Reads the configuration of some accounts, or of all, and compiles it. What cannot be read (a newer version beside us
//! wrote it, or somebody by hand) takes away what depends on it and nothing else, and is told.

use super::raw::Raw;
use super::reach::{Reach, fingerprint};
use super::{AccountView, AppView, BoundConnection, Unreadable, split_public_url};
use crate::agent_document::Decisions;
use crate::release::{Shown, Terms};
use crate::sql::{Row, Run, Sql};
use crate::{Change, Error, Result, binding, org, rule};
use policy::{Ruleset, ScopeSet};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use url::Url;
use wire::{
    Account, AccountId, App, Binding, BindingMode, BindingState, ConnectionId, ConnectionSpec, Group, OrgId,
    Organisation, Policy, PolicyId, RuleRef, Timestamp,
};

/// The accounts whose views changes concern; `None` for all of the server.
pub(crate) async fn concerned(mut db: impl Run, changes: &[Change]) -> Result<Option<BTreeSet<AccountId>>> {
    let mut accounts = BTreeSet::new();
    for change in changes {
        let sql = match change {
            Change::Config | Change::All => return Ok(None),
            Change::Account(id) => {
                accounts.insert(id.clone());
                continue;
            }
            Change::Organisation(id) => Sql::new("SELECT id FROM accounts WHERE org = $1").bind(id),
            Change::Connection(id) => {
                Sql::new("SELECT account AS id FROM bindings WHERE connection = $1").bind(id)
            }
            _ => continue,
        };
        for row in db.rows(sql).await? {
            accounts.insert(row.id("id")?);
        }
    }
    Ok(Some(accounts))
}

struct SharedConnection {
    org: OrgId,
    id: ConnectionId,
    spec: ConnectionSpec,
}

/// Everything that the views of some accounts are made of.
pub(crate) struct Rows {
    organisations: HashMap<OrgId, Organisation>,
    documents: HashMap<OrgId, Arc<Decisions>>,
    accounts: Vec<(OrgId, Account)>,
    shared: HashMap<ConnectionId, SharedConnection>,
    own: HashMap<AccountId, Vec<(ConnectionId, ConnectionSpec)>>,
    bindings: HashMap<AccountId, Vec<Binding>>,
    policies: HashMap<PolicyId, Policy>,
    groups: HashMap<AccountId, Vec<Group>>,
    apps: HashMap<AccountId, Vec<App>>,
    /// What could not be read.
    unreadable: Vec<Unreadable>,
    /// Shared connections among that: what they exclude stays excluded.
    unreadable_connections: HashSet<ConnectionId>,
    /// Accounts of which something could not be read on which all of their apps depend.
    closed: HashSet<AccountId>,
    /// Organisations and shared connections that were looked for; `None` for all.
    looked_for: Option<HashSet<String>>,
}

impl Rows {
    /// Reads what is in rows.
    pub(crate) fn read(raw: Raw, control_url: &str) -> Result<Self> {
        let mut rows = Self {
            organisations: HashMap::new(),
            documents: HashMap::new(),
            accounts: Vec::new(),
            shared: HashMap::new(),
            own: HashMap::new(),
            bindings: HashMap::new(),
            policies: HashMap::new(),
            groups: HashMap::new(),
            apps: HashMap::new(),
            unreadable: Vec::new(),
            unreadable_connections: HashSet::new(),
            closed: HashSet::new(),
            looked_for: raw.looked_for,
        };
        for row in &raw.organisations {
            if let Some(organisation) = rows.keep("organisations", row, org::read(row)) {
                rows.organisations.insert(organisation.id.clone(), organisation);
            }
        }
        rows.read_documents(&raw.documents)?;
        for row in &raw.accounts {
            if let Some(account) = rows.keep("accounts", row, org::read_account(row)) {
                rows.accounts.push((row.id("org")?, account));
            }
        }
        rows.read_connections(&raw.shared, &raw.own)?;
        for row in &raw.bindings {
            let account: AccountId = row.id("account")?;
            match rows.keep("bindings", row, binding::read(row)) {
                Some(binding) => rows.bindings.entry(account).or_default().push(binding),
                // It may have kept everybody else's people out.
                None => {
                    rows.closed.insert(account);
                }
            }
        }
        for row in &raw.policies {
            if let Some(policy) = rows.keep::<Policy>("policies", row, rule::read(row)) {
                rows.policies.insert(policy.id.clone(), policy);
            }
        }
        for row in &raw.groups {
            if let Some(group) = rows.keep::<Group>("user_groups", row, rule::read(row)) {
                rows.groups.entry(group.account.clone()).or_default().push(group);
            }
        }
        for row in &raw.apps {
            if let Some(app) = rows.keep("apps", row, crate::app::read(row, control_url)) {
                rows.apps.entry(app.account.clone()).or_default().push(app);
            }
        }
        Ok(rows)
    }

    fn read_documents(&mut self, rows: &[Row]) -> Result<()> {
        let mut documents: HashMap<OrgId, Decisions> = HashMap::new();
        for row in rows {
            let decisions = documents.entry(row.id("org")?).or_default();
            let read = decisions.insert(row);
            self.keep("agent_documents", row, read);
            if let Some(looked_for) = &mut self.looked_for {
                looked_for.insert(row.text("id")?);
            }
        }
        let documents = documents.into_iter().map(|(org, all)| (org, Arc::new(all)));
        self.documents.extend(documents);
        Ok(())
    }

    fn read_connections(&mut self, shared: &[Row], own: &[Row]) -> Result<()> {
        for row in shared {
            let id: ConnectionId = row.id("id")?;
            match self.keep("connections", row, row.json("spec")) {
                Some(spec) => {
                    let org = row.id("org")?;
                    self.shared.insert(id.clone(), SharedConnection { org, id, spec });
                }
                None => {
                    self.unreadable_connections.insert(id);
                }
            }
        }
        for row in own {
            if let Some(spec) = self.keep("connections", row, row.json("spec")) {
                let own = self.own.entry(row.id("account")?).or_default();
                own.push((row.id("id")?, spec));
            }
        }
        Ok(())
    }

    /// Whether a row of an organisation itself was looked for.
    pub(crate) fn has_looked_for(&self, id: &str) -> bool {
        self.looked_for.as_ref().is_none_or(|ids| ids.contains(id))
    }

    /// What was read of a row; nothing, and a note, when it cannot be read.
    fn keep<T>(&mut self, table: &'static str, row: &Row, read: Result<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(error) => {
                let id = row.text("id").unwrap_or_default();
                let why = match std::error::Error::source(&error) {
                    Some(source) => source.to_string(),
                    None => error.to_string(),
                };
                tracing::error!(
                    table,
                    id,
                    why,
                    "a row cannot be read; what depends on it is left out"
                );
                self.unreadable.push(Unreadable {
                    table,
                    id,
                    account: row.id("account").or_else(|_| row.id("id")).ok(),
                });
                None
            }
        }
    }

    /// An organisation.
    pub(crate) fn organisation(&self, id: &OrgId) -> Option<&Organisation> {
        self.organisations.get(id)
    }

    /// What a connection says, if it is shared or an account's of these.
    pub(crate) fn connection(&self, id: &ConnectionId) -> Option<&ConnectionSpec> {
        let shared = self.shared.get(id).map(|shared| &shared.spec);
        shared.or_else(|| {
            let mut own = self.own.values().flatten();
            own.find(|(own, _)| own == id).map(|(_, spec)| spec)
        })
    }

    /// An account, if it is one of these.
    pub(crate) fn account_of(&self, id: &AccountId) -> Option<&Account> {
        let mut accounts = self.accounts.iter();
        accounts
            .find(|(_, account)| account.id == *id)
            .map(|(_, account)| account)
    }

    /// What could not be read.
    pub(crate) fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The accounts' views, each with its apps.
    pub(crate) fn compile(&self, now: Timestamp) -> Vec<Arc<AccountView>> {
        self.accounts
            .iter()
            .map(|(org, account)| Arc::new(self.account(org, account, now)))
            .collect()
    }

    fn account(&self, org: &OrgId, account: &Account, now: Timestamp) -> AccountView {
        let (connections, exclusive) = self.connections_of(org, &account.id, now);
        let terms = self.terms_of(org, &account.id, now);
        let mut view = AccountView {
            account: account.clone(),
            org: org.clone(),
            connections: connections.into(),
            exclusive,
            terms,
            apps: Vec::new(),
        };
        let apps = self
            .apps
            .get(&account.id)
            .filter(|_| !self.closed.contains(&account.id));
        for app in apps.map_or(&[][..], Vec::as_slice) {
            match self.app(app, &view) {
                Ok(app) => view.apps.push(Arc::new(app)),
                // Fail closed: an app that cannot be compiled is not there.
                Err(error) => tracing::error!(app = %app.id, %error, "the app is left out"),
            }
        }
        view
    }

    fn app(&self, app: &App, account: &AccountView) -> Result<AppView> {
        let organisation = self
            .organisations
            .get(&account.org)
            .ok_or(Error::NotFound("organisation"))?;
        let mut policies = Vec::with_capacity(app.spec.policies.len());
        for id in &app.spec.policies {
            let policy = self.policies.get(id).ok_or(Error::NotFound("policy"))?;
            let rule = RuleRef {
                id: policy.id.to_string(),
                name: policy.spec.name.clone(),
            };
            policies.push((rule, policy.spec.clone()));
        }
        let groups = self.groups.get(&app.account).map_or(&[][..], Vec::as_slice);
        let rules = Ruleset::compile(&organisation.spec.floor, &policies, groups)
            .map_err(|e| Error::invalid(e.pointer.clone(), e.detail.clone()))?;
        let scopes = ScopeSet::compile(&app.spec.oauth.scopes)
            .map_err(|e| Error::invalid(e.pointer.clone(), e.detail.clone()))?;
        let (authority, path) = split_public_url(&app.spec.public_url)?;
        let own = app.spec.oldest_proof.unwrap_or_default();
        let oldest_proof = own.within(organisation.spec.oldest_proof);
        let url = Url::parse(&app.spec.public_url).map_err(Error::internal)?;
        Ok(AppView {
            app: app.clone(),
            org: account.org.clone(),
            account: account.account.clone(),
            connections: Arc::clone(&account.connections),
            rules,
            oldest_proof,
            require_second_factor: organisation.spec.require_second_factor,
            scopes,
            public_origin: url.origin().ascii_serialization(),
            documents: self.documents.get(&account.org).cloned().unwrap_or_default(),
            origin_ranges: organisation.spec.allowed_origin_ranges.clone(),
            fingerprint: fingerprint(&organisation.spec.floor, &policies, groups)?,
            reach: Reach::of(&policies),
            authority,
            path,
        })
    }

    /// What an account gets to see of people: all of its own connections', and of shared ones what their bindings say,
    /// until those are detached. Whether a connection counts now makes no difference.
    fn terms_of(&self, org: &OrgId, account: &AccountId, now: Timestamp) -> HashMap<ConnectionId, Terms> {
        let own = self.own.get(account).into_iter().flatten();
        let own = own.map(|(id, _)| {
            let terms = Terms {
                shown: Shown::ALL,
                until: None,
            };
            (id.clone(), terms)
        });
        let bound = self.bindings.get(account).into_iter().flatten();
        let bound = bound.filter_map(|binding| {
            let shared = self.shared.get(&binding.connection).filter(|c| c.org == *org)?;
            let until = match (binding.spec.state, binding.spec.drain_until) {
                (BindingState::Active, _) => None,
                (BindingState::Draining, Some(until)) if now < until => Some(until),
                _ => return None,
            };
            let terms = Terms {
                shown: Shown::of(binding.spec.claims.as_deref()),
                until,
            };
            Some((shared.id.clone(), terms))
        });
        own.chain(bound).collect()
    }

    /// The connections that count in an account: its own and those bound to it; when one of the bound
    /// ones is exclusive, only that, and what drains runs out beside it. A disabled connection signs nobody
    /// in, and still excludes the others: switching the company's provider off opens no other door.
    fn connections_of(
        &self,
        org: &OrgId,
        account: &AccountId,
        now: Timestamp,
    ) -> (Vec<BoundConnection>, Vec<ConnectionId>) {
        let primary = self
            .organisations
            .get(org)
            .and_then(|o| o.spec.primary_connection.as_ref());
        let bound = |id: &ConnectionId, spec: &ConnectionSpec| BoundConnection {
            id: id.clone(),
            name: spec.name.clone(),
            kind: spec.kind,
            primary: primary == Some(id),
            signs_in: true,
            until: None,
            claims: None,
            mapping: spec.claims.clone(),
        };
        let mut connections = Vec::new();
        let mut exclusive = Vec::new();
        for (id, spec) in self.own.get(account).into_iter().flatten() {
            if spec.enabled {
                connections.push(bound(id, spec));
            }
        }
        for binding in self.bindings.get(account).into_iter().flatten() {
            let shared = self.shared.get(&binding.connection).filter(|c| c.org == *org);
            if shared.is_none() && !self.unreadable_connections.contains(&binding.connection) {
                continue;
            }
            let (signs_in, until) = match (binding.spec.state, binding.spec.drain_until) {
                (BindingState::Active, _) => (true, None),
                (BindingState::Draining, Some(until)) if now < until => (false, Some(until)),
                _ => continue,
            };
            if signs_in && binding.spec.mode == BindingMode::Exclusive {
                exclusive.push(binding.connection.clone());
            }
            if let Some(shared) = shared.filter(|shared| shared.spec.enabled) {
                connections.push(BoundConnection {
                    signs_in,
                    until,
                    claims: binding.spec.claims.clone(),
                    ..bound(&shared.id, &shared.spec)
                });
            }
        }
        if !exclusive.is_empty() {
            connections.retain(|c| !c.signs_in || exclusive.contains(&c.id));
        }
        connections.sort_by(|a, b| (!a.primary, &a.id).cmp(&(!b.primary, &b.id)));
        (connections, exclusive)
    }
}
