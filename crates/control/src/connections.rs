//! `/connections`: upstream identity providers, shared ones of the organisation and those of one account.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault, Kind};
use crate::input::{Body, Id, PageQuery, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, record};
use axum::response::Response;
use std::collections::BTreeSet;
use store::{Paging, Released, audit::target, impact::Made};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AuditEvent, Callback, Connection, ConnectionId, ConnectionKind, ConnectionSpec,
    ConnectionWarning, ConnectionWarningCode, EmailVerification, NewConnection, Page, Preset,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

/// Connections that the caller may see: with account roles, the account's own and those bound to it
#[utoipa::path(get, path = "/connections", tag = "connections", params(PageQuery),
    responses((status = 200, body = Page<Connection>)))]
async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer<Json<Page<Released<Connection>>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let (store, org) = (caller.store(), &caller.org);
    let items = match caller.accounts(Permission::Read) {
        None => store::connection::list(store, org, None, &paging).await?,
        Some(mine) => store::connection::list_known(store, org, &mine, &paging).await?,
    };
    let mut page = caller.cursors().page(org, items, paging.limit, |c| &c.id);
    for connection in &mut page.items {
        look_at(&caller, connection).await;
    }
    let items = caller.release().all(page.items).await?;
    Ok(Json(Page {
        items,
        next: page.next,
    }))
}

/// Adds what the provider's discovery document gives reason for.
async fn look_at(caller: &Caller, connection: &mut Connection) {
    let concerns = caller.control.broker().concerns(connection).await;
    let warnings = concerns.into_iter().map(|detail| ConnectionWarning {
        code: ConnectionWarningCode::Discovery,
        detail,
    });
    connection.warnings.extend(warnings);
}

/// Makes a connection, shared or of one account
#[utoipa::path(post, path = "/connections", tag = "connections", request_body = NewConnection,
    responses((status = 201, body = Connection), (status = 200, body = Connection)))]
async fn create(caller: Caller, write: Write, mut body: Body) -> Answer<Response> {
    let account: Option<AccountId> = body.take("account")?;
    match &account {
        Some(id) => caller.account(id, Permission::Administer).await.map(drop)?,
        None => caller.require(Permission::Administer, Scope::Organisation)?,
    }
    let spec: ConnectionSpec = body.read()?;
    check(&caller, account.as_ref(), &spec, None)?;
    if spec.kind == ConnectionKind::Password {
        let all = store::connection::list(caller.store(), &caller.org, None, &Paging::default()).await?;
        if account.is_some() || all.iter().any(|c| c.spec.kind == ConnectionKind::Password) {
            return Err(Fault::conflict(
                "local passwords are there already, for the whole organisation",
            ));
        }
    }
    crate::bindings::check_future(&caller, None, &spec).await?;
    let warrant = write.warrant(&caller, &Act::MakeConnection(account.as_ref(), &spec))?;
    let logged = spec.clone();
    let mut tx = caller.begin().await?;
    let connection = store::connection::create(&mut tx, &caller.org, account.as_ref(), spec).await?;
    let event = event(&caller, "connection.create", &connection, (None, Some(&logged)));
    write.commit(&warrant, tx, vec![event]).await?;
    let connection = caller.release().one(connection).await?;
    Ok(write.created(
        &format!("connections/{}", connection.id),
        connection.version,
        &connection,
    ))
}

/// One connection
#[utoipa::path(get, path = "/connections/{id}", tag = "connections", responses((status = 200, body = Connection)))]
async fn get(caller: Caller, Id(id): Id<ConnectionId>) -> Answer {
    let mut connection = load(&caller, &id).await?;
    look_at(&caller, &mut connection).await;
    let connection = caller.release().one(connection).await?;
    Ok(shown(connection.version, &connection))
}

/// Changes a connection; disabling it ends sessions and grants of its people at once
///
/// Another issuer needs the client secret in the same request. What says who people are is
/// changed by an owner if an owner comes through the connection.
#[utoipa::path(patch, path = "/connections/{id}", tag = "connections",
    request_body(content = ConnectionSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Connection)))]
