//! Sign-in with a local password, for break-glass owners. Whatever is wrong, the answer and its time are the
//! same; what it was stands in the audit log.
//!
//! ```text
//! POST /login/password ── right ──> second factor? ── has one ────────> /login/factor ──┐
//! POST /login/confirm  ──/                         ── must have one ──> /login/enrol ───┤
//!                                                  ── none ─────────────────────────────┼──> complete
//! POST /login/password, with a code ───────────────────────── both right ───────────────┤
//! POST /login/passkey ──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Until [`complete`] has run, nobody is signed in.

use crate::budget::Act;
use crate::lanes::{Lanes, PASSWORD};
use crate::login::{Again, Asked, PURPOSE, home, page, place};
use crate::page::{Failure, redirect};
use crate::return_to::safe;
use crate::second_factor::{self, Half, together};
use crate::session::{self, Proven};
use crate::{Visit, audit, password};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::Tx;
use store::user::{Identity, Person};
use wire::{AccountId, AuditEvent, AuditTarget, Authentication, OrgId, SessionId, UserId};

pub(crate) const WRONG: &str = "This e-mail address and password do not belong together, or there were too many \
                                attempts. Check both, and wait a few minutes before you try again.";

/// The form.
#[derive(Deserialize)]
pub(crate) struct Typed {
    csrf: Option<String>,
    username: Option<String>,
    password: Option<String>,
    /// Of the second factor, from those who give both at once.
    code: Option<String>,
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
    if !visit.is_our_form(PURPOSE, csrf) {
        return Err(Failure::Csrf);
    }
    let asked = Asked {
        return_to: typed.return_to.clone(),
        account: typed.account.clone(),
        org: typed.org.clone(),
        ..Asked::default()
    };
    let place = place(&visit, &asked).await?.ok_or(Failure::NotFound)?;
    let username = typed.username.unwrap_or_default().trim().to_owned();
    let again = |status| Again {
        username: username.chars().take(254).collect(),
        error: WRONG,
        status,
    };
    if visit.is_flooding(Act::Password) {
        return page(&visit, &place, &asked, Some(again(StatusCode::TOO_MANY_REQUESTS))).await;
    }
    let at = Claimed {
        org: &place.org.id,
        account: place.account_id(),
        username: &username,
        confirms: None,
    };
    let refused = async || page(&visit, &place, &asked, Some(again(StatusCode::UNAUTHORIZED))).await;
    let Some(claim) = verify(&visit, &at, typed.password.unwrap_or_default()).await? else {
        return refused().await;
    };
    let half = Half {
        org: place.org.id.clone(),
        user: claim.user.clone(),
        account: place.account_id().cloned(),
        return_to: asked.return_to().map(ToOwned::to_owned),
        at: visit.store().clock().now(),
        confirms: None,
        enrols: false,
    };
    let code = typed.code.filter(|code| !code.trim().is_empty());
    if let Some(code) = code
        && second_factor::has_any(visit.store(), &claim.user).await?
    {
        return match together::sign_in(&visit, &at, &claim, (&half, &code)).await? {
            Some(path) => Ok(redirect(&path)),
            None => refused().await,
        };
    }
    match admit(&visit, &at, &claim).await? {
        Some(_) => second_factor::go_on(&visit, half).await,
        None => refused().await,
    }
}

/// Who somebody claims to be, and where.
pub(crate) struct Claimed<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) account: Option<&'a AccountId>,
    pub(crate) username: &'a str,
    /// The session whose person proves once more who they are.
    pub(crate) confirms: Option<&'a SessionId>,
}

impl Claimed<'_> {
    fn target(&self, user: &UserId) -> AuditTarget {
        store::audit::target("user", user, Some(self.username))
    }

    /// The event of an attempt that came to nothing.
    pub(crate) fn failed(&self, visit: &Visit, user: Option<&UserId>, reason: &'static str) -> AuditEvent {
        let failed = audit::Failed {
            org: self.org,
            account: self.account,
            target: user.map(|user| self.target(user)),
            reason,
        };
        failed.event(visit)
    }
}

/// A password that was given for somebody.
pub(crate) struct Claim {
    pub(crate) user: UserId,
    /// Whether it is theirs: nothing that is answered may tell before the attempt was counted.
    pub(crate) right: bool,
}

/// Compares the password with that of whom it claims to be; `None`, written down, when there is nobody.
pub(crate) async fn verify(visit: &Visit, at: &Claimed<'_>, typed: String) -> Result<Option<Claim>, Failure> {
    let store = visit.store();
    let known = store::user::password_by_email(store, at.org, at.username).await?;
    let right = password::verify(known.as_ref().map(|known| known.phc.clone()), typed).await?;
    let Some(known) = known else {
        store
            .record_folded(at.failed(visit, None, "unknown_user"))
            .await?;
        return Ok(None);
    };
    Ok(Some(Claim {
        user: known.user,
        right,
    }))
}

