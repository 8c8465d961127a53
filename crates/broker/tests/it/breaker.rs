//! A provider that does not answer: nobody waits for it, and it is not asked by everybody.

use crate::world::{World, on_each};
use http::StatusCode;
use serde_json::json;
use store::audit;
use wire::{ActorKind, AuditEvent};

async fn events(w: &World, action: &str) -> Vec<AuditEvent> {
    let filter = audit::Filter {
        action: Some(action.to_owned()),
        ..audit::Filter::default()
    };
    let newest = (audit::Order::Newest, None);
    audit::list(&w.store, &w.org, &filter, newest, 50).await.unwrap()
}

#[tokio::test]
async fn after_five_failures_in_a_row_people_are_told_at_once_and_one_probe_lets_them_in_again() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        w.idp.down(true);
        for _ in 0..5 {
            w.browser()
                .get(&start)
                .await
                .is_error(StatusCode::SERVICE_UNAVAILABLE);
        }
        let asked = w.idp.asked();
        assert_eq!(asked, 5);
        for _ in 0..3 {
            let answer = w.browser().get(&start).await;
            answer.is_error(StatusCode::SERVICE_UNAVAILABLE);
            assert!(
                answer.body.contains("Acme SSO cannot be reached"),
                "{}",
                answer.body
            );
        }
        assert_eq!(w.idp.asked(), asked, "it is left alone");
        assert_eq!(
            w.last("login.failure").await.reason.as_deref(),
            Some("breaker_open")
        );
        let opened = events(w, "connection.breaker_open").await;
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].actor.kind, ActorKind::System);
        assert_eq!(opened[0].target.as_ref().unwrap().id, w.connection.id.to_string());

        // Half a minute later one tries, in vain; that is no news.
        w.clock.advance(30);
        w.browser()
            .get(&start)
            .await
            .is_error(StatusCode::SERVICE_UNAVAILABLE);
        w.browser()
            .get(&start)
            .await
            .is_error(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(w.idp.asked(), asked + 1);
        assert_eq!(events(w, "connection.breaker_open").await.len(), 1);

        w.idp.down(false);
        w.clock.advance(30);
        w.browser().get(&start).await.location();
        assert_eq!(events(w, "connection.breaker_close").await.len(), 1);
        w.signed_in(json!({})).await;
        let counts = store::health::counts(&w.store, &w.connection.id).await.unwrap();
        assert_eq!(counts.successes, 1);
        // Those who were not sent there are not counted.
        assert_eq!(counts.failures["provider_unreachable"], 6);
        assert_eq!(counts.hours.len(), 1);
        w.clock.advance(2 * 3600);
        let counts = store::health::counts(&w.store, &w.connection.id).await.unwrap();
        assert_eq!(
            (counts.successes, counts.failures.len(), counts.hours.len()),
            (0, 0, 1)
        );
    })
    .await;
}

#[tokio::test]
async fn people_who_are_refused_do_not_open_it_and_neither_do_wrong_answers() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        for n in 0..12 {
            let mut browser = w.browser();
            let away = browser.get(&start).await;
            let claims = if n % 2 == 0 {
                json!({"nonce": "x"})
            } else {
                json!({})
            };
            let back = w.idp.authorize(away.location(), claims);
            let back = if n % 2 == 0 {
                back
            } else {
                back.replace("code=", "error=access_denied&x=")
            };
            assert!(browser.get(&back).await.status.as_u16() >= 400);
        }
        assert!(events(w, "connection.breaker_open").await.is_empty());
        w.signed_in(json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_counts_as_well_and_what_is_known_of_it_does_not_hide_that() {
    on_each(async |w| {
        let start = format!("/login/oidc/{}", w.connection.id);
        for _ in 0..5 {
            let mut browser = w.browser();
            w.idp.down(false);
            let away = browser.get(&start).await;
            let back = w.idp.authorize(away.location(), json!({}));
            w.idp.down(true);
            browser.get(&back).await.is_error(StatusCode::SERVICE_UNAVAILABLE);
        }
        w.browser()
            .get(&start)
            .await
            .is_error(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(events(w, "connection.breaker_open").await.len(), 1);
        // The document is known from before, but the probe asks anew.
        w.clock.advance(30);
        let asked = w.idp.asked();
        w.browser()
            .get(&start)
            .await
            .is_error(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(w.idp.asked(), asked + 1);
    })
    .await;
}
