//! `/agent-attempts`: what agents did on their way in, where each of them got stuck, and the setting that mends it.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::write::{Write, etag};
use crate::{Control, apps, check, clients};
use axum::response::Response;
use serde_json::{Value, json};
use store::agent_attempt::{self, Filter, Found};
use store::recorder::fault_of;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AgentAttempt, AgentAttemptDetail, AgentAttemptId, AgentAttemptState, AgentRemedy, AgentRemedyKind, App,
    AppId, CarryOutRemedy, Client, ClientState, ClientTier, Page, Timestamp, UserId,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(remedy))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AttemptQuery {
    /// Only at this app.
    app: Option<AppId>,
    /// Only of this client: its identifier, or its `client_id`.
    client: Option<String>,
    /// Only of this person.
    user: Option<UserId>,
    /// Only in this state.
    state: Option<AgentAttemptState>,
    /// Only with a step since then.
    since: Option<Timestamp>,
    /// Only the one with this request: the id on an error page, or of `X-Request-Id`.
    request: Option<String>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Attempts of agents to get in that the caller may see, the newest first
#[utoipa::path(get, path = "/agent-attempts", tag = "agent-attempts", params(AttemptQuery),
    responses((status = 200, body = Page<AgentAttempt>)))]
async fn list(caller: Caller, Query(query): Query<AttemptQuery>) -> Answer<Json<Page<AgentAttempt>>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts(Permission::Read);
    let filter = Filter {
        accounts: mine.as_deref(),
        app: query.app.as_ref(),
        client: query.client.as_deref(),
        user: query.user.as_ref(),
        state: query.state,
        since: query.since,
        request: query.request.as_deref(),
    };
    let items = agent_attempt::list(caller.store(), &caller.org, filter, &paging).await?;
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |a| &a.id,
    )))
}

/// One attempt with its steps, and what would mend it
#[utoipa::path(get, path = "/agent-attempts/{id}", tag = "agent-attempts",
    responses((status = 200, body = AgentAttemptDetail)))]
async fn get(caller: Caller, Id(id): Id<AgentAttemptId>) -> Answer<Json<AgentAttemptDetail>> {
    let found = load(&caller, &id).await?;
    let scene = Scene::of(&caller, &found).await?;
    let steps = agent_attempt::steps(caller.store(), &id).await?;
    Ok(Json(AgentAttemptDetail {
        remedies: scene.map(|scene| scene.remedies(&found)).unwrap_or_default(),
        attempt: found.attempt,
        steps,
    }))
}

/// Carries out one of its remedies: a change of the app or client that it names, as if it were made there
#[utoipa::path(post, path = "/agent-attempts/{id}/remedy", tag = "agent-attempts", request_body = CarryOutRemedy,
    responses((status = 200, body = AgentRemedy)))]
async fn remedy(caller: Caller, Id(id): Id<AgentAttemptId>, write: Write, body: Body) -> Answer<Response> {
    let found = load(&caller, &id).await?;
    let asked: CarryOutRemedy = body.read()?;
    let none = || Fault::invalid("/kind", "this attempt has no such remedy (any more)");
    let scene = Scene::of(&caller, &found).await?.ok_or_else(none)?;
    let remedy = scene.remedy(asked.kind, &found).ok_or_else(none)?;
    if asked.label.is_some_and(|shown| shown != remedy.label) {
        let detail = "the attempt went on meanwhile, and its remedy is another one now: look at it again";
        return Err(Fault::conflict(detail));
    }
    let patch = Body(remedy.patch.clone());
    let version = match (asked.kind, scene.client) {
        (AgentRemedyKind::ApproveClient, Some(client)) => {
            clients::change(&caller, client, &write, patch).await?.version
        }
        _ => apps::change(&caller, scene.app, &write, patch).await?.version,
    };
    let done = AgentRemedy {
        etag: etag(version),
        ..remedy
    };
    Ok(write.changed(version, &done))
}

/// An attempt, if the caller may see it.
async fn load(caller: &Caller, id: &AgentAttemptId) -> Answer<Found> {
    let found = agent_attempt::get(caller.store(), &caller.org, id).await?;
    caller.require(Permission::Read, Scope::Account(&found.attempt.account))?;
    Ok(found)
}

/// App and client of an attempt, as they are now.
struct Scene {
    app: App,
    client: Option<Client>,
}

