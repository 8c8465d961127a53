//! What userinfo and the token endpoint answer.

use super::{
    AS_USUAL, BAD_ANSWER, BAD_GROUPS, BAD_TOKEN, NO_ADDRESS, NO_GROUPS, Shape, UNREACHABLE, UNVERIFIED, shape,
};
use crate::idp::Signing;
use serde_json::{Value, json};

/// Userinfo of a provider whose id token leaves the address out.
fn lean(what: &'static str, who: &'static str, outcome: &'static str) -> Shape {
    shape(what, who, outcome).claims(json!({"email": null, "email_verified": null}))
}

/// The same, as JSON.
fn says(what: &'static str, who: &'static str, (outcome, userinfo): (&'static str, Value)) -> Shape {
    lean(what, who, outcome).bent(move |idp| idp.userinfo(userinfo.clone()))
}

pub(super) fn userinfo() -> Vec<Shape> {
    let good = || json!({"sub": "alice", "email": "alice@acme.example", "email_verified": true});
    let with = move |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    vec![
        says("address only there", "Okta, Canaille, ADFS", (AS_USUAL, good())),
        says(
            "`email_verified` as text there",
            "Cognito",
            (AS_USUAL, with("email_verified", json!("true"))),
        ),
        says(
            "another `sub` than in the ID token",
            "",
            (BAD_TOKEN, with("sub", json!("bob"))),
        ),
        says(
            "no `sub`",
            "home-made servers",
            (BAD_TOKEN, json!({"email": "alice@acme.example"})),
        ),
        says("`sub` as a number there", "", (BAD_TOKEN, with("sub", json!(1)))),
        says("a list", "", (BAD_ANSWER, json!([good()]))),
        lean("a page in HTML with status 200", "proxies", BAD_ANSWER)
            .bent(|idp| idp.page("/userinfo", (200, "text/html", "<h1>Sign in</h1>"))),
        lean("status 401", "", BAD_ANSWER).bent(|idp| {
            idp.page(
                "/userinfo",
                (401, "application/json", "{\"error\":\"invalid_token\"}"),
            )
        }),
        lean("status 503", "", UNREACHABLE)
            .bent(|idp| idp.page("/userinfo", (503, "text/html", "<h1>Down</h1>"))),
        lean(
            "no access token to ask with",
            "ADFS without `resource`",
            NO_ADDRESS,
        )
        .bent(|idp| idp.answer("access_token", Value::Null)),
        lean("a signed answer", "Ping, Authlete, eID servers", AS_USUAL)
            .bent(move |idp| idp.userinfo(json!(idp.id_token(good())))),
        lean("a signed answer of another issuer", "", BAD_TOKEN).bent(move |idp| {
            let token = idp.id_token(with("iss", json!("https://evil.example")));
            idp.userinfo(json!(token));
        }),
        lean("a signed answer for another client", "", BAD_TOKEN).bent(move |idp| {
            let token = idp.id_token(json!({"sub": "alice", "aud": "another-client"}));
            idp.userinfo(json!(token));
        }),
        lean("a signed answer about somebody else", "", BAD_TOKEN)
            .bent(|idp| idp.userinfo(json!(idp.id_token(json!({"sub": "mallory"}))))),
        lean("a signed answer with a forged signature", "", BAD_TOKEN).bent(move |idp| {
            idp.sign(Signing::Forged);
            idp.userinfo(json!(idp.id_token(good())));
            idp.sign(Signing::Right);
        }),
        lean("a signed answer that is none", "", BAD_TOKEN).bent(|idp| idp.userinfo(json!("not.a.token"))),
        shape(
            "`email_verified` of another address than the ID token's",
            "",
            UNVERIFIED,
        )
        .claims(json!({"email_verified": null, "groups": null}))
        .connection(json!({"scopes": ["openid", "email", "profile", "groups"]}))
        .bent(|idp| {
            idp.userinfo(
                json!({"sub": "alice", "email": "a@elsewhere.example", "email_verified": true,
                    "groups": ["staff"]}),
            );
        }),
        shape(
            "`email_verified` of the same address as the ID token's",
            "Okta",
            AS_USUAL,
        )
        .claims(json!({"email_verified": null, "groups": null}))
        .connection(json!({"scopes": ["openid", "email", "profile", "groups"]}))
        .bent(|idp| {
            idp.userinfo(
                json!({"sub": "alice", "email": "alice@acme.example", "email_verified": true,
                    "groups": ["staff"]}),
            );
        }),
        says(
            "left out as too many, which is said there",
            "Entra",
            (BAD_GROUPS, with("_claim_names", json!({"groups": "src1"}))),
        )
        .and_claims(json!({"groups": null})),
        says(
            "the same, and the ID token has `_claim_names` of something else",
            "Entra",
            (BAD_GROUPS, with("_claim_names", json!({"groups": "src1"}))),
        )
        .and_claims(json!({"groups": null, "_claim_names": {"image": "src2"}})),
        says(
            "the same, and the ID token has groups",
            "Entra",
            (AS_USUAL, with("hasgroups", json!(true))),
        ),
        shape("groups only there, of somebody else", "", BAD_TOKEN)
            .claims(json!({"groups": null}))
            .connection(json!({"scopes": ["openid", "email", "profile", "groups"]}))
            .bent(|idp| idp.userinfo(json!({"sub": "mallory", "groups": []}))),
        shape(
            "groups only there, and the scope `groups` is asked for",
            "Okta, Authentik",
            AS_USUAL,
        )
        .claims(json!({"groups": null}))
        .connection(json!({"scopes": ["openid", "email", "profile", "groups"]}))
        .bent(|idp| idp.userinfo(json!({"sub": "alice", "groups": ["staff"]}))),
        shape("groups only there, and nobody asks for them", "GitLab", NO_GROUPS)
            .claims(json!({"groups": null}))
            .bent(|idp| idp.userinfo(json!({"sub": "alice", "groups": ["staff"]}))),
        shape(
            "groups only there, and the document announces the claim",
            "GitLab, Dex",
            AS_USUAL,
        )
        .claims(json!({"groups": null}))
        .bent(|idp| {
            idp.say("claims_supported", json!(["sub", "email", "groups"]));
            idp.userinfo(json!({"sub": "alice", "groups": ["staff"]}));
        }),
    ]
}

pub(super) fn token() -> Vec<Shape> {
    let says = |what, who, outcome, name: &'static str, value: Value| {
        shape(what, who, outcome).bent(move |idp: &crate::idp::Idp| idp.answer(name, value.clone()))
    };
    let page = |what, who, outcome, page| {
        shape(what, who, outcome).bent(move |idp: &crate::idp::Idp| idp.page("/token", page))
    };
    vec![
        says(
            "`token_type` in lower case",
            "Auth0, Zitadel, GitLab",
            AS_USUAL,
            "token_type",
            json!("bearer"),
        ),
        says(
            "no `token_type`",
            "home-made servers",
            AS_USUAL,
            "token_type",
            Value::Null,
        ),
        says(
            "`expires_in` as text",
            "ADFS 2016, Entra v1",
            AS_USUAL,
            "expires_in",
            json!("3600"),
        ),
        shape("no `expires_in`", "Canaille", AS_USUAL),
        says(
            "`scope` as a list",
            "Twitch, home-made servers",
            AS_USUAL,
            "scope",
            json!(["openid", "email"]),
        ),
        says(
            "no ID token",
            "OAuth servers without `openid`",
            BAD_ANSWER,
            "id_token",
            Value::Null,
        ),
        says(
            "an ID token that is no text",
            "",
            BAD_ANSWER,
            "id_token",
            json!({"not": "text"}),
        ),
        says(
            "`error` with status 200",
            "GitHub, Slack",
            BAD_ANSWER,
            "error",
            json!("invalid_grant"),
        ),
        shape(
            "`application/json;charset=UTF-8`",
            "Keycloak, Okta, Ping",
            AS_USUAL,
        )
        .bent(|idp| idp.call_json("application/json;charset=UTF-8")),
        shape("JSON that is called `text/plain`", "home-made servers", AS_USUAL)
            .bent(|idp| idp.call_json("text/plain; charset=utf-8")),
        page(
            "`error` with status 401",
            "Google, Okta",
            BAD_ANSWER,
            (401, "application/json", "{\"error\":\"invalid_client\"}"),
        ),
        page(
            "an error in HTML with status 400",
            "proxies, Tomcat",
            BAD_ANSWER,
            (400, "text/html", "<h1>Bad Request</h1>"),
        ),
        page(
            "a page in HTML with status 200",
            "maintenance",
            BAD_ANSWER,
            (200, "text/html", "<h1>We are back soon</h1>"),
        ),
        page(
            "a page in HTML with status 502",
            "proxies",
            UNREACHABLE,
            (502, "text/html", "<h1>Bad Gateway</h1>"),
        ),
        page(
            "an answer in form encoding",
            "GitHub, Facebook",
            BAD_ANSWER,
            (
                200,
                "application/x-www-form-urlencoded",
                "access_token=a&token_type=bearer",
            ),
        ),
    ]
}
