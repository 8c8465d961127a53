//! The token of a consent page: it stands for one page that was shown, and is good for one answer.

use super::{Ready, Scene};
use store::Tx;
use wire::Timestamp;

/// How long a page may be looked at, in seconds.
const LIFE: i64 = 3600;

/// A page that was shown, and is being answered.
pub(super) struct Form {
    /// When it was shown, in seconds, and what tells it from other pages.
    stamp: String,
    expires_at: Timestamp,
}

/// A token for the page that is about to be shown.
pub(super) fn token(scene: &Scene<'_>, ready: &Ready) -> store::Result<String> {
    let store = &scene.oauth.store;
    let nonce = store::random_secret("")?;
    let stamp = format!("{}.{nonce}", store.clock().now().seconds());
    let mac = ready.who.csrf(store, &purpose(scene, ready, &stamp));
    Ok(format!("{stamp}.{mac}"))
}

/// The page that an answer belongs to, if its token is one of ours, for this question, and not too old.
pub(super) fn read(scene: &Scene<'_>, ready: &Ready) -> Option<Form> {
    let store = &scene.oauth.store;
    let (stamp, mac) = scene.params.get("csrf")?.rsplit_once('.')?;
    if !ready.who.csrf_ok(store, &purpose(scene, ready, stamp), mac) {
        return None;
    }
    let shown_at = stamp.split('.').next()?.parse().ok()?;
    let expires_at = Timestamp::from_seconds(shown_at).plus_seconds(LIFE);
    (store.clock().now() < expires_at).then(|| Form {
        stamp: stamp.to_owned(),
        expires_at,
    })
}

impl Form {
    /// Uses it up, together with what the answer does; `false` if it was before.
    pub(super) async fn spend(&self, tx: &mut Tx) -> store::Result<bool> {
        store::form::spend(tx, &store::sha256(&self.stamp), self.expires_at).await
    }
}

/// What the token stands for: this page, this person, this client as it is now, and every parameter that
/// matters. Change one, and the token is worthless.
fn purpose(scene: &Scene<'_>, ready: &Ready, stamp: &str) -> String {
    let (client, view) = (&ready.client, scene.view);
    let scopes = ready.wants.scopes.join(" ");
    let redirects = client.redirect_uris.join(" ");
    let tier = format!("{:?}", client.tier);
    let parts = [
        stamp,
        view.app.id.as_ref(),
        ready.who.person.user.id.as_ref(),
        &client.client_id,
        &client.name,
        &redirects,
        &client.token_endpoint_auth_method,
        &tier,
        &ready.back.redirect_uri,
        ready.back.state.as_deref().unwrap_or_default(),
        &ready.wants.challenge,
        ready.wants.nonce.as_deref().unwrap_or_default(),
        &scopes,
        view.resource(),
    ];
    let mut text = String::new();
    for part in parts {
        text.push_str(&format!("{}:{part};", part.len()));
    }
    format!("consent {}", store::sha256(text))
}
