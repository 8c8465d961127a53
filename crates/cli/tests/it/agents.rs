//! `chatelaine agents attempts`: what failed, step by step, and the setting that mends it.

use crate::world::on_each;
use serde_json::json;
use store::recorder::Step;
use wire::{AgentStepKind, AppId, AuditRequest};

#[tokio::test]
async fn an_attempt_is_listed_shown_step_by_step_and_mended() {
    on_each(async |server, _| {
        server.ok(&["account", "create", "--set", "name=Labs"]).await;
        let account = server.api("GET", "accounts", json!(null)).await["items"][0]["id"].clone();
        let new = json!({"account": account, "name": "Wiki", "kind": "web", "public_url": "https://w.example.com",
            "origin_url": "http://10.0.0.1"});
        let app: AppId = serde_json::from_value(server.api("POST", "apps", new).await["id"].clone()).unwrap();
        let view = server.store.directory().app(&app).unwrap().clone();
        let request = AuditRequest {
            id: "req-1".into(),
            method: "POST".into(),
            path: "/".into(),
            ip: Some("192.0.2.1".into()),
            user_agent: Some("helper/2 (x)".into()),
        };
        let step = Step::new(&view, &request, AgentStepKind::Challenge);
        server.store.note_step(step.failed("managed_oauth_off"));
        server.store.write_agent_steps().await.unwrap();

        let table = server.ok(&["agents", "attempts", "--state", "failed", "--app", "Wiki"]).await;
        let row = table.lines().nth(1).unwrap();
        assert!(row.contains("failed") && row.contains("challenge") && row.contains("helper/2"), "{table}");
        let id = row.split_whitespace().last().unwrap();
        let found = server.ok(&["agents", "attempts", "--request", "req-1", "-o", "json"]).await;
        assert!(found.contains(id), "{found}");
        assert_eq!(server.ok(&["agents", "attempts", "--request", "req-2", "-o", "json"]).await, "[]\n");
        let shown = server.ok(&["agents", "attempts", id]).await;
        for part in [
            "Managed OAuth is off for this app",
            "✗ ",
            "managed_oauth_off",
            "--fix=switch_on_managed_oauth",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        let on = async || server.api("GET", &format!("apps/{app}"), json!(null)).await["managed_oauth"].clone();
        let dry = server.ok(&["agents", "attempts", id, "--fix", "--dry-run"]).await;
        assert!(dry.contains("Dry run: nothing has changed."), "{dry}");
        assert_eq!(on().await, false);
        let said = server.shell().run(&["agents", "attempts", id, "--fix=approve_client"]).await;
        assert_eq!(said.code, 2, "{}", said.err);
        let done = server.ok(&["agents", "attempts", id, "--fix"]).await;
        assert!(done.starts_with("Switch Managed OAuth on: done"), "{done}");
        assert_eq!(on().await, true);
        let said = server.shell().run(&["agents", "attempts", id, "--fix"]).await;
        assert!(said.err.contains("no setting mends this attempt"), "{}", said.err);
    })
    .await;
}
