//! `/apps`: what the gateway protects. The Managed OAuth switch is a member of the app.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, NamedQuery, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, hosts, places, record, rules};
use axum::response::Response;
use policy::{Ruleset, ScopeSet};
use std::collections::HashSet;
use store::audit::target;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, App, AppId, AppKind, AppSpec, AuditEvent, NewApp, OauthSettings, Page, Policy, RuleRef,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

/// Apps that the caller may see
#[utoipa::path(get, path = "/apps", tag = "apps", params(NamedQuery), responses((status = 200, body = Page<App>)))]
async fn list(caller: Caller, Query(query): Query<NamedQuery>) -> Answer<Json<Page<App>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts_within(Permission::Read, query.account);
    let items = store::app::named(
        caller.store(),
        &caller.org,
        (mine.as_deref(), query.q.as_deref()),
        &paging,
    )
    .await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |a| &a.id,
    )))
}

/// Publishes an app
#[utoipa::path(post, path = "/apps", tag = "apps", request_body = NewApp,
    responses((status = 201, body = App), (status = 200, body = App)))]
async fn create(caller: Caller, write: Write, mut body: Body) -> Answer<Response> {
    let account = caller.account(&body.need("account")?, Permission::Edit).await?;
    let spec: AppSpec = body.read()?;
    check(&caller, &account.id, &spec, None).await?;
    let warrant = write.warrant(&caller, &Act::MakeApp(&account.id))?;
    let public_url = spec.public_url.clone();
    let mut tx = caller.begin().await?;
    let app = match store::app::create(&mut tx, &caller.org, &account.id, spec).await {
        Ok(app) => app,
        Err(error) => {
            drop(tx);
            return Err(hosts::refused(&caller, &account.id, &public_url, error).await);
        }
    };
    let event = event(&caller, "app.create", &app, (None, Some(&app.spec)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.created(&format!("apps/{}", app.id), app.version, &app))
}

/// One app
#[utoipa::path(get, path = "/apps/{id}", tag = "apps", responses((status = 200, body = App)))]
async fn get(caller: Caller, Id(id): Id<AppId>) -> Answer {
    let app = load(&caller, &id).await?;
    Ok(shown(app.version, &app))
}

/// Changes an app; `{"managed_oauth": true}` is the switch
#[utoipa::path(patch, path = "/apps/{id}", tag = "apps",
    request_body(content = AppSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = App)))]
