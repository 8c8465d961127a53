//! Revocation and introspection.

use crate::world::{CALLBACK, World, on_each};
use serde_json::json;
use wire::GrantState;

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_grant_along() {
    on_each(async |w| {
        let browser = w.employee().await;
        let (id, other) = (w.register().await, w.register().await);
        let tokens = w.tokens(&browser, &id).await;
        let (access, refresh) = (
            tokens["access_token"].as_str().unwrap(),
            tokens["refresh_token"].as_str().unwrap(),
        );
        let path = w.path("revoke");
        // Unknown and foreign tokens: the same answer, and nothing happens.
        w.form(&path, &[("token", "x"), ("client_id", &id)])
            .await
            .expect(200);
        for token in [refresh, access] {
            w.form(&path, &[("token", token), ("client_id", &other)])
                .await
                .expect(200);
        }
        assert_eq!(w.grant_state(access).await, GrantState::Active);
        assert!(w.events("token.revoke").await.is_empty());
        w.form(&path, &[("token", refresh), ("client_id", "cli_x")])
            .await
            .expect_error(401, "invalid_client");
        w.form(&path, &[("client_id", &id)])
            .await
            .expect_error(400, "invalid_request");

        let fields = [
            ("token", refresh),
            ("client_id", &id),
            ("token_type_hint", "access_token"),
        ];
        w.form(&path, &fields).await.expect(200);
        assert_eq!(w.grant_state(access).await, GrantState::Revoked);
        w.refresh(&id, refresh, &[])
            .await
            .expect_error(400, "invalid_grant");
        w.form(&path, &fields).await.expect(200);
        let events = w.events("token.revoke").await;
        assert_eq!((events.len(), w.events("grant.revoke").await.len()), (1, 1));
        assert_eq!(events[0].actor.user.as_ref(), Some(&browser.user));
    })
    .await;
}

#[tokio::test]
async fn a_revoked_access_token_goes_alone() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let tokens = w.tokens(&browser, &id).await;
        let access = tokens["access_token"].as_str().unwrap();
        w.form(&w.path("revoke"), &[("token", access), ("client_id", &id)])
            .await
            .expect(200);
        let jti = w.claims(access).jti;
        assert!(
            store::grant::is_access_token_revoked(&w.store, &jti)
                .await
                .unwrap()
        );
        assert_eq!(w.grant_state(access).await, GrantState::Active);
        w.refresh(&id, tokens["refresh_token"].as_str().unwrap(), &[])
            .await
            .expect(200);
    })
    .await;
}

#[tokio::test]
async fn introspection_answers_confidential_clients_about_their_own_tokens() {
    on_each(async |w| {
        let browser = w.employee().await;
        let metadata =
            json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post"});
        let registered = w.register_with(&metadata).await;
        let id = registered["client_id"].as_str().unwrap();
        let secret = registered["client_secret"].as_str().unwrap();
        let code = w.code(&browser, id).await;
        let tokens = w
            .redeem(id, &code, &[("client_secret", secret)])
            .await
            .expect(200)
            .json();
        let (access, refresh) = (
            tokens["access_token"].as_str().unwrap(),
            tokens["refresh_token"].as_str().unwrap(),
        );
        let public = w.register().await;
        let foreign = w.tokens(&browser, &public).await;
        let ask = async |token: &str| {
            let fields = [("token", token), ("client_id", id), ("client_secret", secret)];
            w.form(&w.path("introspect"), &fields).await.expect(200).json()
        };
        let about = ask(access).await;
        assert_eq!(
            (about["active"].as_bool(), about["scope"].as_str()),
            (Some(true), Some("read write"))
        );
        assert_eq!(
            (about["client_id"].as_str(), about["iss"].as_str()),
            (Some(id), Some(w.issuer().as_str()))
        );
        assert_eq!(ask(refresh).await["active"], true);
        for token in [
            "x",
            foreign["access_token"].as_str().unwrap(),
            foreign["refresh_token"].as_str().unwrap(),
        ] {
            assert_eq!(ask(token).await, json!({"active": false}));
        }
        let path = w.path("introspect");
        for fields in [
            vec![("token", access), ("client_id", public.as_str())],
            vec![("token", access), ("client_id", id)],
            vec![("token", access), ("client_id", id), ("client_secret", "x")],
            vec![("token", access)],
        ] {
            w.form(&path, &fields).await.expect_error(401, "invalid_client");
        }
        let fields = [("token", refresh), ("client_id", id), ("client_secret", secret)];
        w.form(&w.path("revoke"), &fields).await.expect(200);
        assert_eq!(ask(access).await, json!({"active": false}));
        assert_eq!(ask(refresh).await, json!({"active": false}));
    })
    .await;
}

