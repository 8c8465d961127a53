//! From a provider's claims to an identity. Claims come from strangers: bounded, and cleaned for display. What decides
//! (subject, address, groups) is never cleaned: it is taken exactly as it was sent, or the sign-in is refused.

use crate::provider::Fault;
use crate::trace::Trace;
use serde_json::{Map, Value};
use store::user::Identity;
use wire::{
    Address, Authentication, Connection, ConnectionKind, ConnectionSpec, EmailVerification, MappedIdentity,
    Timestamp, is_deceptive, is_plain,
};

/// Longest subject (OpenID Connect Core 1.0, section 2, says 255).
pub(crate) const MAX_SUBJECT: usize = 255;
/// Longest display name, in characters.
const MAX_NAME: usize = 200;
/// Most groups of a person.
const MAX_GROUPS: usize = 1000;
/// Longest name of a group, in bytes.
const MAX_GROUP: usize = 1000;
/// Longest claims that are remembered, as JSON.
const MAX_CLAIMS: usize = 64 * 1024;
/// Stable reasons of refusals.
pub(crate) const CLAIM_MISMATCH: &str = "claim_mismatch";
pub(crate) const EMAIL_UNVERIFIED: &str = "email_unverified";
pub(crate) const EMAIL_DOMAIN: &str = "email_domain";
pub(crate) const EMAIL_MALFORMED: &str = "email_malformed";
pub(crate) const GROUPS: &str = "groups_unusable";
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

fn mismatched(name: &str) -> Fault {
    let text = format!("the claim {name} is not what the connection requires");
    Fault::Refused(CLAIM_MISMATCH, text)
}

/// Members by which a provider says that it leaves groups out: Entra, when there are more than 200 (OpenID Connect Core 1.0,
/// section 5.6.2, names the first).
const ELSEWHERE: &str = "_claim_names";
const HAS_GROUPS: &str = "hasgroups";

/// Whether the provider says that there are groups which it does not send. What says so and cannot be read, says so.
fn leaves_groups_out(mapped: &str, claims: &Map<String, Value>) -> bool {
    let elsewhere = match claims.get(ELSEWHERE) {
        None | Some(Value::Null) => false,
        Some(Value::Object(names)) => names.contains_key("groups") || names.contains_key(mapped),
        Some(_) => true,
    };
    let has_groups = match claims.get(HAS_GROUPS) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(value) => plain(value).is_none_or(|text| !text.eq_ignore_ascii_case("false") && text != "0"),
    };
    elsewhere || has_groups
}

/// Takes over what userinfo says about groups that are left out, beside what the id token says about others.
pub(crate) fn tell_of_left_out(claims: &mut Map<String, Value>, userinfo: &Map<String, Value>) {
    for name in [ELSEWHERE, HAS_GROUPS] {
        let Some(more) = userinfo.get(name).filter(|more| !more.is_null()) else {
            continue;
        };
        match (claims.get_mut(name), more) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            _ => _ = claims.insert(name.to_owned(), more.clone()),
        }
    }
}

/// Goes on with claims that the connection requires, of which none may be missing.
pub(crate) fn require(
    spec: &ConnectionSpec,
    claims: &Map<String, Value>,
    trace: &mut Trace,
) -> Result<(), Fault> {
    if let Some((name, expected, found)) = mismatch(spec, claims) {
        return Err(trace.differs("claims", mismatched(name), expected, &found));
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
        // Nothing that could be somebody's address: it is told to whoever may know of the sign-in.
        Value::String(text) if !text.is_empty() && text.len() <= longest && !text.contains('@') => {
            Some(text.clone())
        }
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
        auth_time: claims.get("auth_time").and_then(asked_at),
        ..Authentication::NONE
    }
}

/// When the person was asked who they are; nothing where it is not said. What is said and cannot be read is no moment
/// that anything could be recent since.
fn asked_at(claim: &Value) -> Option<Timestamp> {
    /// The last second of the year 9999.
    const LAST: f64 = 253_402_300_799.0;
    if claim.is_null() {
        return None;
    }
    let seconds = claim.as_f64().filter(|seconds| (0.0..=LAST).contains(seconds));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number of seconds, and within bounds"
    )]
    let seconds = seconds.map_or(0, |seconds| seconds.floor() as i64);
    Some(Timestamp::from_seconds(seconds))
}

