//! What a transaction does to people and agents. What it wrote is read within it, as a [`Draft`]; when it is over,
//! taken back or not, that is compared with what is enforced.
//!
//! Two views of each account that the transaction concerns are compared: the one that is enforced now, and the
//! one compiled from what the transaction wrote. Both are asked what enforcement asks ([`AppView::decide`]), about
//! everybody who has a live session or grant there, and about everybody who could sign in. The cost grows with the accounts concerned
//! and with the people whose answer may differ; the memory that it takes does with sixteen bytes for each of them. Nobody
//! who writes waits for it: it asks as a report does, a page at a time, on a thread of its own that gives way to those
//! that answer others. Dropped, it stops where it waits next.
//!
//! [`AppView::decide`]: crate::AppView

mod held;
mod key;
mod names;
mod rehearsal;
mod sign_in;
mod tally;
mod tokens;
mod touched;
mod work;

pub(crate) use rehearsal::rehearse_since;
pub use rehearsal::{Made, NOT_COUNTED, rehearse};
pub use tally::Foresight;

use crate::change::{self, Change};
use crate::directory::{AccountView, Partial, Raw, Rows, Snapshot, concerned};
use crate::quiet::apart;
use crate::sql::Run as _;
use crate::user::{self, Person};
use crate::{Purpose, Result, Store, Tx};
use held::{BATCH, Index, Page, STEP, people_of, some_of};
use sign_in::{Crowd, Doubts};
use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use touched::{Touched, Wanted};
use wire::{AccountId, ConnectionId, Timestamp, UserId};
use work::Work;

/// What a transaction wrote, as far as it decides about anybody.
pub struct Draft {
    store: Store,
    changes: Vec<Change>,
    wanted: Wanted,
    ground: Ground,
    rows: Partial,
    touched: Touched,
    /// What was enforced then.
    now: Arc<Snapshot>,
    /// Before and after.
    moments: (Timestamp, Timestamp),
    /// Whether what was enforced at the moment before is not enforced any more.
    is_over: bool,
}

/// What a judgement stands on.
#[derive(Clone)]
struct Ground {
    accounts: BTreeSet<AccountId>,
    /// How far the change feed was.
    position: i64,
}

/// A draft being read. Boxed, so that those who wait for it need not be proven `Send` through it.
type Drafting<'a> = Pin<Box<dyn Future<Output = Result<Option<Draft>>> + Send + 'a>>;

impl Tx {
    /// What this transaction wrote so far. `None` when that decides about nobody.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn draft(&mut self) -> Drafting<'_> {
        Box::pin(self.draft_since(None))
    }

    /// As [`Tx::draft`], to be compared with what was enforced at a moment that is over.
    pub(crate) async fn draft_since(&mut self, moment: Option<Timestamp>) -> Result<Option<Draft>> {
        let (store, now) = (self.store.on(Purpose::Report), self.now());
        let mut changes = self.changes.clone();
        // What is not said more precisely concerns all organisations, and is nobody's to look at.
        changes.retain(|c| !matches!(c, Change::Config | Change::All));
        if !changes.iter().any(decides) {
            return Ok(None);
        }
        let position = change::position(&mut *self).await?;
        let accounts = concerned(&mut *self, &changes).await?.unwrap_or_default();
        let wanted = Wanted::new(&accounts, &changes);
        let ended = std::mem::take(&mut self.ended);
        let touched = Touched::load(&mut *self, &wanted, &ended, now).await;
        self.ended = ended;
        // Whoever writes waits meanwhile: no more than has to be.
        let written = self.db.written().clone();
        let rows = Raw::load_written(&mut *self, &accounts, &written).await?;
        Ok(Some(Draft {
            now: store.directory(),
            changes,
            wanted,
            ground: Ground { accounts, position },
            rows,
            touched: touched?,
            moments: (moment.unwrap_or(now), now),
            is_over: moment.is_some(),
            store,
        }))
    }

    /// Whether what a judgement stands on is as it was, and this transaction is about the same.
    async fn stands_on(&mut self, ground: &Ground) -> Result<bool> {
        let changes = self.changes.clone();
        let accounts = concerned(&mut *self, &changes).await?.unwrap_or_default();
        if accounts != ground.accounts {
            return Ok(false);
        }
        let since = change::since(&mut *self, ground.position).await?;
        Ok(!since.iter().any(|change| match change {
            Change::Config | Change::All | Change::Organisation(_) | Change::Connection(_) => true,
            Change::Account(id) => ground.accounts.contains(id),
            _ => false,
        }))
    }
}

/// Whether a change may decide about somebody.
const fn decides(change: &Change) -> bool {
    matches!(
        change,
        Change::Account(_)
            | Change::Organisation(_)
            | Change::Connection(_)
            | Change::User(_)
            | Change::Client(_)
            | Change::Grant(_)
            | Change::Session(_)
    )
}

