//! Answers to requests with an `Idempotency-Key`, so that a repeated request is answered as the first one
//! was, without being carried out again.

use crate::sql::{Sql, opt};
use crate::{Result, Store};

/// How long an answer is kept, in seconds.
pub(crate) const KEPT: i64 = 24 * 3600;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the caller carries the request out, and then says [`finish`] or [`forget`].
    First,
    /// Another request came with it.
    Other,
    /// The same request came with it and is not answered yet.
    Unanswered,
    /// The same request came with it and was answered like this.
    Answered(String),
}

/// Claims a key for a request, or says what became of the request that has it.
///
/// `hash` identifies credential and key, `fingerprint` the request.
///
/// # Errors
/// When the database does not answer.
pub async fn claim(store: &Store, hash: &str, fingerprint: &str) -> Result<Found> {
    let mut tx = store.begin().await?;
    let now = tx.now();
    let old = Sql::new("DELETE FROM idempotency_keys WHERE hash = $1 AND created_at <= $2");
    tx.run(old.bind(hash).bind(now.plus_seconds(-KEPT))).await?;
    let sql = Sql::new(
        "INSERT INTO idempotency_keys (hash, fingerprint, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (hash) DO NOTHING",
    );
    if tx.run(sql.bind(hash).bind(fingerprint).bind(now)).await? > 0 {
        tx.commit_housekeeping().await?;
        return Ok(Found::First);
    }
    let sql = Sql::new("SELECT fingerprint, answer FROM idempotency_keys WHERE hash = $1").bind(hash);
    let Some(row) = opt(&mut tx, sql).await? else {
        // Forgotten at this very moment: whoever asks again may begin.
        return Ok(Found::Unanswered);
    };
    if row.text("fingerprint")? != fingerprint {
        return Ok(Found::Other);
    }
    let Some(sealed) = row.opt_text("answer")? else {
        return Ok(Found::Unanswered);
    };
    let answer = tx.vault().open(hash, &sealed)?;
    Ok(Found::Answered(String::from_utf8_lossy(&answer).into_owned()))
}

/// Keeps the answer of a request that was carried out.
///
/// # Errors
/// When the database does not answer; the key then stays taken, because the request was carried out.
pub async fn finish(store: &Store, hash: &str, answer: &str) -> Result<()> {
    let mut tx = store.begin().await?;
    let sealed = tx.vault().seal(hash, answer.as_bytes())?;
    let sql = Sql::new("UPDATE idempotency_keys SET answer = $1 WHERE hash = $2");
    tx.run(sql.bind(sealed).bind(hash)).await?;
    tx.commit_housekeeping().await
}

/// Gives a key back whose request was refused, and so changed nothing.
///
/// # Errors
/// When the database does not answer.
pub async fn forget(store: &Store, hash: &str) -> Result<()> {
    let mut tx = store.begin().await?;
    tx.run(Sql::new("DELETE FROM idempotency_keys WHERE hash = $1").bind(hash))
        .await?;
    tx.commit_housekeeping().await
}
