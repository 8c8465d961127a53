//! Clients that prove by a signature who they are (`private_key_jwt`).

use crate::world::{CALLBACK, VERIFIER, World, on_each};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const ID: &str = "https://agent.example/client.json";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of a client.
enum Signer {
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap()))
    }

    fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Self::Rsa(pair) => {
                let key = pair.public_key();
                let n = key.modulus().big_endian_without_leading_zero();
                let e = key.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "kid": kid, "n": encode(n), "e": encode(e)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(pair.public_key())})
            }
        }
    }

    fn sign(&self, head: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signature = match self {
            Self::Ec(pair) => pair
                .sign(&SystemRandom::new(), message.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{message}.{}", encode(signature))
    }

    /// A good assertion, with members changed.
    fn assert(&self, w: &World, id: &str, changed: Value) -> String {
        let head = json!({"alg": self.algorithm(), "kid": "k1", "typ": "JWT"});
        self.sign(&head, &claims(w, id, changed))
    }
}

fn claims(w: &World, id: &str, changed: Value) -> Value {
    let now = w.clock.now().seconds();
    let jti = store::random_secret("").unwrap();
    let mut claims = json!({
        "iss": id, "sub": id, "aud": w.issuer(), "iat": now, "exp": now + 300, "jti": jti,
    });
    for (name, value) in changed.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims
}

async fn publish(w: &World, keys: Value) {
    let document = json!({
        "client_id": ID, "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": keys},
    });
    w.oauth.keep_document(ID, document).await;
}

async fn redeem(w: &World, code: &str, more: &[(&str, &str)]) -> crate::world::Answer {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    fields.extend_from_slice(more);
    w.form(&w.path("token"), &fields).await
}

fn by(assertion: &str) -> [(&str, &str); 2] {
    [("client_assertion_type", TYPE), ("client_assertion", assertion)]
}

