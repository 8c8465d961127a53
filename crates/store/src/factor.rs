//! Second factors of people with a local password, and their recovery codes. Whatever may be used only once
//! is spent by one conditional `UPDATE`.

use crate::sql::{Paging, Row, Run, Sql, opt, word};
use crate::{Change, Error, Result, Tx};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::{Factor, FactorId, FactorKind, OrgId, UserId};
use zeroize::Zeroizing;

/// Factors that one person may have.
pub const MOST: usize = 10;

/// A factor with what proves it.
pub struct Known {
    /// What the API shows.
    pub factor: Factor,
    /// The key of a TOTP; a passkey's credential as JSON.
    pub secret: Zeroizing<Vec<u8>>,
}

/// A factor that was shown to work.
pub struct New<'a> {
    /// What kind of thing.
    pub kind: FactorKind,
    /// What its owner calls it.
    pub name: &'a str,
    /// The key of a TOTP; a passkey's credential as JSON.
    pub secret: &'a [u8],
    /// A passkey's credential id.
    pub credential: Option<String>,
    /// The time step, or the signature counter, that showed it.
    pub counter: i64,
}

fn read(row: &Row) -> Result<Factor> {
    Ok(Factor {
        id: row.id("id")?,
        kind: row.word("kind")?,
        name: row.text("name")?,
        created_at: row.time("created_at")?,
        last_used_at: row.opt_time("last_used_at")?,
    })
}

/// The factors of a person, oldest first.
///
/// # Errors
/// When the database does not answer.
pub async fn list(mut db: impl Run, user: &UserId, page: &Paging<FactorId>) -> Result<Vec<Factor>> {
    let sql = Sql::new(select!(second_factors, "WHERE user_id = $1")).bind(user);
    db.rows(sql.page(page)).await?.iter().map(read).collect()
}

/// The factors of a person, with what proves them.
///
/// # Errors
/// When the database does not answer, or a secret does not open.
pub async fn known(tx: &mut Tx, user: &UserId) -> Result<Vec<Known>> {
    let sql = Sql::new(select!(second_factors, "WHERE user_id = $1 ORDER BY id")).bind(user);
    let rows = (&mut *tx).rows(sql).await?;
    let open = |row: &Row| {
        let factor = read(row)?;
        let secret = tx.vault().open(factor.id.as_ref(), &row.text("secret")?)?;
        Ok(Known { factor, secret })
    };
    rows.iter().map(open).collect()
}

/// One factor of a person.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, user: &UserId, id: &FactorId) -> Result<Factor> {
    let sql = Sql::new(select!(second_factors, "WHERE user_id = $1 AND id = $2"));
    let row = opt(db, sql.bind(user).bind(id)).await?;
    read(&row.ok_or(Error::NotFound("factor"))?)
}

/// Adds a factor to a person.
///
/// # Errors
/// `Conflict` when they have too many, or when the passkey is known already.
pub async fn add(tx: &mut Tx, org: &OrgId, user: &UserId, new: New<'_>) -> Result<Factor> {
    let page = Paging::default();
    if list(&mut *tx, user, &page).await?.len() >= MOST {
        return Err(Error::Conflict("nobody needs more than ten of these".into()));
    }
    let factor = Factor {
        id: FactorId::fresh(),
        kind: new.kind,
        name: new.name.to_owned(),
        created_at: tx.now(),
        last_used_at: None,
    };
    let values = [
        ("id", (&factor.id).into()),
        ("org", org.into()),
        ("user_id", user.into()),
        ("kind", word(factor.kind)?.into()),
        ("name", factor.name.as_str().into()),
        ("secret", tx.vault().seal(factor.id.as_ref(), new.secret)?.into()),
        ("credential", new.credential.into()),
        ("counter", new.counter.into()),
        ("created_at", factor.created_at.into()),
    ];
    let sql = Sql::insert("second_factors", values).then(" ON CONFLICT (credential) DO NOTHING");
    if tx.run(sql).await? == 0 {
        return Err(Error::Conflict("this passkey is known already".into()));
    }
    note(tx, user).await?;
    Ok(factor)
}

/// Gives a factor another name.
///
/// # Errors
/// `NotFound`.
pub async fn rename(tx: &mut Tx, user: &UserId, id: &FactorId, name: &str) -> Result<()> {
    let sql = Sql::new("UPDATE second_factors SET name = $1 WHERE user_id = $2 AND id = $3");
    if tx.run(sql.bind(name).bind(user).bind(id)).await? == 0 {
        return Err(Error::NotFound("factor"));
    }
    Ok(())
}

/// Takes a factor away; with the last one go the recovery codes.
///
/// # Errors
/// `NotFound`.
pub async fn remove(tx: &mut Tx, user: &UserId, id: &FactorId) -> Result<()> {
    let sql = Sql::new("DELETE FROM second_factors WHERE user_id = $1 AND id = $2");
    if tx.run(sql.bind(user).bind(id)).await? == 0 {
        return Err(Error::NotFound("factor"));
    }
    let sql = Sql::new(
        "DELETE FROM recovery_codes WHERE user_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM second_factors f WHERE f.user_id = $1)",
    );
    tx.run(sql.bind(user)).await?;
    note(tx, user).await
}

