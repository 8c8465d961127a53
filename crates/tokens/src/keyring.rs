//! The keys in memory, and everything that is signed or verified with them.

use crate::{AccessClaims, AssertionClaims, Refused};
use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{Change, Clock, Error, Result, Store, Tx, key::StoredKey};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, broadcast};
use wire::{ActorKind, AuditActor, AuditEvent, KeyId, KeyState, OrgId, SigningKey, Timestamp};
use zeroize::Zeroizing;

/// Tolerated difference between clocks, in seconds.
const LEEWAY: i64 = 5;
/// How long a retiring key is still published: the longest life of an access token, and a minute.
const OVERLAP: i64 = 86_400 + 60;
/// How long to wait before keys that could not be read are read again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long to wait before a key that was left out is looked at again.
const LEFT_OUT: Duration = Duration::from_secs(5);
/// What it is called where it is said that they are behind.
const KEYS: &str = "signing keys";
const ALGORITHM: Algorithm = Algorithm::ES256;

/// A JSON Web Key Set, as bytes that are computed once.
#[derive(Debug, Clone)]
pub struct Jwks {
    /// The document.
    pub body: Arc<str>,
    /// Its `ETag`, quotes included.
    pub etag: Arc<str>,
}

struct OrgKeys {
    signing: Option<(KeyId, EncodingKey)>,
    verifying: HashMap<String, (DecodingKey, Option<Timestamp>)>,
    /// What is published, and until when: each time that a key is over, the next of these.
    jwks: Vec<(Option<Timestamp>, Jwks)>,
}

impl OrgKeys {
    /// The key with this name, and when it is over, unless it is already.
    fn verifying(&self, kid: &str, now: Timestamp) -> Option<&(DecodingKey, Option<Timestamp>)> {
        self.verifying
            .get(kid)
            .filter(|(_, over)| over.is_none_or(|over| now < over))
    }
}

/// What is heard, and whether the keys have to be read because of it. It outlives the task that follows.
type Heard = (broadcast::Receiver<Change>, bool);

