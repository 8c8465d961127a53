//! `/api-tokens`: credentials for automation. Everybody makes their own; administrators of an account make
//! those of the account, which act as themselves and outlive their maker. No token makes, changes or rolls
//! one that may do more than itself.

use crate::answer::Json;
use crate::caller::{Caller, Credential, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{AccountQuery, Body, Id, Query};
use crate::power::{Act, Whose};
use crate::write::{Write, shown};
use crate::{Control, check, network, record, token};
use axum::response::Response;
use store::{api_token, audit::target};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    ApiToken, ApiTokenId, ApiTokenSpec, AuditEvent, CreatedApiToken, NewApiToken, Page, Role, RollApiToken,
    TokenScope,
};

/// Longest overlap of two secrets, in seconds.
const OVERLAP: u32 = 86_400;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(roll))
}

/// The caller's tokens and those of the caller's accounts; for the organisation's administrators and auditors,
/// everybody's
#[utoipa::path(get, path = "/api-tokens", tag = "api-tokens", params(AccountQuery),
    responses((status = 200, body = Page<ApiToken>)))]
async fn list(caller: Caller, Query(query): Query<AccountQuery>) -> Answer<Json<Page<ApiToken>>> {
    let cursors = caller.cursors();
    let paging = cursors.paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let accounts = caller.accounts(Permission::Read);
    let filter = api_token::Filter {
        visible: accounts.as_deref().map(|accounts| (caller.user(), accounts)),
        account: query.account.as_ref(),
        owner: None,
    };
    let items = api_token::list(caller.store(), &caller.org, &filter, &paging).await?;
    Ok(Json(cursors.page(&caller.org, items, paging.limit, |t| &t.id)))
}

/// Makes a token of the caller, or of an account that the caller administers; it is shown this once
#[utoipa::path(post, path = "/api-tokens", tag = "api-tokens", request_body = NewApiToken,
    responses((status = 201, body = CreatedApiToken), (status = 200, body = CreatedApiToken)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let mut new: NewApiToken = body.read()?;
    check::name("/name", &new.name)?;
    if new.scopes.is_empty() {
        return Err(Fault::invalid("/scopes", "at least one"));
    }
    for (i, scope) in new.scopes.iter().enumerate() {
        if new.scopes[..i].contains(scope) {
            return Err(Fault::invalid(format!("/scopes/{i}"), "given twice"));
        }
    }
    new.allowed_ips = network::check("/allowed_ips", &new.allowed_ips)?;
    match (&new.account, new.role) {
        (Some(account), Some(role)) if role.is_account_role() => {
            caller.account(account, Permission::Administer).await?;
        }
        (Some(_), _) => return Err(Fault::invalid("/role", "a role in the account is needed")),
        (None, Some(_)) => {
            let detail = "only with `account`; a token of one's own has one's own roles";
            return Err(Fault::invalid("/role", detail));
        }
        (None, None) if caller.user().is_none() => {
            let detail = "a token of an account makes tokens of that account only";
            return Err(Fault::invalid("/account", detail));
        }
        (None, None) => {}
    }
    let spec = ApiTokenSpec {
        name: new.name.clone(),
        expires_at: new.expires_at,
        allowed_ips: new.allowed_ips.clone(),
    };
    within(&caller, &new.scopes, &spec)?;
    in_future(&caller, &spec)?;
    let account = new.account.clone();
    let whose = account.as_ref().map_or(Whose::Own, Whose::Account);
    let warrant = write.warrant(&caller, &Act::ShowApiToken(whose))?;
    let (token, prefix, hash) = token::mint_api_token()?;
    let mut tx = caller.begin().await?;
    let record = api_token::create(&mut tx, &caller.org, caller.user(), new, (&prefix, &hash)).await?;
    let event = event(&caller, "api_token.create", (None, Some(&record)));
    write.commit(&warrant, tx, vec![event]).await?;
    let path = format!("api-tokens/{}", record.id);
    // A dry run shows no credential: it would never work.
    let token = if write.is_dry_run() { String::new() } else { token };
    Ok(write.created(&path, record.version, &CreatedApiToken { record, token }))
}

/// One token
#[utoipa::path(get, path = "/api-tokens/{id}", tag = "api-tokens", responses((status = 200, body = ApiToken)))]
async fn get(caller: Caller, Id(id): Id<ApiTokenId>) -> Answer {
    let token = load(&caller, &id).await?;
    Ok(shown(token.version, &token))
}

/// Changes a token's name, end or addresses
#[utoipa::path(patch, path = "/api-tokens/{id}", tag = "api-tokens",
    request_body(content = ApiTokenSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = ApiToken)))]
