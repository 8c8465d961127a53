//! The time as the demo servers see it: the system's, moved ahead at will by a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock shared by its clones. [`Clock::default`] follows the system.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// Now, in seconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "the demo servers stand outside the product and its clock"
        )]
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        i64::try_from(system)
            .unwrap_or(i64::MAX)
            .saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// Moves this clock and all its clones ahead by `seconds`.
    pub fn advance(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}
