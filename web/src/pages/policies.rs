//! Stub.
use crate::ui::*;
use leptos::prelude::*;
use wire::PolicyDecision;
/// A decision in words.
pub(crate) fn decision(decision: PolicyDecision) -> AnyView {
    match decision {
        PolicyDecision::Allow => badge(Tone::Good, "Allow"),
        PolicyDecision::Deny => badge(Tone::Bad, "Deny"),
        PolicyDecision::ServiceAuth => badge(Tone::Neutral, "Service tokens only"),
        PolicyDecision::Bypass => badge(Tone::Careful, "Bypass"),
    }
}
#[component]
pub(crate) fn Page() -> impl IntoView { view! { <p>"stub"</p> } }
