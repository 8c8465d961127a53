//! Providers, whatever they speak: out with an attempt, back with an answer, in between the circuit breaker.

use crate::health::{Breakers, Entry, Outcome, Transition};
use crate::trace::Trace;
use crate::{claims, discovery::Known, github};
use outbound::{Allowed, Outbound};
use std::{sync::Arc, time::Duration};
use store::{Store, user::Identity};
use wire::{
    ActorKind, AuditActor, AuditEvent, Authentication, Breaker, Callback, Connection, ConnectionId,
    ConnectionKind, OrgId, Timestamp,
};
use zeroize::Zeroizing;

/// How long discovery document and keys of a provider are kept.
const KEEP: Duration = Duration::from_secs(600);
/// How often, at most, an unknown key makes us fetch them before their time.
const REFETCH_EVERY: Duration = Duration::from_secs(60);

/// Why a sign-in through a provider failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection is not set up completely.
    #[error("the connection is not complete: {0}")]
    Setup(String),
    /// The provider cannot be reached, or has a fault of its own (5xx).
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer several times of late, so that it was not asked.
    #[error("the provider did not answer several times and is left alone for half a minute")]
    Resting,
    /// The provider answered something that makes no sense, or refused our request.
    #[error("the provider's answer cannot be used: {0}")]
    Answer(String),
    /// The id token is not valid.
    #[error("the id token was refused: {0}")]
    Token(String),
    /// They are who they were, but it was not shown that the provider asked them just now.
    #[error("the provider did not prove that it asked the person again: {0}")]
    Unproven(&'static str),
    /// The answer does not come from the provider that was asked.
    #[error("the answer names another issuer")]
    Issuer,
    /// The answer does not say who gives it, at the redirect URI that several connections share.
    #[error(
        "the answer does not name its issuer (iss), which the shared redirect URI asks for: give the connection \
             its own"
    )]
    Nameless,
    /// The answer came to the redirect URI of another connection than the one that was asked.
    #[error("the answer came to the redirect URI of another connection")]
    Elsewhere,
    /// The connection leads elsewhere now than when the browser was sent away.
    #[error("the connection was changed while the person was at the provider")]
    Changed,
    /// The person is who they are, but not one whom the connection lets in; first the stable reason.
    #[error("{1}")]
    Refused(&'static str, String),
    /// A fault of ours.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Fault {
    /// Stable text for the audit log.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Setup(_) => "connection_incomplete",
            Self::Unreachable(_) => "provider_unreachable",
            Self::Resting => "breaker_open",
            Self::Answer(_) => "provider_answer_invalid",
            Self::Token(_) => "id_token_invalid",
            Self::Unproven(_) => "confirmation_unproven",
            Self::Issuer => "issuer_mismatch",
            Self::Nameless => "issuer_missing",
            Self::Elsewhere => "callback_mismatch",
            Self::Changed => "connection_changed",
            Self::Refused(reason, _) => reason,
            Self::Store(_) => "internal",
        }
    }

    /// A status that is no success.
    pub(crate) fn status(what: &str, status: http::StatusCode) -> Self {
        let text = format!("{what} came with status {}", status.as_u16());
        if status.is_server_error() {
            Self::Unreachable(text)
        } else {
            Self::Answer(text)
        }
    }

    /// The same again, for everybody who waited for one fetch.
    pub(crate) fn shared(&self) -> Self {
        match self {
            Self::Setup(text) => Self::Setup(text.clone()),
            Self::Answer(text) => Self::Answer(text.clone()),
            Self::Unreachable(text) => Self::Unreachable(text.clone()),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// The guarded client, with the internal targets that one connection may reach.
pub(crate) struct Http {
    pub(crate) outbound: Outbound,
    pub(crate) allow: Vec<Allowed>,
}

impl Http {
    pub(crate) fn new(outbound: &Outbound, allow_internal: &[String]) -> Result<Self, Fault> {
        let allow = allow_internal.iter().map(|origin| Allowed::parse(origin));
        let allow = allow.collect::<Result<_, _>>();
        Ok(Self {
            outbound: outbound.clone(),
            allow: allow.map_err(|e| Fault::Setup(e.to_string()))?,
        })
    }

    /// A JSON document, whatever its status.
    pub(crate) async fn get(&self, url: &str, bearer: Option<&str>) -> Result<outbound::Response, Fault> {
        let fetch = self
            .outbound
            .get(url)
            .allow(&self.allow)
            .accept("application/json");
        let fetch = match bearer {
            Some(token) => fetch.header(http::header::AUTHORIZATION, format!("Bearer {token}")),
            None => fetch,
        };
        fetch.send().await.map_err(|e| Fault::Unreachable(e.to_string()))
    }
}

/// One attempt of a browser to sign in, as its session remembers it.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Sent to the provider and back.
    pub(crate) state: String,
    /// Comes back inside the id token.
    pub(crate) nonce: String,
    /// PKCE (RFC 7636).
    pub(crate) verifier: String,
    pub(crate) prompt: Prompt,
}

/// Whether the provider asks the person who they are (OpenID Connect Core 1.0, section 3.1.2.1).
#[derive(Debug, Clone)]
pub(crate) enum Prompt {
    /// As it likes.
    AsNeeded,
    /// Even if it knows.
    Login,
    /// On no account; with the id token of the person who is meant, where there is one.
    None(Option<Zeroizing<String>>),
}

impl Attempt {
    pub(crate) fn fresh(prompt: Prompt) -> store::Result<Self> {
        Ok(Self {
            state: store::random_secret("")?,
            nonce: store::random_secret("")?,
            verifier: store::random_secret("")?,
            prompt,
        })
    }
}

/// The parameters with which a provider sends a browser back.
pub(crate) struct Answer<'a> {
    pub(crate) code: &'a str,
    pub(crate) iss: Option<&'a str>,
    pub(crate) nonce: &'a str,
    pub(crate) verifier: &'a str,
    /// Whether it came to the redirect URI that several connections share, where it must say whose it is.
    pub(crate) shared: bool,
    /// The moment since which the provider must have asked the person, if that matters.
    pub(crate) asked_since: Option<Timestamp>,
}