/// Counts the password, and writes down when it is not enough. Failures are forgotten only by [`complete`]:
/// whoever knows the password must not get more tries at the second factor.
pub(crate) async fn admit(visit: &Visit, at: &Claimed<'_>, claim: &Claim) -> Result<Option<Person>, Failure> {
    let store = visit.store();
    let lanes = Lanes::of(visit, claim.user.as_ref(), at.confirms).await?;
    // Others may have failed while the password was verified: what counts is what is written now.
    let open = if claim.right {
        lanes.are_open(store, PASSWORD).await?
    } else {
        let mut tx = store.begin().await?;
        let counted = lanes.count(&mut tx, PASSWORD).await?;
        if counted {
            let event = at.failed(visit, Some(&claim.user), "wrong_password");
            tx.commit(event).await?;
            return Ok(None);
        }
        false
    };
    if !open {
        let event = at.failed(visit, Some(&claim.user), "locked");
        store.record_folded(event).await?;
        return Ok(None);
    }
    accepted(visit, at, &claim.user).await
}

/// Whoever has proven to be `user`, where their connection lets people in here; written down when it does not.
pub(crate) async fn accepted(
    visit: &Visit,
    at: &Claimed<'_>,
    user: &UserId,
) -> Result<Option<Person>, Failure> {
    let store = visit.store();
    let person = store::user::get(store, at.org, user).await?;
    let id = &person.user.connection;
    let connection = store::connection::get(store, at.org, id).await?;
    let directory = store.directory();
    let accepted = at.account.is_none_or(|account| {
        let view = directory.account(account);
        view.is_some_and(|view| view.connections.iter().any(|c| c.signs_in && c.id == *id))
    });
    if !connection.spec.enabled || !accepted {
        let event = at.failed(visit, Some(user), "connection_not_accepted");
        store.record(event).await?;
        return Ok(None);
    }
    Ok(Some(person))
}

/// Signs the person in, or renews the proof of the session that was to be confirmed; where to go on.
/// `tx` holds what was spent to get here, `amr` says how they proved who they are (RFC 8176), `events` what
/// else happened.
pub(crate) async fn complete(
    visit: &Visit,
    mut tx: Tx,
    half: &Half,
    amr: &[&str],
    mut events: Vec<AuditEvent>,
) -> Result<String, Failure> {
    let person = store::user::get(&mut tx, &half.org, &half.user).await?;
    let connection = store::connection::get(visit.store(), &half.org, &person.user.connection).await?;
    if person.user.disabled || !connection.spec.enabled {
        return Err(Failure::NotFound);
    }
    let current = match &half.confirms {
        Some(session) => {
            let who = visit.signed_in().await?;
            let who = who.filter(|who| who.session == *session && who.person.user.id == half.user);
            // Signed out, or somebody else, meanwhile.
            Some(who.ok_or(Failure::Csrf)?)
        }
        None => None,
    };
    let session = current
        .as_ref()
        .map_or_else(SessionId::fresh, |who| who.session.clone());
    let authentication = Authentication {
        amr: amr.iter().map(ToString::to_string).collect(),
        auth_time: Some(tx.now()),
        ..Authentication::NONE
    };
    let lanes = Lanes::of(visit, half.user.as_ref(), half.confirms.as_ref()).await?;
    lanes.open(&mut tx, visit).await?;
    let identity = Identity {
        connection: connection.id.clone(),
        issuer: person.user.issuer.clone(),
        subject: person.user.subject.clone(),
        email: person.user.email.clone(),
        email_verified: person.user.email_verified,
        name: person.user.name.clone(),
        groups: person.user.groups.clone(),
        claims: person.claims.clone(),
    };
    let person = store::user::sign_in(&mut tx, &half.org, identity).await?;
    store::connection::note_health(&mut tx, &connection.id, None).await?;
    let actor = audit::proven(&person.user, &session, &authentication);
    let action = if current.is_some() {
        "login.confirm"
    } else {
        "login.success"
    };
    events.push(AuditEvent {
        account: half.account.clone(),
        target: Some(audit::connection(&connection)),
        ..audit::event(visit, &half.org, action, actor)
    });
    tx.commit_all(events).await?;
    metrics::counter!("chatelaine_sign_ins_total", "outcome" => "success").increment(1);
    second_factor::forget(visit).await?;
    let (cookie, store) = (&visit.session, visit.store());
    if current.is_some() {
        session::renew(cookie, store, (&person, authentication)).await?;
    } else {
        let proven = Proven {
            session,
            person: &person,
            authentication,
        };
        session::begin(cookie, store, proven, &visit.request).await?;
    }
    // Checked when it was remembered; checked again, because it comes from storage.
    Ok(match half.return_to.as_deref().and_then(safe) {
        Some(path) => path.to_owned(),
        None => home(visit, &half.user).await?.to_owned(),
    })
}

/// As [`complete`], for somebody of whom nothing more is asked.
pub(crate) async fn complete_with_password(visit: &Visit, half: &Half) -> Result<Response, Failure> {
    let tx = visit.store().begin().await?;
    Ok(redirect(&complete(visit, tx, half, &["pwd"], Vec::new()).await?))
}