/// Reads the keys anew whenever they change, and again for as long as that fails.
async fn follow(ring: Keyring, heard: Arc<Mutex<Heard>>) {
    let mut heard = heard.lock().await;
    let (changes, owed) = &mut *heard;
    loop {
        if *owed {
            ring.store.falls_behind(KEYS);
            match ring.reload().await {
                Ok(()) => {
                    *owed = false;
                    ring.store.has_caught_up(KEYS);
                }
                Err(error) => {
                    tracing::error!(%error, source = ?error, "signing keys could not be read");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            continue;
        }
        // One that was left out may be readable by now, without anybody saying so.
        let patience = match ring.store.unreadable_keys().is_empty() {
            true => Duration::MAX,
            false => LEFT_OUT,
        };
        match tokio::time::timeout(patience, changes.recv()).await {
            Ok(Ok(Change::Keys | Change::Config | Change::All) | Err(RecvError::Lagged(_))) | Err(_) => {
                *owed = true
            }
            Ok(Ok(_)) => {}
            // The store is gone.
            Ok(Err(RecvError::Closed)) => return,
        }
    }
}

/// The signing keys of all organisations. Cheap to clone; follows changes by itself.
#[derive(Clone)]
pub struct Keyring {
    store: Store,
    keys: Arc<ArcSwap<HashMap<OrgId, OrgKeys>>>,
    /// Counts how often they were read.
    generation: Arc<AtomicU64>,
}

impl Keyring {
    /// Loads the keys and begins to follow their changes.
    ///
    /// # Errors
    /// When the database does not answer or a private key does not open.
    pub async fn load(store: &Store) -> Result<Self> {
        let ring = Self {
            store: store.clone(),
            keys: Arc::new(ArcSwap::default()),
            generation: Arc::default(),
        };
        let heard = Arc::new(Mutex::new((store.changes(), false)));
        ring.reload().await?;
        let follower = ring.clone();
        store.keep("signing_keys", move |_| {
            follow(follower.clone(), Arc::clone(&heard))
        });
        Ok(ring)
    }

    async fn reload(&self) -> Result<()> {
        let mut by_org: HashMap<OrgId, Vec<StoredKey>> = HashMap::new();
        for key in store::key::all(&self.store).await? {
            by_org.entry(key.org.clone()).or_default().push(key);
        }
        let keys = by_org.into_iter().map(|(org, keys)| (org, assemble(&keys)));
        self.keys.store(Arc::new(keys.collect()));
        self.generation.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Which keys these are. Whoever remembers what they verified or signed asks whether it is still the same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Makes the first keys of an organisation, unless it has some.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ensure(&self, org: &OrgId) -> Result<()> {
        if self.keys.load().contains_key(org) {
            return Ok(());
        }
        let mut tx = self.store.begin().await?;
        let mut events = Vec::new();
        for state in [KeyState::Active, KeyState::Next] {
            let key = generate(org, state, tx.now())?;
            store::key::create(&mut tx, &key).await?;
            let actor = AuditActor::of(ActorKind::System);
            let mut event = store::audit::event(org, "system", "signing_key.create", actor);
            event.target = Some(store::audit::target("signing_key", &key.key.id, None));
            events.push(event);
        }
        tx.commit_all(events).await?;
        self.reload().await
    }

    /// Lets the next key sign, the active one retire, and publishes a new next one. When they are `compromised`, none of
    /// those that are there is good for anything from now on, and a fresh one signs.
    ///
    /// # Errors
    /// When the database does not answer; nothing has changed then.
    pub async fn rotate(
        &self,
        mut tx: Tx,
        org: &OrgId,
        mut event: AuditEvent,
        compromised: bool,
    ) -> Result<SigningKey> {
        let now = tx.now();
        let mut promoted = None;
        if compromised {
            store::key::end_all_of(&mut tx, org).await?;
        }
        for key in store::key::list(&mut tx, org, now).await? {
            match key.state {
                KeyState::Active => {
                    let until = now.plus_seconds(OVERLAP);
                    store::key::set_state(&mut tx, &key.id, KeyState::Retiring, Some(until)).await?;
                }
                KeyState::Next if promoted.is_none() => {
                    store::key::set_state(&mut tx, &key.id, KeyState::Active, None).await?;
                    promoted = Some(SigningKey {
                        state: KeyState::Active,
                        ..key
                    });
                }
                KeyState::Next | KeyState::Retiring => {}
            }
        }
        let promoted = match promoted {
            Some(key) => key,
            None => {
                let key = generate(org, KeyState::Active, now)?;
                store::key::create(&mut tx, &key).await?;
                key.key
            }
        };
        store::key::create(&mut tx, &generate(org, KeyState::Next, now)?).await?;
        event.target = Some(store::audit::target("signing_key", &promoted.id, None));
        if compromised {
            event.reason = Some("compromised".to_owned());
        }
        tx.commit(event).await?;
        self.reload().await?;
        Ok(promoted)
    }

    /// The published keys of an organisation.
    #[must_use]
    pub fn jwks(&self, org: &OrgId) -> Option<Jwks> {
        let now = self.store.clock().now();
        let keys = self.keys.load();
        let mut published = keys.get(org)?.jwks.iter();
        let current = published.find(|(until, _)| until.is_none_or(|until| now < until));
        current.map(|(_, jwks)| jwks.clone())
    }

    /// Signs an access token (`typ: at+jwt`).
    ///
    /// # Errors
    /// When the organisation has no key.
    pub fn mint_access(&self, org: &OrgId, claims: &AccessClaims) -> Result<String> {
        self.sign(org, "at+jwt", claims)
    }

    /// Signs an assertion for an origin.
    ///
    /// # Errors
    /// When the organisation has no key.
    pub fn mint_assertion(&self, org: &OrgId, claims: &AssertionClaims) -> Result<String> {
        self.sign(org, "JWT", claims)
    }

    pub(crate) fn sign(&self, org: &OrgId, typ: &str, claims: &impl Serialize) -> Result<String> {
        let keys = self.keys.load();
        let key = keys.get(org).and_then(|keys| keys.signing.as_ref());
        let (kid, key) = key.ok_or_else(|| Error::internal("the organisation has no signing key"))?;
        let mut header = Header::new(ALGORITHM);
        header.typ = Some(typ.to_owned());
        header.kid = Some(kid.to_string());
        jsonwebtoken::encode(&header, claims, key).map_err(Error::internal)
    }

    /// Verifies an access token of an organisation's app. Whether its grant is in force is not asked here.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify_access(
        &self,
        org: &OrgId,
        token: &str,
        issuer: &str,
        audience: &str,
    ) -> std::result::Result<AccessClaims, Refused> {
        let verified = self.verify_access_by_key(org, token, (issuer, audience));
        verified.map(|(claims, _)| claims)
    }

    /// As [`Keyring::verify_access`], and by which key: whoever remembers it asks [`Keyring::good_until`] again when
    /// the keys change.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify_access_by_key(
        &self,
        org: &OrgId,
        token: &str,
        (issuer, audience): (&str, &str),
    ) -> std::result::Result<(AccessClaims, String), Refused> {
        let (mut claims, kid, over): (AccessClaims, _, _) = self.verify(org, token, "at+jwt")?;
        if let Some(over) = over {
            // Whoever remembers that the token was good does so for no longer than its key is.
            claims.exp = claims.exp.min(over.seconds());
        }
        if claims.iss != issuer {
            return Err(Refused::Claims("iss"));
        }
        if claims.aud != audience {
            return Err(Refused::Claims("aud"));
        }
        check_times(self.store.clock(), claims.iat, claims.nbf, claims.exp)?;
        Ok((claims, kid))
    }

    /// Until when what a key of an organisation signed is good; `None` when it is not, or the key is not known.
    #[must_use]
    pub fn good_until(&self, org: &OrgId, kid: &str) -> Option<Timestamp> {
        let keys = self.keys.load();
        let (_, over) = keys.get(org)?.verifying(kid, self.store.clock().now())?;
        Some(over.unwrap_or(Timestamp(i64::MAX)))
    }

    fn verify<T: DeserializeOwned>(
        &self,
        org: &OrgId,
        token: &str,
        typ: &str,
    ) -> std::result::Result<(T, String, Option<Timestamp>), Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Malformed)?;
        // RFC 9068 section 4: `at+jwt`, with or without the `application/` prefix.
        let typ_ok = header.typ.as_deref().is_some_and(|t| {
            let t = t.strip_prefix("application/").unwrap_or(t);
            t.eq_ignore_ascii_case(typ)
        });
        let brings_key =
            header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
        if header.alg != ALGORITHM || !typ_ok || brings_key || header.crit.is_some() {
            return Err(Refused::Algorithm);
        }
        let keys = self.keys.load();
        let kid = header.kid.as_deref().ok_or(Refused::UnknownKey)?;
        let (key, over) = keys
            .get(org)
            .and_then(|keys| keys.verifying(kid, self.store.clock().now()))
            .ok_or(Refused::UnknownKey)?;
        let mut validation = Validation::new(ALGORITHM);
        // Times, issuer and audience are checked by us: against the injected clock, on strict types.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        match jsonwebtoken::decode(token, key, &validation) {
            Ok(data) => Ok((data.claims, kid.to_owned(), *over)),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature => Refused::Signature,
                ErrorKind::InvalidAlgorithm => Refused::Algorithm,
                ErrorKind::Json(_) => Refused::Claims("types"),
                _ => Refused::Malformed,
            }),
        }
    }
}

