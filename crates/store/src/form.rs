//! Forms that are good for one answer: what is stored is that one was given.

use crate::sql::Sql;
use crate::{Result, Tx};
use wire::Timestamp;

/// Uses up a form, named by its hash, that is worth nothing after `expires_at` anyway: of any number of answers exactly
/// one gets `true`.
///
/// # Errors
/// When the database does not answer.
pub async fn spend(tx: &mut Tx, hash: &str, expires_at: Timestamp) -> Result<bool> {
    let values = [("hash", hash.into()), ("expires_at", expires_at.into())];
    let sql = Sql::insert("spent_forms", values).then(" ON CONFLICT DO NOTHING");
    Ok(tx.run(sql).await? == 1)
}
