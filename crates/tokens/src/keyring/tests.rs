use super::*;
use crate::Act;
use serde_json::{Value, json};
use wire::{GrantId, OrganisationSpec, UserId};

struct Bench {
    _dir: std::path::PathBuf,
    store: Store,
    ring: Keyring,
    org: OrgId,
}

async fn bench() -> Bench {
    let org_id = OrgId::fresh();
    let dir = std::env::temp_dir().join(format!("chatelaine-tokens-{org_id}"));
    std::fs::create_dir_all(&dir).unwrap();
    let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
    let store = Store::open(store::Options {
        database_url: &format!("sqlite:{}/t.db", dir.display()),
        master_key: &store::MasterKey::generate().unwrap(),
        clock,
        control_url: "http://127.0.0.1:7400",
        pools: store::Pools::default(),
    })
    .await
    .unwrap();
    let mut tx = store.begin().await.unwrap();
    let spec = OrganisationSpec {
        name: "Acme".into(),
        primary_connection: None,
        floor: Vec::new(),
        ..OrganisationSpec::default()
    };
    let org = store::org::create(&mut tx, "acme", spec).await.unwrap().id;
    let event = store::audit::event(
        &org,
        "system",
        "organisation.create",
        AuditActor::of(ActorKind::System),
    );
    tx.commit(event).await.unwrap();
    let ring = Keyring::load(&store).await.unwrap();
    ring.ensure(&org).await.unwrap();
    Bench {
        _dir: dir,
        store,
        ring,
        org,
    }
}

const ISS: &str = "http://127.0.0.1:7400/oauth/app_1";
const AUD: &str = "http://127.0.0.1:7412/mcp";

fn claims(now: i64) -> AccessClaims {
    AccessClaims {
        iss: ISS.into(),
        aud: AUD.into(),
        sub: UserId::fresh(),
        client_id: "cli".into(),
        scope: "a b".into(),
        jti: "j".into(),
        iat: now,
        nbf: None,
        exp: now + 900,
        grant: GrantId::fresh(),
        act: Act { sub: "cli".into() },
    }
}

impl Bench {
    fn now(&self) -> i64 {
        self.store.clock().now().seconds()
    }

    fn verify(&self, token: &str) -> std::result::Result<AccessClaims, Refused> {
        self.ring.verify_access(&self.org, token, ISS, AUD)
    }

