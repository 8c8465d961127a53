//! What the flight recorder is told of people who wanted to sign in for an agent.

use crate::Visit;
use crate::page::Failure;
use store::recorder::{Step, asked};
use wire::{AgentStepKind, AppId};

/// Somebody could not sign in who came from an authorization request, to which they wanted to return.
pub(crate) fn not_signed_in(visit: &Visit, return_to: Option<&str>, failure: &Failure) {
    let Some((app, query)) = return_to.and_then(request_of) else {
        return;
    };
    let directory = visit.store().directory();
    let Some(view) = directory.app(&app) else {
        return;
    };
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let pairs = || pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let Some(asked) = asked(&app, pairs()) else {
        return;
    };
    let step = Step::new(view, &visit.request, AgentStepKind::SignIn).asked(Some(asked));
    let step = match pairs().find(|(name, _)| *name == "client_id") {
        Some((_, client_id)) => step.client_id(client_id),
        None => step,
    };
    let step = step.failed("sign_in_failed");
    visit.store().note_step(match failure {
        Failure::Told { title, .. } => step.received(title),
        _ => step,
    });
}

/// App and query of an authorization request.
fn request_of(target: &str) -> Option<(AppId, &str)> {
    let (path, query) = target.split_once('?')?;
    let app = path.strip_prefix("/oauth/")?.strip_suffix("/authorize")?;
    Some((app.parse().ok()?, query))
}
