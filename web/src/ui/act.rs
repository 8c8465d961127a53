//! Acts that ask first: what it does, who is affected by the server's own dry run, the name to type where much
//! hangs on it, then the write.
//!
//! The question belongs to the frame of the pages, not to the row that it was asked from: a reload makes the row
//! anew, and nothing of the question, its numbers or what went wrong is lost by that.

use super::{
    Button, Dialog, FormError, ImpactOf, Look, Seen, Sending, TextField, Toasts, takes_away, takes_from_many,
    toasts,
};
use crate::client::{Client, Write, client};
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use wire::Preview;

/// What is asked, done and said.
#[derive(Clone)]
pub(crate) struct Act {
    /// On the button that does it.
    label: &'static str,
    /// What it is done to.
    name: String,
    title: Option<String>,
    text: String,
    said: Option<&'static str>,
    typed: bool,
    /// What has to be typed; the name where it is not given.
    word: Option<&'static str>,
    /// Whether access of people and agents may depend on it.
    counts: bool,
    /// Whether it ends what no dry run counts, such as sessions of this dashboard.
    uncounted: bool,
}

impl Act {
    /// An act on which nobody's access depends. `text` says what happens then.
    pub(crate) fn new(label: &'static str, name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            label,
            name: name.into(),
            title: None,
            text: text.into(),
            said: None,
            typed: false,
            word: None,
            counts: false,
            uncounted: false,
        }
    }

    /// An act on which access may depend: the question says whose.
    pub(crate) fn counted(label: &'static str, name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            counts: true,
            ..Self::new(label, name, text)
        }
    }

    /// The question, where label and name do not make it.
    pub(crate) fn asks(self, title: impl Into<String>) -> Self {
        Self {
            title: Some(title.into()),
            ..self
        }
    }

    /// Said when it is done, where nothing better can be said by who asked.
    pub(crate) fn said(self, said: &'static str) -> Self {
        Self {
            said: Some(said),
            ..self
        }
    }

    /// The name has to be typed first, whoever is affected.
    pub(crate) fn typed(self) -> Self {
        Self { typed: true, ..self }
    }

    /// Asked in any case: somebody loses what the dry run does not count.
    pub(crate) fn uncounted(self) -> Self {
        Self {
            uncounted: true,
            ..self
        }
    }

    /// What has to be typed, for things whose name a stranger chose.
    pub(crate) fn word(self, word: &'static str) -> Self {
        Self {
            word: Some(word),
            ..self
        }
    }

    fn title(&self) -> String {
        match &self.title {
            Some(title) => title.clone(),
            None => format!("{} {}?", self.label, self.name),
        }
    }

    fn to_type(&self) -> String {
        self.word.unwrap_or(self.name.trim()).to_owned()
    }
}

/// Makes the write. Owned by nobody on the page: the page may be gone when the answer comes.
type Go = Arc<dyn Fn(Sending) + Send + Sync>;

#[derive(Clone)]
struct Asked {
    turn: u32,
    act: Act,
    write: Write,
    /// The dry run, if it was made before.
    seen: Option<Preview>,
    go: Go,
}

/// The one question that can be asked at a time.
#[derive(Clone, Copy)]
pub(crate) struct Acts {
    asked: RwSignal<Option<Asked>>,
    open: RwSignal<bool>,
    client: Client,
    toasts: Toasts,
}

impl Acts {
    pub(crate) fn new() -> Self {
        Self {
            asked: RwSignal::new(None),
            open: RwSignal::new(false),
            client: client(),
            toasts: toasts(),
        }
    }

    /// Asks, and makes the write when it is confirmed.
    pub(crate) fn ask<T, F>(self, act: Act, write: Write, done: F)
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) + Clone + Send + Sync + 'static,
    {
        self.put(act, write, None, done);
    }

    /// Saves what a form changes; asks first when somebody loses access by it, counted or not. What is wrong with
    /// the form is said at the form.
    pub(crate) fn save<T, F>(self, sending: Sending, act: Act, write: Write, done: F)
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) + Clone + Send + Sync + 'static,
    {
        let (client, tried) = (self.client, write.clone());
        sending.run(async move { client.preview(tried).await }, move |preview| {
            if act.uncounted || takes_away(&preview) {
                self.put(act, write, Some(preview), done);
            } else {
                sending.write(write, done);
            }
        });
    }

    /// Makes a write that needs no question. What goes wrong is said where no reload of a list removes it.
    pub(crate) fn make<T>(self, sending: Sending, write: Write, done: impl FnOnce(T) + 'static)
    where
        T: DeserializeOwned + 'static,
    {
        let (client, toasts) = (self.client, self.toasts);
        let work = async move {
            let answer = client.write(write).await;
            if let Err(failure) = &answer {
                toasts.error(failure.in_full());
            }
            answer
        };
        sending.run(work, done);
    }

    fn put<T, F>(self, act: Act, write: Write, seen: Option<Preview>, done: F)
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) + Clone + Send + Sync + 'static,
    {
        let turn = self
            .asked
            .with_untracked(|asked| asked.as_ref().map_or(0, |asked| asked.turn + 1));
        let (said, sent) = (act.said, write.clone());
        let go = Arc::new(move |sending: Sending| {
            let done = done.clone();
            sending.write(sent.clone(), move |answer: T| {
                self.close(turn);
                if let Some(said) = said {
                    self.toasts.done(said);
                }
                done(answer);
            });
        });
        self.asked.set(Some(Asked {
            turn,
            act,
            write,
            seen,
            go,
        }));
        self.open.set(true);
    }

    /// Closes the question, unless another one stands there by now.
    fn close(self, turn: u32) {
        let mine = |asked: &Option<Asked>| asked.as_ref().is_some_and(|asked| asked.turn == turn);
        if self.asked.with_untracked(mine) {
            self.open.set(false);
        }
    }
}

