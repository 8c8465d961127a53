//! Whether this instance can be relied on: what load balancers ask, and what an operator is to read before it matters.

use crate::sql::Sql;
use crate::{Purpose, Result, Store};
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The name of the writer of the audit log among the [`crate::Tasks`].
pub const AUDIT_WRITER: &str = "audit_writer";
/// The name of what follows the change feed.
pub const CHANGE_FEED: &str = "change_feed";

/// The name of what makes the gateway forget what ended.
pub const CREDENTIALS: &str = "credentials";

/// How long one proof that the database takes writes is good.
const PROOF: Duration = Duration::from_secs(1);
/// Free bytes on the database's disk below which an operator is told.
const DISK: u64 = 256 * 1024 * 1024;

/// How long a batch of events that could not be written counts against this instance, if none was tried since.
const UNWRITTEN: Duration = Duration::from_secs(10);

/// What is known of how this instance is.
#[derive(Default)]
pub(crate) struct Probe {
    /// When a write was last tried, and how it went.
    written: Mutex<Option<(Instant, Option<String>)>>,
    /// When events last could not be written, unless others were since.
    unwritten: std::sync::Mutex<Option<Instant>>,
    unreadable_keys: std::sync::Mutex<Vec<String>>,
}

impl Probe {
    /// Notes how a batch of events went.
    pub(crate) fn note_batch(&self, is_written: bool) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        *unwritten = (!is_written).then(Instant::now);
    }

    fn is_unwritten(&self) -> bool {
        let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.is_some_and(|at| at.elapsed() < UNWRITTEN)
    }

    /// Notes which signing keys cannot be read.
    pub(crate) fn note_keys(&self, unreadable: Vec<String>) {
        *self
            .unreadable_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = unreadable;
    }

    fn unreadable_keys(&self) -> Vec<String> {
        let keys = self
            .unreadable_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }
}

/// How an instance is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Why it denies, in words; empty when it is ready.
    pub faults: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

impl Store {
    /// Whether this instance can be relied on, proven by a write and by what its tasks say.
    pub async fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::default();
        if let Some(fault) = self.write_fault().await {
            readiness
                .faults
                .push(format!("the database takes no writes: {fault}"));
        }
        if self.inner.probe.is_unwritten() {
            let words = "events could not be written into the audit log of late";
            readiness.faults.push(words.to_owned());
        }
        if let Some(why) = self.denied() {
            readiness.faults.push(why.to_owned());
        } else if let Some(what) = self.inner.behind.late() {
            let words = format!("what was changed of {what} could not be read, and is not applied");
            readiness.faults.push(words);
        } else if !self.is_current() {
            let words = "what other instances changed or ended is not followed";
            readiness.faults.push(words.to_owned());
        }
        for task in self.tasks().stopped() {
            let words = format!("the task {task} stopped and is started again");
            match task {
                AUDIT_WRITER | CREDENTIALS => readiness.faults.push(words),
                _ => readiness.warnings.push(words),
            }
        }
        for row in self.directory().unreadable() {
            readiness.warnings.push(row.to_string());
        }
        for key in self.unreadable_keys() {
            readiness.warnings.push(format!(
                "the signing key {key} cannot be read, and is good for nothing"
            ));
        }
        if let Some(free) = self.disk_free()
            && free < DISK
        {
            let words = format!(
                "{} MiB are left on the disk of the database; when it is full, everything is denied",
                free / 1024 / 1024
            );
            readiness.warnings.push(words);
        }
        readiness
    }

    /// Which signing keys could not be read, and were left out.
    #[must_use]
    pub fn unreadable_keys(&self) -> Vec<String> {
        self.inner.probe.unreadable_keys()
    }

    /// Free bytes on the disk on which the database lies; `None` where that is another server's.
    #[must_use]
    pub fn disk_free(&self) -> Option<u64> {
        let file = self.inner.file.as_deref()?;
        let stat = rustix::fs::statvfs(file).ok()?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("chatelaine_disk_free_bytes").set(free as f64);
        Some(free)
    }

    /// Why a write fails, if it does.
    async fn write_fault(&self) -> Option<String> {
        let mut last = self.inner.probe.written.lock().await;
        if let Some((at, fault)) = last.as_ref()
            && at.elapsed() < PROOF
        {
            return fault.clone();
        }
        let fault = self.on(Purpose::Feed).prove_write().await.err();
        if let Some(error) = &fault {
            tracing::warn!(%error, source = ?error, "the database takes no writes");
        }
        let fault = fault.map(|error| error.to_string());
        *last = Some((Instant::now(), fault.clone()));
        fault
    }

    async fn prove_write(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        let sql = Sql::new(
            "INSERT INTO meta (key, value) VALUES ('written_at', $1) ON CONFLICT (key) DO UPDATE SET value = $1",
        );
        let now = tx.now();
        tx.run(sql.bind(now.to_string())).await?;
        tx.commit_housekeeping().await
    }
}
