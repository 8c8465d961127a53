//! What a running server noticed about its surroundings and an operator should hear, also from `doctor`.

use crate::sql::{Sql, opt};
use crate::{Result, Store};
use wire::Timestamp;

/// Remembers the newest of a kind.
///
/// # Errors
/// When the database does not answer.
pub async fn put(store: &Store, name: &str, detail: &str) -> Result<()> {
    let mut tx = store.begin().await?;
    let sql = Sql::new(
        "INSERT INTO notices (name, detail, at) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET detail = $2, at = $3",
    );
    let sql = sql.bind(name).bind(detail).bind(tx.now());
    tx.run(sql).await?;
    tx.commit_housekeeping().await
}

/// The newest of a kind: what was noticed, and when.
///
/// # Errors
/// When the database does not answer.
pub async fn get(store: &Store, name: &str) -> Result<Option<(String, Timestamp)>> {
    let sql = Sql::new("SELECT detail, at FROM notices WHERE name = $1").bind(name);
    let row = opt(store, sql).await?;
    row.map(|row| Ok((row.text("detail")?, row.time("at")?)))
        .transpose()
}