/// The questions of the frame.
pub(crate) fn acts() -> Acts {
    expect_context()
}

/// Where the question appears: once, in the frame.
#[component]
pub(crate) fn ActArea() -> impl IntoView {
    let acts = acts();
    let location = use_location();
    // A link in the question, or the way back, leads away from what was asked about.
    Effect::new(move |_| {
        location.pathname.with(|_| ());
        acts.open.set(false);
    });
    let title = Signal::derive(move || {
        let title = |asked: &Option<Asked>| asked.as_ref().map(|asked| asked.act.title());
        acts.asked.with(title).unwrap_or_default()
    });
    view! {
        <Dialog open=acts.open title>
            {move || acts.asked.get().map(|asked| view! { <Question asked open=acts.open /> })}
        </Dialog>
    }
}

#[component]
fn Question(asked: Asked, open: RwSignal<bool>) -> impl IntoView {
    let Asked {
        act, write, seen, go, ..
    } = asked;
    let sending = Sending::new();
    let typed = RwSignal::new(String::new());
    let seen = RwSignal::<Seen>::new(seen.map(Ok));
    let (always, counts) = (act.typed, act.counts);
    // Whoever acts without knowing whom it hits says so by typing, too.
    let needs_word = Memo::new(move |_| {
        seen.with(|seen| match seen {
            Some(Ok(preview)) => always || takes_from_many(preview),
            Some(Err(failure)) => !failure.is_refusal(),
            None => always,
        })
    });
    let word = StoredValue::new(act.to_type());
    let blocked = Signal::derive(move || {
        if counts && seen.with(Option::is_none) {
            return Some("it is not known yet who is affected".to_owned());
        }
        let refused = |seen: &Seen| matches!(seen, Some(Err(failure)) if failure.is_refusal());
        if seen.with(refused) {
            return Some("the server refuses it".to_owned());
        }
        let word = word.get_value();
        (needs_word.get() && typed.with(|typed| typed.trim() != word)).then(|| format!("type “{word}” first"))
    });
    let go = move |()| {
        if blocked.get_untracked().is_none() {
            go(sending);
        }
    };
    let submit = go.clone();
    let look = if counts || always {
        Look::Danger
    } else {
        Look::Primary
    };
    view! {
        <form
            class="flex flex-col gap-4"
            on:submit=move |event| {
                event.prevent_default();
                submit(());
            }
        >
            <p class="whitespace-pre-line">{act.text}</p>
            {counts.then(|| view! { <ImpactOf write seen /> })}
            <Show when=move || needs_word.get()>
                <TextField label=format!("Type “{}” to confirm", word.get_value()) value=typed />
            </Show>
            <FormError sending />
            <div class="flex justify-end gap-2">
                <Button on_press=move |()| open.set(false)>"Cancel"</Button>
                <Button look blocked busy=sending.busy on_press=go>{act.label}</Button>
            </div>
        </form>
    }
}

/// The button in a row or on a page that asks. `write` is built when it is pressed.
#[component]
pub(crate) fn ActButton<W, F>(
    act: Act,
    write: W,
    on_done: F,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    #[prop(default = Look::Quiet)] look: Look,
) -> impl IntoView
where
    W: Fn() -> Write + Send + Sync + 'static,
    F: Fn(serde_json::Value) + Clone + Send + Sync + 'static,
{
    let acts = acts();
    let label = act.label;
    let spoken = format!("{label} {}", act.name);
    let press = move |()| acts.ask(act.clone(), write(), on_done.clone());
    view! { <Button look blocked label=spoken on_press=press>{label}</Button> }
}
