//! What an event says about people. What is not known to be harmless is withheld, so that an event of a kind that is
//! new tells too little and never too much.

use super::{Personal, Shown, View};
use serde_json::Value;
use wire::{AuditEvent, UserId};

/// Kinds of targets that are no person and say nothing about one: name and change are what their resource shows.
const THINGS: [&str; 15] = [
    "account",
    "api_token",
    "app",
    "audit_event",
    "binding",
    "client",
    "connection",
    "connection_migration",
    "group",
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
        let account = self.account.as_ref();
        let actor = view.at(account, self.actor.user.as_ref());
        let about = view.at(account, subject(self).as_ref());
        if !actor.email {
            self.actor.email = None;
        }
        let kind = self.target.as_ref().map_or("", |target| target.kind.as_str());
        let is_thing = THINGS.contains(&kind);
        let named = match kind {
            // Which of the two it is called by is not written down.
            "user" | "member" => about.email && about.name,
            "invitation" => {
                let accepted = self.action != "invitation.accept" || actor.email;
                accepted && view.sees_addresses(account)
            }
            kind => is_thing || HELD.contains(&kind),
        };
        if let Some(target) = self.target.as_mut().filter(|_| !named) {
            target.name = None;
        }
        if let Some(change) = self.change.as_mut().filter(|_| !is_thing) {
            for side in [&mut change.before, &mut change.after] {
                withhold(side, about, named);
            }
        }
    }
}

/// The person whom an event is about, if it says so.
fn subject(event: &AuditEvent) -> Option<UserId> {
    let target = event.target.as_ref().filter(|target| target.kind == "user");
    if let Some(target) = target {
        return target.id.parse().ok();
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
