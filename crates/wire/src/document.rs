//! Client ID Metadata Documents that an organisation decided about.

use crate::{DocumentId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an organisation decided about the agent of a document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DocumentDecision {
    /// It is what the document here says, whatever is published.
    #[default]
    Pin,
    /// It is not let in, whatever it says.
    Refuse,
}

/// A decision about the metadata document of an agent, for all apps of the organisation. It goes before what is
/// published and before the catalogue. `/api/v1/agent-documents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentDocument {
    /// Its identifier.
    pub id: DocumentId,
    /// The address of the document, which the agent sends as `client_id`.
    pub client_id: String,
    /// What was decided.
    #[serde(flatten)]
    pub spec: AgentDocumentSpec,
    /// When it was fetched from there; absent for one that was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<Timestamp>,
    /// When it was decided first.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// What is decided about the agent of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgentDocumentSpec {
    /// What is decided.
    #[serde(default)]
    pub decision: DocumentDecision,
    /// The document, a JSON object. Without one, what is published is fetched now and pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
}

/// `POST /api/v1/agent-documents`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewAgentDocument {
    /// The address of the document, which the agent sends as `client_id`: https, with a path.
    pub client_id: String,
    /// The rest.
    #[serde(flatten)]
    pub spec: AgentDocumentSpec,
}
