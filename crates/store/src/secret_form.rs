//! The form of secrets that people copy: a prefix, 43 characters of secret, 6 of checksum. The checksum lets
//! secret scanners tell a secret from other text, and us refuse mistyped ones without asking the database.

use crate::{Result, random_secret, sha256};

/// Base64url of 256 bits.
const SECRET: usize = 43;
/// Of the SHA-256 of everything before it, in base64url.
const CHECKSUM: usize = 6;
/// So much is shown in lists, to recognise a secret.
const SHOWN: usize = 12;

/// One kind of secret, by its prefix.
#[derive(Debug, Clone, Copy)]
pub struct SecretForm {
    prefix: &'static str,
    /// How many characters stand between prefix and checksum.
    length: usize,
}

/// A fresh secret.
pub struct MintedSecret {
    /// The secret: shown once, stored nowhere.
    pub secret: String,
    /// Its first characters, to recognise it by.
    pub prefix: String,
    /// The hash that is stored.
    pub hash: String,
}

impl SecretForm {
    /// Secrets that begin with `prefix`.
    #[must_use]
    pub const fn new(prefix: &'static str) -> Self {
        Self::sized(prefix, SECRET)
    }

    /// Secrets that say something in `length` characters.
    pub(crate) const fn sized(prefix: &'static str, length: usize) -> Self {
        Self { prefix, length }
    }

    /// Makes one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn mint(self) -> Result<MintedSecret> {
        let mut secret = random_secret(self.prefix)?;
        secret.push_str(&checksum(&secret));
        Ok(MintedSecret {
            prefix: secret[..SHOWN].to_owned(),
            hash: sha256(&secret),
            secret,
        })
    }

    /// The hash to look a secret up by, unless the text cannot be one of this form.
    #[must_use]
    pub fn hash_of(self, text: &str) -> Option<String> {
        self.said_by(text).map(|_| sha256(text))
    }

    /// What stands between prefix and checksum, unless the text cannot be one of this form.
    pub(crate) fn said_by(self, text: &str) -> Option<&str> {
        let whole = text.len() == self.prefix.len() + self.length + CHECKSUM && text.is_ascii();
        let (body, sum) = whole.then(|| text.split_at(text.len() - CHECKSUM))?;
        let said = body.strip_prefix(self.prefix)?;
        (checksum(body) == sum).then_some(said)
    }

    /// The secret that says this.
    pub(crate) fn saying(self, text: &str) -> String {
        let mut secret = format!("{}{text}", self.prefix);
        secret.push_str(&checksum(&secret));
        secret
    }
}

fn checksum(text: &str) -> String {
    let mut sum = sha256(text);
    sum.truncate(CHECKSUM);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_secrets_of_the_form_are_looked_up() {
        let form = SecretForm::new("chs_");
        let minted = form.mint().unwrap();
        assert_eq!(minted.secret.len(), 53);
        assert_eq!(form.hash_of(&minted.secret), Some(minted.hash));
        assert!(minted.secret.starts_with(&minted.prefix));
        assert_eq!(SecretForm::new("cht_").hash_of(&minted.secret), None);
        let mut flipped = minted.secret.clone().into_bytes();
        flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
        for bad in [
            "",
            "chs_",
            "ä",
            &minted.secret[1..],
            &minted.secret[..52],
            &String::from_utf8(flipped).unwrap(),
        ] {
            assert_eq!(form.hash_of(bad), None, "{bad}");
        }
    }
}
