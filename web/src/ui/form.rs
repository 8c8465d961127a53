//! Sending a form: busy or not, what went wrong, which field is at fault.

use crate::{
    client::{Answer, Client, Failure, Write, client},
    labels::{self, Labels},
};
use leptos::{prelude::*, task::spawn_local};
use serde::de::DeserializeOwned;
use std::{cell::Cell, future::Future};
use wasm_bindgen::JsCast as _;

thread_local! {
    static LAST_ID: Cell<u32> = const { Cell::new(0) };
}

/// An element id that no other element of the page has.
pub(crate) fn unique(prefix: &str) -> String {
    LAST_ID.with(|last| {
        last.set(last.get() + 1);
        format!("{prefix}-{}", last.get())
    })
}

/// One form (or one action) and how sending it goes.
#[derive(Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) busy: RwSignal<bool>,
    pub(crate) failure: RwSignal<Option<Failure>>,
    client: Client,
    labels: Labels,
}

impl Sending {
    pub(crate) fn new() -> Self {
        Self {
            busy: RwSignal::new(false),
            failure: RwSignal::new(None),
            client: client(),
            labels: &[],
        }
    }

    /// With the labels of fields that this form calls otherwise than others do.
    pub(crate) fn called(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// Makes a write, unless one is under way.
    pub(crate) fn write<T: DeserializeOwned + 'static>(self, write: Write, done: impl FnOnce(T) + 'static) {
        let client = self.client;
        self.run(async move { client.write(write).await }, done);
    }

    /// Sends, unless a send is under way; `done` gets the value. What was typed stays when it fails.
    pub(crate) fn run<T: 'static>(
        self,
        work: impl Future<Output = Answer<T>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.failure.set(None);
        spawn_local(async move {
            let answer = work.await;
            let _ = self.busy.try_set(false);
            match answer {
                Ok(value) => done(value),
                Err(failure) => {
                    let _ = self.failure.try_set(Some(failure));
                    request_animation_frame(focus_first_fault);
                }
            }
        });
    }

    /// Says something is wrong before anything is sent.
    pub(crate) fn refuse(self, pointer: &str, detail: impl Into<String>) {
        let detail = detail.into();
        self.failure.set(Some(Failure::Problem(wire::Problem {
            kind: "about:blank".into(),
            title: "Please check the form".into(),
            status: 422,
            detail: Some("Please check the fields below.".into()),
            errors: vec![wire::FieldError {
                pointer: pointer.into(),
                detail,
            }],
            request_id: String::new(),
        })));
        request_animation_frame(focus_first_fault);
    }

    /// What is wrong with one field.
    pub(crate) fn at(self, pointer: &'static str) -> Signal<Option<String>> {
        Signal::derive(move || {
            let wrong = |failure: &Option<Failure>| failure.as_ref()?.of_field(pointer);
            let wrong = self.failure.with(wrong)?;
            Some(labels::sentence(&wrong, self.labels))
        })
    }
}

fn focus_first_fault() {
    if let Ok(Some(field)) = document().query_selector("[aria-invalid=true]")
        && let Ok(field) = field.dyn_into::<web_sys::HtmlElement>()
    {
        let _ = field.focus();
    }
}

/// What went wrong with the whole form.
#[component]
pub(crate) fn FormError(sending: Sending) -> impl IntoView {
    move || {
        sending.failure.get().map(|failure| {
            let others: Vec<_> = failure.wrong_values(sending.labels).collect();
            let id = failure.request_id().filter(|id| !id.is_empty());
            let reload = move |()| drop(window().location().reload());
            view! {
                <div role="alert" class="rounded-(--radius-field) border border-error p-3">
                    <p class="font-medium text-error">{labels::linked(&failure.message_with(sending.labels))}</p>
                    {(!others.is_empty())
                        .then(|| {
                            view! { <ul class="mt-1 list-disc pl-5">{others.into_iter().map(|text| view! { <li>{text}</li> }).collect_view()}</ul> }
                        })}
                    {id.map(|id| view! { <p class="muted mt-1 text-xs">"Request " <span class="key">{id}</span></p> })}
                    {failure.is_stale().then(|| view! { <div class="mt-2"><super::Button on_press=reload>"Reload"</super::Button></div> })}
                </div>
            }
        })
    }
}

/// Cancel and submit at the end of a dialog's form.
#[component]
pub(crate) fn FormButtons(
    open: RwSignal<bool>,
    sending: Sending,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    children: Children,
) -> impl IntoView {
    view! {
        <div class="flex justify-end gap-2">
            <super::Button on_press=move |()| open.set(false)>"Cancel"</super::Button>
            <super::Submit busy=sending.busy blocked>{children()}</super::Submit>
        </div>
    }
}
