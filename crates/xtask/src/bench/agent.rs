//! An agent without a screen: publishes an app, registers, signs in, consents, and keeps refreshing for tokens.

use super::http::{self, Answer, Browser, Request};
use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What the demo prints when it is up.
#[derive(Deserialize)]
pub(super) struct Ready {
    control_url: String,
    api_token: String,
    users: Vec<Person>,
    apps: Vec<DemoApp>,
}

#[derive(Deserialize)]
struct Person {
    username: String,
    password: String,
    allowed: bool,
}

#[derive(Deserialize)]
struct DemoApp {
    id: String,
    kind: String,
}

/// The app that is measured.
pub(super) struct App {
    id: String,
    pub(super) url: String,
    pub(super) issuer: String,
}

/// Where the code would be sent. Nothing listens there: it is read off the redirect.
const REDIRECT: &str = "http://127.0.0.1:9/callback";
/// 43 characters, as RFC 7636 section 4.1 asks for; nobody else is on this machine.
const VERIFIER: &str = "a-benchmark-needs-no-secret-but-43-letters.";

/// Publishes an app with Managed OAuth in front of the backend, under the policies of the demo's wiki.
pub(super) fn publish(ready: &Ready, port: u16, backend: u16) -> anyhow::Result<App> {
    let wiki = ready
        .apps
        .iter()
        .find(|app| app.kind == "web")
        .context("the demo has no web app")?;
    let wiki = api(ready, "GET", &format!("/apps/{}", wiki.id), None)?;
    let url = format!("http://127.0.0.1:{port}/");
    let app = api(
        ready,
        "POST",
        "/apps",
        Some(&json!({
            "account": wiki["account"],
            "name": "Benchmark",
            "kind": "web",
            "public_url": url,
            "origin_url": format!("http://127.0.0.1:{backend}"),
            "managed_oauth": true,
            "policies": wiki["policies"],
            "oauth": { "access_token_seconds": 86_400 },
        })),
    )?;
    let text = |name: &str| {
        app[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {name} in {app}"))
    };
    Ok(App {
        id: text("id")?,
        url: text("public_url")?,
        issuer: text("issuer")?,
    })
}

/// How many requests to the app the audit log has.
pub(super) fn audited(ready: &Ready, app: &App) -> anyhow::Result<i64> {
    let page = api(
        ready,
        "GET",
        &format!("/audit?app={}&action=gateway.request&limit=1", app.id),
        None,
    )?;
    page["items"][0]["seq"]
        .as_i64()
        .with_context(|| format!("no audit event in {page}"))
}

fn api(ready: &Ready, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let bearer = format!("Bearer {}", ready.api_token);
    let url = format!("{}/api/v1{path}", ready.control_url.trim_end_matches('/'));
    let body = body.map(Value::to_string).unwrap_or_default();
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    Browser::default()
        .send(&Request {
            method,
            url: &url,
            headers: &headers,
            body: &body,
        })?
        .json()
        .with_context(|| format!("{method} {path}"))
}

/// `count` different access tokens of one grant.
pub(super) fn tokens(ready: &Ready, app: &App, count: usize) -> anyhow::Result<Vec<String>> {
    let client = post_json(
        &format!("{}/register", app.issuer),
        &json!({
            "client_name": "Benchmark",
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        }),
    )?;
    let client = client["client_id"]
        .as_str()
        .context("registration gave no client_id")?;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let query = http::form(&pairs(&[
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", &app.url),
        ("state", "s"),
    ]));
    let code = authorize(ready, &format!("{}/authorize?{query}", app.issuer))?;
    let token = format!("{}/token", app.issuer);
    let mut answer = redeem(
        &token,
        &[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", REDIRECT),
            ("client_id", client),
            ("code_verifier", VERIFIER),
            ("resource", &app.url),
        ],
    )?;
    let mut tokens = Vec::with_capacity(count);
    loop {
        tokens.push(
            answer["access_token"]
                .as_str()
                .context("no access token")?
                .to_owned(),
        );
        if tokens.len() >= count {
            return Ok(tokens);
        }
        let refresh = answer["refresh_token"]
            .as_str()
            .context("no refresh token")?
            .to_owned();
        answer = redeem(
            &token,
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", &refresh),
                ("client_id", client),
            ],
        )?;
    }
}

fn redeem(url: &str, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    Browser::default()
        .send(&Request {
            method: "POST",
            url,
            headers: &headers,
            body: &http::form(&pairs(fields)),
        })?
        .json()
        .context("the token endpoint")
}

