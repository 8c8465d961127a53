//! Bodies of requests that come too slowly are cut off, so that nobody keeps the server waiting with half a request.

use axum::body::{Body, Bytes};
use axum::{BoxError, Error};
use http::{Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long the next part of a body may take. Uploads to apps may last, as long as something comes.
const IDLE: Duration = Duration::from_secs(30);
/// How long the whole body of a request to the control plane may take: they are small.
const WHOLE: Duration = Duration::from_secs(30);
/// The largest body that is read at the control plane, in bytes. What takes a body has limits of its own below it.
const MOST: usize = 1024 * 1024;

/// The body of a request for an app.
pub(crate) fn for_app<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    within(body, None)
}

/// A request to the control plane once all of it is here: whoever waits with the end of it must not have what held at its
/// beginning, so that nothing is judged before.
///
/// # Errors
/// The body took too long, broke off, or is larger than anything that is read here.
pub(crate) async fn whole(request: Request<Body>) -> Result<Request<Body>, StatusCode> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = Limited::new(for_control(body), MOST).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => StatusCode::PAYLOAD_TOO_LARGE,
        false => StatusCode::REQUEST_TIMEOUT,
    })?;
    Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
}

/// The body of a request for the control plane.
fn for_control<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    within(body, Some(WHOLE))
}

fn within<B>(body: B, whole: Option<Duration>) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(Timed {
        body,
        waiting: None,
        until: whole.map(|whole| Instant::now() + whole),
    })
}

struct Timed<B> {
    body: B,
    /// Until when the next part has to be there; nothing while it does not have to be waited for.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Until when all of it has to be there.
    until: Option<Instant>,
}

impl<B> HttpBody for Timed<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::new)));
        }
        let until = this.until;
        let waiting = this.waiting.get_or_insert_with(|| {
            let idle = Instant::now() + IDLE;
            Box::pin(tokio::time::sleep_until(
                until.map_or(idle, |until| until.min(idle)),
            ))
        });
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        metrics::counter!("chatelaine_slow_bodies_total").increment(1);
        let late = std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "the body of the request took too long",
        );
        Poll::Ready(Some(Err(Error::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::channel::Channel;

    #[tokio::test(start_paused = true)]
    async fn half_a_body_is_cut_off() {
        for body in [for_app, for_control] {
            let (mut sender, receiver) = Channel::<Bytes>::new(4);
            sender.send_data(Bytes::from_static(b"{")).await.unwrap();
            let began = Instant::now();
            assert!(body(receiver).collect().await.is_err());
            assert_eq!(began.elapsed().as_secs(), 30);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_cut_off_at_the_control_plane_and_goes_on_at_an_app() {
        let drip = |mut sender: http_body_util::channel::Sender<Bytes>| async move {
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if sender.send_data(Bytes::from_static(b"x")).await.is_err() {
                    return;
                }
            }
        };
        let (sender, receiver) = Channel::<Bytes>::new(1);
        tokio::spawn(drip(sender));
        assert!(for_control(receiver).collect().await.is_err());
        let (sender, receiver) = Channel::<Bytes>::new(1);
        tokio::spawn(drip(sender));
        let whole = for_app(receiver).collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), 60);
    }
}