impl Scene {
    /// `None` when the app is gone.
    async fn of(caller: &Caller, found: &Found) -> Answer<Option<Self>> {
        let (store, org) = (caller.store(), &caller.org);
        let app = match store::app::get(store, org, &found.attempt.app).await {
            Ok(app) if app.account == found.attempt.account => app,
            Ok(_) | Err(store::Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let client = match &found.attempt.client_id {
            Some(id) => store::client::by_client_id(store, &app.id, id).await?,
            None => None,
        };
        let client = client.map(|registered| registered.client);
        Ok(Some(Self { app, client }))
    }

    fn remedies(&self, found: &Found) -> Vec<AgentRemedy> {
        let attempt = &found.attempt;
        let failed = attempt
            .reason
            .as_deref()
            .filter(|_| attempt.state == AgentAttemptState::Failed);
        let kinds = failed.and_then(fault_of).map_or(&[][..], |fault| fault.remedies);
        kinds.iter().filter_map(|kind| self.make(*kind, found)).collect()
    }

    fn remedy(&self, kind: AgentRemedyKind, found: &Found) -> Option<AgentRemedy> {
        self.remedies(found)
            .into_iter()
            .find(|remedy| remedy.kind == kind)
    }

    /// A remedy, if there is something left to mend.
    fn make(&self, kind: AgentRemedyKind, found: &Found) -> Option<AgentRemedy> {
        let spec = &self.app.spec;
        let rules = &spec.oauth.registration;
        let subject = found.subject.as_deref();
        let registration = |patch: Value| json!({ "oauth": { "registration": patch } });
        let (label, patch) = match kind {
            AgentRemedyKind::AllowRedirect => {
                let uri = subject.filter(|uri| check::redirect_uri("", uri).is_ok())?;
                let mut uris = rules.redirect_uris.clone();
                if uris.iter().any(|listed| listed == uri) {
                    return None;
                }
                uris.push(uri.to_owned());
                let label = format!("Allow the redirect {uri}");
                (label, registration(json!({ "redirect_uris": uris })))
            }
            AgentRemedyKind::AcceptTier => {
                let tier: ClientTier = serde_json::from_value(json!(subject?)).ok()?;
                let label = format!("Accept agents of the tier {}", subject?);
                (tier < rules.lowest_tier).then(|| (label, registration(json!({ "lowest_tier": tier }))))?
            }
            AgentRemedyKind::SwitchOnManagedOauth => {
                let label = "Switch Managed OAuth on".to_owned();
                (!spec.managed_oauth).then(|| (label, json!({ "managed_oauth": true })))?
            }
            AgentRemedyKind::SwitchOnRegistration => {
                let label = "Switch dynamic registration on".to_owned();
                (!rules.dynamic).then(|| (label, registration(json!({ "dynamic": true }))))?
            }
            AgentRemedyKind::SwitchOnDocuments => {
                let label = "Switch metadata documents on".to_owned();
                (!rules.metadata_documents)
                    .then(|| (label, registration(json!({ "metadata_documents": true }))))?
            }
            AgentRemedyKind::ApproveClient => return self.approve(),
            AgentRemedyKind::AllowOrigin => {
                let origin = subject.filter(|origin| check::page_origin("", origin).is_ok())?;
                let mut origins = spec.browser_origins.clone();
                if origins.iter().any(|listed| listed == origin) {
                    return None;
                }
                origins.push(origin.to_owned());
                (
                    format!("Allow pages of {origin}"),
                    json!({ "browser_origins": origins }),
                )
            }
            // What cannot be fetched has to be pasted: `agent-documents` takes it.
            AgentRemedyKind::PinDocument => return None,
        };
        Some(AgentRemedy {
            kind,
            label,
            target: format!("apps/{}", self.app.id),
            patch,
            etag: etag(self.app.version),
        })
    }

    fn approve(&self) -> Option<AgentRemedy> {
        let client = self.client.as_ref()?;
        let is_needed = client.tier != ClientTier::Approved || client.state == ClientState::Pending;
        let may = is_needed && client.state != ClientState::Blocked;
        may.then(|| AgentRemedy {
            kind: AgentRemedyKind::ApproveClient,
            label: format!("Approve {}", client.name),
            target: format!("clients/{}", client.id),
            patch: json!({ "tier": "approved", "state": "active" }),
            etag: etag(client.version),
        })
    }
}