/// Takes all factors and recovery codes of a person away.
///
/// # Errors
/// When the database does not answer.
pub async fn remove_all(tx: &mut Tx, user: &UserId) -> Result<u64> {
    let sql = Sql::new("DELETE FROM recovery_codes WHERE user_id = $1").bind(user);
    tx.run(sql).await?;
    let sql = Sql::new("DELETE FROM second_factors WHERE user_id = $1").bind(user);
    let gone = tx.run(sql).await?;
    note(tx, user).await?;
    Ok(gone)
}

/// Notes with the person whether they have a factor now: every decision about them may ask.
async fn note(tx: &mut Tx, user: &UserId) -> Result<()> {
    let sql = Sql::new(
        "UPDATE users SET has_second_factor = \
         EXISTS (SELECT 1 FROM second_factors f WHERE f.user_id = users.id) WHERE id = $1",
    );
    tx.run(sql.bind(user)).await?;
    tx.changed(Change::User(user.clone()));
    Ok(())
}

/// Spends the time step of a TOTP: says `false` when it, or a later one, was spent before.
///
/// # Errors
/// When the database does not answer.
pub async fn spend_step(tx: &mut Tx, id: &FactorId, step: i64) -> Result<bool> {
    let sql =
        Sql::new("UPDATE second_factors SET counter = $1, last_used_at = $2 WHERE id = $3 AND counter < $1");
    let now = tx.now();
    Ok(tx.run(sql.bind(step).bind(now).bind(id)).await? > 0)
}

/// Spends all time steps until now, and the one that counts early, because nobody knows which were.
pub(crate) async fn spend_steps(tx: &mut Tx) -> Result<()> {
    /// Seconds of one step (RFC 6238, section 4).
    const STEP: i64 = 30;
    let sql = Sql::new("UPDATE second_factors SET counter = $1 WHERE kind = $2 AND counter < $1");
    let step = tx.now().seconds() / STEP + 1;
    tx.run(sql.bind(step).bind(word(FactorKind::Totp)?))
        .await
        .map(drop)
}

/// Notes the use of a passkey: says `false` when its signature counter did not grow. Passkeys that do not
/// count always say 0.
///
/// # Errors
/// When the database does not answer.
pub async fn note_passkey(tx: &mut Tx, id: &FactorId, secret: &[u8], counter: i64) -> Result<bool> {
    let sealed = tx.vault().seal(id.as_ref(), secret)?;
    let sql = Sql::new(
        "UPDATE second_factors SET secret = $1, counter = $2, last_used_at = $3 \
         WHERE id = $4 AND (counter < $2 OR (counter = 0 AND $2 = 0))",
    );
    let now = tx.now();
    let sql = sql.bind(sealed).bind(counter).bind(now).bind(id);
    Ok(tx.run(sql).await? > 0)
}

/// Under the master key first, then under those before it, from which codes may be.
fn recovery_hashes(tx: &Tx, user: &UserId, code: &str) -> Vec<String> {
    let keys = tx.vault().mac_keys("recovery").into_iter();
    let hash = |key| URL_SAFE_NO_PAD.encode(hmac::sign(&key, format!("{user}|{code}").as_bytes()));
    keys.map(hash).collect()
}

/// Replaces the recovery codes of a person.
///
/// # Errors
/// When the database does not answer.
pub async fn set_recovery_codes(tx: &mut Tx, user: &UserId, codes: &[String]) -> Result<()> {
    let sql = Sql::new("DELETE FROM recovery_codes WHERE user_id = $1").bind(user);
    tx.run(sql).await?;
    for code in codes {
        let Some(hash) = recovery_hashes(tx, user, code).into_iter().next() else {
            continue;
        };
        let values = [
            ("hash", hash.into()),
            ("user_id", user.into()),
            ("created_at", tx.now().into()),
        ];
        tx.run(Sql::insert("recovery_codes", values)).await?;
    }
    Ok(())
}

/// Spends a recovery code: says `false` when it is none of this person, or was spent before.
///
/// # Errors
/// When the database does not answer.
pub async fn spend_recovery_code(tx: &mut Tx, user: &UserId, code: &str) -> Result<bool> {
    let hashes = recovery_hashes(tx, user, code);
    let hashes: Vec<&str> = hashes.iter().map(String::as_str).collect();
    let sql = Sql::new("UPDATE recovery_codes SET used_at = $1 WHERE user_id = $2 AND used_at IS NULL");
    let sql = sql.bind(tx.now()).bind(user).and_among("hash", &hashes);
    Ok(tx.run(sql).await? > 0)
}

/// How many recovery codes a person has left.
///
/// # Errors
/// When the database does not answer.
pub async fn recovery_codes_left(db: impl Run, user: &UserId) -> Result<i64> {
    let sql = Sql::new("SELECT COUNT(*) AS n FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL");
    let row = opt(db, sql.bind(user)).await?;
    row.map_or(Ok(0), |row| row.int("n"))
}
