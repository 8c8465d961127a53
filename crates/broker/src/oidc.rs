//! The upstream side of a sign-in: discovery, the authorization request, the code, the id token.
//!
//! Knows connections and claims, nothing of browsers, sessions or people.

use crate::claims;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGrantType, CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{
    AccessTokenHash, AdditionalProviderMetadata, AsyncHttpClient, AuthType, AuthorizationCode,
    ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, DiscoveryError, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, TokenResponse as _,
};
use outbound::{Allowed, Outbound};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use store::{Store, user::Identity};
use wire::{Connection, ConnectionId};

/// How long discovery document and keys of a provider are kept.
const KEEP: Duration = Duration::from_secs(600);
/// How often, at most, an unknown key makes us fetch them before their time.
const REFETCH_EVERY: Duration = Duration::from_secs(60);
/// How far the provider's clock may be off, in seconds.
const LEEWAY: i64 = 60;

/// Why a sign-in through a provider failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection is not set up completely.
    #[error("the connection is not complete: {0}")]
    Setup(String),
    /// The provider cannot be reached.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(String),
    /// The provider answered something that makes no sense, or refused our request.
    #[error("the provider's answer cannot be used: {0}")]
    Answer(String),
    /// The id token is not valid.
    #[error("the id token was refused: {0}")]
    Token(String),
    /// The answer does not come from the provider that was asked.
    #[error("the answer names another issuer")]
    Issuer,
    /// A fault of ours.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Fault {
    /// Stable text for the audit log.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Setup(_) => "connection_incomplete",
            Self::Unreachable(_) => "provider_unreachable",
            Self::Answer(_) => "provider_answer_invalid",
            Self::Token(_) => "id_token_invalid",
            Self::Issuer => "issuer_mismatch",
            Self::Store(_) => "internal",
        }
    }
}

/// What we read of the discovery document beside what every client reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Extra {
    /// RFC 9207, section 3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Extra {}

type Metadata = ProviderMetadata<
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

/// A client whose authorization endpoint is known, and whose others may be.
type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The guarded client, with the internal targets that one connection may reach.
struct Http {
    outbound: Outbound,
    allow: Vec<Allowed>,
}

impl Http {
    fn of(outbound: &Outbound, connection: &Connection) -> Result<Self, Fault> {
        let allow = connection.spec.allow_internal.iter();
        let allow = allow
            .map(|origin| Allowed::parse(origin))
            .collect::<Result<_, _>>();
        Ok(Self {
            outbound: outbound.clone(),
            allow: allow.map_err(|e| Fault::Setup(e.to_string()))?,
        })
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = outbound::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, outbound::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.outbound.http(request, &self.allow))
    }
}

/// One attempt of a browser to sign in, as its session remembers it.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// Sent to the provider and back.
    pub(crate) state: String,
    /// Comes back inside the id token.
    pub(crate) nonce: String,
    /// PKCE (RFC 7636).
    pub(crate) verifier: String,
}

impl Attempt {
    pub(crate) fn fresh() -> store::Result<Self> {
        Ok(Self {
            state: store::random_secret("")?,
            nonce: store::random_secret("")?,
            verifier: store::random_secret("")?,
        })
    }
}

/// The parameters with which a provider sends a browser back.
pub(crate) struct Answer<'a> {
    pub(crate) code: &'a str,
    pub(crate) iss: Option<&'a str>,
    pub(crate) nonce: &'a str,
    pub(crate) verifier: &'a str,
}

/// Speaks to providers; keeps what they publish for a while.
pub(crate) struct Providers {
    outbound: Outbound,
    redirect_uri: String,
    /// By connection and version, so that a changed connection is discovered anew.
    known: moka::future::Cache<(ConnectionId, i64), Arc<Metadata>>,
    refetched: moka::sync::Cache<ConnectionId, ()>,
}

impl Providers {
    pub(crate) fn new(outbound: Outbound, control_url: &str) -> Self {
        Self {
            outbound,
            redirect_uri: store::connection::redirect_uri(control_url),
            known: moka::future::Cache::builder()
                .max_capacity(1000)
                .time_to_live(KEEP)
                .build(),
            refetched: moka::sync::Cache::builder()
                .max_capacity(1000)
                .time_to_live(REFETCH_EVERY)
                .build(),
        }
    }

