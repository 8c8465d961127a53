//! The page behind an invitation's link: what it gives, and the button that takes it. Links that were used,
//! taken back, ran out or never existed look the same.

use crate::audit::Stray;
use crate::budget::Act;
use crate::local::WRONG;
use crate::login::display_name;
use crate::page::{Failure, Forms, html, redirect};
use crate::return_to::with_query;
use crate::second_factor::{self, Half};
use crate::{SignedIn, Visit, audit, claims, hash_password, me};
use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use store::invitation;
use store::user::Identity;
use wire::{
    Address, AuditActor, AuditEvent, Connection, ConnectionKind, Invitation, InvitationState, OrgId,
    Organisation, Role, SessionId, User,
};

/// The issuer of people with a local password.
const LOCAL: &str = "local";

/// An invitation that can be used, and what it is about.
struct Open {
    /// SHA-256 of the link's secret.
    hash: String,
    org: Organisation,
    invitation: Invitation,
    /// The account's name, for roles in one.
    account: Option<String>,
    /// Who invites.
    inviter: Option<String>,
}

async fn open(visit: &Visit, secret: &str) -> Result<Open, Failure> {
    let store = visit.store();
    let hash = store::sha256(secret);
    let found = invitation::by_token_hash(store, &hash, store.clock().now()).await?;
    let Some((org, invitation)) = found else {
        note(visit, &hash).await?;
        return Err(worthless());
    };
    let account = match &invitation.account {
        Some(id) => Some(store::org::account(store, &org, id).await?.spec.name),
        None => None,
    };
    let inviter = match &invitation.created_by {
        Some(id) => store::user::by_id(store, id).await?,
        None => None,
    };
    let inviter = inviter.and_then(|person| person.user.email.or(person.user.name));
    Ok(Open {
        hash,
        org: store::org::get(store, &org).await?,
        invitation,
        account,
        inviter: inviter.map(|text| claims::clean(&text, 120)),
    })
}

impl Open {
    /// The purpose of the CSRF tokens here: of this invitation, so that what was shown for one accepts no other.
    fn purpose(&self) -> String {
        format!("invite {}", self.invitation.id)
    }
}

/// Writes down that somebody tried a link that gives them nothing: made up, over, or somebody else's. Who it was does not matter, also
/// where they are signed in: the link may have come to them from anywhere.
async fn note(visit: &Visit, hash: &str) -> Result<(), Failure> {
    let store = visit.store();
    let ever = invitation::ever_by_token_hash(store, hash, store.clock().now()).await?;
    let reason = match ever.as_ref().map(|(_, invitation)| invitation.state) {
        None => "link_unknown",
        // Good, and not for whoever came with it, or not on the word of whoever gave it.
        Some(InvitationState::Pending) => "link_refused",
        Some(_) => "link_ended",
    };
    let stray = Stray {
        action: "invitation.refuse",
        reason,
        at: ever.map(|(org, invitation)| {
            let target = store::audit::target("invitation", &invitation.id, Some(&invitation.email));
            (org, invitation.account, Some(target))
        }),
    };
    stray.record(&visit.broker, &visit.request).await;
    Ok(())
}

fn worthless() -> Failure {
    let text = "It was used already, taken back, or has run out; or the link is not complete. Ask whoever \
                invited you for a new one.";
    Failure::told(StatusCode::NOT_FOUND, "This invitation cannot be used", text)
}

/// What somebody can do with the invitation.
enum Way {
    /// They are the one who is invited.
    Accept(SignedIn),
    /// They choose a local password.
    SetPassword,
    /// They must sign in first.
    SignIn,
    /// They are signed in as somebody else.
    Other(SignedIn),
}

async fn way(visit: &Visit, open: &Open) -> Result<Way, Failure> {
    let store = visit.store();
    let invitation = &open.invitation;
    let Some(who) = visit.signed_in().await? else {
        if !invitation.local {
            return Ok(Way::SignIn);
        }
        let known = store::user::password_by_email(store, &open.org.id, &invitation.email).await?;
        return Ok(if known.is_some() {
            Way::SignIn
        } else {
            Way::SetPassword
        });
    };
    let user = &who.person.user;
    let connection = store::connection::get(store, &who.person.org, &user.connection).await?;
    // The addresses of local people come from administrators, as this one does.
    let is_local = connection.spec.kind == ConnectionKind::Password;
    let is_theirs = user
        .email
        .as_deref()
        .is_some_and(|email| match Address::parse(email) {
            Ok(address) => address.is(&invitation.email),
            Err(_) => is_local && email == invitation.email,
        });
    // Whoever administers an account decides who the people of its own connections are, so that these get roles
    // in that account only.
    let may_have = connection.account.is_none() || connection.account == invitation.account;
    let fits = who.person.org == open.org.id
        && may_have
        && is_theirs
        && (is_local || (user.email_verified && !invitation.local));
    Ok(if fits { Way::Accept(who) } else { Way::Other(who) })
}