impl Draft {
    /// Who gains, keeps and loses access.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn judge(self) -> Pin<Box<dyn Future<Output = Result<Foresight>> + Send>> {
        Box::pin(async { apart(self.judged()).await? })
    }

    async fn judged(self) -> Result<Foresight> {
        let Self {
            store,
            changes,
            wanted,
            ground,
            rows,
            touched,
            now,
            moments,
            is_over,
        } = self;
        let control_url = store.inner.directory.control_url();
        let rows = rows.complete(&store, &ground.accounts).await?;
        let rows = Rows::read(rows, control_url)?;
        let past = match is_over {
            true => {
                let past = Raw::load(&store, Some(&ground.accounts)).await?;
                Some(Rows::read(past, control_url)?)
            }
            false => None,
        };
        let places = Places {
            before: past.map_or_else(HashMap::new, |past| by_id(past.compile(moments.0))),
            after: by_id(rows.compile(moments.1)),
            accounts: ground.accounts,
            now,
        };
        let scene = Arc::new(Scene {
            doubts: Doubts::new(&places),
            places,
            rows,
            touched,
            moments,
        });
        let mut tokens = tokens::of_accounts(&store, &scene, &changes).await?;
        let of_people = tokens::of_people(&store, &changes, moments.1).await?;
        tokens = tokens::sum(tokens, tokens::some(&store, &scene, &of_people).await?);
        let moves = !scene.places.accounts.is_empty() || wanted.moves();
        let mut judging = Judging {
            work: Work::new(Arc::clone(&scene)),
            store,
            scene,
        };
        judging.held(&wanted).await?;
        judging.changed(&wanted.users).await?;
        judging.crowds().await?;
        Ok(judging.work.finish(tokens, moves))
    }
}

fn by_id(views: Vec<Arc<AccountView>>) -> HashMap<AccountId, Arc<AccountView>> {
    views
        .into_iter()
        .map(|view| (view.account.id.clone(), view))
        .collect()
}

/// Everything that is asked.
struct Scene {
    places: Places,
    doubts: Doubts,
    /// The configuration after the transaction.
    rows: Rows,
    touched: Touched,
    moments: (Timestamp, Timestamp),
}

/// The accounts concerned, before and after.
struct Places {
    accounts: BTreeSet<AccountId>,
    /// Compiled for another moment than now; empty for now.
    before: HashMap<AccountId, Arc<AccountView>>,
    after: HashMap<AccountId, Arc<AccountView>>,
    /// What is enforced now, for all accounts.
    now: Arc<Snapshot>,
}

impl Places {
    fn account_before(&self, id: &AccountId) -> Option<&Arc<AccountView>> {
        self.before.get(id).or_else(|| self.now.account(id))
    }

    fn account_after(&self, id: &AccountId) -> Option<&Arc<AccountView>> {
        if self.accounts.contains(id) {
            self.after.get(id)
        } else {
            self.now.account(id)
        }
    }
}

/// Goes through all pages.
struct Judging {
    store: Store,
    scene: Arc<Scene>,
    work: Work,
}

impl Judging {
    /// All who hold something.
    async fn held(&mut self, wanted: &Wanted) -> Result<()> {
        let moment = self.scene.moments.0;
        let index = Index::load(&self.store, wanted, moment).await?;
        for (kind, keys) in index.pages() {
            let page = Page::load(&self.store, (kind, keys), moment).await?;
            self.work.page(&page.read()?);
        }
        Ok(())
    }

    /// All who were changed themselves.
    async fn changed(&mut self, users: &[UserId]) -> Result<()> {
        for some in users.chunks(BATCH) {
            let rows = (&self.store).rows(some_of(some)).await?;
            let people: Result<Vec<Person>> = rows.iter().map(user::read).collect();
            let people = people?.into_iter().map(|p| (p.user.id.clone(), p)).collect();
            self.work.people(some, &people);
        }
        Ok(())
    }

    /// All who could sign in.
    async fn crowds(&mut self) -> Result<()> {
        let scene = Arc::clone(&self.scene);
        let doubts = &scene.doubts;
        for connection in doubts.by_connection.keys() {
            let reach = doubts.reach(connection);
            let mut last: Option<UserId> = None;
            loop {
                let rows = people_of(&self.store, connection, &reach, last.as_ref()).await?;
                let Some(end) = rows.last() else { break };
                last = Some(end.id("id")?);
                let people = rows.iter().map(user::read);
                let untouched = people.filter(|person| {
                    let known = |person: &Person| scene.touched.people.contains_key(&person.user.id);
                    !person.as_ref().is_ok_and(known)
                });
                self.work
                    .crowd(Crowd::new(untouched.collect::<Result<_>>()?), connection);
            }
            self.touched(connection).await?;
        }
        Ok(())
    }

    /// Those whom the transaction changed are asked about as they are after it.
    async fn touched(&mut self, connection: &ConnectionId) -> Result<()> {
        let scene = Arc::clone(&self.scene);
        let people = scene.touched.people.values().flatten();
        let mut people: Vec<Person> = people
            .filter(|person| person.user.connection == *connection)
            .cloned()
            .collect();
        people.sort_by(|a, b| a.user.id.cmp(&b.user.id));
        for some in people.chunks(STEP as usize) {
            self.work.crowd(Crowd::new(some.to_vec()), connection);
        }
        Ok(())
    }
}
