//! Text that is meant to be copied: commands, addresses, secrets.

use super::Look;
use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen_futures::JsFuture;

/// Copies `text` and says so.
#[component]
pub(crate) fn CopyButton(
    #[prop(into)] text: Signal<String>,
    /// What is copied, for people who do not see what the button stands beside.
    #[prop(into)]
    label: String,
    #[prop(default = Look::Quiet)] look: Look,
) -> impl IntoView {
    // Said on the button itself: a message elsewhere would be behind the dialog that the button stands in.
    let said = RwSignal::new("Copy");
    let copy = move |()| {
        let text = text.get_untracked();
        spawn_local(async move {
            let done = write_clipboard(&text).await;
            let _ = said.try_set(if done {
                "Copied"
            } else {
                "Select it and copy by hand"
            });
            gloo_timers::future::TimeoutFuture::new(if done { 2_000 } else { 6_000 }).await;
            let _ = said.try_set("Copy");
        });
    };
    view! {
        <super::Button look on_press=copy>
            <span aria-live="polite">{move || said.get()}</span>
            <span class="sr-only">{format!(" {label}")}</span>
        </super::Button>
    }
}

async fn write_clipboard(text: &str) -> bool {
    // `navigator.clipboard` is missing outside secure contexts.
    let clipboard = js_sys::Reflect::get(&window().navigator(), &"clipboard".into());
    let there = clipboard.is_ok_and(|clipboard| !clipboard.is_undefined());
    there
        && JsFuture::from(window().navigator().clipboard().write_text(text))
            .await
            .is_ok()
}

/// A block of code with its copy button.
#[component]
pub(crate) fn CodeBlock(#[prop(into)] text: Signal<String>, #[prop(into)] label: String) -> impl IntoView {
    view! {
        <div class="relative rounded-(--radius-field) border border-base-300 bg-base-200">
            <pre class="key overflow-x-auto p-3 pr-20 whitespace-pre-wrap break-all" tabindex="0">
                <code>{move || text.get()}</code>
            </pre>
            <div class="absolute top-1 right-1">
                <CopyButton text label />
            </div>
        </div>
    }
}

/// An identifier in a table: on one line, however narrow the table is.
pub(crate) fn identifier(text: impl Into<String>, label: &str) -> AnyView {
    view! { <span class="block whitespace-nowrap">{copyable(text, label)}</span> }.into_any()
}

/// A short value with its copy button.
pub(crate) fn copyable(text: impl Into<String>, label: &str) -> AnyView {
    let text = text.into();
    view! {
        <span class="inline-flex max-w-full items-center gap-1">
            <span class="key min-w-0 break-all">{text.clone()}</span>
            <CopyButton text=Signal::stored(text) label />
        </span>
    }
    .into_any()
}

/// The same write with curl, for empty states.
pub(crate) fn curl(method: &str, path: &str, body: &str) -> String {
    let origin = window().location().origin().unwrap_or_default();
    format!(
        "curl -X {method} {origin}/api/v1{path} \\\n  -H \"Authorization: Bearer $CHATELAINE_TOKEN\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{body}'"
    )
}
