//! How changes are asked for (`?dry_run=`, `If-Match`), committed and answered.

use crate::Control;
use crate::answer::Open;
use crate::caller::Caller;
use crate::fault::{Answer, Fault, Kind};
use crate::input::Query;
use crate::lane::{Lane, Place};
use crate::power::{self, Act, Demand, Granted, Proof, Warrant};
use axum::{
    extract::{FromRequestParts, MatchedPath},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::Tx;
use store::impact::{Draft, Foresight, Made};
use wire::{AuditEvent, Impact, Preview, PreviewChange};

/// How long a change waits for what its event says of people. With more people than can be counted meanwhile, it says
/// that they were not.
const COUNTING: Duration = Duration::from_secs(10);

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
    /// Such as `POST /apps`, with what is declared of it.
    operation: (String, Proof),
    dry_run: bool,
    /// Versions that the caller accepts; `None` for any.
    if_match: Option<Vec<String>>,
    /// Whether the caller said that any version will do.
    any: bool,
    /// What a dry run found; put into its answer.
    found: Mutex<Found>,
    /// What the caller was found to have.
    granted: Mutex<Vec<Demand>>,
    previews: Lane,
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
        let path = parts.extensions.get::<MatchedPath>();
        let path = path.map_or("", |p| p.as_str().trim_start_matches("/api/v1"));
        let operation = format!("{} {path}", parts.method);
        let proof = power::proof_of(&operation).ok_or(Fault::of(Kind::Internal))?;
        Ok(Self {
            operation: (operation, proof),
            dry_run: query.dry_run,
            if_match: (!any && !tags.is_empty()).then_some(tags),
            any,
            found: Mutex::default(),
            granted: Mutex::default(),
            previews: control.lanes().previews.clone(),
        })
    }
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

    /// Goes on if the caller has what an act takes. Without its warrant, nothing can be committed.
    pub(crate) fn warrant<'a>(&self, caller: &'a Caller, act: &Act<'_>) -> Answer<Warrant<'a>> {
        let operation = (self.operation.0.as_str(), self.operation.1);
        let (warrant, demand) = power::warrant(caller, operation, (act, self.dry_run))?;
        self.granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(demand);
        Ok(warrant)
    }

    /// Commits the change with its events; of a dry run only the events stay, marked as such.
    pub(crate) async fn commit(
        &self,
        warrant: &Warrant<'_>,
        mut tx: Tx,
        events: Vec<AuditEvent>,
    ) -> Answer<()> {
        if !self.dry_run {
            return Ok(tx.commit_all(events).await?);
        }
        let draft = tx.draft().await?;
        drop(tx);
        if let Some(draft) = draft {
            let place = self.previews.enter().await?;
            self.foresee(warrant, draft, &place).await?;
        }
        self.record_dry_run(warrant, events).await
    }

    /// Carries out a change that decides about whole accounts: as [`Write::commit`], and its events say who gains, keeps
    /// and loses access. `make` makes the change, without committing it; it may have to do so more than once.
    pub(crate) async fn carry_out<'a, T, M>(&self, make: impl Fn() -> M) -> Answer<T>
    where
        M: Future<Output = Answer<Made<(Warrant<'a>, T)>>>,
    {
        if self.dry_run {
            // Before the writer is asked for anything.
            let place = self.previews.enter().await?;
            let Made {
                mut tx,
                events,
                answer: (warrant, answer),
            } = make().await?;
            let draft = match events.is_empty() {
                true => return Ok(answer),
                false => tx.draft().await?,
            };
            drop(tx);
            if let Some(draft) = draft {
                self.foresee(&warrant, draft, &place).await?;
            }
            self.record_dry_run(&warrant, events).await?;
            return Ok(answer);
        }
        let made = store::impact::rehearse(make, |draft| self.count(draft)).await?;
        if !made.events.is_empty() {
            made.tx.commit_all(made.events).await?;
        }
        Ok(made.answer.1)
    }

    /// Finds out for a dry run what becomes of whom.
    async fn foresee(&self, warrant: &Warrant<'_>, draft: Draft, _: &Place) -> Answer<()> {
        let impact = match draft.judge().await?.impact() {
            Some(impact) => Some(warrant.caller().release().one(impact).await?.into_inner()),
            None => None,
        };
        self.found().impact = impact;
        Ok(())
    }

    /// The same for the events of a change. Nobody is kept from a change by what others look at meanwhile, nor by how many
    /// people there are.
    async fn count(&self, draft: Draft) -> Option<Foresight> {
        let _place = self.previews.enter().await.ok()?;
        let Ok(judged) = tokio::time::timeout(COUNTING, draft.judge()).await else {
            tracing::warn!("whom a change concerns was not counted: it takes too long");
            return None;
        };
        judged
            .inspect_err(|error| tracing::warn!(%error, "whom a change concerns could not be counted"))
            .ok()
    }

    /// Whether nothing may change.
    pub(crate) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Records what was tried.
    pub(crate) async fn record_dry_run(&self, warrant: &Warrant<'_>, events: Vec<AuditEvent>) -> Answer<()> {
        let mut tried = Vec::with_capacity(events.len());
        for event in warrant.caller().release().all(events.clone()).await? {
            let event = event.into_inner();
            self.found().changes.push(PreviewChange {
                action: event.action,
                target: event.target,
                change: event.change,
            });
        }
        for mut event in events {
            event.action.push_str(".dry_run");
            tried.push(warrant.caller().store().record(event));
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
        self.vouched(shown(version, body))
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
        self.vouched(response)
    }

    /// Notes with an answer what it took, for when it is given again.
    fn vouched(&self, mut response: Response) -> Response {
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        response.extensions_mut().insert(Granted(granted.clone()));
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
pub(crate) fn etag(version: i64) -> String {
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
