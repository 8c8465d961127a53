//! Forgiving where it costs nothing: how a client writes the resource, which scopes it asks for besides, and when a lost
//! answer is asked for again.

use crate::token::text;
use crate::world::{CALLBACK, CHALLENGE, CONTROL, VERIFIER, World, encode, on_each};
use serde_json::{Value, json};
use wire::{AppId, AppKind, ClientState, ClientTier, GrantState};

const TICKETS: &str = "https://tickets.example.com/mcp";

/// Another app in the account, at an address.
async fn publish(w: &World, name: &str, url: &str) -> AppId {
    let wiki = store::app::get(&w.store, &w.org, &w.app).await.unwrap();
    let mut tx = w.store.begin().await.unwrap();
    let spec = wire::AppSpec {
        name: name.into(),
        kind: AppKind::Mcp,
        public_url: url.into(),
        ..wiki.spec
    };
    let app = store::app::create(&mut tx, &w.org, &w.account, spec)
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    app.id
}

/// A client of an app, as far as its registration.
async fn registered(w: &World, app: &AppId) -> String {
    let metadata = json!({"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"});
    let path = format!("/oauth/{app}/register");
    let answer = w
        .json(http::Method::POST, &path, None, &metadata)
        .await
        .expect(201)
        .json();
    text(&answer, "client_id")
}

fn authorize_at(app: &AppId, client: &str, resource: &str) -> String {
    let fields = [
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", resource),
    ];
    format!("/oauth/{app}/authorize?{}", encode(&fields))
}

/// Whether an app's issuer takes a resource for the app: at authorize, with the code, and with the refresh token.
async fn means(w: &World, app: &AppId, resource: &str) -> bool {
    let browser = w.employee().await;
    let id = registered(w, app).await;
    let page = w.get_as(&browser, &authorize_at(app, &id, resource)).await;
    let is_taken = page.status == 200;
    if !is_taken {
        assert!(page.expect(400).body.contains("invalid_target"), "{resource}");
    }
    // Whoever begins with the right one is asked again with each token.
    let canonical = w.store.directory().app(app).unwrap().resource().to_owned();
    let page = w
        .get_as(&browser, &authorize_at(app, &id, &canonical))
        .await
        .expect(200);
    let mut fields = page.fields();
    fields.push(("decision".into(), "allow".into()));
    let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let request = crate::world::form_request(&format!("/oauth/{app}/authorize"))
        .header("cookie", &browser.cookie)
        .header("sec-fetch-site", "same-origin");
    let answer = w.send(request, encode(&fields)).await.expect(303);
    let code = answer.param("code").unwrap();
    let token = format!("/oauth/{app}/token");
    let redeem = |resource| {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("client_id", id.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("resource", resource),
        ];
        let fields = encode(&fields);
        async { w.send(crate::world::form_request(&token), fields).await }
    };
    let mut answer = redeem(resource).await;
    assert_eq!(answer.status == 200, is_taken, "{resource}: {answer:?}");
    if !is_taken {
        answer.expect_error(400, "invalid_target");
        // Nothing was spent by it.
        answer = redeem(&canonical).await;
    }
    let tokens = answer.expect(200).json();
    let audience = |tokens: &Value| {
        let issuer = format!("{CONTROL}/oauth/{app}");
        let access = text(tokens, "access_token");
        w.keyring
            .verify_access(&w.org, &access, &issuer, &canonical)
            .unwrap()
            .aud
    };
    assert_eq!(audience(&tokens), canonical);
    let refresh = text(&tokens, "refresh_token");
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
        ("client_id", id.as_str()),
        ("resource", resource),
    ];
    let answer = w.form(&token, &fields).await;
    assert_eq!(answer.status == 200, is_taken, "{resource}: {answer:?}");
    if is_taken {
        assert_eq!(audience(&answer.json()), canonical);
    }
    is_taken
}

