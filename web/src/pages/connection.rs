//! One connection: what the provider has to know, how it does, the accounts that it is bound to, settings.

mod bindings;
mod mapping;
mod settings;
mod trial;

use self::{bindings::Bindings, settings::Settings, trial::Trials};
use super::connections::{health, kind};
use crate::{
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_params_map},
};
use serde_json::json;
use wire::{Connection, ConnectionHealth, ConnectionId, ConnectionKind, HealthState};

/// `/connections/{id}`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let params = use_params_map();
    let remote = Remote::new(move || {
        let id = params.with(|params| params.get("id").unwrap_or_default());
        async move { client.get::<Connection>(&format!("/connections/{id}")).await }
    });
    let title = Signal::derive(move || {
        remote
            .with(|c| c.spec.name.clone())
            .unwrap_or_else(|| "Connection".into())
    });
    view! {
        <PageHead title parent=("/connections", "Connections") />
        {remote
            .live(move |connection| {
                let now = connection.get_untracked();
                let (id, kind) = (now.id, now.spec.kind);
                let upstream = matches!(kind, ConnectionKind::Oidc | ConnectionKind::Github);
                let shared = now.account.is_none() && kind != ConnectionKind::Password;
                view! {
                    <div class="flex flex-col gap-6">
                        <div class="panel flex flex-col gap-4 p-4">
                            {move || warnings(&connection.get())}
                            {move || summary(&connection.get())}
                        </div>
                        {move || (upstream && connection.with(|c| c.spec.callback) == wire::Callback::Shared)
                            .then(|| view! { <OwnCallback remote connection /> })}
                        {upstream.then(|| view! { <Health id=id.clone() /> <Trials connection /> })}
                        {shared.then(|| view! { <Bindings connection /> })}
                        {(kind != ConnectionKind::Password).then(|| view! { <Settings remote connection /> })}
                        {if kind == ConnectionKind::Password {
                            view! { <LastWayIn /> }.into_any()
                        } else {
                            view! { <Danger remote connection /> }.into_any()
                        }}
                    </div>
                }
                    .into_any()
            })}
    }
}

fn warnings(connection: &Connection) -> AnyView {
    let warnings = connection.warnings.clone();
    if warnings.is_empty() {
        return ().into_any();
    }
    let items = warnings
        .into_iter()
        .map(|warning| view! { <li>{warning.detail}</li> })
        .collect_view();
    view! { <ul class="list-disc rounded-(--radius-field) border border-warning p-3 pl-8" aria-label="Warnings">{items}</ul> }.into_any()
}

/// How sign-ins of the last hour went.
#[component]
fn Health(id: ConnectionId) -> impl IntoView {
    let client = client();
    let path = StoredValue::new(format!("/connections/{id}/health"));
    let health = Remote::new(move || {
        let path = path.get_value();
        async move { client.get::<ConnectionHealth>(&path).await }
    });
    view! {
        <Panel title="Health">
            {health.show(|health| {
                let state = match health.state {
                    HealthState::Healthy => badge(Tone::Good, "Works"),
                    HealthState::Degraded => badge(Tone::Careful, "Some sign-ins fail"),
                    HealthState::Open => badge(Tone::Bad, "The provider does not answer: nobody is sent there for now"),
                    HealthState::Unknown => badge(Tone::Neutral, "No sign-in in the last hour"),
                };
                let failures: u64 = health.failures_1h.values().sum();
                let why: Vec<_> = health.failures_1h.iter().map(|(why, n)| format!("{why}: {n}")).collect();
                facts(vec![
                    ("State", state),
                    ("Sign-ins in the last hour", format!("{} worked, {failures} failed", health.successes_1h).into_any()),
                    ("Failures", if why.is_empty() { dash() } else { chips(why) }),
                    ("Answers after", health.latency_ms_avg.map_or_else(dash, |ms| format!("{ms} ms on average").into_any())),
                ])
            })}
        </Panel>
    }
}

