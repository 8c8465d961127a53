//! What the database is asked, counted by purpose: statements, and rows that they gave or touched. `BEGIN`, `COMMIT` and
//! what the pools ask by themselves are not counted.

use super::Purpose;
use metrics::{Counter, counter};
use std::sync::atomic::{AtomicU64, Ordering};

/// What was asked for one purpose since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Statements.
    pub statements: u64,
    /// Rows that they gave or touched.
    pub rows: u64,
}

struct Count {
    statements: AtomicU64,
    rows: AtomicU64,
    /// The same, for `/metrics`.
    told: [Counter; 2],
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

    pub(crate) fn of(&self, purpose: Purpose) -> Load {
        let count = &self.0[purpose as usize];
        Load {
            statements: count.statements.load(Ordering::Relaxed),
            rows: count.rows.load(Ordering::Relaxed),
        }
    }
}
