//! Threads for what may take its time: they give way to those on which somebody is answered. On Linux a thread has a
//! priority of its own; where it has none, such work is done as any other.

use crate::{Error, Result, db};
use std::cell::Cell;
use tokio::sync::oneshot;

/// How much a thread gives way: beside one that does not, it gets about a tenth of a processor; alone, all of it.
const NICE: i32 = 10;

/// Makes the calling thread give way from now on. It must be one that does nothing else: there is no way back.
pub(crate) fn give_way() {
    thread_local! {
        static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
    }
    // In tests many processes share few processors, and nobody is answered.
    let is_new = !GIVES_WAY.replace(true) && !db::plans_are_judged();
    #[cfg(target_os = "linux")]
    if is_new && let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (is_new, NICE);
}

/// Does what takes a while on a thread of its own, which gives way to others. It ends where it waits next once nobody waits
/// for it any more. Must be called within a Tokio runtime, whose clock and sockets it uses.
///
/// # Errors
/// When there are no more threads, or the work panics.
pub(crate) async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (mut done, waits) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("apart".to_owned());
    let thread = thread.spawn(move || {
        give_way();
        runtime.block_on(async move {
            tokio::select! {
                () = done.closed() => {}
                // Whoever waited may have gone just now.
                answer = work => drop(done.send(answer)),
            }
        });
    });
    thread.map_err(Error::internal)?;
    waits.await.map_err(Error::internal)
}
