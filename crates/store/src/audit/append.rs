//! Appending inside a transaction: position, time and hash.

use crate::sql::{Arg, DbTx, Sql, opt};
use crate::{Error, Result};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use wire::{AuditEvent, OrgId, Timestamp};

const COLUMNS: &[&str] = &[
    "org", "seq", "id", "time", "account", "action", "outcome", "user_id", "client", "grant_id", "app",
    "tool", "body", "hash",
];

/// Appends events of any organisations inside a transaction.
pub(crate) async fn append(tx: &mut DbTx, events: &mut [AuditEvent], now: Timestamp) -> Result<()> {
    let mut by_org: BTreeMap<OrgId, Vec<&mut AuditEvent>> = BTreeMap::new();
    for event in events {
        by_org.entry(event.org.clone()).or_default().push(event);
    }
    // A BTreeMap, because rows locked in one order cannot deadlock.
    for (org, events) in by_org {
        let count = i64::try_from(events.len()).map_err(Error::internal)?;
        let sql = Sql::new("UPDATE audit_heads SET seq = seq + $1 WHERE org = $2 RETURNING seq, hash");
        let head = opt(&mut *tx, sql.bind(count).bind(&org)).await?;
        let head = head.ok_or_else(|| Error::internal("organisation without audit head"))?;
        let mut hash = head.text("hash")?;
        let first = head.int("seq")? - count + 1;
        let mut rows = Vec::with_capacity(events.len());
        for (event, seq) in events.into_iter().zip(first..) {
            event.seq = seq;
            event.time = now;
            let body = serde_json::to_string(&*event).map_err(Error::internal)?;
            hash = chain(&hash, &body);
            rows.push(columns(event, body, hash.clone()));
        }
        tx.insert_many(("audit_events", ""), COLUMNS, rows).await?;
        tx.run(
            Sql::new("UPDATE audit_heads SET hash = $1 WHERE org = $2")
                .bind(hash)
                .bind(&org),
        )
        .await?;
    }
    Ok(())
}

fn columns(event: &AuditEvent, body: String, hash: String) -> Vec<Arg> {
    let app = event.target.as_ref().and_then(|t| t.app.as_ref());
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
        app.into(),
        event.mcp.as_ref().and_then(|m| m.tool.as_deref()).into(),
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
