//! The refresh grant (RFC 6749 section 6), with rotation that does not fork.
//!
//! The successor of a refresh token is derived from it, not drawn: `HMAC(key, token | grant)`. So several
//! requests with one token, which clients do make when they start in parallel or lose an answer, get one
//! and the same successor, without anything secret being stored. After [`ROTATION_WINDOW`] a second use
//! can only be a copy, and ends the grant.

use super::{Exchange, Ready, Refusal};
use crate::{Oauth, answer::OauthError, audit};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use store::grant::{ROTATION_WINDOW, Refresh};
use wire::{Grant, GrantId, Timestamp};

/// A refresh token that may be used.
pub(super) struct Found {
    token: String,
    hash: String,
    stored: Refresh,
    pub(super) grant: Grant,
    /// What this access token is for: all scopes of the refresh token, or fewer.
    pub(super) scopes: Vec<String>,
}

pub(super) async fn find(exchange: &Exchange<'_>) -> Result<Found, Refusal> {
    let token = exchange.params.get("refresh_token");
    let token = token.ok_or_else(|| OauthError::invalid_request("refresh_token is missing"))?;
    let hash = store::sha256(token);
    let store = &exchange.oauth.store;
    let stored = store::grant::refresh_token(store, &hash).await?;
    let stored = stored.ok_or_else(|| Refusal::grant("unknown_token"))?;
    if stored.client != exchange.client.client.id {
        return Err(Refusal::grant("other_client"));
    }
    let grant = exchange.grant_in_force(&stored.grant).await?;
    let now = store.clock().now();
    if stored.expires_at <= now {
        return Err(Refusal::grant("token_expired").about(&grant.id));
    }
    if is_reuse(stored.used_at, now) {
        return Err(exchange.revoke(&grant.id, "refresh_replayed").await);
    }
    let scopes = narrow(exchange.params.get("scope"), &stored.scopes)?;
    Ok(Found {
        token: token.to_owned(),
        hash,
        stored,
        grant,
        scopes,
    })
}

/// Uses the token up and makes its successor; when somebody was faster, it is theirs.
pub(super) async fn spend(exchange: &Exchange<'_>, found: &Found, ready: &Ready) -> Result<String, Refusal> {
    let grant = &ready.grant;
    let successor = successor(exchange.oauth, &found.token, &grant.id);
    let mut tx = exchange.oauth.store.begin().await?;
    let first = store::grant::use_refresh_token(&mut tx, &found.hash).await?;
    if first {
        let next = Refresh {
            used_at: None,
            ..found.stored.clone()
        };
        store::grant::add_refresh_token(&mut tx, &store::sha256(&successor), &next).await?;
    } else {
        let now = tx.now();
        let stored = store::grant::refresh_token(&mut tx, &found.hash).await?;
        if stored.is_none_or(|stored| is_reuse(stored.used_at, now)) {
            drop(tx);
            return Err(exchange.revoke(&grant.id, "refresh_replayed").await);
        }
    }
    store::grant::note_use(&mut tx, &grant.id).await?;
    store::client::note_use(&mut tx, &grant.client, &grant.user).await?;
    let actor = audit::agent_of(&exchange.client.client, &ready.person, grant);
    let mut event = audit::event(exchange.view, exchange.request, "token.refresh", actor);
    audit::decided(&mut event, &ready.decision);
    tx.commit(event).await?;
    Ok(successor)
}

fn successor(oauth: &Oauth, token: &str, grant: &GrantId) -> String {
    let key = oauth.store.vault().mac_key("refresh");
    let tag = hmac::sign(&key, format!("{token}|{grant}").as_bytes());
    URL_SAFE_NO_PAD.encode(tag)
}

/// Whether a token that was used at `used_at` is beyond the window in which its successor is repeated.
fn is_reuse(used_at: Option<Timestamp>, now: Timestamp) -> bool {
    used_at.is_some_and(|used_at| now >= used_at.plus_seconds(ROTATION_WINDOW))
}

/// The scopes that are asked for, if all of them were granted; all that were granted when none is named.
fn narrow(asked: Option<&str>, granted: &[String]) -> Result<Vec<String>, OauthError> {
    let mut scopes: Vec<String> = Vec::new();
    for name in asked
        .unwrap_or_default()
        .split(' ')
        .filter(|name| !name.is_empty())
    {
        if !granted.iter().any(|scope| scope == name) {
            return Err(OauthError::new(
                StatusCode::BAD_REQUEST,
                "invalid_scope",
                "a scope was not granted",
            ));
        }
        if !scopes.iter().any(|earlier| earlier == name) {
            scopes.push(name.to_owned());
        }
    }
    if scopes.is_empty() {
        scopes.extend_from_slice(granted);
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_can_be_narrowed_and_never_widened() {
        let granted = ["read".to_owned(), "write".to_owned()];
        assert_eq!(narrow(None, &granted).unwrap(), granted);
        assert_eq!(narrow(Some("read read"), &granted).unwrap(), ["read"]);
        assert_eq!(
            narrow(Some("read admin"), &granted).unwrap_err().code,
            "invalid_scope"
        );
    }

    #[test]
    fn a_used_token_is_good_for_its_successor_until_the_window_ends() {
        let used = Timestamp::from_seconds(1000);
        assert!(!is_reuse(None, used));
        assert!(!is_reuse(Some(used), used.plus_seconds(ROTATION_WINDOW - 1)));
        assert!(is_reuse(Some(used), used.plus_seconds(ROTATION_WINDOW)));
    }
}
