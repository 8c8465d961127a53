//! The table of presets: one for API, dashboard and command line.

use crate::{ClaimMapping, EmailVerification, Preset, PresetInfo, PresetPlaceholder};

/// One line of the table, as it is written down here.
struct Line {
    preset: Preset,
    label: &'static str,
    issuer: &'static str,
    /// Name, label, example.
    placeholders: &'static [(&'static str, &'static str, &'static str)],
    scopes: &'static [&'static str],
    groups: &'static str,
    email_verification: EmailVerification,
    required_claims: &'static [&'static str],
    register: &'static [&'static str],
    notes: &'static [&'static str],
}

const TABLE: &[Line] = &[
    Line {
        preset: Preset::Generic,
        label: "OpenID Connect",
        issuer: "https://{host}",
        placeholders: &[("host", "Host, and path if there is one", "id.example.com")],
        scopes: &["profile", "email"],
        groups: "groups",
        email_verification: EmailVerification::Claim,
        required_claims: &[],
        register: &[
            "Register a confidential client (web application) with the authorization code flow and PKCE (S256).",
            "Enter the redirect URI of the connection, exactly as it is.",
            "Copy client id and client secret.",
        ],
        notes: &[
            "The issuer must be what the provider's discovery document says, byte for byte.",
            "With the scope offline_access, where the provider gives refresh tokens for it, it is asked every hour \
             whether it still vouches for people: whoever leaves is out within the hour.",
        ],
    },
    Line {
        preset: Preset::Okta,
        label: "Okta",
        issuer: "https://{domain}",
        placeholders: &[(
            "domain",
            "Okta domain; add /oauth2/default for a custom authorization server",
            "acme.okta.com",
        )],
        scopes: &["profile", "email", "groups"],
        groups: "groups",
        email_verification: EmailVerification::Claim,
        required_claims: &[],
        register: &[
            "Applications, Create App Integration: OIDC, Web Application, Authorization Code.",
            "Enter the redirect URI of the connection as sign-in redirect URI and assign the people or groups.",
            "Sign On, OpenID Connect ID Token: add a groups claim, such as groups matches regex .*",
        ],
        notes: &[
            "With the org authorization server the scope groups is enough. A custom authorization server \
             needs a claim groups of its own; without it sign-in works and there are no groups.",
            "To have Okta asked every hour whether it still vouches for people, allow the application the grant type \
             Refresh Token and add the scope offline_access.",
            "Okta's id tokens are short; groups and e-mail address are read from userinfo when they are missing.",
        ],
    },
    Line {
        preset: Preset::Entra,
        label: "Microsoft Entra ID",
        issuer: "https://login.microsoftonline.com/{tenant}/v2.0",
        placeholders: &[(
            "tenant",
            "Directory (tenant) id",
            "8eaef023-2b34-4da1-9baa-8bc8c9d6a490",
        )],
        scopes: &["profile", "email", "offline_access"],
        groups: "groups",
        email_verification: EmailVerification::Never,
        required_claims: &["tid"],
        register: &[
            "App registrations, New registration: Web, with the redirect URI of the connection.",
            "Certificates & secrets: make a client secret, and enter its end here so that you are warned in time.",
            "Token configuration: add the optional claim email to id tokens, and the groups claim with groups \
             assigned to the application.",
        ],
        notes: &[
            "Use the issuer of your own tenant. An issuer for several tenants (common, organizations) is accepted \
             only with required_claims.tid, and then only that tenant's people sign in.",
            "Entra sends no email_verified, and its e-mail address can be anything that an administrator of \
             the tenant enters. Set email_verification to always only for your own tenant, together with \
             allowed_domains.",
            "Groups are object ids. Beyond 200 of them Entra leaves them out, and such a sign-in is refused \
             rather than let in without groups: restrict the claim to groups assigned to the application.",
        ],
    },
    Line {
        preset: Preset::GoogleWorkspace,
        label: "Google Workspace",
        issuer: "https://accounts.google.com",
        placeholders: &[],
        scopes: &["profile", "email", "offline_access"],
        groups: "groups",
        email_verification: EmailVerification::Claim,
        required_claims: &["hd"],
        register: &[
            "Google Cloud console, APIs & Services, Credentials: OAuth client ID of type Web application.",
            "Enter the redirect URI of the connection as authorized redirect URI.",
            "Consent screen: user type Internal.",
        ],
        notes: &[
            "required_claims.hd must name your Workspace domain: without it everybody with a Google account \
             could sign in.",
            "Google sends no groups.",
            "Google gives the refresh token behind offline_access only when somebody consents for the first time; \
             people who consented before are not asked about until they take the consent back and sign in.",
        ],
    },
    Line {
        preset: Preset::Auth0,
        label: "Auth0",
        issuer: "https://{domain}/",
        placeholders: &[("domain", "Auth0 or custom domain", "acme.eu.auth0.com")],
        scopes: &["profile", "email"],
        groups: "https://acme.example/groups",
        email_verification: EmailVerification::Claim,
        required_claims: &[],
        register: &[
            "Applications, Create Application: Regular Web Application.",
            "Settings: enter the redirect URI of the connection as allowed callback URL.",
            "Actions, post-login: api.idToken.setCustomClaim('https://acme.example/groups', …) for groups.",
        ],
        notes: &[
            "The issuer ends with a slash.",
            "To have Auth0 asked every hour whether it still vouches for people, allow the application the grant type \
             Refresh Token and add the scope offline_access.",
            "Auth0 lets custom claims pass only under a namespace: enter the claim's whole name, such as \
             https://acme.example/groups, in the claim mapping.",
        ],
    },
    Line {
        preset: Preset::Keycloak,
        label: "Keycloak",
        issuer: "https://{host}/realms/{realm}",
        placeholders: &[
            (
                "host",
                "Host, with /auth behind it before version 17",
                "sso.example.com",
            ),
            ("realm", "Realm", "acme"),
        ],
        scopes: &["profile", "email", "offline_access"],
        groups: "groups",
        email_verification: EmailVerification::Claim,
        required_claims: &[],
        register: &[
            "Clients, Create client: OpenID Connect, client authentication on, standard flow only.",
            "Enter the redirect URI of the connection as valid redirect URI.",
            "Client scopes, the client's dedicated scope: add the mapper Group Membership with claim name groups.",
        ],
        notes: &[
            "Switch Full group path off in the mapper, or write groups as /staff in your rules.",
            "Roles instead of groups: set the groups claim to /realm_access/roles and add the roles to the id token.",
        ],
    },
    Line {
        preset: Preset::Ping,
        label: "Ping Identity",
        issuer: "https://auth.pingone.com/{environment}/as",
        placeholders: &[(
            "environment",
            "Environment id; the host differs by region (auth.pingone.eu)",
            "7e3b0c3f-7d6f-4f6c-9a3b-3c1d6f3f0c55",
        )],
        scopes: &["profile", "email"],
        groups: "groups",
        email_verification: EmailVerification::Claim,
        required_claims: &[],
        register: &[
            "Applications, add an OIDC Web App with the redirect URI of the connection; grant the scopes profile and email.",
            "Attribute mappings: email to Email Address, groups to Group Names, email_verified if you keep it.",
        ],
        notes: &[
            "PingFederate: the issuer is the server's base URL.",
            "To have Ping asked every hour whether it still vouches for people, allow the application the grant type \
             Refresh Token and add the scope offline_access.",
        ],
    },
    Line {
        preset: Preset::Onelogin,
        label: "OneLogin",
        issuer: "https://{subdomain}.onelogin.com/oidc/2",
        placeholders: &[("subdomain", "Subdomain", "acme")],
        scopes: &["profile", "email", "groups"],
        groups: "groups",
        email_verification: EmailVerification::Claim,
        required_claims: &[],
        register: &[
            "Applications, add OpenId Connect (OIDC), with the redirect URI of the connection.",
            "SSO: application type Web, token endpoint Basic or POST.",
            "Parameters, Groups: send the user's roles or groups.",
        ],
        notes: &[
            "To have OneLogin asked every hour whether it still vouches for people, allow the application the refresh \
             token grant and add the scope offline_access.",
            "Groups come in the claim groups with the scope groups, as roles or as groups of the directory.",
        ],
    },
];

