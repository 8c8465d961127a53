//! The head of a page: its one `h1`, the document's title, the page's actions.

use leptos::{html, prelude::*};
use std::cell::Cell;

thread_local! {
    /// Whether a page has been shown already: only later ones take the focus.
    static SHOWN: Cell<bool> = const { Cell::new(false) };
}

/// Title, what the page is for, and what can be done here. Takes the focus after in-app navigation, so that
/// keyboards and screen readers start at the new page.
#[component]
pub(crate) fn PageHead(
    #[prop(into)] title: Signal<String>,
    #[prop(optional, into)] text: Option<String>,
    /// The list that this page belongs to: (address, name).
    #[prop(optional)]
    parent: Option<(&'static str, &'static str)>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    let heading = NodeRef::<html::H1>::new();
    heading.on_load(|heading| {
        if SHOWN.replace(true) {
            request_animation_frame(move || drop(heading.focus()));
        }
    });
    Effect::new(move |_| document().set_title(&format!("{} · Chatelaine", title.get())));
    view! {
        <header class="mb-6 flex flex-wrap items-end justify-between gap-4">
            <div class="min-w-0">
                {parent
                    .map(|(href, name)| {
                        view! {
                            <nav aria-label="Breadcrumb" class="mb-1">
                                <a class="muted inline-block py-1 hover:underline" href=href>{format!("← {name}")}</a>
                            </nav>
                        }
                    })}
                <h1 node_ref=heading tabindex="-1" class="text-xl font-semibold break-words outline-none">{move || title.get()}</h1>
                {text.map(|text| view! { <p class="muted mt-1 max-w-prose">{text}</p> })}
            </div>
            {children.map(|children| view! { <div class="flex flex-wrap gap-2">{children()}</div> })}
        </header>
    }
}
