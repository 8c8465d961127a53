//! "My agents": what a person has allowed, where they are signed in, and how to end either.

use crate::login::{Confirmed, display_name};
use crate::page::{Failure, Forms, html, redirect};
use crate::{SignedIn, Visit, audit, claims, logout};
use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use std::cmp::Reverse;
use store::Tx;
use store::access::AccessRequest;
use store::grant::Which;
use wire::{AppKind, AuditEvent, Grant, GrantId, GrantState, Outcome, SessionId, Timestamp};

/// The purpose of the CSRF tokens of this page.
const PURPOSE: &str = "me";
/// Sign-ins shown.
const RECENT: u32 = 10;
/// Ended agents shown.
const PAST: usize = 20;

struct Agent {
    id: String,
    client: String,
    app: String,
    scopes: Vec<String>,
    since: String,
    last_used: String,
    is_active: bool,
    state: &'static str,
}

struct Browser {
    id: String,
    place: String,
    device: String,
    ip: String,
    since: String,
    is_this: bool,
}

struct SignIn {
    when: String,
    worked: bool,
    device: String,
    ip: String,
}

struct Launch {
    name: String,
    account: String,
    url: String,
    is_web: bool,
}

#[derive(Template)]
#[template(path = "me.html")]
struct MePage<'a> {
    name: String,
    email: &'a str,
    is_member: bool,
    csrf: String,
    agents: Vec<Agent>,
    active: usize,
    browsers: Vec<Browser>,
    sign_ins: Vec<SignIn>,
    apps: Vec<Launch>,
}

/// `GET /me`.
pub(crate) async fn show(visit: Visit) -> Result<Response, Failure> {
    let Some(who) = visit.signed_in().await? else {
        return Ok(redirect("/login?return_to=%2Fme"));
    };
    let store = visit.store();
    let (org, user) = (&who.person.org, &who.person.user);
    let now = store.clock().now();

    let filter = store::grant::Filter {
        user: Some(&user.id),
        ..Default::default()
    };
    let grants = store::grant::list(store, org, filter, now, &store::Paging::default()).await?;
    let (mut active, mut past): (Vec<_>, Vec<_>) = grants
        .into_iter()
        .partition(|grant| grant.state == GrantState::Active);
    active.sort_by_key(|grant| Reverse(grant.last_used_at));
    past.sort_by_key(|grant| Reverse(grant.revoked_at.unwrap_or(grant.expires_at)));
    past.truncate(PAST);
    let count = active.len();
    let agents = active.into_iter().chain(past).map(agent).collect();

    let directory = store.directory();
    let sessions = store::session::list(store, org, Some(&user.id), now, &store::Paging::default()).await?;
    let browsers = sessions
        .into_iter()
        .map(|session| Browser {
            place: match &session.app {
                None => "Chatelaine".to_owned(),
                Some(app) => directory
                    .app(app)
                    .map_or_else(|| "An app".to_owned(), |view| view.app.spec.name.clone()),
            },
            device: device(session.user_agent.as_deref()),
            ip: session.ip.unwrap_or_default(),
            since: when(session.created_at),
            is_this: session.id == who.session,
            id: session.id.to_string(),
        })
        .collect();

    let filter = store::audit::Filter {
        user: Some(user.id.clone()),
        action: Some("login.".to_owned()),
        ..Default::default()
    };
    let newest = (store::audit::Order::Newest, None);
    let events = store::audit::list(store, org, &filter, newest, RECENT).await?;
    let sign_ins = events
        .into_iter()
        .map(|event| {
            let request = event.request.as_ref();
            SignIn {
                when: when(event.time),
                worked: event.outcome == Outcome::Success,
                device: device(request.and_then(|r| r.user_agent.as_deref())),
                ip: request.and_then(|r| r.ip.clone()).unwrap_or_default(),
            }
        })
        .collect();

    let page = MePage {
        name: display_name(&who),
        email: user.email.as_deref().unwrap_or_default(),
        is_member: !store::org::roles_of(store, &user.id).await?.is_empty(),
        csrf: who.csrf(store, PURPOSE),
        agents,
        active: count,
        browsers,
        sign_ins,
        apps: launcher(&visit, &who),
    };
    Ok(html(StatusCode::OK, &page, Forms::Here))
}

/// The apps that this person may open, by account and name.
fn launcher(visit: &Visit, who: &SignedIn) -> Vec<Launch> {
    let asked = AccessRequest::to_begin(who.principal(), visit.store().clock().now());
    let directory = visit.store().directory();
    let mut apps: Vec<_> = directory
        .apps()
        .filter(|view| view.decide(&asked).allowed)
        .map(|view| Launch {
            name: view.app.spec.name.clone(),
            account: view.account.spec.name.clone(),
            url: view.app.spec.public_url.clone(),
            is_web: view.app.spec.kind == AppKind::Web,
        })
        .collect();
    apps.sort_by(|a, b| (&a.account, &a.name).cmp(&(&b.account, &b.name)));
    apps
}

