//! The configuration, compiled for the hot paths: which app lies at which place, who may sign in to it,
//! by which rules. One snapshot is shared by gateway, authorization server and broker, so that they
//! cannot disagree; it is replaced as a whole whenever the configuration changes.

use crate::sql::{Run, Sql};
use crate::{Error, Result, Store, binding, org, rule};
use arc_swap::ArcSwap;
use policy::{Ruleset, ScopeSet};
use std::collections::HashMap;
use std::sync::Arc;
use url::Url;
use wire::{
    Account, AccountId, App, AppId, Binding, BindingMode, BindingState, ConnectionId, ConnectionKind,
    ConnectionSpec, Group, OrgId, Organisation, Policy, PolicyId, Reason, RuleRef, Timestamp,
};

/// A connection as one account sees it.
#[derive(Debug, Clone)]
pub struct BoundConnection {
    /// Which.
    pub id: ConnectionId,
    /// Its name on the sign-in page.
    pub name: String,
    /// How people sign in.
    pub kind: ConnectionKind,
    /// Whether it is the organisation's primary one.
    pub primary: bool,
    /// Whether it may sign somebody in now; otherwise it only carries what runs already.
    pub signs_in: bool,
    /// Until when what runs already may go on.
    pub until: Option<Timestamp>,
    /// Names of the claims that apps get to see; `None` for all.
    pub claims: Option<Vec<String>>,
}

/// An app with everything that deciding about it needs.
pub struct AppView {
    /// The app.
    pub app: App,
    /// Whose.
    pub org: OrgId,
    /// The account that owns it.
    pub account: Account,
    /// Connections that count here, `exclusive` applied.
    pub connections: Vec<BoundConnection>,
    /// The app's policies under the organisation's floor.
    pub rules: Ruleset,
    /// What each scope covers.
    pub scopes: ScopeSet,
    /// Host, and port unless it is the scheme's default.
    pub authority: String,
    /// The path under which the app lies, without a trailing slash; empty for the whole origin.
    pub path: String,
    /// Scheme and authority of the public URL.
    pub public_origin: String,
}

impl AppView {
    /// Whether account and app are enabled.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.app.spec.enabled && self.account.spec.enabled
    }

    /// The canonical resource (RFC 8707), `aud` of the app's tokens.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.app.spec.public_url
    }

    /// Whether a session or grant of a person who came through `connection` may go on.
    #[must_use]
    pub fn carries(&self, connection: &ConnectionId, now: Timestamp) -> bool {
        self.connections
            .iter()
            .any(|c| c.id == *connection && c.until.is_none_or(|until| now < until))
    }

    /// Whether `connection` may sign somebody in to this app, or consent to something, now.
    #[must_use]
    pub fn signs_in(&self, connection: &ConnectionId) -> bool {
        self.connections.iter().any(|c| c.id == *connection && c.signs_in)
    }
}

/// The configuration at one moment.
#[derive(Default)]
pub struct Snapshot {
    apps: HashMap<AppId, Arc<AppView>>,
    /// By authority; the longest path first.
    places: HashMap<String, Vec<Arc<AppView>>>,
    accounts: HashMap<AccountId, Arc<AccountView>>,
}

/// An account with its connections.
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// Whose.
    pub org: OrgId,
    /// Connections that count here, `exclusive` applied.
    pub connections: Vec<BoundConnection>,
}

impl Snapshot {
    /// An app by its identifier.
    #[must_use]
    pub fn app(&self, id: &AppId) -> Option<&Arc<AppView>> {
        self.apps.get(id)
    }