async fn patch(caller: Caller, Id(id): Id<ConnectionId>, write: Write, body: Body) -> Answer<Response> {
    let connection = load(&caller, &id).await?;
    require(&caller, &connection)?;
    write.expects(connection.version)?;
    let spec: ConnectionSpec = body.merge(&connection.spec)?;
    if spec == connection.spec {
        return Ok(write.changed(connection.version, &caller.release().one(connection).await?));
    }
    check(
        &caller,
        connection.account.as_ref(),
        &spec,
        Some(&connection.spec),
    )?;
    secret_goes_along(&connection, &spec)?;
    crate::bindings::check_future(&caller, Some(&id), &spec).await?;
    let act = Act::ChangeConnection {
        before: &connection,
        after: &spec,
        of_owner: store::power::owner_comes_through(caller.store(), &id).await?,
    };
    let warrant = write.warrant(&caller, &act)?;
    let after = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let after = store::connection::update(&mut tx, &connection, spec.clone()).await?;
        let specs = (Some(&connection.spec), Some(&spec));
        let events = vec![event(&caller, "connection.update", &after, specs)];
        let answer = (warrant, after);
        Ok(Made { tx, events, answer })
    });
    let after = after.await?;
    Ok(write.changed(after.version, &caller.release().one(after).await?))
}

/// Deletes a connection that nobody ever signed in with and that is bound nowhere
#[utoipa::path(delete, path = "/connections/{id}", tag = "connections",
    responses((status = 204), (status = 200, body = Connection)))]
async fn delete(caller: Caller, Id(id): Id<ConnectionId>, write: Write) -> Answer<Response> {
    let connection = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::DeleteConnection(connection.account.as_ref()))?;
    write.expects(connection.version)?;
    let org = store::org::get(caller.store(), &caller.org).await?;
    if org.spec.primary_connection.as_ref() == Some(&id) {
        return Err(Fault::conflict("it is the organisation's primary connection"));
    }
    let mut tx = caller.begin().await?;
    store::connection::delete(&mut tx, &connection).await?;
    let event = event(
        &caller,
        "connection.delete",
        &connection,
        (Some(&connection.spec), None),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&caller.release().one(connection).await?))
}

/// Shared connections that are bound to accounts of the caller; `None` when the caller sees all.
pub(crate) fn bound(caller: &Caller) -> Option<BTreeSet<ConnectionId>> {
    let mine = caller.accounts(Permission::Read)?;
    Some(caller.store().directory().counting(&mine))
}

/// A connection, if the caller may see it.
pub(crate) async fn load(caller: &Caller, id: &ConnectionId) -> Answer<Connection> {
    let connection = store::connection::get(caller.store(), &caller.org, id).await?;
    match &connection.account {
        Some(account) => caller.require(Permission::Read, Scope::Account(account))?,
        None => {
            if bound(caller).is_some_and(|bound| !bound.contains(id)) {
                return Err(Fault::not_found());
            }
        }
    }
    Ok(connection)
}

/// The stored secret was given for one provider. Whoever turns the connection to another one has to know it, or it
/// would be theirs by turning it to themselves.
fn secret_goes_along(before: &Connection, after: &ConnectionSpec) -> Answer<()> {
    // All endpoints follow from the issuer.
    if before.has_client_secret && after.client_secret.is_none() && before.spec.issuer != after.issuer {
        let detail = "the stored secret goes to no other provider: give the one for this issuer";
        return Err(Fault::of(Kind::SecretRequired).at("/client_secret", detail));
    }
    Ok(())
}

/// Goes on if the caller may change a connection.
pub(crate) fn require(caller: &Caller, connection: &Connection) -> Answer<()> {
    match &connection.account {
        Some(account) => caller.require(Permission::Administer, Scope::Account(account)),
        None => caller.require(Permission::Administer, Scope::Organisation),
    }
}

