//! What the API refused to somebody whom it knows is in the log. A script that tries everything makes one event
//! for each kind of refusal and a count, not one for each request.

use crate::caller::Caller;
use crate::fault::{Fault, Kind};
use axum::response::Response;
use serde_json::json;
use wire::{AuditChange, Outcome};

/// Why, for refusals that say something about who asked.
fn reason(kind: Kind, route: &str) -> Option<&'static str> {
    match kind {
        Kind::Forbidden => Some("forbidden"),
        Kind::ReauthenticationRequired => Some("reauthentication_required"),
        Kind::SecretRequired => Some("secret_required"),
        // What lies elsewhere does not exist, and the log does not tell the two apart either.
        Kind::NotFound if route.contains('{') => Some("not_found"),
        _ => None,
    }
}

/// Notes it if an answer along a route, such as `/api/v1/apps/{id}`, is a refusal.
pub(crate) async fn note(caller: &Caller, route: &str, response: Response) -> Response {
    let fault = response.extensions().get::<Fault>();
    let why = |fault: &Fault| fault.reason().or_else(|| reason(fault.kind(), route));
    if let Some(reason) = fault.and_then(why) {
        record(caller, route, reason).await;
    }
    response
}

async fn record(caller: &Caller, route: &str, reason: &str) {
    let mut event = caller.event("api.refuse", None, None, None);
    event.outcome = Outcome::Denied;
    event.reason = Some(reason.to_owned());
    // Requests along one route are counted as one; the first of them is told whole.
    if let Some(request) = &mut event.request {
        let asked = std::mem::replace(&mut request.path, route.to_owned());
        event.change = Some(AuditChange {
            before: serde_json::Value::Null,
            after: json!({ "path": asked }),
        });
    }
    if let Err(error) = caller.store().record_folded(event).await {
        tracing::error!(%error, "a refusal could not be recorded");
    }
}
