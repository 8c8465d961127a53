//! Sign-in through an upstream provider: out with a fresh attempt, back with an answer to it.
//!
//! ```text
//! GET /login/oidc/{connection} ── attempt in the browser's session ──> provider
//!                                                                         │
//! GET /login/callback <── code, state ────────────────────────────────────┘
//!        │ state not in this browser's session, used or older than 10 minutes: 403
//!        │ the attempt is taken out and saved before the provider is asked anything
//!        ▼
//! identity ── domain rule, disabled? ──> session under a new cookie ──> return_to
//! ```

use crate::login::{Asked, account, home};
use crate::oidc::{Answer, Attempt, Fault};
use crate::page::{Failure, redirect};
use crate::return_to::safe;
use crate::{Visit, audit, claims, session};
use axum::extract::{Path, Query};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::user::{Identity, Person};
use wire::{AccountId, AuditEvent, Connection, ConnectionId, ConnectionKind, OrgId, SessionId, Timestamp};

/// The key of [`Pending`] attempts in a session.
const ATTEMPTS: &str = "attempts";
/// How long somebody may take at the provider, in seconds.
const ATTEMPT_LIFE: i64 = 600;
/// Attempts of one browser at once: tabs.
const MOST_ATTEMPTS: usize = 8;

/// An attempt, as the session remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    /// SHA-256 of the state.
    state: String,
    nonce: String,
    verifier: String,
    connection: ConnectionId,
    account: Option<AccountId>,
    return_to: Option<String>,
    at: Timestamp,
}

/// The connection, if it may sign somebody in there now.
async fn usable(
    visit: &Visit,
    id: &ConnectionId,
    to: Option<&AccountId>,
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
    let usable = signs_in && connection.spec.enabled && connection.spec.kind == ConnectionKind::Oidc;
    usable.then_some((org, connection)).ok_or(Failure::NotFound)
}

