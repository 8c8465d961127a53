//! Bindings: which connection signs people in to which account, and what of them the account sees.

use crate::{AccountId, BindingId, ConnectionId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether a binding leaves room for other connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BindingMode {
    /// Beside the account's other connections.
    Allowed,
    /// No other connection signs anybody in to this account.
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
    /// When a draining binding becomes detached.
    #[serde(default)]
    pub drain_until: Option<Timestamp>,
    /// Names of the claims (`email`, `name`, `groups`) that the account's apps get to see; `null` for all.
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
    /// Whether other connections may sign people in, too.
    #[serde(default = "allowed")]
    pub mode: BindingMode,
}
