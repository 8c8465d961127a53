//! What local people show besides their password: asked for at sign-in here, managed in [`manage`]. A passkey is shown
//! without the password in [`alone`], a code together with it in [`together`].
//!
//! Between the right password and the second factor somebody is half signed in: the session remembers a
//! [`Half`] and no [`crate::SignedIn`], so they are nobody everywhere else.

pub(crate) mod alone;
pub(crate) mod manage;
mod passkey;
pub(crate) mod together;
mod totp;

pub(crate) use passkey::Passkeys;

use crate::budget::Act;
use crate::lanes::{FACTOR, Lanes};
use crate::local::{self, complete};
use crate::page::{Failure, Forms, html, redirect, with_script};
use crate::{Visit, audit, session};
use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use store::{Paging, Run, Store, Tx, factor};
use wire::{AccountId, AuditActor, AuditEvent, FactorKind, OrgId, Outcome, SessionId, Timestamp, UserId};

/// The key of [`Half`] in a session.
const HALF: &str = "half";
/// How long somebody may take for the second factor, in seconds.
const HALF_LIFE: i64 = 600;
/// The purpose of the CSRF tokens of somebody who is half signed in.
const PURPOSE: &str = "factor";

/// Somebody who gave the right password, and of whom more is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Half {
    pub(crate) org: OrgId,
    pub(crate) user: UserId,
    /// Where they sign in.
    pub(crate) account: Option<AccountId>,
    pub(crate) return_to: Option<String>,
    pub(crate) at: Timestamp,
    /// The session whose person proves once more who they are.
    pub(crate) confirms: Option<SessionId>,
    /// They have no second factor and must add one.
    pub(crate) enrols: bool,
}

/// The password was right: asks for the second factor, has one made, or lets them in.
pub(crate) async fn go_on(visit: &Visit, half: Half) -> Result<Response, Failure> {
    let store = visit.store();
    let factors = factor::list(store, &half.user, &Paging::default()).await?;
    if !factors.is_empty() {
        remember(visit, &half).await?;
        return Ok(redirect("/login/factor"));
    }
    let org = store::org::get(store, &half.org).await?;
    if org.spec.require_second_factor {
        remember(visit, &Half { enrols: true, ..half }).await?;
        return Ok(redirect("/login/enrol"));
    }
    local::complete_with_password(visit, &half).await
}

/// Who is half signed in by what a session keeps.
pub(crate) fn half_of(data: &HashMap<String, serde_json::Value>) -> Option<UserId> {
    let half = data.get(HALF).map(Half::deserialize);
    half.and_then(Result::ok).map(|half| half.user)
}

