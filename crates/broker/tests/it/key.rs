//! The pretend provider's keys: of every kind that providers sign with.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// One for all: they take long to make.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

enum Pair {
    Elliptic(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
    Rsa(&'static dyn RsaEncoding),
}

/// A key that signs with one algorithm.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) algorithm: &'static str,
    pair: Pair,
}

impl Key {
    pub(crate) fn new(id: &str, algorithm: &'static str) -> Self {
        let elliptic = |kind| Pair::Elliptic(EcdsaKeyPair::generate(kind).unwrap());
        let pair = match algorithm {
            "ES256" => elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => elliptic(&ECDSA_P521_SHA512_FIXED_SIGNING),
            "EdDSA" | "Ed25519" => Pair::Edwards(Ed25519KeyPair::generate().unwrap()),
            "RS256" => Pair::Rsa(&RSA_PKCS1_SHA256),
            "RS384" => Pair::Rsa(&RSA_PKCS1_SHA384),
            "RS512" => Pair::Rsa(&RSA_PKCS1_SHA512),
            "PS256" => Pair::Rsa(&RSA_PSS_SHA256),
            "PS384" => Pair::Rsa(&RSA_PSS_SHA384),
            "PS512" => Pair::Rsa(&RSA_PSS_SHA512),
            other => panic!("{other}"),
        };
        Self {
            id: id.to_owned(),
            algorithm,
            pair,
        }
    }

    /// As providers publish it (RFC 7517).
    pub(crate) fn public(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut public = match &self.pair {
            Pair::Elliptic(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Edwards(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Pair::Rsa(_) => {
                let key = RSA.public_key();
                let n = text(key.modulus().big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": n, "e": text(key.exponent().big_endian_without_leading_zero())})
            }
        };
        public["kid"] = json!(self.id);
        public["alg"] = json!(self.algorithm);
        public["use"] = json!("sig");
        public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Elliptic(pair) => {
                let made = pair.sign(&SystemRandom::new(), message).unwrap();
                made.as_ref().to_vec()
            }
            Pair::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(encoding) => {
                let mut made = vec![0; RSA.public_modulus_len()];
                RSA.sign(*encoding, &SystemRandom::new(), message, &mut made)
                    .unwrap();
                made
            }
        }
    }
}
