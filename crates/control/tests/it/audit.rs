//! The log, and that it never holds a secret.

use crate::world::on_each;
use http::Method;
use serde_json::{Value, json};
use wire::AuditEvent;

#[tokio::test]
async fn every_change_is_in_the_log_with_who_and_what() {
    on_each(async |world| {
        let path = format!("/apps/{}", world.acme.app.id);
        world
            .owner(Method::PATCH, &path, Some(json!({"managed_oauth": true})))
            .await;
        let log = world.get("/audit?action=app.update").await;
        let event: AuditEvent = serde_json::from_value(log["items"][0].clone()).unwrap();
        assert_eq!(event.actor.user.as_ref(), Some(&world.acme.owner.user.id));
        assert_eq!(event.actor.token.as_ref(), Some(&world.acme.owner.token_id));
        assert_eq!(event.account.as_ref(), Some(&world.acme.account.id));
        let target = event.target.unwrap();
        assert_eq!(
            (target.kind.as_str(), target.app.as_ref()),
            ("app", Some(&world.acme.app.id))
        );
        assert_eq!(event.change.unwrap().after, json!({"managed_oauth": true}));
        assert_eq!(event.request.unwrap().id, "req-1");
        assert_eq!(event.source, "api");
        for filter in [
            format!("app={}&action=app.", world.acme.app.id),
            format!("user={}&action=app.", world.acme.owner.user.id),
            format!("account={}&action=app.", world.acme.account.id),
            "action=app.".to_owned(),
            "ip=203.0.113.7&action=app.".to_owned(),
            "request=req-1&action=app.".to_owned(),
            "q=MANAGED_oauth&action=app.".to_owned(),
            "outcome=success&action=app.".to_owned(),
            "from=2027-01-15T00:00:00Z&action=app.".to_owned(),
        ] {
            let items = world.get(&format!("/audit?{filter}")).await["items"].clone();
            assert_eq!(items.as_array().unwrap().len(), 1, "{filter}: {items}");
        }
        for filter in [
            "ip=203.0.113.8",
            "request=req-2",
            "q=a_b",
            "to=2027-01-15T00:00:00Z",
            "tool=x",
        ] {
            let items = world.get(&format!("/audit?{filter}&action=app.")).await["items"].clone();
            assert_eq!(items, json!([]), "{filter}");
        }
    })
    .await;
}

#[tokio::test]
async fn reading_the_log_is_in_the_log() {
    on_each(async |world| {
        let first = world.get("/audit?limit=1&action=organisation.").await;
        let event = world.newest().await;
        assert_eq!(event.action, "audit.read");
        assert_eq!(event.change.unwrap().after, json!({"action": "organisation."}));
        let before = world.newest().await.seq;
        // Turning pages is the same reading.
        let cursor = world.get("/audit?limit=1").await["next"]
            .as_str()
            .unwrap()
            .to_owned();
        world.get(&format!("/audit?limit=1&cursor={cursor}")).await;
        assert_eq!(world.newest().await.seq, before + 1);
        world
            .get(&format!("/audit/{}", first["items"][0]["id"].as_str().unwrap()))
            .await;
        assert_eq!(world.newest().await.seq, before + 2);
    })
    .await;
}

#[tokio::test]
async fn an_export_is_whole_ordered_and_can_be_resumed() {
    on_each(async |world| {
        let actor = wire::AuditActor::of(wire::ActorKind::Agent);
        let mut tx = world.store.begin().await.unwrap();
        let event = |_| store::audit::event(&world.acme.org, "gateway", "gateway.request", actor.clone());
        tx.changed(store::Change::All);
        tx.commit_all((0..2500).map(event).collect()).await.unwrap();
        let answer = world.owner(Method::GET, "/audit/export", None).await;
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        assert!(answer.header("content-disposition").contains("audit.ndjson"));
        let lines: Vec<AuditEvent> = answer
            .text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let last = lines.last().unwrap();
        assert_eq!(last.action, "audit.export");
        assert_eq!(lines.len(), usize::try_from(last.seq).unwrap());
        assert!(lines.iter().zip(1..).all(|(event, seq)| event.seq == seq));
        let rest = world
            .owner(
                Method::GET,
                &format!("/audit/export?after={}", last.seq - 2),
                None,
            )
            .await;
        assert_eq!(
            rest.text.lines().count(),
            3,
            "the two that were left, and this export"
        );
        let csv = world
            .owner(Method::GET, "/audit/export?format=csv&action=gateway.", None)
            .await;
        assert_eq!(csv.text.lines().count(), 2501);
        assert!(csv.text.starts_with("seq,time,id,source,action,outcome,"));
        assert!(csv.header("content-type").starts_with("text/csv"));
    })
    .await;
}

#[tokio::test]
async fn au3_no_secret_is_in_any_answer_or_in_the_log() {
    on_each(async |world| {
        let canary = "canary-9b1f";
        let new = json!({"name": "Entra", "kind": "oidc", "issuer": "https://login.example.com",
            "client_id": "us", "client_secret": canary});
        let answer = world.owner(Method::POST, "/connections", Some(new)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let mut seen = answer.text.clone();
        let path = format!("/connections/{}", answer.json()["id"].as_str().unwrap());
        for patch in [
            json!({"client_secret": format!("{canary}-2")}),
            json!({"name": "Entra 2"}),
        ] {
            let answer = world.owner(Method::PATCH, &path, Some(patch)).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.json()["has_client_secret"], true);
            seen += &answer.text;
        }
        let new = json!({"name": "T", "scopes": ["read"]});
        let token = world.owner(Method::POST, "/api-tokens", Some(new)).await.json();
        let token = token["token"].as_str().unwrap().to_owned();
        let new = json!({"app": world.acme.app.id, "name": "C", "confidential": true,
            "redirect_uris": ["https://x.example.com/cb"]});
        let client = world.owner(Method::POST, "/clients", Some(new)).await.json();
        let secret = client["client_secret"].as_str().unwrap().to_owned();
        for list in [
            "/connections",
            "/api-tokens",
            "/clients",
            "/overview",
            "/session",
            "/audit",
            "/signing-keys",
        ] {
            seen += &world.get(list).await.to_string();
        }
        for format in ["ndjson", "csv"] {
            let export = format!("/audit/export?format={format}");
            seen += &world.owner(Method::GET, &export, None).await.text;
        }
        for secret in [
            canary,
            &token,
            &secret,
            "canary-upstream",
            &world.acme.owner.token,
        ] {
            assert!(!seen.contains(secret), "{secret} was shown");
        }
        // That it was changed can be seen all the same.
        let log = world.get("/audit?action=connection.update").await;
        let changed = |e: &Value| e["change"]["after"]["client_secret"] == json!("***");
        assert!(log["items"].as_array().unwrap().iter().any(changed));
        let sealed =
            store::connection::secret(&world.store, &path["/connections/".len()..].parse().unwrap()).await;
        assert_eq!(
            sealed.unwrap().unwrap().as_str(),
            "canary-9b1f-2",
            "a patch without a secret keeps it"
        );
    })
    .await;
}
