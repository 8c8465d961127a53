//! Assertions with which clients authenticate (`private_key_jwt`: RFC 7523 section 2.2, OpenID Connect Core section 9).
//! Which algorithms count is fixed here; which keys do, the client's document says; nothing in the assertion's header
//! brings a key along.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

/// What a client may sign with: nothing symmetric, whose key would be public.
pub const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
/// How long an assertion may be good, in seconds: so long it is remembered that it was used.
const LONGEST_LIFE: i64 = 3600;
/// How far the client's clock may differ, in seconds.
const LEEWAY: i64 = 60;
/// The longest assertion, in bytes.
const LONGEST: usize = 8 * 1024;
/// The shortest RSA modulus, in bits.
const SHORTEST_MODULUS: usize = 2048;
/// The longest `jti`, in bytes.
const LONGEST_JTI: usize = 256;

/// Why an assertion does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is no assertion, or its head asks for something that is not done.
    Malformed,
    /// It is not signed by one of [`ALGORITHMS`].
    Algorithm,
    /// None of the client's keys is meant.
    UnknownKey,
    /// The signature is wrong.
    Signature,
    /// The named claim is missing or wrong.
    Claim(&'static str),
}

impl Refused {
    /// Whether the client may have changed its keys.
    #[must_use]
    pub const fn may_be_news(self) -> bool {
        matches!(self, Self::UnknownKey | Self::Signature)
    }

    /// One word for the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "assertion_malformed",
            Self::Algorithm => "assertion_algorithm",
            Self::UnknownKey => "assertion_key_unknown",
            Self::Signature => "assertion_signature",
            Self::Claim("aud") => "assertion_audience",
            Self::Claim("exp" | "iat" | "nbf") => "assertion_time",
            Self::Claim(_) => "assertion_claims",
        }
    }
}

/// An assertion that is good, unless it was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Its name, which is good once.
    pub jti: String,
    /// Until when it would be good, in seconds.
    pub until: i64,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    jti: Option<String>,
}

/// Who an assertion says that it is of, unproven.
#[must_use]
pub fn subject(assertion: &str) -> Option<String> {
    if assertion.len() > LONGEST {
        return None;
    }
    let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(assertion).ok()?;
    Some(claims.sub)
}

/// Whether an assertion is one of `client_id`, signed by one of `keys`, for one of `audiences`, now.
///
/// # Errors
/// Why it does not count.
pub fn verify(
    assertion: &str,
    client_id: &str,
    keys: &Value,
    audiences: &[String],
    now: i64,
) -> Result<Assertion, Refused> {
    if assertion.len() > LONGEST {
        return Err(Refused::Malformed);
    }
    let claims = signed(assertion, keys)?;
    if claims.iss != client_id {
        return Err(Refused::Claim("iss"));
    }
    if claims.sub != client_id {
        return Err(Refused::Claim("sub"));
    }
    // One audience, and that is us: what is meant for others, too, could be played to us by them.
    let for_us = |stated: &Value| {
        stated
            .as_str()
            .is_some_and(|s| audiences.iter().any(|us| us == s))
    };
    let is_for_us = match &claims.aud {
        Value::Array(several) => !several.is_empty() && several.iter().all(for_us),
        one => for_us(one),
    };
    if !is_for_us {
        return Err(Refused::Claim("aud"));
    }
    let is_over = now >= claims.exp.saturating_add(LEEWAY);
    if is_over || claims.exp > now + LONGEST_LIFE + LEEWAY {
        return Err(Refused::Claim("exp"));
    }
    if claims.iat.is_some_and(|iat| iat > now + LEEWAY) {
        return Err(Refused::Claim("iat"));
    }
    if claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
        return Err(Refused::Claim("nbf"));
    }
    let jti = claims.jti.filter(|jti| (1..=LONGEST_JTI).contains(&jti.len()));
    Ok(Assertion {
        jti: jti.ok_or(Refused::Claim("jti"))?,
        until: claims.exp + LEEWAY,
    })
}

fn signed(assertion: &str, keys: &Value) -> Result<Claims, Refused> {
    // What it does not know, such as `none`, the library does not read.
    let header = jsonwebtoken::decode_header(assertion).map_err(|_| Refused::Malformed)?;
    let brings_key =
        header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
    if brings_key || header.crit.is_some() {
        return Err(Refused::Malformed);
    }
    if !is_pinned(header.alg) {
        return Err(Refused::Algorithm);
    }
    // Keys that cannot be read are none of those that are looked for.
    let listed = keys.get("keys").and_then(Value::as_array);
    let keys: Vec<Jwk> = listed
        .into_iter()
        .flatten()
        .filter_map(|key| serde_json::from_value(key.clone()).ok())
        .collect();
    let keys = JwkSet { keys };
    let named = |key: &&Jwk| match (&header.kid, &key.common.key_id) {
        (Some(kid), Some(id)) => kid == id,
        _ => true,
    };
    let mut fit = keys
        .keys
        .iter()
        .filter(named)
        .filter(|key| fits(key, header.alg))
        .peekable();
    if fit.peek().is_none() {
        return Err(Refused::UnknownKey);
    }
    let mut validation = Validation::new(header.alg);
    // Claims are checked by us: against the injected clock, on strict types.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    for key in fit {
        let Ok(key) = DecodingKey::from_jwk(key) else {
            continue;
        };
        match jsonwebtoken::decode::<Claims>(assertion, &key, &validation) {
            Ok(data) => return Ok(data.claims),
            Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
                return Err(Refused::Claim("types"));
            }
            Err(_) => {}
        }
    }
    Err(Refused::Signature)
}

const fn is_pinned(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA
    )
}

/// Whether a key is one to sign so.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    use jsonwebtoken::jwk::EllipticCurve;
    let signs = key
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let stated = key.common.key_algorithm;
    let agrees = stated.is_none_or(|stated| stated == named(algorithm));
    let is_kind = match &key.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            matches!(algorithm, Algorithm::RS256 | Algorithm::PS256) && rsa.n.len() * 6 >= SHORTEST_MODULUS
        }
        AlgorithmParameters::EllipticCurve(ec) => match algorithm {
            Algorithm::ES256 => ec.curve == EllipticCurve::P256,
            Algorithm::ES384 => ec.curve == EllipticCurve::P384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(pair) => {
            algorithm == Algorithm::EdDSA && pair.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    signs && agrees && is_kind
}

const fn named(algorithm: Algorithm) -> KeyAlgorithm {
    match algorithm {
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::ES384 => KeyAlgorithm::ES384,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
        _ => KeyAlgorithm::RS256,
    }
}
