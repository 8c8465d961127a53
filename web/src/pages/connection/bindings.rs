//! Where a connection is bound: one row for each account, how, and what can be done.

use crate::{
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{Account, AccountId, Binding, BindingMode, BindingState, Connection, Page as ListPage, Timestamp};

/// One row for each account: bound or not, how, and what can be done.
#[component]
pub(super) fn Bindings(connection: Signal<Connection>) -> impl IntoView {
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
