//! One app: the Managed OAuth switch, how to try it, its policies, rules for agents, settings.

mod agents;
mod policies;
mod settings;
mod try_it;

use crate::{
    client::{Write, client},
    me::{Directory, Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use serde_json::json;
use wire::App;

/// What every part of the page works on.
#[derive(Clone, Copy)]
struct Subject {
    acts: Acts,
    toasts: Toasts,
    names: Directory,
    remote: Remote<App>,
    app: Signal<App>,
    blocked: Signal<Option<String>>,
}

impl Subject {
    /// A merge patch of the version in view.
    fn patch(self, patch: &serde_json::Value) -> Write {
        let (id, version) = self.app.with_untracked(|app| (app.id.clone(), app.version));
        Write::patch(&format!("/apps/{id}"), version, patch)
    }

    fn name(self) -> String {
        self.app.with_untracked(|app| app.spec.name.clone())
    }

    /// Shows the new version everywhere.
    fn put(self, app: App) {
        self.remote.put(app);
        self.names.apps.reload();
    }

    /// Saves what a form changes, asking first when somebody loses access by it; then says so.
    fn save(self, sending: Sending, patch: &serde_json::Value, said: &'static str) {
        let act = Act::counted(
            "Save",
            self.name(),
            "By this change, people or agents lose access to this app.",
        )
        .asks("Save this change?");
        self.acts.save(sending, act, self.patch(patch), move |app: App| {
            self.toasts.done(format!("{} {said}", app.spec.name));
            self.put(app);
        });
    }
}

/// `/apps/{id}?tab=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let (names, acts, toasts) = (directory(), acts(), toasts());
    let params = use_params_map();
    let remote = Remote::new(move || {
        let id = params.with(|params| params.get("id").unwrap_or_default());
        async move { client.get::<App>(&format!("/apps/{id}")).await }
    });
    let title = Signal::derive(move || {
        remote
            .with(|app| app.spec.name.clone())
            .unwrap_or_else(|| "App".into())
    });
    view! {
        <PageHead title parent=("/apps", "Apps") />
        {remote
            .live(move |app| {
                let blocked = me().gate(Need::Edit(app.get_untracked().account));
                body(Subject { acts, toasts, names, remote, app, blocked })
            })}
    }
}

fn body(subject: Subject) -> AnyView {
    let app = subject.app;
    let names = directory();
    let tabs = vec![
        tab("try", "Try it", move || {
            view! { <try_it::TryIt app /> }.into_any()
        }),
        tab("policies", "Policies", move || {
            view! { <policies::Policies subject /> }.into_any()
        }),
        tab("agents", "Rules for agents", move || {
            view! { <agents::Agents subject /> }.into_any()
        }),
        tab("settings", "Settings", move || {
            view! { <settings::Settings subject /> }.into_any()
        }),
    ];
    view! {
        <div class="flex flex-col gap-6">
            <div class="panel p-4">
                {move || {
                    let app = app.get();
                    facts(
                        vec![
                            ("Reached at", copyable(app.spec.public_url.clone(), "public URL")),
                            ("Origin", view! { <span class="key">{app.spec.origin_url.clone()}</span> }.into_any()),
                            (
                                "Kind and account",
                                view! { <span>{chip(super::apps::kind(app.spec.kind))} " " {names.account(&app.account)}</span> }.into_any(),
                            ),
                            (
                                "State",
                                if app.spec.enabled {
                                    badge(Tone::Good, "Enabled")
                                } else {
                                    badge(Tone::Bad, "Disabled: it answers nobody")
                                },
                            ),
                            (
                                "Activity",
                                view! {
                                    <span class="flex flex-wrap gap-3">
                                        <a class="link" href=format!("/audit?app={}", app.id)>"Audit log"</a>
                                        <a class="link" href=format!("/agents?app={}", app.id)>"Agents"</a>
                                        <a class="link" href=format!("/agents?tab=attempts&app={}", app.id)>"Attempts of agents"</a>
                                    </span>
                                }
                                    .into_any(),
                            ),
                        ],
                    )
                }}
            </div>
            <ManagedOauth subject />
            <Tabs label="Parts of this app" tabs />
        </div>
    }
    .into_any()
}

/// The switch, and what it does, in words, before it is used.
#[component]
fn ManagedOauth(subject: Subject) -> impl IntoView {
    let app = subject.app;
    let on = Signal::derive(move || app.with(|app| app.spec.managed_oauth));
    let sending = Sending::new();
    let flip = move |on: bool| {
        let write = subject.patch(&json!({ "managed_oauth": on }));
        let done = move |app: App| {
            let name = &app.spec.name;
            subject.toasts.done(if on {
                format!("Managed OAuth is on: agents can sign in to {name}.")
            } else {
                format!("Managed OAuth is off: agents are refused at {name}.")
            });
            subject.put(app);
        };
        if on {
            return subject.acts.make(sending, write, done);
        }
        let act = Act::counted(
            "Switch off",
            subject.name(),
            "Agents are refused within a second and offered no way in. People in browsers notice nothing.",
        )
        .asks(format!("Switch Managed OAuth off at {}?", subject.name()));
        subject.acts.ask(act, write, done);
    };
    view! {
        <section class="panel p-4" aria-labelledby="managed-oauth">
            <h2 id="managed-oauth" class="sr-only">"Managed OAuth"</h2>
            <Switch label="Managed OAuth" on busy=sending.busy blocked=subject.blocked on_flip=flip />
            <div class="mt-3 max-w-prose">
                {move || {
                    let app = app.get();
                    if app.spec.managed_oauth {
                        view! {
                            <p>
                                "An agent that calls this app without a token gets 401 and is told where to sign in. It registers at this app’s own issuer, a person signs in and reads what it asks for, and the agent gets a token for this app alone."
                            </p>
                            <p class="muted mt-2">
                                "Switching it off refuses agents within a second and offers them no way in. People in browsers notice nothing."
                            </p>
                            <p class="mt-3">"Issuer " {copyable(app.issuer.clone(), "issuer")}</p>
                        }
                            .into_any()
                    } else {
                        view! {
                            <p>"Agents are refused with 401 and offered no way in. People in browsers sign in as usual."</p>
                            <p class="muted mt-2">
                                "Switching it on takes effect within a second, without a restart and without a change to the origin: agents find the sign-in by themselves, register by the rules below, and act only for people who allowed them and whom the policies let in."
                            </p>
                        }
                            .into_any()
                    }
                }}
            </div>
        </section>
    }
}
