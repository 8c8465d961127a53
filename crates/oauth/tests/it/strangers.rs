//! What somebody unknown can cause here: no redirect to where they like, and no more rows than there is room for.

use crate::world::{Answer, Browser, CALLBACK, VERIFIER, World, on_each};
use serde_json::json;
use wire::{ActorKind, ClientState, ClientTier};

const ID: &str = "https://agent.example/client.json";
const OWN: &str = "https://agent.example/callback";
/// A request that is wrong in one way, with the code that its client would get.
const FAULTS: &[(&str, &str, &str)] = &[
    ("scope", "nonsense", "invalid_scope"),
    ("code_challenge", "", "invalid_request"),
    ("response_type", "token", "unsupported_response_type"),
    ("response_mode", "fragment", "invalid_request"),
    ("prompt", "none", "interaction_required"),
    ("request", "x", "request_not_supported"),
    (
        "request_uri",
        "https://evil.example/r",
        "request_uri_not_supported",
    ),
    ("resource", "https://evil.example", "invalid_target"),
];

async fn ask(w: &World, browser: Option<&Browser>, url: &str) -> Answer {
    match browser {
        Some(browser) => w.get_as(browser, url).await,
        None => w.get(url).await,
    }
}

/// Every fault stays here, with its code on the page.
async fn stays(w: &World, browser: Option<&Browser>, id: &str, redirect: &str) {
    for (name, value, code) in FAULTS {
        let url = w.authorize(id, &[("redirect_uri", redirect), (name, value)]);
        let page = ask(w, browser, &url).await.expect(400);
        assert_eq!(page.location(), "", "{name} to {redirect}");
        assert!(page.body.contains(code), "{name}: {}", page.body);
        assert!(
            !page.body.contains(&format!("href=\"{redirect}")),
            "{}",
            page.body
        );
    }
}

/// Every fault goes to the client.
async fn goes(w: &World, browser: Option<&Browser>, id: &str, redirect: &str) {
    for (name, value, code) in FAULTS {
        let url = w.authorize(id, &[("redirect_uri", redirect), (name, value)]);
        let answer = ask(w, browser, &url).await.expect(303);
        assert!(answer.location().starts_with(redirect), "{}", answer.location());
        assert_eq!(answer.param("error").as_deref(), Some(*code));
    }
}

