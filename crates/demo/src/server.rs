//! How each of the demo's servers listens and stops.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests in flight may go on after shutdown was asked for. Endless streams are cut off then.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves `router` until `shutdown`, then gives requests in flight a moment to end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let graceful = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = async { graceful.await } => Ok(ended?),
        () = deadline => Ok(()),
    }
}

/// What every HTML page of the demo answers with. `form-action` is left out on purpose: Chromium applies it to
/// the whole redirect chain after a form post, and a sign-in goes on to other origins.
pub(crate) const PAGE_HEADERS: [(http::HeaderName, &str); 5] = [
    (http::header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        http::header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::REFERRER_POLICY, "same-origin"),
    (http::header::CACHE_CONTROL, "no-store"),
];
