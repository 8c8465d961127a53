//! The judging itself, a page at a time: what becomes of what somebody holds, and of who could sign in.

use super::held::{Held, Holding};
use super::key::key;
use super::sign_in::{Bits, Crowd};
use super::tally::{Foresight, NAMES, Names, Share, Tally};
use super::{Scene, names};
use crate::access::Proof;
use crate::directory::{AccountView, AppView};
use crate::user::Person;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wire::{AccountId, ConnectionId, ImpactTokens, Reason, UserId};

/// What was counted so far.
pub(super) struct Work {
    scene: Arc<Scene>,
    tallies: BTreeMap<AccountId, Tally>,
    total: Tally,
    names: Names,
}

fn app_of<'a>(account: Option<&'a Arc<AccountView>>, holding: &Holding) -> Option<&'a AppView> {
    let mut apps = account?.apps.iter();
    apps.find(|view| view.app.id == holding.app).map(Arc::as_ref)
}

impl Work {
    pub(super) fn new(scene: Arc<Scene>) -> Self {
        Self {
            scene,
            tallies: BTreeMap::new(),
            total: Tally::default(),
            names: Names::default(),
        }
    }

    /// Counts are told. Tokens of people are the organisation's, whatever their owners may do.
    pub(super) fn finish(self, tokens: ImpactTokens, moves: bool) -> Foresight {
        let places = &self.scene.places;
        Foresight::new((&self.total, tokens), self.tallies, self.names, (places, moves))
    }

    fn tally(&mut self, account: &AccountId) -> &mut Tally {
        if !self.tallies.contains_key(account) {
            self.tallies.insert(account.clone(), Tally::default());
        }
        self.tallies.entry(account.clone()).or_default()
    }

    /// Some hold sessions or grants: what becomes of them?
    pub(super) fn page(&mut self, held: &Held) {
        for holding in &held.holdings {
            self.hold(holding, held);
        }
    }

    fn hold(&mut self, holding: &Holding, held: &Held) {
        let scene = Arc::clone(&self.scene);
        let (places, touched) = (&scene.places, &scene.touched);
        let app_before = app_of(places.account_before(&holding.account), holding);
        let app_after = app_of(places.account_after(&holding.account), holding);
        let proof = Proof::Of(&holding.authentication);
        let known = held.people.get(&holding.user);
        let agent_known = holding.agent.as_ref().and_then(|(_, id)| held.clients.get(id));
        let before = {
            let client = agent_known.map(|client| holding.trusted(client));
            let agent = holding.agent.as_ref().map(|_| client.as_ref());
            names::judge(
                app_before,
                known.map(|known| (known, proof)),
                agent,
                scene.moments.0,
            )
        };
        let now = touched.person(&holding.user, known);
        let agent_now = holding
            .agent
            .as_ref()
            .and_then(|(_, id)| touched.client(id, agent_known));
        // Whoever is gone is named as they were.
        let person = now.or(known);
        let client = agent_now.or(agent_known).map(|client| holding.trusted(client));
        let client = client.as_ref();
        let mut after = {
            let agent = holding.agent.as_ref().map(|_| client);
            names::judge(
                app_after,
                person.map(|person| (person, proof)),
                agent,
                scene.moments.1,
            )
        };
        let gone = now.is_none() || holding.agent.is_some() && agent_now.is_none();
        if after.allowed && (gone || touched.ends(holding.key)) {
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

    /// People changed: where could they sign in, and where can they now?
    pub(super) fn people(&mut self, users: &[UserId], before: &HashMap<UserId, Person>) {
        let scene = Arc::clone(&self.scene);
        for id in users {
            let before = before.get(id);
            self.person(&scene, before, scene.touched.person(id, before));
        }
    }

    fn person(&mut self, scene: &Scene, before: Option<&Person>, after: Option<&Person>) {
        let Some(known) = after.or(before) else { return };
        let enforced = &scene.places.now;
        let known_key = key(&known.user.id);
        let mut any = (false, false);
        for account in enforced.accounts().filter(|account| account.org == known.org) {
            let now = scene.moments.1;
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
                    tally.gain.people.insert(known_key);
                    self.total.gain.people.insert(known_key);
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
    pub(super) fn crowd(&mut self, mut crowd: Crowd, connection: &ConnectionId) {
        let scene = Arc::clone(&self.scene);
        let (doubts, now) = (&scene.doubts, scene.moments.1);
        let size = crowd.people.len();
        let (mut all_gained, mut all_lost) = (Bits::none(size), Bits::none(size));
        for doubt in doubts.by_connection.get(connection).into_iter().flatten() {
            let before = crowd.who(doubts, &doubt.before, now);
            let after = crowd.who(doubts, &doubt.after, now);
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
                && let Some(account) = scene.places.account_after(&doubt.account)
            {
                for name in crowd.names(&gained, account, now).take(NAMES) {
                    self.names.add(Share::Gain, name);
                }
            }
        }
        self.total.sign_in.gain += all_gained.count();
        self.total.sign_in.lose += all_lost.count();
        self.total.gain.others +=
            all_gained.count() - crowd.count_within(&all_gained, &self.total.gain.people);
    }
}