#[tokio::test]
async fn a_token_of_a_blocked_client_is_not_active_and_only_a_blocked_caller_is_nobody() {
    on_each(async |w| {
        let browser = w.employee().await;
        let confidential =
            json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "client_secret_post"});
        let registered = w.register_with(&confidential).await;
        let id = registered["client_id"].as_str().unwrap();
        let secret = registered["client_secret"].as_str().unwrap();
        let code = w.code(&browser, id).await;
        let tokens = w.redeem(id, &code, &[("client_secret", secret)]).await;
        let tokens = tokens.expect(200).json();
        let tokens = [
            tokens["access_token"].as_str().unwrap(),
            tokens["refresh_token"].as_str().unwrap(),
        ];
        let (server, key) = resource_server(w).await;
        let path = w.path("introspect");
        let ask = async |token: &str, (id, secret): (&str, &str)| {
            let fields = [("token", token), ("client_id", id), ("client_secret", secret)];
            w.form(&path, &fields).await
        };
        let inactive = json!({"active": false});
        let server = (server.as_str(), key.as_str());
        assert_eq!(ask(tokens[0], server).await.expect(200).json()["active"], true);

        // Below what the app accepts now: who asks is known, and what they ask about is not active.
        let app = store::app::get(&w.store, &w.org, &w.app).await.unwrap();
        let mut spec = app.spec.clone();
        spec.oauth.registration.lowest_tier = wire::ClientTier::Approved;
        let mut tx = w.store.begin().await.unwrap();
        let strict = store::app::update(&mut tx, &app, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        for token in tokens {
            assert_eq!(ask(token, (id, secret)).await.expect(200).json(), inactive);
            assert_eq!(ask(token, server).await.expect(200).json(), inactive);
        }
        let mut tx = w.store.begin().await.unwrap();
        store::app::update(&mut tx, &strict, app.spec.clone())
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert_eq!(
            ask(tokens[0], (id, secret)).await.expect(200).json()["active"],
            true
        );

        for (state, own) in [
            (wire::ClientState::Pending, 200),
            (wire::ClientState::Blocked, 401),
        ] {
            let found = store::client::by_client_id(&w.store, &w.app, id).await.unwrap();
            let client = found.unwrap().client;
            let spec = wire::ClientSpec {
                tier: client.tier,
                state,
            };
            let mut tx = w.store.begin().await.unwrap();
            store::client::update(&mut tx, &client, &spec).await.unwrap();
            tx.commit_housekeeping().await.unwrap();
            for token in tokens {
                assert_eq!(ask(token, server).await.expect(200).json(), inactive, "{state:?}");
                let answer = ask(token, (id, secret)).await;
                match own {
                    200 => assert_eq!(answer.expect(200).json(), inactive, "{state:?}"),
                    _ => answer.expect_error(401, "invalid_client"),
                }
            }
        }
    })
    .await;
}

/// A client that an administrator entered: its `client_id` and secret.
async fn resource_server(w: &World) -> (String, String) {
    let id = wire::ClientId::fresh();
    let secret = store::random_secret("").unwrap();
    let new = store::client::NewClient {
        client_id: id.to_string(),
        id,
        name: "Resource server".into(),
        verified_host: None,
        source: wire::ClientSource::Preregistered,
        tier: wire::ClientTier::Approved,
        state: wire::ClientState::Active,
        redirect_uris: vec![CALLBACK.into()],
        auth_method: "client_secret_post".into(),
        secret_hash: Some(store::sha256(&secret)),
        registration_hash: None,
        metadata: json!({}),
    };
    let app = store::app::get(&w.store, &w.org, &w.app).await.unwrap();
    let mut tx = w.store.begin().await.unwrap();
    let place = (&app.account, &app.id);
    let made = store::client::create(&mut tx, &w.org, place, new).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    (made.client.client_id, secret)
}
