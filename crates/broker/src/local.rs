//! Sign-in with a local password, for break-glass owners. Whatever is wrong, the answer and its time are the
//! same; what it was stands in the audit log.

use crate::login::{Again, Asked, PURPOSE, Place, home, page, place};
use crate::page::{Failure, redirect};
use crate::{Visit, audit, password, session};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::user::{Identity, Password, Person};
use wire::{AuditEvent, AuditTarget, SessionId, Timestamp};

/// Failures in a row before attempts must wait.
const FREE_FAILURES: i64 = 5;
/// The longest wait, in minutes.
const LONGEST_WAIT: i64 = 15;

const WRONG: &str = "This e-mail address and password do not belong together, or there were too many \
                     attempts. Check both, and wait a few minutes before you try again.";

/// The form.
#[derive(Deserialize)]
pub(crate) struct Typed {
    csrf: Option<String>,
    username: Option<String>,
    password: Option<String>,
    return_to: Option<String>,
    account: Option<String>,
    org: Option<String>,
}

/// `POST /login/password`.
pub(crate) async fn sign_in(
    visit: Visit,
    form: Result<Form<Typed>, FormRejection>,
) -> Result<Response, Failure> {
    let Ok(Form(typed)) = form else {
        return Err(Failure::Csrf);
    };
    let csrf = typed.csrf.as_deref().unwrap_or_default();
    if !session::form_token_ok(&visit.session, visit.store(), PURPOSE, csrf).await? {
        return Err(Failure::Csrf);
    }
    let asked = Asked {
        return_to: typed.return_to.clone(),
        account: typed.account.clone(),
        org: typed.org.clone(),
        auto: None,
    };
    let place = place(&visit, &asked).await?.ok_or(Failure::NotFound)?;
    let username = typed.username.unwrap_or_default().trim().to_owned();
    let again = |status| Again {
        username: username.chars().take(254).collect(),
        error: WRONG,
        status,
    };
    if visit.broker.is_flooding(&visit.request) {
        // Not recorded: whoever floods must not fill the log. The metric counts it.
        metrics::counter!("chatelaine_sign_ins_total", "outcome" => "rate_limited").increment(1);
        return page(&visit, &place, &asked, Some(again(StatusCode::TOO_MANY_REQUESTS))).await;
    }
    match admit(&visit, &place, &username, typed.password.unwrap_or_default()).await? {
        Some((id, person)) => {
            session::begin(&visit.session, visit.store(), (id, &person), &visit.request).await?;
            match asked.return_to() {
                Some(path) => Ok(redirect(path)),
                None => Ok(redirect(home(&visit, &person.user.id).await?)),
            }
        }
        None => page(&visit, &place, &asked, Some(again(StatusCode::UNAUTHORIZED))).await,
    }
}

/// Checks the password and writes down how it went.
async fn admit(
    visit: &Visit,
    place: &Place,
    username: &str,
    typed: String,
) -> Result<Option<(SessionId, Person)>, Failure> {
    let store = visit.store();
    let known = store::user::password_by_email(store, &place.org.id, username).await?;
    let right = password::verify(known.as_ref().map(|known| known.phc.clone()), typed).await?;
    let now = store.clock().now();
    let Some(known) = known else {
        let event = failed(visit, place, None, "unknown_user");
        store.record(event).await?;
        return Ok(None);
    };
    let target = Some(store::audit::target("user", &known.user, Some(username)));
    if known.locked_until > now {
        store.record(failed(visit, place, target, "locked")).await?;
        return Ok(None);
    }
    if !right {
        let mut tx = store.begin().await?;
        store::user::note_attempt(&mut tx, &known.user, Some(locked_until(&known, now))).await?;
        tx.commit(failed(visit, place, target, "wrong_password")).await?;
        return Ok(None);
    }
    let person = store::user::get(store, &place.org.id, &known.user).await?;
    let id = &person.user.connection;
    let connection = store::connection::get(store, &place.org.id, id).await?;
    let accepted = place.account.as_ref().is_none_or(|view| {
        let mut signing = view.connections.iter().filter(|c| c.signs_in);
        signing.any(|c| c.id == *id)
    });
    if !connection.spec.enabled || !accepted {
        store
            .record(failed(visit, place, target, "connection_not_accepted"))
            .await?;
        return Ok(None);
    }
    let session = SessionId::fresh();
    let identity = Identity {
        connection: id.clone(),
        issuer: person.user.issuer.clone(),
        subject: person.user.subject.clone(),
        email: person.user.email.clone(),
        email_verified: person.user.email_verified,
        name: person.user.name.clone(),
        groups: person.user.groups.clone(),
        claims: person.claims.clone(),
    };
    let mut tx = store.begin().await?;
    store::user::note_attempt(&mut tx, &known.user, None).await?;
    let person = store::user::sign_in(&mut tx, &place.org.id, identity).await?;
    store::connection::note_health(&mut tx, &connection.id, None).await?;
    let actor = audit::person(&person.user, &session);
    let event = AuditEvent {
        account: place.account_id().cloned(),
        target: Some(audit::connection(&connection)),
        ..audit::event(visit, &place.org.id, "login.success", actor)
    };
    tx.commit(event).await?;
    metrics::counter!("chatelaine_sign_ins_total", "outcome" => "success").increment(1);
    Ok(Some((session, person)))
}

fn failed(visit: &Visit, place: &Place, target: Option<AuditTarget>, reason: &'static str) -> AuditEvent {
    let failed = audit::Failed {
        org: &place.org.id,
        account: place.account_id(),
        target,
        reason,
    };
    failed.event(visit)
}

/// Until when attempts do not count after one more failure: 1, 2, 4, 8, then 15 minutes from the fifth on.
fn locked_until(known: &Password, now: Timestamp) -> Timestamp {
    let beyond = known.failures + 1 - FREE_FAILURES;
    if beyond < 0 {
        return now;
    }
    let minutes = (1_i64 << beyond.min(10)).min(LONGEST_WAIT);
    now.plus_seconds(minutes * 60)
}
