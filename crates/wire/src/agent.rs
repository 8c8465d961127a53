//! Agents: OAuth clients and the grants that people gave them.

use crate::{AccountId, AppId, Authentication, ClientId, ClientTier, GrantId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// How a client came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientSource {
    /// Registered itself (RFC 7591).
    Dynamic,
    /// A Client ID Metadata Document.
    MetadataDocument,
    /// An administrator entered it.
    Preregistered,
}

/// Whether a client may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientState {
    /// May be used.
    Active,
    /// Waits for an administrator.
    Pending,
    /// Refused; its grants are revoked.
    Blocked,
}

/// An OAuth client of one app. `/api/v1/clients`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Client {
    /// Our identifier.
    pub id: ClientId,
    /// What the client sends as `client_id`: our identifier, or the URL of its metadata document.
    pub client_id: String,
    /// The app that it registered for.
    pub app: AppId,
    /// The account of that app.
    pub account: AccountId,
    /// The name that it gave itself: cleaned, bounded, never proof of anything.
    pub name: String,
    /// The host that published its metadata document, with its port unless that is the usual one. It proves who
    /// described the client; who receives its codes is another question, see `receiver_proven`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_host: Option<String>,
    /// Whether all its redirect URIs are of that host, so that whoever described it receives its codes.
    #[serde(default)]
    pub receiver_proven: bool,
    /// How it came to be known.
    pub source: ClientSource,
    /// How far it is trusted; unless it is approved, each grant is trusted as far as its own redirect URI allows.
    pub tier: ClientTier,
    /// Whether it may be used.
    pub state: ClientState,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`.
    pub token_endpoint_auth_method: String,
    /// Where the keys are with which it signs (`private_key_jwt`), of one that was entered; others' documents say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// What an administrator approved last; where it says something else than the client does now, the client
    /// changed since, and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ClientApproval>,
    /// Who consented to it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_user: Option<UserId>,
    /// When it registered.
    pub created_at: Timestamp,
    /// When a token was last issued to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// Grants that are in force.
    pub live_grants: i64,
    /// Counts changes; also the `ETag`.
    pub version: i64,
}

/// What an approval of a client holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientApproval {
    /// The name that it gave itself.
    pub name: String,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub token_endpoint_auth_method: String,
}

impl Client {
    /// Whether a code that goes there reaches whoever published the client's document: only at https at the
    /// document's own host can nobody else wait for it.
    #[must_use]
    pub fn proves_receiver(&self, redirect_uri: &str) -> bool {
        ClientTier::earned(self.verified_host.as_deref(), redirect_uri) == ClientTier::DomainVerified
    }

    /// How far the client is trusted when its codes go to `redirect_uri`; if that is not known, as far as it is
    /// wherever they go.
    #[must_use]
    pub fn tier_at(&self, redirect_uri: Option<&str>) -> ClientTier {
        let host = self.verified_host.as_deref();
        match (self.tier, redirect_uri) {
            (ClientTier::Approved, _) => ClientTier::Approved,
            (_, Some(uri)) => ClientTier::earned(host, uri),
            (_, None) => ClientTier::earned_by_all(host, &self.redirect_uris),
        }
    }

    /// What an approval would hold for now.
    #[must_use]
    pub fn to_approve(&self) -> ClientApproval {
        ClientApproval {
            name: self.name.clone(),
            redirect_uris: self.redirect_uris.clone(),
            token_endpoint_auth_method: self.token_endpoint_auth_method.clone(),
        }
    }
}

impl ClientTier {
    /// What is proven of a client whose document is of `host` (with its port unless that is the usual one) and
    /// whose codes go to `redirect_uri`, an acceptable redirect URI in its canonical spelling.
    #[must_use]
    pub fn earned(host: Option<&str>, redirect_uri: &str) -> Self {
        let Some(rest) = redirect_uri.strip_prefix("https://") else {
            // http is for the own computer only, where any program can listen.
            let local = redirect_uri.starts_with("http://");
            return if local { Self::Localhost } else { Self::Unverified };
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_some_and(|host| host == authority) {
            Self::DomainVerified
        } else {
            Self::Unverified
        }
    }

    /// What is proven wherever codes go.
    #[must_use]
    pub fn earned_by_all(host: Option<&str>, redirect_uris: &[String]) -> Self {
        let earned = redirect_uris.iter().map(|uri| Self::earned(host, uri));
        earned.min().unwrap_or(Self::Localhost)
    }
}

/// `PATCH /api/v1/clients/{id}`: what an administrator may say of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientSpec {
    /// `approved` raises it, and lets a client be used that waits; anything else takes the approval back.
    pub tier: ClientTier,
    /// Whether it may be used. A client that is made to wait is not approved any more.
    pub state: ClientState,
}

impl ClientSpec {
    /// What comes of asking for this. To approve is one act, by whatever member it is asked for: nothing is approved
    /// and waits for approval. What is blocked stays so until somebody says otherwise. Nobody can say more than
    /// approval; without it, a client is what it has proven.
    #[must_use]
    pub fn settled(self, client: &Client) -> Self {
        let earned = || ClientTier::earned_by_all(client.verified_host.as_deref(), &client.redirect_uris);
        match (self.tier, self.state) {
            (ClientTier::Approved, ClientState::Pending) if client.state == ClientState::Pending => Self {
                state: ClientState::Active,
                ..self
            },
            (ClientTier::Approved, ClientState::Active | ClientState::Blocked) => self,
            _ => Self {
                tier: earned(),
                ..self
            },
        }
    }
}

/// `POST /api/v1/clients`: a client entered by an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    /// The app that it is for.
    pub app: AppId,
    /// Shown to people.
    pub name: String,
    /// Where codes may be sent; exact, loopback ports excepted.
    pub redirect_uris: Vec<String>,
    /// Whether it gets a secret (shown once).
    #[serde(default)]
    pub confidential: bool,
    /// Where its public keys are, if it signs in place of having a secret (`private_key_jwt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
}

/// The answer to entering a client: the only time that its secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedClient {
    /// The record.
    #[serde(flatten)]
    pub record: Client,
    /// The secret, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

/// Where a grant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// In force.
    Active,
    /// Ended by a person, an administrator or a rule.
    Revoked,
    /// Its time is over.
    Expired,
}

/// User × client × app × scopes. `/api/v1/grants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grant {
    /// Its identifier; every token and every audit event of the agent carries it.
    pub id: GrantId,
    /// Who gave it.
    pub user: UserId,
    /// The user's e-mail address, for people who read lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_email: Option<String>,
    /// Who got it.
    pub client: ClientId,
    /// The client's name.
    pub client_name: String,
    /// For which app.
    pub app: AppId,
    /// The app's name.
    pub app_name: String,
    /// The app's account.
    pub account: AccountId,
    /// What it allows.
    pub scopes: Vec<String>,
    /// Where its code went: how far the agent is trusted depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Where it is in its life.
    pub state: GrantState,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When a token was last issued for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Why it was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_reason: Option<String>,
    /// How the person had proved who they are in the session that gave it; what rules about sign-in ask.
    #[serde(default)]
    pub authentication: Authentication,
}
