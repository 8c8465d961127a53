//! The person behind a grant, as the access decision asks about them.

use store::access::{AccessRequest, Principal, Proof};
use store::{AppView, user::Person};
use wire::{Client, Decision, Grant, Timestamp};

/// Whether what a grant allows may go on, whatever requests follow: asked at redemption, at each refresh and when
/// somebody introspects its tokens. A refusal is final; a permission says that some request could be allowed.
pub(crate) fn may_go_on(
    view: &AppView,
    (person, grant): (&Person, &Grant),
    client: &Client,
    now: Timestamp,
) -> Decision {
    let client = Client {
        tier: client.tier_at(grant.redirect_uri.as_deref()),
        ..client.clone()
    };
    let principal = Principal::Agent {
        person,
        proof: Proof::Of(&grant.authentication),
        client: &client,
        scopes: None,
    };
    view.decide(&AccessRequest::to_go_on(principal, now))
        .to_decision()
}