#[tokio::test]
async fn a_resource_with_a_query_a_slash_or_just_the_origin_means_the_app() {
    on_each(async |w| {
        for same in [
            "https://tickets.example.com/mcp?utm_source=x",
            "https://tickets.example.com/mcp/",
            "https://tickets.example.com",
            "HTTPS://Tickets.Example.com:443/?a=b",
        ] {
            assert!(means(w, &w.other_app, same).await, "{same}");
        }
        for other in [
            "https://tickets.example.com/mcp/../other",
            "https://tickets.example.com/mcp%2f",
            "https://tickets.example.com//",
            "https://u@tickets.example.com/mcp",
            "https://tickets.example.com:8443/mcp",
            "https://tickets.example.com/mcp#x",
            "https://wiki.example.com",
        ] {
            assert!(!means(w, &w.other_app, other).await, "{other}");
        }
        // All of several have to be meant.
        let (browser, id) = (w.employee().await, w.register().await);
        let both = |second: &str| format!("{}&{}", w.authorize(&id, &[]), encode(&[("resource", second)]));
        w.get_as(&browser, &both("https://WIKI.example.com/?x"))
            .await
            .expect(200);
        let page = w.get_as(&browser, &both(TICKETS)).await.expect(400);
        assert!(page.body.contains("invalid_target"));
    })
    .await;
}

