//! GitHub, and GitHub Enterprise servers: OAuth 2 with state and PKCE, then the API says who it is. There is no
//! id token; what makes the answer trustworthy is that the code is redeemed at the origin that the connection names.

use crate::claims;
use crate::provider::{Answer, Attempt, Fault, Http, Identified, Providers};
use crate::trace::Trace;
use openidconnect::{PkceCodeChallenge, PkceCodeVerifier};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use store::Store;
use url::Url;
use wire::{Authentication, Connection};

/// Where GitHub itself is; also its issuer.
const ORIGIN: &str = "https://github.com";
/// What is asked for: the profile, all addresses, organisations with their teams.
const SCOPES: &str = "read:user user:email read:org";
/// Why GitHub confirms nothing: it neither asks again when told to nor says when it did.
pub(crate) const NEVER_ASKS: &str = "GitHub does not say when it asked";
/// Most pages of a list that are read.
const MAX_PAGES: u32 = 10;
/// Items on a page.
const PAGE: usize = 100;

/// The web origin of a connection.
fn origin(connection: &Connection) -> Result<String, Fault> {
    let issuer = connection.spec.issuer.as_deref().unwrap_or(ORIGIN);
    let url = Url::parse(issuer).map_err(|e| Fault::Setup(format!("its origin: {e}")))?;
    Ok(url.origin().ascii_serialization())
}

/// Where the API of a web origin is.
fn api(origin: &str) -> String {
    match origin.strip_prefix("https://") {
        Some("github.com") => "https://api.github.com".to_owned(),
        // Enterprise Cloud with data residency.
        Some(host) if host.ends_with(".ghe.com") => format!("https://api.{host}"),
        _ => format!("{origin}/api/v3"),
    }
}

/// Where to send the browser. Nothing is asked of GitHub for it.
pub(crate) async fn begin(
    providers: &Providers,
    store: &Store,
    connection: &Connection,
    attempt: &Attempt,
    trace: &mut Trace,
) -> Result<String, Fault> {
    let (origin, id) = match (origin(connection), &connection.spec.client_id) {
        (Ok(origin), Some(id)) => (origin, id),
        (Err(fault), _) => return Err(trace.failed("setup", fault)),
        (_, None) => {
            let fault = Fault::Setup("it has no client id".to_owned());
            return Err(trace.failed("setup", fault));
        }
    };
    trace.ok("setup", format!("{origin} with its API at {}", api(&origin)));
    if store::connection::secret(store, &connection.id).await?.is_none() {
        let fault = Fault::Setup("it has no client secret".to_owned());
        return Err(trace.failed("client_secret", fault));
    }
    trace.ok("client_secret", "there");
    let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
    let mut url = Url::parse(&format!("{origin}/login/oauth/authorize"))
        .map_err(|e| Fault::Setup(format!("its origin: {e}")))?;
    let redirect_uri = providers.redirect_uri(connection);
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", id)
        .append_pair("redirect_uri", &redirect_uri)
        .append_pair("scope", SCOPES)
        .append_pair("state", &attempt.state)
        .append_pair("code_challenge", challenge.as_str())
        .append_pair("code_challenge_method", "S256");
    drop(query);
    trace.ok(
        "redirect",
        format!("to {origin}/login/oauth/authorize with redirect URI {redirect_uri} and scopes {SCOPES}"),
    );
    Ok(url.into())
}

/// Redeems the code and asks the API who it is about.
pub(crate) async fn identify(
    providers: &Providers,
    store: &Store,
    connection: &Connection,
    answer: Answer<'_>,
    trace: &mut Trace,
) -> Result<Identified, Fault> {
    if answer.asked_since.is_some() {
        return Err(trace.failed("callback", Fault::Unproven(NEVER_ASKS)));
    }
    let origin = origin(connection)?;
    // RFC 9207; GitHub's issuer as an authorization server is below its origin.
    match answer.iss {
        Some(iss) if iss != origin && iss != format!("{origin}/login/oauth") => {
            return Err(trace.differs("callback", Fault::Issuer, &origin, iss));
        }
        // Enterprise servers of some age say nothing.
        None if answer.shared => return Err(trace.failed("callback", Fault::Nameless)),
        _ => trace.ok("callback", "a code came for this attempt"),
    }
    trace.has_asked = true;
    let http = providers.http(connection)?;
    let token = match redeem((providers, &http), store, (connection, &origin), &answer).await {
        Ok(token) => token,
        Err(fault) => return Err(trace.failed("token", fault)),
    };
    trace.ok("token", "the code was redeemed for an access token");
    let api = Api {
        http,
        base: api(&origin),
        token,
    };
    let profile: Profile = match api.get("/user").await {
        Ok(profile) => profile,
        Err(fault) => return Err(trace.failed("profile", fault)),
    };
    trace.ok("profile", format!("account {}", profile.login));
    let email = match api.primary_email().await {
        Ok(email) => email,
        Err(fault) => return Err(trace.failed("emails", fault)),
    };
    trace.ok(
        "emails",
        if email.is_some() {
            "there is a verified primary address"
        } else {
            "there is no verified primary address"
        },
    );
    let organisations: Vec<Organisation> = match api.list("/user/orgs").await {
        Ok(list) => list,
        Err(fault) => return Err(trace.failed("organisations", fault)),
    };
    trace.ok("organisations", format!("{} visible", organisations.len()));
    let teams: Vec<Team> = match api.list("/user/teams").await {
        Ok(list) => list,
        Err(fault) => return Err(trace.failed("teams", fault)),
    };
    trace.ok("teams", format!("{} visible", teams.len()));

    let claims = claims_of(profile, email, (organisations, teams));
    trace.claims = claims::remembered(&claims);
    claims::require(&connection.spec, &claims, trace)?;
    let identity = claims::identity(connection, &origin, claims);
    Ok(Identified {
        identity: identity.map_err(|fault| trace.failed("mapping", fault))?,
        // GitHub does not say how it asked.
        authentication: Authentication::default(),
        sid: None,
        id_token: None,
        refresh_token: None,
    })
}

