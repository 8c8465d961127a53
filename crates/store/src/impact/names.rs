//! The question that every surface asks ([`crate::access`]), asked about somebody who holds something or could come,
//! and its answer as text.

use crate::access::{Access, AccessRequest, Principal, Proof};
use crate::directory::AppView;
use crate::user::Person;
use wire::{Client, Decision, GrantId, ImpactName, Reason, Timestamp};

/// Whether the person, perhaps through an agent, may go on at the app with what they hold.
pub(super) fn judge(
    app: Option<&AppView>,
    person: Option<(&Person, Proof<'_>)>,
    agent: Option<Option<&Client>>,
    now: Timestamp,
) -> Decision {
    let Some(app) = app else {
        return Access::refused(Reason::Disabled).to_decision();
    };
    let Some((person, proof)) = person else {
        return Access::refused(Reason::CredentialInvalid).to_decision();
    };
    let principal = match agent {
        None => Principal::Person(person, proof),
        Some(Some(client)) => Principal::Agent {
            person,
            proof,
            client,
            scopes: None,
        },
        Some(None) => return Access::refused(Reason::ClientNotAccepted).to_decision(),
    };
    app.decide(&AccessRequest::to_go_on(principal, now)).to_decision()
}

/// Whether the person, if they signed in now, could enter the app.
pub(super) fn enter(app: &AppView, person: &Person, now: Timestamp) -> Decision {
    let principal = Principal::Person(person, Proof::ToCome);
    app.decide(&AccessRequest::to_begin(principal, now)).to_decision()
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
