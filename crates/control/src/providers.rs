//! What connections lead to: presets, discovery, trials, claims tried out, health.

use crate::answer::Json;
use crate::caller::Caller;
use crate::connections::{load, require};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Ids, PageQuery, Query};
use crate::power::{Act, Question, Warrant};
use crate::write::{Write, shown};
use crate::{Control, check};
use axum::response::Response;
use broker::Broker;
use serde_json::{Value, json};
use store::{Released, audit::target};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AuditChange, ClaimsPreview, ClaimsPreviewRequest, ClaimsSource, Connection, ConnectionHealth,
    ConnectionId, DiscoverRequest, Discovery, Outcome, Page, PresetInfo, Trial, TrialId, TrialState,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(presets))
        .routes(routes!(discover))
        .routes(routes!(preview))
        .routes(routes!(health))
        .routes(routes!(list, create))
        .routes(routes!(get))
}

/// How to fill in a connection to the provider of each vendor
#[utoipa::path(get, path = "/connection-presets", tag = "connections",
    responses((status = 200, body = Page<PresetInfo>)))]
async fn presets(_caller: Caller) -> Json<Page<PresetInfo>> {
    Json(Page {
        items: wire::presets(),
        next: None,
    })
}

/// Asks an OpenID provider what it says about itself; changes nothing
#[utoipa::path(post, path = "/connections/discover", tag = "connections", request_body = DiscoverRequest,
    responses((status = 200, body = Discovery)))]
async fn discover(caller: Caller, question: Question, body: Body) -> Answer<Json<Discovery>> {
    // Who may not ask at all is told nothing about the body.
    question.warrant(&caller, &Act::Discover { inside: false })?;
    let request: DiscoverRequest = body.read()?;
    check::at_most("/allow_internal", &request.allow_internal, 20)?;
    for (i, text) in request.allow_internal.iter().enumerate() {
        check::origin(&format!("/allow_internal/{i}"), text)?;
    }
    let inside = !request.allow_internal.is_empty();
    let warrant = question.warrant(&caller, &Act::Discover { inside })?;
    if inside {
        let mut event = caller.event("connection.discover", None, None, None);
        event.change = Some(AuditChange {
            before: Value::Null,
            after: json!({ "issuer": request.issuer, "allow_internal": request.allow_internal }),
        });
        caller.store().record(event).await?;
    }
    if request.issuer.trim().is_empty() || request.issuer.len() > 2048 {
        return Err(Fault::invalid("/issuer", "1 to 2048 bytes"));
    }
    ask(&warrant, &request).await
}

/// Sends the question; on whose word is known.
async fn ask(warrant: &Warrant<'_>, request: &DiscoverRequest) -> Answer<Json<Discovery>> {
    let found = warrant.caller().control.broker().discover(request).await;
    found
        .map(Json)
        .map_err(|fault| Fault::invalid("/issuer", fault.to_string()))
}

/// Tries a claim mapping on claims; changes nothing
#[utoipa::path(post, path = "/connections/{id}/claims-preview", tag = "connections",
    request_body = ClaimsPreviewRequest, responses((status = 200, body = ClaimsPreview)))]
async fn preview(
    caller: Caller,
    Id(id): Id<ConnectionId>,
    question: Question,
    body: Option<Body>,
) -> Answer<Json<ClaimsPreview>> {
    let mut connection = load(&caller, &id).await?;
    question.warrant(&caller, &Act::PreviewClaims(connection.account.as_ref()))?;
    let request: ClaimsPreviewRequest = body.map(Body::read).transpose()?.unwrap_or_default();
    let (source, claims) = match (request.sample, &request.user) {
        (Some(_), Some(_)) => {
            return Err(Fault::invalid("/user", "either a sample or a person"));
        }
        (Some(sample), None) => (ClaimsSource::Sample, sample),
        (None, Some(user)) => {
            let person = store::user::get(caller.store(), &caller.org, user).await;
            let person = person.map_err(|e| Fault::from(e).reference("/user", "user"))?;
            if person.user.connection != id {
                return Err(Fault::invalid("/user", "somebody of another connection"));
            }
            let mut claims = person.claims;
            claims.insert("sub".to_owned(), person.user.subject.into());
            (ClaimsSource::User, claims)
        }
        (None, None) => {
            let claims = store::trial::last_claims(caller.store(), &id).await?;
            let claims = claims.ok_or_else(|| {
                let detail = "no trial of this connection came as far as claims: give a sample or a person";
                Fault::invalid("/sample", detail)
            })?;
            (ClaimsSource::Trial, claims)
        }
    };
    let spec = &mut connection.spec;
    if let Some(mapping) = request.claims {
        check::claim_mapping("/claims", &mapping)?;
        spec.claims = mapping;
    }
    if let Some(rule) = request.email_verification {
        spec.email_verification = rule;
    }
    if let Some(required) = request.required_claims {
        check::required_claims("/required_claims", &required)?;
        spec.required_claims = required;
    }
    let reading = caller.control.broker().read_claims(&connection, &claims);
    let reading = reading.map_err(|fault| Fault::invalid("/sample", fault.to_string()))?;
    let (refused, refused_because) = reading.refused.unzip();
    Ok(Json(ClaimsPreview {
        source,
        identity: reading.identity,
        missing: reading.missing,
        refused: refused.map(ToOwned::to_owned),
        refused_because,
        claims,
    }))
}

