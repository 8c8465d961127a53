//! What goes on without anybody asking: each is a task of its own that is started again should it fail
//! ([`store::Tasks`]).

use crate::backup::Keeper;
use oauth::Oauth;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::audit::DigestFile;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often what is over gets deleted.
const SWEEP: Duration = Duration::from_secs(600);
/// How often a digest of the audit log is written.
const DIGEST: Duration = Duration::from_secs(3600);
/// How often it is noted how far the database is: so much may be lost unnoticed when it goes back in time.
const MARK: Duration = Duration::from_secs(5);
/// How often it is looked whether documents of agents are to be fetched again.
const DOCUMENTS: Duration = Duration::from_secs(60);
/// How often it is looked whether a binding has drained.
const DETACH: Duration = Duration::from_secs(10);

/// What the tasks need.
pub(crate) struct Background {
    pub(crate) store: Store,
    pub(crate) oauth: Oauth,
    pub(crate) control: control::Control,
    pub(crate) broker: broker::Broker,
    pub(crate) ask_every: Duration,
    pub(crate) digests: Arc<Mutex<DigestFile>>,
    pub(crate) mark: Arc<Mutex<Keeper>>,
}

impl Background {
    /// Starts all of them; they end after `stop`.
    pub(crate) fn start(self, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let tasks = Arc::clone(self.store.tasks());
        let run = |name, mut make: Box<dyn FnMut(CancellationToken) -> Task + Send>| {
            let token = stop.clone();
            tasks.run(name, stop.clone(), move || make(token.clone()))
        };
        let Self {
            store,
            oauth,
            control,
            broker,
            ask_every,
            digests,
            mark,
        } = self;
        let deliverer = control.deliverer().clone();
        let marking = store.clone();
        let renewing = oauth.clone();
        let detaching = store.clone();
        let digesting = store.clone();
        vec![
            run(
                "sweep",
                Box::new(move |stop| {
                    let quiet = (oauth.clone(), control.clone());
                    Box::pin(sweep(store.clone(), quiet, stop))
                }),
            ),
            run(
                "detach",
                Box::new(move |stop| Box::pin(detach(detaching.clone(), stop))),
            ),
            run(
                "deliveries",
                Box::new(move |stop| {
                    let deliverer = deliverer.clone();
                    Box::pin(async move {
                        stop.run_until_cancelled_owned(deliverer.run()).await;
                    })
                }),
            ),
            run(
                "ask_providers",
                Box::new(move |stop| {
                    let broker = broker.clone();
                    Box::pin(async move { broker.ask_providers(ask_every, stop).await })
                }),
            ),
            run(
                "documents",
                Box::new(move |stop| Box::pin(renew(renewing.clone(), stop))),
            ),
            run(
                "digests",
                Box::new(move |stop| Box::pin(digest(digesting.clone(), Arc::clone(&digests), stop))),
            ),
            run(
                "mark",
                Box::new(move |stop| Box::pin(keep_mark(marking.clone(), Arc::clone(&mark), stop))),
            ),
        ]
    }
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Writes digests of the audit log, now and then hourly, until `stop`.
async fn digest(store: Store, file: Arc<Mutex<DigestFile>>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(DIGEST);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        write_digests(&store, &file).await;
    }
}

/// Notes how far the database is, now, every few seconds, and after `stop`.
async fn keep_mark(store: Store, mark: Arc<Mutex<Keeper>>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(MARK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let goes_on = stop.run_until_cancelled(tick.tick()).await.is_some();
        if let Err(error) = mark.lock().await.keep(&store).await {
            tracing::warn!(error = %format_args!("{error:#}"), "it could not be noted how far the database is");
        }
        if !goes_on {
            return;
        }
    }
}

/// Writes a digest of each organisation's log.
pub(crate) async fn write_digests(store: &Store, file: &Mutex<DigestFile>) {
    if let Err(error) = file.lock().await.write(store).await {
        tracing::error!(%error, source = ?error, "no audit digest was written");
    }
}

/// Deletes what is over, now and then, and forgets who has been quiet.
async fn sweep(store: Store, (oauth, control): (Oauth, control::Control), stop: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        // What fails says so itself, and is done next time.
        let _ = stop.run_until_cancelled(store::retention::sweep(&store)).await;
        if let Err(error) = store::expiry::warn(&store).await {
            tracing::warn!(%error, source = ?error, "nobody could be warned of what ends soon");
        }
        oauth.tidy();
        control.tidy();
    }
}

/// Looks what the documents of agents that are used say now.
async fn renew(oauth: Oauth, stop: CancellationToken) {
    let mut tick = tokio::time::interval(DOCUMENTS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let renewed = stop.run_until_cancelled(oauth.renew_documents()).await;
        if let Some(Err(error)) = renewed {
            tracing::warn!(%error, source = ?error, "documents of agents could not be renewed");
        }
    }
}

/// Detaches what has drained. The rules stop it at its time; this says so in the log, and ends what hangs on it.
async fn detach(store: Store, stop: CancellationToken) {
    let mut tick = tokio::time::interval(DETACH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = store::binding::detach_drained(&store).await {
            tracing::warn!(%error, source = ?error, "what has drained could not be detached");
        }
    }
}
