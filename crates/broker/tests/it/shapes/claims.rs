//! What ID tokens say.

use super::{AS_USUAL, BAD_GROUPS, BAD_TOKEN, NO_ADDRESS, NO_GROUPS, Shape, UNVERIFIED, shape};
use serde_json::json;

pub(super) fn about_the_token() -> Vec<Shape> {
    let trusting = || json!({"trusted_audiences": ["project"]});
    vec![
        shape("everything as specified", "all", AS_USUAL),
        shape("`aud` as a list of one", "Keycloak, Zitadel", AS_USUAL).claims(json!({"aud": ["chatelaine"]})),
        shape(
            "several `aud`, `azp` is us",
            "Zitadel, Keycloak with audience mappers",
            BAD_TOKEN,
        )
        .claims(json!({"aud": ["chatelaine", "project"], "azp": "chatelaine"})),
        shape(
            "the same, the other one in `trusted_audiences`",
            "Zitadel",
            AS_USUAL,
        )
        .claims(json!({"aud": ["chatelaine", "project"], "azp": "chatelaine"}))
        .connection(trusting()),
        shape("the same without `azp`", "", BAD_TOKEN)
            .claims(json!({"aud": ["chatelaine", "project"]}))
            .connection(trusting()),
        shape("one more `aud` that is not trusted", "", BAD_TOKEN)
            .claims(json!({"aud": ["chatelaine", "project", "third"], "azp": "chatelaine"}))
            .connection(trusting()),
        shape("`azp` is us, one `aud`", "Google, Keycloak", AS_USUAL).claims(json!({"azp": "chatelaine"})),
        shape("`azp` is another client", "", BAD_TOKEN).claims(json!({"azp": "project"})),
        shape("`aud` is another client", "", BAD_TOKEN).claims(json!({"aud": "project"})),
        shape("no `aud`", "", BAD_TOKEN).claims(json!({"aud": null})),
        shape("`iss` is another issuer", "", BAD_TOKEN).claims(json!({"iss": "https://evil.example"})),
        shape(
            "`iat` and `exp` with fractions of a second",
            "servers in Python and Ruby",
            AS_USUAL,
        )
        .claims(json!({"iat": "now+-0.5", "exp": "now+300.25"})),
        shape("`exp` as text", "", BAD_TOKEN).claims(json!({"exp": "1900000000"})),
        shape("no `exp`", "", BAD_TOKEN).claims(json!({"exp": null})),
        shape("no `iat`", "", BAD_TOKEN).claims(json!({"iat": null})),
        shape(
            "a clock four minutes ahead",
            "virtual machines after a pause",
            AS_USUAL,
        )
        .claims(json!({"iat": "now+240", "nbf": "now+240", "exp": "now+540"})),
        shape("`nbf` a day ahead", "", BAD_TOKEN).claims(json!({"nbf": "now+86400", "exp": "now+90000"})),
        shape("`auth_time` as text", "home-made servers", AS_USUAL)
            .claims(json!({"auth_time": "1800000000"})),
        shape("`nonce` of somebody else, or none", "", BAD_TOKEN).claims(json!({"nonce": null})),
        shape("`at_hash` of another access token", "", BAD_TOKEN).claims(json!({"at_hash": "x".repeat(22)})),
        shape("`amr` as a text, `acr` as a number", "ADFS, Ping", AS_USUAL)
            .claims(json!({"amr": "pwd", "acr": 1})),
    ]
}

