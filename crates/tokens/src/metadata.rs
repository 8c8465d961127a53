//! The two public documents by which an agent finds its way (RFC 9728, RFC 8414). Pure: authorization
//! server and gateway serve the same bytes, so that issuer and endpoints cannot differ between them.

use serde_json::{Value, json};
use store::AppView;

/// How a client can authenticate; the first is for those that cannot.
const METHODS: [&str; 4] = [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];

/// The app's issuer: `{control_url}/oauth/{app}`. One per app, so that an agent that sends no `resource`
/// still names exactly one.
#[must_use]
pub fn issuer(view: &AppView, control_url: &str) -> String {
    format!("{}/oauth/{}", control_url.trim_end_matches('/'), view.app.id)
}

/// Where the protected resource metadata (RFC 9728) of the app lies: the well-known path is inserted
/// before the path of the resource (section 3.1). It is what a challenge names as `resource_metadata`.
#[must_use]
pub fn protected_resource_metadata_url(view: &AppView) -> String {
    format!(
        "{}/.well-known/oauth-protected-resource{}",
        view.public_origin, view.path
    )
}

/// The protected resource metadata (RFC 9728 section 2). `resource` is the app's canonical resource.
#[must_use]
pub fn protected_resource_metadata(view: &AppView, control_url: &str) -> Value {
    json!({
        "resource": view.resource(),
        "authorization_servers": [issuer(view, control_url)],
        "scopes_supported": view.scopes.names().collect::<Vec<_>>(),
        "bearer_methods_supported": ["header"],
        "resource_name": view.app.spec.name,
    })
}

/// The authorization server metadata (RFC 8414 section 2) of the app's issuer. It names only what works.
#[must_use]
pub fn authorization_server_metadata(view: &AppView, control_url: &str) -> Value {
    let issuer = issuer(view, control_url);
    let rules = &view.app.spec.oauth.registration;
    let mut document = json!({
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "jwks_uri": format!("{issuer}/jwks"),
        "scopes_supported": view.scopes.names().collect::<Vec<_>>(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": METHODS,
        "token_endpoint_auth_signing_alg_values_supported": crate::assertion::ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": METHODS,
        "revocation_endpoint_auth_signing_alg_values_supported": crate::assertion::ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": METHODS[1..],
        "introspection_endpoint_auth_signing_alg_values_supported": crate::assertion::ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": view.announces_documents(),
        "protected_resources": [view.resource()],
    });
    if rules.dynamic {
        document["registration_endpoint"] = format!("{issuer}/register").into();
    }
    crate::openid::complete(&mut document, view, &issuer);
    document["issuer"] = issuer.into();
    document
}
