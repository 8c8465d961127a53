//! OpenID Connect: the authorization request, the code, the id token, and what else a provider signs.
//!
//! Knows connections and claims, nothing of browsers, sessions or people.

use crate::claims;
use crate::discovery::{self, Known, Metadata};
use crate::provider::{Answer, Attempt, Fault, Http, Identified, Providers};
use crate::trace::Trace;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken,
    CoreIdTokenVerifier, CoreJsonWebKey, CoreJwsSigningAlgorithm, CoreTokenResponse,
};
use openidconnect::{
    AccessTokenHash, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, JsonWebKey as _, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    TokenResponse as _,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use store::Store;
use wire::{Connection, Preset};

/// How far the provider's clock may be off, in seconds.
const LEEWAY: i64 = 60;

/// A client whose authorization endpoint is known, and whose others may be.
type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A token that the provider signed, whatever else it is.
pub(crate) struct Signed {
    /// Whose key it was.
    pub(crate) issuer: String,
    /// What the token calls itself (`typ`).
    pub(crate) kind: Option<String>,
    /// What it says. Nothing of it was checked.
    pub(crate) claims: Map<String, Value>,
}

/// The head of a JWS, as far as we accept one.
#[derive(Deserialize)]
struct Head {
    alg: CoreJwsSigningAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood: we understand none.
    crit: Option<Value>,
}

/// The algorithms that tokens may be signed with. Asymmetric only: a provider that offers HMAC would make our
/// client secret a signing key.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 4] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];

impl Providers {
    /// What the provider publishes, as of the last ten minutes.
    async fn known(
        &self,
        connection: &Connection,
        afresh: bool,
        trace: &mut Trace,
    ) -> Result<Arc<Known>, Fault> {
        let key = (connection.id.clone(), connection.version);
        if afresh {
            let known = Arc::new(self.discover(connection, trace).await?);
            self.known.insert(key, Arc::clone(&known)).await;
            return Ok(known);
        }
        if let Some(known) = self.known.get(&key).await {
            if !trace.has("discovery") {
                trace.skipped("discovery", "known from a moment ago");
            }
            return Ok(known);
        }
        let fetch = async { self.discover(connection, trace).await.map(Arc::new) };
        // Whoever waited for the same fetch shares its failure.
        let fetched = self.known.try_get_with(key, fetch).await;
        fetched.map_err(|fault| fault.shared())
    }

    async fn metadata(&self, connection: &Connection) -> Result<Arc<Known>, Fault> {
        self.known(connection, false, &mut Trace::new()).await
    }

    async fn discover(&self, connection: &Connection, trace: &mut Trace) -> Result<Known, Fault> {
        let http = self.http(connection)?;
        discovery::discover(&http, connection, trace).await
    }

    /// What the provider publishes, fetched anew because a token names an unknown key; not too often.
    async fn refetch(&self, connection: &Connection) -> Option<Arc<Known>> {
        let first = self.refetched.entry(connection.id.clone()).or_insert(());
        if !first.is_fresh() {
            return None;
        }
        self.known(connection, true, &mut Trace::new()).await.ok()
    }

    /// What gives reason for concern in the discovery document, as far as it is known.
    pub(crate) async fn concerns(&self, connection: &Connection) -> Vec<String> {
        let key = (connection.id.clone(), connection.version);
        let known = self.known.get(&key).await;
        known.map(|known| known.concerns.clone()).unwrap_or_default()
    }

    async fn client(
        &self,
        store: &Store,
        connection: &Connection,
        metadata: &Metadata,
    ) -> Result<Client, Fault> {
        let id = connection.spec.client_id.clone();
        let id = id.ok_or_else(|| Fault::Setup("it has no client id".to_owned()))?;
        let secret = store::connection::secret(store, &connection.id).await?;
        let secret = secret.map(|secret| ClientSecret::new(secret.as_str().to_owned()));
        let redirect = RedirectUrl::new(self.redirect_uri(connection));
        let redirect = redirect.map_err(|e| Fault::Setup(e.to_string()))?;
        let client = CoreClient::from_provider_metadata(metadata.clone(), ClientId::new(id), secret);
        let auth = if posts_secret(metadata) {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        Ok(client.set_redirect_uri(redirect).set_auth_type(auth))
    }

    /// Where to send the browser.
    pub(crate) async fn begin_oidc(
        &self,
        store: &Store,
        connection: &Connection,
        (attempt, afresh): (&Attempt, bool),
        trace: &mut Trace,
    ) -> Result<String, Fault> {
        let known = self.known(connection, afresh, trace).await?;
        let client = match self.client(store, connection, &known.metadata).await {
            Ok(client) => client,
            Err(fault) => return Err(trace.failed("client_secret", fault)),
        };
        match (connection.has_client_secret, posts_secret(&known.metadata)) {
            (true, true) => trace.ok("client_secret", "there; sent in the body (client_secret_post)"),
            (true, false) => trace.ok("client_secret", "there; sent in a header (client_secret_basic)"),
            (false, _) => trace.skipped(
                "client_secret",
                "none: the provider must take us for a public client",
            ),
        }
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let (state, nonce) = (attempt.state.clone(), attempt.nonce.clone());
        let spec = &connection.spec;
        let scopes = spec.scopes.iter().filter(|scope| *scope != "openid");
        let mut request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            || CsrfToken::new(state),
            || Nonce::new(nonce),
        );
        if attempt.again {
            // Some providers know only one of them.
            request = request
                .add_prompt(CoreAuthPrompt::Login)
                .set_max_age(Duration::ZERO);
        }
        if let (Preset::GoogleWorkspace, Some(domain)) = (spec.preset, spec.required_claims.get("hd")) {
            // Only a hint to the provider; the claim is what counts.
            request = request.add_extra_param("hd", domain.clone());
        }
        let (url, ..) = request
            .add_scopes(scopes.cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        trace.ok(
            "redirect",
            format!(
                "to {} with redirect URI {} and scopes openid {}",
                known.metadata.authorization_endpoint().as_str(),
                self.redirect_uri(connection),
                spec.scopes.join(" ")
            ),
        );
        Ok(url.into())
    }

    /// Where a browser signs out at the provider, if anywhere.
    pub(crate) async fn end_session_endpoint(
        &self,
        connection: &Connection,
    ) -> Result<Option<url::Url>, Fault> {
        let known = self.metadata(connection).await?;
        let metadata = &known.metadata;
        let Some(endpoint) = &metadata.additional_metadata().end_session_endpoint else {
            return Ok(None);
        };
        let endpoint = url::Url::parse(endpoint).ok();
        // The browser is sent there: no other schemes.
        let endpoint = endpoint
            .filter(|url| url.scheme() == "https" || url.scheme() == metadata.issuer().url().scheme())
            .ok_or_else(|| Fault::Answer("its end session endpoint is not https".to_owned()))?;
        Ok(Some(endpoint))
    }

    /// A token that the provider signed with one of its keys; what it says is for the caller to check.
    pub(crate) async fn signed(&self, connection: &Connection, token: &str) -> Result<Signed, Fault> {
        let known = self.metadata(connection).await?;
        let (kind, claims) = match verify(token, known.metadata.jwks().keys()) {
            Err(SignatureVerificationError::NoMatchingKey) => {
                let known = self.refetch(connection).await;
                let known = known.ok_or_else(|| unverified(&SignatureVerificationError::NoMatchingKey))?;
                verify(token, known.metadata.jwks().keys())
            }
            other => other,
        }
        .map_err(|error| unverified(&error))?;
        Ok(Signed {
            issuer: known.metadata.issuer().as_str().to_owned(),
            kind,
            claims,
        })
    }

    /// Redeems the code, checks the id token, and says who it is about.
    pub(crate) async fn identify_oidc(
        &self,
        store: &Store,
        connection: &Connection,
        answer: Answer<'_>,
        trace: &mut Trace,
    ) -> Result<Identified, Fault> {
        let known = self.known(connection, false, trace).await?;
        let issuer = known.metadata.issuer().as_str();
        // RFC 9207: the answer must come from the provider that this attempt went to.
        let named = known
            .metadata
            .additional_metadata()
            .authorization_response_iss_parameter_supported;
        match answer.iss {
            Some(iss) if iss != issuer => return Err(trace.differs("callback", Fault::Issuer, issuer, iss)),
            None if answer.shared => return Err(trace.failed("callback", Fault::Nameless)),
            None if named => {
                return Err(trace.differs("callback", Fault::Issuer, issuer, "no iss parameter"));
            }
            Some(_) => trace.ok(
                "callback",
                "a code came for this attempt, from the issuer that was asked",
            ),
            None => trace.ok("callback", "a code came for this attempt"),
        }
        let client = self.client(store, connection, &known.metadata).await?;
        let http = self.http(connection)?;
        trace.has_asked = true;
        let tokens = match exchange(&client, &http, &answer).await {
            Ok(tokens) => tokens,
            Err(fault) => return Err(trace.failed("token", fault)),
        };
        let Some(token) = tokens.id_token() else {
            let fault = Fault::Answer("it sent no id token".to_owned());
            return Err(trace.failed("token", fault));
        };
        trace.ok("token", "the code was redeemed for an id token");

        let nonce = Nonce::new(answer.nonce.to_owned());
        let access = tokens.access_token();
        let mut checked = check(token, &verifier(&client, store), &nonce, access);
        if let Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) =
            checked
            && let Some(known) = self.refetch(connection).await
        {
            let client = self.client(store, connection, &known.metadata).await?;
            checked = check(token, &verifier(&client, store), &nonce, access);
        }
        let claims = payload(token)?;
        if let Err(error) = checked {
            return Err(explain(trace, &error, connection, (issuer, &claims)));
        }
        if let Some(since) = answer.asked_since {
            // Mandatory, because the request said max_age (OpenID Connect Core, sections 2 and 3.1.2.1).
            let stated = claims.get("auth_time").and_then(Value::as_i64);
            let text = match stated {
                None => Some("its id token has no auth_time"),
                Some(stated) if stated < since.seconds() - LEEWAY => Some("its auth_time is from before"),
                Some(_) => None,
            };
            if let Some(text) = text {
                return Err(trace.failed("id_token", Fault::Unproven(text)));
            }
        }
        trace.ok(
            "id_token",
            "signature, issuer, audience, nonce and times are right",
        );
        claims::require(&connection.spec, &claims, trace)?;

        let authentication = claims::authentication(&claims);
        let sid = claims.get("sid").and_then(Value::as_str).map(ToOwned::to_owned);
        let claims = complete(
            &http,
            (connection, &known.metadata),
            (claims, access.secret()),
            trace,
        )
        .await?;
        let identity = claims::identity(connection, issuer, claims);
        Ok(Identified {
            identity: identity.map_err(|fault| trace.failed("mapping", fault))?,
            authentication,
            sid,
            id_token: Some(token.to_string()),
        })
    }
}

/// Whether the provider takes the client secret in the body only.
fn posts_secret(metadata: &Metadata) -> bool {
    let methods = metadata.token_endpoint_auth_methods_supported();
    methods.is_some_and(|methods| {
        methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
    })
}

async fn exchange(client: &Client, http: &Http, answer: &Answer<'_>) -> Result<CoreTokenResponse, Fault> {
    let request = client.exchange_code(AuthorizationCode::new(answer.code.to_owned()));
    request
        .map_err(|_| Fault::Answer("it has no token endpoint".to_owned()))?
        .set_pkce_verifier(PkceCodeVerifier::new(answer.verifier.to_owned()))
        .request_async(http)
        .await
        .map_err(|error| match error {
            RequestTokenError::Request(e) => Fault::Unreachable(format!("its token endpoint: {e}")),
            RequestTokenError::ServerResponse(e) => {
                Fault::Answer(format!("its token endpoint said {}", e.error()))
            }
            RequestTokenError::Parse(e, _) => Fault::Answer(format!("its token answer: {e}")),
            RequestTokenError::Other(text) => Fault::Answer(text),
        })
}

/// The claims of the id token, and where they leave something out that is asked for, those of userinfo.
async fn complete(
    http: &Http,
    (connection, metadata): (&Connection, &Metadata),
    (mut claims, bearer): (Map<String, Value>, &str),
    trace: &mut Trace,
) -> Result<Map<String, Value>, Fault> {
    let offered = metadata.claims_supported();
    let offers = |name: &str| offered.is_some_and(|all| all.iter().any(|claim| claim.as_str() == name));
    let Some(endpoint) = metadata.userinfo_endpoint() else {
        trace.skipped("userinfo", "the provider has none");
        return Ok(claims);
    };
    if !claims::lacks(&connection.spec, &claims, offers) {
        trace.skipped("userinfo", "the id token has what is needed");
        return Ok(claims);
    }
    let more = match userinfo(http, endpoint.as_str(), bearer).await {
        Ok(more) => more,
        Err(fault) => return Err(trace.failed("userinfo", fault)),
    };
    // OpenID Connect Core 1.0, section 5.3.2: without this, it may be about somebody else.
    if more.get("sub") != claims.get("sub") {
        let fault = Fault::Token("the userinfo answer is about somebody else".to_owned());
        return Err(trace.failed("userinfo", fault));
    }
    for (name, value) in more {
        claims.entry(name).or_insert(value);
    }
    trace.ok("userinfo", "it adds what the id token leaves out");
    Ok(claims)
}

fn verifier<'a>(client: &'a Client, store: &Store) -> CoreIdTokenVerifier<'a> {
    let now = store.clock().now().seconds() - LEEWAY;
    let now = DateTime::<Utc>::from_timestamp(now, 0).unwrap_or_default();
    client
        .id_token_verifier()
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || now)
}

