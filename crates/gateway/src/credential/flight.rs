//! One proof at a time of one credential: whoever shows it meanwhile waits for the same. The proof goes on as long as
//! somebody waits for it, whoever that is, and its end, good or bad, is told to those who wait and to nobody after them.

use super::memory::{ByKey, Key};
use super::{Invalid, Known};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What came of a proof.
pub(super) type Proven = Result<Result<Arc<Known>, Invalid>, Arc<store::Error>>;

/// The proofs under way.
#[derive(Default)]
pub(super) struct Flights(Mutex<Under>);

#[derive(Default)]
struct Under {
    way: ByKey<Flight>,
    /// How many began.
    begun: u64,
}

struct Flight {
    number: u64,
    /// How many changes had been announced when it began. After another one it may be about what has ended, so whoever
    /// comes then does not wait for it.
    announced: u64,
    proving: WeakShared<BoxFuture<'static, Proven>>,
}

impl Flights {
    fn under(&self) -> MutexGuard<'_, Under> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proof of a credential that is under way since the last change, or else the one given.
    pub(super) fn join(
        self: &Arc<Self>,
        key: Key,
        announced: u64,
        proof: impl Future<Output = Proven> + Send + 'static,
    ) -> Shared<BoxFuture<'static, Proven>> {
        let mut under = self.under();
        if let Some(flight) = under.way.get(&key)
            && flight.announced == announced
            && let Some(proving) = flight.proving.upgrade()
        {
            return proving;
        }
        under.begun += 1;
        let number = under.begun;
        let landing = Landing {
            flights: Arc::clone(self),
            key,
            number,
        };
        let proof = async move {
            let _landing = landing;
            proof.await
        };
        let proving = proof.boxed().shared();
        // It has not been polled, so it is not over.
        if let Some(proving) = proving.downgrade() {
            let flight = Flight {
                number,
                announced,
                proving,
            };
            under.way.insert(key, flight);
        }
        proving
    }

    /// How many proofs are under way.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.under().way.len()
    }
}

/// Takes a proof out of those under way when it is over, or nobody waits for it any more.
struct Landing {
    flights: Arc<Flights>,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut under = self.flights.under();
        if under
            .way
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            under.way.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    struct Proofs {
        begun: Arc<AtomicUsize>,
        done: Arc<AtomicUsize>,
        go: Arc<Semaphore>,
    }

    impl Proofs {
        fn new() -> Self {
            Self {
                begun: Arc::default(),
                done: Arc::default(),
                go: Arc::new(Semaphore::new(0)),
            }
        }

        /// One that waits for a sign, and is refused.
        fn one(&self) -> impl Future<Output = Proven> + Send + 'static {
            let (begun, done, go) = (
                Arc::clone(&self.begun),
                Arc::clone(&self.done),
                Arc::clone(&self.go),
            );
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                go.acquire().await.unwrap().forget();
                done.fetch_add(1, Ordering::SeqCst);
                Ok(Err(Invalid::Wrong))
            }
        }

        fn counts(&self) -> (usize, usize) {
            (
                self.begun.load(Ordering::SeqCst),
                self.done.load(Ordering::SeqCst),
            )
        }
    }

    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn many_wait_for_one_proof_and_whoever_began_it_may_go() {
        let (flights, proofs) = (Arc::new(Flights::default()), Proofs::new());
        let key = [1; 32];
        let mut waiting: Vec<_> = (0..50)
            .map(|_| tokio::spawn(flights.join(key, 7, proofs.one())))
            .collect();
        settle().await;
        assert_eq!(proofs.counts(), (1, 0));
        // The first, and many others, hang up.
        for gone in waiting.drain(..30) {
            gone.abort();
        }
        settle().await;
        proofs.go.add_permits(1);
        for other in waiting {
            assert!(matches!(other.await.unwrap(), Ok(Err(Invalid::Wrong))));
        }
        assert_eq!(proofs.counts(), (1, 1));
        assert_eq!(flights.count(), 0);
        // Nobody after them is told.
        proofs.go.add_permits(1);
        let next = flights.join(key, 7, proofs.one());
        assert!(next.await.is_ok());
        assert_eq!(proofs.counts(), (2, 2));
    }

    #[tokio::test]
    async fn a_proof_that_nobody_waits_for_is_dropped() {
        let (flights, proofs) = (Arc::new(Flights::default()), Proofs::new());
        let waiting: Vec<_> = (0..3)
            .map(|n| tokio::spawn(flights.join([n; 32], 7, proofs.one())))
            .collect();
        settle().await;
        assert_eq!((proofs.counts(), flights.count()), ((3, 0), 3));
        for gone in waiting {
            gone.abort();
        }
        settle().await;
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn whoever_comes_after_a_change_does_not_wait_for_a_proof_from_before() {
        let (flights, proofs) = (Arc::new(Flights::default()), Proofs::new());
        let key = [1; 32];
        let before = tokio::spawn(flights.join(key, 7, proofs.one()));
        let after = tokio::spawn(flights.join(key, 8, proofs.one()));
        let with = tokio::spawn(flights.join(key, 8, proofs.one()));
        settle().await;
        assert_eq!(proofs.counts(), (2, 0));
        before.abort();
        settle().await;
        assert_eq!(flights.count(), 1, "the one that came after stays");
        proofs.go.add_permits(2);
        for waiting in [after, with] {
            assert!(waiting.await.unwrap().is_ok());
        }
        assert_eq!(proofs.counts(), (2, 1));
    }
}
