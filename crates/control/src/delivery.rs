//! Sends audit events to webhooks, in the form of the Standard Webhooks specification: signed, at least
//! once, again with growing pauses when it fails. Several instances share the work: the store gives each
//! attempt to one of them.

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use http::StatusCode;
use outbound::{Allowed, Outbound};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use store::webhook::{self, Claimed, Outcome, Stored};
use store::{Error, Result, Store};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use wire::{ActorKind, AuditActor, DeliveryState, OrgId, Timestamp, WebhookDeliveryId, WebhookId};

/// How often new events are looked for.
const POLL: Duration = Duration::from_secs(1);
/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before the second attempt, the third and so on, in seconds: about two days altogether.
const PAUSES: [i64; 9] = [5, 30, 120, 600, 3600, 10_800, 21_600, 43_200, 86_400];
/// A webhook where nothing arrived for so long is disabled, in seconds.
const GIVE_UP: i64 = 5 * 86_400;
/// Deliveries that are kept busy by one webhook before others are looked at again.
const IN_A_ROW: usize = 1000;
/// How much of an answer is read and how much is kept, in bytes.
const READ: usize = 16 * 1024;
const KEPT: usize = 1024;
/// Begins signing secrets.
const PREFIX: &str = "whsec_";

/// Sends deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer {
    store: Store,
    outbound: Outbound,
}

/// What becomes of a delivery that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    /// It is tried again, and counts against the webhook.
    Retried,
    /// Nothing: somebody only wants to see what happens.
    Shown,
}

impl Deliverer {
    /// A deliverer that reaches receivers through `outbound`.
    #[must_use]
    pub const fn new(store: Store, outbound: Outbound) -> Self {
        Self { store, outbound }
    }

    /// Delivers until it is dropped. An attempt that is cut off is made again, here or elsewhere.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tasks = JoinSet::new();
        let mut busy = HashSet::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(done) = tasks.join_next() => {
                    match done {
                        Ok(id) => { busy.remove(&id); }
                        // It panicked, and nobody knows which one it was.
                        Err(_) => busy.clear(),
                    }
                    continue;
                }
            }
            let due = match self.due().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(%error, source = ?error, "webhooks could not be looked after");
                    continue;
                }
            };
            for (org, id) in due {
                if busy.insert(id.clone()) {
                    let deliverer = self.clone();
                    tasks.spawn(async move {
                        deliverer.drain(&org, &id).await;
                        id
                    });
                }
            }
        }
    }

    /// Looks for new events and makes the attempts that are due now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn step(&self) -> Result<()> {
        let due = self.due().await?;
        join_all(due.iter().map(|(org, id)| self.drain(org, id))).await;
        Ok(())
    }

    async fn due(&self) -> Result<Vec<(OrgId, WebhookId)>> {
        webhook::collect(&self.store).await?;
        let due = webhook::due(&self.store).await?;
        Ok(due.into_iter().map(|s| (s.org, s.webhook.id)).collect())
    }

    /// Makes one webhook's attempts one after the other, until one fails or none is due.
    async fn drain(&self, org: &OrgId, id: &WebhookId) {
        for _ in 0..IN_A_ROW {
            match self.next(org, id).await {
                Ok(Some(DeliveryState::Succeeded)) => {}
                Ok(_) | Err(Error::NotFound(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, source = ?error, webhook = %id, "a delivery was not made");
                    return;
                }
            }
        }
    }

    async fn next(&self, org: &OrgId, id: &WebhookId) -> Result<Option<DeliveryState>> {
        // Read each time: secret, address and switch may have changed.
        let stored = webhook::get(&self.store, org, id).await?;
        if !stored.webhook.spec.enabled {
            return Ok(None);
        }
        let Some(claimed) = webhook::claim(&self.store, id).await? else {
            return Ok(None);
        };
        self.attempt(&stored, &claimed, Failing::Retried).await.map(Some)
    }

    /// Sends one event now, and only once, also to a webhook that is disabled.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn try_out(
        &self,
        stored: &Stored,
        event: &wire::AuditEvent,
    ) -> Result<WebhookDeliveryId> {
        let claimed = webhook::deliver_now(&self.store, &stored.webhook.id, event).await?;
        self.attempt(stored, &claimed, Failing::Shown).await?;
        Ok(claimed.delivery.id)
    }

    async fn attempt(&self, stored: &Stored, claimed: &Claimed, failing: Failing) -> Result<DeliveryState> {
        let now = self.store.clock().now();
        let started = Instant::now();
        let sent = self.send(stored, claimed, now).await?;
        let millis = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let (status, error, response) = match sent {
            Ok(answer) => (Some(answer.status), None, Some(cleaned(&answer.body))),
            Err(error) => (None, Some(error.to_string()), None),
        };
        let arrived = status.is_some_and(|status| status.is_success());
        let is_gone = status == Some(StatusCode::GONE);
        let pause = usize::try_from(claimed.delivery.attempts)
            .ok()
            .and_then(|made| PAUSES.get(made));
        let (state, next_at) = match pause {
            _ if arrived => (DeliveryState::Succeeded, now),
            _ if is_gone => (DeliveryState::Failed, now),
            Some(pause) if failing == Failing::Retried => {
                (DeliveryState::Pending, now.plus_seconds(pause + jitter(*pause)?))
            }
            _ => (DeliveryState::Exhausted, now),
        };
        let outcome = Outcome {
            state,
            next_at,
            status: status.map(|status| status.as_u16()),
            millis,
            error,
            response,
        };
        let mut tx = self.store.begin().await?;
        let is_ours = webhook::finish(&mut tx, claimed, &outcome).await?;
        if !is_ours || (failing == Failing::Shown && !arrived) {
            tx.commit_housekeeping().await?;
            return Ok(state);
        }
        let id = &stored.webhook.id;
        let since = webhook::note(&mut tx, id, arrived).await?;
        let reason = if is_gone {
            Some("gone")
        } else {
            since
                .filter(|since| since.plus_seconds(GIVE_UP) <= now)
                .map(|_| "failing")
        };
        match reason {
            Some(reason) if webhook::disable(&mut tx, id, reason).await? => {
                tx.commit(disabled(stored, reason)).await?;
            }
            _ => tx.commit_housekeeping().await?,
        }
        Ok(state)
    }

    async fn send(
        &self,
        stored: &Stored,
        claimed: &Claimed,
        now: Timestamp,
    ) -> Result<Result<outbound::Response, outbound::Error>> {
        let (id, timestamp) = (claimed.delivery.event.to_string(), now.seconds().to_string());
        let mut signatures = Vec::new();
        for secret in stored.secrets(&self.store)? {
            let signature = sign(&secret, (&id, &timestamp), &claimed.body);
            signatures.push(signature.ok_or_else(|| Error::internal("a signing secret is malformed"))?);
        }
        let spec = &stored.webhook.spec;
        let mut allowed = Vec::new();
        if spec.allow_internal
            && let Ok(url) = url::Url::parse(&spec.url)
            && let Ok(origin) = Allowed::parse(&url.origin().ascii_serialization())
        {
            allowed.push(origin);
        }
        let request = self
            .outbound
            .post(&spec.url, "application/json", claimed.body.clone())
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .timeout(TIMEOUT)
            .max_bytes(READ)
            .cut()
            .allow(&allowed);
        Ok(request.send().await)
    }
}

