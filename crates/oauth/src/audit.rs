//! Events of this surface, with everything that an auditor asks about filled in.

use crate::context::Request;
use broker::SignedIn;
use store::{AppView, user::Person};
use wire::{
    ActorKind, AuditActor, AuditChange, AuditEvent, Client, ClientId, Decision, Grant, GrantId, Outcome,
    Reason, RuleRef,
};

/// An event about an app, caused by a request.
pub(crate) fn event(view: &AppView, request: &Request, action: &str, actor: AuditActor) -> AuditEvent {
    let mut event = store::audit::event(&view.org, "oauth", action, actor);
    let mut target = store::audit::target("app", &view.app.id, Some(&view.app.spec.name));
    target.app = Some(view.app.id.clone());
    event.account = Some(view.app.account.clone());
    event.target = Some(target);
    event.request = Some(request.0.clone());
    event
}

/// Makes the client the target.
pub(crate) fn about_client(event: &mut AuditEvent, client: &Client) {
    let mut target = store::audit::target("client", &client.id, Some(&client.name));
    target.app = Some(client.app.clone());
    event.target = Some(target);
}

/// The agent, on behalf of a person if one is known.
pub(crate) fn agent(client: &Client, person: Option<&Person>, grant: Option<&GrantId>) -> AuditActor {
    AuditActor {
        user: person.map(|p| p.user.id.clone()),
        email: person.and_then(|p| p.user.email.clone()),
        client: stored(client),
        client_name: Some(client.name.clone()),
        grant: grant.cloned(),
        ..AuditActor::of(ActorKind::Agent)
    }
}

/// The agent under a grant, on the proof of the session in which it was given.
pub(crate) fn agent_of(client: &Client, person: &Person, grant: &Grant) -> AuditActor {
    AuditActor {
        amr: grant.authentication.amr.clone(),
        ..agent(client, Some(person), Some(&grant.id))
    }
}

/// The person in a browser, deciding about a client.
pub(crate) fn person(who: &SignedIn, client: &Client) -> AuditActor {
    AuditActor {
        user: Some(who.person.user.id.clone()),
        email: who.person.user.email.clone(),
        amr: who.authentication.amr.clone(),
        client: stored(client),
        client_name: Some(client.name.clone()),
        session: Some(who.session.clone()),
        ..AuditActor::of(ActorKind::User)
    }
}

/// A client that nobody ever allowed has no identifier yet.
fn stored(client: &Client) -> Option<ClientId> {
    (client.version > 0).then(|| client.id.clone())
}

/// Nobody known, about a client.
pub(crate) fn anonymous(client: &Client) -> AuditActor {
    AuditActor {
        client: stored(client),
        client_name: Some(client.name.clone()),
        ..AuditActor::of(ActorKind::Anonymous)
    }
}

/// The event of a grant that ended.
pub(crate) fn grant_ended(
    view: &AppView,
    request: &Request,
    actor: AuditActor,
    (grant, reason): (&GrantId, &str),
) -> AuditEvent {
    let mut event = event(view, request, "grant.revoke", actor);
    let mut target = store::audit::target("grant", grant, None);
    target.app = Some(view.app.id.clone());
    event.target = Some(target);
    event.reason = Some(reason.to_owned());
    event
}

/// Puts a decision into an event; a refusal makes its outcome `denied`.
pub(crate) fn decided(event: &mut AuditEvent, decision: &Decision) {
    event.reason = Some(word(decision.reason));
    event.rule.clone_from(&decision.rule);
    if !decision.allowed {
        event.outcome = Outcome::Denied;
    }
}

/// Records that something was refused to somebody who may be anybody, however many come. That it fails changes nothing:
/// nothing was allowed.
pub(crate) async fn stranger(store: &store::Store, event: AuditEvent) {
    if let Err(error) = store.record_folded(event).await {
        tracing::error!(%error, source = ?error, "a refusal could not be recorded");
    }
}

/// Notes why something was refused.
pub(crate) fn refused(event: &mut AuditEvent, reason: String, rule: Option<RuleRef>) {
    event.outcome = Outcome::Denied;
    event.reason = Some(reason);
    event.rule = rule;
}

/// A reason's text form.
pub(crate) fn word(reason: Reason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

/// What a person was shown of the client that they decided about: who published its description, and who
/// receives what it gets.
pub(crate) fn shown(client: &Client, redirect_uri: &str) -> Option<AuditChange> {
    Some(AuditChange {
        before: serde_json::Value::Null,
        after: serde_json::json!({
            "client_id": client.client_id, "name": client.name, "tier": client.tier,
            "verified_host": client.verified_host, "redirect_uri": redirect_uri,
            "receiver_proven": client.proves_receiver(redirect_uri),
        }),
    })
}

/// What of a client the log shows: no secrets are in it.
pub(crate) fn change(before: Option<&Client>, after: Option<&Client>) -> Option<AuditChange> {
    let show = |client: Option<&Client>| {
        client.map_or(serde_json::Value::Null, |c| {
            serde_json::json!({
                "name": c.name, "redirect_uris": c.redirect_uris, "tier": c.tier, "state": c.state,
                "token_endpoint_auth_method": c.token_endpoint_auth_method,
            })
        })
    };
    Some(AuditChange {
        before: show(before),
        after: show(after),
    })
}
