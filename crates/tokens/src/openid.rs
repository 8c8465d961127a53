//! OpenID Connect for the apps that switch it on: ID tokens, and what is said of a person there and at `userinfo`.

use crate::keyring::Keyring;
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Value, json};
use store::{AppView, Result, user::Person};
use wire::{Authentication, OrgId, UserId};

/// What is said of a person (OpenID Connect Core section 5.1), as far as it was asked for, granted, and released to the
/// app's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonClaims {
    /// Who it is, as in access tokens.
    pub sub: UserId,
    /// Their address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether their provider vouches for it; absent where the address is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// What they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl PersonClaims {
    /// What these scopes say of a person.
    #[must_use]
    pub fn of(view: &AppView, person: &Person, scopes: &[String]) -> Self {
        let seen = view.sees(person);
        let has = |name: &str| scopes.iter().any(|scope| scope == name);
        let email = seen.user.email.clone().filter(|_| has("email"));
        Self {
            sub: person.user.id.clone(),
            email_verified: email.as_ref().map(|_| seen.user.email_verified),
            email,
            name: seen.user.name.clone().filter(|_| has("profile")),
        }
    }
}

/// Claims of an ID token (OpenID Connect Core section 2). Who gets one learns who signed in, and nothing is let through
/// by it.
#[derive(Debug, Clone, Serialize)]
pub struct IdClaims {
    /// The app's issuer.
    pub iss: String,
    /// The client, by its `client_id`.
    pub aud: String,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// Not valid from then on.
    pub exp: i64,
    /// As the client asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Of the access token beside it.
    pub at_hash: String,
    /// When the person proved who they are, where their provider says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// The class of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The methods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// About whom.
    #[serde(flatten)]
    pub person: PersonClaims,
}

impl IdClaims {
    /// How the person had proved who they are.
    #[must_use]
    pub fn proven_by(self, proof: &Authentication) -> Self {
        Self {
            auth_time: proof.auth_time.map(|at| at.seconds()),
            acr: proof.acr.clone(),
            amr: proof.amr.clone(),
            ..self
        }
    }
}

/// The left half of an access token's hash (OpenID Connect Core section 3.1.3.6).
#[must_use]
pub fn at_hash(access_token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}

impl Keyring {
    /// Signs an ID token. Its type is not that of access tokens, so that it is none.
    ///
    /// # Errors
    /// When the organisation has no key.
    pub fn mint_id(&self, org: &OrgId, claims: &IdClaims) -> Result<String> {
        self.sign(org, "JWT", claims)
    }
}

/// Adds to an issuer's metadata what makes it OpenID Connect's (Discovery section 3), if the app has that switched on:
/// all that is required, or nothing.
pub(crate) fn complete(document: &mut Value, view: &AppView, issuer: &str) {
    if !view.app.spec.oauth.openid {
        return;
    }
    let scopes = view.scopes.names().chain(wire::OPENID_SCOPES);
    document["scopes_supported"] = scopes.collect();
    document["userinfo_endpoint"] = format!("{issuer}/userinfo").into();
    document["subject_types_supported"] = json!(["public"]);
    document["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    document["claims_supported"] = json!([
        "sub",
        "iss",
        "aud",
        "iat",
        "exp",
        "nonce",
        "at_hash",
        "auth_time",
        "acr",
        "amr",
        "email",
        "email_verified",
        "name",
    ]);
    document["claims_parameter_supported"] = false.into();
    document["request_parameter_supported"] = false.into();
    // Left out it would mean that they are.
    document["request_uri_parameter_supported"] = false.into();
}

#[cfg(test)]
mod tests {
    use super::at_hash;

    #[test]
    fn the_hash_is_that_of_the_specification() {
        // OpenID Connect Core appendix A.3.
        assert_eq!(
            at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
            "77QmUPtjPfzWtF2AnpK9RQ"
        );
    }
}