    async fn metadata(&self, connection: &Connection) -> Result<Arc<Metadata>, Fault> {
        let key = (connection.id.clone(), connection.version);
        let fetched = self.known.try_get_with(key, self.discover(connection)).await;
        // Whoever waited for the same fetch shares its failure.
        fetched.map_err(|fault| match fault.as_ref() {
            Fault::Setup(text) => Fault::Setup(text.clone()),
            Fault::Answer(text) => Fault::Answer(text.clone()),
            other => Fault::Unreachable(other.to_string()),
        })
    }

    async fn discover(&self, connection: &Connection) -> Result<Arc<Metadata>, Fault> {
        let issuer = connection.spec.issuer.clone();
        let issuer = issuer.ok_or_else(|| Fault::Setup("it has no issuer".to_owned()))?;
        let issuer = IssuerUrl::new(issuer).map_err(|e| Fault::Setup(e.to_string()))?;
        let http = Http::of(&self.outbound, connection)?;
        let metadata = Metadata::discover_async(issuer, &http)
            .await
            .map_err(|error| match error {
                DiscoveryError::Request(e) => Fault::Unreachable(e.to_string()),
                DiscoveryError::Response(status, ..) => Fault::Answer(format!(
                    "its discovery document or its keys came with status {status}"
                )),
                DiscoveryError::Validation(text) | DiscoveryError::Other(text) => Fault::Answer(text),
                DiscoveryError::Parse(e) => Fault::Answer(format!("its discovery document: {e}")),
                other => Fault::Answer(other.to_string()),
            })?;
        // The browser is sent there: no other schemes.
        let scheme = metadata.authorization_endpoint().url().scheme().to_owned();
        if scheme != "https" && scheme != metadata.issuer().url().scheme() {
            return Err(Fault::Answer(
                "its authorization endpoint is not https".to_owned(),
            ));
        }
        Ok(Arc::new(metadata))
    }

