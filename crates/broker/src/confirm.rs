//! "Confirm that it is you": somebody who is signed in proves once more who they are, in the way they came.
//! Dangerous acts ask for it when the last proof is old.

use crate::budget::Act;
use crate::local::{self, Claimed};
use crate::login::{display_name, way_in};
use crate::page::{Failure, Forms, html, redirect};
use crate::pending::Purpose;
use crate::return_to::{safe, with_query};
use crate::second_factor::{self, Half};
use crate::{SignedIn, Visit, audit, session, upstream, vouch};
use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::user::Identity;
use wire::{AuditEvent, Authentication, Connection, ConnectionKind, SessionId};
use zeroize::Zeroizing;

/// The purpose of the CSRF token in the password form.
const PURPOSE: &str = "confirm";

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage<'a> {
    name: String,
    email: &'a str,
    csrf: &'a str,
    return_to: Option<&'a str>,
    /// How people prove it who did not come with a password.
    way: Way<'a>,
    error: Option<&'a str>,
}

/// How somebody proves once more who they are.
enum Way<'a> {
    /// Here; or at this link by a passkey alone, where the person has one.
    Password(Option<String>),
    /// At the provider of this name.
    Provider(&'a str),
    /// On another page: the connection's name, and where.
    Code(&'a str, String),
    /// Not at all, because what is named here does not ask again.
    Never(&'a str),
}

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    return_to: Option<String>,
}

/// The link that leads here, and back to `return_to` afterwards.
pub(crate) fn link(return_to: &str) -> String {
    with_query("/login/confirm", &[("return_to", Some(return_to))])
}

/// `GET /login/confirm`.
pub(crate) async fn ask(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let return_to = asked.return_to.as_deref().and_then(safe);
    let Some(who) = visit.signed_in().await? else {
        return Ok(redirect(&with_query("/login", &[("return_to", return_to)])));
    };
    page(&visit, &who, return_to, None).await
}

async fn connection(visit: &Visit, who: &SignedIn) -> store::Result<Connection> {
    store::connection::get(visit.store(), &who.person.org, &who.person.user.connection).await
}

async fn page(
    visit: &Visit,
    who: &SignedIn,
    return_to: Option<&str>,
    error: Option<(&str, StatusCode)>,
) -> Result<Response, Failure> {
    let connection = connection(visit, who).await?;
    let account = connection.account.as_ref().map(AsRef::as_ref);
    let name = connection.spec.name.as_str();
    let way = match connection.spec.kind {
        ConnectionKind::Password => Way::Password(second_factor::alone::link(visit, who, return_to).await?),
        ConnectionKind::EmailCode => {
            let pairs = [
                ("return_to", return_to),
                ("account", account),
                ("confirm", Some("1")),
            ];
            Way::Code(
                name,
                with_query(&way_in(&connection.id, connection.spec.kind), &pairs),
            )
        }
        ConnectionKind::Oidc => Way::Provider(name),
        ConnectionKind::Github => Way::Never(name),
    };
    let page = ConfirmPage {
        name: display_name(who),
        email: who.person.user.email.as_deref().unwrap_or_default(),
        csrf: &who.csrf(visit.store(), PURPOSE),
        return_to,
        way,
        error: error.map(|(text, _)| text),
    };
    let status = error.map_or(StatusCode::OK, |(_, status)| status);
    Ok(html(status, &page, Forms::Anywhere))
}

/// The password form.
#[derive(Deserialize)]
pub(crate) struct Typed {
    csrf: Option<String>,
    password: Option<String>,
    return_to: Option<String>,
}

/// `POST /login/confirm`.
pub(crate) async fn by_password(
    visit: Visit,
    form: Result<Form<Typed>, FormRejection>,
) -> Result<Response, Failure> {
    let Ok(Form(typed)) = form else {
        return Err(Failure::Csrf);
    };
    let who = visit.signed_in().await?.ok_or(Failure::Csrf)?;
    let csrf = typed.csrf.as_deref().unwrap_or_default();
    if !who.csrf_ok(visit.store(), PURPOSE, csrf) {
        return Err(Failure::Csrf);
    }
    if connection(&visit, &who).await?.spec.kind != ConnectionKind::Password {
        return Err(Failure::NotFound);
    }
    let return_to = typed.return_to.as_deref().and_then(safe);
    if visit.has_spent(Act::Password, who.session.as_ref()) {
        let error = Some((WRONG, StatusCode::TOO_MANY_REQUESTS));
        return page(&visit, &who, return_to, error).await;
    }
    let at = Claimed {
        org: &who.person.org,
        account: None,
        username: who.person.user.email.as_deref().unwrap_or_default(),
        confirms: Some(&who.session),
    };
    let proven = match local::verify(&visit, &at, typed.password.unwrap_or_default()).await? {
        Some(claim) => local::admit(&visit, &at, &claim).await?,
        None => None,
    };
    match proven.filter(|person| person.user.id == who.person.user.id) {
        Some(_) => {
            let half = Half {
                org: who.person.org.clone(),
                user: who.person.user.id.clone(),
                account: None,
                return_to: return_to.map(ToOwned::to_owned),
                at: visit.store().clock().now(),
                confirms: Some(who.session.clone()),
                enrols: false,
            };
            second_factor::go_on(&visit, half).await
        }
        None => page(&visit, &who, return_to, Some((WRONG, StatusCode::UNAUTHORIZED))).await,
    }
}

const WRONG: &str = "This is not your password, or there were too many attempts. Wait a few minutes before you \
                     try again.";

/// The form that leads to the provider.
#[derive(Deserialize)]
pub(crate) struct Pressed {
    csrf: Option<String>,
    return_to: Option<String>,
}

/// `POST /login/confirm/provider`.
pub(crate) async fn at_provider(
    visit: Visit,
    form: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, Failure> {
    let Ok(Form(pressed)) = form else {
        return Err(Failure::Csrf);
    };
    let who = visit.signed_in().await?.ok_or(Failure::Csrf)?;
    let csrf = pressed.csrf.as_deref().unwrap_or_default();
    if !who.csrf_ok(visit.store(), PURPOSE, csrf) {
        return Err(Failure::Csrf);
    }
    let connection = connection(&visit, &who).await?;
    let at = (&connection.id, connection.account.as_ref());
    let return_to = pressed.return_to.as_deref().and_then(safe);
    let purpose = (Purpose::Confirm(who.session.clone()), None);
    upstream::send(&visit, at, return_to, purpose).await
}

/// The provider has asked; `session` is what was to be confirmed. Somebody else is refused, and nobody is
/// made.
pub(crate) async fn by_provider(
    visit: &Visit,
    session: &SessionId,
    (identity, authentication): (Identity, Authentication),
    refresh_token: Option<Zeroizing<String>>,
    return_to: Option<&str>,
) -> Result<Response, Failure> {
    let who = visit.signed_in().await?.filter(|who| who.session == *session);
    let who = who.ok_or(Failure::Csrf)?;
    let connection = connection(visit, &who).await?;
    let user = &who.person.user;
    if !vouch::is_about(user, &identity) {
        let failed = audit::Failed {
            org: &who.person.org,
            account: None,
            target: Some(store::audit::target("user", &user.id, user.email.as_deref())),
            reason: "confirmed_by_other",
        };
        audit::record_refusal(visit, failed.event(visit)).await;
        let text = "You signed in as somebody else. Nothing was confirmed. Go back and sign in as the person \
                    whose session this is, or sign out first.";
        return Err(Failure::told(StatusCode::FORBIDDEN, "Not the same person", text));
    }
    let mut tx = visit.store().begin().await?;
    let person = store::user::sign_in(&mut tx, &who.person.org, identity).await?;
    let about = (&person.user.id, &connection);
    vouch::keep(&mut tx, &visit.broker, about, refresh_token.as_ref()).await?;
    let event = AuditEvent {
        target: Some(audit::connection(&connection)),
        ..audit::event(
            visit,
            &who.person.org,
            "login.confirm",
            audit::proven(&person.user, session, &authentication),
        )
    };
    tx.commit(event).await?;
    session::renew(&visit.session, visit.store(), (&person, authentication)).await?;
    Ok(redirect(return_to.and_then(safe).unwrap_or("/me")))
}