/// Who somebody is, and the provider's session behind it.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) identity: Identity,
    /// How they signed in there.
    pub(crate) authentication: Authentication,
    /// The provider's own name for its session.
    pub(crate) sid: Option<String>,
    /// The id token, where there are any.
    pub(crate) id_token: Option<String>,
    /// With which it is asked later whether it still vouches for them.
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

/// Speaks to providers; keeps what they publish for a while.
pub(crate) struct Providers {
    pub(crate) outbound: Outbound,
    control_url: String,
    /// By connection and version, so that a changed connection is discovered anew.
    pub(crate) known: moka::future::Cache<(ConnectionId, i64), Arc<Known>>,
    pub(crate) refetched: moka::sync::Cache<ConnectionId, ()>,
    breakers: Breakers,
}

impl Providers {
    pub(crate) fn new(outbound: Outbound, control_url: &str) -> Self {
        Self {
            outbound,
            control_url: control_url.to_owned(),
            known: moka::future::Cache::builder()
                .max_capacity(1000)
                .time_to_live(KEEP)
                .build(),
            refetched: moka::sync::Cache::builder()
                .max_capacity(1000)
                .time_to_live(REFETCH_EVERY)
                .build(),
            breakers: Breakers::default(),
        }
    }

    /// Whether people are sent to a provider through a connection of this kind.
    pub(crate) const fn redirects(kind: ConnectionKind) -> bool {
        matches!(kind, ConnectionKind::Oidc | ConnectionKind::Github)
    }

    /// Where a connection's provider sends people back to now. The same is said at the token endpoint, so that a
    /// code which was meant for another connection is worth nothing there (RFC 6749, section 4.1.3).
    pub(crate) fn redirect_uri(&self, connection: &Connection) -> String {
        match connection.spec.callback {
            Callback::Own => store::connection::redirect_uri(&self.control_url, &connection.id),
            Callback::Shared => store::connection::shared_redirect_uri(&self.control_url),
        }
    }

