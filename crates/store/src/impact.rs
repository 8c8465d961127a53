//! What a transaction does to people and agents, worked out before it is committed.
//!
//! Two views of each account that the transaction concerns are compared: the one that is enforced now, and the
//! one compiled from what the transaction wrote. Both are asked what enforcement asks ([`AppView::decide`]), about
//! everybody who has a live session or grant there, and about everybody who could sign in. The cost grows with the accounts concerned
//! and with the people whose answer may differ.

mod held;
mod names;
mod sign_in;
mod tokens;

use crate::access::Proof;
use crate::directory::{AccountView, AppView, Rows, Snapshot, concerned};
use crate::user::Person;
use crate::{Change, Result, Tx};
use held::{Held, Holding, Wanted, people_of};
use sign_in::{Bits, Crowd, Doubts};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use wire::{
    AccountId, AuditEvent, ClientId, Impact, ImpactCount, ImpactName, ImpactRow, ImpactShare, ImpactSignIn,
    ImpactSummary, ImpactTokens, Reason, Timestamp, UserId,
};

/// An impact being worked out. Boxed, so that those who wait for it need not be proven `Send` through it.
type Foresight<'a> = Pin<Box<dyn Future<Output = Result<Option<Impact>>> + Send + 'a>>;

/// Rows of an impact at the most.
const ROWS: usize = 200;
/// Names in each share at the most.
const NAMES: usize = 20;

impl Tx {
    /// Who gains, keeps and loses access by what this transaction wrote so far. `None` when it wrote
    /// nothing that decides about anybody.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn impact(&mut self) -> Result<Option<Impact>> {
        self.foresee(&mut []).await
    }

    /// As [`Tx::impact`], and notes it in the events: in each that of its account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn foresee<'a>(&'a mut self, events: &'a mut [AuditEvent]) -> Foresight<'a> {
        Box::pin(self.foresee_since(None, events))
    }

    /// As [`Tx::foresee`], compared with what was enforced at a moment that is over.
    pub(crate) async fn foresee_since(
        &mut self,
        moment: Option<Timestamp>,
        events: &mut [AuditEvent],
    ) -> Result<Option<Impact>> {
        let (store, now, changes) = (self.store.clone(), self.now(), self.changes.clone());
        // What is not said more precisely concerns all organisations, and is nobody's to look at.
        let mut views = changes.clone();
        views.retain(|c| !matches!(c, Change::Config | Change::All));
        let accounts = concerned(&mut *self, &views).await?.unwrap_or_default();
        let wanted = Wanted::new(&accounts, &changes);
        let api_tokens = tokens::compare(
            &tokens::good(&store, &changes, now).await?,
            &tokens::good(&mut *self, &changes, now).await?,
        );
        if accounts.is_empty() && !wanted.moves() && !api_tokens.moves() {
            return Ok(None);
        }
        let control_url = store.inner.directory.control_url();
        let rows = Rows::load(&mut *self, control_url, Some(&accounts)).await?;
        let after = by_id(rows.compile(now));
        let before = match moment {
            None => HashMap::new(),
            Some(moment) => {
                let rows = Rows::load(&store, control_url, Some(&accounts)).await?;
                by_id(rows.compile(moment))
            }
        };
        let places = Places {
            accounts,
            before,
            after,
            now: store.directory(),
        };
        let held = Held::load(&store, &wanted, moment.unwrap_or(now)).await?;
        let moved = match wanted.moves() {
            true => Some(Held::load(&mut *self, &wanted, now).await?),
            false => None,
        };
        let mut work = Work {
            places: &places,
            moments: (moment.unwrap_or(now), now),
            tallies: BTreeMap::new(),
            total: Tally::default(),
            names: Names::default(),
            tokens: api_tokens,
        };
        for (id, holding) in &held.holdings {
            work.hold(id, holding, &held, moved.as_ref());
        }
        if let Some(moved) = &moved {
            for id in &wanted.users {
                work.person(held.people.get(id), moved.people.get(id));
            }
        }
        let doubts = Doubts::new(&places);
        for connection in doubts.by_connection.keys() {
            let reach = doubts.reach(connection);
            let mut last: Option<UserId> = None;
            loop {
                let people = people_of(&mut *self, connection, &reach, last.as_ref()).await?;
                let Some(end) = people.last() else { break };
                last = Some(end.user.id.clone());
                work.crowd(Crowd::new(people), connection, &doubts);
            }
        }
        Ok(Some(work.finish(events)))
    }
}

fn by_id(views: Vec<Arc<AccountView>>) -> HashMap<AccountId, Arc<AccountView>> {
    views
        .into_iter()
        .map(|view| (view.account.id.clone(), view))
        .collect()
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

fn app_of<'a>(account: Option<&'a Arc<AccountView>>, holding: &Holding) -> Option<&'a AppView> {
    let mut apps = account?.apps.iter();
    apps.find(|view| view.app.id == holding.app).map(Arc::as_ref)
}

