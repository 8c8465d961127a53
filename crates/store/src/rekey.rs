//! Changing the master key: the new one seals, the old one opens until everything is sealed anew.
//!
//! Which of two keys seals is what the database says: the one that opens `master_key_check`. [`rekey`] changes that first;
//! servers that have both keys follow by the change feed, and from then on nothing is sealed under the old one. Then it
//! goes through [`SEALED`] until nothing is left, gives every head of an audit log its MAC anew, and says that it is
//! done. It can be killed at any moment, and goes on where it was.

use crate::audit::PublicKey;
use crate::db::On;
use crate::sql::{Run, Sql, opt};
use crate::vault::Carried;
use crate::{Change, Error, Result, Store, Vault, audit};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use wire::{ActorKind, AuditActor, AuditChange};

/// Every column that is sealed under the master key, with the one that is its context: table, context, column. A test
/// looks for what is sealed and not here.
pub const SEALED: &[(&str, &str, &str)] = &[
    ("connections", "id", "secret"),
    ("idempotency_keys", "hash", "answer"),
    ("pending_logins", "hash", "data"),
    ("second_factors", "id", "secret"),
    ("signing_keys", "id", "private_key"),
    ("upstream_sessions", "session", "id_token"),
    ("upstream_tokens", "user_id", "token"),
    ("webhooks", "id", "secret"),
    ("webhooks", "id", "previous_secret"),
];

/// What becomes of a key for one purpose that follows from the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// What it proved is proven anew.
    Renewed,
    /// It goes on to count, sealed under the new master key: what it proved cannot be proven anew.
    Carried,
    /// Its public half goes on to count.
    Known,
    /// What it proved is short-lived, or begins anew without harm.
    Ends,
}

/// Every purpose for which a key follows from the master key. A test looks for those that are not here.
pub const PURPOSES: &[(&str, Derived)] = &[
    ("audit digest", Derived::Known),
    ("audit head", Derived::Renewed),
    // A backup is restored with the master key from when it was taken.
    ("backup", Derived::Ends),
    // Somebody's own browser is a stranger's until they sign in again.
    ("browser", Derived::Ends),
    ("csrf", Derived::Ends),
    ("cursor", Derived::Ends),
    // Ten minutes; what was counted for addresses begins anew.
    ("email code", Derived::Ends),
    ("hop", Derived::Ends),
    // Of an instance that does not run.
    ("mark", Derived::Carried),
    ("recovery", Derived::Carried),
    // For the seconds in which a token's successor is repeated.
    ("refresh", Derived::Ends),
    ("refresh token", Derived::Carried),
];

/// The row of a database whose master key is being changed.
pub(crate) const UNDER_WAY: &str = "rekey";
/// The row of what is carried on.
const CARRIED: &str = "carried_keys";
/// Rows of one transaction.
const BATCH: u32 = 200;

/// What [`Store::rekey`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// Values that were sealed anew.
    pub sealed: u64,
    /// Those that no key opens, by column: they were lost before.
    pub unreadable: Vec<String>,
    /// Whether it had been begun before.
    pub resumed: bool,
    /// Whether there was nothing to do.
    pub done_before: bool,
}

/// Where a database keeps by what its master key is known.
const KEY_CHECK: &str = "master_key_check";
const KEY_TEXT: &[u8] = b"chatelaine";
pub(crate) const OTHER_KEY: &str = "the configured master key is not the one under which this database is sealed: put that one back (after a change of keys, \
                                     the new one)";

pub(crate) fn key_check() -> Sql {
    Sql::new("SELECT value FROM meta WHERE key = $1").bind(KEY_CHECK)
}

/// Whether what a database keeps was sealed under this master key.
pub(crate) fn fits_key(vault: &Vault, sealed: &str) -> bool {
    let opened = vault.open(KEY_CHECK, sealed);
    opened.is_ok_and(|text| text.as_slice() == KEY_TEXT)
}

