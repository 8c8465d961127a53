//! Light, dark, or as the system says. `boot.js` applies the choice before the first paint.

use leptos::prelude::*;

const KEY: &str = "chatelaine-theme";

fn stored() -> String {
    let storage = window().local_storage().ok().flatten();
    storage
        .and_then(|storage| storage.get_item(KEY).ok().flatten())
        .unwrap_or_else(|| "system".into())
}

fn apply(choice: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(KEY, choice);
    }
    if let Some(root) = document().document_element() {
        let _ = match choice {
            "light" | "dark" => root.set_attribute("data-theme", &format!("chatelaine-{choice}")),
            _ => root.remove_attribute("data-theme"),
        };
    }
}

/// The choice between the themes.
#[component]
pub(crate) fn ThemePicker() -> impl IntoView {
    let choice = RwSignal::new(stored());
    let options = [("system", "System"), ("light", "Light"), ("dark", "Dark")];
    let options = options
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .to_vec();
    view! {
        <label class="muted flex items-center justify-between gap-2 text-xs">
            "Theme"
            <select
                class="select select-xs w-24"
                on:change=move |event| {
                    choice.set(event_target_value(&event));
                    apply(&choice.get_untracked());
                }
            >
                {super::option_views(options, choice)}
            </select>
        </label>
    }
}
