//! Verifying an export, far from the database.

use super::digest::Digest;
use super::verify::{Break, Verified, Walk};
use crate::{Error, Result};
use std::io::BufRead;
use wire::{AuditEvent, OrgId};

/// Walks an export of a whole organisation (NDJSON, oldest first, no filters) along the digests that are known of it, and
/// says whose it is. It may begin with the first event, or behind one that a digest names. Answers are in no order there,
/// and not verified.
///
/// # Errors
/// When the copy cannot be read.
pub fn verify_copy(copy: impl BufRead, digests: &[Digest]) -> Result<(Option<OrgId>, Verified)> {
    let mut walk = Walk::new([]);
    let mut org: Option<OrgId> = None;
    for (line, text) in (1..).zip(copy.lines()) {
        let text = text.map_err(Error::internal)?;
        if text.trim().is_empty() {
            continue;
        }
        let Ok(event) = serde_json::from_str::<AuditEvent>(&text) else {
            walk.found.broken = Some(Break::Unreadable(line));
            break;
        };
        let begun = match &org {
            Some(_) => Ok(()),
            None => {
                let its = digests.iter().filter(|digest| digest.org == event.org);
                walk = Walk::new(its);
                org = Some(event.org.clone());
                walk.begin_behind(event.seq - 1)
            }
        };
        if let Err(broken) = begun.and_then(|()| next(&mut walk, org.as_ref(), event)) {
            walk.found.broken = Some(broken);
            break;
        }
    }
    Ok((org, walk.found))
}

fn next(walk: &mut Walk<'_>, org: Option<&OrgId>, mut event: AuditEvent) -> Result<(), Break> {
    let seq = event.seq;
    if org != Some(&event.org) {
        return Err(Break::Changed(seq));
    }
    let has_answer = event.response.is_some();
    // Added when it was read; the rest is the event as it was written.
    event.response = None;
    event.outcome_unknown = false;
    let body = serde_json::to_string(&event).map_err(|_| Break::Changed(seq))?;
    walk.step(seq, &body)?;
    walk.compare()?;
    walk.found.checked += 1;
    walk.found.unproven += u64::from(has_answer);
    Ok(())
}