/// Refuses a master key that is not the one that the database began with; on a new database, remembers it.
pub(crate) async fn check_key(db: On<'_>, vault: &Vault) -> Result<()> {
    if settle(db, vault).await? {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    let sealed = vault.seal(KEY_CHECK, KEY_TEXT)?;
    let values = [("key", KEY_CHECK.into()), ("value", sealed.into())];
    match tx.run(Sql::insert("meta", values)).await {
        Ok(_) => tx.commit().await,
        // Another instance began the database at the same moment: check against its key.
        Err(Error::Conflict(_)) => {
            drop(tx);
            Box::pin(check_key(db, vault)).await
        }
        Err(other) => Err(other),
    }
}

/// Finds out which of the keys seals, and what is carried on. Says `false` for a database without a key.
pub(crate) async fn settle(mut db: On<'_>, vault: &Vault) -> Result<bool> {
    let sql = Sql::new("SELECT key, value FROM meta WHERE 1 = 1");
    let mut found = HashMap::new();
    for row in db
        .rows(sql.and_among("key", &[KEY_CHECK, UNDER_WAY, CARRIED]))
        .await?
    {
        found.insert(row.text("key")?, row.text("value")?);
    }
    let Some(check) = found.get(KEY_CHECK) else {
        return Ok(false);
    };
    let which = vault.opens(KEY_CHECK, check);
    let Some(which) = which.filter(|_| fits_key(vault, check)) else {
        return Err(Error::invalid("/master_key", OTHER_KEY));
    };
    if vault.count() == 1 && found.contains_key(UNDER_WAY) {
        return Err(Error::invalid(
            "/master_key",
            "the master key is being changed, and until that is done both are needed: master_key and next_master_key",
        ));
    }
    if let Some(carried) = found.get(CARRIED) {
        let opened = vault.open(CARRIED, carried)?;
        vault.carry(serde_json::from_slice(&opened).map_err(Error::internal)?);
    }
    vault.seal_by(which);
    Ok(true)
}

pub(crate) async fn is_under_way(db: impl Run) -> Result<bool> {
    let sql = Sql::new("SELECT value FROM meta WHERE key = $1").bind(UNDER_WAY);
    Ok(opt(db, sql).await?.is_some())
}

impl Store {
    /// Whether the master key is being changed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_rekeying(&self) -> Result<bool> {
        is_under_way(self).await
    }

    /// Seals everything under the second of the two keys that the store was opened with. Servers that run have both as
    /// well, and have `patience` to follow.
    ///
    /// # Errors
    /// `Invalid` when there is one key only; else when the database does not answer: then it goes on the next time.
    pub async fn rekey(&self, patience: Duration) -> Result<Rekeyed> {
        const NEXT: usize = 1;
        let vault = self.vault();
        if vault.count() != 2 {
            return Err(Error::invalid(
                "/next_master_key",
                "there is no other master key to change to",
            ));
        }
        let mut done = Rekeyed {
            resumed: is_under_way(self).await?,
            ..Rekeyed::default()
        };
        if vault.sealing() == NEXT && !done.resumed {
            done.done_before = true;
            return Ok(done);
        }
        if vault.sealing() != NEXT {
            self.switch(NEXT).await?;
        }
        tokio::time::sleep(patience).await;
        loop {
            let mut sealed = 0;
            done.unreadable.clear();
            for column in SEALED {
                sealed += self.reseal(column, &mut done.unreadable).await?;
            }
            done.sealed += sealed;
            // Whoever had begun before the switch may have written meanwhile.
            if sealed == 0 {
                break;
            }
        }
        self.end_rekey().await?;
        Ok(done)
    }

    /// From the commit on, the new key seals.
    async fn switch(&self, next: usize) -> Result<()> {
        let vault = self.vault();
        // What was carried before is carried on.
        let mut carried = Carried {
            keys: Vec::new(),
            digests: PublicKey::of(vault)?.texts(),
        };
        for (purpose, _) in PURPOSES.iter().filter(|(_, fate)| *fate == Derived::Carried) {
            for key in vault.carriable(purpose) {
                carried.keys.push(((*purpose).to_owned(), key));
            }
        }
        let carried_text = serde_json::to_vec(&carried).map_err(Error::internal)?;
        let mut tx = self.begin().await?;
        for (key, value) in [
            (KEY_CHECK, vault.seal_with(next, (KEY_CHECK, KEY_TEXT))?),
            (CARRIED, vault.seal_with(next, (CARRIED, &carried_text))?),
            (UNDER_WAY, tx.now().to_string()),
        ] {
            let sql =
                "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2";
            tx.run(Sql::new(sql).bind(key).bind(value)).await?;
        }
        tx.changed(Change::Keys);
        let events = self.said(&mut tx, "begun").await?;
        tx.commit_all(events).await?;
        vault.carry(carried);
        vault.seal_by(next);
        Ok(())
    }

    async fn said(&self, tx: &mut crate::Tx, reason: &str) -> Result<Vec<wire::AuditEvent>> {
        let names = self.vault().fingerprints();
        let mut events = Vec::new();
        for org in crate::org::all(&mut *tx).await? {
            let actor = AuditActor::of(ActorKind::System);
            let mut event = audit::event(&org.id, "system", "master_key.rotate", actor);
            event.reason = Some(reason.to_owned());
            event.change = Some(AuditChange {
                before: json!({ "master_key": names.first() }),
                after: json!({ "master_key": names.last() }),
            });
            events.push(event);
        }
        Ok(events)
    }

    /// Seals a column anew, a few rows at a time. Says how many values were.
    async fn reseal(&self, column: &(&str, &str, &str), unreadable: &mut Vec<String>) -> Result<u64> {
        let (table, context, name) = *column;
        let (vault, mut sealed, mut after) = (self.vault(), 0, String::new());
        loop {
            let text = format!(
                "SELECT {context} AS context, {name} AS sealed FROM {table} WHERE {context} > $1 AND {name} IS NOT NULL \
                 ORDER BY {context} LIMIT {BATCH}"
            );
            let mut tx = self.begin().await?;
            let rows = (&mut tx).rows(Sql::assembled(text).bind(after.as_str())).await?;
            for row in &rows {
                after = row.text("context")?;
                let old = row.text("sealed")?;
                match vault.opens(&after, &old) {
                    Some(which) if which == vault.sealing() => {}
                    Some(_) => {
                        let new = vault.seal(&after, &vault.open(&after, &old)?)?;
                        // Not over what somebody else wrote meanwhile.
                        let text =
                            format!("UPDATE {table} SET {name} = $1 WHERE {context} = $2 AND {name} = $3");
                        let sql = Sql::assembled(text).bind(new).bind(after.as_str()).bind(old);
                        sealed += tx.run(sql).await?;
                    }
                    None => unreadable.push(format!("{table}.{name} of {after}")),
                }
            }
            tx.commit_housekeeping().await?;
            if rows.len() < BATCH as usize {
                return Ok(sealed);
            }
        }
    }

    /// Gives the heads their MACs anew, and says that it is done.
    async fn end_rekey(&self) -> Result<()> {
        let mut tx = self.begin().await?;
        let events = self.said(&mut tx, "completed").await?;
        for org in crate::org::all(&mut tx).await? {
            audit::reseal_head(&mut tx, &org.id).await?;
        }
        tx.run(Sql::new("DELETE FROM meta WHERE key = $1").bind(UNDER_WAY))
            .await?;
        tx.changed(Change::Keys);
        tx.commit_all(events).await
    }
}
