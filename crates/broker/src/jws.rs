//! Tokens that a provider signs: with which key, for whom, and when. Signatures, audiences and times are judged here
//! alike for id tokens and logout tokens. Only what decides is read; a claim of an odd type that nobody asks for does no
//! harm.

use crate::discovery::{ALGORITHMS, Metadata, one_name};
use aws_lc_rs::{digest, signature};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::JsonWebKey as _;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use serde::Deserialize;
use serde_json::{Map, Value};
use wire::{ConnectionSpec, Timestamp};

/// How far the provider's clock may be behind, in seconds.
const BEHIND: i64 = 60;
/// How far it may be ahead, in seconds.
const AHEAD: i64 = 300;

/// A token whose signature is right. Nothing else of it was checked.
#[derive(Debug)]
pub(crate) struct Jws {
    /// What it calls itself (`typ`).
    pub(crate) kind: Option<String>,
    pub(crate) claims: Map<String, Value>,
    algorithm: String,
}

/// Why a token's signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unverified {
    Malformed,
    Unsigned,
    /// It is none of those that are accepted, or that the provider announces.
    Algorithm(String),
    UnknownKey,
    Signature,
}

impl Unverified {
    /// Whether the provider may have changed its keys: also under the same name.
    pub(crate) const fn may_be_news(&self) -> bool {
        matches!(self, Self::UnknownKey | Self::Signature)
    }
}

impl std::fmt::Display for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is malformed"),
            Self::Unsigned => f.write_str("it is not signed"),
            Self::Algorithm(name) => write!(f, "its algorithm {name} is not accepted, or not announced"),
            Self::UnknownKey => f.write_str("it is signed with an unknown key"),
            Self::Signature => f.write_str("its signature is wrong"),
        }
    }
}

/// The head of a JWS, as far as we accept one.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood: we understand none.
    crit: Option<Value>,
}

/// The algorithm of a name, if it is one that is accepted. Asymmetric ones only: a provider that offers HMAC would
/// make our client secret a signing key.
fn algorithm(name: &str, metadata: &Metadata) -> Option<CoreJwsSigningAlgorithm> {
    let name = one_name(name);
    let known = ALGORITHMS.contains(&name);
    let algorithm = serde_json::from_value(Value::from(name)).ok().filter(|_| known)?;
    let announced = metadata.id_token_signing_alg_values_supported();
    announced.contains(&algorithm).then_some(algorithm)
}

/// Checks the signature of a JWS with the keys that the provider publishes.
pub(crate) fn verify(token: &str, metadata: &Metadata) -> Result<Jws, Unverified> {
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Unverified::Malformed);
    let parts: Vec<_> = token.split('.').collect();
    let [head, payload, signature] = parts.as_slice() else {
        return Err(Unverified::Malformed);
    };
    let message = &token[..head.len() + 1 + payload.len()];
    let head: Head = serde_json::from_slice(&decode(head)?).map_err(|_| Unverified::Malformed)?;
    if head.crit.is_some() {
        return Err(Unverified::Malformed);
    }
    if head.alg.eq_ignore_ascii_case("none") {
        return Err(Unverified::Unsigned);
    }
    let Some(algorithm) = algorithm(&head.alg, metadata) else {
        return Err(Unverified::Algorithm(crate::claims::clean(&head.alg, 20)));
    };
    let signature = decode(signature)?;
    // A name is a hint (RFC 7515, section 4.1.4): what has none may be it.
    let named = |key: &&CoreJsonWebKey| match (head.kid.as_deref(), key.key_id()) {
        (Some(kid), Some(id)) => id.as_str() == kid,
        _ => true,
    };
    let mut keys = metadata.jwks().keys().iter().filter(named).peekable();
    if keys.peek().is_none() {
        return Err(Unverified::UnknownKey);
    }
    if !keys.any(|key| is_right(key, &algorithm, message.as_bytes(), &signature)) {
        return Err(Unverified::Signature);
    }
    let claims = serde_json::from_slice(&decode(payload)?).map_err(|_| Unverified::Malformed)?;
    Ok(Jws {
        kind: head.typ,
        claims,
        algorithm: head.alg,
    })
}

