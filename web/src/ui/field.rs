//! Labelled inputs with hint and error, tied together for assistive technology.

use super::unique;
use leptos::prelude::*;

#[component]
fn Frame(
    id: String,
    #[prop(into)] label: Signal<String>,
    hint: Option<String>,
    error: Signal<Option<String>>,
    children: Children,
) -> impl IntoView {
    let hint_id = format!("{id}-hint");
    let error_id = format!("{id}-error");
    view! {
        <div class="flex min-w-0 flex-col gap-1">
            <label for=id class="font-medium">{move || label.get()}</label>
            {children()}
            {hint.map(|hint| view! { <p id=hint_id class="muted text-[0.8125rem]">{hint}</p> })}
            <p id=error_id class="text-error text-[0.8125rem] empty:hidden">{move || error.get()}</p>
        </div>
    }
}

fn described(id: &str, hint: bool) -> String {
    if hint {
        format!("{id}-hint {id}-error")
    } else {
        format!("{id}-error")
    }
}

/// Fixed options of a select: key and text.
pub(crate) fn options(all: &[(&str, &str)]) -> Signal<Vec<(String, String)>> {
    let owned = all
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    Signal::stored(owned.collect())
}

/// One line of text.
#[component]
pub(crate) fn TextField(
    #[prop(into)] label: Signal<String>,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(optional, into)] placeholder: Option<String>,
    #[prop(default = "text")] kind: &'static str,
    #[prop(optional)] required: bool,
    #[prop(default = "off")] autocomplete: &'static str,
) -> impl IntoView {
    let id = unique("field");
    let describes = described(&id, hint.is_some());
    view! {
        <Frame id=id.clone() label hint error>
            <input
                id=id
                type=kind
                class="input input-sm w-full aria-invalid:border-error"
                autocomplete=autocomplete
                spellcheck="false"
                placeholder=placeholder
                required=required
                aria-describedby=describes
                aria-invalid=move || error.get().map(|_| "true")
                prop:value=move || value.get()
                on:input=move |event| value.set(event_target_value(&event))
            />
        </Frame>
    }
}

/// Several lines of text.
#[component]
pub(crate) fn TextArea(
    #[prop(into)] label: Signal<String>,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(default = 3)] rows: u32,
) -> impl IntoView {
    let id = unique("field");
    let describes = described(&id, hint.is_some());
    view! {
        <Frame id=id.clone() label hint error>
            <textarea
                id=id
                class="textarea textarea-sm key w-full aria-invalid:border-error"
                rows=rows
                spellcheck="false"
                aria-describedby=describes
                aria-invalid=move || error.get().map(|_| "true")
                prop:value=move || value.get()
                on:input=move |event| value.set(event_target_value(&event))
            ></textarea>
        </Frame>
    }
}

/// One of several. Options are (value, text).
#[component]
pub(crate) fn Select(
    #[prop(into)] label: Signal<String>,
    value: RwSignal<String>,
    #[prop(into)] options: Signal<Vec<(String, String)>>,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
) -> impl IntoView {
    let id = unique("field");
    let describes = described(&id, hint.is_some());
    view! {
        <Frame id=id.clone() label hint error>
            <select
                id=id
                class="select select-sm w-full aria-invalid:border-error"
                aria-describedby=describes
                aria-invalid=move || error.get().map(|_| "true")
                on:change=move |event| value.set(event_target_value(&event))
            >
                {move || option_views(options.get(), value)}
            </select>
        </Frame>
    }
}

/// Options that follow the signal even when they arrive after it was set.
pub(crate) fn option_views(options: Vec<(String, String)>, value: RwSignal<String>) -> impl IntoView {
    options
        .into_iter()
        .map(|(key, text)| {
            let mine = key.clone();
            view! { <option value=key prop:selected=move || value.get() == mine>{text}</option> }
        })
        .collect_view()
}

/// A select in a toolbar that stands in the URL as `param`.
#[component]
pub(crate) fn FilterSelect(
    label: &'static str,
    param: &'static str,
    #[prop(into)] options: Signal<Vec<(String, String)>>,
) -> impl IntoView {
    let id = unique("filter");
    let (current, set) = super::url_param(param);
    view! {
        <div class="flex flex-col gap-1">
            <label for=id.clone() class="muted text-xs">{label}</label>
            <select
                id=id
                class="select select-sm w-auto min-w-36"
                on:change=move |event| set.run(event_target_value(&event))
            >
                {move || {
                    let mut options = options.get();
                    let chosen = current.get();
                    // What the URL says holds, also where it is not listed.
                    if !chosen.is_empty() && options.iter().all(|(key, _)| *key != chosen) {
                        options.push((chosen.clone(), chosen));
                    }
                    options
                        .into_iter()
                        .map(|(key, text)| {
                            let mine = key.clone();
                            view! { <option value=key prop:selected=move || current.get() == mine>{text}</option> }
                        })
                        .collect_view()
                }}
            </select>
        </div>
    }
}

/// A text filter that stands in the URL as `param`; applied on Enter or when left.
#[component]
pub(crate) fn FilterText(
    label: &'static str,
    param: &'static str,
    #[prop(default = "search")] kind: &'static str,
    #[prop(optional)] placeholder: &'static str,
) -> impl IntoView {
    let id = unique("filter");
    let (current, set) = super::url_param(param);
    view! {
        <div class="flex flex-col gap-1">
            <label for=id.clone() class="muted text-xs">{label}</label>
            <input
                id=id
                type=kind
                class="input input-sm w-44"
                spellcheck="false"
                autocomplete="off"
                placeholder=placeholder
                prop:value=move || current.get()
                on:change=move |event| set.run(event_target_value(&event))
            />
        </div>
    }
}

/// A box that is ticked or not.
#[component]
pub(crate) fn Checkbox(
    #[prop(into)] label: String,
    value: RwSignal<bool>,
    #[prop(optional, into)] hint: Option<String>,
) -> impl IntoView {
    view! {
        <label class="flex items-start gap-2 py-1">
            <input
                type="checkbox"
                class="checkbox checkbox-sm mt-px"
                prop:checked=move || value.get()
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <span>
                {label} {hint.map(|hint| view! { <span class="muted block text-[0.8125rem]">{hint}</span> })}
            </span>
        </label>
    }
}
