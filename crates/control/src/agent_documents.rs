//! `/known-agents` and `/agent-documents`: the catalogue of agents, and what the organisation decided about metadata
//! documents in place of it and of what is published.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, PageQuery, Query};
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, record};
use axum::response::Response;
use serde_json::Value;
use store::agent_document;
use store::audit::target;
use tokens::document;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AgentDocument, AgentDocumentSpec, AuditEvent, DocumentDecision, DocumentId, KnownAgent, NewAgentDocument,
    Page, Timestamp,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(known))
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(refresh))
}

/// Agents that this server knows: what each sends, with its document as published, which is used without asking anybody
#[utoipa::path(get, path = "/known-agents", tag = "clients",
    responses((status = 200, body = Page<KnownAgent>)))]
async fn known(caller: Caller) -> Answer<Json<Page<KnownAgent>>> {
    let decided = agent_document::all(caller.store(), &caller.org).await?;
    let catalogue = wire::catalogue();
    let items = catalogue.agents.iter().map(|entry| {
        let client_id = entry.client_id();
        let decided = decided
            .iter()
            .find(|one| Some(one.client_id.as_str()) == client_id);
        KnownAgent {
            key: entry.key.clone(),
            name: entry.name.clone(),
            publisher: entry.publisher.clone(),
            client_id: client_id.map(ToOwned::to_owned),
            redirect_uris: entry.redirect_uris(),
            document: entry.document.clone(),
            catalogue_version: catalogue.version,
            catalogue_date: catalogue.date.clone(),
            decision: decided.map(|one| one.spec.decision),
            decided_by: decided.map(|one| one.id.clone()),
        }
    });
    Ok(Json(Page {
        items: items.collect(),
        next: None,
    }))
}

/// What the organisation decided about metadata documents of agents
#[utoipa::path(get, path = "/agent-documents", tag = "clients", params(PageQuery),
    responses((status = 200, body = Page<AgentDocument>)))]
async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer<Json<Page<AgentDocument>>> {
    caller.require(Permission::Read, Scope::Organisation)?;
    let cursors = caller.cursors();
    let paging = cursors.paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let items = agent_document::list(caller.store(), &caller.org, &paging).await?;
    Ok(Json(cursors.page(&caller.org, items, paging.limit, |d| &d.id)))
}

/// Pins the document of an agent at all apps of the organisation, or refuses the agent; refusing it ends its grants
///
/// A pinned document counts whatever is published, and without a way out to the internet. Without `document`, what is
/// published is fetched now.
#[utoipa::path(post, path = "/agent-documents", tag = "clients", request_body = NewAgentDocument,
    responses((status = 201, body = AgentDocument), (status = 200, body = AgentDocument)))]
async fn create(caller: Caller, write: Write, mut body: Body) -> Answer<Response> {
    let warrant = write.warrant(&caller, &Act::Document)?;
    let client_id: String = body.need("client_id")?;
    let spec: AgentDocumentSpec = body.read()?;
    if document::host(&client_id).is_none() {
        let detail = "an https URL with a path, in its canonical spelling, of at most 512 bytes; no address in place of \
                      a host name";
        return Err(Fault::invalid("/client_id", detail));
    }
    let decided = settle(&caller, &client_id, spec).await?;
    let mut tx = caller.begin().await?;
    let made = agent_document::create(&mut tx, &caller.org, &client_id, decided).await?;
    let event = event(&caller, "agent_document.create", (None, Some(&made)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.created(&format!("agent-documents/{}", made.id), made.version, &made))
}

/// One decision
#[utoipa::path(get, path = "/agent-documents/{id}", tag = "clients",
    responses((status = 200, body = AgentDocument)))]
async fn get(caller: Caller, Id(id): Id<DocumentId>) -> Answer {
    let document = load(&caller, &id).await?;
    Ok(shown(document.version, &document))
}

/// Changes a decision; refusing an agent ends its grants
#[utoipa::path(patch, path = "/agent-documents/{id}", tag = "clients",
    request_body(content = AgentDocumentSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = AgentDocument)))]
async fn patch(caller: Caller, Id(id): Id<DocumentId>, write: Write, body: Body) -> Answer<Response> {
    let before = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::Document)?;
    write.expects(before.version)?;
    let spec: AgentDocumentSpec = body.merge(&before.spec)?;
    if spec == before.spec {
        return Ok(write.changed(before.version, &before));
    }
    let decided = settle(&caller, &before.client_id, spec).await?;
    let mut tx = caller.begin().await?;
    let after = agent_document::update(&mut tx, &caller.org, &before, decided).await?;
    let event = event(&caller, "agent_document.update", (Some(&before), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// Takes a decision back: what is published counts again, or the catalogue
#[utoipa::path(delete, path = "/agent-documents/{id}", tag = "clients",
    responses((status = 204), (status = 200, body = AgentDocument)))]
