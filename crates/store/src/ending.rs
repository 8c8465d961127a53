//! What is switched off ends what hangs on it for good: switched on again, nobody is let in who was let in
//! before.
//!
//! It is asked in both directions. What began at another instance in the moment between, or was there before
//! switching off ended anything, ends when it is switched on.

use crate::grant::{self, Which};
use crate::sql::{Run, Sql};
use crate::{Change, Result, Tx};
use wire::{AccountId, AppId, ConnectionId};

/// What was switched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Switched<'a> {
    App(&'a AppId),
    Account(&'a AccountId),
    /// For everybody who came through it.
    Connection(&'a ConnectionId),
}

/// Ends sessions, the proofs that would begin one, and grants.
pub(crate) async fn end(tx: &mut Tx, what: Switched<'_>) -> Result<()> {
    let (sessions, handoffs, id, which, reason) = match what {
        Switched::App(id) => (
            "DELETE FROM sessions WHERE app = $1 RETURNING id",
            "DELETE FROM handoffs WHERE app = $1",
            id.as_ref(),
            Which::App(id),
            "app_disabled",
        ),
        Switched::Account(id) => (
            "DELETE FROM sessions WHERE app IN (SELECT id FROM apps WHERE account = $1) RETURNING id",
            "DELETE FROM handoffs WHERE app IN (SELECT id FROM apps WHERE account = $1)",
            id.as_ref(),
            Which::Account(id),
            "account_disabled",
        ),
        Switched::Connection(id) => (
            "DELETE FROM sessions WHERE user_id IN (SELECT id FROM users WHERE connection = $1) RETURNING id",
            "DELETE FROM handoffs WHERE user_id IN (SELECT id FROM users WHERE connection = $1)",
            id.as_ref(),
            Which::Connection(id),
            "connection_disabled",
        ),
    };
    tx.run(Sql::new(handoffs).bind(id)).await?;
    for row in (&mut *tx).rows(Sql::new(sessions).bind(id)).await? {
        tx.changed(Change::Session(row.id("id")?));
    }
    grant::revoke_where(tx, which, reason).await.map(drop)
}
