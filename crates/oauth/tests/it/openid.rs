//! OpenID Connect for agents that want it: off unless an app says otherwise, then whole.

use crate::bindings::{bound, set};
use crate::token::text;
use crate::world::{Answer, Browser, CONTROL, WIKI, World, on_each};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, header};
use serde_json::{Value, json};
use wire::{Authentication, BindingSpec, ClientState, ClientTier, Timestamp};

async fn switched_on(w: &World) {
    w.change_app(|app| app.oauth.openid = true).await;
}

/// The tokens for a scope, with the nonce `n-0S6`.
async fn tokens(w: &World, browser: &Browser, id: &str, scope: &str) -> Value {
    let url = w.authorize(id, &[("scope", scope), ("nonce", "n-0S6")]);
    let answer = w.consent(browser, &url, "allow").await.expect(303);
    let code = answer.param("code").unwrap();
    w.redeem(id, &code, &[]).await.expect(200).json()
}

async fn userinfo_at(w: &World, app: &str, token: &str) -> Answer {
    let request = Request::get(format!("/oauth/{app}/userinfo"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    w.send(request, Body::empty()).await
}

async fn userinfo(w: &World, token: &str) -> Answer {
    userinfo_at(w, w.app.as_ref(), token).await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str) {
    answer.expect_error(status, error);
    let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    for secret in ["ada", "acme.example"] {
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
}

/// The claims of an ID token that the issuer's published keys vouch for.
async fn verified(w: &World, id_token: &str) -> Value {
    let parts: Vec<_> = id_token.split('.').collect();
    let [head, body, signature] = parts.as_slice() else {
        panic!("{id_token}")
    };
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let header: Value = serde_json::from_slice(&decode(head)).unwrap();
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
    let keys = w.get(&w.path("jwks")).await.json();
    let key = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == header["kid"])
        .unwrap();
    let point = [vec![4], decode(&text(key, "x")), decode(&text(key, "y"))].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(format!("{head}.{body}").as_bytes(), &decode(signature))
        .unwrap();
    serde_json::from_slice(&decode(body)).unwrap()
}

#[tokio::test]
async fn there_is_none_of_it_unless_the_app_says_so() {
    on_each(async |w| {
        let (browser, id) = (w.employee().await, w.register().await);
        let before = tokens(w, &browser, &id, "read openid email").await;
        assert_eq!(before["scope"], "read");
        assert_eq!(before.get("id_token"), None);
        let documents = [
            format!("/.well-known/openid-configuration/oauth/{}", w.app),
            w.path(".well-known/openid-configuration"),
        ];
        for path in &documents {
            w.get(path).await.expect_error(404, "not_found");
        }
        let server = w
            .get(&w.path(".well-known/oauth-authorization-server"))
            .await
            .json();
        for name in ["userinfo_endpoint", "subject_types_supported", "claims_supported"] {
            assert_eq!(server.get(name), None);
        }
        userinfo(w, &text(&before, "access_token"))
            .await
            .expect_error(404, "not_found");
        switched_on(w).await;
        // Nobody was asked.
        refused(
            &userinfo(w, &text(&before, "access_token")).await,
            403,
            "insufficient_scope",
        );
        let on = tokens(w, &browser, &id, "read openid email").await;
        userinfo(w, &text(&on, "access_token")).await.expect(200);
        w.change_app(|app| app.oauth.openid = false).await;
        userinfo(w, &text(&on, "access_token"))
            .await
            .expect_error(404, "not_found");
        for path in &documents {
            w.get(path).await.expect_error(404, "not_found");
        }
        let again = w
            .refresh(&id, &text(&on, "refresh_token"), &[])
            .await
            .expect(200)
            .json();
        assert_eq!(again.get("id_token"), None);
    })
    .await;
}

#[tokio::test]
async fn the_metadata_is_whole_and_the_same_wherever_it_is_looked_for() {
    on_each(async |w| {
        switched_on(w).await;
        let server = w
            .get(&w.path(".well-known/oauth-authorization-server"))
            .await
            .expect(200);
        for path in [
            format!("/.well-known/openid-configuration/oauth/{}", w.app),
            w.path(".well-known/openid-configuration"),
        ] {
            assert_eq!(w.get(&path).await.expect(200).body, server.body, "{path}");
        }
        let document = server.json();
        // What OpenID Connect Discovery asks for, and the TypeScript SDK throws without.
        for name in [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
        ] {
            assert!(text(&document, name).starts_with(&w.issuer()), "{name}");
        }
        assert_eq!(document["response_types_supported"], json!(["code"]));
        assert_eq!(document["subject_types_supported"], json!(["public"]));
        assert_eq!(
            document["id_token_signing_alg_values_supported"],
            json!(["ES256"])
        );
        let scopes = json!(["read", "write", "openid", "profile", "email"]);
        assert_eq!(document["scopes_supported"], scopes);
        assert_eq!(document["request_uri_parameter_supported"], false);
        // Who asks for what the resource needs does not ask who somebody is.
        let view = w.store.directory().app(&w.app).unwrap().clone();
        let resource = tokens::metadata::protected_resource_metadata(&view, CONTROL);
        assert_eq!(resource["scopes_supported"], json!(["read", "write"]));
    })
    .await;
}

#[tokio::test]
async fn an_id_token_says_who_signed_in_how_and_for_whom() {
    on_each(async |w| {
        switched_on(w).await;
        let id = w.register().await;
        let said = Authentication {
            amr: vec!["pwd".into(), "otp".into(), "mfa".into()],
            acr: Some("urn:level:2".into()),
            auth_time: Some(Timestamp::from_seconds(1_799_999_000)),
            ..Authentication::default()
        };
        let browser = w.sign_in_as("ada", &["staff"], said).await;
        let answer = tokens(w, &browser, &id, "read openid profile email").await;
        assert_eq!(answer["scope"], "read openid profile email");
        let access = text(&answer, "access_token");
        let claims = verified(w, &text(&answer, "id_token")).await;
        let now = w.clock.now().seconds();
        assert_eq!(
            claims,
            json!({
                "iss": w.issuer(), "aud": id, "sub": w.claims(&access).sub, "nonce": "n-0S6", "iat": now, "exp": now + 900,
                "at_hash": tokens::at_hash(&access), "auth_time": 1_799_999_000, "acr": "urn:level:2",
                "amr": ["pwd", "otp", "mfa"], "email": "ada@acme.example", "email_verified": true, "name": "ada",
            })
        );
        // What is not known is not said.
        let answer = tokens(w, &w.employee().await, &id, "openid").await;
        let claims = verified(w, &text(&answer, "id_token")).await;
        for unknown in ["auth_time", "acr", "email", "email_verified", "name"] {
            assert_eq!(claims.get(unknown), None);
        }
        // It comes once, with the sign-in that it speaks of.
        let again = w.refresh(&id, &text(&answer, "refresh_token"), &[]).await.expect(200).json();
        assert_eq!((&again["scope"], again.get("id_token")), (&json!("openid"), None));
    })
    .await;
}

#[tokio::test]
async fn an_id_token_lets_nobody_in() {
    on_each(async |w| {
        switched_on(w).await;
        let metadata = json!({
            "redirect_uris": [crate::world::CALLBACK], "token_endpoint_auth_method": "client_secret_post",
        });
        let client = w.register_with(&metadata).await;
        let (id, secret) = (text(&client, "client_id"), text(&client, "client_secret"));
        let browser = w.employee().await;
        let url = w.authorize(&id, &[("scope", "read openid")]);
        let code = w
            .consent(&browser, &url, "allow")
            .await
            .expect(303)
            .param("code")
            .unwrap();
        let answer = w
            .redeem(&id, &code, &[("client_secret", &secret)])
            .await
            .expect(200)
            .json();
        let id_token = text(&answer, "id_token");
        refused(&userinfo(w, &id_token).await, 401, "invalid_token");
        assert!(
            w.keyring
                .verify_access(&w.org, &id_token, &w.issuer(), WIKI)
                .is_err()
        );
        assert!(
            w.keyring
                .verify_access(&w.org, &id_token, &w.issuer(), &id)
                .is_err()
        );
        let proof = [("client_id", id.as_str()), ("client_secret", secret.as_str())];
        let introspect = [proof[0], proof[1], ("token", id_token.as_str())];
        let said = w
            .form(&w.path("introspect"), &introspect)
            .await
            .expect(200)
            .json();
        assert_eq!(said, json!({"active": false}));
        for (name, grant_type) in [("code", "authorization_code"), ("refresh_token", "refresh_token")] {
            let fields = [
                proof[0],
                proof[1],
                ("grant_type", grant_type),
                (name, id_token.as_str()),
            ];
            w.form(&w.path("token"), &fields)
                .await
                .expect_error(400, "invalid_grant");
        }
    })
    .await;
}

#[tokio::test]
async fn userinfo_tells_what_was_asked_for_granted_and_released() {
    on_each(async |w| {
        switched_on(w).await;
        let (browser, id) = (w.employee().await, w.register().await);
        for (scope, said) in [
            ("openid", json!({})),
            ("openid profile", json!({"name": "ada"})),
            (
                "openid email read",
                json!({"email": "ada@acme.example", "email_verified": true}),
            ),
            (
                "email openid profile",
                json!({"email": "ada@acme.example", "email_verified": true, "name": "ada"}),
            ),
        ] {
            let answer = tokens(w, &browser, &id, scope).await;
            let access = text(&answer, "access_token");
            let mut said = said;
            said["sub"] = json!(browser.user);
            let told = userinfo(w, &access).await.expect(200);
            assert_eq!(told.json(), said, "{scope}");
            assert_eq!(told.headers[header::CACHE_CONTROL], "no-store");
            let post =
                Request::post(w.path("userinfo")).header(header::AUTHORIZATION, format!("bearer {access}"));
            assert_eq!(w.send(post, Body::empty()).await.expect(200).json(), said);
            // Fewer scopes of a refreshed token say less.
            let fewer = [("scope", "openid")];
            let fewer = w
                .refresh(&id, &text(&answer, "refresh_token"), &fewer)
                .await
                .expect(200)
                .json();
            let told = userinfo(w, &text(&fewer, "access_token"))
                .await
                .expect(200)
                .json();
            assert_eq!(told, json!({"sub": browser.user}));
        }
        let read = w.events("userinfo.read").await;
        assert_eq!(read.len(), 12);
        let actor = &read[0].actor;
        assert_eq!(actor.user.as_ref(), Some(&browser.user));
        assert!(actor.client.is_some() && actor.grant.is_some());
        // What the binding does not release is not told, whoever allowed it.
        let answer = tokens(w, &browser, &id, "openid email profile").await;
        let access = text(&answer, "access_token");
        let before = bound(w).await.spec;
        let released = |claims: &[&str]| BindingSpec {
            claims: Some(claims.iter().map(ToString::to_string).collect()),
            ..before.clone()
        };
        set(w, released(&["groups", "name"])).await;
        let told = userinfo(w, &access).await.expect(200).json();
        assert_eq!(told, json!({"sub": browser.user, "name": "ada"}));
        let answer = tokens(w, &browser, &id, "openid email profile").await;
        let claims = verified(w, &text(&answer, "id_token")).await;
        assert_eq!((claims.get("email"), claims.get("email_verified")), (None, None));
        set(w, released(&["groups", "email"])).await;
        let told = userinfo(w, &access).await.expect(200).json();
        assert_eq!(
            told,
            json!({"sub": browser.user, "email": "ada@acme.example", "email_verified": true})
        );
        // An address that nobody vouches for is called so.
        let sql = "UPDATE users SET email_verified = FALSE";
        assert!(testkit::execute(&w.url, sql).await > 0);
        let told = userinfo(w, &access).await.expect(200).json();
        assert_eq!(
            (&told["email"], &told["email_verified"]),
            (&json!("ada@acme.example"), &json!(false))
        );
    })
    .await;
}

#[tokio::test]
async fn userinfo_refuses_what_the_gateway_would_refuse() {
    on_each(async |w| {
        switched_on(w).await;
        let (browser, id) = (w.employee().await, w.register().await);
        let begun = async || {
            let answer = tokens(w, &browser, &id, "read openid email").await;
            let access = text(&answer, "access_token");
            userinfo(w, &access).await.expect(200);
            (access, answer)
        };
        let ask = async |headers: &[&str]| {
            let mut request = Request::get(w.path("userinfo"));
            for value in headers {
                request = request.header(header::AUTHORIZATION, *value);
            }
            w.send(request, Body::empty()).await
        };
        let answer = ask(&[]).await;
        refused(&answer, 401, "invalid_request");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
        let (good, answer) = begun().await;
        let refresh = text(&answer, "refresh_token");
        let (bearer, basic) = (format!("Bearer {good}"), format!("Basic {good}"));
        let (joined, forged) = (
            format!("Bearer {good}, Bearer {good}"),
            format!("Bearer {}x", &good[..good.len() - 1]),
        );
        let held = format!("Bearer {refresh}");
        for headers in [
            &[bearer.as_str(), bearer.as_str()][..],
            &[basic.as_str()],
            &[joined.as_str()],
            &[forged.as_str()],
            &[held.as_str()],
            &["Bearer"],
            &["Bearer "],
            &["Bearer svc_0192f0c1d2e37abc8def0123456789ab"],
        ] {
            refused(&ask(headers).await, 401, "invalid_token");
        }
        let service = Request::get(w.path("userinfo"))
            .header("chatelaine-client-id", "svc_x")
            .header("chatelaine-client-secret", "chs_x");
        refused(&w.send(service, Body::empty()).await, 401, "invalid_request");
        // In the query it is nothing: it would be in logs.
        let query = format!("{}?access_token={good}", w.path("userinfo"));
        refused(&w.get(&query).await, 401, "invalid_request");
        // Another app's, either way.
        let other = store::app::get(&w.store, &w.org, &w.other_app).await.unwrap();
        let mut tx = w.store.begin().await.unwrap();
        let mut spec = other.spec.clone();
        spec.oauth.openid = true;
        store::app::update(&mut tx, &other, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        refused(
            &userinfo_at(w, w.other_app.as_ref(), &good).await,
            401,
            "invalid_token",
        );
        userinfo(w, &good).await.expect(200);
        // Given back.
        let fields = [("token", good.as_str()), ("client_id", id.as_str())];
        w.form(&w.path("revoke"), &fields).await.expect(200);
        refused(&userinfo(w, &good).await, 401, "invalid_token");
        // With its grant.
        let (access, answer) = begun().await;
        let refresh = text(&answer, "refresh_token");
        let fields = [("token", refresh.as_str()), ("client_id", id.as_str())];
        w.form(&w.path("revoke"), &fields).await.expect(200);
        refused(&userinfo(w, &access).await, 401, "invalid_token");
        // Too old.
        let (access, _) = begun().await;
        w.advance(906).await;
        refused(&userinfo(w, &access).await, 401, "invalid_token");
        // The client, the rules, the app.
        let (access, _) = begun().await;
        let (policies, none) = (
            store::app::get(&w.store, &w.org, &w.app)
                .await
                .unwrap()
                .spec
                .policies,
            Vec::new(),
        );
        w.change_app(|app| app.policies = none).await;
        refused(&userinfo(w, &access).await, 401, "invalid_token");
        w.change_app(|app| app.policies = policies).await;
        userinfo(w, &access).await.expect(200);
        w.say(&id, ClientTier::Localhost, ClientState::Blocked).await;
        refused(&userinfo(w, &access).await, 401, "invalid_token");
        w.change_app(|app| app.enabled = false).await;
        userinfo(w, &access).await.expect_error(404, "not_found");
        w.store.write_all_folds().await.unwrap();
        let refusals = w.events("userinfo.refuse").await;
        assert!(refusals.iter().all(|event| event.actor.user.is_none()));
        let reasons: std::collections::BTreeSet<_> =
            refusals.iter().filter_map(|e| e.reason.as_deref()).collect();
        assert_eq!(reasons, ["credential_invalid", "unauthenticated"].into());
    })
    .await;
}

#[tokio::test]
async fn who_somebody_is_is_told_to_those_alone_who_ask_and_are_allowed() {
    on_each(async |w| {
        switched_on(w).await;
        let (browser, id) = (w.employee().await, w.register().await);
        for (asked, granted) in [
            ("", "read write"),
            ("offline_access", "read write"),
            // Without `openid` there is nobody of whom to tell.
            ("profile email", "read write"),
            ("read email", "read"),
            ("openid address read", "openid read"),
            ("email openid", "email openid"),
        ] {
            let url = w.authorize(&id, &[("scope", asked)]);
            let page = w.get_as(&browser, &url).await.expect(200);
            let shown = |words: &str| page.body.contains(words);
            assert_eq!(
                shown("Know that it is you"),
                granted.contains("openid"),
                "{asked}"
            );
            assert_eq!(
                shown("Know your e-mail address"),
                granted.contains("email"),
                "{asked}"
            );
            assert_eq!(shown("Read pages"), granted.contains("read"), "{asked}");
            let answer = tokens(w, &browser, &id, asked).await;
            assert_eq!(answer["scope"], granted, "{asked}");
            assert_eq!(
                answer.get("id_token").is_some(),
                granted.contains("openid"),
                "{asked}"
            );
        }
        w.say(&id, ClientTier::Approved, ClientState::Active).await;
        for (name, value) in [("max_age", "60"), ("nonce", &"n".repeat(513))] {
            let answer = w
                .get(&w.authorize(&id, &[("scope", "openid"), (name, value)]))
                .await
                .expect(303);
            assert_eq!(
                answer.param("error").as_deref(),
                Some("invalid_request"),
                "{name}"
            );
            // To whoever wants no ID token it means nothing.
            w.get_as(&browser, &w.authorize(&id, &[(name, value)]))
                .await
                .expect(200);
        }
        // The page was shown for this nonce.
        let url = w.authorize(&id, &[("scope", "openid"), ("nonce", "mine")]);
        let mut fields = w.get_as(&browser, &url).await.expect(200).fields();
        fields.push(("decision".into(), "allow".into()));
        for field in &mut fields {
            if field.0 == "nonce" {
                field.1 = "theirs".into();
            }
        }
        w.decide(&browser, &fields).await.expect(403);
    })
    .await;
}
