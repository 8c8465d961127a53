//! What is shown once: secrets and links that the server keeps as a hash only.
//!
//! They stand in a sheet of the whole dashboard, above every page. No reload, no navigation and no key closes it:
//! only who says that the secret is stored does.

use super::{Button, CodeBlock, CopyButton, Look, copyable, unique};
use leptos::{ev, html, prelude::*};

/// How long the sheet takes no click, in milliseconds: the second half of a double click is no decision.
const SETTLES: f64 = 700.0;

/// One secret, and what belongs to it.
#[derive(Clone)]
pub(crate) struct Once {
    title: String,
    label: &'static str,
    secret: String,
    note: Option<String>,
    /// Shown with it, such as the client id.
    beside: Vec<(&'static str, String)>,
    example: Option<String>,
    is_link: bool,
}

impl Once {
    /// `label` says what kind of secret it is.
    pub(crate) fn new(title: impl Into<String>, label: &'static str, secret: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            label,
            secret: secret.into(),
            note: None,
            beside: Vec::new(),
            example: None,
            is_link: false,
        }
    }

    /// What else there is to know.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
            ..self
        }
    }

    /// Something that is needed with it, and is no secret.
    pub(crate) fn beside(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.beside.push((label, value.into()));
        self
    }

    /// How it is used.
    pub(crate) fn example(self, text: impl Into<String>) -> Self {
        Self {
            example: Some(text.into()),
            ..self
        }
    }

    /// It is a link that can be opened from here.
    pub(crate) fn linked(self) -> Self {
        Self {
            is_link: true,
            ..self
        }
    }
}

/// The sheet: what waits to be stored, first come first shown.
#[derive(Clone, Copy)]
pub(crate) struct Sheet {
    waiting: RwSignal<Vec<Once>>,
}

impl Sheet {
    pub(crate) fn new() -> Self {
        Self {
            waiting: RwSignal::new(Vec::new()),
        }
    }

    /// Shows it until somebody says that it is stored.
    pub(crate) fn show(self, once: Once) {
        self.waiting.update(|waiting| waiting.push(once));
    }
}

/// The sheet that the app provides.
pub(crate) fn sheet() -> Sheet {
    expect_context()
}

/// Where secrets appear.
#[component]
pub(crate) fn SheetArea(sheet: Sheet) -> impl IntoView {
    let element = NodeRef::<html::Dialog>::new();
    let id = unique("once");
    let is_open = Memo::new(move |_| sheet.waiting.with(|waiting| !waiting.is_empty()));
    Effect::new(move |_| {
        let Some(dialog) = element.get() else { return };
        match (is_open.get(), dialog.open()) {
            // In the next frame: the dialog of the act closes first, and gives the focus back.
            (true, false) => request_animation_frame(move || show(&dialog, is_open)),
            (false, true) => dialog.close(),
            _ => {}
        }
    });
    // Leaving the page would lose it; the browser asks in its own words.
    let listener = window_event_listener(ev::beforeunload, move |event| {
        if is_open.get_untracked() {
            event.prevent_default();
            event.set_return_value("The secret is not stored yet.");
        }
    });
    on_cleanup(move || listener.remove());
    let heading = id.clone();
    let title = move || {
        sheet
            .waiting
            .with(|waiting| waiting.first().map(|once| once.title.clone()))
    };
    view! {
        <dialog
            node_ref=element
            class="panel m-auto w-[calc(100vw-2rem)] max-w-2xl max-h-[calc(100dvh-2rem)] overflow-y-auto p-0 text-left text-base-content shadow-xl"
            aria-labelledby=id
            closedby="none"
            on:cancel=|event: ev::Event| event.prevent_default()
            on:close=move |_| {
                // A browser may close it all the same, when Escape is pressed again and again.
                if let Some(dialog) = element.get_untracked() {
                    show(&dialog, is_open);
                }
            }
        >
            <Show when=move || is_open.get()>
                <header class="border-b border-base-300 px-5 py-3">
                    <h2 id=heading.clone() class="text-base font-semibold">{title}</h2>
                </header>
                {move || sheet.waiting.with(|waiting| waiting.first().cloned()).map(|once| view! { <Shown once sheet /> })}
            </Show>
        </dialog>
    }
}

/// Opens the sheet with the focus on its first button, which copies.
fn show(dialog: &web_sys::HtmlDialogElement, is_open: Memo<bool>) {
    if is_open.try_get_untracked() != Some(true) || dialog.open() || dialog.show_modal().is_err() {
        return;
    }
    if let Ok(Some(button)) = dialog.query_selector("button")
        && let Ok(button) = wasm_bindgen::JsCast::dyn_into::<web_sys::HtmlElement>(button)
    {
        let _ = button.focus();
    }
}

#[component]
fn Shown(once: Once, sheet: Sheet) -> impl IntoView {
    let began = js_sys::Date::now();
    let stored = move |()| {
        if js_sys::Date::now() - began > SETTLES {
            sheet
                .waiting
                .update(|waiting| drop(waiting.drain(..waiting.len().min(1))));
        }
    };
    let secret = Signal::stored(once.secret.clone());
    let beside = once
        .beside
        .into_iter()
        .map(|(label, value)| view! { <div><p class="font-medium">{label}</p>{copyable(value, label)}</div> })
        .collect_view();
    let link = once.is_link.then_some(once.secret);
    view! {
        <div class="flex flex-col gap-4 p-5">
            <p class="font-medium text-warning">"Store it now. This is the only time that it is shown."</p>
            {once.note.map(|note| view! { <p>{note}</p> })}
            <div class="flex flex-col gap-2">
                <p class="font-medium">{once.label}</p>
                <pre class="key rounded-(--radius-field) border border-base-300 bg-base-200 p-3 whitespace-pre-wrap break-all" data-secret="">
                    <code>{move || secret.get()}</code>
                </pre>
                <div class="flex flex-wrap gap-2">
                    <CopyButton text=secret label=once.label look=Look::Plain />
                    {link.map(|href| view! { <a class="btn btn-sm" href=href target="_blank" rel="noopener external">"Open in a new tab"</a> })}
                </div>
            </div>
            {beside}
            {once.example.map(|example| view! { <CodeBlock text=Signal::stored(example) label="Example" /> })}
            <div class="flex justify-end">
                <Button look=Look::Primary on_press=stored>"I stored it"</Button>
            </div>
        </div>
    }
}