/// Who the claims are about.
pub(crate) fn identity(
    connection: &Connection,
    issuer: &str,
    claims: Map<String, Value>,
) -> Result<Identity, Fault> {
    let mapping = &connection.spec.claims;
    let subject = text(&claims, "sub").unwrap_or_default().to_owned();
    if subject.is_empty() || subject.len() > MAX_SUBJECT {
        return Err(Fault::Token("its subject is missing or too long".to_owned()));
    }
    if !is_plain(&subject) {
        let text = "its subject holds blanks at its ends or characters that cannot be seen";
        return Err(Fault::Token(text.to_owned()));
    }
    let email = text(&claims, &mapping.email)
        .filter(|email| Address::parse(email).is_ok())
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
    // Rather nobody than somebody without the groups that deny.
    let is_none = |claim: Option<&Value>| match claim {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(claim) => claim.as_array().is_some_and(Vec::is_empty),
    };
    if leaves_groups_out(&mapping.groups, &claims)
        && is_none(claims.get("groups"))
        && is_none(find(&claims, &mapping.groups))
    {
        let text = "the provider leaves the groups out because there are too many: let it send only those that \
                    are assigned to the application, or app roles";
        return Err(Fault::Refused(GROUPS, text.to_owned()));
    }
    let groups = groups(
        find(&claims, &mapping.groups),
        mapping.groups_separator.as_deref(),
        mapping.groups_member.as_deref(),
    )
    .map_err(|text| Fault::Refused(GROUPS, format!("the claim {} {text}", mapping.groups)))?;
    let claims = remembered(&claims).ok_or_else(|| Fault::Token("its claims are too long".to_owned()))?;
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

/// Claims as they are remembered: what is about the person. Nothing where they are too long.
pub(crate) fn remembered(claims: &Map<String, Value>) -> Option<Map<String, Value>> {
    let of_the_person = |name: &String| !OF_THE_TOKEN.contains(&name.as_str());
    let claims: Map<_, _> = claims
        .iter()
        .filter(|(name, _)| of_the_person(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let size = serde_json::to_string(&claims).map_or(usize::MAX, |text| text.len());
    (size <= MAX_CLAIMS).then_some(claims)
}

/// Why the connection does not let somebody in of whom everything else is known, if it does not.
pub(crate) fn refusal(spec: &ConnectionSpec, identity: &Identity) -> Option<Fault> {
    if spec.kind == ConnectionKind::Github && !is_member(spec, identity) {
        let text = "they are in none of the organisations that the connection lets in, or the organisation does \
                    not let this application see it";
        return Some(Fault::Refused(NOT_A_MEMBER, text.to_owned()));
    }
    let (reason, text) = domain_refusal(spec, identity)?;
    Some(Fault::Refused(reason, text))
}

/// Whether somebody is in one of the GitHub organisations that are let in. What GitHub said decides, whatever the
/// mapping makes groups of; it does not tell logins apart by case.
fn is_member(spec: &ConnectionSpec, identity: &Identity) -> bool {
    let wanted = &spec.github_organisations;
    let found = identity.claims.get("organisations").and_then(Value::as_array);
    let mut found = found.into_iter().flatten().filter_map(Value::as_str);
    wanted.is_empty() || found.any(|found| wanted.iter().any(|name| name.eq_ignore_ascii_case(found)))
}

/// Why the connection's rule about domains keeps somebody out, if it does: the stable reason, and in words.
fn domain_refusal(spec: &ConnectionSpec, identity: &Identity) -> Option<(&'static str, String)> {
    if spec.allowed_domains.is_empty() {
        return None;
    }
    if let Some(why) = malformed(spec, &identity.claims) {
        return Some((
            EMAIL_MALFORMED,
            format!("only certain domains are let in, and {why}"),
        ));
    }
    let address = identity.email.as_deref().map(Address::parse);
    let (true, Some(Ok(address))) = (identity.email_verified, address) else {
        let text = "the e-mail address does not count as verified, and only certain domains are let in";
        return Some((EMAIL_UNVERIFIED, text.to_owned()));
    };
    let fits = is_allowed(&spec.allowed_domains, &address);
    (!fits).then(|| {
        let text = "the e-mail address is in none of the allowed domains";
        (EMAIL_DOMAIN, text.to_owned())
    })
}

/// Whether an address is in one of the domains that are let in.
pub(crate) fn is_allowed(allowed: &[String], address: &Address<'_>) -> bool {
    allowed.iter().any(|domain| address.is_in(domain))
}

/// What is wrong with the claim that should be an e-mail address, if it is there. It is not taken then, so that
/// nobody is let in by it.
pub(crate) fn malformed(spec: &ConnectionSpec, claims: &Map<String, Value>) -> Option<String> {
    let claim = find(claims, &spec.claims.email).filter(|claim| !claim.is_null())?;
    let name = &spec.claims.email;
    let Some(text) = claim.as_str() else {
        return Some(format!("the claim {name} is no text"));
    };
    let why = Address::parse(text).err().filter(|_| !text.is_empty())?;
    Some(format!(
        "the claim {name} is no e-mail address that can be compared: {why}"
    ))
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
) -> Result<(Identity, Vec<String>, Option<Fault>), Fault> {
    let issuer = connection.spec.issuer.as_deref().unwrap_or_default();
    let (identity, unusable) = match identity(connection, issuer, claims.clone()) {
        Err(fault @ Fault::Refused(..)) => {
            let mut without = (connection.clone(), claims.clone());
            without.0.spec.claims.groups = String::new();
            for name in [ELSEWHERE, HAS_GROUPS] {
                without.1.remove(name);
            }
            (identity(&without.0, issuer, without.1)?, Some(fault))
        }
        other => (other?, None),
    };
    let missing = [
        ("email", identity.email.is_none()),
        ("name", identity.name.is_none()),
        ("groups", identity.groups.is_empty()),
    ];
    let missing = missing.into_iter().filter(|(_, missing)| *missing);
    let missing = missing.map(|(name, _)| name.to_owned()).collect();
    let refused = match mismatch(&connection.spec, claims) {
        Some((name, ..)) => Some(mismatched(name)),
        None => unusable.or_else(|| refusal(&connection.spec, &identity)),
    };
    Ok((identity, missing, refused))
}

/// The name of one group of a list.
fn named<'v>(group: &'v Value, member: Option<&str>) -> Option<&'v str> {
    match (group, member) {
        (Value::Object(group), Some(member)) => group.get(member)?.as_str(),
        (group, _) => group.as_str(),
    }
}

/// Whether a text looks like a list or an object in JSON, or in the way in which many programs print one.
fn is_list_as_text(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with('[') && text.ends_with(']')) || (text.starts_with('{') && text.ends_with('}'))
}

