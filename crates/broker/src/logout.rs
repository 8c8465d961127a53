//! The way out: ours first, then, where the connection says so, the provider's (OpenID Connect RP-Initiated
//! Logout 1.0).

use crate::login::{Confirmed, display_name};
use crate::page::{Failure, Forms, html, notice, redirect};
use crate::{SignedIn, Visit, audit, session};
use askama::Template;
use axum::Form;
use axum::extract::Query;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::{Connection, ConnectionKind, OrgId};

/// The purpose of the CSRF token in the form.
const PURPOSE: &str = "logout";
/// The key of [`Leaving`] in a session.
const LEAVING: &str = "leaving";

const SIGN_IN: &[(&str, &str)] = &[("/login", "Sign in again")];

/// Somebody who was sent to their provider to sign out there, as the session that they left behind remembers it.
#[derive(Debug, Serialize, Deserialize)]
struct Leaving {
    /// SHA-256 of the state.
    state: String,
    /// The connection's name.
    name: String,
}

#[derive(Template)]
#[template(path = "logout.html")]
struct LogoutPage<'a> {
    name: String,
    csrf: String,
    /// Where one is signed out as well.
    provider: Option<&'a str>,
}

fn signed_out(text: &str) -> Response {
    notice("You are signed out", text, SIGN_IN)
}

const CLOSE: &str = "You can close this page.";

/// Nobody is signed in here, and nothing was ended: apps may well know them still.
fn nobody() -> Response {
    let text = "You are not signed in here, so there was nothing to sign out of. An app that you opened earlier may \
                still know you until its own session ends: open it and sign out there.";
    notice("You are not signed in", text, SIGN_IN)
}

/// The connection by which somebody came, if signing out leads on to its provider.
async fn leads_on(visit: &Visit, who: &SignedIn) -> store::Result<Option<Connection>> {
    let user = &who.person.user;
    let connection = store::connection::get(visit.store(), &who.person.org, &user.connection).await?;
    let leads = connection.spec.kind == ConnectionKind::Oidc && connection.spec.logout.rp_initiated;
    Ok(leads.then_some(connection))
}

/// `GET /logout`: asks first, because a link alone must not sign anybody out.
pub(crate) async fn confirm(visit: Visit) -> Result<Response, Failure> {
    // Also a session that signs nobody in at the moment is there, and so are those at apps that came from it.
    let Some(who) = session::whose(&visit.session, visit.store()).await? else {
        return Ok(nobody());
    };
    let connection = leads_on(&visit, &who).await?;
    let page = LogoutPage {
        name: display_name(&who),
        csrf: who.csrf(visit.store(), PURPOSE),
        provider: connection
            .as_ref()
            .map(|connection| connection.spec.name.as_str()),
    };
    let forms = match connection {
        Some(_) => Forms::Anywhere,
        None => Forms::Here,
    };
    Ok(html(StatusCode::OK, &page, forms))
}

/// `POST /logout`: ends this session and the app sessions that came from it.
pub(crate) async fn logout(
    visit: Visit,
    form: Result<Form<Confirmed>, FormRejection>,
) -> Result<Response, Failure> {
    let Some(who) = session::whose(&visit.session, visit.store()).await? else {
        return Ok(nobody());
    };
    let csrf = form.ok().and_then(|Form(form)| form.csrf).unwrap_or_default();
    if !who.csrf_ok(visit.store(), PURPOSE, &csrf) {
        return Err(Failure::Csrf);
    }
    let connection = leads_on(&visit, &who).await?;
    let hint = match connection {
        Some(_) => store::upstream_session::id_token(visit.store(), &who.session).await?,
        None => None,
    };
    end(&visit, &who).await?;
    if let Some(connection) = &connection {
        let hint = hint.as_ref().map(|token| token.as_str());
        match provider(&visit, &who, connection, hint).await? {
            Onwards::To(url) => return Ok(redirect(&url)),
            Onwards::Nowhere => {}
            Onwards::Unreachable(text) => return Ok(forget(&visit, signed_out(&text))),
        }
    }
    Ok(forget(&visit, signed_out(CLOSE)))
}

