//! The refresh grant (RFC 6749 section 6), with rotation that does not fork ([`store::refresh`]).

use super::{Exchange, Ready, Refusal, why_over};
use crate::{answer::OauthError, audit};
use http::StatusCode;
use store::refresh::{Held, Standing};
use wire::Grant;

/// A refresh token that may be used.
pub(super) struct Found {
    held: Held,
    standing: Standing,
    pub(super) grant: Grant,
    /// What this access token is for: all scopes of the grant, or fewer.
    pub(super) scopes: Vec<String>,
}

pub(super) async fn find(exchange: &Exchange<'_>) -> Result<Found, Refusal> {
    let token = exchange.params.get("refresh_token");
    let token = token.ok_or_else(|| OauthError::invalid_request("refresh_token is missing"))?;
    let held = store::refresh::read(&exchange.oauth.store, token).await?;
    let held = held.ok_or_else(|| Refusal::grant("unknown_token"))?;
    let (grant, standing) = examine(exchange, &held).await?;
    let scopes = narrow(exchange.params.get("scope"), &grant.scopes)?;
    Ok(Found {
        held,
        standing,
        grant,
        scopes,
    })
}

/// The grant of a token, if it is this client's, in force, and the token is good for a successor. Whoever shows one
/// that was used long ago ends the grant.
async fn examine(exchange: &Exchange<'_>, held: &Held) -> Result<(Grant, Standing), Refusal> {
    let store = &exchange.oauth.store;
    let now = store.clock().now();
    let rotation = store::refresh::rotation(store, &held.grant, now).await?;
    // The row of a grant that ended long ago is gone.
    let rotation = rotation.ok_or_else(|| Refusal::grant("unknown_token"))?;
    if rotation.grant.client != exchange.client.client.id {
        return Err(Refusal::grant("other_client"));
    }
    let standing = rotation.standing(held, now);
    let grant = rotation.grant;
    if let Some(reason) = why_over(&grant) {
        return Err(Refusal::grant(reason).about(&grant.id));
    }
    match standing {
        Standing::Current | Standing::Repeated => Ok((grant, standing)),
        Standing::Replayed => Err(exchange.revoke(&grant.id, "refresh_replayed").await),
        Standing::Ahead => Err(exchange.revoke(&grant.id, "refresh_ahead").await),
    }
}

/// Uses the token up and makes its successor; when somebody was faster, it is theirs.
pub(super) async fn spend(exchange: &Exchange<'_>, found: &Found, ready: &Ready) -> Result<String, Refusal> {
    let (store, grant) = (&exchange.oauth.store, &ready.grant);
    let successor = found.held.successor(store.vault());
    let actor = audit::agent_of(&exchange.client.client, &ready.person, grant);
    let mut event = audit::event(exchange.view, exchange.request, "token.refresh", actor);
    audit::decided(&mut event, &ready.decision);
    if found.standing == Standing::Current {
        let mut tx = store.begin().await?;
        if store::refresh::rotate(&mut tx, &found.held).await? {
            store::client::note_use(&mut tx, &exchange.client.client, &grant.user).await?;
            tx.commit(event).await?;
            return Ok(successor);
        }
        drop(tx);
        if examine(exchange, &found.held).await?.1 != Standing::Repeated {
            return Err(OauthError::unavailable().into());
        }
    }
    // Nothing changes but that one more has it.
    store.record(event).await?;
    Ok(successor)
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
}