fn check(
    token: &CoreIdToken,
    verifier: &CoreIdTokenVerifier<'_>,
    nonce: &Nonce,
    access: &openidconnect::AccessToken,
) -> Result<(), ClaimsVerificationError> {
    let claims = token.claims(verifier, nonce)?;
    if let Some(stated) = claims.access_token_hash() {
        let found = token
            .signing_alg()
            .and_then(|alg| Ok((alg, token.signing_key(verifier)?)));
        let (alg, key) = found.map_err(ClaimsVerificationError::SignatureVerification)?;
        let actual = AccessTokenHash::from_token(access, alg, key);
        if actual.map_err(|e| ClaimsVerificationError::Other(e.to_string()))? != *stated {
            let text = "it belongs to another access token";
            return Err(ClaimsVerificationError::Other(text.to_owned()));
        }
    }
    Ok(())
}

/// What the id token's refusal tells an administrator. Of what it says, only whose it is and for whom.
fn explain(
    trace: &mut Trace,
    error: &ClaimsVerificationError,
    connection: &Connection,
    (issuer, claims): (&str, &Map<String, Value>),
) -> Fault {
    let token = |text: &str| Fault::Token(text.to_owned());
    let shown = |name: &str| {
        claims
            .get(name)
            .map_or_else(|| "nothing".to_owned(), ToString::to_string)
    };
    match error {
        ClaimsVerificationError::InvalidAudience(_) => {
            let client = connection.spec.client_id.as_deref().unwrap_or_default();
            let fault = token("it is meant for another client");
            trace.differs("id_token", fault, client, &shown("aud"))
        }
        ClaimsVerificationError::InvalidIssuer(_) => {
            let fault = token("it comes from another issuer");
            trace.differs("id_token", fault, issuer, &shown("iss"))
        }
        ClaimsVerificationError::Expired(_) => trace.failed("id_token", token("it has expired")),
        ClaimsVerificationError::InvalidNonce(_) => trace.failed("id_token", token("its nonce is not ours")),
        ClaimsVerificationError::SignatureVerification(error) => trace.failed("id_token", unverified(error)),
        _ => trace.failed("id_token", token("it is malformed")),
    }
}

