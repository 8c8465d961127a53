//! The head of a log, and what proves that this server wrote it. Who can write the database can compute the chain
//! anew, but not the MAC of its head, nor a digest: their keys follow from the master key.

use crate::db::On;
use crate::sql::{Row, Run, Sql};
use crate::{Error, Result, Tx, Vault};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wire::OrgId;

/// Where an organisation's log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) org: OrgId,
    /// The last event, and its hash.
    pub(crate) seq: i64,
    pub(crate) hash: String,
    /// The last answer, and its hash.
    pub(crate) answers: i64,
    pub(crate) answers_hash: String,
    /// Answers to events up to this one may stand outside the chain of answers.
    pub(crate) answers_after: i64,
}

impl Head {
    /// The head of a log without events.
    pub(crate) const fn of_nothing(org: OrgId) -> Self {
        Self {
            org,
            seq: 0,
            hash: String::new(),
            answers: 0,
            answers_hash: String::new(),
            answers_after: 0,
        }
    }

    pub(crate) fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            org: row.id("org")?,
            seq: row.int("seq")?,
            hash: row.text("hash")?,
            answers: row.int("answers")?,
            answers_hash: row.text("answers_hash")?,
            answers_after: row.int("answers_after")?,
        })
    }

    fn text(&self) -> String {
        let Self {
            org,
            seq,
            hash,
            answers,
            answers_hash,
            answers_after,
        } = self;
        format!("audit head\n{org}\n{seq}\n{hash}\n{answers}\n{answers_hash}\n{answers_after}")
    }
}

/// What this server proves its heads and digests with: of each master key that there is, in their order.
pub(crate) struct Seal {
    keys: Vec<(hmac::Key, Ed25519KeyPair)>,
    /// Which of them it is.
    sealing: Arc<AtomicUsize>,
    /// Whether it was said already that a head is not ours.
    said: AtomicBool,
}

impl Seal {
    pub(crate) fn new(vault: &Vault) -> Result<Self> {
        let macs = vault.seeds("audit head").into_iter();
        let macs = macs.map(|seed| hmac::Key::new(hmac::HMAC_SHA256, seed.as_slice()));
        Ok(Self {
            keys: macs.zip(signing_keys(vault)?).collect(),
            sealing: vault.sealing_shared(),
            said: AtomicBool::new(false),
        })
    }

    fn current(&self) -> &(hmac::Key, Ed25519KeyPair) {
        // The vault looks that it is one of them.
        &self.keys[self.sealing.load(Ordering::SeqCst)]
    }

    /// The MAC of a head, by the key that seals.
    pub(crate) fn mac(&self, head: &Head) -> String {
        let (key, _) = self.current();
        URL_SAFE_NO_PAD.encode(hmac::sign(key, head.text().as_bytes()))
    }

    /// Signs a digest, by the key that seals.
    pub(super) fn sign(&self, text: &str) -> String {
        let (_, key) = self.current();
        URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()))
    }

    pub(crate) fn fits(&self, head: &Head, mac: &str) -> bool {
        let fits = |mac: Vec<u8>| {
            let mut keys = self.keys.iter();
            keys.any(|(key, _)| hmac::verify(key, head.text().as_bytes(), &mac).is_ok())
        };
        URL_SAFE_NO_PAD.decode(mac).is_ok_and(fits)
    }

    /// The MAC of a head that follows from one that is not ours: it fits nothing.
    pub(super) fn foreign(&self, head: &Head, mac: String) -> String {
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(org = %head.org, seq = head.seq, "the head of the audit log was not written by this \
                server: see `chatelaine audit verify`");
        }
        mac
    }
}

/// The keys of digests, of each master key that there is, in their order.
pub(super) fn signing_keys(vault: &Vault) -> Result<Vec<Ed25519KeyPair>> {
    let seeds = vault.seeds("audit digest").into_iter();
    let pairs = seeds.map(|seed| {
        Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|_| Error::internal("signing key refused"))
    });
    pairs.collect()
}

/// Computes the MACs of heads from before there were any, once in the life of a database.
pub(crate) async fn seal_heads(db: On<'_>, seal: &Seal) -> Result<()> {
    const KEY: &str = "audit_heads_sealed";
    let sealed = Sql::new("SELECT value FROM meta WHERE key = $1").bind(KEY);
    if crate::sql::opt(db, sealed).await?.is_some() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    let values = [("key", KEY.into()), ("value", "yes".into())];
    match tx.run(Sql::insert("meta", values)).await {
        Ok(_) => {}
        // Another instance does it at the same moment.
        Err(Error::Conflict(_)) => return Ok(()),
        Err(other) => return Err(other),
    }
    for row in (&mut tx)
        .rows(Sql::new(select!(audit_heads, "WHERE mac = ''")))
        .await?
    {
        let head = Head::read(&row)?;
        let sql = Sql::new("UPDATE audit_heads SET mac = $1 WHERE org = $2");
        tx.run(sql.bind(seal.mac(&head)).bind(&head.org)).await?;
    }
    tx.commit().await
}

/// Computes the MAC of a head anew, by the key that seals now. One that is not ours stays so.
pub(crate) async fn reseal_head(tx: &mut Tx, org: &OrgId) -> Result<()> {
    // It is locked by this until the commit.
    let sql = Sql::new(
        "UPDATE audit_heads SET seq = seq WHERE org = $1 \
         RETURNING org, seq, hash, answers, answers_hash, answers_after, mac",
    );
    let Some(row) = crate::sql::opt(&mut *tx, sql.bind(org)).await? else {
        return Ok(());
    };
    let head = Head::read(&row)?;
    let seal = tx.store.seal();
    if seal.fits(&head, &row.text("mac")?) {
        let sql = Sql::new("UPDATE audit_heads SET mac = $1 WHERE org = $2");
        let sql = sql.bind(seal.mac(&head)).bind(org);
        tx.run(sql).await?;
    }
    Ok(())
}
