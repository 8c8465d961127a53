//! Public hosts: whose place in the web is whose.

use crate::{AccountId, AppId, HostId, Timestamp};
use serde::{Deserialize, Serialize};

/// A name or address under which apps are published, without port; on loopback addresses with it.
/// `/api/v1/hosts`.
///
/// Pages of one host see each other's cookies whatever their port and scheme, so a host belongs to one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Host {
    /// Its identifier.
    pub id: HostId,
    /// The host in its canonical spelling: lower case, IDNs in Punycode, IPv6 in brackets, no dot at the end.
    pub name: String,
    /// The account that it belongs to; absent when the caller may not see that account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Other accounts that may publish under it, as far as the caller may see them.
    pub shared_with: Vec<AccountId>,
    /// The apps that lie there, as far as the caller may see them.
    pub apps: Vec<HostApp>,
    /// When it was taken.
    pub created_at: Timestamp,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

impl Host {
    /// Whether apps lie there that the host is not for.
    #[must_use]
    pub fn has_conflict(&self) -> bool {
        self.apps.iter().any(|app| app.conflict)
    }
}

/// What an administrator of the organisation may change about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    /// The account that it belongs to.
    pub account: AccountId,
    /// Other accounts that may publish under it. Their pages and those of the owner are then one place to
    /// browsers: each can read and set the other's cookies.
    #[serde(default)]
    pub shared_with: Vec<AccountId>,
}

/// `POST /api/v1/hosts`: keeps a host for an account before anything is published there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewHost {
    /// The host, without scheme and path.
    pub name: String,
    /// The rest.
    #[serde(flatten)]
    pub spec: HostSpec,
}

/// An app under a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostApp {
    /// The app.
    pub id: AppId,
    /// Its account.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub public_url: String,
    /// Whether it lies there although the host is not its account's, because it was there before that was
    /// asked. It works as before; move it, or share the host.
    pub conflict: bool,
}
