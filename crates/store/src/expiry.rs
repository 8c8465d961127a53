//! Warns of credentials that end soon: an audit event each at 30, 14, 7 and 1 days before, once each over
//! all instances. Whatever ends is one more entry of [`SOURCES`].

use crate::sql::{Arg, Run, Sql};
use crate::{Result, Store, audit};
use serde_json::json;
use wire::{ActorKind, AuditActor, AuditChange, AuditTarget};

/// How many days before the end there is a warning.
const DAYS: [i64; 4] = [1, 7, 14, 30];
const DAY: i64 = 86_400;

/// A kind of thing that ends.
struct Source {
    /// Of the event.
    action: &'static str,
    /// Of the event's target.
    kind: &'static str,
    /// Rows of `id`, `org`, `account` (or NULL), `name`, `expires_at` that end after `$1` and until `$2`.
    sql: &'static str,
}

const SOURCES: &[Source] = &[
    Source {
        action: "service_token.expiring",
        kind: "service_token",
        sql: "SELECT id, org, account, name, expires_at FROM service_tokens \
              WHERE enabled AND expires_at > $1 AND expires_at <= $2",
    },
    Source {
        action: "api_token.expiring",
        kind: "api_token",
        sql: "SELECT id, org, account, name, expires_at FROM api_tokens \
              WHERE expires_at > $1 AND expires_at <= $2",
    },
    Source {
        action: "connection.secret_expiring",
        kind: "connection",
        sql: "SELECT id, org, account, name, secret_expires_at AS expires_at FROM connections \
              WHERE secret_expires_at > $1 AND secret_expires_at <= $2 AND secret IS NOT NULL",
    },
];

/// Writes the warnings that are due, and says how many.
///
/// # Errors
/// When the database does not answer; what was not written is written next time.
pub async fn warn(store: &Store) -> Result<usize> {
    let now = store.clock().now();
    let mut written = 0;
    for source in SOURCES {
        let horizon = now.plus_seconds(DAYS[DAYS.len() - 1] * DAY);
        let sql = Sql::new(source.sql).bind(now).bind(horizon);
        let mut db = store;
        for row in db.rows(sql).await? {
            let (id, ends) = (row.text("id")?, row.time("expires_at")?);
            // Of the stages that were missed, only the last one is news.
            let Some(days) = DAYS.into_iter().find(|days| ends <= now.plus_seconds(days * DAY)) else {
                continue;
            };
            let mut tx = store.begin().await?;
            let columns = ["subject", "expires_at", "days", "sent_at"];
            let values: [Arg; 4] = [id.as_str().into(), ends.into(), days.into(), now.into()];
            let insert = Sql::insert("expiry_warnings", columns.into_iter().zip(values));
            if tx.run(insert.then(" ON CONFLICT DO NOTHING")).await? == 0 {
                continue;
            }
            let mut event = audit::event(
                &row.id("org")?,
                "system",
                source.action,
                AuditActor::of(ActorKind::System),
            );
            event.account = row.opt_id("account")?;
            event.target = Some(AuditTarget {
                kind: source.kind.to_owned(),
                id,
                name: row.opt_text("name")?,
                app: None,
                user: None,
            });
            event.change = Some(AuditChange {
                before: serde_json::Value::Null,
                after: json!({ "days": days, "expires_at": ends }),
            });
            tx.commit(event).await?;
            written += 1;
        }
    }
    Ok(written)
}
