//! Signing a browser in to an app: whoever is signed in here and may use the app gets a code, good once,
//! which the gateway turns into a session at the app.

use crate::audit::Stray;
use crate::page::{Failure, Forms, html, redirect};
use crate::return_to::with_query;
use crate::{SignedIn, Visit, audit};
use askama::Template;
use axum::extract::{OriginalUri, Path, Query};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::access::AccessRequest;
use store::{AppView, session::Handoff};
use wire::{AppId, AuditEvent, Decision, Outcome, Reason};

/// Life of a handoff code, in seconds.
const CODE_LIFE: i64 = 60;
/// Longest state that a gateway may send, in bytes.
const MAX_STATE: usize = 512;

/// What the gateway sends along.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    state: Option<String>,
}

#[derive(Template)]
#[template(path = "denied.html")]
struct DeniedPage<'a> {
    app: &'a str,
    organisation: &'a str,
    person: String,
    why: &'a str,
    rule: Option<&'a str>,
    request_id: &'a str,
    other: &'a str,
}

/// `GET /signin/{app}`.
pub(crate) async fn sign_in(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Failure> {
    let store = visit.store();
    let id = id.parse::<AppId>().map_err(|_| Failure::NotFound)?;
    let view = store.directory().app(&id).cloned().ok_or(Failure::NotFound)?;
    let state = asked.state.unwrap_or_default();
    if state.is_empty() || state.len() > MAX_STATE || !state.bytes().all(|b| b.is_ascii_graphic()) {
        let mut target = store::audit::target("app", &view.app.id, Some(&view.app.spec.name));
        target.app = Some(view.app.id.clone());
        let stray = Stray {
            action: "app.sign_in",
            reason: "invalid_request",
            at: Some((view.org.clone(), Some(view.account.id.clone()), Some(target))),
        };
        stray.record(&visit.broker, &visit.request).await;
        let text = "The app that sent you here left something out. Open the app again.";
        return Err(Failure::told(StatusCode::BAD_REQUEST, "Bad request", text));
    }
    if !store.is_current() {
        // What was ended elsewhere may not be known here yet.
        let text = "The server has lost touch with its database. Try again in a moment.";
        return Err(Failure::told(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not available right now",
            text,
        ));
    }
    let here = uri.path_and_query().map_or("/", |here| here.as_str());
    let pairs = [
        ("account", Some(view.account.id.as_ref())),
        ("return_to", Some(here)),
    ];
    let login = with_query("/login", &pairs);
    let Some(who) = visit.signed_in().await? else {
        return if view.is_live() {
            Ok(redirect(&login))
        } else {
            let text = "This app is switched off at the moment. Ask your administrator.";
            Err(Failure::told(StatusCode::FORBIDDEN, "Switched off", text))
        };
    };
    let connection = &who.person.user.connection;
    let is_known_here = view.org == who.person.org && view.signs_in(connection);
    if view.is_live() && !is_known_here {
        return Ok(redirect(&login));
    }
    let decision = decide(&visit, &view, &who);
    if decision.reason.asks_to_sign_in() {
        let [account, back] = pairs;
        let renew = with_query("/login", &[account, back, ("renew", Some("1"))]);
        return Ok(redirect(&renew));
    }
    if decision.allowed {
        allow(&visit, &view, (&who, &decision), &state).await
    } else {
        deny(&visit, &view, (&who, &decision), &login).await
    }
}

/// Address and request are left out: the gateway decides about each request.
fn decide(visit: &Visit, view: &AppView, who: &SignedIn) -> Decision {
    let now = visit.store().clock().now();
    view.decide(&AccessRequest::to_begin(who.principal(), now))
        .to_decision()
}

fn event(visit: &Visit, view: &AppView, who: &SignedIn, decision: &Decision) -> AuditEvent {
    let mut target = store::audit::target("app", &view.app.id, Some(&view.app.spec.name));
    target.app = Some(view.app.id.clone());
    let outcome = if decision.allowed {
        Outcome::Allowed
    } else {
        Outcome::Denied
    };
    // The event belongs to the app's organisation, which is the person's whenever they are let in.
    AuditEvent {
        account: Some(view.account.id.clone()),
        target: Some(target),
        outcome,
        reason: audit::reason(decision.reason),
        rule: decision.rule.clone(),
        ..audit::event(visit, &view.org, "app.sign_in", audit::by(who))
    }
}

async fn allow(
    visit: &Visit,
    view: &AppView,
    (who, decision): (&SignedIn, &Decision),
    state: &str,
) -> Result<Response, Failure> {
    let code = store::random_secret("")?;
    let mut tx = visit.store().begin().await?;
    let handoff = Handoff {
        app: view.app.id.clone(),
        user: who.person.user.id.clone(),
        session: who.session.clone(),
        state_hash: store::sha256(state),
        authentication: who.authentication.clone(),
        expires_at: tx.now().plus_seconds(CODE_LIFE),
    };
    store::session::offer_handoff(&mut tx, &store::sha256(&code), &handoff).await?;
    tx.commit(event(visit, view, who, decision)).await?;
    let callback = format!("{}/.chatelaine/callback", view.public_origin);
    let pairs = [("code", Some(code.as_str())), ("state", Some(state))];
    Ok(redirect(&with_query(&callback, &pairs)))
}

async fn deny(
    visit: &Visit,
    view: &AppView,
    (who, decision): (&SignedIn, &Decision),
    login: &str,
) -> Result<Response, Failure> {
    audit::record_refusal(visit, event(visit, view, who, decision)).await;
    let org = store::org::get(visit.store(), &view.org).await?;
    let roles = store::org::roles_of(visit.store(), &who.person.user.id).await?;
    let may_see_rule = roles.iter().any(|member| {
        who.person.org == view.org && member.account.as_ref().is_none_or(|id| *id == view.account.id)
    });
    let rule = decision.rule.as_ref().filter(|_| may_see_rule);
    let page = DeniedPage {
        app: &view.app.spec.name,
        organisation: &org.spec.name,
        person: crate::login::display_name(who),
        why: words(decision.reason),
        rule: rule.map(|rule| rule.name.as_str()),
        request_id: &visit.request.id,
        other: login,
    };
    Ok(html(StatusCode::FORBIDDEN, &page, Forms::Here))
}

/// The reason for people.
const fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::PolicyDenied => "A rule of this app keeps you out.",
        Reason::NoPolicyMatched => "No rule of this app lets you in.",
        Reason::OrganisationFloor => "Your organisation asks for something that your sign-in does not meet.",
        Reason::Disabled => "The app is switched off at the moment.",
        Reason::UserDisabled => "An administrator has switched your access off.",
        Reason::ConnectionNotBound => "The way in which you signed in is not accepted here.",
        _ => "You may not use this app.",
    }
}
