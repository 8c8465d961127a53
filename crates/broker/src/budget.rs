//! How many attempts of one kind may be made at a time, by whom that costs something: a browser that is known, else a
//! network; or whatever link, session or code is used. Each kind of act has its own budget, so that junk of one kind
//! uses up nothing of another. In memory, each instance its own; what must hold over all of them is in
//! [`store::attempt`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use wire::Timestamp;

/// What is attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// A password.
    Password,
    /// A code of a second factor.
    Factor,
    /// A code by e-mail is asked for.
    Code,
    /// A trial of a connection goes to the provider.
    Trial,
    /// An invitation is accepted with a new password.
    Invitation,
    /// A logout token that was refused is explained in the server's log.
    Logout,
    /// Something that belongs nowhere is explained in the server's log.
    Stray,
    /// A session of somebody who is not signed in comes into being.
    Begin,
}

impl Act {
    /// So many at once, and one more each time that so many seconds have passed, in microseconds.
    const fn pace(self) -> (i64, i64) {
        match self {
            Self::Begin => (300, 500_000),
            _ => (20, 3_000_000),
        }
    }
}

/// Entries at which those that no longer matter are looked for.
const MANY: usize = 20_000;
/// Entries that are never exceeded: beyond, the table begins anew.
const MOST: usize = 200_000;

#[derive(Default)]
struct Spent {
    /// By when all of it has come back.
    until: HashMap<(Act, String), i64>,
    /// When it was last tidied.
    tidied: i64,
}

/// What was spent of late.
#[derive(Default)]
pub(crate) struct Budgets(Mutex<Spent>);

impl Budgets {
    /// Spends one attempt; `false` when there is none left.
    pub(crate) fn spend(&self, act: Act, by: &str, now: Timestamp) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Timestamp(now) = now;
        if spent.until.len() >= MANY && now - spent.tidied >= 1_000_000 {
            spent.until.retain(|_, until| *until > now);
            spent.tidied = now;
        }
        if spent.until.len() >= MOST {
            spent.until.clear();
        }
        let (burst, every) = act.pace();
        let until = spent.until.entry((act, by.to_owned())).or_default();
        let from = (*until).max(now);
        // A clock that was set back must not shut anybody out.
        let from = if from - now > burst * every { now } else { from };
        if from - now > (burst - 1) * every {
            return false;
        }
        *until = from + every;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_act_of_each_has_its_own_budget_which_comes_back() {
        let budgets = Budgets::default();
        let at = |seconds: i64| Timestamp::from_seconds(1_000 + seconds);
        for _ in 0..20 {
            assert!(budgets.spend(Act::Password, "n:a", at(0)));
        }
        assert!(!budgets.spend(Act::Password, "n:a", at(0)));
        assert!(budgets.spend(Act::Password, "n:b", at(0)));
        assert!(budgets.spend(Act::Factor, "n:a", at(0)));
        assert!(budgets.spend(Act::Password, "n:a", at(3)));
        assert!(!budgets.spend(Act::Password, "n:a", at(3)));
        for _ in 0..20 {
            assert!(budgets.spend(Act::Password, "n:a", at(100)));
        }
        assert!(
            budgets.spend(Act::Password, "n:a", at(-1_000)),
            "the clock was set back"
        );
    }

    #[test]
    fn the_table_is_bounded() {
        let budgets = Budgets::default();
        for n in 0..(MOST + 10) {
            assert!(budgets.spend(Act::Factor, &n.to_string(), Timestamp::from_seconds(1)));
        }
        assert!(budgets.0.lock().unwrap().until.len() <= MOST);
    }
}