async fn register(w: &World, redirect: &str) -> String {
    let metadata = json!({"redirect_uris": [redirect], "token_endpoint_auth_method": "none"});
    let registered = w.register_with(&metadata).await;
    registered["client_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn open_redirect_errors_of_an_unknown_document_client_stay_here() {
    on_each(async |w| {
        let document = json!({"client_id": ID, "redirect_uris": [OWN, CALLBACK]});
        w.oauth.keep_document(ID, document).await;
        let browser = w.employee().await;
        for redirect in [OWN, CALLBACK] {
            stays(w, None, ID, redirect).await;
            stays(w, Some(&browser), ID, redirect).await;
        }
        assert!(w.client(ID).await.is_none());
    })
    .await;
}

#[tokio::test]
async fn what_is_turned_away_before_consent_is_on_record_and_counted() {
    on_each(async |w| {
        let id = w.register().await;
        let client = w.client(&id).await.unwrap().client;
        let waits = w.register().await;
        w.say(&waits, ClientTier::Localhost, ClientState::Blocked).await;
        let broken = "https://broken.example/client.json";
        w.oauth
            .keep_document(broken, json!({"client_id": broken, "redirect_uris": []}))
            .await;
        let long = w.authorize(&id, &[("state", &"x".repeat(20_000))]);
        let asked = [
            (w.authorize("cli_unknown", &[]), 400, "client_unknown", false),
            (
                w.authorize(&id, &[("client_id", "")]),
                400,
                "invalid_request",
                false,
            ),
            (
                w.authorize(&id, &[("redirect_uri", "https://evil.example/cb")]),
                400,
                "redirect_not_registered",
                true,
            ),
            (w.authorize(&waits, &[]), 403, "client_not_accepted", true),
            (long, 414, "invalid_request", false),
        ];
        for (url, status, reason, has_client) in &asked {
            let before = w.events("authorize.denied").await.len();
            for _ in 0..20 {
                let page = w.get(url).await;
                assert_eq!(page.status.as_u16(), *status, "{reason}: {page:?}");
            }
            let events = w.events("authorize.denied").await;
            let new = &events[before..];
            let known = *reason == "invalid_request" && before > 2;
            assert!(new.len() <= 1 && (known || new.len() == 1), "{reason}: {new:#?}");
            let event = events
                .iter()
                .find(|e| e.reason.as_deref() == Some(reason))
                .unwrap();
            assert_eq!(event.actor.kind, ActorKind::Anonymous);
            assert_eq!(event.actor.client.is_some(), *has_client, "{reason}");
            assert_eq!(event.outcome, wire::Outcome::Denied);
            assert_eq!(event.account.as_ref(), Some(&client.account));
        }
        for _ in 0..20 {
            w.get(&w.authorize(broken, &[])).await.expect(400);
        }
        assert_eq!(w.events("client.document_refused").await.len(), 1);
        // A form from elsewhere.
        let browser = w.employee().await;
        let fields = [
            ("client_id".to_owned(), id.clone()),
            ("decision".to_owned(), "allow".to_owned()),
        ];
        w.decide(&browser, &fields).await;
        let page = w.get_as(&browser, &w.authorize(&id, &[])).await.expect(200);
        let mut fields = page.fields();
        fields.retain(|(name, _)| name != "csrf");
        fields.push(("decision".into(), "allow".into()));
        for _ in 0..20 {
            w.decide(&browser, &fields).await.expect(403);
        }
        let events = w.events("authorize.denied").await;
        let refused = events
            .iter()
            .filter(|e| e.reason.as_deref() == Some("form_refused"));
        assert_eq!(refused.count(), 1);
        w.advance(61).await;
        w.store.write_closed_folds().await.unwrap();
        let events = w.events("client.document_refused").await;
        let times = |e: &wire::AuditEvent| e.repeated.as_ref().map_or(1, |r| r.count);
        let unusable = events
            .iter()
            .filter(|e| e.reason.as_deref() == Some("invalid_redirect_uri"));
        assert_eq!(unusable.map(times).sum::<u64>(), 20);
    })
    .await;
}

#[tokio::test]
async fn open_redirect_errors_of_self_registered_clients_stay_here() {
    on_each(async |w| {
        w.change_app(|app| {
            let rules = &mut app.oauth.registration;
            rules.redirect_uris.push("notes://callback".into());
            rules.redirect_uris.push("https://shared.example/cb".into());
        })
        .await;
        let browser = w.employee().await;
        for redirect in [CALLBACK, "notes://callback", "https://shared.example/cb"] {
            let id = register(w, redirect).await;
            stays(w, None, &id, redirect).await;
            stays(w, Some(&browser), &id, redirect).await;
        }
    })
    .await;
}

#[tokio::test]
async fn open_redirect_what_waits_or_is_blocked_leads_nowhere() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        w.tokens(&browser, &id).await;
        for (tier, state) in [
            (ClientTier::Localhost, ClientState::Pending),
            (ClientTier::Approved, ClientState::Pending),
            (ClientTier::Localhost, ClientState::Blocked),
            (ClientTier::Approved, ClientState::Blocked),
        ] {
            w.say(&id, tier, state).await;
            for browser in [None, Some(&browser)] {
                for (name, value, _) in FAULTS {
                    let answer = ask(w, browser, &w.authorize(&id, &[(name, value)])).await;
                    assert_eq!(answer.expect(403).location(), "", "{name} {state:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn errors_go_where_an_administrator_or_this_person_approved_it() {
    on_each(async |w| {
        let (ada, bob) = (w.employee().await, w.sign_in("bob", &["staff"]).await);
        let id = w.register().await;
        w.tokens(&ada, &id).await;
        goes(w, Some(&ada), &id, CALLBACK).await;
        // A port of loopback is as good as another; a path is not, and neither is another person's consent.
        goes(w, Some(&ada), &id, "http://127.0.0.1:1/callback").await;
        stays(w, Some(&bob), &id, CALLBACK).await;
        stays(w, None, &id, CALLBACK).await;
        // What she took back she takes back whole.
        let mut tx = w.store.begin().await.unwrap();
        let client = w.client(&id).await.unwrap().client;
        let which = store::grant::Which::Client(&client.id);
        store::grant::revoke_where(&mut tx, which, "revoked_by_person")
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        stays(w, Some(&ada), &id, CALLBACK).await;

        w.say(&id, ClientTier::Approved, ClientState::Active).await;
        goes(w, None, &id, CALLBACK).await;
        goes(w, Some(&bob), &id, CALLBACK).await;
    })
    .await;
}

#[tokio::test]
async fn a_consent_form_is_good_for_one_answer() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let url = w.authorize(&id, &[]);
        for (first, second) in [("allow", "allow"), ("deny", "allow"), ("allow", "deny")] {
            let before = w.events("consent.").await.len();
            let page = w.get_as(&browser, &url).await.expect(200);
            let answer = async |decision: &str| {
                let mut fields = page.fields();
                fields.push(("decision".into(), decision.into()));
                w.decide(&browser, &fields).await
            };
            answer(first).await.expect(303);
            let again = answer(second).await.expect(403);
            assert_eq!(again.location(), "");
            assert!(again.body.contains("Nothing more was granted"), "{}", again.body);
            assert_eq!(w.events("consent.").await.len(), before + 1);
        }
        // Many at once are no way around it.
        let page = w.get_as(&browser, &url).await.expect(200);
        let mut fields = page.fields();
        fields.push(("decision".into(), "allow".into()));
        let before = w.events("consent.allow").await.len();
        let answers = futures_util::future::join_all((0..8).map(|_| w.decide(&browser, &fields))).await;
        assert_eq!(answers.iter().filter(|a| a.status.as_u16() == 303).count(), 1);
        assert_eq!(w.events("consent.allow").await.len(), before + 1);
        // A page that was left open is too old some time.
        let page = w.get_as(&browser, &url).await.expect(200);
        let mut fields = page.fields();
        fields.push(("decision".into(), "allow".into()));
        w.advance(3601).await;
        w.decide(&browser, &fields).await.expect(403);
    })
    .await;
}

#[tokio::test]
async fn refused_token_requests_are_counted_and_name_nobody() {
    on_each(async |w| {
        let id = w.register().await;
        let secret =
            json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic"});
        let secret = w.register_with(&secret).await;
        let confidential = secret["client_id"].as_str().unwrap();
        for _ in 0..100 {
            w.redeem(&id, "nonsense", &[])
                .await
                .expect_error(400, "invalid_grant");
            w.refresh(&id, "nonsense", &[])
                .await
                .expect_error(400, "invalid_grant");
            for endpoint in ["token", "revoke", "introspect"] {
                let path = w.path(endpoint);
                let fields = [("token", "x"), ("code_verifier", VERIFIER)];
                let answer = w.form_basic(&path, (confidential, "wrong"), &fields).await;
                answer.expect_error(401, "invalid_client");
            }
        }
        let refused = w.events("token.refuse").await;
        assert_eq!(refused.len(), 5, "{refused:#?}");
        assert!(refused.iter().all(|e| e.actor.user.is_none()));
        let unproven = |e: &&wire::AuditEvent| e.reason.as_deref() == Some("invalid_client");
        assert!(
            refused
                .iter()
                .filter(unproven)
                .all(|e| e.actor.kind == ActorKind::Anonymous)
        );
        w.advance(60).await;
        let mut events = w.events("token.refuse").await;
        for _ in 0..100 {
            w.store.write_closed_folds().await.unwrap();
            events = w.events("token.refuse").await;
            if events.len() == 10 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let times = |e: &wire::AuditEvent| e.repeated.as_ref().map_or(1, |r| r.count);
        assert_eq!(events.iter().map(times).sum::<u64>(), 500);
    })
    .await;
}

#[tokio::test]
async fn a_code_that_is_replayed_again_and_again_is_counted() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let code = w.code(&browser, &id).await;
        w.redeem(&id, &code, &[]).await.expect(200);
        for _ in 0..50 {
            w.redeem(&id, &code, &[]).await.expect_error(400, "invalid_grant");
        }
        assert_eq!(w.events("grant.revoke").await.len(), 1);
        // The one that ended the grant, and the first of those that did nothing more.
        assert_eq!(w.events("token.refuse").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_blocked_or_waits_is_told_that_its_grant_is_over_not_to_register_anew() {
    on_each(async |w| {
        let browser = w.employee().await;
        for state in [ClientState::Blocked, ClientState::Pending] {
            let id = w.register().await;
            let tokens = w.tokens(&browser, &id).await;
            let code = w.code(&browser, &id).await;
            w.say(&id, ClientTier::Localhost, state).await;
            // RFC 6749 section 5.2: it proved who it is, and what it holds was revoked. To `invalid_client` agents
            // answer by registering under another name.
            w.redeem(&id, &code, &[]).await.expect_error(400, "invalid_grant");
            let refresh = tokens["refresh_token"].as_str().unwrap();
            w.refresh(&id, refresh, &[])
                .await
                .expect_error(400, "invalid_grant");
            w.refresh(&id, "nonsense", &[])
                .await
                .expect_error(400, "invalid_grant");
        }
    })
    .await;
}

fn times(event: &wire::AuditEvent) -> u64 {
    event.repeated.as_ref().map_or(1, |repeated| repeated.count)
}

/// All events of an action once every count is written, by reason.
async fn counted(w: &World, action: &str) -> std::collections::BTreeMap<String, Vec<wire::AuditEvent>> {
    w.store.write_all_folds().await.unwrap();
    let mut found = std::collections::BTreeMap::<_, Vec<_>>::new();
    for event in w.events(action).await {
        let reason = event.reason.clone().unwrap_or_default();
        found.entry(reason).or_default().push(event);
    }
    found
}

/// One event and one count of the others, at the app, by nobody, and nothing of what was sent.
fn are_bounded(w: &World, events: &[wire::AuditEvent], count: u64) {
    assert!(events.len() <= 2, "{events:#?}");
    assert_eq!(events.iter().map(times).sum::<u64>(), count, "{events:#?}");
    for event in events {
        assert_eq!(event.actor, wire::AuditActor::of(ActorKind::Anonymous));
        assert_eq!(event.outcome, wire::Outcome::Denied);
        assert_eq!(event.account.as_ref(), Some(&w.account));
        let text = serde_json::to_string(event).unwrap();
        assert!(!text.contains("guess"), "{text}");
    }
}

#[tokio::test]
async fn clients_that_nobody_knows_are_on_record_wherever_they_are_guessed() {
    on_each(async |w| {
        for endpoint in ["token", "introspect", "revoke"] {
            let path = w.path(endpoint);
            for n in 0..20 {
                let id = format!("guess-{n}");
                let fields = [("client_id", id.as_str()), ("token", "guess"), ("code", "guess")];
                w.form(&path, &fields).await.expect_error(401, "invalid_client");
                let answer = w.form_basic(&path, (&id, "guess"), &[("token", "guess")]).await;
                answer.expect_error(401, "invalid_client");
                // What is no credential at all, and what is none that can be read.
                w.form(&path, &[("token", "guess")])
                    .await
                    .expect_error(401, "invalid_client");
                let twice = [("client_id", "guess"), ("client_id", "guess")];
                w.form(&path, &twice).await.expect_error(400, "invalid_request");
            }
        }
        let found = counted(w, "token.refuse").await;
        for (reason, each) in [
            ("client_unknown", 40),
            ("invalid_client", 20),
            ("invalid_request", 20),
        ] {
            for endpoint in ["token", "introspect", "revoke"] {
                let at =
                    |e: &&wire::AuditEvent| e.request.as_ref().is_some_and(|r| r.path == w.path(endpoint));
                let events: Vec<_> = found[reason].iter().filter(at).cloned().collect();
                are_bounded(w, &events, each);
            }
        }
        assert_eq!(found.len(), 3, "{found:#?}");
    })
    .await;
}

#[tokio::test]
async fn introspection_by_whoever_may_not_ask_is_on_record() {
    on_each(async |w| {
        let public = w.register().await;
        let path = w.path("introspect");
        for _ in 0..20 {
            let fields = [("client_id", public.as_str()), ("token", "guess")];
            w.form(&path, &fields).await.expect_error(401, "invalid_client");
        }
        let found = counted(w, "token.refuse").await;
        let events = &found["invalid_client"];
        assert_eq!(events.iter().map(times).sum::<u64>(), 20);
        assert!(events.len() == 2 && events.iter().all(|e| e.actor.kind == ActorKind::Anonymous));
        assert!(
            events.iter().all(|e| e.actor.client.is_some()),
            "whose it is said to be"
        );
    })
    .await;
}

#[tokio::test]
async fn registrations_that_are_not_theirs_are_on_record_and_keep_what_they_are() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let mine = w.register_with(&metadata).await;
        let id = mine["client_id"].as_str().unwrap();
        let mut methods = [http::Method::GET, http::Method::PUT, http::Method::DELETE]
            .into_iter()
            .cycle();
        for n in 0..60 {
            let method = methods.next().unwrap();
            let unknown = w.path(&format!("register/guess-{n}"));
            for (path, token) in [
                (unknown.clone(), Some("guess")),
                (unknown, None),
                (w.path(&format!("register/{id}")), Some("guess")),
                (w.path(&format!("register/{id}")), None),
            ] {
                let answer = w.json(method.clone(), &path, token, &metadata).await;
                answer.expect_error(401, "invalid_token");
            }
        }
        let found = counted(w, "client.refuse").await;
        let events = &found["credential_invalid"];
        assert_eq!((found.len(), events.len()), (1, 12), "{events:#?}");
        for method in ["GET", "PUT", "DELETE"] {
            let by = |e: &&wire::AuditEvent| e.request.as_ref().is_some_and(|r| r.method == method);
            let of_client = |e: &wire::AuditEvent| e.target.as_ref().is_some_and(|t| t.id == id);
            let (theirs, nobodys): (Vec<_>, Vec<_>) = events.iter().filter(by).cloned().partition(of_client);
            are_bounded(w, &theirs, 40);
            are_bounded(w, &nobodys, 40);
        }
        assert!(w.client(id).await.is_some());
    })
    .await;
}

