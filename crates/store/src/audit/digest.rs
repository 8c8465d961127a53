//! Digests: what this server vouches for, kept where whoever can write the database cannot. Each names the head of an
//! organisation's log at a moment, signed with a key that follows from the master key.

use super::jump::{Seen, holds};
use super::seal::{Head, signing_keys};
use crate::sql::{Run, Sql};
use crate::{Error, Result, Store, Vault};
use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wire::{OrgId, Timestamp};

/// The head of a log at a moment: a line of a digest file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Whose log.
    pub org: OrgId,
    /// When.
    pub time: Timestamp,
    /// Its last event.
    pub seq: i64,
    /// The hash of that, which covers all before it.
    pub hash: String,
    /// How many answers of origins.
    pub answers: i64,
    /// The hash of the last of them.
    pub answers_hash: String,
    /// Ed25519 over the rest, base64url.
    pub signature: String,
}

impl Digest {
    fn text(&self) -> String {
        let Self {
            org,
            time,
            seq,
            hash,
            answers,
            answers_hash,
            ..
        } = self;
        format!("chatelaine audit digest 1\n{org}\n{time}\n{seq}\n{hash}\n{answers}\n{answers_hash}")
    }

    fn of(store: &Store, head: Head, time: Timestamp) -> Self {
        let mut digest = Self {
            org: head.org,
            time,
            seq: head.seq,
            hash: head.hash,
            answers: head.answers,
            answers_hash: head.answers_hash,
            signature: String::new(),
        };
        digest.signature = store.seal().sign(&digest.text());
        digest
    }

    /// Whether the log goes on from what this digest saw.
    async fn holds(&self, store: &Store, head: &Head) -> Result<bool> {
        let then = Seen {
            seq: self.seq,
            hash: self.hash.clone(),
            answers: self.answers,
        };
        holds(store, (&self.org, &then), (head.seq, head.answers)).await
    }
}

/// Whom digests come from: the public half of a key that follows from the master key, and of those of master keys before.
/// Base64url, joined by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<Vec<u8>>);

impl PublicKey {
    /// That of a server with this vault.
    ///
    /// # Errors
    /// When the library refuses the key; does not happen.
    pub fn of(vault: &Vault) -> Result<Self> {
        let mut keys: Vec<_> = signing_keys(vault)?
            .iter()
            .map(|pair| pair.public_key().as_ref().to_vec())
            .collect();
        keys.swap(0, vault.sealing());
        for text in vault.carried_digests() {
            keys.extend(
                URL_SAFE_NO_PAD
                    .decode(text)
                    .ok()
                    .filter(|key| !keys.contains(key)),
            );
        }
        Ok(Self(keys))
    }

    /// Whether the digest comes from there, unaltered.
    #[must_use]
    pub fn signed(&self, digest: &Digest) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(&digest.signature) else {
            return false;
        };
        self.0.iter().any(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(digest.text().as_bytes(), &signature).is_ok()
        })
    }

    /// Each for itself.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|key| URL_SAFE_NO_PAD.encode(key)).collect()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(","))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = |text: &str| match URL_SAFE_NO_PAD.decode(text.trim()) {
            Ok(key) if key.len() == 32 => Ok(key),
            _ => Err(Error::invalid("", "not a key of digests: 32 bytes in base64url")),
        };
        text.split(',').map(read).collect::<Result<_>>().map(Self)
    }
}

/// What digest files say.
#[derive(Debug, Default)]
pub struct Digests {
    /// The good ones, in the order of the files.
    pub good: Vec<Digest>,
    /// Lines, from 1, of which the signature is wrong: altered, or of another key.
    pub bad: Vec<usize>,
    /// Lines that cannot be read: what a writer left that was killed.
    pub torn: Vec<usize>,
}

impl Digests {
    /// Reads a file; one that is not there says nothing.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(path: &Path, key: &PublicKey) -> io::Result<Self> {
        let mut digests = Self::default();
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(digests),
            text => text?,
        };
        for (line, text) in (1..).zip(text.lines()) {
            match serde_json::from_str::<Digest>(text) {
                Ok(digest) if key.signed(&digest) => digests.good.push(digest),
                Ok(_) => digests.bad.push(line),
                Err(_) if text.trim().is_empty() => {}
                Err(_) => digests.torn.push(line),
            }
        }
        Ok(digests)
    }
}

/// The file that one instance writes its digests to.
pub struct DigestFile {
    path: PathBuf,
    /// What it said last of each organisation.
    last: HashMap<OrgId, Digest>,
}

impl DigestFile {
    /// Goes on with a file, or begins one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: PathBuf, store: &Store) -> Result<Self> {
        let known = Digests::read(&path, &PublicKey::of(store.vault())?).map_err(Error::internal)?;
        let last = known.good.into_iter().map(|digest| (digest.org.clone(), digest));
        Ok(Self {
            path,
            last: last.collect(),
        })
    }

    /// Appends a digest of every log that grew since its last one, tells the process log of each, and says how many.
    /// What does not go on from the last digest is told as an error: nobody needs to wait for the next verification.
    /// Of a head that this server did not write there is no digest.
    ///
    /// # Errors
    /// When the database does not answer, or the file cannot be written.
    pub async fn write(&mut self, mut store: &Store) -> Result<usize> {
        let mut lines = Vec::new();
        let mut taken = Vec::new();
        for row in store.rows(Sql::new(select!(audit_heads, "ORDER BY org"))).await? {
            let head = Head::read(&row)?;
            if !store.seal().fits(&head, &row.text("mac")?) {
                tracing::error!(org = %head.org, seq = head.seq, "no audit digest: the head of the log was not written \
                    by this server; see `chatelaine audit verify`");
                continue;
            }
            if let Some(last) = self.last.get(&head.org) {
                if !last.holds(store, &head).await? {
                    tracing::error!(org = %head.org, seq = head.seq, known = last.seq, time = %last.time, "the audit log \
                        is not what the last digest saw: it was altered, or an older backup restored; see `chatelaine \
                        audit verify`");
                } else if (head.seq, head.answers) == (last.seq, last.answers) {
                    continue;
                }
            }
            let digest = Digest::of(store, head, store.clock().now());
            serde_json::to_writer(&mut lines, &digest).map_err(Error::internal)?;
            lines.push(b'\n');
            taken.push(digest);
        }
        if taken.is_empty() {
            return Ok(0);
        }
        append(&self.path, &lines).map_err(Error::internal)?;
        let count = taken.len();
        for digest in taken {
            let Digest {
                org,
                time,
                seq,
                hash,
                answers,
                answers_hash,
                signature,
            } = &digest;
            tracing::info!(%org, %time, seq, hash, answers, answers_hash, signature, "audit digest");
            self.last.insert(digest.org.clone(), digest);
        }
        Ok(count)
    }
}

/// In one write, so that instances that share a file against advice do not mix their lines. What a killed writer left
/// stays a line of its own.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut last = [b'\n'];
    if file.seek(io::SeekFrom::End(0))? > 0 {
        file.seek(io::SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let begin: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    file.write_all(&[begin, lines].concat())?;
    file.sync_all()
}
