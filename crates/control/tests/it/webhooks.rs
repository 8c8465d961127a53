//! Webhooks, from the API to a receiver on a real port.

use crate::world::{World, hire, on_each};
use axum::extract::State;
use axum::response::IntoResponse as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use control::Deliverer;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use wire::*;

/// Whoever receives.
#[derive(Clone)]
pub(crate) struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answer: Arc<Mutex<(StatusCode, String)>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            seen: Arc::default(),
            answer: Arc::new(Mutex::new((StatusCode::OK, "thanks".into()))),
        };
        let receive = async |State(receiver): State<Self>, headers: HeaderMap, body: String| {
            receiver.seen.lock().unwrap().push((headers, body));
            let (status, text) = receiver.answer.lock().unwrap().clone();
            (status, [("location", "/elsewhere")], text).into_response()
        };
        let router = axum::Router::new()
            .fallback(axum::routing::any(receive))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn answers(&self, status: u16, text: &str) {
        *self.answer.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), text.into());
    }

    pub(crate) fn take(&self) -> Vec<(HeaderMap, String)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// What arrived since the last time: `type` of the bodies.
    fn types(&self) -> Vec<String> {
        let bodies = self.take().into_iter().map(|(_, body)| body);
        let kind = |body: String| {
            let body: Value = serde_json::from_str(&body).unwrap();
            body["type"].as_str().unwrap().to_owned()
        };
        bodies.map(kind).collect()
    }
}

pub(crate) fn deliverer(world: &World) -> Deliverer {
    let outbound = outbound::Outbound::new(outbound::Policy::default());
    Deliverer::new(world.store.clone(), outbound)
}

