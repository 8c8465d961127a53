//! Tabs with arrow keys; the chosen one stands in the URL.

use leptos::{ev::KeyboardEvent, prelude::*};
use wasm_bindgen::JsCast as _;

/// One tab: its name in the URL, its label and what it shows.
pub(crate) struct Tab {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) body: ViewFn,
}

/// A tab.
pub(crate) fn tab(
    key: &'static str,
    label: &'static str,
    body: impl Fn() -> AnyView + Send + Sync + 'static,
) -> Tab {
    Tab {
        key,
        label,
        body: body.into(),
    }
}

/// Several views, one at a time; `?param=` names it and the first is the default.
#[component]
pub(crate) fn Tabs(
    label: &'static str,
    #[prop(default = "tab")] param: &'static str,
    tabs: Vec<Tab>,
) -> impl IntoView {
    let (chosen, choose) = super::url_param(param);
    let keys: Vec<_> = tabs.iter().map(|tab| tab.key).collect();
    let first = keys.first().copied().unwrap_or_default();
    let known = keys.clone();
    let current = Memo::new(move |_| {
        let chosen = chosen.get();
        known.iter().copied().find(|key| *key == chosen).unwrap_or(first)
    });
    let prefix = super::unique("tabs");
    let stored = StoredValue::new(keys);
    let on_key = {
        let prefix = prefix.clone();
        move |event: KeyboardEvent| {
            let next = stored.with_value(|keys| {
                let at = keys
                    .iter()
                    .position(|key| *key == current.get_untracked())
                    .unwrap_or(0);
                match event.key().as_str() {
                    "ArrowRight" => keys.get((at + 1) % keys.len()).copied(),
                    "ArrowLeft" => keys.get((at + keys.len() - 1) % keys.len()).copied(),
                    "Home" => keys.first().copied(),
                    "End" => keys.last().copied(),
                    _ => None,
                }
            });
            if let Some(next) = next {
                event.prevent_default();
                choose.run(if next == first {
                    String::new()
                } else {
                    next.to_owned()
                });
                if let Some(button) = document()
                    .get_element_by_id(&format!("{prefix}-{next}"))
                    .and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok())
                {
                    let _ = button.focus();
                }
            }
        }
    };
    let heads = tabs
        .iter()
        .map(|tab| {
            let key = tab.key;
            view! {
                <button
                    type="button"
                    role="tab"
                    id=format!("{prefix}-{key}")
                    aria-controls=format!("{prefix}-panel")
                    aria-selected=move || if current.get() == key { "true" } else { "false" }
                    tabindex=move || if current.get() == key { "0" } else { "-1" }
                    class="muted -mb-px cursor-pointer border-b-2 border-transparent px-3 py-2 font-medium whitespace-nowrap hover:text-base-content aria-selected:border-base-content aria-selected:text-base-content"
                    on:click=move |_| choose.run(if key == first { String::new() } else { key.to_owned() })
                >
                    {tab.label}
                </button>
            }
        })
        .collect_view();
    let bodies = StoredValue::new(
        tabs.into_iter()
            .map(|tab| (tab.key, tab.body))
            .collect::<Vec<_>>(),
    );
    let panel = format!("{prefix}-panel");
    view! {
        <div role="tablist" aria-label=label class="flex overflow-x-auto border-b border-base-300" on:keydown=on_key>
            {heads}
        </div>
        <div role="tabpanel" id=panel aria-labelledby=move || format!("{prefix}-{}", current.get()) class="pt-4">
            {move || {
                let key = current.get();
                bodies.with_value(|bodies| bodies.iter().find(|(name, _)| *name == key).map(|(_, body)| body.run()))
            }}
        </div>
    }
}
