//! Events that somebody unknown can cause at will, or somebody refused: each is in the log, but not each has
//! a row of its own. The first of a kind is written at once; those that follow within [`WINDOW`] are counted
//! and written as one event when the window closes.
//!
//! Two events are of one kind when everything that tells who asked for what, of what, with which end is the same,
//! and they came from one network: nobody is counted under the name of somebody else. Who makes events that
//! differ gets [`KINDS_OF_NETWORK`] kinds in a window, and all strangers together [`KINDS`] at one account; what
//! is beyond is counted in one event that names nobody. Each reason has bounds of its own, so that guesses bury nothing
//! but guesses; and so has whoever is known, who is named: no stranger can bury what they were refused.

use crate::{Result, Store, sha256};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wire::{
    AccountId, ActorKind, ApiTokenId, AuditActor, AuditEvent, AuditRepeated, EventId, OrgId, Outcome,
    Timestamp, UserId,
};

/// How long events of one kind are counted before the count is written, in seconds.
const WINDOW: i64 = 60;
/// So many kinds are told apart at a time for one action and reason in one account,
const KINDS: usize = 64;
/// and so many that came from one network.
const KINDS_OF_NETWORK: usize = 16;
/// The reason of the event that counts what is beyond that.
const VARIOUS: &str = "various";
/// How often it is looked whether a window has closed.
const LOOK: Duration = Duration::from_secs(1);

/// What shares one bound. None of it is for a stranger to choose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Group {
    org: OrgId,
    account: Option<AccountId>,
    action: String,
    outcome: Outcome,
    /// One of few words of ours.
    reason: Option<String>,
    actor: ActorKind,
    /// Who it was, where that is known.
    user: Option<UserId>,
    token: Option<ApiTokenId>,
}

/// Events of one kind.
struct Window {
    /// Where they came from.
    network: String,
    since: Timestamp,
    /// Those after the first, as the event that will be written.
    folded: Option<AuditEvent>,
}

impl Window {
    const fn new(network: String, since: Timestamp) -> Self {
        Self {
            network,
            since,
            folded: None,
        }
    }

    const fn is_open(&self, now: Timestamp) -> bool {
        // A clock that was set back closes it, too.
        now.0 >= self.since.0 && now.0 < self.since.plus_seconds(WINDOW).0
    }

    fn count(&mut self, event: AuditEvent, now: Timestamp) {
        let one = AuditRepeated {
            count: 1,
            first: now,
            last: now,
        };
        let repeated = event.repeated.clone().unwrap_or(one);
        match self.folded.as_mut().and_then(|folded| folded.repeated.as_mut()) {
            Some(so_far) => {
                so_far.count += repeated.count;
                so_far.first = so_far.first.min(repeated.first);
                so_far.last = so_far.last.max(repeated.last);
            }
            None => {
                self.folded = Some(AuditEvent {
                    repeated: Some(repeated),
                    ..event
                });
            }
        }
    }
}

/// What is being counted.
#[derive(Default)]
pub(crate) struct Folds(Mutex<HashMap<Group, HashMap<String, Window>>>);

impl Folds {
    fn open(&self) -> MutexGuard<'_, HashMap<Group, HashMap<String, Window>>> {
        // Counts are good at any moment, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event, or gives it back: it is the first of its kind.
    fn take(&self, event: AuditEvent, now: Timestamp) -> Option<AuditEvent> {
        let (group, kind, network) = (group(&event), kind(&event), network(&event));
        let mut groups = self.open();
        let windows = groups.entry(group).or_default();
        if let Some(window) = windows.get_mut(&kind) {
            // A count that is about to be written takes what comes until then.
            if window.is_open(now) || window.folded.is_some() {
                window.count(event, now);
                return None;
            }
            window.since = now;
            return Some(event);
        }
        let open = || windows.values().filter(|window| window.is_open(now));
        let is_full = open().count() >= KINDS
            || open().filter(|window| window.network == network).count() >= KINDS_OF_NETWORK;
        if is_full {
            let window = windows.entry(String::new());
            window
                .or_insert_with(|| Window::new(String::new(), now))
                .count(nobodys(event), now);
            return None;
        }
        windows.insert(kind, Window::new(network, now));
        Some(event)
    }

    /// Counts an event that could not be written.
    fn put_back(&self, event: AuditEvent, now: Timestamp) {
        let various = event.reason.as_deref() == Some(VARIOUS);
        let kind = if various { String::new() } else { kind(&event) };
        // What waited for its minute already does not wait for another one.
        let since = event.repeated.as_ref().map_or(now, |repeated| repeated.first);
        let mut groups = self.open();
        let window = groups.entry(group(&event)).or_default().entry(kind);
        let window = window.or_insert_with(|| Window::new(network(&event), since));
        window.count(event, now);
    }

