//! Where this server itself listens, so that it is not sent to itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// The server's own listeners. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Listeners(Arc<[SocketAddr]>);

impl Listeners {
    /// Those at these addresses.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Whether a connection to `address` would end at one of them.
    #[must_use]
    pub fn has(&self, address: SocketAddr) -> bool {
        // Also behind NAT64.
        let ip = crate::special::reached(address.ip());
        self.0.iter().any(|own| {
            let listens = own.ip().to_canonical();
            own.port() == address.port()
                && (listens == ip
                    || listens.is_unspecified() && (ip.is_unspecified() || is_of_this_machine(ip)))
        })
    }
}

/// Whether an address is one of this machine: nobody can take another. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_known_by_all_their_addresses() {
        let listeners = |text: &str| Listeners::new([text.parse().unwrap()]);
        let has = |own: &str, address: &str| listeners(own).has(address.parse().unwrap());
        assert!(has("127.0.0.1:7400", "127.0.0.1:7400"));
        assert!(has("127.0.0.1:7400", "[::ffff:127.0.0.1]:7400"));
        assert!(has("127.0.0.1:7400", "[64:ff9b::7f00:1]:7400"));
        assert!(!has("127.0.0.1:7400", "127.0.0.1:7401"));
        assert!(!has("127.0.0.1:7400", "127.0.0.2:7400"));
        for any in ["0.0.0.0:7400", "[::]:7400"] {
            for address in [
                "127.0.0.1:7400",
                "127.0.0.2:7400",
                "[::1]:7400",
                "0.0.0.0:7400",
                "[::]:7400",
            ] {
                assert!(has(any, address), "{any} {address}");
            }
            // An address of documentation is nobody's.
            assert!(!has(any, "192.0.2.1:7400"));
            assert!(!has(any, "127.0.0.1:7401"));
        }
        assert!(!Listeners::default().has("127.0.0.1:7400".parse().unwrap()));
    }
}