/// All presets, the generic one first.
#[must_use]
pub fn presets() -> Vec<PresetInfo> {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let info = |line: &Line| PresetInfo {
        preset: line.preset,
        label: line.label.to_owned(),
        issuer: line.issuer.to_owned(),
        placeholders: line
            .placeholders
            .iter()
            .map(|&(name, label, example)| PresetPlaceholder {
                name: name.to_owned(),
                label: label.to_owned(),
                example: example.to_owned(),
            })
            .collect(),
        scopes: texts(line.scopes),
        claims: ClaimMapping {
            groups: line.groups.to_owned(),
            ..ClaimMapping::default()
        },
        email_verification: line.email_verification,
        required_claims: texts(line.required_claims),
        register: texts(line.register),
        notes: texts(line.notes),
    };
    TABLE.iter().map(info).collect()
}

impl Preset {
    /// The preset that fits an issuer.
    #[must_use]
    pub fn of_issuer(issuer: &str) -> Self {
        let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let under = |domain: &str| {
            host.strip_suffix(domain)
                .is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
        };
        if host == "accounts.google.com" {
            Self::GoogleWorkspace
        } else if host == "login.microsoftonline.com" || host == "login.microsoftonline.us" {
            Self::Entra
        } else if under("okta.com") || under("oktapreview.com") || under("okta-emea.com") {
            Self::Okta
        } else if under("auth0.com") {
            Self::Auth0
        } else if under("onelogin.com") {
            Self::Onelogin
        } else if host.starts_with("auth.pingone.") {
            Self::Ping
        } else if path.starts_with("realms/") || path.contains("/realms/") {
            Self::Keycloak
        } else {
            Self::Generic
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_issuer_leads_back_to_its_preset() {
        for info in presets() {
            let example = |name: &str| {
                let found = info.placeholders.iter().find(|p| p.name == name);
                found.map(|p| p.example.clone())
            };
            let issuer = info.issuer_with(example).unwrap();
            assert!(!issuer.contains('{'), "{issuer}");
            assert_eq!(Preset::of_issuer(&issuer), info.preset, "{issuer}");
        }
        assert_eq!(Preset::of_issuer("https://evil-okta.com"), Preset::Generic);
        let entra = presets().into_iter().find(|p| p.preset == Preset::Entra).unwrap();
        assert_eq!(entra.issuer_with(|_| None), None);
    }
}
