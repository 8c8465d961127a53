//! Whether a person may use an app through an agent: asked at consent, at redemption and at each refresh.

use policy::{ClientFacts, Facts};
use store::{AppView, user::Person};
use wire::{Actor, Client, Decision, Reason, Timestamp};

/// The whole question, in the order that every surface asks it: app, person and connection, then the
/// client, then the policies. A refusal is final; a permission says that some request could be allowed.
pub(crate) fn decide(view: &AppView, person: &Person, client: &Client, now: Timestamp) -> Decision {
    let refused = |reason| Decision {
        allowed: false,
        reason,
        rule: None,
    };
    if let Some(reason) = view.refuses(&person.user.connection, person.user.disabled, now) {
        return refused(reason);
    }
    if !view.accepts(client) {
        return refused(Reason::ClientNotAccepted);
    }
    let seen = view.sees(person);
    let facts = Facts {
        user: Some(seen.facts()),
        client: Some(ClientFacts {
            id: &client.id,
            client_id: &client.client_id,
            verified_host: client.verified_host.as_deref(),
            tier: client.tier,
        }),
        ..Facts::nobody(Actor::Agent)
    };
    view.rules.could_allow(&facts).to_decision()
}