/// Makes a signing secret.
///
/// # Errors
/// When the system has no randomness.
pub(crate) fn mint_secret() -> Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// A signature, unless the secret is none.
fn sign(secret: &str, (id, timestamp): (&str, &str), body: &str) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(tag)))
}

/// Up to a fifth more, so that not everything that failed together is tried again together.
fn jitter(pause: i64) -> Result<i64> {
    let mut bytes = [0; 2];
    rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(pause / 5 * i64::from(u16::from_be_bytes(bytes)) / i64::from(u16::MAX))
}

/// The beginning of an answer, without what cannot be seen or turns text around.
fn cleaned(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(KEPT)]);
    let harmless = |c: char| matches!(c, '\n' | '\t') || !wire::is_deceptive(c);
    let mut kept: String = text.chars().filter(|c| harmless(*c)).collect();
    // A character cut in two at the end becomes a replacement character, which is longer.
    while kept.len() > KEPT {
        kept.pop();
    }
    kept
}

fn disabled(stored: &Stored, reason: &str) -> wire::AuditEvent {
    let actor = AuditActor::of(ActorKind::System);
    let mut event = store::audit::event(&stored.org, "system", "webhook.disabled", actor);
    let webhook = &stored.webhook;
    event.account.clone_from(&webhook.account);
    event.target = Some(store::audit::target(
        "webhook",
        &webhook.id,
        Some(&webhook.spec.name),
    ));
    event.reason = Some(reason.to_owned());
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementations of the Standard Webhooks specification.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let signature = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
        assert_eq!(sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ("x", "1"), ""), None);
    }

    #[test]
    fn secrets_are_32_bytes_behind_their_prefix() {
        let secret = mint_secret().unwrap();
        let bytes = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap()).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_ne!(mint_secret().unwrap(), secret);
    }

    #[test]
    fn attempts_go_on_for_about_two_days() {
        let total: i64 = PAUSES.iter().sum();
        assert!((36 * 3600..60 * 3600).contains(&total), "{total}");
        for pause in PAUSES {
            let jitter = jitter(pause).unwrap();
            assert!((0..=pause / 5).contains(&jitter), "{jitter}");
        }
    }

    #[test]
    fn answers_are_cut_and_cleaned() {
        assert_eq!(cleaned("a\u{202e}b\u{0}\u{7}c\n".as_bytes()), "abc\n");
        assert!(cleaned("ä".repeat(2000).as_bytes()).len() <= KEPT);
        assert_eq!(cleaned(b"\xff"), "\u{fffd}");
    }
}
