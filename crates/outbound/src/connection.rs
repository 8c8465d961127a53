//! The HTTP client underneath: one per request, tied to the addresses that were checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::Error;
use crate::target::Target;

/// Knows nothing but the addresses that were checked, whatever the name servers say by now.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// How servers are verified, or why they cannot be. Reading root certificates is slow, so it is done once.
pub(crate) struct Tls(Result<ClientConfig, String>);

impl Tls {
    /// Trusts what the operating system trusts.
    pub(crate) fn of_the_system() -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier())
            .map(|builder| builder.with_no_client_auth());
        Self(config.map_err(|e| e.to_string()))
    }

    #[cfg(test)]
    pub(crate) fn of(config: Result<ClientConfig, String>) -> Self {
        Self(config)
    }

    /// A client for a single request: with no connection kept, none that was opened under one allow-list or
    /// one DNS answer can serve another.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the guarded client that all others are banned for"
    )]
    pub(crate) fn client(
        &self,
        target: &Target,
        addresses: Vec<SocketAddr>,
        user_agent: &str,
        timeout: Duration,
    ) -> Result<reqwest::Client, Error> {
        let builder = reqwest::Client::builder()
            .dns_resolver(Pinned(addresses))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            // Shared out among the addresses, so that a dead one leaves time to try the next.
            .connect_timeout(timeout)
            .user_agent(user_agent);
        let builder = match &self.0 {
            Ok(config) => builder.tls_backend_preconfigured(config.clone()),
            Err(_) if target.is_plain() => builder.tls_certs_only([]),
            Err(reason) => {
                return Err(Error::Tls {
                    host: target.host.clone(),
                    reason: reason.clone(),
                });
            }
        };
        builder
            .build()
            .map_err(|e| Error::from_http(&target.host, timeout, e))
    }
}