/// How sign-ins through a connection go
#[utoipa::path(get, path = "/connections/{id}/health", tag = "connections",
    responses((status = 200, body = ConnectionHealth)))]
async fn health(caller: Caller, Id(id): Id<ConnectionId>) -> Answer<Json<Released<ConnectionHealth>>> {
    let connection = load(&caller, &id).await?;
    let health = caller.control.broker().health(&connection).await?;
    Ok(Json(caller.release().health(&connection, health)))
}

/// Trials of a connection
#[utoipa::path(get, path = "/connections/{id}/trials", tag = "connections", params(PageQuery),
    responses((status = 200, body = Page<Trial>)))]
async fn list(
    caller: Caller,
    Id(id): Id<ConnectionId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<Page<Released<Trial>>>> {
    let connection = load(&caller, &id).await?;
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let items = store::trial::list(caller.store(), (&caller.org, &id), &paging).await?;
    let items = items
        .into_iter()
        .map(|trial| discreet(&caller, &connection, trial));
    let page = caller.cursors().page(
        &caller.org,
        items.collect(),
        paging.limit,
        |trial: &Released<Trial>| &trial.id,
    );
    Ok(Json(page))
}

/// Tries a connection, also a disabled one: what the server can do alone at once, the rest behind a URL that
/// anybody may open within an hour. Nobody is signed in by it
#[utoipa::path(post, path = "/connections/{id}/trials", tag = "connections",
    responses((status = 201, body = Trial), (status = 200, body = Trial)))]
async fn create(caller: Caller, Id(id): Id<ConnectionId>, write: Write) -> Answer<Response> {
    let connection = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::TryConnection(connection.account.as_ref()))?;
    if !Broker::can_be_tried(connection.spec.kind) {
        return Err(Fault::conflict("there is no provider behind this connection"));
    }
    let broker = caller.control.broker();
    let (state, trace) = broker.begin_trial(&connection).await?;
    let token = store::random_secret("")?;
    let mut tx = caller.begin().await?;
    let place = (&caller.org, &id);
    let mut trial = store::trial::create(&mut tx, place, &store::sha256(&token), (state, trace)).await?;
    let change = AuditChange {
        before: serde_json::Value::Null,
        after: serde_json::json!({ "trial": trial.id, "state": trial.state }),
    };
    let about = target("connection", &connection.id, Some(&connection.spec.name));
    let account = connection.account.as_ref();
    let mut event = caller.event("connection.trial", account, Some(about), Some(change));
    if state == TrialState::Failed {
        event.outcome = Outcome::Failure;
    }
    write.commit(&warrant, tx, vec![event]).await?;
    if !write.is_dry_run() {
        trial.url = Some(broker.trial_url(&token));
    }
    let trial = caller.release().trial(&connection, trial);
    Ok(write.created(&format!("connections/{id}/trials/{}", trial.id), 1, &trial))
}

/// One trial of a connection, as far as it is
#[utoipa::path(get, path = "/connections/{id}/trials/{trial}", tag = "connections",
    responses((status = 200, body = Trial)))]
async fn get(caller: Caller, Ids(id, trial): Ids<ConnectionId, TrialId>) -> Answer {
    let connection = load(&caller, &id).await?;
    let trial = store::trial::get(caller.store(), (&caller.org, &id), &trial).await?;
    Ok(shown(1, &discreet(&caller, &connection, trial)))
}

/// A trial without the tester's claims, unless the caller may change the connection.
fn discreet(caller: &Caller, connection: &Connection, mut trial: Trial) -> Released<Trial> {
    if require(caller, connection).is_err() {
        trial.claims = None;
        trial.identity = None;
    }
    caller.release().trial(connection, trial)
}
