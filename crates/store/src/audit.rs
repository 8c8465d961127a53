//! The audit log: one way to append, durable before anything is allowed, chained per organisation.
//!
//! Each event's `hash` is SHA-256 over the hash before it and the event's body, base64url; what origins answered is
//! chained the same way. The head of both carries a MAC ([`Seal`]), and digests of it are kept elsewhere
//! ([`Digest`]): so [`verify`] notices what somebody changed who can write the database. Events come from two sides: a transaction that changes something carries its own ([`crate::Tx::commit`]), and
//! decisions that change nothing go through [`crate::Store::record`], where many requests share one
//! commit (group commit).

mod append;
mod copy;
mod digest;
mod jump;
mod query;
mod seal;
mod verify;
mod writer;

pub(crate) use append::append;
pub use append::chain;
pub use copy::verify_copy;
pub use digest::{Digest, DigestFile, Digests, PublicKey};
pub use jump::Jump;
pub(crate) use jump::{RESTORED, Seen, dealt_with, given_out, holds, leap, seen};
pub use query::{ANSWERED_WITHIN, Filter, Order, get, list};
pub(crate) use query::{is_final, read};
pub(crate) use seal::{Head, Seal, reseal_head, seal_heads};
pub use verify::{Break, Verified, verify};
pub use writer::Unanswered;
pub(crate) use writer::{Entry, write_loop};

use wire::{AuditActor, AuditEvent, AuditTarget, EventId, OrgId, Outcome, Timestamp};

/// An event that is not yet in the log: identity is given, position and time come with the append.
#[must_use]
pub fn event(org: &OrgId, source: &str, action: &str, actor: AuditActor) -> AuditEvent {
    AuditEvent {
        id: EventId::fresh(),
        seq: 0,
        time: Timestamp::default(),
        org: org.clone(),
        account: None,
        actor,
        action: action.to_owned(),
        target: None,
        outcome: Outcome::Success,
        reason: None,
        rule: None,
        request: None,
        mcp: None,
        change: None,
        impact: None,
        source: source.to_owned(),
        response: None,
        outcome_unknown: false,
        repeated: None,
    }
}

/// The action of a request at the gateway, the only one that an origin answers.
pub const GATEWAY_REQUEST: &str = "gateway.request";

/// The target of an event.
#[must_use]
pub fn target(kind: &str, id: &impl wire::Id, name: Option<&str>) -> AuditTarget {
    AuditTarget {
        kind: kind.to_owned(),
        id: id.to_string(),
        name: name.map(ToOwned::to_owned),
        app: None,
        user: None,
    }
}
