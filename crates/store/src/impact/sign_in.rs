//! Who could sign in before a change and who could after it. The question is asked for every person of every
//! connection that a change concerns, in every account that it concerns; so it is asked once for all apps whose
//! rules are alike, and only about people whom the rules may let in.

use super::key::{Key, Keys, key};
use super::{Places, names};
use crate::directory::{AccountView, AppView, BoundConnection, Reach};
use crate::user::Person;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use wire::{AccountId, Address, ConnectionId, Timestamp};

/// So many addresses and domains are asked for one by one.
const FEW: usize = 16;

/// What decides about the people of one connection at one app: rules, and what they get to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Question {
    /// At an app that stands in for others, the connection has to count, too.
    connection: ConnectionId,
    rules: String,
    sees: String,
}

/// An account in which the answer may change for the people of a connection.
pub(super) struct Doubt {
    pub(super) account: AccountId,
    pub(super) before: Vec<Question>,
    pub(super) after: Vec<Question>,
}

/// What has to be asked, by connection; with an app that stands for all whose rules are alike.
#[derive(Default)]
pub(super) struct Doubts {
    pub(super) by_connection: BTreeMap<ConnectionId, Vec<Doubt>>,
    pub(super) stand_in: HashMap<Question, Arc<AppView>>,
}

impl Doubts {
    /// All that changes between the two views of each account.
    pub(super) fn new(places: &Places) -> Self {
        let mut doubts = Self::default();
        for id in &places.accounts {
            let (before, after) = (places.account_before(id), places.account_after(id));
            let connections: BTreeSet<&ConnectionId> = [before, after]
                .into_iter()
                .flatten()
                .flat_map(|view| view.connections.iter().map(|c| &c.id))
                .collect();
            for connection in connections {
                let asked_before = doubts.asked(before, connection);
                let asked_after = doubts.asked(after, connection);
                if asked_before != asked_after {
                    let doubt = Doubt {
                        account: id.clone(),
                        before: asked_before,
                        after: asked_after,
                    };
                    doubts
                        .by_connection
                        .entry(connection.clone())
                        .or_default()
                        .push(doubt);
                }
            }
        }
        doubts
    }

    /// Whom any of the rules in doubt may let in, as far as it is worth asking the database for few.
    pub(super) fn reach(&self, connection: &ConnectionId) -> Reach {
        let (mut all_emails, mut all_domains) = (BTreeSet::new(), BTreeSet::new());
        let doubts = self.by_connection.get(connection).into_iter().flatten();
        for question in doubts.flat_map(|doubt| doubt.before.iter().chain(&doubt.after)) {
            match self.stand_in.get(question).map(|app| &app.reach) {
                Some(Reach::Only { emails, domains }) => {
                    all_emails.extend(emails.iter().cloned());
                    all_domains.extend(domains.iter().cloned());
                }
                Some(Reach::Anyone) => return Reach::Anyone,
                None => {}
            }
            if all_emails.len() + all_domains.len() > FEW {
                return Reach::Anyone;
            }
        }
        // What is lower case beyond ASCII depends on the database.
        if all_emails.iter().chain(&all_domains).all(|text| text.is_ascii()) {
            Reach::Only {
                emails: all_emails.into_iter().collect(),
                domains: all_domains.into_iter().collect(),
            }
        } else {
            Reach::Anyone
        }
    }

    /// The different questions about a connection's people in an account; the answer is yes if one is.
    pub(super) fn asked(
        &mut self,
        account: Option<&Arc<AccountView>>,
        connection: &ConnectionId,
    ) -> Vec<Question> {
        let bound = account.and_then(|a| a.connections.iter().find(|c| c.id == *connection && c.signs_in));
        let (Some(account), Some(bound)) = (account, bound) else {
            return Vec::new();
        };
        let mut questions = BTreeSet::new();
        for app in account.apps.iter().filter(|app| app.is_live()) {
            let question = Question {
                connection: connection.clone(),
                rules: app.fingerprint.clone(),
                sees: sees(bound),
            };
            self.stand_in
                .entry(question.clone())
                .or_insert_with(|| Arc::clone(app));
            questions.insert(question);
        }
        questions.into_iter().collect()
    }
}

