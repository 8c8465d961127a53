//! Work that costs much goes on in few places at once, each kind in its own: whoever comes when all are taken waits a
//! moment, and is told to come again. So previews, tests and exports, however many ask for them, leave room for what
//! people and agents wait for.

use crate::fault::{Answer, Fault, Kind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long to wait for a place.
const PATIENCE: Duration = Duration::from_secs(2);
/// When to come again, in seconds.
const AGAIN: u64 = 5;

/// How many of each kind at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtOnce {
    /// Dry runs, and changes that say what becomes of whom, while they are judged.
    pub previews: usize,
    /// Rules tried on everybody.
    pub testers: usize,
    /// Exports of the audit log.
    pub exports: usize,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self {
            previews: 2,
            testers: 2,
            exports: 4,
        }
    }
}

/// One kind of work. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Lane {
    kind: &'static str,
    places: Arc<Semaphore>,
    size: usize,
}

/// A place in a lane, for as long as it is held.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    fn new(kind: &'static str, size: usize) -> Self {
        Self {
            kind,
            places: Arc::new(Semaphore::new(size)),
            size,
        }
    }

    /// Takes a place, or refuses.
    pub(crate) async fn enter(&self) -> Answer<Place> {
        let places = Arc::clone(&self.places);
        match tokio::time::timeout(PATIENCE, places.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            _ => {
                metrics::counter!("chatelaine_busy_total", "kind" => self.kind).increment(1);
                let detail = format!(
                    "the server works on {} {} already, which is as many as it does at once; try again in a moment",
                    self.size, self.kind
                );
                Err(Fault::new(Kind::Unavailable, detail)
                    .retry_after(AGAIN)
                    .noted("busy"))
            }
        }
    }
}

/// All of them.
pub(crate) struct Lanes {
    pub(crate) previews: Lane,
    pub(crate) testers: Lane,
    pub(crate) exports: Lane,
}

impl From<AtOnce> for Lanes {
    fn from(at_once: AtOnce) -> Self {
        Self {
            previews: Lane::new("previews", at_once.previews),
            testers: Lane::new("tests", at_once.testers),
            exports: Lane::new("exports", at_once.exports),
        }
    }
}
