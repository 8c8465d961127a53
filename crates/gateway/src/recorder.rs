//! What the flight recorder is told at the gate: that an agent was shown the way in, and how its first call ended. Of an
//! agent that is in, it is told nothing any more.

use crate::credential::Known;
use crate::ruling::Ruling;
use crate::wellknown::Document;
use crate::{Ended, record};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use std::sync::atomic::{AtomicU8, Ordering};
use store::{AppView, Store, recorder::Step};
use wire::{AgentStepKind, AuditRequest, Reason};

/// How far an agent came with one access token.
#[derive(Default)]
pub(crate) struct WayIn(AtomicU8);

impl WayIn {
    const REFUSED: u8 = 1;
    const IN: u8 = 2;

    /// Whether a call that is let through is news. What every call of an agent pays for the recorder.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) < Self::IN
    }

    /// Whether it is the first that goes well, or the first that does not.
    fn turns(&self, well: bool) -> bool {
        let end = if well { Self::IN } else { Self::REFUSED };
        self.0.fetch_max(end, Ordering::Relaxed) < end
    }
}

/// A discovery document of an app was read.
pub(crate) fn discovery(store: &Store, view: &AppView, request: &AuditRequest, document: Document) {
    let what = match document {
        Document::ProtectedResource => "the app's metadata",
        Document::AuthorizationServer => "the authorization server's metadata, at the app",
        Document::OpenId => "the OpenID configuration, at the app",
        Document::Other => return,
    };
    store.note_step(Step::new(view, request, AgentStepKind::Discovery).received(what));
}

/// Whether it is a page of the app itself that calls it, or a browser that asks what it may.
fn is_no_agent(parts: &Parts) -> bool {
    let site = parts
        .headers
        .get("sec-fetch-site")
        .and_then(|site| site.to_str().ok());
    matches!(site, Some("same-origin" | "same-site" | "none")) || parts.method == Method::OPTIONS
}

/// Somebody who is no navigating browser came without a credential that is good.
pub(crate) fn challenged(
    store: &Store,
    view: &AppView,
    request: &AuditRequest,
    (parts, reason): (&Parts, Reason),
) {
    if is_no_agent(parts) {
        return;
    }
    let step = Step::new(view, request, AgentStepKind::Challenge);
    let step = match reason {
        Reason::Unauthenticated => step.received("no token"),
        Reason::ManagedOauthOff => step.failed("managed_oauth_off"),
        Reason::Disabled => step.failed("disabled"),
        Reason::CredentialInvalid => match meant_for(&parts.headers) {
            // It is over: the agent renews it, or has itself let in anew.
            Some(audience) if audience == view.resource() => return,
            Some(audience) => step
                .failed("token_of_other_app")
                .expected(view.resource())
                .received(audience),
            None => step
                .failed("token_not_ours")
                .expected("an access token of this server"),
        },
        _ => return,
    };
    store.note_step(step);
}

/// A page called the app whose origin it does not allow.
pub(crate) fn foreign_page(store: &Store, view: &AppView, request: &AuditRequest, origin: Option<&str>) {
    let step = Step::new(view, request, AgentStepKind::Challenge).failed("origin_not_allowed");
    store.note_step(match origin {
        Some(origin) => step.subject(origin).received(origin),
        None => step,
    });
}

/// For what a token says that it is. Nobody checked whether that is true.
fn meant_for(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let token = value.split_once(' ')?.1;
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["aud"].as_str().map(ToOwned::to_owned)
}

/// A call was let through.
pub(crate) fn called(
    store: &Store,
    view: &AppView,
    request: &AuditRequest,
    (known, ended): (Option<&Known>, Ended),
) {
    let well = match ended {
        Ended::Forwarded => true,
        Ended::OriginFailed => false,
        // It hung up, or its access ended meanwhile.
        _ => return,
    };
    let Some(step) = call(view, request, known, well) else {
        return;
    };
    store.note_step(match well {
        true => step,
        false => step.failed("origin_unreachable"),
    });
}

/// The step of a known agent's call, if how it ends is news.
fn call(view: &AppView, request: &AuditRequest, known: Option<&Known>, well: bool) -> Option<Step> {
    let agent = known?.agent()?;
    if !agent.way_in.turns(well) {
        return None;
    }
    let step = Step::new(view, request, AgentStepKind::Call).client(&agent.client);
    let step = match known.and_then(Known::person) {
        Some(person) => step.user(&person.user.id),
        None => step,
    };
    Some(step.grant(&agent.grant))
}

/// A known agent may not do what it asked for.
pub(crate) fn denied(
    store: &Store,
    view: &AppView,
    request: &AuditRequest,
    (known, ruling): (&Known, &Ruling),
) {
    let Some(step) = call(view, request, Some(known), false) else {
        return;
    };
    let step = step.failed(ruling.detail.unwrap_or(record::code(ruling.reason)));
    let scopes = known.agent().map(|agent| agent.scopes.join(" "));
    store.note_step(match (ruling.reason, &ruling.rule) {
        (Reason::InsufficientScope, _) => step
            .expected(ruling.needed.join(" "))
            .received(scopes.unwrap_or_default()),
        (_, Some(rule)) => step.received(&rule.name),
        _ => step,
    });
}
