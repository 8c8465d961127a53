//! What the broker writes into the audit log.

use crate::browser::network_place;
use crate::budget::Act;
use crate::{Broker, SignedIn, Visit};
use store::audit::target;
use wire::{
    AccountId, ActorKind, AuditActor, AuditEvent, AuditRequest, AuditTarget, Authentication, Connection,
    OrgId, Outcome, Reason, SessionId, User,
};

/// An event about a request of a browser.
pub(crate) fn event(visit: &Visit, org: &OrgId, action: &str, actor: AuditActor) -> AuditEvent {
    AuditEvent {
        request: Some(visit.request.clone()),
        ..store::audit::event(org, "broker", action, actor)
    }
}

/// A person who is signed in by `session`.
pub(crate) fn person(user: &User, session: &SessionId) -> AuditActor {
    AuditActor {
        user: Some(user.id.clone()),
        email: user.email.clone(),
        session: Some(session.clone()),
        ..AuditActor::of(ActorKind::User)
    }
}

/// A person by the proof of a session.
pub(crate) fn proven(user: &User, session: &SessionId, authentication: &Authentication) -> AuditActor {
    AuditActor {
        amr: authentication.amr.clone(),
        ..person(user, session)
    }
}

/// Somebody who is signed in.
pub(crate) fn by(who: &SignedIn) -> AuditActor {
    proven(&who.person.user, &who.session, &who.authentication)
}

/// A connection.
pub(crate) fn connection(connection: &Connection) -> AuditTarget {
    target("connection", &connection.id, Some(&connection.spec.name))
}

/// The stable text of a reason.
pub(crate) fn reason(reason: Reason) -> Option<String> {
    let value = serde_json::to_value(reason).ok()?;
    value.as_str().map(ToOwned::to_owned)
}

/// A sign-in that came to nothing.
pub(crate) struct Failed<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) account: Option<&'a AccountId>,
    pub(crate) target: Option<AuditTarget>,
    pub(crate) reason: &'static str,
}

impl Failed<'_> {
    /// The event, `login.failure`.
    pub(crate) fn event(self, visit: &Visit) -> AuditEvent {
        let actor = AuditActor::of(ActorKind::Anonymous);
        metrics::counter!("chatelaine_sign_ins_total", "outcome" => self.reason).increment(1);
        AuditEvent {
            account: self.account.cloned(),
            target: self.target,
            outcome: Outcome::Failure,
            reason: Some(self.reason.to_owned()),
            ..event(visit, self.org, "login.failure", actor)
        }
    }
}

/// Writes a refusal down; many of one kind as one with their count. It is one whether or not this succeeds.
pub(crate) async fn record_refusal(visit: &Visit, event: AuditEvent) {
    // What somebody did who is known is told one by one; strangers are counted.
    let recorded = match event.actor.user {
        Some(_) => visit.store().record(event).await,
        None => visit.store().record_folded(event).await,
    };
    if let Err(error) = recorded {
        tracing::error!(request = %visit.request.id, %error, source = ?error, "a refusal could not be recorded");
    }
}

/// What somebody tried who may be anybody: a link that leads nowhere, a form of somebody else's page, junk.
pub(crate) struct Stray {
    pub(crate) action: &'static str,
    pub(crate) reason: &'static str,
    /// Whose log it belongs in, where that is known, and what it is about.
    pub(crate) at: Option<(OrgId, Option<AccountId>, Option<AuditTarget>)>,
}

impl Stray {
    /// Writes it down as nobody's, however many come as one with their count. Where no organisation can be told, it goes
    /// to the only one there is; with several it is told by the metric and, within bounds, by the server's log.
    pub(crate) async fn record(self, broker: &Broker, request: &AuditRequest) {
        let Self { action, reason, at } = self;
        metrics::counter!("chatelaine_strays_total", "action" => action, "reason" => reason).increment(1);
        let store = broker.store();
        let at = match at {
            Some(at) => Ok(Some(at)),
            None => store::org::only(store)
                .await
                .map(|only| only.map(|org| (org, None, None))),
        };
        let recorded = match at {
            Ok(Some((org, account, target))) => {
                let actor = AuditActor::of(ActorKind::Anonymous);
                let event = AuditEvent {
                    account,
                    target,
                    outcome: Outcome::Denied,
                    reason: Some(reason.to_owned()),
                    request: Some(request.clone()),
                    ..store::audit::event(&org, "broker", action, actor)
                };
                store.record_folded(event).await
            }
            Ok(None) => {
                let (by, now) = (network_place(request), store.clock().now());
                if broker.budgets().spend(Act::Stray, &by, now) {
                    tracing::warn!(request = %request.id, action, reason, "a stranger was turned away");
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::error!(request = %request.id, %error, source = ?error, "a refusal could not be recorded");
        }
    }
}
