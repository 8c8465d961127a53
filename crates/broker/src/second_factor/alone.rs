//! Sign-in with a passkey alone, which says whose it is. It cannot be guessed, is checked with its holder's PIN or
//! fingerprint, and asks nothing that others could use up: however many people guess at the password, its owner comes in.

use super::{Half, passkey};
use crate::local::{Claimed, accepted, complete};
use crate::login::{Asked, PURPOSE, Place, place};
use crate::page::{Failure, Forms, html, redirect, with_script};
use crate::return_to::with_query;
use crate::{SignedIn, Visit};
use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::{Paging, factor};
use wire::{FactorKind, UserId};

#[derive(Template)]
#[template(path = "passkey_alone.html")]
struct AlonePage<'a> {
    organisation: &'a str,
    csrf: &'a str,
    /// What the browser is to ask passkeys for, as JSON, and the same sealed; `None` where there can be none.
    passkey: Option<(String, String)>,
    error: Option<&'a str>,
    return_to: Option<&'a str>,
    account_id: Option<&'a str>,
    org_slug: &'a str,
    confirm: bool,
    /// The page to which it is one way of several.
    others: &'a str,
}

const WRONG: &str = "That did not work. Try again, or sign in another way.";

/// The link at which somebody who has a passkey confirms with it that it is them.
pub(crate) async fn link(
    visit: &Visit,
    who: &SignedIn,
    return_to: Option<&str>,
) -> store::Result<Option<String>> {
    let factors = factor::list(visit.store(), &who.person.user.id, &Paging::default()).await?;
    let has = factors.iter().any(|factor| factor.kind == FactorKind::Passkey);
    let org = store::org::get(visit.store(), &who.person.org).await?;
    let pairs = [
        ("confirm", Some("1")),
        ("return_to", return_to),
        ("org", Some(&*org.slug)),
    ];
    let possible = has && visit.broker.passkeys().are_possible();
    Ok(possible.then(|| with_query("/login/passkey", &pairs)))
}

/// `GET /login/passkey`.
pub(crate) async fn ask(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    match place(&visit, &asked).await? {
        Some(place) => page(&visit, &place, &asked, None).await,
        None => Ok(redirect("/login")),
    }
}

async fn page(
    visit: &Visit,
    place: &Place,
    asked: &Asked,
    error: Option<&'static str>,
) -> Result<Response, Failure> {
    let account_id = place.account_id().map(AsRef::as_ref);
    let return_to = asked.return_to();
    let confirm = asked.confirm.as_deref() == Some("1");
    let base = if confirm { "/login/confirm" } else { "/login" };
    let pairs = [
        ("return_to", return_to),
        ("account", account_id),
        ("org", Some(&*place.org.slug)),
    ];
    let others = with_query(base, &pairs);
    let page = AlonePage {
        organisation: &place.org.spec.name,
        csrf: &visit.form_token(PURPOSE),
        passkey: passkey::open_challenge(visit)?,
        error,
        return_to,
        account_id,
        org_slug: &place.org.slug,
        confirm,
        others: &others,
    };
    let status = error.map_or(StatusCode::OK, |_| StatusCode::UNAUTHORIZED);
    Ok(with_script(html(status, &page, Forms::Anywhere)))
}

/// What is shown, and where it leads.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Shown {
    csrf: Option<String>,
    challenge: Option<String>,
    credential: Option<String>,
    return_to: Option<String>,
    account: Option<String>,
    org: Option<String>,
    confirm: Option<String>,
}

/// `POST /login/passkey`.
pub(crate) async fn sign_in(
    visit: Visit,
    form: Result<Form<Shown>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(shown) = form.unwrap_or_default();
    let csrf = shown.csrf.as_deref().unwrap_or_default();
    if !visit.is_our_form(PURPOSE, csrf) {
        return Err(Failure::Csrf);
    }
    let asked = Asked {
        return_to: shown.return_to,
        account: shown.account,
        org: shown.org,
        confirm: shown.confirm,
        ..Asked::default()
    };
    let place = place(&visit, &asked).await?.ok_or(Failure::NotFound)?;
    let confirms = match asked.confirm.as_deref() {
        Some("1") => Some(visit.signed_in().await?.ok_or(Failure::Csrf)?),
        _ => None,
    };
    let at = Claimed {
        org: &place.org.id,
        account: place.account_id(),
        username: "",
        confirms: confirms.as_ref().map(|who| &who.session),
    };
    let credential = shown.credential.unwrap_or_default();
    let challenge = shown.challenge.unwrap_or_default();
    let (user, shown) = match passkey::check_open(&visit, (&challenge, &credential)).await? {
        Ok(shown) => shown,
        Err(reason) => return refused(&visit, (&place, &asked), &at, reason).await,
    };
    let other = confirms.as_ref().is_some_and(|who| who.person.user.id != user);
    if other || !is_of(&visit, &at, &user).await? {
        return refused(&visit, (&place, &asked), &at, "wrong_passkey").await;
    }
    if accepted(&visit, &at, &user).await?.is_none() {
        return page(&visit, &place, &asked, Some(WRONG)).await;
    }
    let half = Half {
        org: place.org.id.clone(),
        user,
        account: place.account_id().cloned(),
        return_to: asked.return_to().map(ToOwned::to_owned),
        at: visit.store().clock().now(),
        confirms: at.confirms.cloned(),
        enrols: false,
    };
    let mut tx = visit.store().begin().await?;
    if !passkey::spend_challenge(&mut tx, &challenge).await? {
        drop(tx);
        return refused(&visit, (&place, &asked), &at, "challenge_unknown").await;
    }
    match passkey::spend(&mut tx, &half.user, &shown).await? {
        Ok(key) => {
            let path = complete(&visit, tx, &half, &[key, "mfa"], Vec::new()).await?;
            Ok(redirect(&path))
        }
        Err(reason) => {
            drop(tx);
            refused(&visit, (&place, &asked), &at, reason).await
        }
    }
}

/// Whether the holder belongs to the organisation that is signed in to.
async fn is_of(visit: &Visit, at: &Claimed<'_>, user: &UserId) -> store::Result<bool> {
    let person = store::user::by_id(visit.store(), user).await?;
    Ok(person.is_some_and(|person| person.org == *at.org))
}

async fn refused(
    visit: &Visit,
    (place, asked): (&Place, &Asked),
    at: &Claimed<'_>,
    reason: &'static str,
) -> Result<Response, Failure> {
    // Not counted, so that there may be many.
    visit
        .store()
        .record_folded(at.failed(visit, None, reason))
        .await?;
    page(visit, place, asked, Some(WRONG)).await
}
