//! What can go wrong with a request, worded for an administrator.

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Why a request got no answer. Messages name the host, never a path, query, header or body, so they may be
/// logged and shown to an administrator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is malformed or of a kind that is never fetched: not https, or with a user name in it.
    #[error("the URL cannot be used: {0}")]
    InvalidUrl(String),
    /// A header is malformed.
    #[error("the request cannot be sent: {0}")]
    InvalidRequest(String),
    /// The host is, or resolves to, an address that is not on the public internet.
    #[error(
        "{host} is blocked: {address} is not a public internet address, and this origin is not on the list of \
         allowed internal targets"
    )]
    Blocked {
        /// The host as it stands in the URL.
        host: String,
        /// The first address that was refused.
        address: IpAddr,
    },
    /// The host is, or resolves to, an address that nothing is sent to, whatever is allowed.
    #[error(
        "{host} is blocked: {address} is a link-local address, one where clouds hand out credentials, or none of a \
         single host"
    )]
    Special {
        /// The host as it stands in the URL.
        host: String,
        /// The first address that was refused.
        address: IpAddr,
    },
    /// The host is this server.
    #[error("{host} is blocked: it is this server itself")]
    Own {
        /// The host as it stands in the URL.
        host: String,
    },
    /// The answer is longer than the caller accepts.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// The host as it stands in the URL.
        host: String,
        /// The cap, in bytes of body.
        limit: usize,
    },
    /// The whole exchange, from name resolution to the last byte, took too long.
    #[error("{host} did not answer in full within {after:?}")]
    Timeout {
        /// The host as it stands in the URL.
        host: String,
        /// The time allowed.
        after: Duration,
    },
    /// The name does not resolve, or no connection came about.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// The host as it stands in the URL.
        host: String,
        /// What the resolver or the network said.
        reason: String,
    },
    /// The TLS handshake failed, mostly for an untrusted or mismatching certificate.
    #[error("no secure connection to {host}: {reason}")]
    Tls {
        /// The host as it stands in the URL.
        host: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The connection broke, or what came back is not HTTP.
    #[error("the exchange with {host} failed: {reason}")]
    Interrupted {
        /// The host as it stands in the URL.
        host: String,
        /// What the HTTP library said.
        reason: String,
    },
}

impl Error {
    /// Sorts an error of the HTTP library. Its URL is dropped: queries may hold secrets.
    pub(crate) fn from_http(host: &str, timeout: Duration, error: reqwest::Error) -> Self {
        let host = host.to_owned();
        if error.is_timeout() {
            return Self::Timeout { host, after: timeout };
        }
        let connect = error.is_connect();
        let error = error.without_url();
        if let Some(tls) = tls_cause(&error) {
            return Self::Tls {
                host,
                reason: tls.to_string(),
            };
        }
        let reason = root_cause(&error);
        if connect {
            Self::Connect { host, reason }
        } else {
            Self::Interrupted { host, reason }
        }
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&e| match e.downcast_ref::<io::Error>() {
        // `io::Error::source` skips the error it wraps.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => e.source(),
    })
}

fn tls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|e| e.downcast_ref())
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}