async fn patch(caller: Caller, Id(id): Id<AppId>, write: Write, body: Body) -> Answer<Response> {
    let app = load(&caller, &id).await?;
    caller.require(Permission::Edit, Scope::Account(&app.account))?;
    write.expects(app.version)?;
    let spec: AppSpec = body.merge(&app.spec)?;
    if spec == app.spec {
        return Ok(write.changed(app.version, &app));
    }
    check(&caller, &app.account, &spec, Some(&app.spec)).await?;
    let warrant = write.warrant(&caller, &Act::ChangeApp(&app.account, &app.spec, &spec))?;
    let public_url = spec.public_url.clone();
    let mut tx = caller.begin().await?;
    let after = match store::app::update(&mut tx, &app, spec).await {
        Ok(after) => after,
        Err(error) => {
            drop(tx);
            return Err(hosts::refused(&caller, &app.account, &public_url, error).await);
        }
    };
    let event = event(
        &caller,
        "app.update",
        &after,
        (Some(&app.spec), Some(&after.spec)),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Deletes an app with its clients, grants and sessions
#[utoipa::path(delete, path = "/apps/{id}", tag = "apps", responses((status = 204), (status = 200, body = App)))]
async fn delete(caller: Caller, Id(id): Id<AppId>, write: Write) -> Answer<Response> {
    let app = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::DeleteApp(&app.account))?;
    write.expects(app.version)?;
    let mut tx = caller.begin().await?;
    store::app::delete(&mut tx, &app).await?;
    let event = event(&caller, "app.delete", &app, (Some(&app.spec), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&app))
}

/// An app, if the caller may see it.
pub(crate) async fn load(caller: &Caller, id: &AppId) -> Answer<App> {
    let app = store::app::get(caller.store(), &caller.org, id).await?;
    caller.require(Permission::Read, Scope::Account(&app.account))?;
    Ok(app)
}

async fn check(caller: &Caller, account: &AccountId, spec: &AppSpec, before: Option<&AppSpec>) -> Answer<()> {
    check::name("/name", &spec.name)?;
    places::check(caller, spec, before).await?;
    check::range("/session_seconds", spec.session_seconds, 60..=2_592_000)?;
    let limits = &spec.origin_limits;
    for (at, seconds) in [
        ("/origin_limits/answer_seconds", limits.answer_seconds),
        ("/origin_limits/idle_seconds", limits.idle_seconds),
        ("/origin_limits/event_seconds", limits.event_seconds),
    ] {
        check::range(at, seconds, 1..=86_400)?;
    }
    let oldest = spec.oldest_proof.unwrap_or_default();
    check::oldest_proof(oldest.agents_seconds, oldest.sessions_seconds)?;
    check_methods(spec)?;
    check::at_most("/browser_origins", &spec.browser_origins, 50)?;
    for (i, origin) in spec.browser_origins.iter().enumerate() {
        let pointer = format!("/browser_origins/{i}");
        check::page_origin(&pointer, origin)?;
        if spec.browser_origins[..i].contains(origin) {
            return Err(Fault::invalid(pointer, "given twice"));
        }
    }
    check_oauth(&spec.oauth)?;
    check_policies(caller, account, spec).await
}

fn check_methods(spec: &AppSpec) -> Answer<()> {
    check::at_most("/extra_methods", &spec.extra_methods, 50)?;
    if spec.kind == AppKind::Mcp && !spec.extra_methods.is_empty() {
        let detail = "an MCP endpoint takes the methods of its transport and no others";
        return Err(Fault::invalid("/extra_methods", detail));
    }
    for (i, method) in spec.extra_methods.iter().enumerate() {
        let token = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
        let is_method = !method.is_empty() && method.len() <= 40 && method.bytes().all(token);
        if !is_method || matches!(method.as_str(), "CONNECT" | "TRACE") {
            let detail = "a method in upper case, such as REPORT; not CONNECT or TRACE";
            return Err(Fault::invalid(format!("/extra_methods/{i}"), detail));
        }
        if wire::WEB_METHODS.contains(&method.as_str()) || spec.extra_methods[..i].contains(method) {
            let detail = "every web app takes it, or it is there already";
            return Err(Fault::invalid(format!("/extra_methods/{i}"), detail));
        }
    }
    Ok(())
}

fn check_oauth(oauth: &OauthSettings) -> Answer<()> {
    if oauth.scopes.is_empty() || oauth.scopes.len() > 100 {
        return Err(Fault::invalid("/oauth/scopes", "1 to 100 scopes"));
    }
    for (i, scope) in oauth.scopes.iter().enumerate() {
        if scope.description.chars().count() > 500 || scope.description.chars().any(wire::is_deceptive) {
            let pointer = format!("/oauth/scopes/{i}/description");
            return Err(Fault::invalid(
                pointer,
                "at most 500 characters, no control or invisible characters",
            ));
        }
        check::at_most(&format!("/oauth/scopes/{i}/covers"), &scope.covers, 200)?;
        if oauth.openid && wire::OPENID_SCOPES.contains(&scope.name.as_str()) {
            let pointer = format!("/oauth/scopes/{i}/name");
            return Err(Fault::invalid(
                pointer,
                "is one of OpenID Connect's where `openid` is on",
            ));
        }
    }
    ScopeSet::compile(&oauth.scopes).map_err(|e| Fault::compile("/oauth", e))?;
    check::range(
        "/oauth/access_token_seconds",
        oauth.access_token_seconds,
        60..=86_400,
    )?;
    check::range("/oauth/grant_seconds", oauth.grant_seconds, 300..=31_536_000)?;
    check::range("/oauth/rotation_seconds", oauth.rotation_seconds, 30..=600)?;
    let registration = &oauth.registration;
    let pointer = "/oauth/registration/redirect_uris";
    check::at_most(pointer, &registration.redirect_uris, 100)?;
    for (i, uri) in registration.redirect_uris.iter().enumerate() {
        check::redirect_uri(&format!("{pointer}/{i}"), uri)?;
    }
    Ok(())
}

async fn check_policies(caller: &Caller, account: &AccountId, spec: &AppSpec) -> Answer<()> {
    check::at_most("/policies", &spec.policies, 100)?;
    let mut seen = HashSet::new();
    let mut chosen = Vec::new();
    let mut known = store::rule::some::<Policy>(caller.store(), &caller.org, &spec.policies).await?;
    for (i, id) in spec.policies.iter().enumerate() {
        let pointer = format!("/policies/{i}");
        if !seen.insert(id) {
            return Err(Fault::invalid(pointer, "given twice"));
        }
        let policy = known.remove(id).filter(|policy| policy.account == *account);
        let policy = policy.ok_or_else(|| Fault::no_such(pointer, "policy"))?;
        let name = policy.spec.name.clone();
        chosen.push((
            RuleRef {
                id: id.to_string(),
                name,
            },
            policy.spec,
        ));
    }
    let org = store::org::get(caller.store(), &caller.org).await?;
    let groups = rules::groups(caller, account).await?;
    Ruleset::compile(&org.spec.floor, &chosen, &groups).map_err(|e| Fault::compile("", e))?;
    Ok(())
}

fn event(
    caller: &Caller,
    action: &str,
    app: &App,
    (before, after): (Option<&AppSpec>, Option<&AppSpec>),
) -> AuditEvent {
    let mut about = target("app", &app.id, Some(&app.spec.name));
    about.app = Some(app.id.clone());
    caller.event(
        action,
        Some(&app.account),
        Some(about),
        record::change(before, after),
    )
}