#[tokio::test]
async fn a_client_with_a_key_gets_tokens_refreshes_introspects_and_revokes() {
    // It takes its time, in which instances would fall behind.
    let signers = [Signer::ec(), Signer::rsa(), Signer::ed()];
    on_each(async |w| {
        let browser = w.employee().await;
        for signer in &signers {
            publish(w, json!([{"kty": "odd"}, signer.jwk("k1")])).await;
            let code = w.code(&browser, ID).await;
            let assertion = signer.assert(w, ID, json!({"aud": format!("{}/token", w.issuer())}));
            let tokens = redeem(w, &code, &by(&assertion)).await.expect(200).json();
            let refresh = tokens["refresh_token"].as_str().unwrap();
            let assertion = signer.assert(w, ID, json!({"aud": [w.issuer()]}));
            let [kind, assertion] = by(&assertion);
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh),
                ("client_id", ID),
                kind,
                assertion,
            ];
            let tokens = w.form(&w.path("token"), &fields).await.expect(200).json();
            let access = tokens["access_token"].as_str().unwrap();
            let assertion = signer.assert(w, ID, json!({}));
            let [kind, assertion] = by(&assertion);
            let answer = w
                .form(&w.path("introspect"), &[("token", access), kind, assertion])
                .await;
            assert_eq!(answer.expect(200).json()["active"], true);
            let assertion = signer.assert(w, ID, json!({"aud": format!("{}/revoke", w.issuer())}));
            let [kind, assertion] = by(&assertion);
            w.form(&w.path("revoke"), &[("token", access), kind, assertion])
                .await
                .expect(200);
        }
        let metadata = w
            .get(&w.path(".well-known/oauth-authorization-server"))
            .await
            .json();
        let listed = |name: &str, value: &str| metadata[name].as_array().unwrap().iter().any(|v| v == value);
        for endpoint in ["token", "revocation", "introspection"] {
            assert!(listed(
                &format!("{endpoint}_endpoint_auth_methods_supported"),
                "private_key_jwt"
            ));
            let algorithms = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
            assert!(
                listed(&algorithms, "RS256") && !listed(&algorithms, "none") && !listed(&algorithms, "HS256")
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_assertion_that_is_wrong_in_any_way_spends_nothing() {
    on_each(async |w| {
        let browser = w.employee().await;
        let signer = Signer::ec();
        publish(w, json!([signer.jwk("k1")])).await;
        let code = w.code(&browser, ID).await;
        let now = w.clock.now().seconds();
        let other_app = format!("https://control.example.com/oauth/{}", w.other_app);
        let mut tried = Vec::new();
        for (changed, reason) in [
            (json!({"aud": other_app}), "assertion_audience"),
            (json!({"aud": [w.issuer(), other_app]}), "assertion_audience"),
            (json!({"aud": []}), "assertion_audience"),
            (
                json!({"aud": "https://control.example.com"}),
                "assertion_audience",
            ),
            (json!({"iss": "https://other.example/c"}), "assertion_claims"),
            (json!({"jti": null}), "assertion_claims"),
            (json!({"jti": ""}), "assertion_claims"),
            (json!({"exp": now - 61}), "assertion_time"),
            (json!({"exp": now + 86_400}), "assertion_time"),
            (json!({"nbf": now + 600}), "assertion_time"),
            (json!({"iat": now + 600}), "assertion_time"),
        ] {
            tried.push((signer.assert(w, ID, changed), reason));
        }
        let good = claims(w, ID, json!({}));
        let head = |changed: Value| {
            let mut head = json!({"alg": "ES256", "kid": "k1"});
            head.as_object_mut()
                .unwrap()
                .extend(changed.as_object().unwrap().clone());
            head
        };
        tried.push((Signer::ec().assert(w, ID, json!({})), "assertion_signature"));
        tried.push((
            signer.sign(&head(json!({"kid": "k2"})), &good),
            "assertion_key_unknown",
        ));
        tried.push((
            signer.sign(&head(json!({"alg": "RS256"})), &good),
            "assertion_key_unknown",
        ));
        tried.push((
            signer.sign(&head(json!({"jwk": signer.jwk("k1")})), &good),
            "assertion_malformed",
        ));
        tried.push((
            signer.sign(&head(json!({"jku": "https://evil.example/k"})), &good),
            "assertion_malformed",
        ));
        tried.push((
            signer.sign(&head(json!({"crit": ["b64"]})), &good),
            "assertion_malformed",
        ));
        tried.push((
            signer.sign(&head(json!({"alg": "none"})), &good),
            "assertion_malformed",
        ));
        let unsigned = format!(
            "{}.{}.",
            encode(head(json!({"alg": "none"})).to_string()),
            encode(good.to_string())
        );
        tried.push((unsigned, "assertion_malformed"));
        // The public key as the secret of an HMAC.
        let message = format!(
            "{}.{}",
            encode(head(json!({"alg": "HS256"})).to_string()),
            encode(good.to_string())
        );
        for secret in [signer.jwk("k1").to_string().into_bytes(), b"".to_vec()] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            let mac = hmac::sign(&key, message.as_bytes());
            tried.push((format!("{message}.{}", encode(mac)), "assertion_algorithm"));
        }
        for (assertion, reason) in &tried {
            redeem(w, &code, &by(assertion))
                .await
                .expect_error(401, "invalid_client");
            let event = w.events("token.refuse").await.pop().unwrap();
            assert!(
                w.events("token.refuse")
                    .await
                    .iter()
                    .any(|e| e.reason.as_deref() == Some(*reason)),
                "{reason}, not {event:?}"
            );
        }
        // Nothing at all, and two ways at once.
        redeem(w, &code, &[("client_id", ID)])
            .await
            .expect_error(401, "invalid_client");
        let assertion = signer.assert(w, ID, json!({}));
        let [kind, made] = by(&assertion);
        redeem(w, &code, &[kind])
            .await
            .expect_error(400, "invalid_request");
        redeem(w, &code, &[("client_assertion_type", "x"), made])
            .await
            .expect_error(400, "invalid_request");
        redeem(w, &code, &[kind, made, ("client_secret", "x")])
            .await
            .expect_error(400, "invalid_request");
        redeem(w, &code, &[kind, made, ("client_id", "other")])
            .await
            .expect_error(400, "invalid_request");
        // None of them spent the code, nor the assertion.
        redeem(w, &code, &by(&assertion)).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn an_assertion_is_good_once_at_whichever_instance() {
    on_each(async |w| {
        let browser = w.employee().await;
        let signer = Signer::ec();
        let other = w.beside().await;
        for w in [w, &other] {
            publish(w, json!([signer.jwk("k1")])).await;
        }
        let assertion = signer.assert(w, ID, json!({"jti": "once"}));
        let first = w.code(&browser, ID).await;
        redeem(w, &first, &by(&assertion)).await.expect(200);
        let second = w.code(&browser, ID).await;
        for w in [w, &other] {
            redeem(w, &second, &by(&assertion))
                .await
                .expect_error(401, "invalid_client");
            // Another one of that name is no other.
            let again = signer.assert(
                w,
                ID,
                json!({"jti": "once", "exp": w.clock.now().seconds() + 600}),
            );
            redeem(w, &second, &by(&again))
                .await
                .expect_error(401, "invalid_client");
        }
        assert!(
            w.events("token.refuse")
                .await
                .iter()
                .any(|e| e.reason.as_deref() == Some("assertion_replayed"))
        );
        redeem(&other, &second, &by(&signer.assert(w, ID, json!({}))))
            .await
            .expect(200);
        // Of twenty at once one is the first.
        let third = signer.assert(w, ID, json!({}));
        let mut good = 0;
        let fields = [("token", "x"), by(&third)[0], by(&third)[1]];
        let tries = (0..20).map(|n| {
            let w = if n % 2 == 0 { w } else { &other };
            let path = w.path("revoke");
            async move { w.form(&path, &fields).await.status.as_u16() }
        });
        for status in futures_util::future::join_all(tries).await {
            good += usize::from(status == 200);
        }
        assert_eq!(good, 1);
        // What is over is forgotten.
        w.advance(4000).await;
        store::retention::sweep(&w.store).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn keys_come_from_the_host_of_the_document_and_never_from_inside() {
    on_each(async |w| {
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside_uri = format!("https://{}/keys", inside.local_addr().unwrap());
        let browser = w.employee().await;
        let signer = Signer::ec();
        publish(w, json!([signer.jwk("k1")])).await;
        let code = w.code(&browser, ID).await;
        for (uri, reason) in [
            (inside_uri.as_str(), "keys_elsewhere"),
            ("https://169.254.169.254/keys", "keys_elsewhere"),
            ("https://evil.example/keys", "keys_elsewhere"),
            ("https://agent.example:8443/keys", "keys_elsewhere"),
            ("https://agent.example.evil.example/keys", "keys_elsewhere"),
            ("http://agent.example/keys", "keys_elsewhere"),
            // It is the right host, and cannot be reached.
            ("https://agent.example/keys", "not_reached"),
        ] {
            let document = json!({
                "client_id": ID, "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "private_key_jwt",
                "jwks_uri": uri,
            });
            w.oauth.keep_document(ID, document).await;
            let assertion = signer.assert(w, ID, json!({}));
            redeem(w, &code, &by(&assertion))
                .await
                .expect_error(401, "invalid_client");
            let refused = w.events("token.refuse").await;
            assert!(
                refused.iter().any(|e| e.reason.as_deref() == Some(reason)),
                "{uri}"
            );
            w.advance(61).await;
        }
        let visited = tokio::time::timeout(std::time::Duration::from_millis(200), inside.accept()).await;
        assert!(visited.is_err(), "somebody was sent inside");
    })
    .await;
}

#[tokio::test]
async fn new_keys_are_looked_for_but_not_as_often_as_somebody_makes_one_up() {
    on_each(async |w| {
        let (old, new) = (Signer::ec(), Signer::ec());
        let sets = [json!({"keys": [old.jwk("k1")]}), json!({"keys": [new.jwk("k2")]})];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let body = sets[n.min(1)].to_string();
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        });
        let policy = outbound::Policy {
            allow: vec![outbound::Allowed::parse(&origin).unwrap()],
            ..outbound::Policy::default()
        };
        let w = &w.reaching(outbound::Outbound::new(policy)).await;
        // One that an administrator entered, with keys that are fetched.
        let id = wire::ClientId::fresh();
        let new_client = store::client::NewClient {
            client_id: id.to_string(),
            id: id.clone(),
            name: "Entered".into(),
            verified_host: None,
            source: wire::ClientSource::Preregistered,
            tier: wire::ClientTier::Approved,
            state: wire::ClientState::Active,
            redirect_uris: vec![CALLBACK.into()],
            auth_method: "private_key_jwt".into(),
            secret_hash: None,
            registration_hash: None,
            metadata: json!({"jwks_uri": format!("{origin}/keys")}),
        };
        let mut tx = w.store.begin().await.unwrap();
        store::client::create(&mut tx, &w.org, (&w.account, &w.app), new_client).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let id = id.as_ref();
        let ask = async |signer: &Signer, kid: &str| {
            let head = json!({"alg": "ES256", "kid": kid});
            let assertion = signer.sign(&head, &claims(w, id, json!({})));
            let [kind, assertion] = by(&assertion);
            w.form(&w.path("revoke"), &[("token", "x"), kind, assertion]).await.status.as_u16()
        };
        let times = || asked.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(ask(&old, "k1").await, 200);
        assert_eq!((ask(&old, "k1").await, times()), (200, 1));
        // Somebody makes keys up.
        for n in 0..5 {
            assert_eq!(ask(&Signer::ec(), &format!("made-up-{n}")).await, 401);
        }
        assert_eq!(times(), 1);
        w.advance(61).await;
        assert_eq!((ask(&new, "k2").await, times()), (200, 2), "the next key");
        assert_eq!((ask(&old, "k1").await, times()), (401, 2), "the last one is gone");
    })
    .await;
}