fn check_times(clock: &Clock, iat: i64, nbf: Option<i64>, exp: i64) -> std::result::Result<(), Refused> {
    let now = clock.now().seconds();
    if now >= exp.saturating_add(LEEWAY) {
        return Err(Refused::Expired);
    }
    if nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
        return Err(Refused::Claims("nbf"));
    }
    if iat > now + LEEWAY {
        return Err(Refused::Claims("iat"));
    }
    Ok(())
}

fn assemble(keys: &[StoredKey]) -> OrgKeys {
    let mut signing = None;
    let mut verifying = HashMap::new();
    let mut published = Vec::new();
    for stored in keys {
        let jwk = serde_json::from_value(stored.public_jwk.clone()).map_err(Error::internal);
        let Ok(key) = jwk.and_then(|jwk| DecodingKey::from_jwk(&jwk).map_err(Error::internal)) else {
            tracing::error!(key = %stored.key.id, "a signing key is none that can be used");
            continue;
        };
        let over = stored.key.not_after;
        verifying.insert(stored.key.id.to_string(), (key, over));
        published.push((over, &stored.public_jwk));
        if stored.key.state == KeyState::Active {
            signing = Some((stored.key.id.clone(), EncodingKey::from_ec_der(&stored.private)));
        }
    }
    let mut ends: Vec<_> = published.iter().map(|(over, _)| *over).collect();
    // Those that have no end come last.
    ends.sort_by_key(|over| (over.is_none(), *over));
    ends.push(None);
    ends.dedup();
    let jwks = ends.into_iter().map(|until| {
        let good = |over: Option<Timestamp>| match (over, until) {
            (None, _) => true,
            (Some(over), Some(until)) => over >= until,
            (Some(_), None) => false,
        };
        let good: Vec<_> = published
            .iter()
            .filter(|(over, _)| good(*over))
            .map(|(_, jwk)| jwk)
            .collect();
        let body = serde_json::json!({ "keys": good }).to_string();
        let etag = format!("\"{}\"", &store::sha256(&body)[..22]);
        let jwks = Jwks {
            body: body.into(),
            etag: etag.into(),
        };
        (until, jwks)
    });
    OrgKeys {
        signing,
        verifying,
        jwks: jwks.collect(),
    }
}

fn generate(org: &OrgId, state: KeyState, now: Timestamp) -> Result<StoredKey> {
    let refused = || Error::internal("no key could be generated");
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let private = Zeroizing::new(document.map_err(|_| refused())?.as_ref().to_vec());
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private).map_err(|_| refused())?;
    // SEC 1 section 2.3.3: 0x04, then x and y of 32 bytes each.
    let point = pair.public_key().as_ref();
    let (x, y) = point
        .strip_prefix(&[4])
        .and_then(|xy| xy.split_at_checked(32))
        .ok_or_else(refused)?;
    let id = KeyId::fresh();
    let public_jwk = serde_json::json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    let key = SigningKey {
        id,
        algorithm: "ES256".into(),
        state,
        created_at: now,
        not_after: None,
    };
    Ok(StoredKey {
        key,
        org: org.clone(),
        public_jwk,
        private,
    })
}

#[cfg(test)]
mod tests;