fn post_json(url: &str, body: &Value) -> anyhow::Result<Value> {
    let headers = [("content-type", "application/json")];
    Browser::default()
        .send(&Request {
            method: "POST",
            url,
            headers: &headers,
            body: &body.to_string(),
        })?
        .json()
        .with_context(|| url.to_owned())
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Does what the employee would do in a browser, and returns the code.
fn authorize(ready: &Ready, url: &str) -> anyhow::Result<String> {
    let person = ready
        .users
        .iter()
        .find(|user| user.allowed)
        .context("the demo has no allowed user")?;
    let mut browser = Browser::default();
    let mut at = url.to_owned();
    let mut answer = browser.navigate(&at)?;
    for _ in 0..20 {
        if let Some(location) = answer.header("location") {
            at = http::join(&at, location)?;
            if at.starts_with(REDIRECT) {
                return code(&at);
            }
            answer = browser.navigate(&at)?;
        } else {
            let form =
                Form::find(&answer).with_context(|| format!("no way on from {at}: {}", answer.body))?;
            at = http::join(&at, &form.action)?;
            answer = browser.submit(&at, &form.fill(person))?;
        }
    }
    bail!("the sign-in goes round in circles at {at}")
}

fn code(callback: &str) -> anyhow::Result<String> {
    callback
        .split(['?', '&'])
        .find_map(|pair| pair.strip_prefix("code="))
        .map(str::to_owned)
        .with_context(|| format!("no code in {callback}"))
}

/// The one form that leads on: a login form or the consent.
struct Form {
    action: String,
    fields: Vec<(String, String)>,
    decides: bool,
}

impl Form {
    fn find(answer: &Answer) -> Option<Self> {
        ensure_page(answer).ok()?;
        answer.body.split("<form").skip(1).find_map(|text| {
            let text = text.split("</form>").next()?;
            let decides = text.contains("name=\"decision\"");
            if !decides && !text.contains("name=\"password\"") {
                return None;
            }
            let action = attribute(text.split('>').next()?, "action").unwrap_or_default();
            let fields = text
                .split("<input")
                .skip(1)
                .filter_map(|input| {
                    let input = input.split('>').next()?;
                    Some((
                        attribute(input, "name")?,
                        attribute(input, "value").unwrap_or_default(),
                    ))
                })
                .collect();
            Some(Self {
                action,
                fields,
                decides,
            })
        })
    }

    fn fill(self, person: &Person) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = self
            .fields
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "username" => (name, person.username.clone()),
                "password" => (name, person.password.clone()),
                _ => (name, value),
            })
            .collect();
        if self.decides {
            fields.push(("decision".to_owned(), "allow".to_owned()));
        }
        fields
    }
}

fn ensure_page(answer: &Answer) -> anyhow::Result<()> {
    ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
    Ok(())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = tag[start..].split('"').next()?;
    Some(unescape(value))
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(end) = rest.find(';') else { break };
        let entity = &rest[1..end];
        let character = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            _ => entity
                .strip_prefix("#x")
                .map_or_else(
                    || entity.strip_prefix('#').and_then(|digits| digits.parse().ok()),
                    |digits| u32::from_str_radix(digits, 16).ok(),
                )
                .and_then(char::from_u32),
        };
        plain.push(character.unwrap_or('&'));
        rest = if character.is_some() {
            &rest[end + 1..]
        } else {
            &rest[1..]
        };
    }
    plain.push_str(rest);
    plain
}

/// The ES256 key that signed `token` as PEM: the SubjectPublicKeyInfo of RFC 5480 around the JWK's point.
pub(super) fn public_key(issuer: &str, token: &str) -> anyhow::Result<String> {
    /// Up to the uncompressed point: id-ecPublicKey, prime256v1, BIT STRING of 66 bytes.
    const HEAD: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let keys = Browser::default().get(&format!("{issuer}/jwks"))?.json()?;
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap_or_default())?;
    let header: Value = serde_json::from_slice(&header).context("the token's header")?;
    let key = keys["keys"]
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["kid"] == header["kid"]))
        .context("the token's key is not published")?;
    let mut der = HEAD.to_vec();
    for name in ["x", "y"] {
        let part = URL_SAFE_NO_PAD.decode(key[name].as_str().context("not an EC key")?)?;
        ensure!(part.len() == 32, "not a P-256 key");
        der.extend(part);
    }
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    Ok(format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> Answer {
        Answer {
            status: 200,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    fn person() -> Person {
        Person {
            username: "alice".into(),
            password: "secret".into(),
            allowed: true,
        }
    }

    #[test]
    fn a_login_form_is_filled_in_with_its_hidden_fields() {
        let page = page(
            r#"<form method="get" action="/search"><input name="q"></form>
               <form method="post" action="/login?a=1&amp;b=2"><input type="hidden" name="ticket" value="&lt;&#x27;&#38;">
               <input name="username" value=""><input name="password" type="password"></form>"#,
        );
        let form = Form::find(&page).unwrap();
        assert_eq!(form.action, "/login?a=1&b=2");
        let fields = form.fill(&person());
        let expected = [("ticket", "<'&"), ("username", "alice"), ("password", "secret")];
        assert_eq!(fields, pairs(&expected));
    }

    #[test]
    fn a_consent_is_allowed() {
        let page = page(
            r#"<form action="" method="post"><input type="hidden" name="csrf" value="c">
               <button name="decision" value="deny">Deny</button><button name="decision" value="allow">Allow</button></form>"#,
        );
        let fields = Form::find(&page).unwrap().fill(&person());
        assert_eq!(fields, pairs(&[("csrf", "c"), ("decision", "allow")]));
    }

    #[test]
    fn an_error_page_leads_nowhere() {
        let mut refused = page(r#"<form><input name="password"></form>"#);
        refused.status = 403;
        assert!(Form::find(&refused).is_none());
    }

    #[test]
    fn the_code_is_read_off_the_redirect() {
        assert_eq!(
            code("http://127.0.0.1:9/callback?state=s&code=abc&iss=x").unwrap(),
            "abc"
        );
        assert!(code("http://127.0.0.1:9/callback?error=access_denied").is_err());
    }
}