pub(super) fn about_the_person() -> Vec<Shape> {
    let said = |said: serde_json::Value| json!({"email_verified": said});
    let upn = || json!({"claims": {"email": "preferred_username"}});
    vec![
        shape("`sub` as a number", "home-made servers", BAD_TOKEN).claims(json!({"sub": 4711})),
        shape("no `sub`", "", BAD_TOKEN).claims(json!({"sub": null})),
        shape("`sub` of 256 letters", "", BAD_TOKEN).claims(json!({"sub": "x".repeat(256)})),
        shape("`sub` with an invisible character", "", BAD_TOKEN).claims(json!({"sub": "alice\u{200b}"})),
        shape("`sub` with a pipe and an `@`", "Auth0", AS_USUAL)
            .claims(json!({"sub": "waad|alice@acme.example"})),
        shape("`email_verified`: `\"true\"`", "Cognito, Apple", AS_USUAL).claims(said(json!("true"))),
        shape("`email_verified`: `\"True\"`", "servers in Python", UNVERIFIED).claims(said(json!("True"))),
        shape(
            "`email_verified`: `\"yes\"`, `\"TRUE\"`, `[true]`",
            "",
            UNVERIFIED,
        )
        .claims(said(json!([true]))),
        shape("`email_verified`: `1`", "servers in PHP", UNVERIFIED).claims(said(json!(1))),
        shape("no `email_verified`", "Entra, ADFS, Canaille", UNVERIFIED).claims(said(json!(null))),
        shape(
            "the same, `email_verification` is `always`",
            "Entra, ADFS, Canaille",
            AS_USUAL,
        )
        .claims(said(json!(null)))
        .connection(json!({"email_verification": "always", "allowed_domains": ["acme.example"]})),
        shape(
            "no `email`",
            "Entra for accounts without mailbox, Okta",
            NO_ADDRESS,
        )
        .claims(json!({"email": null})),
        shape("`email` is empty", "Keycloak, Authentik", NO_ADDRESS).claims(json!({"email": ""})),
        shape("`email` is a list", "ADFS, Ping, LDAP bridges", NO_ADDRESS)
            .claims(json!({"email": ["alice@acme.example", "a@acme.example"]})),
        shape(
            "the same, only a domain is let in",
            "",
            "refused: `email_malformed`",
        )
        .claims(json!({"email": ["alice@acme.example"]}))
        .connection(json!({"allowed_domains": ["acme.example"]})),
        shape("`email` with a name around it", "", NO_ADDRESS)
            .claims(json!({"email": "Alice <alice@acme.example>"})),
        shape("`email` with two `@`", "", NO_ADDRESS)
            .claims(json!({"email": "alice@evil.example@acme.example"})),
        shape("a guest's UPN as the address", "Entra", UNVERIFIED)
            .claims(json!({"preferred_username": "alice_evil.example#EXT#@acme.example"}))
            .connection(upn()),
        shape(
            "`preferred_username` as the address, `email` is another",
            "Entra",
            UNVERIFIED,
        )
        .claims(json!({"preferred_username": "alice@corp.example"}))
        .connection(upn()),
        shape(
            "`preferred_username` as the address is no address",
            "ADFS (`ACME\\alice`)",
            NO_ADDRESS,
        )
        .claims(json!({"preferred_username": "ACME\\alice"}))
        .connection(upn()),
        shape(
            "`locale` an object, `address` a text, `name` a list",
            "home-made servers",
            AS_USUAL,
        )
        .claims(json!({"locale": {"a": 1}, "address": "Main St", "name": ["Alice"], "updated_at": "now"})),
        shape("claims of 70 kB", "", BAD_TOKEN).claims(json!({"photo": "x".repeat(70_000)})),
        shape("a required claim as a number", "Auth0", AS_USUAL)
            .claims(json!({"org": 7}))
            .connection(json!({"required_claims": {"org": "7"}})),
        shape("a required claim in a list", "", "refused: `claim_mismatch`")
            .claims(json!({"org": ["7"]}))
            .connection(json!({"required_claims": {"org": "7"}})),
    ]
}

