//! From a provider's claims to an identity. Claims come from strangers: bounded, and cleaned for display.

use crate::provider::Fault;
use crate::trace::Trace;
use serde_json::{Map, Value};
use store::user::Identity;
use wire::{
    Authentication, Connection, ConnectionKind, ConnectionSpec, EmailVerification, MappedIdentity, Timestamp,
};

/// Longest subject (OpenID Connect Core 1.0, section 2, says 255).
const MAX_SUBJECT: usize = 255;
/// Longest e-mail address (RFC 5321).
pub(crate) const MAX_EMAIL: usize = 254;
/// Longest display name, in characters.
const MAX_NAME: usize = 200;
/// Most groups that are remembered.
const MAX_GROUPS: usize = 1000;
/// Longest claims that are remembered, as JSON.
const MAX_CLAIMS: usize = 64 * 1024;
/// Stable reasons of refusals.
pub(crate) const CLAIM_MISMATCH: &str = "claim_mismatch";
pub(crate) const EMAIL_UNVERIFIED: &str = "email_unverified";
pub(crate) const EMAIL_DOMAIN: &str = "email_domain";
pub(crate) const NOT_A_MEMBER: &str = "organisation_membership";
/// Claims about the token rather than the person. They differ each time, and no rule may ask about them.
const OF_THE_TOKEN: &[&str] = &[
    "acr",
    "amr",
    "aud",
    "azp",
    "exp",
    "iat",
    "nbf",
    "nonce",
    "jti",
    "sid",
    "at_hash",
    "c_hash",
    "s_hash",
    "auth_time",
];

/// What a name of the mapping leads to: a JSON pointer (RFC 6901) if it begins with `/`, else one claim, whose
/// name may well hold dots and slashes.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else {
        return claims.get(name);
    };
    let (first, rest) = match pointer.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pointer, None),
    };
    let first = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    match rest {
        Some(rest) => first.pointer(&format!("/{rest}")),
        None => Some(first),
    }
}

/// Whether the id token leaves out what the userinfo endpoint may know: the address, or groups where the provider
/// is asked for them or says that it has them.
pub(crate) fn lacks(
    spec: &ConnectionSpec,
    claims: &Map<String, Value>,
    offers: impl Fn(&str) -> bool,
) -> bool {
    let groups = &spec.claims.groups;
    let wants_groups = spec.scopes.iter().any(|scope| scope == "groups") || offers(groups);
    text(claims, &spec.claims.email).is_none() || (wants_groups && find(claims, groups).is_none())
}

/// Text, number or truth value, as an administrator would write it down.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The first claim that the connection requires and that is not there, or has another value: name, expected, found.
fn mismatch<'a>(spec: &'a ConnectionSpec, claims: &Map<String, Value>) -> Option<(&'a str, &'a str, String)> {
    spec.required_claims.iter().find_map(|(name, expected)| {
        let found = find(claims, name).and_then(plain);
        let fits = found.as_deref() == Some(expected);
        (!fits).then(|| {
            (
                name.as_str(),
                expected.as_str(),
                found.unwrap_or_else(|| "nothing".to_owned()),
            )
        })
    })
}

/// Goes on with claims that the connection requires, of which none may be missing.
pub(crate) fn require(
    spec: &ConnectionSpec,
    claims: &Map<String, Value>,
    trace: &mut Trace,
) -> Result<(), Fault> {
    // Entra, when there are more than 200: rather nobody than somebody without the groups that deny.
    let left_out = claims.get("hasgroups") == Some(&Value::Bool(true))
        || claims
            .get("_claim_names")
            .is_some_and(|names| names.get("groups").is_some());
    if left_out && claims.get("groups").is_none() {
        let text = "the provider leaves the groups out because there are too many: let it send only those that \
                    are assigned to the application";
        return Err(trace.failed("claims", Fault::Token(text.to_owned())));
    }
    if let Some((name, expected, found)) = mismatch(spec, claims) {
        let text = format!("the claim {name} is not what the connection requires");
        return Err(trace.differs("claims", Fault::Refused(CLAIM_MISMATCH, text), expected, &found));
    }
    match spec.required_claims.len() {
        0 => trace.skipped("claims", "the connection requires none"),
        1 => trace.ok("claims", "the required claim is right"),
        n => trace.ok("claims", format!("all {n} required claims are right")),
    }
    Ok(())
}

/// Most methods of one sign-in that are read, and longest name of one or of a class, in bytes.
const MOST_METHODS: (usize, usize) = (32, 255);

