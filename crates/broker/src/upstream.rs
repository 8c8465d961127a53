//! Sign-in through an upstream provider: out with a fresh attempt, back with an answer to it.
//!
//! ```text
//! GET /login/oidc/{connection} ── attempt with a cookie of its own ───> provider
//!                                                                         │
//! GET /login/callback/{connection} <── code, state ───────────────────────┘
//!        │ state of no attempt of this browser, used or older than 10 minutes: 403
//!        │ the attempt is taken out and saved before the provider is asked anything
//!        │ another connection's attempt, or the connection leads elsewhere by now: refused, and nobody is asked
//!        ▼
//! identity ── connection's rules, disabled? ──> session under a new cookie ──> return_to
//! ```
//!
//! A trial of a connection goes the same way, but for the last step.
//!
//! An answer belongs to the attempt that asked for it (RFC 9700, section 4.4): the attempt remembers the connection, and
//! what for; the browser is the one that holds its cookie; and the redirect URI says whom the answer was meant for. A
//! provider that hands our question on to another one cannot get that one's code, because it would come to the
//! other one's redirect URI with an attempt that is not its own. `GET /login/callback` is for connections that are older than
//! that, and takes only answers that name their issuer.

use crate::login::{Asked, account, home};
use crate::page::{Failure, redirect};
use crate::pending::{Pending, Purpose};
use crate::provider::{Answer, Attempt, Fault, Identified, Prompt, Providers};
use crate::refused::{At, failed, refuse, turned_away};
use crate::return_to::safe;
use crate::session::{self, Proven};
use crate::trace::Trace;
use crate::{Visit, audit, confirm, github, recorder, trial, vouch};
use axum::extract::{Path, Query};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::upstream_session::Upstream;
use store::user::{Identity, Person};
use wire::{
    AccountId, AuditEvent, Authentication, Callback, Connection, ConnectionId, ConnectionKind, OrgId,
    SessionId,
};
use zeroize::Zeroizing;

/// Longest id token that is kept as a hint for signing out.
const MOST_ID_TOKEN: usize = 16 * 1024;
/// Longest name of a provider's session that is kept. Nothing bounds it; some are sealed texts of several hundred bytes.
pub(crate) const MOST_SID: usize = 1024;

/// What came back for an attempt, and to whose redirect URI: none for the shared one.
pub(crate) struct Returned {
    pub(crate) attempt: Pending,
    to: Option<ConnectionId>,
    sent: Sent,
}

impl Returned {
    /// Whether it is the answer to what was asked: it came to where that connection's answers come, and the connection
    /// is as it was.
    pub(crate) fn belongs(&self, providers: &Providers, connection: &Connection) -> Result<(), Fault> {
        let right = match (connection.spec.callback, &self.to) {
            (Callback::Own, Some(to)) => *to == self.attempt.connection,
            (Callback::Shared, None) => true,
            (Callback::Own, None) | (Callback::Shared, Some(_)) => false,
        };
        if !right || connection.id != self.attempt.connection {
            return Err(Fault::Elsewhere);
        }
        if providers.asked(connection) != self.attempt.asked {
            return Err(Fault::Changed);
        }
        Ok(())
    }

    /// The answer; or the error code in its place, as far as it is one (RFC 6749, section 4.1.2.1).
    pub(crate) fn answer(&self) -> Result<Answer<'_>, String> {
        let attempt = &self.attempt;
        Ok(Answer {
            code: self.sent.code()?,
            iss: self.sent.iss.as_deref(),
            nonce: &attempt.nonce,
            verifier: &attempt.verifier,
            shared: self.to.is_none(),
            asked_since: matches!(attempt.purpose, Purpose::Confirm(_)).then_some(attempt.at),
        })
    }
}

/// The connection, if it is of this kind and may sign somebody in there now.
pub(crate) async fn usable(
    visit: &Visit,
    id: &ConnectionId,
    to: Option<&AccountId>,
    kind: ConnectionKind,
) -> Result<(OrgId, Connection), Failure> {
    usable_of(visit, id, to, |found| found == kind).await
}