/// What the account gets to see of the connection's people, as text to compare.
fn sees(bound: &BoundConnection) -> String {
    bound
        .claims
        .as_ref()
        .map_or_else(String::new, |claims| format!("{claims:?} {:?}", bound.mapping))
}

/// Some people, and where to find them.
pub(super) struct Crowd {
    pub(super) people: Vec<Person>,
    keys: Vec<Key>,
    by_email: HashMap<String, Vec<usize>>,
    by_domain: HashMap<String, Vec<usize>>,
    answers: HashMap<Question, Arc<Bits>>,
}

impl Crowd {
    pub(super) fn new(people: Vec<Person>) -> Self {
        let (mut by_email, mut by_domain) = (HashMap::new(), HashMap::new());
        for (i, person) in people.iter().enumerate() {
            let Some(Ok(email)) = person.user.email.as_deref().map(Address::parse) else {
                continue;
            };
            by_domain
                .entry(email.domain().to_ascii_lowercase())
                .or_insert_with(Vec::new)
                .push(i);
            by_email.entry(email.key()).or_insert_with(Vec::new).push(i);
        }
        Self {
            keys: people.iter().map(|person| key(&person.user.id)).collect(),
            people,
            by_email,
            by_domain,
            answers: HashMap::new(),
        }
    }

    /// For whom one of the questions is answered with yes.
    pub(super) fn who(&mut self, doubts: &Doubts, questions: &[Question], now: Timestamp) -> Bits {
        let mut any = Bits::none(self.people.len());
        for question in questions {
            if !self.answers.contains_key(question) {
                let answer = Arc::new(self.ask(doubts.stand_in.get(question), now));
                self.answers.insert(question.clone(), answer);
            }
            if let Some(answer) = self.answers.get(question) {
                any.add(answer);
            }
        }
        any
    }

    /// How many of a set are among some people.
    pub(super) fn count_within(&self, bits: &Bits, people: &Keys) -> i64 {
        if people.is_empty() {
            return 0;
        }
        let keys = bits.iter().filter_map(|i| self.keys.get(i));
        i64::try_from(keys.filter(|key| people.contains(key)).count()).unwrap_or(i64::MAX)
    }

    fn ask(&self, app: Option<&Arc<AppView>>, now: Timestamp) -> Bits {
        let mut bits = Bits::none(self.people.len());
        let Some(app) = app else { return bits };
        let mut ask = |i: usize| {
            let person = self.people.get(i);
            if person.is_some_and(|person| names::enter(app, person, now).allowed) {
                bits.set(i);
            }
        };
        match &app.reach {
            Reach::Anyone => (0..self.people.len()).for_each(ask),
            Reach::Only { emails, domains } => {
                let emails = emails.iter().filter_map(|email| self.by_email.get(email));
                let domains = domains.iter().filter_map(|domain| self.by_domain.get(domain));
                emails.chain(domains).flatten().for_each(|i| ask(*i));
            }
        }
        bits
    }

    /// Some of those who gain, with the app that lets them in and why.
    pub(super) fn names<'a>(
        &'a self,
        gained: &'a Bits,
        account: &'a AccountView,
        now: Timestamp,
    ) -> impl Iterator<Item = wire::ImpactName> + 'a {
        gained.iter().filter_map(move |i| {
            let person = self.people.get(i)?;
            account.apps.iter().find_map(|app| {
                let decision = names::enter(app, person, now);
                let allowed = decision.allowed;
                allowed.then(|| names::name(person, None, app, decision))
            })
        })
    }
}

/// A set of people of a crowd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn set(&mut self, i: usize) {
        if let Some(word) = self.0.get_mut(i / 64) {
            *word |= 1 << (i % 64);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Those in `self` and not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(word, other)| word & !other)
                .collect(),
        )
    }

    pub(super) fn count(&self) -> i64 {
        self.0.iter().map(|word| i64::from(word.count_ones())).sum()
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            (0..64)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| at * 64 + bit)
        })
    }
}
