//! Whether a provider still vouches for somebody who signed in through it some time ago. Whoever leaves the company is
//! refused there from then on; this is how it is noticed before its last word is too old.
//!
//! ```text
//! in the background   refresh token of the sign-in, kept sealed ──> provider ── tokens: its word is of now
//!                                                                            ── invalid_grant: its word is withdrawn
//!                                                                            ── anything else: asked again later
//! in a browser        somebody known, word too old ── prompt=none ──> provider ── a code: signed in, unseen
//!                                                                             ── login_required: the sign-in page
//! ```
//!
//! Refresh tokens are kept of connections whose scopes ask for `offline_access`: others end with the provider's own
//! session, which says nothing of whether somebody left.

use crate::login::{Asked, Place};
use crate::page::Failure;
use crate::pending::Purpose;
use crate::provider::Fault;
use crate::return_to::with_query;
use crate::tokens::NoTokens;
use crate::trace::Trace;
use crate::upstream;
use crate::{Broker, Visit, session};
use axum::response::Response;
use futures_util::StreamExt as _;
use std::time::Duration;
use store::upstream_token::{self, Claimed};
use store::user::Identity;
use store::{Store, Tx};
use tokio_util::sync::CancellationToken;
use wire::{Connection, ConnectionKind, User, UserId};
use zeroize::Zeroizing;

/// The scope that asks for refresh tokens (OpenID Connect Core 1.0, section 11).
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// Longest id token that goes into a URL as a hint.
const MOST_HINT: usize = 4096;
/// How many people are claimed at a time.
const BATCH: u32 = 100;
/// How many providers' answers are waited for at a time.
const AT_ONCE: usize = 4;
/// How often it is looked whether a question is due.
const LOOK: Duration = Duration::from_secs(30);

/// Whether the provider of a connection is asked in the background.
pub(crate) fn is_asked(connection: &Connection) -> bool {
    let spec = &connection.spec;
    spec.kind == ConnectionKind::Oidc && spec.scopes.iter().any(|scope| scope == OFFLINE_ACCESS)
}

/// Keeps what came with a sign-in, to ask with later.
pub(crate) async fn keep(
    tx: &mut Tx,
    broker: &Broker,
    (user, connection): (&UserId, &Connection),
    token: Option<&Zeroizing<String>>,
) -> store::Result<()> {
    if !is_asked(connection) {
        return upstream_token::drop_of(tx, user).await;
    }
    let client = broker.providers().asked(connection);
    let token = token.map(|token| token.as_str());
    upstream_token::keep(tx, user, (&connection.id, &client), token).await
}

/// How a question went.
enum Answered {
    /// Yes, with the token for the next one if it is another.
    Vouches(Option<Zeroizing<String>>),
    /// No, with the provider's error code.
    Withdrew(String),
}

