//! What the database is asked, counted by purpose: statements, and rows that they gave or touched. `BEGIN`, `COMMIT` and
//! what the pools ask by themselves are not counted.

use super::Purpose;
use metrics::counter;
use sqlx::sqlite::SqliteConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where steps are counted, and for what.
pub(super) type Counter = (Arc<Meter>, Purpose);

/// Instructions of SQLite's machine that are counted as one step.
pub(super) const STEPS: i32 = 50;

/// Has SQLite count what it does for the connection's next statements.
pub(super) async fn count_steps(
    connection: &mut SqliteConnection,
    (meter, purpose): Counter,
) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    handle.set_progress_handler(STEPS, move || {
        meter.step(purpose);
        true
    });
    Ok(())
}

/// What was asked for one purpose since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Statements.
    pub statements: u64,
    /// Rows that they gave or touched.
    pub rows: u64,
    /// How much SQLite did for that, fifty instructions of its machine each; counted in tests only.
    pub steps: u64,
}

struct Count {
    statements: AtomicU64,
    rows: AtomicU64,
    steps: AtomicU64,
    /// Statements and rows, for `/metrics`.
    told: [metrics::Counter; 2],
}

/// Counts for each purpose.
pub(crate) struct Meter([Count; 5]);

impl Meter {
    /// Metrics go to the recorder that is installed by now.
    pub(crate) fn new() -> Self {
        Self(Purpose::ALL.map(|purpose| {
            let purpose = purpose.name();
            Count {
                statements: AtomicU64::new(0),
                rows: AtomicU64::new(0),
                steps: AtomicU64::new(0),
                told: [
                    counter!("chatelaine_database_statements_total", "purpose" => purpose),
                    counter!("chatelaine_database_rows_total", "purpose" => purpose),
                ],
            }
        }))
    }

    pub(crate) fn add(&self, purpose: Purpose, rows: u64) {
        let count = &self.0[purpose as usize];
        count.statements.fetch_add(1, Ordering::Relaxed);
        count.rows.fetch_add(rows, Ordering::Relaxed);
        count.told[0].increment(1);
        count.told[1].increment(rows);
    }

    pub(super) fn step(&self, purpose: Purpose) {
        self.0[purpose as usize].steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, purpose: Purpose) -> Load {
        let count = &self.0[purpose as usize];
        Load {
            statements: count.statements.load(Ordering::Relaxed),
            rows: count.rows.load(Ordering::Relaxed),
            steps: count.steps.load(Ordering::Relaxed),
        }
    }
}
