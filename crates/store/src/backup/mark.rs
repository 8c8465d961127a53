//! What one instance has seen of its database, kept outside of it: a database that knows less went back in time, and what
//! was ended since would be alive again.

use crate::audit::{Seen, dealt_with, holds, seen};
use crate::sql::{Sql, opt};
use crate::{Error, Result, Store, Vault};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use wire::{OrgId, Timestamp};

/// How far change feed and logs were when an instance last looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub time: Timestamp,
    /// The last change.
    pub changes: i64,
    /// The last event of each log.
    logs: BTreeMap<OrgId, Seen>,
}

/// The file: the mark, with a MAC under a key that follows from the master key.
#[derive(Serialize, Deserialize)]
struct Signed {
    mark: String,
    mac: String,
}

const PURPOSE: &str = "mark";

impl Mark {
    /// How far the database is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(store: &Store) -> Result<Self> {
        let time = store.clock().now();
        let row = opt(store, Sql::new("SELECT seq FROM change_counter WHERE id = 1")).await?;
        let row = row.ok_or_else(|| Error::internal("no change counter"))?;
        Ok(Self {
            time,
            changes: row.int("seq")?,
            logs: seen(store).await?,
        })
    }

    /// Whether both say the same of the database.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (self.changes, &self.logs) == (other.changes, &other.logs)
    }

    /// The last position of a log that is known to be given out.
    #[must_use]
    pub fn position(&self, org: &OrgId) -> i64 {
        self.logs.get(org).map_or(0, |seen| seen.seq)
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// `Invalid` when this server did not write it.
    pub fn read(path: &Path, vault: &Vault) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text
                .map_err(|error| Error::invalid("", format!("{} cannot be read: {error}", path.display())))?,
        };
        let foreign = || {
            let words = format!(
                "{} was not written under this master key, or was altered: it says how far the database was. If the \
                 database was begun anew on purpose, move the file aside",
                path.display()
            );
            Error::invalid("", words)
        };
        let signed: Signed = serde_json::from_str(&text).map_err(|_| foreign())?;
        let tag = URL_SAFE_NO_PAD.decode(&signed.mac).map_err(|_| foreign())?;
        if !vault.mac_fits(PURPOSE, signed.mark.as_bytes(), &tag) {
            return Err(foreign());
        }
        serde_json::from_str(&signed.mark)
            .map(Some)
            .map_err(|_| foreign())
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, vault: &Vault) -> Result<()> {
        let mark = serde_json::to_string(self).map_err(Error::internal)?;
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&vault.mac_key(PURPOSE), mark.as_bytes()));
        let text = serde_json::to_string(&Signed { mark, mac }).map_err(Error::internal)?;
        replace(path, text.as_bytes()).map_err(Error::internal)
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let making = Path::new(&name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(making)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    match written.and_then(|()| std::fs::rename(making, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(making);
            Err(error)
        }
    }
}

/// How far the database is, and why it is an older one than the mark saw, if it is.
///
/// # Errors
/// When the database does not answer.
pub async fn went_back(store: &Store, mark: &Mark) -> Result<(Mark, Option<String>)> {
    let now = Mark::of(store).await?;
    let why = mark.not_in(store, &now).await?;
    Ok((now, why))
}

impl Mark {
    async fn not_in(&self, store: &Store, now: &Self) -> Result<Option<String>> {
        let time = self.time;
        if now.changes < self.changes {
            let (then, now) = (self.changes, now.changes);
            return Ok(Some(format!(
                "on {time} it had come to change {then}, and now to {now}"
            )));
        }
        for (org, then) in &self.logs {
            let Some(seen) = now.logs.get(org) else {
                return Ok(Some(format!("on {time} it had the organisation {org}")));
            };
            if seen == then || holds(store, (org, then), (seen.seq, seen.answers)).await? {
                continue;
            }
            // Another instance's restore, after this mark was made.
            if dealt_with(store, org, time).await? {
                continue;
            }
            return Ok(Some(format!(
                "on {time} the audit log of {org} had come to event {} and {} answers, and now it ends at event {} with \
                 {}, or is another one",
                then.seq, then.answers, seen.seq, seen.answers
            )));
        }
        Ok(None)
    }
}
