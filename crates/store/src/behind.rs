//! What everything relies on and is behind: something was heard that is not applied yet. An instance that stays behind does
//! not know what it lets through, and denies until it has caught up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long something may be behind: as long as the change feed may be silent.
const PATIENCE: Duration = Duration::from_secs(4);

/// Since when what is behind.
#[derive(Default)]
pub(crate) struct Behind {
    any: AtomicBool,
    since: Mutex<BTreeMap<&'static str, Instant>>,
}

impl Behind {
    fn since(&self) -> MutexGuard<'_, BTreeMap<&'static str, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was heard that has to be applied.
    pub(crate) fn falls(&self, what: &'static str) {
        let mut since = self.since();
        since.entry(what).or_insert_with(Instant::now);
        self.any.store(true, Ordering::SeqCst);
    }

    /// All that was heard is applied.
    pub(crate) fn has_caught_up(&self, what: &'static str) {
        let mut since = self.since();
        since.remove(what);
        self.any.store(!since.is_empty(), Ordering::SeqCst);
    }

    /// What has been behind for too long.
    pub(crate) fn late(&self) -> Option<&'static str> {
        // Asked with every request.
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let since = self.since();
        let late = since.iter().find(|(_, since)| since.elapsed() > PATIENCE);
        late.map(|(what, _)| *what)
    }
}