fn agent(grant: Grant) -> Agent {
    Agent {
        id: grant.id.to_string(),
        client: claims::clean(&grant.client_name, 120),
        app: grant.app_name,
        scopes: grant.scopes,
        since: when(grant.created_at),
        last_used: grant.last_used_at.map_or_else(|| "never".to_owned(), when),
        is_active: grant.state == GrantState::Active,
        state: match grant.state {
            GrantState::Active => "Active",
            GrantState::Revoked => "Revoked",
            GrantState::Expired => "Expired",
        },
    }
}

/// A moment for people, to the minute.
pub(crate) fn when(moment: Timestamp) -> String {
    let text = Timestamp::from_seconds(moment.seconds()).to_string();
    format!("{} UTC", text.replace('T', " ").get(..16).unwrap_or_default())
}

/// A user agent in two words, such as `Firefox on Linux`.
pub(crate) fn device(user_agent: Option<&str>) -> String {
    let text = user_agent.unwrap_or_default();
    let find = |names: &[(&str, &'static str)]| {
        names
            .iter()
            .find(|(mark, _)| text.contains(mark))
            .map(|(_, name)| *name)
    };
    // The order matters: most of them claim to be several.
    let browser = find(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "Unknown browser".to_owned(),
    }
}

type Submitted = Result<Form<Confirmed>, FormRejection>;

/// Who sent a form of this page.
async fn sender(visit: &Visit, form: Submitted) -> Result<SignedIn, Failure> {
    let csrf = form.ok().and_then(|Form(form)| form.csrf).unwrap_or_default();
    let who = visit.signed_in().await?.ok_or(Failure::Csrf)?;
    if who.csrf_ok(visit.store(), PURPOSE, &csrf) {
        Ok(who)
    } else {
        Err(Failure::Csrf)
    }
}

/// `POST /me/grants/{grant}/revoke`.
pub(crate) async fn revoke(
    visit: Visit,
    Path(id): Path<String>,
    form: Submitted,
) -> Result<Response, Failure> {
    let who = sender(&visit, form).await?;
    let id = id.parse::<GrantId>().map_err(|_| Failure::NotFound)?;
    let store = visit.store();
    let grant = store::grant::get(store, &who.person.org, &id, store.clock().now()).await?;
    if grant.user != who.person.user.id {
        return Err(Failure::NotFound);
    }
    end_grants(&visit, &who, Which::One(&id)).await?;
    Ok(redirect("/me"))
}

/// `POST /me/grants/revoke`.
pub(crate) async fn revoke_all(visit: Visit, form: Submitted) -> Result<Response, Failure> {
    let who = sender(&visit, form).await?;
    end_grants(&visit, &who, Which::User(&who.person.user.id)).await?;
    Ok(redirect("/me"))
}

async fn end_grants(visit: &Visit, who: &SignedIn, which: Which<'_>) -> Result<(), Failure> {
    let mut tx = visit.store().begin().await?;
    let mut events = Vec::new();
    for id in store::grant::revoke_where(&mut tx, which, "user_revoked").await? {
        events.push(revoked(&mut tx, visit, who, &id).await?);
    }
    if !events.is_empty() {
        tx.commit_all(events).await?;
    }
    Ok(())
}

async fn revoked(tx: &mut Tx, visit: &Visit, who: &SignedIn, id: &GrantId) -> store::Result<AuditEvent> {
    let now = tx.now();
    let grant = store::grant::get(&mut *tx, &who.person.org, id, now).await?;
    let mut actor = audit::by(who);
    actor.client = Some(grant.client);
    actor.client_name = Some(grant.client_name.clone());
    actor.grant = Some(id.clone());
    let mut target = store::audit::target("grant", id, Some(&grant.client_name));
    target.app = Some(grant.app);
    Ok(AuditEvent {
        account: Some(grant.account),
        target: Some(target),
        reason: Some("user_revoked".to_owned()),
        ..audit::event(visit, &who.person.org, "grant.revoke", actor)
    })
}

/// `POST /me/sessions/{session}/end`.
pub(crate) async fn end_session(
    visit: Visit,
    Path(id): Path<String>,
    form: Submitted,
) -> Result<Response, Failure> {
    let who = sender(&visit, form).await?;
    let id = id.parse::<SessionId>().map_err(|_| Failure::NotFound)?;
    if id == who.session {
        logout::end(&visit, &who).await?;
        return Ok(redirect("/login"));
    }
    let session = store::session::get(visit.store(), &who.person.org, &id).await?;
    if session.user != who.person.user.id {
        return Err(Failure::NotFound);
    }
    let mut target = store::audit::target("session", &id, None);
    target.app.clone_from(&session.app);
    let account = session.app.as_ref().and_then(|app| {
        let directory = visit.store().directory();
        directory.app(app).map(|view| view.account.id.clone())
    });
    let mut tx = visit.store().begin().await?;
    store::session::end(&mut tx, &id).await?;
    tx.commit(AuditEvent {
        account,
        target: Some(target),
        ..audit::event(&visit, &who.person.org, "session.revoke", audit::by(&who))
    })
    .await?;
    Ok(redirect("/me"))
}
