//! The master key: seals secrets at rest and derives keys for other purposes. Nothing here is ever
//! shown, logged or serialised.

use crate::{Error, Result};
use aws_lc_rs::{aead, digest, hkdf, hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// 256 bits from which everything else is derived.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| Error::internal("no randomness"))?;
        Ok(Self(bytes))
    }

    /// Reads the text form: 32 bytes in base64url without padding.
    ///
    /// # Errors
    /// `Invalid` when the text is anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(text.trim())
                .map_err(|_| Error::invalid("", "the master key is not base64url"))?,
        );
        let array = <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| Error::invalid("", "the master key is not 32 bytes long"))?;
        Ok(Self(Zeroizing::new(array)))
    }

    /// The text form, for writing the key file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }
}

/// Seals and opens secrets under the master key.
pub struct Vault {
    sealing: aead::LessSafeKey,
    root: hkdf::Prk,
}

impl Vault {
    /// A vault under `key`.
    ///
    /// # Errors
    /// When the library refuses the derived key; does not happen for 256-bit keys.
    pub fn new(key: &MasterKey) -> Result<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"chatelaine").extract(key.0.as_slice());
        let bytes = expand(&root, b"seal");
        let sealing = aead::UnboundKey::new(&aead::AES_256_GCM, bytes.as_slice())
            .map_err(|_| Error::internal("sealing key refused"))?;
        Ok(Self {
            sealing: aead::LessSafeKey::new(sealing),
            root,
        })
    }

    /// Encrypts; `context` (the row's id) must be the same at [`Vault::open`].
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Result<String> {
        let mut nonce = [0; aead::NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Error::internal("no randomness"))?;
        let mut sealed = secret.to_vec();
        self.sealing
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(context.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| Error::internal("sealing failed"))?;
        let mut out = nonce.to_vec();
        out.append(&mut sealed);
        Ok(URL_SAFE_NO_PAD.encode(out))
    }

    /// Decrypts what [`Vault::seal`] made for the same `context`.
    ///
    /// # Errors
    /// `Internal` when key, context or text are not the ones of sealing.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>> {
        let wrong = || Error::internal("a sealed secret does not open: wrong master key or changed row");
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| wrong())?;
        let (nonce, rest) = bytes.split_at_checked(aead::NONCE_LEN).ok_or_else(wrong)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let plain = self
            .sealing
            .open_in_place(nonce, aead::Aad::from(context.as_bytes()), rest.as_mut_slice())
            .map_err(|_| wrong())?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    /// An HMAC-SHA-256 key for one purpose, the same on every instance with this master key.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(
            hmac::HMAC_SHA256,
            expand(&self.root, purpose.as_bytes()).as_slice(),
        )
    }

    /// What the master key is called where it must not be shown. It says nothing about the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(&expand(&self.root, b"fingerprint")[..12])
    }

    /// 32 bytes for one purpose, from which a key pair follows.
    pub(crate) fn seed(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        expand(&self.root, purpose.as_bytes())
    }
}

fn expand(root: &hkdf::Prk, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let info = [purpose];
    if let Ok(okm) = root.expand(&info, hkdf::HKDF_SHA256) {
        // 32 bytes is the length that HKDF_SHA256 was asked for: `fill` cannot refuse it.
        let filled = okm.fill(out.as_mut_slice());
        debug_assert!(filled.is_ok());
    }
    out
}

/// SHA-256 of a secret that a machine made, base64url: how tokens, codes and client secrets are stored.
#[must_use]
pub fn sha256(secret: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_ref()))
}

/// A fresh 256-bit secret behind `prefix`, in base64url.
///
/// # Errors
/// When the system has no randomness.
pub fn random_secret(prefix: &str) -> Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_its_row() {
        let key = MasterKey::generate().unwrap();
        let vault = Vault::new(&key).unwrap();
        let sealed = vault.seal("con_1", b"hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_eq!(vault.open("con_1", &sealed).unwrap().as_slice(), b"hunter2");
        assert!(vault.open("con_2", &sealed).is_err());
        let other = Vault::new(&MasterKey::generate().unwrap()).unwrap();
        assert!(other.open("con_1", &sealed).is_err());
        let same = Vault::new(&MasterKey::parse(&key.to_text()).unwrap()).unwrap();
        assert_eq!(same.open("con_1", &sealed).unwrap().as_slice(), b"hunter2");
        assert!(vault.open("con_1", "AAAA").is_err());
    }

    #[test]
    fn keys_for_different_purposes_differ() {
        let vault = Vault::new(&MasterKey::generate().unwrap()).unwrap();
        let tag = |purpose: &str| hmac::sign(&vault.mac_key(purpose), b"x").as_ref().to_vec();
        assert_ne!(tag("csrf"), tag("refresh"));
        assert_eq!(tag("csrf"), tag("csrf"));
    }
}
