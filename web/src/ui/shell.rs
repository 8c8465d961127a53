//! The frame around every page: navigation, who is signed in, theme; the dialog for an ended session.

use super::{ActArea, Button, Dialog, FormError, Look, Palette, Sending, ThemePicker};
use crate::{
    client::client,
    me::{me, person},
};
use leptos::prelude::*;
use leptos_router::{components::A, hooks::use_location};

const PAGES: &[(&str, &str, bool)] = &[
    ("/", "Overview", true),
    ("/connections", "Connections", false),
    ("/accounts", "Accounts", false),
    ("/apps", "Apps", false),
    ("/policies", "Policies", false),
    ("/agents", "Agents", false),
    ("/service-tokens", "Service tokens", false),
    ("/people", "People", false),
    ("/audit", "Audit", false),
    ("/settings", "Settings", false),
];

/// The frame.
#[component]
pub(crate) fn Shell(children: Children) -> impl IntoView {
    let session = me().session();
    let open = RwSignal::new(false);
    let palette = RwSignal::new(false);
    let location = use_location();
    let cut = client().cut;
    Effect::new(move |_| {
        location.pathname.with(|_| ());
        open.set(false);
        cut.set(false);
    });
    let links = PAGES
        .iter()
        .map(|(href, name, exact)| {
            view! {
                <li class="contents">
                    <A href=*href exact=*exact>
                        <span class="block">{*name}</span>
                    </A>
                </li>
            }
        })
        .collect_view();
    let user = session.user.as_ref();
    let name = user
        .and_then(|user| user.name.clone())
        .or_else(|| user.map(person))
        .unwrap_or_default();
    let email = user
        .and_then(|user| user.email.clone())
        .filter(|email| *email != name);
    view! {
        <a href="#main" class="btn btn-sm btn-primary sr-only focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50" rel="external" on:click=skip>
            "Skip to content"
        </a>
        <div class="min-h-dvh lg:grid lg:grid-cols-[15rem_minmax(0,1fr)]">
            <header class="sticky top-0 z-20 flex items-center justify-between border-b border-base-300 bg-base-200 px-4 py-2 lg:hidden">
                <span class="font-semibold">"Chatelaine"</span>
                <button
                    type="button"
                    class="btn btn-sm btn-ghost"
                    aria-expanded=move || if open.get() { "true" } else { "false" }
                    aria-controls="navigation"
                    on:click=move |_| open.update(|open| *open = !*open)
                >
                    "Menu"
                </button>
            </header>
            <aside
                id="navigation"
                aria-label="Sidebar"
                class=move || {
                    let shown = if open.get() { "flex" } else { "hidden" };
                    format!("{shown} flex-col gap-4 border-base-300 bg-base-200 p-4 max-lg:border-b lg:sticky lg:top-0 lg:flex lg:h-dvh lg:overflow-y-auto lg:border-r")
                }
            >
                <div class="flex items-center gap-2.5 px-2">
                    <img src="/assets/favicon.svg" alt="" width="28" height="28" />
                    <div class="min-w-0">
                        <p class="truncate font-semibold">{session.organisation.spec.name.clone()}</p>
                        <p class="muted text-xs">"Chatelaine"</p>
                    </div>
                </div>
                <button
                    type="button"
                    class="btn btn-sm justify-between border-base-300 bg-base-100 font-normal"
                    aria-haspopup="dialog"
                    on:click=move |_| palette.set(true)
                >
                    "Go to…" <kbd class="muted text-xs" aria-hidden="true">"Ctrl K"</kbd>
                </button>
                <nav aria-label="Main" class="grow">
                    <ul class="nav-list flex flex-col gap-0.5">{links}</ul>
                </nav>
                <div class="flex flex-col gap-3 border-t border-base-300 px-2 pt-3">
                    <ThemePicker />
                    <div class="min-w-0">
                        <p class="truncate font-medium">{name}</p>
                        {email.map(|email| view! { <p class="muted truncate text-xs">{email}</p> })}
                    </div>
                    <div class="flex flex-wrap gap-2">
                        <a href="/me" rel="external" class="btn btn-sm btn-ghost">"My agents"</a>
                        <a href="/logout" rel="external" class="btn btn-sm btn-ghost">"Sign out"</a>
                    </div>
                </div>
            </aside>
            <main id="main" tabindex="-1" class="mx-auto w-full max-w-6xl min-w-0 p-4 pb-16 outline-none sm:p-6 lg:p-8">
                <p role="status" class="alert alert-warning mb-4 empty:hidden">
                    {move || cut.get().then_some("A list on this page has more than 2,000 entries and is not shown whole. The API and the command line show all of it.")}
                </p>
                {children()}
            </main>
        </div>
        <ActArea />
        <Palette open=palette pages=PAGES />
        <SessionEnded />
        <Unproven />
    }
}

fn skip(event: leptos::ev::MouseEvent) {
    // The router would take the fragment for a navigation.
    event.prevent_default();
    if let Some(main) = document().get_element_by_id("main") {
        use wasm_bindgen::JsCast as _;
        if let Some(main) = main.dyn_ref::<web_sys::HtmlElement>() {
            let _ = main.focus();
        }
    }
}

/// Where to sign in and come back to `path`.
pub(crate) fn login_url(path: &str) -> String {
    format!("/login?return_to={}", crate::client::encode(path))
}

/// Shown once when the session has ended: nothing that was typed is lost, because the page stays where it is.
#[component]
fn SessionEnded() -> impl IntoView {
    let client = client();
    let sending = Sending::new();
    let again = move |()| sending.run(async move { client.session().await }, |_| ());
    view! {
        <Dialog open=client.expired title="Your session has ended">
            <div class="flex flex-col gap-4">
                <p>"Sign in again in a new tab, then come back here. What you have typed on this page stays as it is."</p>
                <FormError sending />
                <div class="flex flex-wrap justify-end gap-2">
                    <a class="btn btn-sm btn-primary" href=login_url("/") target="_blank" rel="noopener external">"Sign in (new tab)"</a>
                    <Button look=Look::Plain busy=sending.busy on_press=again>"I have signed in"</Button>
                </div>
            </div>
        </Dialog>
    }
}

/// Shown while something waits because the last proof of who is signed in is too old for it.
#[component]
fn Unproven() -> impl IntoView {
    let client = client();
    let path = move || {
        let location = window().location();
        location.pathname().unwrap_or_else(|_| "/".to_owned())
    };
    let href = move || format!("/login/confirm?return_to={}", crate::client::encode(&path()));
    let go_on = move |()| {
        client.proven.set(true);
        client.unproven.set(false);
    };
    view! {
        <Dialog open=client.unproven title="Confirm that it is you">
            <div class="flex flex-col gap-4">
                <p>"This can do great harm in the wrong hands, so it needs a sign-in of the last 15 minutes. Confirm in a new tab that it is you, then come back here and go on. What you have typed on this page stays as it is."</p>
                <div class="flex flex-wrap justify-end gap-2">
                    <a class="btn btn-sm btn-primary" href=href target="_blank" rel="noopener external">"Confirm it is you (new tab)"</a>
                    <Button look=Look::Plain on_press=go_on>"I have confirmed, go on"</Button>
                    <Button look=Look::Quiet on_press=move |()| client.unproven.set(false)>"Not now"</Button>
                </div>
            </div>
        </Dialog>
    }
}
