//! The first page: the last 24 hours in numbers, and what is still to be set up.

use super::connections::health;
use crate::{client::client, remote::Remote, ui::*};
use leptos::prelude::*;
use wire::{AppCount, Connection, Overview, Totals};

const DISMISSED: &str = "chatelaine-checklist-dismissed";

/// `/`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let overview = Remote::new(move || async move { client.get::<Overview>("/overview").await });
    view! {
        <PageHead title="Overview" text="The last 24 hours.">
            <Button on_press=move |()| overview.reload()>"Refresh"</Button>
        </PageHead>
        {overview.show(body)}
    }
}

fn body(overview: Overview) -> AnyView {
    let tiles = [
        (
            "Sign-ins",
            overview.sign_ins,
            "/audit?action=login.success&range=24h",
        ),
        (
            "Requests allowed",
            overview.allowed,
            "/audit?action=gateway.request&outcome=allowed&range=24h",
        ),
        (
            "Requests denied",
            overview.denied,
            "/audit?action=gateway.request&outcome=denied&range=24h",
        ),
        ("Active agents", overview.active_agents, "/agents"),
    ];
    let quiet = overview
        .by_hour
        .iter()
        .all(|hour| hour.allowed + hour.denied == 0);
    view! {
        <div class="flex flex-col gap-6">
            <Checklist totals=overview.totals />
            <ul class="grid grid-cols-2 gap-3 lg:grid-cols-4">
                {tiles
                    .map(|(name, count, link)| {
                        view! {
                            <li>
                                <a class="panel block p-4 hover:bg-base-200" href=link>
                                    <span class="muted block">{name}</span>
                                    <span class="mt-1 block text-2xl font-semibold tabular-nums">{count}</span>
                                </a>
                            </li>
                        }
                    })
                    .into_iter()
                    .collect_view()}
            </ul>
            <Panel title="Requests by hour">
                {if quiet {
                    view! { <p class="muted">"No request has come through the gateway in this time."</p> }.into_any()
                } else {
                    view! { <HourChart hours=overview.by_hour /> }.into_any()
                }}
            </Panel>
            <div class="grid gap-6 lg:grid-cols-2">
                <Panel title="Most used apps">{top_apps(overview.top_apps)}</Panel>
                <Panel title="Connections">{connections(overview.connections)}</Panel>
            </div>
        </div>
    }
    .into_any()
}

fn top_apps(apps: Vec<AppCount>) -> AnyView {
    if apps.is_empty() {
        return view! { <p class="muted">"No app was used in this time."</p> }.into_any();
    }
    let most = apps.iter().map(|app| app.requests).max().unwrap_or(1).max(1);
    view! {
        <ol class="flex flex-col gap-3">
            {apps
                .into_iter()
                .map(|app| {
                    view! {
                        <li>
                            <span class="flex items-baseline justify-between gap-4">
                                <a class="name-link py-1" href=format!("/audit?app={}&range=24h", app.app)>{app.name.clone()}</a>
                                <span class="tabular-nums">{if app.requests == 1 { "1 request".into() } else { format!("{} requests", app.requests) }}</span>
                            </span>
                            <progress class="progress progress-secondary h-1.5 w-full" max=most value=app.requests aria-hidden="true"></progress>
                        </li>
                    }
                })
                .collect_view()}
        </ol>
    }
    .into_any()
}

fn connections(connections: Vec<Connection>) -> AnyView {
    if connections.is_empty() {
        return view! { <p class="muted">"No identity provider is connected yet."</p> }.into_any();
    }
    view! {
        <ul class="flex flex-col gap-3">
            {connections
                .into_iter()
                .map(|connection| {
                    view! {
                        <li class="flex flex-wrap items-baseline justify-between gap-x-4">
                            <a class="name-link py-1" href=format!("/connections/{}", connection.id)>{connection.spec.name.clone()}</a>
                            <span class="flex items-baseline gap-3">
                                {health(&connection)} <span class="muted text-[0.8125rem]">{since_or_never(connection.last_success_at)}</span>
                            </span>
                            {connection.last_error.clone().map(|error| view! { <span class="muted w-full text-[0.8125rem]">{error}</span> })}
                        </li>
                    }
                })
                .collect_view()}
        </ul>
    }
    .into_any()
}

/// Five steps to the first agent, ticked by what there is.
#[component]
fn Checklist(totals: Totals) -> impl IntoView {
    let storage = || window().local_storage().ok().flatten();
    let dismissed = storage()
        .and_then(|s| s.get_item(DISMISSED).ok().flatten())
        .is_some();
    let shown = RwSignal::new(!dismissed);
    let steps = [
        (
            totals.connections > 0,
            "Connect an identity provider",
            "/connections",
        ),
        (totals.bindings > 0, "Bind it to an account", "/connections"),
        (totals.apps > 0, "Publish an app", "/apps"),
        (
            totals.policies > 0,
            "Write a policy that lets people in",
            "/policies",
        ),
        (
            totals.managed_oauth_apps > 0,
            "Switch on Managed OAuth, so that agents can sign in",
            "/apps",
        ),
    ];
    let done = steps.iter().filter(|(done, ..)| *done).count();
    let dismiss = move |()| {
        if let Some(storage) = storage() {
            let _ = storage.set_item(DISMISSED, "yes");
        }
        shown.set(false);
    };
    let all = steps.len();
    view! {
        <Show when=move || shown.get() && done < all>
            <section class="panel p-4">
                <header class="mb-3 flex items-center justify-between gap-4">
                    <h2 class="font-semibold">{format!("Getting started: {done} of {all} done")}</h2>
                    <Button look=Look::Quiet on_press=dismiss>"Dismiss"</Button>
                </header>
                <ol class="flex flex-col gap-1">
                    {steps
                        .iter()
                        .map(|(done, text, link)| {
                            view! {
                                <li class="flex items-center gap-3 py-1">
                                    <span class=if *done { "text-success w-4 font-bold" } else { "muted w-4" } aria-hidden="true">
                                        {if *done { "✓" } else { "○" }}
                                    </span>
                                    {if *done {
                                        view! { <span class="muted">{*text} <span class="sr-only">" (done)"</span></span> }.into_any()
                                    } else {
                                        view! { <a class="link" href=*link>{*text}</a> }.into_any()
                                    }}
                                </li>
                            }
                        })
                        .collect_view()}
                </ol>
            </section>
        </Show>
    }
}
