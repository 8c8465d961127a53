//! OpenID Connect: the authorization request, the code, the id token, and what else a provider signs.
//!
//! Knows connections and claims, nothing of browsers, sessions or people.

use crate::claims;
use crate::discovery::{self, Known, Metadata};
use crate::jws::{self, Jws, Unverified};
use crate::provider::{Answer, Attempt, Fault, Http, Identified, Prompt, Providers};
use crate::tokens::{Endpoint, Grant, NoTokens};
use crate::trace::Trace;
use crate::vouch::{self, OFFLINE_ACCESS};
use openidconnect::core::{CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod};
use openidconnect::{
    AuthType, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use store::Store;
use wire::{Connection, Preset, Timestamp};
use zeroize::Zeroizing;

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
    /// Nothing of what it says was checked.
    pub(crate) token: Jws,
}

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

    /// What the provider publishes, fetched anew because a token does not fit its keys; not too often.
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
        // Google knows another word for it, and gives a refresh token to whoever consents only.
        let is_google = spec.preset == Preset::GoogleWorkspace;
        let scopes = spec.scopes.iter().filter(|scope| *scope != "openid");
        let scopes = scopes.filter(|scope| !(is_google && *scope == OFFLINE_ACCESS));
        let mut request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            || CsrfToken::new(state),
            || Nonce::new(nonce),
        );
        match &attempt.prompt {
            Prompt::AsNeeded => {}
            Prompt::Login => {
                // Some providers know only one of them.
                request = request
                    .add_prompt(CoreAuthPrompt::Login)
                    .set_max_age(Duration::ZERO);
            }
            Prompt::None(hint) => {
                request = request.add_prompt(CoreAuthPrompt::None);
                if let Some(hint) = hint {
                    request = request.add_extra_param("id_token_hint", hint.as_str());
                }
            }
        }
        if is_google {
            if let Some(domain) = spec.required_claims.get("hd") {
                // Only a hint to the provider; the claim is what counts.
                request = request.add_extra_param("hd", domain.clone());
            }
            if vouch::is_asked(connection) {
                request = request.add_extra_param("access_type", "offline");
            }
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

    /// Checks a signature. Where it does not fit, the provider may have a new key, perhaps under an old one's name.
    async fn verify(&self, connection: &Connection, known: &Known, token: &str) -> Result<Jws, Unverified> {
        match jws::verify(token, &known.metadata) {
            Err(reason) if reason.may_be_news() => match self.refetch(connection).await {
                Some(known) => jws::verify(token, &known.metadata),
                None => Err(reason),
            },
            other => other,
        }
    }

    /// A token that the provider signed with one of its keys; what it says is for the caller to check.
    pub(crate) async fn signed(&self, connection: &Connection, token: &str) -> Result<Signed, Fault> {
        let known = self.metadata(connection).await?;
        let token = self.verify(connection, &known, token).await;
        Ok(Signed {
            issuer: known.metadata.issuer().as_str().to_owned(),
            token: token.map_err(|reason| Fault::Token(reason.to_string()))?,
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
        let http = self.http(connection)?;
        trace.has_asked = true;
        let redirect_uri = self.redirect_uri(connection);
        let code = Grant::Code {
            redirect_uri: &redirect_uri,
            code: answer.code,
            verifier: answer.verifier,
        };
        let endpoint = token_endpoint(store, connection, &known.metadata).await?;
        let tokens = match endpoint.ask(&http, code).await {
            Ok(tokens) => tokens,
            Err(none) => return Err(trace.failed("token", none.into())),
        };
        let Some(id_token) = tokens.id_token else {
            let fault = Fault::Answer("it sent no id token".to_owned());
            return Err(trace.failed("token", fault));
        };
        trace.ok("token", "the code was redeemed for an id token");

        let token = match self.verify(connection, &known, &id_token).await {
            Ok(token) => token,
            Err(reason) => return Err(trace.failed("id_token", Fault::Token(reason.to_string()))),
        };
        let check = Check {
            connection,
            issuer,
            answer: &answer,
            access: tokens.access_token.as_deref(),
            now: store.clock().now(),
        };
        check.token(&token, trace)?;
        let claims = token.claims;
        trace.ok(
            "id_token",
            "signature, issuer, audience, nonce and times are right",
        );
        trace.claims = claims::remembered(&claims);
        claims::require(&connection.spec, &claims, trace)?;

        let authentication = claims::authentication(&claims);
        let sid = claims.get("sid").and_then(Value::as_str).map(ToOwned::to_owned);
        let bearer = tokens.access_token.as_deref();
        let about = (connection, known.as_ref());
        let claims = self.complete(&http, about, (claims, bearer), trace).await?;
        trace.claims = claims::remembered(&claims);
        let identity = claims::identity(connection, issuer, claims);
        Ok(Identified {
            identity: identity.map_err(|fault| trace.failed("mapping", fault))?,
            authentication,
            sid,
            id_token: Some(id_token),
            refresh_token: tokens.refresh_token,
        })
    }

    /// Asks whether the provider still vouches for the person of a refresh token (OpenID Connect Core 1.0, section 12);
    /// gives the next token, if it sent one.
    pub(crate) async fn refresh(
        &self,
        store: &Store,
        connection: &Connection,
        (subject, token): (&str, &str),
        trace: &mut Trace,
    ) -> Result<Option<Zeroizing<String>>, NoTokens> {
        let known = self.known(connection, false, trace).await?;
        let http = self.http(connection)?;
        trace.has_asked = true;
        let endpoint = token_endpoint(store, connection, &known.metadata).await?;
        let tokens = endpoint.ask(&http, Grant::RefreshToken(token)).await?;
        // Whatever else comes with a good status, such as a page that says that there is maintenance, vouches for nobody.
        if tokens.access_token.is_none() || !tokens.is_bearer {
            return Err(Fault::Answer("its token answer holds no token".to_owned()).into());
        }
        if let Some(id_token) = &tokens.id_token {
            // Section 12.2: it must be about the same person, for us.
            let wrong = |text: &str| Fault::Token(text.to_owned());
            let token = self.verify(connection, &known, id_token).await;
            let token = token.map_err(|reason| Fault::Token(reason.to_string()))?;
            if !token.may_be_id_token() {
                return Err(wrong("it is a token of another kind (typ)").into());
            }
            let claims = token.claims;
            let says = |name: &str, text: &str| claims.get(name).and_then(Value::as_str) == Some(text);
            if !says("iss", known.metadata.issuer().as_str()) {
                return Err(wrong("it comes from another issuer").into());
            }
            jws::audience(&connection.spec, &claims).map_err(wrong)?;
            if !says("sub", subject) {
                return Err(wrong("it is about somebody else").into());
            }
        }
        Ok(tokens.refresh_token)
    }
}

impl Providers {
    /// The claims of the id token, and where they leave something out that is asked for, those of userinfo.
    async fn complete(
        &self,
        http: &Http,
        (connection, known): (&Connection, &Known),
        (mut claims, bearer): (Map<String, Value>, Option<&str>),
        trace: &mut Trace,
    ) -> Result<Map<String, Value>, Fault> {
        let metadata = &known.metadata;
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
        let Some(bearer) = bearer else {
            trace.skipped("userinfo", "the provider sent no access token to ask with");
            return Ok(claims);
        };
        let more = match self
            .userinfo(http, (connection, known), endpoint.as_str(), bearer)
            .await
        {
            Ok(more) => more,
            Err(fault) => return Err(trace.failed("userinfo", fault)),
        };
        // OpenID Connect Core 1.0, section 5.3.2: without this, it may be about somebody else.
        if more.get("sub") != claims.get("sub") {
            let fault = Fault::Token("the userinfo answer is about somebody else".to_owned());
            return Err(trace.failed("userinfo", fault));
        }
        claims.retain(|_, value| !value.is_null());
        claims::tell_of_left_out(&mut claims, &more);
        // Who vouches for one address does not vouch for another.
        let about_other = claims.contains_key("email") && claims.get("email") != more.get("email");
        if !claims.contains_key("email") && more.contains_key("email") {
            claims.remove("email_verified");
        }
        for (name, value) in more {
            if !(about_other && name == "email_verified") {
                claims.entry(name).or_insert(value);
            }
        }
        trace.ok("userinfo", "it adds what the id token leaves out");
        Ok(claims)
    }

    /// What userinfo says, as JSON or signed (OpenID Connect Core 1.0, section 5.3.2).
    async fn userinfo(
        &self,
        http: &Http,
        (connection, known): (&Connection, &Known),
        url: &str,
        bearer: &str,
    ) -> Result<Map<String, Value>, Fault> {
        let answer = http.get(url, Some(bearer)).await?;
        if !answer.status.is_success() {
            return Err(Fault::status("its userinfo", answer.status));
        }
        if answer.media_type() == "application/jwt" {
            let wrong = |text: &str| Fault::Token(format!("of the userinfo answer: {text}"));
            let token = std::str::from_utf8(&answer.body).map_err(|_| wrong("it is malformed"))?;
            let token = self.verify(connection, known, token.trim()).await;
            let claims = token.map_err(|reason| wrong(&reason.to_string()))?.claims;
            // Both are to be in it; what is in it has to be right.
            if claims
                .get("iss")
                .is_some_and(|iss| iss.as_str() != Some(known.metadata.issuer().as_str()))
            {
                return Err(wrong("it comes from another issuer"));
            }
            if claims.contains_key("aud") {
                jws::audience(&connection.spec, &claims).map_err(wrong)?;
            }
            return Ok(claims);
        }
        serde_json::from_slice(&answer.body).map_err(|_| Fault::Answer("its userinfo is not JSON".to_owned()))
    }
}

/// Where a provider gives tokens, and as whom we ask for them.
async fn token_endpoint<'a>(
    store: &Store,
    connection: &'a Connection,
    metadata: &'a Metadata,
) -> Result<Endpoint<'a>, Fault> {
    let url = metadata.token_endpoint().map(|url| url.as_str());
    Ok(Endpoint {
        url: url.unwrap_or_default(),
        client: connection.spec.client_id.as_deref().unwrap_or_default(),
        secret: store::connection::secret(store, &connection.id).await?,
        in_body: posts_secret(metadata),
    })
}