async fn remember(visit: &Visit, half: &Half) -> Result<(), Failure> {
    match visit.session.insert(HALF, half).await {
        Ok(()) => Ok(()),
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

/// Who is half signed in, if anybody.
async fn half(visit: &Visit) -> Result<Option<Half>, Failure> {
    match visit.session.get::<Half>(HALF).await {
        Ok(half) => {
            let now = visit.store().clock().now();
            Ok(half.filter(|half| half.at.plus_seconds(HALF_LIFE) > now))
        }
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

/// They have come through.
pub(crate) async fn forget(visit: &Visit) -> Result<(), Failure> {
    match visit.session.remove_value(HALF).await {
        Ok(_) => Ok(()),
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

#[derive(Template)]
#[template(path = "factor.html")]
struct FactorPage<'a> {
    csrf: &'a str,
    with_code: bool,
    /// What the browser is to ask passkeys for, as JSON.
    passkey: Option<String>,
    /// There are passkeys, but not at this address.
    passkeys_elsewhere: bool,
    error: Option<&'a str>,
}

/// `GET /login/factor`.
pub(crate) async fn ask(visit: Visit) -> Result<Response, Failure> {
    match half(&visit).await? {
        Some(half) if !half.enrols => page(&visit, &half, None).await,
        _ => Ok(redirect("/login")),
    }
}

async fn page(visit: &Visit, half: &Half, error: Option<(&str, StatusCode)>) -> Result<Response, Failure> {
    let store = visit.store();
    let factors = factor::list(store, &half.user, &Paging::default()).await?;
    let has = |kind| factors.iter().any(|factor| factor.kind == kind);
    let passkey = if has(FactorKind::Passkey) {
        passkey::challenge(visit, &half.user).await?
    } else {
        None
    };
    let page = FactorPage {
        csrf: &visit.form_token(PURPOSE),
        with_code: has(FactorKind::Totp),
        passkeys_elsewhere: has(FactorKind::Passkey) && passkey.is_none(),
        passkey,
        error: error.map(|(text, _)| text),
    };
    let status = error.map_or(StatusCode::OK, |(_, status)| status);
    let response = html(status, &page, Forms::Anywhere);
    Ok(if page.passkey.is_some() {
        with_script(response)
    } else {
        response
    })
}

/// Whether a person has any factor at all.
pub(crate) async fn has_any(store: &Store, user: &UserId) -> store::Result<bool> {
    Ok(!factor::list(store, user, &Paging::default()).await?.is_empty())
}

/// What somebody shows.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Shown {
    csrf: Option<String>,
    code: Option<String>,
    credential: Option<String>,
}

const WRONG: &str = "That did not work. Codes are good once and for half a minute; wait for the next one. After \
                     several attempts you have to wait a few minutes.";

/// `POST /login/factor`.
pub(crate) async fn check(
    visit: Visit,
    form: Result<Form<Shown>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(shown) = form.unwrap_or_default();
    let store = visit.store();
    let csrf = shown.csrf.as_deref().unwrap_or_default();
    if !visit.form_token_ok(PURPOSE, csrf) {
        return Err(Failure::Csrf);
    }
    let Some(half) = half(&visit).await?.filter(|half| !half.enrols) else {
        return Ok(redirect("/login"));
    };
    // A passkey cannot be guessed, so that nobody's guesses keep it out.
    if shown.credential.is_none() {
        if visit.is_flooding(Act::Factor) {
            return page(&visit, &half, Some((WRONG, StatusCode::TOO_MANY_REQUESTS))).await;
        }
        if !counted(&visit, &half).await? {
            store
                .record_folded(failed(&visit, &half, "locked").await?)
                .await?;
            return page(&visit, &half, Some((WRONG, StatusCode::UNAUTHORIZED))).await;
        }
    }
    let passkey = match &shown.credential {
        Some(credential) => Some(passkey::check(&visit, &half.user, credential).await?),
        None => None,
    };
    let mut tx = store.begin().await?;
    let verdict = match &passkey {
        Some(Ok(shown)) => {
            let key = passkey::spend(&mut tx, &half.user, shown).await?;
            key.map(|key| (["pwd", key, "mfa"], Vec::new()))
        }
        Some(Err(reason)) => Err(*reason),
        None => {
            let code = shown.code.as_deref().unwrap_or_default();
            let events = by_code(&visit, &mut tx, &half, code).await?;
            events.map(|events| (CODE, events))
        }
    };
    match verdict {
        Ok((amr, events)) => {
            let path = complete(&visit, tx, &half, &amr, events).await?;
            Ok(redirect(&path))
        }
        Err(reason) => {
            drop(tx);
            let event = failed(&visit, &half, reason).await?;
            match passkey {
                // Those are not counted, so that there may be many.
                Some(_) => store.record_folded(event).await?,
                None => store.record(event).await?,
            }
            page(&visit, &half, Some((WRONG, StatusCode::UNAUTHORIZED))).await
        }
    }
}

/// How somebody proved who they are by a password and a code (RFC 8176).
pub(crate) const CODE: [&str; 3] = ["pwd", "otp", "mfa"];

/// Spends a code of an authenticator app, or a recovery code: what is to be written down about it, or why it is none.
pub(crate) async fn by_code(
    visit: &Visit,
    tx: &mut Tx,
    half: &Half,
    typed: &str,
) -> Result<Result<Vec<AuditEvent>, &'static str>, Failure> {
    let typed: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .take(64)
        .collect();
    if typed.len() == totp::DIGITS && typed.bytes().all(|b| b.is_ascii_digit()) {
        let verdict = totp::spend(tx, &half.user, &typed).await?;
        return Ok(verdict.map(|()| Vec::new()));
    }
    if !factor::spend_recovery_code(tx, &half.user, &typed.to_ascii_lowercase()).await? {
        return Ok(Err("wrong_code"));
    }
    let mut event = event(&mut *tx, visit, half, "factor.use_recovery").await?;
    let left = factor::recovery_codes_left(&mut *tx, &half.user).await?;
    event.reason = Some(format!("{left}_left"));
    Ok(Ok(vec![event]))
}

/// An event about somebody who is half signed in.
async fn event(db: impl Run, visit: &Visit, half: &Half, action: &str) -> Result<AuditEvent, Failure> {
    let person = store::user::get(db, &half.org, &half.user).await?;
    let user = person.user;
    let mut actor = AuditActor::of(wire::ActorKind::User);
    actor.user = Some(user.id.clone());
    actor.email.clone_from(&user.email);
    Ok(AuditEvent {
        account: half.account.clone(),
        target: Some(store::audit::target("user", &user.id, user.email.as_deref())),
        ..audit::event(visit, &half.org, action, actor)
    })
}

pub(crate) async fn failed(visit: &Visit, half: &Half, reason: &'static str) -> Result<AuditEvent, Failure> {
    metrics::counter!("chatelaine_sign_ins_total", "outcome" => reason).increment(1);
    let mut event = event(visit.store(), visit, half, "login.second_factor").await?;
    // Somebody who knows the password: who it is has not been shown.
    event.actor = AuditActor::of(wire::ActorKind::Anonymous);
    event.outcome = Outcome::Failure;
    event.reason = Some(reason.to_owned());
    Ok(event)
}

/// Counts the attempt as failed, like a wrong password, before anything about it is looked at: of many made at
/// once, no more are looked at than of as many in a row. [`complete`] forgets it. `false` when they must wait.
async fn counted(visit: &Visit, half: &Half) -> store::Result<bool> {
    let lanes = Lanes::of(visit, half.user.as_ref(), half.confirms.as_ref()).await?;
    let mut tx = visit.store().begin().await?;
    let counted = lanes.count(&mut tx, FACTOR).await?;
    if counted {
        tx.commit_housekeeping().await?;
    }
    Ok(counted)
}

/// `GET /login/passkey.js`: the one script of the pages for people. It hands what the server asks for to the
/// browser's passkeys, and sends the answer with the form.
pub(crate) async fn script() -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, include_str!("../../static/passkey.js")).into_response()
}