    /// The counts of windows that have closed, or of all; they are forgotten here.
    fn close(&self, now: Timestamp, all: bool) -> Vec<AuditEvent> {
        let mut closed = Vec::new();
        self.open().retain(|_, windows| {
            windows.retain(|_, window| {
                let stays = !all && window.is_open(now);
                if !stays {
                    closed.extend(window.folded.take());
                }
                stays
            });
            !windows.is_empty()
        });
        closed
    }
}

fn group(event: &AuditEvent) -> Group {
    Group {
        org: event.org.clone(),
        account: event.account.clone(),
        action: event.action.clone(),
        outcome: event.outcome,
        reason: event.reason.clone(),
        actor: event.actor.kind,
        user: event.actor.user.clone(),
        token: event.actor.token.clone(),
    }
}

/// Who, what, to what, with which end, from where; hashed, because some of it a stranger chose.
fn kind(event: &AuditEvent) -> String {
    let actor = AuditActor {
        email: None,
        client_name: None,
        session: None,
        ..event.actor.clone()
    };
    let target = event.target.as_ref().map(|target| (&target.kind, &target.id));
    let asked = event
        .request
        .as_ref()
        .map(|request| (&request.method, &request.path));
    let rule = event.rule.as_ref().map(|rule| &rule.id);
    let parts = (
        actor,
        target,
        &event.reason,
        rule,
        &event.source,
        asked,
        network(event),
    );
    // Serialising what was made for JSON does not fail; if it did, more would be counted together.
    sha256(serde_json::to_vec(&parts).unwrap_or_default())
}

/// Where it came from, as strangers have addresses: one of IPv4, or 2^64 of IPv6.
fn network(event: &AuditEvent) -> String {
    let ip = event.request.as_ref().and_then(|request| request.ip.as_deref());
    match ip.map(str::parse::<IpAddr>) {
        Some(Ok(IpAddr::V6(v6))) => v6.segments()[..4]
            .iter()
            .map(|part| format!("{part:x}:"))
            .collect(),
        _ => ip.unwrap_or_default().to_owned(),
    }
}

/// The event without whatever is not true of all that are counted with it. Whose they all are stays.
fn nobodys(event: AuditEvent) -> AuditEvent {
    AuditEvent {
        id: EventId::fresh(),
        actor: AuditActor {
            user: event.actor.user,
            email: event.actor.email,
            token: event.actor.token,
            token_name: event.actor.token_name,
            token_account: event.actor.token_account,
            ..AuditActor::of(event.actor.kind)
        },
        target: None,
        reason: Some(VARIOUS.to_owned()),
        rule: None,
        request: None,
        mcp: None,
        change: None,
        impact: None,
        ..event
    }
}

impl Store {
    /// Appends an event that its cause can cause at will: something refused, or done by nobody who is known.
    /// The first of its kind is durable when this returns; those that follow within a minute are counted, and
    /// their count is written when the minute is over. Nothing that is allowed may go this way.
    ///
    /// # Errors
    /// When it could not be written. It is counted then, and written when the database answers again.
    pub async fn record_folded(&self, event: AuditEvent) -> Result<()> {
        let now = self.clock().now();
        let first = self.folds().take(event, now);
        self.write_folded(first.into_iter().collect()).await
    }

    /// Writes the counts of windows that have closed. The server does so every second by itself.
    ///
    /// # Errors
    /// When they could not be written; they are kept.
    pub async fn write_closed_folds(&self) -> Result<()> {
        let closed = self.folds().close(self.clock().now(), false);
        self.write_folded(closed).await
    }

    /// Writes all counts: the server stops.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn write_all_folds(&self) -> Result<()> {
        let closed = self.folds().close(self.clock().now(), true);
        self.write_folded(closed).await
    }

    async fn write_folded(&self, events: Vec<AuditEvent>) -> Result<()> {
        let written = join_all(events.iter().map(|event| self.record(event.clone()))).await;
        let mut result = Ok(());
        for (event, written) in events.into_iter().zip(written) {
            if let Err(error) = written {
                self.folds().put_back(event, self.clock().now());
                result = Err(error);
            }
        }
        result
    }
}

/// Writes what has closed.
pub(crate) async fn follow(store: Store) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if store
            .inner
            .closed
            .run_until_cancelled(tick.tick())
            .await
            .is_none()
        {
            return;
        }
        if let Err(error) = store.write_closed_folds().await {
            tracing::warn!(%error, source = ?error, "counts of the audit log could not be written yet");
        }
    }
}
