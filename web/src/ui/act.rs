//! One button that asks first and then makes one write: revoke, delete, take away, rotate.

use super::{Button, Confirm, Look, Sending, toasts};
use crate::client::{Write, client};
use leptos::prelude::*;

/// What the button asks, does and says.
#[derive(Clone)]
pub(crate) struct Act {
    /// On the button in the row.
    pub(crate) label: &'static str,
    /// What it is done to; read out with the label, and in the question.
    pub(crate) name: String,
    /// What happens then.
    pub(crate) text: &'static str,
    /// Said when it is done.
    pub(crate) said: &'static str,
    /// Whether the name has to be typed first.
    pub(crate) typed: bool,
}

/// The button and its dialog. The write is tried when the dialog opens, to show who is affected.
#[component]
pub(crate) fn ActButton(
    act: Act,
    #[prop(into)] write: Callback<(), Option<Write>>,
    #[prop(into)] on_done: Callback<serde_json::Value>,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    /// Whether access of people and agents may depend on it.
    #[prop(optional)]
    shows_impact: bool,
) -> impl IntoView {
    let client = client();
    let toasts = toasts();
    let ask = RwSignal::new(false);
    let sending = Sending::new();
    let said = act.said;
    let go = move |()| {
        let Some(write) = write.run(()) else { return };
        sending.run(
            async move { client.write::<serde_json::Value>(write).await },
            move |answer| {
                ask.set(false);
                toasts.done(said);
                on_done.run(answer);
            },
        );
    };
    let title = format!("{} {}?", act.label, act.name);
    let word = act.typed.then(|| Signal::stored(act.name.clone()));
    let preview = shows_impact.then_some(write);
    view! {
        <Button look=Look::Quiet blocked busy=sending.busy label=format!("{} {}", act.label, act.name) on_press=move |()| ask.set(true)>{act.label}</Button>
        {match word {
            Some(word) => view! { <Confirm open=ask title text=act.text action=act.label word sending preview=preview on_confirm=go /> }.into_any(),
            None => view! { <Confirm open=ask title text=act.text action=act.label sending preview=preview on_confirm=go /> }.into_any(),
        }}
    }
}
