//! What an OpenID provider says about itself: the discovery document, its keys, and what to think of them.

use crate::provider::{Fault, Http};
use crate::trace::Trace;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, IssuerUrl, ProviderMetadata};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use wire::{Connection, ConnectionSpec, Discovery, Preset};

/// Where the document is, below the issuer (OpenID Connect Discovery 1.0, section 4).
const SUFFIX: &str = "/.well-known/openid-configuration";
/// In the issuer of Entra's documents for several tenants.
const TENANT: &str = "{tenantid}";
/// The algorithms of id tokens that are accepted, where the provider announces them: all asymmetric ones that we can
/// check.
pub(crate) const ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];
/// The newer name of the last one (RFC 9864, section 2.2), which is the same with the only curve that we can check.
const ED25519: &str = "Ed25519";
/// What a document announces that says nothing of it: every provider must offer this one (OpenID Connect Core 1.0,
/// section 15.1).
const UNSAID: &str = "RS256";
/// Most entries of a list that are shown.
const MAX_LIST: usize = 200;

/// What we read of the discovery document beside what every client reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Extra {
    /// RFC 9207, section 3.
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
    /// OpenID Connect RP-Initiated Logout 1.0, section 2.1.
    #[serde(default)]
    pub(crate) end_session_endpoint: Option<String>,
}

impl AdditionalProviderMetadata for Extra {}

pub(crate) type Metadata = ProviderMetadata<
    Extra,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// What is kept of a provider for a while.
pub(crate) struct Known {
    /// With its keys.
    pub(crate) metadata: Metadata,
    /// What gives reason for concern.
    pub(crate) concerns: Vec<String>,
}

/// The document as it came, and where from.
struct Document {
    url: String,
    json: Value,
}