impl Broker {
    /// Asks providers about people, each about every `every` as long as anything of theirs goes on, until `stop`. What
    /// was asked by then is heard: the answer may hold the only token for the next question.
    pub async fn ask_providers(&self, every: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK.min(every));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = self.ask_due(every, &stop).await {
                tracing::warn!(%error, source = ?error, "no provider could be asked about people");
            }
        }
    }

    /// Asks about everybody whose turn it is, or as many as come before `stop`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ask_due(&self, every: Duration, stop: &CancellationToken) -> store::Result<()> {
        let store = self.store();
        let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
        let since = store.clock().now().plus_seconds(-every);
        loop {
            let due = upstream_token::due(store, since, BATCH).await?;
            let last = due.len() < BATCH as usize;
            let mut asking = futures_util::stream::iter(due)
                .map(|user| async move {
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    let mut tx = store.begin().await?;
                    let claimed = upstream_token::claim(&mut tx, &user, since).await?;
                    tx.commit_housekeeping().await?;
                    match claimed {
                        Some(claimed) => self.ask(&claimed).await,
                        None => Ok(()),
                    }
                })
                .buffer_unordered(AT_ONCE);
            while let Some(asked) = asking.next().await {
                asked?;
            }
            if last || stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Asks about one person. Only a clear no is one: a provider that is away, or a client secret that is over, ends
    /// nobody before the last word is too old.
    async fn ask(&self, claimed: &Claimed) -> store::Result<()> {
        let (store, providers) = (self.store(), self.providers());
        let found = store::connection::by_id(store, &claimed.connection).await?;
        let person = store::user::by_id(store, &claimed.user).await?;
        let fits = |connection: &Connection| {
            // Where it was got and nowhere else, as long as it is wanted.
            is_asked(connection) && providers.asked(connection) == claimed.client
        };
        let (Some((org, connection)), Some(person)) = (found.filter(|(_, c)| fits(c)), person) else {
            let mut tx = store.begin().await?;
            upstream_token::forget(&mut tx, claimed).await?;
            return tx.commit_housekeeping().await;
        };
        if !connection.spec.enabled || providers.enter(store, &connection).is_err() {
            return Ok(());
        }
        let mut trace = Trace::new();
        let about = (person.user.subject.as_str(), claimed.token.as_str());
        let asked = providers.refresh(store, &connection, about, &mut trace).await;
        let answered = match asked {
            Ok(next) => Ok(Answered::Vouches(next)),
            Err(NoTokens::Refused(error)) if error == "invalid_grant" => Ok(Answered::Withdrew(error)),
            Err(none) => Err(Fault::from(none)),
        };
        providers
            .leave(store, (&org, &connection), &answered, &trace)
            .await;
        let outcome = match &answered {
            Ok(Answered::Vouches(_)) => "vouches",
            Ok(Answered::Withdrew(_)) => "withdrew",
            Err(fault) => fault.reason(),
        };
        metrics::counter!("chatelaine_provider_questions_total", "outcome" => outcome).increment(1);
        match answered {
            Ok(Answered::Vouches(next)) => {
                let mut tx = store.begin().await?;
                upstream_token::renew(&mut tx, claimed, next.as_ref().map(|token| token.as_str())).await?;
                tx.commit_housekeeping().await
            }
            Ok(Answered::Withdrew(error)) => {
                tracing::info!(user = %claimed.user, connection = %connection.id, error, "a provider does not vouch for somebody any more");
                withdraw(store, claimed, &connection).await
            }
            Err(fault) => {
                tracing::warn!(user = %claimed.user, connection = %connection.id, %fault, "a provider could not be asked about somebody");
                Ok(())
            }
        }
    }
}

async fn withdraw(store: &Store, claimed: &Claimed, connection: &Connection) -> store::Result<()> {
    let mut tx = store.begin().await?;
    match upstream_token::withdraw(&mut tx, claimed, connection).await? {
        Some(event) => tx.commit(event).await.map(drop),
        None => tx.commit_housekeeping().await,
    }
}

/// Sends somebody to their provider who is known in this browser and whose provider's word is too old: without a
/// question to them, if the provider knows them. `None` where nobody is, or where that was tried already.
pub(crate) async fn unseen(visit: &Visit, place: &Place, asked: &Asked) -> Result<Option<Response>, Failure> {
    let store = visit.store();
    let wanted = match asked.renew.as_deref() {
        Some("1") => true,
        Some(_) => false,
        // Their session is there and does not count: a limit was lowered, or the word withdrawn.
        None => visit.signed_in().await?.is_none(),
    };
    let known = if wanted {
        session::whose(&visit.session, store).await?
    } else {
        None
    };
    let Some(known) = known.filter(|known| known.person.org == place.org.id && !known.person.user.disabled)
    else {
        return Ok(None);
    };
    let user = &known.person.user;
    let connection = store::connection::get(store, &known.person.org, &user.connection).await?;
    let signs_in = match &place.account {
        Some(view) => view
            .connections
            .iter()
            .any(|c| c.id == connection.id && c.signs_in),
        None => connection.account.is_none(),
    };
    if connection.spec.kind != ConnectionKind::Oidc || !connection.spec.enabled || !signs_in {
        return Ok(None);
    }
    let hint = store::upstream_session::id_token(store, &known.session).await?;
    let hint = hint.filter(|hint| hint.len() <= MOST_HINT);
    let purpose = Purpose::Renew(user.id.clone());
    let to = (&connection.id, place.account_id());
    upstream::send(visit, to, asked.return_to(), (purpose, hint))
        .await
        .map(Some)
}

/// Whether an error code says no more than that the provider has to ask the person something (OpenID Connect Core 1.0,
/// section 3.1.2.6).
pub(crate) fn must_be_seen(error: &str) -> bool {
    matches!(
        error,
        "login_required" | "interaction_required" | "account_selection_required" | "consent_required"
    )
}

/// The sign-in page for somebody whom the provider has to ask.
pub(crate) fn seen(account: Option<&str>, return_to: Option<&str>) -> String {
    let pairs = [
        ("account", account),
        ("return_to", return_to),
        ("renew", Some("0")),
    ];
    with_query("/login", &pairs)
}

/// Whether a provider's answer is about this person.
pub(crate) fn is_about(user: &User, identity: &Identity) -> bool {
    user.connection == identity.connection
        && user.issuer == identity.issuer
        && user.subject == identity.subject
}
