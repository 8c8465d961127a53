//! Connections beyond making and changing them: presets, discovery, trials, claims tried out, health, warnings.

use crate::world::{World, on_each};
use axum::{Json, Router, routing::get};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::{Outcome, Role, Timestamp, TrialState};

/// A provider that says this of itself, and where it is.
async fn provider(change: Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "end_session_endpoint": format!("{issuer}/end"),
        "backchannel_logout_supported": true,
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "scopes_supported": ["openid", "groups"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
    });
    for (name, value) in change.as_object().unwrap() {
        document[name] = value.clone();
    }
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]});
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(async || Json(document)))
        .route("/jwks", get(async || Json(keys)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    issuer
}

async fn post(world: &World, path: &str, body: Value) -> Value {
    let answer = world.owner(Method::POST, path, Some(body)).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
    answer.json()
}

/// A connection to a provider, and its path.
async fn connection(world: &World, issuer: &str, more: Value) -> (Value, String) {
    let mut spec = json!({"name": "Partner", "kind": "oidc", "issuer": issuer, "client_id": "us",
        "client_secret": "canary", "allow_internal": [issuer]});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let made = post(world, "/connections", spec).await;
    let path = format!("/connections/{}", made["id"].as_str().unwrap());
    (made, path)
}

#[tokio::test]
async fn the_presets_are_one_table_for_everybody() {
    on_each(async |world| {
        let presets = world.get("/connection-presets").await;
        let names: Vec<_> = presets["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|preset| preset["preset"].as_str().unwrap())
            .collect();
        let all = [
            "generic",
            "okta",
            "entra",
            "google_workspace",
            "auth0",
            "keycloak",
            "ping",
            "onelogin",
        ];
        assert_eq!(names, all);
    })
    .await;
}

#[tokio::test]
async fn discovery_tells_what_a_provider_says_and_what_speaks_against_it() {
    on_each(async |world| {
        let issuer = provider(json!({})).await;
        let pasted = format!(" {issuer}/.well-known/openid-configuration?x=1");
        for typed in [&issuer, &format!("{issuer}/"), &pasted] {
            let body = json!({"issuer": typed, "allow_internal": [issuer]});
            let found = post(world, "/connections/discover", body).await;
            assert_eq!(found["issuer"], json!(issuer));
            assert_eq!(found["warnings"], json!([]), "{found}");
            assert_eq!(
                (&found["signing_keys"], &found["backchannel_logout"]),
                (&json!(1), &json!(true))
            );
            assert_eq!(found["end_session_endpoint"], json!(format!("{issuer}/end")));
            assert_eq!(found["scopes"], json!(["openid", "groups"]));
        }
        let poor = provider(json!({
            "issuer": "https://other.example.com", "code_challenge_methods_supported": ["plain"],
            "id_token_signing_alg_values_supported": ["HS256", "none"], "token_endpoint": null,
            "jwks_uri": "https://127.0.0.1:1/jwks",
        }))
        .await;
        let found = post(
            world,
            "/connections/discover",
            json!({"issuer": poor, "allow_internal": [poor]}),
        )
        .await;
        let warnings = found["warnings"].to_string();
        for text in [
            "S256",
            "RS256",
            "unsigned",
            "another issuer",
            "no token endpoint",
            "keys cannot be read",
        ] {
            assert!(warnings.contains(text), "{text}: {warnings}");
        }
    })
    .await;
}

#[tokio::test]
async fn ss1_discovery_reaches_inside_only_for_administrators_who_say_so() {
    on_each(async |world| {
        let issuer = provider(json!({})).await;
        for closed in [
            issuer.as_str(),
            "https://127.0.0.1:1",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "https://",
        ] {
            let answer = world
                .owner(
                    Method::POST,
                    "/connections/discover",
                    Some(json!({"issuer": closed})),
                )
                .await;
            assert_eq!(
                answer.refused(400, "invalid"),
                ["/issuer"],
                "{closed}: {}",
                answer.text
            );
        }
        let admin = world.hire(Role::AccountAdmin, Some(&world.acme.labs)).await;
        let body = Some(json!({"issuer": issuer, "allow_internal": [issuer]}));
        let answer = world
            .call(&admin.token, Method::POST, "/connections/discover", body)
            .await;
        answer.refused(403, "forbidden");
        let editor = world.hire(Role::AccountEditor, Some(&world.acme.labs)).await;
        let body = Some(json!({"issuer": "https://127.0.0.1:1"}));
        let answer = world
            .call(&editor.token, Method::POST, "/connections/discover", body)
            .await;
        answer.refused(403, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn what_opens_the_inside_is_asked_by_whoever_may_write_and_is_on_record() {
    on_each(async |world| {
        let issuer = provider(json!({})).await;
        let body = || Some(json!({"issuer": issuer, "allow_internal": [issuer]}));
        let (org, owner) = (&world.acme.org, &world.acme.owner.user.id);
        let (_, reader) = crate::world::token(&world.store, org, owner, &[wire::TokenScope::Read]).await;
        let ask = async |token: &str, body: Option<Value>| {
            world
                .call(token, Method::POST, "/connections/discover", body)
                .await
        };
        let auditor = world.hire(Role::OrgAuditor, None).await.token;
        for token in [&reader, &auditor] {
            ask(token, body()).await.refused(403, "forbidden");
            let event = world.newest_of("api.refuse").await;
            assert_eq!(event.reason.as_deref(), Some("forbidden"));
        }
        // A question that opens nothing is one that a reading token may ask.
        let outside = Some(json!({"issuer": "https://127.0.0.1:1"}));
        assert_eq!(ask(&reader, outside).await.refused(400, "invalid"), ["/issuer"]);
        let answer = ask(&world.acme.owner.token, body()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let event = world.newest_of("connection.discover").await;
        assert_eq!(event.actor.user.as_ref(), Some(owner));
    })
    .await;
}

#[tokio::test]
async fn what_vendors_need_is_asked_for() {
    on_each(async |world| {
        let entra = "https://login.microsoftonline.com/common/v2.0";
        let google = "https://accounts.google.com";
        let oidc = |more: Value| {
            let mut spec = json!({"name": "C", "kind": "oidc", "issuer": "https://x.example.com", "client_id": "x"});
            for (name, value) in more.as_object().unwrap() {
                spec[name] = value.clone();
            }
            spec
        };
        let github = |more: Value| {
            let mut spec = json!({"name": "C", "kind": "github", "client_id": "x"});
            for (name, value) in more.as_object().unwrap() {
                spec[name] = value.clone();
            }
            spec
        };
        for (spec, pointer) in [
            (oidc(json!({"preset": "entra", "issuer": entra})), "/required_claims"),
            (oidc(json!({"preset": "entra", "issuer": entra.replace("common", "ORGANIZATIONS")})), "/required_claims"),
            (
                oidc(json!({"preset": "entra", "issuer": entra, "required_claims": {"tid": "../evil"}})),
                "/required_claims/tid",
            ),
            (oidc(json!({"preset": "google_workspace", "issuer": google})), "/required_claims"),
            (oidc(json!({"preset": "nobody"})), "/preset"),
            (oidc(json!({"email_verification": "always"})), "/email_verification"),
            (oidc(json!({"github_organisations": ["acme"]})), "/github_organisations"),
            (oidc(json!({"claims": {"groups": "/a~2"}})), "/claims/groups"),
            (oidc(json!({"claims": {"email": ""}})), "/claims/email"),
            (oidc(json!({"claims": {"groups_separator": ""}})), "/claims/groups_separator"),
            (oidc(json!({"trusted_audiences": [""]})), "/trusted_audiences/0"),
            (oidc(json!({"trusted_audiences": ["a", " b"]})), "/trusted_audiences/1"),
            (github(json!({"trusted_audiences": ["a"]})), "/trusted_audiences"),
            (oidc(json!({"allowed_domains": ["acme.example", "acme.example."]})), "/allowed_domains/1"),
            (oidc(json!({"allowed_domains": ["a@acme.example"]})), "/allowed_domains/0"),
            (oidc(json!({"allowed_domains": ["\u{e4}cme.example"]})), "/allowed_domains/0"),
            (oidc(json!({"required_claims": {"a/b": ""}})), "/required_claims/a~1b"),
            (oidc(json!({"client_secret_expires_at": "tomorrow"})), "/client_secret_expires_at"),
            (github(json!({"preset": "okta"})), "/preset"),
            (github(json!({"issuer": "https://github.com/acme"})), "/issuer"),
            (github(json!({"issuer": "http://git.example.com"})), "/issuer"),
            (github(json!({"github_organisations": ["acme/team"]})), "/github_organisations/0"),
            (json!({"name": "C", "kind": "github"}), "/client_id"),
        ] {
            let answer = world.owner(Method::POST, "/connections", Some(spec.clone())).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer], "{spec}: {}", answer.text);
        }
        for (n, spec) in [
            oidc(json!({"preset": "entra", "issuer": entra,
                "required_claims": {"tid": "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"}})),
            oidc(json!({"preset": "google_workspace", "issuer": google, "required_claims": {"hd": "x.example"}})),
            oidc(json!({"email_verification": "always", "allowed_domains": ["x.example"]})),
            oidc(json!({"claims": {"groups": "https://acme.example/groups"}})),
            oidc(json!({"claims": {"groups": "/realm_access/roles"}})),
            oidc(json!({"claims": {"groups_separator": ", "}, "trusted_audiences": ["https://api.example"]})),
            github(json!({"github_organisations": ["acme-labs"]})),
        ]
        .into_iter()
        .enumerate()
        {
            let mut spec = spec;
            spec["name"] = json!(format!("C{n}"));
            post(world, "/connections", spec).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_trial_begins_at_once_and_its_link_is_shown_once() {
    on_each(async |world| {
        let issuer = provider(json!({})).await;
        let (_, path) = connection(world, &issuer, json!({"enabled": false})).await;
        let trials = format!("{path}/trials");
        let dry = post(world, &format!("{trials}?dry_run=true"), json!({})).await;
        assert_eq!(dry["resource"].get("url"), None, "{dry}");
        assert_eq!(world.get(&trials).await["items"], json!([]));

        let answer = world.owner(Method::POST, &trials, None).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let made = answer.json();
        assert_eq!(made["state"], "waiting");
        let steps: Vec<_> = made["trace"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].clone())
            .collect();
        assert_eq!(
            json!(steps),
            json!([
                "setup",
                "discovery",
                "issuer",
                "endpoints",
                "keys",
                "client_secret",
                "redirect"
            ])
        );
        let url = made["url"].as_str().unwrap();
        let token = url.strip_prefix("https://control.example.com/login/trial/");
        let token = token.unwrap_or_else(|| panic!("{url}"));
        assert!(token.len() >= 40);
        assert_eq!(made["expires_at"], json!(world.clock.now().plus_seconds(3600)));
        let event = world.newest().await;
        assert_eq!(
            (event.action.as_str(), event.outcome),
            ("connection.trial", Outcome::Success)
        );
        assert!(!serde_json::to_string(&event).unwrap().contains(token));

        let one = format!("{trials}/{}", made["id"].as_str().unwrap());
        assert_eq!(answer.header("location"), format!("/api/v1{one}"));
        for shown in [world.get(&one).await, world.get(&trials).await] {
            assert!(!shown.to_string().contains(token), "{shown}");
        }
        // Not under another connection.
        let other = one.replace(&path, &format!("/connections/{}", world.acme.connection.id));
        world
            .owner(Method::GET, &other, None)
            .await
            .refused(404, "not-found");
        world.clock.advance(3600);
        assert_eq!(world.get(&one).await["state"], "expired");

        // What is wrong is in the trace, not in the status.
        let (_, path) = connection(
            world,
            &issuer,
            json!({"name": "Wrong", "issuer": format!("{issuer}/x")}),
        )
        .await;
        let failed = post(world, &format!("{path}/trials"), json!({})).await;
        assert_eq!(failed["state"], "failed");
        assert_eq!(
            failed["trace"].as_array().unwrap().last().unwrap()["name"],
            "discovery"
        );
        assert_eq!(world.newest().await.outcome, Outcome::Failure);
        let local = format!("/connections/{}/trials", world.acme.local.id);
        world
            .owner(Method::POST, &local, None)
            .await
            .refused(409, "conflict");
        // Nothing hangs on trials.
        let gone = world.owner(Method::DELETE, &path, None).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text);
    })
    .await;
}

#[tokio::test]
async fn what_a_trial_found_out_about_a_person_is_for_those_who_may_change_the_connection() {
    on_each(async |world| {
        let acme = &world.acme;
        let place = (&acme.org, &acme.connection.id);
        let mut trial = store::trial::get(&world.store, place, &acme.trial).await.unwrap();
        trial.state = TrialState::Passed;
        trial.finished_at = Some(world.clock.now());
        trial.identity = Some(wire::MappedIdentity {
            subject: "canary-sub".into(),
            ..Default::default()
        });
        trial.claims = json!({"sub": "canary-sub", "upn": "ada@acme.example"})
            .as_object()
            .cloned();
        let mut tx = world.store.begin().await.unwrap();
        store::trial::update(&mut tx, &trial).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let trials = format!("/connections/{}/trials", acme.connection.id);
        let one = format!("{trials}/{}", acme.trial);
        let auditor = world.hire(Role::OrgAuditor, None).await;
        let inside = world.hire(Role::AccountAdmin, Some(&acme.account)).await;
        for path in [&trials, &one] {
            assert!(world.get(path).await.to_string().contains("canary-sub"));
            for token in [&auditor.token, &inside.token] {
                let answer = world.call(token, Method::GET, path, None).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert!(!answer.text.contains("canary-sub"), "{}", answer.text);
            }
        }

        // And the mapping can be tried on it.
        let preview = format!("/connections/{}/claims-preview", acme.connection.id);
        let body = json!({"claims": {"email": "upn"}, "required_claims": {"tid": "x"}});
        let found = post(world, &preview, body).await;
        assert_eq!(found["source"], "trial");
        assert_eq!(found["identity"]["email"], "ada@acme.example");
        assert_eq!(found["identity"]["email_verified"], false);
        assert_eq!(found["missing"], json!(["name", "groups"]));
        assert_eq!(found["refused"], "claim_mismatch");
    })
    .await;
}

#[tokio::test]
async fn a_mapping_is_tried_on_a_sample_or_a_persons_claims() {
    on_each(async |world| {
        let acme = &world.acme;
        let preview = format!("/connections/{}/claims-preview", acme.connection.id);
        let sample = json!({"sub": "1", "email": "a@b.example", "email_verified": "true",
            "realm": {"roles": ["x", "y"]}, "name": "A\u{202e}"});
        let body = json!({"sample": sample, "claims": {"groups": "/realm/roles"}});
        let found = post(world, &preview, body).await;
        let identity = json!({"issuer": "https://idp.example.com", "subject": "1", "email": "a@b.example",
            "email_verified": true, "name": "A", "groups": ["x", "y"]});
        assert_eq!((&found["identity"], &found["missing"]), (&identity, &json!([])));
        assert_eq!(found.get("refused"), None);
        // A text is what the connection says, and what cannot be taken as it was sent is refused.
        for (groups, separator, mapped, refused) in [
            (
                json!("admins,developers"),
                json!(null),
                json!([]),
                json!("groups_unusable"),
            ),
            (
                json!("admins,developers"),
                json!("|"),
                json!(["admins,developers"]),
                json!(null),
            ),
            (
                json!("admins,developers"),
                json!(","),
                json!(["admins", "developers"]),
                json!(null),
            ),
            (json!(["x", 7]), json!(null), json!([]), json!("groups_unusable")),
            (json!([" x"]), json!(null), json!([]), json!("groups_unusable")),
        ] {
            let body =
                json!({"sample": {"sub": "1", "groups": groups}, "claims": {"groups_separator": separator}});
            let found = post(world, &preview, body).await;
            assert_eq!(found["identity"]["groups"], mapped, "{groups}");
            assert_eq!(found["refused"], refused, "{groups}");
            let why = found["refused_because"].as_str().unwrap_or_default();
            assert_eq!(why.contains("the claim groups"), !refused.is_null(), "{why}");
        }

        let found = post(world, &preview, json!({"user": acme.employee.id})).await;
        assert_eq!(
            (&found["source"], &found["identity"]["subject"]),
            (&json!("user"), &json!("ada"))
        );

        for (body, pointer) in [
            (json!({"user": acme.employee.id, "sample": {"sub": "1"}}), "/user"),
            (json!({"user": acme.owner.user.id}), "/user"),
            (json!({"user": world.other.employee.id}), "/user"),
            (json!({"sample": {"email": "a@b"}}), "/sample"),
            (
                json!({"sample": {"sub": "1"}, "claims": {"email": ""}}),
                "/claims/email",
            ),
            (json!({}), "/sample"),
        ] {
            let answer = world.owner(Method::POST, &preview, Some(body.clone())).await;
            assert_eq!(
                answer.refused(400, "invalid"),
                [pointer],
                "{body}: {}",
                answer.text
            );
        }
        let auditor = world.hire(Role::OrgAuditor, None).await;
        let body = Some(json!({"user": acme.employee.id}));
        let answer = world.call(&auditor.token, Method::POST, &preview, body).await;
        answer.refused(403, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn health_follows_from_the_last_hour() {
    on_each(async |world| {
        let id = &world.acme.connection.id;
        let path = format!("/connections/{id}/health");
        let health = async || world.get(&path).await;
        let note = async |failure: Option<&str>, millis: u64| {
            let mut tx = world.store.begin().await.unwrap();
            store::connection::note_health(&mut tx, id, failure)
                .await
                .unwrap();
            store::health::count(&mut tx, id, failure, millis).await.unwrap();
            tx.commit_housekeeping().await.unwrap();
        };
        assert_eq!(health().await["state"], "unknown");
        note(None, 100).await;
        note(None, 200).await;
        let found = health().await;
        assert_eq!(found["state"], "healthy");
        assert_eq!(
            (&found["error_rate_1h"], &found["latency_ms_avg"]),
            (&json!(0.0), &json!(150))
        );
        assert_eq!(found["breaker"], json!({"state": "closed"}));
        note(Some("provider_unreachable"), 0).await;
        note(None, 0).await;
        let found = health().await;
        assert_eq!(
            (&found["state"], &found["error_rate_1h"]),
            (&json!("degraded"), &json!(0.25))
        );
        assert_eq!(found["failures_1h"], json!({"provider_unreachable": 1}));
        world.clock.advance(2 * 3600);
        let found = health().await;
        assert_eq!(
            (&found["state"], found.get("error_rate_1h")),
            (&json!("healthy"), None)
        );
        assert_eq!(found["hours"][0]["successes"], 3);
        world.clock.advance(86_400);
        assert_eq!(health().await["hours"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_connection_says_what_to_look_at() {
    on_each(async |world| {
        let issuer = provider(json!({"code_challenge_methods_supported": ["plain"]})).await;
        let day = 86_400;
        let end = |days: i64| -> Timestamp { world.clock.now().plus_seconds(days * day + 60) };
        let (made, path) = connection(world, &issuer, json!({"client_secret_expires_at": end(40)})).await;
        assert_eq!(made.get("warnings"), None, "{made}");
        let codes = async || {
            let shown = world.get(&path).await;
            let warnings = shown["warnings"].as_array().cloned().unwrap_or_default();
            warnings
                .iter()
                .map(|w| w["code"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        world.clock.advance(11 * day);
        assert_eq!(codes().await, ["secret_expiring"]);
        assert!(
            world.get(&path).await["warnings"][0]["detail"]
                .as_str()
                .unwrap()
                .contains("in 29 days")
        );
        world.clock.advance(30 * day);
        assert_eq!(codes().await, ["secret_expired"]);
        let patch = json!({"client_secret_expires_at": null, "enabled": false});
        let answer = world.owner(Method::PATCH, &path, Some(patch)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(codes().await, ["disabled"]);
        post(world, &format!("{path}/trials"), json!({})).await;
        assert_eq!(codes().await, ["disabled", "discovery"]);
    })
    .await;
}

#[tokio::test]
async fn a_redirect_uri_of_its_own_is_a_way_of_no_return() {
    on_each(async |world| {
        let acme = &world.acme;
        let path = format!("/connections/{}", acme.connection.id);
        let shown = world.get(&path).await;
        assert_eq!(shown["callback"], "own");
        let own = format!("{}/login/callback/{}", testkit::CONTROL, acme.connection.id);
        assert_eq!(shown["redirect_uri"], json!(own));
        let shared = json!({ "callback": "shared" });
        let refused = world.owner(Method::PATCH, &path, Some(shared.clone())).await;
        assert_eq!(refused.refused(400, "invalid"), ["/callback"]);
        let mut new = json!({
            "name": "Another", "kind": "oidc", "issuer": "https://idp.example.com", "client_id": "x",
            "callback": "shared",
        });
        let refused = world.owner(Method::POST, "/connections", Some(new.clone())).await;
        assert_eq!(refused.refused(400, "invalid"), ["/callback"]);
        new.as_object_mut().unwrap().remove("callback");
        let made = world.owner(Method::POST, "/connections", Some(new)).await.json();
        let id = made["id"].as_str().unwrap();
        assert_eq!(
            made["redirect_uri"],
            json!(format!("{}/login/callback/{id}", testkit::CONTROL))
        );

        // One that is older.
        let before = store::connection::get(&world.store, &acme.org, &acme.connection.id)
            .await
            .unwrap();
        let spec = wire::ConnectionSpec {
            callback: wire::Callback::Shared,
            ..before.spec.clone()
        };
        let mut tx = world.store.begin().await.unwrap();
        store::connection::update(&mut tx, &before, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let shown = world.get(&path).await;
        assert_eq!(
            (&shown["callback"], &shown["redirect_uri"]),
            (&json!("shared"), &json!(own))
        );
        assert_eq!(shown["warnings"][0]["code"], "shared_callback");
        // Other changes leave it as it is.
        let renamed = world
            .owner(Method::PATCH, &path, Some(json!({ "name": "Renamed" })))
            .await;
        assert_eq!(renamed.json()["callback"], "shared");
        let switched = world
            .owner(Method::PATCH, &path, Some(json!({ "callback": "own" })))
            .await;
        assert_eq!(switched.status, StatusCode::OK, "{}", switched.text);
        assert_eq!(switched.json().get("warnings"), None);
        let event = world.newest().await;
        let change = event.change.unwrap();
        assert_eq!(
            (&change.before["callback"], &change.after["callback"]),
            (&json!("shared"), &json!("own"))
        );
        let refused = world.owner(Method::PATCH, &path, Some(shared)).await;
        assert_eq!(refused.refused(400, "invalid"), ["/callback"]);
    })
    .await;
}
