//! Circuit breakers: people do not wait for a provider that does not answer, and it is not asked by all of them.
//!
//! ```text
//! closed ── 5 failures in a row ──> open ── 30 s ──> half open ── one answer ──> closed
//!                                     ^                  │
//!                                     └──── a failure ───┘
//! ```
//!
//! They live in memory, each instance its own: an instance knows best what it cannot reach.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use wire::{Breaker, BreakerState, ConnectionHealth, ConnectionId, HealthState, Timestamp};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How long it stays open, and how long a probe may take, in seconds.
const REST: i64 = 30;

/// What is known of a provider that failed of late.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    failures: u32,
    /// Nobody is sent there before.
    until: Option<Timestamp>,
    /// Somebody tries; nobody else until then.
    probing: Option<Timestamp>,
}

/// The breakers of all connections; those of providers that answer are not kept.
#[derive(Default)]
pub(crate) struct Breakers(Mutex<HashMap<ConnectionId, State>>);

/// Whether somebody may be sent to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Yes.
    Go,
    /// Yes, and how it goes decides about the others.
    Probe,
    /// No.
    Stop,
}

/// How it went there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answered, whatever.
    Answered,
    /// It could not be reached, took too long, or had a fault of its own.
    Failed,
    /// It was not asked.
    NotAsked,
}

/// What changed for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    Opened,
    Closed,
}

impl Breakers {
    fn states(&self) -> MutexGuard<'_, HashMap<ConnectionId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one try.
    pub(crate) fn enter(&self, id: &ConnectionId, now: Timestamp) -> Entry {
        let mut states = self.states();
        let Some(state) = states.get_mut(id) else {
            return Entry::Go;
        };
        match state.until {
            None => Entry::Go,
            Some(until) if now < until => Entry::Stop,
            Some(_) if state.probing.is_some_and(|until| now < until) => Entry::Stop,
            Some(_) => {
                state.probing = Some(now.plus_seconds(REST));
                Entry::Probe
            }
        }
    }

    /// Says how the try went.
    pub(crate) fn leave(&self, id: &ConnectionId, now: Timestamp, outcome: Outcome) -> Option<Transition> {
        let mut states = self.states();
        match outcome {
            Outcome::Answered => {
                let was_open = states.remove(id)?.until.is_some();
                was_open.then_some(Transition::Closed)
            }
            Outcome::Failed => {
                let state = states.entry(id.clone()).or_default();
                state.failures += 1;
                state.probing = None;
                let was_open = state.until.is_some();
                if state.failures < FAILURES {
                    return None;
                }
                state.until = Some(now.plus_seconds(REST));
                (!was_open).then_some(Transition::Opened)
            }
            Outcome::NotAsked => {
                if let Some(state) = states.get_mut(id) {
                    state.probing = None;
                }
                None
            }
        }
    }

    /// How the breaker is.
    pub(crate) fn view(&self, id: &ConnectionId, now: Timestamp) -> Breaker {
        let state = self.states().get(id).copied().unwrap_or_default();
        match state.until {
            None => Breaker {
                state: BreakerState::Closed,
                opens_until: None,
            },
            Some(until) => Breaker {
                state: if now < until {
                    BreakerState::Open
                } else {
                    BreakerState::HalfOpen
                },
                opens_until: Some(until),
            },
        }
    }
}

impl crate::Broker {
    /// How a connection does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn health(&self, connection: &wire::Connection) -> store::Result<ConnectionHealth> {
        let store = self.store();
        let counts = store::health::counts(store, &connection.id).await?;
        let breaker = self.providers().breaker(store, &connection.id);
        let failures: u64 = counts.failures.values().sum();
        let all = counts.successes + failures;
        // Counts of sign-ins are far below where this loses anything.
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = (all > 0).then(|| failures as f64 / all as f64);
        let state = if breaker.state != BreakerState::Closed {
            HealthState::Open
        } else if connection.last_error.is_some() || rate.is_some_and(|rate| rate > 0.1) {
            HealthState::Degraded
        } else if connection.last_success_at.is_some() {
            HealthState::Healthy
        } else {
            HealthState::Unknown
        };
        Ok(ConnectionHealth {
            state,
            error_rate_1h: rate,
            successes_1h: counts.successes,
            latency_ms_avg: counts.millis.checked_div(counts.successes),
            failures_1h: counts.failures,
            hours: counts.hours,
            last_success_at: connection.last_success_at,
            last_error: connection.last_error.clone(),
            breaker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_answer_closes_it() {
        let (breakers, id) = (Breakers::default(), ConnectionId::fresh());
        let at = |seconds: i64| Timestamp::from_seconds(1000 + seconds);
        for _ in 0..4 {
            assert_eq!(breakers.enter(&id, at(0)), Entry::Go);
            assert_eq!(breakers.leave(&id, at(0), Outcome::Failed), None);
        }
        // An answer in between begins anew.
        assert_eq!(breakers.leave(&id, at(0), Outcome::Answered), None);
        for _ in 0..4 {
            assert_eq!(breakers.leave(&id, at(0), Outcome::Failed), None);
        }
        // What did not ask says nothing.
        assert_eq!(breakers.leave(&id, at(0), Outcome::NotAsked), None);
        assert_eq!(
            breakers.leave(&id, at(0), Outcome::Failed),
            Some(Transition::Opened)
        );
        assert_eq!(breakers.enter(&id, at(29)), Entry::Stop);
        assert_eq!(breakers.view(&id, at(29)).state, BreakerState::Open);
        // One probe at a time; a failure rests again, without being news.
        assert_eq!(breakers.view(&id, at(30)).state, BreakerState::HalfOpen);
        assert_eq!(breakers.enter(&id, at(30)), Entry::Probe);
        assert_eq!(breakers.enter(&id, at(30)), Entry::Stop);
        assert_eq!(breakers.leave(&id, at(31), Outcome::Failed), None);
        assert_eq!(breakers.enter(&id, at(60)), Entry::Stop);
        // A probe that never comes back does not block for good.
        assert_eq!(breakers.enter(&id, at(61)), Entry::Probe);
        assert_eq!(breakers.enter(&id, at(90)), Entry::Stop);
        assert_eq!(breakers.enter(&id, at(91)), Entry::Probe);
        assert_eq!(
            breakers.leave(&id, at(92), Outcome::Answered),
            Some(Transition::Closed)
        );
        assert_eq!(breakers.enter(&id, at(92)), Entry::Go);
        assert_eq!(breakers.view(&id, at(92)).state, BreakerState::Closed);
    }
}
