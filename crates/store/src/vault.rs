//! The master key: seals secrets at rest and derives keys for other purposes. Nothing here is ever
//! shown, logged or serialised.

use crate::{Error, Result};
use aws_lc_rs::{aead, digest, hkdf, hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
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

/// What follows from one master key.
struct Keys {
    sealing: aead::LessSafeKey,
    root: hkdf::Prk,
}

impl Keys {
    fn new(key: &MasterKey) -> Result<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"chatelaine").extract(key.0.as_slice());
        let bytes = expand(&root, b"seal");
        let sealing = aead::UnboundKey::new(&aead::AES_256_GCM, bytes.as_slice())
            .map_err(|_| Error::internal("sealing key refused"))?;
        Ok(Self {
            sealing: aead::LessSafeKey::new(sealing),
            root,
        })
    }

    fn mac(&self, purpose: &str) -> hmac::Key {
        hmac::Key::new(
            hmac::HMAC_SHA256,
            expand(&self.root, purpose.as_bytes()).as_slice(),
        )
    }

    fn fingerprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(&expand(&self.root, b"fingerprint")[..12])
    }

    fn seal(&self, context: &str, secret: &[u8]) -> Result<String> {
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

    fn open(&self, context: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_at_checked(aead::NONCE_LEN)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let plain = self
            .sealing
            .open_in_place(nonce, aead::Aad::from(context.as_bytes()), rest.as_mut_slice())
            .ok()?;
        Some(Zeroizing::new(plain.to_vec()))
    }
}

/// What is still needed of master keys that are gone. It is sealed under the one that is there.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Keys by purpose, of [`crate::rekey::CARRIED`].
    pub(crate) keys: Vec<(String, String)>,
    /// Public keys of digests.
    pub(crate) digests: Vec<String>,
}

/// Seals and opens secrets under the master key. While the master key is being changed there are two: both open, and one
/// seals, the one that the database says.
pub struct Vault {
    keys: Vec<Keys>,
    /// Which of them seals.
    sealing: Arc<AtomicUsize>,
    carried: RwLock<Carried>,
}

impl Vault {
    /// A vault under `key`.
    ///
    /// # Errors
    /// When the library refuses the derived key; does not happen for 256-bit keys.
    pub fn new(key: &MasterKey) -> Result<Self> {
        Self::of_both(key, None)
    }

    /// A vault under `key`, and perhaps the one that comes after it.
    ///
    /// # Errors
    /// As [`Vault::new`].
    pub fn of_both(key: &MasterKey, next: Option<&MasterKey>) -> Result<Self> {
        let next = next.filter(|next| next.0 != key.0);
        let keys = std::iter::once(key).chain(next).map(Keys::new);
        Ok(Self {
            keys: keys.collect::<Result<_>>()?,
            sealing: Arc::default(),
            carried: RwLock::default(),
        })
    }

    fn current(&self) -> &Keys {
        // It is one of them: `seal_by` has looked.
        &self.keys[self.sealing()]
    }

    /// Which of the keys seals.
    pub(crate) fn sealing(&self) -> usize {
        self.sealing.load(Ordering::SeqCst)
    }

    /// The same for whoever has keys of its own, in the same order.
    pub(crate) fn sealing_shared(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.sealing)
    }

    /// How many master keys there are.
    pub(crate) const fn count(&self) -> usize {
        self.keys.len()
    }

    /// Seals by another one of the keys from now on.
    pub(crate) fn seal_by(&self, which: usize) {
        if which < self.keys.len() {
            self.sealing.store(which, Ordering::SeqCst);
        }
    }

    /// Which of the keys opens something.
    pub(crate) fn opens(&self, context: &str, sealed: &str) -> Option<usize> {
        self.keys
            .iter()
            .position(|keys| keys.open(context, sealed).is_some())
    }

    pub(crate) fn carry(&self, carried: Carried) {
        *self.carried.write().unwrap_or_else(PoisonError::into_inner) = carried;
    }

    /// The public keys of digests that are carried on.
    pub(crate) fn carried_digests(&self) -> Vec<String> {
        let carried = self.carried.read().unwrap_or_else(PoisonError::into_inner);
        carried.digests.clone()
    }

    /// Whether a tag is that of some data under the key for one purpose: of any master key that there is, or of one before
    /// where that is carried on.
    #[must_use]
    pub fn mac_fits(&self, purpose: &str, data: &[u8], tag: &[u8]) -> bool {
        let keys = self.mac_keys(purpose);
        keys.iter().any(|key| hmac::verify(key, data, tag).is_ok())
    }

    /// The keys for one purpose that count: first the one of [`Vault::mac_key`].
    pub(crate) fn mac_keys(&self, purpose: &str) -> Vec<hmac::Key> {
        let mut keys = vec![self.mac_key(purpose)];
        let others = (0..self.keys.len()).filter(|n| *n != self.sealing());
        keys.extend(others.map(|n| self.keys[n].mac(purpose)));
        let carried = self.carried.read().unwrap_or_else(PoisonError::into_inner);
        for (name, key) in &carried.keys {
            if name == purpose
                && let Ok(bytes) = URL_SAFE_NO_PAD.decode(key).map(Zeroizing::new)
            {
                keys.push(hmac::Key::new(hmac::HMAC_SHA256, &bytes));
            }
        }
        keys
    }

    /// The keys for one purpose that have to be carried on when the one that seals goes, as text.
    pub(crate) fn carriable(&self, purpose: &str) -> Vec<String> {
        let own = expand(&self.current().root, purpose.as_bytes());
        let carried = self.carried.read().unwrap_or_else(PoisonError::into_inner);
        let before = carried.keys.iter().filter(|(name, _)| name == purpose);
        let before = before.map(|(_, key)| key.clone());
        std::iter::once(URL_SAFE_NO_PAD.encode(own.as_slice()))
            .chain(before)
            .collect()
    }

    /// 32 bytes for one purpose, of each master key that there is, in their order.
    pub(crate) fn seeds(&self, purpose: &str) -> Vec<Zeroizing<[u8; 32]>> {
        let seeds = self
            .keys
            .iter()
            .map(|keys| expand(&keys.root, purpose.as_bytes()));
        seeds.collect()
    }

    /// What each master key is called.
    pub(crate) fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(Keys::fingerprint).collect()
    }

    /// Encrypts; `context` (the row's id) must be the same at [`Vault::open`].
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Result<String> {
        self.current().seal(context, secret)
    }

    /// The same by one of the keys.
    pub(crate) fn seal_with(&self, which: usize, (context, secret): (&str, &[u8])) -> Result<String> {
        let keys = self.keys.get(which);
        let keys = keys.ok_or_else(|| Error::internal("there is no such master key"))?;
        keys.seal(context, secret)
    }

    /// Decrypts what [`Vault::seal`] made for the same `context`.
    ///
    /// # Errors
    /// `Internal` when key, context or text are not the ones of sealing.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>> {
        let wrong = || Error::internal("a sealed secret does not open: wrong master key or changed row");
        let opened = self.current().open(context, sealed);
        let opened = opened.or_else(|| self.keys.iter().find_map(|keys| keys.open(context, sealed)));
        opened.ok_or_else(wrong)
    }

    /// An HMAC-SHA-256 key for one purpose, the same on every instance with this master key.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> hmac::Key {
        self.current().mac(purpose)
    }

    /// What the master key is called where it must not be shown. It says nothing about the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.current().fingerprint()
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