/// Whether a key made a signature.
fn is_right(
    key: &CoreJsonWebKey,
    algorithm: &CoreJwsSigningAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> bool {
    match algorithm {
        // The library knows the curve, and cannot check it.
        CoreJwsSigningAlgorithm::EcdsaP521Sha512 => {
            point_of_p521(key).is_some_and(|point| is_right_p521(&point, message, signature))
        }
        _ => key.verify_signature(algorithm, message, signature).is_ok(),
    }
}

fn is_right_p521(point: &[u8], message: &[u8], made: &[u8]) -> bool {
    let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, point);
    key.verify(message, made).is_ok()
}

/// The point of a P-521 key that may sign with ES512 (RFC 7518, section 6.2.1), uncompressed.
fn point_of_p521(key: &CoreJsonWebKey) -> Option<Vec<u8>> {
    const SIZE: usize = 66;
    let key = serde_json::to_value(key).ok()?;
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let fits = text("kty") == Some("EC")
        && text("crv") == Some("P-521")
        && text("use").is_none_or(|for_what| for_what == "sig")
        && text("alg").is_none_or(|alg| alg == "ES512");
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let (x, y) = (coordinate("x")?, coordinate("y")?);
    (fits && x.len() == SIZE && y.len() == SIZE).then(|| [&[4][..], &x, &y].concat())
}

impl Jws {
    /// Whether it may be an id token by what it calls itself. Those have no type of their own; whatever has one, such as an
    /// access token or a logout token, is something else (RFC 8725, section 3.11).
    pub(crate) fn may_be_id_token(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default().to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let kind = kind.strip_prefix("application/").unwrap_or(kind);
        !kind.ends_with("+jwt") || kind == "id_token+jwt"
    }

    /// Whether an access token is the one that came with it, as far as it says (`at_hash`; OpenID Connect Core 1.0,
    /// section 3.1.3.6).
    pub(crate) fn goes_with(&self, access: Option<&str>) -> bool {
        let stated = match self.claims.get("at_hash") {
            None | Some(Value::Null) => return true,
            Some(stated) => stated.as_str(),
        };
        let hash = match self.algorithm.as_str() {
            name if name.ends_with("256") => &digest::SHA256,
            name if name.ends_with("384") => &digest::SHA384,
            _ => &digest::SHA512,
        };
        let half = |access: &str| {
            let whole = digest::digest(hash, access.as_bytes());
            let whole = whole.as_ref();
            URL_SAFE_NO_PAD.encode(&whole[..whole.len() / 2])
        };
        stated.is_some() && access.map(half).as_deref() == stated
    }
}

/// Whether a token is meant for this connection's client (OpenID Connect Core 1.0, section 3.1.3.7, 3 to 5). It may
/// be meant for others as well, if the connection trusts all of them and the provider gave it to our client (`azp`).
/// What speaks against it, in words.
pub(crate) fn audience(spec: &ConnectionSpec, claims: &Map<String, Value>) -> Result<(), &'static str> {
    let client = spec.client_id.as_deref().unwrap_or_default();
    let all: Option<Vec<_>> = match claims.get("aud") {
        Some(Value::String(one)) => Some(vec![one.as_str()]),
        Some(Value::Array(several)) => several.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let all = all.ok_or("it does not say for whom it is meant")?;
    if client.is_empty() || !all.contains(&client) {
        return Err("it is meant for another client");
    }
    let party = claims.get("azp").filter(|party| !party.is_null());
    if party.is_some_and(|party| party.as_str() != Some(client)) {
        return Err("another client asked for it (azp)");
    }
    let mut others = all.iter().filter(|audience| **audience != client).peekable();
    if others.peek().is_none() {
        return Ok(());
    }
    if !others.all(|audience| spec.trusted_audiences.iter().any(|trusted| trusted == audience)) {
        return Err(
            "it is meant for other clients, too, which the connection's trusted_audiences does not name",
        );
    }
    match party {
        Some(_) => Ok(()),
        None => Err("it is meant for several clients and does not say which of them asked for it (azp)"),
    }
}

/// When something is, for who asks about claims: seconds, if the claim is a number; `None` without the claim.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("one of its times is no number"),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 fit for the next 285 million years"
)]
const fn seconds(at: i64) -> f64 {
    at as f64
}

/// Whether a time that a provider stated is not ahead of ours.
pub(crate) fn has_come(stated: f64, now: Timestamp) -> bool {
    stated <= seconds(now.seconds() + AHEAD)
}

