//! Verifies the gateway's `Chatelaine-Assertion`, the way an internal app does: keys from the account's JWKS,
//! ES256 only, audience and expiry checked.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::Clock;

/// The header that carries the assertion.
pub const HEADER: &str = "chatelaine-assertion";
/// Seconds for which fetched keys are used without asking again.
const KEYS_FRESH: i64 = 60;
/// Seconds after a fetch during which an unknown key id does not cause another one.
const REFETCH_GUARD: i64 = 1;
/// Seconds by which the gateway's clock and ours may differ.
const LEEWAY: i64 = 5;

/// The claims of an assertion: `sub`, `email`, `act`, `groups` and so on.
pub type Claims = Map<String, Value>;

/// Where the keys are and what an assertion has to say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account's JWKS, usually on loopback.
    pub jwks_url: String,
    /// The expected `aud`.
    pub audience: String,
    /// The expected `iss`, when it is to be checked.
    pub issuer: Option<String>,
    /// Decides expiry and how long keys are kept.
    pub clock: Clock,
}

/// Why an assertion was not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// The request carries none.
    #[error("no assertion")]
    Missing,
    /// The request carries several, so that which one counts would be a guess.
    #[error("more than one assertion")]
    Repeated,
    /// It is not a JWT signed with ES256 that names its key.
    #[error("not an ES256 JWT with a key id")]
    Malformed,
    /// The JWKS does not hold its key.
    #[error("unknown key")]
    UnknownKey,
    /// The JWKS could not be fetched.
    #[error("the keys cannot be fetched")]
    KeysUnavailable,
    /// Signature, audience or issuer are wrong.
    #[error("signature, audience or issuer are wrong")]
    Invalid,
    /// It has no expiry or is past it.
    #[error("expired")]
    Expired,
}

impl Refusal {
    /// The answer to a request refused for this reason.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

struct Keys {
    fetched: i64,
    keys: Vec<Jwk>,
}

/// Verifies assertions and keeps the keys for a minute.
pub struct Verifier {
    config: Config,
    http: reqwest::Client,
    keys: Mutex<Option<Keys>>,
}

impl Verifier {
    /// A verifier that fetches keys on first use.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "an origin of the demo is no part of the product and fetches one configured loopback URL"
        )]
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self {
            config,
            http,
            keys: Mutex::new(None),
        })
    }

    /// The claims of the one assertion in `headers`.
    ///
    /// # Errors
    /// [`Refusal`] unless there is exactly one and it is valid now.
    pub async fn verify(&self, headers: &HeaderMap) -> Result<Claims, Refusal> {
        let token = token(headers)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Malformed)?;
        let kid = header
            .kid
            .filter(|_| header.alg == Algorithm::ES256)
            .ok_or(Refusal::Malformed)?;
        let key = self.key(&kid).await?;

        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["aud"]);
        // Expiry is judged below, by the injected clock.
        validation.validate_exp = false;
        if let Some(issuer) = &self.config.issuer {
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(&["aud", "iss"]);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|_| Refusal::Invalid)?
            .claims;
        match claims.get("exp").and_then(Value::as_i64) {
            Some(exp) if self.config.clock.now() < exp.saturating_add(LEEWAY) => Ok(claims),
            _ => Err(Refusal::Expired),
        }
    }

    async fn key(&self, kid: &str) -> Result<DecodingKey, Refusal> {
        let mut kept = self.keys.lock().await;
        let now = self.config.clock.now();
        let find = |keys: &Keys| {
            keys.keys
                .iter()
                .find(|key| key.common.key_id.as_deref() == Some(kid))
                .map(DecodingKey::from_jwk)
        };
        let age = kept.as_ref().map_or(i64::MAX, |keys| now - keys.fetched);
        if age < KEYS_FRESH {
            match kept.as_ref().and_then(find) {
                Some(key) => return key.map_err(|_| Refusal::UnknownKey),
                None if age < REFETCH_GUARD => return Err(Refusal::UnknownKey),
                // A key that is not there yet: the gateway may have rotated.
                None => {}
            }
        }
        let keys = Keys {
            fetched: now,
            keys: self.fetch().await.map_err(|error| {
                tracing::warn!(%error, "the JWKS for assertions cannot be fetched");
                Refusal::KeysUnavailable
            })?,
        };
        let found = find(&keys);
        *kept = Some(keys);
        found.ok_or(Refusal::UnknownKey)?.map_err(|_| Refusal::UnknownKey)
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, reqwest::Error> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = self
            .http
            .get(&self.config.jwks_url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        // Keys of kinds that we do not know are not ours to judge.
        Ok(set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect())
    }
}

/// The claims of the one assertion in `headers`, *not* verified: for display only.
///
/// # Errors
/// [`Refusal`] unless there is exactly one that can be read.
pub fn read_unverified(headers: &HeaderMap) -> Result<Claims, Refusal> {
    jsonwebtoken::dangerous::insecure_decode_claims(token(headers)?).map_err(|_| Refusal::Malformed)
}

fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Repeated);
    }
    value.to_str().map_err(|_| Refusal::Malformed)
}