fn check(
    caller: &Caller,
    account: Option<&AccountId>,
    spec: &ConnectionSpec,
    before: Option<&ConnectionSpec>,
) -> Answer<()> {
    check::name("/name", &spec.name)?;
    if before.is_some_and(|b| b.kind != spec.kind) {
        return Err(Fault::invalid("/kind", "the kind is fixed at creation"));
    }
    if spec.callback == Callback::Shared && before.is_none_or(|b| b.callback == Callback::Own) {
        let detail = match before {
            None => "only connections share a redirect URI that are older than those of their own",
            Some(_) => "there is no way back to the shared redirect URI",
        };
        return Err(Fault::invalid("/callback", detail));
    }
    for (i, scope) in spec.scopes.iter().enumerate() {
        check::scope_token(&format!("/scopes/{i}"), scope)?;
    }
    check::at_most("/scopes", &spec.scopes, 50)?;
    check::at_most("/allowed_domains", &spec.allowed_domains, 100)?;
    check::at_most("/allow_internal", &spec.allow_internal, 20)?;
    let domains = before.is_none_or(|b| b.allowed_domains != spec.allowed_domains);
    for (i, domain) in spec.allowed_domains.iter().enumerate().filter(|_| domains) {
        if !wire::is_domain(domain) {
            return Err(Fault::invalid(
                format!("/allowed_domains/{i}"),
                "a domain, without `@`; other scripts in their ASCII form (`xn--…`)",
            ));
        }
    }
    check_audiences(spec)?;
    let mut internal = Vec::new();
    for (i, text) in spec.allow_internal.iter().enumerate() {
        internal.push(check::origin(&format!("/allow_internal/{i}"), text)?.origin());
    }
    if account.is_some() && spec.bind_new_accounts {
        let detail = "a connection of one account is bound to no other";
        return Err(Fault::invalid("/bind_new_accounts", detail));
    }
    check::claim_mapping("/claims", &spec.claims)?;
    check::required_claims("/required_claims", &spec.required_claims)?;
    if spec.email_verification == EmailVerification::Always
        && spec.allowed_domains.is_empty()
        && spec.required_claims.is_empty()
    {
        let detail = "`always` needs `allowed_domains` or `required_claims`: otherwise whoever can enter an address \
                      at the provider is taken for its owner";
        return Err(Fault::invalid("/email_verification", detail));
    }
    if spec.kind != ConnectionKind::Oidc && spec.preset != Preset::Generic {
        return Err(Fault::invalid("/preset", "for `oidc` only"));
    }
    if spec.kind != ConnectionKind::Github && !spec.github_organisations.is_empty() {
        return Err(Fault::invalid("/github_organisations", "for `github` only"));
    }
    for (pointer, on) in [
        ("/logout/rp_initiated", spec.logout.rp_initiated),
        ("/logout/back_channel", spec.logout.back_channel),
    ] {
        if on && spec.kind != ConnectionKind::Oidc {
            return Err(Fault::invalid(pointer, "for `oidc` only"));
        }
    }
    match spec.kind {
        ConnectionKind::Oidc => check_oidc(spec, &internal),
        ConnectionKind::Github => check_github(spec, &internal),
        ConnectionKind::EmailCode => check_email_code(caller, spec, before),
        ConnectionKind::Password => check_password(spec),
    }
}

/// Other clients of the provider whose id tokens may be ours as well.
fn check_audiences(spec: &ConnectionSpec) -> Answer<()> {
    if spec.kind != ConnectionKind::Oidc && !spec.trusted_audiences.is_empty() {
        return Err(Fault::invalid("/trusted_audiences", "for `oidc` only"));
    }
    check::at_most("/trusted_audiences", &spec.trusted_audiences, 20)?;
    for (i, audience) in spec.trusted_audiences.iter().enumerate() {
        if audience.is_empty() || audience.len() > 512 || !wire::is_plain(audience) {
            let detail = "an audience as the provider writes it, 1 to 512 bytes";
            return Err(Fault::invalid(format!("/trusted_audiences/{i}"), detail));
        }
    }
    Ok(())
}

fn check_email_code(caller: &Caller, spec: &ConnectionSpec, before: Option<&ConnectionSpec>) -> Answer<()> {
    no_provider(spec, "not for `email_code`")?;
    if spec.allowed_domains.is_empty() {
        let detail = "required for `email_code`: whoever reads mail there can sign in";
        return Err(Fault::invalid("/allowed_domains", detail));
    }
    if before.is_none() && !caller.control.broker().mailer().is_configured() {
        return Err(Fault::conflict(
            "the server has no way to send mail: set `transport` under [mail] in its configuration",
        ));
    }
    Ok(())
}

