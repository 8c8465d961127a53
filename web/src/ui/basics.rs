//! Buttons, badges, panels, and the looks of loading, emptiness and failure.

use crate::{client::Failure, labels::linked};
use leptos::prelude::*;

/// daisyUI's own spinner is an image in the stylesheet, which the policy on images refuses.
const SPINNER: &str = "size-3.5 animate-spin rounded-full border-2 border-current border-r-transparent motion-reduce:animate-none";

/// How a button looks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Look {
    #[default]
    Plain,
    Primary,
    Danger,
    Quiet,
}

impl Look {
    const fn class(self) -> &'static str {
        match self {
            Self::Plain => "btn btn-sm border-base-300 bg-base-100",
            Self::Primary => "btn btn-sm btn-primary",
            Self::Danger => "btn btn-sm btn-error",
            Self::Quiet => "btn btn-sm btn-ghost",
        }
    }
}

/// A button. `blocked` says why it cannot be used now: it stays focusable, so that everybody can learn the reason.
#[component]
pub(crate) fn Button(
    #[prop(into)] on_press: Callback<()>,
    #[prop(optional)] look: Look,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    #[prop(optional, into)] busy: Signal<bool>,
    #[prop(optional, into)] label: Option<String>,
    children: Children,
) -> impl IntoView {
    let press = move |event: leptos::ev::MouseEvent| {
        event.stop_propagation();
        if blocked.get_untracked().is_none() && !busy.get_untracked() {
            on_press.run(());
        }
    };
    view! {
        <button
            type="button"
            class=format!("{} aria-disabled:cursor-not-allowed", look.class())
            aria-disabled=move || (blocked.get().is_some() || busy.get()).then_some("true")
            aria-label=label
            title=move || blocked.get()
            on:click=press
        >
            {move || busy.get().then(|| view! { <span class=SPINNER aria-hidden="true"></span> })}
            {children()}
            {move || blocked.get().map(|why| view! { <span class="sr-only">{format!(" (not available: {why})")}</span> })}
        </button>
    }
}

/// The button that submits the form around it.
#[component]
pub(crate) fn Submit(
    #[prop(into)] busy: Signal<bool>,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    children: Children,
) -> impl IntoView {
    let hold = move |event: leptos::ev::MouseEvent| {
        if blocked.get_untracked().is_some() || busy.get_untracked() {
            event.prevent_default();
        }
    };
    view! {
        <button
            type="submit"
            class="btn btn-sm btn-primary aria-disabled:cursor-not-allowed"
            aria-disabled=move || (blocked.get().is_some() || busy.get()).then_some("true")
            title=move || blocked.get()
            on:click=hold
        >
            {move || busy.get().then(|| view! { <span class=SPINNER aria-hidden="true"></span> })}
            {children()}
        </button>
    }
}

/// What a badge says beside its words.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    #[default]
    Neutral,
    Good,
    Careful,
    Bad,
}

/// A short state in words; the colour only repeats them.
pub(crate) fn badge(tone: Tone, text: impl Into<String>) -> AnyView {
    let (ring, dot) = match tone {
        Tone::Neutral => ("text-base-content", "bg-base-content/50"),
        Tone::Good => ("text-success", "bg-success"),
        Tone::Careful => ("text-warning", "bg-warning"),
        Tone::Bad => ("text-error", "bg-error"),
    };
    view! {
        <span class=format!("inline-flex items-center gap-1.5 whitespace-nowrap text-[0.8125rem] font-medium {ring}")>
            <span class=format!("size-2 rounded-full {dot}") aria-hidden="true"></span>
            {text.into()}
        </span>
    }
    .into_any()
}

/// A small neutral label, such as a scope or a group.
pub(crate) fn chip(text: impl Into<String>) -> AnyView {
    view! { <span class="inline-block rounded border border-base-300 bg-base-200 px-1.5 py-0.5 text-xs whitespace-nowrap">{text.into()}</span> }
        .into_any()
}

/// Several chips, or a dash.
pub(crate) fn chips(texts: impl IntoIterator<Item = String>) -> AnyView {
    let chips: Vec<_> = texts.into_iter().map(chip).collect();
    if chips.is_empty() {
        return dash();
    }
    view! { <span class="inline-flex flex-wrap gap-1">{chips}</span> }.into_any()
}

/// Nothing there.
pub(crate) fn dash() -> AnyView {
    view! { <span class="muted" aria-label="none">"–"</span> }.into_any()
}

/// A titled part of a page.
#[component]
pub(crate) fn Panel(
    #[prop(into)] title: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] actions: Option<AnyView>,
    children: Children,
) -> impl IntoView {
    view! {
        <section class="panel min-w-0">
            <header class="flex flex-wrap items-start justify-between gap-3 border-b border-base-300 px-4 py-3">
                <div class="min-w-0">
                    <h2 class="font-semibold">{title}</h2>
                    {hint.map(|hint| view! { <p class="muted mt-0.5 max-w-prose">{hint}</p> })}
                </div>
                {actions}
            </header>
            <div class="p-4">{children()}</div>
        </section>
    }
}

/// Name and value pairs of a thing.
pub(crate) fn facts(rows: Vec<(&'static str, AnyView)>) -> AnyView {
    view! {
        <dl class="grid gap-x-6 gap-y-2 sm:grid-cols-[10rem_1fr] items-baseline">
            {rows
                .into_iter()
                .map(|(name, value)| {
                    view! {
                        <dt class="muted">{name}</dt>
                        <dd class="min-w-0 break-words">{value}</dd>
                    }
                })
                .collect_view()}
        </dl>
    }
    .into_any()
}

/// One sentence and one action where a list has nothing to show.
#[component]
pub(crate) fn Empty(
    #[prop(into)] text: String,
    #[prop(optional, into)] curl: Option<String>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="panel flex flex-col items-center gap-4 px-6 py-12 text-center">
            <p class="max-w-prose">{text}</p>
            {children.map(|children| children())}
            {curl
                .map(|curl| {
                    view! {
                        <details class="w-full max-w-2xl text-left">
                            <summary class="muted w-fit mx-auto cursor-pointer py-1">"The same with the API"</summary>
                            <super::CodeBlock text=curl label="API call" />
                        </details>
                    }
                })}
        </div>
    }
}

/// Grey bars while something is fetched.
#[component]
pub(crate) fn Skeleton() -> impl IntoView {
    view! {
        <div role="status" class="flex flex-col gap-3 py-2">
            <span class="sr-only">"Loading"</span>
            <div class="skeleton h-9 w-full" aria-hidden="true"></div>
            <div class="skeleton h-9 w-full" aria-hidden="true"></div>
            <div class="skeleton h-9 w-2/3" aria-hidden="true"></div>
        </div>
    }
}

/// A failed fetch, with a way to try again.
#[component]
pub(crate) fn ErrorPanel(failure: Failure, #[prop(into)] retry: Callback<()>) -> impl IntoView {
    let heading = if failure.is_not_found() {
        "Not found"
    } else {
        "This could not be loaded"
    };
    view! {
        <div role="alert" class="panel border-error flex flex-col items-start gap-3 p-4">
            <p class="font-semibold text-error">{heading}</p>
            <p>{linked(&failure.in_full())}</p>
            {request_id(&failure)}
            <Button on_press=move |()| retry.run(())>"Try again"</Button>
        </div>
    }
}

/// The id to quote to an operator.
pub(crate) fn request_id(failure: &Failure) -> AnyView {
    failure
        .request_id()
        .map(|id| view! { <p class="muted text-xs">"Request " <span class="key">{id}</span></p> })
        .into_any()
}
