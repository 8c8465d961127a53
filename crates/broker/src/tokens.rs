//! The token endpoint of an OpenID provider (RFC 6749, sections 4.1.3 and 6). Of its answer only the tokens count: how a
//! provider writes what else it says there keeps nobody out.

use crate::claims::clean;
use crate::provider::{Fault, Http};
use serde_json::{Map, Value};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

/// Longest refresh token that is kept.
const MOST_REFRESH: usize = 16 * 1024;

/// Who asks, and where.
pub(crate) struct Endpoint<'a> {
    pub(crate) url: &'a str,
    pub(crate) client: &'a str,
    /// Absent for a public client.
    pub(crate) secret: Option<Zeroizing<String>>,
    /// Whether the provider takes the secret in the body only.
    pub(crate) in_body: bool,
}

/// What is given for tokens.
pub(crate) enum Grant<'a> {
    Code {
        redirect_uri: &'a str,
        code: &'a str,
        /// PKCE (RFC 7636).
        verifier: &'a str,
    },
    RefreshToken(&'a str),
}

/// What came for it.
pub(crate) struct Tokens {
    /// Always there for a code (OpenID Connect Core 1.0, section 3.1.3.3), and perhaps for a refresh token.
    pub(crate) id_token: Option<String>,
    pub(crate) access_token: Option<String>,
    /// Whether the answer says that it is a bearer token, as every successful one must (section 5.1).
    pub(crate) is_bearer: bool,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

/// Why none came.
pub(crate) enum NoTokens {
    /// The provider said so, with this error code (RFC 6749, section 5.2).
    Refused(String),
    Fault(Fault),
}

impl From<NoTokens> for Fault {
    fn from(none: NoTokens) -> Self {
        match none {
            NoTokens::Refused(error) => Self::Answer(format!("its token endpoint said {error}")),
            NoTokens::Fault(fault) => fault,
        }
    }
}

impl From<Fault> for NoTokens {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Endpoint<'_> {
    /// Asks for tokens.
    pub(crate) async fn ask(&self, http: &Http, grant: Grant<'_>) -> Result<Tokens, NoTokens> {
        let mut fields = match grant {
            Grant::Code {
                redirect_uri,
                code,
                verifier,
            } => vec![
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", redirect_uri),
                ("code_verifier", verifier),
            ],
            Grant::RefreshToken(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token)],
        };
        let secret = self.secret.as_deref().map(String::as_str);
        if secret.is_none() || self.in_body {
            fields.push(("client_id", self.client));
            fields.extend(secret.map(|secret| ("client_secret", secret)));
        }
        let request = http.outbound.post_form(self.url, &fields).allow(&http.allow);
        let request = match secret.filter(|_| !self.in_body) {
            Some(secret) => {
                // RFC 6749, section 2.3.1: form-encoded first.
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                request.basic_auth(&encoded(self.client), &encoded(secret))
            }
            None => request,
        };
        let sent = request.accept("application/json").send().await;
        let answer = sent.map_err(|e| Fault::Unreachable(format!("its token endpoint: {e}")))?;
        if answer.status.is_server_error() {
            return Err(Fault::status("its token answer", answer.status).into());
        }
        let read = serde_json::from_slice::<Map<String, Value>>(&answer.body);
        let Ok(read) = read else {
            let fault = match answer.status.is_success() {
                true => Fault::Answer("its token answer is no JSON object".to_owned()),
                false => Fault::status("its token answer", answer.status),
            };
            return Err(fault.into());
        };
        let is_said = |error: &&Value| !error.is_null() && error.as_str() != Some("");
        if let Some(error) = read.get("error").filter(is_said) {
            let error = error.as_str().unwrap_or("something that is no text");
            return Err(NoTokens::Refused(clean(error, 60)));
        }
        if !answer.status.is_success() {
            return Err(Fault::status("its token answer", answer.status).into());
        }
        let text = |name: &str| {
            let text = read.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
        };
        Ok(Tokens {
            id_token: text("id_token").map(|token| token.trim().to_owned()),
            access_token: text("access_token"),
            is_bearer: text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")),
            refresh_token: text("refresh_token")
                .filter(|token| token.len() <= MOST_REFRESH)
                .map(Zeroizing::new),
        })
    }
}
