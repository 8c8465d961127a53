//! The error body of the REST API (RFC 9457), the page of a list, the answer of a dry run.

use serde::{Deserialize, Serialize};

/// `application/problem+json`, RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable URI reference, such as `/problems/not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same short sentence for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The id to quote to an operator; the log line carries the same.
    pub request_id: String,
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body, or `?name` for a query parameter.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items, in the list's stable order.
    pub items: Vec<T>,
    /// Opaque cursor of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a write with `?dry_run=true` answers: what would be, and nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preview {
    /// The body that the write would answer; for a deletion, what would be gone. Without credentials.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub resource: serde_json::Value,
    /// What the log would say, change by change; empty when nothing would change.
    pub changes: Vec<PreviewChange>,
    /// Who would gain, keep and lose access; absent where the write decides about nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<crate::Impact>,
}

/// One change that a write would make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewChange {
    /// The action of its audit event.
    pub action: String,
    /// What it would happen to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<crate::AuditTarget>,
    /// From what to what: only the fields that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<crate::AuditChange>,
}
