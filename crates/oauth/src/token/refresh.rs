//! The refresh grant (RFC 6749 section 6), with rotation that does not fork ([`store::refresh`]).

use super::{Exchange, Ready, Refusal, why_over};
use crate::scope::{self, NoneIsThere};
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
    let scopes = narrow(exchange.params.get("scope"), &grant.scopes, |name| {
        exchange.view.has_scope(name)
    })?;
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
    let standing = rotation.standing(held, now, exchange.view.app.spec.oauth.rotation_seconds);
    let grant = rotation.grant;
    if let Some(reason) = why_over(&grant) {
        return Err(Refusal::grant(reason).about(&grant.id));
    }
    match standing {
        Standing::Current | Standing::Repeated => Ok((grant, standing)),
        Standing::Late => Err(exchange.revoke(&grant.id, "refresh_late").await),
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

/// The scopes that are asked for, if all of them that are there were granted; all that were granted when none is named.
/// `is_there` says whether the app has a scope.
fn narrow(
    asked: Option<&str>,
    granted: &[String],
    is_there: impl Fn(&str) -> bool,
) -> Result<Vec<String>, OauthError> {
    let refused = |description| OauthError::new(StatusCode::BAD_REQUEST, "invalid_scope", description);
    let was_granted = |name: &str| granted.iter().any(|scope| scope == name);
    let known = scope::known(asked, |name| was_granted(name) || is_there(name));
    let known = known.map_err(|NoneIsThere| refused("the app has none of these scopes"))?;
    if !known.iter().all(|name| was_granted(name)) {
        return Err(refused("a scope was not granted"));
    }
    Ok(if known.is_empty() {
        granted.to_vec()
    } else {
        known.into_iter().map(ToOwned::to_owned).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_can_be_narrowed_and_never_widened() {
        let granted = ["read".to_owned(), "write".to_owned()];
        let narrow = |asked| narrow(asked, &granted, |name| name == "admin").map_err(|error| error.code);
        assert_eq!(narrow(None).unwrap(), granted);
        assert_eq!(narrow(Some("read read")).unwrap(), ["read"]);
        assert_eq!(narrow(Some("read  offline_access gone")).unwrap(), ["read"]);
        assert_eq!(narrow(Some("openid offline_access")).unwrap(), granted);
        assert_eq!(narrow(Some("read admin")), Err("invalid_scope"));
        assert_eq!(narrow(Some("admin")), Err("invalid_scope"));
        assert_eq!(narrow(Some("gone")), Err("invalid_scope"));
    }
}
