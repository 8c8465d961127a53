//! Browsers that are out at a provider. What an attempt relies on is sealed: it holds what the answer is checked against.

use crate::sql::{Sql, opt};
use crate::{Result, Tx};
use serde::{Serialize, de::DeserializeOwned};

/// Keeps an attempt under the hash of its state, for so many seconds; `holder` is the hash of what its browser shows.
///
/// # Errors
/// When the database does not answer.
pub async fn keep(
    tx: &mut Tx,
    (state_hash, holder): (&str, &str),
    attempt: &impl Serialize,
    seconds: i64,
) -> Result<()> {
    let data = serde_json::to_vec(attempt).map_err(crate::Error::internal)?;
    let values = [
        ("hash", state_hash.into()),
        ("holder", holder.into()),
        ("data", tx.vault().seal(state_hash, &data)?.into()),
        ("expires_at", tx.now().plus_seconds(seconds).into()),
    ];
    tx.run(Sql::insert("pending_logins", values)).await.map(drop)
}

/// Takes an attempt out, for good, if it is the one of this browser and has not lasted too long.
///
/// # Errors
/// When the database does not answer.
pub async fn take<T: DeserializeOwned>(tx: &mut Tx, (state_hash, holder): (&str, &str)) -> Result<Option<T>> {
    let sql = Sql::new(
        "DELETE FROM pending_logins WHERE hash = $1 AND holder = $2 AND expires_at > $3 RETURNING data",
    );
    let sql = sql.bind(state_hash).bind(holder).bind(tx.now());
    let Some(row) = opt(&mut *tx, sql).await? else {
        return Ok(None);
    };
    let data = tx.vault().open(state_hash, &row.text("data")?)?;
    serde_json::from_slice(&data)
        .map(Some)
        .map_err(crate::Error::internal)
}