pub(super) fn groups() -> Vec<Shape> {
    const TWO: &str = "signed in: groups admins, staff; address verified";
    let mapped = |mapping: serde_json::Value| json!({ "claims": mapping });
    let of = |groups: serde_json::Value| json!({ "groups": groups });
    vec![
        shape("a list of texts", "Okta, Keycloak, Authentik, GitLab", TWO)
            .claims(of(json!(["admins", "staff"]))),
        shape("none", "Google", NO_GROUPS).claims(of(json!(null))),
        shape(
            "an empty text",
            "ADFS, Auth0 with actions of one's own",
            NO_GROUPS,
        )
        .claims(of(json!(""))),
        shape("a separator and nothing else", "", BAD_GROUPS)
            .claims(of(json!(",")))
            .connection(mapped(json!({"groups_separator": ","}))),
        shape("an empty list", "Authentik", NO_GROUPS).claims(of(json!([]))),
        shape(
            "an empty text in a list",
            "rare, and it may hide a group that is meant",
            "refused: `groups_unusable`",
        )
        .claims(of(json!(["", "staff"]))),
        shape("one text", "ADFS for somebody in one group", AS_USUAL).claims(of(json!("staff"))),
        shape(
            "`\"admins,staff\"`, no separator configured",
            "Auth0 with actions of one's own, LDAP bridges",
            BAD_GROUPS,
        )
        .claims(of(json!("admins,staff"))),
        shape(
            "`\"admins,staff\"`, `groups_separator` is `,`",
            "Auth0 with actions of one's own, LDAP bridges",
            TWO,
        )
        .claims(of(json!("admins,staff")))
        .connection(mapped(json!({"groups_separator": ","}))),
        shape(
            "`\"admins staff\"`, `groups_separator` is a blank",
            "scopes as groups",
            TWO,
        )
        .claims(of(json!("admins staff")))
        .connection(mapped(json!({"groups_separator": " "}))),
        shape(
            "one name with a comma, `groups_separator` is one that does not occur",
            "ADFS with distinguished names, for somebody in one group",
            "signed in: groups CN=Staff,DC=acme; address verified",
        )
        .claims(of(json!("CN=Staff,DC=acme")))
        .connection(mapped(json!({"groups_separator": "|"}))),
        shape(
            "`\"admins, staff\"`, `groups_separator` is `, `",
            "LDAP bridges",
            TWO,
        )
        .claims(of(json!("admins, staff")))
        .connection(mapped(json!({"groups_separator": ", "}))),
        shape("`\"admins, staff\"`, `groups_separator` is `,`", "", BAD_GROUPS)
            .claims(of(json!("admins, staff")))
            .connection(mapped(json!({"groups_separator": ","}))),
        shape(
            "a list in JSON as text",
            "Keycloak mapper of type String",
            BAD_GROUPS,
        )
        .claims(of(json!("[\"admins\",\"staff\"]"))),
        shape("`\"[admins, staff]\"`", "Cognito from SAML", BAD_GROUPS)
            .claims(of(json!("[admins, staff]")))
            .connection(mapped(json!({"groups_separator": ", "}))),
        shape("objects", "SCIM-like servers, Ping", BAD_GROUPS).claims(of(
            json!([{"value": "1", "name": "admins"}, {"value": "2", "name": "staff"}]),
        )),
        shape(
            "objects, `groups_member` is `name`",
            "SCIM-like servers, Ping",
            TWO,
        )
        .claims(of(
            json!([{"value": "1", "name": "admins"}, {"value": "2", "name": "staff"}]),
        ))
        .connection(mapped(json!({"groups_member": "name"}))),
        shape("objects, of which one lacks the member", "", BAD_GROUPS)
            .claims(of(json!([{"name": "admins"}, {"value": "2"}])))
            .connection(mapped(json!({"groups_member": "name"}))),
        shape(
            "one object with the groups as names",
            "Zitadel's project roles",
            BAD_GROUPS,
        )
        .claims(of(json!({"admins": {"1": "acme.example"}}))),
        shape("nested, `/realm_access/roles`", "Keycloak", TWO)
            .claims(json!({"realm_access": {"roles": ["admins", "staff"]}}))
            .connection(mapped(json!({"groups": "/realm_access/roles"}))),
        shape("under a URL as name", "Auth0", TWO)
            .claims(json!({"https://acme.example/groups": ["admins", "staff"]}))
            .connection(mapped(json!({"groups": "https://acme.example/groups"}))),
        shape(
            "in a member with a `/` in its name, as a pointer",
            "",
            "signed in: groups admins; address verified",
        )
        .claims(json!({"a/b": ["admins"]}))
        .connection(mapped(json!({"groups": "/a~1b/0"}))),
        shape("under `cognito:groups`", "Cognito", TWO)
            .claims(json!({"cognito:groups": ["admins", "staff"]}))
            .connection(mapped(json!({"groups": "cognito:groups"}))),
        shape("left out as too many, `_claim_names`", "Entra", BAD_GROUPS)
            .claims(json!({"groups": null, "_claim_names": {"groups": "src1"},
                "_claim_sources": {"src1": {"endpoint": "https://graph.example/getMemberObjects"}}})),
        shape("left out as too many, `hasgroups`", "Entra", BAD_GROUPS)
            .claims(json!({"groups": null, "hasgroups": true})),
        shape(
            "the same, `\"true\"` or `1`",
            "Entra's older endpoint",
            BAD_GROUPS,
        )
        .claims(json!({"groups": null, "hasgroups": 1})),
        shape("`hasgroups` is `\"false\"`", "", NO_GROUPS)
            .claims(json!({"groups": null, "hasgroups": "false"})),
        shape(
            "`_claim_names` that cannot be read, and no groups",
            "",
            BAD_GROUPS,
        )
        .claims(json!({"groups": null, "_claim_names": "groups"})),
        shape("an empty list or text, and `_claim_names`", "", BAD_GROUPS)
            .claims(json!({"groups": [], "_claim_names": {"groups": "src1"}})),
        shape("the same, groups come from `roles`", "Entra with app roles", TWO)
            .claims(json!({"groups": null, "hasgroups": true, "roles": ["admins", "staff"]}))
            .connection(mapped(json!({"groups": "roles"}))),
        shape("`_claim_names` of something else", "Entra", AS_USUAL)
            .claims(json!({"_claim_names": {"image": "src1"}})),
        shape("1001 groups", "LDAP bridges", BAD_GROUPS)
            .claims(of((0..1001).map(|n| format!("g{n}")).collect())),
        shape(
            "a name with a blank at its end, or an invisible character",
            "LDAP bridges",
            BAD_GROUPS,
        )
        .claims(of(json!(["staff "]))),
        shape(
            "a number in the list",
            "servers that send identifiers",
            BAD_GROUPS,
        )
        .claims(of(json!(["staff", 7]))),
    ]
}
