//! Dialogs on the native element: focus stays inside, Escape closes, the rest of the page is inert.

use super::{Button, FormError, ImpactOf, Look, Sending, TextField};
use crate::client::Write;
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

/// Asks before something that cannot be taken back. With `word`, it has to be typed first.
#[component]
pub(crate) fn Confirm(
    open: RwSignal<bool>,
    #[prop(into)] title: Signal<String>,
    #[prop(into)] text: Signal<String>,
    /// What the button says.
    #[prop(into)]
    action: Signal<String>,
    #[prop(optional, into)] word: Option<Signal<String>>,
    sending: Sending,
    #[prop(into)] on_confirm: Callback<()>,
    /// What the action would send: the dialog then shows who is affected.
    #[prop(optional_no_strip)]
    preview: Option<Callback<(), Option<Write>>>,
) -> impl IntoView {
    view! {
        <Dialog open title>
            {
                let typed = RwSignal::new(String::new());
                let blocked = Signal::derive(move || {
                    let word = word?.get();
                    (typed.get().trim() != word).then(|| format!("type “{word}” first"))
                });
                let go = move |()| {
                    if blocked.get_untracked().is_none() {
                        on_confirm.run(());
                    }
                };
                view! {
                    <form
                        class="flex flex-col gap-4"
                        on:submit=move |event| {
                            event.prevent_default();
                            go(());
                        }
                    >
                        <p class="whitespace-pre-line">{move || text.get()}</p>
                        {preview.map(|write| view! { <ImpactOf open write /> })}
                        {word.map(|word| view! { <TextField label=Signal::derive(move || format!("Type “{}” to confirm", word.get())) value=typed /> })}
                        <FormError sending />
                        <div class="flex justify-end gap-2">
                            <Button on_press=move |()| open.set(false)>"Cancel"</Button>
                            <Button look=Look::Danger blocked busy=sending.busy on_press=go>
                                {move || action.get()}
                            </Button>
                        </div>
                    </form>
                }
            }
        </Dialog>
    }
}
