//! The page on which people choose how to sign in.

use crate::page::{Failure, Forms, html, redirect};
use crate::return_to::{safe, with_query};
use crate::{SignedIn, Visit, vouch};
use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use store::AccountView;
use wire::{AccountId, ConnectionId, ConnectionKind, Organisation};

/// The purpose of the CSRF token in the password form.
pub(crate) const PURPOSE: &str = "login";

/// What a link to the sign-in page says.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    pub(crate) return_to: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) org: Option<String>,
    pub(crate) auto: Option<String>,
    /// Whether somebody who is signed in proves once more who they are.
    pub(crate) confirm: Option<String>,
    /// `1` where the provider's word about whoever is known is too old; `0` once it has been asked for in vain without a
    /// question to them.
    pub(crate) renew: Option<String>,
}

impl Asked {
    /// Where to go on, if that is a page of ours.
    pub(crate) fn return_to(&self) -> Option<&str> {
        self.return_to.as_deref().and_then(safe)
    }
}

/// What somebody signs in to: an account, or the organisation as such.
pub(crate) struct Place {
    pub(crate) org: Organisation,
    pub(crate) account: Option<Arc<AccountView>>,
}

impl Place {
    pub(crate) fn account_id(&self) -> Option<&AccountId> {
        self.account.as_ref().map(|view| &view.account.id)
    }
}

/// The account of a link, if it may be signed in to.
pub(crate) fn account(visit: &Visit, id: &str) -> Result<Arc<AccountView>, Failure> {
    let id = id.parse::<AccountId>().map_err(|_| Failure::NotFound)?;
    let directory = visit.store().directory();
    let view = directory.account(&id).filter(|view| view.account.spec.enabled);
    view.cloned().ok_or(Failure::NotFound)
}

/// What a link means; `None` when there are several organisations and it names none.
pub(crate) async fn place(visit: &Visit, asked: &Asked) -> Result<Option<Place>, Failure> {
    let account = asked
        .account
        .as_deref()
        .map(|id| account(visit, id))
        .transpose()?;
    let mut all = store::org::all(visit.store()).await?;
    let only = all.len() == 1;
    let wanted = |org: &Organisation| match (&account, asked.org.as_deref()) {
        (Some(view), _) => org.id == view.org,
        (None, Some(slug)) if !slug.is_empty() => org.slug == slug,
        (None, _) => only,
    };
    let org = all.iter().position(wanted).map(|at| all.swap_remove(at));
    match org {
        Some(org) => Ok(Some(Place { org, account })),
        None if asked.account.is_none() && asked.org.as_deref().unwrap_or_default().is_empty() => Ok(None),
        None => Err(Failure::NotFound),
    }
}

struct Button {
    name: String,
    href: String,
}

/// What a failed attempt shows again.
pub(crate) struct Again {
    pub(crate) username: String,
    pub(crate) error: &'static str,
    pub(crate) status: StatusCode,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    organisation: &'a str,
    account: Option<&'a str>,
    signed_in_as: Option<String>,
    buttons: &'a [Button],
    with_password: bool,
    /// Where a passkey signs in, where there can be any.
    passkey: Option<String>,
    csrf: &'a str,
    username: &'a str,
    error: Option<&'a str>,
    return_to: Option<&'a str>,
    account_id: Option<&'a str>,
    org_slug: &'a str,
}

#[derive(Template)]
#[template(path = "organisation.html")]
struct OrganisationPage<'a> {
    return_to: Option<&'a str>,
}

/// `GET /login`.
pub(crate) async fn choose(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    match place(&visit, &asked).await? {
        Some(place) => match vouch::unseen(&visit, &place, &asked).await? {
            Some(away) => Ok(away),
            None => page(&visit, &place, &asked, None).await,
        },
        None => {
            let page = OrganisationPage {
                return_to: asked.return_to(),
            };
            Ok(html(StatusCode::OK, &page, Forms::Here))
        }
    }
}

