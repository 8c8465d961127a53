//! Sign-in with password and code in one form: the way in for somebody with a second factor whose password alone would
//! have to wait, because somebody else keeps guessing at it.
//!
//! The answer says only whether both were right, and an attempt is counted for the half that was: whoever has neither can
//! use up nothing, whatever the number of their networks; whoever has one half gets few tries at the other.

use super::{CODE, Half, by_code, failed};
use crate::Visit;
use crate::lanes::{FACTOR, Lanes, PASSWORD_WITH_CODE};
use crate::local::{Claim, Claimed, accepted, complete};
use crate::page::Failure;

/// Where to go on, signed in; `None`, written down, when it was not right or has to wait.
pub(crate) async fn sign_in(
    visit: &Visit,
    at: &Claimed<'_>,
    claim: &Claim,
    (half, code): (&Half, &str),
) -> Result<Option<String>, Failure> {
    let store = visit.store();
    let user = Some(&claim.user);
    let lanes = Lanes::of(visit, claim.user.as_ref(), None).await?;
    let mut tx = store.begin().await?;
    // Looked at and taken back: a code is spent only with the right password.
    let code_right = by_code(visit, &mut tx, half, code).await?.is_ok();
    drop(tx);
    let mut tx = store.begin().await?;
    let counted = match (claim.right, code_right) {
        (true, true) => {
            lanes.count(&mut tx, FACTOR).await? && lanes.count(&mut tx, PASSWORD_WITH_CODE).await?
        }
        (true, false) => lanes.count(&mut tx, FACTOR).await?,
        (false, true) => lanes.count(&mut tx, PASSWORD_WITH_CODE).await?,
        (false, false) => lanes.count_nothing(&mut tx).await?,
    };
    if !counted {
        drop(tx);
        store.record_folded(at.failed(visit, user, "locked")).await?;
        return Ok(None);
    }
    tx.commit_housekeeping().await?;
    if !claim.right {
        let event = at.failed(visit, user, "wrong_password");
        store.record_folded(event).await?;
        return Ok(None);
    }
    if code_right && accepted(visit, at, &claim.user).await?.is_none() {
        return Ok(None);
    }
    let mut tx = store.begin().await?;
    match by_code(visit, &mut tx, half, code).await? {
        Ok(events) => complete(visit, tx, half, &CODE, events).await.map(Some),
        Err(reason) => {
            drop(tx);
            let event = failed(visit, half, reason).await?;
            store.record_folded(event).await?;
            Ok(None)
        }
    }
}
