//! What all tests share: servers on free ports, a browser, and a stand-in for the gateway that signs assertions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::routing::get;
use axum::{Json, Router};
use demo::{Clock, assertion};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A listener on a free port, and its origin.
pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    (listener, origin)
}

/// A client that keeps cookies and follows no redirect.
pub(crate) fn browser() -> reqwest::Client {
    #[expect(clippy::disallowed_methods, reason = "a test plays the browser")]
    reqwest::Client::builder()
        .no_proxy()
        .cookie_store(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Signs assertions and serves the keys for them.
pub(crate) struct Gateway {
    pub(crate) config: assertion::Config,
    pub(crate) fetches: Arc<AtomicUsize>,
    key: EncodingKey,
    _stop: DropGuard,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let key = ec_key();
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        public.common.key_id = Some("k1".into());
        let document = json!({ "keys": [public, { "kty": "future", "kid": "unheard of" }] });
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = fetches.clone();
        let router = Router::new().route(
            "/jwks",
            get(move || async move {
                counted.fetch_add(1, Ordering::Relaxed);
                Json(document)
            }),
        );
        let (listener, origin) = listen().await;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        let config = assertion::Config {
            jwks_url: format!("{origin}/jwks"),
            audience: "https://wiki.example/".into(),
            issuer: Some("https://gateway.example".into()),
            clock: Clock::default(),
        };
        Self {
            config,
            fetches,
            key,
            _stop: stop.drop_guard(),
        }
    }

    /// The claims of a good assertion about Ada, through an agent.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": "https://gateway.example",
            "aud": "https://wiki.example/",
            "sub": "ada",
            "email": "ada@acme.example",
            "act": { "sub": "https://agent.example/client" },
            "groups": ["engineering"],
            "exp": self.config.clock.now() + 60,
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some("k1"), claims)
    }

    pub(crate) fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

pub(crate) fn ec_key() -> EncodingKey {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    EncodingKey::from_ec_der(pkcs8.as_ref())
}
