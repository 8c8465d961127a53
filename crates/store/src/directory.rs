//! The configuration, compiled for the hot paths: which app lies at which place, who may sign in to it,
//! by which rules. One snapshot is shared by gateway, authorization server and broker, so that they
//! cannot disagree. A change makes a new snapshot that shares with the old one whatever it does not concern:
//! only the accounts that it concerns are read and compiled.

mod raw;
mod reach;
mod rows;

pub(crate) use raw::{Partial, Raw};
pub(crate) use reach::Reach;
pub(crate) use rows::{Rows, concerned};

use crate::agent_document::Decisions;
use crate::release::{Shown, Terms};
use crate::user::Person;
use crate::{Change, Error, Result, Store};
use arc_swap::ArcSwap;
use policy::{Ruleset, ScopeSet};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use url::Url;
use wire::{
    Account, AccountId, App, AppId, ClaimMapping, Client, ClientSource, ClientState, ConnectionId,
    ConnectionKind, OldestProof, OrgId, Reason, Timestamp,
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
    /// Names of the claims that the account gets to see; `None` for all.
    pub claims: Option<Vec<String>>,
    /// Which upstream claims those are.
    pub mapping: ClaimMapping,
}

impl BoundConnection {
    /// What the account gets to see of the connection's people.
    #[must_use]
    pub fn shown(&self) -> Shown {
        Shown::of(self.claims.as_deref())
    }
}

/// A person as an account sees them that `connections` count in: without what its binding does not release, and
/// without everything when their connection does not count there.
#[must_use]
fn seen<'a>(connections: &[BoundConnection], person: &'a Person) -> Cow<'a, Person> {
    match connections.iter().find(|c| c.id == person.user.connection) {
        Some(bound) => bound.shown().of_person(&bound.mapping, person),
        None => Shown::NOTHING.of_person(&ClaimMapping::default(), person),
    }
}

/// An app with everything that deciding about it needs.
pub struct AppView {
    /// The app.
    pub app: App,
    /// Whose.
    pub org: OrgId,
    /// The account that owns it.
    pub account: Account,
    /// Connections that count here, `exclusive` applied; the account's.
    pub connections: Arc<[BoundConnection]>,
    /// The app's policies under the organisation's floor. Asked by [`crate::access`] only.
    pub(crate) rules: Ruleset,
    /// How old the identity provider's word about a person may be here.
    pub oldest_proof: OldestProof,
    /// Whether people with a local password need a second factor.
    pub(crate) require_second_factor: bool,
    /// What each scope covers.
    pub scopes: ScopeSet,
    /// Host, and port unless it is the scheme's default.
    pub authority: String,
    /// The path under which the app lies, without a trailing slash; empty for the whole origin.
    pub path: String,
    /// Scheme and authority of the public URL.
    pub public_origin: String,
    /// What the organisation decided about metadata documents of agents.
    pub documents: Arc<Decisions>,
    /// Networks that the organisation opens to origins although they are special; in CIDR notation.
    pub origin_ranges: Vec<String>,
    /// Equal for rules that decide alike.
    pub(crate) fingerprint: String,
    /// Whom the rules may let in.
    pub(crate) reach: Reach,
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

    /// Whether a token of the app can carry a scope: one of its own, or of OpenID Connect where that is switched on.
    #[must_use]
    pub fn has_scope(&self, name: &str) -> bool {
        self.scopes.names().any(|own| own == name)
            || self.app.spec.oauth.openid && wire::OPENID_SCOPES.contains(&name)
    }

    /// Whether a session or grant of a person who came through `connection` may go on.
    #[must_use]
    pub fn carries(&self, connection: &ConnectionId, now: Timestamp) -> bool {
        self.connections
            .iter()
            .any(|c| c.id == *connection && c.until.is_none_or(|until| now < until))
    }