    /// The app that lies at a place: an authority as a client writes it in `Host` (default ports left out)
    /// and a path.
    #[must_use]
    pub fn at(&self, authority: &str, path: &str) -> Option<&Arc<AppView>> {
        self.places.get(authority)?.iter().find(|view| {
            path.strip_prefix(view.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// All apps at an authority, the longest path first.
    #[must_use]
    pub fn at_authority(&self, authority: &str) -> &[Arc<AppView>] {
        self.places.get(authority).map_or(&[], Vec::as_slice)
    }

    /// An account by its identifier.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Arc<AccountView>> {
        self.accounts.get(id)
    }

    /// All apps, in no particular order.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<AppView>> {
        self.apps.values()
    }
}

/// Holds the newest snapshot.
pub struct Directory {
    control_url: String,
    snapshot: ArcSwap<Snapshot>,
    /// Reloads follow each other, so that an older reading never replaces a newer one.
    reloading: tokio::sync::Mutex<()>,
}

impl Directory {
    pub(crate) fn new(control_url: &str) -> Self {
        Self {
            control_url: control_url.trim_end_matches('/').to_owned(),
            snapshot: ArcSwap::default(),
            reloading: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn control_url(&self) -> &str {
        &self.control_url
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) async fn reload(&self, store: &Store) -> Result<()> {
        let _one_at_a_time = self.reloading.lock().await;
        let rows = Rows::load(store, &self.control_url).await?;
        self.snapshot.store(Arc::new(rows.compile(store.clock().now())));
        Ok(())
    }
}

/// Everything that a snapshot is made of.
struct Rows {
    organisations: HashMap<OrgId, Organisation>,
    accounts: Vec<(OrgId, Account)>,
    connections: Vec<(OrgId, ConnectionId, Option<AccountId>, ConnectionSpec)>,
    bindings: HashMap<AccountId, Vec<Binding>>,
    policies: HashMap<PolicyId, Policy>,
    groups: HashMap<AccountId, Vec<Group>>,
    apps: Vec<(OrgId, App)>,
}

impl Rows {
    async fn load(store: &Store, control_url: &str) -> Result<Self> {
        let mut db = store;
        let mut rows = Self {
            organisations: HashMap::new(),
            accounts: Vec::new(),
            connections: Vec::new(),
            bindings: HashMap::new(),
            policies: HashMap::new(),
            groups: HashMap::new(),
            apps: Vec::new(),
        };
        for organisation in org::all(store).await? {
            rows.organisations.insert(organisation.id.clone(), organisation);
        }
        for row in db.rows(Sql::new("SELECT * FROM accounts")).await? {
            rows.accounts.push((row.id("org")?, org::read_account(&row)?));
        }
        for row in db
            .rows(Sql::new(
                "SELECT id, org, account, spec FROM connections ORDER BY id",
            ))
            .await?
        {
            rows.connections.push((
                row.id("org")?,
                row.id("id")?,
                row.opt_id("account")?,
                row.json("spec")?,
            ));
        }
        for row in db.rows(Sql::new("SELECT * FROM bindings")).await? {
            let binding = binding::read(&row)?;
            rows.bindings
                .entry(binding.account.clone())
                .or_default()
                .push(binding);
        }
        for row in db.rows(Sql::new("SELECT * FROM policies")).await? {
            let policy: Policy = rule::read(&row)?;
            rows.policies.insert(policy.id.clone(), policy);
        }
        for row in db.rows(Sql::new("SELECT * FROM user_groups")).await? {
            let group: Group = rule::read(&row)?;
            rows.groups.entry(group.account.clone()).or_default().push(group);
        }
        for row in db.rows(Sql::new("SELECT * FROM apps")).await? {
            rows.apps
                .push((row.id("org")?, crate::app::read(&row, control_url)?));
        }
        Ok(rows)
    }

    fn compile(self, now: Timestamp) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (org, account) in &self.accounts {
            let connections = self.connections_of(org, &account.id, now);
            let view = AccountView {
                account: account.clone(),
                org: org.clone(),
                connections,
            };
            snapshot.accounts.insert(account.id.clone(), Arc::new(view));
        }
        for (org, app) in &self.apps {
            let Some(account) = snapshot.accounts.get(&app.account) else {
                continue;
            };
            match self.app(org, app, account) {
                Ok(view) => {
                    let view = Arc::new(view);
                    snapshot
                        .places
                        .entry(view.authority.clone())
                        .or_default()
                        .push(Arc::clone(&view));
                    snapshot.apps.insert(app.id.clone(), view);
                }
                // Fail closed: an app that cannot be compiled is not there.
                Err(error) => tracing::error!(app = %app.id, %error, "the app is left out"),
            }
        }
        for views in snapshot.places.values_mut() {
            views.sort_by_key(|view| std::cmp::Reverse(view.path.len()));
        }
        snapshot
    }

    fn app(&self, org: &OrgId, app: &App, account: &AccountView) -> Result<AppView> {
        let organisation = self
            .organisations
            .get(org)
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
        let url = Url::parse(&app.spec.public_url).map_err(Error::internal)?;
        Ok(AppView {
            app: app.clone(),
            org: org.clone(),
            account: account.account.clone(),
            connections: account.connections.clone(),
            rules,
            scopes,
            public_origin: url.origin().ascii_serialization(),
            authority,
            path,
        })
    }

    /// The connections that count in an account: its own and those bound to it; when one of the bound
    /// ones is exclusive, only that, and what drains runs out beside it.
    fn connections_of(&self, org: &OrgId, account: &AccountId, now: Timestamp) -> Vec<BoundConnection> {
        let bindings = self.bindings.get(account).map_or(&[][..], Vec::as_slice);
        let primary = self
            .organisations
            .get(org)
            .and_then(|o| o.spec.primary_connection.as_ref());
        let mut found = Vec::new();
        for (owner_org, id, owner, spec) in &self.connections {
            if owner_org != org || !spec.enabled {
                continue;
            }
            let (signs_in, until, claims, exclusive) = match owner {
                Some(owner) if owner == account => (true, None, None, false),
                Some(_) => continue,
                None => {
                    let Some(binding) = bindings.iter().find(|b| b.connection == *id) else {
                        continue;
                    };
                    let exclusive = binding.spec.mode == BindingMode::Exclusive;
                    let claims = binding.spec.claims.clone();
                    match (binding.spec.state, binding.spec.drain_until) {
                        (BindingState::Active, _) => (true, None, claims, exclusive),
                        (BindingState::Draining, Some(until)) if now < until => {
                            (false, Some(until), claims, false)
                        }
                        _ => continue,
                    }
                }
            };
            let connection = BoundConnection {
                id: id.clone(),
                name: spec.name.clone(),
                kind: spec.kind,
                primary: primary == Some(id),
                signs_in,
                until,
                claims,
            };
            found.push((exclusive, connection));
        }
        let any_exclusive = found.iter().any(|(exclusive, _)| *exclusive);
        let mut connections: Vec<_> = found
            .into_iter()
            .filter(|(e, c)| *e || !any_exclusive || !c.signs_in)
            .map(|(_, c)| c)
            .collect();
        connections.sort_by_key(|c| !c.primary);
        connections
    }
}

/// Why a person of `connection` may not use the app now, if so. For every surface the same.
impl AppView {
    /// `None` when nothing but the policies can refuse the person.
    #[must_use]
    pub fn refuses(&self, connection: &ConnectionId, disabled: bool, now: Timestamp) -> Option<Reason> {
        if !self.is_live() {
            Some(Reason::Disabled)
        } else if disabled {
            Some(Reason::UserDisabled)
        } else if !self.carries(connection, now) {
            Some(Reason::ConnectionNotBound)
        } else {
            None
        }
    }
}

/// Splits an app's public URL into authority (default port left out) and path (without trailing slash).
///
/// # Errors
/// `Invalid` at `/public_url` for anything but `http(s)://host[:port][/path]` in its canonical spelling.
pub fn split_public_url(text: &str) -> Result<(String, String)> {
    let bad = |detail: &'static str| Error::invalid("/public_url", detail);
    let url = Url::parse(text).map_err(|_| bad("not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http and https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("no user information"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("no query and no fragment"));
    }
    let host = url.host_str().ok_or_else(|| bad("no host"))?;
    let canonical = url.as_str();
    if canonical != text && canonical.strip_suffix('/') != Some(text) {
        return Err(Error::invalid("/public_url", format!("write it as {canonical}")));
    }
    if url.path().contains('%') || url.path().contains("//") {
        return Err(bad("no percent-encoding and no empty segments in the path"));
    }
    let authority = url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok((authority, url.path().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls_are_split_or_refused() {
        let ok = |text: &str| split_public_url(text).unwrap();
        assert_eq!(
            ok("https://wiki.example.com"),
            ("wiki.example.com".into(), String::new())
        );
        assert_eq!(
            ok("https://wiki.example.com/"),
            ("wiki.example.com".into(), String::new())
        );
        assert_eq!(
            ok("http://127.0.0.1:7412/mcp"),
            ("127.0.0.1:7412".into(), "/mcp".into())
        );
        for bad in [
            "wiki",
            "ftp://x/",
            "https://u@x/",
            "https://x/?q",
            "https://x/#f",
            "https://X/",
            "https://x:443/",
            "https://x/a/../b",
            "https://x/%41",
            "https://x/a//b",
        ] {
            assert!(split_public_url(bad).is_err(), "{bad}");
        }
    }
}
