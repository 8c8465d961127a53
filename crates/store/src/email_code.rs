//! One-time codes sent by e-mail: short-lived, bound to the browser that asked, good once, few guesses.

use crate::sql::{Sql, opt};
use crate::{Result, Tx};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::{ConnectionId, Timestamp};

/// How long a code is good, in seconds.
pub const LIFE: i64 = 600;
/// Guesses per code.
pub const TRIES: i64 = 5;
/// Over which time codes for one address are counted, in seconds.
pub const WINDOW: i64 = 900;

/// A code that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct NewCode<'a> {
    /// The secret of the attempt, which only the browser's session knows.
    pub attempt: &'a str,
    /// Through which connection.
    pub connection: &'a ConnectionId,
    /// For which address, as it is compared.
    pub address: &'a str,
    /// The code; `None` for one that nobody gets to know, so that no guess is right.
    pub code: Option<&'a str>,
}

/// What a guess came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// It was right; the code is spent.
    Right,
    /// It was wrong, and this many guesses are left.
    Wrong(i64),
    /// The code is spent, too old, or was guessed at too often.
    Over,
}

fn mac(tx: &Tx, parts: &[&str]) -> String {
    let key = tx.vault().mac_key("email code");
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part.as_bytes());
        // No part holds it.
        context.update(&[0]);
    }
    URL_SAFE_NO_PAD.encode(context.sign())
}

/// Remembers a code. Says `false`, and remembers nothing, when `most` were asked for this address lately.
///
/// # Errors
/// When the database does not answer.
pub async fn offer(tx: &mut Tx, new: NewCode<'_>, most: i64) -> Result<bool> {
    let now = tx.now();
    // Locks the row until the end of the transaction, so that requests at the same moment count each other.
    let lock = Sql::new("UPDATE connections SET name = name WHERE id = $1");
    tx.run(lock.bind(new.connection)).await?;
    let address = mac(tx, &["address", new.connection.as_ref(), new.address]);
    let sql = Sql::new(
        "SELECT COUNT(*) AS n FROM email_codes WHERE connection = $1 AND address = $2 AND created_at > $3",
    );
    let sql = sql
        .bind(new.connection)
        .bind(address.as_str())
        .bind(now.plus_seconds(-WINDOW));
    let row = opt(&mut *tx, sql).await?;
    let lately = row.map(|row| row.int("n")).transpose()?.unwrap_or_default();
    if lately >= most {
        return Ok(false);
    }
    let code = match new.code {
        Some(code) => mac(tx, &["code", new.attempt, code]),
        None => crate::random_secret("")?,
    };
    let values = [
        ("hash", crate::sha256(new.attempt).into()),
        ("connection", new.connection.into()),
        ("address", address.into()),
        ("code", code.into()),
        ("tries", 0_i64.into()),
        ("created_at", now.into()),
        ("expires_at", now.plus_seconds(LIFE).into()),
    ];
    tx.run(Sql::insert("email_codes", values)).await?;
    Ok(true)
}

/// Guesses at a code. Counts the guess, and spends the code when it is right, in one statement.
///
/// # Errors
/// When the database does not answer.
pub async fn redeem(tx: &mut Tx, attempt: &str, code: &str) -> Result<Guess> {
    let now = tx.now();
    let code = mac(tx, &["code", attempt, code]);
    let sql = Sql::new(
        "UPDATE email_codes SET tries = tries + 1, redeemed_at = CASE WHEN code = $1 THEN $2 ELSE NULL END \
         WHERE hash = $3 AND redeemed_at IS NULL AND tries < $4 AND expires_at > $2 \
         RETURNING tries, redeemed_at",
    );
    let sql = sql.bind(code).bind(now).bind(crate::sha256(attempt)).bind(TRIES);
    let Some(row) = opt(&mut *tx, sql).await? else {
        return Ok(Guess::Over);
    };
    Ok(match (row.opt_time("redeemed_at")?, TRIES - row.int("tries")?) {
        (Some(_), _) => Guess::Right,
        (None, 0) => Guess::Over,
        (None, left) => Guess::Wrong(left),
    })
}

/// Deletes what no longer counts.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn sweep(tx: &mut Tx, now: Timestamp) -> Result<()> {
    let sql =
        Sql::new("DELETE FROM email_codes WHERE created_at < $1").bind(now.plus_seconds(-WINDOW - LIFE));
    tx.run(sql).await.map(drop)
}
