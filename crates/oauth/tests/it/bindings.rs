//! What the organisation says about connections, at consent and at each refresh.

use crate::world::{World, on_each};
use serde_json::{Value, json};
use store::{binding, connection};
use wire::{Binding, BindingMode, BindingSpec, BindingState, Connection};

fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .to_owned()
}

/// The binding of the company's connection to its account.
pub(crate) async fn bound(w: &World) -> Binding {
    let ends = (Some(&w.connection), Some(&w.account));
    let page = store::Paging::default();
    let all = binding::list(&w.store, &w.org, ends, None, &page).await;
    all.unwrap().remove(0)
}

pub(crate) async fn set(w: &World, spec: BindingSpec) {
    let binding = bound(w).await;
    let mut tx = w.store.begin().await.unwrap();
    binding::update(&mut tx, &binding, spec).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
}

/// Another connection, the only one of the account.
async fn exclusive(w: &World) -> (Connection, Binding) {
    let spec = json!({"name": "Entra", "kind": "oidc", "issuer": "https://idp2.example", "client_id": "x"});
    let spec = serde_json::from_value(spec).unwrap();
    let mut tx = w.store.begin().await.unwrap();
    let made = connection::create(&mut tx, &w.org, None, spec).await.unwrap();
    let spec = BindingSpec {
        mode: BindingMode::Exclusive,
        ..bound(w).await.spec
    };
    let ends = (&made.id, &w.account);
    let binding = binding::create(&mut tx, &w.org, ends, spec).await.unwrap();
    tx.commit_housekeeping().await.unwrap();
    (made, binding)
}

#[tokio::test]
async fn what_drains_is_refreshed_until_its_time_and_nothing_new_is_allowed() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let tokens = w.tokens(&browser, &id).await;
        let before = bound(w).await.spec;
        let draining = BindingSpec {
            state: BindingState::Draining,
            drain_until: Some(w.clock.now().plus_seconds(300)),
            ..before.clone()
        };
        set(w, draining).await;
        let url = w.authorize(&id, &[]);
        let answer = w.get_as(&browser, &url).await;
        assert!(
            answer.location().contains("/login"),
            "no new consent: {}",
            answer.body
        );
        let refreshed = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        let refreshed = refreshed.expect(200).json();
        assert_eq!(refreshed["expires_in"], 300, "no token says that it lives longer");
        w.advance(299).await;
        let again = w.refresh(&id, &text(&refreshed, "refresh_token"), &[]).await;
        let again = again.expect(200).json();
        w.advance(1).await;
        let late = w.refresh(&id, &text(&again, "refresh_token"), &[]).await;
        late.expect_error(400, "invalid_grant");
        let refused = w.events("token.refuse").await;
        assert_eq!(refused[0].reason.as_deref(), Some("connection_not_bound"));
        // Turned back at the last moment, before anything was ended: it goes on.
        set(w, before).await;
        w.refresh(&id, &text(&again, "refresh_token"), &[])
            .await
            .expect(200);
    })
    .await;
}

#[tokio::test]
async fn an_exclusive_binding_stops_refresh_and_consent_of_others_until_it_is_taken_back() {
    on_each(async |w| {
        let browser = w.employee().await;
        let id = w.register().await;
        let tokens = w.tokens(&browser, &id).await;
        let url = w.authorize(&id, &[]);
        let page = w.get_as(&browser, &url).await.expect(200);
        let (_, only) = exclusive(w).await;
        let refused = w.refresh(&id, &text(&tokens, "refresh_token"), &[]).await;
        refused.expect_error(400, "invalid_grant");
        let event = &w.events("token.refuse").await[0];
        assert_eq!(event.reason.as_deref(), Some("connection_not_bound"));
        let answer = w.get_as(&browser, &url).await;
        assert!(answer.location().contains("/login"));
        // Nor does a page help that was open before.
        let decided = w.decide(&browser, &page.fields()).await;
        assert_eq!(decided.param("code"), None, "{}", decided.body);
        let mut tx = w.store.begin().await.unwrap();
        binding::delete(&mut tx, &only).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        w.refresh(&id, &text(&tokens, "refresh_token"), &[])
            .await
            .expect(200);
    })
    .await;
}
