//! Tokens of the form before: 256 random bits, or an HMAC of the token before, each with a row that has its hash. They
//! are good for their remaining life: the last one of a grant counts as its generation 0, so that its successor is one
//! of the new form. Nobody makes them any more; this module, its table and the retention of its rows can go when no
//! grant from before is left (a grant lives for a year at the most).

use super::{Held, Standing, since};
use crate::sql::{Sql, opt};
use crate::{Result, Store, Tx, sha256};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::{GrantId, Timestamp};

/// Base64url of 256 bits.
const LENGTH: usize = 43;
/// The longest that an app lets a used token return its successor, in seconds.
const LONGEST: u32 = 600;

/// What the table says about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    hash: String,
    used_at: Option<Timestamp>,
    /// The token of the same form that was given out for it.
    pub(super) successor: Option<String>,
}

impl Found {
    /// What it is worth, unless its grant says that.
    pub(super) fn standing(&self, now: Timestamp, window: u32) -> Option<Standing> {
        match since(self.used_at?, now, window) {
            // Without a successor of its own form it is one of the grant's.
            Standing::Repeated => self.successor.as_ref().map(|_| Standing::Repeated),
            over => Some(over),
        }
    }

    /// Marks it as used, so that neither this nor an older version beside this one takes it for the last one.
    pub(super) async fn spend(&self, tx: &mut Tx) -> Result<bool> {
        let sql = Sql::new("UPDATE refresh_tokens SET used_at = $1 WHERE hash = $2 AND used_at IS NULL");
        Ok(tx.run(sql.bind(tx.now()).bind(self.hash.as_str())).await? == 1)
    }
}

pub(super) async fn find(store: &Store, text: &str) -> Result<Option<Held>> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.len() != LENGTH || !text.bytes().all(plain) {
        return Ok(None);
    }
    let hash = sha256(text);
    let Some(row) = opt(store, select(&hash)).await? else {
        return Ok(None);
    };
    let (grant, used_at) = (row.id::<GrantId>("grant_id")?, row.opt_time("used_at")?);
    let mut successor = None;
    if used_at.is_some_and(|at| since(at, store.clock().now(), LONGEST) == Standing::Repeated) {
        let key = store.vault().mac_key("refresh");
        let next = URL_SAFE_NO_PAD.encode(hmac::sign(&key, format!("{text}|{grant}").as_bytes()));
        successor = opt(store, select(&sha256(&next))).await?.map(|_| next);
    }
    Ok(Some(Held {
        grant,
        generation: 0,
        old: Some(Found {
            hash,
            used_at,
            successor,
        }),
    }))
}

fn select(hash: &str) -> Sql {
    Sql::new("SELECT grant_id, used_at FROM refresh_tokens WHERE hash = $1").bind(hash)
}
