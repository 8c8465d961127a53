//! Trying a connection: step by step, without signing anybody in.

use crate::{
    client::{Write, client},
    me::{Need, me},
    ui::*,
};
use gloo_timers::future::TimeoutFuture;
use leptos::{prelude::*, task::spawn_local};
use serde_json::json;
use wire::{Connection, StepState, Trial, TrialState, TrialStep};

/// How often a trial that runs in another tab is looked at, in milliseconds.
const LOOK_EVERY: u32 = 1500;

/// The newest trial, and how to begin one.
#[component]
pub(super) fn Trials(connection: Signal<Connection>) -> impl IntoView {
    let client = client();
    let path = StoredValue::new(format!("/connections/{}/trials", connection.get_untracked().id));
    let newest = RwSignal::new(None::<Trial>);
    let (sheet, sending) = (sheet(), Sending::new());
    let follow = move |trial: Trial| {
        newest.set(Some(trial.clone()));
        spawn_local(async move {
            let at = format!("{}/{}", path.get_value(), trial.id);
            loop {
                TimeoutFuture::new(LOOK_EVERY).await;
                // Gone with the page, or another trial has begun.
                match newest.try_get_untracked() {
                    Some(Some(shown)) if shown.id == trial.id => {}
                    _ => return,
                }
                let Ok(now) = client.get::<Trial>(&at).await else {
                    return;
                };
                let over = !matches!(now.state, TrialState::Waiting | TrialState::Running);
                if newest.try_set(Some(now)).is_some() || over {
                    return;
                }
            }
        });
    };
    let begin = move |()| {
        sending.write(Write::post(&path.get_value(), &json!({})), move |trial: Trial| {
            if let Some(url) = trial.url.clone() {
                let link = Once::new("Now sign in at the provider", "Test link", url)
                    .note("Open this yourself, or send it to whoever runs the provider. It is good for an hour. The steps appear on this page.")
                    .linked();
                sheet.show(link);
            }
            follow(trial);
        });
    };
    view! {
        <Panel title="Test">
            <div class="flex flex-col gap-4">
                <div class="flex flex-wrap items-end justify-between gap-3">
                    <p class="muted max-w-prose">"Goes through a sign-in step by step and shows where it fails. Nobody is signed in by it, and it works while the connection is disabled."</p>
                    <Button blocked=me().gate(Need::Organisation) busy=sending.busy on_press=begin>"Test connection"</Button>
                </div>
                <FormError sending />
                {move || newest.get().map(shown)}
            </div>
        </Panel>
    }
}

fn shown(trial: Trial) -> AnyView {
    let state = match trial.state {
        TrialState::Waiting => badge(Tone::Neutral, "Waits for the sign-in"),
        TrialState::Running => badge(Tone::Neutral, "Runs"),
        TrialState::Passed => badge(Tone::Good, "Passed"),
        TrialState::Failed => badge(Tone::Bad, "Failed"),
        TrialState::Expired => badge(Tone::Neutral, "Expired"),
    };
    let steps = trial.trace.into_iter().map(step).collect_view();
    let identity = trial.identity.map(|who| {
        facts(vec![
            ("Subject", copyable(who.subject, "subject")),
            (
                "E-mail",
                match (who.email, who.email_verified) {
                    (None, _) => dash(),
                    (Some(email), true) => format!("{email} (verified)").into_any(),
                    (Some(email), false) => format!("{email} (not verified)").into_any(),
                },
            ),
            ("Name", who.name.map_or_else(dash, IntoAny::into_any)),
            ("Groups", chips(who.groups)),
        ])
    });
    let claims = trial.claims.map(|claims| {
        let text = serde_json::to_string_pretty(&claims).unwrap_or_default();
        view! { <details><summary class="muted w-fit cursor-pointer py-1">"All claims"</summary><CodeBlock text=Signal::stored(text) label="Claims" /></details> }
    });
    view! {
        <div class="flex flex-col gap-3" aria-live="polite">
            <p>{state}</p>
            <ol class="flex flex-col gap-2">{steps}</ol>
            {identity}
            {claims}
        </div>
    }
    .into_any()
}

fn step(step: TrialStep) -> AnyView {
    let mark = match step.state {
        StepState::Ok => badge(Tone::Good, "ok"),
        StepState::Failed => badge(Tone::Bad, "failed"),
        StepState::Skipped => badge(Tone::Neutral, "skipped"),
    };
    let differs = step.expected.zip(step.received);
    view! {
        <li class="flex min-w-0 flex-wrap items-baseline gap-x-3 gap-y-1">
            {mark}
            <span class="key">{step.name.replace('_', " ")}</span>
            <span class="min-w-0 flex-1 break-words">{step.detail}</span>
            {differs.map(|(expected, received)| view! {
                <span class="muted w-full min-w-0 break-all pl-6 text-[0.8125rem]">"expected " <code>{expected}</code> ", received " <code>{received}</code></span>
            })}
        </li>
    }
    .into_any()
}
