//! The CSRF tokens of our forms. Those of somebody who is signed in hang on their session. Everybody else's browser gets a
//! secret in a cookie, and the form an HMAC over it (a signed double-submit cookie): strangers who look at a page cost no
//! row and no write.

use crate::cookie;
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::Store;

/// Letters of a secret: 256 bits in base64url.
const LENGTH: usize = 43;

fn cookie_name(control_url: &str) -> &'static str {
    if control_url.starts_with("https:") {
        "__Host-chatelaine_form"
    } else {
        "chatelaine_form"
    }
}

/// What the forms of a browser hang on in which nobody is signed in yet.
#[derive(Debug, Clone)]
pub(crate) struct FormSecret(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: String,
    /// Whether the browser has it already.
    is_kept: bool,
    /// Whether a form was made with it.
    is_used: AtomicBool,
}

impl FormSecret {
    /// The one that the browser shows, or a new one.
    pub(crate) fn of(headers: &HeaderMap, control_url: &str) -> store::Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let shown = cookie::one(headers, cookie_name(control_url));
        let shown = shown.filter(|secret| secret.len() == LENGTH && secret.bytes().all(plain));
        let secret = match shown {
            Some(secret) => secret.to_owned(),
            None => store::random_secret("")?,
        };
        Ok(Self(Arc::new(Inner {
            secret,
            is_kept: shown.is_some(),
            is_used: AtomicBool::new(false),
        })))
    }

    /// No session is called so: whoever chooses their own secret learns nobody's token.
    fn subject(&self) -> String {
        format!("form:{}", self.0.secret)
    }

    /// The token for a form of one purpose; the browser is to keep the secret from then on.
    pub(crate) fn token(&self, store: &Store, purpose: &str) -> String {
        self.0.is_used.store(true, Ordering::Relaxed);
        token(store, &self.subject(), purpose)
    }

    /// Whether `shown` is the one of [`FormSecret::token`], compared in constant time.
    pub(crate) fn fits(&self, store: &Store, purpose: &str, shown: &str) -> bool {
        self.0.is_kept && fits(store, &self.subject(), purpose, shown)
    }

    /// What this browser is told from others by, in what is sealed for it; the browser is to keep the secret from then on.
    pub(crate) fn holder(&self) -> String {
        self.0.is_used.store(true, Ordering::Relaxed);
        store::sha256(&self.0.secret)
    }

    /// The cookie to set, if the browser has to learn the secret.
    pub(crate) fn cookie(&self, control_url: &str) -> Option<HeaderValue> {
        let is_new = !self.0.is_kept && self.0.is_used.load(Ordering::Relaxed);
        is_new
            .then(|| cookie::set(control_url, (cookie_name(control_url), &self.0.secret), None))
            .flatten()
    }
}

fn text(secret: &str, purpose: &str) -> String {
    format!("{secret}|{purpose}")
}

/// The token of what hangs on a secret, or on a session.
pub(crate) fn token(store: &Store, secret: &str, purpose: &str) -> String {
    let key = store.vault().mac_key("csrf");
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, text(secret, purpose).as_bytes()))
}

/// Whether `shown` is the one of [`token`], compared in constant time.
pub(crate) fn fits(store: &Store, secret: &str, purpose: &str, shown: &str) -> bool {
    let Ok(tag) = URL_SAFE_NO_PAD.decode(shown) else {
        return false;
    };
    store
        .vault()
        .mac_fits("csrf", text(secret, purpose).as_bytes(), &tag)
}
