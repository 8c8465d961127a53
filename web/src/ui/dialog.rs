//! Dialogs on the native element: focus stays inside, Escape closes, the rest of the page is inert.

use super::{Button, Look};
use leptos::{html, prelude::*};
use wasm_bindgen::JsCast as _;

/// A modal dialog. Its content is made anew each time that it opens.
#[component]
pub(crate) fn Dialog(
    open: RwSignal<bool>,
    #[prop(into)] title: Signal<String>,
    /// At the right edge, as high as the window, rather than in the middle.
    #[prop(optional)]
    side: bool,
    children: ChildrenFn,
) -> impl IntoView {
    let element = NodeRef::<html::Dialog>::new();
    let id = super::unique("dialog");
    Effect::new(move |_| {
        let Some(dialog) = element.get() else { return };
        match (open.get(), dialog.open()) {
            // In the next frame, when the content is there to take the focus.
            (true, false) => request_animation_frame(move || show(&dialog, open)),
            (false, true) => dialog.close(),
            _ => {}
        }
    });
    let place = if side {
        "mr-0 ml-auto my-0 h-dvh max-h-dvh rounded-none max-w-2xl w-full"
    } else {
        "m-auto w-[calc(100vw-2rem)] max-w-lg max-h-[calc(100dvh-2rem)]"
    };
    let children = StoredValue::new(children);
    let heading = id.clone();
    view! {
        <dialog
            node_ref=element
            class=format!("panel {place} overflow-y-auto p-0 text-left text-base-content shadow-xl")
            aria-labelledby=id
            on:close=move |_| open.set(false)
        >
            <Show when=move || open.get()>
                <header class="sticky top-0 z-10 flex items-center justify-between gap-4 border-b border-base-300 bg-base-100 px-5 py-3">
                    <h2 id=heading.clone() class="text-base font-semibold">{move || title.get()}</h2>
                    <Button look=Look::Quiet label="Close" on_press=move |()| open.set(false)>"✕"</Button>
                </header>
                <div class="p-5">{children.with_value(|children| children())}</div>
            </Show>
        </dialog>
    }
}

/// Whether a dialog about a chosen thing is open; closing it forgets the thing. For dialogs of lists: one beside the
/// list rather than one in each row, which is made anew whenever the list is.
pub(crate) fn open_for<T: Send + Sync + 'static>(chosen: RwSignal<Option<T>>) -> RwSignal<bool> {
    let open = RwSignal::new(false);
    Effect::new(move |_| open.set(chosen.with(Option::is_some)));
    Effect::new(move |before: Option<bool>| {
        let now = open.get();
        if before == Some(true) && !now {
            chosen.set(None);
        }
        now
    });
    open
}

/// Opens the dialog with the focus on its first field, or else on its first button.
fn show(dialog: &web_sys::HtmlDialogElement, open: RwSignal<bool>) {
    // It may have been closed, or the page left, since the frame was asked for.
    if open.try_get_untracked() != Some(true) || dialog.open() || dialog.show_modal().is_err() {
        return;
    }
    if let Ok(Some(field)) = dialog.query_selector("input:not([type=hidden]), select, textarea")
        && let Ok(field) = field.dyn_into::<web_sys::HtmlElement>()
    {
        let _ = field.focus();
    }
}
