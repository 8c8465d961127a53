//! Refresh tokens: they count. A token names its grant and a generation, and carries a MAC under a key derived from the
//! master key; the grant knows the generation of the last one that was given out. So a grant has one row however often
//! it is refreshed, what was not made here costs no look into the database, and whoever shows a token of an
//! earlier generation shows a copy, for ever.
//!
//! The successor follows from the token alone. So several requests with one token, which clients do make when they
//! start in parallel or lose an answer, get one and the same successor on every instance, for as long as the app says.
//!
//! ```text
//! chr_ · base64url( grant, 16 bytes · generation, 8 bytes · HMAC-SHA-256 of both, 32 bytes ) · checksum
//! ```

mod old;

use crate::sql::{Run, Sql, opt};
use crate::{Result, SecretForm, Store, Tx, Vault, grant};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::{Grant, GrantId, Id as _, Timestamp};

/// For how long after that a token is taken for a second copy of the agent that holds the last one, in seconds: two
/// programs with one sign-in, or one that was copied. What is older looks like somebody else's.
const LATE: i64 = 600;

/// Of grant and generation.
const NAMES: usize = 24;
const MAC: usize = 32;
const FORM: SecretForm = SecretForm::sized("chr_", (NAMES + MAC) * 4 / 3 + 1);

/// The token of a generation.
fn token(vault: &Vault, grant: &GrantId, generation: i64) -> String {
    let mut bytes = Vec::with_capacity(NAMES + MAC);
    let id = grant.as_str().trim_start_matches("gnt_");
    // An identifier is 32 digits in hexadecimal.
    bytes.extend_from_slice(&u128::from_str_radix(id, 16).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(&generation.to_be_bytes());
    let mac = hmac::sign(&vault.mac_key("refresh token"), &bytes);
    bytes.extend_from_slice(mac.as_ref());
    FORM.saying(&URL_SAFE_NO_PAD.encode(bytes))
}

/// What somebody has in hands who shows a token of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The grant that it names.
    pub grant: GrantId,
    generation: i64,
    /// Where it is of the form before this one.
    old: Option<old::Found>,
}

/// What a token is worth. Only a grant in force has any that is worth something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the last one.
    Current,
    /// Its successor was given out a moment ago, and is given out again.
    Repeated,
    /// Its successor was given out a little too long ago: two copies of one agent, more likely than a thief.
    Late,
    /// Its successor was given out long ago: somebody has a copy.
    Replayed,
    /// It is ours, and the database does not know that it was given out: a backup was restored, and what happened to
    /// the grant since is not known.
    Ahead,
}

/// A grant, and where its tokens are.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The grant.
    pub grant: Grant,
    generation: i64,
    rotated_at: Option<Timestamp>,
}

impl Rotation {
    /// What a token is worth, where one still returns its successor for `window` seconds after that was given out.
    #[must_use]
    pub fn standing(&self, held: &Held, now: Timestamp, window: u32) -> Standing {
        if let Some(standing) = held.old.as_ref().and_then(|old| old.standing(now, window)) {
            return standing;
        }
        match (self.generation - held.generation, self.rotated_at) {
            (0, _) => Standing::Current,
            (1, Some(at)) => since(at, now, window),
            (..0, _) => Standing::Ahead,
            _ => Standing::Replayed,
        }
    }
}

/// What a token is worth after it was used.
fn since(used_at: Timestamp, now: Timestamp, window: u32) -> Standing {
    let until = used_at.plus_seconds(window.into());
    if now < until {
        Standing::Repeated
    } else if now < until.plus_seconds(LATE) {
        Standing::Late
    } else {
        Standing::Replayed
    }
}

impl Held {
    /// The token that comes after it.
    #[must_use]
    pub fn successor(&self, vault: &Vault) -> String {
        let of_old = self.old.as_ref().and_then(|old| old.successor.clone());
        of_old.unwrap_or_else(|| token(vault, &self.grant, self.generation + 1))
    }

    /// Whether any generation can follow it.
    const fn is_last(&self) -> bool {
        self.generation == i64::MAX
    }
}