/// Makes the browser forget its session.
fn forget(visit: &Visit, mut response: Response) -> Response {
    if let Some(cookie) = session::forget_cookie(visit.broker.control_url()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Where to go after our own session has ended.
enum Onwards {
    /// To the provider.
    To(String),
    /// The provider signs nobody out.
    Nowhere,
    /// The provider does not answer: what to tell the person.
    Unreachable(String),
}

/// Where the provider signs out the person whose session here has just ended.
async fn provider(
    visit: &Visit,
    who: &SignedIn,
    connection: &Connection,
    hint: Option<&str>,
) -> Result<Onwards, Failure> {
    let endpoint = visit.broker.providers().end_session_endpoint(connection).await;
    let mut url = match endpoint {
        Ok(Some(url)) => url,
        Ok(None) => return Ok(Onwards::Nowhere),
        Err(fault) => {
            tracing::warn!(request = %visit.request.id, connection = %connection.id, %fault, "no sign-out there");
            let name = &connection.spec.name;
            return Ok(Onwards::Unreachable(format!(
                "You are signed out here, but {name} does not answer: you may still be signed in there."
            )));
        }
    };
    let state = store::random_secret("")?;
    let back = store::connection::post_logout_redirect_uri(visit.broker.control_url());
    // What the provider itself calls a hint, or, where the id token does not say who it is, the address.
    let given = who.person.claims.get("login_hint").and_then(Value::as_str);
    let email = who.person.user.email.as_deref().filter(|_| hint.is_none());
    let pairs = [
        ("client_id", connection.spec.client_id.as_deref()),
        ("id_token_hint", hint),
        ("logout_hint", given.or(email)),
        ("post_logout_redirect_uri", Some(back.as_str())),
        ("state", Some(state.as_str())),
    ];
    let given = pairs
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)));
    url.query_pairs_mut().extend_pairs(given);
    let leaving = Leaving {
        state: store::sha256(&state),
        name: connection.spec.name.clone(),
    };
    match visit.session.insert(LEAVING, leaving).await {
        Ok(()) => Ok(Onwards::To(url.into())),
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

/// What a provider sends back.
#[derive(Debug, Deserialize)]
pub(crate) struct Back {
    state: Option<String>,
}

/// `GET /login/signed-out`: back from the provider.
pub(crate) async fn back(visit: Visit, Query(sent): Query<Back>) -> Result<Response, Failure> {
    if let Some(who) = visit.signed_in().await? {
        // A link of somebody else's must not make anybody believe that they are signed out.
        let text = format!("You are signed in as {}.", display_name(&who));
        let links = [("/logout", "Sign out"), ("/me", "My agents")];
        return Ok(notice("You are still signed in", &text, &links));
    }
    let leaving = match visit.session.remove::<Leaving>(LEAVING).await {
        Ok(leaving) => leaving,
        Err(error) => return Err(session::failure(visit.store(), error).await.into()),
    };
    let state = sent.state.as_deref().map(store::sha256);
    let leaving = leaving.filter(|leaving| state.as_deref() == Some(leaving.state.as_str()));
    Ok(match leaving {
        Some(leaving) => {
            let name = leaving.name;
            signed_out(&format!(
                "You are signed out here, and {name} has finished signing you out. {CLOSE}"
            ))
        }
        None => nobody(),
    })
}

/// Ends the session of this browser.
pub(crate) async fn end(visit: &Visit, who: &SignedIn) -> Result<(), Failure> {
    let org: &OrgId = &who.person.org;
    let mut tx = visit.store().begin().await?;
    store::session::end(&mut tx, &who.session).await?;
    tx.commit(audit::event(visit, org, "logout", audit::by(who)))
        .await?;
    if let Err(error) = visit.session.flush().await {
        return Err(session::failure(visit.store(), error).await.into());
    }
    Ok(())
}
