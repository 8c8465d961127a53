//! The gateway's own paths at an app's origin, `/.chatelaine/…`: the way back from sign-in, and sign-out.
//!
//! ```text
//! browser ── no session ──> 302 {control}/signin/{app}?state=S     cookie of S: S and where the tab wanted to go
//!         <─ signed in, allowed ── 303 /.chatelaine/callback?code=C&state=S
//! callback: there is a cookie of S, C is good for (app, S) once ──> app session, 303 to where the tab wanted to go
//! ```

use crate::answer;
use crate::attempt::Attempt;
use crate::credential::Credential;
use crate::headers::cookie;
use crate::record;
use crate::site::Site;
use crate::{Gateway, ruling::Ruling};
use axum::body::Body;
use http::header::{ALLOW, ORIGIN, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;
use store::access::{AccessRequest, Principal, Proof};
use store::session::{self, Handoff, Record};
use store::user::Person;
use wire::{ActorKind, AuditActor, AuditEvent, AuditRequest, Outcome, Reason, SessionId};

/// The prefix of these paths.
pub(crate) const PREFIX: &str = "/.chatelaine/";

/// Answers a request for one of them, at an authority with these apps (at least one).
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn answer(
    gateway: &Gateway,
    sites: &[Arc<Site>],
    parts: &Parts,
    request: AuditRequest,
) -> store::Result<Response<Body>> {
    let not_allowed = |allow: &'static str| {
        let message = "This method is not for this path.";
        let mut response = answer::json(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
            &request.id,
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
        response
    };
    match &parts.uri.path()[PREFIX.len()..] {
        "callback" if parts.method == Method::GET => callback(gateway, sites, parts, request).await,
        "callback" => Ok(not_allowed("GET")),
        "logout" if parts.method == Method::GET || parts.method == Method::POST => {
            logout(gateway, sites, parts, request).await
        }
        "logout" => Ok(not_allowed("GET, POST")),
        _ => Ok(answer::json(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such path.",
            &request.id,
        )),
    }
}

async fn callback(
    gateway: &Gateway,
    sites: &[Arc<Site>],
    parts: &Parts,
    request: AuditRequest,
) -> store::Result<Response<Body>> {
    let query = parts.uri.query().unwrap_or_default();
    let (code, state) = (parameter(query, "code"), parameter(query, "state"));
    let (code, state) = (code.unwrap_or_default(), state.unwrap_or_default());
    let begun = sites
        .iter()
        .find_map(|site| Some((site, Attempt::find(site, parts, &state)?)));
    let Some((site, attempt)) = begun else {
        return stray_callback(gateway, sites, parts, request).await;
    };
    let view = &site.view;
    let mut tx = gateway.0.store.begin().await?;
    let code_hash = store::sha256(code.as_bytes());
    let handoff = session::redeem_handoff(&mut tx, &code_hash, &view.app.id, &attempt.digest).await?;
    let Some(handoff) = handoff else {
        drop(tx);
        return stale(gateway, (site, &attempt), request).await;
    };
    let person = store::user::by_id(&mut tx, &handoff.user).await?;
    let Some(person) = person.filter(|person| person.org == view.org) else {
        drop(tx);
        return stale(gateway, (site, &attempt), request).await;
    };
    let now = tx.now();
    let principal = Principal::Person(&person, Proof::Of(&handoff.authentication));
    let access = view.decide(&AccessRequest::to_begin(principal, now));
    if !access.allowed {
        drop(tx);
        let mut event = session_event(site, "app.sign_in", &person, handoff.session, request);
        event.actor.amr = handoff.authentication.amr;
        event.outcome = Outcome::Denied;
        event.reason = Some(record::code(access.reason).to_owned());
        event.rule = access.rule.cloned();
        return refused(gateway, (site, &attempt), event, access.reason).await;
    }
    let target = attempt.target(&mut tx, site).await?;
    let secret = store::random_secret("")?;
    let record = app_session(site, &handoff, &request, now);
    session::save(&mut tx, &store::sha256(&secret), &record).await?;
    let mut event = session_event(site, "session.create", &person, record.id, request);
    event.actor.amr = record.authentication.amr;
    tx.commit(event).await?;

    let mut response = answer::redirect(StatusCode::SEE_OTHER, &target)?;
    let headers = response.headers_mut();
    let seconds = view.app.spec.session_seconds;
    headers.append(
        SET_COOKIE,
        answer::set_cookie(site, &site.session_cookie, &secret, seconds)?,
    );
    headers.append(
        SET_COOKIE,
        answer::set_cookie(site, &attempt.cookie(site), "", 0)?,
    );
    Ok(response)
}

/// The one parameter of this name; none when there are several (RFC 6749, section 3.1).
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let mut found = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

fn app_session(site: &Site, handoff: &Handoff, request: &AuditRequest, now: wire::Timestamp) -> Record {
    Record {
        id: SessionId::fresh(),
        org: Some(site.view.org.clone()),
        user: Some(handoff.user.clone()),
        app: Some(site.view.app.id.clone()),
        parent: Some(handoff.session.clone()),
        data: "{}".to_owned(),
        expires_at: now.plus_seconds(site.view.app.spec.session_seconds.into()),
        ip: request.ip.clone(),
        user_agent: request.user_agent.clone(),
        authentication: handoff.authentication.clone(),
    }
}

/// A callback that this browser did not begin, or has finished already: whoever is signed in goes home.
async fn stray_callback(
    gateway: &Gateway,
    sites: &[Arc<Site>],
    parts: &Parts,
    request: AuditRequest,
) -> store::Result<Response<Body>> {
    let now = gateway.0.store.clock().now();
    for site in sites {
        let Some(value) = cookie(&parts.headers, &site.session_cookie) else {
            continue;
        };
        let credential = Credential::Session(value.to_owned());
        if gateway.0.credentials.prove(site, &credential, now).await?.is_ok() {
            return answer::redirect(StatusCode::SEE_OTHER, &format!("{}/", site.view.path));
        }
    }
    let Some(site) = sites.first() else {
        return Ok(answer::json(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such path.",
            &request.id,
        ));
    };
    let id = request.id.clone();
    strangers(gateway, site, ("app.sign_in", "state_unknown"), request).await?;
    let text = "This sign-in was not begun in this browser, or it took too long. Open the app again.";
    Ok(answer::page(
        site,
        StatusCode::BAD_REQUEST,
        "Sign-in did not work",
        text,
        &id,
    ))
}

/// Writes down, as nobody's, what somebody tried who may be anybody; many as one with their count.
async fn strangers(
    gateway: &Gateway,
    site: &Site,
    (action, reason): (&str, &str),
    request: AuditRequest,
) -> store::Result<()> {
    let ruling = Ruling::denied(Reason::CredentialInvalid);
    let mut events = record::events(site, None, &ruling, request, None);
    let mut event = events.swap_remove(0);
    event.action = action.to_owned();
    event.reason = Some(reason.to_owned());
    gateway.0.store.record_folded(event).await
}

/// What came back is worth nothing (any more), whoever brings it: strangers can do so at will.
async fn stale(
    gateway: &Gateway,
    place: (&Site, &Attempt),
    request: AuditRequest,
) -> store::Result<Response<Body>> {
    let reason = Reason::CredentialInvalid;
    let mut events = record::events(place.0, None, &Ruling::denied(reason), request, None);
    let mut event = events.swap_remove(0);
    event.action = "app.sign_in".to_owned();
    refused(gateway, place, event, reason).await
}

async fn refused(
    gateway: &Gateway,
    (site, attempt): (&Site, &Attempt),
    event: AuditEvent,
    reason: Reason,
) -> store::Result<Response<Body>> {
    let id = event
        .request
        .as_ref()
        .map(|request| request.id.clone())
        .unwrap_or_default();
    if event.actor.user.is_some() {
        gateway.0.store.record(event).await?;
    } else {
        gateway.0.store.record_folded(event).await?;
    }
    let (status, text) = match reason {
        Reason::CredentialInvalid => (
            StatusCode::BAD_REQUEST,
            "This sign-in was used already, or it took too long. Open the app again.",
        ),
        reason => (StatusCode::FORBIDDEN, record::words(reason)),
    };
    let mut response = answer::page(site, status, "Sign-in did not work", text, &id);
    let clear = answer::set_cookie(site, &attempt.cookie(site), "", 0)?;
    response.headers_mut().append(SET_COOKIE, clear);
    Ok(response)
}

async fn logout(
    gateway: &Gateway,
    sites: &[Arc<Site>],
    parts: &Parts,
    request: AuditRequest,
) -> store::Result<Response<Body>> {
    let Some(first) = sites.first() else {
        return Ok(answer::json(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such path.",
            &request.id,
        ));
    };
    if is_cross_site(parts, &first.view.public_origin) {
        let id = request.id.clone();
        strangers(gateway, first, ("logout", "cross_site"), request).await?;
        let message = "Another site asked to sign you out.";
        return Ok(answer::json(StatusCode::FORBIDDEN, "cross_site", message, &id));
    }
    let store = &gateway.0.store;
    let mut response = answer::redirect(StatusCode::SEE_OTHER, &format!("{}/logout", first.control_url))?;
    for site in sites {
        let Some(value) = cookie(&parts.headers, &site.session_cookie) else {
            continue;
        };
        let hash = store::sha256(value);
        let mut tx = store.begin().await?;
        let record = session::by_hash(&mut tx, &hash, store.clock().now()).await?;
        if let Some(record) = record.filter(|r| r.app.as_ref() == Some(&site.view.app.id))
            && let Some(user) = &record.user
            && let Some(person) = store::user::by_id(&mut tx, user).await?
        {
            session::delete_by_hash(&mut tx, &hash).await?;
            // The control plane asks next whether to sign out there, which ends the sessions at other apps. Where that
            // session is over already, nobody would end them any more.
            if let Some(parent) = &record.parent
                && !session::is_live(&mut tx, parent, store.clock().now()).await?
            {
                session::end(&mut tx, parent).await?;
            }
            tx.commit(session_event(site, "logout", &person, record.id, request.clone()))
                .await?;
        }
        response
            .headers_mut()
            .append(SET_COOKIE, answer::set_cookie(site, &site.session_cookie, "", 0)?);
    }
    Ok(response)
}

/// Whether a browser says that another site is behind the request.
fn is_cross_site(parts: &Parts, origin: &str) -> bool {
    let fetch = parts
        .headers
        .get("sec-fetch-site")
        .is_some_and(|v| v != "same-origin" && v != "none");
    let other = parts.headers.get(ORIGIN).is_some_and(|v| v != origin);
    fetch || other
}

fn session_event(
    site: &Site,
    action: &str,
    person: &Person,
    session: SessionId,
    request: AuditRequest,
) -> AuditEvent {
    let view = &site.view;
    let mut actor = AuditActor::of(ActorKind::User);
    actor.user = Some(person.user.id.clone());
    actor.email.clone_from(&person.user.email);
    actor.session = Some(session.clone());
    let mut event = store::audit::event(&view.org, "gateway", action, actor);
    event.account = Some(view.account.id.clone());
    let mut target = store::audit::target("session", &session, Some(&view.app.spec.name));
    target.app = Some(view.app.id.clone());
    event.target = Some(target);
    event.outcome = Outcome::Success;
    event.request = Some(request);
    event
}
