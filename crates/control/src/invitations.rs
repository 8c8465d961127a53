//! `/invitations`: links that give a role to the person they were sent to, once. The page behind the link is
//! the broker's.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault, Kind};
use crate::input::{Body, Id, Query};
use crate::power::{Act, Given};
use crate::write::Write;
use crate::{Control, check, record};
use axum::response::Response;
use broker::mail::Mail;
use store::{Released, Tx, audit::target, invitation};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AuditEvent, CreatedInvitation, Invitation, InvitationId, InvitationState, NewInvitation, Page,
    ResendInvitation, Role, Timestamp,
};

/// Begins the secret of every invitation, so that no other kind of secret is taken for one.
const PREFIX: &str = "chi_";
/// How long a link is good if nobody says, in seconds.
const WEEK: u32 = 7 * 86_400;
/// How long it may be good.
const LIFE: std::ops::RangeInclusive<u32> = 300..=30 * 86_400;
/// An address is mailed at most once in so many seconds.
const PAUSE: i64 = 60;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
        .routes(routes!(resend))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct InvitationQuery {
    /// Only to roles in this account.
    account: Option<AccountId>,
    /// Only in this state.
    state: Option<InvitationState>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Invitations to roles that the caller may see
#[utoipa::path(get, path = "/invitations", tag = "invitations", params(InvitationQuery),
    responses((status = 200, body = Page<Invitation>)))]
async fn list(
    caller: Caller,
    Query(query): Query<InvitationQuery>,
) -> Answer<Json<Page<Released<Invitation>>>> {
    let cursors = caller.cursors();
    let paging = cursors.paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let accounts = caller.accounts_within(Permission::Read, query.account);
    let filter = invitation::Filter {
        accounts: accounts.as_deref(),
        state: query.state,
    };
    let (store, now) = (caller.store(), caller.store().clock().now());
    let items = invitation::list(store, &caller.org, &filter, now, &paging).await?;
    let items = caller.release().all(items).await?;
    Ok(Json(cursors.page(&caller.org, items, paging.limit, |i| &i.id)))
}

/// Invites somebody to a role that the caller could give; the link is shown this once, and mailed
#[utoipa::path(post, path = "/invitations", tag = "invitations", request_body = NewInvitation,
    responses((status = 201, body = CreatedInvitation), (status = 200, body = CreatedInvitation)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let new: NewInvitation = body.read()?;
    if let Some(account) = &new.account {
        caller.account(account, Permission::Administer).await?;
    }
    let account = new.account.clone();
    let given = Given {
        local: new.local,
        ..Given::new(new.role, account.as_ref())
    };
    let warrant = write.warrant(&caller, &Act::Roles(&[given]))?;
    check::email("/email", &new.email)?;
    let expires_at = end(&caller, new.expires_in_seconds)?;
    let (secret, hash) = mint()?;
    let mut tx = caller.begin().await?;
    let new = invitation::New {
        email: new.email,
        account: new.account,
        role: new.role,
        local: new.local,
        created_by: caller.user().cloned(),
        expires_at,
    };
    refuse_second(&caller, &mut tx, &new).await?;
    let record = invitation::create(&mut tx, &caller.org, new, &hash).await?;
    let event = event(&caller, "invitation.create", (None, Some(&record)));
    write.commit(&warrant, tx, vec![event]).await?;
    let path = format!("invitations/{}", record.id);
    // Whoever just entered the address knows it, a token of an account, too.
    let email = record.email.clone();
    let sent = send(&caller, &write, record, &secret).await?;
    Ok(write.created(
        &path,
        1,
        &sent.map(|mut sent| {
            sent.record.email = email;
            sent
        }),
    ))
}

/// One invitation
#[utoipa::path(get, path = "/invitations/{id}", tag = "invitations", responses((status = 200, body = Invitation)))]
async fn get(caller: Caller, Id(id): Id<InvitationId>) -> Answer<Json<Released<Invitation>>> {
    let invitation = load(&caller, &id).await?;
    Ok(Json(caller.release().one(invitation).await?))
}

/// Makes a new link, also after the old one ended, and mails it; the old one is worthless then
#[utoipa::path(post, path = "/invitations/{id}/resend", tag = "invitations", request_body = ResendInvitation,
    responses((status = 200, body = CreatedInvitation)))]
async fn resend(
    caller: Caller,
    Id(id): Id<InvitationId>,
    write: Write,
    body: Option<Body>,
) -> Answer<Response> {
    let before = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::Roles(&[given(&before)]))?;
    let body: ResendInvitation = body.map(Body::read).transpose()?.unwrap_or_default();
    let expires_at = end(&caller, body.expires_in_seconds)?;
    let now = caller.store().clock().now();
    let wait = before.sent_at.plus_seconds(PAUSE).seconds() - now.seconds();
    if wait > 0 && !write.is_dry_run() {
        let fault = Fault::new(Kind::TooManyRequests, "it was sent less than a minute ago");
        return Err(fault.retry_after(wait.unsigned_abs()));
    }
    let (secret, hash) = mint()?;
    let mut tx = caller.begin().await?;
    let after = invitation::renew(&mut tx, &before, &hash, expires_at).await?;
    let event = event(&caller, "invitation.resend", (Some(&before), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    let sent = send(&caller, &write, after, &secret).await?;
    Ok(write.changed(1, &sent))
}

/// Takes an invitation back
#[utoipa::path(delete, path = "/invitations/{id}", tag = "invitations",
    responses((status = 204), (status = 200, body = Invitation)))]