#[derive(Template)]
#[template(path = "invite.html")]
struct InvitePage<'a> {
    organisation: &'a str,
    account: Option<&'a str>,
    role: &'a str,
    may: &'a str,
    inviter: Option<&'a str>,
    email: &'a str,
    expires: String,
    action: String,
    csrf: String,
    /// Who is signed in, if that is who is invited.
    accepts: Option<String>,
    sets_password: bool,
    sign_in: Option<String>,
    /// Who is signed in, if that is somebody else.
    other: Option<String>,
    name: &'a str,
    error: Option<&'a str>,
}

const fn words(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::OrgOwner => (
            "Owner",
            "do everything in the whole organisation, and say who owns it",
        ),
        Role::OrgAdmin => (
            "Administrator",
            "do everything in the whole organisation but name its owners",
        ),
        Role::OrgAuditor => (
            "Auditor",
            "read everything in the whole organisation, its audit log included",
        ),
        Role::AccountAdmin => ("Account administrator", "do everything in this account"),
        Role::AccountEditor => (
            "Account editor",
            "change apps, policies and groups of this account",
        ),
        Role::AccountAuditor => (
            "Account auditor",
            "read everything in this account, its audit log included",
        ),
    }
}

/// What the form says again.
struct Again<'a> {
    name: &'a str,
    error: &'a str,
    status: StatusCode,
}

