//! What stands in the URL: filters, sorting, the cursor of a page.

use super::{Button, Look};
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate, use_query_map},
    params::ParamsMap,
};

/// One query parameter as a signal (empty when absent) and its setter. Any change but that of the cursor itself
/// goes back to the first page of a list.
pub(crate) fn url_param(name: &'static str) -> (Signal<String>, Callback<String>) {
    let params = use_query_map();
    let location = use_location();
    let navigate = use_navigate();
    let value = Memo::new(move |_| params.with(|params| params.get(name).unwrap_or_default()));
    let pathname = location.pathname;
    let set = Callback::new(move |text: String| {
        let mut map: ParamsMap = params.get_untracked();
        map.remove(name);
        if !matches!(name, "cursor" | "event" | "sort" | "tab") {
            map.remove("cursor");
        }
        let text = text.trim();
        if !text.is_empty() {
            map.insert(name, text.to_owned());
        }
        let target = format!("{}{}", pathname.get_untracked(), map.to_query_string());
        navigate(
            &target,
            NavigateOptions {
                scroll: false,
                resolve: false,
                ..NavigateOptions::default()
            },
        );
    });
    (value.into(), set)
}

/// First page and next page of a list with cursors. The browser's back button is the way to the previous page.
#[component]
pub(crate) fn Pager(next: Option<String>) -> impl IntoView {
    let (cursor, set) = url_param("cursor");
    let to_first = move |()| set.run(String::new());
    let has_next = next.is_some();
    let to_next = move |()| set.run(next.clone().unwrap_or_default());
    view! {
        <Show when=move || has_next || !cursor.get().is_empty()>
            <nav class="flex items-center justify-end gap-2 pt-3" aria-label="Pages">
                <Show when=move || !cursor.get().is_empty()>
                    <Button look=Look::Quiet on_press=to_first>"First page"</Button>
                </Show>
                {
                    let to_next = to_next.clone();
                    has_next.then(|| view! { <Button on_press=to_next>"Next page"</Button> })
                }
            </nav>
        </Show>
    }
}
