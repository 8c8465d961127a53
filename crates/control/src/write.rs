//! How changes are asked for (`?dry_run=`, `If-Match`), committed and answered.

use crate::Control;
use crate::answer::Open;
use crate::caller::Caller;
use crate::fault::{Answer, Fault, Kind};
use crate::input::Query;
use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use std::sync::{Mutex, PoisonError};
use store::Tx;
use wire::{AuditEvent, Impact, Preview, PreviewChange};

/// Says that nothing was changed.
pub(crate) const DRY_RUN: HeaderName = HeaderName::from_static("chatelaine-dry-run");

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteQuery {
    #[serde(default)]
    dry_run: bool,
}

/// How a change is asked for.
pub(crate) struct Write {
    dry_run: bool,
    /// Versions that the caller accepts; `None` for any.
    if_match: Option<Vec<String>>,
    /// Whether the caller said that any version will do.
    any: bool,
    /// What a dry run found; put into its answer.
    found: Mutex<Found>,
}

/// What a dry run found.
#[derive(Default)]
struct Found {
    changes: Vec<PreviewChange>,
    impact: Option<Impact>,
}

impl FromRequestParts<Control> for Write {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Answer<Self> {
        let Query(query) = Query::<WriteQuery>::from_request_parts(parts, control).await?;
        let tags = parts.headers.get_all(header::IF_MATCH).iter();
        let tags: Vec<String> = tags
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .map(|tag| tag.trim().to_owned())
            .collect();
        let any = tags.iter().any(|tag| tag == "*");
        Ok(Self {
            dry_run: query.dry_run,
            if_match: (!any && !tags.is_empty()).then_some(tags),
            any,
            found: Mutex::default(),
        })
    }
}

/// Whether an action may let in, or keep out, everybody of a connection.
fn is_sweeping(action: &str) -> bool {
    action.starts_with("binding.")
        || matches!(
            action,
            "connection.update"
                | "organisation.update"
                | "connection_migration.create"
                | "connection_migration.cut_over"
                | "connection_migration.roll_back"
        )
}

impl Write {
    /// As [`Write::expects`], where a blind write is not taken (RFC 6585 section 3): what it would undo
    /// concerns everybody.
    pub(crate) fn requires(&self, version: i64) -> Answer<()> {
        if self.if_match.is_none() && !self.any {
            let detail = "send If-Match with the ETag that you read; `*` for whatever is there";
            return Err(Fault::new(Kind::PreconditionRequired, detail));
        }
        self.expects(version)
    }

    /// Goes on unless the caller asked for another version (RFC 9110 section 13.1.1).
    pub(crate) fn expects(&self, version: i64) -> Answer<()> {
        match &self.if_match {
            Some(tags) if !tags.contains(&etag(version)) => Err(Fault::of(Kind::Stale)),
            _ => Ok(()),
        }
    }

    /// Commits the change with its events; of a dry run only the events stay, marked as such. Where a change
    /// decides about whole accounts, the events say who gained, kept and lost access.
    pub(crate) async fn commit(
        &self,
        caller: &Caller,
        mut tx: Tx,
        mut events: Vec<AuditEvent>,
    ) -> Answer<()> {
        if !self.dry_run {
            if events.iter().any(|event| is_sweeping(&event.action)) {
                tx.foresee(&mut events).await?;
            }
            return Ok(tx.commit_all(events).await?);
        }
        let impact = tx.foresee(&mut events).await?;
        drop(tx);
        self.found().impact = impact;
        self.record_dry_run(caller, events).await
    }

    /// Whether nothing may change.
    pub(crate) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Records what was tried.
    pub(crate) async fn record_dry_run(&self, caller: &Caller, events: Vec<AuditEvent>) -> Answer<()> {
        let mut tried = Vec::with_capacity(events.len());
        for event in caller.release().all(events.clone()).await? {
            let event = event.into_inner();
            self.found().changes.push(PreviewChange {
                action: event.action,
                target: event.target,
                change: event.change,
            });
        }
        for mut event in events {
            event.action.push_str(".dry_run");
            tried.push(caller.store().record(event));
        }
        // Together, so that they share a commit.
        futures_util::future::try_join_all(tried).await?;
        Ok(())
    }

    /// The answer to a change.
    pub(crate) fn changed(&self, version: i64, body: &impl Open) -> Response {
        if self.dry_run {
            return self.preview(body);
        }
        shown(version, body)
    }

    /// The answer to a creation; `path` leads to the new thing, below `/api/v1`.
    pub(crate) fn created(&self, path: &str, version: i64, body: &impl Open) -> Response {
        if self.dry_run {
            return self.preview(body);
        }
        let mut response = shown(version, body);
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = format!("/api/v1/{path}").parse() {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    /// The answer to a deletion; a dry run shows what would be gone.
    pub(crate) fn deleted(&self, body: &impl Open) -> Response {
        if self.dry_run {
            return self.preview(body);
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn preview(&self, resource: &impl Open) -> Response {
        let found = std::mem::take(&mut *self.found());
        let preview = Preview {
            resource: serde_json::to_value(resource).unwrap_or_default(),
            changes: found.changes,
            impact: found.impact,
        };
        let mut response = axum::Json(preview).into_response();
        response
            .headers_mut()
            .insert(DRY_RUN, HeaderValue::from_static("true"));
        response
    }
}

/// The entity tag of a version.
fn etag(version: i64) -> String {
    format!("\"v{version}\"")
}

/// One thing, with its `ETag`.
pub(crate) fn shown(version: i64, body: &impl Open) -> Response {
    let mut response = axum::Json(body).into_response();
    if let Ok(tag) = etag(version).parse() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
