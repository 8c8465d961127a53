//! One-time codes sent by e-mail: short-lived, bound to the browser that asked, good once, few guesses.

use crate::sql::{Sql, opt};
use crate::{Result, Tx, Vault};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::ConnectionId;

/// How long a code is good, in seconds.
pub const LIFE: i64 = 600;
/// Guesses per code.
pub const TRIES: i64 = 5;

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

fn mac(vault: &Vault, parts: &[&str]) -> String {
    let key = vault.mac_key("email code");
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part.as_bytes());
        // No part holds it.
        context.update(&[0]);
    }
    URL_SAFE_NO_PAD.encode(context.sign())
}

/// What an address is called where attempts with it are counted: no copy of the database tells which it is.
#[must_use]
pub fn subject(vault: &Vault, connection: &ConnectionId, address: &str) -> String {
    mac(vault, &["address", connection.as_ref(), address])
}

/// Remembers a code.
///
/// # Errors
/// When the database does not answer.
pub async fn offer(tx: &mut Tx, new: NewCode<'_>) -> Result<()> {
    let now = tx.now();
    let address = subject(tx.vault(), new.connection, new.address);
    let code = match new.code {
        Some(code) => mac(tx.vault(), &["code", new.attempt, code]),
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
    tx.run(Sql::insert("email_codes", values)).await.map(drop)
}

/// Guesses at a code. Counts the guess, and spends the code when it is right, in one statement.
///
/// # Errors
/// When the database does not answer.
pub async fn redeem(tx: &mut Tx, attempt: &str, code: &str) -> Result<Guess> {
    let now = tx.now();
    let code = mac(tx.vault(), &["code", attempt, code]);
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