/// As [`usable`], for several kinds.
async fn usable_of(
    visit: &Visit,
    id: &ConnectionId,
    to: Option<&AccountId>,
    fits: impl Fn(ConnectionKind) -> bool,
) -> Result<(OrgId, Connection), Failure> {
    let found = store::connection::by_id(visit.store(), id).await?;
    let (org, connection) = found.ok_or(Failure::NotFound)?;
    let signs_in = match to {
        Some(to) => {
            let view = account(visit, to.as_ref())?;
            view.org == org && view.connections.iter().any(|c| c.id == *id && c.signs_in)
        }
        None => connection.account.is_none(),
    };
    let usable = signs_in && connection.spec.enabled && fits(connection.spec.kind);
    usable.then_some((org, connection)).ok_or(Failure::NotFound)
}

/// `GET /login/oidc/{connection}`.
pub(crate) async fn start(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let id = id.parse::<ConnectionId>().map_err(|_| Failure::NotFound)?;
    let to = asked.account.as_deref().map(str::parse::<AccountId>).transpose();
    let to = to.map_err(|_| Failure::NotFound)?;
    let purpose = (Purpose::SignIn, None);
    send(&visit, (&id, to.as_ref()), asked.return_to(), purpose).await
}

/// Sends the browser to the provider, with the id token of the person who is meant where there is one.
pub(crate) async fn send(
    visit: &Visit,
    (id, to): (&ConnectionId, Option<&AccountId>),
    return_to: Option<&str>,
    (purpose, hint): (Purpose, Option<Zeroizing<String>>),
) -> Result<Response, Failure> {
    let (org, connection) = usable_of(visit, id, to, Providers::redirects).await?;
    let at = (&org, &connection, to);
    let prompt = match purpose {
        Purpose::Confirm(_) if connection.spec.kind == ConnectionKind::Github => {
            return Err(failed(visit, at, Fault::Unproven(github::NEVER_ASKS)).await);
        }
        Purpose::Confirm(_) => Prompt::Login,
        Purpose::Renew(_) => Prompt::None(hint),
        Purpose::SignIn | Purpose::Trial(_) => Prompt::AsNeeded,
    };
    let attempt = Attempt::fresh(prompt)?;
    let (providers, store) = (visit.broker.providers(), visit.store());
    let afresh = match providers.enter(store, &connection) {
        Ok(afresh) => afresh,
        Err(fault) => return Err(failed(visit, at, fault).await),
    };
    let mut trace = Trace::new();
    let url = providers
        .begin(store, &connection, (&attempt, afresh), &mut trace)
        .await;
    providers.leave(store, (&org, &connection), &url, &trace).await;
    let url = match url {
        Ok(url) => url,
        Err(fault) => return Err(failed(visit, at, fault).await),
    };
    let pending = Pending {
        return_to: return_to.map(ToOwned::to_owned),
        account: to.cloned(),
        ..Pending::new(visit, attempt, &connection, purpose)
    };
    pending.send(visit, &url).await
}

/// What a provider may send back.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl Sent {
    fn code(&self) -> Result<&str, String> {
        match (&self.error, &self.code) {
            (None, Some(code)) => Ok(code),
            (error, _) => {
                let error: String = error.as_deref().unwrap_or("nothing").chars().take(60).collect();
                Err(error.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "?"))
            }
        }
    }
}

/// `GET /login/callback/{connection}`.
pub(crate) async fn callback(
    visit: Visit,
    Path(id): Path<String>,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let id = id.parse::<ConnectionId>().map_err(|_| Failure::NotFound)?;
    come_back(visit, Some(id), sent).await
}

/// `GET /login/callback`, for connections without a redirect URI of their own.
pub(crate) async fn shared_callback(visit: Visit, Query(sent): Query<Sent>) -> Result<Response, Failure> {
    come_back(visit, None, sent).await
}

