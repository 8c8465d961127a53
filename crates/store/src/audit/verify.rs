//! Whether a log is what was written.

use super::chain;
use crate::sql::{Run, Sql};
use crate::{Error, Result};
use wire::OrgId;

/// Walks the chain of an organisation and names the first event whose hash is not what it should be.
/// Events that are appended meanwhile are left to the next walk.
///
/// # Errors
/// `NotFound` for no organisation, else when the database does not answer.
pub async fn verify(mut db: impl Run, org: &OrgId) -> Result<Verified> {
    let sql = Sql::new("SELECT seq, hash FROM audit_heads WHERE org = $1").bind(org);
    let head = db.rows(sql).await?.pop().ok_or(Error::NotFound("organisation"))?;
    let (end, end_hash) = (head.int("seq")?, head.text("hash")?);
    let (mut at, mut hash, mut checked) = (0, String::new(), 0);
    while at < end {
        let sql = Sql::new("SELECT seq, body, hash FROM audit_events WHERE org = $1").bind(org);
        let sql = sql.and("seq >", Some(at)).and("seq <=", Some(end));
        let rows = db.rows(sql.then(" ORDER BY seq").limit(1000)).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let seq = row.int("seq")?;
            hash = chain(&hash, &row.text("body")?);
            if seq != at + 1 || hash != row.text("hash")? {
                return Ok(Verified {
                    checked,
                    broken_at: Some(at + 1),
                });
            }
            at = seq;
            checked += 1;
        }
    }
    let cut = at != end || hash != end_hash;
    Ok(Verified {
        checked,
        broken_at: cut.then_some(at + 1),
    })
}

/// What [`verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Events whose hash is right.
    pub checked: u64,
    /// The first position that is missing or changed.
    pub broken_at: Option<i64>,
}