/// Reads what somebody shows as a refresh token; `None` is anything but one of ours. The database is asked only about
/// what has the old form.
///
/// # Errors
/// When it does not answer.
pub async fn read(store: &Store, text: &str) -> Result<Option<Held>> {
    match named(store.vault(), text) {
        None => old::find(store, text).await,
        held => Ok(held),
    }
}

fn named(vault: &Vault, text: &str) -> Option<Held> {
    let bytes = URL_SAFE_NO_PAD.decode(FORM.said_by(text)?).ok()?;
    let (names, mac) = bytes.split_at_checked(NAMES)?;
    // In constant time; those of a master key that was changed count, too.
    vault.mac_fits("refresh token", names, mac).then_some(())?;
    let (id, generation) = names.split_first_chunk()?;
    let held = Held {
        grant: format!("gnt_{:032x}", u128::from_be_bytes(*id)).parse().ok()?,
        generation: i64::from_be_bytes(generation.try_into().ok()?),
        old: None,
    };
    (!held.is_last()).then_some(held)
}

/// A grant with where its tokens are.
///
/// # Errors
/// When the database does not answer.
pub async fn rotation(db: impl Run, id: &GrantId, now: Timestamp) -> Result<Option<Rotation>> {
    let row = opt(db, Sql::new(grant::SELECT).and("g.id =", Some(id))).await?;
    row.map(|row| {
        Ok(Rotation {
            grant: grant::read(&row, now)?,
            generation: row.int("generation")?,
            rotated_at: row.opt_time("rotated_at")?,
        })
    })
    .transpose()
}

/// The first token of a grant; `None` when it had one, or is not in force any more.
///
/// # Errors
/// When the database does not answer.
pub async fn begin(tx: &mut Tx, grant: &GrantId) -> Result<Option<String>> {
    let first = advance(tx, grant, 0).await?;
    Ok(first.then(|| token(tx.vault(), grant, 1)))
}

/// Uses a token up, if it is the last one of a grant in force: of any number of attempts exactly one gets `true`, and
/// [`Held::successor`] is the last one from then on.
///
/// # Errors
/// When the database does not answer.
pub async fn rotate(tx: &mut Tx, held: &Held) -> Result<bool> {
    if let Some(old) = &held.old
        && !old.spend(tx).await?
    {
        return Ok(false);
    }
    advance(tx, &held.grant, held.generation).await
}

async fn advance(tx: &mut Tx, grant: &GrantId, from: i64) -> Result<bool> {
    let sql = Sql::new(
        "UPDATE grants SET generation = generation + 1, rotated_at = $1, last_used_at = $1 \
         WHERE id = $2 AND generation = $3 AND revoked_at IS NULL AND expires_at > $1",
    );
    Ok(tx.run(sql.bind(tx.now()).bind(grant).bind(from)).await? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MasterKey;

    #[test]
    fn a_token_is_ours_to_the_last_bit() {
        let vault = Vault::new(&MasterKey::generate().unwrap()).unwrap();
        let grant = GrantId::fresh();
        let text = token(&vault, &grant, 7);
        assert!(text.starts_with("chr_") && text.len() == 85, "{text}");
        let held = named(&vault, &text).unwrap();
        assert_eq!((&held.grant, held.generation), (&grant, 7));
        assert_eq!(held.successor(&vault), token(&vault, &grant, 8));
        let other = Vault::new(&MasterKey::generate().unwrap()).unwrap();
        assert_eq!(named(&other, &text), None);
        // Whoever knows the form can make the checksum fit, and nothing else.
        let bytes = URL_SAFE_NO_PAD.decode(FORM.said_by(&text).unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let forged = FORM.saying(&URL_SAFE_NO_PAD.encode(flipped));
            assert_eq!(named(&vault, &forged), None, "bit {bit}");
        }
        for junk in [
            "",
            "chr_",
            "x",
            &text[1..],
            &text[..84],
            "gnt_0",
            &text.replace("chr_", "cht_"),
        ] {
            assert_eq!(named(&vault, junk), None, "{junk}");
        }
        assert_eq!(named(&vault, &token(&vault, &grant, i64::MAX)), None);
    }
}
