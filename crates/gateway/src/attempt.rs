//! A browser's attempts to sign in at an app: one cookie each, so that two tabs do not disturb each other.
//!
//! The cookie's name ends in the digest of its state, its value is the state and where the tab wanted to go. A
//! target that is too long for a cookie waits in the store under the digest of the state. Of one app a browser holds
//! [`MOST`] at once: with a new one, the oldest go.

use crate::answer::{redirect, set_cookie};
use crate::headers::{cookie, cookies};
use crate::own;
use crate::site::Site;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use policy::path::local_target;
use store::{Store, Tx, deep_link};

/// Attempts of one browser at one app: tabs. All their cookies together fit into a header line of 8 kB.
const MOST: usize = 20;
/// The longest target that a cookie holds.
const SHORT: usize = 150;
/// Letters of a state's digest in the name of its cookie.
const TAG: usize = 12;

/// The digest of a state: stored in place of it.
pub(crate) fn digest(state: &str) -> String {
    store::sha256(state)
}

fn name(site: &Site, digest: &str) -> String {
    format!("{}_{}", site.state_cookie, &digest[..TAG])
}

/// The app's home, which is where everybody goes whose target is unknown.
fn home(site: &Site) -> &str {
    if site.view.path.is_empty() {
        "/"
    } else {
        &site.view.path
    }
}

/// `text`, if it leads to a page of the app.
fn target<'t>(site: &Site, text: &'t str) -> Option<&'t str> {
    local_target(text).filter(|text| {
        let below = text.strip_prefix(site.view.path.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            && !text.starts_with(own::PREFIX)
    })
}

/// 302 to the control plane's sign-in, with a state that the browser keeps.
///
/// # Errors
/// When the system has no randomness, or the store does not answer.
pub(crate) async fn begin(
    store: &Store,
    site: &Site,
    parts: &Parts,
    ip: Option<&str>,
) -> store::Result<Response<Body>> {
    let state = store::random_secret("")?;
    let digest = digest(&state);
    let asked = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    let wanted = asked.filter(|_| reads).and_then(|asked| target(site, asked));
    let wanted = wanted.unwrap_or_else(|| home(site));
    let value = if wanted.len() <= SHORT {
        format!("{state}.{}", URL_SAFE_NO_PAD.encode(wanted))
    } else {
        let mut tx = store.begin().await?;
        if deep_link::keep(&mut tx, &digest, wanted, ip).await? {
            tx.commit_housekeeping().await?;
        }
        state.clone()
    };
    let mut response = redirect(StatusCode::FOUND, &format!("{}?state={state}", site.sign_in))?;
    let headers = response.headers_mut();
    for old in too_many(site, parts) {
        headers.append(SET_COOKIE, set_cookie(site, &old, "", 0)?);
    }
    let life = u32::try_from(deep_link::LIFE).unwrap_or_default();
    let cookie = set_cookie(site, &name(site, &digest), &value, life)?;
    headers.append(SET_COOKIE, cookie);
    Ok(response)
}

/// The cookies of attempts that a new one displaces: browsers send the oldest first (RFC 6265, section 5.4).
fn too_many(site: &Site, parts: &Parts) -> Vec<String> {
    let prefix = format!("{}_", site.state_cookie);
    let is_tag = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        text.len() == TAG && text.bytes().all(plain)
    };
    let held = cookies(&parts.headers).map(|(name, _)| name);
    let mut held: Vec<_> = held
        .filter(|name| name.strip_prefix(&prefix).is_some_and(is_tag))
        .map(ToOwned::to_owned)
        .collect();
    held.truncate((held.len() + 1).saturating_sub(MOST));
    held
}

/// An attempt that came back in the browser that began it.
pub(crate) struct Attempt {
    pub(crate) digest: String,
    /// Where it wanted to go, as its cookie says.
    told: Option<String>,
}

impl Attempt {
    /// The attempt of this browser with this state, if it has one.
    pub(crate) fn find(site: &Site, parts: &Parts, state: &str) -> Option<Self> {
        let digest = digest(state);
        let value = cookie(&parts.headers, &name(site, &digest))?;
        let (kept, told) = match value.split_once('.') {
            Some((kept, told)) => (kept, Some(told)),
            None => (value, None),
        };
        // Comparing digests tells nothing about the secret by how long it takes.
        if kept.is_empty() || self::digest(kept) != digest {
            return None;
        }
        let told = told.and_then(|told| URL_SAFE_NO_PAD.decode(told).ok());
        Some(Self {
            digest,
            told: told.and_then(|told| String::from_utf8(told).ok()),
        })
    }

    /// Where to go now: judged anew, because a cookie holds what somebody put there.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn target(&self, tx: &mut Tx, site: &Site) -> store::Result<String> {
        let wanted = match &self.told {
            Some(told) => Some(told.clone()),
            None => deep_link::take(tx, &self.digest).await?,
        };
        let wanted = wanted.as_deref().and_then(|wanted| target(site, wanted));
        Ok(wanted.unwrap_or_else(|| home(site)).to_owned())
    }

    /// The name of its cookie.
    pub(crate) fn cookie(&self, site: &Site) -> String {
        name(site, &self.digest)
    }
}
