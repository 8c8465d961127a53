//! The token endpoint of an OpenID provider (RFC 6749, section 4.1.3). Of its answer only the tokens count: how a
//! provider writes what else it says there keeps nobody out.

use crate::claims::clean;
use crate::provider::{Fault, Http};
use serde_json::{Map, Value};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

/// A code that is to be redeemed, and who redeems it.
pub(crate) struct Code<'a> {
    pub(crate) client: &'a str,
    /// Absent for a public client.
    pub(crate) secret: Option<Zeroizing<String>>,
    /// Whether the provider takes the secret in the body only.
    pub(crate) in_body: bool,
    pub(crate) redirect_uri: &'a str,
    pub(crate) code: &'a str,
    /// PKCE (RFC 7636).
    pub(crate) verifier: &'a str,
}

/// What came for it.
pub(crate) struct Tokens {
    pub(crate) id_token: String,
    pub(crate) access_token: Option<String>,
}

impl Code<'_> {
    pub(crate) async fn redeem(self, http: &Http, endpoint: &str) -> Result<Tokens, Fault> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", self.code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", self.verifier),
        ];
        let secret = self.secret.as_deref().map(String::as_str);
        if secret.is_none() || self.in_body {
            fields.push(("client_id", self.client));
            fields.extend(secret.map(|secret| ("client_secret", secret)));
        }
        let request = http.outbound.post_form(endpoint, &fields).allow(&http.allow);
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
            return Err(Fault::status("its token answer", answer.status));
        }
        let read = serde_json::from_slice::<Map<String, Value>>(&answer.body);
        let Ok(read) = read else {
            return Err(match answer.status.is_success() {
                true => Fault::Answer("its token answer is no JSON object".to_owned()),
                false => Fault::status("its token answer", answer.status),
            });
        };
        if let Some(error) = read.get("error") {
            let error = clean(error.as_str().unwrap_or("something that is no text"), 60);
            return Err(Fault::Answer(format!("its token endpoint said {error}")));
        }
        if !answer.status.is_success() {
            return Err(Fault::status("its token answer", answer.status));
        }
        let text = |name: &str| {
            let text = read.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
        };
        Ok(Tokens {
            id_token: text("id_token").ok_or_else(|| Fault::Answer("it sent no id token".to_owned()))?,
            access_token: text("access_token"),
        })
    }
}
