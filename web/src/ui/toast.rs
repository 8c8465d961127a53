//! Short messages about what has just been done.

use super::{Button, Look};
use crate::labels::linked;
use leptos::{prelude::*, task::spawn_local};

#[derive(Clone, PartialEq, Eq)]
struct Toast {
    id: u32,
    text: String,
    bad: bool,
}

/// The list of messages in view.
#[derive(Clone, Copy)]
pub(crate) struct Toasts {
    list: RwSignal<Vec<Toast>>,
    last: StoredValue<u32>,
}

impl Toasts {
    pub(crate) fn new() -> Self {
        Self {
            list: RwSignal::new(Vec::new()),
            last: StoredValue::new(0),
        }
    }

    /// Something was done. Goes away by itself.
    pub(crate) fn done(self, text: impl Into<String>) {
        let id = self.push(text.into(), false);
        spawn_local(async move {
            gloo_timers::future::TimeoutFuture::new(6_000).await;
            self.drop(id);
        });
    }

    /// Something did not work. Stays until it is closed.
    pub(crate) fn error(self, text: impl Into<String>) {
        self.push(text.into(), true);
    }

    fn push(self, text: String, bad: bool) -> u32 {
        self.last.update_value(|last| *last += 1);
        let id = self.last.get_value();
        self.list.update(|list| list.push(Toast { id, text, bad }));
        id
    }

    fn drop(self, id: u32) {
        self.list.update(|list| list.retain(|toast| toast.id != id));
    }
}

/// The messages that the app provides.
pub(crate) fn toasts() -> Toasts {
    expect_context()
}

/// Where the messages appear.
#[component]
pub(crate) fn ToastArea(toasts: Toasts) -> impl IntoView {
    view! {
        <div class="fixed right-4 bottom-4 z-50 flex max-w-[calc(100vw-2rem)] flex-col gap-2 sm:max-w-96" aria-live="polite" role="status">
            <For each=move || toasts.list.get() key=|toast| toast.id let:toast>
                <div class=if toast.bad {
                    "panel border-error text-error flex items-center gap-3 px-4 py-2 shadow-lg"
                } else {
                    "panel flex items-center gap-3 px-4 py-2 shadow-lg"
                }>
                    <span class="min-w-0 grow break-words">{linked(&toast.text)}</span>
                    <Button look=Look::Quiet label="Dismiss" on_press=move |()| toasts.drop(toast.id)>"✕"</Button>
                </div>
            </For>
        </div>
    }
}
