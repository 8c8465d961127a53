//! What is counted, and how it is told.

use super::Places;
use super::held::Holding;
use super::key::{Keys, key};
use std::collections::{BTreeMap, HashSet};
use wire::{
    AccountId, AuditEvent, ClientId, Impact, ImpactCount, ImpactName, ImpactRow, ImpactShare, ImpactSignIn,
    ImpactSummary, ImpactTokens, UserId,
};

/// Rows of an impact at the most.
const ROWS: usize = 200;
/// Names in each share at the most.
pub(super) const NAMES: usize = 20;

/// One share of an account, or of everything.
#[derive(Default)]
pub(super) struct Part {
    /// Who holds a session.
    pub(super) people: Keys,
    /// Who holds none.
    pub(super) others: i64,
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

    pub(super) fn add(&mut self, holding: &Holding) {
        if holding.agent.is_some() {
            self.agents += 1;
        } else {
            self.people.insert(key(&holding.user));
        }
    }
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) gain: Part,
    keep: Part,
    lose: Part,
    pub(super) sign_in: ImpactSignIn,
}

impl Tally {
    pub(super) fn part(&mut self, share: Share) -> &mut Part {
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
pub(super) enum Share {
    Gain,
    Keep,
    Lose,
}

#[derive(Default)]
pub(super) struct Names {
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

    pub(super) fn is_full(&mut self, share: Share) -> bool {
        self.list(share).len() >= NAMES
    }

    pub(super) fn add(&mut self, share: Share, name: ImpactName) {
        if !self.is_full(share)
            && self
                .named
                .insert((share as u8, name.user.clone(), name.client.clone()))
        {
            self.list(share).push(name);
        }
    }
}

/// Who gains, keeps and loses access by a transaction, as counted when it was judged.
pub struct Foresight {
    impact: Impact,
    total: ImpactSummary,
    by_account: BTreeMap<AccountId, ImpactSummary>,
    moves: bool,
}

impl Foresight {
    /// Of what was counted.
    pub(super) fn new(
        (total, tokens): (&Tally, ImpactTokens),
        mut tallies: BTreeMap<AccountId, Tally>,
        names: Names,
        (places, moves): (&Places, bool),
    ) -> Self {
        for account in &places.accounts {
            tallies.entry(account.clone()).or_default();
        }
        let accounts = i64::try_from(tallies.len()).unwrap_or(i64::MAX);
        let total = ImpactSummary {
            tokens,
            ..total.summary(accounts)
        };
        let by_account: BTreeMap<_, _> = tallies
            .into_iter()
            .map(|(account, tally)| (account, tally.summary(1)))
            .collect();
        let mut rows: Vec<ImpactRow> = by_account
            .iter()
            .map(|(account, summary)| {
                let view = places.account_after(account);
                let view = view.or_else(|| places.account_before(account));
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
        let impact = Impact {
            accounts,
            gain: share(total.gain, names.gain),
            keep: share(total.keep, names.keep),
            lose: share(total.lose, names.lose),
            sign_in: total.sign_in,
            tokens: total.tokens,
            rows,
            more,
        };
        Self {
            impact,
            total,
            by_account,
            moves: moves || tokens.moves(),
        }
    }

    /// All of it. `None` when the transaction wrote nothing that decides about anybody.
    #[must_use]
    pub fn impact(self) -> Option<Impact> {
        self.moves.then_some(self.impact)
    }

    /// Notes it in the events of the transaction: in each that of its account.
    pub fn note(&self, events: &mut [AuditEvent]) {
        if !self.moves {
            return;
        }
        for event in events {
            let account = event.account.as_ref();
            let of_account = account.and_then(|id| self.by_account.get(id));
            event.impact = Some(of_account.copied().unwrap_or(self.total));
        }
    }
}
