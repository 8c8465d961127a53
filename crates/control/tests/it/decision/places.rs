//! What is the matter with app, account and connection.

use super::scene::{Scene, make};
use super::{Expected, Stages, agents_refused, case, refused, whether};
use serde_json::json;
use wire::*;

#[tokio::test]
async fn a_connection_that_drains() {
    let but_begin = Stages {
        begins: false,
        ..Stages::all(true)
    };
    let expected = Expected {
        person: but_begin,
        agent: but_begin,
        reason: Reason::ConnectionNotBound,
    };
    case("draining", expected, async |s| {
        let until = s.world.clock.now().plus_seconds(86_400);
        let binding = format!("/bindings/{}", s.world.acme.binding.id);
        s.patch(&binding, json!({"state": "draining", "drain_until": until}))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_has_drained() {
    case("drained", refused(Reason::ConnectionNotBound), async |s| {
        let until = s.world.clock.now().plus_seconds(60);
        let binding = format!("/bindings/{}", s.world.acme.binding.id);
        s.patch(&binding, json!({"state": "draining", "drain_until": until}))
            .await;
        // The change is heard while the connection still drains; that the time is over is nobody's change.
        s.wait(5).await;
        s.wait(55).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_not_bound_any_more() {
    case("unbound", refused(Reason::ConnectionNotBound), async |s| {
        s.behind(&format!(
            "DELETE FROM bindings WHERE id = '{}'",
            s.world.acme.binding.id
        ))
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_not_bound_any_more_beside_one_that_is() {
    case(
        "another is bound",
        refused(Reason::ConnectionNotBound),
        async |s| {
            let acme = &s.world.acme;
            let binding = json!({"connection": acme.local.id, "accounts": [acme.account.id]});
            make::<serde_json::Value>(s.world, "/bindings", binding).await;
            s.behind(&format!("DELETE FROM bindings WHERE id = '{}'", acme.binding.id))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_connection_beside_an_exclusive_one() {
    let expected = refused(Reason::ConnectionNotBound);
    whether(("exclusive", false), expected, async |s| {
        let acme = &s.world.acme;
        let binding = json!({"connection": acme.local.id, "accounts": [acme.account.id]});
        make::<serde_json::Value>(s.world, "/bindings", binding).await;
        s.behind(&format!(
            "UPDATE bindings SET mode = 'exclusive' WHERE connection = '{}'",
            acme.local.id
        ))
        .await;
    })
    .await;
}

/// Switches something off in its row.
async fn off(s: &Scene<'_>, table: &str, id: &dyn std::fmt::Display, name: &str) {
    let replaced = format!("REPLACE(spec, '\"{name}\":true', '\"{name}\":false')");
    s.behind(&format!("UPDATE {table} SET spec = {replaced} WHERE id = '{id}'"))
        .await;
}

#[tokio::test]
async fn an_app_that_is_switched_off() {
    whether(("app", false), refused(Reason::Disabled), async |s| {
        off(s, "apps", &s.app.id, "enabled").await;
    })
    .await;
}

#[tokio::test]
async fn an_account_that_is_switched_off() {
    whether(("account", false), refused(Reason::Disabled), async |s| {
        s.behind(&format!(
            "UPDATE accounts SET enabled = FALSE WHERE id = '{}'",
            s.app.account
        ))
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_switched_off() {
    let expected = refused(Reason::ConnectionNotBound);
    whether(("connection", false), expected, async |s| {
        off(s, "connections", &s.user.connection, "enabled").await;
    })
    .await;
}

#[tokio::test]
async fn an_app_that_takes_no_agents() {
    let expected = agents_refused(Reason::ManagedOauthOff);
    whether(("agents", false), expected, async |s| {
        off(s, "apps", &s.app.id, "managed_oauth").await;
    })
    .await;
}
