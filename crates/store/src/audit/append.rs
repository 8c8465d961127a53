//! Appending inside a transaction: position, time and hash.

use super::seal::{Head, Seal};
use crate::db::DbTx;
use crate::sql::{Arg, Sql, opt};
use crate::{Error, Result};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use wire::{AuditEvent, AuditResponse, EventId, OrgId, Timestamp};

/// What repeats of the body what searches ask for, the body, and its hash.
pub(super) const COLUMNS: &[&str] = &[
    "org",
    "seq",
    "id",
    "time",
    "account",
    "action",
    "outcome",
    "user_id",
    "client",
    "grant_id",
    "app",
    "tool",
    "target_user",
    "body",
    "hash",
];

/// What an origin answered to the request of an event.
pub(crate) struct Answer {
    pub(crate) org: OrgId,
    pub(crate) event: EventId,
    pub(crate) response: AuditResponse,
}

#[derive(Default)]
struct Batch<'a> {
    events: Vec<&'a mut AuditEvent>,
    answers: Vec<Answer>,
}

/// Appends events of any organisations inside a transaction, and what was answered to earlier ones.
pub(crate) async fn append(
    tx: &mut DbTx,
    seal: &Seal,
    events: &mut [AuditEvent],
    answers: Vec<Answer>,
    now: Timestamp,
) -> Result<()> {
    let mut by_org: BTreeMap<OrgId, Batch<'_>> = BTreeMap::new();
    for event in events {
        by_org.entry(event.org.clone()).or_default().events.push(event);
    }
    for answer in answers {
        by_org.entry(answer.org.clone()).or_default().answers.push(answer);
    }
    // A BTreeMap, because rows locked in one order cannot deadlock.
    for (org, batch) in by_org {
        append_to(tx, seal, (&org, batch), now).await?;
    }
    Ok(())
}

async fn append_to(
    tx: &mut DbTx,
    seal: &Seal,
    (org, Batch { events, answers }): (&OrgId, Batch<'_>),
    now: Timestamp,
) -> Result<()> {
    let count = i64::try_from(events.len()).map_err(Error::internal)?;
    let answered = i64::try_from(answers.len()).map_err(Error::internal)?;
    let sql = Sql::new(
        "UPDATE audit_heads SET seq = seq + $1, answers = answers + $2 WHERE org = $3 \
         RETURNING org, seq, hash, answers, answers_hash, answers_after, mac",
    );
    let row = opt(&mut *tx, sql.bind(count).bind(answered).bind(org)).await?;
    let row = row.ok_or_else(|| Error::internal("organisation without audit head"))?;
    let mut head = Head::read(&row)?;
    head.seq -= count;
    head.answers -= answered;
    let mac = row.text("mac")?;
    let is_ours = seal.fits(&head, &mac);

    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        head.seq += 1;
        event.seq = head.seq;
        event.time = now;
        let body = serde_json::to_string(&*event).map_err(Error::internal)?;
        head.hash = chain(&head.hash, &body);
        rows.push(columns(event, body, head.hash.clone()));
    }
    tx.insert_many(("audit_events", ""), COLUMNS, rows).await?;
    let mut rows = Vec::with_capacity(answers.len());
    for answer in answers {
        head.answers += 1;
        let (status, micros) = (i64::from(answer.response.status), answer.response.micros);
        head.answers_hash = chain_answer(&head.answers_hash, answer.event.as_ref(), (status, micros));
        rows.push(vec![
            (&answer.event).into(),
            status.into(),
            micros.into(),
            head.answers.into(),
            head.answers_hash.as_str().into(),
        ]);
    }
    let columns = &["event", "status", "micros", "n", "hash"];
    tx.insert_many(("audit_responses", ""), columns, rows).await?;

    // Going on from a head that somebody else wrote must not make it one of ours: it stays without a MAC that
    // fits, and `verify` says so from then on.
    let mac = if is_ours {
        seal.mac(&head)
    } else {
        seal.foreign(&head, mac)
    };
    let sql = Sql::new("UPDATE audit_heads SET hash = $1, answers_hash = $2, mac = $3 WHERE org = $4");
    let sql = sql.bind(head.hash).bind(head.answers_hash).bind(mac).bind(org);
    tx.run(sql).await.map(drop)
}

pub(super) fn columns(event: &AuditEvent, body: String, hash: String) -> Vec<Arg> {
    let target = event.target.as_ref();
    vec![
        (&event.org).into(),
        event.seq.into(),
        (&event.id).into(),
        event.time.into(),
        event.account.as_ref().into(),
        event.action.as_str().into(),
        event.outcome.as_str().into(),
        event.actor.user.as_ref().into(),
        event.actor.client.as_ref().into(),
        event.actor.grant.as_ref().into(),
        target.and_then(|t| t.app.as_ref()).into(),
        event.mcp.as_ref().and_then(|m| m.tool.as_deref()).into(),
        target.and_then(|t| t.user.as_ref()).into(),
        body.into(),
        hash.into(),
    ]
}

/// The hash of an event, given the hash before it and the event's body as stored.
#[must_use]
pub fn chain(before: &str, body: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before.as_bytes());
    context.update(b"\n");
    context.update(body.as_bytes());
    URL_SAFE_NO_PAD.encode(context.finish())
}

/// The same of an answer: status, and microseconds until its head.
#[must_use]
pub(super) fn chain_answer(before: &str, event: &str, (status, micros): (i64, i64)) -> String {
    chain(before, &format!("{event} {status} {micros}"))
}