/// The groups of a claim, exactly as they were sent: an array, or a text that is one group, or several with
/// `separator` between them, or objects of which a `member` counts. One that cannot be told from another at sight,
/// or is too long, and too many of them, are refused in words: a rule may ask about what would be missing.
fn groups(
    claim: Option<&Value>,
    separator: Option<&str>,
    member: Option<&str>,
) -> Result<Vec<String>, String> {
    let groups: Vec<&str> = match (claim, separator) {
        (None | Some(Value::Null), _) => Vec::new(),
        // One group of such a name would hide those that are meant from rules that deny.
        (Some(Value::String(text)), _) if is_list_as_text(text) => {
            return Err(
                "is a list that was written into a text: let the provider send it as a list".to_owned(),
            );
        }
        // Whether it is one group or several, nobody can say.
        (Some(Value::String(text)), None) if text.contains([',', ';']) => {
            return Err(
                "is one text with a comma or semicolon in it: `groups_separator` of the mapping says what stands \
                 between groups, blanks included; one that does not occur leaves the text one group"
                    .to_owned(),
            );
        }
        // An empty text is none (OpenID Connect Core 1.0, section 5.3.2); nothing between two separators is no name.
        (Some(Value::String(text)), separator) => {
            let names = separator.map_or_else(|| vec![&**text], |separator| text.split(separator).collect());
            let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
            if names.is_empty() && !text.is_empty() {
                return Err("holds separators and no name".to_owned());
            }
            names
        }
        (Some(Value::Array(values)), _) => {
            let texts = values
                .iter()
                .map(|value| named(value, member))
                .collect::<Option<_>>();
            texts.ok_or_else(|| match values.iter().any(Value::is_object) {
                true => "holds groups as objects: `groups_member` of the mapping says which member of each is its \
                         name, and all have it as text"
                    .to_owned(),
                false => "holds something else than names of groups".to_owned(),
            })?
        }
        (Some(_), _) => return Err("is neither a list of groups nor a text".to_owned()),
    };
    if groups.len() > MAX_GROUPS {
        return Err(format!(
            "has {} groups, more than {MAX_GROUPS}: let the provider send only those that matter here",
            groups.len()
        ));
    }
    for (i, group) in groups.iter().enumerate() {
        // Its name is the person's, and this is read by others.
        let which = format!("has at place {} of {}", i + 1, groups.len());
        if group.len() > MAX_GROUP {
            return Err(format!("{which} a name that is longer than {MAX_GROUP} bytes"));
        }
        if group.is_empty() {
            return Err(format!("{which} a group without name"));
        }
        if let Some(hidden) = group.chars().find(|c| is_deceptive(*c)) {
            let hidden = u32::from(hidden);
            return Err(format!(
                "{which} a name with the character U+{hidden:04X}, which cannot be seen: groups are compared exactly"
            ));
        }
        if !is_plain(group) {
            return Err(format!(
                "{which} a name with blanks around it: groups are compared exactly (a separator may hold blanks)"
            ));
        }
    }
    Ok(groups.into_iter().map(ToOwned::to_owned).collect())
}

