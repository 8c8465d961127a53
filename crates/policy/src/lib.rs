//! The decision engine: rules and facts in, an explained decision out.
//!
//! Pure: no IO, no clock, compiles to wasm. The gateway (every request), the authorization server
//! (consent and refresh) and the tester use the same [`Ruleset`].
//!
//! # Semantics
//! - Policies are tried in order; the first that matches decides; none means deny.
//! - A policy matches when any `include`, every `require` and no `exclude` matches.
//! - `allow` needs a signed-in person (perhaps through an agent), `service_auth` a service token;
//!   otherwise they are skipped. `bypass` needs nobody.
//! - Whatever would let a request through must also meet every selector of the organisation's floor.
//!
//! # What is not known
//! A fact that is absent or unproven always counts against the request: it does not match where a match
//! would help (`include` and `require` of a policy that lets through, `exclude` of a `deny`, the floor) and
//! matches where a match would hurt (`exclude` of a policy that lets through, `include` and `require` of a
//! `deny`). So `deny` of a person, put before a `bypass`, makes everybody sign in first.
//!
//! [`Ruleset::could_allow`] asks the weaker question that consent and refresh need: is there any request
//! that this person could make with this client? Address, scopes, request and moment are open there when absent.
//!
//! ```
//! use policy::{Facts, RequestFacts, Ruleset};
//! use wire::{Actor, PolicyDecision, PolicySpec, RuleRef, Selector};
//!
//! let health = PolicySpec {
//!     name: "Health check".into(),
//!     decision: PolicyDecision::Bypass,
//!     include: vec![Selector::Request { methods: vec!["GET".into()], path: Some("/health".into()) }],
//!     require: vec![],
//!     exclude: vec![],
//! };
//! let rule = RuleRef { id: "draft/0".into(), name: health.name.clone() };
//! let rules = Ruleset::compile(&[], &[(rule, health)], &[])?;
//! let facts = Facts { request: Some(RequestFacts::web("GET", "/health")), ..Facts::nobody(Actor::Browser) };
//! assert!(rules.decide(&facts).allowed);
//! # Ok::<(), policy::CompileError>(())
//! ```

mod facts;
pub mod path;
mod pattern;
mod relation;
mod review;
mod rule;
mod ruleset;
pub mod scope;
mod week;
mod words;

pub use facts::{AT_DESTINATION, ClientFacts, Facts, McpFacts, RequestFacts, UserFacts, amounts_to};
pub use pattern::{Case, lies_below};
pub use ruleset::{Explanation, Ruleset, Verdict, check_floor, check_group, check_policy};
pub use scope::ScopeSet;

use std::fmt;

/// A rule that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// JSON pointer (RFC 6901) to the offending value, from the root that the called function names.
    pub pointer: String,
    /// What is wrong with it, in a sentence.
    pub detail: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}

impl std::error::Error for CompileError {}

impl CompileError {
    fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}