#[tokio::test]
async fn of_two_apps_at_one_origin_the_bare_origin_is_the_one_whose_issuer_was_asked() {
    on_each(async |w| {
        let second = publish(w, "Second", "https://tickets.example.com/second").await;
        let origin = "https://tickets.example.com";
        assert!(means(w, &w.other_app, origin).await);
        assert!(means(w, &second, origin).await);
        for (app, other) in [
            (&w.other_app, "https://tickets.example.com/second"),
            (&second, TICKETS),
        ] {
            assert!(!means(w, app, other).await, "{other}");
        }
        // Where an app is that is called just so, nobody else is.
        let root = publish(w, "Root", origin).await;
        assert!(means(w, &root, &format!("{origin}/?x")).await);
        assert!(!means(w, &w.other_app, origin).await);
        assert!(!means(w, &second, &format!("{origin}/?x")).await);
        assert!(!means(w, &root, TICKETS).await);
        // Also while it is switched off.
        let app = store::app::get(&w.store, &w.org, &root).await.unwrap();
        let mut tx = w.store.begin().await.unwrap();
        let spec = wire::AppSpec {
            enabled: false,
            ..app.spec.clone()
        };
        store::app::update(&mut tx, &app, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        assert!(!means(w, &second, origin).await);
    })
    .await;
}

#[tokio::test]
async fn scopes_that_the_app_does_not_have_are_left_out_and_the_answer_says_so() {
    on_each(async |w| {
        let (browser, id) = (w.employee().await, w.register().await);
        let many = (0..1500).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        for (asked, granted) in [
            ("read offline_access openid", "read"),
            ("read admin", "read"),
            ("  write  read read ", "write read"),
            (&format!("{many} read"), "read"),
            // Whoever asks for nothing of the app by name gets what it offers, as if nothing were asked for.
            ("openid profile email offline_access", "read write"),
            ("", "read write"),
        ] {
            let url = w.authorize(&id, &[("scope", asked)]);
            let page = w.get_as(&browser, &url).await.expect(200);
            // The page shows what will be granted, and nothing else.
            assert_eq!(
                page.body.contains("Read pages"),
                granted.contains("read"),
                "{asked}"
            );
            assert_eq!(
                page.body.contains("pages&#62;"),
                granted.contains("write"),
                "{asked}"
            );
            for word in ["offline", "profile", "admin"] {
                let shown = page.body.split("<input").next().unwrap_or_default();
                assert!(!shown.contains(word), "{asked}: {word}");
            }
            let code = w
                .consent(&browser, &url, "allow")
                .await
                .expect(303)
                .param("code")
                .unwrap();
            let tokens = w.redeem(&id, &code, &[]).await.expect(200).json();
            assert_eq!(tokens["scope"], granted, "{asked}");
            assert_eq!(w.claims(&text(&tokens, "access_token")).scope, granted, "{asked}");
            // It asks again for all that it asked for.
            let refresh = text(&tokens, "refresh_token");
            if asked.len() < 100 {
                let again = w
                    .refresh(&id, &refresh, &[("scope", asked)])
                    .await
                    .expect(200)
                    .json();
                assert_eq!(again["scope"], granted, "{asked}");
            }
        }
        w.say(&id, ClientTier::Approved, ClientState::Active).await;
        for nothing in ["admin", "openid admin", "READ", "read,write", "*", &many] {
            let answer = w.get(&w.authorize(&id, &[("scope", nothing)])).await.expect(303);
            assert_eq!(
                answer.param("error").as_deref(),
                Some("invalid_scope"),
                "{nothing}"
            );
        }
        // 5,000 do not fit into any request.
        let too_many = (0..5000).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        w.get(&w.authorize(&id, &[("scope", &too_many)]))
            .await
            .expect(414);
    })
    .await;
}

#[tokio::test]
async fn a_scope_that_the_app_has_and_nobody_granted_is_not_had_by_refreshing() {
    on_each(async |w| {
        let (browser, id) = (w.employee().await, w.register().await);
        let url = w.authorize(&id, &[("scope", "read")]);
        let code = w
            .consent(&browser, &url, "allow")
            .await
            .expect(303)
            .param("code")
            .unwrap();
        let tokens = w.redeem(&id, &code, &[]).await.expect(200).json();
        let refresh = text(&tokens, "refresh_token");
        for more in ["read write", "write", "write offline_access"] {
            let answer = w.refresh(&id, &refresh, &[("scope", more)]).await;
            answer.expect_error(400, "invalid_scope");
        }
        w.refresh(&id, &refresh, &[("scope", "read  offline_access")])
            .await
            .expect(200);
    })
    .await;
}

#[tokio::test]
async fn the_app_says_for_how_long_a_lost_answer_can_be_had_again() {
    on_each(async |w| {
        let browser = w.employee().await;
        for window in [30, 600] {
            w.change_app(|app| app.oauth.rotation_seconds = window).await;
            let id = w.register().await;
            let tokens = w.tokens(&browser, &id).await;
            let first = text(&tokens, "refresh_token");
            let second = w.refresh(&id, &first, &[]).await.expect(200).json();
            w.advance(i64::from(window) - 1).await;
            let again = w.refresh(&id, &first, &[]).await.expect(200).json();
            assert_eq!(again["refresh_token"], second["refresh_token"]);
            w.advance(1).await;
            w.refresh(&id, &first, &[])
                .await
                .expect_error(400, "invalid_grant");
            let access = text(&tokens, "access_token");
            if window == 30 {
                assert_eq!(w.grant_state(&access).await, GrantState::Revoked);
            }
            let refused = w.events("token.refuse").await.pop().unwrap();
            assert_eq!(refused.reason.as_deref(), Some("refresh_late"), "{window}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_comes_a_little_late_is_called_so_and_ends_the_family_all_the_same() {
    on_each(async |w| {
        let browser = w.employee().await;
        for (late, reason) in [
            (0, "refresh_late"),
            (599, "refresh_late"),
            (600, "refresh_replayed"),
        ] {
            let id = w.register().await;
            let first = text(&w.tokens(&browser, &id).await, "refresh_token");
            let second = w.refresh(&id, &first, &[]).await.expect(200).json();
            w.advance(60 + late).await;
            w.refresh(&id, &first, &[])
                .await
                .expect_error(400, "invalid_grant");
            let ended = w.events("grant.revoke").await.pop().unwrap();
            assert_eq!(ended.reason.as_deref(), Some(reason), "{late} seconds late");
            let refused = w.events("token.refuse").await.pop().unwrap();
            assert_eq!(refused.reason.as_deref(), Some(reason), "{late} seconds late");
            let second = text(&second, "refresh_token");
            w.refresh(&id, &second, &[])
                .await
                .expect_error(400, "invalid_grant");
        }
    })
    .await;
}