async fn page(
    visit: &Visit,
    secret: &str,
    open: &Open,
    again: Option<Again<'_>>,
) -> Result<Response, Failure> {
    let way = way(visit, open).await?;
    let here = format!("/invite/{secret}");
    let invitation = &open.invitation;
    let pairs = [
        ("org", Some(open.org.slug.as_str())),
        ("return_to", Some(here.as_str())),
    ];
    let sign_in = matches!(way, Way::SignIn).then(|| with_query("/login", &pairs));
    let csrf = match &way {
        Way::Accept(who) => who.csrf(visit.store(), &open.purpose()),
        Way::SetPassword => visit.form_token(&open.purpose()),
        Way::SignIn | Way::Other(_) => String::new(),
    };
    let (role, may) = words(invitation.role);
    let page = InvitePage {
        organisation: &open.org.spec.name,
        account: open.account.as_deref(),
        role,
        may,
        inviter: open.inviter.as_deref(),
        email: &invitation.email,
        expires: me::when(invitation.expires_at),
        action: here,
        csrf,
        accepts: match &way {
            Way::Accept(who) => Some(display_name(who)),
            _ => None,
        },
        sets_password: matches!(way, Way::SetPassword),
        sign_in,
        other: match &way {
            Way::Other(who) => Some(display_name(who)),
            _ => None,
        },
        name: again.as_ref().map_or("", |again| again.name),
        error: again.as_ref().map(|again| again.error),
    };
    let status = again.as_ref().map_or(StatusCode::OK, |again| again.status);
    let mut response = html(status, &page, Forms::Here);
    // The address of this page is a secret.
    let headers = response.headers_mut();
    headers.insert(
        http::header::REFERRER_POLICY,
        http::HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

/// `GET /invite/{secret}`.
pub(crate) async fn show(visit: Visit, Path(secret): Path<String>) -> Result<Response, Failure> {
    let open = open(&visit, &secret).await?;
    page(&visit, &secret, &open, None).await
}

/// The form.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Typed {
    csrf: Option<String>,
    name: Option<String>,
    password: Option<String>,
}

/// `POST /invite/{secret}`.
pub(crate) async fn accept(
    visit: Visit,
    Path(secret): Path<String>,
    form: Result<Form<Typed>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(typed) = form.unwrap_or_default();
    let csrf = typed.csrf.as_deref().unwrap_or_default();
    let open = open(&visit, &secret).await?;
    match way(&visit, &open).await? {
        Way::Accept(who) => {
            if !who.csrf_ok(visit.store(), &open.purpose(), csrf) {
                return Err(Failure::Csrf);
            }
            let mut tx = visit.store().begin().await?;
            let user = &who.person.user;
            let taken = invitation::accept(&mut tx, &open.org.id, &open.hash, &user.id).await;
            let (invitation, _) = match taken {
                Ok(taken) => taken,
                Err(error) => {
                    drop(tx);
                    return Err(gone(&visit, &open, error).await);
                }
            };
            let session = Some(&who.session);
            tx.commit(event(&visit, &open.org.id, &invitation, (user, session)))
                .await?;
            Ok(redirect("/"))
        }
        Way::SetPassword => {
            if !visit.is_our_form(&open.purpose(), csrf) {
                return Err(Failure::Csrf);
            }
            set_password(&visit, &secret, &open, typed).await
        }
        Way::SignIn => page(&visit, &secret, &open, None).await,
        Way::Other(_) => {
            note(&visit, &open.hash).await?;
            page(&visit, &secret, &open, None).await
        }
    }
}

/// Somebody was faster, or whoever invited could not do so any more.
async fn gone(visit: &Visit, open: &Open, error: store::Error) -> Failure {
    match error {
        store::Error::NotFound(_) => match note(visit, &open.hash).await {
            Ok(()) => worthless(),
            Err(failure) => failure,
        },
        error => error.into(),
    }
}

fn event(
    visit: &Visit,
    org: &OrgId,
    invitation: &Invitation,
    (user, session): (&User, Option<&SessionId>),
) -> AuditEvent {
    let mut actor = AuditActor::of(wire::ActorKind::User);
    actor.user = Some(user.id.clone());
    actor.email.clone_from(&user.email);
    actor.session = session.cloned();
    AuditEvent {
        account: invitation.account.clone(),
        target: Some(store::audit::target(
            "invitation",
            &invitation.id,
            Some(&invitation.email),
        )),
        change: Some(wire::AuditChange {
            before: serde_json::Value::Null,
            after: serde_json::json!({ "user": user.id, "role": invitation.role, "account": invitation.account }),
        }),
        ..audit::event(visit, org, "invitation.accept", actor)
    }
}

/// The organisation's connection for local passwords.
async fn local_connection(visit: &Visit, org: &OrgId) -> Result<Connection, Failure> {
    let paging = store::Paging {
        limit: 200,
        after: None,
    };
    let all = store::connection::list(visit.store(), org, None, &paging).await?;
    let local = all.into_iter().find(|c| c.spec.kind == ConnectionKind::Password);
    local.ok_or_else(|| {
        let text = "This organisation has no local passwords any more. Ask whoever invited you.";
        Failure::told(StatusCode::CONFLICT, "No local passwords", text)
    })
}

/// Makes the local person, gives them the role and signs them in.
async fn set_password(visit: &Visit, secret: &str, open: &Open, typed: Typed) -> Result<Response, Failure> {
    let name = claims::clean(typed.name.as_deref().unwrap_or_default(), 120);
    let again = |error, status| Again {
        name: &name,
        error,
        status,
    };
    // By link: whoever does not have it uses up nothing.
    if visit.has_spent(Act::Invitation, &open.hash) {
        let again = again(WRONG, StatusCode::TOO_MANY_REQUESTS);
        return page(visit, secret, open, Some(again)).await;
    }
    let phc = match hash_password(typed.password.as_deref().unwrap_or_default()).await {
        Ok(phc) => phc,
        Err(store::Error::Invalid { .. }) => {
            let error = "Choose a password of 12 to 256 characters.";
            return page(visit, secret, open, Some(again(error, StatusCode::BAD_REQUEST))).await;
        }
        Err(error) => return Err(error.into()),
    };
    let invitation = &open.invitation;
    let connection = local_connection(visit, &open.org.id).await?;
    let identity = Identity {
        connection: connection.id,
        issuer: LOCAL.to_owned(),
        subject: invitation.email.to_ascii_lowercase(),
        email: Some(invitation.email.clone()),
        email_verified: false,
        name: (!name.is_empty()).then_some(name.clone()),
        groups: Vec::new(),
        claims: serde_json::Map::new(),
    };
    let store = visit.store();
    let mut tx = store.begin().await?;
    let person = match store::user::provision(&mut tx, &open.org.id, identity).await {
        Ok(person) => person,
        // They are there without a password, or switched off: nothing that a link may change.
        Err(store::Error::Conflict(_)) => {
            drop(tx);
            return Err(gone(visit, open, store::Error::NotFound("invitation")).await);
        }
        Err(error) => return Err(error.into()),
    };
    store::user::set_password(&mut tx, &person.user.id, &phc).await?;
    let taken = invitation::accept(&mut tx, &open.org.id, &open.hash, &person.user.id).await;
    let (invitation, _) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            drop(tx);
            return Err(gone(visit, open, error).await);
        }
    };
    tx.commit(event(visit, &open.org.id, &invitation, (&person.user, None)))
        .await?;
    let half = Half {
        org: open.org.id.clone(),
        user: person.user.id,
        account: None,
        return_to: None,
        at: store.clock().now(),
        confirms: None,
        enrols: false,
    };
    second_factor::go_on(visit, half).await
}
