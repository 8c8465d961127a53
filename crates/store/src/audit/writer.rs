//! The writer of decisions that change nothing: many requests share one commit.

use super::append::{Answer, append};
use super::query::ANSWERED_WITHIN;
use crate::{Error, Purpose, Result, Store};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc, oneshot};
use wire::{AuditEvent, AuditResponse, EventId, OrgId, Timestamp};

/// A request in the log of which it is not known yet what was answered. There is one for each, because an event is
/// answered once at the most.
#[derive(Debug)]
pub struct Unanswered {
    org: OrgId,
    event: EventId,
    since: Timestamp,
}

impl Unanswered {
    pub(crate) fn of(event: &AuditEvent, since: Timestamp) -> Self {
        Self {
            org: event.org.clone(),
            event: event.id.clone(),
            since,
        }
    }
}

pub(crate) enum Entry {
    Event(Box<AuditEvent>, oneshot::Sender<Result<(), Arc<Error>>>),
    Response(Unanswered, AuditResponse),
}

/// Events of one commit at the most.
const BATCH: usize = 512;

/// How often nobody may have come, after which a commit begins.
const QUIET: usize = 2;
/// From so many events in a commit on, what origins answered waits for company.
const BUSY: usize = 4;
/// So many answers are worth a statement of their own.
const RESPONSES: usize = 64;
/// How long they may wait for that.
const RESPONSES_WAIT: Duration = Duration::from_millis(250);

/// Takes what waits, writes it in one transaction, answers everybody, and goes on. What origins answered
/// costs no commit of its own: many go along with the next events, or the rest after a while without any.
/// Should it die, those who wait are refused, and what waits in the channel is the next one's.
pub(crate) async fn write_loop(store: Store, entries: Arc<Mutex<mpsc::Receiver<Entry>>>) {
    let mut entries = entries.lock().await;
    let mut batch = Vec::with_capacity(BATCH);
    let mut responses = Vec::new();
    let mut oldest = Instant::now();
    loop {
        let received = entries.recv_many(&mut batch, BATCH);
        let (received, idle) = if responses.is_empty() {
            (received.await, false)
        } else {
            match tokio::time::timeout(RESPONSES_WAIT, received).await {
                Ok(received) => (received, false),
                Err(_) => (0, true),
            }
        };
        if received == 0 && !idle {
            return;
        }
        // Whoever is ready to run, or has just been read from a socket, may have an event for this commit;
        // each yield lets them, and costs nothing to speak of when there is nobody.
        let mut quiet = 0;
        while quiet < QUIET && batch.len() < BATCH {
            tokio::task::yield_now().await;
            let before = batch.len();
            while batch.len() < BATCH
                && let Ok(entry) = entries.try_recv()
            {
                batch.push(entry);
            }
            quiet = if batch.len() == before { quiet + 1 } else { 0 };
        }
        let (mut events, mut waiting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for entry in batch.drain(..) {
            match entry {
                Entry::Event(event, done) => {
                    events.push(*event);
                    waiting.push(done);
                }
                Entry::Response(request, response) => {
                    if responses.is_empty() {
                        oldest = Instant::now();
                    }
                    responses.push((request, response));
                }
            }
        }
        let due = idle
            || events.len() < BUSY
            || responses.len() >= RESPONSES
            || (!responses.is_empty() && oldest.elapsed() >= RESPONSES_WAIT);
        if events.is_empty() && !idle && responses.len() < RESPONSES {
            continue;
        }
        let answered = if due {
            std::mem::take(&mut responses)
        } else {
            Vec::new()
        };
        let mut result = write_batch(&store, &mut events, answered).await.map_err(Arc::new);
        store.inner.probe.note_batch(result.is_ok());
        if let Err(error) = &result {
            tracing::error!(%error, source = ?error, events = waiting.len(), "audit events could not be written");
        }
        // One event that cannot be written must not refuse everybody else's requests.
        let one_by_one = events.len() > 1
            && result
                .as_ref()
                .is_err_and(|e| !matches!(**e, Error::Unavailable(_)));
        for (event, done) in events.iter_mut().zip(waiting) {
            if one_by_one {
                let event = std::slice::from_mut(event);
                result = write_batch(&store, event, Vec::new()).await.map_err(Arc::new);
            }
            // A request that went away does not wait for its answer; its event stays.
            let _ = done.send(result.clone());
        }
    }
}

async fn write_batch(
    store: &Store,
    events: &mut [AuditEvent],
    responses: Vec<(Unanswered, AuditResponse)>,
) -> Result<()> {
    let mut tx = store.db().on(Purpose::Audit).begin().await?;
    let now = store.clock().now();
    // What comes later would change what has been exported.
    let in_time =
        |(request, _): &(Unanswered, AuditResponse)| now <= request.since.plus_seconds(ANSWERED_WITHIN);
    let answers = responses.into_iter().filter(in_time);
    let answers = answers.map(|(request, response)| Answer {
        org: request.org,
        event: request.event,
        response,
    });
    append(&mut tx, store.seal(), events, answers.collect(), now).await?;
    tx.commit().await
}
