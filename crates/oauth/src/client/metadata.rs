//! Client metadata (RFC 7591 section 2) as strangers state it: one parser and the same limits for dynamic
//! registration and for metadata documents. What is not understood is ignored and never stored; URLs in it
//! (`logo_uri`, `client_uri` …) are never fetched, but for the `jwks_uri` of a document whose client signs.

use super::{name, redirect};
use serde::Serialize;
use serde_json::{Map, Value, json};
use wire::{OauthSettings, RegistrationRules};

/// Redirect URIs of one client.
const MOST_REDIRECTS: usize = 20;

/// Metadata that is acceptable at an app.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metadata {
    /// Cleaned.
    pub(crate) name: String,
    /// At least one is acceptable under the app's rules: of a registration all are. A document is written for the whole
    /// world; of it those are here that could be acceptable anywhere, and the one that is asked for is judged.
    pub(crate) redirect_uris: Vec<String>,
    /// Those that were left out, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`.
    pub(crate) auth_method: String,
    /// What is stored, and echoed at registration.
    pub(crate) stored: Value,
}

/// A redirect URI that a client does not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// In printable ASCII, and not at full length if it is long.
    pub(crate) redirect_uri: String,
    /// Why.
    pub(crate) reason: &'static str,
}

/// Why metadata is refused (RFC 7591 section 3.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `invalid_redirect_uri` or `invalid_client_metadata`.
    pub(crate) code: &'static str,
    /// For the developer of the client.
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn metadata(description: impl Into<String>) -> Self {
        Self {
            code: "invalid_client_metadata",
            description: description.into(),
        }
    }

    fn redirect(description: impl Into<String>) -> Self {
        Self {
            code: "invalid_redirect_uri",
            description: description.into(),
        }
    }
}

/// Who states the metadata.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// Whoever registers.
    Registration,
    /// The document of a host.
    Document {
        /// The host that the document proves.
        host: &'a str,
    },
}

/// Reads metadata under the rules of an app.
pub(crate) fn parse(document: &Value, app: &OauthSettings, origin: Origin<'_>) -> Result<Metadata, Refusal> {
    let members = document
        .as_object()
        .ok_or_else(|| Refusal::metadata("the metadata is not a JSON object"))?;
    let (host, default_method, fallback) = match origin {
        Origin::Registration => (None, "client_secret_basic", "Unnamed agent"),
        Origin::Document { host } => (Some(host), "none", host),
    };
    let rules = &app.registration;
    let (redirect_uris, left_out) = choose(redirects(members)?, (rules, host))?;
    let name = name::clean(text(members, "client_name")?.unwrap_or_default(), fallback);
    let auth_method = auth_method(members, origin, default_method)?;
    expects(members, "grant_types", "authorization_code")?;
    expects(members, "response_types", "code")?;

    let mut stored = json!({
        "client_name": name,
        "redirect_uris": redirect_uris,
        "token_endpoint_auth_method": auth_method,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    });
    let scopes: Vec<&str> = text(members, "scope")?
        .unwrap_or_default()
        .split(' ')
        .filter(|asked| app.scopes.iter().any(|known| known.name == *asked))
        .collect();
    if !scopes.is_empty() {
        stored["scope"] = scopes.join(" ").into();
    }
    Ok(Metadata {
        name,
        auth_method: auth_method.to_owned(),
        redirect_uris,
        left_out,
        stored,
    })
}

