//! Service tokens: two-part credentials with which machines come to apps, without a person.

use crate::{AccountId, AppId, ServiceTokenId, Timestamp};
use serde::{Deserialize, Serialize};

/// Request header that carries a service token's identifier.
pub const SERVICE_TOKEN_ID_HEADER: &str = "chatelaine-client-id";
/// Request header that carries its secret.
pub const SERVICE_TOKEN_SECRET_HEADER: &str = "chatelaine-client-secret";

/// A machine's credential for the apps of one account. `/api/v1/service-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceToken {
    /// Its identifier; sent as `Chatelaine-Client-Id`.
    pub id: ServiceTokenId,
    /// Whose.
    pub account: AccountId,
    /// What an administrator may change.
    #[serde(flatten)]
    pub spec: ServiceTokenSpec,
    /// The secret's first characters, to recognise it.
    pub secret_prefix: String,
    /// When the secret was made: at creation or at the last rotation.
    pub rotated_at: Timestamp,
    /// Until then the secret before the last rotation is good, too; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_valid_until: Option<Timestamp>,
    /// Last use, to within a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_ip: Option<String>,
    /// At which app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_app: Option<AppId>,
    /// What somebody should look at.
    pub warnings: Vec<ServiceTokenWarning>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes, rotations included, but not uses; also the `ETag`.
    pub version: i64,
}

/// The writable part of a service token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceTokenSpec {
    /// Unique in the account.
    pub name: String,
    /// When it ends; `null` for never.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// A disabled one is as good as none.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

/// What somebody should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ServiceTokenWarning {
    /// It ends within 30 days.
    ExpiresSoon,
    /// It has ended.
    Expired,
    /// It never ends.
    NeverExpires,
}

/// `POST /api/v1/service-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewServiceToken {
    /// For whose apps.
    pub account: AccountId,
    /// Unique in the account.
    pub name: String,
    /// When it ends: in a year if absent, never only if it is `null`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Timestamp>, required = false))]
    pub expires_at: Option<Option<Timestamp>>,
    /// A disabled one is as good as none.
    #[serde(default = "crate::yes")]
    pub enabled: bool,
}

/// Tells `null` from absent.
fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    Option::<Timestamp>::deserialize(d).map(Some)
}

/// `POST /api/v1/service-tokens/{id}/rotate`, and the same for webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how long the secret of until now stays good, 0 to 604800 (7 days); a day if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 604_800))]
    pub overlap_seconds: Option<u32>,
}

/// The answer to making or rotating a service token: the only time that the secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceTokenWithSecret {
    /// The record.
    #[serde(flatten)]
    pub record: ServiceToken,
    /// The secret, `chs_…`; sent as `Chatelaine-Client-Secret`. Empty in a dry run.
    pub client_secret: String,
}