/// Whether a time that a provider stated is `age` seconds or less ago, give or take.
pub(crate) fn is_within(stated: f64, age: i64, now: Timestamp) -> bool {
    stated >= seconds(now.seconds() - age - BEHIND) && has_come(stated, now)
}

/// Whether a token is good now, by what it says: not over, issued and good already. `exp` may be missing only where
/// `iat` bounds its life. What speaks against it, in words.
pub(crate) fn times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), &'static str> {
    let issued = time(claims, "iat")?.ok_or("it does not say when it was issued")?;
    if !has_come(issued, now) {
        return Err("it was issued in the future");
    }
    if time(claims, "nbf")?.is_some_and(|from| !has_come(from, now)) {
        return Err("it is not good yet");
    }
    match time(claims, "exp")? {
        Some(until) if until <= seconds(now.seconds() - BEHIND) => Err("it has expired"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(trusted: &[&str]) -> ConnectionSpec {
        let spec = json!({"name": "A", "kind": "oidc", "client_id": "us", "trusted_audiences": trusted});
        serde_json::from_value(spec).unwrap()
    }

    fn map(claims: Value) -> Map<String, Value> {
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn a_token_for_several_is_ours_only_if_we_asked_for_it_and_know_the_others() {
        for (trusted, claims, good) in [
            (&[][..], json!({"aud": "us"}), true),
            (&[], json!({"aud": ["us"]}), true),
            (&[], json!({"aud": ["us", "us"], "azp": "us"}), true),
            (&[], json!({"aud": "us", "azp": "us"}), true),
            (&[], json!({"aud": "us", "azp": null}), true),
            (&["other"], json!({"aud": ["us", "other"], "azp": "us"}), true),
            (&["other"], json!({"aud": ["other", "us"], "azp": "us"}), true),
            (&[], json!({"aud": ["us", "other"], "azp": "us"}), false),
            (
                &["other"],
                json!({"aud": ["us", "other", "third"], "azp": "us"}),
                false,
            ),
            (&["other"], json!({"aud": ["us", "other"]}), false),
            (&["other"], json!({"aud": ["us", "other"], "azp": "other"}), false),
            (&["other"], json!({"aud": ["other"], "azp": "us"}), false),
            (&["other"], json!({"aud": "other", "azp": "other"}), false),
            (&[], json!({"aud": "us", "azp": "other"}), false),
            (&[], json!({"aud": "us", "azp": ["us"]}), false),
            (&[], json!({"aud": "US"}), false),
            (&[], json!({"aud": ["us", 1], "azp": "us"}), false),
            (&[], json!({"aud": []}), false),
            (&[], json!({}), false),
        ] {
            assert_eq!(
                audience(&spec(trusted), &map(claims.clone())).is_ok(),
                good,
                "{claims}"
            );
        }
        let nobody: ConnectionSpec = serde_json::from_value(json!({"name": "A", "kind": "oidc"})).unwrap();
        assert!(audience(&nobody, &map(json!({"aud": ""}))).is_err());
    }

    #[test]
    fn a_token_is_good_between_its_times_only() {
        let now = Timestamp::from_seconds(1_000_000);
        let at = |off: i64| 1_000_000 + off;
        for (claims, good) in [
            (json!({"iat": at(0), "exp": at(60)}), true),
            (json!({"iat": at(200), "nbf": at(200), "exp": at(300)}), true),
            (json!({"iat": at(-500), "exp": at(-59)}), true),
            (json!({"iat": 999_999.5, "exp": at(1)}), true),
            (json!({"iat": at(0)}), true),
            (json!({"iat": at(86_400), "exp": at(90_000)}), false),
            (json!({"iat": at(0), "nbf": at(86_400), "exp": at(90_000)}), false),
            (json!({"iat": at(-500), "exp": at(-60)}), false),
            (json!({"iat": at(0), "exp": "never"}), false),
            (json!({"iat": at(0), "nbf": "9", "exp": at(60)}), false),
            (json!({"iat": null, "exp": at(60)}), false),
            (json!({"exp": at(60)}), false),
        ] {
            assert_eq!(times(&map(claims.clone()), now).is_ok(), good, "{claims}");
        }
    }
}