impl Document {
    async fn fetch(http: &Http, issuer: &str) -> Result<Self, Fault> {
        let url = format!("{}{SUFFIX}", issuer.trim_end_matches('/'));
        let answer = http.get(&url, None).await?;
        if answer.status != http::StatusCode::OK {
            return Err(Fault::status("its discovery document", answer.status));
        }
        let json = serde_json::from_slice(&answer.body).ok().filter(Value::is_object);
        let json =
            json.ok_or_else(|| Fault::Answer("its discovery document is not a JSON object".to_owned()))?;
        Ok(Self { url, json })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.json.get(name).and_then(Value::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.json.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let list = self.json.get(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts
            .map(|text| crate::claims::clean(text, 200))
            .take(MAX_LIST)
            .collect()
    }

    /// The algorithms of id tokens that it announces.
    fn algorithms(&self) -> Vec<String> {
        match self.list("id_token_signing_alg_values_supported") {
            none if none.is_empty() => vec![UNSAID.to_owned()],
            some => some.iter().map(|name| one_name(name).to_owned()).collect(),
        }
    }

    /// What we read of it, in the form that the library wants. How a provider writes the rest, and whether it leaves
    /// out what says nothing to us, keeps nobody out.
    fn metadata(&self) -> Result<Metadata, serde_json::Error> {
        let mut read = serde_json::Map::new();
        for needed in ["issuer", "authorization_endpoint", "jwks_uri"] {
            if let Some(value) = self.json.get(needed) {
                read.insert(needed.to_owned(), value.clone());
            }
        }
        for optional in ["token_endpoint", "userinfo_endpoint", "end_session_endpoint"] {
            if let Some(url) = self.text(optional).filter(|url| !url.is_empty()) {
                read.insert(optional.to_owned(), url.into());
            }
        }
        for list in ["token_endpoint_auth_methods_supported", "claims_supported"] {
            if self.json.get(list).is_some_and(Value::is_array) {
                read.insert(list.to_owned(), self.list(list).into());
            }
        }
        let named = "authorization_response_iss_parameter_supported";
        read.insert(named.to_owned(), self.flag(named).into());
        let algorithms = "id_token_signing_alg_values_supported";
        read.insert(algorithms.to_owned(), self.algorithms().into());
        // Required of documents, and of no use here.
        read.insert("response_types_supported".to_owned(), vec!["code"].into());
        read.insert("subject_types_supported".to_owned(), vec!["public"].into());
        serde_json::from_value(read.into())
    }

    /// What would keep sign-in from working, or makes it weaker than it could be.
    fn concerns(&self) -> Vec<String> {
        let mut concerns = Vec::new();
        let algorithms = self.algorithms();
        if !algorithms.iter().any(|a| ALGORITHMS.contains(&a.as_str())) {
            concerns.push(format!(
                "It offers none of the algorithms of id tokens that are accepted: {}.",
                ALGORITHMS.join(", ")
            ));
        }
        if algorithms.iter().any(|a| a == "none") {
            concerns.push("It offers unsigned id tokens. They are never accepted.".to_owned());
        }
        if !self
            .list("code_challenge_methods_supported")
            .iter()
            .any(|m| m == "S256")
        {
            concerns.push(
                "It does not say that it supports PKCE with S256. The challenge is sent all the same; whether \
                 it is checked is up to the provider."
                    .to_owned(),
            );
        }
        let kinds = self.list("response_types_supported");
        if !kinds.is_empty() && !kinds.iter().any(|kind| kind == "code") {
            concerns.push("It does not offer the authorization code flow.".to_owned());
        }
        if self.text("token_endpoint").is_none() {
            concerns.push("It names no token endpoint.".to_owned());
        }
        concerns
    }
}

/// Whatever type the provider calls them, and without those of kinds that the library does not know.
async fn keys(http: &Http, metadata: &Metadata) -> Result<CoreJsonWebKeySet, Fault> {
    let url = metadata.jwks_uri().url().as_str();
    let answer = http.get(url, None).await.map_err(|fault| match fault {
        Fault::Unreachable(text) => Fault::Unreachable(format!("its keys: {text}")),
        other => other,
    })?;
    if answer.status != http::StatusCode::OK {
        return Err(Fault::status("the document with its keys", answer.status));
    }
    let wrong = |e: serde_json::Error| Fault::Answer(format!("its keys: {e}"));
    let mut set: Value = serde_json::from_slice(&answer.body).map_err(wrong)?;
    if let Some(keys) = set.get_mut("keys").and_then(Value::as_array_mut) {
        keys.retain(may_verify);
        for key in keys {
            if key.get("alg").and_then(Value::as_str) == Some(ED25519) {
                key["alg"] = one_name(ED25519).into();
            }
        }
    }
    serde_json::from_value(set).map_err(wrong)
}

/// An algorithm by the name that we know it by.
pub(crate) fn one_name(algorithm: &str) -> &str {
    match algorithm {
        ED25519 => "EdDSA",
        other => other,
    }
}

/// Whether a key's `key_ops` (RFC 7517, section 4.3) allow what it is wanted for; the library knows of `use` only.
fn may_verify(key: &Value) -> bool {
    match key.get("key_ops") {
        None | Some(Value::Null) => true,
        Some(operations) => operations
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "verify")),
    }
}

/// The issuer that the document must name, and id tokens too. Entra's documents for several tenants name a
/// template, which the pinned tenant makes whole: nobody of another tenant signs in.
fn expected(spec: &ConnectionSpec, configured: &str, stated: &str) -> Result<String, Fault> {
    if spec.preset != Preset::Entra || !stated.contains(TENANT) {
        return Ok(configured.to_owned());
    }
    let Some(tenant) = spec.required_claims.get("tid") else {
        let text = "an issuer for several tenants needs required_claims.tid";
        return Err(Fault::Setup(text.to_owned()));
    };
    // But for the tenant, the document must name what is configured, path and all: one host serves many issuers.
    let named = stated.split_once(TENANT).and_then(|(before, after)| {
        let segment = configured.strip_prefix(before)?.strip_suffix(after)?;
        (!segment.is_empty() && !segment.contains('/')).then_some(segment)
    });
    let of_ours = |segment: &str| {
        let all = ["common", "organizations", "consumers", tenant.as_str()];
        all.iter().any(|name| segment.eq_ignore_ascii_case(name))
    };
    if !named.is_some_and(of_ours) {
        return Err(Fault::Issuer);
    }
    Ok(stated.replace(TENANT, tenant))
}

