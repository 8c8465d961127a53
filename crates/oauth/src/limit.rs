//! Bounds on what strangers may cause: registrations, their changes, and fetches of metadata documents.

use governor::{DefaultKeyedRateLimiter, Quota, clock::Clock as _, clock::DefaultClock};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use wire::{AppId, ClientId};

/// How much is allowed: so many at once, and so many per minute in the long run.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// At once.
    pub burst: NonZeroU32,
    /// Per minute afterwards.
    pub per_minute: NonZeroU32,
}

impl Allowance {
    const fn of(burst: u32, per_minute: u32) -> Self {
        match (NonZeroU32::new(burst), NonZeroU32::new(per_minute)) {
            (Some(burst), Some(per_minute)) => Self { burst, per_minute },
            _ => Self {
                burst: NonZeroU32::MIN,
                per_minute: NonZeroU32::MIN,
            },
        }
    }

    fn quota(self) -> Quota {
        Quota::per_minute(self.per_minute).allow_burst(self.burst)
    }
}

/// Limits of the open endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Registrations from one address (one /64 network for IPv6).
    pub registrations_per_address: Allowance,
    /// Registrations at one app.
    pub registrations_per_app: Allowance,
    /// Authorization requests of one address that name a metadata document.
    pub documents_per_address: Allowance,
    /// Changes of one registration.
    pub updates_per_client: Allowance,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            registrations_per_address: Allowance::of(60, 30),
            registrations_per_app: Allowance::of(600, 300),
            documents_per_address: Allowance::of(60, 60),
            updates_per_client: Allowance::of(10, 1),
        }
    }
}

/// Addresses that are told apart at the most; beyond, all share what one has, until some have been quiet. Nobody else is to
/// pay for a sender with very many addresses with memory.
const MOST: usize = 100_000;

pub(crate) struct Limiters {
    addresses: DefaultKeyedRateLimiter<String>,
    apps: DefaultKeyedRateLimiter<AppId>,
    documents: DefaultKeyedRateLimiter<String>,
    clients: DefaultKeyedRateLimiter<ClientId>,
    clock: DefaultClock,
    /// When there was no room, and quiet ones were looked for.
    tidied: Mutex<Option<Instant>>,
}

impl Limiters {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            addresses: DefaultKeyedRateLimiter::keyed(limits.registrations_per_address.quota()),
            apps: DefaultKeyedRateLimiter::keyed(limits.registrations_per_app.quota()),
            documents: DefaultKeyedRateLimiter::keyed(limits.documents_per_address.quota()),
            clients: DefaultKeyedRateLimiter::keyed(limits.updates_per_client.quota()),
            clock: DefaultClock::default(),
            tidied: Mutex::default(),
        }
    }

    /// Counts a registration; an error says after how many seconds the next one makes sense.
    pub(crate) fn registration(&self, app: &AppId, address: &str) -> Result<(), u64> {
        let wait = |until: governor::NotUntil<_>| until.wait_time_from(self.clock.now()).as_secs() + 1;
        self.addresses
            .check_key(&self.known(&self.addresses, address))
            .map_err(wait)?;
        self.apps.check_key(app).map_err(wait)
    }

    /// Counts an authorization request that makes us fetch a document.
    pub(crate) fn document(&self, address: &str) -> Result<(), u64> {
        let wait = |until: governor::NotUntil<_>| until.wait_time_from(self.clock.now()).as_secs() + 1;
        self.documents
            .check_key(&self.known(&self.documents, address))
            .map_err(wait)
    }

    /// Counts a change that a client makes to its registration.
    pub(crate) fn update(&self, client: &ClientId) -> Result<(), u64> {
        let wait = |until: governor::NotUntil<_>| until.wait_time_from(self.clock.now()).as_secs() + 1;
        self.clients.check_key(client).map_err(wait)
    }

    /// What an address is told from others by.
    fn known(&self, limiter: &DefaultKeyedRateLimiter<String>, address: &str) -> String {
        if limiter.len() < MOST {
            return network(address);
        }
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        // It goes through all of them.
        if tidied.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
            *tidied = Some(Instant::now());
            limiter.retain_recent();
        }
        String::new()
    }

    /// Forgets whoever has been quiet.
    pub(crate) fn tidy(&self) {
        self.addresses.retain_recent();
        self.apps.retain_recent();
        self.documents.retain_recent();
        self.clients.retain_recent();
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let bits = v6.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(bits).to_string()
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_share_a_limit() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        let limits = Limits {
            registrations_per_address: Allowance::of(2, 1),
            registrations_per_app: Allowance::of(3, 1),
            ..Limits::default()
        };
        let (limiters, app) = (Limiters::new(&limits), AppId::fresh());
        assert!(limiters.registration(&app, "192.0.2.1").is_ok());
        assert!(limiters.registration(&app, "192.0.2.1").is_ok());
        assert!(limiters.registration(&app, "192.0.2.1").is_err());
        assert!(limiters.registration(&app, "192.0.2.2").is_ok());
        assert!(
            limiters.registration(&app, "192.0.2.3").is_err(),
            "the app has a limit, too"
        );
    }

    #[test]
    fn a_sender_with_very_many_addresses_takes_bounded_room() {
        let (limiters, app) = (Limiters::new(&Limits::default()), AppId::fresh());
        for n in 0..MOST {
            let ip = Ipv6Addr::from_bits((0x2001_0db8 << 96) | ((n as u128) << 64));
            let _ = limiters.registration(&app, &ip.to_string());
            let _ = limiters.document(&ip.to_string());
        }
        for n in 0..100 {
            let _ = limiters.registration(&app, &format!("192.0.2.{n}"));
            let _ = limiters.document(&format!("192.0.2.{n}"));
        }
        assert!(
            limiters.addresses.len() <= MOST + 1,
            "{}",
            limiters.addresses.len()
        );
        assert!(limiters.documents.len() <= MOST + 1);
        assert!(
            limiters.document("192.0.2.200").is_err(),
            "they share what one has"
        );
    }
}