/// The connections that sign people in to a place: the primary one first.
async fn connections(
    visit: &Visit,
    place: &Place,
) -> Result<Vec<(ConnectionId, String, ConnectionKind)>, Failure> {
    if let Some(view) = &place.account {
        let signing = view.connections.iter().filter(|c| c.signs_in);
        return Ok(signing.map(|c| (c.id.clone(), c.name.clone(), c.kind)).collect());
    }
    let all = store::connection::list(visit.store(), &place.org.id, None, &store::Paging::default()).await?;
    let mut shared: Vec<_> = all
        .into_iter()
        .filter(|c| c.account.is_none() && c.spec.enabled)
        .map(|c| (c.id, c.spec.name, c.spec.kind))
        .collect();
    shared.sort_by_key(|(id, ..)| place.org.spec.primary_connection.as_ref() != Some(id));
    Ok(shared)
}

/// The sign-in page; or, where there is nothing to choose, straight on to the provider.
pub(crate) async fn page(
    visit: &Visit,
    place: &Place,
    asked: &Asked,
    again: Option<Again>,
) -> Result<Response, Failure> {
    let connections = connections(visit, place).await?;
    let account_id = place.account_id().map(AsRef::as_ref);
    let return_to = asked.return_to();
    let with_password = connections
        .iter()
        .any(|(.., kind)| *kind == ConnectionKind::Password);
    let href = |id: &ConnectionId, kind: ConnectionKind| {
        let pairs = [("return_to", return_to), ("account", account_id)];
        with_query(&way_in(id, kind), &pairs)
    };
    let elsewhere = connections
        .into_iter()
        .filter(|(.., kind)| *kind != ConnectionKind::Password);
    let buttons: Vec<_> = elsewhere
        .map(|(id, name, kind)| Button {
            href: href(&id, kind),
            name,
        })
        .collect();
    let auto = asked.auto.as_deref() == Some("1") || (place.account.is_some() && !with_password);
    if let [only] = buttons.as_slice()
        && auto
        && again.is_none()
    {
        return Ok(redirect(&only.href));
    }
    let csrf = if with_password {
        visit.form_token(PURPOSE)
    } else {
        String::new()
    };
    let signed_in = visit.signed_in().await?;
    let pairs = [
        ("return_to", return_to),
        ("account", account_id),
        ("org", Some(&*place.org.slug)),
    ];
    let passkey = (with_password && visit.broker.passkeys().are_possible())
        .then(|| with_query("/login/passkey", &pairs));
    let page = LoginPage {
        organisation: &place.org.spec.name,
        account: place.account.as_ref().map(|view| view.account.spec.name.as_str()),
        signed_in_as: signed_in.as_ref().map(display_name),
        buttons: &buttons,
        with_password,
        passkey,
        csrf: &csrf,
        username: again.as_ref().map_or("", |again| &again.username),
        error: again.as_ref().map(|again| again.error),
        return_to,
        account_id,
        org_slug: &place.org.slug,
    };
    let nobody = buttons.is_empty() && !with_password;
    let status = again.as_ref().map_or(StatusCode::OK, |again| again.status);
    let status = if nobody { StatusCode::FORBIDDEN } else { status };
    Ok(html(status, &page, Forms::Anywhere))
}

/// Where sign-in through a connection begins.
pub(crate) fn way_in(id: &ConnectionId, kind: ConnectionKind) -> String {
    match kind {
        ConnectionKind::EmailCode => format!("/login/email/{id}"),
        _ => format!("/login/oidc/{id}"),
    }
}

/// What to call a person.
pub(crate) fn display_name(who: &SignedIn) -> String {
    let user = &who.person.user;
    user.name
        .clone()
        .or_else(|| user.email.clone())
        .unwrap_or_else(|| user.subject.clone())
}

/// Where somebody goes who came from nowhere: administrators to the dashboard, everybody else to their agents.
pub(crate) async fn home(visit: &Visit, user: &wire::UserId) -> store::Result<&'static str> {
    let roles = store::org::roles_of(visit.store(), user).await?;
    Ok(if roles.is_empty() { "/me" } else { "/" })
}

/// Nothing but the token.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Confirmed {
    pub(crate) csrf: Option<String>,
}