/// One share of an account, or of everything.
#[derive(Default)]
struct Part {
    /// Who holds a session.
    people: HashSet<UserId>,
    /// Who holds none.
    others: i64,
    agents: i64,
}

impl Part {
    fn count(&self) -> ImpactCount {
        ImpactCount {
            people: i64::try_from(self.people.len())
                .unwrap_or(i64::MAX)
                .saturating_add(self.others),
            agents: self.agents,
        }
    }

    fn add(&mut self, holding: &Holding) {
        if holding.agent.is_some() {
            self.agents += 1;
        } else {
            self.people.insert(holding.user.clone());
        }
    }
}

#[derive(Default)]
struct Tally {
    gain: Part,
    keep: Part,
    lose: Part,
    sign_in: ImpactSignIn,
}

impl Tally {
    fn part(&mut self, share: Share) -> &mut Part {
        match share {
            Share::Gain => &mut self.gain,
            Share::Keep => &mut self.keep,
            Share::Lose => &mut self.lose,
        }
    }

    fn summary(&self, accounts: i64) -> ImpactSummary {
        ImpactSummary {
            accounts,
            gain: self.gain.count(),
            keep: self.keep.count(),
            lose: self.lose.count(),
            sign_in: self.sign_in,
            tokens: ImpactTokens::default(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Share {
    Gain,
    Keep,
    Lose,
}

#[derive(Default)]
struct Names {
    gain: Vec<ImpactName>,
    keep: Vec<ImpactName>,
    lose: Vec<ImpactName>,
    /// Nobody is named twice in one share.
    named: HashSet<(u8, UserId, Option<ClientId>)>,
}

impl Names {
    fn list(&mut self, share: Share) -> &mut Vec<ImpactName> {
        match share {
            Share::Gain => &mut self.gain,
            Share::Keep => &mut self.keep,
            Share::Lose => &mut self.lose,
        }
    }

    fn is_full(&mut self, share: Share) -> bool {
        self.list(share).len() >= NAMES
    }

    fn add(&mut self, share: Share, name: ImpactName) {
        if !self.is_full(share)
            && self
                .named
                .insert((share as u8, name.user.clone(), name.client.clone()))
        {
            self.list(share).push(name);
        }
    }
}

struct Work<'a> {
    places: &'a Places,
    /// Before and after.
    moments: (Timestamp, Timestamp),
    tallies: BTreeMap<AccountId, Tally>,
    total: Tally,
    names: Names,
    /// Those of people are the organisation's, whatever their owners may do.
    tokens: ImpactTokens,
}

impl Work<'_> {
    fn tally(&mut self, account: &AccountId) -> &mut Tally {
        if !self.tallies.contains_key(account) {
            self.tallies.insert(account.clone(), Tally::default());
        }
        self.tallies.entry(account.clone()).or_default()
    }

    /// Somebody holds a session or grant: what becomes of it?
    fn hold(&mut self, id: &str, holding: &Holding, held: &Held, moved: Option<&Held>) {
        let app_before = app_of(self.places.account_before(&holding.account), holding);
        let app_after = app_of(self.places.account_after(&holding.account), holding);
        let proof = Proof::Of(&holding.authentication);
        let before = {
            let client = holding.agent_in(held);
            let agent = holding.agent.as_ref().map(|_| client.as_ref());
            let person = held.people.get(&holding.user).map(|person| (person, proof));
            names::judge(app_before, person, agent, self.moments.0)
        };
        let then = moved.unwrap_or(held);
        let client = holding.agent_in(then).or_else(|| holding.agent_in(held));
        let client = client.as_ref();
        let person = then
            .people
            .get(&holding.user)
            .or_else(|| held.people.get(&holding.user));
        let mut after = {
            let agent = holding.agent.as_ref().map(|_| client);
            names::judge(
                app_after,
                person.map(|person| (person, proof)),
                agent,
                self.moments.1,
            )
        };
        if after.allowed && moved.is_some_and(|moved| !moved.holdings.contains_key(id)) {
            after = wire::Decision {
                allowed: false,
                reason: Reason::CredentialInvalid,
                rule: None,
            };
        }
        let share = match (before.allowed, after.allowed) {
            (false, true) => Share::Gain,
            (true, true) => Share::Keep,
            (true, false) => Share::Lose,
            (false, false) => return,
        };
        self.tally(&holding.account).part(share).add(holding);
        self.total.part(share).add(holding);
        let Some(person) = person else { return };
        // What is withheld is known while the connection counts there.
        let counts = |app: &&AppView| app.connections.iter().any(|c| c.id == person.user.connection);
        let counted = app_after.filter(counts).or_else(|| app_before.filter(counts));
        if let Some(app) = counted.or(app_after).or(app_before)
            && !self.names.is_full(share)
        {
            let agent = holding.agent.as_ref().map(|(grant, _)| (grant, client));
            self.names.add(share, names::name(person, agent, app, after));
        }
    }

    /// A person changed: where could they sign in, and where can they now?
    fn person(&mut self, before: Option<&Person>, after: Option<&Person>) {
        let Some(known) = after.or(before) else { return };
        let org = known.org.clone();
        let enforced = Arc::clone(&self.places.now);
        let mut any = (false, false);
        for account in enforced.accounts().filter(|account| account.org == org) {
            let now = self.moments.1;
            let open = |person: Option<&Person>| {
                account.apps.iter().find_map(|app| {
                    let decision = names::enter(app, person?, now);
                    decision.allowed.then_some((app, decision))
                })
            };
            let entered = open(after);
            match (open(before), entered) {
                (None, Some((app, decision))) => {
                    any.0 = true;
                    let tally = self.tally(&account.account.id);
                    tally.sign_in.gain += 1;
                    if !tally.gain.people.contains(&known.user.id) {
                        tally.gain.people.insert(known.user.id.clone());
                    }
                    self.total.gain.people.insert(known.user.id.clone());
                    self.names
                        .add(Share::Gain, names::name(known, None, app, decision));
                }
                (Some(_), None) => {
                    any.1 = true;
                    self.tally(&account.account.id).sign_in.lose += 1;
                }
                _ => {}
            }
        }
        self.total.sign_in.gain += i64::from(any.0);
        self.total.sign_in.lose += i64::from(any.1);
    }

    /// Accounts changed: which of these people of a connection could sign in, and which can now?
    fn crowd(&mut self, mut crowd: Crowd, connection: &wire::ConnectionId, doubts: &Doubts) {
        let size = crowd.people.len();
        let (mut all_gained, mut all_lost) = (Bits::none(size), Bits::none(size));
        for doubt in doubts.by_connection.get(connection).into_iter().flatten() {
            let before = crowd.who(doubts, &doubt.before, self.moments.1);
            let after = crowd.who(doubts, &doubt.after, self.moments.1);
            let (gained, lost) = (after.without(&before), before.without(&after));
            let (gains, loses) = (gained.count(), lost.count());
            if gains == 0 && loses == 0 {
                continue;
            }
            let tally = self.tally(&doubt.account);
            tally.sign_in.gain += gains;
            tally.sign_in.lose += loses;
            tally.gain.others += gains - crowd.count_within(&gained, &tally.gain.people);
            all_gained.add(&gained);
            all_lost.add(&lost);
            if gains > 0
                && !self.names.is_full(Share::Gain)
                && let Some(account) = self.places.account_after(&doubt.account)
            {
                for name in crowd.names(&gained, account, self.moments.1).take(NAMES) {
                    self.names.add(Share::Gain, name);
                }
            }
        }
        self.total.sign_in.gain += all_gained.count();
        self.total.sign_in.lose += all_lost.count();
        self.total.gain.others +=
            all_gained.count() - crowd.count_within(&all_gained, &self.total.gain.people);
    }

    fn finish(mut self, events: &mut [AuditEvent]) -> Impact {
        for account in &self.places.accounts {
            self.tallies.entry(account.clone()).or_default();
        }
        let accounts = i64::try_from(self.tallies.len()).unwrap_or(i64::MAX);
        let total = ImpactSummary {
            tokens: self.tokens,
            ..self.total.summary(accounts)
        };
        for event in events {
            let of_account = event.account.as_ref().and_then(|id| self.tallies.get(id));
            event.impact = Some(of_account.map_or(total, |tally| tally.summary(1)));
        }
        let mut rows: Vec<ImpactRow> = self
            .tallies
            .iter()
            .map(|(account, tally)| {
                let view = self.places.account_after(account);
                let view = view.or_else(|| self.places.account_before(account));
                let summary = tally.summary(1);
                ImpactRow {
                    account: account.clone(),
                    name: view.map_or_else(String::new, |view| view.account.spec.name.clone()),
                    gain: summary.gain,
                    keep: summary.keep,
                    lose: summary.lose,
                    sign_in: summary.sign_in,
                }
            })
            .collect();
        let weight = |row: &ImpactRow| {
            let of = |count: ImpactCount| count.people + count.agents;
            (of(row.lose), row.sign_in.lose, of(row.gain), of(row.keep))
        };
        rows.sort_by_key(|row| std::cmp::Reverse(weight(row)));
        let more = i64::try_from(rows.len().saturating_sub(ROWS)).unwrap_or(i64::MAX);
        rows.truncate(ROWS);
        let share = |count: ImpactCount, names| ImpactShare {
            people: count.people,
            agents: count.agents,
            names,
        };
        Impact {
            accounts,
            gain: share(total.gain, self.names.gain),
            keep: share(total.keep, self.names.keep),
            lose: share(total.lose, self.names.lose),
            sign_in: total.sign_in,
            tokens: total.tokens,
            rows,
            more,
        }
    }
}
