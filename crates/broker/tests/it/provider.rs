//! What connections ask of their providers' people, and the providers' own ways.

use crate::browser::{Answer, Browser};
use crate::idp::{CLIENT_ID, CLIENT_SECRET, callback};
use crate::world::{World, from, oidc, on_each};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;
use wire::{Connection, ConnectionSpec, EmailVerification, Preset};

/// Goes out through a connection and comes back as somebody with these claims.
async fn through(w: &World, connection: &Connection, claims: Value) -> (Browser, Answer) {
    let mut browser = w.browser();
    let away = browser.get(&format!("/login/oidc/{}", connection.id)).await;
    let back = w.idp.authorize(away.location(), claims);
    let answer = browser.get(&back).await;
    (browser, answer)
}

async fn refused(w: &World, claims: Value, reason: &str) {
    let before = w.users().await.len();
    let (mut browser, answer) = through(w, &w.connection, claims).await;
    answer.is_error(StatusCode::FORBIDDEN);
    assert_eq!(w.last("login.failure").await.reason.as_deref(), Some(reason));
    assert_eq!(w.users().await.len(), before, "nobody was made");
    assert!(browser.get("/me").await.location().starts_with("/login"));
}

fn required(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[tokio::test]
async fn without_each_required_claim_in_the_id_token_nobody_signs_in() {
    on_each(async |w| {
        w.configure(|spec| {
            spec.required_claims = required(&[("hd", "acme.example"), ("/org/id", "7"), ("a/b", "c")]);
        })
        .await;
        let good = json!({"hd": "acme.example", "org": {"id": 7}, "a/b": "c"});
        for (name, value) in [
            ("hd", json!(null)),
            ("hd", json!("evil.example")),
            ("hd", json!(["acme.example"])),
            ("org", json!({"id": "8"})),
            ("org", json!("7")),
            ("a/b", json!(null)),
        ] {
            let mut claims = good.clone();
            claims[name] = value;
            refused(w, claims, "claim_mismatch").await;
        }
        // Userinfo cannot make up for it.
        w.idp
            .userinfo(json!({"sub": "alice", "hd": "acme.example", "email": "alice@acme.example"}));
        let mut claims = good.clone();
        claims["hd"] = json!(null);
        claims["email"] = json!(null);
        refused(w, claims, "claim_mismatch").await;
        let (_, answer) = through(w, &w.connection, good).await;
        assert_eq!(answer.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn whether_an_address_is_verified_is_the_connections_rule() {
    on_each(async |w| {
        for (rule, stated, verified) in [
            (EmailVerification::Claim, json!(true), true),
            (EmailVerification::Claim, json!(null), false),
            (EmailVerification::Always, json!(null), true),
            (EmailVerification::Never, json!(true), false),
        ] {
            w.configure(|spec| spec.email_verification = rule).await;
            let (_, answer) = through(w, &w.connection, json!({"email_verified": stated})).await;
            assert_eq!(answer.location(), "/me");
            assert_eq!(
                w.user("alice").await.email_verified,
                verified,
                "{rule:?} {stated}"
            );
        }
        // No address is never a verified one.
        w.configure(|spec| spec.email_verification = EmailVerification::Always)
            .await;
        w.idp.userinfo(json!({"sub": "nomail"}));
        let (_, answer) = through(w, &w.connection, json!({"sub": "nomail", "email": null})).await;
        assert_eq!(answer.location(), "/me");
        assert!(!w.user("nomail").await.email_verified);
    })
    .await;
}

/// An Entra connection for several tenants, of which one is pinned.
fn entra(w: &World, tenant: Option<&str>) -> ConnectionSpec {
    let issuer = w.idp.issuer();
    let required = tenant.map_or(json!({}), |tenant| json!({ "tid": tenant }));
    from(json!({
        "name": "Entra", "kind": "oidc", "preset": "entra", "issuer": format!("{issuer}/common/v2.0"),
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "allow_internal": [issuer],
        "required_claims": required,
    }))
}

#[tokio::test]
async fn entra_for_several_tenants_lets_in_the_pinned_one_only() {
    const TENANT: &str = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
    on_each(async |w| {
        let issuer = w.idp.issuer().to_owned();
        let of = |tenant: &str| format!("{issuer}/{tenant}/v2.0");
        w.idp.say("issuer", json!(of("{tenantid}")));
        w.idp
            .say("authorization_response_iss_parameter_supported", json!(false));

        let unpinned = w.connect(entra(w, None), None).await;
        let answer = w.browser().get(&format!("/login/oidc/{}", unpinned.id)).await;
        answer.is_error(StatusCode::BAD_GATEWAY);
        let reason = w.last("login.failure").await.reason;
        assert_eq!(reason.as_deref(), Some("connection_incomplete"));

        let spec = ConnectionSpec {
            name: "Pinned".to_owned(),
            ..entra(w, Some(TENANT))
        };
        let pinned = w.connect(spec, None).await;
        let back = async |claims: Value| {
            let mut browser = w.browser();
            let away = browser.get(&format!("/login/oidc/{}", pinned.id)).await;
            let back = w.idp.authorize(away.location(), claims);
            let url = Url::parse(&format!("https://x{back}")).unwrap();
            let pairs: Vec<_> = url
                .query_pairs()
                .into_owned()
                .filter(|(name, _)| name != "iss")
                .collect();
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            browser.get(&callback(&pinned.id, &pairs)).await
        };
        // Another tenant, even one that claims to be this one.
        for (iss, tid, status) in [
            (
                of("11111111-1111-1111-1111-111111111111"),
                TENANT,
                StatusCode::BAD_GATEWAY,
            ),
            (of("{tenantid}"), TENANT, StatusCode::BAD_GATEWAY),
            (
                of(TENANT),
                "11111111-1111-1111-1111-111111111111",
                StatusCode::FORBIDDEN,
            ),
        ] {
            let answer = back(json!({"iss": iss, "tid": tid})).await;
            answer.is_error(status);
        }
        let answer = back(json!({"iss": of(TENANT), "tid": TENANT, "sub": "erin"})).await;
        assert_eq!(answer.location(), "/me");
        assert_eq!(w.user("erin").await.issuer, of(TENANT));
    })
    .await;
}

#[tokio::test]
async fn google_is_told_which_domain_and_the_claim_is_what_counts() {
    on_each(async |w| {
        w.configure(|spec| {
            spec.preset = Preset::GoogleWorkspace;
            spec.required_claims = required(&[("hd", "acme.example")]);
        })
        .await;
        let away = w.browser().get(&format!("/login/oidc/{}", w.connection.id)).await;
        let url = Url::parse(away.location()).unwrap();
        assert!(
            url.query_pairs().any(|(k, v)| k == "hd" && v == "acme.example"),
            "{url}"
        );
        refused(w, json!({}), "claim_mismatch").await;
        let (_, answer) = through(w, &w.connection, json!({"hd": "acme.example"})).await;
        assert_eq!(answer.location(), "/me");
    })
    .await;
}

#[tokio::test]
async fn ss1_no_document_leads_to_an_internal_address_that_the_connection_does_not_allow() {
    on_each(async |w| {
        let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = format!("http://{}", trap.local_addr().unwrap());
        for (n, endpoint) in ["jwks_uri", "token_endpoint", "userinfo_endpoint"]
            .into_iter()
            .enumerate()
        {
            w.idp.say(endpoint, json!(format!("{inside}/x")));
            let spec = ConnectionSpec {
                name: format!("Trap {n}"),
                ..oidc("Trap", &w.idp)
            };
            let connection = w.connect(spec, None).await;
            let mut browser = w.browser();
            let mut answer = browser.get(&format!("/login/oidc/{}", connection.id)).await;
            if answer.status == StatusCode::SEE_OTHER {
                let back = w.idp.authorize(answer.location(), json!({"email": null}));
                answer = browser.get(&back).await;
            }
            answer.is_error(StatusCode::SERVICE_UNAVAILABLE);
            let connection = store::connection::get(&w.store, &w.org, &connection.id)
                .await
                .unwrap();
            let error = connection.last_error.unwrap();
            assert!(
                error.contains("not https") || error.contains("blocked") || error.contains("only https"),
                "{error}"
            );
            w.idp.say(
                endpoint,
                json!(format!(
                    "{}/{}",
                    w.idp.issuer(),
                    &endpoint[..endpoint.find('_').unwrap()]
                )),
            );
        }
        // Nobody ever came there.
        let came = tokio::time::timeout(std::time::Duration::from_millis(1), trap.accept()).await;
        assert!(came.is_err());
    })
    .await;
}