async fn come_back(visit: Visit, came_to: Option<ConnectionId>, sent: Sent) -> Result<Response, Failure> {
    let attempt = Pending::take(&visit, sent.state.as_deref().unwrap_or_default()).await?;
    let Some(attempt) = attempt else {
        return foreign(&visit, came_to.as_ref()).await;
    };
    let answered = answered(&visit, attempt.clone(), (came_to, sent)).await;
    if let Err(failure) = &answered {
        recorder::not_signed_in(&visit, attempt.return_to.as_deref(), failure);
    }
    let mut response = answered?;
    attempt.forget(&visit, &mut response);
    Ok(response)
}

/// The answer to an attempt of this browser.
async fn answered(
    visit: &Visit,
    attempt: Pending,
    (came_to, sent): (Option<ConnectionId>, Sent),
) -> Result<Response, Failure> {
    let returned = Returned {
        attempt,
        to: came_to,
        sent,
    };
    let attempt = &returned.attempt;
    if let Purpose::Trial(id) = &attempt.purpose {
        return trial::finish(visit, id, &returned).await;
    }
    let to = attempt.account.as_ref();
    let (org, connection) = usable_of(visit, &attempt.connection, to, Providers::redirects).await?;
    let at = (&org, &connection, to);
    let (providers, store) = (visit.broker.providers(), visit.store());
    if let Err(fault) = returned.belongs(providers, &connection) {
        return Err(failed(visit, at, fault).await);
    }
    let answer = match returned.answer() {
        Ok(answer) => answer,
        Err(error) if matches!(attempt.purpose, Purpose::Renew(_)) && vouch::must_be_seen(&error) => {
            return Ok(redirect(&seen(attempt)));
        }
        Err(error) => return Err(turned_away(visit, at, &error).await),
    };
    if answer.shared {
        tracing::warn!(connection = %connection.id, "somebody came back to the redirect URI that connections share");
    }
    if let Err(fault) = providers.enter(store, &connection) {
        return Err(failed(visit, at, fault).await);
    }
    let mut trace = Trace::new();
    let identified = providers.identify(store, &connection, answer, &mut trace).await;
    providers
        .leave(store, (&org, &connection), &identified, &trace)
        .await;
    let Identified {
        identity,
        authentication,
        sid,
        id_token,
        refresh_token,
    } = match identified {
        Ok(identified) => identified,
        Err(fault) => return Err(failed(visit, at, fault).await),
    };
    match &attempt.purpose {
        Purpose::Confirm(session) => {
            let return_to = attempt.return_to.as_deref();
            let proof = (identity, authentication);
            return confirm::by_provider(visit, session, proof, refresh_token, return_to).await;
        }
        Purpose::Renew(user) => {
            // Somebody else is signed in at the provider by now: that is for people to choose.
            let user = store::user::by_id(store, user).await?;
            if user.is_none_or(|person| !vouch::is_about(&person.user, &identity)) {
                return Ok(redirect(&seen(attempt)));
            }
        }
        Purpose::SignIn | Purpose::Trial(_) => {}
    }
    let keeps = |token: &&str| connection.spec.logout.rp_initiated && token.len() <= MOST_ID_TOKEN;
    let upstream = Upstream {
        sid: sid.as_deref().filter(|sid| sid.len() <= MOST_SID),
        id_token: id_token.as_deref().filter(keeps),
    };
    let proof = (identity, authentication);
    let behind = Behind {
        session: Some(upstream),
        refresh_token,
        millis: trace.millis(),
    };
    let person = admit(visit, at, proof, behind).await?;
    // Checked when it was remembered; checked again, because it comes from storage.
    match attempt.return_to.as_deref().and_then(safe) {
        Some(path) => Ok(redirect(path)),
        None => Ok(redirect(home(visit, &person.user.id).await?)),
    }
}

/// The sign-in page, for somebody who was not to be asked and has to be.
fn seen(attempt: &Pending) -> String {
    let account = attempt.account.as_ref().map(AsRef::as_ref);
    vouch::seen(account, attempt.return_to.as_deref().and_then(safe))
}