/// The redirect URIs that a client gets, and those that it does not.
fn choose(
    listed: Vec<String>,
    (rules, host): (&RegistrationRules, Option<&str>),
) -> Result<(Vec<String>, Vec<LeftOut>), Refusal> {
    let (mut kept, mut left_out, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for uri in listed {
        let judged = redirect::judge(&uri, rules, host);
        if let Err(reason) = judged {
            let redirect_uri = printable(&uri);
            faults.push(format!("{redirect_uri}: {reason}"));
            if host.is_none() || redirect::parse(&uri).is_err() {
                left_out.push(LeftOut { redirect_uri, reason });
                continue;
            }
        }
        kept.push(uri);
    }
    match faults.len() < kept.len() + left_out.len() {
        true => Ok((kept, left_out)),
        false => Err(Refusal::redirect(faults.join("; "))),
    }
}

/// How a client authenticates. A document may offer several ways; where one of them is none at all, that is how.
fn auth_method<'m>(
    members: &'m Map<String, Value>,
    origin: Origin<'_>,
    default: &'m str,
) -> Result<&'m str, Refusal> {
    let stated = text(members, "token_endpoint_auth_method")?.unwrap_or(default);
    let offered = members.get("token_endpoint_auth_methods_supported");
    let offered = offered.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has_keys = ["jwks", "jwks_uri"]
        .iter()
        .any(|name| members.get(*name).is_some_and(|keys| !keys.is_null()));
    match (stated, origin) {
        ("none", _) | ("client_secret_basic" | "client_secret_post", Origin::Registration) => Ok(stated),
        (_, Origin::Document { .. }) if offered.iter().any(|method| method == "none") => Ok("none"),
        ("private_key_jwt", Origin::Document { .. }) if has_keys => Ok(stated),
        ("private_key_jwt", Origin::Document { .. }) => Err(Refusal::metadata(
            "token_endpoint_auth_method is private_key_jwt, and there are neither jwks nor a jwks_uri",
        )),
        _ => Err(Refusal::metadata(
            "token_endpoint_auth_method is not one that this server supports for such a client",
        )),
    }
}

fn redirects(members: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let listed = members.get("redirect_uris").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| Refusal::redirect("redirect_uris is missing or not an array"))?;
    if listed.is_empty() || listed.len() > MOST_REDIRECTS {
        return Err(Refusal::redirect(format!(
            "redirect_uris must have between 1 and {MOST_REDIRECTS} members"
        )));
    }
    let mut uris: Vec<String> = Vec::with_capacity(listed.len());
    for uri in listed {
        let uri = uri
            .as_str()
            .ok_or_else(|| Refusal::redirect("redirect_uris has a member that is not a string"))?;
        if !uris.iter().any(|earlier| earlier == uri) {
            uris.push(uri.to_owned());
        }
    }
    Ok(uris)
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::metadata(format!("{name} is not a string"))),
    }
}

/// A list may be absent; if it is there it must contain the one value that this server works with.
fn expects(members: &Map<String, Value>, name: &str, value: &str) -> Result<(), Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.iter().any(|v| v == value) => Ok(()),
        Some(_) => Err(Refusal::metadata(format!("{name} does not contain {value:?}"))),
    }
}

