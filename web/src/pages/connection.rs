//! One connection: what the provider has to know, the accounts that it is bound to, settings.

use super::connections::{health, kind, words};
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
use wire::{
    Account, AccountId, Binding, BindingMode, BindingState, Connection, ConnectionKind, Page as ListPage,
    Timestamp,
};

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
                let oidc = connection.get_untracked().spec.kind == ConnectionKind::Oidc;
                view! {
                    <div class="flex flex-col gap-6">
                        <div class="panel p-4">{move || summary(&connection.get())}</div>
                        {oidc.then(|| view! { <Bindings connection /> <Settings remote connection /> })}
                        <Danger remote connection />
                    </div>
                }
                    .into_any()
            })}
    }
}

fn summary(connection: &Connection) -> AnyView {
    let mut rows = vec![("Kind", chip(kind(connection.spec.kind)))];
    if let Some(issuer) = &connection.spec.issuer {
        rows.push(("Issuer", copyable(issuer.clone(), "issuer")));
        rows.push((
            "Redirect URI",
            view! {
                {copyable(connection.redirect_uri.clone(), "redirect URI")}
                <p class="muted text-[0.8125rem]">"Register this at the provider."</p>
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
    rows.push(("Health", health(connection)));
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

/// One row for each account: bound or not, how, and what can be done.
#[component]
fn Bindings(connection: Signal<Connection>) -> impl IntoView {
    let client = client();
    let names = directory();
    let id = connection.get_untracked().id;
    let bindings = {
        let id = id.clone();
        Remote::new(move || {
            let path = format!("/bindings?connection={id}");
            async move { client.all::<Binding>(&path).await }
        })
    };
    let sending = Sending::new();
    let toasts = toasts();
    let id = StoredValue::new(id);
    let bind = Callback::new(move |accounts: Option<Vec<AccountId>>| {
        let body = json!({ "connection": id.get_value(), "accounts": accounts });
        sending.run(
            async move { client.post::<ListPage<Binding>>("/bindings", &body).await },
            move |made| {
                let n = made.items.len();
                toasts.done(if n == 1 {
                    "Bound to one account".into()
                } else {
                    format!("Bound to {n} accounts")
                });
                bindings.reload();
            },
        );
    });
    let blocked = me().gate(Need::Organisation);
    let unbound = move || {
        let bound: Vec<_> = bindings
            .ready()?
            .into_iter()
            .filter(|b| b.spec.state != BindingState::Detached)
            .map(|b| b.account)
            .collect();
        names
            .accounts
            .with(|all| all.iter().any(|a| !bound.contains(&a.id)))
    };
    view! {
        <section class="flex flex-col gap-3">
            <header class="flex flex-wrap items-end justify-between gap-3">
                <div>
                    <h2 class="font-semibold">"Accounts"</h2>
                    <p class="muted max-w-prose">"Where people can sign in through this connection. Exclusive: no other connection signs anybody in to that account."</p>
                </div>
                <Show when=move || unbound() == Some(true)>
                    <Button blocked busy=sending.busy on_press=move |()| bind.run(None)>"Bind to all accounts"</Button>
                </Show>
            </header>
            <FormError sending />
            {bindings.show(move |bindings_now| {
                let shown = move || {
                    let accounts = names.accounts.ready().unwrap_or_default();
                    matrix(accounts, bindings_now.clone(), bind, bindings)
                };
                shown.into_any()
            })}
        </section>
    }
}

type Row = (Account, Option<Binding>);

fn matrix(
    accounts: Vec<Account>,
    bindings: Vec<Binding>,
    bind: Callback<Option<Vec<AccountId>>>,
    all: Remote<Vec<Binding>>,
) -> AnyView {
    let rows: Vec<Row> = accounts
        .into_iter()
        .map(|account| {
            let binding = bindings
                .iter()
                .find(|b| b.account == account.id && b.spec.state != BindingState::Detached);
            let binding = binding.cloned();
            (account, binding)
        })
        .collect();
    if rows.is_empty() {
        return view! { <Empty text="There is no account to bind it to yet."><a class="btn btn-sm" href="/accounts">"To the accounts"</a></Empty> }.into_any();
    }
    let columns = vec![
        column("Account", |(account, _): &Row| {
            view! { <span class="font-semibold">{account.spec.name.clone()}</span> }.into_any()
        }),
        column("Binding", |(_, binding): &Row| match binding {
            None => badge(Tone::Neutral, "Not bound"),
            Some(b) if b.spec.state == BindingState::Draining => {
                let until = b.spec.drain_until.map(local).unwrap_or_default();
                badge(Tone::Careful, format!("Draining until {until}"))
            }
            Some(_) => badge(Tone::Good, "Bound"),
        }),
        column("Mode", |(_, binding): &Row| {
            match binding.as_ref().map(|b| b.spec.mode) {
                None => dash(),
                Some(BindingMode::Allowed) => "Allowed".into_any(),
                Some(BindingMode::Exclusive) => "Exclusive".into_any(),
            }
        }),
        column("Since", |(_, binding): &Row| {
            binding.as_ref().map_or_else(dash, |b| moment(b.created_at))
        }),
        column(ACTIONS, move |(account, binding): &Row| {
            view! { <RowActions account=account.clone() binding=binding.clone() bind all /> }.into_any()
        }),
    ];
    table("Accounts of this connection", columns, rows)
}

#[component]
fn RowActions(
    account: Account,
    binding: Option<Binding>,
    bind: Callback<Option<Vec<AccountId>>>,
    all: Remote<Vec<Binding>>,
) -> impl IntoView {
    let client = client();

    let blocked = me().gate(Need::Organisation);
    let toasts = toasts();
    let name = account.spec.name.clone();
    let Some(binding) = binding else {
        let id = account.id;
        return view! { <Button blocked label=format!("Bind to {name}") on_press=move |()| bind.run(Some(vec![id.clone()]))>"Bind"</Button> }.into_any();
    };
    let sending = Sending::new();
    let detach = RwSignal::new(false);
    let exclusive = RwSignal::new(false);
    let at_once = RwSignal::new(false);
    let stored = StoredValue::new(binding.clone());
    let patch = move |body: serde_json::Value, said: &'static str, close: RwSignal<bool>| {
        let binding = stored.get_value();
        sending.run(
            async move {
                client
                    .patch::<Binding>(&format!("/bindings/{}", binding.id), binding.version, &body)
                    .await
            },
            move |_| {
                close.set(false);
                toasts.done(said);
                all.reload();
            },
        );
    };
    let drain = move |()| {
        patch(
            json!({ "state": "draining", "drain_until": in_a_week() }),
            "Draining: no new sign-ins, what runs may run out",
            detach,
        );
    };
    let path = format!("/bindings/{}", binding.id);
    let version = binding.version;
    let would = move |body: fn() -> serde_json::Value| {
        let path = path.clone();
        Callback::new(move |()| Some(Write::patch(&path, version, &body())))
    };
    let would_drain = would(|| json!({ "state": "draining", "drain_until": in_a_week() }));
    let would_exclude = would(|| json!({ "mode": "exclusive" }));
    let would_detach = would(|| json!({ "state": "detached" }));
    let draining = binding.spec.state == BindingState::Draining;
    let is_exclusive = binding.spec.mode == BindingMode::Exclusive;
    let set_exclusive = move |()| {
        patch(
            json!({ "mode": "exclusive" }),
            "Only this connection signs people in now",
            exclusive,
        )
    };
    let flip_mode = move |()| {
        if is_exclusive {
            patch(
                json!({ "mode": "allowed" }),
                "Other connections may sign people in, too",
                exclusive,
            );
        } else {
            exclusive.set(true);
        }
    };
    view! {
        <span class="flex flex-wrap justify-end gap-1">
            {if draining {
                view! {
                    <Button look=Look::Quiet blocked busy=sending.busy label=format!("Turn back the draining of {name}")
                        on_press=move |()| patch(json!({ "state": "active", "drain_until": null }), "Bound again", detach)>"Turn back"</Button>
                    <Button look=Look::Quiet blocked busy=sending.busy label=format!("Detach now from {name}")
                        on_press=move |()| at_once.set(true)>"Detach now"</Button>
                }.into_any()
            } else {
                view! {
                    <Button look=Look::Quiet blocked busy=sending.busy label=format!("{} in {name}", if is_exclusive { "Make allowed" } else { "Make exclusive" }) on_press=flip_mode>
                        {if is_exclusive { "Make allowed" } else { "Make exclusive" }}
                    </Button>
                    <Button look=Look::Quiet blocked busy=sending.busy label=format!("Detach from {name}") on_press=move |()| detach.set(true)>"Detach"</Button>
                }.into_any()
            }}
        </span>
        <Confirm open=exclusive title=format!("Only this connection in {name}?")
            text="Every other connection stops to sign people in to this account, and their sessions and grants here stop, until you take it back."
            action="Make exclusive" sending preview=Some(would_exclude) on_confirm=set_exclusive />
        <Confirm open=detach title=format!("Detach from {name}?")
            text="First it drains for seven days: nobody new signs in, sessions and grants run on. You can turn it back until then, or detach at once afterwards."
            action="Start draining" sending preview=Some(would_drain) on_confirm=drain />
        <Confirm open=at_once title=format!("Detach from {name} at once?")
            text="Sessions and grants of people who came through it end now. This cannot be taken back: binding it again does not bring them back."
            action="Detach now" sending preview=Some(would_detach)
            on_confirm=move |()| patch(json!({ "state": "detached" }), "Detached", at_once) />
    }
    .into_any()
}

/// When draining that begins now ends.
fn in_a_week() -> Timestamp {
    now().plus_seconds(7 * 86_400)
}

#[component]
fn Settings(remote: Remote<Connection>, connection: Signal<Connection>) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    let spec = connection.get_untracked().spec;
    let text = |text: String| RwSignal::new(text);
    let name = text(spec.name);
    let issuer = text(spec.issuer.unwrap_or_default());
    let client_id = text(spec.client_id.unwrap_or_default());
    let secret = text(String::new());
    let scopes = text(spec.scopes.join(" "));
    let domains = text(spec.allowed_domains.join(", "));
    let internal = text(spec.allow_internal.join("\n"));
    let (email, display, groups) = (
        text(spec.claims.email),
        text(spec.claims.name),
        text(spec.claims.groups),
    );
    let bind_new = RwSignal::new(spec.bind_new_accounts);
    let sending = Sending::new();
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let now = connection.get_untracked();
        let mut patch = json!({
            "name": name.get_untracked().trim(),
            "issuer": issuer.get_untracked().trim(),
            "client_id": client_id.get_untracked().trim(),
            "scopes": words(&scopes.get_untracked()),
            "allowed_domains": words(&domains.get_untracked()),
            "allow_internal": words(&internal.get_untracked()),
            "claims": { "email": email.get_untracked().trim(), "name": display.get_untracked().trim(), "groups": groups.get_untracked().trim() },
            "bind_new_accounts": bind_new.get_untracked(),
        });
        if !secret.get_untracked().is_empty() {
            patch["client_secret"] = json!(secret.get_untracked());
        }
        sending.run(
            async move {
                client
                    .patch::<Connection>(&format!("/connections/{}", now.id), now.version, &patch)
                    .await
            },
            move |saved| {
                secret.set(String::new());
                toasts.done(format!("{} saved", saved.spec.name));
                remote.put(saved);
                names.connections.reload();
            },
        );
    };
    view! {
        <form on:submit=save>
            <Panel title="Settings">
                <div class="grid gap-4 md:grid-cols-2">
                    <TextField label="Name" value=name required=true error=sending.at("/name") />
                    <TextField label="Issuer" value=issuer kind="url" required=true error=sending.at("/issuer") />
                    <TextField label="Client id" value=client_id required=true error=sending.at("/client_id") />
                    <TextField label="New client secret" value=secret kind="password" autocomplete="new-password" hint="Empty keeps the stored one." error=sending.at("/client_secret") />
                    <TextField label="Scopes beside openid" value=scopes error=sending.at("/scopes") />
                    <TextField label="Only these e-mail domains" value=domains hint="Empty for any." error=sending.at("/allowed_domains") />
                    <TextField label="Claim with the e-mail address" value=email error=sending.at("/claims/email") />
                    <TextField label="Claim with the name" value=display error=sending.at("/claims/name") />
                    <TextField label="Claim with the groups" value=groups error=sending.at("/claims/groups") />
                    <TextArea label="Internal origins it may be reached at" value=internal rows=2 error=sending.at("/allow_internal") />
                </div>
                <div class="mt-4 flex flex-col gap-4">
                    <Checkbox label="Bind to accounts that are made later, too" value=bind_new />
                    <FormError sending />
                    <div><Submit busy=sending.busy blocked=me().gate(Need::Organisation)>"Save settings"</Submit></div>
                </div>
            </Panel>
        </form>
    }
}

#[component]
fn Danger(remote: Remote<Connection>, connection: Signal<Connection>) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    let navigate = StoredValue::new_local(use_navigate());
    let blocked = me().gate(Need::Organisation);
    let (ask_disable, ask_delete) = (RwSignal::new(false), RwSignal::new(false));
    let (sending, deleting) = (Sending::new(), Sending::new());
    let enabled = Signal::derive(move || connection.with(|c| c.spec.enabled));
    let name = Signal::derive(move || connection.with(|c| c.spec.name.clone()));
    let flip = move |()| {
        let now = connection.get_untracked();
        sending.run(
            async move {
                let patch = json!({ "enabled": !now.spec.enabled });
                client
                    .patch::<Connection>(&format!("/connections/{}", now.id), now.version, &patch)
                    .await
            },
            move |saved| {
                ask_disable.set(false);
                toasts.done(format!(
                    "{} is {}",
                    saved.spec.name,
                    if saved.spec.enabled { "enabled" } else { "disabled" }
                ));
                remote.put(saved);
                names.connections.reload();
            },
        );
    };
    let would_disable = Callback::new(move |()| {
        let now = connection.get_untracked();
        let patch = json!({ "enabled": false });
        Some(Write::patch(
            &format!("/connections/{}", now.id),
            now.version,
            &patch,
        ))
    });
    let delete = move |()| {
        let id = connection.get_untracked().id;
        deleting.run(
            async move { client.delete(&format!("/connections/{id}")).await },
            move |()| {
                ask_delete.set(false);
                toasts.done("Connection deleted");
                names.connections.reload();
                navigate.with_value(|go| go("/connections", NavigateOptions::default()));
            },
        );
    };
    let press = move |()| {
        if enabled.get_untracked() {
            ask_disable.set(true)
        } else {
            flip(())
        }
    };
    view! {
        <Panel title="Disable or delete">
            <div class="flex flex-wrap gap-2">
                <Button blocked busy=sending.busy on_press=press>
                    {move || if enabled.get() { "Disable connection" } else { "Enable connection" }}
                </Button>
                <Button look=Look::Danger blocked on_press=move |()| ask_delete.set(true)>"Delete connection"</Button>
            </div>
            <Confirm open=ask_disable title=Signal::derive(move || format!("Disable {}?", name.get()))
                text="Nobody signs in through it any more, and the sessions and grants of its people end at once."
                action="Disable connection" word=name sending preview=Some(would_disable) on_confirm=flip />
            <Confirm open=ask_delete title=Signal::derive(move || format!("Delete {}?", name.get()))
                text="Its bindings go, and the sessions and grants of its people end. This cannot be taken back."
                action="Delete connection" word=name sending=deleting on_confirm=delete />
        </Panel>
    }
}