/// How somebody signed in. What is not of the form that the specifications give proves nothing.
pub(crate) fn authentication(claims: &Map<String, Value>) -> Authentication {
    let (most, longest) = MOST_METHODS;
    let word = |value: &Value| match value {
        Value::String(text) if !text.is_empty() && text.len() <= longest => Some(text.clone()),
        _ => None,
    };
    let amr = match claims.get("amr") {
        Some(Value::Array(all)) if all.len() <= most => all.iter().map(word).collect::<Option<Vec<_>>>(),
        // Some send the only one bare.
        Some(one) => word(one).map(|one| vec![one]),
        None => None,
    };
    Authentication {
        amr: amr.unwrap_or_default(),
        acr: claims.get("acr").and_then(word),
        auth_time: claims
            .get("auth_time")
            .and_then(Value::as_i64)
            .map(Timestamp::from_seconds),
    }
}

/// Who the claims are about.
pub(crate) fn identity(
    connection: &Connection,
    issuer: &str,
    mut claims: Map<String, Value>,
) -> Result<Identity, Fault> {
    let mapping = &connection.spec.claims;
    let subject = text(&claims, "sub").unwrap_or_default().to_owned();
    if subject.is_empty() || subject.len() > MAX_SUBJECT {
        return Err(Fault::Token("its subject is missing or too long".to_owned()));
    }
    let email = text(&claims, &mapping.email)
        .filter(|email| is_email(email))
        .map(ToOwned::to_owned);
    let email_verified = email.is_some()
        && match connection.spec.email_verification {
            EmailVerification::Always => true,
            EmailVerification::Never => false,
            // The provider vouches for its claim `email`; another claim counts only when it says the same.
            EmailVerification::Claim => {
                let vouched = matches!(claims.get("email_verified"), Some(Value::Bool(true)))
                    || text(&claims, "email_verified").is_some_and(|text| text == "true");
                vouched && email.as_deref() == text(&claims, "email")
            }
        };
    let name = text(&claims, &mapping.name)
        .map(|name| clean(name, MAX_NAME))
        .filter(|n| !n.is_empty());
    let groups = groups(find(&claims, &mapping.groups));
    for name in OF_THE_TOKEN {
        claims.remove(*name);
    }
    let size = serde_json::to_string(&claims).map_or(usize::MAX, |text| text.len());
    if size > MAX_CLAIMS {
        return Err(Fault::Token("its claims are too long".to_owned()));
    }
    Ok(Identity {
        connection: connection.id.clone(),
        issuer: issuer.to_owned(),
        subject,
        email,
        email_verified,
        name,
        groups,
        claims,
    })
}

/// Why the connection does not let somebody in of whom everything else is known, if it does not.
pub(crate) fn refusal(spec: &ConnectionSpec, identity: &Identity) -> Option<Fault> {
    if spec.kind == ConnectionKind::Github && !is_member(spec, identity) {
        let text = "they are in none of the organisations that the connection lets in, or the organisation does \
                    not let this application see it";
        return Some(Fault::Refused(NOT_A_MEMBER, text.to_owned()));
    }
    let reason = domain_refusal(&spec.allowed_domains, identity)?;
    let text = match reason {
        EMAIL_UNVERIFIED => {
            "the e-mail address does not count as verified, and only certain domains are let in"
        }
        _ => "the e-mail address is in none of the allowed domains",
    };
    Some(Fault::Refused(reason, text.to_owned()))
}

/// Whether somebody is in one of the GitHub organisations that are let in.
fn is_member(spec: &ConnectionSpec, identity: &Identity) -> bool {
    let wanted = &spec.github_organisations;
    // Teams have a slash in them, organisations cannot.
    wanted.is_empty()
        || identity
            .groups
            .iter()
            .any(|group| wanted.iter().any(|name| name.eq_ignore_ascii_case(group)))
}

/// Why the connection's rule about domains keeps somebody out, if it does.
pub(crate) fn domain_refusal(allowed: &[String], identity: &Identity) -> Option<&'static str> {
    if allowed.is_empty() {
        return None;
    }
    if !identity.email_verified {
        return Some(EMAIL_UNVERIFIED);
    }
    let email = identity.email.as_deref().unwrap_or_default();
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
    let fits = allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain));
    (!fits).then_some(EMAIL_DOMAIN)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    find(claims, name).and_then(Value::as_str)
}

/// What the API and the pages show of an identity.
pub(crate) fn shown(identity: &Identity) -> MappedIdentity {
    MappedIdentity {
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        email: identity.email.clone(),
        email_verified: identity.email_verified,
        name: identity.name.clone(),
        groups: identity.groups.clone(),
    }
}