async fn pending(visit: &Visit) -> Result<Vec<Pending>, Failure> {
    match visit.session.get::<Vec<Pending>>(ATTEMPTS).await {
        Ok(attempts) => {
            let oldest = visit.store().clock().now().plus_seconds(-ATTEMPT_LIFE);
            let mut attempts = attempts.unwrap_or_default();
            attempts.retain(|attempt| attempt.at > oldest);
            Ok(attempts)
        }
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
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
    let (org, connection) = usable(&visit, &id, to.as_ref()).await?;
    let attempt = Attempt::fresh()?;
    let url = visit
        .broker
        .providers()
        .authorization_url(visit.store(), &connection, &attempt)
        .await;
    let url = match url {
        Ok(url) => url,
        Err(fault) => return Err(failed(&visit, (&org, &connection, to.as_ref()), fault).await),
    };
    let mut attempts = pending(&visit).await?;
    let excess = (attempts.len() + 1).saturating_sub(MOST_ATTEMPTS);
    attempts.drain(..excess);
    attempts.push(Pending {
        state: store::sha256(&attempt.state),
        nonce: attempt.nonce,
        verifier: attempt.verifier,
        connection: id,
        account: to,
        return_to: asked.return_to().map(ToOwned::to_owned),
        at: visit.store().clock().now(),
    });
    if let Err(error) = visit.session.insert(ATTEMPTS, attempts).await {
        return Err(session::failure(visit.store(), error).await.into());
    }
    Ok(redirect(&url))
}

/// What a provider may send back.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /login/callback`.
pub(crate) async fn callback(visit: Visit, Query(sent): Query<Sent>) -> Result<Response, Failure> {
    let attempt = take(&visit, sent.state.as_deref().unwrap_or_default()).await?;
    let Some(attempt) = attempt else {
        return Err(foreign(&visit).await);
    };
    let (org, connection) = usable(&visit, &attempt.connection, attempt.account.as_ref()).await?;
    let at = (&org, &connection, attempt.account.as_ref());
    let code = match (&sent.error, &sent.code) {
        (None, Some(code)) => code,
        (error, _) => return Err(turned_away(&visit, at, error.as_deref()).await),
    };
    let answer = Answer {
        code,
        iss: sent.iss.as_deref(),
        nonce: &attempt.nonce,
        verifier: &attempt.verifier,
    };
    let identity = visit
        .broker
        .providers()
        .identify(visit.store(), &connection, answer)
        .await;
    let identity = match identity {
        Ok(identity) => identity,
        Err(fault) => return Err(failed(&visit, at, fault).await),
    };
    if let Some(reason) = claims::domain_refusal(&connection.spec.allowed_domains, &identity) {
        refuse(&visit, at, reason).await;
        let text = "Your sign-in worked, but only people with a confirmed e-mail address of certain domains \
                    are let in here. Ask your administrator.";
        return Err(Failure::told(StatusCode::FORBIDDEN, "Not for this address", text));
    }
    let (id, person) = admit(&visit, at, identity).await?;
    session::begin(&visit.session, visit.store(), (id, &person), &visit.request).await?;
    // Checked when it was remembered; checked again, because it comes from storage.
    match attempt.return_to.as_deref().and_then(safe) {
        Some(path) => Ok(redirect(path)),
        None => Ok(redirect(home(&visit, &person.user.id).await?)),
    }
}

/// Takes the attempt of a state out of the browser's session, for good.
async fn take(visit: &Visit, state: &str) -> Result<Option<Pending>, Failure> {
    let mut attempts = pending(visit).await?;
    let hash = store::sha256(state);
    let Some(at) = attempts.iter().position(|attempt| attempt.state == hash) else {
        return Ok(None);
    };
    let attempt = attempts.remove(at);
    let saved = async {
        visit.session.insert(ATTEMPTS, attempts).await?;
        visit.session.save().await
    };
    match saved.await {
        Ok(()) => Ok(Some(attempt)),
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

type At<'a> = (&'a OrgId, &'a Connection, Option<&'a AccountId>);

/// An answer to a question that this browser never asked: too old, used, or somebody else's.
async fn foreign(visit: &Visit) -> Failure {
    if !visit.broker.is_flooding(&visit.request)
        && let Ok(all) = store::org::all(visit.store()).await
        && let [only] = all.as_slice()
    {
        let failed = audit::Failed {
            org: &only.id,
            account: None,
            target: None,
            reason: "state_unknown",
        };
        audit::record_refusal(visit, failed.event(visit)).await;
    }
    let text = "It was begun in another browser, has been used already, or took longer than ten minutes. \
                If you followed a link that somebody sent you, do not sign in with it. Otherwise go back to \
                where you wanted to go and sign in again.";
    Failure::told(StatusCode::FORBIDDEN, "This sign-in did not start here", text)
}

async fn refuse(visit: &Visit, (org, connection, account): At<'_>, reason: &'static str) {
    let failed = audit::Failed {
        org,
        account,
        target: Some(audit::connection(connection)),
        reason,
    };
    audit::record_refusal(visit, failed.event(visit)).await;
}

/// The provider sent the browser back without a code.
async fn turned_away(visit: &Visit, at: At<'_>, error: Option<&str>) -> Failure {
    let name = &at.1.spec.name;
    match error {
        Some("access_denied") => {
            refuse(visit, at, "provider_denied").await;
            let text = format!(
                "{name} did not let you in, or you cancelled. Try again, or ask your administrator whether you \
                 may use this."
            );
            Failure::told(StatusCode::FORBIDDEN, "Sign-in was refused", text)
        }
        error => {
            // Text of strangers: only what an error code may consist of (RFC 6749, section 4.1.2.1).
            let code: String = error.unwrap_or("nothing").chars().take(60).collect();
            let code = code.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "?");
            failed(
                visit,
                at,
                Fault::Answer(format!("it sent the browser back with {code}")),
            )
            .await
        }
    }
}

/// The provider, or what we know of it, is at fault.
async fn failed(visit: &Visit, (org, connection, account): At<'_>, fault: Fault) -> Failure {
    if let Fault::Store(error) = fault {
        return error.into();
    }
    tracing::warn!(request = %visit.request.id, connection = %connection.id, %fault, "a sign-in failed");
    let failed = audit::Failed {
        org,
        account,
        target: Some(audit::connection(connection)),
        reason: fault.reason(),
    };
    let event = failed.event(visit);
    let noted = async {
        let mut tx = visit.store().begin().await?;
        store::connection::note_health(&mut tx, &connection.id, Some(&fault.to_string())).await?;
        tx.commit(event).await
    };
    if let Err(error) = noted.await {
        return error.into();
    }
    let name = &connection.spec.name;
    match fault {
        Fault::Unreachable(_) => Failure::told(
            StatusCode::SERVICE_UNAVAILABLE,
            "Your sign-in service does not answer",
            format!("{name} cannot be reached at the moment. Try again in a few minutes."),
        ),
        Fault::Issuer => Failure::told(
            StatusCode::FORBIDDEN,
            "This sign-in cannot be trusted",
            format!(
                "The answer does not come from {name}. Go back to where you wanted to go and start again."
            ),
        ),
        _ => Failure::told(
            StatusCode::BAD_GATEWAY,
            "Your sign-in service gave no usable answer",
            format!(
                "Signing in with {name} did not work. Try again; if it keeps failing, tell your administrator."
            ),
        ),
    }
}

/// Remembers who it is, unless they are disabled.
async fn admit(
    visit: &Visit,
    (org, connection, account): At<'_>,
    identity: Identity,
) -> Result<(SessionId, Person), Failure> {
    let id = SessionId::fresh();
    let attempt = || async {
        let mut tx = visit.store().begin().await?;
        let person = store::user::sign_in(&mut tx, org, identity.clone()).await?;
        if person.user.disabled {
            return Ok(None);
        }
        store::connection::note_health(&mut tx, &connection.id, None).await?;
        let event = AuditEvent {
            account: account.cloned(),
            target: Some(audit::connection(connection)),
            ..audit::event(visit, org, "login.success", audit::person(&person.user, &id))
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
    Ok((id, person))
}