    /// Signs any claims with the active key: what only a broken or hostile issuer would send.
    fn forge(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut value = serde_json::to_value(claims(self.now())).unwrap();
        change(&mut value);
        self.ring.sign(&self.org, "at+jwt", &value).unwrap()
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_issuer_and_audience_until_it_expires() {
    let b = bench().await;
    let token = b.ring.mint_access(&b.org, &claims(b.now())).unwrap();
    assert_eq!(b.verify(&token).unwrap().scope, "a b");
    assert_eq!(
        b.ring.verify_access(&b.org, &token, "other", AUD),
        Err(Refused::Claims("iss"))
    );
    assert_eq!(
        b.ring.verify_access(&b.org, &token, ISS, "other"),
        Err(Refused::Claims("aud"))
    );
    assert_eq!(
        b.ring.verify_access(&OrgId::fresh(), &token, ISS, AUD),
        Err(Refused::UnknownKey)
    );
    b.store.clock().advance(900 + LEEWAY);
    assert_eq!(b.verify(&token), Err(Refused::Expired));
}

#[tokio::test]
async fn jw5_wrong_typed_or_missing_times_are_refused() {
    let b = bench().await;
    let now = b.now();
    assert!(b.verify(&b.forge(|_| {})).is_ok());
    assert!(b.verify(&b.forge(|c| c["exp"] = json!("never"))).is_err());
    assert!(b.verify(&b.forge(|c| c["nbf"] = json!("9999999999"))).is_err());
    assert!(b.verify(&b.forge(|c| c["nbf"] = json!(now + 600))).is_err());
    assert!(b.verify(&b.forge(|c| c["exp"] = json!(1e300))).is_err());
    let no_exp = b.forge(|c| drop(c.as_object_mut().unwrap().remove("exp")));
    assert!(b.verify(&no_exp).is_err());
}

#[tokio::test]
async fn the_header_cannot_choose_algorithm_or_key() {
    let b = bench().await;
    let token = b.ring.mint_access(&b.org, &claims(b.now())).unwrap();
    let (head, rest) = token.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let with = |key: &str, value: Value| {
        let mut header = header.clone();
        header[key] = value;
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    for (key, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("typ", json!("JWT")),
        ("kid", json!("key_0")),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
    ] {
        assert!(b.verify(&with(key, value.clone())).is_err(), "{key} {value}");
    }
    // HMAC with the public key as secret.
    let jwks = b.ring.jwks(&b.org).unwrap();
    let mut forged = Header::new(Algorithm::HS256);
    forged.typ = Some("at+jwt".into());
    forged.kid = header["kid"].as_str().map(ToOwned::to_owned);
    let secret = EncodingKey::from_secret(jwks.body.as_bytes());
    let forged = jsonwebtoken::encode(&forged, &claims(b.now()), &secret).unwrap();
    assert_eq!(b.verify(&forged), Err(Refused::Algorithm));
    // An assertion is no access token.
    let assertion = b.ring.sign(&b.org, "JWT", &claims(b.now())).unwrap();
    assert_eq!(b.verify(&assertion), Err(Refused::Algorithm));
}

#[tokio::test]
async fn rotation_keeps_old_tokens_good_and_publishes_the_next_key_before_it_signs() {
    let b = bench().await;
    let before = b.ring.mint_access(&b.org, &claims(b.now())).unwrap();
    let published = b.ring.jwks(&b.org).unwrap();
    let event = || {
        store::audit::event(
            &b.org,
            "api",
            "signing_key.rotate",
            AuditActor::of(ActorKind::Admin),
        )
    };
    let key = b
        .ring
        .rotate(b.store.begin().await.unwrap(), &b.org, event(), false)
        .await
        .unwrap();
    assert!(
        published.body.contains(key.id.to_string().as_str()),
        "the new key was published before"
    );
    assert_ne!(b.ring.jwks(&b.org).unwrap().etag, published.etag);
    let after = b.ring.mint_access(&b.org, &claims(b.now())).unwrap();
    assert!(b.verify(&before).is_ok() && b.verify(&after).is_ok());
}

async fn rotate(b: &Bench, compromised: bool) -> SigningKey {
    let actor = AuditActor::of(ActorKind::Admin);
    let event = store::audit::event(&b.org, "api", "signing_key.update", actor);
    let tx = b.store.begin().await.unwrap();
    b.ring.rotate(tx, &b.org, event, compromised).await.unwrap()
}

#[tokio::test]
async fn a_key_ends_at_its_moment_though_nothing_is_read_anew() {
    let b = bench().await;
    let lasting = b.forge(|c| c["exp"] = json!(b.now() + 10 * OVERLAP));
    rotate(&b, false).await;
    let over = b.now() + OVERLAP;
    assert_eq!(
        b.verify(&lasting).unwrap().exp,
        over,
        "nobody remembers it for longer"
    );
    let keys = |b: &Bench| b.ring.jwks(&b.org).unwrap().body.matches("\"kid\"").count();
    assert_eq!(keys(&b), 3);
    b.store.clock().advance(OVERLAP - 1);
    assert!(b.verify(&lasting).is_ok());
    let etag = b.ring.jwks(&b.org).unwrap().etag;
    b.store.clock().advance(1);
    assert_eq!(b.verify(&lasting), Err(Refused::UnknownKey));
    assert_eq!(keys(&b), 2);
    assert_ne!(b.ring.jwks(&b.org).unwrap().etag, etag);
}

#[tokio::test]
async fn compromised_keys_are_good_for_nothing_from_that_moment_on_any_instance() {
    let b = bench().await;
    let other = Keyring::load(&b.store).await.unwrap();
    let before = b.ring.mint_access(&b.org, &claims(b.now())).unwrap();
    let published = b.ring.jwks(&b.org).unwrap();
    let key = rotate(&b, true).await;
    assert!(
        !published.body.contains(&key.id.to_string()),
        "the next key was there, too"
    );
    assert_eq!(b.verify(&before), Err(Refused::UnknownKey));
    let after = b.ring.mint_access(&b.org, &claims(b.now())).unwrap();
    assert!(b.verify(&after).is_ok());
    let now = b.ring.jwks(&b.org).unwrap();
    for jwk in serde_json::from_str::<Value>(&published.body).unwrap()["keys"]
        .as_array()
        .unwrap()
    {
        assert!(!now.body.contains(jwk["kid"].as_str().unwrap()));
    }
    for _ in 0..200 {
        if other.verify_access(&b.org, &before, ISS, AUD).is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        other.verify_access(&b.org, &before, ISS, AUD),
        Err(Refused::UnknownKey)
    );
    assert!(other.verify_access(&b.org, &after, ISS, AUD).is_ok());
}