    /// When access of people of `connection` ends, because its binding drains.
    #[must_use]
    pub fn until(&self, connection: &ConnectionId) -> Option<Timestamp> {
        let bound = self.connections.iter().find(|c| c.id == *connection);
        bound.and_then(|c| c.until)
    }

    /// Whether `connection` may sign somebody in to this app, or consent to something, now.
    #[must_use]
    pub fn signs_in(&self, connection: &ConnectionId) -> bool {
        self.connections.iter().any(|c| c.id == *connection && c.signs_in)
    }

    /// The person as this account sees them: without the claims that it does not get.
    #[must_use]
    pub fn sees<'a>(&self, person: &'a Person) -> Cow<'a, Person> {
        seen(&self.connections, person)
    }

    /// What the account, and so the app's origin, gets to see of people of `connection`.
    #[must_use]
    pub fn shown(&self, connection: &ConnectionId) -> Shown {
        let bound = self.connections.iter().find(|c| c.id == *connection);
        bound.map_or(Shown::NOTHING, BoundConnection::shown)
    }

    /// Whether the app takes this client at all, whoever uses it.
    #[must_use]
    pub fn accepts(&self, client: &Client) -> bool {
        let rules = &self.app.spec.oauth.registration;
        client.state == ClientState::Active
            && client.tier >= rules.lowest_tier
            && (client.source != ClientSource::MetadataDocument
                || rules.metadata_documents && !self.documents.refuse(&client.client_id))
    }

    /// Whether agents are told that they may name a metadata document (`client_id_metadata_document_supported`). Some have
    /// no other way once they are told so: it is said only where there are documents that nobody has to be asked for.
    #[must_use]
    pub fn announces_documents(&self) -> bool {
        self.app.spec.oauth.registration.metadata_documents && self.documents.have_some()
    }
}

/// The configuration at one moment.
#[derive(Default, Clone)]
pub struct Snapshot {
    apps: HashMap<AppId, Arc<AppView>>,
    /// By authority; the longest path first.
    places: HashMap<String, Vec<Arc<AppView>>>,
    accounts: HashMap<AccountId, Arc<AccountView>>,
    unreadable: Vec<Unreadable>,
}

/// A row of the configuration that cannot be read. What depends on it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it is.
    pub table: &'static str,
    /// Which it is.
    pub id: String,
    /// Whose it is, unless it is an organisation's.
    pub account: Option<AccountId>,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} cannot be read", self.id, self.table)?;
        match &self.account {
            Some(account) => write!(f, " (account {account}); what depends on it is left out"),
            None => f.write_str("; what depends on it is left out"),
        }
    }
}

/// An account with its connections and apps.
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// Whose.
    pub org: OrgId,
    /// Connections that count here, `exclusive` applied.
    pub connections: Arc<[BoundConnection]>,
    /// Connections with an active exclusive binding; there is at most one.
    pub exclusive: Vec<ConnectionId>,
    /// What it gets to see of people, also of connections that do not count now.
    pub(crate) terms: HashMap<ConnectionId, Terms>,
    /// Its apps.
    pub apps: Vec<Arc<AppView>>,
}

impl AccountView {
    /// Whether the organisation keeps people of `connection` out of this account, by an exclusive binding of
    /// another one: then neither sessions and grants nor roles of theirs count here.
    #[must_use]
    pub fn excludes(&self, connection: &ConnectionId) -> bool {
        !self.exclusive.is_empty() && !self.exclusive.contains(connection)
    }

