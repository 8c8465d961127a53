//! The flight recorder: what agents do on their way in, from the first 401 to the first call, so that somebody can see
//! where one got stuck.
//!
//! ```text
//! note() ── a bounded queue in memory ── once a second ──> agent_steps ── those of one attempt are joined ──> agent_attempts
//! ```
//! Noting a step waits for nothing and can fail for nobody: what finds no room, or is in memory when the process dies, is
//! lost, and the audit log has it anyway. Steps of one attempt come to different instances, so they are joined in the
//! database, in the order in which they happened, a moment after.
//!
//! No secret goes in: tokens, codes, verifiers are never handed over, addresses lose their query, and what strangers
//! wrote is cleaned and bounded ([`said`]).

mod join;
mod queue;
pub(crate) mod words;

pub use words::{FAULTS, fault_of};

use crate::{Purpose, Result, Store, sha256};
pub use queue::Recorder;
use std::net::IpAddr;
use std::time::Duration;
use wire::{
    AccountId, AgentStepKind, AgentStepOutcome, AppId, AuditRequest, Client, ClientId, ClientTier, GrantId,
    OrgId, Timestamp, UserId,
};

/// How long attempts are kept of which nobody is known, in seconds,
pub(crate) const KEPT_OF_STRANGERS: i64 = 2 * 86_400;
/// and the others.
pub(crate) const KEPT: i64 = 14 * 86_400;

/// How often steps are written.
const TICK: Duration = Duration::from_secs(1);
/// How long a step waits for earlier ones that came to other instances, in seconds.
const GRACE: i64 = 2;
/// The longest text of what was expected or received, in characters.
const LONGEST: usize = 200;
/// Nothing readable has so many letters and digits in a row; secrets have.
const LONGEST_WORD: usize = 40;

/// One thing that an agent, or the browser of its person, did.
#[derive(Debug, Clone)]
pub struct Step {
    pub(crate) org: OrgId,
    pub(crate) account: AccountId,
    pub(crate) app: AppId,
    pub(crate) at: Timestamp,
    pub(crate) kind: AgentStepKind,
    pub(crate) outcome: AgentStepOutcome,
    pub(crate) reason: Option<String>,
    pub(crate) expected: Option<String>,
    pub(crate) received: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) known: bool,
    pub(crate) request: String,
    pub(crate) network: String,
    pub(crate) ip: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client: Option<ClientId>,
    pub(crate) client_name: Option<String>,
    pub(crate) asked: Option<String>,
    pub(crate) user: Option<UserId>,
    pub(crate) grant: Option<GrantId>,
    pub(crate) count: i64,
}

impl Step {
    /// A step that went as it should.
    #[must_use]
    pub fn new(view: &crate::AppView, request: &AuditRequest, kind: AgentStepKind) -> Self {
        Self {
            org: view.org.clone(),
            account: view.app.account.clone(),
            app: view.app.id.clone(),
            at: Timestamp(0),
            kind,
            outcome: AgentStepOutcome::Passed,
            reason: None,
            expected: None,
            received: None,
            subject: None,
            known: false,
            // As the log has it: by it somebody finds the attempt.
            request: request.id.chars().take(LONGEST).collect(),
            network: network(request.ip.as_deref()),
            ip: request.ip.clone(),
            user_agent: request.user_agent.as_deref().map(said),
            client_id: None,
            client: None,
            client_name: None,
            asked: None,
            user: None,
            grant: None,
            count: 1,
        }
    }

    /// It was refused; `reason` is a code of [`words`].
    #[must_use]
    pub fn failed(mut self, reason: &str) -> Self {
        self.outcome = AgentStepOutcome::Failed;
        self.reason = Some(said(reason));
        self
    }

    /// What was expected, in words of ours.
    #[must_use]
    pub fn expected(mut self, text: impl AsRef<str>) -> Self {
        self.expected = Some(said(text.as_ref()));
        self
    }

    /// What came instead; it may be what a stranger wrote, but no secret.
    #[must_use]
    pub fn received(mut self, text: impl AsRef<str>) -> Self {
        self.received = Some(said(text.as_ref()));
        self
    }

    /// What a setting would have to name: a redirect URI, a tier. Left out where it could hold more than that.
    #[must_use]
    pub fn subject(mut self, text: &str) -> Self {
        let plain = text.len() <= 500 && !text.contains(['?', '#', '@']) && masked(text) == text;
        self.subject = plain.then(|| text.to_owned());
        self
    }

    /// The `client_id` as sent.
    #[must_use]
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.client_id = Some(said(client_id));
        self
    }

    /// The client that was found or made.
    #[must_use]
    pub fn client(mut self, client: &Client) -> Self {
        self.client_id = Some(said(&client.client_id));
        self.client = (client.version > 0).then(|| client.id.clone());
        self.client_name = Some(said(&client.name));
        self.known |= client.tier == ClientTier::Approved;
        self
    }

    /// The same by identifiers.
    #[must_use]
    pub fn client_named(mut self, client: &ClientId, name: &str) -> Self {
        self.client = Some(client.clone());
        self.client_name = Some(said(name));
        self
    }

    /// The person who signed in.
    #[must_use]
    pub fn user(mut self, user: &UserId) -> Self {
        self.user = Some(user.clone());
        self.known = true;
        self
    }

    /// The grant.
    #[must_use]
    pub fn grant(mut self, grant: &GrantId) -> Self {
        self.grant = Some(grant.clone());
        self.known = true;
        self
    }

    /// The authorization request that it is about, by [`asked`].
    #[must_use]
    pub fn asked(mut self, asked: Option<String>) -> Self {
        self.asked = asked;
        self
    }

    /// Whether the agent itself came, and not its person's browser.
    pub(crate) const fn is_agents(&self) -> bool {
        !matches!(
            self.kind,
            AgentStepKind::Document
                | AgentStepKind::Authorize
                | AgentStepKind::SignIn
                | AgentStepKind::Consent
        )
    }

    /// Whether the same once more is only counted: agents that look whether they may come in now do so again and again.
    pub(crate) fn repeats_itself(&self) -> bool {
        self.outcome == AgentStepOutcome::Passed || self.kind == AgentStepKind::Challenge
    }

    /// By what agents are told from each other before they have a name.
    pub(crate) fn place(&self) -> String {
        match self.is_agents() {
            true => sha256(format!(
                "{}\n{}",
                self.network,
                self.user_agent.as_deref().unwrap_or_default()
            )),
            false => String::new(),
        }
    }
}