/// What a signature's refusal tells an administrator.
fn unverified(error: &SignatureVerificationError) -> Fault {
    let text = match error {
        SignatureVerificationError::NoMatchingKey => "it is signed with an unknown key",
        SignatureVerificationError::NoSignature => "it is not signed",
        SignatureVerificationError::DisallowedAlg(_) | SignatureVerificationError::UnsupportedAlg(_) => {
            "its algorithm is not accepted"
        }
        _ => "its signature is wrong",
    };
    Fault::Token(text.to_owned())
}

/// Checks the signature of a JWS; its `typ` and its claims.
fn verify(
    token: &str,
    keys: &[CoreJsonWebKey],
) -> Result<(Option<String>, Map<String, Value>), SignatureVerificationError> {
    let malformed = || SignatureVerificationError::Other("it is malformed".to_owned());
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let parts: Vec<_> = token.split('.').collect();
    let [head, payload, signature] = parts.as_slice() else {
        return Err(malformed());
    };
    let message = &token[..head.len() + 1 + payload.len()];
    let head: Head = serde_json::from_slice(&decode(head)?).map_err(|_| malformed())?;
    if head.crit.is_some() {
        return Err(malformed());
    }
    if !ALGORITHMS.contains(&head.alg) {
        return Err(SignatureVerificationError::DisallowedAlg(format!(
            "{:?}",
            head.alg
        )));
    }
    let signature = decode(signature)?;
    let known = |key: &&CoreJsonWebKey| {
        let kid = head.kid.as_deref();
        kid.is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid))
    };
    let mut result = Err(SignatureVerificationError::NoMatchingKey);
    for key in keys.iter().filter(known) {
        result = key.verify_signature(&head.alg, message.as_bytes(), &signature);
        if result.is_ok() {
            break;
        }
    }
    result?;
    let claims = serde_json::from_slice(&decode(payload)?).map_err(|_| malformed())?;
    Ok((head.typ, claims))
}

/// The claims of a token that was checked, all of them.
fn payload(token: &CoreIdToken) -> Result<Map<String, Value>, Fault> {
    let text = token.to_string();
    let part = text.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|_| Fault::Token("it is malformed".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|_| Fault::Token("it is malformed".to_owned()))
}

async fn userinfo(http: &Http, url: &str, bearer: &str) -> Result<Map<String, Value>, Fault> {
    let answer = http.get(url, Some(bearer)).await?;
    if !answer.status.is_success() {
        return Err(Fault::status("its userinfo", answer.status));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Fault::Answer("its userinfo is not JSON".to_owned()))
}