async fn delete(caller: Caller, Id(id): Id<InvitationId>, write: Write) -> Answer<Response> {
    let before = load(&caller, &id).await?;
    // Whoever may give the role takes an invitation back, also one with a password.
    let given = Given::new(before.role, before.account.as_ref());
    let warrant = write.warrant(&caller, &Act::RevokeInvitation(given))?;
    let mut tx = caller.begin().await?;
    let after = invitation::revoke(&mut tx, &before).await?;
    let event = event(&caller, "invitation.revoke", (Some(&before), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&caller.release().one(after).await?))
}

/// Refuses what is there already, where the caller sees whose it is. Elsewhere the refusal would tell that the address is
/// invited; there may be two then, which give no more than one.
async fn refuse_second(caller: &Caller, tx: &mut Tx, new: &invitation::New) -> Answer<()> {
    let now = tx.now();
    let same = invitation::pending_like(tx, &caller.org, new, now).await?;
    let same = caller.release().all(same).await?;
    match same.iter().any(|invitation| !invitation.email.is_empty()) {
        true => Err(Fault::conflict(
            "this address has the same invitation already; resend that one",
        )),
        false => Ok(()),
    }
}

const fn given(invitation: &Invitation) -> Given<'_> {
    Given {
        role: invitation.role,
        account: invitation.account.as_ref(),
        local: invitation.local,
    }
}

fn end(caller: &Caller, seconds: Option<u32>) -> Answer<Timestamp> {
    let seconds = seconds.unwrap_or(WEEK);
    check::range("/expires_in_seconds", seconds, LIFE)?;
    Ok(caller.store().clock().now().plus_seconds(i64::from(seconds)))
}

fn mint() -> Answer<(String, String)> {
    let secret = store::random_secret(PREFIX)?;
    let hash = store::sha256(&secret);
    Ok((secret, hash))
}

/// What the caller gets to see, once the mail is on its way. That a mail server does not answer undoes nothing:
/// the link is in the answer.
async fn send(
    caller: &Caller,
    write: &Write,
    record: Invitation,
    secret: &str,
) -> Answer<Released<CreatedInvitation>> {
    if write.is_dry_run() {
        let url = String::new();
        let record = caller.release().one(record).await?;
        return Ok(record.map(|record| CreatedInvitation {
            record,
            url,
            mailed: false,
        }));
    }
    let url = format!("{}/invite/{secret}", caller.control.control_url());
    let mailer = caller.control.broker().mailer();
    let mut mailed = false;
    if mailer.is_configured() {
        let mail = mail(caller, &record, &url).await?;
        match mailer.send(mail).await {
            Ok(()) => mailed = true,
            Err(error) => tracing::warn!(%error, invitation = %record.id, "an invitation was not mailed"),
        }
    }
    let record = caller.release().one(record).await?;
    Ok(record.map(|record| CreatedInvitation { record, url, mailed }))
}

async fn mail(caller: &Caller, record: &Invitation, url: &str) -> Answer<Mail> {
    let organisation = store::org::get(caller.store(), &caller.org).await?.spec.name;
    let place = match &record.account {
        None => organisation.clone(),
        Some(id) => {
            let account = store::org::account(caller.store(), &caller.org, id).await?;
            format!("{}, {organisation}", account.spec.name)
        }
    };
    let person = caller.person.as_ref().map(|p| &p.user);
    let inviter = person.and_then(|user| user.email.clone().or_else(|| user.name.clone()));
    // What an identity provider says about somebody must not become text of ours.
    let inviter = inviter.filter(|text| check::name("", text).is_ok());
    let begins = match inviter {
        Some(inviter) => format!("{inviter} invites you"),
        None => "You are invited".to_owned(),
    };
    let text = format!(
        "{begins} to {place}, as {}.\n\nOpen this link to accept:\n\n{url}\n\n\
         It can be used once, until {}. If you did not expect this, do nothing.\n",
        words(record.role),
        record.expires_at,
    );
    Ok(Mail {
        to: record.email.clone(),
        subject: format!("Invitation to {organisation}"),
        text,
        html: None,
    })
}

const fn words(role: Role) -> &'static str {
    match role {
        Role::OrgOwner => "an owner",
        Role::OrgAdmin | Role::AccountAdmin => "an administrator",
        Role::OrgAuditor | Role::AccountAuditor => "an auditor",
        Role::AccountEditor => "an editor",
    }
}

async fn load(caller: &Caller, id: &InvitationId) -> Answer<Invitation> {
    let now = caller.store().clock().now();
    let invitation = invitation::get(caller.store(), &caller.org, id, now).await?;
    match &invitation.account {
        Some(account) => caller.require(Permission::Read, Scope::Account(account))?,
        None if !caller.may(Permission::Read, Scope::Organisation) => return Err(Fault::not_found()),
        None => {}
    }
    Ok(invitation)
}

fn event(
    caller: &Caller,
    action: &str,
    (before, after): (Option<&Invitation>, Option<&Invitation>),
) -> AuditEvent {
    let invitation = before.or(after);
    let about = invitation.map(|i| target("invitation", &i.id, Some(&i.email)));
    let account = invitation.and_then(|i| i.account.as_ref());
    caller.event(action, account, about, record::change(before, after))
}
