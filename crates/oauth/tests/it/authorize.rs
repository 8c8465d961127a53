//! `/authorize` and the consent page.

use crate::world::{CALLBACK, CHALLENGE, WIKI, encode, form_request, on_each};
use http::header;
use serde_json::json;
use wire::{ActorKind, ClientId, ClientSource, ClientState, ClientTier, Outcome};

/// The fields of a form.
type Fields = Vec<(String, String)>;

#[tokio::test]
async fn ru1_ru2_ru3_ru5_an_unregistered_redirect_is_a_local_400_before_sign_in() {
    on_each(async |w| {
        let id = w.register().await;
        for uri in [
            "https://evil.example/cb",
            "JaVaScRiPt:alert(1)",
            "\tjavascript:alert(1)",
            "data:text/html,x",
            "https://good.example@evil.example/cb",
            "http://localhost:8090%25@evil.example/",
            "http://127.0.0.1:7777/callback/..;/x",
            "http://127.0.0.1:7777/callback/%2e%2e/x",
            "http://127.0.0.1:7777//callback",
            "http://localhost:7777/callback",
            "http://127.0.0.1:7777/callback#x",
            "",
        ] {
            let answer = w
                .get(&w.authorize(&id, &[("redirect_uri", uri)]))
                .await
                .expect(400);
            assert_eq!(answer.location(), "", "{uri}");
        }
        // The port of a loopback address is the one thing that may differ.
        let other_port = [("redirect_uri", "http://127.0.0.1:1/callback")];
        w.get(&w.authorize(&id, &other_port)).await.expect(303);
        for unknown in ["cli_0192f000000000000000000000000000", "x", ""] {
            w.get(&w.authorize(unknown, &[])).await.expect(400);
        }
        let twice = format!(
            "{}&redirect_uri=https%3A%2F%2Fevil.example",
            w.authorize(&id, &[])
        );
        w.get(&twice).await.expect(400);
        // Refused, on record and counted, and nothing but refused.
        for event in w.events("authorize.").await {
            assert_eq!(event.action, "authorize.denied");
            assert_eq!(
                (event.outcome, event.actor.kind),
                (Outcome::Denied, ActorKind::Anonymous)
            );
        }
    })
    .await;
}

#[tokio::test]
async fn cd1_other_faults_go_back_to_an_approved_client_with_state_and_issuer() {
    on_each(async |w| {
        let id = w.register().await;
        w.say(&id, ClientTier::Approved, ClientState::Active).await;
        for (name, value, code) in [
            ("code_challenge", "", "invalid_request"),
            ("code_challenge", "short", "invalid_request"),
            ("code_challenge_method", "", "invalid_request"),
            ("code_challenge_method", "plain", "invalid_request"),
            ("response_type", "token", "unsupported_response_type"),
            ("response_type", "", "invalid_request"),
            ("scope", "admin", "invalid_scope"),
            ("resource", "https://tickets.example.com/mcp", "invalid_target"),
            ("prompt", "none", "interaction_required"),
            ("request", "x", "request_not_supported"),
            ("response_mode", "fragment", "invalid_request"),
        ] {
            let answer = w.get(&w.authorize(&id, &[(name, value)])).await.expect(303);
            assert!(answer.location().starts_with(&format!("{CALLBACK}?")), "{name}");
            assert_eq!(answer.param("error").as_deref(), Some(code), "{name}={value}");
            assert_eq!(answer.param("state").as_deref(), Some("st&te"));
            assert_eq!(answer.param("iss"), Some(w.issuer()));
        }
        for twice in ["scope=read&scope=write", "code_challenge=x", "response_type=code"] {
            let answer = w
                .get(&format!("{}&{twice}", w.authorize(&id, &[])))
                .await
                .expect(303);
            assert_eq!(
                answer.param("error").as_deref(),
                Some("invalid_request"),
                "{twice}"
            );
        }
        let both = format!("{}&resource=https%3A%2F%2Fevil.example", w.authorize(&id, &[]));
        let answer = w.get(&both).await;
        assert_eq!(answer.param("error").as_deref(), Some("invalid_target"));
    })
    .await;
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_sent_to_the_accounts_sign_in_and_back() {
    on_each(async |w| {
        let id = w.register().await;
        let url = w.authorize(&id, &[]);
        let answer = w.get(&url).await.expect(303);
        assert!(
            answer.location().starts_with("/login?account=acc_"),
            "{}",
            answer.location()
        );
        assert_eq!(answer.param("return_to"), Some(url));
        // A request without side effects: nothing was recorded, nobody registered.
        assert!(w.events("consent.").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn cn1_consent_is_always_asked_and_names_who_asks_for_what() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        w.tokens(&browser, &id).await;
        for _ in 0..2 {
            let page = w.get_as(&browser, &w.authorize(&id, &[])).await.expect(200);
            for text in [
                "Wiki",
                "Production",
                "Test agent",
                "No proven name",
                "Unverified, on a computer",
                "127.0.0.1",
                "Read pages",
                "Change &#60;pages&#62;",
                "30 days",
                "ada@acme.example",
                "/logout",
                "name=\"decision\" value=\"allow\"",
                "name=\"decision\" value=\"deny\"",
            ] {
                assert!(page.body.contains(text), "{text} in {}", page.body);
            }
            let csp = page.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(csp.contains("frame-ancestors 'none'") && csp.contains("default-src 'none'"));
            assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
            assert!(!page.body.contains("<script"));
        }
    })
    .await;
}

#[tokio::test]
async fn cn3_a_cross_site_navigation_asks_again_even_after_consent() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        w.tokens(&browser, &id).await;
        let request = http::Request::get(w.authorize(&id, &[]))
            .header(header::COOKIE, &browser.cookie)
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate");
        let page = w.send(request, axum::body::Body::empty()).await.expect(200);
        assert!(page.body.contains("value=\"allow\""));
    })
    .await;
}

