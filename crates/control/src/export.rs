//! The audit log as a stream of NDJSON or CSV, a batch at a time.

use crate::audit::Format;
use crate::caller::Caller;
use crate::fault::Answer;
use crate::lane::Place;
use async_stream::try_stream;
use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, header};
use std::pin::pin;
use std::time::Duration;
use store::audit::{Filter, Order};
use store::{Error, Release, Result};
use tokio::sync::mpsc;
use wire::AuditEvent;

/// Events in memory at a time.
const BATCH: u32 = 1000;

/// Everything from `after` up to what is in the log now: later events belong to the next export.
pub(crate) async fn stream(
    caller: &Caller,
    filter: Filter,
    after: Option<i64>,
    format: Format,
) -> Answer<Response> {
    let newest = (Order::Newest, None);
    let newest = store::audit::list(&caller.reports(), &caller.org, &Filter::default(), newest, 1).await?;
    let end = newest.first().map_or(0, |event| event.seq);
    let range = (after.unwrap_or(0), end);
    let (kind, name) = match format {
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"audit.ndjson\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
    };
    let place = caller.lanes().exports.enter().await?;
    let batches = batches(caller.release().reporting(), filter, range, format);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(make(batches, sender, place));
    let mut response = Response::new(Body::from_stream(taken(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
}

/// How long a batch waits to be taken. Whoever reads no more keeps no place that others could use.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes batches for as long as somebody takes them; an empty message is the end.
async fn make(
    batches: impl Stream<Item = Result<Bytes>> + Send,
    sender: mpsc::Sender<Result<Option<Bytes>>>,
    _place: Place,
) {
    let mut batches = pin!(batches);
    loop {
        let batch = tokio::select! {
            () = sender.closed() => return,
            batch = batches.next() => batch.transpose(),
        };
        let goes_on = matches!(batch, Ok(Some(_)));
        let taken = tokio::time::timeout(PATIENCE, sender.send(batch)).await;
        if !goes_on || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

/// The batches that were made. Without an end, it was broken off.
fn taken(receiver: mpsc::Receiver<Result<Option<Bytes>>>) -> impl Stream<Item = Result<Bytes>> {
    stream::unfold(Some(receiver), async |receiver| {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Ok(Some(batch))) => Some((Ok(batch), Some(receiver))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((Err(Error::internal("nobody took the export")), None)),
        }
    })
}

/// An error breaks the connection off, so that nobody takes a part for the whole.
fn batches(
    mut release: Release,
    filter: Filter,
    (at, end): (i64, i64),
    format: Format,
) -> impl Stream<Item = Result<Bytes>> {
    try_stream! {
        if format == Format::Csv {
            yield csv([], true)?;
        }
        let mut next = Some(at);
        while let Some(at) = next.filter(|at| *at < end) {
            let (mut events, then) = release.log(&filter, (Order::Oldest, Some(at)), BATCH).await?;
            next = then;
            events.retain(|event| event.seq <= end);
            if events.is_empty() {
                continue;
            }
            let events = events.iter().map(|event| &**event);
            yield match format {
                Format::Ndjson => ndjson(events)?,
                Format::Csv => csv(events, false)?,
            };
        }
    }
}

fn ndjson<'a>(events: impl IntoIterator<Item = &'a AuditEvent>) -> Result<Bytes> {
    let mut out = Vec::new();
    for event in events {
        serde_json::to_writer(&mut out, event).map_err(Error::internal)?;
        out.push(b'\n');
    }
    Ok(out.into())
}

/// Columns of the CSV form; documented in `docs/AUDIT.md`.
const COLUMNS: [&str; 33] = [
    "seq",
    "time",
    "id",
    "source",
    "action",
    "outcome",
    "reason",
    "rule_id",
    "rule_name",
    "account",
    "actor_kind",
    "user",
    "email",
    "client",
    "client_name",
    "grant",
    "session",
    "token",
    "service_token",
    "target_kind",
    "target",
    "target_name",
    "app",
    "tool",
    "method",
    "path",
    "status",
    "ip",
    "user_agent",
    "request",
    "outcome_unknown",
    "change",
    "repeated",
];

fn csv<'a>(events: impl IntoIterator<Item = &'a AuditEvent>, heading: bool) -> Result<Bytes> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if heading {
        writer.write_record(COLUMNS).map_err(Error::internal)?;
    }
    for event in events {
        let cells = row(event)?;
        for cell in &cells {
            writer
                .write_field(neutral(cell).as_ref())
                .map_err(Error::internal)?;
        }
        writer.write_record(None::<&[u8]>).map_err(Error::internal)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::internal(e.to_string()))?;
    Ok(bytes.into())
}

fn row(event: &AuditEvent) -> Result<[String; COLUMNS.len()]> {
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    let (actor, target) = (&event.actor, event.target.as_ref());
    let (request, mcp) = (event.request.as_ref(), event.mcp.as_ref());
    let kind = serde_json::to_value(actor.kind).map_err(Error::internal)?;
    let change = event.change.as_ref().map(serde_json::to_string);
    let change = change.transpose().map_err(Error::internal)?;
    let status = event.response.as_ref().map(|r| r.status);
    Ok([
        event.seq.to_string(),
        event.time.to_string(),
        event.id.to_string(),
        event.source.clone(),
        event.action.clone(),
        event.outcome.as_str().to_owned(),
        text(event.reason.as_ref()),
        text(event.rule.as_ref().map(|r| &r.id)),
        text(event.rule.as_ref().map(|r| &r.name)),
        text(event.account.as_ref()),
        kind.as_str().unwrap_or_default().to_owned(),
        text(actor.user.as_ref()),
        text(actor.email.as_ref()),
        text(actor.client.as_ref()),
        text(actor.client_name.as_ref()),
        text(actor.grant.as_ref()),
        text(actor.session.as_ref()),
        text(actor.token.as_ref()),
        text(actor.service_token.as_ref()),
        text(target.map(|t| &t.kind)),
        text(target.map(|t| &t.id)),
        text(target.and_then(|t| t.name.as_ref())),
        text(target.and_then(|t| t.app.as_ref())),
        text(mcp.and_then(|m| m.tool.as_ref())),
        text(request.map(|r| &r.method)),
        text(request.map(|r| &r.path)),
        text(status.as_ref()),
        text(request.and_then(|r| r.ip.as_ref())),
        text(request.and_then(|r| r.user_agent.as_ref())),
        text(request.map(|r| &r.id)),
        event.outcome_unknown.to_string(),
        change.unwrap_or_default(),
        text(event.repeated.as_ref().map(|r| &r.count)),
    ])
}

/// A cell that no spreadsheet takes for a formula.
fn neutral(cell: &str) -> std::borrow::Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}").into()
    } else {
        cell.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::audit::event;
    use wire::{ActorKind, AuditActor, OrgId};

    #[test]
    fn a_cell_that_looks_like_a_formula_is_neutralised() {
        let mut actor = AuditActor::of(ActorKind::Agent);
        actor.client_name = Some("=HYPERLINK(\"http://evil\",\"x\")".to_owned());
        let event = event(&OrgId::fresh(), "oauth", "client.register", actor);
        let text = String::from_utf8(csv([&event], false).unwrap().to_vec()).unwrap();
        assert!(text.contains("\"'=HYPERLINK("), "{text}");
        for bad in ["+1", "-1", "@x", "\tx", "\rx"] {
            assert!(neutral(bad).starts_with('\''));
        }
        assert_eq!(neutral("a=b"), "a=b");
    }
}
