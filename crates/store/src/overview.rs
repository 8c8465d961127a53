//! The numbers of the dashboard's first page.

use crate::sql::{Run, Sql, opt};
use crate::{Error, Result, Store};
use std::collections::BTreeMap;
use wire::{AccountId, AppCount, ConnectionId, HourCount, OrgId, Overview, Timestamp, Totals};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600_000_000;

/// The last 24 hours of an organisation, of some accounts if given.
///
/// # Errors
/// When the database does not answer.
pub async fn load(store: &Store, org: &OrgId, only: Option<&[AccountId]>) -> Result<Overview> {
    let now = store.clock().now();
    let since = now.plus_seconds(-DAY);
    let mut db = store;
    let count = async |sql: Sql| -> Result<i64> {
        opt(store, sql)
            .await?
            .ok_or_else(|| Error::internal("COUNT without a row"))?
            .int("n")
    };
    let events = |and: &'static str| {
        Sql::new("SELECT COUNT(*) AS n FROM audit_events WHERE org = $1 AND time >= $2")
            .bind(org)
            .bind(since)
            .then(and)
            .and_in("account", only)
    };
    let sql = Sql::new(
        "SELECT time / 3600000000 AS hour, outcome, COUNT(*) AS n FROM audit_events \
         WHERE org = $1 AND time >= $2 AND action = 'gateway.request'",
    );
    let sql = sql
        .bind(org)
        .bind(since)
        .and_in("account", only)
        .then(" GROUP BY 1, 2");
    let first = since.0 / HOUR;
    let mut hours: BTreeMap<i64, HourCount> = (first..=now.0 / HOUR)
        .map(|hour| {
            (
                hour,
                HourCount {
                    hour: Timestamp(hour * HOUR),
                    allowed: 0,
                    denied: 0,
                },
            )
        })
        .collect();
    for row in db.rows(sql).await? {
        if let Some(slot) = hours.get_mut(&row.int("hour")?) {
            match row.text("outcome")?.as_str() {
                "allowed" => slot.allowed += row.int("n")?,
                _ => slot.denied += row.int("n")?,
            }
        }
    }
    let sql = Sql::new(
        "SELECT e.app, a.name, COUNT(*) AS n FROM audit_events e JOIN apps a ON a.id = e.app \
         WHERE e.org = $1 AND e.time >= $2 AND e.action = 'gateway.request'",
    );
    let sql = sql.bind(org).bind(since).and_in("e.account", only);
    let sql = sql.then(" GROUP BY e.app, a.name ORDER BY 3 DESC, 2").limit(5);
    let mut top_apps = Vec::new();
    for row in db.rows(sql).await? {
        top_apps.push(AppCount {
            app: row.id("app")?,
            name: row.text("name")?,
            requests: row.int("n")?,
        });
    }
    // Those whom the accounts know: how many more there are is not theirs to know.
    let known = only.map(|accounts| store.directory().counting(accounts));
    let known: Option<Vec<ConnectionId>> = known.map(|known| known.into_iter().collect());
    let of = |sql: &'static str| Sql::new(sql).bind(org);
    let totals = Totals {
        accounts: count(of("SELECT COUNT(*) AS n FROM accounts WHERE org = $1").and_in("id", only)).await?,
        connections: count(
            of("SELECT COUNT(*) AS n FROM connections WHERE org = $1 AND kind <> 'password' AND ((1 = 1")
                .and_in("account", only)
                .then(") OR (account IS NULL")
                .and_in("id", known.as_deref())
                .then("))"),
        )
        .await?,
        bindings: count(
            of("SELECT COUNT(*) AS n FROM bindings WHERE org = $1 AND state = 'active'").and_in("account", only),
        )
        .await?,
        apps: count(of("SELECT COUNT(*) AS n FROM apps WHERE org = $1").and_in("account", only)).await?,
        managed_oauth_apps: count(
            of("SELECT COUNT(*) AS n FROM apps WHERE org = $1 AND spec LIKE '%\"managed_oauth\":true%'")
                .and_in("account", only),
        )
        .await?,
        policies: count(of("SELECT COUNT(*) AS n FROM policies WHERE org = $1").and_in("account", only)).await?,
        users: count(of("SELECT COUNT(*) AS n FROM users WHERE org = $1").and_in("connection", known.as_deref())).await?,
        grants: count(
            of("SELECT COUNT(*) AS n FROM grants WHERE org = $1 AND revoked_at IS NULL AND last_used_at IS NOT NULL")
                .and("expires_at >", Some(now))
                .and_in("account", only),
        )
        .await?,
    };
    let sql = Sql::new("SELECT COUNT(DISTINCT client) AS n FROM audit_events WHERE org = $1 AND time >= $2");
    Ok(Overview {
        since,
        sign_ins: count(events(" AND action = 'login.success'")).await?,
        allowed: count(events(" AND action = 'gateway.request' AND outcome = 'allowed'")).await?,
        denied: count(events(" AND action = 'gateway.request' AND outcome = 'denied'")).await?,
        active_agents: count(sql.bind(org).bind(since).and_in("account", only)).await?,
        by_hour: hours.into_values().collect(),
        top_apps,
        connections: match only {
            None => crate::connection::list(store, org, None, &crate::Paging::default()).await?,
            Some(accounts) => {
                crate::connection::list_known(store, org, accounts, &crate::Paging::default()).await?
            }
        },
        totals,
    })
}
