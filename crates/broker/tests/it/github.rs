//! Signing in with GitHub, against a small one: real HTTP, the parts of the API that are used.

use crate::browser::{Answer, Browser};
use crate::idp::{way_back, with_query};
use crate::world::{World, from, on_each};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use url::Url;
use wire::Connection;

const CLIENT: &str = "Iv1.chatelaine";
const SECRET: &str = "github secret";

struct Inner {
    origin: String,
    /// Challenges and redirect URIs by code.
    codes: Mutex<HashMap<String, (String, String)>>,
    /// Codes that came to the token endpoint, whoever gave them out.
    redeemed: Mutex<Vec<String>>,
    account: Mutex<Account>,
}

/// The one account that there is, and how the server behaves.
#[derive(Clone)]
struct Account {
    id: u64,
    login: &'static str,
    emails: Value,
    organisations: Vec<String>,
    teams: Vec<(String, String)>,
    scope: &'static str,
    /// The path that answers 502.
    broken: &'static str,
}

impl Account {
    fn ada() -> Self {
        Self {
            id: 4711,
            login: "ada",
            emails: json!([
                {"email": "old@example.com", "primary": false, "verified": true},
                {"email": "ada@acme.example", "primary": true, "verified": true},
            ]),
            organisations: vec!["Acme".into(), "hobby".into()],
            teams: vec![("Acme".into(), "platform".into())],
            scope: "read:org,read:user,user:email",
            broken: "",
        }
    }
}

#[derive(Clone)]
pub(crate) struct GitHub(Arc<Inner>);

impl GitHub {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hub = Self(Arc::new(Inner {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            codes: Mutex::default(),
            redeemed: Mutex::default(),
            account: Mutex::new(Account::ada()),
        }));
        let router = Router::new()
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/user", get(user))
            .route("/api/v3/user/{list}", get(list))
            .with_state(hub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        hub
    }

    pub(crate) fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Codes that came to the token endpoint so far.
    pub(crate) fn redeemed(&self) -> Vec<String> {
        self.0.redeemed.lock().unwrap().clone()
    }

    fn is(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.0.account.lock().unwrap());
    }

    /// What happens when a browser arrives and its person agrees.
    #[track_caller]
    pub(crate) fn authorize(&self, location: &str) -> String {
        let url = Url::parse(location).unwrap();
        assert!(
            location.starts_with(&format!("{}/login/oauth/authorize?", self.0.origin)),
            "{location}"
        );
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], CLIENT);
        let back = way_back(&query["redirect_uri"]);
        assert_eq!(query["scope"], "read:user user:email read:org");
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["state"].len() >= 40);
        let mut codes = self.0.codes.lock().unwrap();
        let code = format!("hub{}", codes.len());
        let asked = (query["code_challenge"].clone(), query["redirect_uri"].clone());
        codes.insert(code.clone(), asked);
        with_query(back, &[("code", &code), ("state", &query["state"])])
    }
}

async fn token(State(hub): State<GitHub>, Form(form): Form<HashMap<String, String>>) -> Json<Value> {
    let account = hub.0.account.lock().unwrap();
    hub.0.redeemed.lock().unwrap().push(form["code"].clone());
    if form["client_id"] != CLIENT || form["client_secret"] != SECRET {
        return Json(json!({"error": "incorrect_client_credentials"}));
    }
    let asked = hub.0.codes.lock().unwrap().remove(&form["code"]);
    let shown = (
        store::sha256(&form["code_verifier"]),
        form["redirect_uri"].clone(),
    );
    if asked != Some(shown) {
        return Json(json!({"error": "bad_verification_code", "error_description": "<b>expired</b>"}));
    }
    Json(json!({"access_token": "gho_canary", "token_type": "bearer", "scope": account.scope}))
}

fn authorised(headers: &HeaderMap) {
    assert_eq!(headers["authorization"], "Bearer gho_canary");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("chatelaine/"));
}

async fn user(State(hub): State<GitHub>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    authorised(&headers);
    let account = hub.0.account.lock().unwrap().clone();
    if account.broken == "user" {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(
        json!({"id": account.id, "login": account.login, "name": null, "site_admin": true}),
    ))
}

