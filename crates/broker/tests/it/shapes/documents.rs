//! What discovery documents say.

use super::{AS_USUAL, BAD_TOKEN, NO_ADDRESS, NOT_SENT, Shape, shape};
use crate::idp::Idp;
use serde_json::{Value, json};

/// A document with another value, or without the member.
fn says(
    what: &'static str,
    who: &'static str,
    (outcome, name, value): (&'static str, &'static str, Value),
) -> Shape {
    shape(what, who, outcome).bent(move |idp| idp.say(name, value.clone()))
}

/// The provider names itself with a slash at the end.
fn slash(idp: &Idp) {
    idp.say("issuer", json!(format!("{}/", idp.issuer())));
}

pub(super) fn all() -> Vec<Shape> {
    vec![
        shape(
            "the issuer ends in `/`, here as there",
            "Auth0, Authentik",
            AS_USUAL,
        )
        .connection(json!({"issuer": "{issuer}/"}))
        .bent(slash),
        shape("the issuer ends in `/` there only", "Auth0, Authentik", NOT_SENT).bent(slash),
        shape("the issuer ends in `/` here only", "", NOT_SENT).connection(json!({"issuer": "{issuer}/"})),
        shape("the ID token leaves the `/` out", "", BAD_TOKEN)
            .connection(json!({"issuer": "{issuer}/"}))
            .claims(json!({"iss": "https://idp.example.com"}))
            .bent(slash),
        says(
            "another issuer",
            "",
            (NOT_SENT, "issuer", json!("https://evil.example")),
        ),
        says(
            "no `userinfo_endpoint`",
            "Entra B2C",
            (AS_USUAL, "userinfo_endpoint", Value::Null),
        ),
        says(
            "no `userinfo_endpoint`, and no address in the ID token",
            "Entra B2C",
            (NO_ADDRESS, "userinfo_endpoint", Value::Null),
        )
        .claims(json!({"email": null})),
        says(
            "`userinfo_endpoint` is empty",
            "home-made servers",
            (AS_USUAL, "userinfo_endpoint", json!("")),
        ),
        says("no `jwks_uri`", "", (NOT_SENT, "jwks_uri", Value::Null)),
        says(
            "no `token_endpoint`",
            "servers for the implicit flow",
            (NOT_SENT, "token_endpoint", Value::Null),
        ),
        says(
            "no `authorization_endpoint`",
            "",
            (NOT_SENT, "authorization_endpoint", Value::Null),
        ),
        says(
            "no `code_challenge_methods_supported`",
            "Entra, ADFS",
            (AS_USUAL, "code_challenge_methods_supported", Value::Null),
        ),
        says(
            "no `subject_types_supported`",
            "home-made servers",
            (AS_USUAL, "subject_types_supported", Value::Null),
        ),
        says(
            "no `response_types_supported`",
            "home-made servers",
            (AS_USUAL, "response_types_supported", Value::Null),
        ),
        says(
            "`claims_supported` is a text, not a list",
            "home-made servers",
            (AS_USUAL, "claims_supported", json!("sub email")),
        ),
        says(
            "`op_policy_uri` is empty",
            "servers behind a configuration form",
            (AS_USUAL, "op_policy_uri", json!("")),
        ),
        says(
            "`service_documentation` is no URL",
            "home-made servers",
            (AS_USUAL, "service_documentation", json!("see the wiki")),
        ),
        says(
            "`request_parameter_supported` as text",
            "home-made servers",
            (AS_USUAL, "request_parameter_supported", json!("true")),
        ),
        says(
            "`ui_locales_supported` with words",
            "Ping",
            (AS_USUAL, "ui_locales_supported", json!(["English (US)"])),
        ),
        says(
            "unknown words in its lists",
            "all of them, some day",
            (
                AS_USUAL,
                "token_endpoint_auth_methods_supported",
                json!(["client_secret_basic", "attest_jwt_client_auth", null]),
            ),
        ),
        shape("unknown algorithms in its lists", "Keycloak, Authlete", AS_USUAL).bent(|idp| {
            idp.say(
                "id_token_signing_alg_values_supported",
                json!(["ES256", "ES256K", "ML-DSA-65", 7]),
            );
        }),
        shape(
            "a page in HTML with status 200",
            "single-page apps for every path",
            NOT_SENT,
        )
        .bent(|idp| {
            idp.page(
                "/.well-known/openid-configuration",
                (200, "text/html", "<div id=app>"),
            )
        }),
        shape("status 404", "a wrong issuer", NOT_SENT).bent(|idp| {
            idp.page(
                "/.well-known/openid-configuration",
                (404, "text/html", "<h1>Not found</h1>"),
            )
        }),
    ]
}