/// Claims tried on a connection as it would be: who comes out, what the mapping does not find, and why they would
/// be refused.
pub(crate) fn preview(
    connection: &Connection,
    claims: &Map<String, Value>,
) -> Result<(Identity, Vec<String>, Option<&'static str>), Fault> {
    let issuer = connection.spec.issuer.as_deref().unwrap_or_default();
    let identity = identity(connection, issuer, claims.clone())?;
    let missing = [
        ("email", identity.email.is_none()),
        ("name", identity.name.is_none()),
        ("groups", identity.groups.is_empty()),
    ];
    let missing = missing.into_iter().filter(|(_, missing)| *missing);
    let missing = missing.map(|(name, _)| name.to_owned()).collect();
    let refused = match mismatch(&connection.spec, claims) {
        Some(_) => Some(CLAIM_MISMATCH),
        None => refusal(&connection.spec, &identity).map(|fault| fault.reason()),
    };
    Ok((identity, missing, refused))
}

fn groups(claim: Option<&Value>) -> Vec<String> {
    let one = |value: &Value| value.as_str().map(|text| clean(text, MAX_NAME));
    let mut groups: Vec<String> = match claim {
        Some(Value::Array(values)) => values.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    };
    groups.retain(|group| !group.is_empty());
    groups.truncate(MAX_GROUPS);
    groups
}

/// Whether the text can be an address at all; no proof that it is one.
fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    text.len() <= MAX_EMAIL
        && parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || is_deceptive(c))
}

/// Text without characters that hide, turn or break a line, at most `max` characters long.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let kept: String = text.chars().filter(|c| !is_deceptive(*c)).take(max).collect();
    kept.trim().to_owned()
}

/// Control, zero-width and bidirectional formatting characters.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn connection(spec: Value) -> Connection {
        let mut whole = json!({
            "id": wire::ConnectionId::fresh(), "name": "Acme", "kind": "oidc", "has_client_secret": false,
            "redirect_uri": "", "created_at": "2026-01-01T00:00:00Z", "version": 1,
        });
        whole
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn read(spec: Value, claims: Value) -> Result<Identity, Fault> {
        identity(
            &connection(spec),
            "https://idp",
            claims.as_object().unwrap().clone(),
        )
    }

    #[test]
    fn an_address_is_verified_only_where_the_provider_vouches_for_that_address() {
        let claims = json!({"sub": "1", "email": "a@acme.example", "upn": "a@other.example"});
        let plus = |verified: Value| {
            let mut claims = claims.clone();
            claims["email_verified"] = verified;
            claims
        };
        assert!(!read(json!({}), claims.clone()).unwrap().email_verified);
        assert!(!read(json!({}), plus(json!("yes"))).unwrap().email_verified);
        assert!(read(json!({}), plus(json!("true"))).unwrap().email_verified);
        assert!(read(json!({}), plus(json!(true))).unwrap().email_verified);
        let mapped = read(json!({"claims": {"email": "upn"}}), plus(json!(true))).unwrap();
        assert_eq!(mapped.email.as_deref(), Some("a@other.example"));
        assert!(!mapped.email_verified);
    }

    #[test]
    fn what_strangers_say_is_bounded_and_cannot_deceive() {
        let name = format!("Al\u{202e}ice\u{200b}\n{}", "x".repeat(500));
        let claims =
            json!({"sub": "1", "name": name, "email": "a@b\u{202e}c", "nonce": "n", "groups": "staff"});
        let identity = read(json!({}), claims).unwrap();
        let name = identity.name.unwrap();
        assert!(
            name.starts_with("Alicexxx") && name.chars().count() <= MAX_NAME,
            "{name}"
        );
        assert_eq!(identity.email, None);
        assert_eq!(identity.groups, ["staff"]);
        assert!(!identity.claims.contains_key("nonce"));
        assert!(read(json!({}), json!({"sub": "x".repeat(256)})).is_err());
        assert!(read(json!({}), json!({"sub": "1", "x": "x".repeat(70_000)})).is_err());
        assert!(read(json!({}), json!({"email": "a@b"})).is_err());
    }

    #[test]
    fn domains_count_only_with_a_verified_address() {
        let allowed = ["acme.example".to_owned()];
        let who = |email: &str, verified: bool| {
            read(
                json!({}),
                json!({"sub": "1", "email": email, "email_verified": verified}),
            )
            .unwrap()
        };
        assert_eq!(domain_refusal(&allowed, &who("a@ACME.example", true)), None);
        assert_eq!(
            domain_refusal(&allowed, &who("a@acme.example", false)),
            Some("email_unverified")
        );
        assert_eq!(
            domain_refusal(&allowed, &who("a@evil-acme.example", true)),
            Some("email_domain")
        );
        assert_eq!(
            domain_refusal(&allowed, &who("a@acme.example@evil.example", true)),
            Some("email_domain")
        );
        assert_eq!(domain_refusal(&[], &who("a@evil.example", false)), None);
    }
}