    /// What the provider publishes, fetched anew because a token names an unknown key; not too often.
    async fn refetch(&self, connection: &Connection) -> Option<Arc<Metadata>> {
        let first = self.refetched.entry(connection.id.clone()).or_insert(());
        if !first.is_fresh() {
            return None;
        }
        let metadata = self.discover(connection).await.ok()?;
        let key = (connection.id.clone(), connection.version);
        self.known.insert(key, Arc::clone(&metadata)).await;
        Some(metadata)
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
        let redirect = RedirectUrl::new(self.redirect_uri.clone());
        let redirect = redirect.map_err(|e| Fault::Setup(e.to_string()))?;
        let client = CoreClient::from_provider_metadata(metadata.clone(), ClientId::new(id), secret);
        let methods = metadata.token_endpoint_auth_methods_supported();
        let only_post = methods.is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let auth = if only_post {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        Ok(client.set_redirect_uri(redirect).set_auth_type(auth))
    }

    /// Where to send the browser.
    pub(crate) async fn authorization_url(
        &self,
        store: &Store,
        connection: &Connection,
        attempt: &Attempt,
    ) -> Result<String, Fault> {
        let metadata = self.metadata(connection).await?;
        let client = self.client(store, connection, &metadata).await?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let (state, nonce) = (attempt.state.clone(), attempt.nonce.clone());
        let scopes = connection.spec.scopes.iter().filter(|scope| *scope != "openid");
        let (url, ..) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .add_scopes(scopes.cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    /// Redeems the code, checks the id token, and says who it is about.
    pub(crate) async fn identify(
        &self,
        store: &Store,
        connection: &Connection,
        answer: Answer<'_>,
    ) -> Result<Identity, Fault> {
        let metadata = self.metadata(connection).await?;
        // RFC 9207: the answer must come from the provider that this attempt went to.
        let named = metadata
            .additional_metadata()
            .authorization_response_iss_parameter_supported;
        match answer.iss {
            Some(iss) if iss != metadata.issuer().as_str() => return Err(Fault::Issuer),
            None if named => return Err(Fault::Issuer),
            _ => {}
        }
        let client = self.client(store, connection, &metadata).await?;
        let http = Http::of(&self.outbound, connection)?;
        let tokens = client
            .exchange_code(AuthorizationCode::new(answer.code.to_owned()))
            .map_err(|_| Fault::Answer("it has no token endpoint".to_owned()))?
            .set_pkce_verifier(PkceCodeVerifier::new(answer.verifier.to_owned()))
            .request_async(&http)
            .await
            .map_err(|error| match error {
                RequestTokenError::Request(e) => Fault::Unreachable(e.to_string()),
                RequestTokenError::ServerResponse(e) => {
                    Fault::Answer(format!("its token endpoint said {}", e.error()))
                }
                RequestTokenError::Parse(e, _) => Fault::Answer(format!("its token answer: {e}")),
                RequestTokenError::Other(text) => Fault::Answer(text),
            })?;
        let token = tokens.id_token();
        let token = token.ok_or_else(|| Fault::Answer("it sent no id token".to_owned()))?;

        let nonce = Nonce::new(answer.nonce.to_owned());
        let verifier = verifier(&client, store);
        match check(token, &verifier, &nonce, tokens.access_token()) {
            Ok(()) => {}
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                let metadata = self.refetch(connection).await;
                let metadata =
                    metadata.ok_or_else(|| Fault::Token("it is signed with an unknown key".to_owned()))?;
                let client = self.client(store, connection, &metadata).await?;
                let verifier = self::verifier(&client, store);
                check(token, &verifier, &nonce, tokens.access_token()).map_err(refused)?;
            }
            Err(error) => return Err(refused(error)),
        }

        let mut claims = payload(token)?;
        let endpoint = metadata.userinfo_endpoint();
        if let Some(endpoint) = endpoint
            && claims::lacks(&claims, &connection.spec.claims)
        {
            let bearer = tokens.access_token().secret();
            let more = userinfo(&http, endpoint.as_str(), bearer).await?;
            // OpenID Connect Core 1.0, section 5.3.2: without this, it may be about somebody else.
            if more.get("sub") != claims.get("sub") {
                return Err(Fault::Token(
                    "the userinfo answer is about somebody else".to_owned(),
                ));
            }
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        claims::identity(connection, metadata.issuer().as_str(), claims)
    }
}

fn verifier<'a>(client: &'a Client, store: &Store) -> CoreIdTokenVerifier<'a> {
    let now = store.clock().now().seconds() - LEEWAY;
    let now = DateTime::<Utc>::from_timestamp(now, 0).unwrap_or_default();
    client
        .id_token_verifier()
        // Asymmetric only: a provider that offers HMAC would make our client secret a signing key.
        .set_allowed_algs([
            CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            CoreJwsSigningAlgorithm::EdDsa,
        ])
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

/// What the id token's refusal tells an administrator: no values out of the token.
fn refused(error: ClaimsVerificationError) -> Fault {
    let text = match error {
        ClaimsVerificationError::Expired(_) => "it has expired",
        ClaimsVerificationError::InvalidAudience(_) => "it is meant for another client",
        ClaimsVerificationError::InvalidIssuer(_) => "it comes from another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "its nonce is not ours",
        ClaimsVerificationError::SignatureVerification(error) => match error {
            SignatureVerificationError::NoMatchingKey => "it is signed with an unknown key",
            SignatureVerificationError::NoSignature => "it is not signed",
            SignatureVerificationError::DisallowedAlg(_) | SignatureVerificationError::UnsupportedAlg(_) => {
                "its algorithm is not accepted"
            }
            _ => "its signature is wrong",
        },
        _ => "it is malformed",
    };
    Fault::Token(text.to_owned())
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
    let answer = http
        .outbound
        .get(url)
        .allow(&http.allow)
        .accept("application/json")
        .header(http::header::AUTHORIZATION, format!("Bearer {bearer}"))
        .send()
        .await
        .map_err(|e| Fault::Unreachable(e.to_string()))?;
    if !answer.status.is_success() {
        return Err(Fault::Answer(format!(
            "its userinfo came with status {}",
            answer.status
        )));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Fault::Answer("its userinfo is not JSON".to_owned()))
}