pub(crate) async fn make(world: &World, receiver: &Receiver, more: Value) -> Value {
    let mut body = json!({"name": "Hook", "url": receiver.url, "events": ["*"], "allow_internal": true});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let answer = world.owner(Method::POST, "/webhooks", Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

pub(crate) fn path(hook: &Value) -> String {
    format!("/webhooks/{}", hook["id"].as_str().unwrap())
}

async fn rename(world: &World, name: &str) {
    let path = format!("/groups/{}", world.acme.group.id);
    let answer = world
        .owner(Method::PATCH, &path, Some(json!({"name": name})))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Verifies a delivery the way a receiver does; which of the signatures fit the secret.
fn verified(secret: &Value, (headers, body): &(HeaderMap, String)) -> Vec<bool> {
    let text = |name: &str| headers[name].to_str().unwrap();
    let key = STANDARD
        .decode(secret.as_str().unwrap().strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let signed = format!("{}.{}.{body}", text("webhook-id"), text("webhook-timestamp"));
    let fits = |signature: &str| {
        let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
    };
    text("webhook-signature").split(' ').map(fits).collect()
}

#[tokio::test]
async fn an_admins_change_arrives_signed_as_it_is_in_the_log() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let hook = make(world, &receiver, json!({"events": ["group."]})).await;
        rename(world, "Crew").await;
        let event = world.newest().await;
        deliverer(world).step().await.unwrap();
        let mut seen = receiver.take();
        assert_eq!(seen.len(), 1);
        let delivery = seen.remove(0);
        assert_eq!(verified(&hook["secret"], &delivery), [true]);
        let (headers, body) = delivery;
        assert_eq!(headers["webhook-id"], event.id.to_string());
        assert_eq!(
            headers["webhook-timestamp"],
            world.clock.now().seconds().to_string()
        );
        assert_eq!(headers["content-type"], "application/json");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["type"], "group.update");
        assert_eq!(body["timestamp"], event.time.to_string());
        assert_eq!(body["data"], serde_json::to_value(&event).unwrap());
        let list = world.get(&format!("{}/deliveries", path(&hook))).await;
        let item = &list["items"][0];
        assert_eq!(
            (&item["state"], &item["attempts"]),
            (&json!("succeeded"), &json!(1))
        );
        assert_eq!(
            (&item["status"], &item["type"]),
            (&json!(200), &json!("group.update"))
        );
        let one = format!("{}/deliveries/{}", path(&hook), item["id"].as_str().unwrap());
        let one = world.get(&one).await;
        assert_eq!(one["response_excerpt"], "thanks");
        assert_eq!(
            serde_json::from_str::<Value>(one["request_body"].as_str().unwrap()).unwrap(),
            body
        );
        // It arrived: nothing more is sent.
        world.clock.advance(3600);
        deliverer(world).step().await.unwrap();
        assert_eq!(receiver.take().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn of_several_deliverers_one_sends_each_event() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        make(world, &receiver, json!({"events": ["group."]})).await;
        for n in 0..20 {
            rename(world, &format!("Crew {n}")).await;
        }
        let (one, two, three) = (deliverer(world), deliverer(world), deliverer(world));
        // Who loses the race for new events finds the deliveries at the next step.
        let _ = tokio::join!(one.step(), two.step(), three.step());
        one.step().await.unwrap();
        let mut ids: Vec<_> = receiver
            .take()
            .into_iter()
            .map(|(headers, _)| headers["webhook-id"].to_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), 20);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20);
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_tried_again_with_growing_pauses_and_then_given_up() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        receiver.answers(500, "out of order\u{202e}");
        let hook = make(world, &receiver, json!({"events": ["group."]})).await;
        rename(world, "Crew").await;
        let deliverer = deliverer(world);
        deliverer.step().await.unwrap();
        deliverer.step().await.unwrap();
        let first = receiver.take();
        assert_eq!(first.len(), 1);
        let list = format!("{}/deliveries", path(&hook));
        let item = world.get(&list).await["items"][0].clone();
        assert_eq!(
            (&item["state"], &item["status"]),
            (&json!("pending"), &json!(500))
        );
        let one = format!("{list}/{}", item["id"].as_str().unwrap());
        assert_eq!(world.get(&one).await["response_excerpt"], "out of order");
        let failing = world.get(&path(&hook)).await;
        assert_eq!(failing["failing_since"], world.clock.now().to_string());
        // Up to a fifth more than the pause.
        let mut ids = vec![first[0].0["webhook-id"].clone()];
        for (n, pause) in [5, 30, 120, 600, 3600, 10_800, 21_600, 43_200, 86_400]
            .into_iter()
            .enumerate()
        {
            world.clock.advance(pause - 1);
            deliverer.step().await.unwrap();
            assert_eq!(receiver.take().len(), 0, "too early at {n}");
            world.clock.advance(pause / 5 + 1);
            deliverer.step().await.unwrap();
            let seen = receiver.take();
            assert_eq!(seen.len(), 1, "attempt {n}");
            assert_eq!(verified(&hook["secret"], &seen[0]), [true]);
            ids.push(seen[0].0["webhook-id"].clone());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "the same event has the same webhook-id");
        let item = world.get(&list).await["items"][0].clone();
        assert_eq!(
            (&item["state"], &item["attempts"]),
            (&json!("exhausted"), &json!(10))
        );
        world.clock.advance(30 * 86_400);
        deliverer.step().await.unwrap();
        assert_eq!(receiver.take().len(), 0);
        // Somebody mends the receiver and asks for it again.
        receiver.answers(204, "");
        let answer = world.owner(Method::POST, &format!("{one}/replay"), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(world.newest().await.action, "webhook.replay");
        deliverer.step().await.unwrap();
        let seen = receiver.take();
        assert_eq!((seen.len(), &seen[0].0["webhook-id"]), (1, &ids[0]));
        assert_eq!(world.get(&one).await["state"], "succeeded");
        assert!(world.get(&path(&hook)).await.get("failing_since").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_nothing_more() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        receiver.answers(410, "");
        let hook = make(world, &receiver, json!({"events": ["group."]})).await;
        rename(world, "Crew").await;
        deliverer(world).step().await.unwrap();
        assert_eq!(receiver.take().len(), 1);
        let event = world.newest().await;
        assert_eq!(event.action, "webhook.disabled");
        assert_eq!(event.reason.as_deref(), Some("gone"));
        assert_eq!(event.actor.kind, ActorKind::System);
        let now = world.get(&path(&hook)).await;
        assert_eq!(
            (&now["enabled"], &now["disabled_reason"]),
            (&json!(false), &json!("gone"))
        );
        let list = world
            .get(&format!("{}/deliveries?state=failed", path(&hook)))
            .await;
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        rename(world, "Team").await;
        deliverer(world).step().await.unwrap();
        assert_eq!(receiver.take().len(), 0);
        // Enabled again, it begins with what comes then.
        receiver.answers(200, "");
        let answer = world
            .owner(Method::PATCH, &path(&hook), Some(json!({"enabled": true})))
            .await;
        assert!(answer.json().get("disabled_reason").is_none());
        rename(world, "Gang").await;
        deliverer(world).step().await.unwrap();
        assert_eq!(receiver.types(), ["group.update"]);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_where_nothing_arrives_for_five_days_is_disabled() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        receiver.answers(503, "");
        let hook = make(world, &receiver, json!({"events": ["group."]})).await;
        for day in 0..=5 {
            rename(world, &format!("Day {day}")).await;
            deliverer(world).step().await.unwrap();
            world.clock.advance(86_400);
        }
        let now = world.get(&path(&hook)).await;
        assert_eq!(
            (&now["enabled"], &now["disabled_reason"]),
            (&json!(false), &json!("failing"))
        );
        let event = world.newest().await;
        assert_eq!(event.action, "webhook.disabled");
        assert_eq!(event.reason.as_deref(), Some("failing"));
    })
    .await;
}

#[tokio::test]
async fn a_test_event_is_sent_at_once_and_its_outcome_shown() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let hook = make(world, &receiver, json!({"events": ["app."], "enabled": false})).await;
        let test = format!("{}/test", path(&hook));
        let answer = world.owner(Method::POST, &test, None).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        let shown = answer.json();
        assert_eq!(
            (&shown["state"], &shown["status"]),
            (&json!("succeeded"), &json!(200))
        );
        assert_eq!(shown["type"], "webhook.test");
        let seen = receiver.take();
        assert_eq!(verified(&hook["secret"], &seen[0]), [true]);
        // One that fails is not tried again, and says nothing about the webhook.
        receiver.answers(410, "no");
        let shown = world.owner(Method::POST, &test, None).await.json();
        assert_eq!(
            (&shown["state"], &shown["response_excerpt"]),
            (&json!("failed"), &json!("no"))
        );
        receiver.answers(302, "");
        let shown = world.owner(Method::POST, &test, None).await.json();
        assert_eq!(
            (&shown["state"], &shown["status"]),
            (&json!("exhausted"), &json!(302))
        );
        assert_eq!(receiver.take().len(), 2, "redirects are not followed");
        assert!(world.get(&path(&hook)).await.get("failing_since").is_none());
        world.clock.advance(86_400);
        deliverer(world).step().await.unwrap();
        assert_eq!(receiver.take().len(), 0);
        let dry = world
            .owner(Method::POST, &format!("{test}?dry_run=true"), None)
            .await;
        assert_eq!(dry.status, 200);
        assert_eq!(receiver.take().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_one_before_for_a_while() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let hook = make(world, &receiver, json!({})).await;
        let rotate = format!("{}/rotate-secret", path(&hook));
        let body = Some(json!({"overlap_seconds": 3600}));
        let rotated = world.owner(Method::POST, &rotate, body).await.json();
        let test = async || {
            world
                .owner(Method::POST, &format!("{}/test", path(&hook)), None)
                .await;
            receiver.take().remove(0)
        };
        let seen = test().await;
        assert_eq!(verified(&rotated["secret"], &seen), [true, false]);
        assert_eq!(verified(&hook["secret"], &seen), [false, true]);
        world.clock.advance(3600);
        let seen = test().await;
        assert_eq!(verified(&rotated["secret"], &seen), [true]);
    })
    .await;
}