/// Asks a provider, step by step.
pub(crate) async fn discover(
    http: &Http,
    connection: &Connection,
    trace: &mut Trace,
) -> Result<Known, Fault> {
    let spec = &connection.spec;
    let setup = |text: &str| Fault::Setup(text.to_owned());
    let Some(configured) = spec.issuer.as_deref() else {
        return Err(trace.failed("setup", setup("it has no issuer")));
    };
    if spec.client_id.is_none() {
        return Err(trace.failed("setup", setup("it has no client id")));
    }
    trace.ok("setup", "issuer and client id are there");
    trace.has_asked = true;
    let document = match Document::fetch(http, configured).await {
        Ok(document) => document,
        Err(fault) => return Err(trace.failed("discovery", fault)),
    };
    trace.ok("discovery", format!("{} answers", document.url));

    let stated = document.text("issuer").unwrap_or_default().to_owned();
    let expected = match expected(spec, configured, &stated) {
        Ok(expected) => expected,
        Err(fault) => return Err(trace.differs("issuer", fault, configured, &stated)),
    };
    let whole = match spec.required_claims.get("tid") {
        Some(tenant) if spec.preset == Preset::Entra => stated.replace(TENANT, tenant),
        _ => stated.clone(),
    };
    if whole != expected {
        let fault =
            Fault::Answer("its discovery document names another issuer than the connection".to_owned());
        return Err(trace.differs("issuer", fault, &expected, &stated));
    }
    trace.ok("issuer", "the document names the issuer of the connection");

    let metadata = match document.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            let fault = Fault::Answer(format!("its discovery document: {error}"));
            return Err(trace.failed("endpoints", fault));
        }
    };
    let issuer = IssuerUrl::new(expected).map_err(|e| Fault::Setup(e.to_string()))?;
    let metadata = metadata.set_issuer(issuer);
    if let Err(fault) = endpoints(&metadata) {
        return Err(trace.failed("endpoints", fault));
    }
    let concerns = document.concerns();
    let text = if concerns.is_empty() {
        "all there, with PKCE (S256)".to_owned()
    } else {
        format!("all there. {}", concerns.join(" "))
    };
    trace.ok("endpoints", text);

    let keys = match keys(http, &metadata).await {
        Ok(keys) => keys,
        Err(fault) => return Err(trace.failed("keys", fault)),
    };
    if keys.keys().is_empty() {
        let fault = Fault::Answer("it publishes no keys that id tokens can be checked with".to_owned());
        return Err(trace.failed("keys", fault));
    }
    trace.ok("keys", format!("{} published", keys.keys().len()));
    Ok(Known {
        metadata: metadata.set_jwks(keys),
        concerns,
    })
}

fn endpoints(metadata: &Metadata) -> Result<(), Fault> {
    // The browser is sent there: no other schemes.
    let scheme = metadata.authorization_endpoint().url().scheme();
    if scheme != "https" && scheme != metadata.issuer().url().scheme() {
        return Err(Fault::Answer(
            "its authorization endpoint is not https".to_owned(),
        ));
    }
    if metadata.token_endpoint().is_none() {
        return Err(Fault::Answer("it has no token endpoint".to_owned()));
    }
    Ok(())
}

/// What somebody may have typed for an issuer: a bare host, or the URL of the document.
fn normalised(typed: &str) -> Result<Url, Fault> {
    let typed = typed.trim();
    let whole = if typed.contains("://") {
        typed.to_owned()
    } else {
        format!("https://{typed}")
    };
    let mut url = Url::parse(&whole).map_err(|e| Fault::Setup(format!("the issuer is not a URL: {e}")))?;
    url.set_query(None);
    url.set_fragment(None);
    if let Some(path) = url.path().split("/.well-known/").next().map(ToOwned::to_owned)
        && path != url.path()
    {
        url.set_path(&path);
    }
    Ok(url)
}