async fn delete(caller: Caller, Id(id): Id<DocumentId>, write: Write) -> Answer<Response> {
    let before = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::Document)?;
    write.expects(before.version)?;
    let mut tx = caller.begin().await?;
    agent_document::delete(&mut tx, &caller.org, &before).await?;
    let event = event(&caller, "agent_document.delete", (Some(&before), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(&before))
}

/// Fetches what is published now and pins it; what was pinned stays if it cannot be had
#[utoipa::path(post, path = "/agent-documents/{id}/refresh", tag = "clients",
    responses((status = 200, body = AgentDocument)))]
async fn refresh(caller: Caller, Id(id): Id<DocumentId>, write: Write) -> Answer<Response> {
    let before = load(&caller, &id).await?;
    let warrant = write.warrant(&caller, &Act::Document)?;
    write.expects(before.version)?;
    if before.spec.decision == DocumentDecision::Refuse {
        return Err(Fault::conflict(
            "the agent is refused: there is no document to fetch",
        ));
    }
    let fetched = fetch(&caller, &before.client_id).await;
    let fetched = fetched.map_err(|why| Fault::conflict(format!("the document cannot be used: {why}")))?;
    let spec = AgentDocumentSpec {
        document: Some(fetched),
        ..before.spec.clone()
    };
    let mut tx = caller.begin().await?;
    let decided = (spec, Some(now(&caller)));
    let after = agent_document::update(&mut tx, &caller.org, &before, decided).await?;
    let event = event(&caller, "agent_document.update", (Some(&before), Some(&after)));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version, &after))
}

/// What is to be written down: with the document that is fetched now, where one is pinned and none was sent.
async fn settle(
    caller: &Caller,
    client_id: &str,
    spec: AgentDocumentSpec,
) -> Answer<(AgentDocumentSpec, Option<Timestamp>)> {
    match (spec.decision, &spec.document) {
        (DocumentDecision::Refuse, None) => Ok((spec, None)),
        (DocumentDecision::Refuse, Some(_)) => {
            // It says nothing where the agent is not let in.
            let refused = AgentDocumentSpec {
                document: None,
                ..spec
            };
            Ok((refused, None))
        }
        (DocumentDecision::Pin, Some(document)) => {
            check_document(client_id, document)?;
            Ok((spec, None))
        }
        (DocumentDecision::Pin, None) => {
            let fetched = fetch(caller, client_id).await;
            let document = fetched.map_err(|why| {
                let detail = format!("the document cannot be used: {why}. Send it as `document`");
                Fault::invalid("/client_id", detail)
            })?;
            let pinned = AgentDocumentSpec {
                document: Some(document),
                ..spec
            };
            Ok((pinned, Some(now(caller))))
        }
    }
}

async fn fetch(caller: &Caller, client_id: &str) -> Result<Value, String> {
    let fetched = document::fetch(caller.control.outbound(), client_id).await;
    let document = fetched.map_err(|unusable| unusable.text)?;
    let usable = check_document(client_id, &document);
    usable.map_err(|_| "it names no redirect URI that could be used".to_owned())?;
    Ok(document)
}

/// As when it is fetched, and so that some client could use it.
fn check_document(client_id: &str, pinned: &Value) -> Answer<()> {
    document::check(pinned, client_id).map_err(|unusable| Fault::invalid("/document", unusable.text))?;
    if pinned.to_string().len() > document::LONGEST {
        let detail = format!("at most {} bytes", document::LONGEST);
        return Err(Fault::invalid("/document", detail));
    }
    let pointer = "/document/redirect_uris";
    let listed = pinned.get("redirect_uris").and_then(Value::as_array);
    let listed = listed.filter(|listed| (1..=20).contains(&listed.len()));
    let listed = listed.ok_or_else(|| Fault::invalid(pointer, "1 to 20"))?;
    let is_usable = |uri: &Value| {
        uri.as_str()
            .is_some_and(|uri| check::redirect_uri(pointer, uri).is_ok())
    };
    match listed.iter().any(is_usable) {
        true => Ok(()),
        false => Err(Fault::invalid(pointer, "none that could be used")),
    }
}

fn now(caller: &Caller) -> Timestamp {
    caller.store().clock().now()
}

/// A decision, if the caller may see it.
async fn load(caller: &Caller, id: &DocumentId) -> Answer<AgentDocument> {
    let document = agent_document::get(caller.store(), &caller.org, id).await?;
    match caller.may(Permission::Read, Scope::Organisation) {
        true => Ok(document),
        false => Err(Fault::not_found()),
    }
}

fn event(
    caller: &Caller,
    action: &str,
    (before, after): (Option<&AgentDocument>, Option<&AgentDocument>),
) -> AuditEvent {
    let about = after.or(before);
    let about = about.map(|one| target("agent_document", &one.id, Some(&one.client_id)));
    let change = record::change(before.map(|one| &one.spec), after.map(|one| &one.spec));
    caller.event(action, None, about, change)
}