async fn list(
    State(hub): State<GitHub>,
    headers: HeaderMap,
    axum::extract::Path(list): axum::extract::Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    authorised(&headers);
    let account = hub.0.account.lock().unwrap().clone();
    if account.broken == list {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let all: Vec<Value> = match list.as_str() {
        "emails" => account.emails.as_array().unwrap().clone(),
        "orgs" => account
            .organisations
            .iter()
            .map(|login| json!({"login": login}))
            .collect(),
        "teams" => {
            let team = |(org, slug): &(String, String)| json!({"slug": slug, "organization": {"login": org}});
            account.teams.iter().map(team).collect()
        }
        _ => return Err(StatusCode::NOT_FOUND),
    };
    let (size, page): (usize, usize) = (query["per_page"].parse().unwrap(), query["page"].parse().unwrap());
    Ok(Json(all.into_iter().skip(size * (page - 1)).take(size).collect()))
}

pub(crate) async fn connect(w: &World, hub: &GitHub, organisations: &[&str]) -> Connection {
    let origin = &hub.0.origin;
    let spec = from(json!({
        "name": "GitHub", "kind": "github", "issuer": origin, "client_id": CLIENT, "client_secret": SECRET,
        "allow_internal": [origin], "github_organisations": organisations,
    }));
    w.connect(spec, Some("allowed")).await
}

async fn sign_in(w: &World, hub: &GitHub, connection: &Connection) -> (Browser, Answer) {
    let mut browser = w.browser();
    let away = browser.get(&format!("/login/oidc/{}", connection.id)).await;
    let back = hub.authorize(away.location());
    let answer = browser.get(&back).await;
    (browser, answer)
}

#[tokio::test]
async fn somebody_signs_in_as_a_number_with_organisations_and_teams_as_groups() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let connection = connect(w, &hub, &[]).await;
        let page = w.browser().get(&format!("/login?account={}", w.production)).await;
        assert!(
            page.body.contains(&format!("/login/oidc/{}", connection.id)),
            "{}",
            page.body
        );
        // More teams than fit on a page.
        hub.is(|account| {
            account
                .teams
                .extend((0..120).map(|n| ("Acme".to_owned(), format!("team-{n}"))));
        });
        let (mut browser, answer) = sign_in(w, &hub, &connection).await;
        assert_eq!(answer.location(), "/me");
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        let ada = w.user("4711").await;
        assert_eq!(ada.issuer, hub.0.origin);
        assert_eq!(ada.email.as_deref(), Some("ada@acme.example"));
        assert!(ada.email_verified);
        assert_eq!(ada.name.as_deref(), Some("ada"), "the login, without a name");
        assert_eq!(ada.groups.len(), 2 + 121);
        assert!(ada.groups.contains(&"Acme/platform".to_owned()));
        assert!(ada.groups.contains(&"Acme/team-119".to_owned()));

        // Another login, the same person; the old login's next owner is somebody else.
        hub.is(|account| account.login = "ada-lovelace");
        assert_eq!(sign_in(w, &hub, &connection).await.1.location(), "/me");
        assert_eq!(w.user("4711").await.id, ada.id);
        hub.is(|account| (account.id, account.login) = (4712, "ada"));
        assert_eq!(sign_in(w, &hub, &connection).await.1.location(), "/me");
        assert_ne!(w.user("4712").await.id, ada.id);
    })
    .await;
}

#[tokio::test]
async fn github_confirms_nothing_because_it_does_not_ask_again() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let connection = connect(w, &hub, &[]).await;
        let (mut browser, answer) = sign_in(w, &hub, &connection).await;
        assert_eq!(answer.location(), "/me");
        w.clock.advance(16 * 60);
        let page = browser.get("/login/confirm").await;
        assert!(page.body.contains("it does not ask again"), "{}", page.body);
        assert!(page.body.contains("href=\"/logout\"") && !page.body.contains("<form"));
        // Nor does the way that it used to go: it is an ordinary sign-in, under a new session.
        let before = w.last("login.success").await.actor.session;
        let away = browser
            .get(&format!("/login/oidc/{}?confirm=1", connection.id))
            .await;
        let back = hub.authorize(away.location());
        browser.get(&back).await;
        assert_ne!(w.last("login.success").await.actor.session, before);
    })
    .await;
}

#[tokio::test]
async fn only_members_of_the_organisations_that_are_let_in() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let connection = connect(w, &hub, &["acme", "acme-labs"]).await;
        assert_eq!(sign_in(w, &hub, &connection).await.1.location(), "/me");
        // A team of that name elsewhere, an organisation that only begins so, none at all.
        for organisations in [vec!["hobby"], vec!["acme-evil"], vec![]] {
            hub.is(|account| {
                account.id += 1;
                account.organisations = organisations.iter().map(|&o| o.to_owned()).collect();
                account.teams = vec![("hobby".into(), "acme".into())];
            });
            let before = w.users().await.len();
            sign_in(w, &hub, &connection)
                .await
                .1
                .is_error(StatusCode::FORBIDDEN);
            let reason = w.last("login.failure").await.reason;
            assert_eq!(reason.as_deref(), Some("organisation_membership"));
            assert_eq!(w.users().await.len(), before);
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_counts_only_if_it_is_the_primary_one_and_verified() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let connection = connect(w, &hub, &[]).await;
        hub.is(|account| account.emails[1]["verified"] = json!(false));
        assert_eq!(sign_in(w, &hub, &connection).await.1.location(), "/me");
        let ada = w.user("4711").await;
        assert_eq!((ada.email, ada.email_verified), (None, false));
    })
    .await;
}