#[tokio::test]
async fn dc3_a_hostile_name_is_escaped_bounded_and_marked() {
    on_each(async |w| {
        let name = format!("<img src=x>\u{202e}Cla\u{200b}ude\"'&{}", "x".repeat(10_000));
        let metadata = json!({
            "client_name": name, "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
            "token_endpoint_auth_method": "none",
        });
        let id = w.register_with(&metadata).await["client_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let redirect = [("redirect_uri", "https://claude.ai/api/mcp/auth_callback")];
        let page = w
            .get_as(&w.employee().await, &w.authorize(&id, &redirect))
            .await
            .expect(200);
        assert!(!page.body.contains("<img"), "{}", page.body);
        assert!(
            page.body
                .contains("calls itself <q>&#60;img src=x&#62;Claude&#34;&#39;&#38;xx")
        );
        assert!(!page.body.contains(&"x".repeat(80)));
        assert!(page.body.contains("Unverified") && page.body.contains("No proven name"));
    })
    .await;
}

#[tokio::test]
async fn cn4_a_decision_without_the_pages_own_token_is_403() {
    on_each(async |w| {
        let (browser, other) = (w.employee().await, w.sign_in("bob", &["staff"]).await);
        let id = w.register().await;
        let url = w.authorize(&id, &[]);
        let page = w.get_as(&browser, &url).await.expect(200);
        let fields = |change: &dyn Fn(&mut Fields)| {
            let mut fields = page.fields();
            fields.push(("decision".into(), "allow".into()));
            change(&mut fields);
            fields
        };
        let set = |name: &'static str, value: &'static str| {
            move |fields: &mut Fields| {
                fields.retain(|(n, _)| n != name);
                if !value.is_empty() {
                    fields.push((name.into(), value.into()));
                }
            }
        };
        for (name, value) in [
            ("csrf", ""),
            ("csrf", "x"),
            ("state", "other"),
            ("scope", "read"),
            ("redirect_uri", "http://127.0.0.1:1/callback"),
            ("code_challenge", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ] {
            w.decide(&browser, &fields(&set(name, value))).await.expect(403);
        }
        // The token of one person's page is worth nothing in another's browser.
        w.decide(&other, &fields(&|_| ())).await.expect(403);
        let good = fields(&|_| ());
        let good: Vec<_> = good.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let request = form_request(&w.path("authorize"))
            .header(header::COOKIE, &browser.cookie)
            .header("sec-fetch-site", "cross-site");
        w.send(request, encode(&good)).await.expect(403);
        assert!(w.events("consent.").await.is_empty());
        w.decide(&browser, &fields(&|_| ())).await.expect(303);
        assert_eq!(w.events("consent.allow").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn both_decisions_lead_back_to_the_agent_and_into_the_log() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let url = w.authorize(&id, &[("scope", "read")]);
        let denied = w.consent(&browser, &url, "deny").await.expect(303);
        assert_eq!(denied.param("error").as_deref(), Some("access_denied"));
        assert_eq!(denied.param("code"), None);
        let allowed = w.consent(&browser, &url, "allow").await.expect(303);
        assert!(allowed.location().starts_with(&format!("{CALLBACK}?code=")));
        assert_eq!(allowed.param("state").as_deref(), Some("st&te"));
        assert_eq!(allowed.param("iss"), Some(w.issuer()));
        let page = w.get_as(&browser, &url).await;
        let mut fields = page.fields();
        fields.push(("decision".into(), "maybe".into()));
        w.decide(&browser, &fields).await.expect(400);

        let events = w.events("consent.").await;
        assert_eq!(events.len(), 2);
        assert_eq!(
            (events[0].action.as_str(), events[0].outcome),
            ("consent.deny", Outcome::Denied)
        );
        let allow = &events[1];
        assert_eq!(
            (allow.action.as_str(), allow.outcome),
            ("consent.allow", Outcome::Allowed)
        );
        assert_eq!(allow.actor.user.as_ref(), Some(&browser.user));
        assert_eq!(allow.actor.email.as_deref(), Some("ada@acme.example"));
        assert_eq!(allow.actor.client.as_ref().map(ToString::to_string), Some(id));
        assert!(allow.actor.grant.is_some() && allow.actor.session.is_some());
        assert_eq!(allow.rule.as_ref().unwrap().name, "Staff");
        assert_eq!(allow.target.as_ref().unwrap().app.as_ref(), Some(&w.app));
        let code = allowed.param("code").unwrap();
        assert!(!serde_json::to_string(&events).unwrap().contains(&code));
    })
    .await;
}

#[tokio::test]
async fn policy_refuses_before_consent_and_the_log_names_the_reason() {
    on_each(async |w| {
        let contractor = w.sign_in("carl", &["contractors"]).await;
        let id = w.register().await;
        let page = w.get_as(&contractor, &w.authorize(&id, &[])).await.expect(403);
        assert!(
            page.body.contains("no_policy_matched") && page.body.contains("req-"),
            "{}",
            page.body
        );
        assert!(page.body.contains("error=access_denied"));
        let events = w.events("authorize.denied").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].outcome, Outcome::Denied);
        assert_eq!(events[0].reason.as_deref(), Some("no_policy_matched"));
        assert_eq!(events[0].actor.user.as_ref(), Some(&contractor.user));
    })
    .await;
}

#[tokio::test]
async fn a_person_of_an_unbound_connection_must_sign_in_through_a_bound_one() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let page = store::Paging::default();
        let bindings = store::binding::list(&w.store, &w.org, (None, None), None, &page)
            .await
            .unwrap();
        let mut tx = w.store.begin().await.unwrap();
        store::binding::delete(&mut tx, &bindings[0]).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let answer = w.get_as(&browser, &w.authorize(&id, &[])).await.expect(303);
        assert!(answer.location().starts_with("/login?account="));
    })
    .await;
}

