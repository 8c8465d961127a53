//! How many connections there may be, in all and of one address, so that one sender cannot use up what all need. Proxies
//! that are trusted, and this machine, speak for many.

use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
}
