//! Where somebody wanted to go who had to sign in at an app first, when that is too long for a cookie.
//!
//! Whoever asks for it is nobody yet, so what is kept is bounded: for ten minutes, and so many for one network.

use crate::sql::{Sql, opt};
use crate::{Result, Tx};
use std::net::IpAddr;

/// How long one is kept, in seconds: as long as the state that it belongs to.
pub const LIFE: i64 = 600;
/// Kept for one network at once.
pub const MOST: i64 = 100;

/// What counts as one network: of IPv6, the /64 that one subscriber gets.
fn network(ip: Option<&str>) -> String {
    match ip.and_then(|ip| ip.parse().ok()) {
        Some(IpAddr::V6(ip)) => format!("{:x?}", &ip.segments()[..4]),
        Some(ip) => ip.to_string(),
        None => String::new(),
    }
}

/// Keeps a target under the hash of a state. Says `false`, and keeps nothing, when the network has too many.
///
/// # Errors
/// When the database does not answer.
pub async fn keep(tx: &mut Tx, state_hash: &str, target: &str, ip: Option<&str>) -> Result<bool> {
    let (now, network) = (tx.now(), network(ip));
    let sql = Sql::new("SELECT COUNT(*) AS n FROM deep_links WHERE network = $1 AND expires_at > $2");
    let row = opt(&mut *tx, sql.bind(network.as_str()).bind(now)).await?;
    if row.map(|row| row.int("n")).transpose()?.unwrap_or_default() >= MOST {
        return Ok(false);
    }
    let values = [
        ("hash", state_hash.into()),
        ("network", network.into()),
        ("target", target.into()),
        ("expires_at", now.plus_seconds(LIFE).into()),
    ];
    tx.run(Sql::insert("deep_links", values)).await?;
    Ok(true)
}

/// Takes out what was kept under the hash of a state.
///
/// # Errors
/// When the database does not answer.
pub async fn take(tx: &mut Tx, state_hash: &str) -> Result<Option<String>> {
    let sql = Sql::new("DELETE FROM deep_links WHERE hash = $1 AND expires_at > $2 RETURNING target");
    let sql = sql.bind(state_hash).bind(tx.now());
    let row = opt(tx, sql).await?;
    row.map(|row| row.text("target")).transpose()
}