#[tokio::test]
async fn what_github_refuses_or_does_not_grant_signs_nobody_in() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let connection = connect(w, &hub, &["Acme"]).await;
        let reason = async || w.last("login.failure").await.reason.unwrap();

        // A code that another browser got: the verifier does not fit.
        let mut attacker = w.browser();
        let away = attacker.get(&format!("/login/oidc/{}", connection.id)).await;
        let theirs = hub.authorize(away.location());
        let code = theirs.split(['=', '&']).nth(1).unwrap();
        let mut victim = w.browser();
        victim.get(&theirs).await.is_error(StatusCode::FORBIDDEN);
        let away = victim.get(&format!("/login/oidc/{}", connection.id)).await;
        let own = hub.authorize(away.location());
        let own_code = own.split(['=', '&']).nth(1).unwrap();
        let answer = victim.get(&own.replace(own_code, code)).await;
        answer.is_error(StatusCode::BAD_GATEWAY);
        assert_eq!(reason().await, "provider_answer_invalid");
        assert!(victim.get("/me").await.location().starts_with("/login"));

        // The answer of another authorization server.
        let mut browser = w.browser();
        let away = browser.get(&format!("/login/oidc/{}", connection.id)).await;
        let back = hub.authorize(away.location());
        browser
            .get(&format!("{back}&iss=https%3A%2F%2Fevil"))
            .await
            .is_error(StatusCode::FORBIDDEN);
        assert_eq!(reason().await, "issuer_mismatch");

        hub.is(|account| account.scope = "read:user,user:email");
        sign_in(w, &hub, &connection)
            .await
            .1
            .is_error(StatusCode::BAD_GATEWAY);
        hub.is(|account| account.scope = "");
        assert_eq!(
            sign_in(w, &hub, &connection).await.1.location(),
            "/me",
            "a GitHub App"
        );
        for broken in ["user", "emails", "orgs", "teams"] {
            hub.is(|account| account.broken = broken);
            let (_, answer) = sign_in(w, &hub, &connection).await;
            answer.is_error(StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(reason().await, "provider_unreachable", "{broken}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_trial_goes_the_same_way_and_signs_nobody_in() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let connection = connect(w, &hub, &["acme"]).await;
        let mut tx = w.store.begin().await.unwrap();
        let place = (&w.org, &connection.id);
        let begun = (wire::TrialState::Waiting, vec![]);
        let trial = store::trial::create(&mut tx, place, &store::sha256("token"), begun)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        for (organisation, state, last) in [
            ("Acme", wire::TrialState::Passed, "admission"),
            ("hobby", wire::TrialState::Failed, "admission"),
        ] {
            hub.is(|account| account.organisations = vec![organisation.to_owned()]);
            let mut browser = w.browser();
            let csrf = browser.get("/login/trial/token").await.field("csrf");
            let away = browser.post("/login/trial/token", &[("csrf", &csrf)]).await;
            let page = browser.get(&hub.authorize(away.location())).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.body);
            assert!(!page.body.contains("gho_canary"));
            assert!(browser.get("/me").await.location().starts_with("/login"));
            let trial = store::trial::get(&w.store, place, &trial.id).await.unwrap();
            assert_eq!(
                (trial.state, trial.trace.last().unwrap().name.as_str()),
                (state, last)
            );
            let steps: Vec<_> = trial.trace.iter().map(|step| step.name.as_str()).collect();
            let all = [
                "setup",
                "client_secret",
                "redirect",
                "callback",
                "token",
                "profile",
                "emails",
                "organisations",
                "teams",
                "claims",
                "mapping",
                "admission",
            ];
            assert_eq!(steps, all);
        }
        assert!(w.users().await.iter().all(|user| user.subject != "4711"));
    })
    .await;
}

#[tokio::test]
async fn ss1_the_api_is_inside_only_where_the_connection_allows_it() {
    on_each(async |w| {
        let hub = GitHub::start().await;
        let mut connection = connect(w, &hub, &[]).await;
        let mut tx = w.store.begin().await.unwrap();
        let mut spec = connection.spec.clone();
        spec.allow_internal.clear();
        connection = store::connection::update(&mut tx, &connection, spec)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        sign_in(w, &hub, &connection)
            .await
            .1
            .is_error(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(hub.0.codes.lock().unwrap().len(), 1, "nobody redeemed the code");
    })
    .await;
}
