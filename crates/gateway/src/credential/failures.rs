//! Wrong service tokens: whoever tries many is slowed down, and nobody else.

use super::Invalid;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use wire::{ServiceTokenId, Timestamp};

/// Within so many seconds …
const WINDOW: i64 = 60;
/// … so many wrong secrets of one identifier are just wrong.
const PATIENCE: u32 = 20;
/// For so long an identifier that does not exist is not looked up again, in seconds.
const UNKNOWN_FOR: i64 = 10;
/// Identifiers whose failures are remembered at the most.
const REMEMBERED: usize = 10_000;

/// Wrong service tokens, counted by identifier. The right secret is let in however many were wrong, so that
/// nobody can lock a token's owner out.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<ServiceTokenId, Failure>>);

struct Failure {
    since: i64,
    count: u32,
    unknown_until: i64,
}

impl Failures {
    pub(super) fn is_unknown(&self, id: &ServiceTokenId, now: Timestamp) -> bool {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(id).is_some_and(|f| now.seconds() < f.unknown_until)
    }

    pub(super) fn add(&self, id: &ServiceTokenId, is_unknown: bool, now: Timestamp) -> Invalid {
        let now = now.seconds();
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= REMEMBERED && !map.contains_key(id) {
            map.retain(|_, f| now - f.since < WINDOW);
            if map.len() >= REMEMBERED {
                map.clear();
            }
        }
        let failure = map.entry(id.clone()).or_insert(Failure {
            since: now,
            count: 0,
            unknown_until: 0,
        });
        if now - failure.since >= WINDOW {
            (failure.since, failure.count) = (now, 0);
        }
        if is_unknown {
            failure.unknown_until = now + UNKNOWN_FOR;
        }
        failure.count = failure.count.saturating_add(1);
        if failure.count > PATIENCE {
            Invalid::TooMany(failure.since + WINDOW - now)
        } else {
            Invalid::Wrong
        }
    }
}
