//! The application: who is signed in, then the routes.

use crate::{
    client::{Client, Failure},
    me::{Directory, Me},
    pages,
    remote::Remote,
    ui::{
        Acts, Button, ErrorPanel, PageHead, Sheet, SheetArea, Shell, Skeleton, ToastArea, Toasts, login_url,
    },
};
use leptos::prelude::*;
use leptos_router::{
    components::{Route, Router, Routes},
    path,
};

/// Fetches the session, then shows the dashboard; without a session the browser goes to the sign-in page.
#[component]
pub(crate) fn App() -> impl IntoView {
    let client = Client::new();
    provide_context(client);
    let toasts = Toasts::new();
    provide_context(toasts);
    let sheet = Sheet::new();
    provide_context(sheet);
    let problem = RwSignal::new(None::<Failure>);
    let session = Remote::new(move || async move {
        let answer = client.session().await;
        match &answer {
            Err(Failure::Expired) => {
                let location = window().location();
                let here = format!(
                    "{}{}",
                    location.pathname().unwrap_or_default(),
                    location.search().unwrap_or_default()
                );
                let _ = location.replace(&login_url(&here));
            }
            Err(failure) => problem.set(Some(failure.clone())),
            Ok(_) => problem.set(None),
        }
        answer
    });
    // The session is read once: a later one (after signing in again) changes the CSRF token only.
    let started = Memo::new(move |_| session.with(|_| ()).is_some());
    view! {
        {move || {
            if started.get() {
                let found = session.ready().map(Me::new)?;
                provide_context(found);
                return Some(if found.has_any_role() { view! { <Dashboard /> }.into_any() } else { view! { <NoRole /> }.into_any() });
            }
            Some(match problem.get() {
                Some(failure) => {
                    view! {
                        <main class="mx-auto max-w-lg p-6">
                            <ErrorPanel failure retry=Callback::new(move |()| session.reload()) />
                        </main>
                    }
                        .into_any()
                }
                None => view! { <main class="mx-auto max-w-lg p-6"><Skeleton /></main> }.into_any(),
            })
        }}
        <SheetArea sheet />
        <ToastArea toasts />
    }
}

#[component]
fn NoRole() -> impl IntoView {
    view! {
        <main class="mx-auto flex max-w-lg flex-col gap-4 p-6">
            <h1 class="text-xl font-semibold">"You have no role here"</h1>
            <p>"The dashboard is for people who administer or audit this organisation. Ask an owner for a role."</p>
            <p><a class="link" href="/me" rel="external">"See the agents that act for you"</a></p>
        </main>
    }
}

#[component]
fn Dashboard() -> impl IntoView {
    provide_context(Directory::new());
    provide_context(Acts::new());
    view! {
        <Router>
            <Shell>
                <Routes fallback=NotFound>
                    <Route path=path!("/") view=pages::overview::Page />
                    <Route path=path!("/connections") view=pages::connections::Page />
                    <Route path=path!("/connections/:id") view=pages::connection::Page />
                    <Route path=path!("/connection-migrations/:id") view=pages::migrations::Page />
                    <Route path=path!("/accounts") view=pages::accounts::Page />
                    <Route path=path!("/apps") view=pages::apps::Page />
                    <Route path=path!("/apps/:id") view=pages::app::Page />
                    <Route path=path!("/policies") view=pages::policies::Page />
                    <Route path=path!("/policies/:id") view=pages::policy::Page />
                    <Route path=path!("/agents") view=pages::agents::Page />
                    <Route path=path!("/agents/:id") view=pages::agent::Page />
                    <Route path=path!("/agents/attempts/:id") view=pages::attempts::Page />
                    <Route path=path!("/service-tokens") view=pages::service_tokens::Page />
                    <Route path=path!("/people") view=pages::people::Page />
                    <Route path=path!("/people/:id") view=pages::person::Page />
                    <Route path=path!("/audit") view=pages::audit::Page />
                    <Route path=path!("/settings") view=pages::settings::Page />
                </Routes>
            </Shell>
        </Router>
    }
}

#[component]
fn NotFound() -> impl IntoView {
    let home = move |()| drop(window().location().set_href("/"));
    view! {
        <PageHead title="There is no such page" text="The address may be mistyped, or the thing that it showed is gone.">
            <Button on_press=home>"To the overview"</Button>
        </PageHead>
    }
}