#[tokio::test]
async fn a_big_answer_is_an_answer_and_only_its_beginning_is_kept() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        receiver.answers(200, &"x".repeat(1_000_000));
        let hook = make(world, &receiver, json!({})).await;
        let shown = world
            .owner(Method::POST, &format!("{}/test", path(&hook)), None)
            .await
            .json();
        assert_eq!(shown["state"], "succeeded", "{shown}");
        assert_eq!(shown["response_excerpt"], "x".repeat(1024));
    })
    .await;
}

#[tokio::test]
async fn ss1_internal_addresses_are_reached_only_where_the_organisation_says_so() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let body = |more: Value| {
            let mut body = json!({"name": "H", "url": "https://x.example.com/", "events": ["*"]});
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            Some(body)
        };
        let make_it = async |more| world.owner(Method::POST, "/webhooks", body(more)).await;
        for url in [
            "http://x.example.com/",
            "ftp://x/",
            "https://u:p@x.example.com/",
            "https://169.254.169.254/latest",
            "https://[fe80::1]/",
            "x",
        ] {
            assert_eq!(
                make_it(json!({"url": url})).await.refused(400, "invalid"),
                ["/url"],
                "{url}"
            );
        }
        // Judged again when it is sent, after the name is resolved.
        let secure = receiver.url.replace("http:", "https:");
        let hook = make_it(json!({"url": secure, "allow_internal": true}))
            .await
            .json();
        let outside = Some(json!({"allow_internal": false}));
        let answer = world.owner(Method::PATCH, &path(&hook), outside).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let shown = world
            .owner(Method::POST, &format!("{}/test", path(&hook)), None)
            .await
            .json();
        assert_eq!(shown["state"], "exhausted");
        assert!(
            shown["error"]
                .as_str()
                .unwrap()
                .contains("not a public internet address"),
            "{shown}"
        );
        assert_eq!(receiver.take().len(), 0);

        let account = &world.acme.account;
        let admin = world.hire(Role::AccountAdmin, Some(account)).await;
        let inside = json!({"account": account.id, "allow_internal": true, "url": receiver.url, "name": "I"});
        let answer = world
            .call(&admin.token, Method::POST, "/webhooks", body(inside.clone()))
            .await;
        answer.refused(403, "forbidden");
        let opened = make_it(inside).await.json();
        // What was opened for one address cannot be turned to another.
        let turn = Some(json!({"url": "http://127.0.0.1:1/"}));
        let answer = world
            .call(&admin.token, Method::PATCH, &path(&opened), turn)
            .await;
        answer.refused(403, "forbidden");
        let rename = Some(json!({"name": "J"}));
        let answer = world
            .call(&admin.token, Method::PATCH, &path(&opened), rename)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn an_account_sees_its_own_events_and_webhooks_only() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let acme = &world.acme;
        let hook = make(world, &receiver, json!({"account": acme.labs.id})).await;
        let whole = make(world, &receiver, json!({"name": "Whole", "enabled": false})).await;
        rename(world, "Crew").await;
        let body = json!({"account": acme.labs.id, "name": "Lab rats"});
        world.owner(Method::POST, "/groups", Some(body)).await;
        deliverer(world).step().await.unwrap();
        assert_eq!(receiver.types(), ["group.create"]);
        let admin = world.hire(Role::AccountAdmin, Some(&acme.labs)).await;
        let list = world
            .call(&admin.token, Method::GET, "/webhooks", None)
            .await
            .json();
        let ids: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| &h["id"])
            .collect();
        assert_eq!(ids, [&hook["id"]]);
        for other in [&path(&whole), &format!("/webhooks/{}", acme.webhook.id)] {
            let answer = world.call(&admin.token, Method::GET, other, None).await;
            answer.refused(404, "not-found");
        }
        let body = json!({"name": "O", "url": "https://x.example.com/", "events": ["*"]});
        let answer = world
            .call(&admin.token, Method::POST, "/webhooks", Some(body))
            .await;
        answer.refused(403, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn tn1_a_delivery_belongs_to_its_webhook() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let hook = make(world, &receiver, json!({})).await;
        for delivery in [&world.acme.delivery, &world.other.delivery] {
            let one = format!("{}/deliveries/{delivery}", path(&hook));
            world
                .owner(Method::GET, &one, None)
                .await
                .refused(404, "not-found");
            let replay = world.owner(Method::POST, &format!("{one}/replay"), None).await;
            replay.refused(404, "not-found");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_without_the_scope_audit_gets_no_log_through_webhooks() {
    on_each(async |world| {
        let acme = &world.acme;
        let scopes = [TokenScope::Read, TokenScope::Write];
        let org = (&acme.org, &acme.local.id);
        let admin = hire(&world.store, org, (Role::OrgAdmin, None), &scopes).await;
        let own = format!("/webhooks/{}", acme.webhook.id);
        let body = json!({"name": "N", "url": "https://x.example.com/", "events": ["*"]});
        for (method, path, body) in [
            (Method::POST, "/webhooks".to_owned(), Some(body)),
            (
                Method::PATCH,
                own.clone(),
                Some(json!({"url": "https://y.example.com/"})),
            ),
            (Method::POST, format!("{own}/rotate-secret"), None),
            (Method::POST, format!("{own}/test"), None),
            (Method::GET, format!("{own}/deliveries"), None),
            (Method::GET, format!("{own}/deliveries/{}", acme.delivery), None),
            (
                Method::POST,
                format!("{own}/deliveries/{}/replay", acme.delivery),
                None,
            ),
        ] {
            let answer = world.call(&admin.token, method, &path, body).await;
            answer.refused(403, "forbidden");
        }
        let answer = world.call(&admin.token, Method::GET, &own, None).await;
        assert_eq!(answer.status, 200);
        let answer = world.call(&admin.token, Method::DELETE, &own, None).await;
        assert_eq!(answer.status, 204);
    })
    .await;
}

#[tokio::test]
async fn patterns_that_make_no_sense_are_refused() {
    on_each(async |world| {
        let make_it = async |events: Value| {
            let body = json!({"name": "H", "url": "https://x.example.com/", "events": events});
            world.owner(Method::POST, "/webhooks", Some(body)).await
        };
        assert_eq!(make_it(json!([])).await.refused(400, "invalid"), ["/events"]);
        for bad in ["", "app*", "App.", "a b", "app..", "%"] {
            let pointers = make_it(json!(["app.", bad])).await.refused(400, "invalid");
            assert_eq!(pointers, ["/events/1"], "{bad}");
        }
        let twice = make_it(json!(["app.", "app."])).await;
        assert_eq!(twice.refused(400, "invalid"), ["/events/1"]);
        let many: Vec<_> = (0..101).map(|n| format!("a{n}.")).collect();
        assert_eq!(make_it(json!(many)).await.refused(400, "invalid"), ["/events"]);
    })
    .await;
}

#[tokio::test]
async fn au3_signing_secrets_are_in_no_answer_no_event_and_no_delivery() {
    on_each(async |world| {
        let receiver = Receiver::start().await;
        let hook = make(world, &receiver, json!({"events": ["*", "webhook."]})).await;
        let rotate = format!("{}/rotate-secret", path(&hook));
        let rotated = world.owner(Method::POST, &rotate, None).await.json();
        let again = world.owner(Method::POST, &rotate, None).await.json();
        deliverer(world).step().await.unwrap();
        let mut texts: Vec<String> = receiver.take().into_iter().map(|(_, body)| body).collect();
        texts.push(world.get("/webhooks").await.to_string());
        texts.push(world.get(&path(&hook)).await.to_string());
        texts.push(world.get("/audit?limit=200").await.to_string());
        for secret in [&hook["secret"], &rotated["secret"], &again["secret"]] {
            let secret = secret.as_str().unwrap().strip_prefix("whsec_").unwrap();
            for text in &texts {
                assert!(!text.contains(secret), "{text}");
            }
        }
    })
    .await;
}
