//! Signing keys as stored: public part in clear, private part sealed.

use crate::sql::{Row, Run, Sql, word};
use crate::{Change, Error, Result, Tx};
use wire::{KeyId, KeyState, OrgId, SigningKey, Timestamp};
use zeroize::Zeroizing;

/// A key with its parts.
pub struct StoredKey {
    /// What the API shows.
    pub key: SigningKey,
    /// Whose.
    pub org: OrgId,
    /// The public key as a JWK.
    pub public_jwk: serde_json::Value,
    /// PKCS#8 DER.
    pub private: Zeroizing<Vec<u8>>,
}

/// Stores a key.
///
/// # Errors
/// When the database does not answer.
pub async fn create(tx: &mut Tx, key: &StoredKey) -> Result<()> {
    let id = &key.key.id;
    let values = [
        ("id", id.into()),
        ("org", (&key.org).into()),
        ("algorithm", key.key.algorithm.as_str().into()),
        ("state", word(key.key.state)?.into()),
        ("public_jwk", key.public_jwk.to_string().into()),
        ("private_key", tx.vault().seal(id.as_ref(), &key.private)?.into()),
        ("created_at", key.key.created_at.into()),
        ("not_after", key.key.not_after.into()),
    ];
    tx.run(Sql::insert("signing_keys", values)).await?;
    tx.changed(Change::Keys);
    Ok(())
}

/// Moves a key on in its life.
///
/// # Errors
/// When the database does not answer.
pub async fn set_state(tx: &mut Tx, id: &KeyId, state: KeyState, not_after: Option<Timestamp>) -> Result<()> {
    let sql = Sql::new("UPDATE signing_keys SET state = $1, not_after = $2 WHERE id = $3");
    tx.run(sql.bind(word(state)?).bind(not_after).bind(id)).await?;
    tx.changed(Change::Keys);
    Ok(())
}

/// Ends all keys of an organisation now, also those that cannot be read here.
///
/// # Errors
/// When the database does not answer.
pub async fn end_all_of(tx: &mut Tx, org: &OrgId) -> Result<()> {
    let sql = Sql::new(
        "UPDATE signing_keys SET state = $1, not_after = $2 WHERE org = $3 AND (not_after IS NULL OR not_after > $2)",
    );
    let sql = sql.bind(word(KeyState::Retiring)?).bind(tx.now()).bind(org);
    tx.run(sql).await?;
    tx.changed(Change::Keys);
    Ok(())
}

/// Ends all keys now: none signs or verifies any more. Says which.
pub(crate) async fn end_all(tx: &mut Tx) -> Result<Vec<Row>> {
    let alive = "SELECT id, org, not_after AS before FROM signing_keys \
         WHERE (not_after IS NULL OR not_after > $1) ORDER BY id";
    let now = tx.now();
    let rows = (&mut *tx).rows(Sql::new(alive).bind(now)).await?;
    for row in &rows {
        set_state(tx, &row.id("id")?, KeyState::Retiring, Some(now)).await?;
    }
    Ok(rows)
}

/// All keys of all organisations that are not over, oldest first, with their private parts. One that cannot be read is left
/// out, which makes it good for nothing, and keeps nothing from the others; `/readyz` names it.
///
/// # Errors
/// When the database does not answer.
pub async fn all(store: &crate::Store) -> Result<Vec<StoredKey>> {
    let sql = Sql::new(select!(
        signing_keys,
        "WHERE (not_after IS NULL OR not_after > $1) ORDER BY id"
    ));
    let mut db = store;
    let (mut keys, mut unreadable) = (Vec::new(), Vec::new());
    for row in db.rows(sql.bind(store.clock().now())).await? {
        match read(&row, store) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let id = row.text("id").unwrap_or_default();
                tracing::error!(key = id, %error, source = ?error, "a signing key cannot be read");
                unreadable.push(id);
            }
        }
    }
    store.inner.probe.note_keys(unreadable);
    Ok(keys)
}

fn read_public(row: &Row) -> Result<SigningKey> {
    Ok(SigningKey {
        id: row.id("id")?,
        algorithm: row.text("algorithm")?,
        state: row.word("state")?,
        created_at: row.time("created_at")?,
        not_after: row.opt_time("not_after")?,
    })
}

fn read(row: &Row, store: &crate::Store) -> Result<StoredKey> {
    let key = read_public(row)?;
    let private = store.vault().open(key.id.as_ref(), &row.text("private_key")?)?;
    let public_jwk = serde_json::from_str(&row.text("public_jwk")?).map_err(Error::internal)?;
    Ok(StoredKey {
        org: row.id("org")?,
        public_jwk,
        private,
        key,
    })
}

/// Keys of an organisation, oldest first, public parts only, without those that cannot be read.
///
/// # Errors
/// When the database does not answer.
pub async fn list(mut db: impl Run, org: &OrgId, now: Timestamp) -> Result<Vec<SigningKey>> {
    let sql = Sql::new(select!(
        signing_keys,
        "WHERE org = $1 AND (not_after IS NULL OR not_after > $2) ORDER BY id"
    ));
    let rows = db.rows(sql.bind(org).bind(now)).await?;
    // What cannot be read keeps nobody from ending the others.
    Ok(rows.iter().filter_map(|row| read_public(row).ok()).collect())
}
