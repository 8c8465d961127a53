//! Backups: everything that the database holds, in one file that both engines share, and what follows from going back to
//! one.
//!
//! ```text
//! {"chatelaine_backup":1, version, schema, taken_at, key, changes, logs, tables}
//! {"table":"users"}
//! ["usr_…","org_…",null,true,1800000000000000]
//! …
//! {"rows":1234,"sha256":"…","mac":"…"}
//! ```
//!
//! A backup is taken in one transaction that sees one moment ([`take`]), beside servers that go on. [`load`] puts it into an
//! empty place; what it leaves there cannot be opened before [`Store::forget_what_lived`] has ended everything that may
//! have been ended, or given out, after that moment. [`Mark`] is how a server notices that somebody went back otherwise.

mod aftermath;
mod file;
mod load;
mod mark;
mod take;

pub use aftermath::{Cause, Ended};
pub use file::{Header, LogHead};
pub use load::{Loaded, load, look};
pub use mark::{Mark, went_back};
pub use take::{Taken, take};

pub(crate) use aftermath::{UNFINISHED, is_finished};

#[cfg(doc)]
use crate::Store;

/// What becomes of the rows of a table when the server goes back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is configuration, or the log, or says something about what was: it is as it was then.
    Stays,
    /// Each of its rows is, or was, good for something, and nobody knows which are still.
    Goes,
    /// Of what it holds the part ends that gives access; `aftermath` says how.
    Ends,
}

/// Every table, and what becomes of it. A table that is not here fails a test: whoever makes one has to think of this.
pub(crate) const FATES: &[(&str, Fate)] = &[
    ("accounts", Fate::Stays),
    ("agent_attempts", Fate::Stays),
    ("agent_steps", Fate::Stays),
    ("agent_documents", Fate::Stays),
    ("api_tokens", Fate::Ends),
    ("apps", Fate::Stays),
    ("attempts", Fate::Stays),
    ("audit_events", Fate::Stays),
    ("audit_heads", Fate::Ends),
    ("audit_responses", Fate::Stays),
    ("bindings", Fate::Stays),
    ("change_counter", Fate::Ends),
    ("changes", Fate::Goes),
    ("clients", Fate::Ends),
    ("codes", Fate::Goes),
    ("connection_health", Fate::Stays),
    ("connection_links", Fate::Stays),
    ("connection_migrations", Fate::Stays),
    ("connection_trials", Fate::Ends),
    ("connections", Fate::Stays),
    ("deep_links", Fate::Goes),
    ("email_codes", Fate::Goes),
    ("expiry_warnings", Fate::Stays),
    ("fetched_documents", Fate::Stays),
    ("grants", Fate::Ends),
    ("handoffs", Fate::Goes),
    ("host_shares", Fate::Stays),
    ("hosts", Fate::Stays),
    ("idempotency_keys", Fate::Goes),
    ("invitations", Fate::Ends),
    ("jobs", Fate::Stays),
    ("known_places", Fate::Stays),
    // Used until they are too old anyway, and those that were used since are in no backup: see `email_codes`.
    ("leases", Fate::Goes),
    ("logout_tokens", Fate::Stays),
    ("members", Fate::Stays),
    ("meta", Fate::Stays),
    ("notices", Fate::Stays),
    ("organisations", Fate::Stays),
    ("passwords", Fate::Stays),
    ("pending_logins", Fate::Goes),
    ("policies", Fate::Stays),
    ("recovery_codes", Fate::Goes),
    ("refresh_tokens", Fate::Goes),
    ("revoked_tokens", Fate::Stays),
    ("role_mappings", Fate::Stays),
    ("schema_readers", Fate::Stays),
    ("second_factors", Fate::Ends),
    ("service_tokens", Fate::Ends),
    ("sessions", Fate::Ends),
    ("signing_keys", Fate::Ends),
    // They belong to sessions, which are over.
    ("spent_forms", Fate::Stays),
    ("upstream_sessions", Fate::Goes),
    // The provider has given out later ones since, and takes an earlier one for stolen.
    ("upstream_tokens", Fate::Goes),
    ("user_groups", Fate::Stays),
    ("users", Fate::Stays),
    ("webhook_deliveries", Fate::Stays),
    ("webhooks", Fate::Stays),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, MasterKey, Options, Store};
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn of_every_table_it_is_said_what_becomes_of_it() {
        let folder = std::env::temp_dir().join(wire::EventId::fresh().to_string());
        let url = format!("sqlite:{}", folder.join("t.db").display());
        let key = MasterKey::generate().unwrap();
        let options = || Options {
            database_url: &url,
            master_key: &key,
            clock: Clock::system(),
            control_url: "https://control.example.com",
            pools: crate::Pools::default(),
        };
        Store::open(options()).await.unwrap().close().await;
        let file = folder.join("backup");
        let taken = take(&options(), &file, "0").await.unwrap();
        let there: BTreeSet<_> = taken
            .header
            .tables
            .iter()
            .map(|table| table.name.as_str())
            .collect();
        let said: BTreeSet<_> = FATES.iter().map(|(table, _)| *table).collect();
        assert_eq!(there, said);
        assert_eq!(said.len(), FATES.len());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