/// Refuses what only makes sense with a provider.
fn no_provider(spec: &ConnectionSpec, detail: &'static str) -> Answer<()> {
    for (pointer, given) in [
        ("/issuer", spec.issuer.is_some()),
        ("/client_id", spec.client_id.is_some()),
        ("/client_secret", spec.client_secret.is_some()),
    ] {
        if given {
            return Err(Fault::invalid(pointer, detail));
        }
    }
    Ok(())
}

/// Entra's names for all tenants at once.
const ALL_TENANTS: [&str; 3] = ["common", "organizations", "consumers"];

fn check_oidc(spec: &ConnectionSpec, internal: &[url::Origin]) -> Answer<()> {
    let issuer = spec.issuer.as_deref();
    let issuer = issuer.ok_or_else(|| Fault::invalid("/issuer", "required for `oidc`"))?;
    let url = check::http_url("/issuer", issuer)?;
    check_reachable(&url, internal)?;
    check_client(spec)?;
    let pin = |name: &str| spec.required_claims.get(name).map(String::as_str);
    match spec.preset {
        Preset::Entra => {
            let tenant = url.path_segments().and_then(|mut parts| parts.next());
            let all =
                tenant.is_some_and(|tenant| ALL_TENANTS.iter().any(|all| tenant.eq_ignore_ascii_case(all)));
            let detail = "an issuer for several tenants needs the tenant id in `tid`";
            match pin("tid") {
                None if all => return Err(Fault::invalid("/required_claims", detail)),
                Some(tenant) if !is_tenant_id(tenant) => {
                    return Err(Fault::invalid(
                        "/required_claims/tid",
                        "the id of a tenant, a UUID",
                    ));
                }
                _ => {}
            }
        }
        Preset::GoogleWorkspace if pin("hd").is_none_or(str::is_empty) => {
            let detail = "Google needs your Workspace domain in `hd`: otherwise everybody with a Google account \
                          signs in";
            return Err(Fault::invalid("/required_claims", detail));
        }
        _ => {}
    }
    Ok(())
}

/// The id of an Entra tenant; it becomes a part of the issuer.
fn is_tenant_id(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, b): (usize, u8)| match dashes.contains(&at) {
        true => b == b'-',
        false => b.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

fn check_github(spec: &ConnectionSpec, internal: &[url::Origin]) -> Answer<()> {
    if let Some(origin) = spec.issuer.as_deref() {
        check_reachable(&check::origin("/issuer", origin)?, internal)?;
    }
    check::at_most("/github_organisations", &spec.github_organisations, 100)?;
    for (i, name) in spec.github_organisations.iter().enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > 100 || !name.bytes().all(plain) {
            let pointer = format!("/github_organisations/{i}");
            return Err(Fault::invalid(pointer, "the login name of an organisation"));
        }
    }
    check_client(spec)
}

fn check_reachable(url: &url::Url, internal: &[url::Origin]) -> Answer<()> {
    if url.scheme() == "https" || internal.contains(&url.origin()) {
        return Ok(());
    }
    let detail = "https, or http to an origin that `allow_internal` names";
    Err(Fault::invalid("/issuer", detail))
}

fn check_client(spec: &ConnectionSpec) -> Answer<()> {
    let client_id = spec.client_id.as_deref().unwrap_or_default();
    if client_id.is_empty() || client_id.len() > 512 || !wire::is_plain(client_id) {
        return Err(Fault::invalid(
            "/client_id",
            "required, 1 to 512 visible characters",
        ));
    }
    if spec
        .client_secret
        .as_ref()
        .is_some_and(|s| s.is_empty() || s.len() > 4096)
    {
        return Err(Fault::invalid("/client_secret", "1 to 4096 bytes"));
    }
    Ok(())
}

fn check_password(spec: &ConnectionSpec) -> Answer<()> {
    no_provider(spec, "not for `password`")?;
    if !spec.enabled {
        return Err(Fault::conflict("local passwords are the owners' last way in"));
    }
    Ok(())
}

fn event(
    caller: &Caller,
    action: &str,
    connection: &Connection,
    (before, after): (Option<&ConnectionSpec>, Option<&ConnectionSpec>),
) -> AuditEvent {
    let about = target("connection", &connection.id, Some(&connection.spec.name));
    let account = connection.account.as_ref();
    caller.event(action, account, Some(about), record::change(before, after))
}
