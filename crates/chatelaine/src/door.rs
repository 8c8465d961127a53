//! How many connections there may be, in all and of one address, so that one sender cannot use up what all need. Proxies
//! that are trusted, and this machine, speak for many.

use ipnet::IpNet;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often it is told at the most that somebody was kept out.
const QUIET: Duration = Duration::from_secs(60);

/// Who may come in.
pub(crate) struct Door {
    most: usize,
    most_of_one: usize,
    trusted: Vec<IpNet>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    of: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

/// A connection that is counted until this is dropped.
pub(crate) struct Admitted {
    door: Arc<Door>,
    /// Nothing for those who speak for many.
    sender: Option<IpAddr>,
}

/// A connection and its place: it is counted for as long as somebody has the connection, also once it has been switched
/// to a WebSocket and belongs to no server any more.
pub(crate) struct Counted<S> {
    stream: S,
    _place: Admitted,
}

impl Admitted {
    /// Stays with the connection from here on.
    pub(crate) const fn with<S>(self, stream: S) -> Counted<S> {
        Counted { stream, _place: self }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What counts as one sender: of IPv6 a network, because whoever has one address there has all of it.
fn sender(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

impl Door {
    pub(crate) fn new(most: usize, most_of_one: usize, trusted: &[IpNet]) -> Self {
        Self {
            most,
            most_of_one,
            trusted: trusted.to_vec(),
            inside: Mutex::default(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if there is room.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admitted> {
        let ip = peer.to_canonical();
        let speaks_for_many = ip.is_loopback() || self.trusted.iter().any(|net| net.contains(&ip));
        let sender = (!speaks_for_many).then(|| sender(peer));
        let mut inside = self.inside();
        let of_one = sender.map_or(0, |sender| inside.of.get(&sender).copied().unwrap_or(0));
        let is_full = inside.all >= self.most;
        if is_full || of_one >= self.most_of_one {
            self.tell(&mut inside, peer, is_full);
            return None;
        }
        inside.all += 1;
        if let Some(sender) = sender {
            inside.of.insert(sender, of_one + 1);
        }
        drop(inside);
        Some(Admitted {
            door: Arc::clone(self),
            sender,
        })
    }

    fn tell(&self, inside: &mut Inside, peer: IpAddr, is_full: bool) {
        let why = if is_full {
            "max_connections"
        } else {
            "max_connections_of_one"
        };
        metrics::counter!("chatelaine_connections_refused_total", "limit" => why).increment(1);
        if inside.told.is_none_or(|at| at.elapsed() > QUIET) {
            inside.told = Some(Instant::now());
            tracing::warn!(%peer, limit = why, connections = inside.all, "connections are closed at once: too many");
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.all = inside.all.saturating_sub(1);
        let Some(sender) = self.sender else { return };
        match inside.of.get_mut(&sender) {
            Some(n) if *n > 1 => *n -= 1,
            _ => drop(inside.of.remove(&sender)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_does_not_use_up_what_all_need() {
        let door = Arc::new(Door::new(6, 2, &["10.0.0.0/8".parse().unwrap()]));
        let admit = |ip: &str| door.admit(ip.parse().unwrap());
        let first = [admit("192.0.2.1"), admit("::ffff:192.0.2.1")];
        assert!(first.iter().all(Option::is_some));
        assert!(
            admit("192.0.2.1").is_none(),
            "the same one, however it is written"
        );
        let v6 = [admit("2001:db8::1"), admit("2001:db8::ffff:2")];
        assert!(v6.iter().all(Option::is_some));
        assert!(admit("2001:db8::3").is_none(), "the same network");
        assert!(admit("2001:db8:0:1::3").is_some());
        drop(first);
        // A proxy, and this machine, speak for many; all together there may be so many.
        let many = [
            admit("10.0.0.7"),
            admit("10.0.0.7"),
            admit("10.0.0.7"),
            admit("127.0.0.1"),
        ];
        assert!(many.iter().all(Option::is_some));
        assert!(admit("192.0.2.9").is_none(), "full");
        drop((many, v6));
        assert!(admit("192.0.2.9").is_some());
        let inside = door.inside();
        assert_eq!(
            (inside.all, inside.of.len()),
            (0, 0),
            "nothing is left of those who went"
        );
    }

    #[tokio::test]
    async fn a_connection_counts_until_nobody_has_it_also_once_it_is_a_web_socket() {
        let door = Arc::new(Door::new(1, 1, &[]));
        let place = door.admit("192.0.2.1".parse().unwrap()).unwrap();
        let (browser, server) = tokio::io::duplex(4096);
        let (keep, mut kept) = tokio::sync::mpsc::channel(1);
        let service = hyper::service::service_fn(move |request| {
            let upgrade = hyper::upgrade::on(request);
            let keep = keep.clone();
            tokio::spawn(async move { keep.send(upgrade.await.unwrap()).await });
            let switched = http::Response::builder()
                .status(101)
                .header("connection", "upgrade");
            let switched = switched.header("upgrade", "websocket").body(String::new());
            async move { switched }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(place.with(server)), service)
            .with_upgrades();
        let served = tokio::spawn(served);
        let (mut reads, mut writes) = tokio::io::split(browser);
        let asked = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut writes, asked.as_bytes())
            .await
            .unwrap();
        let mut head = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut reads, &mut head)
            .await
            .unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        served.await.unwrap().unwrap();
        let web_socket = kept.recv().await.unwrap();
        assert!(door.admit("192.0.2.2".parse().unwrap()).is_none(), "it goes on");
        drop(web_socket);
        assert!(door.admit("192.0.2.2".parse().unwrap()).is_some());
    }
}
