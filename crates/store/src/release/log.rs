//! The log as somebody may read it. Text is looked for in what they get to see, so that a search finds nobody by
//! what is withheld; nor does the place where a page ends depend on it.

use super::{Release, Released};
use crate::Result;
use crate::audit::{self, Filter, Order};
use wire::AuditEvent;

/// Events read at once where text is looked for: few to begin with, because it may be found soon.
const STEPS: std::ops::RangeInclusive<u32> = 100..=1000;
/// Events looked through for one page at the most.
const MOST: u32 = 5000;

impl Release {
    /// Events beside the position `at` (exclusive), at most `limit`, and the position where the next page begins, if
    /// there is one. A page may hold fewer events than asked for, even none, and still have a next one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn log(
        &mut self,
        filter: &Filter,
        (order, mut at): (Order, Option<i64>),
        limit: u32,
    ) -> Result<(Vec<Released<AuditEvent>>, Option<i64>)> {
        let (mut filter, store, org) = (filter.clone(), self.store.clone(), self.org.clone());
        // The organisation sees every event as it was written.
        let text = match self.sees_all() {
            true => None,
            false => filter.text.take().map(|text| text.to_ascii_lowercase()),
        };
        let mut step = limit + 1;
        if text.is_some() {
            step = step.max(*STEPS.start());
        }
        let (mut found, mut read) = (Vec::new(), 0);
        loop {
            let events = audit::list(&store, &org, &filter, (order, at), step).await?;
            let more = events.len() == step as usize;
            for event in self.all(events).await? {
                let position = event.seq;
                if text.as_ref().is_none_or(|text| mentions(&event, text)) {
                    if found.len() == limit as usize {
                        return Ok((found, at));
                    }
                    found.push(event);
                }
                at = Some(position);
            }
            read += step;
            if !more {
                return Ok((found, None));
            }
            if text.is_none() || read >= MOST {
                return Ok((found, at));
            }
            step = (step * 2).min(*STEPS.end()).max(step);
        }
    }
}

/// Whether a text, in lower case, is in the event as it is shown; but not in what the origin answered, which is no
/// part of what was written.
fn mentions(event: &AuditEvent, text: &str) -> bool {
    let written = AuditEvent {
        response: None,
        outcome_unknown: false,
        ..event.clone()
    };
    // What is looked for has to be spelled as JSON spells it.
    let (Ok(written), Ok(text)) = (serde_json::to_string(&written), serde_json::to_string(text)) else {
        return false;
    };
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    text.is_some_and(|text| written.to_ascii_lowercase().contains(text))
}
