//! Attempts to sign in that are out at a provider. Each has a cookie of its own, so that tabs which begin at the same
//! moment, in a browser that has no session yet, do not take each other's place; what it relies on waits at the server.
//!
//! An attempt is the browser's that shows its cookie, and is taken out before the provider is asked anything. A browser
//! holds [`MOST`] at once: with a new one, the oldest go.

use crate::page::{Failure, redirect};
use crate::provider::Attempt;
use crate::{Visit, cookie};
use axum::response::Response;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use store::pending_login;
use wire::{AccountId, Connection, ConnectionId, SessionId, Timestamp, TrialId, UserId};

/// How long somebody may take at the provider, in seconds.
const LIFE: i64 = 600;
/// Attempts of one browser at once: tabs. All their cookies together are short.
const MOST: usize = 20;
/// Letters of a state's digest in the name of its cookie.
const TAG: usize = 12;

/// What an attempt is for. The answer serves that and nothing else.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    SignIn,
    /// This person, who is known in the browser, is vouched for anew, without a question to them.
    Renew(UserId),
    /// The person of this session proves once more who they are.
    Confirm(SessionId),
    /// This trial of the connection, which signs nobody in.
    Trial(TrialId),
}

/// An attempt, as it waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// SHA-256 of the state.
    pub(crate) state: String,
    pub(crate) nonce: String,
    /// PKCE (RFC 7636).
    pub(crate) verifier: String,
    pub(crate) connection: ConnectionId,
    /// What of the connection it relies on: see [`crate::provider::Providers::asked`].
    pub(crate) asked: String,
    pub(crate) account: Option<AccountId>,
    pub(crate) return_to: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) purpose: Purpose,
}

impl Pending {
    pub(crate) fn new(visit: &Visit, attempt: Attempt, connection: &Connection, purpose: Purpose) -> Self {
        Self {
            state: store::sha256(&attempt.state),
            nonce: attempt.nonce,
            verifier: attempt.verifier,
            connection: connection.id.clone(),
            asked: visit.broker.providers().asked(connection),
            account: None,
            return_to: None,
            at: visit.store().clock().now(),
            purpose,
        }
    }

    /// Sends the browser away with it.
    pub(crate) async fn send(self, visit: &Visit, url: &str) -> Result<Response, Failure> {
        let secret = store::random_secret("")?;
        let mut tx = visit.store().begin().await?;
        let under = (self.state.as_str(), store::sha256(&secret));
        pending_login::keep(&mut tx, (under.0, &under.1), &self, LIFE).await?;
        tx.commit_housekeeping().await?;
        let held = &visit.attempts.0;
        let excess = (held.len() + 1).saturating_sub(MOST);
        let mut response = redirect(url);
        let headers = response.headers_mut();
        // Browsers send the oldest first (RFC 6265, section 5.4).
        for (old, _) in held.iter().take(excess) {
            append(headers, visit, old, ("", 0));
        }
        append(headers, visit, tag(&self.state), (&secret, LIFE));
        Ok(response)
    }

    /// Takes the attempt of a state out, for good, if this browser holds it.
    pub(crate) async fn take(visit: &Visit, state: &str) -> Result<Option<Self>, Failure> {
        let hash = store::sha256(state);
        let Some(secret) = visit.attempts.holds(tag(&hash)) else {
            return Ok(None);
        };
        let mut tx = visit.store().begin().await?;
        let taken = pending_login::take(&mut tx, (&hash, &store::sha256(secret))).await?;
        tx.commit_housekeeping().await?;
        Ok(taken)
    }

    /// Makes the browser forget that it holds it.
    pub(crate) fn forget(&self, visit: &Visit, response: &mut Response) {
        append(response.headers_mut(), visit, tag(&self.state), ("", 0));
    }
}

fn tag(hash: &str) -> &str {
    hash.get(..TAG).unwrap_or(hash)
}

fn prefix(control_url: &str) -> &'static str {
    if control_url.starts_with("https:") {
        "__Host-chatelaine_login_"
    } else {
        "chatelaine_login_"
    }
}

fn append(headers: &mut HeaderMap, visit: &Visit, tag: &str, (value, life): (&str, i64)) {
    let url = visit.broker.control_url();
    let name = format!("{}{tag}", prefix(url));
    if let Some(cookie) = cookie::set(url, (&name, value), Some(life)) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// The attempts that a browser holds: tags and secrets, in the order in which it sends them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Vec<(String, String)>);

impl Attempts {
    pub(crate) fn of(headers: &HeaderMap, control_url: &str) -> Self {
        let pairs = cookie::pairs(headers);
        let ours = pairs.filter_map(|(name, value)| Some((name.strip_prefix(prefix(control_url))?, value)));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let ours = ours.filter(|(tag, _)| tag.len() == TAG && tag.bytes().all(plain));
        Self(
            ours.map(|(tag, value)| (tag.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The secret of an attempt; none where a cookie came twice, because somebody planted one.
    fn holds(&self, tag: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(held, _)| held == tag);
        let (_, secret) = found.next()?;
        found.next().is_none().then_some(secret)
    }
}
