//! Work that goes on in the background. Each task has a name, is started again when it ends by itself or panics, and
//! says how it is: nothing that the server relies on may stop without a word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long to wait before a task is started again; twice as long each time, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);
/// Who ran for so long had recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// The tasks of one instance.
#[derive(Default)]
pub struct Tasks(Mutex<BTreeMap<&'static str, State>>);

#[derive(Default)]
struct State {
    restarts: u64,
    /// How the task that runs can be ended; `None` while none runs.
    running: Option<AbortHandle>,
}

impl Tasks {
    fn all(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what `make` makes until `stop`, again and again if need be. What is made hears of `stop` by itself, and is
    /// waited for.
    pub fn run<F>(
        self: &Arc<Self>,
        name: &'static str,
        stop: CancellationToken,
        mut make: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = Arc::clone(self);
        tokio::spawn(async move {
            let mut pause = FIRST;
            loop {
                let began = Instant::now();
                let task = tokio::spawn(make());
                tasks.all().entry(name).or_default().running = Some(task.abort_handle());
                metrics::gauge!("chatelaine_task_up", "task" => name).set(1.0);
                let ended = task.await;
                tasks.all().entry(name).or_default().running = None;
                metrics::gauge!("chatelaine_task_up", "task" => name).set(0.0);
                if stop.is_cancelled() {
                    return;
                }
                let fault = ended
                    .err()
                    .map_or_else(|| "it ended".to_owned(), |e| e.to_string());
                if began.elapsed() >= RECOVERED {
                    pause = FIRST;
                }
                tracing::error!(task = name, fault, again_in = ?pause, "a background task stopped");
                metrics::counter!("chatelaine_task_restarts_total", "task" => name).increment(1);
                tasks.all().entry(name).or_default().restarts += 1;
                if stop
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await
                    .is_none()
                {
                    return;
                }
                pause = (pause * 2).min(LONGEST);
            }
        })
    }

    /// Ends a task as a fault would: it is started again.
    pub fn interrupt(&self, name: &str) {
        if let Some(running) = self.all().get(name).and_then(|state| state.running.as_ref()) {
            running.abort();
        }
    }

    /// The tasks that do not run now.
    #[must_use]
    pub fn stopped(&self) -> Vec<&'static str> {
        let all = self.all();
        let stopped = all.iter().filter(|(_, state)| state.running.is_none());
        stopped.map(|(name, _)| *name).collect()
    }

    /// How often a task was started again.
    #[must_use]
    pub fn restarts(&self, name: &str) -> u64 {
        self.all().get(name).map_or(0, |state| state.restarts)
    }
}
