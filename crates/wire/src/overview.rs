//! The numbers of the dashboard's first page.

use crate::{AppId, Connection, Timestamp};
use serde::{Deserialize, Serialize};

/// `GET /api/v1/overview`: the last 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Overview {
    /// Start of the time counted.
    pub since: Timestamp,
    /// Successful sign-ins.
    pub sign_ins: i64,
    /// Requests that the gateway let through.
    pub allowed: i64,
    /// Requests that it refused.
    pub denied: i64,
    /// Clients with a grant used in that time.
    pub active_agents: i64,
    /// Requests by hour, oldest first.
    pub by_hour: Vec<HourCount>,
    /// The apps with the most requests, at most five.
    pub top_apps: Vec<AppCount>,
    /// How the connections fare.
    pub connections: Vec<Connection>,
    /// What there is, for the checklist.
    pub totals: Totals,
}

/// One hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HourCount {
    /// Its start.
    pub hour: Timestamp,
    /// Let through.
    pub allowed: i64,
    /// Refused.
    pub denied: i64,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppCount {
    /// Which.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// Requests let through and refused.
    pub requests: i64,
}

/// What there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Accounts.
    pub accounts: i64,
    /// Connections, local password excepted.
    pub connections: i64,
    /// Bindings that are active.
    pub bindings: i64,
    /// Apps.
    pub apps: i64,
    /// Apps with Managed OAuth on.
    pub managed_oauth_apps: i64,
    /// Policies.
    pub policies: i64,
    /// People.
    pub users: i64,
    /// Grants in force.
    pub grants: i64,
}