async fn patch(caller: Caller, Id(id): Id<ApiTokenId>, write: Write, body: Body) -> Answer<Response> {
    let token = load(&caller, &id).await?;
    let whose = owned(&caller, &token)?;
    write.expects(token.version)?;
    let mut spec: ApiTokenSpec = body.merge(&token.spec)?;
    check::name("/name", &spec.name)?;
    spec.allowed_ips = network::check("/allowed_ips", &spec.allowed_ips)?;
    if spec == token.spec {
        return Ok(write.changed(token.version, &token));
    }
    if spec.expires_at != token.spec.expires_at {
        in_future(&caller, &spec)?;
    }
    if (spec.expires_at, &spec.allowed_ips) != (token.spec.expires_at, &token.spec.allowed_ips) {
        within(&caller, &token.scopes, &spec)?;
    }
    let act = Act::ChangeApiToken {
        whose,
        before: &token.spec,
        after: &spec,
    };
    let warrant = write.warrant(&caller, &act)?;
    let mut tx = caller.begin().await?;
    let after = api_token::update(&mut tx, &token, spec).await?;
    let event = event(&caller, "api_token.update", (Some(&token), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Gives a token a new secret, shown this once; the old one ends at once, or after an overlap of a day at most
#[utoipa::path(post, path = "/api-tokens/{id}/roll", tag = "api-tokens", request_body = RollApiToken,
    responses((status = 200, body = CreatedApiToken)))]
async fn roll(caller: Caller, Id(id): Id<ApiTokenId>, write: Write, body: Option<Body>) -> Answer<Response> {
    let before = load(&caller, &id).await?;
    let whose = owned(&caller, &before)?;
    let RollApiToken { overlap_seconds } = body.map(Body::read).transpose()?.unwrap_or_default();
    check::range("/overlap_seconds", overlap_seconds, 0..=OVERLAP)?;
    // Whoever gets the secret can do what the token can.
    within(&caller, &before.scopes, &before.spec)?;
    let warrant = write.warrant(&caller, &Act::ShowApiToken(whose))?;
    let now = caller.store().clock().now();
    if before.spec.expires_at.is_some_and(|at| at <= now) {
        return Err(Fault::conflict("the token has ended: change `expires_at` first"));
    }
    let until = (overlap_seconds > 0).then(|| now.plus_seconds(i64::from(overlap_seconds)));
    let (token, prefix, hash) = token::mint_api_token()?;
    let mut tx = caller.begin().await?;
    let record = api_token::roll(&mut tx, &before, (&prefix, &hash), until).await?;
    let event = event(&caller, "api_token.roll", (Some(&before), Some(&record)));
    write.commit(&warrant, tx, vec![event]).await?;
    let token = if write.is_dry_run() { String::new() } else { token };
    Ok(write.changed(record.version, &CreatedApiToken { record, token }))
}

/// Ends a token
#[utoipa::path(delete, path = "/api-tokens/{id}", tag = "api-tokens",
    responses((status = 204), (status = 200, body = ApiToken)))]
async fn delete(caller: Caller, Id(id): Id<ApiTokenId>, write: Write) -> Answer<Response> {
    let token = load(&caller, &id).await?;
    let whose = match &token.owner {
        Some(owner) if caller.user() != Some(owner) => {
            let roles = store::org::roles_of(caller.store(), owner).await?;
            Whose::Other {
                of_owner: roles.iter().any(|r| r.role == Role::OrgOwner),
            }
        }
        _ => owned(&caller, &token)?,
    };
    let warrant = write.warrant(&caller, &Act::DeleteApiToken(whose))?;
    write.expects(token.version)?;
    let mut tx = caller.begin().await?;
    api_token::delete(&mut tx, &token).await?;
    let event = event(&caller, "api_token.delete", (Some(&token), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&token))
}

/// A token is changed by its person, or by the administrators of its account; nobody else may act as them.
fn owned<'a>(caller: &Caller, token: &'a ApiToken) -> Answer<Whose<'a>> {
    match (&token.owner, &token.account) {
        (Some(owner), _) if caller.user() == Some(owner) => Ok(Whose::Own),
        (None, Some(account)) => {
            caller.require(Permission::Administer, Scope::Account(account))?;
            Ok(Whose::Account(account))
        }
        _ => Err(Fault::forbidden("only its owner may do this")),
    }
}

/// Goes on unless a token would come to more than the one that the caller came with.
fn within(caller: &Caller, scopes: &[TokenScope], spec: &ApiTokenSpec) -> Answer<()> {
    let Credential::Token(own) = &caller.credential else {
        return Ok(());
    };
    let more = |what: &str| {
        let detail = format!("a token makes no token that may do more than itself: {what}");
        Err(Fault::forbidden(detail))
    };
    if !scopes.iter().all(|scope| caller.has_scope(*scope)) {
        return more("scopes");
    }
    if let Some(end) = own.spec.expires_at
        && spec.expires_at.is_none_or(|at| at > end)
    {
        return more("it would end later");
    }
    if !network::is_within(&spec.allowed_ips, &own.spec.allowed_ips) {
        return more("it could be used from more addresses");
    }
    Ok(())
}

fn in_future(caller: &Caller, spec: &ApiTokenSpec) -> Answer<()> {
    let now = caller.store().clock().now();
    if spec.expires_at.is_some_and(|at| at <= now) {
        return Err(Fault::invalid("/expires_at", "in the future"));
    }
    Ok(())
}

async fn load(caller: &Caller, id: &ApiTokenId) -> Answer<ApiToken> {
    let token = api_token::get(caller.store(), &caller.org, id).await?;
    let own = token.owner.is_some() && token.owner.as_ref() == caller.user();
    let scope = token.account.as_ref().map_or(Scope::Organisation, Scope::Account);
    if own || caller.may(Permission::Read, scope) {
        Ok(token)
    } else {
        Err(Fault::not_found())
    }
}

fn event(
    caller: &Caller,
    action: &str,
    (before, after): (Option<&ApiToken>, Option<&ApiToken>),
) -> AuditEvent {
    let token = before.or(after);
    let about = token.map(|t| target("api_token", &t.id, Some(&t.spec.name)));
    let account = token.and_then(|t| t.account.as_ref());
    caller.event(action, account, about, record::change(before, after))
}
