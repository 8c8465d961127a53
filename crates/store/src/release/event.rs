//! What an event says about people. What is not known to be harmless is withheld, so that an event of a kind that is
//! new tells too little and never too much.

use super::{Personal, Shown, View};
use serde_json::Value;
use wire::{AccountId, AuditActor, AuditChange, AuditEvent, AuditTarget, UserId};

/// Kinds of targets that are no person and say nothing about one: name and change are what their resource shows.
const THINGS: [&str; 16] = [
    "account",
    "api_token",
    "app",
    "audit_event",
    "binding",
    "client",
    "connection",
    "connection_migration",
    "group",
    "host",
    "organisation",
    "policy",
    "role_mapping",
    "service_token",
    "signing_key",
    "webhook",
];

/// Kinds that belong to a person, but are called by an app or an agent.
const HELD: [&str; 2] = ["grant", "session"];

/// Members of a change that are no claim of anybody and cannot be taken for one, where the target is no thing. What
/// somebody searched the log for is not among them.
const PLAIN: [&str; 33] = [
    "accepted_at",
    "accepted_by",
    "account",
    "app",
    "app_name",
    "client",
    "client_name",
    "created_at",
    "created_by",
    "days",
    "delivery",
    "disabled",
    "event",
    "expires_at",
    "format",
    "from",
    "grant",
    "id",
    "last_used_at",
    "local",
    "member",
    "order",
    "outcome",
    "revoked_at",
    "revoked_reason",
    "role",
    "scopes",
    "sent_at",
    "session",
    "state",
    "to",
    "user",
    "version",
];

impl Personal for AuditEvent {
    fn people(&self) -> Vec<UserId> {
        self.actor.user.iter().cloned().chain(subject(self)).collect()
    }

    fn withhold(&mut self, view: &View<'_>) {
        let about = subject(self);
        // Every member is named: one that is new does not compile before somebody thought of what it tells.
        let Self {
            account,
            actor,
            action,
            target,
            change,
            id: _,
            seq: _,
            time: _,
            org: _,
            outcome: _,
            reason: _,
            rule: _,
            request: _,
            mcp: _,
            impact: _,
            source: _,
            response: _,
            outcome_unknown: _,
            repeated: _,
        } = self;
        let account = account.as_ref();
        let about = view.at(account, about.as_ref());
        let acted = withhold_actor(actor, account, view);
        let kind = target.as_ref().map_or("", |target| target.kind.as_str());
        let is_thing = THINGS.contains(&kind);
        let named = match kind {
            // Which of the two it is called by is not written down.
            "user" | "member" => about.email && about.name,
            "invitation" => {
                let accepted = action != "invitation.accept" || acted.email;
                accepted && view.sees_addresses(account)
            }
            kind => is_thing || HELD.contains(&kind),
        };
        if let Some(AuditTarget {
            name,
            kind: _,
            id: _,
            app: _,
            user: _,
        }) = target
        {
            name.take_if(|_| !named);
        }
        if let Some(AuditChange { before, after }) = change.as_mut().filter(|_| !is_thing) {
            withhold(before, about, named);
            withhold(after, about, named);
        }
        if let Some(AuditChange { before, after }) = change {
            forget_others(before, view);
            forget_others(after, view);
        }
    }
}

/// Takes away what is not let out of who acted, and says what of them is.
fn withhold_actor(actor: &mut AuditActor, account: Option<&AccountId>, view: &View<'_>) -> Shown {
    let AuditActor {
        user,
        email,
        kind: _,
        client: _,
        client_name: _,
        grant: _,
        amr: _,
        session: _,
        token: _,
        token_name: _,
        token_account: _,
        service_token: _,
        service_token_name: _,
        scopes: _,
    } = actor;
    let shown = view.at(account, user.as_ref());
    email.take_if(|_| !shown.email);
    shown
}

/// The person whom an event is about, if it says so.
fn subject(event: &AuditEvent) -> Option<UserId> {
    if let Some(target) = &event.target {
        if target.kind == "user" {
            return target.id.parse().ok();
        }
        if target.user.is_some() {
            return target.user.clone();
        }
    }
    let change = event.change.as_ref()?;
    let user = |side: &Value| side.get("user")?.as_str()?.parse().ok();
    user(&change.after).or_else(|| user(&change.before))
}

/// Takes away of one side of a change what is not let out; `named` says whether the target's name is.
fn withhold(side: &mut Value, shown: Shown, named: bool) {
    match side {
        Value::Object(members) => members.retain(|name, value| match name.as_str() {
            "user_email" => shown.email,
            "user_name" => shown.name,
            "email" => named || shown.email,
            name => PLAIN.contains(&name) && !value.is_object(),
        }),
        Value::Null => {}
        other => *other = Value::Null,
    }
}

/// Takes accounts out of one side of a change that do not exist for the reader: such as those that a host was moved to
/// or is shared with.
fn forget_others(side: &mut Value, view: &View<'_>) {
    let is_other = |value: &Value| value.as_str().is_some_and(|text| view.is_other(text));
    match side {
        Value::Object(members) => {
            members.retain(|name, value| !view.is_other(name) && !is_other(value));
            members.values_mut().for_each(|value| forget_others(value, view));
        }
        Value::Array(items) => {
            items.retain(|item| !is_other(item));
            items.iter_mut().for_each(|item| forget_others(item, view));
        }
        one if is_other(one) => *one = Value::Null,
        _ => {}
    }
}
