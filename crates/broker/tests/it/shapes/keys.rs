//! What tokens are signed with, and how the keys are published.

use super::{AS_USUAL, BAD_TOKEN, NOT_SENT, Shape, shape};
use crate::idp::{Idp, Signing};
use serde_json::{Value, json};

/// A token by another algorithm, which the document announces.
fn signs(what: &'static str, who: &'static str, algorithm: &'static str) -> Shape {
    shape(what, who, AS_USUAL).bent(move |idp| {
        idp.replace_key(algorithm);
        idp.say("id_token_signing_alg_values_supported", json!([algorithm]));
    })
}

/// The key as it is published, changed; null leaves a member out.
fn changed(idp: &Idp, members: &Value) -> Value {
    let mut key = idp.public_key();
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => drop(key.as_object_mut().unwrap().remove(name)),
            value => key[name] = value.clone(),
        }
    }
    key
}

fn publishes(what: &'static str, who: &'static str, (outcome, members): (&'static str, Value)) -> Shape {
    shape(what, who, outcome).bent(move |idp| idp.publish(json!([changed(idp, &members)])))
}

pub(super) fn all() -> Vec<Shape> {
    let odd = || {
        json!([
            {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "agreement", "use": "enc"},
            {"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA", "kid": "coin"},
            {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "later"},
            {"kid": "nothing"},
        ])
    };
    vec![
        signs(
            "RS256",
            "Entra, Google, Okta, Auth0, ADFS, Cognito, GitLab",
            "RS256",
        ),
        signs("RS384", "Keycloak", "RS384"),
        signs("RS512", "Keycloak, Ping", "RS512"),
        signs("PS256", "Keycloak, Authlete, open banking", "PS256"),
        signs("PS512", "Keycloak", "PS512"),
        signs("ES384", "Zitadel, Authentik, Ping", "ES384"),
        signs("ES512", "Keycloak, Ping", "ES512"),
        signs("EdDSA", "Keycloak, Zitadel", "EdDSA"),
        signs("Ed25519, the newer name of it", "idpyoidc, Ping", "Ed25519"),
        shape("ES384 that the document does not announce", "", BAD_TOKEN)
            .bent(|idp| idp.replace_key("ES384")),
        shape(
            "RS256, and the document says nothing of algorithms",
            "home-made servers",
            AS_USUAL,
        )
        .bent(|idp| {
            idp.replace_key("RS256");
            idp.say("id_token_signing_alg_values_supported", Value::Null);
        }),
        shape(
            "ES256, and the document says nothing of algorithms",
            "",
            BAD_TOKEN,
        )
        .bent(|idp| idp.say("id_token_signing_alg_values_supported", Value::Null)),
        shape("no signature, which the document offers", "", BAD_TOKEN).bent(|idp| idp.sign(Signing::None)),
        shape(
            "HS256 with the client secret",
            "Authentik without a key",
            BAD_TOKEN,
        )
        .bent(|idp| idp.sign(Signing::Hmac)),
        shape("another key under the right name", "", BAD_TOKEN).bent(|idp| idp.sign(Signing::Forged)),
        shape("a token without `kid`", "single-key servers", AS_USUAL)
            .bent(|idp| idp.sign(Signing::Nameless)),
        shape(
            "a token without `kid`, several keys",
            "single-key servers after a change",
            AS_USUAL,
        )
        .bent(|idp| {
            idp.sign(Signing::Nameless);
            let other = crate::key::Key::new("other", "ES256").public();
            idp.publish(json!([other, idp.public_key()]));
        }),
        publishes(
            "a key without `kid`",
            "home-made servers",
            (AS_USUAL, json!({"kid": null})),
        ),
        publishes(
            "a key under another `kid`",
            "",
            (BAD_TOKEN, json!({"kid": "another"})),
        ),
        publishes(
            "a key without `alg`",
            "Entra, Google",
            (AS_USUAL, json!({"alg": null})),
        ),
        publishes(
            "a key without `use`",
            "ADFS, home-made servers",
            (AS_USUAL, json!({"use": null})),
        ),
        publishes(
            "a key with a certificate",
            "Entra, Keycloak",
            (AS_USUAL, json!({"x5c": ["MIIB"], "x5t": "x", "x5t#S256": "y"})),
        ),
        publishes("a key for encryption", "", (BAD_TOKEN, json!({"use": "enc"}))),
        publishes(
            "a key whose `key_ops` are `[\"verify\"]`",
            "home-made servers",
            (AS_USUAL, json!({"key_ops": ["verify"]})),
        ),
        shape("a key whose `key_ops` are for encryption", "", BAD_TOKEN).bent(|idp| {
            let other = crate::key::Key::new("other", "ES256").public();
            idp.publish(json!([
                other,
                changed(idp, &json!({"key_ops": ["encrypt", "wrapKey"]}))
            ]));
        }),
        shape("a token whose `typ` is `application/jwt`", "", AS_USUAL)
            .bent(|idp| idp.sign(Signing::Typed("application/jwt"))),
        shape("an access token (`typ` is `at+jwt`) in its place", "", BAD_TOKEN)
            .bent(|idp| idp.sign(Signing::Typed("at+jwt"))),
        shape("the same, `at+jwt; x=1`", "", BAD_TOKEN).bent(|idp| idp.sign(Signing::Typed("at+jwt; x=1"))),
        shape(
            "a logout token (`typ` is `logout+jwt`) in its place",
            "",
            BAD_TOKEN,
        )
        .bent(|idp| idp.sign(Signing::Typed("application/logout+JWT"))),
        publishes(
            "a key for another algorithm",
            "",
            (BAD_TOKEN, json!({"alg": "ES384"})),
        ),
        shape("keys of unknown kinds beside it", "Keycloak, Authlete", AS_USUAL).bent(move |idp| {
            let mut keys = odd();
            keys.as_array_mut().unwrap().push(idp.public_key());
            idp.publish(keys);
        }),
        shape("keys of unknown kinds only", "", BAD_TOKEN).bent(move |idp| idp.publish(odd())),
        shape("no keys", "", NOT_SENT).bent(|idp| idp.publish(json!([]))),
        shape(
            "keys as `application/jwk-set+json`",
            "Zitadel, Authlete",
            AS_USUAL,
        )
        .bent(|idp| idp.call_json("application/jwk-set+json")),
    ]
}