/// In the form of an id token's claims, so that mapping and rules are those of every connection.
fn claims_of(
    profile: Profile,
    email: Option<String>,
    (organisations, teams): (Vec<Organisation>, Vec<Team>),
) -> Map<String, Value> {
    let organisations: Vec<String> = organisations.into_iter().map(|o| o.login).collect();
    let teams = teams
        .into_iter()
        .map(|team| format!("{}/{}", team.organization.login, team.slug));
    let groups: Vec<String> = organisations.iter().cloned().chain(teams).collect();
    let claims = json!({
        // Logins can be given up and taken by somebody else; the number stays.
        "sub": profile.id.to_string(),
        "login": profile.login,
        "name": profile.name.filter(|name| !name.trim().is_empty()).unwrap_or(profile.login.clone()),
        "email": email,
        "email_verified": email.is_some(),
        "organisations": organisations,
        "groups": groups,
    });
    match claims {
        Value::Object(claims) => claims,
        _ => Map::new(),
    }
}

/// What the token endpoint says: errors come with status 200.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    error: Option<String>,
    scope: Option<String>,
}

async fn redeem(
    (providers, http): (&Providers, &Http),
    store: &Store,
    (connection, origin): (&Connection, &str),
    answer: &Answer<'_>,
) -> Result<String, Fault> {
    let secret = store::connection::secret(store, &connection.id).await?;
    let secret = secret.ok_or_else(|| Fault::Setup("it has no client secret".to_owned()))?;
    let redirect_uri = providers.redirect_uri(connection);
    let fields = [
        (
            "client_id",
            connection.spec.client_id.as_deref().unwrap_or_default(),
        ),
        ("client_secret", secret.as_str()),
        ("code", answer.code),
        ("redirect_uri", redirect_uri.as_str()),
        ("code_verifier", answer.verifier),
    ];
    let sent = http
        .outbound
        .post_form(format!("{origin}/login/oauth/access_token"), &fields)
        .allow(&http.allow)
        .accept("application/json")
        .send()
        .await
        .map_err(|e| Fault::Unreachable(e.to_string()))?;
    if !sent.status.is_success() {
        return Err(Fault::status("its token endpoint", sent.status));
    }
    let answer: TokenAnswer = serde_json::from_slice(&sent.body)
        .map_err(|_| Fault::Answer("its token answer is not JSON".to_owned()))?;
    if let Some(error) = answer.error {
        let error = claims::clean(&error, 60);
        return Err(Fault::Answer(format!("its token endpoint said {error}")));
    }
    // GitHub Apps have permissions in place of scopes, and say nothing here.
    let granted = answer.scope.unwrap_or_default();
    let has = |wanted: &[&str]| {
        granted
            .split([',', ' '])
            .any(|scope| wanted.contains(&scope.trim()))
    };
    let whole = has(&["user:email", "user"]) && has(&["read:org", "write:org", "admin:org"]);
    if !granted.is_empty() && !whole {
        let text = "it did not grant what was asked for: user:email and read:org";
        return Err(Fault::Answer(text.to_owned()));
    }
    answer
        .access_token
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Fault::Answer("it sent no access token".to_owned()))
}

#[derive(Deserialize)]
struct Profile {
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Organisation {
    login: String,
}

#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Organisation,
}

/// The API, as one person sees it.
struct Api {
    http: Http,
    base: String,
    token: String,
}

impl Api {
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let url = format!("{}{path}", self.base);
        let answer = self.http.get(&url, Some(&self.token)).await?;
        let what = path.split('?').next().unwrap_or(path);
        if !answer.status.is_success() {
            return Err(Fault::status(&format!("its {what}"), answer.status));
        }
        let read = serde_json::from_slice(&answer.body);
        read.map_err(|_| Fault::Answer(format!("its {what} is not what it should be")))
    }

    /// All pages of a list. One that does not end is refused rather than cut off: rules may ask about what would
    /// be missing.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Fault> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let items: Vec<T> = self.get(&format!("{path}?per_page={PAGE}&page={page}")).await?;
            let is_last = items.len() < PAGE;
            all.extend(items);
            if is_last {
                return Ok(all);
            }
        }
        let most = PAGE * MAX_PAGES as usize;
        Err(Fault::Answer(format!("its {path} has {most} entries or more")))
    }

    /// The primary address, if GitHub has verified it.
    async fn primary_email(&self) -> Result<Option<String>, Fault> {
        let all: Vec<Email> = self.list("/user/emails").await?;
        let primary = all.into_iter().find(|email| email.primary && email.verified);
        Ok(primary.map(|email| email.email))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_where_it_is_for_each_kind_of_server() {
        assert_eq!(api("https://github.com"), "https://api.github.com");
        assert_eq!(api("https://acme.ghe.com"), "https://api.acme.ghe.com");
        assert_eq!(api("https://git.acme.example"), "https://git.acme.example/api/v3");
        assert_eq!(api("http://github.com"), "http://github.com/api/v3");
    }
}
