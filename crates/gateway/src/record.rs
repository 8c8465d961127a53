//! What the log says about a request.

use crate::credential::{By, Known};
use crate::mcp;
use crate::reach::Refused;
use crate::ruling::Ruling;
use crate::site::Site;
use wire::{ActorKind, AuditActor, AuditChange, AuditEvent, AuditRequest, Outcome, Reason};

/// The events of one request: one, or one per tool when it calls several.
pub(crate) fn events(
    site: &Site,
    known: Option<&Known>,
    ruling: &Ruling,
    request: AuditRequest,
    asked: Option<mcp::Asked>,
) -> Vec<AuditEvent> {
    let view = &site.view;
    let mut event = store::audit::event(&view.org, "gateway", store::audit::GATEWAY_REQUEST, actor(known));
    event.account = Some(view.account.id.clone());
    let mut target = store::audit::target("app", &view.app.id, Some(&view.app.spec.name));
    target.app = Some(view.app.id.clone());
    event.target = Some(target);
    event.outcome = if ruling.allowed {
        Outcome::Allowed
    } else {
        Outcome::Denied
    };
    event.reason = Some(ruling.detail.unwrap_or(code(ruling.reason)).to_owned());
    event.rule.clone_from(&ruling.rule);
    event.request = Some(request);
    event.change = ruling.page.as_ref().map(|origin| AuditChange {
        before: serde_json::Value::Null,
        after: serde_json::json!({ "origin": origin }),
    });
    let mut messages = asked
        .map(|asked| asked.calls.into_iter().chain(asked.others))
        .into_iter()
        .flatten();
    event.mcp = messages.next();
    let mut events = vec![event];
    for message in messages {
        let mut next = events[0].clone();
        next.id = wire::EventId::fresh();
        next.mcp = Some(message);
        events.push(next);
    }
    events
}

/// That an app's origin was not connected to.
pub(crate) fn origin_refused(site: &Site, why: Refused) -> AuditEvent {
    let view = &site.view;
    let actor = AuditActor::of(ActorKind::System);
    let mut event = store::audit::event(&view.org, "gateway", "app.origin_refused", actor);
    event.account = Some(view.account.id.clone());
    let mut target = store::audit::target("app", &view.app.id, Some(&view.app.spec.name));
    target.app = Some(view.app.id.clone());
    event.target = Some(target);
    event.outcome = Outcome::Denied;
    event.reason = Some(why.code().to_owned());
    if let Refused::Special(address) = why {
        event.change = Some(AuditChange {
            before: serde_json::Value::Null,
            after: serde_json::json!({ "origin_url": view.app.spec.origin_url, "address": address }),
        });
    }
    event
}

/// Who acted.
pub(crate) fn actor(known: Option<&Known>) -> AuditActor {
    let Some(known) = known else {
        return AuditActor::of(ActorKind::Anonymous);
    };
    let mut actor = AuditActor::of(known.actor().into());
    if let Some(person) = known.person() {
        actor.user = Some(person.user.id.clone());
        actor.email.clone_from(&person.user.email);
    }
    match &known.by {
        By::Browser(_, session) => {
            actor.session = Some(session.id.clone());
            actor.amr.clone_from(&session.authentication.amr);
        }
        By::Service(service) => {
            actor.service_token = Some(service.id.clone());
            actor.service_token_name = Some(service.name.clone());
        }
        By::Agent(_, agent) => {
            actor.client = Some(agent.client.id.clone());
            actor.client_name = Some(agent.client.name.clone());
            actor.grant = Some(agent.grant.clone());
            actor.amr.clone_from(&agent.authentication.amr);
            actor.scopes.clone_from(&agent.scopes);
        }
    }
    actor
}

/// The reason as the API writes it.
pub(crate) const fn code(reason: Reason) -> &'static str {
    match reason {
        Reason::PolicyAllowed => "policy_allowed",
        Reason::PolicyDenied => "policy_denied",
        Reason::NoPolicyMatched => "no_policy_matched",
        Reason::OrganisationFloor => "organisation_floor",
        Reason::ServiceAuthenticated => "service_authenticated",
        Reason::Bypassed => "bypassed",
        Reason::ConnectionNotBound => "connection_not_bound",
        Reason::UserDisabled => "user_disabled",
        Reason::Disabled => "disabled",
        Reason::ClientNotAccepted => "client_not_accepted",
        Reason::InsufficientScope => "insufficient_scope",
        Reason::Unauthenticated => "unauthenticated",
        Reason::CredentialInvalid => "credential_invalid",
        Reason::ManagedOauthOff => "managed_oauth_off",
        Reason::AmbiguousPath => "ambiguous_path",
        Reason::ProofTooOld => "proof_too_old",
        Reason::SecondFactorMissing => "second_factor_missing",
    }
}

/// The reason in words for whoever is refused. What rule it was stays in the log.
pub(crate) const fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::PolicyDenied | Reason::NoPolicyMatched => "The rules of this app do not let you do this.",
        Reason::OrganisationFloor => "A rule of the organisation does not let you do this.",
        Reason::ConnectionNotBound => "The way you signed in is not accepted by this app any more.",
        Reason::UserDisabled => "Your access has been switched off.",
        Reason::Disabled => "This app is switched off.",
        Reason::ClientNotAccepted => "This app does not accept the agent.",
        Reason::InsufficientScope => "The agent was not given the right to do this.",
        Reason::ProofTooOld => "You have not signed in for too long. Sign in again.",
        Reason::SecondFactorMissing => "Your organisation asks for a second factor. Sign in again with one.",
        Reason::AmbiguousPath => "The path of the request can be read in more than one way.",
        _ => "Access is refused.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_codes_are_those_of_the_api() {
        for reason in [
            Reason::PolicyAllowed,
            Reason::PolicyDenied,
            Reason::NoPolicyMatched,
            Reason::OrganisationFloor,
            Reason::ServiceAuthenticated,
            Reason::Bypassed,
            Reason::ConnectionNotBound,
            Reason::UserDisabled,
            Reason::Disabled,
            Reason::ClientNotAccepted,
            Reason::InsufficientScope,
            Reason::Unauthenticated,
            Reason::CredentialInvalid,
            Reason::ManagedOauthOff,
            Reason::AmbiguousPath,
            Reason::ProofTooOld,
            Reason::SecondFactorMissing,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), code(reason));
        }
    }
}
