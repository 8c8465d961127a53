//! The provider's keys: one RSA key for id tokens, one HMAC key for login tickets, both new at each start.

use anyhow::Context;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) struct Keys {
    signing: EncodingKey,
    public: Jwk,
    seal: hmac::Key,
}

impl Keys {
    pub(super) fn generate() -> anyhow::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).context("generate the signing key")?;
        let pkcs8 = pair.as_der().context("encode the signing key")?;
        // The JWT library takes PKCS#8 only in this wrapping.
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(pkcs8.as_ref())
        );
        let signing = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::RS256)?;
        public.common.key_id = Some(public.thumbprint(ThumbprintHash::SHA256)?);
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let seal = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .context("generate the ticket key")?;
        Ok(Self {
            signing,
            public,
            seal,
        })
    }

    pub(super) fn public(&self) -> &Jwk {
        &self.public
    }

    /// A JWT over `claims`.
    pub(super) fn sign(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.public.common.key_id);
        Ok(jsonwebtoken::encode(&header, claims, &self.signing)?)
    }

    /// `value` in the open, with a tag that only [`Keys::unseal`] accepts.
    pub(super) fn seal(&self, value: &impl Serialize) -> anyhow::Result<String> {
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(value)?);
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&self.seal, body.as_bytes()));
        Ok(format!("{body}.{tag}"))
    }

    /// What was given to [`Keys::seal`], if nobody changed it since.
    pub(super) fn unseal<T: DeserializeOwned>(&self, sealed: &str) -> Option<T> {
        let (body, tag) = sealed.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.seal, body.as_bytes(), &tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }
}

/// 256 random bits, base64url.
pub(super) fn random() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256, base64url: also the S256 transformation of RFC 7636, section 4.2.
pub(super) fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Whether two secrets are equal, told in a time that says nothing about where they differ.
pub(super) fn same(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(sha256(left).as_bytes(), sha256(right).as_bytes()).is_ok()
}
