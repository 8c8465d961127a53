//! Where the gateway may connect to. A name is resolved once, every address that it has is checked, and the
//! connection goes to the addresses that were checked.

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use outbound::{Listeners, Resolver, is_special, resolve, system_resolver};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Host;

/// For all addresses of a name together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a connection to one address.
pub type Dialer = Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// How origins are found and reached.
#[derive(Clone)]
pub struct Reach {
    /// Turns names into addresses.
    pub resolver: Resolver,
    /// Connects to an address that was checked.
    pub dialer: Dialer,
    /// The server's own listeners: no origin.
    pub listeners: Listeners,
}

impl Reach {
    /// By the operating system, knowing the server's own listeners.
    #[must_use]
    pub fn system(listeners: Listeners) -> Self {
        Self {
            resolver: system_resolver(),
            dialer: Arc::new(|address| Box::pin(TcpStream::connect(address))),
            listeners,
        }
    }
}

impl Default for Reach {
    fn default() -> Self {
        Self::system(Listeners::default())
    }
}

/// Why an origin is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A link-local address, or one of a cloud's metadata, that the organisation did not open.
    Special(IpAddr),
    /// The server itself.
    Own,
}

impl Refused {
    /// What lies behind an error of the HTTP client, if it is one of these.
    pub(crate) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref() {
                return Some(*refused);
            }
            next = error.source();
        }
        None
    }

    /// The reason as the log writes it.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Special(_) => "special_address",
            Self::Own => "loop_detected",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(ip) => write!(
                f,
                "{ip} is an address that origins have only where it was opened to them"
            ),
            Self::Own => write!(f, "the origin is this server itself"),
        }
    }
}

impl Error for Refused {}

/// Connects to origins of organisations that opened the same special networks.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) reach: Reach,
    pub(crate) opened: Arc<[IpNet]>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, Box<dyn Error + Send + Sync>> {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        });
        let host = Host::parse(uri.host().unwrap_or_default())?;
        let host = match &host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(ip) => Host::Ipv4(*ip),
            Host::Ipv6(ip) => Host::Ipv6(*ip),
        };
        let found = tokio::time::timeout(CONNECT_TIMEOUT, resolve(&self.reach.resolver, host, port));
        let addresses = found.await??;
        // One that is refused spoils the answer: which one would be used is up to whoever runs the name server.
        for address in &addresses {
            if is_special(address.ip(), &self.opened) {
                return Err(Refused::Special(address.ip()).into());
            }
            if self.reach.listeners.has(*address) {
                return Err(Refused::Own.into());
            }
        }
        let share = CONNECT_TIMEOUT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match tokio::time::timeout(share, (self.reach.dialer)(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed.into())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