/// A stranger's text in an error message: printable ASCII, bounded (RFC 6749 section 5.2).
fn printable(text: &str) -> String {
    let keep = |c: char| {
        if matches!(c, ' '..='~') && c != '"' && c != '\\' {
            c
        } else {
            '?'
        }
    };
    text.chars().take(200).map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(document: &Value) -> Result<Metadata, Refusal> {
        parse(document, &OauthSettings::default(), Origin::Registration)
    }

    const CB: &str = "http://127.0.0.1:1234/callback";

    #[test]
    fn dc7_unknown_members_are_ignored_and_not_stored() {
        let document = json!({
            "redirect_uris": [CB, CB], "client_name": "A\u{202e}gent", "scope": "* access admin",
            "is_admin": true, "tier": "approved", "jwks_uri": "http://169.254.169.254/", "logo_uri": "http://10.0.0.1/",
            "grant_types": ["authorization_code", "implicit", "client_credentials"],
            "token_endpoint_auth_method": "none",
        });
        let metadata = register(&document).unwrap();
        assert_eq!(
            metadata.stored,
            json!({
                "client_name": "Agent", "redirect_uris": [CB], "scope": "access",
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            })
        );
    }

    #[test]
    fn absent_members_take_their_defaults() {
        let metadata = register(&json!({"redirect_uris": [CB]})).unwrap();
        assert_eq!(
            (metadata.name.as_str(), metadata.auth_method.as_str()),
            ("Unnamed agent", "client_secret_basic")
        );
        let origin = Origin::Document {
            host: "agent.example",
        };
        let document = json!({"redirect_uris": ["https://agent.example/cb"]});
        let metadata = parse(&document, &OauthSettings::default(), origin).unwrap();
        assert_eq!(
            (metadata.name.as_str(), metadata.auth_method.as_str()),
            ("agent.example", "none")
        );
    }

    #[test]
    fn several_redirects_are_judged_one_by_one() {
        let bad = ["https://evil.example/cb", "javascript:x"];
        let metadata = register(&json!({"redirect_uris": [bad[0], CB, bad[1]]})).unwrap();
        assert_eq!(metadata.redirect_uris, [CB]);
        assert_eq!(metadata.stored["redirect_uris"], json!([CB]));
        let left_out: Vec<_> = metadata
            .left_out
            .iter()
            .map(|l| l.redirect_uri.as_str())
            .collect();
        assert_eq!(left_out, bad);
        let refused = register(&json!({"redirect_uris": bad})).unwrap_err();
        assert_eq!(refused.code, "invalid_redirect_uri");
        assert!(
            refused
                .description
                .contains("https://evil.example/cb: the app does not allow it")
        );
        assert!(refused.description.contains("javascript:x: its scheme"));
        // A document is for the whole world: what is refused here may be right elsewhere, or later.
        let of = |redirects: &[&str]| {
            let origin = Origin::Document {
                host: "agent.example",
            };
            parse(
                &json!({"redirect_uris": redirects}),
                &OauthSettings::default(),
                origin,
            )
        };
        let metadata = of(&[CB, bad[0], bad[1]]).unwrap();
        assert_eq!(metadata.redirect_uris, [CB, bad[0]]);
        assert_eq!(metadata.left_out.len(), 1);
        assert_eq!(of(&bad).unwrap_err().code, "invalid_redirect_uri");
    }

    #[test]
    fn a_document_that_offers_no_authentication_too_is_taken_so() {
        let with = |members: Value| {
            let mut document =
                json!({"redirect_uris": [CB], "token_endpoint_auth_method": "private_key_jwt"});
            let all = document.as_object_mut().unwrap();
            all.extend(members.as_object().unwrap().clone());
            let origin = Origin::Document {
                host: "agent.example",
            };
            parse(&document, &OauthSettings::default(), origin).map(|metadata| metadata.auth_method)
        };
        let offered = |methods: Value| json!({"token_endpoint_auth_methods_supported": methods});
        assert_eq!(
            with(offered(json!(["none", "private_key_jwt"]))).as_deref(),
            Ok("none")
        );
        assert_eq!(
            with(json!({"jwks_uri": "https://agent.example/k"})).as_deref(),
            Ok("private_key_jwt")
        );
        assert_eq!(
            with(json!({"jwks": {"keys": []}})).as_deref(),
            Ok("private_key_jwt")
        );
        for members in [
            json!({}),
            json!({"jwks": null}),
            offered(json!(["private_key_jwt"])),
            offered(json!("none")),
        ] {
            assert!(with(members.clone()).is_err(), "{members}");
        }
    }

    #[test]
    fn malformed_metadata_is_refused_by_its_proper_code() {
        for (document, code) in [
            (json!([]), "invalid_client_metadata"),
            (json!({}), "invalid_redirect_uri"),
            (json!({"redirect_uris": []}), "invalid_redirect_uri"),
            (json!({"redirect_uris": "x"}), "invalid_redirect_uri"),
            (json!({"redirect_uris": [1]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": vec![CB; 21]}), "invalid_redirect_uri"),
            (
                json!({"redirect_uris": [CB], "client_name": 7}),
                "invalid_client_metadata",
            ),
            (
                json!({"redirect_uris": [CB], "grant_types": ["implicit"]}),
                "invalid_client_metadata",
            ),
            (
                json!({"redirect_uris": [CB], "response_types": ["token"]}),
                "invalid_client_metadata",
            ),
            (
                json!({"redirect_uris": [CB], "token_endpoint_auth_method": "private_key_jwt"}),
                "invalid_client_metadata",
            ),
        ] {
            assert_eq!(register(&document).unwrap_err().code, code, "{document}");
        }
        let document = json!({"redirect_uris": [CB], "token_endpoint_auth_method": "client_secret_post"});
        let origin = Origin::Document {
            host: "agent.example",
        };
        assert!(parse(&document, &OauthSettings::default(), origin).is_err());
    }
}
