//! The authorization code grant (RFC 6749 section 4.1.3, RFC 7636 section 4.6).
//!
//! A code is redeemed once. It is looked at first: wrong client, redirect URI or verifier leave it as it
//! is, so that only whoever could have redeemed it can spend it, or revoke what it yielded by a replay.

use super::{Exchange, Ready, Refusal};
use crate::{answer::OauthError, audit};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use wire::{Grant, GrantId};

/// A code that may be redeemed.
pub(super) struct Found {
    hash: String,
    pub(super) grant: Grant,
    /// What the client wants to find in the ID token.
    pub(super) nonce: Option<String>,
}

pub(super) async fn find(exchange: &Exchange<'_>) -> Result<Found, Refusal> {
    let params = exchange.params;
    let code = params
        .get("code")
        .ok_or_else(|| OauthError::invalid_request("code is missing"))?;
    let hash = store::sha256(code);
    let store = &exchange.oauth.store;
    let found = store::grant::code(store, &hash).await?;
    let code = found.ok_or_else(|| Refusal::grant("unknown_code"))?;
    if code.client != exchange.client.client.id {
        return Err(Refusal::grant("other_client"));
    }
    if params.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
        return Err(Refusal::grant("redirect_mismatch").about(&code.grant));
    }
    let verifier = params.get("code_verifier").unwrap_or_default();
    if !proves(verifier, &code.challenge) {
        return Err(Refusal::grant("verifier_mismatch").about(&code.grant));
    }
    if code.resource != exchange.view.resource() {
        return Err(Refusal::grant("other_resource").about(&code.grant));
    }
    if code.redeemed_at.is_some() {
        return Err(replayed(exchange, &code.grant).await);
    }
    if code.expires_at <= store.clock().now() {
        return Err(Refusal::grant("code_expired").about(&code.grant));
    }
    let grant = exchange.grant_in_force(&code.grant).await?;
    Ok(Found {
        hash,
        grant,
        nonce: code.nonce,
    })
}

/// Redeems the code: the grant comes to life with its first refresh token.
pub(super) async fn spend(exchange: &Exchange<'_>, found: &Found, ready: &Ready) -> Result<String, Refusal> {
    let grant = &ready.grant;
    let mut tx = exchange.oauth.store.begin().await?;
    if !store::grant::redeem(&mut tx, &found.hash).await? {
        drop(tx);
        // Somebody was faster, or the last second passed.
        let code = store::grant::code(&exchange.oauth.store, &found.hash).await?;
        return Err(match code {
            Some(code) if code.redeemed_at.is_some() => replayed(exchange, &code.grant).await,
            _ => Refusal::grant("code_expired").about(&grant.id),
        });
    }
    let first = store::refresh::begin(&mut tx, &grant.id).await?;
    // Revoked, or over, since it was looked at.
    let refresh_token = first.ok_or_else(|| Refusal::grant("grant_revoked").about(&grant.id))?;
    store::client::note_use(&mut tx, &exchange.client.client, &grant.user).await?;
    let actor = audit::agent_of(&exchange.client.client, &ready.person, grant);
    let mut event = audit::event(exchange.view, exchange.request, "token.issue", actor);
    audit::decided(&mut event, &ready.decision);
    tx.commit(event).await?;
    Ok(refresh_token)
}

async fn replayed(exchange: &Exchange<'_>, grant: &GrantId) -> Refusal {
    exchange.revoke(grant, "code_replayed").await
}

/// Whether the verifier is the one of an S256 challenge, in constant time.
fn proves(verifier: &str, challenge: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(plain)
        && verify_slices_are_equal(store::sha256(verifier).as_bytes(), challenge.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::proves;

    #[test]
    fn cd3_only_the_verifier_of_the_challenge_proves() {
        // RFC 7636 appendix B.
        let (verifier, challenge) = (
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        );
        assert!(proves(verifier, challenge));
        assert!(!proves("", challenge));
        assert!(!proves(challenge, challenge));
        assert!(!proves(&verifier[1..], challenge));
        assert!(!proves("", ""));
    }
}
