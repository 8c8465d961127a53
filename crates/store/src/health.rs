//! How sign-ins through connections went, counted by ten minutes.

use crate::sql::{Run, Sql};
use crate::{Result, Store, Tx};
use std::collections::BTreeMap;
use wire::{ConnectionId, HealthHour, Timestamp};

/// Sign-ins are counted by so many seconds.
const BUCKET: i64 = 600;
/// The outcome of a sign-in that worked.
const SUCCESS: &str = "success";

/// Counts of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Successful sign-ins of the last hour.
    pub successes: u64,
    /// Failed ones of the last hour, by reason.
    pub failures: BTreeMap<String, u64>,
    /// How long the provider took over the successful ones, together, in milliseconds.
    pub millis: u64,
    /// The last 24 hours, oldest first.
    pub hours: Vec<HealthHour>,
}

/// Counts one sign-in: `failure` says why it came to nothing, `millis` how long the provider took.
///
/// # Errors
/// When the database does not answer.
pub async fn count(tx: &mut Tx, connection: &ConnectionId, failure: Option<&str>, millis: u64) -> Result<()> {
    let values = [
        ("connection", connection.into()),
        ("bucket", floor(tx.now(), BUCKET).into()),
        ("outcome", failure.unwrap_or(SUCCESS).into()),
        ("sign_ins", 1.into()),
        ("millis", i64::try_from(millis).unwrap_or(i64::MAX).into()),
    ];
    let sql = Sql::insert("connection_health", values).then(
        " ON CONFLICT (connection, bucket, outcome) DO UPDATE SET \
         sign_ins = connection_health.sign_ins + 1, millis = connection_health.millis + excluded.millis",
    );
    tx.run(sql).await.map(drop)
}

/// How sign-ins through a connection went of late.
///
/// # Errors
/// When the database does not answer.
pub async fn counts(mut store: &Store, connection: &ConnectionId) -> Result<Counts> {
    let now = store.clock().now();
    let sql = Sql::new(
        "SELECT bucket, outcome, sign_ins, millis FROM connection_health \
         WHERE connection = $1 AND bucket > $2 ORDER BY bucket",
    );
    let sql = sql.bind(connection).bind(now.plus_seconds(-86_400));
    let hour_ago = now.plus_seconds(-3600);
    let mut counts = Counts::default();
    for row in store.rows(sql).await? {
        let bucket = row.time("bucket")?;
        let outcome = row.text("outcome")?;
        let n = u64::try_from(row.int("sign_ins")?).unwrap_or_default();
        let from = floor(bucket, 3600);
        if counts.hours.last().is_none_or(|hour| hour.from != from) {
            counts.hours.push(HealthHour {
                from,
                successes: 0,
                failures: BTreeMap::new(),
            });
        }
        let hour = counts.hours.last_mut();
        let recent = bucket > hour_ago;
        if outcome == SUCCESS {
            hour.into_iter().for_each(|hour| hour.successes += n);
            if recent {
                counts.successes += n;
                counts.millis += u64::try_from(row.int("millis")?).unwrap_or_default();
            }
        } else {
            hour.into_iter()
                .for_each(|hour| *hour.failures.entry(outcome.clone()).or_default() += n);
            if recent {
                *counts.failures.entry(outcome).or_default() += n;
            }
        }
    }
    Ok(counts)
}

/// The start of the stretch of `seconds` in which a moment lies.
fn floor(at: Timestamp, seconds: i64) -> Timestamp {
    let step = seconds * 1_000_000;
    Timestamp(at.0.div_euclid(step) * step)
}