/// Asks a provider that no connection leads to yet.
pub(crate) async fn report(http: &Http, typed: &str) -> Result<Discovery, Fault> {
    let url = normalised(typed)?;
    let asked = url.as_str().trim_end_matches('/');
    let document = Document::fetch(http, asked).await?;
    let stated = document.text("issuer").unwrap_or_default().to_owned();
    let needed = |name: &str| {
        let text = document.text(name).map(ToOwned::to_owned);
        text.ok_or_else(|| Fault::Answer(format!("its discovery document has no {name}")))
    };
    let mut warnings = document.concerns();
    if stated.trim_end_matches('/') != asked {
        warnings.push(format!(
            "The document at {asked} names another issuer. Enter that one, if it is the right provider."
        ));
    }
    if stated.contains(TENANT) {
        let text =
            "The issuer is for several tenants. Use your own tenant's, or pin it by required_claims.tid.";
        warnings.push(text.to_owned());
    }
    let mut signing_keys = 0;
    match document.metadata() {
        Err(error) => warnings.push(format!("The document cannot be used: {error}")),
        Ok(metadata) => {
            if let Err(fault) = endpoints(&metadata) {
                warnings.push(format!("Sign-in would fail: {fault}."));
            }
            match keys(http, &metadata).await {
                Ok(keys) => signing_keys = u32::try_from(keys.keys().len()).unwrap_or(u32::MAX),
                Err(fault) => warnings.push(format!("Its keys cannot be read: {fault}.")),
            }
        }
    }
    let optional = |name: &str| document.text(name).map(ToOwned::to_owned);
    Ok(Discovery {
        preset: Preset::of_issuer(&stated),
        document_url: document.url.clone(),
        authorization_endpoint: needed("authorization_endpoint")?,
        token_endpoint: optional("token_endpoint"),
        userinfo_endpoint: optional("userinfo_endpoint"),
        jwks_uri: needed("jwks_uri")?,
        end_session_endpoint: optional("end_session_endpoint"),
        backchannel_logout: document.flag("backchannel_logout_supported"),
        scopes: document.list("scopes_supported"),
        claims: document.list("claims_supported"),
        algorithms: document.list("id_token_signing_alg_values_supported"),
        pkce_methods: document.list("code_challenge_methods_supported"),
        client_auth_methods: document.list("token_endpoint_auth_methods_supported"),
        names_issuer: document.flag("authorization_response_iss_parameter_supported"),
        signing_keys,
        warnings,
        issuer: stated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_becomes_an_issuer() {
        for (typed, issuer) in [
            ("acme.okta.com", "https://acme.okta.com/"),
            (
                " https://acme.okta.com/oauth2/default ",
                "https://acme.okta.com/oauth2/default",
            ),
            (
                "https://sso.example/realms/a/.well-known/openid-configuration?x=1#y",
                "https://sso.example/realms/a",
            ),
            ("http://127.0.0.1:7401", "http://127.0.0.1:7401/"),
        ] {
            assert_eq!(normalised(typed).unwrap().as_str(), issuer, "{typed}");
        }
        assert!(normalised("https://").is_err());
    }

    #[test]
    fn an_issuer_for_several_tenants_means_the_pinned_one() {
        let spec = |value: Value| serde_json::from_value::<ConnectionSpec>(value).unwrap();
        let stated = "https://login.microsoftonline.com/{tenantid}/v2.0";
        let common = "https://login.microsoftonline.com/common/v2.0";
        let entra = serde_json::json!({"name": "E", "kind": "oidc", "preset": "entra"});
        assert!(matches!(
            expected(&spec(entra.clone()), common, stated),
            Err(Fault::Setup(_))
        ));
        let mut pinned = entra;
        pinned["required_claims"] = serde_json::json!({"tid": "T"});
        let pinned = spec(pinned);
        let whole = "https://login.microsoftonline.com/T/v2.0";
        assert_eq!(expected(&pinned, common, stated).unwrap(), whole);
        // A template at another host, or at another path of the host, is another provider's; and so is another tenant.
        for configured in [
            "https://evil.example/common/v2.0",
            "https://login.microsoftonline.com/common",
            "https://login.microsoftonline.com/common/v2.0/",
            "https://login.microsoftonline.com/x/common/v2.0",
            "https://login.microsoftonline.com//v2.0",
            "https://login.microsoftonline.com/OTHER/v2.0",
        ] {
            assert!(expected(&pinned, configured, stated).is_err(), "{configured}");
        }
        let elsewhere = "https://login.microsoftonline.com/tenants/{tenantid}/v1";
        assert!(expected(&pinned, common, elsewhere).is_err());
        let twice = "https://login.microsoftonline.com/{tenantid}/v2.0/{tenantid}";
        assert!(expected(&pinned, common, twice).is_err());
        // Without the preset a template is just another issuer.
        let generic = spec(serde_json::json!({"name": "G", "kind": "oidc", "required_claims": {"tid": "T"}}));
        assert_eq!(expected(&generic, common, stated).unwrap(), common);
    }
}