/// Text without characters that hide, turn or break a line, at most `max` characters long.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let kept: String = text.chars().filter(|c| !is_deceptive(*c)).take(max).collect();
    kept.trim().to_owned()
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
        for sub in ["a\u{0}", " a", "a\u{200b}"] {
            assert!(read(json!({}), json!({"sub": sub})).is_err(), "{sub:?}");
        }
    }

    #[test]
    fn groups_are_what_was_sent_or_the_sign_in_says_why_not() {
        let of = |groups: Value| read(json!({}), json!({"sub": "1", "groups": groups}));
        for exact in [
            json!(["admins", "Admins", "a b", "B\u{fc}ro"]),
            json!([]),
            json!(["x".repeat(1000)]),
        ] {
            assert_eq!(json!(of(exact.clone()).unwrap().groups), exact);
        }
        for (none, groups) in [(json!(null), 0), (json!(""), 0), (json!([]), 0)] {
            assert_eq!(of(none).unwrap().groups.len(), groups);
        }
        let many = |n: usize| json!((0..n).map(|i| format!("g{i}")).collect::<Vec<_>>());
        assert_eq!(of(many(1000)).unwrap().groups.len(), 1000);
        for (bad, why) in [
            (
                json!(["admins", "ad\u{200b}mins"]),
                "at place 2 of 2 a name with the character U+200B",
            ),
            (json!(["admins\u{0}"]), "U+0000"),
            (json!(["\u{202e}admins"]), "U+202E"),
            (json!([" admins "]), "blanks around it"),
            (json!(" admins"), "blanks around it"),
            (json!(["admins", 5]), "something else than names"),
            (json!(["admins", null]), "something else than names"),
            (json!(["admins", ""]), "at place 2 of 2 a group without name"),
            (json!({"admins": true}), "neither a list"),
            (json!("[\"admins\",\"staff\"]"), "written into a text"),
            (json!("[admins, staff]"), "written into a text"),
            (json!("{\"name\":\"admins\"}"), "written into a text"),
            (json!(["x".repeat(1001)]), "longer than 1000 bytes"),
            (many(1001), "1001 groups, more than 1000"),
        ] {
            match of(bad.clone()) {
                Err(Fault::Refused(GROUPS, text)) => assert!(text.contains(why), "{text}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn of_groups_that_are_objects_the_member_counts_that_the_connection_names() {
        let of = |member: Value, groups: Value| {
            let spec = json!({"claims": {"groups_member": member}});
            read(spec, json!({"sub": "1", "groups": groups}))
        };
        let objects = json!([{"value": "17", "name": "admins"}, {"value": "18", "name": "staff"}]);
        assert_eq!(
            of(json!("name"), objects.clone()).unwrap().groups,
            ["admins", "staff"]
        );
        assert_eq!(of(json!("value"), objects.clone()).unwrap().groups, ["17", "18"]);
        assert_eq!(
            of(json!("name"), json!(["plain", {"name": "staff"}]))
                .unwrap()
                .groups,
            ["plain", "staff"]
        );
        // Never silently none.
        for (member, groups) in [
            (json!(null), objects.clone()),
            (json!("id"), objects),
            (json!("name"), json!([{"name": "staff"}, {"value": "18"}])),
            (json!("name"), json!([{"name": 7}])),
        ] {
            match of(member, groups.clone()) {
                Err(Fault::Refused(GROUPS, text)) => assert!(text.contains("groups_member"), "{text}"),
                other => panic!("{groups}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_text_is_several_groups_where_the_connection_says_so() {
        let of = |separator: Value, groups: &str| {
            let spec = json!({"claims": {"groups_separator": separator}});
            read(spec, json!({"sub": "1", "groups": groups}))
        };
        let groups = |separator: Value, text: &str| of(separator, text).unwrap().groups;
        assert!(of(json!(null), "admins,developers").is_err());
        assert!(of(json!(null), "admins; developers").is_err());
        assert_eq!(groups(json!(null), "Domain Admins"), ["Domain Admins"]);
        assert_eq!(groups(json!("|"), "CN=Admins,DC=acme"), ["CN=Admins,DC=acme"]);
        assert_eq!(groups(json!(","), "admins,developers"), ["admins", "developers"]);
        assert_eq!(
            groups(json!(", "), "admins, developers"),
            ["admins", "developers"]
        );
        assert_eq!(
            groups(json!(" "), "admins  developers "),
            ["admins", "developers"]
        );
        // What the separator leaves is not cleaned.
        assert!(of(json!(","), "admins, developers").is_err());
        let array = read(
            json!({"claims": {"groups_separator": ","}}),
            json!({"sub": "1", "groups": ["a,b"]}),
        );
        assert_eq!(array.unwrap().groups, ["a,b"]);
    }

    #[test]
    fn a_preview_says_what_a_sign_in_would_refuse() {
        let of = |claims: Value| preview(&connection(json!({})), claims.as_object().unwrap()).unwrap();
        let (identity, _, refused) = of(json!({"sub": "1", "groups": [" a"]}));
        assert!(identity.groups.is_empty());
        let refused = refused.unwrap();
        assert_eq!(refused.reason(), GROUPS);
        assert!(refused.to_string().contains("blanks"), "{refused}");
        assert!(of(json!({"sub": "1", "groups": ["a"]})).2.is_none());
    }

    #[test]
    fn domains_count_only_with_a_verified_address_that_can_be_read() {
        let refused = |email: &str, verified: bool| {
            let spec = json!({"allowed_domains": ["acme.example"]});
            let claims = json!({"sub": "1", "email": email, "email_verified": verified});
            let identity = read(spec.clone(), claims).unwrap();
            domain_refusal(&connection(spec).spec, &identity).map(|(reason, _)| reason)
        };
        assert_eq!(refused("a@ACME.example", true), None);
        assert_eq!(refused("a@acme.example", false), Some(EMAIL_UNVERIFIED));
        assert_eq!(refused("", true), Some(EMAIL_UNVERIFIED));
        for elsewhere in [
            "a@evil-acme.example",
            "a@sub.acme.example",
            "a@acme.example.evil.example",
        ] {
            assert_eq!(refused(elsewhere, true), Some(EMAIL_DOMAIN), "{elsewhere}");
        }
        for malformed in [
            "a@evil.com@acme.example",
            "a@acme.example@evil.example",
            "\"a@evil.com\"@acme.example",
            "a@evil.com,b@acme.example",
            "a@acme.example.",
            "a@acme.example ",
            "(a@evil.com)@acme.example",
        ] {
            assert_eq!(refused(malformed, true), Some(EMAIL_MALFORMED), "{malformed}");
        }
        let claims = json!({"sub": "1", "email": "a@evil.example"});
        let anywhere = read(json!({}), claims).unwrap();
        assert_eq!(domain_refusal(&connection(json!({})).spec, &anywhere), None);
    }

    #[test]
    fn only_what_github_says_of_organisations_counts() {
        let spec = json!({
            "kind": "github", "github_organisations": ["acme"], "claims": {"groups": "login"},
        });
        let refused = |claims: Value| {
            let identity = read(spec.clone(), claims).unwrap();
            refusal(&connection(spec.clone()).spec, &identity).is_some()
        };
        assert!(refused(json!({"sub": "1", "login": "acme", "organisations": []})));
        assert!(refused(
            json!({"sub": "1", "organisations": ["acme/team", "acmes"]})
        ));
        assert!(!refused(
            json!({"sub": "1", "login": "x", "organisations": ["ACME"]})
        ));
    }
}