/// Whether the provider takes the client secret in the body only.
fn posts_secret(metadata: &Metadata) -> bool {
    let methods = metadata.token_endpoint_auth_methods_supported();
    methods.is_some_and(|methods| {
        methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
    })
}

/// What an id token is held against.
struct Check<'a> {
    connection: &'a Connection,
    issuer: &'a str,
    answer: &'a Answer<'a>,
    /// The access token that came with it.
    access: Option<&'a str>,
    now: Timestamp,
}

impl Check<'_> {
    /// OpenID Connect Core 1.0, section 3.1.3.7. What a refusal tells an administrator of what the token says is only
    /// whose it is and for whom.
    fn token(&self, token: &Jws, trace: &mut Trace) -> Result<(), Fault> {
        let claims = &token.claims;
        let wrong = |text: &str| Fault::Token(text.to_owned());
        let shown = |name: &str| {
            claims
                .get(name)
                .map_or_else(|| "nothing".to_owned(), ToString::to_string)
        };
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer) {
            let fault = wrong("it comes from another issuer");
            return Err(trace.differs("id_token", fault, self.issuer, &shown("iss")));
        }
        if let Err(text) = jws::audience(&self.connection.spec, claims) {
            let client = self.connection.spec.client_id.as_deref().unwrap_or_default();
            let found = match claims.get("azp") {
                Some(party) => format!("{}, azp {party}", shown("aud")),
                None => shown("aud"),
            };
            return Err(trace.differs("id_token", wrong(text), client, &found));
        }
        if !token.may_be_id_token() {
            return Err(trace.failed("id_token", wrong("it is a token of another kind (typ)")));
        }
        if !claims.contains_key("exp") {
            return Err(trace.failed("id_token", wrong("it does not say when it expires")));
        }
        if let Err(text) = jws::times(claims, self.now) {
            return Err(trace.failed("id_token", wrong(text)));
        }
        if claims.get("nonce").and_then(Value::as_str) != Some(self.answer.nonce) {
            return Err(trace.failed("id_token", wrong("its nonce is not ours")));
        }
        if !token.goes_with(self.access) {
            return Err(trace.failed("id_token", wrong("it belongs to another access token")));
        }
        let Some(since) = self.answer.asked_since else {
            return Ok(());
        };
        // Mandatory, because the request said max_age (OpenID Connect Core, sections 2 and 3.1.2.1).
        let age = self.now.seconds() - since.seconds();
        match claims.get("auth_time").and_then(Value::as_f64) {
            None => Err(trace.failed("id_token", Fault::Unproven("its id token has no auth_time"))),
            Some(stated) if !jws::is_within(stated, age, self.now) => {
                let text = "its auth_time is from before, or in the future";
                Err(trace.failed("id_token", Fault::Unproven(text)))
            }
            Some(_) => Ok(()),
        }
    }
}
