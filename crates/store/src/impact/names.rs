//! The question that every surface asks, asked about somebody who holds something, and its answer as text.

use crate::directory::AppView;
use crate::user::Person;
use policy::{ClientFacts, Facts};
use wire::{Actor, Client, Decision, GrantId, ImpactName, Reason, Timestamp};

/// Whether the person, perhaps through an agent, may go on at the app: in the order of enforcement.
pub(super) fn judge(
    app: Option<&AppView>,
    person: Option<&Person>,
    agent: Option<Option<&Client>>,
    now: Timestamp,
) -> Decision {
    let refused = |reason| Decision {
        allowed: false,
        reason,
        rule: None,
    };
    let Some(app) = app else {
        return refused(Reason::Disabled);
    };
    let Some(person) = person else {
        return refused(Reason::CredentialInvalid);
    };
    if let Some(reason) = app.refuses(&person.user.connection, person.user.disabled, now) {
        return refused(reason);
    }
    let client = match agent {
        None => None,
        Some(_) if !app.app.spec.managed_oauth => return refused(Reason::ManagedOauthOff),
        Some(Some(client)) if app.accepts(client) => Some(client),
        Some(_) => return refused(Reason::ClientNotAccepted),
    };
    let seen = app.sees(person);
    let facts = Facts {
        user: Some(seen.facts()),
        client: client.map(|client| ClientFacts {
            id: &client.id,
            client_id: &client.client_id,
            verified_host: client.verified_host.as_deref(),
            tier: client.tier,
        }),
        ..Facts::nobody(if client.is_some() {
            Actor::Agent
        } else {
            Actor::Browser
        })
    };
    app.rules.could_allow(&facts).to_decision()
}

/// One of those whom a change concerns, as the app's account sees them: whoever tries a change may have roles in
/// that account only.
pub(super) fn name(
    person: &Person,
    agent: Option<(&GrantId, Option<&Client>)>,
    app: &AppView,
    decision: Decision,
) -> ImpactName {
    let seen = app.sees(person);
    let user = &seen.user;
    let bound = app.connections.iter().find(|c| c.id == user.connection);
    let client = agent.and_then(|(_, client)| client);
    ImpactName {
        user: user.id.clone(),
        name: user.name.clone(),
        email: user.email.clone(),
        client: client.map(|c| c.id.clone()),
        client_name: client.map(|c| c.name.clone()),
        grant: agent.map(|(grant, _)| grant.clone()),
        account: app.account.id.clone(),
        app: app.app.id.clone(),
        until: bound.and_then(|c| c.until).filter(|_| decision.allowed),
        reason: decision.reason,
        rule: decision.rule,
    }
}