#[tokio::test]
async fn a_document_that_cannot_be_fetched_is_a_local_error_and_a_pinned_one_needs_no_fetch() {
    on_each(async |w| {
        let url = "https://127.0.0.1.invalid/client.json";
        let page = w.get(&w.authorize(url, &[])).await.expect(400);
        assert!(page.body.contains("cannot be used"), "{}", page.body);
        assert!(w.client(url).await.is_none());

        let mut tx = w.store.begin().await.unwrap();
        let pinned = store::client::NewClient {
            id: ClientId::fresh(),
            client_id: url.into(),
            name: "Pinned".into(),
            verified_host: Some("127.0.0.1.invalid".into()),
            source: ClientSource::Preregistered,
            tier: ClientTier::Approved,
            state: ClientState::Active,
            redirect_uris: vec![CALLBACK.into()],
            auth_method: "none".into(),
            secret_hash: None,
            registration_hash: None,
            metadata: json!({}),
        };
        store::client::create(&mut tx, &w.org, (&w.account, &w.app), pinned)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        let browser = w.employee().await;
        let page = w.get_as(&browser, &w.authorize(url, &[])).await.expect(200);
        assert!(page.body.contains("127.0.0.1.invalid") && page.body.contains("Approved"));
        let tokens = w.tokens(&browser, url).await;
        assert_eq!(w.claims(tokens["access_token"].as_str().unwrap()).client_id, url);
    })
    .await;
}

#[tokio::test]
async fn resource_may_be_left_out_or_spelled_differently() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        for resource in ["", "https://wiki.example.com/", "https://WIKI.example.com:443"] {
            w.get_as(&browser, &w.authorize(&id, &[("resource", resource)]))
                .await
                .expect(200);
        }
        assert_eq!(CHALLENGE.len(), 43);
        assert!(WIKI.starts_with("https"));
    })
    .await;
}
