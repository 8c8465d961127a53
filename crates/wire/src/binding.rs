//! Bindings: which connection signs people in to which account, and what of them the account sees.

use crate::{AccountId, BindingId, ConnectionId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether a binding leaves room for other connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BindingMode {
    /// Beside the account's other connections.
    #[default]
    Allowed,
    /// No other connection counts in this account, neither a shared one nor the account's own: not for new
    /// sign-ins, not for sessions and grants that are there, not for roles in the account.
    Exclusive,
}

/// Where a binding is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BindingState {
    /// Signs people in.
    Active,
    /// No new sign-ins; sessions and grants run on until `drain_until`.
    Draining,
    /// Nothing of it works.
    Detached,
}

/// A connection made available to one account. `/api/v1/bindings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Binding {
    /// Its identifier.
    pub id: BindingId,
    /// Which connection.
    pub connection: ConnectionId,
    /// In which account.
    pub account: AccountId,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: BindingSpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of a binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BindingSpec {
    /// Whether other connections may sign people in, too.
    #[serde(default = "allowed")]
    pub mode: BindingMode,
    /// Where it is in its life.
    #[serde(default = "active")]
    pub state: BindingState,
    /// When a draining binding becomes detached; at most a year ahead.
    #[serde(default)]
    pub drain_until: Option<Timestamp>,
    /// Names of the claims (`email`, `name`, `groups`) that the account gets to see, `null` for all: its apps,
    /// its policies and its administrators.
    #[serde(default)]
    pub claims: Option<Vec<String>>,
}

const fn allowed() -> BindingMode {
    BindingMode::Allowed
}

const fn active() -> BindingState {
    BindingState::Active
}

/// `POST /api/v1/bindings`: binds one connection to one or more accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewBindings {
    /// Which connection; it belongs to the organisation.
    pub connection: ConnectionId,
    /// In which accounts; `null` for all that there are.
    #[serde(default)]
    pub accounts: Option<Vec<AccountId>>,
    /// Whether accounts made later are bound, too, in the same way.
    #[serde(default)]
    pub future: bool,
    /// Whether other connections may sign people in, too.
    #[serde(default = "allowed")]
    pub mode: BindingMode,
    /// Names of the claims that the accounts get to see; `null` for all.
    #[serde(default)]
    pub claims: Option<Vec<String>>,
}

/// `PATCH /api/v1/bindings`: changes many bindings of one connection alike, in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BindingsChange {
    /// Which connection.
    pub connection: ConnectionId,
    /// In which accounts; `null` for all that it is bound to.
    #[serde(default)]
    pub accounts: Option<Vec<AccountId>>,
    /// What to change in each.
    pub spec: BindingPatch,
}

/// A merge patch of [`BindingSpec`]: what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BindingPatch {
    /// Whether other connections may sign people in, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BindingMode>,
    /// Where they are in their life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BindingState>,
    /// When they become detached, if `state` is `draining`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_until: Option<Timestamp>,
    /// Names of the claims that the accounts get to see; `null` for all.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub claims: Option<Option<Vec<String>>>,
}

/// Tells `null` from absent.
fn given<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

impl BindingPatch {
    /// The spec with the patch applied.
    #[must_use]
    pub fn apply(&self, spec: &BindingSpec) -> BindingSpec {
        let mut after = spec.clone();
        if let Some(mode) = self.mode {
            after.mode = mode;
        }
        if let Some(state) = self.state {
            after.state = state;
        }
        if self.drain_until.is_some() {
            after.drain_until = self.drain_until;
        }
        if let Some(claims) = &self.claims {
            after.claims.clone_from(claims);
        }
        after
    }
}
