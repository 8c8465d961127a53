//! A switch that takes effect at once.

use leptos::prelude::*;

/// On or off. It shows the state that the server has confirmed, never a hope.
#[component]
pub(crate) fn Switch(
    #[prop(into)] label: String,
    #[prop(into)] on: Signal<bool>,
    #[prop(into)] busy: Signal<bool>,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    #[prop(into)] on_flip: Callback<bool>,
) -> impl IntoView {
    let id = super::unique("switch");
    let flip = move |_| {
        if blocked.get_untracked().is_none() && !busy.get_untracked() {
            on_flip.run(!on.get_untracked());
        }
    };
    view! {
        <span class="inline-flex items-center gap-3">
            <button
                type="button"
                role="switch"
                aria-labelledby=id.clone()
                aria-checked=move || if on.get() { "true" } else { "false" }
                aria-disabled=move || (blocked.get().is_some() || busy.get()).then_some("true")
                title=move || blocked.get()
                class="relative h-7 w-12 shrink-0 cursor-pointer rounded-full border-2 border-base-content/60 bg-base-200 transition-colors aria-checked:border-success aria-checked:bg-success aria-disabled:cursor-not-allowed aria-disabled:opacity-60 motion-reduce:transition-none"
                on:click=flip
            >
                <span
                    class=move || {
                        let place = if on.get() { "left-[1.375rem] bg-base-100" } else { "left-0.5 bg-base-content/70" };
                        format!("absolute top-0.5 size-5 rounded-full transition-all motion-reduce:transition-none {place}")
                    }
                    aria-hidden="true"
                ></span>
            </button>
            <span>
                <span id=id class="font-medium">{label}</span>
                <span class="muted" aria-live="polite">
                    {move || match (busy.get(), on.get()) {
                        (true, _) => " · saving",
                        (false, true) => " · on",
                        (false, false) => " · off",
                    }}
                </span>
                {move || blocked.get().map(|why| view! { <span class="muted block text-xs">{why}</span> })}
            </span>
        </span>
    }
}