    /// The person as this account sees them: without the claims that it does not get.
    #[must_use]
    pub fn sees<'a>(&self, person: &'a Person) -> Cow<'a, Person> {
        seen(&self.connections, person)
    }
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

    /// The connections that count in at least one of these accounts.
    #[must_use]
    pub fn counting(&self, accounts: &[AccountId]) -> BTreeSet<ConnectionId> {
        let accounts = accounts.iter().filter_map(|id| self.accounts.get(id));
        let connections = accounts.flat_map(|account| account.connections.iter());
        connections.map(|connection| connection.id.clone()).collect()
    }

    /// What could not be read of the configuration.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// All accounts, in no particular order.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<AccountView>> {
        self.accounts.values()
    }

    /// All apps, in no particular order.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<AppView>> {
        self.apps.values()
    }

    fn insert(&mut self, view: Arc<AccountView>) {
        for app in &view.apps {
            let place = self.places.entry(app.authority.clone()).or_default();
            place.push(Arc::clone(app));
            place.sort_by_key(|app| std::cmp::Reverse(app.path.len()));
            self.apps.insert(app.app.id.clone(), Arc::clone(app));
        }
        self.accounts.insert(view.account.id.clone(), view);
    }

    fn remove(&mut self, id: &AccountId) {
        let Some(view) = self.accounts.remove(id) else {
            return;
        };
        for app in &view.apps {
            self.apps.remove(&app.app.id);
            if let Some(place) = self.places.get_mut(&app.authority) {
                place.retain(|other| other.app.id != app.app.id);
                if place.is_empty() {
                    self.places.remove(&app.authority);
                }
            }
        }
    }
}

/// Holds the newest snapshot.
pub struct Directory {
    control_url: String,
    snapshot: ArcSwap<Snapshot>,
    /// Reloads follow each other, so that an older reading never replaces a newer one.
    reloading: tokio::sync::Mutex<()>,
    /// Counts the account views that were compiled.
    compiled: std::sync::atomic::AtomicU64,
}

impl Directory {
    pub(crate) fn new(control_url: &str) -> Self {
        Self {
            control_url: control_url.trim_end_matches('/').to_owned(),
            snapshot: ArcSwap::default(),
            reloading: tokio::sync::Mutex::default(),
            compiled: std::sync::atomic::AtomicU64::default(),
        }
    }

    pub(crate) fn control_url(&self) -> &str {
        &self.control_url
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads everything anew.
    pub(crate) async fn reload(&self, store: &Store) -> Result<()> {
        self.refresh(store, &[Change::Config]).await
    }

    /// Reads what the changes concern anew.
    pub(crate) async fn refresh(&self, store: &Store, changes: &[Change]) -> Result<()> {
        if !changes.iter().any(concerns_views) {
            return Ok(());
        }
        let _one_at_a_time = self.reloading.lock().await;
        let only = concerned(store, changes).await?;
        let mut raw = Raw::load(store, only.as_ref()).await?;
        raw.look_at(store, changes).await?;
        let rows = Rows::read(raw, &self.control_url)?;
        let views = rows.compile(store.clock().now());
        self.compiled
            .fetch_add(views.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut next = match &only {
            None => Snapshot::default(),
            Some(accounts) => {
                let mut next = Snapshot::clone(&self.snapshot.load());
                for id in accounts {
                    next.remove(id);
                }
                next
            }
        };
        for view in views {
            next.insert(view);
        }
        // What was not read now is as it was.
        let kept = |row: &Unreadable| match (&row.account, &only) {
            (_, None) => false,
            (Some(account), Some(only)) => !only.contains(account),
            (None, Some(_)) => !rows.has_looked_for(&row.id),
        };
        next.unreadable.retain(kept);
        next.unreadable.extend_from_slice(rows.unreadable());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("chatelaine_unreadable_rows").set(next.unreadable.len() as f64);
        self.snapshot.store(Arc::new(next));
        Ok(())
    }

    /// How many account views were compiled so far.
    pub(crate) fn compiled(&self) -> u64 {
        self.compiled.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Whether a change makes views out of date.
const fn concerns_views(change: &Change) -> bool {
    matches!(
        change,
        Change::Config | Change::All | Change::Account(_) | Change::Organisation(_) | Change::Connection(_)
    )
}

impl AppView {
    /// Why nobody of `connection` may use the app now, or this person may not, if so; the first questions of
    /// [`AppView::decide`].
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