    /// What of a connection an attempt relies on: whoever answers must be who was asked, as whom we asked, and
    /// where we asked it to.
    pub(crate) fn asked(&self, connection: &Connection) -> String {
        let spec = &connection.spec;
        let parts = [
            spec.issuer.as_deref().unwrap_or_default(),
            spec.client_id.as_deref().unwrap_or_default(),
            &self.redirect_uri(connection),
        ];
        store::sha256(parts.join("\n"))
    }

    /// The guarded client of a connection.
    pub(crate) fn http(&self, connection: &Connection) -> Result<Http, Fault> {
        Http::new(&self.outbound, &connection.spec.allow_internal)
    }

    /// Where to send the browser. `afresh` asks the provider even if it is known.
    pub(crate) async fn begin(
        &self,
        store: &Store,
        connection: &Connection,
        (attempt, afresh): (&Attempt, bool),
        trace: &mut Trace,
    ) -> Result<String, Fault> {
        match connection.spec.kind {
            ConnectionKind::Github => github::begin(self, store, connection, attempt, trace).await,
            _ => self.begin_oidc(store, connection, (attempt, afresh), trace).await,
        }
    }

    /// Redeems the code, checks everything, and says who it is; refuses whom the connection does not let in.
    pub(crate) async fn identify(
        &self,
        store: &Store,
        connection: &Connection,
        answer: Answer<'_>,
        trace: &mut Trace,
    ) -> Result<Identified, Fault> {
        let identified = match connection.spec.kind {
            ConnectionKind::Github => github::identify(self, store, connection, answer, trace).await,
            _ => self.identify_oidc(store, connection, answer, trace).await,
        }?;
        let identity = &identified.identity;
        let listed = |what: &str, there: bool| {
            if there {
                String::new()
            } else {
                format!(", no {what}")
            }
        };
        let malformed = claims::malformed(&connection.spec, &identity.claims);
        let text = format!(
            "{} groups{}{}{}{}",
            identity.groups.len(),
            listed("e-mail address", identity.email.is_some()),
            listed("verified e-mail address", identity.email_verified),
            listed("name", identity.name.is_some()),
            malformed.map_or_else(String::new, |why| format!("; {why}")),
        );
        trace.ok("mapping", text);
        match claims::refusal(&connection.spec, identity) {
            Some(refused) => Err(trace.failed("admission", refused)),
            None => {
                trace.ok("admission", "the connection lets them in");
                Ok(identified)
            }
        }
    }

    /// Goes on, unless the provider is to be left alone; says whether it is to be asked in any case.
    pub(crate) fn enter(&self, store: &Store, connection: &Connection) -> Result<bool, Fault> {
        match self.breakers.enter(&connection.id, store.clock().now()) {
            Entry::Go => Ok(false),
            Entry::Probe => Ok(true),
            Entry::Stop => Err(Fault::Resting),
        }
    }

    /// Notes how it went, and says so in the log when people are kept from the provider, or let there again.
    pub(crate) async fn leave<T>(
        &self,
        store: &Store,
        (org, connection): (&OrgId, &Connection),
        result: &Result<T, Fault>,
        trace: &Trace,
    ) {
        let outcome = match result {
            // Whoever waited for somebody else's fetch has nothing to add.
            _ if !trace.has_asked => Outcome::NotAsked,
            Err(Fault::Unreachable(_)) => Outcome::Failed,
            _ => Outcome::Answered,
        };
        let now = store.clock().now();
        let action = match self.breakers.leave(&connection.id, now, outcome) {
            Some(Transition::Opened) => "connection.breaker_open",
            Some(Transition::Closed) => "connection.breaker_close",
            None => return,
        };
        let actor = AuditActor::of(ActorKind::System);
        let event = AuditEvent {
            account: connection.account.clone(),
            target: Some(crate::audit::connection(connection)),
            reason: result.as_ref().err().map(|fault| fault.reason().to_owned()),
            ..store::audit::event(org, "broker", action, actor)
        };
        if let Err(error) = store.record(event).await {
            tracing::error!(connection = %connection.id, %error, "a circuit breaker's change could not be recorded");
        }
    }

    /// The circuit breaker of a connection.
    pub(crate) fn breaker(&self, store: &Store, id: &ConnectionId) -> Breaker {
        self.breakers.view(id, store.clock().now())
    }
}
