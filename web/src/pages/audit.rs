//! Stub.
use leptos::prelude::*;
#[component]
pub(crate) fn Page() -> impl IntoView { view! { <p>"stub"</p> } }
