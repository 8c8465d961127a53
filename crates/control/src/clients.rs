//! `/clients`: agent software, registered by itself or entered here.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, record};
use axum::response::Response;
use serde_json::json;
use store::{audit::target, random_secret, sha256};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AppId, AuditEvent, Client, ClientId, ClientSource, ClientSpec, ClientState, ClientTier, CreatedClient,
    NewClient, Page,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ClientQuery {
    /// Only of this app.
    app: Option<AppId>,
    /// Only in this state.
    state: Option<ClientState>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Clients that the caller may see
#[utoipa::path(get, path = "/clients", tag = "clients", params(ClientQuery),
    responses((status = 200, body = Page<Client>)))]
async fn list(caller: Caller, Query(query): Query<ClientQuery>) -> Answer<Json<Page<Client>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts(Permission::Read);
    let filter = store::client::Filter {
        accounts: mine.as_deref(),
        app: query.app.as_ref(),
        state: query.state,
    };
    let (store, now) = (caller.store(), caller.store().clock().now());
    let items = store::client::list(store, &caller.org, filter, now, &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |c| &c.id,
    )))
}

/// Enters a client; its secret, if it gets one, is shown this once
#[utoipa::path(post, path = "/clients", tag = "clients", request_body = NewClient,
    responses((status = 201, body = CreatedClient), (status = 200, body = CreatedClient)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let new: NewClient = body.read()?;
    let app = crate::apps::load(&caller, &new.app).await;
    let app = app.map_err(|fault| fault.reference("/app", "app"))?;
    let warrant = write.warrant(&caller, &Act::MakeClient(&app.account))?;
    check::name("/name", &new.name)?;
    if new.redirect_uris.is_empty() || new.redirect_uris.len() > 20 {
        return Err(Fault::invalid("/redirect_uris", "1 to 20"));
    }
    for (i, uri) in new.redirect_uris.iter().enumerate() {
        check::redirect_uri(&format!("/redirect_uris/{i}"), uri)?;
    }
    let secret = new.confidential.then(|| random_secret("chs_")).transpose()?;
    let auth_method = match &new.jwks_uri {
        Some(uri) => {
            check_keys(uri, new.confidential)?;
            "private_key_jwt"
        }
        None if new.confidential => "client_secret_basic",
        None => "none",
    };
    let id = ClientId::fresh();
    let mut metadata = json!({
        "client_name": new.name,
        "redirect_uris": new.redirect_uris,
        "token_endpoint_auth_method": auth_method,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    if let Some(uri) = new.jwks_uri {
        metadata["jwks_uri"] = uri.into();
    }
    let registered = store::client::NewClient {
        client_id: id.to_string(),
        id,
        name: new.name,
        verified_host: None,
        source: ClientSource::Preregistered,
        tier: ClientTier::Approved,
        state: ClientState::Active,
        redirect_uris: new.redirect_uris,
        auth_method: auth_method.to_owned(),
        secret_hash: secret.as_ref().map(sha256),
        registration_hash: None,
        metadata,
    };
    let mut tx = caller.begin().await?;
    let place = (&app.account, &app.id);
    let client = store::client::create(&mut tx, &caller.org, place, registered)
        .await?
        .client;
    let event = event(
        &caller,
        "client.create",
        &client,
        record::change(None, Some(&client)),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    let (path, version) = (format!("clients/{}", client.id), client.version);
    let created = CreatedClient {
        record: client,
        // A dry run shows no secret: it would never work.
        client_secret: secret.filter(|_| !write.is_dry_run()),
    };
    Ok(write.created(&path, version, &created))
}

/// Keys are fetched from there, so it is https.
fn check_keys(uri: &str, confidential: bool) -> Answer<()> {
    if confidential {
        let detail = "a client has a secret or keys, not both";
        return Err(Fault::invalid("/confidential", detail));
    }
    match check::http_url("/jwks_uri", uri)?.scheme() {
        "https" => Ok(()),
        _ => Err(Fault::invalid("/jwks_uri", "https only")),
    }
}

/// One client
#[utoipa::path(get, path = "/clients/{id}", tag = "clients", responses((status = 200, body = Client)))]
async fn get(caller: Caller, Id(id): Id<ClientId>) -> Answer {
    let client = load(&caller, &id).await?;
    Ok(shown(client.version, &client))
}

/// Approves or blocks a client; blocking revokes its grants
#[utoipa::path(patch, path = "/clients/{id}", tag = "clients",
    request_body(content = ClientSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Client)))]
async fn patch(caller: Caller, Id(id): Id<ClientId>, write: Write, body: Body) -> Answer<Response> {
    let client = load(&caller, &id).await?;
    let after = change(&caller, client, &write, body).await?;
    Ok(write.changed(after.version, &after))
}

/// Changes a client by a merge patch, for whoever may.
pub(crate) async fn change(caller: &Caller, client: Client, write: &Write, body: Body) -> Answer<Client> {
    caller.require(Permission::Administer, Scope::Account(&client.account))?;
    write.expects(client.version)?;
    let before = ClientSpec {
        tier: client.tier,
        state: client.state,
    };
    let asked: ClientSpec = body.merge(&before)?;
    let spec = if asked == before {
        asked
    } else {
        asked.settled(&client)
    };
    if spec == before {
        return Ok(client);
    }
    let warrant = write.warrant(caller, &Act::ChangeClient(&client.account, &before, &spec))?;
    let mut tx = caller.begin().await?;
    let mut after = store::client::update(&mut tx, &client, &spec).await?;
    if after.state != ClientState::Active {
        after.live_grants = 0;
    }
    let event = event(
        caller,
        "client.update",
        &after,
        record::change(Some(&before), Some(&spec)),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(after)
}

/// Deletes a client with its grants
#[utoipa::path(delete, path = "/clients/{id}", tag = "clients",
    responses((status = 204), (status = 200, body = Client)))]
async fn delete(caller: Caller, Id(id): Id<ClientId>, write: Write) -> Answer<Response> {
    let client = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::DeleteClient(&client.account, client.state))?;
    write.expects(client.version)?;
    let mut tx = caller.begin().await?;
    store::client::delete(&mut tx, &id).await?;
    let event = event(
        &caller,
        "client.delete",
        &client,
        record::change(Some(&client), None),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&client))
}

/// A client, if the caller may see it.
pub(crate) async fn load(caller: &Caller, id: &ClientId) -> Answer<Client> {
    let now = caller.store().clock().now();
    let client = store::client::get(caller.store(), &caller.org, id, now)
        .await?
        .client;
    caller.require(Permission::Read, Scope::Account(&client.account))?;
    Ok(client)
}

fn event(caller: &Caller, action: &str, client: &Client, change: Option<wire::AuditChange>) -> AuditEvent {
    let mut about = target("client", &client.id, Some(&client.name));
    about.app = Some(client.app.clone());
    caller.event(action, Some(&client.account), Some(about), change)
}
