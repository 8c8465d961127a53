//! What an agent reads first.

use crate::world::{CONTROL, WIKI, on_each};
use axum::body::Body;
use http::{Request, header};
use serde_json::json;
use wire::AppId;

#[tokio::test]
async fn metadata_is_the_same_at_both_places_and_names_what_works() {
    on_each(async |w| {
        let inserted = format!("/.well-known/oauth-authorization-server/oauth/{}", w.app);
        let inserted = w.get(&inserted).await.expect(200);
        let below = w
            .get(&w.path(".well-known/oauth-authorization-server"))
            .await
            .expect(200);
        assert_eq!(inserted.body, below.body);
        let document = inserted.json();
        let issuer = w.issuer();
        assert_eq!(document["issuer"], issuer);
        assert_eq!(
            document["issuer"],
            w.store.directory().app(&w.app).unwrap().app.issuer
        );
        assert_eq!(document["authorization_endpoint"], format!("{issuer}/authorize"));
        assert_eq!(document["token_endpoint"], format!("{issuer}/token"));
        assert_eq!(document["registration_endpoint"], format!("{issuer}/register"));
        assert_eq!(document["jwks_uri"], format!("{issuer}/jwks"));
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
        assert_eq!(document["response_types_supported"], json!(["code"]));
        assert_eq!(document["scopes_supported"], json!(["read", "write"]));
        assert_eq!(document["authorization_response_iss_parameter_supported"], true);
        assert_eq!(document["client_id_metadata_document_supported"], true);

        w.change_app(|app| {
            app.oauth.registration.dynamic = false;
            app.oauth.registration.metadata_documents = false;
        })
        .await;
        let document = w
            .get(&w.path(".well-known/oauth-authorization-server"))
            .await
            .json();
        assert_eq!(document.get("registration_endpoint"), None);
        assert_eq!(document["client_id_metadata_document_supported"], false);
        let resource =
            tokens::metadata::protected_resource_metadata(w.store.directory().app(&w.app).unwrap(), CONTROL);
        assert_eq!(resource["resource"], WIKI);
        assert_eq!(resource["authorization_servers"], json!([issuer]));
    })
    .await;
}

#[tokio::test]
async fn documents_are_revalidated_by_their_etag_and_readable_from_any_origin() {
    on_each(async |w| {
        for path in [w.path(".well-known/oauth-authorization-server"), w.path("jwks")] {
            let request = Request::get(&path).header(header::ORIGIN, "https://inspector.example");
            let answer = w.send(request, Body::empty()).await.expect(200);
            assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert!(
                !answer
                    .headers
                    .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            );
            let etag = answer.headers[header::ETAG].clone();
            let request = Request::get(&path).header(header::IF_NONE_MATCH, etag);
            w.send(request, Body::empty()).await.expect(304);
        }
        let jwks = w.get(&w.path("jwks")).await.json();
        assert_eq!(jwks["keys"][0]["kty"], "EC");
        assert_eq!(jwks["keys"][0].get("d"), None);

        let request = Request::options(w.path("token"))
            .header(header::ORIGIN, "https://inspector.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "mcp-protocol-version");
        let answer = w.send(request, Body::empty()).await.expect(200);
        let allowed = answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS]
            .to_str()
            .unwrap();
        for name in [
            "authorization",
            "content-type",
            "mcp-protocol-version",
            "mcp-session-id",
            "mcp-method",
            "mcp-name",
        ] {
            assert!(allowed.contains(name), "{name}");
        }
        assert!(
            !w.get(&w.path("authorize"))
                .await
                .headers
                .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        );
    })
    .await;
}

#[tokio::test]
async fn nothing_is_there_for_apps_that_are_unknown_off_or_disabled() {
    on_each(async |w| {
        let unknown = wire::AppId::fresh();
        for (app, why) in [
            (w.off_app.to_string(), "off"),
            (unknown.to_string(), "unknown"),
            ("app_x".into(), "no id"),
        ] {
            for path in [
                format!("/.well-known/oauth-authorization-server/oauth/{app}"),
                format!("/oauth/{app}/.well-known/oauth-authorization-server"),
                format!("/oauth/{app}/jwks"),
                format!("/oauth/{app}/authorize?client_id=x"),
            ] {
                w.get(&path).await.expect_error(404, "not_found");
                println!("{why}: {path}");
            }
            for endpoint in ["token", "register", "revoke", "introspect", "authorize"] {
                let answer = w.form(&format!("/oauth/{app}/{endpoint}"), &[("a", "b")]).await;
                answer.expect_error(404, "not_found");
            }
        }
        for path in [
            format!("/.well-known/openid-configuration/oauth/{}", w.app),
            w.path(".well-known/openid-configuration"),
        ] {
            w.get(&path).await.expect_error(404, "not_found");
        }
        w.get(&w.path("jwks")).await.expect(200);
        w.change_app(|app| app.enabled = false).await;
        w.get(&w.path("jwks")).await.expect_error(404, "not_found");
    })
    .await;
}

/// Also what goes wrong: an agent in a browser could not tell why otherwise.
#[tokio::test]
async fn whatever_an_agent_in_a_browser_asks_it_can_read_the_answer() {
    on_each(async |w| {
        let page = "https://inspector.example";
        let metadata = format!("/.well-known/oauth-authorization-server/oauth/{}", w.app);
        let none = format!("/oauth/{}/token", AppId::fresh());
        for (method, path, status) in [
            ("GET", metadata, 200),
            ("GET", w.path(".well-known/openid-configuration"), 404),
            ("GET", w.path("jwks"), 200),
            ("POST", w.path("register"), 400),
            ("GET", w.path("register/cli_x"), 401),
            ("POST", w.path("token"), 400),
            ("POST", w.path("revoke"), 400),
            ("POST", w.path("introspect"), 400),
            ("PUT", w.path("token"), 405),
            ("POST", none, 404),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(&path)
                .header(header::ORIGIN, page);
            let answer = w.send(request, Body::empty()).await.expect(status);
            assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
            assert!(
                !answer
                    .headers
                    .contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS)
            );
            let exposed = answer.headers[header::ACCESS_CONTROL_EXPOSE_HEADERS]
                .to_str()
                .unwrap();
            for name in [
                "www-authenticate",
                "mcp-session-id",
                "mcp-protocol-version",
                "x-request-id",
            ] {
                assert!(exposed.contains(name), "{path}: {exposed}");
            }
            let request = Request::options(&path)
                .header(header::ORIGIN, page)
                .header(header::ACCESS_CONTROL_REQUEST_METHOD, method)
                .header(
                    header::ACCESS_CONTROL_REQUEST_HEADERS,
                    "authorization,mcp-protocol-version",
                );
            let answer = w.send(request, Body::empty()).await.expect(200);
            let allowed = answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS]
                .to_str()
                .unwrap();
            assert!(
                allowed.contains("authorization") && allowed.contains("mcp-protocol-version"),
                "{path}"
            );
        }
        // Where people decide, no page reads along.
        let request = Request::get(w.path("authorize")).header(header::ORIGIN, page);
        let answer = w.send(request, Body::empty()).await;
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    })
    .await;
}
