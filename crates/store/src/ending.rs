//! What is switched off ends what hangs on it for good: switched on again, nobody is let in who was let in
//! before.
//!
//! It is asked in both directions. What began at another instance in the moment between, or was there before
//! switching off ended anything, ends when it is switched on.

use crate::grant::{self, Which};
use crate::sql::Sql;
use crate::{Result, Tx, ended};
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
    let (handoffs, id, which, reason) = match what {
        Switched::App(id) => (
            "DELETE FROM handoffs WHERE app = $1",
            id.as_ref(),
            Which::App(id),
            "app_disabled",
        ),
        Switched::Account(id) => (
            "DELETE FROM handoffs WHERE app IN (SELECT id FROM apps WHERE account = $1)",
            id.as_ref(),
            Which::Account(id),
            "account_disabled",
        ),
        Switched::Connection(id) => (
            "DELETE FROM handoffs WHERE user_id IN (SELECT id FROM users WHERE connection = $1)",
            id.as_ref(),
            Which::Connection(id),
            "connection_disabled",
        ),
    };
    tx.run(Sql::new(handoffs).bind(id)).await?;
    ended::sessions(tx, reason, |sql| match what {
        Switched::App(id) => sql.and("app =", Some(id)),
        Switched::Account(id) => sql
            .and("app IN (SELECT id FROM apps WHERE account =", Some(id))
            .then(")"),
        Switched::Connection(id) => sql
            .and("user_id IN (SELECT id FROM users WHERE connection =", Some(id))
            .then(")"),
    })
    .await?;
    grant::revoke_where(tx, which, reason).await.map(drop)
}
