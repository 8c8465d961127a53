//! A change whose event says what becomes of whom is made twice: first to be taken back and judged, then for good. So
//! nobody who writes waits while many people are asked about, and what the event says was counted just before, on
//! the configuration that the change met.

use super::{Draft, Foresight};
use crate::{Error, Tx};
use wire::{AuditEvent, Timestamp};

/// How often it is counted at the most, when the configuration changes meanwhile.
const ROUNDS: usize = 3;

/// Said of a change in its event, if what becomes of whom could not be counted before it was made.
pub const NOT_COUNTED: &str = "impact_not_counted";

/// A change that was made, and waits to be committed.
pub struct Made<T> {
    /// Where it was made.
    pub tx: Tx,
    /// What it does.
    pub events: Vec<AuditEvent>,
    /// What is answered.
    pub answer: T,
}

/// Makes a change with events that say what becomes of whom. `make` makes it, and is asked more than once; `count` judges it, unless
/// that is not possible now.
///
/// # Errors
/// Those of `make`, and when the database does not answer.
pub async fn rehearse<T, E, M, C>(make: impl Fn() -> M, count: impl Fn(Draft) -> C) -> Result<Made<T>, E>
where
    E: From<Error>,
    M: Future<Output = Result<Made<T>, E>>,
    C: Future<Output = Option<Foresight>>,
{
    rehearse_since(None, make, count).await
}

/// As [`rehearse`], compared with what was enforced at a moment that is over.
pub(crate) async fn rehearse_since<T, E, M, C>(
    moment: Option<Timestamp>,
    make: impl Fn() -> M,
    count: impl Fn(Draft) -> C,
) -> Result<Made<T>, E>
where
    E: From<Error>,
    M: Future<Output = Result<Made<T>, E>>,
    C: Future<Output = Option<Foresight>>,
{
    let mut made = make().await?;
    for _ in 0..ROUNDS {
        if made.events.is_empty() {
            return Ok(made);
        }
        let Some(draft) = made.tx.draft_since(moment).await? else {
            return Ok(made);
        };
        let ground = draft.ground.clone();
        drop(made);
        let foresight = count(draft).await;
        made = make().await?;
        let Some(foresight) = foresight else { break };
        if made.tx.stands_on(&ground).await? {
            foresight.note(&mut made.events);
            return Ok(made);
        }
    }
    for event in &mut made.events {
        event.reason.get_or_insert_with(|| NOT_COUNTED.to_owned());
    }
    Ok(made)
}