/// What tells an authorization request from others: a digest, because its `state` is the agent's secret. The pairs are
/// those of its query.
pub fn asked<'p>(app: &AppId, pairs: impl Iterator<Item = (&'p str, &'p str)>) -> Option<String> {
    const TELLING: [&str; 4] = ["client_id", "redirect_uri", "state", "code_challenge"];
    let mut parts = [""; TELLING.len()];
    for (name, value) in pairs {
        if let Some(at) = TELLING.iter().position(|telling| *telling == name)
            && parts[at].is_empty()
        {
            parts[at] = value;
        }
    }
    let [client_id, _, state, challenge] = parts;
    // Without either of them it could be anybody's.
    let telling = !client_id.is_empty() && (!state.is_empty() || !challenge.is_empty());
    telling.then(|| sha256(format!("{app}\n{}", parts.join("\n"))))
}

/// What somebody wrote, fit to be kept: without the queries of addresses, without whatever could be a secret, without
/// what deceives the eye, and not long.
pub(crate) fn said(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.split(char::is_whitespace) {
        let at = word.contains("://").then(|| word.find(['?', '#'])).flatten();
        words.push(at.map_or(word, |at| &word[..at]));
    }
    let text = masked(&words.join(" "));
    let keep = |c: char| if wire::is_deceptive(c) { '\u{fffd}' } else { c };
    let mut cleaned: String = text.chars().take(LONGEST).map(keep).collect();
    if text.chars().count() > LONGEST {
        cleaned.push('…');
    }
    cleaned
}

/// The text with dots for every word that could be a secret.
fn masked(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_+=~.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        // Names of hosts are long and made of short parts.
        let longest = word.split('.').map(str::len).max().unwrap_or_default();
        out.push_str(if longest >= LONGEST_WORD { "…" } else { word });
        word.clear();
    };
    for c in text.chars() {
        if is_part(c) {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

/// What counts as one network: of IPv6, the /64 that one subscriber gets.
fn network(ip: Option<&str>) -> String {
    match ip.and_then(|ip| ip.parse().ok()) {
        Some(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_none() => format!("{:x?}", &ip.segments()[..4]),
        Some(IpAddr::V6(ip)) => ip.to_ipv4_mapped().map(|ip| ip.to_string()).unwrap_or_default(),
        Some(ip) => ip.to_string(),
        None => String::new(),
    }
}

impl Store {
    /// Notes a step. It waits for nothing.
    pub fn note_step(&self, mut step: Step) {
        step.at = self.clock().now();
        self.recorder().push(step);
    }

    /// Writes what was noted here and joins all that is written, without waiting for other instances: when the server
    /// stops, and for tests.
    ///
    /// # Errors
    /// When the database does not answer; what was noted is lost then.
    pub async fn write_agent_steps(&self) -> Result<()> {
        let store = self.on(Purpose::Report);
        join::write(&store).await?;
        while join::join(&store, self.clock().now()).await? > 0 {}
        Ok(())
    }
}

/// Writes and joins, once a second.
pub(crate) async fn follow(store: Store) {
    // Nobody waits for it.
    let store = store.on(Purpose::Report);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Who writes steps joins them; so an idle instance asks the database for nothing.
    let mut owes = false;
    loop {
        let closed = &store.inner.closed;
        if closed.run_until_cancelled(tick.tick()).await.is_none() {
            return;
        }
        let worked = async {
            owes |= join::write(&store).await?;
            if owes {
                let until = store.clock().now().plus_seconds(-GRACE);
                while join::join(&store, until).await? > 0 {}
                owes = join::is_waiting(&store).await?;
            }
            Ok::<(), crate::Error>(())
        };
        if let Err(error) = worked.await {
            tracing::warn!(%error, source = ?error, "steps of agents could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_not_kept() {
        for (text, kept) in [
            ("http://localhost:8080/callback", "http://localhost:8080/callback"),
            ("https://a.example/cb?code=abc#x", "https://a.example/cb"),
            (
                "read https://a.example/?t=1 write",
                "read https://a.example/ write",
            ),
            (
                "cli_0192f000000000000000000000000000",
                "cli_0192f000000000000000000000000000",
            ),
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "…"),
            ("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ing.e30.x", "…"),
            ("a\u{202e}b", "a\u{fffd}b"),
        ] {
            assert_eq!(said(text), kept);
        }
        assert_eq!(said(&"ab ".repeat(200)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_request_is_told_from_others_by_what_its_agent_made_up() {
        let app = AppId::fresh();
        let of = |pairs: &[(&str, &str)]| asked(&app, pairs.iter().copied());
        let one = of(&[("client_id", "a"), ("state", "1"), ("scope", "x")]);
        assert!(one.is_some());
        assert_eq!(one, of(&[("state", "1"), ("client_id", "a")]));
        assert_ne!(one, of(&[("state", "2"), ("client_id", "a")]));
        assert_eq!(of(&[("client_id", "a")]), None);
        assert_eq!(of(&[("state", "a")]), None);
    }
}
