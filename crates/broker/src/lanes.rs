//! In which lanes somebody's failed attempts are counted: by the browser or network that tries, or by the session that
//! is to be confirmed, so that nobody else's failures keep them out.
//!
//! | attempt | each place | all strangers together |
//! |---|---|---|
//! | password | 5 in a row, then one after 1, 2, 4, 8, 15 minutes | 20, then one a minute |
//! | password, given together with the right code of a second factor | the same | the same |
//! | code of a second factor, recovery code, after the right password or with it | the same | 10, then one in 15 minutes |
//! | code by e-mail, asked for | 5, then one in 3 minutes | 10, then one in 3 minutes |
//!
//! A place is a stranger's until the person has signed in there. Passkeys cannot be guessed and are not counted.

use crate::Visit;
use crate::browser::network_place;
use store::attempt::{self, Attempt, Pace, Paces};
use store::{Store, Tx};
use wire::SessionId;

/// What is counted, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    name: &'static str,
    paces: Paces,
}

const IN_A_ROW: Pace = Pace::Growing { free: 5, longest: 15 };

pub(crate) const PASSWORD: Kind = Kind {
    name: "password",
    paces: Paces {
        place: IN_A_ROW,
        strangers: Pace::Steady { burst: 20, every: 60 },
    },
};

/// A password that is given together with the right code.
pub(crate) const PASSWORD_WITH_CODE: Kind = Kind {
    name: "password_with_code",
    ..PASSWORD
};

pub(crate) const FACTOR: Kind = Kind {
    name: "factor",
    paces: Paces {
        place: IN_A_ROW,
        strangers: Pace::Steady {
            burst: 10,
            every: 900,
        },
    },
};

pub(crate) const CODE: Kind = Kind {
    name: "code",
    paces: Paces {
        place: Pace::Steady { burst: 5, every: 180 },
        strangers: Pace::Steady {
            burst: 10,
            every: 180,
        },
    },
};

/// The lanes of one subject for one request.
pub(crate) struct Lanes {
    subject: String,
    place: String,
    known: bool,
}

impl Lanes {
    /// The lanes for who makes a request; `confirms` is the session whose person proves once more who they are, and
    /// which nobody else has.
    pub(crate) async fn of(
        visit: &Visit,
        subject: &str,
        confirms: Option<&SessionId>,
    ) -> store::Result<Self> {
        let subject = subject.to_owned();
        if let Some(session) = confirms {
            return Ok(Self {
                subject,
                place: format!("s:{session}"),
                known: true,
            });
        }
        let network = network_place(&visit.request);
        let browser = visit.browser.as_ref().map(crate::browser::Browser::place);
        let places: Vec<&str> = browser
            .iter()
            .map(String::as_str)
            .chain([network.as_str()])
            .collect();
        let now = visit.store().clock().now();
        let known = attempt::known(visit.store(), &subject, &places, now).await?;
        let known = known.map(ToOwned::to_owned);
        Ok(Self {
            subject,
            known: known.is_some(),
            place: known.unwrap_or(network),
        })
    }

    fn attempt(&self, kind: Kind) -> Attempt<'_> {
        Attempt {
            subject: &self.subject,
            act: kind.name,
            place: &self.place,
            known: self.known,
        }
    }

    /// Whether an attempt counts now.
    pub(crate) async fn are_open(&self, store: &Store, kind: Kind) -> store::Result<bool> {
        attempt::is_open(store, &self.attempt(kind), kind.paces, store.clock().now()).await
    }

    /// Counts a failed attempt; when it says `false`, it has to wait, and `tx` must not be committed.
    pub(crate) async fn count(&self, tx: &mut Tx, kind: Kind) -> store::Result<bool> {
        attempt::count(tx, &self.attempt(kind), kind.paces).await
    }

    /// Writes as much as [`Lanes::count`], and nothing that counts: how long an answer takes must not tell which half of
    /// what was given was right.
    pub(crate) async fn count_nothing(&self, tx: &mut Tx) -> store::Result<bool> {
        let never = Pace::Steady {
            burst: i64::from(u32::MAX),
            every: 1,
        };
        let paces = Paces {
            place: never,
            strangers: never,
        };
        let attempt = Attempt {
            subject: &self.subject,
            act: "nothing",
            place: "",
            known: true,
        };
        attempt::count(tx, &attempt, paces).await
    }

    /// Somebody has shown who they are here: forgets what failed here, and knows browser and network from now on.
    pub(crate) async fn open(&self, tx: &mut Tx, visit: &Visit) -> store::Result<()> {
        attempt::forget(tx, &self.subject, &self.place).await?;
        let network = network_place(&visit.request);
        let browser = visit.browser.as_ref().map(crate::browser::Browser::place);
        // An address that is not known is everybody's.
        let network = visit.request.ip.is_some().then_some(network);
        for place in browser.into_iter().chain(network) {
            attempt::note_known(tx, &self.subject, &place).await?;
        }
        Ok(())
    }
}
