//! Where a request may go: reading the URL, resolving the host, and refusing internal addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use url::{Host, Url};

use crate::{Error, Listeners, is_global, is_special};

/// An internal target that may be reached all the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Allowed {
    /// Exactly this origin (RFC 6454), at whatever address; if the scheme is `http`, without TLS.
    Origin {
        /// `http` or `https`.
        scheme: String,
        /// A name in lower case, or an address literal as in a URL (IPv6 in brackets).
        host: String,
        /// The port, also where it is the default one of the scheme.
        port: u16,
    },
}

impl Allowed {
    /// Reads an origin such as `http://127.0.0.1:7401`.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for anything that is not a bare http or https origin.
    pub fn parse(origin: &str) -> Result<Self, Error> {
        let url = parse_url(origin)?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(Error::InvalidUrl(
                "an allowed origin has no path, query or fragment".to_owned(),
            ));
        }
        let (host, port) = host_and_port(&url)?;
        Ok(Self::Origin {
            scheme: url.scheme().to_owned(),
            host: host.to_owned(),
            port,
        })
    }

    fn covers(&self, url: &Url) -> bool {
        let Self::Origin { scheme, host, port } = self;
        url.scheme() == scheme
            && url.host_str() == Some(host.as_str())
            && url.port_or_known_default() == Some(*port)
    }
}

impl FromStr for Allowed {
    type Err = Error;

    fn from_str(origin: &str) -> Result<Self, Error> {
        Self::parse(origin)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Origin { scheme, host, port } = self;
        write!(f, "{scheme}://{host}:{port}")
    }
}

/// Turns a host name into all its addresses.
#[doc(hidden)]
pub type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The resolver of the operating system.
#[doc(hidden)]
#[must_use]
pub fn system_resolver() -> Resolver {
    Arc::new(|host| {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((host.as_str(), 0))
                .await?
                .map(|address| address.ip())
                .collect())
        })
    })
}

/// All addresses of a host at a port, unjudged.
///
/// # Errors
/// What the resolver says.
pub async fn resolve(resolver: &Resolver, host: Host<&str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = match host {
        Host::Ipv4(ip) => vec![IpAddr::V4(ip)],
        Host::Ipv6(ip) => vec![IpAddr::V6(ip)],
        // Whatever a name server says.
        Host::Domain(name) if is_localhost(name) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Host::Domain(name) => resolver(name.to_owned()).await?,
    };
    Ok(addresses
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect())
}

/// A URL that may be fetched if its addresses may be.
pub(crate) struct Target {
    pub(crate) url: Url,
    /// As in the URL, for messages.
    pub(crate) host: String,
    port: u16,
    allowed: bool,
}

impl Target {
    /// Judges what can be judged without the network. `allow` is asked for the exact origin.
    pub(crate) fn parse<'a>(url: &str, mut allow: impl Iterator<Item = &'a Allowed>) -> Result<Self, Error> {
        let url = parse_url(url)?;
        let (host, port) = host_and_port(&url)?;
        let host = host.to_owned();
        let allowed = allow.any(|entry| entry.covers(&url));
        if url.scheme() == "http" && !allowed {
            return Err(Error::InvalidUrl(format!(
                "{host} is to be reached over http, and only https is secure"
            )));
        }
        Ok(Self {
            url,
            host,
            port,
            allowed,
        })
    }

    /// Whether there is no TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// The addresses to connect to, each of them checked. One internal address spoils the whole answer: which
    /// one would be used is up to whoever runs the name server. Special addresses and the server's own are
    /// refused also where internal ones are allowed.
    pub(crate) async fn addresses(
        &self,
        resolver: &Resolver,
        own: &Listeners,
    ) -> Result<Vec<SocketAddr>, Error> {
        let addresses = match self.url.host() {
            Some(host) => resolve(resolver, host, self.port)
                .await
                .map_err(|e| self.unreachable(&e))?,
            None => vec![],
        };
        if addresses.is_empty() {
            return Err(self.unreachable(&"the name has no address"));
        }
        let host = || self.host.clone();
        for address in &addresses {
            let ip = address.ip();
            if !self.allowed && !is_global(ip) {
                return Err(Error::Blocked {
                    host: host(),
                    address: ip,
                });
            }
            if is_special(ip, &[]) {
                return Err(Error::Special {
                    host: host(),
                    address: ip,
                });
            }
            if own.has(*address) {
                return Err(Error::Own { host: host() });
            }
        }
        Ok(addresses)
    }

    fn unreachable(&self, reason: &dyn fmt::Display) -> Error {
        Error::Connect {
            host: self.host.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Whether a name is one of the machine itself (RFC 6761, section 6.3), also with dots at its end.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// The URL parser brings hosts to their one canonical form: lower case, IPv4 from decimal, octal, hexadecimal
/// and short notations. What is checked is therefore what is connected to.
fn parse_url(url: &str) -> Result<Url, Error> {
    let url = Url::parse(url).map_err(|e| Error::InvalidUrl(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::InvalidUrl(format!(
            "the scheme {:?} is not https",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::InvalidUrl(
            "it contains a user name or password".to_owned(),
        ));
    }
    Ok(url)
}

fn host_and_port(url: &Url) -> Result<(&str, u16), Error> {
    url.host_str()
        .zip(url.port_or_known_default())
        .ok_or_else(|| Error::InvalidUrl("it names no host".to_owned()))
}
