//! What is the matter with an agent.

use super::{Expected, Stages, agents_refused, case, refused, whether};
use serde_json::json;
use wire::*;

#[tokio::test]
async fn an_agent_below_what_the_app_accepts() {
    case("tier", agents_refused(Reason::ClientNotAccepted), async |s| {
        s.patch_app(json!({"oauth": {"registration": {"lowest_tier": "approved"}}}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_rule_about_agents_only() {
    case("agents", agents_refused(Reason::PolicyDenied), async |s| {
        s.put_first(json!({"name": "People only", "decision": "deny",
            "include": [{"type": "actor", "actor": "agent"}]}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_blocked() {
    let expected = agents_refused(Reason::ClientNotAccepted);
    whether(("blocked", false), expected, async |s| {
        s.behind(&format!(
            "UPDATE clients SET state = 'blocked' WHERE id = '{}'",
            s.client.id
        ))
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_waits_for_approval() {
    whether(
        ("waiting", false),
        agents_refused(Reason::ClientNotAccepted),
        async |s| {
            s.behind(&format!(
                "UPDATE clients SET state = 'pending' WHERE id = '{}'",
                s.client.id
            ))
            .await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_client_of_another_app() {
    whether(
        ("elsewhere", false),
        agents_refused(Reason::ClientNotAccepted),
        async |s| {
            let (app, client) = (&s.world.acme.app.id, &s.client.id);
            s.behind(&format!("UPDATE clients SET app = '{app}' WHERE id = '{client}'"))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_client_by_document_where_the_app_takes_none() {
    let expected = agents_refused(Reason::ClientNotAccepted);
    whether(("document", false), expected, async |s| {
        s.behind(&format!(
            "UPDATE clients SET source = 'metadata_document' WHERE id = '{}'",
            s.client.id
        ))
        .await;
        s.patch_app(json!({"oauth": {"registration": {"metadata_documents": false}}}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_rule_about_one_agent() {
    let expected = Expected {
        agent: Stages::all(true),
        ..refused(Reason::NoPolicyMatched)
    };
    case("one agent", expected, async |s| {
        s.only(json!({"name": "Through it", "decision": "allow",
            "include": [{"type": "claim", "name": "groups", "value": "staff"}],
            "require": [{"type": "client", "client": s.client.client_id}]}))
            .await;
    })
    .await;
}
