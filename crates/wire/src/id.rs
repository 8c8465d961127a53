//! Typed identifiers: a prefix, an underscore and a UUIDv7 in hexadecimal, the same text everywhere
//! (API, database, logs, tokens).

use std::{fmt, str::FromStr};

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId {
    /// The prefix that was expected, such as `app`.
    pub expected: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an identifier of the form {}_…", self.expected)
    }
}

impl std::error::Error for InvalidId {}

/// What all identifiers share, so that the store can bind any of them.
pub trait Id: Clone + fmt::Display + FromStr<Err = InvalidId> {
    /// The prefix without the underscore.
    const PREFIX: &'static str;
    /// The text form.
    fn as_str(&self) -> &str;
}

fn check(prefix: &'static str, text: &str) -> Result<(), InvalidId> {
    let error = InvalidId { expected: prefix };
    let rest = text
        .strip_prefix(prefix)
        .and_then(|t| t.strip_prefix('_'))
        .ok_or(error)?;
    let plain = rest.len() == 32
        && rest
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if plain { Ok(()) } else { Err(error) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// A fresh identifier; later ones sort after earlier ones.
            #[cfg(not(target_arch = "wasm32"))]
            #[must_use]
            pub fn fresh() -> Self {
                Self(format!(concat!($prefix, "_{}"), uuid::Uuid::now_v7().simple()).into())
            }
        }

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check($prefix, text)?;
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> { text.parse() }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self { id.0.as_ref().to_owned() }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

ids! {
    /// An organisation: the company.
    OrgId = "org";
    /// An account: one tenant inside an organisation.
    AccountId = "acc";
    /// A connection: one configured upstream identity provider.
    ConnectionId = "con";
    /// A trial of a connection.
    TrialId = "trl";
    /// A binding: a connection made available to one account.
    BindingId = "bnd";
    /// A user: a person, keyed by (organisation, connection, issuer, subject).
    UserId = "usr";
    /// A member: one role of one user.
    MemberId = "mem";
    /// An invitation to a role.
    InvitationId = "inv";
    /// A mapping from a group of an identity provider to a role.
    RoleMappingId = "rmp";
    /// A group of people, used by policies.
    GroupId = "grp";
    /// An app: something that the gateway protects.
    AppId = "app";
    /// A public host: a place in the web that belongs to one account.
    HostId = "hst";
    /// A policy: reusable rules, put on apps in order.
    PolicyId = "pol";
    /// A registered OAuth client (agent software).
    ClientId = "cli";
    /// An agent attempt: one go of an agent at getting in.
    AgentAttemptId = "aat";
    /// A step of one.
    AgentStepId = "ast";
    /// A grant: user × client × app × scopes, given at consent.
    GrantId = "gnt";
    /// A browser session, at the control plane or at an app.
    SessionId = "ses";
    /// An API token.
    ApiTokenId = "tok";
    /// A second factor of a person with a local password.
    FactorId = "fac";
    /// A signing key.
    KeyId = "key";
    /// An audit event.
    EventId = "evt";
    /// A service token: a machine's two-part credential.
    ServiceTokenId = "svc";
    /// A webhook.
    WebhookId = "whk";
    /// One event on its way to one webhook.
    WebhookDeliveryId = "whd";
    /// A change from one connection to another.
    ConnectionMigrationId = "mig";
    /// What an organisation decided about the metadata document of an agent.
    DocumentId = "doc";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_other_kinds_are_refused() {
        let id = AppId::fresh();
        assert_eq!(id.to_string().parse::<AppId>(), Ok(id.clone()));
        assert!(id.to_string().parse::<OrgId>().is_err());
        for bad in [
            "app_",
            "app_XYZ",
            "app_0123",
            "",
            "app_0192F00000000000000000000000000A",
        ] {
            assert!(bad.parse::<AppId>().is_err(), "{bad}");
        }
    }
}
