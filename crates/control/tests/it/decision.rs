//! One access decision: the same cases at every surface, and one answer. The gateway, sign-in to an app and the way
//! back from it, the list of one's apps, authorize, token, introspection, the tester and the preview of a change are
//! asked about the same person and the same agent.
//!
//! Each branch of the decision has a case here that fails without it. Some surfaces ask a part of it by themselves,
//! earlier: there the case holds twice.

mod agents;
mod people;
mod places;
mod rules;
mod scene;
mod strangers;
mod surfaces;

use crate::world::on_each;
use http::StatusCode;
pub(crate) use scene::Scene;
use scene::make;
use serde_json::{Value, json};
use wire::*;

/// What the one decision must say to somebody: to what begins, to what goes on, and to this very request.
#[derive(Debug, Clone, Copy)]
struct Stages {
    begins: bool,
    goes_on: bool,
    request: bool,
}

impl Stages {
    const fn all(allowed: bool) -> Self {
        Self {
            begins: allowed,
            goes_on: allowed,
            request: allowed,
        }
    }
}

/// What it must say of a person in a browser and of the same person's agent.
#[derive(Debug, Clone, Copy)]
struct Expected {
    person: Stages,
    agent: Stages,
    /// At every surface that says why.
    reason: Reason,
}

const fn allowed() -> Expected {
    Expected {
        person: Stages::all(true),
        agent: Stages::all(true),
        reason: Reason::PolicyAllowed,
    }
}

const fn refused(reason: Reason) -> Expected {
    Expected {
        person: Stages::all(false),
        agent: Stages::all(false),
        reason,
    }
}

/// People may, their agents may not.
const fn agents_refused(reason: Reason) -> Expected {
    Expected {
        person: Stages::all(true),
        agent: Stages::all(false),
        reason,
    }
}

/// Nothing but this request is refused.
const fn request_refused(reason: Reason) -> Expected {
    let but_this = Stages {
        request: false,
        ..Stages::all(true)
    };
    Expected {
        person: but_this,
        agent: but_this,
        reason,
    }
}

/// A case: what is different, and what must come of it everywhere.
async fn case(name: &str, expected: Expected, change: impl AsyncFn(&Scene<'_>)) {
    whether((name, true), expected, change).await;
}

/// As [`case`]; some say no before they would say why.
async fn whether((name, tells_why): (&str, bool), expected: Expected, change: impl AsyncFn(&Scene<'_>)) {
    on_each(async |world| {
        let scene = Scene::new(world, &["pwd"]).await;
        scene.check("as it is", allowed(), true).await;
        let scene = Scene {
            // The first one is spent.
            refresh_token: successor(&scene).await,
            ..scene
        };
        change(&scene).await;
        scene.check(name, expected, tells_why).await;
    })
    .await;
}

/// The same of somebody with a local password.
async fn local_case(name: &str, amr: &[&str], expected: Expected, change: impl AsyncFn(&Scene<'_>)) {
    on_each(async |world| {
        let local = &world.acme.local;
        let binding = json!({"connection": local.id, "accounts": [world.acme.account.id]});
        make::<Value>(world, "/bindings", binding).await;
        let scene = Scene::through(world, local, amr).await;
        scene.check("as it is", allowed(), true).await;
        let scene = Scene {
            refresh_token: successor(&scene).await,
            ..scene
        };
        change(&scene).await;
        scene.check(name, expected, true).await;
    })
    .await;
}

/// What the refresh token was exchanged for: within the window it is the same again.
async fn successor(scene: &Scene<'_>) -> String {
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", scene.refresh_token.as_str()),
    ];
    let (status, answer) = scene.form("token", &fields).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["refresh_token"].as_str().unwrap().to_owned()
}