/// An answer to a question that this browser never asked: too old, used, or somebody else's. Whoever is signed in
/// goes to their page.
async fn foreign(visit: &Visit, came_to: Option<&ConnectionId>) -> Result<Response, Failure> {
    if let Ok(Some((org, connection))) = whose(visit, came_to).await {
        let failed = audit::Failed {
            org: &org,
            account: None,
            target: connection.as_ref().map(audit::connection),
            reason: "state_unknown",
        };
        audit::record_refusal(visit, failed.event(visit)).await;
    }
    if let Some(who) = visit.signed_in().await? {
        return Ok(redirect(home(visit, &who.person.user.id).await?));
    }
    let text = "It was begun in another browser, has been used already, or took longer than ten minutes. \
                If you followed a link that somebody sent you, do not sign in with it. Otherwise go back to \
                where you wanted to go and sign in again.";
    Err(Failure::told(
        StatusCode::FORBIDDEN,
        "This sign-in did not start here",
        text,
    ))
}

/// In whose log an answer belongs that nobody asked for: of the connection to which it came, or of the only
/// organisation that there is.
async fn whose(
    visit: &Visit,
    came_to: Option<&ConnectionId>,
) -> store::Result<Option<(OrgId, Option<Connection>)>> {
    if let Some(id) = came_to
        && let Some((org, connection)) = store::connection::by_id(visit.store(), id).await?
    {
        return Ok(Some((org, Some(connection))));
    }
    let only = store::org::only(visit.store()).await?;
    Ok(only.map(|only| (only, None)))
}

/// What is behind a sign-in.
#[derive(Default)]
pub(crate) struct Behind<'a> {
    /// The provider's session.
    pub(crate) session: Option<Upstream<'a>>,
    /// With which the provider is asked later whether it still vouches for them.
    pub(crate) refresh_token: Option<Zeroizing<String>>,
    /// How long the provider took.
    pub(crate) millis: u64,
}

/// Remembers who it is and begins their session, unless they are disabled.
pub(crate) async fn admit(
    visit: &Visit,
    (org, connection, account): At<'_>,
    (identity, authentication): (Identity, Authentication),
    behind: Behind<'_>,
) -> Result<Person, Failure> {
    let id = SessionId::fresh();
    let attempt = || async {
        let mut tx = visit.store().begin().await?;
        let person = store::user::sign_in(&mut tx, org, identity.clone()).await?;
        if person.user.disabled {
            return Ok(None);
        }
        store::connection::note_health(&mut tx, &connection.id, None).await?;
        store::health::count(&mut tx, &connection.id, None, behind.millis).await?;
        let who = (&person.user.id, connection);
        vouch::keep(&mut tx, &visit.broker, who, behind.refresh_token.as_ref()).await?;
        if let Some(upstream) = behind.session {
            store::upstream_session::begin(&mut tx, &id, &connection.id, upstream).await?;
        }
        let event = AuditEvent {
            account: account.cloned(),
            target: Some(audit::connection(connection)),
            ..audit::event(
                visit,
                org,
                "login.success",
                audit::proven(&person.user, &id, &authentication),
            )
        };
        tx.commit(event).await?;
        Ok::<_, store::Error>(Some(person))
    };
    let admitted = match attempt().await {
        // Two first sign-ins of one person at the same moment: the other one made the row.
        Err(store::Error::Conflict(_)) => attempt().await?,
        other => other?,
    };
    let Some(person) = admitted else {
        refuse(visit, (org, connection, account), "user_disabled").await;
        let text = "Your sign-in worked, but an administrator has switched your access off. Ask them to let you \
                    in again.";
        return Err(Failure::told(
            StatusCode::FORBIDDEN,
            "Your access is switched off",
            text,
        ));
    };
    metrics::counter!("chatelaine_sign_ins_total", "outcome" => "success").increment(1);
    let proven = Proven {
        session: id,
        person: &person,
        authentication,
    };
    session::begin(&visit.session, visit.store(), proven, &visit.request).await?;
    Ok(person)
}