fn summary(connection: &Connection) -> AnyView {
    let mut rows = vec![("Kind", chip(kind(connection.spec.kind)))];
    if let Some(issuer) = &connection.spec.issuer {
        rows.push(("Issuer", copyable(issuer.clone(), "issuer")));
    }
    if matches!(
        connection.spec.kind,
        ConnectionKind::Oidc | ConnectionKind::Github
    ) {
        rows.push((
            "Redirect URI",
            view! {
                {copyable(connection.redirect_uri.clone(), "redirect URI")}
                <p class="muted text-[0.8125rem]">"Register this at the provider, exactly as it is."</p>
            }
            .into_any(),
        ));
        rows.push((
            "Client secret",
            if connection.has_client_secret {
                "stored, encrypted"
            } else {
                "none"
            }
            .into_any(),
        ));
    }
    for (name, uri) in [
        ("Back-channel logout URI", &connection.backchannel_logout_uri),
        ("Post-logout redirect URI", &connection.post_logout_redirect_uri),
    ] {
        if let Some(uri) = uri {
            rows.push((name, copyable(uri.clone(), name)));
        }
    }
    rows.push(("State", health(connection)));
    rows.push(("Last sign-in", since_or_never(connection.last_success_at)));
    if let Some(error) = &connection.last_error {
        rows.push((
            "Last failure",
            view! { <span class="text-error">{error.clone()}</span> }.into_any(),
        ));
    }
    rows.push((
        "Sign-ins",
        view! { <a class="link" href="/audit?action=login.">"In the audit log"</a> }.into_any(),
    ));
    facts(rows)
}

/// For a connection that is older than redirect URIs of each one's own.
#[component]
fn OwnCallback(remote: Remote<Connection>, connection: Signal<Connection>) -> impl IntoView {
    let (acts, toasts, names) = (acts(), toasts(), directory());
    let blocked = me().gate(Need::Organisation);
    let ask = move |()| {
        let now = connection.get_untracked();
        let act = Act::counted(
            "Switch",
            &now.spec.name,
            "From now on the provider has to accept the redirect URI shown above: until it does, nobody signs in through this connection. There is no way back to the shared one.",
        )
        .asks("Switch the redirect URI?");
        let patch = json!({ "callback": "own" });
        let write = Write::patch(&format!("/connections/{}", now.id), now.version, &patch);
        acts.ask(act, write, move |saved: Connection| {
            toasts.done(format!(
                "{} has its own redirect URI now. Test it.",
                saved.spec.name
            ));
            remote.put(saved);
            names.connections.reload();
        });
    };
    view! {
        <Panel title="Redirect URI of its own">
            <div class="flex flex-col gap-3">
                <p>"This connection still uses the redirect URI that all connections shared. First register the one above at the provider, beside the old one. Then switch, test, and take the old one out there."</p>
                <div><Button blocked on_press=ask>"Switch to the own redirect URI"</Button></div>
            </div>
        </Panel>
    }
}

/// In the place of what the server refuses to do to local passwords.
#[component]
fn LastWayIn() -> impl IntoView {
    view! {
        <Panel title="Always there">
            <p>"Local passwords are the owners’ last way in when no identity provider answers, so this connection can be neither disabled nor deleted."</p>
        </Panel>
    }
}

#[component]
fn Danger(remote: Remote<Connection>, connection: Signal<Connection>) -> impl IntoView {
    let (acts, names) = (acts(), directory());
    let navigate = StoredValue::new_local(use_navigate());
    let blocked = me().gate(Need::Organisation);
    let enabled = Signal::derive(move || connection.with(|c| c.spec.enabled));
    let put = move |saved: Connection| {
        remote.put(saved);
        names.connections.reload();
    };
    let flip = move |()| {
        let now = connection.get_untracked();
        let patch = json!({ "enabled": !now.spec.enabled });
        let write = Write::patch(&format!("/connections/{}", now.id), now.version, &patch);
        let name = &now.spec.name;
        let act = if now.spec.enabled {
            Act::counted(
                "Disable connection",
                name,
                "Nobody signs in through it any more, and the sessions and grants of its people end at once.",
            )
            .asks(format!("Disable {name}?"))
            .said("Connection disabled")
            .typed()
        } else {
            Act::counted(
                "Enable connection",
                name,
                "Its people can sign in to the accounts that it is bound to.",
            )
            .asks(format!("Enable {name}?"))
            .said("Connection enabled")
        };
        acts.ask(act, write, put);
    };
    let delete = move |()| {
        let now = connection.get_untracked();
        let name = &now.spec.name;
        let act = Act::counted(
            "Delete connection",
            name,
            "Its bindings go, and the sessions and grants of its people end. This cannot be taken back.",
        )
        .asks(format!("Delete {name}?"))
        .said("Connection deleted")
        .typed();
        acts.ask(
            act,
            Write::delete(&format!("/connections/{}", now.id)),
            move |()| {
                names.connections.reload();
                navigate.try_with_value(|go| go("/connections", NavigateOptions::default()));
            },
        );
    };
    view! {
        <Panel title="Disable or delete">
            <div class="flex flex-wrap gap-2">
                <Button blocked on_press=flip>
                    {move || if enabled.get() { "Disable connection" } else { "Enable connection" }}
                </Button>
                <Button look=Look::Danger blocked on_press=delete>"Delete connection"</Button>
            </div>
        </Panel>
    }
}