#[tokio::test]
async fn what_a_client_may_not_become_is_on_record_as_its_own_attempt() {
    on_each(async |w| {
        let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
        let mine = w.register_with(&metadata).await;
        let (id, token) = (
            mine["client_id"].as_str().unwrap(),
            mine["registration_access_token"].as_str(),
        );
        let path = w.path(&format!("register/{id}"));
        for _ in 0..20 {
            let other = json!({"redirect_uris": ["javascript:alert(1)"]});
            let answer = w.json(http::Method::PUT, &path, token, &other).await;
            assert_eq!(answer.status.as_u16(), 400, "{answer:?}");
        }
        let found = counted(w, "client.update").await;
        let events = &found["invalid_redirect_uri"];
        assert_eq!(events.iter().map(times).sum::<u64>(), 20);
        assert!(events.len() == 2, "{events:#?}");
        assert!(
            events
                .iter()
                .all(|e| e.outcome == wire::Outcome::Failure && e.target.as_ref().unwrap().id == id)
        );
    })
    .await;
}

#[tokio::test]
async fn guesses_bury_no_refusal_of_a_client_that_is_there() {
    on_each(async |w| {
        let secret =
            json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_basic"});
        let secret = w.register_with(&secret).await;
        let confidential = secret["client_id"].as_str().unwrap();
        // From very many networks, and along very many paths.
        for n in 0..200 {
            let from = format!("198.51.{}.{n}", n % 7);
            w.from(&from, w.path("token"), &[("client_id", "guess")])
                .await
                .expect_error(401, "invalid_client");
        }
        let path = w.path("token");
        let answer = w
            .form_basic(&path, (confidential, "wrong"), &[("code", "x")])
            .await;
        answer.expect_error(401, "invalid_client");
        let found = counted(w, "token.refuse").await;
        assert_eq!(found["client_unknown"].len(), 64);
        assert_eq!(found["various"].len(), 1);
        let event = &found["invalid_client"][0];
        assert!(
            event.actor.client.is_some() && event.request.is_some(),
            "{event:#?}"
        );
    })
    .await;
}
