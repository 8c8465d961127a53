//! Webhooks: the audit log, pushed, in the form of the Standard Webhooks specification.

use crate::{AccountId, EventId, Timestamp, WebhookDeliveryId, WebhookId};
use serde::{Deserialize, Serialize};

/// Where events are sent. `/api/v1/webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Webhook {
    /// Its identifier.
    pub id: WebhookId,
    /// The account whose events it gets; absent for all of the organisation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: WebhookSpec,
    /// Until then deliveries are signed with the secret before the last rotation, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_valid_until: Option<Timestamp>,
    /// Why the server disabled it: `gone` (the receiver said 410) or `failing` (nothing arrived for days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Since when nothing arrives; absent when the last attempt succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When something arrived last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// The writable part of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WebhookSpec {
    /// Unique in the organisation.
    pub name: String,
    /// Receives a `POST` for each event; https.
    pub url: String,
    /// What is sent: actions of the audit log, prefixes that end in `.`, or `*` for all but `gateway.*`.
    pub events: Vec<String>,
    /// Whether `url` may lead to an internal address, also by http. Only the organisation's administrators
    /// can say so.
    #[serde(default)]
    pub allow_internal: bool,
    /// A disabled one gets nothing; it begins anew when it is enabled.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

/// `POST /api/v1/webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewWebhook {
    /// The account whose events it gets; absent for all of the organisation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The rest.
    #[serde(flatten)]
    pub spec: WebhookSpec,
}

/// The answer to making a webhook or rotating its secret: the only time that the secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookWithSecret {
    /// The record.
    #[serde(flatten)]
    pub record: Webhook,
    /// The signing secret, `whsec_…`. Empty in a dry run.
    pub secret: String,
}

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits for its first attempt, or for the next.
    Pending,
    /// The receiver answered with 2xx.
    Succeeded,
    /// The receiver said that it wants no more (410).
    Failed,
    /// All attempts failed.
    Exhausted,
}

/// One event on its way to one webhook. `/api/v1/webhooks/{id}/deliveries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookDelivery {
    /// Its identifier.
    pub id: WebhookDeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// The event; also the `webhook-id` header, the same at each attempt and replay.
    pub event: EventId,
    /// The event's action; `type` in the body.
    #[serde(rename = "type")]
    pub action: String,
    /// Where it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<Timestamp>,
    /// The HTTP status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the last attempt took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u32>,
    /// Why the last attempt got no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A delivery with what was sent and what came back. `GET /api/v1/webhooks/{id}/deliveries/{delivery}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookDeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: WebhookDelivery,
    /// The body, as it is signed and sent.
    pub request_body: String,
    /// The beginning of what the receiver answered last, cleaned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_excerpt: Option<String>,
}
